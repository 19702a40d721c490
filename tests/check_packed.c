#include <string.h>

#include "base/quant.h"
#include "check.h"
#include "ref/linear.h"
#include "shaders/push.h"

// The reference of unpacking is vks_quant_unpack, which test_gguf.c compares with the gguf package bit for bit.
static const struct {
    enum vks_quant_type type;
    uint32_t scales[2];  // where the fp16 scales of a block lie, in bytes
} types[] = {
    {VKS_QUANT_Q4_0, {0, 0}},  {VKS_QUANT_Q4_1, {0, 2}},     {VKS_QUANT_Q5_0, {0, 0}},     {VKS_QUANT_Q5_1, {0, 2}},
    {VKS_QUANT_Q8_0, {0, 0}},  {VKS_QUANT_Q2_K, {80, 82}},   {VKS_QUANT_Q3_K, {108, 108}}, {VKS_QUANT_Q4_K, {0, 2}},
    {VKS_QUANT_Q5_K, {0, 2}},  {VKS_QUANT_Q6_K, {208, 208}},
};

// Random blocks: scales of about a thousandth, or with `wild` any that are finite, subnormal and negative too.
static int32_t *fill_blocks(struct check *c, uint32_t which, uint32_t rows, uint32_t columns, bool wild,
                            double *values)
{
    const enum vks_quant_type type = types[which].type;
    const struct vks_quant *quant = vks_quant(type);
    const uint32_t words = vks_packed_words(type, columns), blocks = columns / quant->elements;
    int32_t *packed = check_alloc(c, (uint64_t)rows * words, sizeof(*packed));
    float *unpacked = check_alloc(c, columns, sizeof(*unpacked));
    for (uint32_t r = 0; r < rows; r++) {
        unsigned char *row = (unsigned char *)(packed + (uint64_t)r * words);
        for (uint32_t b = 0; b < blocks * quant->bytes; b++)
            row[b] = (unsigned char)check_random(c, 256);
        for (uint32_t b = 0; b < blocks; b++)
            for (int s = 0; s < 2; s++) {
                const uint32_t bits = wild ? check_random(c, 0x7c00) | check_random(c, 2) << 15
                                           : 0x1000 + check_random(c, 0x0400) + (check_random(c, 2) << 15);
                unsigned char *at = row + (uint64_t)b * quant->bytes + types[which].scales[s];
                at[0] = (unsigned char)(bits & 255);
                at[1] = (unsigned char)(bits >> 8);
            }
        vks_quant_unpack(type, row, columns, unpacked);
        for (uint32_t i = 0; i < columns; i++)
            values[(uint64_t)r * columns + i] = unpacked[i];
    }
    return packed;
}

// Rows by number, some of them twice and some that are not there: bit for bit.
static void embedding_case(struct check *c, uint32_t which, uint32_t rows, uint32_t columns, bool wild, bool dynamic)
{
    const struct vks_packed attrs = {types[which].type, columns};
    const uint32_t n = rows + 3, words = vks_packed_words(attrs.type, columns), shape[] = {rows, words};
    double *w = check_alloc(c, (uint64_t)rows * columns, sizeof(*w));
    double *y = check_alloc(c, (uint64_t)n * columns, sizeof(*y));
    int32_t *packed = fill_blocks(c, which, rows, columns, wild, w), *ids = check_alloc(c, n, sizeof(*ids));
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = i == 1 ? -1 : i == 2 ? (int32_t)rows : (int32_t)check_random(c, rows);
        if (ids[i] >= 0 && ids[i] < (int32_t)rows)
            memcpy(y + (uint64_t)i * columns, w + (uint64_t)ids[i] * columns, columns * sizeof(*y));
    }
    struct vks_graph *g = check_begin(c, "embedding_packed (%u, %u), %s%s", rows, columns,
                                      vks_quant(attrs.type)->name, wild ? ", any scale" : "");
    struct vks_tensor *ti = check_input_i32(c, "ids", ids, 1, &n);
    if (ti && dynamic)
        ti->dynamic = true;
    check_step_uint(c, VKS_STEP_ROWS, n);
    struct vks_tensor *ty = vks_embedding_packed(g, ti, check_state_i32(c, "packed", packed, 2, shape), &attrs);
    check_expect(c, ty, y, 0);
    check_run(c);
}

// x (2, m, columns), W (n, columns); transposed: x (2, m, n)
static void linear_case(struct check *c, uint32_t which, uint32_t m, uint32_t n, uint32_t columns)
{
    const struct vks_packed attrs = {types[which].type, columns};
    const uint32_t words = vks_packed_words(attrs.type, columns), shape[] = {n, words}, rows = 2 * m;
    const uint32_t x_shape[] = {2, m, columns}, z_shape[] = {2, m, n};
    double *w = check_alloc(c, (uint64_t)n * columns, sizeof(*w));
    int32_t *packed = fill_blocks(c, which, n, columns, false, w);
    const uint64_t wide = (uint64_t)rows * columns, narrow = (uint64_t)rows * n;
    double *x = check_values(c, wide, CHECK_NORMAL), *z = check_values(c, narrow, CHECK_NORMAL);
    double *y = check_alloc(c, narrow, sizeof(*y)), *dz = check_alloc(c, narrow, sizeof(*dz));
    double *v = check_alloc(c, wide, sizeof(*v)), *dx = check_alloc(c, wide, sizeof(*dx));
    struct vks_graph *g = check_begin(c, "linear_packed (2, %u, %u) to %u, %s", m, columns, n,
                                      vks_quant(attrs.type)->name);
    struct vks_tensor *tx = check_input(c, "x", x, 3, x_shape), *tz = check_input(c, "z", z, 3, z_shape);
    struct vks_tensor *tw = check_state_i32(c, "packed", packed, 2, shape);
    struct vks_tensor *ty = vks_linear_packed(g, tx, tw, &attrs);
    struct vks_tensor *tv = vks_linear_packed_transposed(g, tz, tw, &attrs);
    ref_linear(y, x, w, NULL, rows, n, columns);
    ref_linear_backward(v, z, w, rows, n, columns);
    ref_linear_backward(dx, z, w, rows, n, columns);
    ref_linear(dz, x, w, NULL, rows, n, columns);
    ty = check_plus(c, ty, y);
    tv = check_plus(c, tv, v);
    check_expect(c, ty, y, 1e-5);
    check_expect(c, tv, v, 1e-5);
    check_backward(c, ty, z);
    check_backward(c, tv, x);
    check_branch(c, tx, dx);
    check_branch(c, tz, dz);
    check_expect_gradient(c, tx, dx, 1e-5);
    check_expect_gradient(c, tz, dz, 1e-5);
    check_run(c);
}

// y (m, n) as one row, less the first m rows of `all`: zeros where the number of rows changes no bit.
static void difference(struct check *c, struct vks_graph *g, struct vks_tensor *all, struct vks_tensor *y,
                       const double *zeros)
{
    const uint32_t whole[] = {1, (uint32_t)vks_tensor_elements(all)}, part[] = {1, (uint32_t)vks_tensor_elements(y)};
    struct vks_tensor *first = vks_slice(g, vks_reshape(g, all, 2, whole), 0, part[1]);
    struct vks_tensor *left = vks_add(g, first, vks_scale(g, vks_reshape(g, y, 2, part), -1, 0));
    check_expect(c, left, zeros, 0);
}

#define ROWS 66u

// Few rows of x (66, k) and all of them, which go through a panel: W (n, k) in blocks, or with `which` beyond them in
// numbers.
static void few_rows_case(struct check *c, uint32_t which, uint32_t n, uint32_t k)
{
    const uint32_t few[] = {1, 2 + check_random(c, 7), 9 + check_random(c, 56)};
    const bool numbers = which >= sizeof(types) / sizeof(*types);
    const enum vks_dtype dtype = numbers ? (enum vks_dtype)(which - sizeof(types) / sizeof(*types)) : VKS_I32;
    const struct vks_packed attrs = {numbers ? VKS_QUANT_F32 : types[which].type, k};
    const uint32_t shape[] = {n, numbers ? k : vks_packed_words(attrs.type, k)}, all_shape[] = {ROWS, k};
    double *w = numbers ? check_values(c, (uint64_t)n * k, CHECK_NORMAL)
                        : check_alloc(c, (uint64_t)n * k, sizeof(*w));
    const int32_t *packed = numbers ? NULL : fill_blocks(c, which, n, k, false, w);
    double *x = check_values(c, ROWS * (uint64_t)k, CHECK_NORMAL);
    double *y = check_alloc(c, ROWS * (uint64_t)n, sizeof(*y));
    const double *zeros = check_alloc(c, ROWS * (uint64_t)n, sizeof(*zeros));
    double *bias = check_values(c, n, CHECK_NORMAL);
    struct vks_graph *g = check_begin(c, "few rows of %u to %u, %s", k, n,
                                      numbers ? vks_dtype_name(dtype) : vks_quant(attrs.type)->name);
    struct vks_tensor *tw = numbers ? check_state(c, "weight", w, dtype, 2, shape)
                                    : check_state_i32(c, "packed", packed, 2, shape);
    struct vks_tensor *tb = numbers ? check_state(c, "bias", bias, VKS_F32, 1, &n) : NULL;
    struct vks_tensor *tx = check_input(c, "x", x, 2, all_shape);
    struct vks_tensor *ty = numbers ? vks_linear(g, tx, tw, tb) : vks_linear_packed(g, tx, tw, &attrs);
    ref_linear(y, x, w, numbers ? bias : NULL, ROWS, n, k);
    check_expect(c, ty, y, 1e-5);
    for (size_t i = 0; i < sizeof(few) / sizeof(*few); i++) {
        struct vks_tensor *part = check_input(c, "part", x, 2, (const uint32_t[]){few[i], k});
        struct vks_tensor *z = numbers ? vks_linear(g, part, tw, tb) : vks_linear_packed(g, part, tw, &attrs);
        check_expect(c, z, y, 1e-5);
        difference(c, g, ty, z, zeros);
    }
    check_run(c);
}

void check_packed(struct check *c)
{
    const uint32_t kinds = sizeof(types) / sizeof(*types) + 3;  // with F32, F16, BF16
    for (uint32_t which = 0; which < kinds; which++) {
        const uint32_t block = which + 3 < kinds ? vks_quant(types[which].type)->elements : 1;
        few_rows_case(c, which, 1 + check_random(c, 80), block > 1 ? block * (1 + check_random(c, 5)) : 96);
        if (block == 1)
            few_rows_case(c, which, 65, 1 + check_random(c, 140));
    }
    few_rows_case(c, 2, 200, 1024);                 // a matrix in blocks longer than 64 KiB
    few_rows_case(c, 4, 17, 2560);                  // some rows of x longer than 64 KiB
    for (uint32_t which = 0; which < sizeof(types) / sizeof(*types); which++) {
        const uint32_t block = vks_quant(types[which].type)->elements;
        embedding_case(c, which, 5, 3 * block, true, false);
        embedding_case(c, which, 40 + check_random(c, 9), 256 * (1 + check_random(c, 2)), false, which % 2);
        linear_case(c, which, 3 + check_random(c, 5), 7 + check_random(c, 60), block * (1 + check_random(c, 2)));
    }
    embedding_case(c, 4, 300, 512, false, false);   // a matrix longer than 64 KiB in its blocks
    linear_case(c, 1, 40, 130, 160);                // and one in fp32
    linear_case(c, 7, 1, 70000 / 256 + 1, 256);
}
