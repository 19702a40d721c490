// Gathers a box into fp32: dst[i, j, l] = src[i, j, l], any strides.
//
// src fp32, fp16 or bf16. Brings a slice of a weight, or the heads of queries, into the order in which the matmul
// family can bind it. QUADS: four l at once, of an fp32 src whose l lie side by side as they do in dst.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/half.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint DTYPE = 0;
layout(constant_id = 2) const uint QUADS = 0;

VKS_BUF_QUADS(0, float, dst);
VKS_BUF_QUADS_IN(1, uint, src);
VKS_PUSH(2, unpack);

void main()
{
    const uint n = vks_item(), width = QUADS != 0 ? 4 : 1;
    const uvec2 item = vks_divide(n, p.nl / width), place = vks_divide(item.x, p.nj);
    if (place.x >= p.ni)
        return;
    const uint from = place.x * p.si + place.y * p.sj, to = place.x * p.di + place.y * p.dj;
    if (QUADS != 0) {
        VKS_QUAD(0, dst, to + 4 * item.y) = VKS_QUAD(1, src, from + 4 * item.y);
    } else {
        const uint e = from + item.y * p.sl;
        VKS_AT(0, dst, to + item.y * p.dl) = VKS_ELEMENT(1, src, DTYPE, e);
    }
}
