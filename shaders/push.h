// Push constants and step-buffer words, one named struct per kernel family, read by C and by GLSL.
//
// On the device every push block begins with `off[bindings]` (see include/vks.glsl), eight bytes each where these are
// addresses. Where the kernel takes tickets its counter's address follows, and the first workgroup. So a struct may hold
// at most 128 - 8 * bindings bytes, or 20 less. Members are uint or float only: both languages then agree on the layout.
#ifndef VKS_PUSH_H
#define VKS_PUSH_H

#ifdef __STDC__
#include <stdint.h>
typedef uint32_t vks_uint;
#define uint vks_uint
#endif

#define VKS_GROUPS_X 32768u  // workgroups along x before y counts on
#define VKS_NORM_ROWS 16u    // rows that an invocation of group_norm.comp visits
#define VKS_ELEMENTS 16u     // elements that an invocation of an elementwise kernel visits

// Specialisation constants that runtime/gpu sets (vks.glsl).
#define VKS_TOUCH_CONSTANT 31    // of all kernels that take addresses; 1: they touch what they want next
#define VKS_TICKETS_CONSTANT 30  // of kernels with tickets; 1: their workgroups take them
#define VKS_COUNTER_BINDING 16   // descriptor of their counter: behind all operands and their texel buffers

// Words of the step buffer: all that changes from one submission of a recorded graph to the next.
#define VKS_STEP_ROWS 0u          // valid leading rows of tensors with a dynamic length
#define VKS_STEP_SLICE 1u         // first sample of this micro-batch in the rows of the pooled activations
#define VKS_STEP_LR 2u            // learning rate (float)
#define VKS_STEP_BIAS1 3u         // 1 - beta1^step (float)
#define VKS_STEP_BIAS2 4u         // 1 - beta2^step (float)
#define VKS_STEP_TAU 5u           // proximal threshold: learning rate times gamma (float)
#define VKS_STEP_REFIT 6u         // 1: channels that stand at the identity stay there
#define VKS_STEP_ORDERED 7u       // 1: sample i of the batch has row step[VKS_STEP_ORDER + i] of those rows; 0: row i
#define VKS_STEP_STRENGTH 16u     // strength of each attached steering, one word each (float)
#define VKS_STEP_STRENGTHS 16u
#define VKS_STEP_ORDER 64u
#define VKS_STEP_ORDERS 128u      // samples that can be out of order
#define VKS_STEP_WORDS 192u

struct vks_push_affine {  // z' = (1 + s (w - 1)) z + s b
    uint rows, cols;
    uint strength;        // step word, see VKS_STEP_STRENGTH
    uint per_item;        // rows an invocation
    uint first;           // number of row 0 of the binding in the whole tensor
    uint sample_rows;     // rows a sample
    uint bias;            // 1: add s b (forward); 0: the gradient of z
    uint spans;           // 1: last unmasked row from `span`; 0: the last row
};

struct vks_push_affine_gradient {
    uint samples, blocks, cols;  // of the partial sums
    uint block_stride;           // elements from block to block
    uint first_sample;
    uint first_row, rows;        // rows of the gradients that are bound
    uint row_stride_w, row_stride_b;
    uint mean_stride;            // elements from sample to sample of m
    uint strength;
};

struct vks_push_pool_length {
    uint first, count, each;
    uint mask;                   // 1: bound
};

struct vks_push_pool_span {
    uint samples, rows;
};

#define VKS_POOL_BLOCK 16u  // rows that one invocation sums: the order of every sum over rows follows from it

struct vks_push_pool_sums {
    uint samples, blocks, cols;  // of this slice
    uint stride, column;         // elements from row to row of x and y, and the first of these columns in them
    uint sample_rows;
    uint first, end;             // rows of the sample, where there is only one: [first, end)
    uint spans, mask;            // 1: bound
};

struct vks_push_pool_finish {
    uint samples, blocks, cols, sample_rows;
    uint first_sample;
    uint first_row, rows, row_stride;  // rows of the output that are bound
    uint sliced;                 // 1: sample s goes to row VKS_ROW_OF s (vks.glsl); 0: to row s
    uint spans;
    uint divide;                 // 1: a mean; 0: a sum
    uint index;                  // 1: write the row of the maximum in place of its value
};

struct vks_push_pool_backward {
    uint samples, blocks, cols;
    uint first_sample;
    uint sample_rows;
    uint first, end;             // rows of the sample, where there is only one: [first, end)
    uint first_row, rows, row_stride;  // rows of the gradient that are bound
    uint gradient, spans, mask;  // 1: bound
};

#define VKS_SITE_NO_ACT 0xffffffffu

struct vks_push_site_map {       // forward and backward
    uint samples, blocks, cols;  // of this slice
    uint stride, column;         // elements from row to row, and the first of these columns in them
    uint sample_rows;
    uint first, end;             // rows of the sample, where there is only one: [first, end)
    uint strength;
    uint first_sample;
    uint first_row, rows, row_stride;  // rows of the gradient of the mean that are bound
    uint gradient;               // 1: dy is bound
};

struct vks_push_sort {     // rows are `stride` elements apart
    uint rows, cols;
    uint x_stride, stride;
    uint first;            // number of row 0 of the binding
};

struct vks_push_sort_step {
    uint pairs, cols, stride;
    uint distance;         // j: rows i and i + j of each block of 2 j are compared
    uint flip;             // 1: rows i and 2 j - 1 - i
    uint rows;             // of the whole column
    uint first, lo, hi;    // first pair of this dispatch; rows at which the two bindings begin
};

struct vks_push_copy {     // a block of 32-bit words
    uint rows, cols;
    uint from_stride, to_stride;
};

struct vks_push_wasserstein {
    uint rows, cols, pairs;
    uint stride, target_stride, grad_stride;
};

struct vks_push_sum_rows {
    uint rows, cols, stride;
    uint accumulate;
};

struct vks_push_sgd {
    uint count;
};

struct vks_push_adam {
    uint count;
    float beta1, beta2, eps;
};

struct vks_push_keep_support {
    uint count;
};

#define VKS_PROX_PARTS 64u  // partial sums a group

struct vks_push_prox {
    uint count;
    float center, lambda1;
};

struct vks_push_prox_group {
    uint groups;
    uint first, count;     // columns that are bound
    float center, lambda1, lambda_group;
};

struct vks_push_matmul {  // C[i, j] += A[i, k] (alpha B[k, j]); strides in elements, see ops/matmul.h
    uint m, n, k;
    uint lda, ldb, ldc;
    uint inner;           // matrices of the inner batch level: z = outer * inner + inner index
    uint a0, a1, b0, b1, c0, c1;  // elements from matrix to matrix, outer and inner level
    float alpha;
    uint flags;           // 1: start from the bias
};

struct vks_push_panels_a {
    uint rows, cols;
    uint stride;          // elements from row to row
};

struct vks_push_panels_b {
    uint n, k;
    uint stride;          // elements from row to row of what lies there
};

struct vks_push_flat {    // elementwise kernels
    uint count;
};

struct vks_push_rows {    // one invocation an element, or a row
    uint rows, cols;
};

struct vks_push_scale {   // y = gain x + bias
    uint count;
    float gain, bias;
};

struct vks_push_add {     // see add.comp
    uint count, cols;
    uint first_row, first_z_row, row_divide, row_modulo;
};

struct vks_push_columns {  // see columns.comp
    uint rows, cols;
    uint first, a_cols, a_first, a_stride;
    uint with_b;
};

struct vks_push_upsample {  // see upsample.comp
    uint lines, line, other_line;  // lines of this dispatch, the first, and the first line of the operand read
    uint h, w, height, width, cols;
};

struct vks_push_embedding {
    uint count, cols, rows;
    uint row_first, row_count;  // rows of the table in this dispatch
};

struct vks_push_gather_row {
    uint samples, rows, cols;
    uint row_first, row_end;
};

struct vks_push_attention {  // see attention_softmax.comp
    uint rows, cols, row_first;
    uint per_sample, queries;   // rows of a sample, and of one of its heads
    uint query_first;           // number of row 0's query
    uint sample_first;          // sample of the chunk whose mask is bound first
    uint flags;                 // 1: there is a mask, 2: causal, 4: `positions` has the first ones
    uint position;              // of the first query among the keys
    uint tokens;                // numbers of a sample in `positions`
    uint group;                 // queries at one position
    uint window;                // keys that a causal query sees at most; 0: all
    float softcap;
};

struct vks_push_attention_cpu {  // see attention_cpu.comp
    uint heads;               // of keys
    uint owned, own_first;    // rows of a head that are bound on the side that subgroups own, and the first of them
    uint walked;              // rows of a head on the other side
    uint walk_first, walk_end;  // which of them are bound
    uint walk_rows;           // rows of a sample that are bound there, walked or not
    uint queries;             // of a head of keys
    uint group;               // query heads that share it: queries at one position
    uint tokens;              // of a sample in `positions`
    uint window;              // keys that a query of a cache sees at most; 0: all up to its own
    float scale;
};

struct vks_push_cache_rows {  // see cache_rows.comp
    uint count, cols, tokens, rows;
    uint x_first, first, bound;
};

struct vks_push_rope {
    uint rows, heads, width;
    uint pairs;           // R / 2
    uint per_item;        // heads an invocation, a divisor of `heads`
};

struct vks_push_layer_norm {
    uint rows, cols;
    float inverse, eps;   // inverse: 1 / cols
    float offset;         // added to the weight
    uint flags;           // 1: there is a weight, 2: there is a bias
};

struct vks_push_group_norm {  // rows count within a sample
    uint samples, rows, groups, width;  // width: channels of a group
    uint row_first, row_end;            // the rows of this dispatch; 0, rows when it covers whole samples
    uint chunk_rows, chunk_first, chunk_count;
    float eps;
    uint finish;          // one chunk a sample: leave rstd instead of M2
    uint flags;           // 1: there is a weight, 2: there is a bias
};

struct vks_push_reduce_rows {  // see reduce_rows.comp; strides in rows
    uint outputs, cols, count;
    uint out_stride, row_stride;
    uint accumulate;
};

struct vks_push_conv2d {  // see include/matmul.glsl; rows are the pixels of a grid (samples, gh, gw)
    uint m, n, k;          // rows, columns, channels of a tap
    uint lda, ldb;         // elements from source pixel to pixel; from B's row to row
    uint row0, gh, gw;     // grid row of the first row
    uint sh, sw;           // source pixels of a sample
    uint step, add_y, add_x, tap;  // source pixel = step * grid pixel + add + tap * tap number (modulo 2^32)
    uint taps;             // rows of taps << 16 | columns of them
    uint wy, wx;           // elements of B from tap to tap
    uint a0;               // first element of the source that is bound
    uint c_b, c_y, c_x, c0;  // elements of C from sample to sample, grid row, grid column; first one bound
};

struct vks_push_winograd_weight {  // see winograd_weight.comp; a slice of the weight
    uint rows, cols;
    uint row, tap;         // elements of the weight from row to row, from tap to tap
};

struct vks_push_winograd {  // see winograd_input.comp and winograd_output.comp
    uint tiles, cols;      // tiles of this dispatch, channels
    uint across, down;     // tiles of a sample: columns; rows in this dispatch,
    uint first;            // from this row on
    uint h, w;             // pixels of a sample
    uint line;             // the first line of pixels that is bound
    uint stride;           // elements from pixel to pixel
};

struct vks_push_unpack_blocks {
    uint count;                   // rows that are made
    uint cols, words;             // elements of a row, words of its blocks
    uint rows, row_first, row_count;  // of the matrix: all of them, and those that a gathering dispatch sees
};

struct vks_push_unpack {   // dst[i, j, l] = src[i, j, l] as fp32
    uint ni, nj, nl;
    uint si, sj, sl, di, dj, dl;  // elements
};

#ifdef __STDC__
#undef uint
#endif
#endif
