// Private to runtime/steer: one-dimensional statistics on the host, in double.
#ifndef VKS_STEER_STATISTICS_H
#define VKS_STEER_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

// Column `column` of rows (count, channels), sorted ascending into out (count).
void vks_sorted_column(const float *rows, uint32_t count, uint32_t channels, uint32_t column, double *out);
double vks_mean(const double *values, uint32_t count);
// Population variance about `mean`.
double vks_variance(const double *values, uint32_t count, double mean);

// What the minibatch loss shows between identical laws: E[W_p^p] of b against n draws of N(0, 1), by a seeded
// simulation. Multiply by the standard deviation to the p.
double vks_wasserstein_floor(uint32_t b, uint32_t n, uint32_t p);

#endif
