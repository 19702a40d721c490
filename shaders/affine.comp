// Affine transport map: z' = (1 + s (w - 1)) z + s b per channel, s a word of the step buffer; s = 0 gives z's bits.
//
//     z (B, T, C) as rows of C channels, w (C), b (C) -> y like z
//     dz = (1 + s (w - 1)) dy       the same kernel on dy with p.bias = 0
//
// LAST: only the last unmasked row of each sample is mapped, the others are copied.
// span (B, 2): last unmasked row, count of unmasked rows (see pool_span.comp).
// Source: Rodriguez et al., End-to-end learning of sparse interventions (LinEAS), section 3; METHODS.md 1.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

layout(constant_id = 1) const uint LAST = 0;

VKS_BUF_IN(0, uint, z);
VKS_BUF_IN(1, float, w);
VKS_BUF_IN(2, float, b);
VKS_BUF_IN(3, float, stp);
VKS_BUF_IN(4, uint, span);
VKS_BUF(5, uint, y);
VKS_PUSH(6, affine);

void main()
{
    const uint item = vks_item(), c = item % p.cols, first = item / p.cols * p.per_item;
    if (first >= p.rows)
        return;
    const float s = stp[off[3] + p.strength];
    const float gain = fma(s, w[off[1] + c] - 1.0, 1.0);
    const float offset = p.bias != 0 ? s * b[off[2] + c] : 0.0;
    const uint end = min(first + p.per_item, p.rows);
    for (uint r = first; r < end; r++) {
        const uint bits = z[off[0] + r * p.cols + c];
        bool mapped = s != 0.0;
        if (LAST != 0) {
            const uint row = p.first + r, sample_ = row / p.sample_rows;
            mapped = mapped && row % p.sample_rows ==
                                   (p.spans != 0 ? span[off[4] + 2 * sample_] : p.sample_rows - 1);
        }
        y[off[5] + r * p.cols + c] = mapped ? floatBitsToUint(fma(gain, uintBitsToFloat(bits), offset)) : bits;
    }
}
