// Group normalisation, last of three kernels (arXiv 1803.08494).
//
//     y = x̂ w + b,  x̂ = (x - mean) rstd,  rstd = 1 / sqrt(var + eps); mean and var over the rows of a sample and the
//     C / G channels of a group, n values
//     dx = rstd (w dy - m1 - x̂ m2),  m1 = sum(w dy) / n,  m2 = sum(w dy x̂) / n
//
// x, y, dy, dx (B, T, C); w, b (C), each may be absent; saved: stats (B, G, 2) = mean, rstd.
// One invocation a channel of VKS_NORM_ROWS rows.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;

VKS_BUF(0, float, y);       // y, or dx
VKS_BUF(1, float, x);
VKS_BUF(2, float, stats);
VKS_BUF(3, float, weight);
VKS_BUF(4, float, extra);   // b, or dy
VKS_BUF(5, float, sums);    // backward only: (B, G, 2)
VKS_PUSH(6, group_norm);

void main()
{
    const uint cols = p.groups * p.width, rows = p.row_end - p.row_first;
    const uint blocks = (rows + VKS_NORM_ROWS - 1) / VKS_NORM_ROWS;
    const uint i = vks_item();
    if (i >= p.samples * blocks * cols)
        return;
    const uvec2 item = vks_divide(i, cols), place = vks_divide(item.x, blocks);
    const uint c = item.y, block = place.y, sample_ = place.x;
    const uint pair = 2 * (sample_ * p.groups + vks_divide(c, p.width).x);
    const float mean = stats[off[2] + pair], rstd = stats[off[2] + pair + 1];
    const float gain = (p.flags & 1u) != 0 ? weight[off[3] + c] : 1.0;
    const uint begin = block * VKS_NORM_ROWS, end = min(begin + VKS_NORM_ROWS, rows);
    uint at = (sample_ * p.rows + begin) * cols + c;
    if (BACKWARD == 0) {
        const float bias = (p.flags & 2u) != 0 ? extra[off[4] + c] : 0.0;
        for (uint r = begin; r < end; r++, at += cols)
            y[off[0] + at] = fma((x[off[1] + at] - mean) * rstd, gain, bias);
    } else {
        const float n = float(p.rows) * float(p.width);
        const float m1 = sums[off[5] + pair] / n, m2 = sums[off[5] + pair + 1] / n;
        for (uint r = begin; r < end; r++, at += cols) {
            const float hat = (x[off[1] + at] - mean) * rstd;
            y[off[0] + at] = rstd * (fma(gain, extra[off[4] + at], -m1) - hat * m2);
        }
    }
}
