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
        param[off[0] + i] = fma(-stp[off[2] + VKS_STEP_LR], grad[off[1] + i], param[off[0] + i]);
}
