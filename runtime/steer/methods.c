#include "steer/methods.h"

#include <math.h>

#include "base/text.h"

// Li et al. 2023 (ITI, arXiv 2306.03341), section 5: 48 of LLaMA-7B's 1,024 heads, moved by 15 standard deviations.
#define ITI_ALPHA 15.0
// Of the average precision that makes an expert no paper gives a number.
#define EXPERT_PRECISION 0.9

static const char *const names[VKS_METHODS + 1] = {
    [VKS_METHOD_LINEAS] = "lineas",
    [VKS_METHOD_LINEAR_ACT] = "linear-act",
    [VKS_METHOD_LINEAR_ACT_AT_ONCE] = "linear-act-at-once",
    [VKS_METHOD_MEAN_ACT] = "mean-act",
    [VKS_METHOD_GAUSSIAN_ACT] = "gaussian-act",
    [VKS_METHOD_CAA] = "caa",
    [VKS_METHOD_ACTADD] = "actadd",
    [VKS_METHOD_REPE] = "repe",
    [VKS_METHOD_ITI] = "iti",
    [VKS_METHOD_AURA] = "aura",
    [VKS_METHOD_DETZERO] = "detzero",
};

static const struct vks_method_info methods[VKS_METHODS] = {
    [VKS_METHOD_LINEAS] = {.place = VKS_PLACE_MODEL},
    [VKS_METHOD_LINEAR_ACT] = {.transport = true, .place = VKS_PLACE_TRANSPORT},
    [VKS_METHOD_LINEAR_ACT_AT_ONCE] = {.transport = true, .place = VKS_PLACE_TRANSPORT},
    [VKS_METHOD_MEAN_ACT] = {.transport = true, .place = VKS_PLACE_TRANSPORT},
    [VKS_METHOD_GAUSSIAN_ACT] = {.transport = true, .place = VKS_PLACE_TRANSPORT},
    [VKS_METHOD_CAA] = {.pairs = true, .pool = VKS_POOL_LAST, .place = VKS_PLACE_RESIDUAL},
    [VKS_METHOD_ACTADD] = {.pairs = true, .pool = VKS_POOL_LAST, .place = VKS_PLACE_RESIDUAL},
    [VKS_METHOD_REPE] = {.pairs = true, .pool = VKS_POOL_LAST, .place = VKS_PLACE_RESIDUAL},
    [VKS_METHOD_ITI] = {.pool = VKS_POOL_LAST, .place = VKS_PLACE_HEADS},
    [VKS_METHOD_AURA] = {.pool = VKS_POOL_MAX, .place = VKS_PLACE_FEED_FORWARD},
    [VKS_METHOD_DETZERO] = {.place = VKS_PLACE_FEED_FORWARD},
};

const struct vks_method_info *vks_method_info(enum vks_method method)
{
    return &methods[method];
}

const char *const *vks_method_names(void)
{
    return names;
}

static bool check_pairs(const struct vks_log *log, enum vks_method method, uint32_t sources, uint32_t targets)
{
    const char *name = names[method];
    if (sources != targets)
        return vks_fail(log, "%s takes pairs, source prompt i with target prompt i, and there are %u and %u of them: "
                        "give as many of one as of the other", name, sources, targets);
    return method != VKS_METHOD_ACTADD || sources == 1 ||
           vks_fail(log, "actadd takes one pair of prompts, and there are %u: give one on each side, or take caa, "
                    "the mean over pairs", sources);
}

static bool check_experts(const struct vks_log *log, double threshold, uint32_t sources, uint32_t targets)
{
    const double share = (double)sources / ((double)sources + targets);
    if (!(threshold > 0) || threshold >= 1)
        return vks_fail(log, "--threshold is an average precision, above 0 and below 1");
    return threshold > share ||
           vks_fail(log, "--threshold %g: any channel reaches the share of source prompts, %.3g: give a larger one, "
                    "or more target prompts", threshold, share);
}

static bool check_ranges(const struct vks_log *log, const struct vks_train_params *p)
{
    const double low = p->quantiles[0], high = p->quantiles[1];
    const bool linear = p->method == VKS_METHOD_LINEAR_ACT || p->method == VKS_METHOD_LINEAR_ACT_AT_ONCE;
    if ((low != 0 || high != 0) && !linear)
        return vks_fail(log, "--quantiles is for --method linear-act and linear-act-at-once, not %s: leave it out",
                        names[p->method]);
    if ((low != 0 || high != 0) && !(low >= 0 && low < high && high <= 100))
        return vks_fail(log, "--quantiles %g:%g: give percentiles from 0 to 100, the lower one first", low, high);
    for (uint32_t i = 0; i < p->base_count && p->method == VKS_METHOD_LINEAS; i++)
        if (p->base[i]->range)
            return vks_fail(log, "LinEAS cannot be trained through a steering that acts within ranges (linear-act "
                            "with --quantiles), which has no gradient: leave that --steer out");
    return true;
}

bool vks_method_check(const struct vks_subject *subject, const struct vks_train_params *p)
{
    const struct vks_log *log = subject->log;
    const uint32_t sources = subject->set_sizes[VKS_SET_SOURCE], targets = subject->set_sizes[VKS_SET_TARGET];
    const char *name = names[p->method];
    struct vks_train_params full = *p;
    vks_method_defaults(&full);
    if (p->method != VKS_METHOD_ITI && (p->alpha != 0 || p->top_heads))
        return vks_fail(log, "--alpha and --top-heads are for --method iti, not %s: leave them out", name);
    if (p->method != VKS_METHOD_DETZERO && p->threshold != 0)
        return vks_fail(log, "--threshold is for --method detzero, not %s: leave it out", name);
    if (!check_ranges(log, p))
        return false;
    if (methods[p->method].pairs && !check_pairs(log, p->method, sources, targets))
        return false;
    if (p->method == VKS_METHOD_DETZERO && !check_experts(log, full.threshold, sources, targets))
        return false;
    if (p->method == VKS_METHOD_ITI && (sources < 5 || targets < 5))
        return vks_fail(log, "iti keeps every fifth prompt of each side to rank its probes by: give at least 5 of "
                        "each");
    return isfinite(full.alpha) || vks_fail(log, "--alpha must be a finite number");
}

void vks_method_defaults(struct vks_train_params *p)
{
    if (p->method == VKS_METHOD_ITI && p->alpha == 0)
        p->alpha = ITI_ALPHA;
    if (p->method == VKS_METHOD_DETZERO && p->threshold == 0)
        p->threshold = EXPERT_PRECISION;
}

bool vks_method_describe(const struct vks_train_params *p, struct vks_steering *s)
{
    if (p->method == VKS_METHOD_ITI)  // iti.c notes how many heads there were
        return vks_steering_note(s, "alpha", "%s", VKS_NUMBER("%g", p->alpha));
    if (p->quantiles[1] > 0)
        return vks_steering_note(s, "quantiles", "%s:%s", VKS_NUMBER("%g", p->quantiles[0]),
                                 VKS_NUMBER("%g", p->quantiles[1]));
    if (p->method == VKS_METHOD_DETZERO)
        return vks_steering_note(s, "threshold", "%s", VKS_NUMBER("%g", p->threshold));
    return true;
}
