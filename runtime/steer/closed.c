// Methods without gradients: the prompts run, and each site's maps follow from its pooled activations.
#include "steer/closed.h"

#include <stdlib.h>

#include "shaders/push.h"
#include "steer/collect.h"

static vks_site_estimate *const estimates[VKS_METHODS] = {
    [VKS_METHOD_LINEAR_ACT] = vks_act_maps,
    [VKS_METHOD_LINEAR_ACT_AT_ONCE] = vks_act_maps,
    [VKS_METHOD_MEAN_ACT] = vks_act_maps,
    [VKS_METHOD_GAUSSIAN_ACT] = vks_act_maps,
    [VKS_METHOD_CAA] = vks_vector_maps,
    [VKS_METHOD_ACTADD] = vks_vector_maps,
    [VKS_METHOD_REPE] = vks_vector_maps,
    [VKS_METHOD_AURA] = vks_expert_maps,
    [VKS_METHOD_DETZERO] = vks_expert_maps,
};

bool vks_closed_report(const struct vks_train_params *params, uint32_t step, uint32_t steps)
{
    const struct vks_train_progress progress = {.step = step, .steps = steps};
    return !params->progress || params->progress(params->progress_priv, &progress);
}

bool vks_closed_attach(const struct vks_subject *subject, const struct vks_train_params *params,
                       const struct vks_steering *steering, float strengths[], struct vks_attachment **attachment)
{
    const struct vks_steering *list[VKS_STEP_STRENGTHS];
    uint32_t count = params->base_count;
    *attachment = NULL;
    for (uint32_t i = 0; i < count; i++) {
        list[i] = params->base[i];
        strengths[i] = params->base_strengths[i];
    }
    if (steering) {
        strengths[count] = 1;
        list[count++] = steering;
    }
    return count == 0 || (*attachment = vks_attachment_create(subject->gpu, list, count)) != NULL;
}

static bool estimate(const struct vks_subject *subject, const struct vks_train_params *params,
                     const struct vks_evidence *evidence, size_t site, struct vks_steering *steering)
{
    return estimates[params->method](params, evidence, &steering->sites.slots[site], steering) ||
           vks_fail(subject->log, VKS_NO_MEMORY);
}

// Layer by layer: the sources run with the maps of all earlier sites active. One recorded graph serves all sites, for
// only the maps change; the site to be estimated still has the identity, so its pooled rows are what the earlier ones
// leave.
static enum vks_train_result incremental(const struct vks_subject *subject, const struct vks_train_params *params,
                                         struct vks_steering *steering, const struct vks_evidence *evidence,
                                         float *source)
{
    const struct vks_site_list *sites = &steering->sites;
    float strengths[VKS_STEP_STRENGTHS] = {0};
    enum vks_train_result result = VKS_TRAIN_DONE;
    struct vks_attachment *attachment;
    struct vks_collector *collector = NULL;
    if (vks_closed_attach(subject, params, steering, strengths, &attachment))
        collector = vks_collector_create(subject, sites, params->pool, params->batch,
                                         subject->set_sizes[VKS_SET_SOURCE], attachment, &params->exec);
    if (!collector)
        result = VKS_TRAIN_FAILED;
    for (size_t l = 0; l < sites->count && result == VKS_TRAIN_DONE; l++) {
        const bool last = l + 1 == sites->count;
        if (!vks_collector_run(collector, VKS_SET_SOURCE, 0, strengths, source) ||
            !estimate(subject, params, evidence, l, steering) ||
            !vks_attachment_update(attachment, params->base_count, steering))
            result = VKS_TRAIN_FAILED;
        else if (!vks_closed_report(params, (uint32_t)l + 1, (uint32_t)sites->count) && !last)
            result = VKS_TRAIN_STOPPED;
    }
    vks_collector_destroy(&collector);
    vks_attachment_destroy(&attachment);
    return result;
}

static enum vks_train_result at_once(const struct vks_subject *subject, const struct vks_train_params *params,
                                     struct vks_steering *steering, const struct vks_evidence *evidence)
{
    for (size_t l = 0; l < steering->sites.count; l++)
        if (!estimate(subject, params, evidence, l, steering))
            return VKS_TRAIN_FAILED;
    vks_closed_report(params, 1, 1);
    return VKS_TRAIN_DONE;
}

enum vks_train_result vks_train_closed(const struct vks_subject *subject, const struct vks_train_params *params,
                                       struct vks_steering *steering)
{
    if (params->method == VKS_METHOD_ITI)
        return vks_train_iti(subject, params, steering);
    const struct vks_site_list *sites = &steering->sites;
    const uint32_t batch = params->batch;
    float *target = vks_collect(subject, sites, VKS_SET_TARGET, params->pool, batch, 0, NULL, NULL), *source = NULL;
    float strengths[VKS_STEP_STRENGTHS] = {0};
    struct vks_attachment *base = NULL;
    if (target && vks_closed_attach(subject, params, NULL, strengths, &base))
        source = vks_collect(subject, sites, VKS_SET_SOURCE, params->pool, batch, 0, base, strengths);
    vks_attachment_destroy(&base);
    const struct vks_evidence evidence = {
        .source = source,
        .target = target,
        .source_rows = subject->set_sizes[VKS_SET_SOURCE],
        .target_rows = subject->set_sizes[VKS_SET_TARGET],
        .channels = sites->channels,
    };
    enum vks_train_result result = VKS_TRAIN_FAILED;
    if (source && params->method == VKS_METHOD_LINEAR_ACT)
        result = incremental(subject, params, steering, &evidence, source);
    else if (source)
        result = at_once(subject, params, steering, &evidence);
    free(target);
    free(source);
    return result;
}
