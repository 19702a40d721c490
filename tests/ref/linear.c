#include "ref/linear.h"

#include <stddef.h>

void ref_linear(double *y, const double *x, const double *w, const double *bias, uint32_t m, uint32_t n, uint32_t k)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = bias ? bias[j] : 0;
            for (size_t l = 0; l < k; l++)
                sum += x[i * k + l] * w[j * k + l];
            y[i * n + j] = sum;
        }
}

void ref_linear_backward(double *dx, const double *dy, const double *w, uint32_t m, uint32_t n, uint32_t k)
{
    for (size_t i = 0; i < m; i++)
        for (size_t l = 0; l < k; l++) {
            double sum = 0;
            for (size_t j = 0; j < n; j++)
                sum += dy[i * n + j] * w[j * k + l];
            dx[i * k + l] = sum;
        }
}
