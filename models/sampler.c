#include "models/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"

struct vks_sampler {
    const struct vks_log *log;
    uint32_t vocabulary;
    float *logits;                             // with the penalty
    struct vks_sampler_candidate *candidates;  // (vocabulary)
};

bool vks_sampler_check(const struct vks_log *log, const struct vks_sampler_params *params)
{
    const struct {
        const char *name;
        double value, most;
    } rows[] = {
        {"temperature", params->temperature, 1000},
        {"top-p", params->top_p, 1},
        {"min-p", params->min_p, 1},
        {"repeat penalty", params->repeat_penalty, 1000},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!(rows[i].value >= 0 && rows[i].value <= rows[i].most))
            return vks_fail(log, "a %s of %g makes no sense: 0 to %g is the range", rows[i].name, rows[i].value,
                            rows[i].most);
    if (params->repeat_penalty != 0 && params->repeat_penalty < 0.01)
        return vks_fail(log, "a repeat penalty of %g makes no sense: 1 is none, 1.1 a common one",
                        params->repeat_penalty);
    return true;
}

struct vks_sampler *vks_sampler_create(const struct vks_log *log, uint32_t vocabulary)
{
    struct vks_sampler *sampler = calloc(1, sizeof(*sampler));
    if (!sampler)
        return vks_fail_null(log, VKS_NO_MEMORY);
    sampler->log = log;
    sampler->vocabulary = vocabulary;
    sampler->logits = malloc(vocabulary * sizeof(*sampler->logits));
    sampler->candidates = malloc(vocabulary * sizeof(*sampler->candidates));
    if (!sampler->logits || !sampler->candidates) {
        vks_fail(log, VKS_NO_MEMORY);
        vks_sampler_destroy(&sampler);
    }
    return sampler;
}

void vks_sampler_destroy(struct vks_sampler **address)
{
    struct vks_sampler *sampler = *address;
    if (!sampler)
        return;
    *address = NULL;
    free(sampler->logits);
    free(sampler->candidates);
    free(sampler);
}

// Copies the logits with the penalty; the number of the largest, -1 when one is no number.
static int64_t penalise(struct vks_sampler *s, const struct vks_sampler_params *params, const float *logits,
                        const int32_t *history, size_t count)
{
    const double r = params->repeat_penalty;
    const size_t last = params->repeat_last ? params->repeat_last : 64;
    memcpy(s->logits, logits, s->vocabulary * sizeof(*logits));
    for (size_t i = count > last ? count - last : 0; i < count && r != 0 && r != 1; i++) {
        const int32_t id = history[i];
        if (id >= 0 && (uint32_t)id < s->vocabulary)  // from the original: once however often it stands there
            s->logits[id] = (float)(logits[id] > 0 ? logits[id] / r : logits[id] * r);
    }
    int64_t top = 0;
    for (uint32_t i = 0; i < s->vocabulary; i++) {
        if (!isfinite(logits[i]))
            return -1;
        top = s->logits[i] > s->logits[top] ? i : top;
    }
    return top;
}

static int by_logit(const void *a, const void *b)
{
    const struct vks_sampler_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

// The tokens whose logit / t is at most `depth` below the largest, in order, with exp(their distance) as p.
static size_t gather(struct vks_sampler *s, float top, double t, double depth)
{
    size_t count = 0;
    for (uint32_t i = 0; i < s->vocabulary; i++) {
        const double down = ((double)s->logits[i] - top) / t;
        if (down >= -depth)
            s->candidates[count++] = (struct vks_sampler_candidate){(int32_t)i, s->logits[i], exp(down)};
    }
    qsort(s->candidates, count, sizeof(*s->candidates), by_logit);
    return count;
}

static double sum_of(const struct vks_sampler_candidate *candidates, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += candidates[i].p;
    return sum;
}

// How many of the first hold `mass`; at least one, and at most all.
static size_t prefix(const struct vks_sampler_candidate *candidates, size_t count, double mass)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        if ((sum += candidates[i].p) >= mass)
            return i + 1;
    return count;
}

const struct vks_sampler_candidate *vks_sampler_filter(struct vks_sampler *s, const struct vks_sampler_params *params,
                                                       const float *logits, const int32_t *history,
                                                       size_t history_count, double enough, size_t *count)
{
    const bool nucleus = params->top_p > 0 && params->top_p < 1;
    const double t = params->temperature;
    const int64_t first = penalise(s, params, logits, history, history_count);
    if (first < 0)
        return vks_fail_null(s->log, "the model's output is not a number: lower the strength of steerings, or run "
                             "`vksteer devices --selftest`");
    const float top = s->logits[first];
    s->candidates[0] = (struct vks_sampler_candidate){(int32_t)first, top, 1};
    *count = 1;
    if (t == 0)
        return s->candidates;
    double total = 0;
    for (uint32_t i = 0; i < s->vocabulary; i++)
        total += exp(((double)s->logits[i] - top) / t);
    // Sorting the whole vocabulary would take longer than the model: look deeper until what is cut off is there. Of
    // what top-k leaves the sums begin anew.
    const size_t k = params->top_k && params->top_k < s->vocabulary ? params->top_k : 0;
    const double mass = (nucleus ? params->top_p : params->min_p > 0 ? 0 : enough) * total;
    double depth = params->min_p > 0 ? fmax(-log(params->min_p) * (1 + 1e-9), 1) : 4;
    for (*count = 0;; depth *= 2) {
        *count = gather(s, top, t, depth);
        if (*count == s->vocabulary || depth > 1e9 ||
            (k ? *count >= k : params->min_p > 0 && !nucleus ? true : sum_of(s->candidates, *count) >= mass))
            break;
    }
    if (k && *count > k)
        *count = k;
    total = k ? sum_of(s->candidates, *count) : total;
    if (nucleus)
        *count = prefix(s->candidates, *count, params->top_p * total);
    while (params->min_p > 0 && *count > 1 && s->candidates[*count - 1].p < params->min_p)
        --*count;
    if (k || nucleus || params->min_p > 0)
        total = sum_of(s->candidates, *count);
    for (size_t i = 0; i < *count; i++)
        s->candidates[i].p /= total;
    return s->candidates;
}

double vks_sampler_uniform(const struct vks_sampler_place *place)
{
    uint32_t counter[] = {place->offset, place->stream, 0, VKS_NOISE_TOKENS};
    const uint32_t key[] = {(uint32_t)place->seed, (uint32_t)(place->seed >> 32)};
    vks_philox(counter, key);
    return (counter[0] + 0.5) / 4294967296.0;
}

int32_t vks_sampler_draw(struct vks_sampler *s, const struct vks_sampler_params *params, const float *logits,
                         const int32_t *history, size_t history_count, const struct vks_sampler_place *place)
{
    size_t count;
    const double u = vks_sampler_uniform(place);
    const struct vks_sampler_candidate *candidates =
        vks_sampler_filter(s, params, logits, history, history_count, u, &count);
    if (!candidates)
        return -1;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        if ((sum += candidates[i].p) > u)
            return candidates[i].id;
    return candidates[count - 1].id;
}
