// Nearest-neighbour upsampling.
//
//     y[i, j] = x[floor(i h / height), floor(j w / width)]
//     dx[u, v] = sum of dy[i, j] over the pixels that read (u, v), row by row:
//                ceil(u height / h) <= i < ceil((u + 1) height / h), and so for j
//
// x (B, h, w, C), y (B, height, width, C), cut into lines: line l of y is line l % height of sample l / height.
// One invocation a channel of a line, or with QUADS four of them, walks along it, so that no pixel costs a division.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;
layout(constant_id = 2) const uint QUADS = 0;
#include "include/row_quads.glsl"

VKS_BUF_QUADS(0, float, y);     // y, or dx
VKS_BUF_QUADS_IN(1, float, x);  // x, or dy
VKS_PUSH(2, upsample);

void forward(uint line, uint to, uint c)
{
    const uvec2 at = vks_divide(line, p.height);
    const uint source = at.x * p.h + at.y * p.h / p.height - p.other_line;
    uint from = source * p.w * p.cols + c, v = 0;
    for (uint j = 0; j < p.width; j++) {
        for (; (v + 1) * p.width <= j * p.w; v++)
            from += p.cols;
        const uint pixel = to + j * p.cols;
        const vec4 value = VKS_ROW_LOAD(1, x, from);
        VKS_ROW_STORE(0, y, pixel, value);
    }
}

void backward(uint line, uint to, uint c)
{
    const uvec2 at = vks_divide(line, p.h);
    const uint begin = (at.y * p.height + p.h - 1) / p.h, end = ((at.y + 1) * p.height + p.h - 1) / p.h;
    const uint from = (at.x * p.height - p.other_line) * p.width * p.cols + c;
    uint first = 0, next = 0;
    for (uint v = 0; v < p.w; v++, first = next) {
        precise vec4 sum = vec4(0.0);
        for (uint i = begin; i < end; i++)
            for (next = first; next * p.w < (v + 1) * p.width; next++) {
                const uint pixel = from + (i * p.width + next) * p.cols;
                sum += VKS_ROW_LOAD(1, x, pixel);
            }
        const uint pixel = to + v * p.cols;
        VKS_ROW_STORE(0, y, pixel, sum);
    }
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, item = vks_item(), columns = p.cols / width;
    if (item >= p.lines * columns)
        return;
    const uvec2 at = vks_divide(item, columns);
    const uint c = at.y * width;
    if (BACKWARD == 0)
        forward(p.line + at.x, at.x * p.width * p.cols + c, c);
    else
        backward(p.line + at.x, at.x * p.w * p.cols + c, c);
}
