// Products of few rows on graphics cards: equation in include/few_rows.glsl.
//
// 64 invocations make 16 columns of y. Together they load and unpack 64 k of their rows of W, neighbours side by
// side, into shared memory (6.25 KiB with x); then each runs the chain of one column and one row or two, while the
// next 64 k are on their way. One chain an element leaves invocations idle where rows are few: the weights are what
// takes the time.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/few_rows.glsl"
#define VKS_TAKEN false
#include "include/blocks.glsl"

#define COLS 16
#define DEEP 64
#define QUADS (DEEP / 4)

shared vec4 panel_w[COLS][QUADS + 1];  // one more, so that columns lie in different banks
shared vec4 panel_x[8][QUADS];

vec4 next_w[4], next_x[2];

// Quad k of a row of W, which begins at `from`; zeros beyond its end.
vec4 fetch_w(uint from, uint k)
{
    if (k >= p.k)
        return vec4(0);
    if (BLOCKS) {
        vks_packed_row = from;
        vks_locate(k / VKS_STRETCH);
        return vks_unpack4(k % VKS_STRETCH);
    }
    const uint last = p.k - 1;
    const vec4 v = k + 3 < p.k ? load_b4(from + k)
                               : vec4(load_b(from + k), load_b(from + min(k + 1, last)),
                                      load_b(from + min(k + 2, last)), load_b(from + last));
    return SCALED(v);
}

vec4 fetch_x(uint from, uint k)
{
    if (k >= p.k)
        return vec4(0);
    const uint last = p.k - 1;
    return k + 3 < p.k ? load_a4(from + k)
                       : vec4(load_a(from + k), load_a(from + min(k + 1, last)), load_a(from + min(k + 2, last)),
                              load_a(from + last));
}

// The invocation's share of k0 .. k0 + 63.
void fetch(uvec3 base, uint row, uint col, uint k0)
{
    const uint t = gl_LocalInvocationID.x, q = t % QUADS;
    [[unroll]] for (uint e = 0; e < 4; e++)
        next_w[e] = fetch_w(base.y + min(col + 4 * e + t / QUADS, p.n - 1) * p.ldb, k0 + 4 * q);
    [[unroll]] for (uint e = 0; e < 2; e++)
        if (4 * e < ROWS)
            next_x[e] = fetch_x(base.x + min(row + 4 * e + t / QUADS, p.m - 1) * p.lda, k0 + 4 * q);
}

// What stands in the panels: `deep` k.
void products(inout float acc[2], uint my_row, uint my_col, uint deep)
{
    for (uint k = 0; k < deep; k += 4) {
        const vec4 w = panel_w[my_col][k / 4];
        [[unroll]] for (uint e = 0; e < 2; e++) {
            if (4 * e >= ROWS)
                continue;
            const vec4 x = panel_x[my_row + 4 * e][k / 4];
            [[unroll]] for (uint i = 0; i < 4; i++)
                acc[e] = k + i < deep ? fma(x[i], w[i], acc[e]) : acc[e];
        }
    }
}

void main()
{
    const uint t = gl_LocalInvocationID.x, my_col = t % COLS, my_row = t / COLS;
    const uint row = tile_row() * ROWS, col = tile_col(COLS) * COLS, j = min(col + my_col, p.n - 1);
    const uvec3 base = batch(COLS);
    if (row >= p.m)
        return;
    float acc[2];
    [[unroll]] for (uint e = 0; e < 2; e++) {
        acc[e] = STARTS_BIASED ? VKS_AT(3, bias, j) : 0.0;
        if ((FLAGS & START_C) != 0)
            acc[e] = VKS_AT(2, c, base.z + row_of_c(min(row + my_row + 4 * e, p.m - 1)) + j);
    }
    for (uint k0 = 0; k0 < p.k + DEEP; k0 += DEEP) {
        fetch(base, row, col, k0);
        if (k0 > 0 && my_row < ROWS)
            products(acc, my_row, my_col, min(DEEP, p.k + DEEP - k0));
        barrier();
        [[unroll]] for (uint e = 0; e < 4; e++)
            panel_w[4 * e + t / QUADS][t % QUADS] = next_w[e];
        [[unroll]] for (uint e = 0; e < 2; e++)
            if (4 * e < ROWS)
                panel_x[4 * e + t / QUADS][t % QUADS] = next_x[e];
        barrier();
    }
    [[unroll]] for (uint e = 0; e < 2; e++)
        if (my_row + 4 * e < ROWS && row + my_row + 4 * e < p.m && col + my_col < p.n)
            VKS_AT(2, c, base.z + row_of_c(row + my_row + 4 * e) + j) =
                result(acc[e], base.z + row_of_c(row + my_row + 4 * e) + j);
}
