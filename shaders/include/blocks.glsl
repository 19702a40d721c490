// Rows of quantised blocks: four neighbours at a time as fp32.
//
// The blocks are those of GGUF files, as they are, a row padded to 16 bytes. runtime/base/quant.c has each layout,
// and is the reference that this equals bit for bit: `precise` keeps products and sums apart.
//
// A stretch is what shares its words: a block of 32, or 64 or 128 elements of a block of 256. Its bytes lie in four
// places: low bits, high bits, marks (the scales of groups) and head (the scales of the block). A kernel defines
//     VKS_BLOCKS         a specialisation constant: the type, enum vks_quant_type of runtime/base/quant.h, plus
//     VKS_BLOCKS_FROM    a literal
//     VKS_PACKED(i)      word i of the matrix
//     VKS_PACKED_PAIR(i) words i and i + 1; i even, where the matrix begins at 8 bytes
//     VKS_TAKEN          true: vks_take() loads a stretch into registers, once, and vks_unpack4() is given constants;
//                        false: vks_unpack4() loads what it needs
// sets vks_packed_row and calls vks_locate(), which may be followed by vks_take(), and then vks_unpack4().
#ifndef VKS_BLOCKS_GLSL
#define VKS_BLOCKS_GLSL

#define Q4_0 (VKS_BLOCKS_FROM + 2u)
#define Q4_1 (VKS_BLOCKS_FROM + 3u)
#define Q5_0 (VKS_BLOCKS_FROM + 6u)
#define Q5_1 (VKS_BLOCKS_FROM + 7u)
#define Q8_0 (VKS_BLOCKS_FROM + 8u)
#define Q2_K (VKS_BLOCKS_FROM + 10u)
#define Q3_K (VKS_BLOCKS_FROM + 11u)
#define Q4_K (VKS_BLOCKS_FROM + 12u)
#define Q5_K (VKS_BLOCKS_FROM + 13u)
#define Q6_K (VKS_BLOCKS_FROM + 14u)

// Choices between the types, in constants.
#define VKS_SMALL (VKS_BLOCKS <= Q8_0)
#define VKS_NIBBLES (VKS_BLOCKS == Q4_K || VKS_BLOCKS == Q5_K)
#define VKS_FIVE (VKS_BLOCKS == Q5_0 || VKS_BLOCKS == Q5_1)
#define VKS_OFFSET (VKS_BLOCKS == Q4_1 || VKS_BLOCKS == Q5_1)
// Bytes of a block. Where they are no whole words, every other block begins inside one.
#define VKS_BLOCK_BYTES \
    (VKS_BLOCKS == Q4_0 ? 18u : VKS_BLOCKS == Q4_1 ? 20u : VKS_BLOCKS == Q5_0 ? 22u : VKS_BLOCKS == Q5_1 ? 24u : \
     VKS_BLOCKS == Q8_0 ? 34u : VKS_BLOCKS == Q2_K ? 84u : VKS_BLOCKS == Q3_K ? 110u : VKS_BLOCKS == Q4_K ? 144u : \
     VKS_BLOCKS == Q5_K ? 176u : 210u)
#define VKS_SPLIT (VKS_BLOCK_BYTES % 4u != 0)
#define VKS_STRETCH (VKS_SMALL ? 32u : VKS_NIBBLES ? 64u : 128u)
#define VKS_STRETCHES (VKS_SMALL ? 1u : VKS_NIBBLES ? 4u : 2u)  // of a block

// Words of a stretch in each place.
#define VKS_LOW_WORDS (VKS_BLOCKS == Q6_K ? 16u : VKS_BLOCKS > Q5_1 ? 8u : 4u)
#define VKS_HIGH_WORDS \
    (VKS_FIVE ? 1u : VKS_BLOCKS == Q3_K || VKS_BLOCKS == Q5_K || VKS_BLOCKS == Q6_K ? 8u : 0u)
#define VKS_MARK_WORDS (VKS_SMALL ? 0u : VKS_BLOCKS == Q2_K || VKS_BLOCKS == Q6_K ? 2u : 3u)

uint vks_packed_row;                                         // first word of the row
uint vks_low_at, vks_high_at, vks_mark_at, vks_head_at;      // bytes from there, even
uint vks_stretch;                                            // number of the stretch in its block
uint vks_low[16], vks_high[8], vks_mark[3], vks_head;        // taken

// Finds stretch n of the row.
void vks_locate(uint n)
{
    const uint block = n / VKS_STRETCHES * VKS_BLOCK_BYTES, j = n % VKS_STRETCHES;
    vks_stretch = j;
    vks_head_at = block + (VKS_BLOCKS == Q2_K ? 80 : VKS_BLOCKS == Q3_K ? 108 : VKS_BLOCKS == Q6_K ? 208 : 0);
    if (VKS_SMALL)
        vks_low_at = block + (VKS_OFFSET ? 4 : 2) + (VKS_FIVE ? 4 : 0);
    else
        vks_low_at = block + (VKS_BLOCKS == Q6_K   ? 64 * j
                              : VKS_BLOCKS == Q3_K ? 32 + 32 * j
                                                   : (VKS_BLOCKS == Q5_K ? 48 : 16) + 32 * j);
    vks_high_at = block + (VKS_BLOCKS == Q5_0 ? 2 : VKS_BLOCKS == Q5_1 ? 4 : VKS_BLOCKS == Q3_K ? 0 :
                           VKS_BLOCKS == Q6_K ? 128 + 32 * j : 16);
    vks_mark_at = block + (VKS_BLOCKS == Q3_K   ? 96
                           : VKS_BLOCKS == Q2_K ? 8 * j
                           : VKS_BLOCKS == Q6_K ? 192 + 8 * j
                                                : 4);
}

// Four bytes from an even place on.
uint vks_bytes(uint at)
{
    const uint low = VKS_PACKED(vks_packed_row + (at >> 2));
    return !VKS_SPLIT || (at & 2u) == 0 ? low : low >> 16 | VKS_PACKED(vks_packed_row + (at >> 2) + 1) << 16;
}

// The two scales of a block, or one, low; never reads beyond it.
uint vks_read_head() { return VKS_PACKED(vks_packed_row + (vks_head_at >> 2)) >> 8 * (vks_head_at & 2u); }

// What a stretch needs passes through pairs of words at even places, of which a row holds a whole number: a load
// costs a CPU driver the same whatever its width. Where the stretch begins inside a pair, its words are picked out.
uint vks_pairs[20];

// The words that hold `bytes` bytes from place `at` on.
void vks_load_pairs(uint at, const uint bytes)
{
    const uint first = at >> 3, last = (at + bytes - 1) >> 3;
    const uint lead = VKS_BLOCK_BYTES % 8 == 0 ? 0 : VKS_SPLIT ? 6 : 4;
    [[unroll]] for (uint i = 0; i < (bytes + lead + 7) / 8; i++) {
        const uvec2 pair = VKS_PACKED_PAIR(vks_packed_row + 2 * min(first + i, last));
        vks_pairs[2 * i] = pair.x;
        vks_pairs[2 * i + 1] = pair.y;
    }
}

// Word i of those that begin `from` bytes after a place that was loaded from `at` on.
uint vks_pick(uint at, const uint from, const uint i)
{
    const uint w = i + from / 4;
    if (VKS_BLOCK_BYTES % 8 == 0)
        return vks_pairs[w];
    const uint begin = (at & 7u) + from % 4;
    if (!VKS_SPLIT)
        return begin < 4 ? vks_pairs[w] : vks_pairs[w + 1];
    const uint a = begin < 4 ? vks_pairs[w] : begin < 8 ? vks_pairs[w + 1] : vks_pairs[w + 2];
    const uint b = begin < 4 ? vks_pairs[w + 1] : begin < 8 ? vks_pairs[w + 2] : vks_pairs[w + 3];
    return (begin & 2u) == 0 ? a : a >> 16 | b << 16;
}

// Loads the stretch.
void vks_take()
{
    if (VKS_SMALL) {
        vks_load_pairs(vks_head_at, VKS_BLOCK_BYTES);
        vks_head = vks_pick(vks_head_at, 0, 0);
        if (VKS_FIVE)
            vks_high[0] = vks_pick(vks_head_at, VKS_OFFSET ? 4 : 2, 0);
        [[unroll]] for (uint i = 0; i < VKS_LOW_WORDS; i++)
            vks_low[i] = vks_pick(vks_head_at, (VKS_OFFSET ? 4 : 2) + (VKS_FIVE ? 4 : 0), i);
        return;
    }
    vks_load_pairs(vks_low_at, 4 * VKS_LOW_WORDS);
    [[unroll]] for (uint i = 0; i < VKS_LOW_WORDS; i++)
        vks_low[i] = vks_pick(vks_low_at, 0, i);
    if (VKS_HIGH_WORDS != 0) {
        vks_load_pairs(vks_high_at, 4 * VKS_HIGH_WORDS);
        [[unroll]] for (uint i = 0; i < VKS_HIGH_WORDS; i++)
            vks_high[i] = vks_pick(vks_high_at, 0, i);
    }
    if (VKS_NIBBLES) {
        vks_load_pairs(vks_head_at, 16);
        vks_head = vks_pairs[0];
        [[unroll]] for (uint i = 0; i < 3; i++)
            vks_mark[i] = vks_pairs[i + 1];
        return;
    }
    vks_load_pairs(vks_mark_at, 4 * VKS_MARK_WORDS);
    [[unroll]] for (uint i = 0; i < VKS_MARK_WORDS; i++)
        vks_mark[i] = vks_pick(vks_mark_at, 0, i);
    vks_head = vks_read_head();
}

uint vks_low_word(uint k) { return VKS_TAKEN ? vks_low[k] : vks_bytes(vks_low_at + 4 * k); }
uint vks_high_word(uint k) { return VKS_TAKEN ? vks_high[k] : vks_bytes(vks_high_at + 4 * k); }
uint vks_mark_word(uint k) { return VKS_TAKEN ? vks_mark[k] : vks_bytes(vks_mark_at + 4 * k); }
vec2 vks_heads() { return unpackHalf2x16(VKS_TAKEN ? vks_head : vks_read_head()); }

// `bits` of each byte of a word, from bit `shift` on.
ivec4 vks_fields(uint word, uint shift, uint bits)
{
    return ivec4((uvec4(word) >> (uvec4(0, 8, 16, 24) + shift)) & ((1u << bits) - 1));
}

int vks_signed(uint byte) { return int(byte << 24) >> 24; }

// Elements i to i + 3 of a block of 32.
precise vec4 vks_of_32(uint i)
{
    const precise vec2 head = vks_heads();
    if (VKS_BLOCKS == Q8_0) {
        const uint w = vks_low_word(i / 4);
        return head.x * vec4(ivec4(uvec4(w << 24, w << 16, w << 8, w)) >> 24);
    }
    ivec4 q = vks_fields(vks_low_word(i % 16 / 4), i < 16 ? 0 : 4, 4);
    if (VKS_FIVE)
        q |= ivec4(((uvec4(vks_high_word(0)) >> (uvec4(0, 1, 2, 3) + i)) & 1u) << 4);
    if (!VKS_OFFSET)
        return head.x * vec4(q - (VKS_FIVE ? 16 : 8));
    const precise vec4 product = head.x * vec4(q);
    return product + head.y;
}

// Scale of the group of element i of the stretch, and what is taken off.
precise vec2 vks_group_of(uint i)
{
    const precise vec2 head = vks_heads();
    if (VKS_NIBBLES) {
        // Scales and offsets of groups 0 to 3 in six bits of a byte each; of 4 to 7 in the four of the third word and
        // in the two that these leave.
        const uint g = 2 * vks_stretch + i / 32, shift = 8 * (g & 3u);
        const uint a = vks_mark_word(0) >> shift & 255u, b = vks_mark_word(1) >> shift & 255u;
        const uint mixed = vks_mark_word(2) >> shift & 255u;
        const uint s = g < 4 ? a & 63u : (mixed & 15u) | a >> 6 << 4, t = g < 4 ? b & 63u : mixed >> 4 | b >> 6 << 4;
        return head * vec2(ivec2(s, t));
    }
    const uint g = i / 16;
    if (VKS_BLOCKS == Q3_K) {
        const uint low = vks_mark_word(g / 4) >> (8 * (g & 3u) + 4 * vks_stretch) & 15u;
        const uint high = vks_mark_word(2) >> (8 * (g & 3u) + 4 * vks_stretch + 2 * (g / 4)) & 3u;
        return vec2(head.x * float(int(low | high << 4) - 32), 0);
    }
    const uint mark = vks_mark_word(g / 4) >> 8 * (g & 3u) & 255u;
    if (VKS_BLOCKS == Q6_K)
        return vec2(head.x * float(vks_signed(mark)), 0);
    return head * vec2(ivec2(mark & 15u, mark >> 4));
}

// Elements i to i + 3 of the stretch.
precise vec4 vks_unpack4(uint i)
{
    if (VKS_SMALL)
        return vks_of_32(i);
    const precise vec2 group = vks_group_of(i);
    ivec4 q;
    if (VKS_BLOCKS == Q6_K) {
        q = vks_fields(vks_low_word(i % 64 / 4), 4 * (i / 64), 4) |
            vks_fields(vks_high_word(i % 32 / 4), 2 * (i / 32), 2) << 4;
        return group.x * vec4(q - 32);
    }
    if (VKS_BLOCKS == Q3_K) {
        q = vks_fields(vks_low_word(i % 32 / 4), 2 * (i / 32), 2) |
            vks_fields(vks_high_word(i % 32 / 4), 4 * vks_stretch + i / 32, 1) << 2;
        return group.x * vec4(q - 4);
    }
    if (VKS_BLOCKS == Q2_K) {
        q = vks_fields(vks_low_word(i % 32 / 4), 2 * (i / 32), 2);
    } else {
        q = vks_fields(vks_low_word(i % 32 / 4), 4 * (i / 32), 4);
        if (VKS_BLOCKS == Q5_K)
            q |= vks_fields(vks_high_word(i % 32 / 4), 2 * vks_stretch + i / 32, 1) << 4;
    }
    const precise vec4 product = group.x * vec4(q);
    return product - group.y;
}

#endif
