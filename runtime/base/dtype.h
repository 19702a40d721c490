// Element types of tensors, in files and on the device.
#ifndef VKS_BASE_DTYPE_H
#define VKS_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

enum vks_dtype {
    VKS_F32,
    VKS_F16,
    VKS_BF16,
    VKS_I32,
};

// Bytes of one element.
static inline size_t vks_dtype_size(enum vks_dtype type)
{
    return type == VKS_F16 || type == VKS_BF16 ? 2 : 4;
}

// "F32", "F16", "BF16", "I32": the spelling of safetensors.
static inline const char *vks_dtype_name(enum vks_dtype type)
{
    static const char *const names[] = {"F32", "F16", "BF16", "I32"};
    return names[type];
}

#endif
