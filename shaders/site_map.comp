// What stands at one site, in one pass: an affine map, the mean of what it makes, and the activation that reads it.
//
//     z' = (1 + s (w - 1)) z + s b       s a word of the step buffer; s = 0 gives z's bits     (affine.comp)
//     part[s, k] = sum of z' over block k of the rows of sample s                              (POOL; pool_sums.comp)
//     y = f(z')                          without KIND: z'                                      (include/unary.glsl)
//
// z, y (B, T, C), w and b: channels [column, column + cols) of C, part (B, K, cols), K = ceil(T / VKS_POOL_BLOCK). An
// invocation makes VKS_POOL_BLOCK rows of a channel, or with QUADS of four. A dispatch may end inside a block; the
// next one goes on from what `part` holds. The bits are those of the three kernels one after another.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint QUADS = 0;
layout(constant_id = 2) const uint KIND = 0;  // VKS_SITE_NO_ACT: none
layout(constant_id = 3) const uint POOL = 0;
#include "include/unary.glsl"

VKS_BUF_QUADS_IN(0, uint, z);
VKS_BUF_QUADS_IN(1, float, w);
VKS_BUF_QUADS_IN(2, float, b);
VKS_BUF_IN(3, float, stp);
VKS_BUF_QUADS(4, float, y);
VKS_BUF_QUADS(5, float, part);
VKS_PUSH(6, site_map);

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, columns = p.cols / width;
    const uint item = vks_item(), c = item % columns * width, q = item / columns, k = q % p.blocks, s = q / p.blocks;
    if (s >= p.samples)
        return;
    const float strength = VKS_AT(3, stp, p.strength);
    precise vec4 gain = QUADS != 0 ? VKS_LOAD4(1, w, c) : vec4(VKS_AT(1, w, c));
    precise vec4 offset = QUADS != 0 ? VKS_LOAD4(2, b, c) : vec4(VKS_AT(2, b, c));
    gain = fma(vec4(strength), gain - 1.0, vec4(1.0));
    offset = strength * offset;
    const uint block = (p.first / VKS_POOL_BLOCK + k) * VKS_POOL_BLOCK, to = q * p.cols + c;
    const uint begin = max(block, p.first), end = min(block + VKS_POOL_BLOCK, p.end);
    precise vec4 sum = vec4(0.0);
    if (POOL != 0 && begin > block)  // an earlier dispatch began this block
        sum = QUADS != 0 ? VKS_RELOAD4(5, part, to) : vec4(VKS_AT(5, part, to));
    uint at = (s * p.sample_rows - p.first + begin) * p.stride + p.column + c, touched = 0;
    VKS_TOUCH_ROWS(touched, 0, at, p.stride, end - begin, width);
    VKS_TOUCH_ROWS(touched, 4, at, p.stride, end - begin, width);
    for (uint t = begin; t < end; t++, at += p.stride) {
        precise vec4 v = uintBitsToFloat(QUADS != 0 ? VKS_BITS4(0, z, at) : uvec4(VKS_AT(0, z, at)));
        v = strength != 0.0 ? fma(gain, v, offset) : v;
        if (POOL != 0)
            sum += v;
        if (KIND != VKS_SITE_NO_ACT)
            v = QUADS != 0 ? VKS_EACH4(vks_unary, v) : vec4(vks_unary(v.x));
        if (QUADS != 0)
            VKS_STORE4(4, y, at, v);
        else
            VKS_AT(4, y, at) = v.x;
    }
    if (POOL != 0 && QUADS != 0)
        VKS_STORE4(5, part, to, sum);
    else if (POOL != 0)
        VKS_AT(5, part, to) = sum.x;
    VKS_TOUCHED(4, y, touched);
}
