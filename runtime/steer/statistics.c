#include "steer/statistics.h"

#include <math.h>
#include <stdlib.h>

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

static double normal(uint64_t *state)
{
    double u[2];
    for (int i = 0; i < 2; i++) {  // splitmix64
        uint64_t z = *state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        u[i] = ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
    }
    return sqrt(-2 * log(u[0])) * cos(6.283185307179586 * u[1]);
}

double vks_wasserstein_floor(uint32_t b, uint32_t n, uint32_t p)
{
    const uint32_t draws = 400;
    uint64_t state = 1;
    int32_t *pairs = malloc(2 * ((size_t)b + n) * sizeof(*pairs));
    float *weights = malloc(((size_t)b + n) * sizeof(*weights));
    double *x = malloc(((size_t)b + n) * sizeof(*x)), sum = 0;
    if (pairs && weights && x) {
        const uint32_t count = vks_quantile_coupling(b, n, pairs, weights);
        for (uint32_t draw = 0; draw < draws; draw++) {
            for (uint32_t i = 0; i < b + n; i++)
                x[i] = normal(&state);
            qsort(x, b, sizeof(*x), ascending);
            qsort(x + b, n, sizeof(*x), ascending);
            sum += coupled(x, x + b, pairs, weights, count, p);
        }
    }
    free(pairs);
    free(weights);
    free(x);
    return sum / draws;
}
