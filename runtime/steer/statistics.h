// Private to runtime/steer: one-dimensional statistics on the host, in double.
#ifndef VKS_STEER_STATISTICS_H
#define VKS_STEER_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

#include "steer/sites.h"

// Column `column` of rows (count, channels), sorted ascending into out (count).
void vks_sorted_column(const float *rows, uint32_t count, uint32_t channels, uint32_t column, double *out);
double vks_mean(const double *values, uint32_t count);
// Population variance about `mean`.
double vks_variance(const double *values, uint32_t count, double mean);

// What W_p^p shows between identical laws: its mean over b against n draws of N(0, 1), by a seeded simulation.
// Multiply by the standard deviation to the p. NaN: out of memory.
double vks_wasserstein_floor(uint32_t b, uint32_t n, uint32_t p);

// The loss is the mean over its sites of the sum, or with `mean_scale` the mean, over channels. This is the weight of
// a channel of `slot` in it.
double vks_loss_weight(const struct vks_site_list *sites, const struct vks_site_slot *slot, bool mean_scale);

struct vks_loss_floor {
    const struct vks_site_list *sites;
    const float *target;                  // (target_rows, sites->channels)
    uint32_t target_rows, rows, p;        // `rows` samples are compared with the targets, by W_p^p
    bool mean_scale;
};
// What the loss would show if the samples were of the targets' law, taken as normal. False: out of memory.
bool vks_loss_floor(const struct vks_loss_floor *in, double *floor);

#endif
