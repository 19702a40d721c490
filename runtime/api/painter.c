// Text to picture: text encoder, UNet step by step, decoder, each a graph recorded once. Between steps the latents are
// on the host, where the scheduler's arithmetic is a line a value.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

struct embedding {
    char *prompt;              // NULL: nothing stored
    float *context, *pooled;
};

struct vksteer_painter {
    vksteer_model *model;
    struct vks_api_uses uses;
    struct vks_schedule schedule;
    uint32_t width, height, rows, columns, channels, steps;
    double cfg;
    bool guided;               // two passes
    struct vks_api_text *text;
    uint64_t context, pooled;  // floats of one prompt
    struct embedding prompt, negative;
    struct vks_graph unet_graph, decoder_graph;
    struct vks_tensor *sample, *latents, *picture;
    struct vks_pipeline_text unet_text;
    struct vks_pipeline_unet unet;
    struct vks_exec *unet_exec, *decoder_exec;
};

static bool build_unet(struct vksteer_painter *p)
{
    struct vks_graph *graph = &p->unet_graph;
    const uint32_t length = p->model->pipeline->text_length;
    const uint32_t sample[] = {1, p->rows, p->columns, p->channels}, pooled[] = {1, (uint32_t)p->pooled};
    const uint32_t context[] = {1, length, (uint32_t)(p->context / length)};
    const struct vks_scheduler_step unscaled = {.input_scale = 1};  // the host scales
    if (p->uses.attachment)
        vks_attachment_hook(p->uses.attachment, graph);
    p->sample = vks_graph_input(graph, "sample", VKS_F32, 4, sample, false);
    p->unet_text.context = vks_graph_input(graph, "context", VKS_F32, 3, context, false);
    if (p->pooled)
        p->unet_text.pooled = vks_graph_input(graph, "pooled", VKS_F32, 2, pooled, false);
    if (!vks_pipeline_unet_build(p->model->pipeline, graph, &unscaled, p->sample, &p->unet_text, &p->unet))
        return false;
    p->unet.output->keep = true;
    p->unet_exec = vks_exec_create(graph, &(struct vks_exec_params){.gpu = p->model->session->gpu});
    return p->unet_exec != NULL;
}

static bool build_decoder(struct vksteer_painter *p)
{
    struct vks_graph *graph = &p->decoder_graph;
    const uint32_t shape[] = {1, p->rows, p->columns, p->channels};
    if (p->uses.attachment)
        vks_attachment_hook(p->uses.attachment, graph);
    p->latents = vks_graph_input(graph, "latents", VKS_F32, 4, shape, false);
    p->picture = vks_pipeline_decode_build(p->model->pipeline, graph, p->latents);
    if (!p->picture)
        return false;
    p->picture->keep = true;
    p->decoder_exec = vks_exec_create(graph, &(struct vks_exec_params){.gpu = p->model->session->gpu});
    return p->decoder_exec != NULL;
}

static bool settle(struct vksteer_painter *p, const struct vksteer_paint_params *params)
{
    vksteer_model *model = p->model;
    p->width = params->width;
    p->height = params->height;
    p->cfg = params->cfg_scale > 0 ? params->cfg_scale : model->apply_cfg;
    p->guided = vks_api_guided(model, p->cfg);
    p->channels = model->pipeline->unet.in;
    if (!vks_api_size(model, &p->width, &p->height) ||
        !vks_api_schedule(model, params->steps, &p->schedule))
        return false;
    p->steps = params->steps ? params->steps : model->apply_steps;
    p->rows = p->height / model->pipeline->factor;
    p->columns = p->width / model->pipeline->factor;
    return true;
}

vksteer_painter *vks_api_painter_open(vksteer_model *model, const struct vksteer_paint_params *params,
                                      const struct vks_api_steerings *steerings)
{
    if (!vks_api_paints(model, "apply"))
        return NULL;
    vksteer_painter *p = calloc(1, sizeof(*p));
    if (!p)
        return vks_fail_null(model->log, VKS_NO_MEMORY);
    p->model = model;
    vks_graph_init(&p->unet_graph, model->log);
    vks_graph_init(&p->decoder_graph, model->log);
    bool ok = settle(p, params) && vks_api_uses_open(model, steerings, &p->uses) &&
              (p->text = vks_api_text_create(model, 1, p->uses.attachment));
    if (ok)
        p->context = vks_api_text_context(p->text, &p->pooled);
    ok = ok && build_unet(p) && build_decoder(p) &&
         (!p->uses.attachment || vks_attachment_check(p->uses.attachment, model->log));
    if (!ok)
        vksteer_painter_close(&p);
    return p;
}

vksteer_painter *vksteer_painter_open(vksteer_model *model, const struct vksteer_paint_params *params)
{
    static const struct vksteer_paint_params defaults;
    struct vks_api_steerings steerings;
    params = params ? params : &defaults;
    if (!vks_api_can_run(model) ||
        !vks_api_steerings_load(model, params->steerings, params->steering_count,
                                params->strict ? VKS_API_STRICT : 0, &steerings))
        return NULL;
    vksteer_painter *painter = vks_api_painter_open(model, params, &steerings);
    vks_api_steerings_finish(&steerings);
    return painter;
}

static void forget(struct embedding *embedding)
{
    free(embedding->prompt);
    free(embedding->context);
    free(embedding->pooled);
    *embedding = (struct embedding){0};
}

void vksteer_painter_close(vksteer_painter **address)
{
    vksteer_painter *p = *address;
    if (!p)
        return;
    *address = NULL;
    vks_exec_destroy(&p->unet_exec);
    vks_exec_destroy(&p->decoder_exec);
    vks_api_text_destroy(&p->text);
    vks_graph_finish(&p->unet_graph);
    vks_graph_finish(&p->decoder_graph);
    vks_api_uses_close(&p->uses);
    vks_schedule_finish(&p->schedule);
    forget(&p->prompt);
    forget(&p->negative);
    free(p);
}

void vksteer_painter_size(const vksteer_painter *painter, uint32_t *width, uint32_t *height, uint32_t *steps,
                          double *cfg_scale)
{
    *width = painter->width;
    *height = painter->height;
    *steps = painter->steps;
    *cfg_scale = painter->cfg;
}

// The embedding of a prompt; kept until another one is asked for, unless strengths change it.
static bool embed(struct vksteer_painter *p, struct embedding *embedding, const char *prompt, const uint32_t *step)
{
    if (embedding->prompt && !p->uses.text && strcmp(embedding->prompt, prompt) == 0)
        return true;
    forget(embedding);
    embedding->context = malloc(p->context * sizeof(float) + 1);
    embedding->pooled = malloc(p->pooled * sizeof(float) + 1);
    char *copy = malloc(strlen(prompt) + 1);
    if (!embedding->context || !embedding->pooled || !copy) {
        free(copy);
        return vks_fail(p->model->log, VKS_NO_MEMORY);
    }
    if (!vks_api_text_run(p->text, &prompt, 1, step, embedding->context, embedding->pooled)) {
        free(copy);
        return false;
    }
    embedding->prompt = strcpy(copy, prompt);
    return true;
}

// What guidance leads away from.
static bool embed_negative(struct vksteer_painter *p, const char *prompt, const uint32_t *step)
{
    struct embedding *embedding = &p->negative;
    if (prompt || !p->model->pipeline->zero_negative)
        return embed(p, embedding, prompt ? prompt : "", step);
    forget(embedding);
    embedding->context = calloc(p->context + 1, sizeof(float));
    embedding->pooled = calloc(p->pooled + 1, sizeof(float));
    return (embedding->context && embedding->pooled) || vks_fail(p->model->log, VKS_NO_MEMORY);
}

// One pass of the UNet.
static bool pass(struct vksteer_painter *p, const struct embedding *embedding, const float *input,
                 const struct vks_scheduler_step *at, const uint32_t *step, float *output)
{
    const uint64_t bytes = (uint64_t)p->rows * p->columns * p->channels * sizeof(float);
    return vks_exec_write(p->unet_exec, p->sample, input, bytes) &&
           vks_exec_write(p->unet_exec, p->unet_text.context, embedding->context, p->context * sizeof(float)) &&
           (!p->pooled ||
            vks_exec_write(p->unet_exec, p->unet_text.pooled, embedding->pooled, p->pooled * sizeof(float))) &&
           vks_pipeline_unet_feed(p->model->pipeline, p->unet_exec, &p->unet, at, p->cfg) &&
           vks_exec_run(p->unet_exec, step) && vks_exec_read(p->unet_exec, p->unet.output, output, bytes);
}

// The schedule, from noise to latents, in place. `work`: WORK more arrays of latents.
#define WORK (VKS_SCHEDULER_OUTPUTS + 3)
static bool denoise(struct vksteer_painter *p, uint64_t seed, const uint32_t *step, float *latents, float *work)
{
    const size_t count = (size_t)p->rows * p->columns * p->channels;
    float *input = work, *other = work + count, *before = work + 2 * count, *said = work + 3 * count;
    const float *outputs[VKS_SCHEDULER_OUTPUTS];
    for (size_t i = 0; i < count; i++)
        latents[i] *= (float)p->schedule.init_noise_sigma;
    for (uint32_t s = 0; s < p->schedule.count; s++) {
        const struct vks_scheduler_step *at = &p->schedule.steps[s];
        float *output = said + s % VKS_SCHEDULER_OUTPUTS * count;
        for (size_t i = 0; i < count; i++)
            input[i] = (float)at->input_scale * latents[i];
        if (!pass(p, &p->prompt, input, at, step, output))
            return false;
        if (p->guided) {
            if (!pass(p, &p->negative, input, at, step, other))
                return false;
            for (size_t i = 0; i < count; i++)
                output[i] = other[i] + (float)p->cfg * (output[i] - other[i]);
        }
        const struct vks_noise noise = {.seed = seed, .offset = s + 1, .domain = VKS_NOISE_IMAGE};
        if (at->next_noise != 0 && !vks_api_noise(p->model, &noise, p->rows, p->columns, other))
            return false;
        for (uint32_t k = 0; k < VKS_SCHEDULER_OUTPUTS; k++)
            outputs[k] = said + (s + VKS_SCHEDULER_OUTPUTS - k) % VKS_SCHEDULER_OUTPUTS * count;
        vks_scheduler_advance(at, count, latents, before, outputs, other);
    }
    for (size_t i = 0; i < count; i++)
        if (!isfinite(latents[i]))  // a decoder may make a picture of anything
            return vks_api_not_finite(p->model, "the latents are");
    return true;
}

// (-1 to 1) to bytes, rounded to nearest as diffusers does.
static bool to_bytes(const struct vksteer_painter *p, const float *values, struct vksteer_image *image)
{
    const size_t count = (size_t)p->width * p->height * 3;
    image->width = p->width;
    image->height = p->height;
    image->rgb = malloc(count);
    if (!image->rgb)
        return vks_fail(p->model->log, VKS_NO_MEMORY);
    for (size_t i = 0; i < count; i++) {
        const float x = values[i] * 0.5f + 0.5f;
        if (!isfinite(x)) {
            free(image->rgb);
            *image = (struct vksteer_image){0};
            return vks_api_not_finite(p->model, "the picture is");
        }
        image->rgb[i] = (uint8_t)lrintf(255 * (x < 0 ? 0 : x > 1 ? 1 : x));
    }
    return true;
}

static bool start(struct vksteer_painter *p, uint64_t seed, const float *latents, size_t latent_count, float *values)
{
    const size_t count = (size_t)p->rows * p->columns * p->channels;
    const struct vks_noise noise = {.seed = seed, .domain = VKS_NOISE_IMAGE};
    if (!latents)
        return vks_api_noise(p->model, &noise, p->rows, p->columns, values);
    if (latent_count != count)
        return vks_fail(p->model->log, "the latents have %zu values; a picture of %u x %u takes %zu (%u, %u, %u): make "
                        "them for this size", latent_count, p->width, p->height, count, p->channels, p->rows,
                        p->columns);
    vks_api_channels_last(latents, p->channels, (uint64_t)p->rows * p->columns, values);
    return true;
}

bool vksteer_paint(vksteer_painter *p, const char *prompt, const char *negative_prompt, uint64_t seed,
                   const float *strengths, const float *latents, size_t latent_count, struct vksteer_image *image)
{
    const size_t count = (size_t)p->rows * p->columns * p->channels, pixels = (size_t)p->width * p->height * 3;
    uint32_t step[VKS_STEP_WORDS];
    *image = (struct vksteer_image){0};
    if (!vks_api_uses_check(&p->uses, p->model->log, strengths))
        return false;
    vks_api_uses_step(&p->uses, strengths, step);
    float *values = malloc(((1 + WORK) * count + pixels) * sizeof(*values)), *painted;
    bool ok = values != NULL || vks_fail(p->model->log, VKS_NO_MEMORY);
    painted = ok ? values + (1 + WORK) * count : NULL;
    ok = ok && start(p, seed, latents, latent_count, values) && embed(p, &p->prompt, prompt, step) &&
         (!p->guided || embed_negative(p, negative_prompt, step)) &&
         denoise(p, seed, step, values, values + count) &&
         vks_exec_write(p->decoder_exec, p->latents, values, count * sizeof(*values)) &&
         vks_exec_run(p->decoder_exec, step) &&
         vks_exec_read(p->decoder_exec, p->picture, painted, pixels * sizeof(*values)) &&
         to_bytes(p, painted, image);
    free(values);
    return ok;
}
