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

VKS_BUF(0, float, y);
VKS_BUF(1, float, a);
VKS_BUF(2, float, b);
VKS_PUSH(3, columns);

void visit(uint i, uint r, uint c)
{
    float v = 0.0;
    if (c >= p.first && c < p.first + p.a_cols)
        v = VKS_AT(1, a, r * p.a_stride + c - p.first + p.a_first);
    else if (p.with_b != 0)
        v = VKS_AT(2, b, r * (p.cols - p.a_cols) + c - p.a_cols);
    VKS_AT(0, y, i) = v;
}

void main()
{
    const uint base = vks_first(1);
    uvec2 at = vks_divide(base, p.cols);
    for (uint e = 0; e < VKS_ELEMENTS; e++) {
        const uint i = base + e * VKS_RUN;
        if (i < p.rows * p.cols)
            visit(i, at.x, at.y);
        at = vks_advance(at, VKS_RUN, p.cols);
    }
}
