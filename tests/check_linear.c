#include "check.h"
#include "ref/linear.h"

struct linear {
    uint32_t m, n, k;
    const double *w;
};

static void linear_function(void *priv, const double *x, double *y)
{
    const struct linear *l = priv;
    ref_linear(y, x, l->w, NULL, l->m, l->n, l->k);
}

// x (m1, m2, k), W (n, k); transposed: x (m1, m2, n)
static void linear_case(struct check *c, enum check_fill fill, enum vks_dtype type, uint32_t m1, uint32_t m2,
                        uint32_t n, uint32_t k, bool biased)
{
    const uint32_t m = m1 * m2, x_shape[] = {m1, m2, k}, z_shape[] = {m1, m2, n}, w_shape[] = {n, k};
    double *x = check_values(c, (uint64_t)m * k, fill), *z = check_values(c, (uint64_t)m * n, fill);
    double *w = check_values(c, (uint64_t)n * k, CHECK_NORMAL), *bias = check_values(c, n, CHECK_NORMAL);
    double *y = check_alloc(c, (uint64_t)m * n, sizeof(*y)), *v = check_alloc(c, (uint64_t)m * k, sizeof(*v));
    double *dx = check_alloc(c, (uint64_t)m * k, sizeof(*dx)), *dz = check_alloc(c, (uint64_t)m * n, sizeof(*dz));
    struct vks_graph *g = check_begin(c, "linear (%u, %u, %u) to %u, %s, fill %d%s", m1, m2, k, n,
                                      vks_dtype_name(type), fill, biased ? ", bias" : "");
    struct vks_tensor *tx = check_input(c, "x", x, 3, x_shape), *tz = check_input(c, "z", z, 3, z_shape);
    struct vks_tensor *tw = check_state(c, "weight", w, type, 2, w_shape);
    struct vks_tensor *tb = biased ? check_state(c, "bias", bias, VKS_F32, 1, &n) : NULL;
    struct vks_tensor *ty = vks_linear(g, tx, tw, tb), *tv = vks_linear_transposed(g, tz, tw);
    ref_linear(y, x, w, biased ? bias : NULL, m, n, k);
    ref_linear_backward(v, z, w, m, n, k);
    ref_linear_backward(dx, z, w, m, n, k);
    ref_linear(dz, x, w, NULL, m, n, k);
    const double tolerance = k + n < 2000 ? 3e-6 : 1e-5;  // one rounding after another
    if (m * n < 300) {
        const struct linear l = {m, n, k, w};
        check_differences(c, "linear", linear_function, (void *)&l, x, (uint64_t)m * k, z, (uint64_t)m * n, dx);
    }
    ty = check_plus(c, ty, y);
    tv = check_plus(c, tv, v);
    check_expect(c, ty, y, tolerance);
    check_expect(c, tv, v, tolerance);
    check_backward(c, ty, z);
    check_backward(c, tv, x);
    check_branch(c, tx, dx);
    check_branch(c, tz, dz);
    check_expect_gradient(c, tx, dx, tolerance);
    check_expect_gradient(c, tz, dz, tolerance);
    check_run(c);
}

void check_linear(struct check *c)
{
    const enum vks_dtype types[] = {VKS_F32, VKS_F16, VKS_BF16};
    for (uint32_t t = 0; t < 3; t++) {
        linear_case(c, CHECK_NORMAL, types[t], 1, 1, 1, 1, true);
        linear_case(c, CHECK_NORMAL, types[t], 1, 3, 5 + check_random(c, 9), 1 + check_random(c, 40), true);
        linear_case(c, CHECK_NORMAL, types[t], 2, 25 + check_random(c, 20), 36, 64, t == 1);
        linear_case(c, CHECK_HOSTILE, types[t], 1, 17 + check_random(c, 60), 33 + check_random(c, 40),
                    30 + check_random(c, 9), true);
        linear_case(c, CHECK_NORMAL, types[t], 1, 4, 132, 136, true);      // a weight longer than 64 KiB in fp32
    }
    linear_case(c, CHECK_NORMAL, VKS_F32, 4, 77, 68, 72, true);            // rows longer than 64 KiB
    linear_case(c, CHECK_NORMAL, VKS_F32, 1, 3, 9, 9000, false);           // a row that just fits 64 KiB
    linear_case(c, CHECK_NORMAL, VKS_F16, 1, 2, 7, 17001, false);          // one that does not: cut along k
    linear_case(c, CHECK_NORMAL, VKS_F32, 1, 260, 260, 28, true);          // C longer than 64 KiB
    linear_case(c, CHECK_NORMAL, VKS_F32, 1, 40, 800, 8, true);            // the same, few rows
    linear_case(c, CHECK_NORMAL, VKS_F32, 1, 20, 900, 8, false);
    linear_case(c, CHECK_NORMAL, VKS_F16, 1, 12, 2100, 4, true);           // cut along n
    linear_case(c, CHECK_NORMAL, VKS_F32, 1, 12, 2400, 4, true);
}
