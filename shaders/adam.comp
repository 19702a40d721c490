// Adam (Kingma and Ba 2015, algorithm 1), in the order of operations of torch.optim.Adam without weight decay:
//
//     m += (1 - beta1) (g - m)      v = beta2 v + (1 - beta2) g g
//     param -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// lr and both bias corrections come from the step buffer.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF(0, float, param);
VKS_BUF_IN(1, float, grad);
VKS_BUF(2, float, m);
VKS_BUF(3, float, v);
VKS_BUF_IN(4, float, stp);
VKS_PUSH(5, adam);

void main()
{
    const uint i = vks_item();
    if (i >= p.count)
        return;
    const float g = VKS_AT(1, grad, i), mi = VKS_AT(2, m, i);
    const float mean = fma(1.0 - p.beta1, g - mi, mi);
    const float square = fma((1.0 - p.beta2) * g, g, p.beta2 * VKS_AT(3, v, i));
    const float rate = VKS_AT(4, stp, VKS_STEP_LR) / VKS_AT(4, stp, VKS_STEP_BIAS1);
    const float denominator = sqrt(square) / sqrt(VKS_AT(4, stp, VKS_STEP_BIAS2)) + p.eps;
    VKS_AT(2, m, i) = mean;
    VKS_AT(3, v, i) = square;
    VKS_AT(0, param, i) = fma(-rate, mean / denominator, VKS_AT(0, param, i));
}
