// Normalisations in plain C, in double, two passes.
#ifndef VKS_TESTS_REF_NORM_H
#define VKS_TESTS_REF_NORM_H

#include <stdbool.h>
#include <stdint.h>

struct ref_norm {
    uint64_t samples, rows;       // x (samples, rows, cols)
    uint32_t cols, groups;
    double eps;
    const double *weight, *bias;  // (cols), or NULL
    double offset;                // added to the weight
    bool rms;                     // the root of the mean square in place of the deviation, and no mean taken away
};

// Mean and variance over a sample's rows and a group's channels. Layer norm: one row a sample, one group.
void ref_norm(double *y, const double *x, const struct ref_norm *norm);
void ref_norm_backward(double *dx, const double *x, const double *dy, const struct ref_norm *norm);

#endif
