#include "graph/emit.h"

#include <string.h>

#include "graph/op.h"
#include "shaders/push.h"

bool vks_emit(struct vks_emitter *emitter, enum vks_kernel kernel, const struct vks_operand operands[],
              uint32_t operand_count, const void *push, size_t push_size, struct vks_groups groups)
{
    return vks_emit_special(emitter, kernel, NULL, 0, operands, operand_count, push, push_size, groups);
}

// An unused slot is bound to bytes that the dispatch writes anyway: there must be some.
static bool slots_fill(const struct vks_operand operands[], uint32_t count)
{
    bool unused = false, written = false;
    for (uint32_t i = 0; i < count; i++) {
        unused |= !operands[i].tensor;
        written |= operands[i].tensor && (operands[i].access & VKS_WRITE);
    }
    return !unused || written;
}

bool vks_emit_special(struct vks_emitter *emitter, enum vks_kernel kernel, const uint32_t spec[], uint32_t spec_count,
                      const struct vks_operand operands[], uint32_t operand_count, const void *push,
                      size_t push_size, struct vks_groups groups)
{
    struct vks_graph *graph = emitter->graph;
    const struct vks_kernel_info *info = &vks_kernels[kernel];
    if (operand_count != info->bindings || push_size != info->push_size || spec_count > VKS_MAX_SPEC ||
        push_size + 8 * operand_count > VKS_MAX_PUSH)
        return vks_graph_fail(graph, "kernel %s: %u operands and %zu push bytes do not fit its row in the table",
                              info->name, operand_count, push_size) != NULL;
    if (!slots_fill(operands, operand_count))
        return vks_graph_fail(graph, "kernel %s leaves a slot unused and writes none that could stand for it",
                              info->name) != NULL;
    if (groups.per_row == 0 && groups.x * (uint64_t)groups.y * groups.z == 0)
        return true;
    if (groups.x > emitter->limits.max_groups || groups.y > emitter->limits.max_groups ||
        groups.z > emitter->limits.max_groups)
        return vks_graph_fail(graph, "kernel %s needs %u x %u x %u workgroups: use a smaller batch or size",
                              info->name, groups.x, groups.y, groups.z) != NULL;
    if (!vks_grow(&emitter->dispatches, &emitter->dispatch_capacity, emitter->dispatch_count,
                  sizeof(*emitter->dispatches)))
        return vks_graph_fail(graph, VKS_NO_MEMORY) != NULL;
    struct vks_dispatch *dispatch = &emitter->dispatches[emitter->dispatch_count];
    *dispatch = (struct vks_dispatch){
        .kernel = kernel,
        .spec_count = spec_count,
        .operand_count = operand_count,
        .push_size = (uint32_t)push_size,
        .groups = groups,
        .node = emitter->node,
    };
    if (spec_count)
        memcpy(dispatch->spec, spec, spec_count * sizeof(*spec));
    memcpy(dispatch->push, push, push_size);
    memcpy(dispatch->operands, operands, operand_count * sizeof(*operands));
    for (uint32_t i = 0; i < operand_count; i++) {
        struct vks_operand *operand = &dispatch->operands[i];
        const struct vks_tensor *tensor = operand->tensor;
        if (!tensor)
            continue;
        // A column view reaches from its first element to the last column of its last row.
        const uint64_t elements = tensor->row_stride && tensor->rank == 2
                                      ? (tensor->shape[0] - 1) * (uint64_t)tensor->row_stride + tensor->shape[1]
                                      : vks_tensor_elements(tensor);
        if (operand->count == 0)
            operand->count = elements - operand->first;
        if (operand->first > elements || operand->count > elements - operand->first)
            return vks_graph_fail(graph, "kernel %s: operand %u reaches beyond %s", info->name, i,
                                  vks_tensor_text(graph, tensor)) != NULL;
        const uint64_t bytes = operand->count * vks_dtype_size(tensor->dtype);
        if (bytes > emitter->limits.max_range)
            return vks_graph_fail(graph,
                                  "%s: a binding of %llu bytes of %s exceeds the device's limit of %llu: use a "
                                  "smaller batch or size",
                                  info->name, (unsigned long long)bytes, vks_tensor_text(graph, tensor),
                                  (unsigned long long)emitter->limits.max_range) != NULL;
    }
    emitter->dispatch_count++;
    return true;
}

struct vks_tensor *vks_emit_scratch(struct vks_emitter *emitter, uint64_t elements)
{
    // Graph tensors without a producer: the planner sees their life from the dispatches that use them.
    struct vks_graph *graph = emitter->graph;
    const uint32_t width = elements % 4 == 0 ? 4 : 1;
    const uint32_t shape[] = {(uint32_t)(elements / width), width};
    if (elements / width > UINT32_MAX)
        return vks_graph_fail(graph, "%s needs too much scratch memory: use a smaller batch or size",
                              emitter->node->op->name);
    struct vks_tensor *tensor = vks_graph_input(graph, "scratch", VKS_F32, 2, shape, false);
    if (tensor)
        tensor->kind = VKS_TENSOR_VALUE;
    return tensor;
}

struct vks_groups vks_groups_1d(uint64_t items, uint32_t per_group)
{
    const uint64_t groups = (items + per_group - 1) / per_group;
    return (struct vks_groups){
        .x = (uint32_t)(groups < VKS_GROUPS_X ? groups : VKS_GROUPS_X),
        .y = (uint32_t)((groups + VKS_GROUPS_X - 1) / VKS_GROUPS_X),
        .z = 1,
    };
}

struct vks_groups vks_groups_rows(const struct vks_tensor *tensor, uint64_t first, uint64_t count, uint64_t per_row,
                                  uint32_t per_group)
{
    struct vks_groups groups = vks_groups_1d(count * per_row, per_group);
    if (tensor->dynamic) {
        const uint64_t inner = vks_tensor_step_rows(tensor);
        groups.row_first = (uint32_t)(first / inner);
        groups.row_count = (uint32_t)((first + count + inner - 1) / inner) - groups.row_first;
        groups.per_row = (uint32_t)(per_row * inner);
        groups.per_group = per_group;
    }
    return groups;
}

uint64_t vks_rows_per_slice(const struct vks_emitter *emitter, uint64_t rows, uint64_t row_bytes)
{
    const uint64_t fit = emitter->limits.max_range / (row_bytes ? row_bytes : 1);
    return fit < rows ? fit : rows;
}
