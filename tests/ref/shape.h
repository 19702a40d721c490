// Movements of data in plain C.
#ifndef VKS_TESTS_REF_SHAPE_H
#define VKS_TESTS_REF_SHAPE_H

#include <stdint.h>

// a (rows, c1), b (rows, c2) -> y (rows, c1 + c2)
void ref_concat(double *y, const double *a, const double *b, uint64_t rows, uint32_t c1, uint32_t c2);
// x (rows, cols) -> y (rows, count); the gradient dx is dy within the slice and 0 elsewhere
void ref_slice(double *y, const double *x, uint64_t rows, uint32_t cols, uint32_t first, uint32_t count);
void ref_slice_backward(double *dx, const double *dy, uint64_t rows, uint32_t cols, uint32_t first, uint32_t count);
// x (b, h, w, c) -> y (b, height, width, c)
void ref_upsample(double *y, const double *x, uint32_t b, uint32_t h, uint32_t w, uint32_t height, uint32_t width,
                  uint32_t c);
void ref_upsample_backward(double *dx, const double *dy, uint32_t b, uint32_t h, uint32_t w, uint32_t height,
                           uint32_t width, uint32_t c);
// ids (count), table (rows, cols) -> y (count, cols)
void ref_embedding(double *y, const int32_t *ids, const double *table, uint64_t count, uint32_t cols);
// x (b, t, c), index (b) -> y (b, c)
void ref_gather_row(double *y, const double *x, const int32_t *index, uint32_t b, uint32_t t, uint32_t c);
void ref_gather_row_backward(double *dx, const double *dy, const int32_t *index, uint32_t b, uint32_t t, uint32_t c);

#endif
