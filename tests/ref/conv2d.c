#include "ref/conv2d.h"

#include <stddef.h>
#include <string.h>

// Every product of the sum: y[oy, ox, o] takes x[iy, ix, i] weight[o, ky, kx, i]; backward the other way.
static void each_tap(double *to, const double *from, const struct ref_conv2d *c, int backward)
{
    for (size_t out = 0; out < (size_t)c->samples * c->oh * c->ow; out++) {
        const size_t sample = out / c->ow / c->oh, oy = out / c->ow % c->oh, ox = out % c->ow;
        for (size_t tap = 0; tap < (size_t)c->kh * c->kw; tap++) {
            const size_t iy = oy * c->stride + tap / c->kw - c->pad, ix = ox * c->stride + tap % c->kw - c->pad;
            if (iy >= c->h || ix >= c->w)  // negative numbers wrap
                continue;
            const size_t in = (sample * c->h + iy) * c->w + ix;
            for (size_t o = 0; o < c->cout; o++)
                for (size_t i = 0; i < c->cin; i++) {
                    const double weight = c->weight[(o * c->kh * c->kw + tap) * c->cin + i];
                    if (backward)
                        to[in * c->cin + i] += from[out * c->cout + o] * weight;
                    else
                        to[out * c->cout + o] += from[in * c->cin + i] * weight;
                }
        }
    }
}

void ref_conv2d(double *y, const double *x, const struct ref_conv2d *c)
{
    for (size_t i = 0; i < (size_t)c->samples * c->oh * c->ow * c->cout; i++)
        y[i] = c->bias ? c->bias[i % c->cout] : 0;
    each_tap(y, x, c, 0);
}

void ref_conv2d_backward(double *dx, const double *dy, const struct ref_conv2d *c)
{
    memset(dx, 0, sizeof(*dx) * c->samples * c->h * c->w * c->cin);
    each_tap(dx, dy, c, 1);
}
