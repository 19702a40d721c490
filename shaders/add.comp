// Sum, with the second operand repeated.
//
//     y = x + z                        x, y (R, C); z (R, C), or rows of C channels repeated over x's rows
//     dx = dy;  dz = dy, or its sum over the rows that z's row served (reduce_rows.comp)
//
// Row r of x meets row (r / row_divide) % row_modulo of z: (C) is modulo 1; (B, C) divides by the rows of a sample;
// (T, C) is modulo T. So z is read either over and over from its start, or a row of it for as long as a sample lasts.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint FORM = 0;  // 0: z is as long as x, 1: row_divide = 1, 2: row_divide > 1
layout(constant_id = 2) const uint QUADS = 0;

VKS_BUF_QUADS(0, float, y);
VKS_BUF_QUADS(1, float, x) VKS_TEXELS(1, x);
VKS_BUF_QUADS(2, float, z) VKS_TEXELS(2, z);
VKS_PUSH(3, add);

// Element i of x and j of z, or with QUADS four of each.
void visit(uint i, uint j)
{
    if (QUADS != 0)
        VKS_STORE4(0, y, i, VKS_LOAD4(1, x, i) + VKS_LOAD4(2, z, j));
    else
        VKS_AT(0, y, i) = VKS_AT(1, x, i) + VKS_AT(2, z, j);
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, step = vks_step(width);
    const uint base = vks_first(width);
    // FORM 1: column of z as one long row. FORM 2: row of z and place among the values of x that meet it.
    const uint period = p.cols * (FORM == 1 ? p.row_modulo : p.row_divide);
    uvec2 at = uvec2(0), column = uvec2(0);
    if (FORM != 0)
        at = vks_divide(p.first_row * p.cols + base, period);
    if (FORM == 2)
        column = vks_divide(base, p.cols);
    const uint ahead = vks_ahead(p.count);
    const uint touched = VKS_TOUCH(0, ahead) | VKS_TOUCH(1, ahead) | (FORM == 0 ? VKS_TOUCH(2, ahead) : 0);
    for (uint e = 0; e < VKS_ELEMENTS; e += width) {
        const uint i = base + e * VKS_RUN;
        const uint j = FORM == 0 ? i : FORM == 1 ? at.y : at.x * p.cols + column.y;
        if (i < p.count)
            visit(i, j - p.first_z_row * p.cols);
        if (FORM != 0)
            at = vks_advance(at, step, period);
        if (FORM == 2)
            column = vks_advance(column, step, p.cols);
    }
    VKS_TOUCHED(0, y, touched);
}
