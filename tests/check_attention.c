#include <math.h>
#include <string.h>

#include "base/half.h"
#include "check.h"
#include "ref/attention.h"
#include "ref/pointwise.h"
#include "shaders/push.h"

// q, k and v one after another, for central differences.
struct packed {
    struct ref_attention a;
    uint64_t nq, nk;
};

static void attention_function(void *priv, const double *x, double *y)
{
    const struct packed *s = priv;
    ref_attention(y, x, x + s->nq, x + s->nq + s->nk, &s->a);
}

// SELF: q, k and v are one tensor; LEFT: the padding stands before the keys
enum { MASK = 1, ALL_MASKED = 2, CAUSAL = 4, SELF = 8, LEFT = 16 };

struct attention_case {
    uint32_t b, tq, tk, heads, width, flags;
    float scale;
    enum check_fill fill;
    uint32_t kv_heads, window;
    float softcap;
};

static double *make_mask(struct check *c, const struct attention_case *t)
{
    double *mask = check_alloc(c, (uint64_t)t->b * t->tk, sizeof(*mask));
    for (uint32_t b = 0; b < t->b; b++) {
        const uint32_t keys = t->flags & ALL_MASKED && b == 0 ? 0 : 1 + check_random(c, t->tk);
        for (uint32_t j = 0; j < keys; j++)
            mask[b * t->tk + (t->flags & LEFT ? t->tk - 1 - j : j)] = 1;
    }
    return mask;
}

static void attention_case(struct check *c, struct attention_case t)
{
    const uint32_t kv_heads = t.kv_heads ? t.kv_heads : t.heads;
    const uint32_t shape_q[] = {t.b, t.tq, t.heads * t.width}, shape_k[] = {t.b, t.tk, kv_heads * t.width};
    const uint64_t nq = (uint64_t)t.b * t.tq * shape_q[2], nk = (uint64_t)t.b * t.tk * shape_k[2], n = nq + 2 * nk;
    const bool self = t.flags & SELF;
    double *q = check_values(c, n, CHECK_NORMAL), *k = q + nq, *v = k + nk;
    double *y = check_alloc(c, nq, sizeof(*y)), *dy = check_values(c, nq, CHECK_NORMAL);
    double *dq = check_alloc(c, n, sizeof(*dq)), *dk = dq + nq, *dv = dk + nk;
    if (t.fill == CHECK_HOSTILE)
        memcpy(v, check_values(c, nk, CHECK_HOSTILE), nk * sizeof(*v));
    for (uint32_t i = 0; self && i < nk; i++)
        k[i] = v[i] = q[i];
    struct vks_graph *g =
        check_begin(c, "attention (%u, %u, %u), %u on %u heads of %u, flags %u, window %u, cap %g", t.b, t.tq, t.tk,
                    t.heads, kv_heads, t.width, t.flags, t.window, (double)t.softcap);
    double *mask = t.flags & MASK ? make_mask(c, &t) : NULL;
    struct vks_tensor *tq = check_input(c, "q", q, 3, shape_q), *tk = self ? tq : check_input(c, "k", k, 3, shape_k);
    struct vks_tensor *tv = self ? tq : check_input(c, "v", v, 3, shape_k);
    struct vks_tensor *tm = mask ? check_input(c, "mask", mask, 2, shape_k) : NULL;
    const struct vks_attention attrs = {.heads = t.heads, .kv_heads = t.kv_heads, .scale = t.scale,
                                        .softcap = t.softcap, .causal = (t.flags & CAUSAL) != 0, .window = t.window};
    struct vks_tensor *ty = vks_attention(g, tq, tk, tv, tm, &attrs);
    struct packed s = {
        .a = {.b = t.b, .tq = t.tq, .tk = t.tk, .heads = t.heads, .width = t.width, .kv_heads = kv_heads,
              .scale = t.scale != 0 ? t.scale : 1 / sqrt(t.width), .softcap = t.softcap, .causal = attrs.causal,
              .start = t.tk - t.tq, .window = t.window, .mask = mask,
              .scratch = check_alloc(c, 2 * (uint64_t)t.tq * t.tk, sizeof(double))},
        .nq = nq,
        .nk = nk,
    };
    ref_attention(y, q, k, v, &s.a);
    ref_attention_backward(dq, dk, dv, q, k, v, dy, &s.a);
    if (n < 400 && !self)
        check_differences(c, "attention", attention_function, &s, q, n, dy, nq, dq);
    for (uint32_t i = 0; self && i < nk; i++)
        dq[i] += dk[i] + dv[i];
    check_expect(c, ty, y, 2e-6);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tq, dq, 1e-5);
    if (!self) {
        check_expect_gradient(c, tk, dk, 1e-5);
        check_expect_gradient(c, tv, dv, 1e-5);
    }
    check_run(c);
}

// What decoder-only models add: heads of keys shared by query heads, windows, capped scores, keys before the queries.
static void check_decoder(struct check *c)
{
    const uint32_t r = 1 + check_random(c, 6);
    attention_case(c, (struct attention_case){.b = 2, .tq = 3, .tk = 3, .heads = 4, .width = 3, .kv_heads = 2,
                                              .flags = CAUSAL});
    attention_case(c, (struct attention_case){.b = 2, .tq = 2, .tk = 2 + r, .heads = 3, .width = 4, .kv_heads = 1,
                                              .flags = CAUSAL, .window = 2});
    attention_case(c, (struct attention_case){.b = 3, .tq = 1, .tk = r, .heads = 6, .width = 2, .kv_heads = 2,
                                              .flags = CAUSAL | MASK | LEFT, .softcap = 0.5f});
    attention_case(c, (struct attention_case){.b = 2, .tq = 4, .tk = 4, .heads = 2, .width = 3, .softcap = 2,
                                              .scale = 1});
    attention_case(c, (struct attention_case){.b = 2, .tq = 6, .tk = 6, .heads = 4, .width = 4, .kv_heads = 2,
                                              .flags = CAUSAL | MASK | LEFT, .window = 3, .softcap = 1.5f});
    attention_case(c, (struct attention_case){.b = 2, .tq = 5, .tk = 7, .heads = 6, .width = 8, .kv_heads = 3,
                                              .flags = CAUSAL | MASK | ALL_MASKED, .fill = CHECK_HOSTILE});
    attention_case(c, (struct attention_case){.b = 3, .tq = 33, .tk = 35, .heads = 9, .width = 16, .kv_heads = 3,
                                              .flags = CAUSAL | MASK | LEFT, .window = 1});
    // Longer than 64 KiB: cut at samples, at queries within a token's group, and the packed queries at tokens.
    attention_case(c, (struct attention_case){.b = 2, .tq = 70, .tk = 83, .heads = 6, .width = 24, .kv_heads = 2,
                                              .flags = CAUSAL | MASK | LEFT, .window = 40, .softcap = 5});
    attention_case(c, (struct attention_case){.b = 1, .tq = 90, .tk = 90, .heads = 5, .width = 16, .kv_heads = 1,
                                              .flags = CAUSAL});
    attention_case(c, (struct attention_case){.b = 2, .tq = 40, .tk = 33, .heads = 4, .width = 130, .kv_heads = 2});
}

// A step over caches of `rows` rows a sample, of which the graph sees the first tk: some of them, `most` in the first
// sample and fewer in others, stand already, tq come in, and the others hold numbers that no query may see. heads on
// kv_heads of width channels.
static void cached_case(struct check *c, struct attention_case t, uint32_t rows, uint32_t most, enum vks_dtype dtype)
{
    const uint32_t cols = t.kv_heads * t.width, shape_q[] = {t.b, t.tq, t.heads * t.width};
    const uint32_t shape_x[] = {t.b, t.tq, cols}, shape_cache[] = {t.b, rows, cols};
    const uint64_t rows_x = (uint64_t)t.b * t.tq, nq = rows_x * shape_q[2], nx = rows_x * cols;
    const uint64_t n = (uint64_t)t.b * rows * cols;
    double *q = check_values(c, nq, CHECK_NORMAL), *y = check_alloc(c, nq, sizeof(*y));
    double *after[2], *seen[2];
    int32_t *positions = check_alloc(c, rows_x, sizeof(*positions));
    for (uint32_t i = 0; i < rows_x; i++)  // all but the first of a sample count for nothing
        positions[i] = (int32_t)(i ? check_random(c, i % t.tq ? 2 * rows : most + 1) : most);
    struct vks_graph *g =
        check_begin(c, "attention over a cache (%u, %u, %u of %u) from %u, %u on %u heads of %u%s", t.b, t.tq,
                    t.tk, rows, most, t.heads, t.kv_heads, t.width, dtype == VKS_F16 ? " in fp16" : "");
    struct vks_tensor *tq = check_input(c, "q", q, 3, shape_q), *kv[2];
    struct vks_tensor *at = check_input_i32(c, "positions", positions, 2, shape_x);
    for (int i = 0; i < 2; i++) {
        double *x = check_values(c, nx, CHECK_NORMAL), *stored = x;
        if (dtype == VKS_F16) {
            // Some that round to even either way, are denormal halves, or have no half near them.
            static const float odd[] = {1.00048828125f, 1.00146484375f, 3e-6f, -2.98e-8f, 70000, -65520, 65519};
            for (uint64_t k = 0; k < nx && k < 7; k++)
                x[k * 5 % nx] = i ? odd[k] : x[k * 5 % nx];
            stored = check_alloc(c, nx, sizeof(*stored));
            for (uint64_t k = 0; k < nx; k++) {
                const double value = (float)x[k];
                stored[k] = vks_f32_from_f16(vks_f16_from_f32((float)fmax(fmin(value, 65504), -65504)));
            }
        }
        after[i] = check_values(c, n, i && dtype == VKS_F32 ? CHECK_HOSTILE : CHECK_NORMAL);
        seen[i] = check_alloc(c, (uint64_t)t.b * t.tk * cols, sizeof(**seen));
        struct vks_tensor *cache = check_state(c, i ? "v" : "k", after[i], dtype, 3, shape_cache);
        kv[i] = vks_cache_rows(g, cache, check_input(c, "x", x, 3, shape_x), at);
        for (uint32_t b = 0; b < t.b; b++) {
            const uint32_t start = (uint32_t)positions[b * t.tq];
            for (uint32_t j = 0; j < t.tq && start + j < rows; j++)
                memcpy(after[i] + ((uint64_t)b * rows + start + j) * cols, stored + ((uint64_t)b * t.tq + j) * cols,
                       cols * sizeof(*x));
            memcpy(seen[i] + (uint64_t)b * t.tk * cols, after[i] + (uint64_t)b * rows * cols,
                   t.tk * cols * sizeof(*x));
        }
        check_expect(c, cache, after[i], 0);
    }
    struct vks_tensor *ty = vks_attention_cached(g, tq, kv[0], kv[1], at, &(struct vks_attention){
        .heads = t.heads, .kv_heads = t.kv_heads, .causal = true, .window = t.window, .softcap = t.softcap,
        .keys = t.tk < rows ? t.tk : 0});
    ref_attention(y, q, seen[0], seen[1], &(struct ref_attention){
        .b = t.b, .tq = t.tq, .tk = t.tk, .heads = t.heads, .width = t.width, .kv_heads = t.kv_heads,
        .scale = 1 / sqrt(t.width), .causal = true, .starts = positions, .window = t.window, .softcap = t.softcap,
        .scratch = check_alloc(c, 2 * (uint64_t)t.tq * t.tk, sizeof(double))});
    check_expect(c, ty, y, 2e-6);
    check_run(c);
}

static void check_cached(struct check *c)
{
    for (enum vks_dtype dtype = VKS_F32; dtype <= VKS_F16; dtype++) {
        cached_case(c, (struct attention_case){.b = 2, .tq = 1, .tk = 9, .heads = 4, .width = 3, .kv_heads = 2}, 9, 4,
                    dtype);
        cached_case(c, (struct attention_case){.b = 1, .tq = 1, .tk = 8, .heads = 4, .width = 8, .kv_heads = 1}, 20, 7,
                    dtype);
        cached_case(c, (struct attention_case){.b = 3, .tq = 4, .tk = 12, .heads = 6, .width = 4, .kv_heads = 2,
                                               .softcap = 3}, 12, check_random(c, 9), dtype);
        cached_case(c, (struct attention_case){.b = 2, .tq = 5, .tk = 16, .heads = 2, .width = 5, .kv_heads = 2,
                                               .window = 3}, 17, 11, dtype);
        cached_case(c, (struct attention_case){.b = 2, .tq = 4, .tk = 6, .heads = 2, .width = 4, .kv_heads = 2}, 6, 4,
                    dtype);
        // Longer than 64 KiB; the last rows fall off its end.
        cached_case(c, (struct attention_case){.b = 3, .tq = 33, .tk = 128, .heads = 9, .width = 16, .kv_heads = 3},
                    180, 90, dtype);
        cached_case(c, (struct attention_case){.b = 3, .tq = 45, .tk = 180, .heads = 2, .width = 64, .kv_heads = 2}, 180,
                    150, dtype);
    }
}

static void softmax_function(void *priv, const double *x, double *y)
{
    const uint32_t *shape = priv;
    ref_softmax(y, x, shape[0], shape[1]);
}

static void softmax_case(struct check *c, enum check_fill fill, uint32_t rows, uint32_t cols)
{
    const uint32_t shape[] = {rows, cols};
    const uint64_t n = (uint64_t)rows * cols;
    double *x = check_values(c, n, fill), *y = check_alloc(c, n, sizeof(*y));
    double *dy = check_values(c, n, CHECK_NORMAL), *dx = check_alloc(c, n, sizeof(*dx));
    struct vks_graph *g = check_begin(c, "softmax (%u, %u), fill %d", rows, cols, fill);
    struct vks_tensor *tx = check_input(c, "x", x, 2, shape), *ty = vks_softmax(g, tx);
    ref_softmax(y, x, rows, cols);
    ref_softmax_backward(dx, y, dy, rows, cols);
    check_expect(c, ty, y, 1e-6);
    check_backward(c, ty, dy);
    check_expect_gradient(c, tx, dx, 2e-6);
    check_run(c);
    if (n < 100 && cols > 1)
        check_differences(c, "softmax", softmax_function, (void *)shape, x, n, dy, n, dx);
}

void check_attention(struct check *c)
{
    softmax_case(c, CHECK_NORMAL, 3, 2 + check_random(c, 20));
    softmax_case(c, CHECK_HOSTILE, 9, 77);
    softmax_case(c, CHECK_NORMAL, 301, 99);
    softmax_case(c, CHECK_NORMAL, 5, 1);
    const uint32_t r = 1 + check_random(c, 9);
    attention_case(c, (struct attention_case){.b = 2, .tq = 3, .tk = 4, .heads = 2, .width = 5});
    attention_case(c, (struct attention_case){.b = 2, .tq = 3, .tk = r, .heads = 1, .width = 3, .flags = MASK});
    attention_case(c, (struct attention_case){.b = 2, .tq = 5, .tk = 5, .heads = 3, .width = 2, .flags = CAUSAL});
    attention_case(c, (struct attention_case){.b = 3, .tq = r, .tk = 7, .heads = 2, .width = 8, .scale = 1,
                                              .flags = MASK | ALL_MASKED});
    attention_case(c, (struct attention_case){.b = 2, .tq = 9, .tk = 9, .heads = 2, .width = 7,
                                              .flags = MASK | CAUSAL | SELF});
    attention_case(c, (struct attention_case){.b = 2, .tq = 17, .tk = 33, .heads = 4, .width = 16, .flags = MASK,
                                              .fill = CHECK_HOSTILE});
    attention_case(c, (struct attention_case){.b = 5, .tq = 64, .tk = 64, .heads = 4, .width = 16, .flags = SELF});
    attention_case(c, (struct attention_case){.b = 2, .tq = 150, .tk = 131, .heads = 3, .width = 40, .flags = MASK});
    // Without a mask: what one walk takes (ops/attention.h), and channels that it does not.
    attention_case(c, (struct attention_case){.b = 3, .tq = r, .tk = 7, .heads = 2, .width = 4});
    attention_case(c, (struct attention_case){.b = 2, .tq = 4, .tk = r, .heads = 1, .width = 8, .fill = CHECK_HOSTILE});
    attention_case(c, (struct attention_case){.b = 2, .tq = 9, .tk = 9, .heads = 2, .width = 20, .scale = 1,
                                              .flags = SELF});
    attention_case(c, (struct attention_case){.b = 2, .tq = 19, .tk = 30 + r, .heads = 3, .width = 12});
    attention_case(c, (struct attention_case){.b = 2, .tq = 16, .tk = 16, .heads = 4, .width = 32, .flags = SELF});
    attention_case(c, (struct attention_case){.b = 2, .tq = 33, .tk = 65, .heads = 2, .width = 32});
    attention_case(c, (struct attention_case){.b = 2, .tq = 70, .tk = 16 + r, .heads = 2, .width = 40});
    // Large scores: what backward computes again has the bits of forward, or P would not be what it was.
    attention_case(c, (struct attention_case){.b = 1, .tq = 8, .tk = 8, .heads = 1, .width = 16, .scale = 1e6f});
    attention_case(c, (struct attention_case){.b = 1, .tq = 8, .tk = 8, .heads = 1, .width = 16, .scale = 1e9f});
    // Samples longer than 64 KiB, whose walks are cut into dispatches.
    attention_case(c, (struct attention_case){.b = 2, .tq = 91, .tk = 129, .heads = 6, .width = 32});
    attention_case(c, (struct attention_case){.b = 1, .tq = 67, .tk = 32, .heads = 3, .width = 64});
    attention_case(c, (struct attention_case){.b = 1, .tq = 21, .tk = 14, .heads = 2, .width = 80});
    check_decoder(c);
    check_cached(c);
}
