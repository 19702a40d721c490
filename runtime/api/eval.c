// What a steering does: distances to the target before and after, and how far pictures move.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "steer/train.h"

#define BATCH 16

struct evaluated {
    struct vks_arena arena;
};

// The sites at which the steerings act, in the order of the model, without those of the decoder: what activations
// there should be like no target says, and only pictures show it.
static bool steered_sites(vksteer_model *model, const struct vks_api_steerings *steerings, struct vks_site_list *list)
{
    struct vks_graph graph;
    vks_graph_init(&graph, model->log);
    bool ok = vks_api_graph(model, &graph) && vks_api_steerings_fit(model, steerings, &graph);
    for (size_t i = 0; i < graph.site_count && ok; i++) {
        const struct vks_site *site = &graph.sites[i];
        bool steered = false;
        for (size_t k = 0; k < steerings->count; k++)
            steered |= vks_site_list_find(&steerings->items[k].sites, site->name) != NULL;
        if (steered && strncmp(site->name, VKS_API_DECODER, strlen(VKS_API_DECODER)) != 0)
            ok = vks_site_list_add(list, model->log, site->name, site->kind, site->channels);
    }
    vks_graph_finish(&graph);
    return ok;
}

// Distances per site, summed over channels.
static bool distances(const struct vks_site_list *sites, const struct vks_subject *subject, const float *rows,
                      const float *target, double *out)
{
    double *columns = malloc((size_t)sites->channels * sizeof(*columns));
    if (!columns || !vks_wasserstein_host(rows, subject->set_sizes[VKS_SET_SOURCE], target,
                                          subject->set_sizes[VKS_SET_TARGET], sites->channels, 2, columns)) {
        free(columns);
        return vks_fail(subject->log, VKS_NO_MEMORY);
    }
    for (size_t i = 0; i < sites->count; i++) {
        out[i] = 0;
        for (uint32_t c = 0; c < sites->slots[i].channels; c++)
            out[i] += columns[sites->slots[i].first + c];
    }
    free(columns);
    return true;
}

static bool measure_sites(vksteer_model *model, const struct vks_subject *subject, const struct vks_api_uses *uses,
                          const struct vks_site_list *sites, enum vks_pool pool, struct vksteer_eval *eval)
{
    struct evaluated *own = eval->priv;
    const size_t count = sites->count;
    eval->sites = vks_arena_alloc(&own->arena, count * sizeof(*eval->sites));
    double *before = vks_arena_alloc(&own->arena, count * sizeof(*before));
    double *after = vks_arena_alloc(&own->arena, count * sizeof(*after));
    if (!eval->sites || !before || !after)
        return vks_fail(model->log, VKS_NO_MEMORY);
    float *target = vks_collect(subject, sites, VKS_SET_TARGET, pool, BATCH, 0, NULL, NULL);
    float *plain = target ? vks_collect(subject, sites, VKS_SET_SOURCE, pool, BATCH, 0, NULL, NULL) : NULL;
    float *steered = plain ? vks_collect(subject, sites, VKS_SET_SOURCE, pool, BATCH, 0, uses->attachment,
                                         uses->strengths) : NULL;
    const bool ok = steered && distances(sites, subject, plain, target, before) &&
                    distances(sites, subject, steered, target, after);
    free(target);
    free(plain);
    free(steered);
    for (size_t i = 0; i < count && ok; i++) {
        eval->sites[i] = (struct vksteer_eval_site){vks_arena_strdup(&own->arena, sites->slots[i].name), before[i],
                                                    after[i]};
        if (!eval->sites[i].site)
            return vks_fail(model->log, VKS_NO_MEMORY);
        eval->before += before[i] / (double)count;
        eval->after += after[i] / (double)count;
        eval->site_count++;
    }
    return ok;
}

static double squared_error(const struct vksteer_image *a, const struct vksteer_image *b)
{
    const size_t count = (size_t)a->width * a->height * 3;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += ((double)a->rgb[i] - b->rgb[i]) * ((double)a->rgb[i] - b->rgb[i]);
    return sum / (double)count;
}

struct pairs {
    struct vksteer_eval *eval;
    struct vksteer_image plain;
};

// Pictures come in pairs, without and with the steering.
static bool add_picture(void *priv, size_t index, struct vksteer_image *image)
{
    struct pairs *pairs = priv;
    struct vksteer_eval *eval = pairs->eval;
    if (index % 2 == 0) {
        pairs->plain = *image;
        return true;
    }
    const double error = squared_error(&pairs->plain, image);
    eval->mse += error;
    // A picture that did not move counts as one that moved by less than a hundredth of a level.
    eval->psnr += 10 * log10(255.0 * 255 / fmax(error, 1e-4));
    eval->pictures++;
    free(pairs->plain.rgb);
    free(image->rgb);
    pairs->plain.rgb = NULL;
    return true;
}

static bool measure_pictures(vksteer_model *model, const struct vksteer_eval_params *params,
                             const struct vks_api_steerings *steerings, struct vksteer_eval *eval)
{
    const char *const *prompts = params->prompts ? params->prompts : params->source;
    const size_t count = params->prompts ? params->prompt_count : params->source_count;
    const float off[VKSTEER_MAX_STEERINGS] = {0};
    struct pairs pairs = {.eval = eval};
    struct vksteer_picture *pictures = calloc(2 * count + 1, sizeof(*pictures));
    if (!pictures)
        return vks_fail(model->log, VKS_NO_MEMORY);
    for (size_t i = 0; i < 2 * count; i++)
        pictures[i] = (struct vksteer_picture){
            .prompt = prompts[i / 2], .seed = params->seed, .strengths = i % 2 ? NULL : off};
    vksteer_painter *painter = vks_api_painter_open(model, &(struct vksteer_paint_params){0}, steerings);
    const struct vksteer_paint_calls calls = {.done = add_picture, .priv = &pairs};
    const bool ok = painter && vksteer_paint_all(painter, pictures, 2 * count, &calls) == VKSTEER_DONE;
    if (eval->pictures) {
        eval->mse /= (double)eval->pictures;
        eval->psnr /= (double)eval->pictures;
    }
    free(pairs.plain.rgb);
    vksteer_painter_close(&painter);
    free(pictures);
    return ok;
}

// Activations of the text encoder and the UNet; takes the maps in the decoder out of the steerings.
static bool measure_activations(vksteer_model *model, const struct vksteer_eval_params *params,
                                struct vks_api_steerings *steerings, const struct vks_site_list *sites,
                                struct vksteer_eval *eval)
{
    struct vks_api_uses uses = {0};
    const enum vks_pool pool = vks_steering_pool(&steerings->items[0]);
    for (size_t i = 1; i < steerings->count; i++)
        if (vks_steering_pool(&steerings->items[i]) != pool)
            vks_warn(model->log, "activations are pooled as %s was trained, and %s was trained otherwise",
                     steerings->uses[0].path, steerings->uses[i].path);
    vks_api_steerings_drop_decoder(steerings);
    bool ok = vks_api_uses_open(model, steerings, &uses);
    const struct vks_api_subject_params subject_params = {
        .prompts = {params->source, params->target},
        .counts = {params->source_count, params->target_count},
        .text = uses.text,
        .seed = params->seed,
    };
    struct vks_api_subject *subject = ok ? vks_api_subject_create(model, &subject_params) : NULL;
    ok = subject && measure_sites(model, vks_api_subject(subject), &uses, sites, pool, eval);
    vks_api_subject_destroy(&subject);
    vks_api_uses_close(&uses);
    return ok;
}

bool vksteer_evaluate(vksteer_model *model, const struct vksteer_eval_params *params, struct vksteer_eval *eval)
{
    *eval = (struct vksteer_eval){0};
    if (!vks_api_can_run(model))
        return false;
    if (!params->steering_count || !params->source_count || !params->target_count)
        return vks_fail(model->log, "an evaluation needs a steering, source and target prompts: give all three");
    struct vks_api_steerings steerings = {.count = 0};
    struct vks_site_list sites = {0};
    struct evaluated *own = eval->priv = calloc(1, sizeof(*own));
    bool ok = own || vks_fail(model->log, VKS_NO_MEMORY);
    ok = ok && vks_api_steerings_load(model, params->steerings, params->steering_count, 0, &steerings) &&
         steered_sites(model, &steerings, &sites);
    if (ok && !sites.count)
        vks_warn(model->log, "all maps lie in the decoder (vae), behind the activations that are compared: pictures "
                 "alone are");
    const bool paints = model->pipeline && model->pipeline->has_decoder;
    ok = ok && (!paints || measure_pictures(model, params, &steerings, eval)) &&
         (!sites.count || measure_activations(model, params, &steerings, &sites, eval));
    vks_api_steerings_finish(&steerings);
    vks_site_list_finish(&sites);
    if (!ok)
        vksteer_eval_finish(eval);
    return ok;
}

void vksteer_eval_finish(struct vksteer_eval *eval)
{
    struct evaluated *own = eval->priv;
    if (own)
        vks_arena_finish(&own->arena);
    free(own);
    *eval = (struct vksteer_eval){0};
}
