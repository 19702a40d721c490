// Elements of two bytes in buffers of words: the floor has no 16-bit storage.
#ifndef VKS_HALF_GLSL
#define VKS_HALF_GLSL

#define VKS_DTYPE_F32 0u   // enum vks_dtype of runtime/base/dtype.h
#define VKS_DTYPE_F16 1u
#define VKS_DTYPE_BF16 2u

// Word that holds element i.
uint vks_word_of(uint dtype, uint i) { return dtype == VKS_DTYPE_F32 ? i : i >> 1; }

// Element i out of its word. Exact, denormal halves included: they are normal in fp32.
float vks_element(uint dtype, uint i, uint word)
{
    if (dtype == VKS_DTYPE_F32)
        return uintBitsToFloat(word);
    const uint bits = (i & 1u) != 0 ? word >> 16 : word & 0xffffu;
    if (dtype == VKS_DTYPE_BF16)
        return uintBitsToFloat(bits << 16);
    return unpackHalf2x16(bits).x;
}

// The half nearest to v, ties to even, as the host rounds (runtime/base/half.c), whatever the driver's packHalf2x16
// does; finite numbers stay finite.
uint vks_half_of(float v)
{
    const uint bits = floatBitsToUint(v), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size >= 0x7f800000u)
        return sign | (size > 0x7f800000u ? 0x7e00u : 0x7c00u);
    if (size >= 0x477ff000u)
        return sign | 0x7bffu;
    if (size >= 0x38800000u)
        return sign | (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;
    precise const float moved = uintBitsToFloat(size) + 0.5;  // whose last bit is that of a denormal half
    return sign | (floatBitsToUint(moved) - 0x3f000000u);
}

uint vks_pack_halves(vec2 v) { return vks_half_of(v.x) | vks_half_of(v.y) << 16; }

// Element i, of a type known at run time, of a buffer of words.
#ifdef VKS_ADDRESS
uint64_t vks_element_address(uint64_t base, uint dtype, uint i)
{
    return base + (uint64_t(i) << (dtype == VKS_DTYPE_F32 ? 2 : 1));
}
#define VKS_ELEMENT(slot, name, dtype, i) \
    vks_element(dtype, uint(vks_element_address(off[slot], dtype, i)) >> 1, \
                Ref_##name(vks_element_address(off[slot], dtype, i) & ~uint64_t(3)).v)
// The word of elements i and i + 1, of two bytes each; i even.
#define VKS_WORD_OF_HALVES(slot, name, i) Ref_##name(off[slot] + (uint64_t(i) << 1)).v
#else
#define VKS_WORD_OF_HALVES(slot, name, i) name[(off[slot] + (i)) >> 1]
#define VKS_ELEMENT(slot, name, dtype, i) \
    vks_element(dtype, off[slot] + (i), name[vks_word_of(dtype, off[slot] + (i))])
#endif

#endif
