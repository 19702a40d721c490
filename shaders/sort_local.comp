// Bitonic sort of chunks of CHUNK rows of a column in shared memory, a workgroup a chunk; with MERGE only the last
// merge (distances CHUNK / 2 to 1) of chunks that sort_step.comp has already parted.
//
// All comparisons point the same way (the first of each merge is mirrored), so rows beyond the end count as larger
// than everything without ever being touched. Keys and rows are compared together: the order is total, hence stable.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/sort_key.glsl"

#define CHUNK 1024
layout(constant_id = 1) const uint MERGE = 0;

VKS_BUF(0, uint, value);
VKS_BUF(1, uint, permutation);
VKS_PUSH(2, sort);

shared uint keys[CHUNK];
shared uint rows[CHUNK];

void exchange(uint a, uint b)
{
    const uint ka = keys[a], kb = keys[b], ra = rows[a], rb = rows[b];
    if (ka > kb || (ka == kb && ra > rb)) {
        keys[a] = kb;
        keys[b] = ka;
        rows[a] = rb;
        rows[b] = ra;
    }
}

void main()
{
    const uint chunk = vks_group() / p.cols, c = vks_group() % p.cols, lane = gl_LocalInvocationID.x;
    if (chunk * CHUNK >= p.rows)
        return;  // the whole workgroup
    for (uint i = lane; i < CHUNK; i += gl_WorkGroupSize.x) {
        const uint r = chunk * CHUNK + i;
        keys[i] = SORT_PAD;
        rows[i] = 0xffffffffu;
        if (r < p.rows) {
            keys[i] = sort_key(VKS_AT(0, value, r * p.stride + c));
            rows[i] = VKS_AT(1, permutation, r * p.stride + c);
        }
    }
    barrier();
    for (uint k = MERGE != 0 ? CHUNK : 2; k <= CHUNK; k *= 2) {
        for (uint j = k / 2; j > 0; j /= 2) {
            for (uint q = lane; q < CHUNK / 2; q += gl_WorkGroupSize.x) {
                const uint t = q % j, base = (q - t) * 2;
                const bool mirror = MERGE == 0 && j == k / 2;
                exchange(base + t, mirror ? base + 2 * j - 1 - t : base + j + t);
            }
            barrier();
        }
    }
    for (uint i = lane; i < CHUNK; i += gl_WorkGroupSize.x) {
        const uint r = chunk * CHUNK + i;
        if (r < p.rows) {
            VKS_AT(0, value, r * p.stride + c) = sort_bits(keys[i]);
            VKS_AT(1, permutation, r * p.stride + c) = rows[i];
        }
    }
}
