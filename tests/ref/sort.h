// Stable column sort in plain C.
#ifndef VKS_TESTS_REF_SORT_H
#define VKS_TESTS_REF_SORT_H

#include <stdint.h>

// x (rows, cols) -> sorted (rows, cols), permutation (rows, cols) with sorted[i] = x[permutation[i]]; equal values
// (-0 and +0 are equal) keep the order of their rows.
void ref_sort_columns(double *sorted, int32_t *permutation, const double *x, uint32_t rows, uint32_t cols);

#endif
