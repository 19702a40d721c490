#include "ops/columns.h"

#include "graph/op.h"
#include "shaders/push.h"

uint64_t vks_binding_words(const struct vks_emitter *emitter)
{
    return emitter->limits.max_range / 4;
}

uint64_t vks_row_stride(const struct vks_tensor *tensor)
{
    return tensor->row_stride ? tensor->row_stride : vks_tensor_channels(tensor);
}

uint64_t vks_rows_per_binding(const struct vks_emitter *emitter, uint64_t columns, uint64_t stride)
{
    const uint64_t words = vks_binding_words(emitter);
    return columns > words ? 0 : 1 + (words - columns) / stride;
}

struct vks_operand vks_block_operand(const struct vks_tensor *tensor, enum vks_access access, uint64_t stride,
                                     uint64_t row, uint64_t rows, uint64_t column, uint64_t columns)
{
    return (struct vks_operand){
        .tensor = tensor,
        .access = access,
        .first = row * stride + column,
        .count = (rows - 1) * stride + columns,
    };
}

bool vks_emit_copy(struct vks_emitter *emitter, const struct vks_block_copy *copy)
{
    const uint64_t stride = copy->from_stride > copy->to_stride ? copy->from_stride : copy->to_stride;
    const uint64_t fit = vks_rows_per_binding(emitter, copy->columns, stride);
    if (fit == 0)
        return vks_graph_fail(emitter->graph, "%s: %u columns exceed a binding: choose fewer sites",
                              emitter->node->op->name, copy->columns) != NULL;
    for (struct vks_stretch at = {0}; vks_stretch_next(&at, copy->rows, fit);) {
        const uint64_t row = at.first, rows = at.count;
        const struct vks_operand operands[] = {
            vks_block_operand(copy->from, VKS_READ, copy->from_stride, row, rows, copy->from_column, copy->columns),
            vks_block_operand(copy->to, VKS_WRITE, copy->to_stride, row, rows, copy->to_column, copy->columns),
        };
        const struct vks_push_copy push = {
            .rows = (uint32_t)rows,
            .cols = copy->columns,
            .from_stride = (uint32_t)copy->from_stride,
            .to_stride = (uint32_t)copy->to_stride,
        };
        if (!vks_emit(emitter, VKS_K_sort_copy, operands, 2, &push, sizeof(push),
                      vks_groups_1d(rows * copy->columns, 64)))
            return false;
    }
    return true;
}
