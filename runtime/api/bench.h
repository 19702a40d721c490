// Private to runtime/api: what the files of the benchmark share.
#ifndef VKS_API_BENCH_H
#define VKS_API_BENCH_H

#include "api/internal.h"
#include "ops/ops.h"

struct vks_bench {
    vksteer_session *session;
    vksteer_model *model;
    const struct vks_log *log;
    const struct vksteer_bench_params *params;
    bool tuning;               // the least time and not the median: what else runs on the machine only adds
};

// Whether the caller wants an end.
bool vks_bench_stopped(const struct vks_bench *bench);
// Hands a row to the caller, with what follows from seconds and operations (flop 0: none to speak of).
void vks_bench_report(const struct vks_bench *bench, struct vksteer_bench_row row, double seconds, double flop);
// Sorts the values; 0 of none.
double vks_bench_median(double *values, size_t count);

// A linear layer or convolution.
struct vks_bench_layer {
    const char *op, *name;       // "linear", "conv2d"; the weight's name, or NULL
    enum vks_dtype dtype;        // of the weight
    uint32_t x[4], w[4], x_rank, w_rank;
    uint32_t count;              // how often the model has it
    struct vks_conv2d conv;
};
// The distinct layers of a training step's forward pass; heap. NULL after one message.
struct vks_bench_layer *vks_bench_layers(const struct vks_bench *bench, size_t *count);
// Seconds of a layer, forward or its input gradient; negative: failed. *flop and the row's m, n, k are its size.
double vks_bench_time_layer(const struct vks_bench *bench, const struct vks_bench_layer *layer, bool gradient,
                            double *flop, struct vksteer_bench_row *row);

// bench_model.c
bool vks_bench_train(const struct vks_bench *bench);
bool vks_bench_apply(const struct vks_bench *bench);

#endif
