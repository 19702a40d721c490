// Private to runtime/ops: a site's tensor as rows to reduce, and what its maps and poolings share.
//
// Every reduction over the rows of a sample goes by blocks of VKS_POOL_BLOCK rows, sequentially, and then over the
// blocks in order, whatever the batch and the cuts.
#ifndef VKS_OPS_SITE_H
#define VKS_OPS_SITE_H

#include "graph/emit.h"
#include "ops/ops.h"

enum vks_sums {  // KIND of pool_sums.comp; the first three are also those of pool_finish.comp and pool_backward.comp
    VKS_SUMS_MEAN,
    VKS_SUMS_LAST,
    VKS_SUMS_MAX,
    VKS_SUMS_PRODUCT,
    VKS_SUMS_PRODUCT_LAST,
};

// A site's tensor as samples of rows of channels.
struct vks_site_rows {
    struct vks_emitter *emitter;
    uint32_t samples, rows, cols;    // (B, T, C)
    uint32_t blocks;                 // K, of VKS_POOL_BLOCK rows
    const struct vks_tensor *mask;   // (B, T): rows that count; NULL: all
    const struct vks_tensor *valid;  // (B, T): rows below the dynamic length, padding or not; NULL: all
    const struct vks_tensor *span;   // (B, 2) of pool_span.comp; NULL: not wanted, or no mask
    uint32_t sums;                   // partial sums that a binding holds for each block and column: 1 or 2
    uint64_t column, width;          // columns whose partial sums are at hand (vks_site_next_columns)
};

// Whole samples, or rows [first, end) of one sample: what fits a binding.
struct vks_site_slice {
    uint32_t sample, samples, first, end;
};

// Fills `site`; a dynamic length becomes part of the mask. With a mask, also emits the kernel that finds each
// sample's last row and count, if wanted.
bool vks_site_begin(struct vks_site_rows *site, struct vks_emitter *emitter, const struct vks_tensor *z,
                    const struct vks_tensor *mask, bool span);
// The next columns whose partial sums (K, sums, columns) of a sample fit a binding. Begins with `column` and `width`
// 0; false when all columns are done.
bool vks_site_next_columns(struct vks_site_rows *site);
// The next slice; begins zeroed. False: that was the last.
bool vks_site_next_slice(const struct vks_site_rows *site, struct vks_site_slice *at);
uint64_t vks_site_slice_row(const struct vks_site_rows *site, const struct vks_site_slice *at);  // its first, of all
uint64_t vks_site_slice_rows(const struct vks_site_slice *at);
uint32_t vks_site_slice_blocks(const struct vks_site_slice *at);  // of each sample

// Scratch memory for partial sums, as many columns at a time as fit.
struct vks_tensor *vks_site_parts(const struct vks_site_rows *site);
// Partial sums over blocks of rows: x, y (B, T, C) -> out0, out1 (B, K, width), of the site's columns at hand.
bool vks_site_emit_sums(const struct vks_site_rows *site, enum vks_sums kind, const struct vks_tensor *x,
                        const struct vks_tensor *y, const struct vks_tensor *mask, const struct vks_tensor *out0,
                        const struct vks_tensor *out1);

// Where the pooled rows of pool_finish.comp go: rows of a column view, which the step buffer says (VKS_ROW_OF), or
// rows of `to`.
struct vks_site_finish {
    const struct vks_tensor *part, *part_index, *to;
    enum vks_sums kind;
    uint64_t rows, stride;
    uint32_t sample;                           // number of sample 0, where `sliced`
    bool sliced, divide, index;
};
bool vks_site_emit_finish(const struct vks_site_rows *site, const struct vks_site_finish *finish);
// Reduces x (B, T, C) over the rows of each sample that `mask` has into finish->to.
bool vks_site_emit_reduction(struct vks_site_rows *site, const struct vks_tensor *x, const struct vks_tensor *mask,
                             struct vks_site_finish *finish);
// The same into new scratch memory (B, C).
struct vks_tensor *vks_site_emit_reduced(struct vks_site_rows *site, const struct vks_tensor *x,
                                         const struct vks_tensor *mask, enum vks_sums kind);

// A map at a site, as vks_affine_map() takes it.
struct vks_site_affine {
    struct vks_affine map;
    uint32_t sample;                           // graph->sample
    struct vks_tensor *grad_w, *grad_b;
};
// Rows of grad_w and grad_b from the partial sums of the columns at hand.
struct vks_site_gradient {
    const struct vks_site_affine *affine;
    const struct vks_tensor *product, *plain;  // (B, K, width) each; plain NULL: both in `product`, (B, K, 2, width)
    const struct vks_tensor *mean;             // (B, C), AVG only
};
bool vks_site_emit_gradient(const struct vks_site_rows *site, const struct vks_site_gradient *of);

// Pooling at a site, as vks_pool_rows() takes it.
struct vks_site_pool {
    enum vks_pool kind;
    uint32_t sample;                           // graph->sample
    struct vks_tensor *pooled, *grad_pooled;
};

// ---- site_map.c: what stands at one site, in one kernel each way -------------------------------------------------

struct vks_site_map {
    struct vks_site_affine affine;  // at all rows, without mask or range
    struct vks_site_pool pool;      // MEAN; pooled NULL: none
    bool has_act;
    enum vks_unary act;             // of what was mapped and pooled
};
// y = act(map(z)), and the mean of map(z) over the rows of a sample; z (B, ..., C), w and b (C) columns of flat
// states. The bits of vks_affine_map(), vks_pool_rows() and vks_unary() one after another.
vks_tensor *vks_site_map(struct vks_graph *g, vks_tensor *z, vks_tensor *w, vks_tensor *b,
                         const struct vks_site_map *attrs);

#endif
