// Private to runtime/steer: how well one number tells two sets apart, by ranks.
#ifndef VKS_STEER_EXPERTS_H
#define VKS_STEER_EXPERTS_H

#include <stdbool.h>
#include <stdint.h>

struct vks_ranked {
    double value;
    bool positive;
};
// Sorts by value, ascending.
void vks_rank(struct vks_ranked *items, uint32_t count);
// Of ranked items, both kinds among them. The share of pairs in which the positive one has the larger value, ties
// counted half: (R - P (P + 1) / 2) / (P N) with R the sum of the positives' midranks, in whole numbers up to the
// division.
double vks_auroc(const struct vks_ranked *items, uint32_t count);
// Σ over the distinct values, from the largest, of (recall gained there) (precision so far): ties enter together.
double vks_average_precision(const struct vks_ranked *items, uint32_t count);

#endif
