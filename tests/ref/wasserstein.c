#include "ref/wasserstein.h"

#include <math.h>

double ref_wasserstein(double *du, const double *u, uint32_t b, const double *v, uint32_t n, uint32_t p)
{
    double sum = 0;
    for (uint32_t i = 0; i < b; i++) {
        if (du)
            du[i] = 0;
        for (uint32_t j = 0; j < n; j++) {
            // Overlap of [i / b, (i + 1) / b] and [j / n, (j + 1) / n].
            const double from = fmax((double)i / b, (double)j / n), to = fmin((i + 1.0) / b, (j + 1.0) / n);
            const double d = u[i] - v[j];
            if (to - from <= 1e-12)
                continue;
            sum += (to - from) * pow(fabs(d), p);
            if (du && d != 0)
                du[i] += (to - from) * (p == 1 ? (d > 0 ? 1 : -1) : 2 * d);
        }
    }
    return sum;
}
