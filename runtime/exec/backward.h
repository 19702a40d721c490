// Reverse-mode differentiation: extends a graph by the nodes that compute gradients.
#ifndef VKS_EXEC_BACKWARD_H
#define VKS_EXEC_BACKWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"

struct vks_backward {
    // Output gradients to start from, beside those of operators that seed their own (op->seeds).
    struct vks_tensor *const *outputs, *const *output_gradients;
    uint32_t output_count;
    // Tensors whose gradient is wanted, beside the parameters of operators that train (op->trains).
    struct vks_tensor *const *wanted;
    struct vks_tensor **gradients;   // out: one a wanted tensor; NULL where nothing reaches it
    uint32_t wanted_count;
    // Values of a segment (graph->segment) that backward needs are computed again instead of kept.
    bool recompute;
};

// Visits only nodes on a path from what is wanted to where gradients start. False: the graph has failed.
bool vks_graph_backward(struct vks_graph *graph, const struct vks_backward *params);

#endif
