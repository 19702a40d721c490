#include "steer/validate.h"

#include <stdlib.h>

#include "steer/collect.h"
#include "steer/statistics.h"

bool vks_validation_measure(const struct vks_validation *v, const struct vks_steering *steering, double *value)
{
    const struct vks_train_params *p = v->params;
    const struct vks_subject *subject = v->subject;
    const uint32_t rows = subject->set_sizes[VKS_SET_VALIDATION], targets = subject->set_sizes[VKS_SET_TARGET];
    const struct vks_steering *list[VKS_STEP_STRENGTHS];
    float strengths[VKS_STEP_STRENGTHS] = {0};
    for (uint32_t i = 0; i < p->base_count; i++) {
        list[i] = p->base[i];
        strengths[i] = p->base_strengths[i];
    }
    list[p->base_count] = steering;
    strengths[p->base_count] = 1;
    struct vks_attachment *attachment = vks_attachment_create(subject->gpu, list, p->base_count + 1);
    const struct vks_exec_params exec = {.lender = v->lender};
    const uint32_t batch = p->micro_batch ? p->micro_batch : p->batch;
    struct vks_collector *collector =
        attachment ? vks_collector_create(subject, v->loss, p->pool, batch, rows, attachment, &exec) : NULL;
    float *pooled = malloc((size_t)rows * v->loss->channels * sizeof(*pooled));
    double *columns = malloc((size_t)v->loss->channels * sizeof(*columns));
    bool ok = collector && (pooled || vks_fail(subject->log, VKS_NO_MEMORY)) &&
              vks_collector_run(collector, VKS_SET_VALIDATION, 0, strengths, pooled);
    vks_collector_destroy(&collector);
    if (ok && !(columns && vks_wasserstein_host(pooled, rows, v->target, targets, v->loss->channels, p->p, columns)))
        ok = vks_fail(subject->log, VKS_NO_MEMORY);
    *value = 0;
    for (size_t s = 0; s < v->loss->count && ok; s++) {
        const struct vks_site_slot *slot = &v->loss->slots[s];
        for (uint32_t c = 0; c < slot->channels; c++)
            *value += vks_loss_weight(v->loss, slot, p->mean_scale) * columns[slot->first + c];
    }
    free(columns);
    free(pooled);
    vks_attachment_destroy(&attachment);
    return ok;
}

bool vks_validation_floor(const struct vks_validation *v, double *out)
{
    const struct vks_loss_floor in = {
        .sites = v->loss,
        .target = v->target,
        .target_rows = v->subject->set_sizes[VKS_SET_TARGET],
        .rows = v->subject->set_sizes[VKS_SET_VALIDATION],
        .p = v->params->p,
        .mean_scale = v->params->mean_scale,
    };
    return vks_loss_floor(&in, out) || vks_fail(v->subject->log, VKS_NO_MEMORY);
}

bool vks_validation_due(uint32_t step, uint32_t steps)
{
    return step > 0 && (uint64_t)step * 10 / steps != ((uint64_t)step - 1) * 10 / steps;
}
