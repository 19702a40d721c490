#include "ref/attention.h"

#include <math.h>
#include <string.h>

static bool masked(const struct ref_attention *a, uint32_t b, uint32_t i, uint32_t j)
{
    return (a->causal && j > i) || (a->mask && a->mask[b * a->tk + j] == 0);
}

// Row t of head h of sample b in a tensor of `rows` rows a sample.
static uint64_t at(const struct ref_attention *a, uint32_t rows, uint32_t b, uint32_t t, uint32_t h)
{
    return ((b * (uint64_t)rows + t) * a->heads + h) * a->width;
}

static double dot(const double *x, const double *y, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

// p (tq, tk)
static void probabilities(double *p, const double *q, const double *k, const struct ref_attention *a, uint32_t b,
                          uint32_t h)
{
    for (uint32_t i = 0; i < a->tq; i++, p += a->tk) {
        double top = -INFINITY, sum = 0;
        for (uint32_t j = 0; j < a->tk; j++) {
            p[j] = a->scale * dot(q + at(a, a->tq, b, i, h), k + at(a, a->tk, b, j, h), a->width);
            if (masked(a, b, i, j))
                p[j] = -1e30;
            top = fmax(top, p[j]);
        }
        for (uint32_t j = 0; j < a->tk; j++)
            sum += p[j] = exp(p[j] - top);
        for (uint32_t j = 0; j < a->tk; j++)
            p[j] /= sum;
    }
}

void ref_attention(double *y, const double *q, const double *k, const double *v, const struct ref_attention *a)
{
    double *p = a->scratch;
    for (uint32_t b = 0; b < a->b; b++)
        for (uint32_t h = 0; h < a->heads; h++) {
            probabilities(p, q, k, a, b, h);
            for (uint32_t i = 0; i < a->tq; i++)
                for (uint32_t c = 0; c < a->width; c++) {
                    double sum = 0;
                    for (uint32_t j = 0; j < a->tk; j++)
                        sum += p[i * a->tk + j] * v[at(a, a->tk, b, j, h) + c];
                    y[at(a, a->tq, b, i, h) + c] = sum;
                }
        }
}

void ref_attention_backward(double *dq, double *dk, double *dv, const double *q, const double *k, const double *v,
                            const double *dy, const struct ref_attention *a)
{
    double *p = a->scratch, *dp = p + (uint64_t)a->tq * a->tk;
    memset(dq, 0, at(a, a->tq, a->b, 0, 0) * sizeof(*dq));
    memset(dk, 0, at(a, a->tk, a->b, 0, 0) * sizeof(*dk));
    memset(dv, 0, at(a, a->tk, a->b, 0, 0) * sizeof(*dv));
    for (uint32_t b = 0; b < a->b; b++)
        for (uint32_t h = 0; h < a->heads; h++) {
            probabilities(p, q, k, a, b, h);
            for (uint32_t i = 0; i < a->tq; i++) {
                const double *pi = p + i * a->tk, *dyi = dy + at(a, a->tq, b, i, h);
                for (uint32_t j = 0; j < a->tk; j++)
                    dp[j] = dot(dyi, v + at(a, a->tk, b, j, h), a->width);
                const double mean = dot(pi, dp, a->tk);
                for (uint32_t j = 0; j < a->tk; j++) {
                    const double ds = masked(a, b, i, j) ? 0 : a->scale * pi[j] * (dp[j] - mean);
                    const uint64_t to_q = at(a, a->tq, b, i, h), to_k = at(a, a->tk, b, j, h);
                    for (uint32_t c = 0; c < a->width; c++) {
                        dq[to_q + c] += ds * k[to_k + c];
                        dk[to_k + c] += ds * q[to_q + c];
                        dv[to_k + c] += pi[j] * dyi[c];
                    }
                }
            }
        }
}
