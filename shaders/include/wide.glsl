// Four neighbouring floats of a buffer at once: an array of vks_quad, read by vks_of_quad(), written by
// vks_to_quad().
//
// Drivers that run on a CPU split a load into one of each lane and component, so there 64-bit integers as the stored
// type halve the loads (VKS_WIDE, see vks.glsl).
#ifndef VKS_WIDE_GLSL
#define VKS_WIDE_GLSL

#ifdef VKS_WIDE
#define vks_quad u64vec2
#define vks_pair uint64_t

uvec2 vks_bits_of_pair(uint64_t v) { return unpackUint2x32(v); }
uint64_t vks_bits_to_pair(uvec2 v) { return packUint2x32(v); }
uvec4 vks_bits_of_quad(u64vec2 v) { return uvec4(unpackUint2x32(v.x), unpackUint2x32(v.y)); }
u64vec2 vks_bits_to_quad(uvec4 v) { return u64vec2(packUint2x32(v.xy), packUint2x32(v.zw)); }
#else
#define vks_quad uvec4
#define vks_pair uvec2

uvec2 vks_bits_of_pair(uvec2 v) { return v; }
uvec2 vks_bits_to_pair(uvec2 v) { return v; }
uvec4 vks_bits_of_quad(uvec4 v) { return v; }
uvec4 vks_bits_to_quad(uvec4 v) { return v; }
#endif

vec4 vks_of_quad(vks_quad v) { return uintBitsToFloat(vks_bits_of_quad(v)); }
vks_quad vks_to_quad(vec4 v) { return vks_bits_to_quad(floatBitsToUint(v)); }

// Declares a buffer for both kinds of access: one element, VKS_AT, or four of them from a place that is a multiple of
// four, VKS_LOAD4 and VKS_STORE4. Kernels choose by a specialisation constant, QUADS. Two elements, VKS_LOAD2 and
// VKS_STORE2, need VKS_BUF_PAIRS besides; four of two bytes each, VKS_HALVES(slot, name, i), VKS_BUF_HALVES_IN.
// VKS_BITS4 loads four elements as bits, VKS_LOAD4_HALVES four fp16. VKS_LOAD4 is for operands that are declared with
// _IN, or followed by VKS_TEXELS where the result may lie in their place (each element is then loaded once, before its
// own store); what a kernel itself wrote it loads by VKS_RELOAD4.
#ifdef VKS_TEXEL
#define VKS_TEXELS(slot, name) ; layout(set = 0, binding = 8 + slot) uniform samplerBuffer name##_texels
#else
#define VKS_TEXELS(slot, name)
#endif
#ifdef VKS_ADDRESS
#define VKS_REF4(qualifier, stored, name) \
    layout(buffer_reference, std430, buffer_reference_align = 8) qualifier buffer name { stored v; }
#define VKS_BUF_QUADS(slot, type, name) VKS_BUF(slot, type, name); VKS_REF4(, vks_quad, Quads_##name)
#define VKS_BUF_QUADS_IN(slot, type, name) VKS_BUF_IN(slot, type, name); VKS_REF4(readonly, vks_quad, Quads_##name)
#define VKS_BUF_PAIRS(slot, name) VKS_REF4(, vks_pair, Pairs_##name)
#define VKS_BUF_HALVES_IN(slot, name) VKS_REF4(readonly, vks_pair, Halves_##name)
#define VKS_QUAD(slot, name, i) Quads_##name(off[slot] + (uint64_t(i) << 2)).v
#define VKS_PAIR(slot, name, i) Pairs_##name(off[slot] + (uint64_t(i) << 2)).v
#define VKS_HALVES(slot, name, i) Halves_##name(off[slot] + (uint64_t(i) << 1)).v
#else
#define VKS_BUF_QUADS(slot, type, name) \
    VKS_BUF(slot, type, name); \
    layout(std430, set = 0, binding = slot) buffer Quads_##name { vks_quad name##_quads[]; }
#define VKS_BUF_QUADS_IN(slot, type, name) \
    VKS_BUF_IN(slot, type, name); \
    layout(std430, set = 0, binding = slot) readonly buffer Quads_##name { vks_quad name##_quads[]; } \
    VKS_TEXELS(slot, name)
#define VKS_BUF_PAIRS(slot, name) \
    layout(std430, set = 0, binding = slot) buffer Pairs_##name { vks_pair name##_pairs[]; }
#define VKS_BUF_HALVES_IN(slot, name) \
    layout(std430, set = 0, binding = slot) readonly buffer Halves_##name { vks_pair name##_halves[]; }
#define VKS_QUAD(slot, name, i) name##_quads[(off[slot] + (i)) >> 2]
#define VKS_PAIR(slot, name, i) name##_pairs[(off[slot] + (i)) >> 1]
#define VKS_HALVES(slot, name, i) name##_halves[(off[slot] + (i)) >> 2]
#endif
#define VKS_RELOAD4(slot, name, i) vks_of_quad(VKS_QUAD(slot, name, i))
#ifdef VKS_TEXEL
#define VKS_LOAD4(slot, name, i) texelFetch(name##_texels, int((i) >> 2))
#define VKS_BITS4(slot, name, i) floatBitsToUint(VKS_LOAD4(slot, name, i))
#else
#define VKS_LOAD4(slot, name, i) VKS_RELOAD4(slot, name, i)
#define VKS_BITS4(slot, name, i) vks_bits_of_quad(VKS_QUAD(slot, name, i))
#endif
#define VKS_STORE4(slot, name, i, v) VKS_QUAD(slot, name, i) = vks_to_quad(v)

#define VKS_LOAD2(slot, name, i) uintBitsToFloat(vks_bits_of_pair(VKS_PAIR(slot, name, i)))
#define VKS_STORE2(slot, name, i, v) VKS_PAIR(slot, name, i) = vks_bits_to_pair(floatBitsToUint(v))

vec4 vks_of_halves(vks_pair v)
{
    const uvec2 w = vks_bits_of_pair(v);
    return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
}
#ifdef VKS_TEXEL
#define VKS_LOAD4_HALVES(slot, name, i) VKS_LOAD4(slot, name, i)
#else
#define VKS_LOAD4_HALVES(slot, name, i) vks_of_halves(VKS_HALVES(slot, name, i))
#endif

// Four elements of a type known at run time (include/half.glsl); slots with VKS_BUF_HALVES_IN.
vec4 vks_of_bf16(vks_pair v)
{
    const uvec2 w = vks_bits_of_pair(v);
    return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
}
#define VKS_LOAD4_AS(slot, name, dtype, i) \
    ((dtype) == VKS_DTYPE_F32 ? VKS_LOAD4(slot, name, i) \
     : (dtype) == VKS_DTYPE_F16 ? VKS_LOAD4_HALVES(slot, name, i) : vks_of_bf16(VKS_HALVES(slot, name, i)))

// A function of one float on four.
#define VKS_EACH4(f, v) vec4(f((v).x), f((v).y), f((v).z), f((v).w))

#endif
