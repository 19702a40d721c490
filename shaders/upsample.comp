// Nearest-neighbour upsampling.
//
//     y[i, j] = x[floor(i h / height), floor(j w / width)]
//     dx[u, v] = sum of dy[i, j] over the pixels that read (u, v), row by row:
//                ceil(u height / h) <= i < ceil((u + 1) height / h), and so for j
//
// x (B, h, w, C), y (B, height, width, C), cut into lines: line l of y is line i = l % height of sample l / height.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;

VKS_BUF(0, float, y);       // y, or dx
VKS_BUF(1, float, x);       // x, or dy
VKS_PUSH(2, upsample);

uint begin_of(uint u, uint large, uint small)
{
    return (u * large + small - 1) / small;
}

void main()
{
    const uint item = vks_item(), columns = BACKWARD == 0 ? p.width : p.w;
    if (item >= p.lines * columns * p.cols)
        return;
    const uint c = item % p.cols, column = item / p.cols % columns, line = p.line + item / (p.cols * columns);
    if (BACKWARD == 0) {
        const uint source = line / p.height * p.h + line % p.height * p.h / p.height - p.other_line;
        y[off[0] + item] = x[off[1] + (source * p.w + column * p.w / p.width) * p.cols + c];
        return;
    }
    const uint u = line % p.h, base = line / p.h * p.height - p.other_line;
    const uint i_end = begin_of(u + 1, p.height, p.h), j_end = begin_of(column + 1, p.width, p.w);
    float sum = 0.0;
    for (uint i = begin_of(u, p.height, p.h); i < i_end; i++)
        for (uint j = begin_of(column, p.width, p.w); j < j_end; j++)
            sum += x[off[1] + ((base + i) * p.width + j) * p.cols + c];
    y[off[0] + item] = sum;
}
