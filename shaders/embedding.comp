// Rows of a table.
//
//     y[i] = table[ids[i]]        ids (N) int32, table (V, C) fp32, fp16 or bf16, y (N, C); frozen: no gradient
//
// A dispatch sees the rows [row_first, row_first + row_count) of the table and writes the elements that they give;
// the first one also writes zeros for ids outside the table.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/half.glsl"

layout(constant_id = 1) const uint DTYPE = 0;

VKS_BUF(0, float, y);
VKS_BUF(1, int, ids);
VKS_BUF(2, uint, table);
VKS_PUSH(3, embedding);

void main()
{
    const uint i = vks_item();
    if (i >= p.count * p.cols)
        return;
    const uvec2 item = vks_divide(i, p.cols);
    const uint id = uint(VKS_AT(1, ids, item.x));
    if (id >= p.row_first && id - p.row_first < p.row_count) {
        const uint e = (id - p.row_first) * p.cols + item.y;
        VKS_AT(0, y, i) = VKS_ELEMENT(2, table, DTYPE, e);
    } else if (p.row_first == 0 && id >= p.rows) {
        VKS_AT(0, y, i) = 0.0;
    }
}
