// Start of the sort of long columns: sorted = x (with -0 as +0), permutation = row, flag set by a NaN.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/sort_key.glsl"

VKS_BUF_IN(0, uint, x);
VKS_BUF(1, uint, sorted_);
VKS_BUF(2, uint, permutation);
VKS_BUF(3, uint, flag);
VKS_PUSH(4, sort);

void main()
{
    const uint item = vks_item(), r = item / p.cols, c = item % p.cols;
    if (r >= p.rows)
        return;
    const uint bits = VKS_AT(0, x, r * p.x_stride + c);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        VKS_AT(3, flag, 0) = 1;
    VKS_AT(1, sorted_, r * p.stride + c) = bits == 0x80000000u ? 0 : bits;
    VKS_AT(2, permutation, r * p.stride + c) = p.first + r;
}
