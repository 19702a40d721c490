// Sum of rows, SGD, Adam and the proximal step against double.
#include <math.h>
#include <string.h>

#include "check.h"
#include "ref/optimiser.h"
#include "shaders/push.h"

static void sum_case(struct check *c, uint32_t rows, uint32_t cols, uint32_t extra)
{
    const uint32_t width = cols + extra, flat[] = {rows, width}, first = extra ? check_random(c, extra) : 0;
    double *x = check_values(c, (uint64_t)rows * width, CHECK_NORMAL), *y = check_values(c, cols, CHECK_NORMAL);
    double *sum = check_alloc(c, cols, sizeof(*sum));
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t k = 0; k < cols; k++)
            sum[k] += x[(uint64_t)r * width + first + k];
    struct vks_graph *g = check_begin(c, "sum_rows (%u, %u of %u)", rows, cols, width);
    struct vks_tensor *tx = check_state(c, "x", x, VKS_F32, 2, flat), *ty = check_state(c, "y", y, VKS_F32, 1, &cols);
    vks_sum_rows(g, vks_graph_columns(g, tx, first, cols), ty);
    check_expect(c, ty, sum, 1e-6);
    check_run(c);
}

static void sgd_case(struct check *c, uint32_t n)
{
    double *param = check_values(c, n, CHECK_UNIFORM), *grad = check_values(c, n, CHECK_NORMAL);
    struct vks_graph *g = check_begin(c, "sgd (%u)", n);
    check_step_float(c, VKS_STEP_LR, 0.1f);
    struct vks_tensor *tp = check_state(c, "param", param, VKS_F32, 1, &n);
    vks_sgd(g, tp, check_state(c, "grad", grad, VKS_F32, 1, &n));
    ref_sgd(param, grad, n, 0.1f);
    check_expect(c, tp, param, 2e-7);
    check_run(c);
}

// Step t from moments of any size; gradients down to the 1e-7 that large models have.
static void adam_case(struct check *c, uint32_t n, uint32_t t, float beta2)
{
    double *param = check_values(c, n, CHECK_UNIFORM), *grad = check_values(c, n, CHECK_NORMAL);
    double *m = check_values(c, n, CHECK_NORMAL), *v = check_values(c, n, CHECK_UNIFORM);
    double *start = check_alloc(c, n, sizeof(*start));
    const struct ref_adam ref = {.lr = 1e-2f, .beta1 = 0.9f, .beta2 = beta2, .eps = 1e-8f, .t = t};
    for (uint32_t i = 0; i < n; i++) {
        const double size = i % 3 == 0 ? 1e-7 : i % 3 == 1 ? 1e-3 : 1;
        grad[i] = (float)(grad[i] * size);
        m[i] = t == 1 ? 0 : (float)(m[i] * size);
        v[i] = t == 1 ? 0 : (float)(v[i] * size * size);
        param[i] = (float)(1e-2 * (param[i] - 1));  // small, so that an error of the step is seen
        start[i] = param[i];
    }
    struct vks_graph *g = check_begin(c, "adam (%u) step %u beta2 %g", n, t, beta2);
    check_step_float(c, VKS_STEP_LR, 1e-2f);
    check_step_float(c, VKS_STEP_BIAS1, (float)(1 - pow(0.9f, t)));
    check_step_float(c, VKS_STEP_BIAS2, (float)(1 - pow(beta2, t)));
    struct vks_tensor *tp = check_state(c, "param", param, VKS_F32, 1, &n);
    struct vks_tensor *tm = check_state(c, "m", m, VKS_F32, 1, &n), *tv = check_state(c, "v", v, VKS_F32, 1, &n);
    vks_adam(g, tp, check_state(c, "grad", grad, VKS_F32, 1, &n), tm, tv,
             &(struct vks_adam){.beta1 = 0.9f, .beta2 = beta2, .eps = 1e-8f});
    ref_adam(param, m, v, grad, n, &ref);
    check_expect(c, tp, param, 2e-6);
    check_expect(c, tm, m, 1e-6);
    check_expect(c, tv, v, 1e-6);
    check_run(c);
}

static void prox_case(struct check *c, uint32_t group_count, uint32_t longest, double center, double lambda_group)
{
    int32_t *groups = check_alloc(c, group_count + 1, sizeof(*groups));
    for (uint32_t i = 0; i < group_count; i++)
        groups[i + 1] = groups[i] + 1 + (int32_t)check_random(c, longest);
    const uint32_t n = (uint32_t)groups[group_count], group_shape = group_count + 1;
    double *param = check_values(c, n, CHECK_NORMAL);
    for (int32_t i = 0; i < (int32_t)n; i++)
        param[i] = (float)(center + 0.05 * param[i]);
    for (int32_t i = groups[1]; group_count > 1 && i < groups[2]; i++)
        param[i] = center;  // a dead group: 0 / 0
    const struct ref_prox ref = {center, 0.02f, 1, lambda_group};
    struct vks_graph *g = check_begin(c, "prox %u groups of %u, center %g, lambda_group %g", group_count, n, center,
                                      lambda_group);
    check_step_float(c, VKS_STEP_TAU, 0.02f);
    struct vks_tensor *tp = check_state(c, "param", param, VKS_F32, 1, &n);
    vks_prox(g, tp, check_state_i32(c, "groups", groups, 1, &group_shape),
             &(struct vks_prox){.center = (float)center, .lambda1 = 1, .lambda_group = (float)lambda_group});
    ref_prox(param, groups, group_count, &ref);
    check_expect(c, tp, param, 1e-6);
    check_run(c);
}

// A channel is left alone where w and b both stand at the identity, and only while refitting.
static void keep_case(struct check *c, uint32_t n, bool refit)
{
    double *grad = check_values(c, 2 * (uint64_t)n, CHECK_NORMAL);
    double *param = check_values(c, 2 * (uint64_t)n, CHECK_NORMAL);
    const uint32_t both = 2 * n;
    for (uint32_t i = 0; i < n; i++) {
        if (check_random(c, 2))
            param[i] = 1;
        if (check_random(c, 2))
            param[n + i] = check_random(c, 2) ? 0.0 : -0.0;
    }
    struct vks_graph *g = check_begin(c, "keep_support (%u)%s", n, refit ? " in the refit" : "");
    struct vks_tensor *tg = check_state(c, "grad", grad, VKS_F32, 1, &both);
    struct vks_tensor *tp = check_state(c, "param", param, VKS_F32, 1, &both);
    check_step_uint(c, VKS_STEP_REFIT, refit);
    vks_keep_support(g, vks_graph_columns(g, tg, 0, n), vks_graph_columns(g, tg, n, n),
                     vks_graph_columns(g, tp, 0, n), vks_graph_columns(g, tp, n, n));
    for (uint32_t i = 0; i < n && refit; i++)
        if (param[i] == 1 && param[n + i] == 0)
            grad[i] = grad[n + i] = 0;
    check_expect(c, tg, grad, 0);
    check_expect(c, tp, param, 0);
    check_run(c);
}

void check_optimiser(struct check *c)
{
    sum_case(c, 1, 5, 0);
    sum_case(c, 16, 300, 41);
    sum_case(c, 16, 6000, 0);
    sum_case(c, 33, 17000, 3);
    sgd_case(c, 1);
    sgd_case(c, 70001);
    adam_case(c, 5, 1, 0.9f);
    adam_case(c, 40000, 1, 0.999f);
    adam_case(c, 3001, 2, 0.9f);
    adam_case(c, 3001, 100, 0.999f);
    keep_case(c, 7, false);
    keep_case(c, 7, true);
    keep_case(c, 40000, true);
    for (int w = 0; w < 2; w++) {
        prox_case(c, 1, 9, w, 0);
        prox_case(c, 7, 300, w, 0);
        prox_case(c, 5, 90, w, 0.3);
        prox_case(c, 40, 1500, w, 0.2);
        prox_case(c, 6, 50, w, 30);
    }
}
