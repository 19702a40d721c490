// What is to be said when a model's values are no numbers.
#include <math.h>
#include <stdlib.h>

#include "api/internal.h"

// The first weight of them that is not finite everywhere; NULL: there is none.
static const char *find_bad(const struct vks_weights *weights)
{
    for (size_t i = 0; i < vks_weights_count(weights); i++) {
        const struct vks_weight *weight = vks_weights_at(weights, i);
        float *values = vks_weights_readable(weights, i) ? malloc((size_t)weight->count * sizeof(*values) + 1) : NULL;
        bool good = true;
        if (values && vks_weights_read(weights, i, values))
            for (uint64_t k = 0; k < weight->count && good; k++)
                good = isfinite(values[k]) != 0;
        free(values);
        if (!good)
            return weight->name;
    }
    return NULL;
}

static bool blame(const vksteer_model *model, const struct vks_weights *weights)
{
    const char *name = find_bad(weights);
    if (name)
        vks_fail(model->log, "%s: the tensor %s holds values that are no numbers: download the model again",
                 vks_weights_path(weights), name);
    return name != NULL;
}

bool vks_api_not_finite(const vksteer_model *model, const char *what)
{
    if (model->decoder && blame(model, model->decoder->weights))
        return false;
    for (uint32_t i = 0; model->pipeline && i < model->pipeline->part_count; i++)
        if (blame(model, model->pipeline->parts[i].weights))
            return false;
    return vks_fail(model->log, "%s not finite: lower the strength, or run `vksteer devices --selftest`", what);
}
