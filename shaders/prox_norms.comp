// First half of the proximal step of the sparse group lasso: the soft threshold of prox.comp, and the sum of squares
// of what it leaves, VKS_PROX_PARTS partial sums a group, each over every VKS_PROX_PARTS-th column, sequentially.
//
//     param (D), groups (G + 1) int32 first columns -> param, part (G, VKS_PROX_PARTS)
//
// Columns [first, first + count) are bound; a later dispatch goes on with the sums of the one before (first > 0).
// Source: Rodriguez et al. (LinEAS), section 3.3; METHODS.md 1.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF(0, float, param);
VKS_BUF_IN(1, uint, groups);
VKS_BUF_IN(2, float, stp);
VKS_BUF(3, float, part);
VKS_PUSH(4, prox_group);

void main()
{
    const uint item = vks_item(), g = item / VKS_PROX_PARTS, q = item % VKS_PROX_PARTS;
    if (g >= p.groups)
        return;
    const uint begin = VKS_AT(1, groups, g) + q, end = min(VKS_AT(1, groups, g + 1), p.first + p.count);
    // The first column of this part that is bound.
    uint i = begin;
    if (i < p.first)
        i += (p.first - i + VKS_PROX_PARTS - 1) / VKS_PROX_PARTS * VKS_PROX_PARTS;
    const float threshold = VKS_AT(2, stp, VKS_STEP_TAU) * p.lambda1;
    float sum = p.first > 0 ? VKS_AT(3, part, item) : 0.0;
    for (; i < end; i += VKS_PROX_PARTS) {
        const uint at = i - p.first;
        const float x = VKS_AT(0, param, at) - p.center;
        const float size = max(abs(x) - threshold, 0.0);
        VKS_AT(0, param, at) = p.center + (x < 0.0 ? -size : size);
        sum = fma(size, size, sum);
    }
    VKS_AT(3, part, item) = sum;
}
