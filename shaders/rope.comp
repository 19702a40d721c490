// Rotary positions (RoFormer, arXiv 2104.09864) with the pairs of GPT-NeoX and Hugging Face: channels i and i + R / 2
// of a head turn together.
//
//     y[i] = cos_i x[i] - sin_i x[i + R/2],  y[i + R/2] = cos_i x[i + R/2] + sin_i x[i]  for i < R/2; y = x from R on
//     dx is dy turned back: the same with -sin (INVERSE = 1)
//
// x, y, dy, dx (rows, heads, D); angles (rows, R) = cos of R / 2 angles, then their sines, from tables that the host
// made in double. An invocation turns one pair, or passes one channel on, in `per_item` heads of a row; with QUADS
// four neighbours of each. It reads what it writes alone, so y may have x's bytes.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint INVERSE = 0;
layout(constant_id = 2) const uint QUADS = 0;

VKS_BUF_QUADS(0, float, y);
VKS_BUF_QUADS(1, float, x) VKS_TEXELS(1, x);
VKS_BUF_QUADS_IN(2, float, angles);
VKS_PUSH(3, rope);

void turn4(uint at, uint angle)
{
    const vec4 c = VKS_LOAD4(2, angles, angle), t = VKS_LOAD4(2, angles, angle + p.pairs);
    const vec4 s = INVERSE != 0 ? -t : t;
    for (uint h = 0; h < p.per_item; h++, at += p.width) {
        const vec4 a = VKS_LOAD4(1, x, at), b = VKS_LOAD4(1, x, at + p.pairs);
        VKS_STORE4(0, y, at, fma(-s, b, c * a));
        VKS_STORE4(0, y, at + p.pairs, fma(s, a, c * b));
    }
}

void turn(uint at, uint angle)
{
    const float c = VKS_AT(2, angles, angle), t = VKS_AT(2, angles, angle + p.pairs);
    const float s = INVERSE != 0 ? -t : t;
    for (uint h = 0; h < p.per_item; h++, at += p.width) {
        const float a = VKS_AT(1, x, at), b = VKS_AT(1, x, at + p.pairs);
        VKS_AT(0, y, at) = fma(-s, b, c * a);
        VKS_AT(0, y, at + p.pairs) = fma(s, a, c * b);
    }
}

void pass(uint at)
{
    for (uint h = 0; h < p.per_item; h++, at += p.width) {
        if (QUADS != 0)
            VKS_QUAD(0, y, at) = vks_bits_to_quad(VKS_BITS4(1, x, at));
        else
            VKS_AT(0, y, at) = VKS_AT(1, x, at);
    }
}

void main()
{
    const uint step = QUADS != 0 ? 4 : 1, blocks = p.heads / p.per_item;
    const uvec2 item = vks_divide(vks_item(), (p.width - p.pairs) / step), place = vks_divide(item.x, blocks);
    const uint i = item.y * step, row = place.x;
    if (row >= p.rows)
        return;
    const uint at = (row * p.heads + place.y * p.per_item) * p.width + i, angle = row * 2 * p.pairs + i;
    if (i >= p.pairs)
        pass(at + p.pairs);
    else if (QUADS != 0)
        turn4(at, angle);
    else
        turn(at, angle);
}
