// Partial sums over the rows of a sample, VKS_POOL_BLOCK rows each, sequentially: the first half of every reduction
// over rows (pool_finish.comp and affine_gradient.comp add the blocks in order), so sums depend neither on the batch
// nor on how it is cut.
//
//     x, y (B, T, C), mask (B, T), span (B, 2) -> out0, out1 (B, K, cols), K = ceil(T / VKS_POOL_BLOCK), of the
//     columns [column, column + cols) of C
//     MEAN          out0 = sum of x over the unmasked rows
//     LAST          out0 = x at the last unmasked row, 0 in the blocks that do not hold it
//     MAX           out0 = largest x of the unmasked rows, out1 = its row (ties: the first; 0xffffffff: none)
//     PRODUCT       out0 = sum of x y, out1 = sum of x
//     PRODUCT_LAST  the same over the last unmasked row alone
//
// A dispatch may end inside a block; the next one goes on from what out0 and out1 hold.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

#define MEAN 0
#define LAST 1
#define MAX 2
#define PRODUCT 3
#define PRODUCT_LAST 4
layout(constant_id = 1) const uint KIND = MEAN;
layout(constant_id = 2) const uint QUADS = 0;  // 1: an item is four channels; MEAN and PRODUCT alone

VKS_BUF_QUADS_IN(0, float, x);
VKS_BUF_QUADS_IN(1, float, y);
VKS_BUF_IN(2, float, mask);
VKS_BUF_IN(3, uint, span);
VKS_BUF_QUADS(4, float, out0);
VKS_BUF_QUADS(5, uint, out1);
VKS_PUSH(6, pool_sums);

// Rows [begin, end) of channels c .. c + 3, from row `base` of the bindings on, to element `to`.
void sum4(uint c, uint begin, uint end, uint base, uint to, bool resumes)
{
    vec4 sum = vec4(0.0), plain = vec4(0.0);
    uint touched = 0;
    VKS_TOUCH_ROWS(touched, 0, (base + begin) * p.stride + p.column + c, p.stride, end - begin, 4);
    if (KIND == PRODUCT)
        VKS_TOUCH_ROWS(touched, 1, (base + begin) * p.stride + p.column + c, p.stride, end - begin, 4);
    if (resumes) {
        sum = VKS_RELOAD4(4, out0, to);
        plain = KIND == PRODUCT ? VKS_RELOAD4(5, out1, to) : plain;
    }
    for (uint t = begin; t < end; t++) {
        if (p.mask != 0 && VKS_AT(2, mask, base + t) == 0.0)
            continue;
        const uint at = (base + t) * p.stride + p.column + c;
        const vec4 v = VKS_LOAD4(0, x, at);
        sum = KIND == PRODUCT ? fma(v, VKS_LOAD4(1, y, at), sum) : sum + v;
        plain += v;
    }
    VKS_STORE4(4, out0, to, sum);
    if (KIND == PRODUCT)
        VKS_STORE4(5, out1, to, plain);
    VKS_TOUCHED(4, out0, touched);
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, columns = p.cols / width;
    const uint item = vks_item(), c = item % columns * width, q = item / columns, k = q % p.blocks, s = q / p.blocks;
    if (s >= p.samples)
        return;
    const uint block = (p.first / VKS_POOL_BLOCK + k) * VKS_POOL_BLOCK;
    const uint begin = max(block, p.first), end = min(block + VKS_POOL_BLOCK, p.end);
    const uint base = s * p.sample_rows - p.first;  // row t is row base + t of the bindings
    const uint to = q * p.cols + c;
    if (QUADS != 0) {
        sum4(c, begin, end, base, to, begin > block);
        return;
    }
    float sum = 0.0, plain = 0.0;
    uint index = 0xffffffffu;
    if (begin > block) {  // an earlier dispatch began this block
        sum = VKS_AT(4, out0, to);
        index = KIND == MAX ? VKS_AT(5, out1, to) : index;
        plain = KIND >= PRODUCT ? uintBitsToFloat(VKS_AT(5, out1, to)) : plain;
    }
    if (KIND == LAST || KIND == PRODUCT_LAST) {
        const uint t = p.spans != 0 ? VKS_AT(3, span, 2 * s) : p.sample_rows - 1;
        if (t >= begin && t < end) {
            const uint at = (base + t) * p.stride + p.column + c;
            sum = plain = VKS_AT(0, x, at);
            if (KIND == PRODUCT_LAST)
                sum *= VKS_AT(1, y, at);
        }
    } else {
        for (uint t = begin; t < end; t++) {
            if (p.mask != 0 && VKS_AT(2, mask, base + t) == 0.0)
                continue;
            const uint at = (base + t) * p.stride + p.column + c;
            const float v = VKS_AT(0, x, at);
            if (KIND == MAX) {
                if (index == 0xffffffffu || v > sum) {
                    sum = v;
                    index = t;
                }
            } else if (KIND == PRODUCT) {
                sum = fma(v, VKS_AT(1, y, at), sum);
                plain += v;
            } else {
                sum += v;
            }
        }
    }
    VKS_AT(4, out0, to) = sum;
    if (KIND == MAX)
        VKS_AT(5, out1, to) = index;
    else if (KIND >= PRODUCT)
        VKS_AT(5, out1, to) = floatBitsToUint(plain);
}
