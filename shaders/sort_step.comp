// One step of the bitonic sort over whole columns: pairs of rows (lo, hi) are put in order. Pair q belongs to block
// q / j of 2 j rows; lo = t, hi = j + t or, in the first step of a merge, 2 j - 1 - t, with t = q % j.
//
// The lower and the upper rows are bound apart, from rows p.lo and p.hi on: a long column fits bindings of any
// length.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/sort_key.glsl"

VKS_BUF(0, uint, lo_value);
VKS_BUF(1, uint, lo_row);
VKS_BUF(2, uint, hi_value);
VKS_BUF(3, uint, hi_row);
VKS_PUSH(4, sort_step);

void main()
{
    const uint item = vks_item(), c = item % p.cols;
    if (item / p.cols >= p.pairs)
        return;
    const uint q = p.first + item / p.cols, t = q % p.distance, base = (q - t) * 2;
    const uint a = base + t, b = base + (p.flip != 0 ? 2 * p.distance - 1 - t : p.distance + t);
    if (b >= p.rows)
        return;
    const uint at = (a - p.lo) * p.stride + c, bt = (b - p.hi) * p.stride + c;
    const uint va = VKS_AT(0, lo_value, at), vb = VKS_AT(2, hi_value, bt);
    const uint ra = VKS_AT(1, lo_row, at), rb = VKS_AT(3, hi_row, bt);
    const uint ka = sort_key(va), kb = sort_key(vb);
    if (ka > kb || (ka == kb && ra > rb)) {
        VKS_AT(0, lo_value, at) = vb;
        VKS_AT(2, hi_value, bt) = va;
        VKS_AT(1, lo_row, at) = rb;
        VKS_AT(3, hi_row, bt) = ra;
    }
}
