// Columns joined and cut out: concatenation, slice, and the slice's gradient.
//
//     y[r, c] = a[r, c - first + a_first]  where first <= c < first + a_cols,  else b[r, c - a_cols], or 0 without b
//
//     concat   y = (a, b)            first = 0
//     slice    y = a[:, f : f + n]   first = 0, a_first = f, a_cols = n
//     its dx   dy amid zeros         first = f, a_cols = n, no b
//
// y (R, cols), a (R, a_stride), b (R, cols - a_cols)
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint QUADS = 0;  // every count and place is a multiple of four

VKS_BUF_QUADS(0, float, y);
VKS_BUF_QUADS_IN(1, float, a);
VKS_BUF_QUADS_IN(2, float, b);
VKS_PUSH(3, columns);

// Where column c of row r comes from, in either.
uint from_a(uint r, uint c) { return r * p.a_stride + c - p.first + p.a_first; }
uint from_b(uint r, uint c) { return r * (p.cols - p.a_cols) + c - p.a_cols; }

// Element i of y in row r and column c, or with QUADS four.
void visit(uint i, uint r, uint c)
{
    const bool in_a = c >= p.first && c < p.first + p.a_cols;
    if (QUADS != 0) {
        vec4 v = vec4(0.0);
        if (in_a)
            v = VKS_LOAD4(1, a, from_a(r, c));
        else if (p.with_b != 0)
            v = VKS_LOAD4(2, b, from_b(r, c));
        VKS_STORE4(0, y, i, v);
        return;
    }
    float v = 0.0;
    if (in_a)
        v = VKS_AT(1, a, from_a(r, c));
    else if (p.with_b != 0)
        v = VKS_AT(2, b, from_b(r, c));
    VKS_AT(0, y, i) = v;
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, base = vks_first(width);
    const uint ahead = vks_ahead(p.rows * p.cols);
    const uvec2 next = vks_divide(ahead, p.cols);
    uint touched = VKS_TOUCH(0, ahead);
    if (next.y >= p.first && next.y < p.first + p.a_cols)
        touched |= VKS_TOUCH(1, from_a(next.x, next.y));
    else if (p.with_b != 0)
        touched |= VKS_TOUCH(2, from_b(next.x, next.y));
    uvec2 at = vks_divide(base, p.cols);
    for (uint e = 0; e < VKS_ELEMENTS; e += width) {
        const uint i = base + e * VKS_RUN;
        if (i < p.rows * p.cols)
            visit(i, at.x, at.y);
        at = vks_advance(at, vks_step(width), p.cols);
    }
    VKS_TOUCHED(0, y, touched);
}
