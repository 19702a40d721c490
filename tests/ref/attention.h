// Attention in plain C: the whole square of probabilities of one head at a time.
#ifndef VKS_TESTS_REF_ATTENTION_H
#define VKS_TESTS_REF_ATTENTION_H

#include <stdbool.h>
#include <stdint.h>

struct ref_attention {
    uint32_t b, tq, tk, heads, width;  // q (b, tq, heads * width)
    uint32_t kv_heads;                 // k and v (b, tk, kv_heads * width)
    double scale, softcap;             // of the scores; softcap 0: none
    bool causal;                       // query t sees the keys up to start + t, with a window only the last of them
    uint32_t start, window;
    const int32_t *starts;             // (b, tq): the first number of each sample in place of `start`, or NULL
    const double *mask;                // (b, tk), 1 = key, 0 = padding, or NULL
    double *scratch;                   // 2 * tq * tk
};

// y (b, tq, heads * width); zeros where a query sees no key.
void ref_attention(double *y, const double *q, const double *k, const double *v, const struct ref_attention *a);
void ref_attention_backward(double *dq, double *dk, double *dv, const double *q, const double *k, const double *v,
                            const double *dy, const struct ref_attention *a);

#endif
