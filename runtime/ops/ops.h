// The operators: builders that add a node each, and the table of their rows.
//
// x is an input, y an output, dy and dx their gradients. Activations are channels-last, fp32. Every builder returns
// NULL when the graph has failed or the shapes do not fit (the message names the shapes). Optional tensors may be
// NULL.
#ifndef VKS_OPS_OPS_H
#define VKS_OPS_OPS_H

#include "base/quant.h"
#include "graph/graph.h"
#include "graph/op.h"

typedef struct vks_tensor vks_tensor;

// ---- linear.c ---------------------------------------------------------------------------------------------------
// y = x Wᵀ + bias; x (..., K), W (N, K) fp32/fp16/bf16, bias (N) or NULL -> y (..., N)
vks_tensor *vks_linear(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, vks_tensor *bias);
// y = x W; x (..., N), W (N, K) -> y (..., K): the input gradient of vks_linear, and a layer in its own right
vks_tensor *vks_linear_transposed(struct vks_graph *g, vks_tensor *x, vks_tensor *weight);

// ---- packed.c: weights that stay in quantised blocks --------------------------------------------------------------
// A matrix (rows, columns) lies as int32 words (rows, vks_packed_words): the blocks of base/quant.h as they stand in
// GGUF files, each row padded to 16 bytes. Frozen: no gradient reaches it.
struct vks_packed {
    enum vks_quant_type type;
    uint32_t columns;
};
// Whether rows of so many elements can stay in blocks of a type.
bool vks_packed_can(enum vks_quant_type type, uint32_t columns);
uint32_t vks_packed_words(enum vks_quant_type type, uint32_t columns);
// y = x Wᵀ; x (..., columns), W (N, columns) -> y (..., N). A bounded panel of rows is unpacked at a time.
vks_tensor *vks_linear_packed(struct vks_graph *g, vks_tensor *x, vks_tensor *packed, const struct vks_packed *attrs);
// y = x W; x (..., N) -> y (..., columns)
vks_tensor *vks_linear_packed_transposed(struct vks_graph *g, vks_tensor *x, vks_tensor *packed,
                                         const struct vks_packed *attrs);
// ids (...) int32 -> (..., columns)
vks_tensor *vks_embedding_packed(struct vks_graph *g, vks_tensor *ids, vks_tensor *packed,
                                 const struct vks_packed *attrs);

// ---- conv2d.c ---------------------------------------------------------------------------------------------------
struct vks_conv2d {
    uint32_t stride;                // both axes; 1 or 2
    uint32_t pad_before, pad_after; // rows above and columns to the left; rows below and columns to the right
};
// x (B, H, W, Cin), weight (Cout, KH, KW, Cin), bias (Cout) or NULL -> y (B, H', W', Cout)
vks_tensor *vks_conv2d(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, vks_tensor *bias,
                       const struct vks_conv2d *attrs);

// ---- norm.c -----------------------------------------------------------------------------------------------------
// x (B, ..., C); mean and variance over a sample's rows and the C / groups channels of a group; weight, bias (C) or
// NULL
vks_tensor *vks_group_norm(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, vks_tensor *bias, uint32_t groups,
                           float eps);
// x (..., C); mean and variance over the channels of a row
vks_tensor *vks_layer_norm(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, vks_tensor *bias, float eps);
// y = x / sqrt(mean(x²) + eps) (offset + weight) over the channels of a row; x (..., C), weight (C), or NULL: gain 1.
// offset: 0 (Llama), or 1 where the file holds the gain less 1 (Gemma). Rows may be heads: x (B, T, heads, D).
vks_tensor *vks_rms_norm(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, float offset, float eps);

// ---- attention.c ------------------------------------------------------------------------------------------------
struct vks_attention {
    uint32_t heads;                 // of q, D channels each
    uint32_t kv_heads;              // of k and v: each serves heads / kv_heads neighbours of q; 0: as many as heads
    float scale;                    // of the scores; 0: 1 / sqrt(D)
    float softcap;                  // scores become softcap tanh(score / softcap); 0: no cap
    bool causal;                    // query t stands at position t + Tk - Tq and sees the keys up to it
    uint32_t window;                // of a causal query: it sees that many keys, itself the last; 0: all up to it
    uint32_t keys;                  // of a cache: the first so many rows stand for Tk, which saves time; 0: all
};
// q (B, Tq, heads * D), k and v (B, Tk, kv_heads * D), mask (B, Tk) float (1 = key, 0 = padding) or NULL
// -> (B, Tq, heads * D). A query that sees no key gives zeros, and no gradient.
vks_tensor *vks_attention(struct vks_graph *g, vks_tensor *q, vks_tensor *k, vks_tensor *v, vks_tensor *mask,
                          const struct vks_attention *attrs);
// The same over caches k and v (vks_cache_rows), both of fp32 or both of fp16, of texts that grow by themselves:
// query t of sample b stands at position positions[b][0] + t of its text, positions (B, Tq) int32. Rows that no query
// sees hold finite numbers. Causal, and only forward.
vks_tensor *vks_attention_cached(struct vks_graph *g, vks_tensor *q, vks_tensor *k, vks_tensor *v,
                                 vks_tensor *positions, const struct vks_attention *attrs);
// Rotary positions: x (B, T, heads * D), angles (B, T, R) = the cosines of R / 2 angles, then their sines (rows of a
// table, by vks_embedding); in each head channels i and i + R / 2 turn together, those from R on pass.
vks_tensor *vks_rope(struct vks_graph *g, vks_tensor *x, vks_tensor *angles, uint32_t heads);
// Writes x (B, T, C) to rows positions[b][0] .. + T - 1 of each sample b of `cache` (B, Tk, C), a STATE of fp32 or, C
// even, of fp16 (the nearest, of finite values a finite one); positions (B, T) int32; what would lie beyond Tk is
// dropped. Returns the cache as the nodes after this one read it. No gradient.
vks_tensor *vks_cache_rows(struct vks_graph *g, vks_tensor *cache, vks_tensor *x, vks_tensor *positions);
// softmax over the channels of a row
vks_tensor *vks_softmax(struct vks_graph *g, vks_tensor *x);

// ---- pointwise.c ------------------------------------------------------------------------------------------------
enum vks_unary {
    VKS_SILU,        // x sigmoid(x)
    VKS_GELU,        // x Φ(x), exact (erf)
    VKS_GELU_TANH,   // the tanh form
    VKS_QUICK_GELU,  // x sigmoid(1.702 x)
    VKS_RELU,
    VKS_TANH,
    VKS_SIGMOID,
};
vks_tensor *vks_unary(struct vks_graph *g, vks_tensor *x, enum vks_unary kind);
// x (..., 2 C) = (a, gate) -> a gelu(gate) (..., C)
vks_tensor *vks_geglu(struct vks_graph *g, vks_tensor *x);
// y = x + z; z has x's shape, or (C), or (B, C) added to every row of its sample, or (T, C) added to every sample.
// Where B = T, a z (T, C) that is a STATE counts as positions, any other as samples; (1, T, C) is always positions.
vks_tensor *vks_add(struct vks_graph *g, vks_tensor *x, vks_tensor *z);
// y = x z, the same shape
vks_tensor *vks_multiply(struct vks_graph *g, vks_tensor *x, vks_tensor *z);
// y = gain x + offset
vks_tensor *vks_scale(struct vks_graph *g, vks_tensor *x, float gain, float offset);
// The same bytes under another shape (elements must agree); costs nothing.
vks_tensor *vks_reshape(struct vks_graph *g, vks_tensor *x, uint32_t rank, const uint32_t shape[]);

// ---- shape.c ----------------------------------------------------------------------------------------------------
// (..., C1), (..., C2) -> (..., C1 + C2)
vks_tensor *vks_concat(struct vks_graph *g, vks_tensor *a, vks_tensor *b);
// channels [first, first + count) of x
vks_tensor *vks_slice(struct vks_graph *g, vks_tensor *x, uint32_t first, uint32_t count);
// x (B, H, W, C) -> (B, height, width, C), nearest: source = floor(i * H / height)
vks_tensor *vks_upsample_nearest(struct vks_graph *g, vks_tensor *x, uint32_t height, uint32_t width);
// ids (...) int32, table (V, C) fp32/fp16/bf16 -> (..., C)
vks_tensor *vks_embedding(struct vks_graph *g, vks_tensor *ids, vks_tensor *table);
// x (B, T, C), index (B) int32 -> (B, C): row index[b] of sample b (a text encoder's pooled token)
vks_tensor *vks_gather_row(struct vks_graph *g, vks_tensor *x, vks_tensor *index);

// ---- steering.c -------------------------------------------------------------------------------------------------
enum vks_position {
    VKS_POSITION_ALL,   // every row
    VKS_POSITION_LAST,  // the last unmasked row of each sample
    VKS_POSITION_AVG,   // z + T(m) - m, m = mean over the unmasked rows
};
struct vks_affine {
    enum vks_position position;
    uint32_t strength;              // which strength of the step buffer: 0 .. VKS_STEP_STRENGTHS - 1
    // (2 C) columns of a state: of each channel the lowest and the highest z that is mapped (with AVG the lowest and
    // the highest m); values outside keep their bits. Such a map has no gradient. NULL: all values are mapped.
    struct vks_tensor *range;
};
// z' = (1 + λ(w - 1)) z + λ b per channel; z (B, ..., C), w and b (C) columns of flat states. λ = 0 gives z's bits.
// grad_w, grad_b (rows, C): columns of states that receive each sample's dw, db in backward; NULL: maps are frozen.
// LAST and AVG see the valid rows of a dynamic z alone, and so do dw and db.
vks_tensor *vks_affine_map(struct vks_graph *g, vks_tensor *z, vks_tensor *w, vks_tensor *b, vks_tensor *mask,
                           vks_tensor *grad_w, vks_tensor *grad_b, const struct vks_affine *attrs);
enum vks_pool {
    VKS_POOL_MEAN,
    VKS_POOL_LAST,
    VKS_POOL_MAX,
};
// Pools z (b, ..., C) over its unmasked rows into rows [slice, slice + b) of `pooled` (B, C), columns of a flat
// state; slice = step[VKS_STEP_SLICE] + graph->sample, or into the rows that the step buffer names (VKS_STEP_ORDER).
// Backward reads the same rows of `grad_pooled` (B, C), columns of a flat state.
// Returns z: the pooled rows are a side effect, and the loss lives in a graph of its own (exact micro-batching). A
// dynamic z counts its valid rows alone; samples beyond the length pool to 0 and get no gradient.
vks_tensor *vks_pool_rows(struct vks_graph *g, vks_tensor *z, vks_tensor *mask, vks_tensor *pooled,
                          vks_tensor *grad_pooled, enum vks_pool kind);

// ---- wasserstein.c ----------------------------------------------------------------------------------------------
// Sorts every column of x (rows, columns), stable and ascending, in place of nothing: sorted (rows, columns) and
// permutation (rows, columns) int32 with sorted[i] = x[permutation[i]]. A NaN sets *flag (1) int32 STATE to non-zero.
bool vks_sort_columns(struct vks_graph *g, vks_tensor *x, vks_tensor *flag, vks_tensor **sorted,
                      vks_tensor **permutation);
// One-dimensional Wasserstein distance W_p^p per column between `sorted` (B, D) and `target` (N, D), both sorted, by
// the quantile coupling (pairs (P, 2) int32 of row numbers, weights (P)), scaled by column_weight (D): writes the
// terms (D) and the gradient with respect to the unsorted rows, grad (B, D).
vks_tensor *vks_wasserstein(struct vks_graph *g, vks_tensor *sorted, vks_tensor *permutation, vks_tensor *target,
                            vks_tensor *pairs, vks_tensor *weights, vks_tensor *column_weight, vks_tensor *grad,
                            uint32_t p);
// The pairs of the coupling of B against N rows, built with integers: returns their number P <= B + N - 1 and writes
// pairs[2 P], weights[P] (either may be NULL).
uint32_t vks_quantile_coupling(uint32_t b, uint32_t n, int32_t *pairs, float *weights);

// ---- optimiser.c ------------------------------------------------------------------------------------------------
// Parameters and moments are flat STATEs (D), updated in place; the step buffer gives rate, bias corrections and τ.
// grad (D) = sum over rows, in order, of rows (B, D)
bool vks_sum_rows(struct vks_graph *g, vks_tensor *rows, vks_tensor *grad);
bool vks_sgd(struct vks_graph *g, vks_tensor *param, vks_tensor *grad);
struct vks_adam {
    float beta1, beta2, eps;
};
bool vks_adam(struct vks_graph *g, vks_tensor *param, vks_tensor *grad, vks_tensor *m, vks_tensor *v,
              const struct vks_adam *attrs);
// While step[VKS_STEP_REFIT] is not 0: zeroes dw and db of channels with w = 1 and b = 0; all (D).
bool vks_keep_support(struct vks_graph *g, vks_tensor *dw, vks_tensor *db, vks_tensor *w, vks_tensor *b);
// Proximal step of the sparse group lasso on param - center: soft threshold τ λ1, then a group shrink τ λG sqrt(D)
// for each group [groups[g], groups[g + 1]) of groups (G + 1) int32 (NULL only where λG = 0: elementwise).
struct vks_prox {
    float center;           // 1 for w, 0 for b
    float lambda1, lambda_group;
};
bool vks_prox(struct vks_graph *g, vks_tensor *param, vks_tensor *groups, const struct vks_prox *attrs);

#endif
