// A model as a static graph: tensors written once, nodes in the order in which they run, named sites.
//
// Activations are channels-last: tokens (B, T, C), pictures (B, H, W, C), so a site of kind TOKENS and one of kind
// PIXELS are both rows of C channels, and a convolution is a matrix product over its pixels.
//
// Errors are sticky. A builder call that fails logs once, marks the graph as failed and returns NULL; every call
// accepts NULL tensors and returns NULL for them, so model code tests `failed` once, at its end.
#ifndef VKS_GRAPH_GRAPH_H
#define VKS_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/dtype.h"
#include "base/log.h"

#define VKS_MAX_RANK 4
#define VKS_MAX_INPUTS 8
#define VKS_MAX_OUTPUTS 3

struct vks_op;       // graph/op.h
struct vks_storage;  // gpu/gpu.h

enum vks_tensor_kind {
    VKS_TENSOR_VALUE,   // made by a node, lives in planned memory
    VKS_TENSOR_STATE,   // lives in storage of its own (weights, maps, pooled rows) that outlives the graph and may be
                        // shared by several; a node may write it, and then it is a root that is never left out
    VKS_TENSOR_INPUT,   // written by the host before a run, lives in planned memory, never overwritten
};

struct vks_tensor {
    const char *name;             // for messages; may be NULL
    enum vks_tensor_kind kind;
    enum vks_dtype dtype;
    uint32_t rank, shape[VKS_MAX_RANK];
    uint32_t id;                  // position in graph->tensors
    struct vks_node *node;        // the node that makes a VALUE
    struct vks_storage *storage;  // the bytes of a STATE
    uint64_t offset;              // STATE: elements from the start of the storage
    uint32_t row_stride;          // STATE: elements from row to row of a column view (rows, columns); 0 = dense
    bool dynamic;                 // only the first step[VKS_STEP_ROWS] rows are valid (see vks_graph_input)
    uint32_t dynamic_axis;        // which axis they are counted along: 0, or 1 below a first extent of 1 (1, T, C)
    bool keep;                    // read by the host after a run: not left out, not overwritten
    bool steady;                  // rarely written again: a STATE, not while a graph lives (weights); an INPUT, mostly
                                  // with the same bytes (vks_exec_params.keep)
};

struct vks_node {
    const struct vks_op *op;
    uint32_t id;                  // position in graph->nodes
    uint32_t input_count, output_count;
    struct vks_tensor *inputs[VKS_MAX_INPUTS];    // optional inputs are NULL
    struct vks_tensor *outputs[VKS_MAX_OUTPUTS];
    const void *attrs;            // the op's own struct, copied into the graph
    size_t attrs_size;
    uint32_t segment;             // recomputation unit that the node belongs to; 0 = none
};

enum vks_site_kind {
    VKS_SITE_TOKENS,  // (B, T, C)
    VKS_SITE_PIXELS,  // (B, H, W, C)
    VKS_SITE_VECTOR,  // (B, C)
};

// The output of the PyTorch module `name`. Names are unique in a graph.
struct vks_site {
    const char *name;
    enum vks_site_kind kind;
    uint32_t channels;            // C
    uint32_t rows;                // T, H * W or 1
    struct vks_tensor *mask;      // (B, T) float, 1 = token, 0 = padding; NULL: no padding
};

struct vks_graph;

// Called when a model publishes a site; returns the tensor that the rest of the model reads (`value` itself, or what
// a map made of it).
typedef struct vks_tensor *(*vks_site_hook)(void *priv, struct vks_graph *graph, const struct vks_site *site,
                                            struct vks_tensor *value);

struct vks_graph {
    const struct vks_log *log;
    struct vks_arena arena;
    bool failed;
    struct vks_tensor **tensors;
    struct vks_node **nodes;
    struct vks_site *sites;
    size_t tensor_count, tensor_capacity, node_count, node_capacity, site_count, site_capacity;
    uint32_t segment;             // given to nodes as they are added
    uint32_t sample;              // number of what is built as sample 0, in the slice that a run takes
    vks_site_hook hook;
    void *hook_priv;
};

void vks_graph_init(struct vks_graph *graph, const struct vks_log *log);
void vks_graph_finish(struct vks_graph *graph);

// Marks the graph as failed and logs (only the first failure). Returns NULL.
void *vks_graph_fail(struct vks_graph *graph, const char *format, ...) VKS_PRINTF(2, 3);

// A tensor that the host writes before each run. With `dynamic`, shape[0] is a capacity: rows at and above
// step[VKS_STEP_ROWS] hold rubbish, and operators that work row by row do not visit them.
struct vks_tensor *vks_graph_input(struct vks_graph *graph, const char *name, enum vks_dtype dtype, uint32_t rank,
                                   const uint32_t shape[], bool dynamic);
// A tensor in storage of its own.
struct vks_tensor *vks_graph_state(struct vks_graph *graph, const char *name, enum vks_dtype dtype, uint32_t rank,
                                   const uint32_t shape[], struct vks_storage *storage, uint64_t offset);
// Columns [first, first + count) of a two-dimensional STATE tensor (rows, columns), or of a vector (columns).
struct vks_tensor *vks_graph_columns(struct vks_graph *graph, struct vks_tensor *state, uint32_t first,
                                     uint32_t count);
// Adds a node. Shapes of the outputs come from op->infer. Returns output 0, or NULL.
struct vks_tensor *vks_graph_add(struct vks_graph *graph, const struct vks_op *op, struct vks_tensor *const inputs[],
                                 uint32_t input_count, const void *attrs, size_t attrs_size);
// Used by op->infer: declares the next output of the node that is being added.
struct vks_tensor *vks_graph_output(struct vks_graph *graph, struct vks_node *node, enum vks_dtype dtype,
                                    uint32_t rank, const uint32_t shape[]);
// Output `index` of the node that made `tensor` (a saved statistic, the other half of a pair).
struct vks_tensor *vks_tensor_sibling(const struct vks_tensor *tensor, uint32_t index);

// Joins nodes whose operators can do their work in one (op->fuse), for fewer passes over memory; no bit of the
// results changes. Tensors that are kept, or read by several nodes, stay; others may be left without a node, so
// nobody may hold on to a tensor between. To be called before gradients are built, and again before the graph runs.
bool vks_graph_fuse(struct vks_graph *graph);

// Publishes a site and hands it to the hook. `name` is copied.
struct vks_tensor *vks_graph_site(struct vks_graph *graph, const char *name, enum vks_site_kind kind,
                                  struct vks_tensor *value, struct vks_tensor *mask);

// Product of the extents from axis `first` to axis `last` (exclusive).
uint64_t vks_tensor_extent(const struct vks_tensor *tensor, uint32_t first, uint32_t last);
// Number of elements.
uint64_t vks_tensor_elements(const struct vks_tensor *tensor);
// Number of channels: the last extent.
uint32_t vks_tensor_channels(const struct vks_tensor *tensor);
// Number of rows of channels: all but the last extent.
uint64_t vks_tensor_rows(const struct vks_tensor *tensor);
// Rows of channels for each row that step[VKS_STEP_ROWS] counts in a dynamic tensor.
uint64_t vks_tensor_step_rows(const struct vks_tensor *tensor);
// "x (2, 77, 320)"; written into the graph's arena.
const char *vks_tensor_text(struct vks_graph *graph, const struct vks_tensor *tensor);

#endif
