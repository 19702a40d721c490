// Private to runtime/api: the self-test's harness and its table of operator families.
#ifndef VKS_API_SELFTEST_H
#define VKS_API_SELFTEST_H

#include "gpu/gpu.h"
#include "graph/graph.h"
#include "ops/ops.h"

#define VKS_TRIAL_INPUTS 4

struct vks_trial_input {
    uint32_t rank, shape[VKS_MAX_RANK];
    enum vks_dtype dtype;   // VKS_I32: whole numbers below `below`
    uint32_t below;
    bool positive;          // U(0.5, 1.5) in place of U(-1, 1): norm weights
};

// One operator: what goes in, how it is built, and the same in plain C and double.
struct vks_trial {
    const char *family;
    struct vks_trial_input inputs[VKS_TRIAL_INPUTS];
    struct vks_tensor *(*build)(struct vks_graph *graph, struct vks_tensor *const in[]);
    void (*reference)(double *const in[], double *out);
    uint32_t gradients;     // bit i: the gradient of input i is checked too
    double tolerance;       // of the output, relative to its largest value
};

extern const struct vks_trial vks_trials[];
extern const size_t vks_trial_count;

// selftest_states.c: the operators on states.
bool vks_selftest_steering(struct vks_gpu *gpu, double *error);
bool vks_selftest_sort(struct vks_gpu *gpu, double *error);
bool vks_selftest_wasserstein(struct vks_gpu *gpu, double *error);
bool vks_selftest_adam(struct vks_gpu *gpu, double *error);
bool vks_selftest_sgd(struct vks_gpu *gpu, double *error);
bool vks_selftest_cache(struct vks_gpu *gpu, double *error);

#endif
