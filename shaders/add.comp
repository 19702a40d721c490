// Sum, with the second operand repeated.
//
//     y = x + z                        x, y (R, C); z (R, C), or rows of C channels repeated over x's rows
//     dx = dy;  dz = dy, or its sum over the rows that z's row served (reduce_rows.comp)
//
// Row r of x meets row (r / row_divide) % row_modulo of z: (C) is modulo 1; (B, C) divides by the rows of a sample;
// (T, C) is modulo T.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

layout(constant_id = 1) const uint REPEATED = 0;

VKS_BUF(0, float, y);
VKS_BUF(1, float, x);
VKS_BUF(2, float, z);
VKS_PUSH(3, add);

void main()
{
    const uint base = vks_group() * gl_WorkGroupSize.x * VKS_ELEMENTS + gl_LocalInvocationID.x;
    for (uint e = 0; e < VKS_ELEMENTS; e++) {
        const uint i = base + e * gl_WorkGroupSize.x;
        if (i < p.count) {
            uint j = i;
            if (REPEATED != 0) {
                const uint r = i / p.cols;
                j = ((p.first_row + r) / p.row_divide % p.row_modulo - p.first_z_row) * p.cols + (i - r * p.cols);
            }
            y[off[0] + i] = x[off[1] + i] + z[off[2] + j];
        }
    }
}
