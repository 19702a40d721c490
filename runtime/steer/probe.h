// Private to runtime/steer: a linear probe, on the host, in double.
#ifndef VKS_STEER_PROBE_H
#define VKS_STEER_PROBE_H

#include <stdbool.h>
#include <stdint.h>

// Logistic regression with an L2 penalty on the weights (C = 1) and none on the intercept:
//
//     min_w,c  ½ |w|² + Σ_i log(1 + exp(-s_i (w·x_i + c))),  s_i = 1 where labels[i], -1 elsewhere
//
// which has one solution, also for sets that a plane divides; found by Newton's method with a line search, to
// rounding. x (rows, columns); both labels must occur. w (columns + 1): the weights, then the intercept. False: out
// of memory.
bool vks_probe_fit(const double *x, const bool *labels, uint32_t rows, uint32_t columns, double *w);
// w·x + c
double vks_probe_margin(const double *w, const double *x, uint32_t columns);
// log(1 + exp(-margin)): the loss of a positive sample at this margin; that of a negative one is at -margin.
double vks_probe_loss(double margin);

#endif
