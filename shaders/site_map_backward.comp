// The gradient of site_map.comp, in one pass:
//
//     dz' = dy f'(z') + g / T                  g (B, C) the gradient of the mean (POOL)
//     dz  = (1 + s (w - 1)) dz'
//     part[s, k] = sums of dz' z and of dz' over block k of the rows of sample s    (TRAINS; affine_gradient.comp)
//
// dy, z, dz (B, T, C), w and b: the channels [column, column + cols) of C, part (B, K, 2, cols); g: rows
// VKS_ROW_OF s, of which [first_row, first_row + rows) are bound: samples whose row is elsewhere belong
// to another dispatch. z' is made again from z. The rest is as in site_map.comp; the bits are those of unary.comp,
// pool_backward.comp, pool_sums.comp and affine.comp one after another.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint QUADS = 0;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 3) const uint POOL = 0;
layout(constant_id = 4) const uint TRAINS = 0;
#include "include/unary.glsl"

VKS_BUF_QUADS_IN(0, float, dy);
VKS_BUF_QUADS_IN(1, float, z);
VKS_BUF_QUADS_IN(2, float, w);
VKS_BUF_QUADS_IN(3, float, b);
VKS_BUF_IN(4, uint, stp);
VKS_BUF_IN(5, float, grad_pooled);
VKS_BUF_QUADS(6, float, dz);
VKS_BUF_QUADS(7, float, part);
VKS_PUSH(8, site_map);

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, columns = p.cols / width;
    const uint item = vks_item(), c = item % columns * width, q = item / columns, k = q % p.blocks, s = q / p.blocks;
    if (s >= p.samples)
        return;
    precise vec4 above = vec4(0.0);
    if (POOL != 0) {
        const uint row = VKS_ROW_OF(4, stp, p.first_sample + s);
        if (row < p.first_row || row - p.first_row >= p.rows)
            return;
        [[unroll]] for (uint j = 0; j < 4; j++)
            above[j] = VKS_AT(5, grad_pooled, (row - p.first_row) * p.row_stride + c + (QUADS != 0 ? j : 0));
        above /= max(float(p.sample_rows), 1.0);
    }
    const float strength = uintBitsToFloat(VKS_AT(4, stp, p.strength));
    precise vec4 gain = QUADS != 0 ? VKS_LOAD4(2, w, c) : vec4(VKS_AT(2, w, c));
    precise vec4 offset = vec4(0.0);
    gain = fma(vec4(strength), gain - 1.0, vec4(1.0));
    if (KIND != VKS_SITE_NO_ACT)
        offset = strength * (QUADS != 0 ? VKS_LOAD4(3, b, c) : vec4(VKS_AT(3, b, c)));
    const uint block = (p.first / VKS_POOL_BLOCK + k) * VKS_POOL_BLOCK, to = 2 * q * p.cols + c;
    const uint begin = max(block, p.first), end = min(block + VKS_POOL_BLOCK, p.end);
    precise vec4 product = vec4(0.0), plain = vec4(0.0);
    if (TRAINS != 0 && begin > block) {  // an earlier dispatch began this block
        product = QUADS != 0 ? VKS_RELOAD4(7, part, to) : vec4(VKS_AT(7, part, to));
        plain = QUADS != 0 ? VKS_RELOAD4(7, part, to + p.cols) : vec4(VKS_AT(7, part, to + p.cols));
    }
    uint at = (s * p.sample_rows - p.first + begin) * p.stride + p.column + c, touched = 0;
    if (p.gradient != 0)
        VKS_TOUCH_ROWS(touched, 0, at, p.stride, end - begin, width);
    if (TRAINS != 0 || KIND != VKS_SITE_NO_ACT)
        VKS_TOUCH_ROWS(touched, 1, at, p.stride, end - begin, width);
    VKS_TOUCH_ROWS(touched, 6, at, p.stride, end - begin, width);
    for (uint t = begin; t < end; t++, at += p.stride) {
        precise vec4 d = vec4(0.0);
        if (p.gradient != 0)
            d = QUADS != 0 ? VKS_LOAD4(0, dy, at) : vec4(VKS_AT(0, dy, at));
        vec4 v = vec4(0.0);
        if (TRAINS != 0 || KIND != VKS_SITE_NO_ACT)
            v = QUADS != 0 ? VKS_LOAD4(1, z, at) : vec4(VKS_AT(1, z, at));
        if (KIND != VKS_SITE_NO_ACT) {
            precise const vec4 mapped = strength != 0.0 ? fma(gain, v, offset) : v;
            d = d * (QUADS != 0 ? VKS_EACH4(vks_unary_slope, mapped) : vec4(vks_unary_slope(mapped.x)));
        }
        if (POOL != 0)
            d = d + above;
        if (TRAINS != 0) {
            product = fma(d, v, product);
            plain += d;
        }
        precise const vec4 below = strength != 0.0 ? fma(gain, d, vec4(0.0)) : d;
        if (QUADS != 0)
            VKS_STORE4(6, dz, at, below);
        else
            VKS_AT(6, dz, at) = below.x;
    }
    if (TRAINS != 0 && QUADS != 0) {
        VKS_STORE4(7, part, to, product);
        VKS_STORE4(7, part, to + p.cols, plain);
    } else if (TRAINS != 0) {
        VKS_AT(7, part, to) = product.x;
        VKS_AT(7, part, to + p.cols) = plain.x;
    }
    VKS_TOUCHED(6, dz, touched);
}
