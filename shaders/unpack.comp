// Gathers a box of weights into fp32: dst[i, j, l] = src[i, j, l], any strides.
//
// src fp32, fp16 or bf16. Used where a slice of a weight would exceed the device's buffer range, to bring it into the
// order in which the matmul family can bind it.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/half.glsl"

layout(constant_id = 1) const uint DTYPE = 0;

VKS_BUF(0, float, dst);
VKS_BUF_IN(1, uint, src);
VKS_PUSH(2, unpack);

void main()
{
    const uint n = vks_item();
    if (n >= p.ni * p.nj * p.nl)
        return;
    const uint l = n % p.nl, j = n / p.nl % p.nj, i = n / (p.nl * p.nj);
    const uint e = i * p.si + j * p.sj + l * p.sl;
    VKS_AT(0, dst, i * p.di + j * p.dj + l * p.dl) = VKS_ELEMENT(1, src, DTYPE, e);
}
