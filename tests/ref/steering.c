#include "ref/steering.h"

#include <stddef.h>

static bool unmasked(const struct ref_site *site, uint32_t s, uint32_t t)
{
    return !site->mask || site->mask[(uint64_t)s * site->rows + t] != 0;
}

static uint32_t count_of(const struct ref_site *site, uint32_t s)
{
    uint32_t count = 0;
    for (uint32_t t = 0; t < site->rows; t++)
        count += unmasked(site, s, t);
    return count ? count : 1;
}

// The last unmasked row, or -1.
static int64_t last_of(const struct ref_site *site, uint32_t s)
{
    int64_t last = -1;
    for (uint32_t t = 0; t < site->rows; t++)
        if (unmasked(site, s, t))
            last = t;
    return last;
}

static uint64_t at(const struct ref_site *site, uint32_t s, uint32_t t, uint32_t c)
{
    return ((uint64_t)s * site->rows + t) * site->cols + c;
}

static double mean_of(const double *z, const struct ref_site *site, uint32_t s, uint32_t c)
{
    double sum = 0;
    for (uint32_t t = 0; t < site->rows; t++)
        if (unmasked(site, s, t))
            sum += z[at(site, s, t, c)];
    return sum / count_of(site, s);
}

static bool within(const double *range, uint32_t c, double value)
{
    return !range || (value >= range[2 * c] && value <= range[2 * c + 1]);
}

void ref_affine(double *y, const double *z, const double *w, const double *b, const double *range,
                const struct ref_site *site, enum vks_position position, double strength)
{
    for (uint32_t s = 0; s < site->samples; s++)
        for (uint32_t c = 0; c < site->cols; c++) {
            const double m = position == VKS_POSITION_AVG ? mean_of(z, site, s, c) : 0;
            for (uint32_t t = 0; t < site->rows; t++) {
                const uint64_t i = at(site, s, t, c);
                const double mapped = w[c] * z[i] + b[c];
                y[i] = z[i];
                if (!within(range, c, position == VKS_POSITION_AVG ? m : z[i]))
                    continue;
                if (position == VKS_POSITION_ALL || (position == VKS_POSITION_LAST && t == last_of(site, s)))
                    y[i] = (1 - strength) * z[i] + strength * mapped;
                else if (position == VKS_POSITION_AVG)
                    y[i] = (1 - strength) * z[i] + strength * (z[i] + (w[c] * m + b[c]) - m);
            }
        }
}

void ref_affine_backward(double *dz, double *dw, double *db, const double *z, const double *w, const double *dy,
                         const struct ref_site *site, enum vks_position position, double strength)
{
    for (uint32_t s = 0; s < site->samples; s++)
        for (uint32_t c = 0; c < site->cols; c++) {
            const double m = mean_of(z, site, s, c), n = count_of(site, s);
            double sum = 0, product = 0;
            for (uint32_t t = 0; t < site->rows; t++)
                if (position != VKS_POSITION_LAST || t == last_of(site, s)) {
                    sum += dy[at(site, s, t, c)];
                    product += dy[at(site, s, t, c)] * (position == VKS_POSITION_AVG ? m : z[at(site, s, t, c)]);
                }
            if (dw)
                dw[(uint64_t)s * site->cols + c] = strength * product;
            if (db)
                db[(uint64_t)s * site->cols + c] = strength * sum;
            for (uint32_t t = 0; t < site->rows && dz; t++) {
                const uint64_t i = at(site, s, t, c);
                dz[i] = dy[i];
                if (position == VKS_POSITION_ALL || (position == VKS_POSITION_LAST && t == last_of(site, s)))
                    dz[i] *= 1 + strength * (w[c] - 1);
                else if (position == VKS_POSITION_AVG && unmasked(site, s, t))
                    dz[i] += strength * (w[c] - 1) * sum / n;
            }
        }
}

// The row of the largest value, ties to the first; -1: no unmasked row.
static int64_t max_of(const double *z, const struct ref_site *site, uint32_t s, uint32_t c)
{
    int64_t best = -1;
    for (uint32_t t = 0; t < site->rows; t++)
        if (unmasked(site, s, t) && (best < 0 || z[at(site, s, t, c)] > z[at(site, s, (uint32_t)best, c)]))
            best = t;
    return best;
}

void ref_pool(double *pooled, const double *z, const struct ref_site *site, enum vks_pool kind)
{
    for (uint32_t s = 0; s < site->samples; s++)
        for (uint32_t c = 0; c < site->cols; c++) {
            const int64_t row = kind == VKS_POOL_LAST ? last_of(site, s) : max_of(z, site, s, c);
            double *to = &pooled[(uint64_t)s * site->cols + c];
            if (kind == VKS_POOL_MEAN)
                *to = mean_of(z, site, s, c);
            else
                *to = row < 0 ? 0 : z[at(site, s, (uint32_t)row, c)];
        }
}

void ref_pool_backward(double *dz, const double *z, const double *dy, const double *grad, const struct ref_site *site,
                       enum vks_pool kind)
{
    for (uint32_t s = 0; s < site->samples; s++)
        for (uint32_t c = 0; c < site->cols; c++) {
            const int64_t row = kind == VKS_POOL_LAST ? last_of(site, s) : max_of(z, site, s, c);
            const double g = grad[(uint64_t)s * site->cols + c];
            for (uint32_t t = 0; t < site->rows; t++) {
                const uint64_t i = at(site, s, t, c);
                dz[i] = dy ? dy[i] : 0;
                if (kind == VKS_POOL_MEAN && unmasked(site, s, t))
                    dz[i] += g / count_of(site, s);
                else if (kind != VKS_POOL_MEAN && t == row)
                    dz[i] += g;
            }
        }
}
