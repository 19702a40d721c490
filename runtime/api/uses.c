// Steering files on a model: loaded, checked, uploaded.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "base/text.h"

struct fingerprint {
    unsigned long long count;
    double mean, rms;
};

static bool read_fingerprint(const char *text, struct fingerprint *out)
{
    char mean[32], rms[32];
    return sscanf(text, "norms %llu mean %31s rms %31s", &out->count, mean, rms) == 3 &&
           vks_parse_double(mean, &out->mean) && vks_parse_double(rms, &out->rms);
}

// Whether the same LoRAs, or none, are in both.
static bool same_loras(const char *a, const char *b)
{
    const char *x = strstr(a, " lora "), *y = strstr(b, " lora ");
    return x && y ? strcmp(x, y) == 0 : x == y;
}

// Two fingerprints agree when their numbers do, within what storage types change.
static bool fingerprints_agree(const char *a, const char *b)
{
    struct fingerprint x, y;
    if (!read_fingerprint(a, &x) || !read_fingerprint(b, &y))
        return strcmp(a, b) == 0;
    return same_loras(a, b) && x.count == y.count && fabs(x.mean - y.mean) <= 1e-3 * (1 + fabs(x.mean)) &&
           fabs(x.rms - y.rms) <= 1e-3 * (1 + fabs(x.rms));
}

static bool fits(const vksteer_model *model, const char *path, const struct vks_steering *steering, bool strict,
                 const struct vks_log *warnings)
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
    vks_warn(warnings, "%s was trained on other weights than those of %s: expect a weaker or odd effect", path,
             model->info.path);
    return true;
}

static bool invert(const struct vksteer_use *use, struct vks_steering *steering, const struct vks_log *log,
                   const struct vks_log *warnings)
{
    for (size_t i = 0; i < steering->sites.count; i++)
        if (vks_steering_has_range(steering, &steering->sites.slots[i]))
            return vks_fail(log, "%s: the map at %s acts within a range and has no inverse: leave :inv out, or train "
                            "without --quantiles", use->path, steering->sites.slots[i].name);
    const char *position = vks_steering_metadata(steering, "position");
    if (position && strcmp(position, "all") != 0)
        vks_debug(warnings, "%s: inverse maps at position %s", use->path, position);
    uint32_t skipped = 0;
    vks_steering_invert(steering, &skipped);
    if (skipped)
        vks_warn(warnings, "%s: %u channels have a gain near 0 and no inverse: they are left alone", use->path,
                 skipped);
    return true;
}

// A gain that strength turns negative flips its channel. A few do no harm; say so when they are many.
static void warn_of_flips(const struct vksteer_use *use, const struct vks_steering *steering,
                          const struct vks_log *warnings)
{
    uint32_t flips = 0;
    for (uint32_t i = 0; i < steering->sites.channels; i++)
        flips += use->strength * (1 - steering->w[i]) >= 1;
    if (flips > steering->sites.channels / 50)
        vks_warn(warnings, "%s: strength %g turns the sign of %u of %u channels: expect broken pictures", use->path,
                 use->strength, flips, steering->sites.channels);
}

bool vks_api_steerings_load(const vksteer_model *model, const struct vksteer_use *uses, size_t count, unsigned care,
                            struct vks_api_steerings *out)
{
    const struct vks_log *warnings = care & VKS_API_QUIET ? NULL : model->log;
    *out = (struct vks_api_steerings){.uses = uses};
    if (count > VKSTEER_MAX_STEERINGS)
        return vks_fail(model->log, "%zu steerings at once: %d is the most", count, VKSTEER_MAX_STEERINGS);
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        struct vks_steering *steering = &out->items[i];
        if (!isfinite(uses[i].strength) || fabsf(uses[i].strength) > 1000)
            ok = vks_fail(model->log, "%s: a strength of %g makes no sense: 0 is off, 1 is as trained", uses[i].path,
                          uses[i].strength);
        if (!ok || !(ok = vks_steering_load(steering, model->log, uses[i].path)))
            break;
        out->strengths[out->count++] = uses[i].strength;
        ok = fits(model, uses[i].path, steering, care & VKS_API_STRICT, warnings);
        if (ok && uses[i].inverse)
            ok = invert(&uses[i], steering, model->log, warnings);
        if (ok)
            warn_of_flips(&uses[i], steering, warnings);
    }
    if (!ok)
        vks_api_steerings_finish(out);
    return ok;
}

void vks_api_steerings_finish(struct vks_api_steerings *steerings)
{
    while (steerings->count)
        vks_steering_finish(&steerings->items[--steerings->count]);
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
            return vks_fail(model->log, "%s has %u channels at %s, the model %u: it was trained for another model",
                            path, slot->channels, slot->name, graph->sites[k].channels);
    }
    return true;
}

bool vks_api_steerings_fit(const vksteer_model *model, const struct vks_api_steerings *steerings,
                           const struct vks_graph *graph)
{
    for (size_t i = 0; i < steerings->count; i++)
        if (!has_sites(model, graph, steerings->uses[i].path, &steerings->items[i]))
            return false;
    return true;
}

bool vks_api_causal(const vksteer_model *model, const struct vks_api_steerings *steerings)
{
    for (size_t i = 0; i < steerings->count; i++)
        if (vks_steering_position(&steerings->items[i], VKS_SITE_TOKENS) == VKS_POSITION_AVG)
            return vks_fail(model->log, "%s acts on the average of a text, which is not there while it is written: "
                            "train it with --position all or last", steerings->uses[i].path);
    return true;
}

bool vks_api_steerings_in_text(const struct vks_api_steerings *steerings)
{
    for (size_t i = 0; i < steerings->count; i++) {
        const struct vks_site_list *sites = &steerings->items[i].sites;
        for (size_t k = 0; k < sites->count; k++)
            if (strncmp(sites->slots[k].name, "text_encoder", strlen("text_encoder")) == 0)
                return true;
    }
    return false;
}

void vks_api_steerings_drop_decoder(struct vks_api_steerings *steerings)
{
    for (size_t i = 0; i < steerings->count; i++)
        vks_steering_drop(&steerings->items[i], VKS_API_DECODER);
}

bool vksteer_model_fits(vksteer_model *model, const struct vksteer_use *uses, size_t count, bool strict)
{
    struct vks_graph graph;
    struct vks_api_steerings loaded;
    if (!vks_api_steerings_load(model, uses, count, VKS_API_QUIET | (strict ? VKS_API_STRICT : 0), &loaded))
        return false;
    vks_graph_init(&graph, model->log);
    const bool ok = count == 0 || (vks_api_graph(model, &graph) &&
                                   vks_api_steerings_fit(model, &loaded, &graph));
    vks_graph_finish(&graph);
    vks_api_steerings_finish(&loaded);
    return ok;
}

bool vks_api_uses_open(vksteer_model *model, const struct vks_api_steerings *steerings, struct vks_api_uses *uses)
{
    const struct vks_steering *pointers[VKSTEER_MAX_STEERINGS];
    *uses = (struct vks_api_uses){.count = steerings->count, .text = vks_api_steerings_in_text(steerings)};
    if (steerings->count == 0)
        return true;
    for (size_t i = 0; i < steerings->count; i++) {
        uses->strengths[i] = steerings->strengths[i];
        pointers[i] = &steerings->items[i];
    }
    uses->attachment = vks_attachment_create(model->session->gpu, pointers, (uint32_t)steerings->count);
    return uses->attachment != NULL;
}

void vks_api_uses_close(struct vks_api_uses *uses)
{
    vks_attachment_destroy(&uses->attachment);
}

bool vks_api_uses_check(const struct vks_api_uses *uses, const struct vks_log *log, const float *strengths)
{
    for (size_t i = 0; strengths && i < uses->count; i++)
        if (!isfinite(strengths[i]) || fabsf(strengths[i]) > 1000)
            return vks_fail(log, "a strength of %g makes no sense: 0 is off, 1 is as trained", strengths[i]);
    return true;
}

void vks_api_uses_step(const struct vks_api_uses *uses, const float *strengths, uint32_t step[VKS_STEP_WORDS])
{
    memset(step, 0, VKS_STEP_WORDS * sizeof(*step));
    memcpy(&step[VKS_STEP_STRENGTH], strengths ? strengths : uses->strengths, uses->count * sizeof(float));
}
