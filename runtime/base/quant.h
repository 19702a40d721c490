// Storage types of weights as they stand in GGUF files, and their unpacking to fp32.
//
// A quantised row is cut into blocks of 32 or 256 elements, each with scales of its own. Types without blocks count
// as blocks of one element.
#ifndef VKS_BASE_QUANT_H
#define VKS_BASE_QUANT_H

#include <stddef.h>
#include <stdint.h>

// The numbers are those of the files.
enum vks_quant_type {
    VKS_QUANT_F32 = 0,
    VKS_QUANT_F16 = 1,
    VKS_QUANT_Q4_0 = 2,
    VKS_QUANT_Q4_1 = 3,
    VKS_QUANT_Q5_0 = 6,
    VKS_QUANT_Q5_1 = 7,
    VKS_QUANT_Q8_0 = 8,
    VKS_QUANT_Q2_K = 10,
    VKS_QUANT_Q3_K = 11,
    VKS_QUANT_Q4_K = 12,
    VKS_QUANT_Q5_K = 13,
    VKS_QUANT_Q6_K = 14,
    VKS_QUANT_BF16 = 30,
};

struct vks_quant {
    const char *name;          // "Q4_K"
    uint32_t elements, bytes;  // of a block
};

// NULL for any number that is not in the enum.
const struct vks_quant *vks_quant(uint32_t type);

// The reference that every other unpacking must equal bit for bit (as the gguf Python package does; only which NaN a
// NaN is may differ): in fp32, each product and each difference rounded on its own.
// `in` may be unaligned; `count` is the number of elements, a multiple of the block's.
void vks_quant_unpack(enum vks_quant_type type, const void *in, size_t count, float *out);

#endif
