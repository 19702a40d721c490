// Sorts short columns, one an invocation, without barriers: the rank of a value is the number of values that stand
// before it, so sorted[rank] = x and permutation[rank] = row. Quadratic in the rows, but a tile of 16 x 16
// comparisons lives in registers, and loads and stores (which cost more than arithmetic on CPU drivers) stay 3 a
// value up to 16 rows.
//
//     x (rows, columns), x_stride apart -> sorted, permutation (rows, columns), stride apart; ascending, stable
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/sort_key.glsl"

#define TILE 16

VKS_BUF_IN(0, uint, x);
VKS_BUF(1, uint, sorted_);
VKS_BUF(2, uint, permutation);
VKS_BUF(3, uint, flag);
VKS_PUSH(4, sort);

void main()
{
    const uint c = vks_item();
    if (c >= p.cols)
        return;
    bool nan = false;
    for (uint i0 = 0; i0 < p.rows; i0 += TILE) {
        uint a[TILE], rank[TILE];
        [[unroll]] for (int i = 0; i < TILE; i++) {
            a[i] = SORT_PAD;
            rank[i] = 0;
            if (i0 + i < p.rows) {
                const uint bits = VKS_AT(0, x, (i0 + i) * p.x_stride + c);
                nan = nan || (bits & 0x7fffffffu) > 0x7f800000u;
                a[i] = sort_key(bits);
            }
        }
        for (uint j0 = 0; j0 < p.rows; j0 += TILE) {
            uint b[TILE];
            [[unroll]] for (int j = 0; j < TILE; j++) {
                b[j] = a[j];
                if (j0 != i0)
                    b[j] = j0 + j < p.rows ? sort_key(VKS_AT(0, x, (j0 + j) * p.x_stride + c)) : SORT_PAD;
            }
            // b stands before a if it is smaller, or equal and from an earlier row: b < a + 1.
            const uint before = j0 <= i0 ? 1 : 0, after = j0 < i0 ? 1 : 0;
            [[unroll]] for (int i = 0; i < TILE; i++) {
                const uint low = a[i] + after, high = a[i] + before;
                [[unroll]] for (int j = 0; j < TILE; j++)
                    rank[i] += b[j] < (j < i ? high : low) ? 1 : 0;
            }
        }
        [[unroll]] for (int i = 0; i < TILE; i++)
            if (i0 + i < p.rows) {
                const uint at = rank[i] * p.stride + c;
                VKS_AT(1, sorted_, at) = sort_bits(a[i]);
                VKS_AT(2, permutation, at) = i0 + i;
            }
    }
    if (nan)
        VKS_AT(3, flag, 0) = 1;
}
