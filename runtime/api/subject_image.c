// A diffusion model as training sees it: text (once, or in the graph), noise, the UNet at the first step.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/hash.h"
#include "models/clip_tokenizer.h"

struct image_subject {
    struct vks_api_subject base;
    vksteer_model *model;
    struct vks_api_subject_params params;
    struct vks_schedule schedule;
    double cfg;
    uint32_t rows, columns;        // latents
    bool held;                     // the weights of what it runs
    bool text_inside;              // a steered site lies in a text encoder: it is part of every graph
    uint64_t context, pooled;      // floats of one prompt
    uint32_t context_shape[2], pooled_width;
    float *contexts[VKS_SETS], *pooleds[VKS_SETS];  // of all prompts, by set, unless text_inside
};

struct inputs {
    struct vks_tensor *sample;
    struct vks_pipeline_text text;
    struct vks_pipeline_unet unet;
};

static bool build(void *priv, struct vks_graph *graph, uint32_t batch, uint32_t length, void **out)
{
    (void)length;
    struct image_subject *s = priv;
    struct vks_pipeline *pipeline = s->model->pipeline;
    struct inputs *in = vks_arena_alloc(&graph->arena, sizeof(*in));
    if (!in)
        return vks_graph_fail(graph, VKS_NO_MEMORY) != NULL;
    *out = in;
    if (s->text_inside) {
        if (!vks_pipeline_text_build(pipeline, graph, batch, &in->text))
            return false;
    } else {
        const uint32_t shape[] = {batch, s->context_shape[0], s->context_shape[1]};
        const uint32_t pooled[] = {batch, s->pooled_width};
        in->text.context = vks_graph_input(graph, "context", VKS_F32, 3, shape, false);
        if (s->pooled_width)
            in->text.pooled = vks_graph_input(graph, "pooled", VKS_F32, 2, pooled, false);
    }
    const uint32_t shape[] = {batch, s->rows, s->columns, pipeline->unet.in};
    in->sample = vks_graph_input(graph, "sample", VKS_F32, 4, shape, false);
    return vks_pipeline_unet_build(pipeline, graph, &s->schedule.steps[0], in->sample, &in->text, &in->unet);
}

static bool feed_noise(const struct image_subject *s, struct vks_exec *exec, const struct inputs *in,
                       const struct vks_sample samples[], uint32_t count)
{
    static const enum vks_noise_domain domains[VKS_SETS] = {VKS_NOISE_SOURCE, VKS_NOISE_TARGET, VKS_NOISE_VALIDATION};
    const size_t one = (size_t)s->rows * s->columns * s->model->pipeline->unet.in;
    float *values = malloc(count * one * sizeof(*values));
    bool ok = values != NULL || vks_fail(s->model->log, VKS_NO_MEMORY);
    for (uint32_t b = 0; b < count && ok; b++) {
        const struct vks_noise noise = {
            .seed = s->params.seed,
            .offset = samples[b].draw,
            .stream = samples[b].index,
            .domain = domains[samples[b].set],
        };
        ok = vks_api_noise(s->model, &noise, s->rows, s->columns, values + b * one);
    }
    const float sigma = (float)s->schedule.init_noise_sigma;
    for (size_t i = 0; i < count * one && ok; i++)
        values[i] *= sigma;
    ok = ok && vks_exec_write(exec, in->sample, values, count * one * sizeof(*values));
    free(values);
    return ok;
}

// Rows of the stored embeddings, in the order of the samples.
static bool feed_rows(const struct image_subject *s, struct vks_exec *exec, const struct vks_tensor *tensor,
                      float *const stored[VKS_SETS], uint64_t width, const struct vks_sample samples[],
                      uint32_t count)
{
    float *values = malloc((size_t)count * width * sizeof(*values));
    if (!values)
        return vks_fail(s->model->log, VKS_NO_MEMORY);
    for (uint32_t b = 0; b < count; b++)
        memcpy(values + b * width, stored[samples[b].set] + samples[b].index * width, width * sizeof(*values));
    const bool ok = vks_exec_write(exec, tensor, values, (uint64_t)count * width * sizeof(*values));
    free(values);
    return ok;
}

static bool feed_text(const struct image_subject *s, struct vks_exec *exec, const struct inputs *in,
                      const struct vks_sample samples[], uint32_t count)
{
    if (!s->text_inside)
        return feed_rows(s, exec, in->text.context, s->contexts, s->context, samples, count) &&
               (!s->pooled || feed_rows(s, exec, in->text.pooled, s->pooleds, s->pooled, samples, count));
    const char **prompts = malloc(count * sizeof(*prompts));
    if (!prompts)
        return vks_fail(s->model->log, VKS_NO_MEMORY);
    for (uint32_t b = 0; b < count; b++)
        prompts[b] = s->params.prompts[samples[b].set][samples[b].index];
    const bool ok = vks_pipeline_text_feed(s->model->pipeline, exec, &in->text, prompts, count);
    free(prompts);
    return ok;
}

static bool feed(void *priv, struct vks_exec *exec, const void *inputs, const struct vks_sample samples[],
                 uint32_t count)
{
    const struct image_subject *s = priv;
    const struct inputs *in = inputs;
    return feed_noise(s, exec, in, samples, count) && feed_text(s, exec, in, samples, count) &&
           vks_pipeline_unet_feed(s->model->pipeline, exec, &in->unet, &s->schedule.steps[0],
                                  s->cfg);
}

// Whether an expression names a site of a text encoder; uploads nothing.
static bool names_text(struct image_subject *s, const char *expression, bool *inside)
{
    struct vks_graph graph;
    struct vks_pipeline_text text;
    struct vks_site_pattern *pattern = expression ? vks_site_pattern_create(s->model->log, expression) : NULL;
    if (!expression || !pattern)
        return !expression;
    const bool was = vks_pipeline_dry(s->model->pipeline, true);
    vks_graph_init(&graph, s->model->log);
    const bool ok = vks_pipeline_text_build(s->model->pipeline, &graph, 1, &text);
    for (size_t i = 0; i < graph.site_count && ok; i++)
        *inside |= vks_site_pattern_matches(pattern, graph.sites[i].name);
    vks_graph_finish(&graph);
    vks_pipeline_dry(s->model->pipeline, was);
    vks_site_pattern_destroy(&pattern);
    return ok;
}

// The shapes of a prompt's embedding, from a graph that is never run.
static bool shape_text(struct image_subject *s)
{
    struct vks_api_text_size size;
    if (!vks_api_text_measure(s->model, 1, NULL, &size))
        return false;
    memcpy(s->context_shape, size.context, sizeof(s->context_shape));
    s->context = (uint64_t)size.context[0] * size.context[1];
    s->pooled = s->pooled_width = size.pooled;
    return true;
}

// All prompts, once. The text encoders leave the device again.
static bool embed(struct image_subject *s)
{
    size_t most = 0;
    for (int set = 0; set < VKS_SETS; set++)
        most = s->params.counts[set] > most ? s->params.counts[set] : most;
    if (!shape_text(s))
        return false;
    const uint32_t batch = most < VKS_API_TEXT_BATCH ? (uint32_t)most : VKS_API_TEXT_BATCH;
    struct vks_api_text *text = vks_api_text_create(s->model, batch, NULL);
    bool ok = text != NULL;
    for (int set = 0; set < VKS_SETS && ok; set++) {
        const size_t count = s->params.counts[set];
        s->contexts[set] = malloc(count * s->context * sizeof(float) + 1);
        s->pooleds[set] = malloc(count * s->pooled * sizeof(float) + 1);
        ok = (s->contexts[set] && s->pooleds[set]) || vks_fail(s->model->log, VKS_NO_MEMORY);
        ok = ok && vks_api_text_run(text, s->params.prompts[set], count, NULL, s->contexts[set], s->pooleds[set]);
    }
    vks_api_text_destroy(&text);
    return ok;
}

// What the UNet, or with a text encoder in the graph that, reads of the target prompts.
static bool hash_targets(const struct image_subject *s, struct vks_hash *hash)
{
    const struct vks_pipeline *p = s->model->pipeline;
    const size_t count = s->params.counts[VKS_SET_TARGET];
    if (s->contexts[VKS_SET_TARGET]) {
        vks_hash_add(hash, s->contexts[VKS_SET_TARGET], count * s->context * sizeof(float));
        vks_hash_add(hash, s->pooleds[VKS_SET_TARGET], count * s->pooled * sizeof(float));
        return true;
    }
    int32_t *ids = malloc((p->text_length + 1) * sizeof(*ids));
    bool done = ids != NULL || vks_fail(s->model->log, VKS_NO_MEMORY);
    for (size_t i = 0; i < count; i++)
        for (uint32_t t = 0; done && t < p->text_count; t++) {
            const char *prompt = s->params.prompts[VKS_SET_TARGET][i];
            done = vks_clip_tokenizer_encode(s->model->log, p->tokenizer[t], prompt, strlen(prompt), ids,
                                             p->text_length, NULL, NULL);
            if (done)
                vks_hash_add(hash, ids, p->text_length * sizeof(*ids));
        }
    free(ids);
    return done;
}

static bool hash_all(struct image_subject *s)
{
    struct vks_hash hash;
    vks_hash_init(&hash, 2);
    vks_hash_add_u64(&hash, s->model->hash);
    vks_hash_add_u64(&hash, s->rows);
    vks_hash_add_u64(&hash, s->columns);
    vks_hash_add_u64(&hash, s->params.seed);
    vks_hash_add(&hash, &s->schedule.steps[0], sizeof(s->schedule.steps[0]));
    vks_hash_add(&hash, &s->schedule.init_noise_sigma, sizeof(s->schedule.init_noise_sigma));
    vks_hash_add(&hash, &s->cfg, sizeof(s->cfg));
    vks_hash_add_u64(&hash, s->text_inside);
    struct vks_hash targets = hash;
    if (!hash_targets(s, &targets))
        return false;
    vks_api_subject_hash(&s->base, &hash, &targets, &s->params);
    return true;
}

// Weights of what every graph of the subject runs.
static void hold(struct image_subject *s)
{
    vks_pipeline_hold(s->model->pipeline, VKS_STAGE_UNET);
    if (s->text_inside)
        vks_pipeline_hold(s->model->pipeline, VKS_STAGE_TEXT);
    s->held = true;
}

static void destroy(struct vks_api_subject *base)
{
    struct image_subject *s = (struct image_subject *)base;
    if (s->held)
        vks_pipeline_drop(s->model->pipeline, VKS_STAGE_UNET);
    if (s->held && s->text_inside)
        vks_pipeline_drop(s->model->pipeline, VKS_STAGE_TEXT);
    for (int set = 0; set < VKS_SETS; set++) {
        free(s->contexts[set]);
        free(s->pooleds[set]);
    }
    vks_schedule_finish(&s->schedule);
    free(s);
}

struct vks_api_subject *vks_api_subject_of_pictures(vksteer_model *model, const struct vks_api_subject_params *params)
{
    struct image_subject *s = calloc(1, sizeof(*s));
    if (!s)
        return vks_fail_null(model->log, VKS_NO_MEMORY);
    s->model = model;
    s->params = *params;
    s->text_inside = params->text;
    s->cfg = params->cfg_scale > 0 ? params->cfg_scale : model->apply_cfg;
    bool ok = vks_api_size(model, &s->params.width, &s->params.height) &&
              vks_api_schedule(model, params->sample_steps, &s->schedule) &&
              names_text(s, params->sites, &s->text_inside) && names_text(s, params->loss_sites, &s->text_inside);
    s->rows = s->params.height / model->pipeline->factor;
    s->columns = s->params.width / model->pipeline->factor;
    ok = ok && (s->text_inside || (params->dry ? shape_text(s) : embed(s))) && hash_all(s);
    if (!ok) {
        destroy(&s->base);
        return NULL;
    }
    if (!params->dry)
        hold(s);
    s->base.destroy = destroy;
    s->base.subject.priv = s;
    s->base.subject.all_weights = s->text_inside;
    s->base.subject.build = build;
    s->base.subject.feed = feed;
    return &s->base;
}
