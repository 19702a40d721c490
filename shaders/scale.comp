// Gain and offset.
//
//     y = gain x + offset;  dx = gain dy      any shape
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF(0, float, y);
VKS_BUF(1, float, x);
VKS_PUSH(2, scale);

void main()
{
    const uint base = vks_group() * gl_WorkGroupSize.x * VKS_ELEMENTS + gl_LocalInvocationID.x;
    for (uint e = 0; e < VKS_ELEMENTS; e++) {
        const uint i = base + e * gl_WorkGroupSize.x;
        if (i < p.count)
            y[off[0] + i] = fma(p.gain, x[off[1] + i], p.bias);
    }
}
