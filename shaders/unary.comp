// Functions of one variable, include/unary.glsl.
//
//     y = f(x);  dx = dy f'(x)        x, dy, y, dx of any shape; nothing is saved but x
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint KIND = 0;      // enum vks_unary of runtime/ops/ops.h
#include "include/unary.glsl"
layout(constant_id = 2) const uint BACKWARD = 0;
layout(constant_id = 3) const uint QUADS = 0;

VKS_BUF_QUADS(0, float, y);   // y, or dx
VKS_BUF_QUADS(1, float, x) VKS_TEXELS(1, x);
VKS_BUF_QUADS(2, float, dy) VKS_TEXELS(2, dy);  // backward only
VKS_PUSH(3, flat);

// Element i, or with QUADS elements i .. i + 3.
void visit(uint i)
{
    if (QUADS != 0) {
        const vec4 v = VKS_LOAD4(1, x, i);
        precise vec4 value;
        if (BACKWARD == 0)
            value = VKS_EACH4(vks_unary, v);
        else
            value = VKS_LOAD4(2, dy, i) * VKS_EACH4(vks_unary_slope, v);
        VKS_STORE4(0, y, i, value);
        return;
    }
    const float v = VKS_AT(1, x, i);
    precise const float value = BACKWARD == 0 ? vks_unary(v) : VKS_AT(2, dy, i) * vks_unary_slope(v);
    VKS_AT(0, y, i) = value;
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1;
    const uint base = vks_first(width), ahead = vks_ahead(p.count);
    const uint touched = VKS_TOUCH(0, ahead) | VKS_TOUCH(1, ahead) | (BACKWARD != 0 ? VKS_TOUCH(2, ahead) : 0);
    for (uint e = 0; e < VKS_ELEMENTS; e += width) {
        const uint i = base + e * VKS_RUN;
        if (i < p.count)
            visit(i);
    }
    VKS_TOUCHED(0, y, touched);
}
