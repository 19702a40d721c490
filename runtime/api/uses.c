// Steering files on a model: loaded, checked, uploaded.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

// Two fingerprints agree when their numbers do, within what storage types change.
static bool fingerprints_agree(const char *a, const char *b)
{
    unsigned long long count_a, count_b;
    double mean_a, mean_b, rms_a, rms_b;
    const char *form = "norms %llu mean %lf rms %lf";
    if (sscanf(a, form, &count_a, &mean_a, &rms_a) != 3 || sscanf(b, form, &count_b, &mean_b, &rms_b) != 3)
        return strcmp(a, b) == 0;
    return count_a == count_b && fabs(mean_a - mean_b) <= 1e-3 * (1 + fabs(mean_a)) &&
           fabs(rms_a - rms_b) <= 1e-3 * (1 + fabs(rms_a));
}

static bool fits(const vksteer_model *model, const char *path, const struct vks_steering *steering, bool strict)
{
    const char *architecture = vks_steering_metadata(steering, "model");
    const char *fingerprint = vks_steering_metadata(steering, "fingerprint");
    if (architecture && strcmp(architecture, model->info.architecture) != 0)
        return vks_fail(model->log, "%s was trained for a %s, and %s is a %s: train it for this model", path,
                        architecture, model->info.path, model->info.architecture);
    if (!fingerprint || fingerprints_agree(fingerprint, model->fingerprint))
        return true;
    if (strict)
        return vks_fail(model->log, "%s was trained on other weights than those of %s: train it for this model, or "
                        "leave --strict out", path, model->info.path);
    vks_warn(model->log, "%s was trained on other weights than those of %s: expect a weaker or odd effect", path,
             model->info.path);
    return true;
}

// A gain that strength turns negative flips its channel. A few do no harm; say so when they are many.
static void warn_of_flips(const vksteer_model *model, const struct vksteer_use *use,
                          const struct vks_steering *steering)
{
    uint32_t flips = 0;
    for (uint32_t i = 0; i < steering->sites.channels; i++)
        flips += use->strength * (1 - steering->w[i]) >= 1;
    if (flips > steering->sites.channels / 50)
        vks_warn(model->log, "%s: strength %g turns the sign of %u of %u channels: expect broken pictures", use->path,
                 use->strength, flips, steering->sites.channels);
}

bool vks_api_use_load(const vksteer_model *model, const struct vksteer_use *use, bool strict,
                      struct vks_steering *steering)
{
    if (!isfinite(use->strength) || fabsf(use->strength) > 1000)
        return vks_fail(model->log, "%s: a strength of %g makes no sense: 0 is off, 1 is as trained", use->path,
                        use->strength);
    if (!vks_steering_load(steering, model->log, use->path) || !fits(model, use->path, steering, strict))
        return false;
    if (use->inverse) {
        const char *position = vks_steering_metadata(steering, "position");
        if (position && strcmp(position, "all") != 0)
            vks_debug(model->log, "%s: inverse maps at position %s", use->path, position);
        uint32_t skipped = 0;
        vks_steering_invert(steering, &skipped);
        if (skipped)
            vks_warn(model->log, "%s: %u channels have a gain near 0 and no inverse: they are left alone", use->path,
                     skipped);
    }
    warn_of_flips(model, use, steering);
    return true;
}

static bool has_sites(const vksteer_model *model, const struct vks_graph *graph, const char *path,
                      const struct vks_steering *steering)
{
    for (size_t i = 0; i < steering->sites.count; i++) {
        const struct vks_site_slot *slot = &steering->sites.slots[i];
        size_t k = 0;
        while (k < graph->site_count && strcmp(graph->sites[k].name, slot->name) != 0)
            k++;
        if (k == graph->site_count)
            return vks_fail(model->log, "%s acts at %s, which this model does not have: it was trained for another "
                            "model", path, slot->name);
        if (graph->sites[k].channels != slot->channels)
            return vks_fail(model->log, "%s has %u channels at %s, the model %u: it was trained for another model", path,
                            slot->channels, slot->name, graph->sites[k].channels);
    }
    return true;
}

bool vksteer_model_fits(vksteer_model *model, const struct vksteer_use *steerings, size_t count, bool strict)
{
    struct vks_graph graph;
    vks_graph_init(&graph, model->log);
    bool ok = count == 0 || vks_pipeline_describe(model->pipeline, &graph);
    for (size_t i = 0; i < count && ok; i++) {
        struct vks_steering steering;
        ok = vks_api_use_load(model, &steerings[i], strict, &steering);
        if (ok) {
            ok = has_sites(model, &graph, steerings[i].path, &steering);
            vks_steering_finish(&steering);
        }
    }
    vks_graph_finish(&graph);
    return ok;
}

bool vks_api_uses_open(vksteer_model *model, const struct vksteer_use *steerings, size_t count,
                       const struct vks_api_uses_params *params, struct vks_api_uses *uses)
{
    *uses = (struct vks_api_uses){.count = count};
    if (count == 0)
        return true;
    if (count > VKSTEER_MAX_STEERINGS)
        return vks_fail(model->log, "%zu steerings at once: %d is the most", count, VKSTEER_MAX_STEERINGS);
    struct vks_steering *loaded = calloc(count, sizeof(*loaded));
    const struct vks_steering *pointers[VKSTEER_MAX_STEERINGS];
    bool ok = loaded != NULL || vks_fail(model->log, VKS_NO_MEMORY);
    for (size_t i = 0; i < count && ok; i++) {
        ok = vks_api_use_load(model, &steerings[i], params->strict, &loaded[i]);
        uses->strengths[i] = steerings[i].strength;
        pointers[i] = &loaded[i];
        if (ok && params->no_decoder)
            vks_steering_drop(&loaded[i], "vae.");
        for (size_t k = 0; k < loaded[i].sites.count; k++)
            uses->text |= strncmp(loaded[i].sites.slots[k].name, "text_encoder", strlen("text_encoder")) == 0;
    }
    if (ok)
        ok = (uses->attachment = vks_attachment_create(model->session->gpu, pointers, (uint32_t)count)) != NULL;
    for (size_t i = 0; loaded && i < count; i++)
        vks_steering_finish(&loaded[i]);
    free(loaded);
    return ok;
}

void vks_api_uses_close(struct vks_api_uses *uses)
{
    vks_attachment_destroy(&uses->attachment);
}

void vks_api_uses_step(const struct vks_api_uses *uses, const float *strengths, uint32_t step[VKS_STEP_WORDS])
{
    memset(step, 0, VKS_STEP_WORDS * sizeof(*step));
    memcpy(&step[VKS_STEP_STRENGTH], strengths ? strengths : uses->strengths, uses->count * sizeof(float));
}
