#include "ref/attention.h"

#include <math.h>
#include <string.h>

static bool seen(const struct ref_attention *a, uint32_t b, uint32_t i, uint32_t j)
{
    const uint32_t position = (a->starts ? (uint32_t)a->starts[b * a->tq] : a->start) + i;
    if (a->mask && a->mask[b * a->tk + j] == 0)
        return false;
    return !a->causal || (j <= position && (!a->window || position - j < a->window));
}

// Row t of query head h of sample b in q, y and their gradients.
static uint64_t at_query(const struct ref_attention *a, uint32_t b, uint32_t t, uint32_t h)
{
    return ((b * (uint64_t)a->tq + t) * a->heads + h) * a->width;
}

// The row that it meets in k and v.
static uint64_t at_key(const struct ref_attention *a, uint32_t b, uint32_t t, uint32_t h)
{
    return ((b * (uint64_t)a->tk + t) * a->kv_heads + h / (a->heads / a->kv_heads)) * a->width;
}

static double dot(const double *x, const double *y, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

// The score of a pair, and its slope by what stands under the cap.
static double score(const double *q, const double *k, const struct ref_attention *a, double *slope)
{
    const double s = a->scale * dot(q, k, a->width), t = a->softcap != 0 ? tanh(s / a->softcap) : 0;
    *slope = 1 - t * t;
    return a->softcap != 0 ? a->softcap * t : s;
}

// p, slope (tq, tk)
static void probabilities(double *p, double *slope, const double *q, const double *k, const struct ref_attention *a,
                          uint32_t b, uint32_t h)
{
    for (uint32_t i = 0; i < a->tq; i++, p += a->tk, slope += a->tk) {
        double top = -INFINITY, sum = 0;
        for (uint32_t j = 0; j < a->tk; j++) {
            p[j] = score(q + at_query(a, b, i, h), k + at_key(a, b, j, h), a, &slope[j]);
            if (seen(a, b, i, j))
                top = fmax(top, p[j]);
        }
        for (uint32_t j = 0; j < a->tk; j++)
            sum += p[j] = seen(a, b, i, j) ? exp(p[j] - top) : 0;
        for (uint32_t j = 0; j < a->tk; j++)
            p[j] = sum > 0 ? p[j] / sum : 0;
    }
}

void ref_attention(double *y, const double *q, const double *k, const double *v, const struct ref_attention *a)
{
    double *p = a->scratch, *slope = p + (uint64_t)a->tq * a->tk;
    for (uint32_t b = 0; b < a->b; b++)
        for (uint32_t h = 0; h < a->heads; h++) {
            probabilities(p, slope, q, k, a, b, h);
            for (uint32_t i = 0; i < a->tq; i++)
                for (uint32_t c = 0; c < a->width; c++) {
                    double sum = 0;
                    for (uint32_t j = 0; j < a->tk; j++)
                        sum += p[i * a->tk + j] * v[at_key(a, b, j, h) + c];
                    y[at_query(a, b, i, h) + c] = sum;
                }
        }
}

void ref_attention_backward(double *dq, double *dk, double *dv, const double *q, const double *k, const double *v,
                            const double *dy, const struct ref_attention *a)
{
    double *p = a->scratch, *slope = p + (uint64_t)a->tq * a->tk;
    memset(dq, 0, at_query(a, a->b, 0, 0) * sizeof(*dq));
    memset(dk, 0, at_key(a, a->b, 0, 0) * sizeof(*dk));
    memset(dv, 0, at_key(a, a->b, 0, 0) * sizeof(*dv));
    for (uint32_t b = 0; b < a->b; b++)
        for (uint32_t h = 0; h < a->heads; h++) {
            probabilities(p, slope, q, k, a, b, h);
            for (uint32_t i = 0; i < a->tq; i++) {
                const double *pi = p + i * a->tk, *dyi = dy + at_query(a, b, i, h);
                double mean = 0;
                for (uint32_t j = 0; j < a->tk; j++)
                    mean += pi[j] * dot(dyi, v + at_key(a, b, j, h), a->width);
                for (uint32_t j = 0; j < a->tk; j++) {
                    const double dp = dot(dyi, v + at_key(a, b, j, h), a->width);
                    const double ds = a->scale * slope[i * a->tk + j] * pi[j] * (dp - mean);
                    const uint64_t to_q = at_query(a, b, i, h), to_k = at_key(a, b, j, h);
                    for (uint32_t c = 0; c < a->width; c++) {
                        dq[to_q + c] += ds * k[to_k + c];
                        dk[to_k + c] += ds * q[to_q + c];
                        dv[to_k + c] += pi[j] * dyi[c];
                    }
                }
            }
        }
}
