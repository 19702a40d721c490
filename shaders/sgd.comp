// Gradient descent without momentum: param -= lr grad, lr = step[VKS_STEP_LR].
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF(0, float, param);
VKS_BUF_IN(1, float, grad);
VKS_BUF_IN(2, float, stp);
VKS_PUSH(3, sgd);

void main()
{
    const uint i = vks_item();
    if (i < p.count)
        VKS_AT(0, param, i) = fma(-VKS_AT(2, stp, VKS_STEP_LR), VKS_AT(1, grad, i), VKS_AT(0, param, i));
}
