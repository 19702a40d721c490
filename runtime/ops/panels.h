// Operands of matrix products in panels, for the kernels of CPU drivers, whose loads cost least where lanes read
// neighbours. No bit of a product depends on it.
//
// Source: packing in BLIS, Van Zee and van de Geijn 2015, section 2.
#ifndef VKS_OPS_PANELS_H
#define VKS_OPS_PANELS_H

#include "ops/matmul.h"

// Where a product's panels go. A's hold `rows` of its rows at a time, so that they are still in a processor's caches
// when they are read; tensor NULL: that operand stays as it lies.
struct vks_panels {
    struct vks_matrix a, b;
    uint32_t rows;
};

// Decides where panels save more than they cost, and takes their memory. False: out of memory (logged).
bool vks_panels_plan(struct vks_emitter *emitter, const struct vks_matmul *matmul, struct vks_panels *panels);
// Writes rows [row, row + rows) of A into its panels, or B into its own. False: out of memory (logged).
bool vks_emit_panels_a(struct vks_emitter *emitter, const struct vks_matmul *matmul, uint32_t row, uint32_t rows,
                       const struct vks_panels *panels);
bool vks_emit_panels_b(struct vks_emitter *emitter, const struct vks_matmul *matmul, const struct vks_panels *panels);
// Those rows of the product, from panels.
struct vks_matmul vks_panels_block(const struct vks_matmul *matmul, uint32_t row, uint32_t rows,
                                   const struct vks_panels *panels);

#endif
