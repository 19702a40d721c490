#include "ref/shape.h"

#include <string.h>

void ref_concat(double *y, const double *a, const double *b, uint64_t rows, uint32_t c1, uint32_t c2)
{
    for (uint64_t r = 0; r < rows; r++) {
        memcpy(y + r * (c1 + c2), a + r * c1, c1 * sizeof(*y));
        memcpy(y + r * (c1 + c2) + c1, b + r * c2, c2 * sizeof(*y));
    }
}

void ref_slice(double *y, const double *x, uint64_t rows, uint32_t cols, uint32_t first, uint32_t count)
{
    for (uint64_t r = 0; r < rows; r++)
        memcpy(y + r * count, x + r * cols + first, count * sizeof(*y));
}

void ref_slice_backward(double *dx, const double *dy, uint64_t rows, uint32_t cols, uint32_t first, uint32_t count)
{
    memset(dx, 0, rows * cols * sizeof(*dx));
    for (uint64_t r = 0; r < rows; r++)
        memcpy(dx + r * cols + first, dy + r * count, count * sizeof(*dx));
}

void ref_upsample(double *y, const double *x, uint32_t b, uint32_t h, uint32_t w, uint32_t height, uint32_t width,
                  uint32_t c)
{
    for (uint32_t s = 0; s < b; s++)
        for (uint32_t i = 0; i < height; i++)
            for (uint32_t j = 0; j < width; j++)
                memcpy(y + ((s * (uint64_t)height + i) * width + j) * c,
                       x + ((s * (uint64_t)h + i * h / height) * w + j * w / width) * c, c * sizeof(*y));
}

void ref_upsample_backward(double *dx, const double *dy, uint32_t b, uint32_t h, uint32_t w, uint32_t height,
                           uint32_t width, uint32_t c)
{
    memset(dx, 0, (uint64_t)b * h * w * c * sizeof(*dx));
    for (uint32_t s = 0; s < b; s++)
        for (uint32_t i = 0; i < height; i++)
            for (uint32_t j = 0; j < width; j++)
                for (uint32_t k = 0; k < c; k++)
                    dx[((s * (uint64_t)h + i * h / height) * w + j * w / width) * c + k] +=
                        dy[((s * (uint64_t)height + i) * width + j) * c + k];
}

void ref_embedding(double *y, const int32_t *ids, const double *table, uint64_t count, uint32_t cols)
{
    for (uint64_t i = 0; i < count; i++)
        memcpy(y + i * cols, table + (uint64_t)ids[i] * cols, cols * sizeof(*y));
}

void ref_gather_row(double *y, const double *x, const int32_t *index, uint32_t b, uint32_t t, uint32_t c)
{
    for (uint32_t s = 0; s < b; s++)
        memcpy(y + (uint64_t)s * c, x + (s * (uint64_t)t + (uint32_t)index[s]) * c, c * sizeof(*y));
}

void ref_gather_row_backward(double *dx, const double *dy, const int32_t *index, uint32_t b, uint32_t t, uint32_t c)
{
    memset(dx, 0, (uint64_t)b * t * c * sizeof(*dx));
    for (uint32_t s = 0; s < b; s++)
        memcpy(dx + (s * (uint64_t)t + (uint32_t)index[s]) * c, dy + (uint64_t)s * c, c * sizeof(*dx));
}
