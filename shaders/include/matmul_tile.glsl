// The matmul family on graphics cards: 64 invocations make 32 x 64 of C, 4 x 8 each, from panels of A and B that are
// 16 deep and pass through shared memory (6 KiB).
#include "matmul.glsl"

#define ROWS 32
#define COLS 64
#define DEEP 16

shared vec4 panel_a[DEEP][ROWS / 4];
shared vec4 panel_b[DEEP][COLS / 4];

uint row0, col0;
uvec3 base;

// An element of A: row i of the tile, k.
float fetch_a(uint i, uint k, uint ty, uint tx)
{
    const uint row = min(row0 + i, p.m - 1);
#ifdef CONV
    bool inside;
    const uint at = row_of_a(pixel(row), ty, tx, inside);
    return inside ? load_a(at + k) : 0.0;
#else
    return load_a(base.x + (FORM == TN ? k * p.lda + row : row * p.lda + k));
#endif
}

// Fills the panels with k .. k + 15; what lies beyond p.k is not read back.
void fill(uint k0, uint ty, uint tx)
{
    const uint t = gl_LocalInvocationID.x, last = p.k - 1;
    [[unroll]] for (uint e = 0; e < ROWS * DEEP / 64; e++) {
        const uint n = e * 64 + t;
        const uint k = FORM == TN ? n / ROWS : n % DEEP, i = FORM == TN ? n % ROWS : n / DEEP;
        panel_a[k][i / 4][i % 4] = fetch_a(i, min(k0 + k, last), ty, tx);
    }
    uint tap = base.y;
#ifdef CONV
    tap += ty * p.wy + tx * p.wx;
#endif
    [[unroll]] for (uint e = 0; e < COLS * DEEP / 64; e++) {
        const uint n = e * 64 + t;
        const uint k = FORM == NT ? n % DEEP : n / COLS, j = FORM == NT ? n / DEEP : n % COLS;
        const uint kk = min(k0 + k, last), col = min(col0 + j, p.n - 1);
        const float w = load_b(tap + (FORM == NT ? col * p.ldb + kk : kk * p.ldb + col));
        panel_b[k][j / 4][j % 4] = SCALED(w);
    }
}

void main()
{
    const uint t = gl_LocalInvocationID.x, my_row = t / 8, my_col = t % 8;
    row0 = tile_row() * ROWS;
    col0 = tile_col(COLS) * COLS;
    base = batch(COLS);
    if (row0 >= p.m)
        return;
    vec4 acc[4][2];
    [[unroll]] for (uint i = 0; i < 4; i++)
        [[unroll]] for (uint j = 0; j < 8; j++) {
            const uint row = min(row0 + my_row * 4 + i, p.m - 1), col = min(col0 + my_col * 8 + j, p.n - 1);
            float from = STARTS_BIASED ? VKS_AT(3, bias, col) : 0.0;
            if ((FLAGS & START_C) != 0)
                from = VKS_AT(2, c, base.z + row_of_c(row) + col);
            acc[i][j / 4][j % 4] = from;
        }
#ifdef CONV
    const uint taps_y = TAPS_Y, taps_x = TAPS_X;
#else
    const uint taps_y = 1, taps_x = 1;
#endif
    for (uint ty = 0; ty < taps_y; ty++)
        for (uint tx = 0; tx < taps_x; tx++)
            for (uint k0 = 0; k0 < p.k; k0 += DEEP) {
                barrier();
                fill(k0, ty, tx);
                barrier();
                const uint deep = min(DEEP, p.k - k0);
                for (uint k = 0; k < deep; k++) {
                    const vec4 v = panel_a[k][my_row], w0 = panel_b[k][my_col * 2], w1 = panel_b[k][my_col * 2 + 1];
                    [[unroll]] for (uint i = 0; i < 4; i++) {
                        acc[i][0] = fma(vec4(v[i]), w0, acc[i][0]);
                        acc[i][1] = fma(vec4(v[i]), w1, acc[i][1]);
                    }
                }
            }
    [[unroll]] for (uint i = 0; i < 4; i++)
        [[unroll]] for (uint j = 0; j < 8; j++) {
            const uint row = row0 + my_row * 4 + i, col = col0 + my_col * 8 + j;
            if (row < p.m && col < p.n)
                VKS_AT(2, c, base.z + row_of_c(row) + col) =
                    result(acc[i][j / 4][j % 4], base.z + row_of_c(row) + col);
        }
}
