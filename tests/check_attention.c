#include <math.h>
#include <string.h>

#include "check.h"
#include "ref/attention.h"
#include "ref/pointwise.h"

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

enum { MASK = 1, ALL_MASKED = 2, CAUSAL = 4, SELF = 8 };  // SELF: q, k and v are one tensor

struct attention_case {
    uint32_t b, tq, tk, heads, width, flags;
    float scale;
    enum check_fill fill;
};

static double *make_mask(struct check *c, const struct attention_case *t)
{
    double *mask = check_alloc(c, (uint64_t)t->b * t->tk, sizeof(*mask));
    for (uint32_t b = 0; b < t->b; b++) {
        const uint32_t keys = t->flags & ALL_MASKED && b == 0 ? 0 : 1 + check_random(c, t->tk);
        for (uint32_t j = 0; j < keys; j++)
            mask[b * t->tk + j] = 1;
    }
    return mask;
}

static void attention_case(struct check *c, struct attention_case t)
{
    const uint32_t cols = t.heads * t.width, shape_q[] = {t.b, t.tq, cols}, shape_k[] = {t.b, t.tk, cols};
    const uint64_t nq = (uint64_t)t.b * t.tq * cols, nk = (uint64_t)t.b * t.tk * cols, n = nq + 2 * nk;
    const bool self = t.flags & SELF;
    double *q = check_values(c, n, CHECK_NORMAL), *k = q + nq, *v = k + nk;
    double *y = check_alloc(c, nq, sizeof(*y)), *dy = check_values(c, nq, CHECK_NORMAL);
    double *dq = check_alloc(c, n, sizeof(*dq)), *dk = dq + nq, *dv = dk + nk;
    if (t.fill == CHECK_HOSTILE)
        memcpy(v, check_values(c, nk, CHECK_HOSTILE), nk * sizeof(*v));
    for (uint32_t i = 0; self && i < nk; i++)
        k[i] = v[i] = q[i];
    struct vks_graph *g = check_begin(c, "attention (%u, %u, %u), %u heads of %u, flags %u", t.b, t.tq, t.tk, t.heads,
                                      t.width, t.flags);
    double *mask = t.flags & MASK ? make_mask(c, &t) : NULL;
    struct vks_tensor *tq = check_input(c, "q", q, 3, shape_q), *tk = self ? tq : check_input(c, "k", k, 3, shape_k);
    struct vks_tensor *tv = self ? tq : check_input(c, "v", v, 3, shape_k);
    struct vks_tensor *tm = mask ? check_input(c, "mask", mask, 2, shape_k) : NULL;
    const struct vks_attention attrs = {.heads = t.heads, .scale = t.scale, .causal = (t.flags & CAUSAL) != 0};
    struct vks_tensor *ty = vks_attention(g, tq, tk, tv, tm, &attrs);
    struct packed s = {
        .a = {t.b, t.tq, t.tk, t.heads, t.width, t.scale != 0 ? t.scale : 1 / sqrt(t.width), attrs.causal, mask,
              check_alloc(c, 2 * (uint64_t)t.tq * t.tk, sizeof(double))},
        .nq = nq,
        .nk = nk,
    };
    ref_attention(y, q, k, v, &s.a);
    ref_attention_backward(dq, dk, dv, q, k, v, dy, &s.a);
    if (n < 300 && !self)
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
}
