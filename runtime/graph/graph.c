#include "graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/op.h"

void vks_graph_init(struct vks_graph *graph, const struct vks_log *log)
{
    *graph = (struct vks_graph){.log = log};
}

void vks_graph_finish(struct vks_graph *graph)
{
    free(graph->tensors);
    free(graph->nodes);
    free(graph->sites);
    vks_arena_finish(&graph->arena);
    *graph = (struct vks_graph){.log = graph->log};
}

void *vks_graph_fail(struct vks_graph *graph, const char *format, ...)
{
    if (!graph->failed) {
        char message[768];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof(message), format, args);
        va_end(args);
        vks_fail(graph->log, "%s", message);
    }
    graph->failed = true;
    return NULL;
}

static void *out_of_memory(struct vks_graph *graph)
{
    return vks_graph_fail(graph, VKS_NO_MEMORY);
}

static struct vks_tensor *new_tensor(struct vks_graph *graph, const char *name, enum vks_tensor_kind kind,
                                     enum vks_dtype dtype, uint32_t rank, const uint32_t shape[])
{
    if (graph->failed)
        return NULL;
    if (rank < 1 || rank > VKS_MAX_RANK)
        return vks_graph_fail(graph, "%s has %u axes: 1 to %d are supported", name ? name : "a tensor", rank,
                              VKS_MAX_RANK);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] == 0 || elements * shape[i] > UINT32_MAX)
            return vks_graph_fail(graph, "%s is empty or holds more than 4 Gi elements: use a smaller batch or size",
                                  name ? name : "a tensor");
        elements *= shape[i];
    }
    struct vks_tensor *tensor = vks_arena_alloc(&graph->arena, sizeof(*tensor));
    if (!tensor || !vks_grow(&graph->tensors, &graph->tensor_capacity, graph->tensor_count, sizeof(tensor)))
        return out_of_memory(graph);
    *tensor = (struct vks_tensor){
        .kind = kind,
        .dtype = dtype,
        .rank = rank,
        .id = (uint32_t)graph->tensor_count,
    };
    if (name && !(tensor->name = vks_arena_strdup(&graph->arena, name)))
        return out_of_memory(graph);
    memcpy(tensor->shape, shape, rank * sizeof(*shape));
    graph->tensors[graph->tensor_count++] = tensor;
    return tensor;
}

struct vks_tensor *vks_graph_input(struct vks_graph *graph, const char *name, enum vks_dtype dtype, uint32_t rank,
                                   const uint32_t shape[], bool dynamic)
{
    struct vks_tensor *tensor = new_tensor(graph, name, VKS_TENSOR_INPUT, dtype, rank, shape);
    if (tensor)
        tensor->dynamic = dynamic;
    return tensor;
}

struct vks_tensor *vks_graph_state(struct vks_graph *graph, const char *name, enum vks_dtype dtype, uint32_t rank,
                                   const uint32_t shape[], struct vks_storage *storage, uint64_t offset)
{
    struct vks_tensor *tensor = new_tensor(graph, name, VKS_TENSOR_STATE, dtype, rank, shape);
    if (tensor) {
        tensor->storage = storage;
        tensor->offset = offset;
    }
    return tensor;
}

struct vks_tensor *vks_graph_columns(struct vks_graph *graph, struct vks_tensor *state, uint32_t first,
                                     uint32_t count)
{
    if (graph->failed || !state)
        return NULL;
    const uint32_t columns = state->shape[state->rank - 1];
    if (state->kind != VKS_TENSOR_STATE || state->rank > 2 || first > columns || count > columns - first)
        return vks_graph_fail(graph, "columns %u to %u are not in %s", first, first + count,
                              vks_tensor_text(graph, state));
    uint32_t shape[2] = {state->shape[0], count};
    if (state->rank == 1)
        shape[0] = count;
    struct vks_tensor *view =
        new_tensor(graph, state->name, VKS_TENSOR_STATE, state->dtype, state->rank, shape);
    if (view) {
        view->storage = state->storage;
        view->offset = state->offset + first;
        const uint32_t stride = state->row_stride ? state->row_stride : columns;
        view->row_stride = shape[0] == 1 || state->rank == 1 || count == stride ? 0 : stride;
    }
    return view;
}

// Most kernels know no distance from row to row: they would read the columns beside the view.
static bool views_fit(struct vks_graph *graph, const struct vks_node *node)
{
    for (uint32_t i = 0; i < node->input_count; i++) {
        const struct vks_tensor *x = node->inputs[i];
        if (x && x->row_stride && !(node->op->strided >> i & 1))
            return vks_graph_fail(graph, "%s: input %u, %s, is a view of some columns, which it cannot read: copy "
                                  "them to a state of their own", node->op->name, i,
                                  vks_tensor_text(graph, x)) != NULL;
    }
    return true;
}

struct vks_tensor *vks_graph_add(struct vks_graph *graph, const struct vks_op *op, struct vks_tensor *const inputs[],
                                 uint32_t input_count, const void *attrs, size_t attrs_size)
{
    if (graph->failed)
        return NULL;
    struct vks_node *node = vks_arena_alloc(&graph->arena, sizeof(*node));
    void *copy = attrs_size ? vks_arena_alloc(&graph->arena, attrs_size) : NULL;
    if (!node || (attrs_size && !copy) ||
        !vks_grow(&graph->nodes, &graph->node_capacity, graph->node_count, sizeof(node)))
        return out_of_memory(graph);
    if (attrs_size)
        memcpy(copy, attrs, attrs_size);
    *node = (struct vks_node){
        .op = op,
        .id = (uint32_t)graph->node_count,
        .input_count = input_count,
        .attrs = copy,
        .attrs_size = attrs_size,
        .segment = graph->segment,
    };
    memcpy(node->inputs, inputs, input_count * sizeof(*inputs));
    if (!views_fit(graph, node) || !op->infer(graph, node))
        return vks_graph_fail(graph, "the operator %s cannot be built: its shapes do not fit", op->name);
    graph->nodes[graph->node_count++] = node;
    return node->outputs[0];
}

struct vks_tensor *vks_graph_output(struct vks_graph *graph, struct vks_node *node, enum vks_dtype dtype,
                                    uint32_t rank, const uint32_t shape[])
{
    if (node->output_count == VKS_MAX_OUTPUTS)
        return vks_graph_fail(graph, "the operator %s has too many outputs", node->op->name);
    struct vks_tensor *tensor = new_tensor(graph, NULL, VKS_TENSOR_VALUE, dtype, rank, shape);
    if (tensor) {
        tensor->node = node;
        node->outputs[node->output_count++] = tensor;
    }
    return tensor;
}

struct vks_tensor *vks_tensor_sibling(const struct vks_tensor *tensor, uint32_t index)
{
    return tensor && tensor->node && index < tensor->node->output_count ? tensor->node->outputs[index] : NULL;
}

struct vks_tensor *vks_graph_site(struct vks_graph *graph, const char *name, enum vks_site_kind kind,
                                  struct vks_tensor *value, struct vks_tensor *mask)
{
    if (graph->failed || !value)
        return NULL;
    struct vks_site site = {
        .name = vks_arena_strdup(&graph->arena, name),
        .kind = kind,
        .channels = vks_tensor_channels(value),
        .rows = (uint32_t)(value->rank > 2 ? vks_tensor_extent(value, 1, value->rank - 1) : 1),
        .mask = mask,
    };
    if (!site.name || !vks_grow(&graph->sites, &graph->site_capacity, graph->site_count, sizeof(site)))
        return out_of_memory(graph);
    graph->sites[graph->site_count++] = site;
    return graph->hook ? graph->hook(graph->hook_priv, graph, &site, value) : value;
}

uint64_t vks_tensor_extent(const struct vks_tensor *tensor, uint32_t first, uint32_t last)
{
    uint64_t extent = 1;
    for (uint32_t i = first; i < last; i++)
        extent *= tensor->shape[i];
    return extent;
}

uint64_t vks_tensor_elements(const struct vks_tensor *tensor)
{
    return vks_tensor_extent(tensor, 0, tensor->rank);
}

uint32_t vks_tensor_channels(const struct vks_tensor *tensor)
{
    return tensor->shape[tensor->rank - 1];
}

uint64_t vks_tensor_rows(const struct vks_tensor *tensor)
{
    return vks_tensor_extent(tensor, 0, tensor->rank - 1);
}

uint64_t vks_tensor_step_rows(const struct vks_tensor *tensor)
{
    return vks_tensor_rows(tensor) / tensor->shape[tensor->dynamic_axis];
}

const char *vks_tensor_text(struct vks_graph *graph, const struct vks_tensor *tensor)
{
    if (!tensor)
        return "(nothing)";
    char shape[64] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < tensor->rank; i++)
        used += (size_t)snprintf(shape + used, sizeof(shape) - used, "%s%u", i ? ", " : "", tensor->shape[i]);
    const char *name = tensor->name ? tensor->name : tensor->node ? tensor->node->op->name : "tensor";
    const char *text = vks_arena_printf(&graph->arena, "%s (%s)", name, shape);
    return text ? text : name;
}
