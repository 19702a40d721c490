// Gain and offset.
//
//     y = gain x + offset;  dx = gain dy      any shape
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint QUADS = 0;

VKS_BUF_QUADS(0, float, y);
VKS_BUF_QUADS(1, float, x) VKS_TEXELS(1, x);
VKS_PUSH(2, scale);

// Element i, or with QUADS elements i .. i + 3.
void visit(uint i)
{
    if (QUADS != 0)
        VKS_STORE4(0, y, i, fma(vec4(p.gain), VKS_LOAD4(1, x, i), vec4(p.bias)));
    else
        VKS_AT(0, y, i) = fma(p.gain, VKS_AT(1, x, i), p.bias);
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1;
    const uint base = vks_first(width), ahead = vks_ahead(p.count);
    const uint touched = VKS_TOUCH(0, ahead) | VKS_TOUCH(1, ahead);
    for (uint e = 0; e < VKS_ELEMENTS; e += width) {
        const uint i = base + e * VKS_RUN;
        if (i < p.count)
            visit(i);
    }
    VKS_TOUCHED(0, y, touched);
}
