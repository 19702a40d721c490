// Layer normalisation over the channels of a row (arXiv 1607.06450), and root-mean-square normalisation (arXiv
// 1910.07467): the same with mean = 0 and m1 = 0, CENTRED = 0.
//
//     y = x̂ (o + w) + b,  x̂ = (x - mean) rstd,  rstd = 1 / sqrt(var + eps)
//     dx = rstd (g - m1 - x̂ m2) [+ plus],  g = (o + w) dy,  m1 = mean_c(g),  m2 = mean_c(g x̂)
//
// o is 0, or 1 where a model's file holds w - 1 (Gemma); without w the gain is 1.
// x, y, dy, dx, plus (R, C); w, b (C), each may be absent; saved: stats (R, 2) = mean, rstd. The variance is taken
// about the mean in a second pass, and both are corrected by the residual sum, so that mean >> deviation loses no
// digits.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/rows.glsl"
#include "include/wide.glsl"

layout(constant_id = 2) const uint BACKWARD = 0;
layout(constant_id = 3) const uint CENTRED = 1;
layout(constant_id = 4) const uint PLUS = 0;
layout(constant_id = 5) const uint QUADS = 0;  // only where LANES is 1: four channels at a time, in their order
#include "include/row_quads.glsl"

VKS_BUF_QUADS(0, float, y);     // y, or dx
VKS_BUF(1, float, stats);
VKS_BUF_QUADS_IN(2, float, x);
VKS_BUF_QUADS_IN(3, float, weight);
VKS_BUF_QUADS_IN(4, float, extra); // b, or dy
VKS_BUF_QUADS_IN(5, float, plus);
VKS_PUSH(6, layer_norm);

#define EACH_CHANNEL for (uint c = VKS_ROW_FROM(0, lane); c < p.cols; c += VKS_ROW_STEP)

vec4 gain(uint c)
{
    return (p.flags & 1u) != 0 ? p.offset + VKS_ROW_LOAD(3, weight, c) : vec4(1.0);
}

void forward(uint row, bool live, uint lane)
{
    const uint at = row * p.cols;
    const uint ahead = min(p.cols, 1024);  // of each lane's row: the next caches hold so much
    uint touched = 0;
    if (LANES == 1) {
        VKS_TOUCH_RUN(touched, 2, at, ahead);
        VKS_TOUCH_RUN(touched, 0, at, ahead);
    }
    float sum = 0.0;
    if (CENTRED != 0)
        EACH_CHANNEL {
            const vec4 v = VKS_ROW_LOAD(2, x, at + c);
            VKS_ROW_EACH(j)
                sum += v[j];
        }
    float mean = CENTRED != 0 ? vks_row_sum(sum) * p.inverse : 0.0;
    float rest = 0.0, square = 0.0;
    EACH_CHANNEL {
        const vec4 d = VKS_ROW_LOAD(2, x, at + c) - mean;
        VKS_ROW_EACH(j) {
            rest += d[j];
            square = fma(d[j], d[j], square);
        }
    }
    rest = CENTRED != 0 ? vks_row_sum(rest) * p.inverse : 0.0;
    const float variance = max(fma(-rest, rest, vks_row_sum(square) * p.inverse), 0.0);
    mean += rest;
    const float rstd = 1.0 / sqrt(variance + p.eps);
    if (!live)
        return;
    EACH_CHANNEL {
        const vec4 bias = (p.flags & 2u) != 0 ? VKS_ROW_LOAD(4, extra, c) : vec4(0.0);
        VKS_ROW_STORE(0, y, at + c, fma((VKS_ROW_LOAD(2, x, at + c) - mean) * rstd, gain(c), bias));
    }
    if (lane == 0) {
        VKS_AT(1, stats, 2 * row) = mean;
        VKS_AT(1, stats, 2 * row + 1) = rstd;
    }
    VKS_TOUCHED(0, y, touched);
}

void backward(uint row, bool live, uint lane)
{
    const uint at = row * p.cols;
    const float mean = VKS_AT(1, stats, 2 * row), rstd = VKS_AT(1, stats, 2 * row + 1);
    const uint ahead = min(p.cols, 1024);  // of each lane's row: the next caches hold so much
    uint touched = 0;
    if (LANES == 1) {
        VKS_TOUCH_RUN(touched, 2, at, ahead);
        VKS_TOUCH_RUN(touched, 4, at, ahead);
        if (PLUS != 0)
            VKS_TOUCH_RUN(touched, 5, at, ahead);
        VKS_TOUCH_RUN(touched, 0, at, ahead);
    }
    float m1 = 0.0, m2 = 0.0;
    EACH_CHANNEL {
        const vec4 d = gain(c) * VKS_ROW_LOAD(4, extra, at + c), hat = (VKS_ROW_LOAD(2, x, at + c) - mean) * rstd;
        VKS_ROW_EACH(j) {
            m1 += d[j];
            m2 = fma(d[j], hat[j], m2);
        }
    }
    m1 = CENTRED != 0 ? vks_row_sum(m1) * p.inverse : 0.0;
    m2 = vks_row_sum(m2) * p.inverse;
    if (!live)
        return;
    EACH_CHANNEL {
        precise const vec4 hat = (VKS_ROW_LOAD(2, x, at + c) - mean) * rstd;
        precise vec4 dx = rstd * (fma(gain(c), VKS_ROW_LOAD(4, extra, at + c), vec4(-m1)) - hat * m2);
        if (PLUS != 0)
            dx = dx + VKS_ROW_LOAD(5, plus, at + c);
        VKS_ROW_STORE(0, y, at + c, dx);
    }
    VKS_TOUCHED(0, y, touched);
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
