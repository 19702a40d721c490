#include "ref/norm.h"

#include <math.h>
#include <stddef.h>

// The values of one group of one sample, one after another.
struct group {
    const struct ref_norm *norm;
    uint64_t sample;
    uint32_t group, width;
    uint64_t count;
};

static uint64_t index_of(const struct group *g, uint64_t i)
{
    const uint64_t row = g->sample * g->norm->rows + i / g->width;
    return row * g->norm->cols + g->group * g->width + i % g->width;
}

static void statistics(const struct group *g, const double *x, double *mean, double *rstd)
{
    double sum = 0, square = 0;
    for (uint64_t i = 0; i < g->count && !g->norm->rms; i++)
        sum += x[index_of(g, i)];
    *mean = sum / (double)g->count;
    for (uint64_t i = 0; i < g->count; i++)
        square += (x[index_of(g, i)] - *mean) * (x[index_of(g, i)] - *mean);
    *rstd = 1 / sqrt(square / (double)g->count + g->norm->eps);
}

static double gain(const struct group *g, uint64_t at)
{
    return g->norm->weight ? g->norm->offset + g->norm->weight[at % g->norm->cols] : 1;
}

static void forward(double *y, const double *x, const double *dy, const struct group *g)
{
    (void)dy;
    double mean, rstd;
    statistics(g, x, &mean, &rstd);
    for (uint64_t i = 0; i < g->count; i++) {
        const uint64_t at = index_of(g, i);
        y[at] = (x[at] - mean) * rstd * gain(g, at) + (g->norm->bias ? g->norm->bias[at % g->norm->cols] : 0);
    }
}

static void backward(double *dx, const double *x, const double *dy, const struct group *g)
{
    double mean, rstd, m1 = 0, m2 = 0;
    statistics(g, x, &mean, &rstd);
    for (uint64_t i = 0; i < g->count; i++) {
        const uint64_t at = index_of(g, i);
        m1 += g->norm->rms ? 0 : gain(g, at) * dy[at] / (double)g->count;
        m2 += gain(g, at) * dy[at] * (x[at] - mean) * rstd / (double)g->count;
    }
    for (uint64_t i = 0; i < g->count; i++) {
        const uint64_t at = index_of(g, i);
        dx[at] = rstd * (gain(g, at) * dy[at] - m1 - (x[at] - mean) * rstd * m2);
    }
}

static void each_group(double *out, const double *x, const double *dy, const struct ref_norm *norm,
                       void (*visit)(double *out, const double *x, const double *dy, const struct group *g))
{
    for (uint64_t s = 0; s < norm->samples; s++)
        for (uint32_t k = 0; k < norm->groups; k++) {
            const uint32_t width = norm->cols / norm->groups;
            visit(out, x, dy, &(struct group){norm, s, k, width, norm->rows * width});
        }
}

void ref_norm(double *y, const double *x, const struct ref_norm *norm)
{
    each_group(y, x, NULL, norm, forward);
}

void ref_norm_backward(double *dx, const double *x, const double *dy, const struct ref_norm *norm)
{
    each_group(dx, x, dy, norm, backward);
}
