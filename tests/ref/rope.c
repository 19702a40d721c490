#include "ref/rope.h"

// y[to] of a head depends on two channels: its own, and its partner in the pair.
static double own(const struct ref_rope *r, uint64_t row, uint32_t channel)
{
    return channel < r->turned ? r->angles[row * r->turned + channel % (r->turned / 2)] : 1;
}

static double partner(const struct ref_rope *r, uint64_t row, uint32_t channel)
{
    const uint32_t pairs = r->turned / 2;
    const double sine = channel < r->turned ? r->angles[row * r->turned + pairs + channel % pairs] : 0;
    return channel < pairs ? -sine : sine;
}

static uint32_t partner_of(const struct ref_rope *r, uint32_t channel)
{
    const uint32_t pairs = r->turned / 2;
    return channel >= r->turned ? channel : channel < pairs ? channel + pairs : channel - pairs;
}

void ref_rope(double *y, const double *x, const struct ref_rope *r)
{
    for (uint64_t i = 0; i < r->rows * r->heads; i++, x += r->width, y += r->width)
        for (uint32_t c = 0; c < r->width; c++)
            y[c] = own(r, i / r->heads, c) * x[c] + partner(r, i / r->heads, c) * x[partner_of(r, c)];
}

void ref_rope_backward(double *dx, const double *dy, const struct ref_rope *r)
{
    for (uint64_t i = 0; i < r->rows * r->heads; i++, dx += r->width, dy += r->width) {
        for (uint32_t c = 0; c < r->width; c++)
            dx[c] = 0;
        for (uint32_t c = 0; c < r->width; c++) {
            dx[c] += own(r, i / r->heads, c) * dy[c];
            dx[partner_of(r, c)] += partner(r, i / r->heads, c) * dy[c];
        }
    }
}
