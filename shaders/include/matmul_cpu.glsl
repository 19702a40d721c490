// The matmul family on drivers that run on a CPU: LANES lanes of one subgroup make (LANES GROUPS) rows and STRIPS
// times (WIDTH LANES) columns of C, WIDTH 2 or 4.
//
// There, a load of a lane from a buffer costs about ten instructions and a branch, while a product costs two, and
// code beyond the instruction cache costs more than either. So each lane loads 16 bytes at a time: of B, WIDTH
// columns of its own; of A, four k of a row of its own, which it hands to all lanes by subgroupBroadcast with literal
// lane numbers (ALIKE: all lanes load the row instead). The accumulators (WIDTH STRIPS LANES GROUPS floats a lane) may
// spill: that is cheap next to the loads.
//
// Ladder, 384 x 384 x 512 NN, one core, lavapipe Mesa 25.0 / 22.3, GFLOP/s (OpenBLAS 124):
//   one column a lane, A read by every lane, 16 rows                              1.1 / 1.4
//   A at addresses that the driver can prove uniform (through push constants)     13 / 4
//   A through subgroupBroadcast, scalar loads, 16 rows x 16 columns, k by 8       13 / 6
//   the same, 32 x 32: the loop no longer fits the instruction cache              10 / 5
//   16-byte loads, 8 rows x 32 columns, k by 4                                    27 / 11
//   16 rows                                                                       33 / 13
//   24 rows                                                                       36 / 14
//   16 rows x 64 columns                                                          25 / 16
//   64-bit integers as the loaded type, 24 rows (VKS_WIDE)    44 / 15
// Later, on a processor with AVX-512 (Zen 5), both cores, Mesa 25.0, device addresses (VKS_ADDRESS), 3 x 3
// convolutions of 64 and 128 channels (OpenBLAS 220 at 1024 cubed). A third of the time went into gathers, so large
// tiles win, as long as the loop stays below some 1,000 products; accumulators, whose loads and stores k by 8 saves,
// cost less:
//   16 lanes, 48 rows x 32 columns, k by 8      110 to 127
//   32 x 64, k by 8                             126 to 145
//   32 x 64, k by 4                             130 to 145
//   64 x 64, k by 4                             145 to 165
//   96 x 64, k by 4; 64 x 64, k by 8            100 to 118
//   96 x 32, k by 4 (where n is 32)             110, 48 x 32 by 8: 94
//   8 lanes: 32 x 32 by 8, 32 x 32 by 4, 64 x 32 by 4    69, 66, 69 over the whole model
// On Zen 3, which has no AVX-512, one core, 512 cubed, GFLOP/s (OpenBLAS 66); what other guests left of a core
// changed by a half within minutes:
//   Mesa 25.0, 24 x 32: loads from addresses, a branch and some six instructions each lane and word       13 to 18
//   the same by texels (VKS_TEXEL): 55 instructions for 16 bytes of each of eight lanes                   20 to 27
//   Mesa 22.3, 24 x 32: loads of 64 bits 3, texels 10; most of it now is subgroupBroadcast, a branch and a chain of
//   ten instructions there. So all lanes load the same texel of A (ALIKE), 16 x 32                        13 to 16
//   ALIKE, 16 x 64 (STRIPS = 2)                                                                           15 to 21
//   ALIKE on Mesa 25, where a texel is a call                                                             9 to 12
//   The loop itself, Mesa 25.0, one core, in the better of two states between which the machine changes, 1024 and 512
//   cubed: rows 4 KiB apart fall into one set of the caches, and a load of eight rows touches eight lines
//     NN, NT as they lie                  16 to 20 and 18 to 20, 21 to 23 and 23 to 24
//     A in panels                         29 and 23, 30 and 26
//     B too                               31, 31
// A of all groups loaded before the first product: products of small k gain a tenth. The next A loaded before the
// products of this one changed nothing.
#define VKS_LOCAL LANES
#include "matmul.glsl"
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require

#define ROWS (LANES * GROUPS)
#ifndef STRIPS
#define STRIPS 1
#endif
#define STRIP (LANES * WIDTH)
#define COLS (STRIP * STRIPS)
#if WIDTH == 4
#define COLUMNS vec4
#else
#define COLUMNS vec2
#endif
#if LANES == 4
#define EACH(DO) DO(0) DO(1) DO(2) DO(3)
#elif LANES == 8
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#else
#define EACH(DO) \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#endif

// Whether all lanes load the same texels of A, and hand on none but a tail's.
#if defined(MAY_BE_ALIKE) && defined(VKS_TEXEL)
#define ALL_ALIKE ((FLAGS & (ALIKE | VEC_A)) == (ALIKE | VEC_A))
#else
#define ALL_ALIKE false
#endif

COLUMNS acc[STRIPS][ROWS];
uint row_a[GROUPS];    // first element of the lane's row of A in each group of rows; TN: of the lane's four rows
#ifndef CONV
uint first_row_tn, base_a;
#endif
uint row_of[ROWS];         // ALL_ALIKE: of all rows; TN: of fours of them
#ifdef CONV
bool inside[GROUPS], inside_of[ROWS];
#endif
uint col_b[STRIPS][WIDTH]; // NT: first elements of the lane's rows of B; NN, TN: its columns

// Operands in panels (ops/panels.h): what all lanes load at once lies side by side, and what they load next behind it.
// Of A, LANES rows lie together, four k of one after four k of the other; of B, the columns of a strip, k after k, and
// p.ldb counts from strip to strip. Packed panels, as in BLIS (Van Zee and van de Geijn 2015, section 2).

// How far element k of a row of A lies behind the row's first, k a multiple of four.
uint at_k(uint k) { return (FLAGS & PANELS_A) != 0 ? k * LANES : k; }

// Elements of B from k to k + 1.
uint step_b() { return (FLAGS & PANELS_B) != 0 ? STRIP : p.ldb; }

#ifndef CONV
// Where a row of A begins.
uint at_row(uint row)
{
    return (FLAGS & PANELS_A) != 0 ? row / LANES * LANES * p.lda + 4 * (row % LANES) : row * p.lda;
}
#endif

// Row r of C += s w; s = A[k .. k + 3] in that row, w[][j] = row k + j of B in the lane's columns.
void multiply_row(const int r, vec4 s, COLUMNS w[STRIPS][4])
{
    [[unroll]] for (int i = 0; i < STRIPS; i++) {
        COLUMNS t = acc[i][r];
        [[unroll]] for (int j = 0; j < 4; j++)
            t = fma(COLUMNS(s[j]), w[i][j], t);
        acc[i][r] = t;
    }
}

// Rows g LANES ... of C += v w; v = A[k .. k + 3] in the lane's row.
void multiply(const int g, vec4 v, COLUMNS w[STRIPS][4])
{
#define DO(i) multiply_row(g * LANES + i, subgroupBroadcast(v, i), w);
    EACH(DO)
#undef DO
}

// All rows, where all lanes load alike.
void multiply_alike(uint k, COLUMNS w[STRIPS][4])
{
#ifndef CONV
    if (FORM == TN) {
        [[unroll]] for (int r = 0; r < ROWS; r += 4) {
            vec4 s[4];
            [[unroll]] for (int j = 0; j < 4; j++)
                s[j] = load_a4(row_of[r] + (k + j) * p.lda);
            [[unroll]] for (int i = 0; i < 4; i++)
                multiply_row(r + i, vec4(s[0][i], s[1][i], s[2][i], s[3][i]), w);
        }
        return;
    }
#endif
    [[unroll]] for (int r = 0; r < ROWS; r++) {
        const vec4 s = load_a4(row_of[r] + at_k(k));
#ifdef CONV
        multiply_row(r, inside_of[r] ? s : vec4(0), w);
#else
        multiply_row(r, s, w);
#endif
    }
}

#ifndef CONV
// The same where A is stored (k, m): lane l holds four rows, from g LANES + 4 (l mod (LANES / 4)) on, at
// k + l / (LANES / 4).
void multiply_tn(const int g, uint k, COLUMNS w[STRIPS][4])
{
    vec4 v;
    if ((FLAGS & VEC_A) != 0) {
        v = load_a4(row_a[g] + k * p.lda);
    } else {
        const uint at = base_a + (k + gl_SubgroupInvocationID / (LANES / 4)) * p.lda;
        const uint i = first_row_tn + g * LANES + 4 * (gl_SubgroupInvocationID % (LANES / 4)), last = p.m - 1;
        v = vec4(load_a(at + min(i, last)), load_a(at + min(i + 1, last)), load_a(at + min(i + 2, last)),
                 load_a(at + min(i + 3, last)));
    }
#define LANE_OF(i, j) (j * (LANES / 4) + i / 4)
#define DO(i) multiply_row(g * LANES + i, vec4(subgroupBroadcast(v[i % 4], LANE_OF(i, 0)), \
                                               subgroupBroadcast(v[i % 4], LANE_OF(i, 1)), \
                                               subgroupBroadcast(v[i % 4], LANE_OF(i, 2)), \
                                               subgroupBroadcast(v[i % 4], LANE_OF(i, 3))), w);
    EACH(DO)
#undef DO
}
#endif

// The same for a single k.
void multiply1(const int strip, const int g, float v, COLUMNS w)
{
#define DO(i) \
    acc[strip][g * LANES + i] = fma(COLUMNS(subgroupBroadcast(v, i)), w, acc[strip][g * LANES + i]);
    EACH(DO)
#undef DO
}

// The lane's columns, in a strip, of a row of B, which begins at element `at`.
COLUMNS load_row(const int strip, uint at)
{
    if (FORM != NT && (FLAGS & VEC_B) != 0) {
#if WIDTH == 4
        return load_b4(at + col_b[strip][0]);
#else
        return load_b2(at + col_b[strip][0]);
#endif
    }
    COLUMNS w;
    [[unroll]] for (int j = 0; j < WIDTH; j++)
        w[j] = load_b(at + col_b[strip][j]);
    return w;
}

// Rows k .. k + 3 of B in the lane's columns, scaled.
void load_w(const int strip, uint tap, uint k, out COLUMNS w[4])
{
    if (FORM == NT) {
        [[unroll]] for (int j = 0; j < WIDTH; j++) {
            const vec4 column = load_b4(tap + col_b[strip][j] + k);
            [[unroll]] for (int i = 0; i < 4; i++)
                w[i][j] = column[i];
        }
    } else {
        const uint at = tap + k * step_b();
        [[unroll]] for (int i = 0; i < 4; i++)
            w[i] = load_row(strip, at + i * step_b());
    }
    [[unroll]] for (int i = 0; i < 4; i++)
        w[i] = SCALED(w[i]);
}

// k runs over [0, p.k): of a whole product, or of one tap, whose B begins at element `tap`.
void products(uint tap, uint lane)
{
    const uint whole = p.k & ~3u;
    for (uint k = 0; k < whole; k += 4) {
        COLUMNS w[STRIPS][4];
        [[unroll]] for (int i = 0; i < STRIPS; i++)
            load_w(i, tap, k, w[i]);
        if (ALL_ALIKE) {
            multiply_alike(k, w);
            continue;
        }
        vec4 v[GROUPS];  // all at once: what one waits for, the others wait for too
        if (FORM != TN)
            [[unroll]] for (int g = 0; g < GROUPS; g++) {
                v[g] = load_a4(row_a[g] + at_k(k));
#ifdef CONV
                v[g] = inside[g] ? v[g] : vec4(0);
#endif
            }
        [[unroll]] for (int g = 0; g < GROUPS; g++) {
#ifndef CONV
            if (FORM == TN)
                multiply_tn(g, k, w);
            else
#endif
                multiply(g, v[g], w);
        }
    }
    if ((FLAGS & TAIL) == 0)
        return;
    for (uint k = whole; k < p.k; k++) {
        COLUMNS w[STRIPS];
        [[unroll]] for (int i = 0; i < STRIPS; i++) {
            const COLUMNS row = load_row(i, tap + (FORM == NT ? k : k * p.ldb));
            w[i] = SCALED(row);
        }
        [[unroll]] for (int g = 0; g < GROUPS; g++) {
#ifdef CONV
            const float v = inside[g] ? load_a(row_a[g] + k) : 0.0;
#else
            const float v = load_a(FORM == TN ? base_a + k * p.lda + min(first_row_tn + g * LANES + lane, p.m - 1)
                                              : row_a[g] + k);
#endif
            [[unroll]] for (int i = 0; i < STRIPS; i++)
                multiply1(i, g, v, w[i]);
        }
    }
}

// Where the lane's columns in a strip begin in B.
void locate_columns(const int strip, uint base, uint col)
{
    [[unroll]] for (int j = 0; j < WIDTH; j++) {
        const uint i = min(col + j, p.n - 1);
        col_b[strip][j] = base + (FORM == NT ? i * p.ldb : i);
    }
    if (FORM != NT && (FLAGS & VEC_B) != 0)
        col_b[strip][0] = base + min(col, p.n - WIDTH);
    if ((FLAGS & PANELS_B) != 0)  // the last panel is whole
        col_b[strip][0] = base + min(col / STRIP, (p.n - 1) / STRIP) * p.ldb + col % STRIP;
}

// Starts a strip's accumulators.
void start(const int strip, uint at[GROUPS], uint col)
{
    COLUMNS from = COLUMNS(0);
    if (STARTS_BIASED)
        [[unroll]] for (int j = 0; j < WIDTH; j++)
            from[j] = VKS_AT(3, bias, min(col + j, p.n - 1));
    [[unroll]] for (int i = 0; i < ROWS; i++)
        acc[strip][i] = from;
    if ((FLAGS & START_C) != 0)
        [[unroll]] for (int g = 0; g < GROUPS; g++) {
#define DO(i) \
            [[unroll]] for (int j = 0; j < WIDTH; j++) \
                acc[strip][g * LANES + i][j] = VKS_AT(2, c, subgroupBroadcast(at[g], i) + min(col + j, p.n - 1));
            EACH(DO)
#undef DO
        }
}

void finish_row(const int strip, const int i, uint at, uint row, uint col)
{
    if (row + i < p.m && col < p.n) {
        if ((FLAGS & VEC_C) != 0) {
#if WIDTH == 4
            VKS_STORE4(2, c, at, (FLAGS & PLUS) != 0 ? acc[strip][i] + VKS_LOAD4(4, plus, at) : acc[strip][i]);
#else
            VKS_STORE2(2, c, at, (FLAGS & PLUS) != 0 ? acc[strip][i] + VKS_LOAD2(4, plus, at) : acc[strip][i]);
#endif
        } else {
            [[unroll]] for (int j = 0; j < WIDTH; j++)
                if (col + j < p.n)
                    VKS_AT(2, c, at + j) = result(acc[strip][i][j], at + j);
        }
    }
}

// `at`: where the lane's rows of C begin.
void finish(const int strip, uint at[GROUPS], uint row, uint col)
{
    [[unroll]] for (int g = 0; g < GROUPS; g++) {
#define DO(i) finish_row(strip, g * LANES + i, subgroupBroadcast(at[g], i) + col, row, col);
        EACH(DO)
#undef DO
    }
}

// What each lane found of its rows of A, in all lanes.
void spread()
{
    if (!ALL_ALIKE)
        return;
    [[unroll]] for (int g = 0; g < GROUPS; g++) {
#ifdef CONV
#define DO(i) row_of[g * LANES + i] = subgroupBroadcast(row_a[g], i); \
              inside_of[g * LANES + i] = subgroupBroadcast(inside[g], i);
#else
#define DO(i) row_of[g * LANES + i] = \
        FORM == TN ? base_a + min(first_row_tn + g * LANES + i, p.m - 4) : subgroupBroadcast(row_a[g], i);
#endif
        EACH(DO)
#undef DO
    }
}

VKS_MAIN
{
    const uint lane = gl_SubgroupInvocationID;
    const uint row = tile_row() * ROWS, col = tile_col(COLS) * COLS + WIDTH * lane;
    if (row >= p.m)
        return;
    const uvec3 base = batch(COLS);
    [[unroll]] for (int i = 0; i < STRIPS; i++)
        locate_columns(i, base.y, col + i * STRIP);
    // Rows are the lanes' own where a division tells their place; what a lane found it hands to all.
    uint at_c[GROUPS];
    [[unroll]] for (int g = 0; g < GROUPS; g++)
        at_c[g] = base.z + row_of_c(min(row + g * LANES + lane, p.m - 1));
    uint touched = 0;  // where the tile will be stored: scatters that miss the caches are what a product waits for most
    [[unroll]] for (int g = 0; g < GROUPS; g++)
        [[unroll]] for (uint j = 0; j < COLS; j += VKS_LINE)
            touched |= VKS_TOUCH(2, at_c[g] + min(tile_col(COLS) * COLS + j, p.n - 1));
    [[unroll]] for (int i = 0; i < STRIPS; i++)
        start(i, at_c, col + i * STRIP);
#ifdef CONV
    uvec3 q[GROUPS];
    [[unroll]] for (int g = 0; g < GROUPS; g++)
        q[g] = pixel(min(row + g * LANES + lane, p.m - 1));
    for (uint ty = 0; ty < TAPS_Y; ty++)
        for (uint tx = 0; tx < TAPS_X; tx++) {
            [[unroll]] for (int g = 0; g < GROUPS; g++)
                row_a[g] = row_of_a(q[g], ty, tx, inside[g]);
            spread();
            products(ty * p.wy + tx * p.wx, lane);
        }
#else
    base_a = base.x;
    first_row_tn = row;
    [[unroll]] for (int g = 0; g < GROUPS; g++) {
        if (FORM == TN)
            row_a[g] = base.x + (lane / (LANES / 4)) * p.lda +
                       min(row + g * LANES + 4 * (lane % (LANES / 4)), p.m - 4);
        else
            row_a[g] = base.x + at_row(min(row + g * LANES + lane, p.m - 1));
    }
    spread();
    products(0, lane);
#endif
    [[unroll]] for (int i = 0; i < STRIPS; i++)
        finish(i, at_c, row, col + i * STRIP);
    VKS_TOUCHED(2, c, touched);
}
