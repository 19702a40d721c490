#include "steer/statistics.h"

#include <math.h>
#include <stdlib.h>

#include "base/philox.h"
#include "ops/ops.h"
#include "steer/train.h"

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void vks_sorted_column(const float *rows, uint32_t count, uint32_t channels, uint32_t column, double *out)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = rows[(uint64_t)i * channels + column];
    qsort(out, count, sizeof(*out), ascending);
}

double vks_mean(const double *values, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += values[i];
    return sum / count;
}

double vks_variance(const double *values, uint32_t count, double mean)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += (values[i] - mean) * (values[i] - mean);
    return sum / count;
}

// Sum over the pairs of the coupling of weight * |a - b|^p, for sorted a and b.
static double coupled(const double *a, const double *b, const int32_t *pairs, const float *weights, uint32_t count,
                      uint32_t p)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        const double d = fabs(a[pairs[2 * i]] - b[pairs[2 * i + 1]]);
        sum += weights[i] * (p == 1 ? d : d * d);
    }
    return sum;
}

bool vks_wasserstein_host(const float *a, uint32_t rows_a, const float *b, uint32_t rows_b, uint32_t channels,
                          uint32_t p, double *out)
{
    int32_t *pairs = malloc(2 * ((size_t)rows_a + rows_b) * sizeof(*pairs));
    float *weights = malloc(((size_t)rows_a + rows_b) * sizeof(*weights));
    double *x = malloc(((size_t)rows_a + rows_b) * sizeof(*x));
    const bool ok = pairs && weights && x;
    if (ok) {
        const uint32_t count = vks_quantile_coupling(rows_a, rows_b, pairs, weights);
        for (uint32_t c = 0; c < channels; c++) {
            vks_sorted_column(a, rows_a, channels, c, x);
            vks_sorted_column(b, rows_b, channels, c, x + rows_a);
            out[c] = coupled(x, x + rows_a, pairs, weights, count, p);
        }
    }
    free(pairs);
    free(weights);
    free(x);
    return ok;
}

double vks_wasserstein_floor(uint32_t b, uint32_t n, uint32_t p)
{
    const uint32_t draws = 400;
    int32_t *pairs = malloc(2 * ((size_t)b + n) * sizeof(*pairs));
    float *weights = malloc(((size_t)b + n) * sizeof(*weights));
    float *noise = malloc(((size_t)b + n) * sizeof(*noise));
    double *x = malloc(((size_t)b + n) * sizeof(*x)), sum = 0;
    const bool ok = pairs && weights && noise && x;
    if (ok) {
        const uint32_t count = vks_quantile_coupling(b, n, pairs, weights);
        for (uint32_t draw = 0; draw < draws; draw++) {
            // The seed is fixed: the floor belongs to b, n and p, not to a training.
            vks_noise_normal(&(struct vks_noise){.offset = draw, .domain = VKS_NOISE_FLOOR}, noise, (size_t)b + n);
            for (size_t i = 0; i < (size_t)b + n; i++)
                x[i] = noise[i];
            qsort(x, b, sizeof(*x), ascending);
            qsort(x + b, n, sizeof(*x), ascending);
            sum += coupled(x, x + b, pairs, weights, count, p);
        }
    }
    free(pairs);
    free(weights);
    free(noise);
    free(x);
    return ok ? sum / draws : NAN;
}

double vks_loss_weight(const struct vks_site_list *sites, const struct vks_site_slot *slot, bool mean_scale)
{
    return 1.0 / (double)sites->count / (mean_scale ? slot->channels : 1);
}

bool vks_loss_floor(const struct vks_loss_floor *in, double *floor)
{
    const uint32_t n = in->target_rows, channels = in->sites->channels;
    double spread = 0, *values = malloc(n * sizeof(*values));
    if (!values)
        return false;
    for (size_t s = 0; s < in->sites->count; s++) {
        const struct vks_site_slot *slot = &in->sites->slots[s];
        const double weight = vks_loss_weight(in->sites, slot, in->mean_scale);
        for (uint32_t c = slot->first; c < slot->first + slot->channels; c++) {
            for (uint32_t i = 0; i < n; i++)
                values[i] = in->target[(uint64_t)i * channels + c];
            const double variance = vks_variance(values, n, vks_mean(values, n));
            spread += weight * (in->p == 1 ? sqrt(variance) : variance);
        }
    }
    free(values);
    const double unit = vks_wasserstein_floor(in->rows, n, in->p);
    *floor = spread * unit;
    return !isnan(unit);
}
