// Mean-AcT, Gaussian-AcT and Linear-AcT (Rodriguez et al. 2024, arXiv 2410.23054, section 3): one affine map a
// channel from the pooled source values a and target values b of that channel.
//
//     mean      w = 1,                         bias = mean b - mean a
//     gaussian  w = std b / std a,             bias = mean b - w mean a
//     linear    w = Σ ω ã b̃ / Σ ω ã²,          bias = mean b - w mean a     (ã, b̃ sorted and centred, ω the weights
//               of the quantile coupling; the authors confirm ã² where the arXiv text has b̃²)
//
// Linear-AcT may be limited to its support: then only values between two quantiles of a are moved (all of a for
// 0:100), those of pooled activations, though z is a token's; the same quantiles as numpy's, between neighbours in
// proportion.
//
// Channels with a standard deviation of at most 1e-4 keep w = 1 (mean) or stay the identity.
#include <math.h>
#include <stdlib.h>

#include "ops/ops.h"
#include "steer/closed.h"
#include "steer/statistics.h"

#define MIN_STD 1e-4

struct coupling {
    int32_t *pairs;
    float *weights;
    uint32_t count;
};

static void linear_map(const double *a, uint32_t rows_a, const double *b, uint32_t rows_b,
                       const struct coupling *coupling, float *w, float *bias)
{
    const double mean_a = vks_mean(a, rows_a), mean_b = vks_mean(b, rows_b);
    double ab = 0, aa = 0;
    for (uint32_t i = 0; i < coupling->count; i++) {
        const double x = a[coupling->pairs[2 * i]] - mean_a, y = b[coupling->pairs[2 * i + 1]] - mean_b;
        ab += coupling->weights[i] * x * y;
        aa += coupling->weights[i] * x * x;
    }
    if (sqrt(aa) <= MIN_STD)
        return;
    *w = (float)(ab / aa);
    *bias = (float)(mean_b - ab / aa * mean_a);
}

static void gaussian_map(const double *a, uint32_t rows_a, const double *b, uint32_t rows_b, float *w, float *bias)
{
    const double mean_a = vks_mean(a, rows_a), mean_b = vks_mean(b, rows_b);
    const double std_a = sqrt(vks_variance(a, rows_a, mean_a)), std_b = sqrt(vks_variance(b, rows_b, mean_b));
    if (std_a <= MIN_STD)
        return;
    *w = (float)(std_b / std_a);
    *bias = (float)(mean_b - std_b / std_a * mean_a);
}

// Of sorted values.
static float quantile(const double *values, uint32_t count, double percent)
{
    const double at = (count - 1) * percent / 100;
    const uint32_t below = (uint32_t)at, above = below + 1 < count ? below + 1 : below;
    return (float)(values[below] + (at - below) * (values[above] - values[below]));
}

bool vks_act_maps(const struct vks_train_params *params, const struct vks_evidence *e,
                  const struct vks_site_slot *slot, struct vks_steering *steering)
{
    const uint32_t rows_a = e->source_rows, rows_b = e->target_rows;
    const enum vks_method method = params->method;
    struct coupling coupling = {
        .pairs = malloc(2 * ((size_t)rows_a + rows_b) * sizeof(*coupling.pairs)),
        .weights = malloc(((size_t)rows_a + rows_b) * sizeof(*coupling.weights)),
    };
    double *x = malloc(((size_t)rows_a + rows_b) * sizeof(*x)), *y = x ? x + rows_a : NULL;
    const bool ok = coupling.pairs && coupling.weights && x;
    if (ok)
        coupling.count = vks_quantile_coupling(rows_a, rows_b, coupling.pairs, coupling.weights);
    for (uint32_t c = slot->first; c < slot->first + slot->channels && ok; c++) {
        vks_sorted_column(e->source, rows_a, e->channels, c, x);
        vks_sorted_column(e->target, rows_b, e->channels, c, y);
        if (method == VKS_METHOD_MEAN_ACT)
            steering->b[c] = (float)(vks_mean(y, rows_b) - vks_mean(x, rows_a));
        else if (method == VKS_METHOD_GAUSSIAN_ACT)
            gaussian_map(x, rows_a, y, rows_b, &steering->w[c], &steering->b[c]);
        else
            linear_map(x, rows_a, y, rows_b, &coupling, &steering->w[c], &steering->b[c]);
        for (int end = 0; end < 2 && steering->range; end++)
            steering->range[2 * (size_t)c + end] = quantile(x, rows_a, params->quantiles[end]);
    }
    free(coupling.pairs);
    free(coupling.weights);
    free(x);
    return ok;
}
