// Which rows of a dynamic length count: the padding mask on valid rows, 0 on the others.
//
//     mask (B, T) -> out0 (B, T), rows [first, first + count) of B T; p.mask = 0: no mask, every valid row counts
//
// A row is valid below step[VKS_STEP_ROWS], which counts p.each of them at a time (the T rows of a sample, or one).
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF_IN(0, float, mask);
VKS_BUF_IN(1, uint, stp);
VKS_BUF(2, float, out0);
VKS_PUSH(3, pool_length);

void main()
{
    const uint i = vks_item();
    if (i >= p.count)
        return;
    const bool valid = (p.first + i) / p.each < VKS_AT(1, stp, VKS_STEP_ROWS);
    VKS_AT(2, out0, i) = !valid ? 0.0 : p.mask != 0 ? VKS_AT(0, mask, i) : 1.0;
}
