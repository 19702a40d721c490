// One-dimensional Wasserstein distance in plain C, from the definition and not from a coupling built beforehand.
#ifndef VKS_TESTS_REF_WASSERSTEIN_H
#define VKS_TESTS_REF_WASSERSTEIN_H

#include <stdint.h>

// W_p^p between the empirical laws of u (b) and v (n), both sorted: the integral over (0, 1) of |F^-1 - G^-1|^p,
// piece by piece between the breakpoints i / b and j / n. du (b) is the gradient with respect to the sorted u (0
// where equal).
double ref_wasserstein(double *du, const double *u, uint32_t b, const double *v, uint32_t n, uint32_t p);

#endif
