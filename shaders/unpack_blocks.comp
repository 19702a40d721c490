// Rows of a matrix that stands in quantised blocks (include/blocks.glsl), as fp32.
//
//     out[i] = W[i], or W[ids[i]] with GATHER    W (rows, cols) in blocks, packed (rows, words); frozen: no gradient
//
// An invocation makes four neighbours, whose lanes then write side by side, or with WHOLE a stretch, whose words it
// loads once: on CPU drivers loads are dear. With GATHER a dispatch sees rows [row_first, row_first + row_count) of
// the matrix and writes the rows that they give; the first one also writes zeros for ids outside it.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint TYPE = 0;
layout(constant_id = 2) const uint GATHER = 0;
layout(constant_id = 3) const uint WHOLE = 0;

VKS_BUF_QUADS(0, float, dst);
VKS_BUF_IN(1, uint, src);
VKS_BUF_PAIRS(1, src);
VKS_BUF_IN(2, int, ids);
VKS_PUSH(3, unpack_blocks);

#define VKS_BLOCKS TYPE
#define VKS_BLOCKS_FROM 0u
#define VKS_PACKED(i) VKS_AT(1, src, i)
#define VKS_PACKED_PAIR(i) vks_bits_of_pair(VKS_PAIR(1, src, i))
#define VKS_TAKEN (WHOLE != 0)
#include "include/blocks.glsl"

void main()
{
    const uint width = WHOLE != 0 ? VKS_STRETCH : 4;
    const uvec2 item = vks_divide(vks_item(), p.cols / width);
    if (item.x >= p.count)
        return;
    const uint to = item.x * p.cols + width * item.y;
    uint row = item.x;
    bool zero = false;
    if (GATHER != 0) {
        const uint id = uint(VKS_AT(2, ids, row));
        zero = id < p.row_first || id - p.row_first >= p.row_count;
        if (zero && (p.row_first != 0 || id < p.rows))
            return;
        row = id - p.row_first;
    }
    if (zero) {
        for (uint i = 0; i < width; i += 4)
            VKS_STORE4(0, dst, to + i, vec4(0));
        return;
    }
    vks_packed_row = row * p.words;
    vks_locate(width * item.y / VKS_STRETCH);
    if (WHOLE != 0) {
        vks_take();
        [[unroll]] for (uint i = 0; i < VKS_STRETCH; i += 4)
            VKS_STORE4(0, dst, to + i, vks_unpack4(i));
    } else {
        VKS_STORE4(0, dst, to, vks_unpack4(4 * item.y % VKS_STRETCH));
    }
}
