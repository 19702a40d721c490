// Optimisers in plain C, double.
#ifndef VKS_TESTS_REF_OPTIMISER_H
#define VKS_TESTS_REF_OPTIMISER_H

#include <stdint.h>

// All arrays (n), updated in place.
void ref_sgd(double *param, const double *grad, uint64_t n, double lr);
// torch.optim.Adam without weight decay at step t = 1, 2, ...
struct ref_adam {
    double lr, beta1, beta2, eps;
    uint32_t t;
};
void ref_adam(double *param, double *m, double *v, const double *grad, uint64_t n, const struct ref_adam *adam);
// Soft threshold, then group shrink over [groups[g], groups[g + 1]).
struct ref_prox {
    double center, tau, lambda1, lambda_group;
};
void ref_prox(double *param, const int32_t *groups, uint32_t group_count, const struct ref_prox *prox);

#endif
