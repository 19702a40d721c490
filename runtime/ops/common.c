#include "ops/common.h"

bool vks_aligned(const struct vks_tensor *tensor, uint64_t first)
{
    // Planned memory is aligned; a state, or a view of one, may begin anywhere in its storage.
    while (tensor->kind != VKS_TENSOR_STATE && tensor->node && tensor->node->op->alias)
        tensor = tensor->node->inputs[0];
    return (first + (tensor->kind == VKS_TENSOR_STATE ? tensor->offset : 0)) % 4 == 0;
}

bool vks_all_aligned(const struct vks_operand operands[], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (operands[i].tensor && !vks_aligned(operands[i].tensor, operands[i].first))
            return false;
    return true;
}

bool vks_emit_flat(struct vks_emitter *emitter, enum vks_kernel kernel, const uint32_t spec[], uint32_t spec_count,
                   struct vks_operand operands[], uint32_t operand_count, void *push, size_t push_size)
{
    const struct vks_tensor *shape = operands[0].tensor;
    // A dynamic tensor is cut at its rows, which the step buffer counts; any other wherever it has to be.
    const uint64_t width = shape->dynamic ? vks_tensor_channels(shape) : 1;
    const uint64_t rows = vks_tensor_elements(shape) / width;
    const uint64_t most = vks_rows_per_slice(emitter, rows, width * 4);
    uint32_t constants[VKS_MAX_SPEC] = {0};
    if (spec_count)
        memcpy(constants, spec, spec_count * sizeof(*spec));
    if (most == 0)
        return vks_fail_row(emitter, shape);
    for (uint64_t row = 0; row < rows; row += most) {
        const uint64_t count = vks_min_u64(most, rows - row);
        const uint32_t elements = (uint32_t)(count * width);
        for (uint32_t i = 0; i < operand_count; i++) {
            operands[i].first = row * width;
            operands[i].count = elements;
        }
        memcpy(push, &elements, sizeof(elements));
        constants[spec_count] = elements % 4 == 0 && (!shape->dynamic || width % 4 == 0) &&
                                vks_all_aligned(operands, operand_count);
        const uint32_t per_group = VKS_GROUP * VKS_ELEMENTS;
        const struct vks_groups groups = shape->dynamic ? vks_groups_rows(shape, row, count, width, per_group)
                                                        : vks_groups_1d(count, per_group);
        if (!vks_emit_special(emitter, kernel, constants, spec_count + 1, operands, operand_count, push, push_size,
                              groups))
            return false;
    }
    return true;
}

struct vks_tensor *vks_pass(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const inputs[])
{
    (void)graph;
    (void)node;
    return inputs[0];
}
