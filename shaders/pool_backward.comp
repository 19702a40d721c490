// Gradient of pooling, added to the gradient that comes from above: dz = dy + g / n on the unmasked rows (MEAN, n
// their number), + g on the pooled row alone (LAST, MAX), g the sample's row of grad_pooled.
//
//     dy, dz (B, T, C), grad_pooled rows of C (row VKS_ROW_OF s), mask (B, T), span (B, 2), index (B, C)
//
// Rows [first_row, first_row + rows) of grad_pooled are bound; samples whose row is elsewhere belong to another
// dispatch.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

#define MEAN 0
#define LAST 1
#define MAX 2
layout(constant_id = 1) const uint KIND = MEAN;
layout(constant_id = 2) const uint QUADS = 0;  // 1: an item is four channels; MEAN alone

VKS_BUF_QUADS_IN(0, float, dy);
VKS_BUF_IN(1, float, grad_pooled);
VKS_BUF_IN(2, float, mask);
VKS_BUF_IN(3, uint, span);
VKS_BUF_IN(4, uint, index);
VKS_BUF_IN(5, uint, stp);
VKS_BUF_QUADS(6, float, dz);
VKS_PUSH(7, pool_backward);

// Gradients of the pooled row for channel c, or for c .. c + 3; `at` is its element.
vec4 load_gradient(uint at)
{
    vec4 g;
    [[unroll]] for (uint j = 0; j < 4; j++)
        g[j] = VKS_AT(1, grad_pooled, at + (QUADS != 0 ? j : 0));
    return g;
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, columns = p.cols / width;
    const uint item = vks_item(), c = item % columns * width, q = item / columns, k = q % p.blocks, s = q / p.blocks;
    if (s >= p.samples)
        return;
    const uint row = VKS_ROW_OF(5, stp, p.first_sample + s);
    if (row < p.first_row || row - p.first_row >= p.rows)
        return;
    vec4 g = load_gradient((row - p.first_row) * p.row_stride + c);
    uint only = 0xffffffffu;
    if (KIND == MEAN)
        g /= max(p.spans != 0 ? uintBitsToFloat(VKS_AT(3, span, 2 * s + 1)) : float(p.sample_rows), 1.0);
    else if (KIND == LAST)
        only = p.spans != 0 ? VKS_AT(3, span, 2 * s) : p.sample_rows - 1;
    else
        only = VKS_AT(4, index, s * p.cols + c);
    const uint block = (p.first / VKS_POOL_BLOCK + k) * VKS_POOL_BLOCK;
    const uint begin = max(block, p.first), end = min(block + VKS_POOL_BLOCK, p.end);
    const uint base = s * p.sample_rows - p.first;  // row t is row base + t of the bindings
    uint touched = 0;
    if (p.gradient != 0)
        VKS_TOUCH_ROWS(touched, 0, (base + begin) * p.cols + c, p.cols, end - begin, width);
    VKS_TOUCH_ROWS(touched, 6, (base + begin) * p.cols + c, p.cols, end - begin, width);
    for (uint t = begin; t < end; t++) {
        const uint at = (base + t) * p.cols + c;
        const bool reached = KIND == MEAN ? p.mask == 0 || VKS_AT(2, mask, base + t) != 0.0 : t == only;
        if (QUADS != 0) {
            const vec4 above = p.gradient != 0 ? VKS_LOAD4(0, dy, at) : vec4(0.0);
            VKS_STORE4(6, dz, at, reached ? above + g : above);
        } else {
            const float above = p.gradient != 0 ? VKS_AT(0, dy, at) : 0.0;
            VKS_AT(6, dz, at) = reached ? above + g.x : above;
        }
    }
    VKS_TOUCHED(6, dz, touched);
}
