#include "exec/backward.h"

#include <stdlib.h>
#include <string.h>

#include "graph/op.h"
#include "ops/ops.h"

struct walk {
    struct vks_graph *graph;
    const struct vks_backward *params;
    size_t tensor_count;               // of the forward graph
    bool *needs;                       // by tensor: a parameter or a wanted tensor stands below it
    struct vks_tensor **gradients;     // by tensor
    struct vks_tensor **again;         // by tensor: its recomputed twin
};

static bool trains(const struct vks_node *node)
{
    return node->op->trains && node->op->trains(node);
}

static bool input_needs(const struct walk *walk, const struct vks_node *node, uint32_t i)
{
    return node->inputs[i] && (node->op->differentiable >> i & 1) && walk->needs[node->inputs[i]->id];
}

static void find_needs(struct walk *walk, size_t node_count)
{
    for (uint32_t i = 0; i < walk->params->wanted_count; i++)
        walk->needs[walk->params->wanted[i]->id] = true;
    for (size_t n = 0; n < node_count; n++) {
        const struct vks_node *node = walk->graph->nodes[n];
        bool needs = trains(node);
        for (uint32_t i = 0; i < node->input_count && !needs; i++)
            needs = input_needs(walk, node, i);
        for (uint32_t o = 0; o < node->output_count && needs; o++)
            walk->needs[node->outputs[o]->id] = true;
    }
}

static void add_gradient(struct walk *walk, const struct vks_tensor *tensor, struct vks_tensor *gradient)
{
    struct vks_tensor **sum = &walk->gradients[tensor->id];
    *sum = *sum ? vks_add(walk->graph, *sum, gradient) : gradient;
}

// The tensor that backward of `segment` reads in place of `tensor`: a twin computed again if the segment made it.
static struct vks_tensor *value_for(struct walk *walk, struct vks_tensor *tensor, uint32_t segment)
{
    if (!tensor || !walk->params->recompute || segment == 0 || tensor->id >= walk->tensor_count || !tensor->node ||
        tensor->node->segment != segment)
        return tensor;
    if (walk->again[tensor->id])
        return walk->again[tensor->id];
    const struct vks_node *node = tensor->node;
    struct vks_tensor *inputs[VKS_MAX_INPUTS];
    for (uint32_t i = 0; i < node->input_count; i++)
        inputs[i] = value_for(walk, node->inputs[i], segment);
    const uint32_t outer = walk->graph->segment;
    walk->graph->segment = 0;
    struct vks_tensor *twin = node->op->again ? node->op->again(walk->graph, node, inputs)
                                              : vks_graph_add(walk->graph, node->op, inputs, node->input_count,
                                                              node->attrs, node->attrs_size);
    walk->graph->segment = outer;
    for (uint32_t o = 0; o < node->output_count; o++)
        walk->again[node->outputs[o]->id] = o == 0 ? twin : vks_tensor_sibling(twin, o);
    return walk->again[tensor->id];
}

static bool visit(struct walk *walk, const struct vks_node *node)
{
    bool want[VKS_MAX_INPUTS] = {false}, any = trains(node), reached = node->op->seeds && node->op->seeds(node);
    struct vks_tensor *dy[VKS_MAX_OUTPUTS] = {NULL}, *dx[VKS_MAX_INPUTS] = {NULL};
    for (uint32_t o = 0; o < node->output_count; o++) {
        dy[o] = walk->gradients[node->outputs[o]->id];
        reached |= dy[o] != NULL;
    }
    for (uint32_t i = 0; i < node->input_count; i++) {
        want[i] = input_needs(walk, node, i);
        any |= want[i];
    }
    if (!any || !reached)
        return true;
    if (!node->op->backward)
        return vks_graph_fail(walk->graph, "the operator %s has no backward rule", node->op->name) != NULL;
    struct vks_node shadow = *node;  // the same node over recomputed values
    for (uint32_t i = 0; i < node->input_count; i++)
        shadow.inputs[i] = value_for(walk, node->inputs[i], node->segment);
    for (uint32_t o = 0; o < node->output_count; o++)
        shadow.outputs[o] = value_for(walk, node->outputs[o], node->segment);
    if (!node->op->backward(walk->graph, &shadow, dy, want, dx) || walk->graph->failed)
        return false;
    for (uint32_t i = 0; i < node->input_count; i++)
        if (want[i] && dx[i])
            add_gradient(walk, node->inputs[i], dx[i]);
    return !walk->graph->failed;
}

bool vks_graph_backward(struct vks_graph *graph, const struct vks_backward *params)
{
    if (graph->failed)
        return false;
    const size_t node_count = graph->node_count;
    struct walk walk = {
        .graph = graph,
        .params = params,
        .tensor_count = graph->tensor_count,
        .needs = calloc(graph->tensor_count + 1, sizeof(*walk.needs)),
        .gradients = calloc(graph->tensor_count + 1, sizeof(*walk.gradients)),
        .again = calloc(graph->tensor_count + 1, sizeof(*walk.again)),
    };
    bool ok = walk.needs && walk.gradients && walk.again;
    if (!ok)
        vks_graph_fail(graph, VKS_NO_MEMORY);
    if (ok) {
        find_needs(&walk, node_count);
        for (uint32_t i = 0; i < params->output_count; i++)
            add_gradient(&walk, params->outputs[i], params->output_gradients[i]);
        for (size_t n = node_count; n > 0 && ok; n--)
            ok = visit(&walk, graph->nodes[n - 1]);
        for (uint32_t i = 0; i < params->wanted_count && ok; i++)
            params->gradients[i] = walk.gradients[params->wanted[i]->id];
    }
    free(walk.needs);
    free(walk.gradients);
    free(walk.again);
    return ok && !graph->failed;
}
