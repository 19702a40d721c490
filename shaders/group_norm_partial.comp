// Group normalisation, first of three kernels: sums over a chunk of a sample's rows and the channels of a group.
// Equations in group_norm.comp.
//
//     forward   part (B, chunks, G, 3) = K, mean - K, M2 = sum (x - mean)²
//     backward  part (B, chunks, G, 3) = sum w dy, sum w dy x̂, -
//
// Welford's recurrence runs on x - K, K the chunk's first value, so it keeps its digits where mean >> deviation.
// One invocation a (sample, chunk, group) walks its rows in order. A chunk is a fixed number of rows of the shape; a
// dispatch that begins inside a chunk goes on from what `part` holds, so no cut changes a bit. With one chunk a
// sample (`finish`) the last rows leave the result of group_norm_combine.comp in `joined` at once.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;
layout(constant_id = 2) const uint QUADS = 0;  // a group's channels four at a time, summed in their order
const uint LANES = 1;
#define STRETCH 16  // rows that are touched together
#include "include/row_quads.glsl"

VKS_BUF(0, float, part);
VKS_BUF(1, float, joined);  // (B, G, 2) = mean, rstd, or the two sums
VKS_BUF_QUADS_IN(2, float, x);
VKS_BUF_QUADS_IN(3, float, dy);      // backward only
VKS_BUF_QUADS_IN(4, float, weight);  // backward only, may be absent
VKS_BUF(5, float, stats);   // backward only: (B, G, 2) = mean, rstd
VKS_PUSH(6, group_norm);

void forward(uint item, uint pair, uint at, uint begin, uint end, uint chunk)
{
    const uint cols = p.groups * p.width, state = 3 * item;
    float shift, mean = 0.0, square = 0.0, n = float((begin - chunk * p.chunk_rows) * p.width);
    if (n > 0.0) {
        shift = VKS_AT(0, part, state);
        mean = VKS_AT(0, part, state + 1);
        square = VKS_AT(0, part, state + 2);
    } else {
        shift = VKS_AT(2, x, at);
    }
    uint touched = 0;
    for (uint r = begin; r < end;) {
        const uint stretch = min(r + STRETCH, end);
        VKS_TOUCH_ROWS(touched, 2, at, cols, stretch - r, p.width);
        for (; r < stretch; r++, at += cols)
            for (uint c = 0; c < p.width; c += VKS_ROW_STEP) {
                const vec4 of_four = VKS_ROW_LOAD(2, x, at + c) - shift;
                VKS_ROW_EACH(j) {
                    const float v = of_four[j], d = v - mean;
                    n += 1.0;
                    mean = fma(d, 1.0 / n, mean);
                    square = fma(d, v - mean, square);
                }
            }
    }
    VKS_TOUCHED(0, part, touched);
    if (p.finish != 0 && end == p.rows) {
        VKS_AT(1, joined, pair) = shift + mean;
        VKS_AT(1, joined, pair + 1) = 1.0 / sqrt(square / n + p.eps);
    } else {
        VKS_AT(0, part, state) = shift;
        VKS_AT(0, part, state + 1) = mean;
        VKS_AT(0, part, state + 2) = square;
    }
}

void backward(uint item, uint pair, uint at, uint begin, uint end, uint chunk, uint group)
{
    const uint cols = p.groups * p.width, state = 3 * item;
    const float mean = VKS_AT(5, stats, pair), rstd = VKS_AT(5, stats, pair + 1);
    float s1 = 0.0, s2 = 0.0;
    if (begin > chunk * p.chunk_rows) {
        s1 = VKS_AT(0, part, state);
        s2 = VKS_AT(0, part, state + 1);
    }
    uint touched = 0;
    for (uint r = begin; r < end;) {
        const uint stretch = min(r + STRETCH, end);
        VKS_TOUCH_ROWS(touched, 2, at, cols, stretch - r, p.width);
        VKS_TOUCH_ROWS(touched, 3, at, cols, stretch - r, p.width);
        for (; r < stretch; r++, at += cols)
            for (uint c = 0; c < p.width; c += VKS_ROW_STEP) {
                vec4 d = VKS_ROW_LOAD(3, dy, at + c);
                if ((p.flags & 1u) != 0)
                    d *= VKS_ROW_LOAD(4, weight, group * p.width + c);
                const vec4 hat = (VKS_ROW_LOAD(2, x, at + c) - mean) * rstd;
                VKS_ROW_EACH(j) {
                    s1 += d[j];
                    s2 = fma(d[j], hat[j], s2);
                }
            }
    }
    VKS_TOUCHED(0, part, touched);
    if (p.finish != 0 && end == p.rows) {
        VKS_AT(1, joined, pair) = s1;
        VKS_AT(1, joined, pair + 1) = s2;
    } else {
        VKS_AT(0, part, state) = s1;
        VKS_AT(0, part, state + 1) = s2;
    }
}

void main()
{
    const uint i = vks_item();
    if (i >= p.samples * p.chunk_count * p.groups)
        return;
    const uvec2 item = vks_divide(i, p.groups), place = vks_divide(item.x, p.chunk_count);
    const uint group = item.y, sample_ = place.x, chunk = p.chunk_first + place.y;
    const uint begin = max(chunk * p.chunk_rows, p.row_first), end = min((chunk + 1) * p.chunk_rows, p.row_end);
    const uint at = ((sample_ * p.rows + begin - p.row_first) * p.groups + group) * p.width;
    const uint pair = 2 * (sample_ * p.groups + group);
    if (BACKWARD == 0)
        forward(i, pair, at, begin, end, chunk);
    else
        backward(i, pair, at, begin, end, chunk, group);
}
