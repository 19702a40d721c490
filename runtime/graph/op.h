// What an operator is: a row in the table of runtime/ops, seen here only by its interface.
#ifndef VKS_GRAPH_OP_H
#define VKS_GRAPH_OP_H

#include "graph/emit.h"
#include "graph/graph.h"

struct vks_op {
    const char *name;  // "group_norm": also the name of its shader, reference and test

    // Checks the inputs, declares the outputs (vks_graph_output). On bad shapes: vks_graph_fail, return false.
    bool (*infer)(struct vks_graph *graph, struct vks_node *node);

    // Writes the dispatches, cut so that no binding exceeds emitter->limits.max_range.
    bool (*emit)(struct vks_emitter *emitter, const struct vks_node *node);

    // Builds the gradients of the inputs i with want[i], given dy[] of the outputs (NULL where nothing reads one):
    // dx[i] is a new tensor of inputs[i]'s shape. Only inputs for which `differentiable` has bit i are asked for.
    bool (*backward)(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                     const bool want[], struct vks_tensor *dx[]);
    uint32_t differentiable;  // bit i: input i

    // Floating-point operations of one run; bytes follow from the dispatches' operands.
    double (*flop)(const struct vks_node *node);

    uint32_t strided;         // bit i: input i may be a column view (row_stride); all others are read densely, and a
                              // view given there is refused
    uint32_t in_place;        // bit i: output 0 may take the bytes of input i (elementwise kernels only)
    bool alias;               // output 0 is input 0's bytes, perhaps under another shape; emit writes no value
    // The node that a recomputed segment runs over `inputs` in place of this one: without its side effects. NULL: the
    // same. Returns output 0.
    struct vks_tensor *(*again)(struct vks_graph *graph, const struct vks_node *node,
                                struct vks_tensor *const inputs[]);
    // One node for this one and for `next`, the only reader of its output 0: adds it to the graph and returns its
    // output 0; NULL, with nothing added, where the two do not join (vks_graph_fuse). Both give the same bits. NULL:
    // never.
    struct vks_tensor *(*fuse)(struct vks_graph *graph, const struct vks_node *node, const struct vks_node *next);
    // The node writes the gradient of its own parameters in backward (NULL: never). Nodes above such a node are
    // differentiated even if nothing else below needs a gradient.
    bool (*trains)(const struct vks_node *node);
    // Gradients start here: backward is called even when nothing reads the output (dy[0] is then NULL). NULL: never.
    bool (*seeds)(const struct vks_node *node);
};

#endif
