#include "models/weight_change.h"

#include <stdlib.h>
#include <string.h>

#define PIECE 256  // columns that are summed at a time, on the stack

// sum[c] = sum over k of up[k] down[k][c]; four rows of `down` a pass keep the sums in registers for longer.
static void product(const float *restrict up, const float *restrict down, uint32_t rank, uint64_t stride,
                    uint64_t count, float *restrict sum)
{
    memset(sum, 0, count * sizeof(*sum));
    uint32_t k = 0;
    for (; k + 4 <= rank; k += 4) {
        const float *a = down + k * stride, *b = a + stride, *c = b + stride, *d = c + stride;
        const float x = up[k], y = up[k + 1], z = up[k + 2], w = up[k + 3];
        for (uint64_t i = 0; i < count; i++)
            sum[i] = (((sum[i] + x * a[i]) + y * b[i]) + z * c[i]) + w * d[i];
    }
    for (; k < rank; k++)
        for (uint64_t i = 0; i < count; i++)
            sum[i] += up[k] * down[k * stride + i];
}

// (rows, columns) -> (columns, rows)
static void transpose(const float *in, uint64_t rows, uint64_t columns, float *out)
{
    for (uint64_t c = 0; c < columns; c++)
        for (uint64_t r = 0; r < rows; r++)
            *out++ = in[r * columns + c];
}

// values += scale up down
static void add_product(const float *up, const float *down, uint32_t rank, float scale, uint64_t rows,
                        uint64_t columns, float *values)
{
    for (uint64_t row = 0; row < rows; row++)
        for (uint64_t at = 0; at < columns; at += PIECE) {
            float sum[PIECE], *out = values + row * columns + at;
            const uint64_t count = columns - at < PIECE ? columns - at : PIECE;
            product(up + row * rank, down + at, rank, columns, count, sum);
            for (uint64_t i = 0; i < count; i++)
                out[i] += scale * sum[i];
        }
}

bool vks_weight_change_add(const struct vks_weight_change *change, uint64_t rows, uint64_t columns, float *values)
{
    const uint64_t ups = change->up ? change->up->count : 0, downs = change->down->count;
    float *down = malloc((change->transposed ? 2 : 1) * (downs + ups + 1) * sizeof(*down));
    if (!down)
        return false;
    float *up = down + downs;
    vks_st_to_f32(NULL, NULL, change->down, down);
    if (change->up)
        vks_st_to_f32(NULL, NULL, change->up, up);
    if (!change->up) {
        for (uint64_t i = 0; i < rows * columns; i++)
            values[i] += change->scale * down[i];
    } else if (change->transposed) {  // (up down)^T = down^T up^T
        float *left = up + ups, *right = left + downs;
        transpose(down, change->rank, rows, left);
        transpose(up, columns, change->rank, right);
        add_product(left, right, change->rank, change->scale, rows, columns, values);
    } else {
        add_product(up, down, change->rank, change->scale, rows, columns, values);
    }
    free(down);
    return true;
}
