// Private to runtime/ops: operands, shape tests and the elementary cuts that most emitters share.
#ifndef VKS_OPS_COMMON_H
#define VKS_OPS_COMMON_H

#include <string.h>

#include "graph/emit.h"
#include "graph/op.h"
#include "ops/ops.h"
#include "shaders/push.h"

#define VKS_GROUP 64u  // invocations of a workgroup, the default of include/vks.glsl

static inline struct vks_operand vks_read(const struct vks_tensor *tensor, uint64_t first, uint64_t count)
{
    return (struct vks_operand){tensor, VKS_READ, first, count};
}

static inline struct vks_operand vks_write(const struct vks_tensor *tensor, uint64_t first, uint64_t count)
{
    return (struct vks_operand){tensor, VKS_WRITE, first, count};
}

static inline struct vks_operand vks_update(const struct vks_tensor *tensor, uint64_t first, uint64_t count)
{
    return (struct vks_operand){tensor, VKS_READ_WRITE, first, count};
}

// A slot that this dispatch leaves unused.
static inline struct vks_operand vks_unused(void)
{
    return (struct vks_operand){0};
}

static inline bool vks_same_shape(const struct vks_tensor *a, const struct vks_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof(a->shape[0])) == 0;
}

static inline uint64_t vks_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint32_t vks_ceil_div(uint64_t a, uint64_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

// y has the dynamic length of x.
static inline void vks_follow(struct vks_tensor *y, const struct vks_tensor *x)
{
    y->dynamic = x->dynamic;
    y->dynamic_axis = x->dynamic_axis;
}

// The same where y holds x's elements in another shape: (T, C) and (1, T, C) are rows of one text.
static inline void vks_follow_reshaped(struct vks_tensor *y, const struct vks_tensor *x)
{
    const uint32_t extent = x->shape[x->dynamic_axis];
    y->dynamic_axis = y->shape[0] != extent && y->shape[0] == 1 && y->rank > 1;
    y->dynamic = x->dynamic && y->shape[y->dynamic_axis] == extent;
}

// The output of a node: x's shape and x's dynamic length.
static inline struct vks_tensor *vks_output_like(struct vks_graph *graph, struct vks_node *node,
                                                 const struct vks_tensor *x)
{
    struct vks_tensor *y = vks_graph_output(graph, node, VKS_F32, x->rank, x->shape);
    if (y)
        vks_follow(y, x);
    return y;
}

// The output of a node: x's shape with `channels` in place of the last extent.
static inline struct vks_tensor *vks_output_channels(struct vks_graph *graph, struct vks_node *node,
                                                     const struct vks_tensor *x, uint32_t channels)
{
    uint32_t shape[VKS_MAX_RANK];
    memcpy(shape, x->shape, sizeof(shape));
    shape[x->rank - 1] = channels;
    struct vks_tensor *y = vks_graph_output(graph, node, VKS_F32, x->rank, shape);
    if (y)
        vks_follow(y, x);
    return y;
}

// An operand of the wrong type would be read as something else: one message for all operators.
static inline bool vks_want_f32(struct vks_graph *graph, const struct vks_node *node, uint32_t input)
{
    const struct vks_tensor *tensor = node->inputs[input];
    return !tensor || tensor->dtype == VKS_F32 ||
           vks_graph_fail(graph, "%s: input %u, %s, is %s where F32 is wanted: convert it when it is loaded",
                          node->op->name, input, vks_tensor_text(graph, tensor), vks_dtype_name(tensor->dtype));
}

// One number for each token of x (B, T, C), of which kernels read the first of every sample.
static inline bool vks_want_positions(struct vks_graph *graph, const struct vks_node *node,
                                      const struct vks_tensor *positions, const struct vks_tensor *x)
{
    return (positions->dtype == VKS_I32 && positions->rank == 2 && positions->shape[0] == x->shape[0] &&
            positions->shape[1] == x->shape[1]) ||
           vks_graph_fail(graph, "%s: the positions %s are no integer for each token of %s", node->op->name,
                          vks_tensor_text(graph, positions), vks_tensor_text(graph, x));
}

// A row that no binding holds: the end of the row rule.
static inline bool vks_fail_row(struct vks_emitter *emitter, const struct vks_tensor *tensor)
{
    return vks_graph_fail(emitter->graph, "%s: a row of %s exceeds the device's buffer range of %llu bytes",
                          emitter->node->op->name, vks_tensor_text(emitter->graph, tensor),
                          (unsigned long long)emitter->limits.max_range) != NULL;
}

// Invocations that share a row in kernels with include/rows.glsl: 1 on CPU drivers, where barriers are dear,
// 32 on graphics cards.
static inline uint32_t vks_row_lanes(const struct vks_emitter *emitter)
{
    return emitter->limits.is_cpu ? 1 : 32;
}

// op->fuse of operators that can add a tensor to their output: `node` with the other summand of `next`, a sum, as
// input `slot`. NULL where `next` is none, or the slot is taken.
struct vks_tensor *vks_fuse_plus(struct vks_graph *graph, const struct vks_node *node, const struct vks_node *next,
                                 uint32_t slot);

// op->again of operators that are there for their side effects: the value flows through.
struct vks_tensor *vks_pass(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const inputs[]);

// Whether the node is vks_unary(), and of which kind.
bool vks_is_unary(const struct vks_node *node, enum vks_unary *kind);

// True when element `first` of the tensor lies at a multiple of 16 bytes.
bool vks_aligned(const struct vks_tensor *tensor, uint64_t first);
// True when all of these operands begin there: with rows of a multiple of four elements a kernel may then be given
// QUADS = 1 and read four at a time.
bool vks_all_aligned(const struct vks_operand operands[], uint32_t count);

// An elementwise kernel over operands of the same number of 4-byte elements, cut into stretches. The first operand
// gives that number and the dynamic length; `first` and `count` of the operands are filled in here, and so is the
// first word of `push`: the number of elements. The kernel visits VKS_ELEMENTS elements an invocation, and has one
// more specialisation constant after `spec`, QUADS, that is set here.
bool vks_emit_flat(struct vks_emitter *emitter, enum vks_kernel kernel, const uint32_t spec[], uint32_t spec_count,
                   struct vks_operand operands[], uint32_t operand_count, void *push, size_t push_size);

#endif
