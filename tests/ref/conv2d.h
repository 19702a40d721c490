// Convolution in plain C, in double, channels last.
#ifndef VKS_TESTS_REF_CONV2D_H
#define VKS_TESTS_REF_CONV2D_H

#include <stdint.h>

// x (samples, h, w, cin), weight (cout, kh, kw, cin), bias (cout) or NULL, y (samples, oh, ow, cout);
// pad: zeros above and to the left (what is missing below and to the right follows from oh, ow)
struct ref_conv2d {
    uint32_t samples, h, w, cin, oh, ow, cout, kh, kw, stride, pad;
    const double *weight, *bias;
};

void ref_conv2d(double *y, const double *x, const struct ref_conv2d *conv);
void ref_conv2d_backward(double *dx, const double *dy, const struct ref_conv2d *conv);

#endif
