// Column views on kernels' terms: row strides, what fits a binding, copies between strided and dense blocks.
#ifndef VKS_OPS_COLUMNS_H
#define VKS_OPS_COLUMNS_H

#include "graph/emit.h"

// Words (32 bits) that one binding may hold, wherever it begins.
uint64_t vks_binding_words(const struct vks_emitter *emitter);

// Cuts `total` items into stretches of at most `most`: for (struct vks_stretch s = {0}; vks_stretch_next(&s, ...);)
struct vks_stretch {
    uint64_t first, count;
};
static inline bool vks_stretch_next(struct vks_stretch *at, uint64_t total, uint64_t most)
{
    at->first += at->count;
    at->count = total - at->first < most ? total - at->first : most;
    return at->count > 0;
}

// Elements from row to row of a (rows, columns) tensor.
uint64_t vks_row_stride(const struct vks_tensor *tensor);

// Rows of `columns` elements, `stride` apart, that one binding may hold; 0: not even one.
uint64_t vks_rows_per_binding(const struct vks_emitter *emitter, uint64_t columns, uint64_t stride);

// Columns [column, column + columns) of rows [row, row + rows) of a (..., columns) tensor whose rows are `stride`
// apart.
struct vks_operand vks_block_operand(const struct vks_tensor *tensor, enum vks_access access, uint64_t stride,
                                     uint64_t row, uint64_t rows, uint64_t column, uint64_t columns);

// Copies `rows` x `columns` words from column `from_column` of `from` to column `to_column` of `to`, cut as needed.
// The strides are given because scratch memory has no rows of its own.
struct vks_block_copy {
    const struct vks_tensor *from, *to;
    uint64_t from_stride, to_stride, from_column, to_column;
    uint32_t rows, columns;
};
bool vks_emit_copy(struct vks_emitter *emitter, const struct vks_block_copy *copy);

#endif
