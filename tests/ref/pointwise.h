// Pointwise operators in plain C: the definitions of runtime/ops/ops.h, in double, one loop each.
#ifndef VKS_TESTS_REF_POINTWISE_H
#define VKS_TESTS_REF_POINTWISE_H

#include <stdint.h>

#include "ops/ops.h"

// y, x, dy, dx (n)
void ref_unary(double *y, const double *x, uint64_t n, enum vks_unary kind);
void ref_unary_backward(double *dx, const double *x, const double *dy, uint64_t n, enum vks_unary kind);
// x, dx (rows, 2 cols), y, dy (rows, cols)
void ref_geglu(double *y, const double *x, uint64_t rows, uint32_t cols);
void ref_geglu_backward(double *dx, const double *x, const double *dy, uint64_t rows, uint32_t cols);
// y = x + z, x (rows, cols); row r of x meets row (r / divide) % modulo of z (modulo, cols); dz (modulo, cols)
void ref_add(double *y, const double *x, const double *z, uint64_t rows, uint32_t cols, uint64_t divide,
             uint64_t modulo);
void ref_add_backward(double *dz, const double *dy, uint64_t rows, uint32_t cols, uint64_t divide, uint64_t modulo);
void ref_multiply(double *y, const double *x, const double *z, uint64_t n);
void ref_scale(double *y, const double *x, uint64_t n, double gain, double offset);
// y, x, dy, dx (rows, cols)
void ref_softmax(double *y, const double *x, uint64_t rows, uint32_t cols);
void ref_softmax_backward(double *dx, const double *y, const double *dy, uint64_t rows, uint32_t cols);

#endif
