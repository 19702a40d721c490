// Blocks of quantised weights. In all of them q is an unsigned integer made of a few low bits (qs) and perhaps high
// bits (qh) of its own array; d and m are fp16, and no product is fused with what follows (see quant.h).
#include "base/quant.h"

#include "base/half.h"

#include <string.h>

static float half_at(const uint8_t *at)
{
    return vks_f32_from_f16((uint16_t)(at[0] | at[1] << 8));
}

static uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void unpack_f32(const uint8_t *block, float *out)
{
    const uint32_t bits = word_at(block);
    memcpy(out, &bits, sizeof(bits));
}

static void unpack_f16(const uint8_t *block, float *out)
{
    *out = half_at(block);
}

static void unpack_bf16(const uint8_t *block, float *out)
{
    *out = vks_f32_from_bf16((uint16_t)(block[0] | block[1] << 8));
}

// ---- 32 elements: byte i of qs holds elements i (low nibble) and i + 16

// d, qs[16]: x = d (q - 8)
static void unpack_q4_0(const uint8_t *block, float *out)
{
    const float d = half_at(block);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((block[2 + i] & 15) - 8);
        out[i + 16] = d * (float)((block[2 + i] >> 4) - 8);
    }
}

// d, m, qs[16]: x = d q + m
static void unpack_q4_1(const uint8_t *block, float *out)
{
    const float d = half_at(block), m = half_at(block + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(block[4 + i] & 15) + m;
        out[i + 16] = d * (float)(block[4 + i] >> 4) + m;
    }
}

// Element i of five bits: bit i of qh is the highest.
static int five_bits(const uint8_t *qs, uint32_t qh, int i)
{
    const int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
    return low | (int)(qh >> i & 1) << 4;
}

// d, qh[4], qs[16]: x = d (q - 16)
static void unpack_q5_0(const uint8_t *block, float *out)
{
    const float d = half_at(block);
    const uint32_t qh = word_at(block + 2);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(five_bits(block + 6, qh, i) - 16);
}

// d, m, qh[4], qs[16]: x = d q + m
static void unpack_q5_1(const uint8_t *block, float *out)
{
    const float d = half_at(block), m = half_at(block + 2);
    const uint32_t qh = word_at(block + 4);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)five_bits(block + 8, qh, i) + m;
}

// d, qs[32] signed: x = d q
static void unpack_q8_0(const uint8_t *block, float *out)
{
    const float d = half_at(block);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(int8_t)block[2 + i];
}

// ---- 256 elements: sub-blocks of 16 or 32 whose scales are integers times d

// Two bits of element i: each 32 bytes hold 128 elements, 32 at a time from the low bits up.
static int two_bits(const uint8_t *qs, int i)
{
    return qs[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3;
}

// scales[16] (low nibble s, high nibble t), qs[64], d, m: x = (d s) q - (m t), a scale for 16
static void unpack_q2_k(const uint8_t *block, float *out)
{
    const float d = half_at(block + 80), m = half_at(block + 82);
    for (int i = 0; i < 256; i++) {
        const float scale = d * (float)(block[i / 16] & 15), offset = m * (float)(block[i / 16] >> 4);
        out[i] = scale * (float)two_bits(block + 16, i) - offset;
    }
}

// qh[32], qs[64], scales[12], d: x = (d (s - 32)) (q - 4), a scale of six bits for 16. Of the scales, the low four
// bits stand in the first 8 bytes, the high two in the last 4; bit i / 32 of qh[i % 32] is the third bit of element
// i.
static void unpack_q3_k(const uint8_t *block, float *out)
{
    const uint8_t *scales = block + 96;
    const float d = half_at(block + 108);
    for (int i = 0; i < 256; i++) {
        const int g = i / 16;
        const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
        const int high = scales[8 + g % 4] >> 2 * (g / 4) & 3;
        const int q = two_bits(block + 32, i) | (block[i % 32] >> i / 32 & 1) << 2;
        out[i] = d * (float)((low | high << 4) - 32) * (float)(q - 4);
    }
}

// Scale and offset of sub-block g of 8, six bits each, in 12 bytes: the first four of each lie in the low bits of
// bytes 0 to 7, the others in the nibbles of bytes 8 to 11 and the two bits left over in 0 to 7.
static void six_bit_pair(const uint8_t *scales, int g, int *scale, int *offset)
{
    if (g < 4) {
        *scale = scales[g] & 63;
        *offset = scales[g + 4] & 63;
    } else {
        *scale = (scales[g + 4] & 15) | scales[g - 4] >> 6 << 4;
        *offset = scales[g + 4] >> 4 | scales[g] >> 6 << 4;
    }
}

// What Q4_K and Q5_K share: d, m, scales[12]: x = (d s) q - (m t), a scale for 32; each 32 bytes of qs hold the low
// nibbles of one sub-block and the high nibbles of the next. `qh` is NULL or holds in bit g of byte i the fifth bit.
static void unpack_nibbles(const uint8_t *block, const uint8_t *qh, const uint8_t *qs, float *out)
{
    const float d = half_at(block), m = half_at(block + 2);
    for (int g = 0; g < 8; g++) {
        int s, t;
        six_bit_pair(block + 4, g, &s, &t);
        const float scale = d * (float)s, offset = m * (float)t;
        for (int i = 0; i < 32; i++) {
            const int q = (qs[g / 2 * 32 + i] >> 4 * (g % 2) & 15) | (qh ? qh[i] >> g & 1 : 0) << 4;
            out[g * 32 + i] = scale * (float)q - offset;
        }
    }
}

// d, m, scales[12], qs[128]
static void unpack_q4_k(const uint8_t *block, float *out)
{
    unpack_nibbles(block, NULL, block + 16, out);
}

// d, m, scales[12], qh[32], qs[128]
static void unpack_q5_k(const uint8_t *block, float *out)
{
    unpack_nibbles(block, block + 16, block + 48, out);
}

// ql[128], qh[64], scales[16] signed, d: x = (d s) (q - 32), a scale for 16. Of each 128 elements the low nibbles of
// 64 bytes are the first half, the high ones the second; qh has two bits of each, laid out as two_bits reads them.
static void unpack_q6_k(const uint8_t *block, float *out)
{
    const float d = half_at(block + 208);
    for (int i = 0; i < 256; i++) {
        const int low = block[i / 128 * 64 + i % 64] >> 4 * (i % 128 / 64) & 15;
        const int q = low | two_bits(block + 128, i) << 4;
        out[i] = d * (float)(int8_t)block[192 + i / 16] * (float)(q - 32);
    }
}

static const struct {
    struct vks_quant quant;
    void (*unpack)(const uint8_t *block, float *out);
} types[] = {
    [VKS_QUANT_F32] = {{"F32", 1, 4}, unpack_f32},      [VKS_QUANT_F16] = {{"F16", 1, 2}, unpack_f16},
    [VKS_QUANT_Q4_0] = {{"Q4_0", 32, 18}, unpack_q4_0}, [VKS_QUANT_Q4_1] = {{"Q4_1", 32, 20}, unpack_q4_1},
    [VKS_QUANT_Q5_0] = {{"Q5_0", 32, 22}, unpack_q5_0}, [VKS_QUANT_Q5_1] = {{"Q5_1", 32, 24}, unpack_q5_1},
    [VKS_QUANT_Q8_0] = {{"Q8_0", 32, 34}, unpack_q8_0}, [VKS_QUANT_Q2_K] = {{"Q2_K", 256, 84}, unpack_q2_k},
    [VKS_QUANT_Q3_K] = {{"Q3_K", 256, 110}, unpack_q3_k}, [VKS_QUANT_Q4_K] = {{"Q4_K", 256, 144}, unpack_q4_k},
    [VKS_QUANT_Q5_K] = {{"Q5_K", 256, 176}, unpack_q5_k}, [VKS_QUANT_Q6_K] = {{"Q6_K", 256, 210}, unpack_q6_k},
    [VKS_QUANT_BF16] = {{"BF16", 1, 2}, unpack_bf16},
};

const struct vks_quant *vks_quant(uint32_t type)
{
    return type < sizeof(types) / sizeof(types[0]) && types[type].unpack ? &types[type].quant : NULL;
}

void vks_quant_unpack(enum vks_quant_type type, const void *in, size_t count, float *out)
{
    const struct vks_quant *quant = &types[type].quant;
    const uint8_t *block = in;
    for (size_t i = 0; i < count; i += quant->elements, block += quant->bytes)
        types[type].unpack(block, out + i);
}
