#include "base/half.h"

#include <string.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

uint16_t vks_f16_from_f32(float value)
{
    const uint32_t bits = bits_of(value);
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    if (magnitude >= 0x477ff000)  // 65520, half way to the step after 65504, rounds to infinity
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x33000001)  // at most half of the smallest subnormal; the tie goes to even, which is 0
        return (uint16_t)sign;
    if (magnitude < 0x38800000) {  // subnormal: shift the full significand until its unit is 2^-24
        const uint32_t shift = 126 - (magnitude >> 23);
        const uint32_t full = (magnitude & 0x7fffff) | 0x800000;
        const uint32_t kept = full >> shift, rest = full & ((1u << shift) - 1), half = 1u << (shift - 1);
        return (uint16_t)(sign | (kept + (rest > half || (rest == half && (kept & 1)))));
    }
    const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((rounded >> 13) - (112u << 10)));
}

float vks_f32_from_f16(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 0x1f;
    uint32_t fraction = bits & 0x3ff;
    if (exponent == 0x1f)
        return float_of(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000u : 0));
    if (exponent)
        return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    if (!fraction)
        return float_of(sign);
    uint32_t shift = 0;
    for (; !(fraction & 0x400); shift++)
        fraction <<= 1;
    return float_of(sign | (113 - shift) << 23 | (fraction & 0x3ff) << 13);
}

uint16_t vks_bf16_from_f32(float value)
{
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float vks_f32_from_bf16(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

void vks_f32_from_f16_array(float *out, const void *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, (const char *)in + 2 * i, sizeof(bits));
        out[i] = vks_f32_from_f16(bits);
    }
}

void vks_f32_from_bf16_array(float *out, const void *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, (const char *)in + 2 * i, sizeof(bits));
        out[i] = vks_f32_from_bf16(bits);
    }
}

void vks_f16_from_f32_array(void *out, const float *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint16_t bits = vks_f16_from_f32(in[i]);
        memcpy((char *)out + 2 * i, &bits, sizeof(bits));
    }
}

void vks_bf16_from_f32_array(void *out, const float *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint16_t bits = vks_bf16_from_f32(in[i]);
        memcpy((char *)out + 2 * i, &bits, sizeof(bits));
    }
}
