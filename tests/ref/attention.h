// Attention in plain C: the whole square of probabilities of one head at a time.
#ifndef VKS_TESTS_REF_ATTENTION_H
#define VKS_TESTS_REF_ATTENTION_H

#include <stdbool.h>
#include <stdint.h>

struct ref_attention {
    uint32_t b, tq, tk, heads, width;  // q (b, tq, heads * width), k and v (b, tk, heads * width)
    double scale;                      // of the scores
    bool causal;                       // query t sees keys 0..t
    const double *mask;                // (b, tk), 1 = key, 0 = padding, or NULL
    double *scratch;                   // 2 * tq * tk
};

// y (b, tq, heads * width). A masked score is -1e30, so a row without any key gives the mean of v.
void ref_attention(double *y, const double *q, const double *k, const double *v, const struct ref_attention *a);
// A masked score is a constant: its gradient is 0.
void ref_attention_backward(double *dq, double *dk, double *dv, const double *q, const double *k, const double *v,
                            const double *dy, const struct ref_attention *a);

#endif
