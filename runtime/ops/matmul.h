// Emission of matrix products: the one family behind linear, convolution's 1x1 case and attention.
//
//     C[m, n] = (bias[n] or 0, or what C holds) + sum over k of A[m, k] (alpha B[k, n]), + plus[m, n]    k increasing
//
// Every product is a chain of fma() in fp32 with one accumulator per element, so tiles, cuts, batch sizes and kernel
// variants change no bit, and a product continued with `accumulate` has the bits of the whole one.
#ifndef VKS_OPS_MATMUL_H
#define VKS_OPS_MATMUL_H

#include "base/quant.h"
#include "graph/emit.h"

enum vks_matmul_form {
    VKS_MATMUL_NT,  // A (m, k), B (n, k): y = x Wᵀ, scores = q kᵀ
    VKS_MATMUL_NN,  // A (m, k), B (k, n): dx = dy W, output = probabilities v
    VKS_MATMUL_TN,  // A (k, m), B (k, n): dv = probabilitiesᵀ dy
};

// A stack of row-major fp32 matrices inside a tensor: row r of matrix (i, j) begins at element
// first + i * batch[0] + j * batch[1] + r * stride.
//
// Or it lies in panels of P rows or columns (ops/panels.h), the last one whole, aligned to 16 bytes, k a multiple of
// four, and for B n too:
//   A (m, k)   element (r, k) at (r / P) P stride + (k / 4) 4 P + (r mod P) 4 + k mod 4
//   B (k, n)   element (k, j) at (j / P) stride + k P + j mod P
struct vks_matrix {
    const struct vks_tensor *tensor;
    uint64_t first;
    uint32_t stride;     // elements from row to row; of B in panels, from panel to panel
    uint32_t batch[2];   // elements from matrix to matrix on the two batch levels
    uint32_t panel;      // P, as vks_matmul_panels() says; 0: row-major. Of A in NT and NN, of B in NN alone
};

struct vks_matmul {
    enum vks_matmul_form form;
    uint32_t m, n, k;
    uint32_t batch[2];              // outer and inner number of matrices; 0 counts as 1
    struct vks_matrix a, b, c;
    // Of b (n, k), form NT: rows of quantised blocks, whose stride and batch count words; VKS_QUANT_F32: numbers of
    // b.tensor's type. Only where vks_matmul_takes_blocks().
    enum vks_quant_type blocks;
    const struct vks_tensor *bias;  // (n), or NULL; not together with accumulate
    const struct vks_tensor *plus;  // added to the finished sums: a tensor of c.tensor's shape, or NULL
    float alpha;                    // 0 counts as 1
    bool accumulate;                // C += ...; C is read as well as written
    // C's rows are the rows of this tensor, whose valid length comes from the step buffer when it is dynamic
    // (batch must then be 1); NULL: all m rows.
    const struct vks_tensor *rows;
};

// Writes the dispatches of the product, cut along batch, m, n and at last k so that no binding exceeds the limit.
// False: out of memory, or a single row cannot be bound (logged).
bool vks_emit_matmul(struct vks_emitter *emitter, const struct vks_matmul *matmul);

#define VKS_FEW_ROWS 8u

// Which kernel a product of m rows and n columns runs on: a pure function of limits (with the overrides of
// `bench --tune` in them) and shape. Convolutions ask with UINT32_MAX rows. New variants get a row in the table of
// matmul.c.
enum vks_matmul_variant {
    VKS_MATMUL_PLAIN,     // any device
    VKS_MATMUL_TILE,      // shared-memory tile for graphics cards
    VKS_MATMUL_CPU4,      // drivers that run on a CPU, by subgroup size
    VKS_MATMUL_CPU8,
    VKS_MATMUL_CPU8_TALL,     // where loads are gathers
    VKS_MATMUL_CPU8_ALIKE,    // texels of A loaded by all lanes alike
    VKS_MATMUL_CPU8_NARROW,   // lower tiles: where rows do not fill those of CPU8; alike, where columns are at most 32
    VKS_MATMUL_CPU8_FEW,      // at most 16 rows
    VKS_MATMUL_CPU16,
    VKS_MATMUL_CPU16_NARROW,  // at most 32 columns
    VKS_MATMUL_CPU16_FEW,     // at most 32 rows
    VKS_MATMUL_ROWS,          // NT of at most VKS_FEW_ROWS rows, weights in blocks too; the table alone chooses these
    VKS_MATMUL_ROWS8,         // the same on CPU drivers, by subgroup size
    VKS_MATMUL_ROWS16,
    VKS_MATMUL_VARIANTS,
};
// What an override is for: products of at most 16 rows, of more, convolutions.
enum vks_matmul_use {
    VKS_MATMUL_FEW_ROWS,
    VKS_MATMUL_MANY_ROWS,
    VKS_MATMUL_CONVOLUTION,
    VKS_MATMUL_USES,
};
enum vks_matmul_use vks_matmul_use(uint32_t m);
enum vks_matmul_variant vks_matmul_choose(const struct vks_gpu_limits *limits, enum vks_matmul_form form, uint32_t m,
                                          uint32_t n);
// The panels that the product's kernel takes on devices where they make its loads cheaper; otherwise zeros.
struct vks_matmul_panels {
    uint32_t a, b;  // rows of A, columns of B in one
};
struct vks_matmul_panels vks_matmul_panels(const struct vks_gpu_limits *limits, enum vks_matmul_form form, uint32_t m,
                                           uint32_t n);

// Whether a product of m rows of k elements with a matrix in blocks needs no panel.
bool vks_matmul_takes_blocks(const struct vks_gpu_limits *limits, uint32_t m, uint32_t k,
                             const struct vks_tensor *packed);

// Whether a variant serves a use on a device with these limits: those that count lanes on CPU drivers alone.
bool vks_matmul_runs(const struct vks_gpu_limits *limits, enum vks_matmul_use use, enum vks_matmul_variant variant);

struct vks_matmul_kernel {
    const char *name;
    enum vks_kernel matmul, conv2d;  // conv2d: VKS_KERNEL_COUNT where none has these tiles
    uint32_t rows, cols;  // of C that a workgroup makes
    uint32_t strip;       // columns of its panels of B; 0: it takes none
    uint32_t alike;       // the flag of lanes that may load the same texels of A (constant 3), or 0
};
const struct vks_matmul_kernel *vks_matmul_kernel(enum vks_matmul_variant variant);

// What the kernel's flags hold besides, on a device with these limits.
uint32_t vks_matmul_device_flags(const struct vks_gpu_limits *limits, const struct vks_matmul_kernel *kernel);

// True when 16-byte loads of the matrix's rows are aligned.
bool vks_matmul_aligned(const struct vks_matrix *matrix);

#endif
