// Affine transport map of a sample's mean: y = z + s ((w - 1) m + b), m (B, C) the mean over the unmasked rows.
//
//     BACKWARD: dz = dy + s (w - 1) S / n on the unmasked rows, dz = dy on the others; S / n (B, C) stands in for m,
//     S the sum of dy over all rows, n the number of unmasked ones
//
// s = 0 gives z's bits. RANGE: channels whose m lies outside range[c][0] to range[c][1] are left as they are (range
// (C, 2)); it has no derivative here.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;
layout(constant_id = 2) const uint MASK = 0;
layout(constant_id = 3) const uint RANGE = 0;

VKS_BUF_IN(0, uint, z);
VKS_BUF_IN(1, float, w);
VKS_BUF_IN(2, float, b);
VKS_BUF_IN(3, float, stp);
VKS_BUF_IN(4, float, mean);
VKS_BUF_IN(5, float, mask);
VKS_BUF(6, uint, y);
VKS_BUF_IN(7, float, range);
VKS_PUSH(8, affine);

void main()
{
    const uint item = vks_item(), c = item % p.cols, first = item / p.cols * p.per_item;
    if (first >= p.rows)
        return;
    const float s = VKS_AT(3, stp, p.strength);
    const float gain = VKS_AT(1, w, c) - 1.0, offset = p.bias != 0 ? VKS_AT(2, b, c) : 0.0;
    float low = 0.0, high = 0.0;
    if (RANGE != 0) {
        low = VKS_AT(7, range, 2 * c);
        high = VKS_AT(7, range, 2 * c + 1);
    }
    const uint end = min(first + p.per_item, p.rows);
    for (uint r = first; r < end; r++) {
        const uint bits = VKS_AT(0, z, r * p.cols + c), sample_ = (p.first + r) / p.sample_rows;
        bool mapped = s != 0.0;
        if (BACKWARD != 0 && MASK != 0)
            mapped = mapped && VKS_AT(5, mask, p.first + r) != 0.0;
        const float m = VKS_AT(4, mean, sample_ * p.cols + c), shift = s * fma(gain, m, offset);
        mapped = mapped && (RANGE == 0 || (m >= low && m <= high));
        VKS_AT(6, y, r * p.cols + c) = mapped ? floatBitsToUint(uintBitsToFloat(bits) + shift) : bits;
    }
}
