// Group normalisation, last of three kernels (arXiv 1803.08494).
//
//     y = x̂ w + b,  x̂ = (x - mean) rstd,  rstd = 1 / sqrt(var + eps); mean and var over the rows of a sample and the
//     C / G channels of a group, n values
//     dx = rstd (w dy - m1 - x̂ m2) [+ plus],  m1 = sum(w dy) / n,  m2 = sum(w dy x̂) / n
//
// x, y, dy, dx, plus (B, T, C); w, b (C), each may be absent; saved: stats (B, G, 2) = mean, rstd.
// One invocation a channel, or with QUADS four channels, of VKS_NORM_ROWS rows.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;
layout(constant_id = 2) const uint QUADS = 0;
layout(constant_id = 3) const uint PLUS = 0;

VKS_BUF_QUADS(0, float, y);      // y, or dx
VKS_BUF_QUADS_IN(1, float, x);
VKS_BUF(2, float, stats);
VKS_BUF(3, float, weight);
VKS_BUF_QUADS_IN(4, float, extra);  // b, or dy
VKS_BUF(5, float, sums);    // backward only: (B, G, 2)
VKS_BUF_QUADS_IN(6, float, plus);
VKS_PUSH(7, group_norm);

// Of the channels of an item, of which a plain one is the first component: what does not change from row to row.
struct channels {
    vec4 mean, rstd, gain, bias, m1, m2;
};

channels load_channels(uint sample_, uint c)
{
    channels of;
    const float n = float(p.rows) * float(p.width);
    [[unroll]] for (uint j = 0; j < 4; j++) {
        const uint i = QUADS != 0 ? c + j : c;
        const uint pair = 2 * (sample_ * p.groups + vks_divide(i, p.width).x);
        of.mean[j] = VKS_AT(2, stats, pair);
        of.rstd[j] = VKS_AT(2, stats, pair + 1);
        of.gain[j] = (p.flags & 1u) != 0 ? VKS_AT(3, weight, i) : 1.0;
        of.bias[j] = BACKWARD == 0 && (p.flags & 2u) != 0 ? VKS_AT(4, extra, i) : 0.0;
        if (BACKWARD != 0) {
            of.m1[j] = VKS_AT(5, sums, pair) / n;
            of.m2[j] = VKS_AT(5, sums, pair + 1) / n;
        }
    }
    return of;
}

// `precise`: the same bits with and without a sum behind it.
vec4 result(channels of, vec4 x, vec4 dy)
{
    precise const vec4 hat = (x - of.mean) * of.rstd;
    precise const vec4 y = BACKWARD == 0 ? fma(hat, of.gain, of.bias)
                                         : of.rstd * (fma(of.gain, dy, -of.m1) - hat * of.m2);
    return y;
}

void main()
{
    const uint cols = p.groups * p.width, rows = p.row_end - p.row_first;
    const uint blocks = (rows + VKS_NORM_ROWS - 1) / VKS_NORM_ROWS;
    const uint width = QUADS != 0 ? 4 : 1, i = vks_item();
    if (i >= p.samples * blocks * (cols / width))
        return;
    const uvec2 item = vks_divide(i, cols / width), place = vks_divide(item.x, blocks);
    const uint c = item.y * width, block = place.y, sample_ = place.x;
    const channels of = load_channels(sample_, c);
    const uint begin = block * VKS_NORM_ROWS, end = min(begin + VKS_NORM_ROWS, rows);
    uint at = (sample_ * p.rows + begin) * cols + c, touched = 0;
    VKS_TOUCH_ROWS(touched, 1, at, cols, end - begin, width);
    if (BACKWARD != 0)
        VKS_TOUCH_ROWS(touched, 4, at, cols, end - begin, width);
    if (PLUS != 0)
        VKS_TOUCH_ROWS(touched, 6, at, cols, end - begin, width);
    VKS_TOUCH_ROWS(touched, 0, at, cols, end - begin, width);
    for (uint r = begin; r < end; r++, at += cols) {
        if (QUADS != 0) {
            const vec4 dy = BACKWARD != 0 ? VKS_LOAD4(4, extra, at) : vec4(0.0);
            const vec4 v = result(of, VKS_LOAD4(1, x, at), dy);
            VKS_STORE4(0, y, at, PLUS != 0 ? v + VKS_LOAD4(6, plus, at) : v);
        } else {
            const float dy = BACKWARD != 0 ? VKS_AT(4, extra, at) : 0.0;
            const float v = result(of, vec4(VKS_AT(1, x, at)), vec4(dy)).x;
            VKS_AT(0, y, at) = PLUS != 0 ? v + VKS_AT(6, plus, at) : v;
        }
    }
    VKS_TOUCHED(0, y, touched);
}
