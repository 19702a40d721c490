// Training: LinEAS, and methods without gradients on the same data.
#ifndef VKS_STEER_TRAIN_H
#define VKS_STEER_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "ops/ops.h"
#include "steer/steering.h"
#include "steer/subject.h"

enum vks_method {
    VKS_METHOD_LINEAS,        // Rodriguez et al., arXiv 2503.10679
    VKS_METHOD_LINEAR_ACT,    // Rodriguez et al., arXiv 2410.23054, layer by layer with the earlier maps active
    VKS_METHOD_LINEAR_ACT_AT_ONCE,
    VKS_METHOD_MEAN_ACT,
    VKS_METHOD_GAUSSIAN_ACT,
    VKS_METHOD_CAA,           // vectors.c
    VKS_METHOD_ACTADD,
    VKS_METHOD_REPE,
    VKS_METHOD_ITI,           // iti.c
    VKS_METHOD_AURA,          // experts.c
    VKS_METHOD_DETZERO,
    VKS_METHODS,
};

struct vks_train_progress {
    uint32_t step, steps;              // with those of the refit
    double first_loss, loss, floor;    // W_p^p by the reduction: of the first step, of this one, of identical laws
    double max_w, max_b;               // max |w - 1|, max |b|
    double path_share;                 // the larger of both over the sum of the learning rates so far allowed
    double seconds;                    // since the start of this process's part
    // Held-out prompts (VKS_SET_VALIDATION) against the targets, by the reduction of the loss: before training, at
    // the last tenth of the steps, and what identical laws would show; NaN without such prompts.
    double validation_first, validation, validation_floor;
};

struct vks_train_params {
    enum vks_method method;
    const char *sites, *loss_sites;    // regular expressions; loss_sites NULL: the intervened sites
    uint32_t steps, batch, micro_batch;  // micro_batch 0: the batch
    uint32_t refit;                    // steps after these, for the channels that gamma left, without gamma
    double lr, gamma, support;         // support > 0: find gamma by bisection (7 trainings before)
    double alpha;                      // iti: standard deviations; 0: the paper's
    uint32_t top_heads;                // iti: heads that move; 0: the paper's share of them
    double quantiles[2];               // linear-act: of the source, in percent, between which z is moved; 0, 0: all z
    double threshold;                  // detzero: average precision of an expert; 0: the default
    bool sgd;                          // proximal SGD instead of Adam
    bool sparse_group;                 // the published proximal step, with group shrink
    bool mean_scale;                   // --loss-scale mean: mean over channels instead of the sum
    uint32_t p;                        // of W_p^p: 1 or 2
    enum vks_position position;
    enum vks_pool pool;
    uint64_t seed;
    bool recompute;                    // compute a segment's activations again in backward
    bool force;                        // batch < 4; resume on another device
    const char *output;                // the steering file; OUT.state beside it while training
    const char *log_path;              // --log; NULL: none
    bool resume;
    uint32_t sample_steps;             // how the subject samples, for the steering file; 0: not noted
    double cfg_scale;                  // the same
    const char *sampler;               // the same: "lcm, timestep 399"; NULL: not noted
    // Steerings that are on already, in order, before the one that is trained: sources run with them, targets
    // without.
    const struct vks_steering *const *base;
    const float *base_strengths;
    uint32_t base_count;               // at most VKS_STEP_STRENGTHS - 1
    struct vks_exec_params exec;       // test settings; gpu comes from the subject
    // Called after every step; return false to stop cleanly (the state is saved). May be NULL.
    bool (*progress)(void *priv, const struct vks_train_progress *progress);
    void *progress_priv;
};

enum vks_train_result {
    VKS_TRAIN_DONE,
    VKS_TRAIN_FAILED,
    VKS_TRAIN_STOPPED,                 // by progress; OUT.state holds where (closed forms keep nothing)
};

// Whether the parameters make sense for sets of these sizes; reads subject->log and ->set_sizes only.
bool vks_train_check(const struct vks_subject *subject, const struct vks_train_params *params);

// Whether slices of `micro_batch` samples make up a batch.
bool vks_train_check_micro(const struct vks_log *log, uint32_t batch, uint32_t micro_batch);

// What a LinEAS training takes beside the model's weights, and a step of it.
struct vks_train_need {
    uint64_t bytes;                    // on the device: graphs, maps, moments, rows, targets
    uint64_t run_bytes;                // of these: of the largest graph
    double flop;
    uint32_t dispatches;
};
// Builds the graphs and plans them; nothing runs, so the subject's weights may be dry (models/weights.h).
bool vks_train_measure(const struct vks_subject *subject, const struct vks_train_params *params,
                       struct vks_train_need *need);

// Trains and writes params->output. `last` (may be NULL) receives the final figures.
enum vks_train_result vks_train(const struct vks_subject *subject, const struct vks_train_params *params,
                                struct vks_train_progress *last);

// Pooled activations of all prompts of a set at the given sites: rows (count, channels) of fp32 on the host, with the
// maps of `attachment` active (NULL: none). `batch` samples at a time; `draw` of the noise. Heap; NULL on failure.
float *vks_collect(const struct vks_subject *subject, const struct vks_site_list *sites, enum vks_prompt_set set,
                   enum vks_pool pool, uint32_t batch, uint32_t draw, struct vks_attachment *attachment,
                   const float *strengths);

// W_p^p between the columns of two sets of rows, (rows_a, channels) and (rows_b, channels), by the exact quantile
// coupling; out (channels). False: out of memory.
bool vks_wasserstein_host(const float *a, uint32_t rows_a, const float *b, uint32_t rows_b, uint32_t channels,
                          uint32_t p, double *out);

#endif
