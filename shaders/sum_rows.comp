// Sum of rows in order: x (B, D) -> y (D), y[d] = (y[d] if p.accumulate) + x[0][d] + x[1][d] + ...
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF_IN(0, float, x);
VKS_BUF(1, float, y);
VKS_PUSH(2, sum_rows);

void main()
{
    const uint c = vks_item();
    if (c >= p.cols)
        return;
    float sum = p.accumulate != 0 ? VKS_AT(1, y, c) : 0.0;
    for (uint r = 0; r < p.rows; r++)
        sum += VKS_AT(0, x, r * p.stride + c);
    VKS_AT(1, y, c) = sum;
}
