// Rows of a matrix that stands in quantised blocks, as fp32.
//
//     out[i] = W[i], or W[ids[i]] with GATHER    W (rows, cols) in blocks, packed (rows, words); frozen: no gradient
//
// The blocks are those of GGUF files, as they are, a row padded to 16 bytes (runtime/base/quant.c has each layout,
// and is the reference that this equals bit for bit: `precise` keeps products and sums apart). An invocation makes
// four neighbours, which share a scale in every type. With GATHER a dispatch sees rows [row_first, row_first +
// row_count) of the matrix and writes the rows that they give; the first one also writes zeros for ids outside it.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint TYPE = 0;  // enum vks_quant_type of runtime/base/quant.h
layout(constant_id = 2) const uint GATHER = 0;

#define Q4_0 2u
#define Q4_1 3u
#define Q5_0 6u
#define Q5_1 7u
#define Q8_0 8u
#define Q2_K 10u
#define Q3_K 11u
#define Q4_K 12u
#define Q5_K 13u
#define Q6_K 14u

VKS_BUF_QUADS(0, float, dst);
VKS_BUF_IN(1, uint, src);
VKS_BUF_IN(2, int, ids);
VKS_PUSH(3, unpack_blocks);

uint row_at;    // first word of the row
uint block_at;  // first byte of the block, in its row

// Bytes o to o + 3 of the block; blocks begin at even bytes.
uint word_at(uint o)
{
    const uint b = block_at + o, low = VKS_AT(1, src, row_at + (b >> 2)), shift = 8 * (b & 3u);
    return shift == 0 ? low : low >> shift | VKS_AT(1, src, row_at + (b >> 2) + 1) << (32 - shift);
}

uint byte_at(uint o)
{
    const uint b = block_at + o;
    return VKS_AT(1, src, row_at + (b >> 2)) >> 8 * (b & 3u) & 255u;
}

float half_at(uint o)
{
    const uint b = block_at + o;
    return unpackHalf2x16(VKS_AT(1, src, row_at + (b >> 2)) >> 8 * (b & 2u) & 0xffffu).x;
}

// `bits` of each byte of a word, from bit `shift` on.
uvec4 fields(uint word, uint shift, uint bits)
{
    return (uvec4(word) >> (uvec4(0, 8, 16, 24) + shift)) & ((1u << bits) - 1);
}

int as_signed(uint byte) { return int(byte << 24) >> 24; }

// Elements i to i + 3 of a block of 32.
precise vec4 of_32(uint i)
{
    const bool five = TYPE == Q5_0 || TYPE == Q5_1, offset = TYPE == Q4_1 || TYPE == Q5_1;
    const precise float d = half_at(0);
    if (TYPE == Q8_0) {
        const uvec4 q = fields(word_at(2 + i), 0, 8);
        return d * vec4(as_signed(q.x), as_signed(q.y), as_signed(q.z), as_signed(q.w));
    }
    const uint head = offset ? 4 : 2;
    uvec4 q = fields(word_at(head + (five ? 4 : 0) + (i & 15u)), i < 16 ? 0 : 4, 4);
    if (five)
        q |= ((uvec4(word_at(head)) >> (uvec4(0, 1, 2, 3) + i)) & 1u) << 4;
    if (!offset)
        return d * vec4(ivec4(q) - (five ? 16 : 8));
    const precise vec4 product = d * vec4(q);
    return product + half_at(2);
}

// Two bits of elements i to i + 3: each 32 bytes hold 128 elements, 32 at a time from the low bits up.
uvec4 two_bits(uint at, uint i)
{
    return fields(word_at(at + i / 128 * 32 + i % 32), 2 * (i % 128 / 32), 2);
}

precise vec4 of_q2_k(uint i)
{
    const uint s = byte_at(i / 16);
    const precise float scale = half_at(80) * float(s & 15u), offset = half_at(82) * float(s >> 4);
    const precise vec4 product = scale * vec4(two_bits(16, i));
    return product - offset;
}

precise vec4 of_q3_k(uint i)
{
    const uint g = i / 16;
    const uint low = g < 8 ? byte_at(96 + g) & 15u : byte_at(96 + g - 8) >> 4;
    const uint high = byte_at(96 + 8 + g % 4) >> 2 * (g / 4) & 3u;
    const uvec4 q = two_bits(32, i) | fields(word_at(i % 32), i / 32, 1) << 2;
    const precise float scale = half_at(108) * float(int(low | high << 4) - 32);
    return scale * vec4(ivec4(q) - 4);
}

// Q4_K, Q5_K
precise vec4 of_nibbles(uint i)
{
    const uint g = i / 32;
    uint s, t;
    if (g < 4) {
        s = byte_at(4 + g) & 63u;
        t = byte_at(8 + g) & 63u;
    } else {
        const uint mixed = byte_at(8 + g);
        s = (mixed & 15u) | byte_at(g) >> 6 << 4;
        t = mixed >> 4 | byte_at(4 + g) >> 6 << 4;
    }
    const precise float scale = half_at(0) * float(s), offset = half_at(2) * float(t);
    uvec4 q = fields(word_at((TYPE == Q5_K ? 48 : 16) + g / 2 * 32 + i % 32), 4 * (g % 2), 4);
    if (TYPE == Q5_K)
        q |= fields(word_at(16 + i % 32), g, 1) << 4;
    const precise vec4 product = scale * vec4(q);
    return product - offset;
}

precise vec4 of_q6_k(uint i)
{
    const uvec4 q = fields(word_at(i / 128 * 64 + i % 64), 4 * (i % 128 / 64), 4) | two_bits(128, i) << 4;
    const precise float scale = half_at(208) * float(as_signed(byte_at(192 + i / 16)));
    return scale * vec4(ivec4(q) - 32);
}

void main()
{
    const uvec2 item = vks_divide(vks_item(), p.cols / 4);
    if (item.x >= p.count)
        return;
    const uint to = item.x * p.cols + 4 * item.y;
    uint row = item.x;
    if (GATHER != 0) {
        const uint id = uint(VKS_AT(2, ids, row));
        if (id < p.row_first || id - p.row_first >= p.row_count) {
            if (p.row_first == 0 && id >= p.rows)
                VKS_STORE4(0, dst, to, vec4(0));
            return;
        }
        row = id - p.row_first;
    }
    const bool small = TYPE <= Q8_0;
    const uint bytes = TYPE == Q4_0 ? 18 : TYPE == Q4_1 ? 20 : TYPE == Q5_0 ? 22 : TYPE == Q5_1 ? 24 :
                       TYPE == Q8_0 ? 34 : TYPE == Q2_K ? 84 : TYPE == Q3_K ? 110 : TYPE == Q4_K ? 144 :
                       TYPE == Q5_K ? 176 : 210;
    const uint e = 4 * item.y, i = e % (small ? 32 : 256);
    row_at = row * p.words;
    block_at = e / (small ? 32 : 256) * bytes;
    precise vec4 v;
    if (small)
        v = of_32(i);
    else if (TYPE == Q2_K)
        v = of_q2_k(i);
    else if (TYPE == Q3_K)
        v = of_q3_k(i);
    else if (TYPE == Q6_K)
        v = of_q6_k(i);
    else
        v = of_nibbles(i);
    VKS_STORE4(0, dst, to, v);
}
