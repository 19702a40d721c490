// Elementwise product.
//
//     y = x z;  dx = dy z,  dz = dy x      x, z, y of one shape
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF(0, float, y);
VKS_BUF(1, float, x);
VKS_BUF(2, float, z);
VKS_PUSH(3, flat);

void main()
{
    const uint base = vks_group() * gl_WorkGroupSize.x * VKS_ELEMENTS + gl_LocalInvocationID.x;
    for (uint e = 0; e < VKS_ELEMENTS; e++) {
        const uint i = base + e * gl_WorkGroupSize.x;
        if (i < p.count)
            y[off[0] + i] = x[off[1] + i] * z[off[2] + i];
    }
}
