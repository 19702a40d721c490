#include "check.h"
#include "ref/norm.h"
#include "shaders/push.h"

static void norm_function(void *priv, const double *x, double *y)
{
    ref_norm(y, x, priv);
}

// How the values are made hard: `shift` puts the mean far from 0 in units of the deviation (a mean of 1000 is held to
// 3e-5 in fp32, and that is divided by the deviation of a small group).
struct spread {
    enum check_fill fill;
    float shift;
    double tolerance;
};

static const struct spread normal = {CHECK_NORMAL, 0, 2e-6}, shifted = {CHECK_NORMAL, 1000, 3e-4},
                           hostile = {CHECK_HOSTILE, 0, 1e-5};

// rank 4: group norm of x (b, rows, 1, cols); rank 3 with groups 0: layer norm of x (b, rows, cols)
static void norm_case(struct check *c, struct spread spread, uint32_t b, uint32_t rows, uint32_t cols,
                      uint32_t groups, bool affine)
{
    const uint32_t shape[] = {b, rows, groups ? 1 : cols, cols}, rank = groups ? 4 : 3;
    const uint64_t n = (uint64_t)b * rows * cols;
    double *x = check_values(c, n, spread.fill), *y = check_alloc(c, n, sizeof(*y));
    double *dy = check_values(c, n, CHECK_NORMAL), *dx = check_alloc(c, n, sizeof(*dx));
    double *weight = check_values(c, cols, CHECK_UNIFORM), *bias = check_values(c, cols, CHECK_NORMAL);
    for (uint64_t i = 0; i < n; i++)
        x[i] = (float)x[i] + spread.shift;
    for (uint64_t i = 0; i < n; i++)
        x[i] = (float)x[i];
    struct vks_graph *g = check_begin(c, "%s norm (%u, %u, %u), %u groups, fill %d + %g%s",
                                      groups ? "group" : "layer", b, rows, cols, groups, spread.fill,
                                      (double)spread.shift, affine ? "" : ", plain");
    struct vks_tensor *tx = check_input(c, "x", x, rank, shape);
    struct vks_tensor *tw = affine ? check_state(c, "weight", weight, VKS_F32, 1, &cols) : NULL;
    struct vks_tensor *tb = affine ? check_state(c, "bias", bias, VKS_F32, 1, &cols) : NULL;
    struct vks_tensor *ty = groups ? vks_group_norm(g, tx, tw, tb, groups, 1e-5f)
                                   : vks_layer_norm(g, tx, tw, tb, 1e-5f);
    const struct ref_norm norm = {
        .samples = groups ? b : (uint64_t)b * rows,
        .rows = groups ? rows : 1,
        .cols = cols,
        .groups = groups ? groups : 1,
        .eps = 1e-5f,
        .weight = affine ? weight : NULL,
        .bias = affine ? bias : NULL,
    };
    ref_norm(y, x, &norm);
    ref_norm_backward(dx, x, dy, &norm);
    check_expect(c, ty, y, spread.tolerance);
    if (n < 200 && cols > 1 && spread.fill == CHECK_NORMAL && spread.shift == 0)
        check_differences(c, groups ? "group norm" : "layer norm", norm_function, (void *)&norm, x, n, dy, n, dx);
    check_backward(c, ty, dy);
    check_branch(c, tx, dx);
    check_expect_gradient(c, tx, dx, 5 * spread.tolerance);
    check_run(c);
}

// x (b, rows, heads, cols), a row a head; the length b comes from the step buffer. offset < 0: no weight.
static void rms_case(struct check *c, struct spread spread, uint32_t b, uint32_t rows, uint32_t heads, uint32_t cols,
                     float offset)
{
    const uint32_t shape[] = {b, rows, heads, cols};
    const uint64_t n = (uint64_t)b * rows * heads * cols;
    double *x = check_values(c, n, spread.fill), *y = check_alloc(c, n, sizeof(*y));
    double *dy = check_values(c, n, CHECK_NORMAL), *dx = check_alloc(c, n, sizeof(*dx));
    double *weight = check_values(c, cols, CHECK_UNIFORM);
    struct vks_graph *g = check_begin(c, "rms norm (%u, %u, %u, %u), fill %d, offset %g", b, rows, heads, cols,
                                      spread.fill, (double)offset);
    struct vks_tensor *tx = check_input(c, "x", x, 4, shape);
    struct vks_tensor *tw = offset >= 0 ? check_state(c, "weight", weight, VKS_F32, 1, &cols) : NULL;
    if (tx)
        tx->dynamic = true;
    check_step_uint(c, VKS_STEP_ROWS, b);
    struct vks_tensor *ty = vks_rms_norm(g, tx, tw, offset, 1e-6f);
    const struct ref_norm norm = {
        .samples = (uint64_t)b * rows * heads,
        .rows = 1,
        .cols = cols,
        .groups = 1,
        .eps = 1e-6f,
        .weight = tw ? weight : NULL,
        .offset = offset,
        .rms = true,
    };
    ref_norm(y, x, &norm);
    ref_norm_backward(dx, x, dy, &norm);
    check_expect(c, ty, y, spread.tolerance);
    if (n < 200 && spread.fill == CHECK_NORMAL)
        check_differences(c, "rms norm", norm_function, (void *)&norm, x, n, dy, n, dx);
    check_backward(c, ty, dy);
    check_branch(c, tx, dx);
    check_expect_gradient(c, tx, dx, 5 * spread.tolerance);
    check_run(c);
}

void check_norm(struct check *c)
{
    const struct spread all[] = {normal, shifted, hostile};
    for (uint32_t i = 0; i < 3; i++) {
        norm_case(c, all[i], 2, 5, 6 + check_random(c, 9), 0, i != 1);
        norm_case(c, all[i], 3, 67, 129, 0, true);
        norm_case(c, all[i], 2, 1 + check_random(c, 12), 6, 3, i != 1);
        norm_case(c, all[i], 3, 33, 40, 8, true);           // a chunk a sample
        norm_case(c, all[i], 2, 150, 84, 4, true);          // two chunks
        norm_case(c, all[i], 1, 611, 54, 2, i != 1);        // nine, a sample longer than 64 KiB
    }
    norm_case(c, normal, 2, 5, 1, 0, true);                 // a row of one channel: y = bias
    norm_case(c, normal, 2, 16, 7, 7, true);                // a group a channel
    norm_case(c, normal, 5, 1, 24, 1, true);                // a row a sample
    norm_case(c, normal, 3, 1, 5000, 1, true);              // a row longer than a chunk
    norm_case(c, normal, 2, 130, 132, 33, true);            // a chunk longer than 64 KiB
    rms_case(c, normal, 2, 3, 2, 2 + check_random(c, 9), 0);
    rms_case(c, normal, 2, 5, 1, 1 + check_random(c, 12), 1);
    rms_case(c, hostile, 3, 7, 3, 29, 1);
    rms_case(c, hostile, 1, 9, 1, 64, -1);
    rms_case(c, normal, 3, 67, 5, 33, 0);                   // longer than 64 KiB
    rms_case(c, normal, 4, 1, 1, 576, 0);
}
