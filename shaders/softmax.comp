// Softmax over the channels of a row.
//
//     y = exp(x - max x) / sum exp(x - max x);  dx = y (dy - sum_c y dy)        x, y, dy, dx (R, C); saved: y
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/math.glsl"
#include "include/rows.glsl"

layout(constant_id = 2) const uint BACKWARD = 0;

VKS_BUF(0, float, y);       // y, or dx
VKS_BUF(1, float, x);       // x, or y of the forward pass
VKS_BUF(2, float, dy);      // backward only
VKS_PUSH(3, rows);

void forward(uint row, bool live, uint lane)
{
    const uint at = row * p.cols;
    float top = VKS_AT(1, x, at);
    for (uint c = lane; c < p.cols; c += LANES)
        top = max(top, VKS_AT(1, x, at + c));
    top = vks_row_max(top);
    float sum = 0.0;
    for (uint c = lane; c < p.cols; c += LANES) {
        const float e = vks_exp(VKS_AT(1, x, at + c) - top);
        sum += e;
        if (live)
            VKS_AT(0, y, at + c) = e;
    }
    const float share = 1.0 / vks_row_sum(sum);
    for (uint c = lane; live && c < p.cols; c += LANES)
        VKS_AT(0, y, at + c) *= share;
}

void backward(uint row, bool live, uint lane)
{
    const uint at = row * p.cols;
    float sum = 0.0;
    for (uint c = lane; c < p.cols; c += LANES)
        sum = fma(VKS_AT(1, x, at + c), VKS_AT(2, dy, at + c), sum);
    sum = vks_row_sum(sum);
    for (uint c = lane; live && c < p.cols; c += LANES)
        VKS_AT(0, y, at + c) = VKS_AT(1, x, at + c) * (VKS_AT(2, dy, at + c) - sum);
}

void main()
{
    const uint row = vks_row();
    const bool live = row < p.rows;
    if (BACKWARD == 0)
        forward(min(row, p.rows - 1), live, vks_row_lane());
    else
        backward(min(row, p.rows - 1), live, vks_row_lane());
}
