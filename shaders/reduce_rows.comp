// Sums of rows, in order: the gradient of a repeated summand.
//
//     y[o, c] (+)= sum over r = 0 .. count - 1 of x[o out_stride + r row_stride, c]
//
// One invocation a channel of a result; with `accumulate` a sum goes on where the dispatch before it stopped, so the
// cut changes no bit.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"

VKS_BUF(0, float, y);
VKS_BUF(1, float, x);
VKS_PUSH(2, reduce_rows);

void main()
{
    const uint i = vks_item();
    if (i >= p.outputs * p.cols)
        return;
    const uvec2 item = vks_divide(i, p.cols);
    const uint o = item.x, c = item.y;
    float sum = p.accumulate != 0 ? VKS_AT(0, y, i) : 0.0;
    uint at = o * p.out_stride * p.cols + c;
    for (uint r = 0; r < p.count; r++, at += p.row_stride * p.cols)
        sum += VKS_AT(1, x, at);
    VKS_AT(0, y, i) = sum;
}
