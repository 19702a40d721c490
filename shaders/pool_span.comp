// What a padding mask leaves of each sample: mask (B, T), 1 = token, 0 = padding -> span (B, 2): the last unmasked
// row (0xffffffff: none) and the number of unmasked rows as float bits.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF_IN(0, float, mask);
VKS_BUF(1, uint, span);
VKS_PUSH(2, pool_span);

void main()
{
    const uint s = vks_item();
    if (s >= p.samples)
        return;
    uint last = 0xffffffffu, count = 0;
    for (uint t = 0; t < p.rows; t++)
        if (VKS_AT(0, mask, s * p.rows + t) != 0.0) {
            last = t;
            count++;
        }
    VKS_AT(1, span, 2 * s) = last;
    VKS_AT(1, span, 2 * s + 1) = floatBitsToUint(float(count));
}
