// Elementwise product.
//
//     y = x z;  dx = dy z,  dz = dy x      x, z, y of one shape
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint QUADS = 0;

VKS_BUF_QUADS(0, float, y);
VKS_BUF_QUADS(1, float, x) VKS_TEXELS(1, x);
VKS_BUF_QUADS(2, float, z) VKS_TEXELS(2, z);
VKS_PUSH(3, flat);

// Element i, or with QUADS elements i .. i + 3.
void visit(uint i)
{
    if (QUADS != 0)
        VKS_STORE4(0, y, i, VKS_LOAD4(1, x, i) * VKS_LOAD4(2, z, i));
    else
        VKS_AT(0, y, i) = VKS_AT(1, x, i) * VKS_AT(2, z, i);
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1;
    const uint base = vks_first(width), ahead = vks_ahead(p.count);
    const uint touched = VKS_TOUCH(0, ahead) | VKS_TOUCH(1, ahead) | VKS_TOUCH(2, ahead);
    for (uint e = 0; e < VKS_ELEMENTS; e += width) {
        const uint i = base + e * VKS_RUN;
        if (i < p.count)
            visit(i);
    }
    VKS_TOUCHED(0, y, touched);
}
