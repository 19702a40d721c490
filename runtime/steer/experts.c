// Channels that detect what the source prompts have, and how to quieten them. A channel is an expert by how well its
// pooled values tell source prompts (positives) from target prompts.
//
//     aura      w = 1 - 2 (AUROC - 0.5) where AUROC > 0.5, bias = 0: the better a detector, the weaker it becomes
//               (Suau et al. 2024, Whispering experts, arXiv 2407.12824, section 3). Pooled by the maximum over
//               tokens.
//     detzero   w = 0, bias = mean b where the average precision exceeds a threshold: the channel says what it says
//               on target prompts, whatever it reads (Suau et al. 2022, Self-conditioning pre-trained language
//               models, arXiv 2110.02802, sections 3 and 4; so named in arXiv 2407.12824 and 2410.23054). Pooled by
//               the mean over tokens, which is then also what the channel is set to.
//
// All other channels stay the identity.
#include "steer/experts.h"

#include <stdlib.h>

#include "steer/closed.h"

static int ascending(const void *a, const void *b)
{
    const double x = ((const struct vks_ranked *)a)->value, y = ((const struct vks_ranked *)b)->value;
    return (x > y) - (x < y);
}

void vks_rank(struct vks_ranked *items, uint32_t count)
{
    qsort(items, count, sizeof(*items), ascending);
}

double vks_auroc(const struct vks_ranked *items, uint32_t count)
{
    uint64_t positives = 0, ranks = 0;  // ranks: twice the sum of the midranks, which may be halves
    for (uint32_t i = 0, end; i < count; i = end) {
        uint64_t here = 0;
        for (end = i; end < count && items[end].value == items[i].value; end++)
            here += items[end].positive;
        ranks += here * (i + 1 + (uint64_t)end);
        positives += here;
    }
    return (double)(ranks - positives * (positives + 1)) / (2.0 * (double)positives * (double)(count - positives));
}

double vks_average_precision(const struct vks_ranked *items, uint32_t count)
{
    uint64_t positives = 0, found = 0;
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        positives += items[i].positive;
    for (uint32_t i = count, begin; i > 0; i = begin) {
        uint64_t here = 0;
        for (begin = i; begin > 0 && items[begin - 1].value == items[i - 1].value; begin--)
            here += items[begin - 1].positive;
        found += here;
        sum += (double)here * ((double)found / (double)(count - begin));
    }
    return sum / (double)positives;
}

bool vks_expert_maps(const struct vks_train_params *params, const struct vks_evidence *e,
                     const struct vks_site_slot *slot, struct vks_steering *steering)
{
    const uint32_t count = e->source_rows + e->target_rows;
    struct vks_ranked *items = malloc(count * sizeof(*items));
    for (uint32_t c = slot->first; c < slot->first + slot->channels && items; c++) {
        double mean = 0;
        for (uint32_t i = 0; i < count; i++) {
            const bool positive = i < e->source_rows;
            const float *rows = positive ? e->source : e->target;
            const uint32_t row = positive ? i : i - e->source_rows;
            items[i] = (struct vks_ranked){rows[(size_t)row * e->channels + c], positive};
            mean += positive ? 0 : items[i].value / e->target_rows;
        }
        vks_rank(items, count);
        if (params->method == VKS_METHOD_AURA) {
            const double auroc = vks_auroc(items, count);
            steering->w[c] = auroc > 0.5 ? (float)(1 - 2 * (auroc - 0.5)) : 1;
        } else if (vks_average_precision(items, count) > params->threshold) {
            steering->w[c] = 0;
            steering->b[c] = (float)mean;
        }
    }
    free(items);
    return items != NULL;
}
