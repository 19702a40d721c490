// Copies a block of rows and columns of 32-bit words between arrays of different row strides.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF_IN(0, uint, from);
VKS_BUF(1, uint, to);
VKS_PUSH(2, copy);

void main()
{
    const uint item = vks_item(), r = item / p.cols, c = item % p.cols;
    if (r < p.rows)
        VKS_AT(1, to, r * p.to_stride + c) = VKS_AT(0, from, r * p.from_stride + c);
}
