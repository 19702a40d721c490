#include <string.h>

#include "check.h"
#include "ref/pointwise.h"
#include "shaders/push.h"

static uint64_t count(uint32_t rank, const uint32_t shape[])
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < rank; i++)
        n *= shape[i];
    return n;
}

static double *zeros(struct check *c, uint64_t n)
{
    return check_alloc(c, n, sizeof(double));
}

static const char *const unary_names[] = {"silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "tanh", "sigmoid"};

struct sized {
    uint64_t n;
    uint32_t cols;
    enum vks_unary kind;
};

static void unary_function(void *priv, const double *x, double *y)
{
    const struct sized *s = priv;
    ref_unary(y, x, s->n, s->kind);
}

static void geglu_function(void *priv, const double *x, double *y)
{
    const struct sized *s = priv;
    ref_geglu(y, x, s->n, s->cols);
}

// `gain` narrows or widens the values: near 0 a tanh of two exponentials loses its digits, far out it saturates.
static void unary_case(struct check *c, enum vks_unary kind, enum check_fill fill, float gain,
                       const uint32_t shape[2])
{
    const uint64_t n = count(2, shape);
    double *x = check_values(c, n, fill), *y = zeros(c, n), *dy = check_values(c, n, CHECK_NORMAL), *dx = zeros(c, n);
    for (uint64_t i = 0; i < n; i++)
        x[i] = (float)x[i] * gain;
    struct vks_graph *g = check_begin(c, "%s (%u, %u), fill %d times %g", unary_names[kind], shape[0], shape[1], fill,
                                      (double)gain);
    struct vks_tensor *tx = check_input(c, "x", x, 2, shape), *ty = vks_unary(g, tx, kind);
    ref_unary(y, x, n, kind);
    ref_unary_backward(dx, x, dy, n, kind);
    check_expect(c, ty, y, 5e-7);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dx, 1e-6);
    check_run(c);
    if (n < 100 && gain == 1)  // not near the corner of relu
        check_differences(c, unary_names[kind], unary_function, &(struct sized){n, 0, kind}, x, n, dy, n, dx);
}

static void check_unary(struct check *c)
{
    for (uint32_t kind = 0; kind <= VKS_SIGMOID; kind++) {
        unary_case(c, kind, CHECK_NORMAL, 1, (uint32_t[]){3, 1 + check_random(c, 20)});
        unary_case(c, kind, CHECK_NORMAL, 0x1p-10f, (uint32_t[]){1 + check_random(c, 9), 7});
        unary_case(c, kind, CHECK_NORMAL, 8, (uint32_t[]){129, 151});
        unary_case(c, kind, CHECK_HOSTILE, 1, (uint32_t[]){5, 77});
    }
}

static void geglu_case(struct check *c, enum check_fill fill, uint32_t rows, uint32_t cols)
{
    const uint32_t shape[] = {1, rows, 2 * cols};
    const uint64_t n = (uint64_t)rows * cols;
    double *x = check_values(c, 2 * n, fill), *y = zeros(c, n), *dy = check_values(c, n, CHECK_NORMAL);
    double *dx = zeros(c, 2 * n);
    struct vks_graph *g = check_begin(c, "geglu (%u, %u), fill %d", rows, 2 * cols, fill);
    struct vks_tensor *tx = check_input(c, "x", x, 3, shape), *ty = vks_geglu(g, tx);
    ref_geglu(y, x, rows, cols);
    ref_geglu_backward(dx, x, dy, rows, cols);
    check_expect(c, ty, y, 1e-6);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dx, 1e-6);
    check_run(c);
    if (n < 100)
        check_differences(c, "geglu", geglu_function, &(struct sized){rows, cols, 0}, x, 2 * n, dy, n, dx);
}

// z in one of the forms of vks_add; `divide` and `modulo` as in the reference.
static void add_case(struct check *c, uint32_t x_rank, const uint32_t x_shape[], uint32_t z_rank,
                     const uint32_t z_shape[], bool state, uint64_t divide)
{
    const uint64_t n = count(x_rank, x_shape), m = count(z_rank, z_shape);
    const uint32_t cols = x_shape[x_rank - 1];
    double *x = check_values(c, n, CHECK_NORMAL), *z = check_values(c, m, CHECK_NORMAL), *y = zeros(c, n);
    double *dy = check_values(c, n, CHECK_NORMAL), *dz = zeros(c, m);
    struct vks_graph *g = check_begin(c, "add of %u rows of %u and %u rows%s", (uint32_t)(n / cols), cols,
                                      (uint32_t)(m / cols), state ? ", a state" : "");
    struct vks_tensor *tx = check_input(c, "x", x, x_rank, x_shape);
    struct vks_tensor *tz = state ? check_state(c, "z", z, VKS_F32, z_rank, z_shape)
                                  : check_input(c, "z", z, z_rank, z_shape);
    struct vks_tensor *ty = vks_add(g, tx, tz);
    ref_add(y, x, z, n / cols, cols, divide, m / cols);
    ref_add_backward(dz, dy, n / cols, cols, divide, m / cols);
    check_expect(c, ty, y, 1e-7);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dy, 0);
    check_expect_gradient(c, tz, dz, 2e-6);
    check_run(c);
}

static void check_add(struct check *c)
{
    const uint32_t t = 2 + check_random(c, 9), ch = 1 + check_random(c, 40);
    add_case(c, 2, (uint32_t[]){t, ch}, 2, (uint32_t[]){t, ch}, false, 1);
    add_case(c, 3, (uint32_t[]){3, t, ch}, 1, (uint32_t[]){ch}, true, 1);
    add_case(c, 3, (uint32_t[]){t + 1, t, ch}, 2, (uint32_t[]){t + 1, ch}, false, t);
    add_case(c, 4, (uint32_t[]){3, t, 2, ch}, 2, (uint32_t[]){3, ch}, false, 2 * t);
    add_case(c, 3, (uint32_t[]){t + 1, t, ch}, 2, (uint32_t[]){t, ch}, true, 1);
    add_case(c, 3, (uint32_t[]){t, t, ch}, 2, (uint32_t[]){t, ch}, true, 1);   // as many samples as positions
    add_case(c, 3, (uint32_t[]){t, t, ch}, 2, (uint32_t[]){t, ch}, false, t);
    add_case(c, 3, (uint32_t[]){t, t, ch}, 3, (uint32_t[]){1, t, ch}, false, 1);
    // Longer than 64 KiB, z too in the last.
    add_case(c, 3, (uint32_t[]){5, 121, 97}, 2, (uint32_t[]){5, 97}, false, 121);
    add_case(c, 3, (uint32_t[]){2, 311, 97}, 2, (uint32_t[]){2, 97}, false, 311);
    add_case(c, 3, (uint32_t[]){2, 311, 97}, 1, (uint32_t[]){97}, false, 1);
    add_case(c, 3, (uint32_t[]){2, 311, 97}, 2, (uint32_t[]){311, 97}, true, 1);
}

static void multiply_case(struct check *c, uint32_t rows, uint32_t cols)
{
    const uint32_t shape[] = {rows, cols};
    const uint64_t n = count(2, shape);
    double *x = check_values(c, n, CHECK_HOSTILE), *z = check_values(c, n, CHECK_NORMAL), *y = zeros(c, n);
    double *dy = check_values(c, n, CHECK_NORMAL), *dx = zeros(c, n), *dz = zeros(c, n);
    struct vks_graph *g = check_begin(c, "multiply (%u, %u)", rows, cols);
    struct vks_tensor *tx = check_input(c, "x", x, 2, shape), *tz = check_input(c, "z", z, 2, shape);
    struct vks_tensor *ty = vks_multiply(g, tx, tz);
    ref_multiply(y, x, z, n);
    ref_multiply(dx, dy, z, n);
    ref_multiply(dz, dy, x, n);
    check_expect(c, ty, y, 1e-7);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dx, 1e-7);
    check_expect_gradient(c, tz, dz, 1e-7);
    check_run(c);
}

// A chain whose middle tensors may be overwritten, with a tensor that several nodes read and a change of shape:
// y = tanh(s) * reshape(2 x + 1), s = reshape(2 x + 1) + z
static void chain_case(struct check *c, uint32_t rows, uint32_t cols)
{
    const uint32_t shape[] = {rows, 2, cols}, flat[] = {2 * rows * cols};
    const uint64_t n = flat[0];
    double *x = check_values(c, n, CHECK_NORMAL), *z = check_values(c, n, CHECK_NORMAL);
    double *dy = check_values(c, n, CHECK_NORMAL), *y = zeros(c, n), *a = zeros(c, n), *s = zeros(c, n);
    double *th = zeros(c, n), *ds = zeros(c, n), *da = zeros(c, n), *dx = zeros(c, n);
    struct vks_graph *g = check_begin(c, "chain (%u, 2, %u)", rows, cols);
    struct vks_tensor *tx = check_input(c, "x", x, 3, shape), *tz = check_input(c, "z", z, 1, flat);
    struct vks_tensor *ta = vks_reshape(g, vks_scale(g, tx, 2, 1), 1, flat);
    struct vks_tensor *ts = vks_add(g, ta, tz);
    struct vks_tensor *ty = vks_reshape(g, vks_multiply(g, vks_unary(g, ts, VKS_TANH), ta), 3, shape);
    ref_scale(a, x, n, 2, 1);
    ref_add(s, a, z, 1, flat[0], 1, 1);
    ref_unary(th, s, n, VKS_TANH);
    ref_multiply(y, th, a, n);
    ref_multiply(da, dy, a, n);
    ref_unary_backward(ds, s, da, n, VKS_TANH);
    ref_multiply(da, dy, th, n);
    for (uint64_t i = 0; i < n; i++)
        dx[i] = 2 * (da[i] + ds[i]);
    check_expect(c, ty, y, 1e-6);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dx, 1e-6);
    check_expect_gradient(c, tz, ds, 1e-6);
    check_run(c);
}

// Operators on a tensor whose length the step buffer gives: y = softmax(geglu(silu(x) + b)), all rows valid.
static void dynamic_case(struct check *c, uint32_t rows, uint32_t cols)
{
    const uint32_t shape[] = {rows, 2 * cols}, width = 2 * cols;
    const uint64_t n = (uint64_t)rows * width;
    double *x = check_values(c, n, CHECK_NORMAL), *b = check_values(c, width, CHECK_NORMAL), *t = zeros(c, n);
    double *s = zeros(c, n), *y = zeros(c, n);
    struct vks_graph *g = check_begin(c, "dynamic rows (%u, %u)", rows, width);
    struct vks_tensor *tx = check_input(c, "x", x, 2, shape), *tb = check_state(c, "b", b, VKS_F32, 1, &width);
    if (tx)
        tx->dynamic = true;
    check_step_uint(c, VKS_STEP_ROWS, rows);
    struct vks_tensor *ty = vks_softmax(g, vks_geglu(g, vks_add(g, vks_unary(g, tx, VKS_SILU), tb)));
    ref_unary(t, x, n, VKS_SILU);
    ref_add(s, t, b, rows, width, 1, 1);
    ref_geglu(t, s, rows, cols);
    ref_softmax(y, t, rows, cols);
    check_expect(c, ty, y, 1e-6);
    check_run(c);
}

void check_pointwise(struct check *c)
{
    dynamic_case(c, 3, 1 + check_random(c, 50));
    dynamic_case(c, 301, 77);
    check_unary(c);
    geglu_case(c, CHECK_NORMAL, 3, 1 + check_random(c, 12));
    geglu_case(c, CHECK_HOSTILE, 7, 33);
    geglu_case(c, CHECK_NORMAL, 151, 130);
    check_add(c);
    multiply_case(c, 1 + check_random(c, 9), 1 + check_random(c, 99));
    multiply_case(c, 211, 97);
    chain_case(c, 3, 1 + check_random(c, 9));
    chain_case(c, 150, 67);
}
