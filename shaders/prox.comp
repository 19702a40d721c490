// Soft threshold, the proximal map of tau lambda1 |x|_1 on x = param - center: sign(x) max(|x| - tau lambda1, 0),
// with tau = step[VKS_STEP_TAU]. A channel that falls to the centre is the centre's bits.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF(0, float, param);
VKS_BUF_IN(1, float, stp);
VKS_PUSH(2, prox);

void main()
{
    const uint i = vks_item();
    if (i >= p.count)
        return;
    const float x = VKS_AT(0, param, i) - p.center;
    const float size = max(abs(x) - VKS_AT(1, stp, VKS_STEP_TAU) * p.lambda1, 0.0);
    VKS_AT(0, param, i) = p.center + (x < 0.0 ? -size : size);
}
