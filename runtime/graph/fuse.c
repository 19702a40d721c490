#include <stdlib.h>

#include "graph/graph.h"
#include "graph/op.h"

// Who reads a tensor: how often, and the position of the last node that does.
struct readers {
    uint32_t count;
    size_t node;
};

// Of the outputs beside the first no value is read before position `end`.
static bool others_wait(const struct vks_node *node, const struct vks_graph *graph, size_t begin, size_t end)
{
    if (node->output_count < 2)
        return true;
    for (size_t n = begin + 1; n < end; n++)
        for (uint32_t i = 0; graph->nodes[n] && i < graph->nodes[n]->input_count; i++)
            for (uint32_t o = 1; o < node->output_count; o++)
                if (graph->nodes[n]->inputs[i] == node->outputs[o])
                    return false;
    return true;
}

// Joins the node at `at` with its only reader; the position of what they became, or `at` if they stay as they are.
static size_t join(struct vks_graph *graph, const struct readers *readers, size_t at)
{
    const struct vks_node *node = graph->nodes[at];
    struct vks_tensor *y = node->outputs[0];
    if (!node->op->fuse || !y || y->kind != VKS_TENSOR_VALUE || y->keep || readers[y->id].count != 1)
        return at;
    const size_t place = readers[y->id].node;
    const struct vks_node *next = graph->nodes[place];
    if (next->segment != node->segment || !others_wait(node, graph, at, place))
        return at;
    const uint32_t outer = graph->segment;
    graph->segment = node->segment;
    const struct vks_tensor *joined = node->op->fuse(graph, node, next);
    graph->segment = outer;
    if (!joined)
        return at;
    // The new node was added last; it takes the place of the reader, and makes the tensor that others know.
    struct vks_node *fused = graph->nodes[--graph->node_count];
    fused->outputs[0] = next->outputs[0];
    fused->outputs[0]->node = fused;
    graph->nodes[place] = fused;
    graph->nodes[at] = NULL;
    return place;
}

bool vks_graph_fuse(struct vks_graph *graph)
{
    if (graph->failed)
        return false;
    const size_t count = graph->node_count;
    struct readers *readers = calloc(graph->tensor_count + 1, sizeof(*readers));
    if (!readers)
        return vks_graph_fail(graph, VKS_NO_MEMORY) != NULL;
    for (size_t n = 0; n < count; n++)
        for (uint32_t i = 0; i < graph->nodes[n]->input_count; i++)
            if (graph->nodes[n]->inputs[i]) {
                readers[graph->nodes[n]->inputs[i]->id].count++;
                readers[graph->nodes[n]->inputs[i]->id].node = n;
            }
    for (size_t n = 0; n < count && !graph->failed; n++)
        for (size_t at = n, next; graph->nodes[at] && (next = join(graph, readers, at)) != at; at = next)
            ;
    size_t left = 0;
    for (size_t n = 0; n < count; n++)
        if (graph->nodes[n]) {
            graph->nodes[left] = graph->nodes[n];
            graph->nodes[left]->id = (uint32_t)left;
            left++;
        }
    graph->node_count = left;
    free(readers);
    return !graph->failed;
}
