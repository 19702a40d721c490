// Mean-AcT, Gaussian-AcT and Linear-AcT (Rodriguez et al. 2024, arXiv 2410.23054, section 3): one affine map a
// channel from the pooled source values a and target values b of that channel.
//
//     mean      w = 1,                         bias = mean b - mean a
//     gaussian  w = std b / std a,             bias = mean b - w mean a
//     linear    w = Σ ω ã b̃ / Σ ω ã²,          bias = mean b - w mean a     (ã, b̃ sorted and centred, ω the weights of
//               the quantile coupling; the authors confirm ã² where the arXiv text has b̃²)
//
// Channels with a standard deviation of at most 1e-4 keep w = 1 (mean) or stay the identity.
#include "steer/closed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shaders/push.h"
#include "steer/collect.h"
#include "steer/statistics.h"

#define MIN_STD 1e-4

struct coupling {
    int32_t *pairs;
    float *weights;
    uint32_t count;
};

static void linear_map(const double *a, uint32_t rows_a, const double *b, uint32_t rows_b,
                       const struct coupling *coupling, float *w, float *bias)
{
    const double mean_a = vks_mean(a, rows_a), mean_b = vks_mean(b, rows_b);
    double ab = 0, aa = 0;
    for (uint32_t i = 0; i < coupling->count; i++) {
        const double x = a[coupling->pairs[2 * i]] - mean_a, y = b[coupling->pairs[2 * i + 1]] - mean_b;
        ab += coupling->weights[i] * x * y;
        aa += coupling->weights[i] * x * x;
    }
    if (sqrt(aa) <= MIN_STD)
        return;
    *w = (float)(ab / aa);
    *bias = (float)(mean_b - ab / aa * mean_a);
}

static void gaussian_map(const double *a, uint32_t rows_a, const double *b, uint32_t rows_b, float *w, float *bias)
{
    const double mean_a = vks_mean(a, rows_a), mean_b = vks_mean(b, rows_b);
    const double std_a = sqrt(vks_variance(a, rows_a, mean_a)), std_b = sqrt(vks_variance(b, rows_b, mean_b));
    if (std_a <= MIN_STD)
        return;
    *w = (float)(std_b / std_a);
    *bias = (float)(mean_b - std_b / std_a * mean_a);
}

// Maps for the channels [first, first + count) of the flat arrays.
static bool estimate(const struct vks_subject *subject, enum vks_method method, const float *a, const float *b,
                     uint32_t channels, uint32_t first, uint32_t count, struct vks_steering *steering)
{
    const uint32_t rows_a = subject->set_sizes[VKS_SET_SOURCE], rows_b = subject->set_sizes[VKS_SET_TARGET];
    struct coupling coupling = {
        .pairs = malloc(2 * ((size_t)rows_a + rows_b) * sizeof(*coupling.pairs)),
        .weights = malloc(((size_t)rows_a + rows_b) * sizeof(*coupling.weights)),
    };
    double *x = malloc(((size_t)rows_a + rows_b) * sizeof(*x)), *y = x ? x + rows_a : NULL;
    const bool ok = coupling.pairs && coupling.weights && x;
    if (ok)
        coupling.count = vks_quantile_coupling(rows_a, rows_b, coupling.pairs, coupling.weights);
    for (uint32_t c = first; c < first + count && ok; c++) {
        vks_sorted_column(a, rows_a, channels, c, x);
        vks_sorted_column(b, rows_b, channels, c, y);
        if (method == VKS_METHOD_MEAN_ACT)
            steering->b[c] = (float)(vks_mean(y, rows_b) - vks_mean(x, rows_a));
        else if (method == VKS_METHOD_GAUSSIAN_ACT)
            gaussian_map(x, rows_a, y, rows_b, &steering->w[c], &steering->b[c]);
        else
            linear_map(x, rows_a, y, rows_b, &coupling, &steering->w[c], &steering->b[c]);
    }
    free(coupling.pairs);
    free(coupling.weights);
    free(x);
    return ok || vks_fail(subject->log, VKS_NO_MEMORY);
}

static bool report(const struct vks_train_params *params, uint32_t step, uint32_t steps)
{
    const struct vks_train_progress progress = {.step = step, .steps = steps};
    return !params->progress || params->progress(params->progress_priv, &progress);
}

// The base steerings and, unless NULL, one more.
static struct vks_attachment *attach_with(const struct vks_subject *subject, const struct vks_train_params *params,
                                          const struct vks_steering *steering, float strengths[VKS_STEP_STRENGTHS])
{
    const struct vks_steering *list[VKS_STEP_STRENGTHS];
    uint32_t count = params->base_count;
    for (uint32_t i = 0; i < count; i++) {
        list[i] = params->base[i];
        strengths[i] = params->base_strengths[i];
    }
    if (steering) {
        strengths[count] = 1;
        list[count++] = steering;
    }
    return vks_attachment_create(subject->gpu, list, count);
}

// Layer by layer: the sources run with the maps of all earlier sites active. One recorded graph serves all sites, for
// only the maps change; the site to be estimated still has the identity, so its pooled rows are what the earlier ones
// leave.
static enum vks_train_result incremental(const struct vks_subject *subject, const struct vks_train_params *params,
                                         struct vks_steering *steering, const float *target, float *source)
{
    const struct vks_site_list *sites = &steering->sites;
    float strengths[VKS_STEP_STRENGTHS] = {0};
    enum vks_train_result result = VKS_TRAIN_DONE;
    struct vks_attachment *attachment = attach_with(subject, params, steering, strengths);
    struct vks_collector *collector = NULL;
    if (attachment)
        collector = vks_collector_create(subject, sites, params->pool, params->batch,
                                         subject->set_sizes[VKS_SET_SOURCE], attachment, &params->exec);
    if (!collector)
        result = VKS_TRAIN_FAILED;
    for (size_t l = 0; l < sites->count && result == VKS_TRAIN_DONE; l++) {
        const bool last = l + 1 == sites->count;
        if (!vks_collector_run(collector, VKS_SET_SOURCE, 0, strengths, source) ||
            !estimate(subject, params->method, source, target, sites->channels, sites->slots[l].first,
                      sites->slots[l].channels, steering) ||
            !vks_attachment_update(attachment, params->base_count, steering))
            result = VKS_TRAIN_FAILED;
        else if (!report(params, (uint32_t)l + 1, (uint32_t)sites->count) && !last)
            result = VKS_TRAIN_STOPPED;
    }
    vks_collector_destroy(&collector);
    vks_attachment_destroy(&attachment);
    return result;
}

enum vks_train_result vks_train_closed(const struct vks_subject *subject, const struct vks_train_params *params,
                                       struct vks_steering *steering)
{
    const struct vks_site_list *sites = &steering->sites;
    const uint32_t batch = params->batch;
    float *target = vks_collect(subject, sites, VKS_SET_TARGET, params->pool, batch, 0, NULL, NULL);
    float strengths[VKS_STEP_STRENGTHS] = {0};
    struct vks_attachment *base = params->base_count ? attach_with(subject, params, NULL, strengths) : NULL;
    float *source = target && (base || !params->base_count)
                        ? vks_collect(subject, sites, VKS_SET_SOURCE, params->pool, batch, 0, base, strengths) : NULL;
    vks_attachment_destroy(&base);
    enum vks_train_result result = source ? VKS_TRAIN_DONE : VKS_TRAIN_FAILED;
    if (source && params->method == VKS_METHOD_LINEAR_ACT)
        result = incremental(subject, params, steering, target, source);
    else if (source &&
             !estimate(subject, params->method, source, target, sites->channels, 0, sites->channels, steering))
        result = VKS_TRAIN_FAILED;
    else if (source)
        report(params, 1, 1);
    free(target);
    free(source);
    return result;
}
