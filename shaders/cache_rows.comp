// Appends to a cache of keys or values: row positions[b][0] + t of sample b becomes its row t of x.
//
//     cache (B, rows, C), x (B, tokens, C), positions (B, tokens); what lies beyond the cache's rows is dropped
//
// A dispatch sees rows of x from number `x_first` on, all samples counted, and `bound` rows of the cache from `first`
// on; an invocation copies a channel, with QUADS four. With HALVES the cache is of fp16, two channels a word.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/half.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint QUADS = 0;
layout(constant_id = 2) const uint HALVES = 0;

VKS_BUF_QUADS(0, uint, cache);
VKS_BUF_QUADS_IN(1, uint, x);
VKS_BUF_IN(2, uint, positions);
VKS_PUSH(3, cache_rows);

void main()
{
    const uint width = QUADS != 0 ? 4 : HALVES != 0 ? 2 : 1;
    const uvec2 item = vks_divide(vks_item(), p.cols / width);
    if (item.x >= p.count)
        return;
    const uvec2 place = vks_divide(p.x_first + item.x, p.tokens);
    const uint row = VKS_AT(2, positions, place.x * p.tokens) + place.y, to = place.x * p.rows + row;
    if (row >= p.rows || to < p.first || to - p.first >= p.bound)
        return;
    const uint from = item.x * p.cols + item.y * width, at = (to - p.first) * p.cols + item.y * width;
    if (HALVES != 0 && QUADS != 0) {
        const vec4 v = VKS_LOAD4(1, x, from);
        VKS_WORD_OF_HALVES(0, cache, at) = vks_pack_halves(v.xy);
        VKS_WORD_OF_HALVES(0, cache, at + 2) = vks_pack_halves(v.zw);
    } else if (HALVES != 0)
        VKS_WORD_OF_HALVES(0, cache, at) =
            vks_pack_halves(uintBitsToFloat(uvec2(VKS_AT(1, x, from), VKS_AT(1, x, from + 1))));
    else if (QUADS != 0)
        VKS_QUAD(0, cache, at) = vks_bits_to_quad(VKS_BITS4(1, x, from));
    else
        VKS_AT(0, cache, at) = VKS_AT(1, x, from);
}
