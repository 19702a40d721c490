// Parameter gradients of the affine map, a row for each sample: from partial sums over blocks of rows, in order,
//
//     dw[s] = strength * sum_k product[s, k]      db[s] = strength * sum_k plain[s, k]
//     AVG: dw[s] = strength * m[s] * sum_k plain[s, k]
//
// product, plain (B, K, C) from pool_sums.comp, m (B, C); sample s goes to row VKS_ROW_OF s of grad_w and
// grad_b, columns of flat states, of which rows [first_row, first_row + rows) are bound. With QUADS an invocation
// makes four channels (not AVG).
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint AVG = 0;
layout(constant_id = 2) const uint QUADS = 0;

VKS_BUF_QUADS_IN(0, float, product);
VKS_BUF_QUADS_IN(1, float, plain);
VKS_BUF_IN(2, float, mean);
VKS_BUF_IN(3, uint, stp);
VKS_BUF_QUADS(4, float, grad_w);
VKS_BUF_QUADS(5, float, grad_b);
VKS_PUSH(6, affine_gradient);

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, columns = p.cols / width;
    const uint item = vks_item(), c = item % columns * width, s = item / columns;
    if (s >= p.samples)
        return;
    const uint row = VKS_ROW_OF(3, stp, p.first_sample + s);
    if (row < p.first_row || row - p.first_row >= p.rows)
        return;
    const uint to_w = (row - p.first_row) * p.row_stride_w + c, to_b = (row - p.first_row) * p.row_stride_b + c;
    const float strength = uintBitsToFloat(VKS_AT(3, stp, p.strength));
    vec4 dw = vec4(0.0), db = vec4(0.0);
    for (uint k = 0; k < p.blocks; k++) {
        const uint at = (s * p.blocks + k) * p.block_stride + c;
        db += QUADS != 0 ? VKS_LOAD4(1, plain, at) : vec4(VKS_AT(1, plain, at));
        if (AVG == 0)
            dw += QUADS != 0 ? VKS_LOAD4(0, product, at) : vec4(VKS_AT(0, product, at));
    }
    if (QUADS != 0) {
        VKS_STORE4(4, grad_w, to_w, strength * dw);
        VKS_STORE4(5, grad_b, to_b, strength * db);
        return;
    }
    if (AVG != 0)
        dw.x = db.x * VKS_AT(2, mean, s * p.mean_stride + c);
    VKS_AT(4, grad_w, to_w) = strength * dw.x;
    VKS_AT(5, grad_b, to_b) = strength * db.x;
}
