#include <math.h>

#include "check.h"
#include "ref/rope.h"
#include "shaders/push.h"

static void rope_function(void *priv, const double *x, double *y)
{
    ref_rope(y, x, priv);
}

// x (b, t, heads * width), the length b from the step buffer where it is dynamic. The angles come as a model's do:
// rows of a table, gathered by position.
static void rope_case(struct check *c, enum check_fill fill, uint32_t b, uint32_t t, uint32_t heads, uint32_t width,
                      uint32_t turned, bool dynamic)
{
    const uint32_t shape[] = {b, t, heads * width}, positions = t + 5, table_shape[] = {positions, turned};
    const uint64_t rows = (uint64_t)b * t, n = rows * heads * width;
    double *x = check_values(c, n, fill), *y = check_alloc(c, n, sizeof(*y));
    double *dy = check_values(c, n, CHECK_NORMAL), *dx = check_alloc(c, n, sizeof(*dx));
    double *table = check_alloc(c, (uint64_t)positions * turned, sizeof(*table));
    double *angles = check_alloc(c, rows * turned, sizeof(*angles));
    int32_t *ids = check_alloc(c, rows, sizeof(*ids));
    for (uint32_t i = 0; i < positions; i++)
        for (uint32_t j = 0; j < turned; j++) {
            const uint32_t k = j % (turned / 2);
            const double angle = i * pow(10000, -2.0 * k / turned);
            table[i * turned + j] = (float)(j < turned / 2 ? cos(angle) : sin(angle));
        }
    for (uint64_t i = 0; i < rows; i++) {
        ids[i] = (int32_t)check_random(c, positions);
        for (uint32_t j = 0; j < turned; j++)
            angles[i * turned + j] = table[(uint32_t)ids[i] * turned + j];
    }
    struct vks_graph *g = check_begin(c, "rope (%u, %u), %u heads of %u, %u turned, fill %d", b, t, heads, width,
                                      turned, fill);
    struct vks_tensor *tx = check_input(c, "x", x, 3, shape), *tp = check_input_i32(c, "positions", ids, 2, shape);
    struct vks_tensor *tt = check_state(c, "table", table, VKS_F32, 2, table_shape);
    if (dynamic && tx && tp)
        tx->dynamic = tp->dynamic = true;
    check_step_uint(c, VKS_STEP_ROWS, b);
    struct vks_tensor *ty = vks_rope(g, tx, vks_embedding(g, tp, tt), heads);
    const struct ref_rope rope = {rows, heads, width, turned, angles};
    ref_rope(y, x, &rope);
    ref_rope_backward(dx, dy, &rope);
    check_expect(c, ty, y, 1e-6);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dx, 1e-6);
    check_run(c);
    if (n < 200 && fill == CHECK_NORMAL)
        check_differences(c, "rope", rope_function, (void *)&rope, x, n, dy, n, dx);
}

void check_rope(struct check *c)
{
    rope_case(c, CHECK_NORMAL, 2, 1 + check_random(c, 5), 3, 6, 6, false);
    rope_case(c, CHECK_NORMAL, 1, 4, 2, 7, 4, false);         // three channels pass
    rope_case(c, CHECK_NORMAL, 2, 3, 1, 2, 2, true);
    rope_case(c, CHECK_HOSTILE, 3, 9, 2, 16, 8, false);       // four at a time, half of them pass
    rope_case(c, CHECK_HOSTILE, 2, 5, 4, 12, 8, true);
    rope_case(c, CHECK_NORMAL, 1, 1, 9, 64, 64, false);
    rope_case(c, CHECK_NORMAL, 3, 77, 3, 40, 40, true);       // longer than 64 KiB
    rope_case(c, CHECK_NORMAL, 2, 131, 5, 14, 10, false);
}
