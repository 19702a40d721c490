// Numbers as files hold them: little endian, at any address.
#ifndef VKS_BASE_BYTES_H
#define VKS_BASE_BYTES_H

#include <stdint.h>

// A number of up to 8 bytes.
static inline uint64_t vks_le(const unsigned char *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

#endif
