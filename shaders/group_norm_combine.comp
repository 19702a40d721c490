// Group normalisation, second of three kernels: joins the chunks of a sample, in order. Equations in group_norm.comp.
//
//     forward   (K, mean - K, M2) of the chunks -> mean, rstd, by Chan's rule: with d = mean_b - mean_a,
//               n = n_a + n_b:  mean = mean_a + d n_b / n,  M2 = M2_a + M2_b + d² n_a n_b / n;
//               means are taken from the first K
//     backward  sums of the chunks -> their sum
//
// part (B, chunks, G, 3) -> joined (B, G, 2); one invocation a (sample, group).
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;

VKS_BUF(0, float, joined);
VKS_BUF(1, float, part);
VKS_PUSH(2, group_norm);

void main()
{
    const uint i = vks_item();
    if (i >= p.samples * p.groups)
        return;
    const uvec2 item = vks_divide(i, p.groups);
    uint at = 3 * (item.x * p.chunk_count * p.groups + item.y);
    if (BACKWARD != 0) {
        float s1 = 0.0, s2 = 0.0;
        for (uint k = 0; k < p.chunk_count; k++, at += 3 * p.groups) {
            s1 += VKS_AT(1, part, at);
            s2 += VKS_AT(1, part, at + 1);
        }
        VKS_AT(0, joined, 2 * i) = s1;
        VKS_AT(0, joined, 2 * i + 1) = s2;
        return;
    }
    const float shift = VKS_AT(1, part, at);
    float mean = 0.0, square = 0.0, n = 0.0;
    for (uint k = 0; k < p.chunk_count; k++, at += 3 * p.groups) {
        const float more = float((min((k + 1) * p.chunk_rows, p.rows) - k * p.chunk_rows) * p.width);
        const float d = (VKS_AT(1, part, at) - shift) + VKS_AT(1, part, at + 1) - mean, share = more / (n + more);
        mean = fma(d, share, mean);
        square += fma(d * d, n * share, VKS_AT(1, part, at + 2));
        n += more;
    }
    VKS_AT(0, joined, 2 * i) = shift + mean;
    VKS_AT(0, joined, 2 * i + 1) = 1.0 / sqrt(square / n + p.eps);
}
