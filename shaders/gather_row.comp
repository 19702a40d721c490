// One row of each sample.
//
//     y[b] = x[b, index[b]];  dx[b, t] = dy[b] where t = index[b], else 0
//
// x (B, T, C), index (B) int32, clamped to 0 .. T - 1, y (B, C). A dispatch sees the rows [row_first, row_end) of its
// samples; the row it does not see is another dispatch's.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;

VKS_BUF(0, float, y);       // y, or dx
VKS_BUF(1, float, x);       // x, or dy
VKS_BUF(2, int, index);
VKS_PUSH(3, gather_row);

void main()
{
    const uint i = vks_item(), rows = p.row_end - p.row_first;
    if (i >= p.samples * p.cols * (BACKWARD == 0 ? 1 : rows))
        return;
    const uvec2 item = vks_divide(i, p.cols);
    const uint c = item.y;
    if (BACKWARD == 0) {
        const uint b = item.x, t = uint(clamp(VKS_AT(2, index, b), 0, int(p.rows) - 1));
        if (t >= p.row_first && t < p.row_end)
            VKS_AT(0, y, i) = VKS_AT(1, x, (b * p.rows + t - p.row_first) * p.cols + c);
    } else {
        const uvec2 row = vks_divide(item.x, rows);
        const uint b = row.x, t = row.y + p.row_first;
        const bool hit = t == uint(clamp(VKS_AT(2, index, b), 0, int(p.rows) - 1));
        VKS_AT(0, y, i) = hit ? VKS_AT(1, x, b * p.cols + c) : 0.0;
    }
}
