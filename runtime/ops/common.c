#include "ops/common.h"

bool vks_emit_flat(struct vks_emitter *emitter, enum vks_kernel kernel, const uint32_t spec[], uint32_t spec_count,
                   struct vks_operand operands[], uint32_t operand_count, void *push, size_t push_size)
{
    const struct vks_tensor *shape = operands[0].tensor;
    // A dynamic tensor is cut at its rows, which the step buffer counts; any other wherever it has to be.
    const uint64_t width = shape->dynamic ? vks_tensor_channels(shape) : 1;
    const uint64_t rows = vks_tensor_elements(shape) / width;
    const uint64_t most = vks_rows_per_slice(emitter, rows, width * 4);
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
        const uint32_t per_group = VKS_GROUP * VKS_ELEMENTS;
        const struct vks_groups groups = shape->dynamic ? vks_groups_rows(shape, row, count, width, per_group)
                                                        : vks_groups_1d(count, per_group);
        if (!vks_emit_special(emitter, kernel, spec, spec_count, operands, operand_count, push, push_size, groups))
            return false;
    }
    return true;
}
