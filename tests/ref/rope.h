// Rotary positions in plain C.
#ifndef VKS_TESTS_REF_ROPE_H
#define VKS_TESTS_REF_ROPE_H

#include <stdint.h>

// x, y (rows, heads, width); angles (rows, turned): the cosines of turned / 2 angles, then their sines. y and x may
// not be one.
struct ref_rope {
    uint64_t rows;
    uint32_t heads, width, turned;
    const double *angles;
};

void ref_rope(double *y, const double *x, const struct ref_rope *rope);
// By the transpose of each head's matrix, written out from the definition of y.
void ref_rope_backward(double *dx, const double *dy, const struct ref_rope *rope);

#endif
