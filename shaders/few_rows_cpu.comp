// Products of few rows on CPU drivers: equation in include/few_rows.glsl. Compiled for LANES = 8 and 16.
//
// A lane makes EACH columns of y, and reads its own rows of W. x passes through the lanes: each loads its share of 32
// elements of a row, and hands them round by subgroupBroadcast. A chain of fma() has a latency of four of them, which
// EACH chains hide.
#version 450
#extension GL_GOOGLE_include_directive : enable
#define VKS_LOCAL LANES
#include "include/few_rows.glsl"
#define VKS_TAKEN true
#include "include/blocks.glsl"
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require

#ifndef EACH
#define EACH 2
#endif
#define COLS (LANES * EACH)
#define EACH_QUAD(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

// Elements 4 q to 4 q + 3 of 32, of which each lane holds 32 / LANES.
#if LANES == 8
#define SPREAD(at, q) subgroupBroadcast(share[at], q)
#else
#define SPREAD(at, q) vec4(subgroupBroadcast(share[at].xy, 2 * q), subgroupBroadcast(share[at].xy, 2 * q + 1))
#endif

vec4 share[8 * 4];  // of each row in each 32 of a stretch
float acc[8 * EACH];
uint row_x[8];          // first elements of the rows of x

// x[k .. k + 31] of every row.
void load_x(const uint part, uint k)
{
    const uint from = k + 32 / LANES * gl_SubgroupInvocationID;
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
#if LANES == 16
        share[8 * part + i].xy = load_a2(row_x[i] + from);
#else
        share[8 * part + i] = load_a4(row_x[i] + from);
#endif
    }
}

// y += x[k .. k + 31] w in the lane's column r.
void add(const uint r, const uint part, vec4 w[8])
{
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        float t = acc[8 * r + i];
#define DO(q) { \
        const vec4 x = SPREAD(8 * part + i, q); \
        [[unroll]] for (int j = 0; j < 4; j++) \
            t = fma(x[j], w[q][j], t); }
        EACH_QUAD(DO)
#undef DO
        acc[8 * r + i] = t;
    }
}

// Whole stretches of blocks.
void blocks(uint col_b[EACH])
{
    const uint parts = VKS_STRETCH / 32;
    for (uint n = 0; n < p.k / VKS_STRETCH; n++) {
        [[unroll]] for (uint part = 0; part < parts; part++)
            load_x(part, VKS_STRETCH * n + 32 * part);
        vks_locate(n);
        [[unroll]] for (uint r = 0; r < EACH; r++) {
            vks_packed_row = col_b[r];
            vks_take();
            [[unroll]] for (uint part = 0; part < parts; part++) {
                vec4 w[8];
                [[unroll]] for (uint q = 0; q < 8; q++)
                    w[q] = vks_unpack4(32 * part + 4 * q);
                add(r, part, w);
            }
        }
    }
}

void numbers(uint col_b[EACH])
{
    const uint whole = p.k & ~31u;
    for (uint k = 0; k < whole; k += 32) {
        load_x(0, k);
        [[unroll]] for (uint r = 0; r < EACH; r++) {
            vec4 w[8];
            [[unroll]] for (uint q = 0; q < 8; q++) {
                const vec4 v = load_b4(col_b[r] + k + 4 * q);
                w[q] = SCALED(v);
            }
            add(r, 0, w);
        }
    }
    for (uint k = whole; k < p.k; k++)
        [[unroll]] for (uint r = 0; r < EACH; r++) {
            const float v = load_b(col_b[r] + k), w = SCALED(v);
            [[unroll]] for (uint i = 0; i < ROWS; i++)
                acc[8 * r + i] = fma(load_a(row_x[i] + k), w, acc[8 * r + i]);
        }
}

void main()
{
    const uint row = tile_row() * ROWS, col = tile_col(COLS) * COLS + gl_SubgroupInvocationID;
    const uvec3 base = batch(COLS);
    uint col_b[EACH];
    if (row >= p.m)
        return;
    [[unroll]] for (uint i = 0; i < ROWS; i++)
        row_x[i] = base.x + min(row + i, p.m - 1) * p.lda;
    [[unroll]] for (uint r = 0; r < EACH; r++) {
        const uint j = min(col + r * LANES, p.n - 1);
        col_b[r] = base.y + j * p.ldb;
        const float from = STARTS_BIASED ? VKS_AT(3, bias, j) : 0.0;
        [[unroll]] for (uint i = 0; i < ROWS; i++)
            acc[8 * r + i] = (FLAGS & START_C) == 0 ? from
                                                    : VKS_AT(2, c, base.z + row_of_c(min(row + i, p.m - 1)) + j);
    }
    // All of the lane's rows: without, a matrix that comes from memory takes 1.3 to 1.8 times as long.
    uint touched = 0;
    [[unroll]] for (uint r = 0; r < EACH; r++) {
        const bool words = BLOCKS || DTYPE == VKS_DTYPE_F32;
        VKS_TOUCH_RUN(touched, 1, words ? col_b[r] : col_b[r] >> 1, BLOCKS ? p.ldb : words ? p.k : p.k >> 1);
    }
    if (BLOCKS)
        blocks(col_b);
    else
        numbers(col_b);
    [[unroll]] for (uint r = 0; r < EACH; r++)
        [[unroll]] for (uint i = 0; i < ROWS; i++)
            if (row + i < p.m && col + r * LANES < p.n)
                VKS_AT(2, c, base.z + row_of_c(row + i) + col + r * LANES) =
                    result(acc[8 * r + i], base.z + row_of_c(row + i) + col + r * LANES);
    VKS_TOUCHED(2, c, touched);
}
