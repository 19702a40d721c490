// Pooled rows from the partial sums of pool_sums.comp, blocks in order: (B, K, C) -> one row of C for each sample.
//
//     MEAN  sum / count (the plain sum where p.divide = 0)      LAST  the block that holds the row
//     MAX   the largest, ties to the first row; p.index = 1 writes that row's number (0xffffffff: none) instead
//
// A sample without unmasked rows gives 0. Sample s goes to row VKS_ROW_OF s of a column view if p.sliced,
// of which rows [first_row, first_row + rows) are bound, else to row s. With QUADS an invocation makes four channels
// (MEAN alone).
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

#define MEAN 0
#define LAST 1
#define MAX 2
layout(constant_id = 1) const uint KIND = MEAN;
layout(constant_id = 2) const uint QUADS = 0;

VKS_BUF_QUADS_IN(0, float, part);
VKS_BUF_IN(1, uint, part_index);
VKS_BUF_IN(2, uint, span);
VKS_BUF_IN(3, uint, stp);
VKS_BUF_QUADS(4, uint, pooled);
VKS_PUSH(5, pool_finish);

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, columns = p.cols / width;
    const uint item = vks_item(), c = item % columns * width, s = item / columns;
    if (s >= p.samples)
        return;
    const uint row = p.sliced != 0 ? VKS_ROW_OF(3, stp, p.first_sample + s) : p.first_sample + s;
    if (row < p.first_row || row - p.first_row >= p.rows)
        return;
    const uint base = s * p.blocks * p.cols + c, to = (row - p.first_row) * p.row_stride + c;
    vec4 v = vec4(0.0);
    uint index = 0xffffffffu;
    if (KIND == LAST) {
        const uint t = p.spans != 0 ? VKS_AT(2, span, 2 * s) : p.sample_rows - 1;
        if (t < p.sample_rows)
            v.x = VKS_AT(0, part, base + t / VKS_POOL_BLOCK * p.cols);
    } else {
        for (uint k = 0; k < p.blocks; k++) {
            const uint at = base + k * p.cols;
            const vec4 w = QUADS != 0 ? VKS_LOAD4(0, part, at) : vec4(VKS_AT(0, part, at));
            if (KIND == MAX) {
                const uint t = VKS_AT(1, part_index, at);
                if (t != 0xffffffffu && (index == 0xffffffffu || w.x > v.x)) {
                    v = w;
                    index = t;
                }
            } else {
                v += w;
            }
        }
        if (KIND == MEAN && p.divide != 0)
            v /= max(p.spans != 0 ? uintBitsToFloat(VKS_AT(2, span, 2 * s + 1)) : float(p.sample_rows), 1.0);
    }
    if (QUADS != 0)
        VKS_STORE4(4, pooled, to, v);
    else
        VKS_AT(4, pooled, to) = p.index != 0 ? index : floatBitsToUint(v.x);
}
