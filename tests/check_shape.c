#include "check.h"
#include "ref/shape.h"

static double *zeros(struct check *c, uint64_t n)
{
    return check_alloc(c, n, sizeof(double));
}

static void concat_case(struct check *c, uint32_t rows, uint32_t c1, uint32_t c2)
{
    const uint32_t shape_a[] = {2, rows, c1}, shape_b[] = {2, rows, c2};
    const uint64_t n = 2 * (uint64_t)rows;
    double *a = check_values(c, n * c1, CHECK_NORMAL), *b = check_values(c, n * c2, CHECK_HOSTILE);
    double *y = zeros(c, n * (c1 + c2)), *dy = check_values(c, n * (c1 + c2), CHECK_NORMAL);
    double *da = zeros(c, n * c1), *db = zeros(c, n * c2);
    struct vks_graph *g = check_begin(c, "concat (2, %u, %u + %u)", rows, c1, c2);
    struct vks_tensor *ta = check_input(c, "a", a, 3, shape_a), *tb = check_input(c, "b", b, 3, shape_b);
    struct vks_tensor *ty = vks_concat(g, ta, tb);
    ref_concat(y, a, b, n, c1, c2);
    ref_slice(da, dy, n, c1 + c2, 0, c1);
    ref_slice(db, dy, n, c1 + c2, c1, c2);
    check_expect(c, ty, y, 0);
    check_backward(c, ty, dy);
    check_expect_gradient(c, ta, da, 0);
    check_expect_gradient(c, tb, db, 0);
    check_run(c);
}

static void slice_case(struct check *c, uint32_t rows, uint32_t cols, uint32_t first, uint32_t count)
{
    const uint32_t shape[] = {rows, cols};
    double *x = check_values(c, (uint64_t)rows * cols, CHECK_NORMAL), *y = zeros(c, (uint64_t)rows * count);
    double *dy = check_values(c, (uint64_t)rows * count, CHECK_NORMAL), *dx = zeros(c, (uint64_t)rows * cols);
    struct vks_graph *g = check_begin(c, "slice (%u, %u) from %u, %u", rows, cols, first, count);
    struct vks_tensor *tx = check_input(c, "x", x, 2, shape), *ty = vks_slice(g, tx, first, count);
    ref_slice(y, x, rows, cols, first, count);
    ref_slice_backward(dx, dy, rows, cols, first, count);
    check_expect(c, ty, y, 0);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dx, 0);
    check_run(c);
}

static void upsample_case(struct check *c, const uint32_t shape[4], uint32_t height, uint32_t width)
{
    const uint32_t b = shape[0], h = shape[1], w = shape[2], k = shape[3];
    const uint64_t n = (uint64_t)b * h * w * k, m = (uint64_t)b * height * width * k;
    double *x = check_values(c, n, CHECK_NORMAL), *y = zeros(c, m), *dy = check_values(c, m, CHECK_NORMAL);
    double *dx = zeros(c, n);
    struct vks_graph *g = check_begin(c, "upsample (%u, %u, %u, %u) to %u x %u", b, h, w, k, height, width);
    struct vks_tensor *tx = check_input(c, "x", x, 4, shape), *ty = vks_upsample_nearest(g, tx, height, width);
    ref_upsample(y, x, b, h, w, height, width, k);
    ref_upsample_backward(dx, dy, b, h, w, height, width, k);
    check_expect(c, ty, y, 0);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dx, 1e-6);
    check_run(c);
}

static void embedding_case(struct check *c, enum vks_dtype dtype, uint32_t rows, uint32_t cols, uint32_t count)
{
    const uint32_t shape[] = {rows, cols}, ids_shape[] = {2, count};
    double *table = check_values(c, (uint64_t)rows * cols, CHECK_NORMAL), *y = zeros(c, 2 * (uint64_t)count * cols);
    int32_t *ids = check_alloc(c, 2 * (uint64_t)count, sizeof(*ids));
    for (uint32_t i = 0; i < 2 * count; i++)
        ids[i] = (int32_t)check_random(c, rows);
    ids[0] = 0;
    ids[1] = (int32_t)rows - 1;
    struct vks_graph *g =
        check_begin(c, "embedding (%u, %u) %s, %u ids", rows, cols, vks_dtype_name(dtype), 2 * count);
    struct vks_tensor *tt = check_state(c, "table", table, dtype, 2, shape);
    struct vks_tensor *ty = vks_embedding(g, check_input_i32(c, "ids", ids, 2, ids_shape), tt);
    ref_embedding(y, ids, table, 2 * (uint64_t)count, cols);
    check_expect(c, ty, y, 0);
    check_run(c);
}

static void gather_row_case(struct check *c, uint32_t b, uint32_t t, uint32_t cols)
{
    const uint32_t shape[] = {b, t, cols};
    const uint64_t n = (uint64_t)b * t * cols;
    double *x = check_values(c, n, CHECK_NORMAL), *y = zeros(c, (uint64_t)b * cols);
    double *dy = check_values(c, (uint64_t)b * cols, CHECK_NORMAL), *dx = zeros(c, n);
    int32_t *index = check_alloc(c, b, sizeof(*index));
    for (uint32_t i = 0; i < b; i++)
        index[i] = (int32_t)check_random(c, t);
    struct vks_graph *g = check_begin(c, "gather_row (%u, %u, %u)", b, t, cols);
    struct vks_tensor *tx = check_input(c, "x", x, 3, shape);
    struct vks_tensor *ty = vks_gather_row(g, tx, check_input_i32(c, "index", index, 1, &b));
    ref_gather_row(y, x, index, b, t, cols);
    ref_gather_row_backward(dx, dy, index, b, t, cols);
    check_expect(c, ty, y, 0);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dx, 0);
    check_run(c);
}

// Shapes that do not fit are refused by the builder, once and without a crash.
static void check_refusals(struct check *c)
{
    for (int which = 0; which < 15; which++) {
        struct vks_graph g;
        vks_graph_init(&g, NULL);
        struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 3, (uint32_t[]){2, 4, 6}, false);
        struct vks_tensor *z = vks_graph_input(&g, "z", VKS_F32, 2, (uint32_t[]){3, 6}, false);
        struct vks_tensor *odd = vks_graph_input(&g, "odd", VKS_F32, 2, (uint32_t[]){4, 5}, false);
        struct vks_tensor *ids = vks_graph_input(&g, "ids", VKS_I32, 1, (uint32_t[]){3}, false);
        struct vks_tensor *half = vks_graph_input(&g, "half", VKS_F16, 3, (uint32_t[]){2, 4, 6}, false);
        struct vks_tensor *pixels = vks_graph_input(&g, "pixels", VKS_F32, 4, (uint32_t[]){1, 4, 4, 3}, false);
        const struct vks_attention three = {.heads = 3}, four = {.heads = 4};
        struct vks_tensor *made[] = {
            which == 0 ? vks_add(&g, x, z) : NULL,
            which == 1 ? vks_multiply(&g, x, z) : NULL,
            which == 2 ? vks_geglu(&g, odd) : NULL,
            which == 3 ? vks_reshape(&g, x, 2, (uint32_t[]){7, 7}) : NULL,
            which == 4 ? vks_concat(&g, x, z) : NULL,
            which == 5 ? vks_slice(&g, x, 5, 2) : NULL,
            which == 6 ? vks_slice(&g, x, UINT32_MAX, 2) : NULL,
            which == 7 ? vks_upsample_nearest(&g, pixels, 3, 8) : NULL,
            which == 8 ? vks_embedding(&g, z, z) : NULL,
            which == 9 ? vks_gather_row(&g, x, ids) : NULL,
            which == 10 ? vks_group_norm(&g, x, NULL, NULL, 4, 1e-5f) : NULL,
            which == 11 ? vks_layer_norm(&g, x, odd, NULL, 1e-5f) : NULL,
            which == 12 ? vks_attention(&g, x, x, x, NULL, &four) : NULL,
            which == 13 ? vks_attention(&g, x, x, x, z, &three) : NULL,
            which == 14 ? vks_unary(&g, half, VKS_SILU) : NULL,
        };
        bool refused = g.failed;
        for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
            refused &= made[i] == NULL;
        check_true(c, refused && !vks_add(&g, x, x), "shapes that do not fit (%d) were taken", which);
        vks_graph_finish(&g);
    }
}

void check_shape(struct check *c)
{
    check_refusals(c);
    concat_case(c, 1 + check_random(c, 9), 1 + check_random(c, 9), 1 + check_random(c, 30));
    concat_case(c, 130, 64, 33);
    slice_case(c, 5, 12, 1 + check_random(c, 4), 1 + check_random(c, 5));
    slice_case(c, 201, 130, 17, 64);
    slice_case(c, 3, 7, 0, 7);
    upsample_case(c, (uint32_t[]){2, 3, 2, 5}, 6, 4);
    upsample_case(c, (uint32_t[]){2, 3, 5, 1 + check_random(c, 9)}, 7, 8);
    upsample_case(c, (uint32_t[]){3, 8, 8, 40}, 16, 16);
    upsample_case(c, (uint32_t[]){2, 5, 7, 33}, 5, 20);
    embedding_case(c, VKS_F32, 11, 1 + check_random(c, 20), 6);
    embedding_case(c, VKS_F32, 301, 96, 40);
    embedding_case(c, VKS_F16, 601, 97, 100);
    embedding_case(c, VKS_BF16, 513, 31, 5);
    gather_row_case(c, 3, 1 + check_random(c, 9), 7);
    gather_row_case(c, 9, 32, 96);
    gather_row_case(c, 2, 300, 96);
}
