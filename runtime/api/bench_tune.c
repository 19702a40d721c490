// The kernels that are fastest on a device, for the heaviest layers of a model: what `bench --tune` finds out.
#include "api/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/matmul.h"

#define WORTHWHILE 0.9  // of the time of the table's own choice
#define HOPELESS 1.5    // times the best so far: given up
#define MOST_TUNED 6    // layers of a use: those that make up most of the work

static enum vks_matmul_use use_of(const struct vks_bench_layer *s)
{
    uint32_t rows = 1;
    for (uint32_t i = 0; i + 1 < s->x_rank; i++)
        rows *= s->x[i];
    return strcmp(s->op, "conv2d") == 0 ? VKS_MATMUL_CONVOLUTION : vks_matmul_use(rows);
}

static double work_of(const struct vks_bench_layer *s)
{
    double work = s->count;
    for (uint32_t i = 0; i + 1 < s->x_rank; i++)
        work *= s->x[i];
    for (uint32_t i = 0; i < s->w_rank; i++)
        work *= s->w[i];
    return work / (s->conv.stride > 1 ? s->conv.stride * s->conv.stride : 1);
}

static int by_work(const void *a, const void *b)
{
    const double x = work_of(a), y = work_of(b);
    return (x < y) - (x > y);
}

// What is tried on what.
struct trials {
    const struct vks_bench *bench;
    const struct vks_bench_layer *layers;  // the heaviest first
    size_t count;
};

// Seconds of the heaviest layers of a use, forwards and backwards, as often as the model has them; given up above
// `most` (0: never). Negative: failed.
static double time_use(const struct trials *t, enum vks_matmul_use use, double most, double *flop, uint32_t *layers)
{
    double sum = 0;
    uint32_t kinds = 0;
    *flop = 0;
    *layers = 0;
    for (size_t i = 0; i < t->count && kinds < MOST_TUNED && (most == 0 || sum <= most); i++) {
        if (vks_bench_stopped(t->bench))
            break;
        const struct vks_bench_layer *layer = &t->layers[i];
        if (use_of(layer) != use)
            continue;
        for (int gradient = 0; gradient < 2; gradient++) {
            struct vksteer_bench_row row = {0};
            double one = 0;
            const double seconds = vks_bench_time_layer(t->bench, layer, gradient, &one, &row);
            if (seconds < 0)
                return -1;
            sum += layer->count * seconds;
            *flop += layer->count * one;
        }
        *layers += layer->count;
        kinds++;
    }
    return sum;
}

// A use with an override, 1 + the variant, or with 0 what the table chooses for each layer. *seconds is 0 when the
// model has no such layer. Reports what it took.
static bool try_variant(const struct trials *t, enum vks_matmul_use use, uint8_t own, double most, double *seconds)
{
    static const char *const names[] = {"at most 16 rows", "more rows", "convolutions"};
    uint8_t trial[VKS_MATMUL_USES] = {0};
    uint32_t layers;
    double flop;
    char what[64];
    trial[use] = own;
    vks_gpu_tune(t->bench->session->gpu, trial);
    *seconds = time_use(t, use, most, &flop, &layers);
    if (*seconds > 0 && !vks_bench_stopped(t->bench)) {
        snprintf(what, sizeof(what), "%s: %s%s", names[use],
                 own ? vks_matmul_kernel(own - 1)->name : "the table's choice",
                 own && *seconds > most ? " (given up)" : "");
        vks_bench_report(t->bench, (struct vksteer_bench_row){
            .name = "tune", .type = "f32", .count = layers, .what = what}, *seconds, flop);
    }
    return *seconds >= 0;
}

// The best variant of a use into *own: 1 + variant where it is worth an override, otherwise 0.
static bool tune_use(const struct trials *t, enum vks_matmul_use use, uint8_t *own)
{
    const struct vks_gpu_limits *limits = vks_gpu_limits(t->bench->session->gpu);
    double reference = 0, best;
    *own = 0;
    if (!try_variant(t, use, 0, 0, &reference))
        return false;
    best = WORTHWHILE * reference;
    for (enum vks_matmul_variant v = 0; v < VKS_MATMUL_VARIANTS && reference > 0; v++) {
        double seconds;
        const uint8_t trial = (uint8_t)(v + 1);
        if (vks_bench_stopped(t->bench))
            break;
        if (!vks_matmul_runs(limits, use, v))
            continue;
        if (!try_variant(t, use, trial, HOPELESS * best, &seconds))
            return false;
        if (seconds < best && !vks_bench_stopped(t->bench)) {
            best = seconds;
            *own = trial;
        }
    }
    return true;
}

bool vksteer_tune(vksteer_session *session, vksteer_model *model, const struct vksteer_bench_params *params,
                  char **path, bool *written)
{
    static const uint8_t none[VKS_MATMUL_USES] = {0};
    const struct vks_bench bench = {session, model, &session->bridge.log, params, true};
    uint8_t own[VKS_MATMUL_USES] = {0}, before[VKS_MATMUL_USES];
    size_t count = 0;
    *path = NULL;
    *written = false;
    memcpy(before, vks_gpu_limits(session->gpu)->matmul, sizeof(before));
    vks_gpu_tune(session->gpu, none);
    struct vks_bench_layer *layers = vks_bench_layers(&bench, &count);
    bool ok = layers != NULL;
    if (ok)
        qsort(layers, count, sizeof(*layers), by_work);
    const struct trials trials = {&bench, layers, count};
    for (int use = 0; use < VKS_MATMUL_USES && ok && !vks_bench_stopped(&bench); use++)
        ok = tune_use(&trials, (enum vks_matmul_use)use, &own[use]);
    free(layers);
    if (!ok || vks_bench_stopped(&bench)) {
        vks_gpu_tune(session->gpu, before);
        return ok;
    }
    vks_gpu_tune(session->gpu, own);
    *path = vks_api_tuning_path(session, true);
    *written = memcmp(own, none, sizeof(none)) != 0;
    return *path && vks_api_tuning_save(session, *path, own);
}
