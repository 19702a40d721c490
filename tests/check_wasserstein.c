// One-dimensional Wasserstein loss: the reference against central differences and against scipy and POT (fixtures of
// tests/golden/wasserstein.py), the coupling against its definition, the kernel against the reference.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "ref/sort.h"
#include "ref/wasserstein.h"

struct distance {
    const double *target;
    uint32_t b, n, p;
};

static void distance_of(void *priv, const double *x, double *y)
{
    const struct distance *d = priv;
    double sorted[64];
    int32_t permutation[64];
    ref_sort_columns(sorted, permutation, x, d->b, 1);
    *y = ref_wasserstein(NULL, sorted, d->b, d->target, d->n, d->p);
}

static void differences(struct check *c, uint32_t b, uint32_t n, uint32_t p)
{
    double *x = check_values(c, b, CHECK_NORMAL), *v = check_values(c, n, CHECK_NORMAL);
    double sorted[64], target[64], du[64], dx[64];
    int32_t permutation[64];
    const double one = 1;
    ref_sort_columns(target, permutation, v, n, 1);
    ref_sort_columns(sorted, permutation, x, b, 1);
    ref_wasserstein(du, sorted, b, target, n, p);
    for (uint32_t i = 0; i < b; i++)
        dx[permutation[i]] = du[i];
    check_differences(c, "wasserstein", distance_of, &(struct distance){target, b, n, p}, x, b, &one, 1, dx);
}

static void coupling(struct check *c, uint32_t b, uint32_t n)
{
    int32_t pairs[256];
    float weights[128];
    double row[64] = {0}, column[64] = {0};
    const uint32_t count = vks_quantile_coupling(b, n, pairs, weights);
    bool ordered = true;
    check_true(c, count == vks_quantile_coupling(b, n, NULL, NULL) && count <= b + n - 1,
               "coupling of %u with %u has %u pairs", b, n, count);
    for (uint32_t k = 0; k < count; k++) {
        row[pairs[2 * k]] += weights[k];
        column[pairs[2 * k + 1]] += weights[k];
        ordered &= k == 0 || (pairs[2 * k] >= pairs[2 * k - 2] && pairs[2 * k + 1] >= pairs[2 * k - 1]);
    }
    for (uint32_t i = 0; i < b; i++)
        ordered &= fabs(row[i] - 1.0 / b) < 1e-7;
    for (uint32_t j = 0; j < n; j++)
        ordered &= fabs(column[j] - 1.0 / n) < 1e-7;
    check_true(c, ordered, "coupling of %u with %u: order and marginals", b, n);
}

// Sorts, couples and compares on the device; `extra` columns stand beside those that are used in every flat array.
static void loss_case(struct check *c, uint32_t b, uint32_t n, uint32_t cols, uint32_t p, enum check_fill fill,
                      uint32_t extra)
{
    const uint32_t first = extra ? check_random(c, extra) : 0, width = cols + extra, one = 1;
    const uint32_t flat[] = {b, width}, flat_target[] = {n, width}, dense[] = {b, cols};
    double *x = check_values(c, (uint64_t)b * cols, fill), *v = check_values(c, (uint64_t)n * cols, fill);
    double *scale = check_values(c, cols, CHECK_UNIFORM), *terms = check_alloc(c, cols, sizeof(*terms));
    double *sorted = check_alloc(c, (uint64_t)b * cols, sizeof(*sorted));
    double *grad = check_values(c, (uint64_t)b * width, CHECK_NORMAL);
    double *target = check_alloc(c, (uint64_t)n * width, sizeof(*target));
    double *ranked = check_alloc(c, (uint64_t)n * cols, sizeof(*v));
    double *expected = check_alloc(c, (uint64_t)b * width, sizeof(*expected));
    int32_t *permutation = check_alloc(c, (uint64_t)(b + n) * cols, sizeof(*permutation));
    double *u = check_alloc(c, b + n, sizeof(*u)), *du = check_alloc(c, b, sizeof(*du));
    const uint32_t pair_count = vks_quantile_coupling(b, n, NULL, NULL), pair_shape[] = {pair_count, 2};
    int32_t *pairs = check_alloc(c, 2 * pair_count, sizeof(*pairs));
    float *weights = check_alloc(c, pair_count, sizeof(*weights));
    double *weight = check_alloc(c, pair_count, sizeof(*weight));
    vks_quantile_coupling(b, n, pairs, weights);
    for (uint32_t k = 0; k < pair_count; k++)
        weight[k] = weights[k];

    ref_sort_columns(ranked, permutation, v, n, cols);
    for (uint32_t j = 0; j < n; j++)
        for (uint32_t k = 0; k < width; k++)
            target[j * width + k] = k >= first && k < first + cols ? ranked[j * cols + k - first] : 1e30;
    ref_sort_columns(sorted, permutation, x, b, cols);
    memcpy(expected, grad, (uint64_t)b * width * sizeof(*grad));
    for (uint32_t k = 0; k < cols; k++) {
        for (uint32_t i = 0; i < b; i++)
            u[i] = sorted[i * cols + k];
        for (uint32_t j = 0; j < n; j++)
            u[b + j] = ranked[j * cols + k];
        terms[k] = scale[k] * ref_wasserstein(du, u, b, u + b, n, p);
        for (uint32_t i = 0; i < b; i++)
            expected[(uint64_t)permutation[i * cols + k] * width + first + k] = scale[k] * du[i];
    }

    struct vks_graph *g = check_begin(c, "wasserstein b %u n %u (%u + %u columns) p %u fill %d", b, n, cols, extra, p,
                                      fill);
    const int32_t zero = 0;
    struct vks_tensor *ts, *tp, *tg = check_state(c, "grad", grad, VKS_F32, 2, flat);
    struct vks_tensor *tt = check_state(c, "target", target, VKS_F32, 2, flat_target);
    vks_sort_columns(g, check_input(c, "x", x, 2, dense), check_state_i32(c, "flag", &zero, 1, &one), &ts, &tp);
    struct vks_tensor *loss = vks_wasserstein(
        g, ts, tp, vks_graph_columns(g, tt, first, cols), check_state_i32(c, "pairs", pairs, 2, pair_shape),
        check_state(c, "weights", weight, VKS_F32, 1, &pair_count),
        check_state(c, "column weights", scale, VKS_F32, 1, &cols), vks_graph_columns(g, tg, first, cols), p);
    check_expect(c, loss, terms, 2e-6);
    check_expect(c, tg, expected, 2e-6);
    check_run(c);
}

// Lines of "p b n distance^p u... v..." made by tests/golden/wasserstein.py with scipy and POT.
static void golden(struct check *c)
{
    FILE *file = fopen(VKS_TEST_DATA "/wasserstein.txt", "r");
    uint32_t p, b, n, lines = 0;
    double wanted, worst = 0;
    check_true(c, file != NULL, "open tests/golden/data/wasserstein.txt");
    while (file && fscanf(file, "%u %u %u %lf", &p, &b, &n, &wanted) == 4 && b <= 64 && n <= 64) {
        double x[64], v[64], sorted[64], target[64], via_coupling = 0;
        int32_t permutation[64], pairs[256];
        float weights[128];
        bool ok = true;
        for (uint32_t i = 0; i < b; i++)
            ok &= fscanf(file, "%lf", &x[i]) == 1;
        for (uint32_t j = 0; j < n; j++)
            ok &= fscanf(file, "%lf", &v[j]) == 1;
        if (!ok)
            break;
        ref_sort_columns(sorted, permutation, x, b, 1);
        ref_sort_columns(target, permutation, v, n, 1);
        const uint32_t count = vks_quantile_coupling(b, n, pairs, weights);
        for (uint32_t k = 0; k < count; k++)
            via_coupling += weights[k] * pow(fabs(sorted[pairs[2 * k]] - target[pairs[2 * k + 1]]), p);
        const double got = ref_wasserstein(NULL, sorted, b, target, n, p);
        worst = fmax(worst, fmax(fabs(got - wanted), fabs(via_coupling - wanted) / 10) / fmax(wanted, 1e-3));
        lines++;
    }
    if (file)
        fclose(file);
    check_true(c, lines >= 20 && worst < 1e-7, "%u distances of scipy and POT, error %.1e", lines, worst);
}

void check_wasserstein(struct check *c)
{
    static const uint32_t sizes[][2] = {{4, 4}, {1, 1}, {8, 5}, {5, 8}, {16, 16}, {16, 32}, {7, 21}, {31, 33}};
    golden(c);
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        coupling(c, sizes[i][0], sizes[i][1]);
        for (uint32_t p = 1; p <= 2; p++) {
            differences(c, sizes[i][0], sizes[i][1], p);
            loss_case(c, sizes[i][0], sizes[i][1], 1 + check_random(c, 200), p, CHECK_NORMAL, check_random(c, 2) * 9);
            loss_case(c, sizes[i][0], sizes[i][1], 1 + check_random(c, 200), p, CHECK_HOSTILE, 0);
        }
    }
    loss_case(c, 16, 32, 3000, 2, CHECK_NORMAL, 100);
    loss_case(c, 65, 70, 400, 1, CHECK_NORMAL, 0);
}
