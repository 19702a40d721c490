// Matrix products in plain C, in double.
#ifndef VKS_TESTS_REF_LINEAR_H
#define VKS_TESTS_REF_LINEAR_H

#include <stdint.h>

// y = x Wᵀ + bias; x (m, k), w (n, k), bias (n) or NULL, y (m, n)
void ref_linear(double *y, const double *x, const double *w, const double *bias, uint32_t m, uint32_t n, uint32_t k);
// dx = dy W; also y = x W of linear_transposed, x (m, n) -> y (m, k)
void ref_linear_backward(double *dx, const double *dy, const double *w, uint32_t m, uint32_t n, uint32_t k);

#endif
