// The matmul family on any device: an invocation makes four rows of one column, no shared memory, no subgroups.
#include "matmul.glsl"

#define ROWS 4
#define COLS 64

void main()
{
    const uint row = tile_row() * ROWS, col = tile_col(COLS) * COLS + gl_LocalInvocationID.x;
    if (row >= p.m || col >= p.n)
        return;
    const uvec3 base = batch(COLS);
    const uint col_b = base.y + (FORM == NT ? col * p.ldb : col), step_b = FORM == NT ? 1 : p.ldb;
    vec4 acc = vec4(STARTS_BIASED ? VKS_AT(3, bias, col) : 0.0);
    uvec4 at_c, at_a;
    [[unroll]] for (int i = 0; i < ROWS; i++)
        at_c[i] = base.z + row_of_c(min(row + i, p.m - 1)) + col;
    if ((FLAGS & START_C) != 0)
        [[unroll]] for (int i = 0; i < ROWS; i++)
            acc[i] = VKS_AT(2, c, at_c[i]);
#ifdef CONV
    uvec3 q[ROWS];
    [[unroll]] for (int i = 0; i < ROWS; i++)
        q[i] = pixel(min(row + i, p.m - 1));
    for (uint ty = 0; ty < TAPS_Y; ty++)
        for (uint tx = 0; tx < TAPS_X; tx++) {
            vec4 mask;
            [[unroll]] for (int i = 0; i < ROWS; i++) {
                bool inside;
                at_a[i] = row_of_a(q[i], ty, tx, inside);
                mask[i] = inside ? 1.0 : 0.0;
            }
            const uint at_b = col_b + ty * p.wy + tx * p.wx;
            for (uint k = 0; k < p.k; k++) {
                const vec4 v = vec4(load_a(at_a.x + k), load_a(at_a.y + k), load_a(at_a.z + k), load_a(at_a.w + k));
                acc = fma(mix(vec4(0), v, notEqual(mask, vec4(0))), vec4(load_b(at_b + k * step_b)), acc);
            }
        }
#else
    const uint step_a = FORM == TN ? p.lda : 1;
    [[unroll]] for (int i = 0; i < ROWS; i++)
        at_a[i] = base.x + min(row + i, p.m - 1) * (FORM == TN ? 1 : p.lda);
    for (uint k = 0; k < p.k; k++) {
        const uint s = k * step_a;
        const vec4 v = vec4(load_a(at_a.x + s), load_a(at_a.y + s), load_a(at_a.z + s), load_a(at_a.w + s));
        const float w = load_b(col_b + k * step_b);
        acc = fma(v, vec4(SCALED(w)), acc);
    }
#endif
    [[unroll]] for (int i = 0; i < ROWS; i++)
        if (row + i < p.m)
            VKS_AT(2, c, at_c[i]) = result(acc[i], at_c[i]);
}
