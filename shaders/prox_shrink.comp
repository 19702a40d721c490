// Second half of the proximal step of the sparse group lasso: x *= max(1 - tau lambda_group sqrt(D) / |x|_2, 0) in
// every group of D columns, x = param - center, |x|_2 from the partial sums of prox_norms.comp in order; 0 / 0 = 0.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF(0, float, param);
VKS_BUF_IN(1, uint, groups);
VKS_BUF_IN(2, float, stp);
VKS_BUF_IN(3, float, part);
VKS_PUSH(4, prox_group);

void main()
{
    const uint item = vks_item(), g = item / VKS_PROX_PARTS, q = item % VKS_PROX_PARTS;
    if (g >= p.groups)
        return;
    const uint from = VKS_AT(1, groups, g), to = VKS_AT(1, groups, g + 1);
    uint i = from + q;
    if (i < p.first)
        i += (p.first - i + VKS_PROX_PARTS - 1) / VKS_PROX_PARTS * VKS_PROX_PARTS;
    if (i >= min(to, p.first + p.count))
        return;
    float sum = 0.0;
    for (uint k = 0; k < VKS_PROX_PARTS; k++)
        sum += VKS_AT(3, part, g * VKS_PROX_PARTS + k);
    const float threshold = VKS_AT(2, stp, VKS_STEP_TAU) * p.lambda_group * sqrt(float(to - from));
    const float scale = sum > 0.0 ? max(1.0 - threshold / sqrt(sum), 0.0) : 0.0;
    for (; i < min(to, p.first + p.count); i += VKS_PROX_PARTS) {
        const uint at = i - p.first;
        VKS_AT(0, param, at) = fma(VKS_AT(0, param, at) - p.center, scale, p.center);
    }
}
