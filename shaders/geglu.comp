// Gated GELU (arXiv 2002.05202).
//
//     y = a gelu(g);  da = dy gelu(g),  dg = dy a gelu'(g)        x = (a, g) (R, 2 C), y (R, C); only x is saved
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/math.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;

VKS_BUF(0, float, y);       // y (R, C), or dx (R, 2 C)
VKS_BUF(1, float, x);       // (R, 2 C)
VKS_BUF(2, float, dy);      // (R, C), backward only
VKS_PUSH(3, rows);

void visit(uint i, uint r, uint c)
{
    const uint pair = 2 * r * p.cols + c;
    const float a = x[off[1] + pair], g = x[off[1] + pair + p.cols];
    if (BACKWARD == 0) {
        y[off[0] + i] = a * vks_gelu(g);
    } else {
        const float d = dy[off[2] + i];
        y[off[0] + pair] = d * vks_gelu(g);
        y[off[0] + pair + p.cols] = d * a * vks_gelu_slope(g);
    }
}

void main()
{
    const uint base = vks_group() * gl_WorkGroupSize.x * VKS_ELEMENTS + gl_LocalInvocationID.x;
    uvec2 at = vks_divide(base, p.cols);
    for (uint e = 0; e < VKS_ELEMENTS; e++) {
        const uint i = base + e * gl_WorkGroupSize.x;
        if (i < p.rows * p.cols)
            visit(i, at.x, at.y);
        at = vks_advance(at, gl_WorkGroupSize.x, p.cols);
    }
}
