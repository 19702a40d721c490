// Affine transport map: z' = (1 + s (w - 1)) z + s b per channel, s a word of the step buffer; s = 0 gives z's bits.
//
//     z (B, T, C) as rows of C channels, w (C), b (C) -> y like z
//     dz = (1 + s (w - 1)) dy       the same kernel on dy with p.bias = 0
//
// LAST: only the last unmasked row of each sample is mapped, the others are copied.
// RANGE: only values from range[c][0] to range[c][1], both included, are mapped (range (C, 2)); no derivative here.
// span (B, 2): last unmasked row, count of unmasked rows (see pool_span.comp).
// Source: Rodriguez et al., End-to-end learning of sparse interventions (LinEAS), section 3; METHODS.md 1.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint LAST = 0;
layout(constant_id = 2) const uint QUADS = 0;  // 1: an item is four channels
layout(constant_id = 3) const uint RANGE = 0;

VKS_BUF_QUADS_IN(0, uint, z);
VKS_BUF_QUADS_IN(1, float, w);
VKS_BUF_QUADS_IN(2, float, b);
VKS_BUF_IN(3, float, stp);
VKS_BUF_IN(4, uint, span);
VKS_BUF_QUADS(5, uint, y);
VKS_BUF_QUADS_IN(6, float, range);
VKS_PUSH(7, affine);

// One channel, or four of them, of a row.
// `precise`: the bits of site_map.comp.
uint map(uint bits, float gain, float offset, float low, float high)
{
    const float z = uintBitsToFloat(bits);
    const bool outside = RANGE != 0 && !(z >= low && z <= high);
    precise const float mapped = fma(gain, z, offset);
    return outside ? bits : floatBitsToUint(mapped);
}

uvec4 map(uvec4 bits, vec4 gain, vec4 offset, vec4 low, vec4 high)
{
    const vec4 z = uintBitsToFloat(bits);
    precise const vec4 value = fma(gain, z, offset);
    const uvec4 mapped = floatBitsToUint(value);
    if (RANGE == 0)
        return mapped;
    return uvec4(z.x >= low.x && z.x <= high.x ? mapped.x : bits.x, z.y >= low.y && z.y <= high.y ? mapped.y : bits.y,
                 z.z >= low.z && z.z <= high.z ? mapped.z : bits.z,
                 z.w >= low.w && z.w <= high.w ? mapped.w : bits.w);
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1, columns = p.cols / width;
    const uint item = vks_item(), c = item % columns * width, first = item / columns * p.per_item;
    if (first >= p.rows)
        return;
    const float s = VKS_AT(3, stp, p.strength);
    precise vec4 gain = QUADS != 0 ? VKS_LOAD4(1, w, c) : vec4(VKS_AT(1, w, c));
    precise vec4 offset = vec4(0.0);
    gain = fma(vec4(s), gain - 1.0, vec4(1.0));
    if (p.bias != 0)
        offset = s * (QUADS != 0 ? VKS_LOAD4(2, b, c) : vec4(VKS_AT(2, b, c)));
    vec4 low = vec4(0.0), high = vec4(0.0);
    if (RANGE != 0 && QUADS != 0) {
        const vec4 first_two = VKS_LOAD4(6, range, 2 * c), last_two = VKS_LOAD4(6, range, 2 * c + 4);
        low = vec4(first_two.xz, last_two.xz);
        high = vec4(first_two.yw, last_two.yw);
    } else if (RANGE != 0) {
        low.x = VKS_AT(6, range, 2 * c);
        high.x = VKS_AT(6, range, 2 * c + 1);
    }
    const uint end = min(first + p.per_item, p.rows);
    uint touched = 0;
    if (p.per_item > 1) {
        VKS_TOUCH_ROWS(touched, 0, first * p.cols + c, p.cols, end - first, width);
        VKS_TOUCH_ROWS(touched, 5, first * p.cols + c, p.cols, end - first, width);
    }
    for (uint r = first; r < end; r++) {
        const uint at = r * p.cols + c;
        bool mapped = s != 0.0;
        if (LAST != 0) {
            const uint row = p.first + r, sample_ = row / p.sample_rows;
            mapped = mapped && row % p.sample_rows ==
                                   (p.spans != 0 ? VKS_AT(4, span, 2 * sample_) : p.sample_rows - 1);
        }
        if (QUADS != 0) {
            const uvec4 bits = VKS_BITS4(0, z, at);
            VKS_QUAD(5, y, at) = vks_bits_to_quad(mapped ? map(bits, gain, offset, low, high) : bits);
        } else {
            const uint bits = VKS_AT(0, z, at);
            VKS_AT(5, y, at) = mapped ? map(bits, gain.x, offset.x, low.x, high.x) : bits;
        }
    }
    VKS_TOUCHED(5, y, touched);
}
