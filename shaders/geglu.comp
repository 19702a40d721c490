// Gated GELU (arXiv 2002.05202).
//
//     y = a gelu(g);  da = dy gelu(g),  dg = dy a gelu'(g)        x = (a, g) (R, 2 C), y (R, C); only x is saved
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/math.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;
layout(constant_id = 2) const uint QUADS = 0;

VKS_BUF_QUADS(0, float, y);      // y (R, C), or dx (R, 2 C)
VKS_BUF_QUADS_IN(1, float, x);   // (R, 2 C)
VKS_BUF_QUADS_IN(2, float, dy);  // (R, C), backward only
VKS_PUSH(3, rows);

// Channels c .. c + 3 of row r; i: the first one's number.
void visit4(uint i, uint r, uint c)
{
    const uint pair = 2 * r * p.cols + c;
    const vec4 a = VKS_LOAD4(1, x, pair), g = VKS_LOAD4(1, x, pair + p.cols), gelu = VKS_EACH4(vks_gelu, g);
    if (BACKWARD == 0) {
        VKS_STORE4(0, y, i, a * gelu);
    } else {
        const vec4 d = VKS_LOAD4(2, dy, i);
        VKS_STORE4(0, y, pair, d * gelu);
        precise const vec4 dg = d * a * VKS_EACH4(vks_gelu_slope, g);
        VKS_STORE4(0, y, pair + p.cols, dg);
    }
}

void visit(uint i, uint r, uint c)
{
    const uint pair = 2 * r * p.cols + c;
    const float a = VKS_AT(1, x, pair), g = VKS_AT(1, x, pair + p.cols);
    if (BACKWARD == 0) {
        VKS_AT(0, y, i) = a * vks_gelu(g);
    } else {
        const float d = VKS_AT(2, dy, i);
        precise const float dg = d * a * vks_gelu_slope(g);
        VKS_AT(0, y, pair) = d * vks_gelu(g);
        VKS_AT(0, y, pair + p.cols) = dg;
    }
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, step = vks_step(width);
    const uint base = vks_first(width);
    const uint ahead = vks_ahead(p.rows * p.cols), row_ahead = ahead / p.cols;
    const uint pair = ahead + row_ahead * p.cols;
    uint touched = VKS_TOUCH(1, pair) | VKS_TOUCH(1, pair + p.cols) | VKS_TOUCH(0, BACKWARD != 0 ? pair : ahead);
    if (BACKWARD != 0)
        touched |= VKS_TOUCH(0, pair + p.cols) | VKS_TOUCH(2, ahead);
    uvec2 at = vks_divide(base, p.cols);
    for (uint e = 0; e < VKS_ELEMENTS; e += width) {
        const uint i = base + e * VKS_RUN;
        if (i < p.rows * p.cols) {
            if (QUADS != 0)
                visit4(i, at.x, at.y);
            else
                visit(i, at.x, at.y);
        }
        at = vks_advance(at, step, p.cols);
    }
    VKS_TOUCHED(0, y, touched);
}
