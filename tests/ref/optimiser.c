#include "ref/optimiser.h"

#include <math.h>

void ref_sgd(double *param, const double *grad, uint64_t n, double lr)
{
    for (uint64_t i = 0; i < n; i++)
        param[i] -= lr * grad[i];
}

void ref_adam(double *param, double *m, double *v, const double *grad, uint64_t n, const struct ref_adam *adam)
{
    for (uint64_t i = 0; i < n; i++) {
        m[i] = adam->beta1 * m[i] + (1 - adam->beta1) * grad[i];
        v[i] = adam->beta2 * v[i] + (1 - adam->beta2) * grad[i] * grad[i];
        const double mean = m[i] / (1 - pow(adam->beta1, adam->t)), square = v[i] / (1 - pow(adam->beta2, adam->t));
        param[i] -= adam->lr * mean / (sqrt(square) + adam->eps);
    }
}

void ref_prox(double *param, const int32_t *groups, uint32_t group_count, const struct ref_prox *prox)
{
    for (uint32_t g = 0; g < group_count; g++) {
        double norm = 0;
        for (int32_t i = groups[g]; i < groups[g + 1]; i++) {
            const double x = param[i] - prox->center, size = fmax(fabs(x) - prox->tau * prox->lambda1, 0);
            param[i] = prox->center + copysign(size, x);
            norm += size * size;
        }
        const double threshold = prox->tau * prox->lambda_group * sqrt(groups[g + 1] - groups[g]);
        const double scale = norm > 0 ? fmax(1 - threshold / sqrt(norm), 0) : 0;
        for (int32_t i = groups[g]; i < groups[g + 1] && prox->lambda_group != 0; i++)
            param[i] = prox->center + scale * (param[i] - prox->center);
    }
}
