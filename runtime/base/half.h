// Half floats: exact conversions, rounding to nearest, ties to even. NaN stays NaN (quiet, sign kept).
#ifndef VKS_BASE_HALF_H
#define VKS_BASE_HALF_H

#include <stddef.h>
#include <stdint.h>

uint16_t vks_f16_from_f32(float value);   // overflow gives infinity; subnormals are kept
float vks_f32_from_f16(uint16_t bits);
uint16_t vks_bf16_from_f32(float value);
float vks_f32_from_bf16(uint16_t bits);

// Arrays of `count` elements; the 16-bit side may be unaligned (it usually lies in a mapped file).
void vks_f32_from_f16_array(float *out, const void *in, size_t count);
void vks_f32_from_bf16_array(float *out, const void *in, size_t count);
void vks_f16_from_f32_array(void *out, const float *in, size_t count);
void vks_bf16_from_f32_array(void *out, const float *in, size_t count);

#endif
