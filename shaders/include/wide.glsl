// Four neighbouring floats of a buffer at once: an array of vks_quad, read by vks_of_quad() and written by vks_to_quad().
//
// Drivers that run on a CPU split a load into one of each lane and component, so there 64-bit integers as the stored
// type halve the loads. The build makes every kernel of the `wide` list in shaders/meson.build twice, without and with
// VKS_WIDE; runtime/gpu/pipeline.c chooses, and the bits are the same.
#ifndef VKS_WIDE_GLSL
#define VKS_WIDE_GLSL

#ifdef VKS_WIDE
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#define vks_quad u64vec2
#define vks_pair uint64_t

vec4 vks_of_quad(u64vec2 v) { return uintBitsToFloat(uvec4(unpackUint2x32(v.x), unpackUint2x32(v.y))); }
uvec2 vks_of_pair(uint64_t v) { return unpackUint2x32(v); }

u64vec2 vks_to_quad(vec4 v)
{
    return u64vec2(packUint2x32(floatBitsToUint(v.xy)), packUint2x32(floatBitsToUint(v.zw)));
}
#else
#define vks_quad vec4
#define vks_pair uvec2

vec4 vks_of_quad(vec4 v) { return v; }
uvec2 vks_of_pair(uvec2 v) { return v; }
vec4 vks_to_quad(vec4 v) { return v; }
#endif

#endif
