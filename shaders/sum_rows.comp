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
    float sum = p.accumulate != 0 ? y[off[1] + c] : 0.0;
    for (uint r = 0; r < p.rows; r++)
        sum += x[off[0] + r * p.stride + c];
    y[off[1] + c] = sum;
}
