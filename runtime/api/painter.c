// Text to picture: text encoders, UNet step by step, decoder, each a graph recorded once. Between steps the latents
// are on the host, where the scheduler's arithmetic is a line a value.
//
// The three stages stay on the device as long as there is room. Where there is not, one that is needed makes the
// others leave: first their graphs, then their weights, text encoders before the decoder before the UNet. The prompts
// of pictures to come are read together, so that the text encoders come once; no bit depends on who was where.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/os.h"

#define MOST_EMBEDDINGS 64
#define MOST_ROUND 64  // pictures that are denoised before they are decoded, where memory is short

struct embedding {
    char *prompt;              // NULL: nothing stored
    float *context, *pooled;
};

struct vksteer_painter {
    vksteer_model *model;
    struct vks_api_uses uses;
    struct vks_schedule schedule;
    uint32_t width, height, rows, columns, channels, steps;
    struct vks_api_tiles down, across;  // of latents, in which they are decoded
    double cfg;
    bool guided;               // two passes
    uint64_t context, pooled;  // floats of one prompt
    uint32_t context_shape[2];
    struct vks_api_stage stages[VKS_STAGES];
    bool held[VKS_STAGES];     // its weights
    struct embedding prompts[MOST_EMBEDDINGS], negative;
    size_t prompt_count;
    const struct vksteer_picture *coming;  // pictures that are asked for, the caller's
    size_t coming_count;
    struct vks_api_text *text;
    struct vks_graph unet_graph, decoder_graph;
    struct vks_tensor *sample, *latents, *picture;
    struct vks_pipeline_text unet_text;
    struct vks_pipeline_unet unet;
    struct vks_exec *unet_exec, *decoder_exec;
};

// ---- stages -------------------------------------------------------------------------------------------------------

static bool build_unet(struct vksteer_painter *p)
{
    struct vks_graph *graph = &p->unet_graph;
    const uint32_t sample[] = {1, p->rows, p->columns, p->channels}, pooled[] = {1, (uint32_t)p->pooled};
    const uint32_t context[] = {1, p->context_shape[0], p->context_shape[1]};
    const struct vks_scheduler_step unscaled = {.input_scale = 1};  // the host scales
    if (p->uses.attachment)
        vks_attachment_hook(p->uses.attachment, graph);
    p->sample = vks_graph_input(graph, "sample", VKS_F32, 4, sample, false);
    p->unet_text = (struct vks_pipeline_text){0};
    p->unet_text.context = vks_graph_input(graph, "context", VKS_F32, 3, context, false);
    if (p->pooled)
        p->unet_text.pooled = vks_graph_input(graph, "pooled", VKS_F32, 2, pooled, false);
    if (!vks_pipeline_unet_build(p->model->pipeline, graph, &unscaled, p->sample, &p->unet_text, &p->unet))
        return false;
    p->unet.output->keep = true;
    return true;
}

static bool build_decoder(struct vksteer_painter *p)
{
    struct vks_graph *graph = &p->decoder_graph;
    const uint32_t shape[] = {1, p->down.size, p->across.size, p->channels};
    if (p->uses.attachment)
        vks_attachment_hook(p->uses.attachment, graph);
    p->latents = vks_graph_input(graph, "latents", VKS_F32, 4, shape, false);
    p->picture = vks_pipeline_decode_build(p->model->pipeline, graph, p->latents);
    if (!p->picture)
        return false;
    p->picture->keep = true;
    return true;
}

static bool ready(const struct vksteer_painter *p, enum vks_stage stage)
{
    return stage == VKS_STAGE_TEXT ? p->text != NULL : stage == VKS_STAGE_UNET ? p->unet_exec != NULL
                                                                               : p->decoder_exec != NULL;
}

// Its graph leaves the device.
static void rest(struct vksteer_painter *p, enum vks_stage stage)
{
    const struct vks_log *log = p->model->log;
    if (stage == VKS_STAGE_TEXT) {
        vks_api_text_destroy(&p->text);
        return;
    }
    struct vks_graph *graph = stage == VKS_STAGE_UNET ? &p->unet_graph : &p->decoder_graph;
    vks_exec_destroy(stage == VKS_STAGE_UNET ? &p->unet_exec : &p->decoder_exec);
    vks_graph_finish(graph);
    vks_graph_init(graph, log);
}

static void leave(struct vksteer_painter *p, enum vks_stage stage)
{
    rest(p, stage);
    if (p->held[stage])
        vks_pipeline_drop(p->model->pipeline, stage);
    p->held[stage] = false;
}

// Bytes of its weights that are not on the device. Another painter of the model may hold them; where it cannot be
// told, because somebody else has planned since (vks_weights_dry), they count as missing.
static uint64_t missing_weights(const struct vksteer_painter *p, enum vks_stage stage)
{
    uint64_t missing;
    const uint64_t weights = p->stages[stage].weights;
    if (p->held[stage])
        return 0;
    return vks_pipeline_wanted(p->model->pipeline, stage, &missing) == weights ? missing : weights;
}

static bool has_room(const struct vksteer_painter *p, enum vks_stage stage)
{
    uint64_t budget;
    return VKS_API_SLACK(missing_weights(p, stage) + p->stages[stage].run) <=
           vks_gpu_available(p->model->session->gpu, &budget);
}

static void make_room(struct vksteer_painter *p, enum vks_stage stage)
{
    static const enum vks_stage order[VKS_STAGES] = {VKS_STAGE_TEXT, VKS_STAGE_DECODER, VKS_STAGE_UNET};
    for (int weights = 0; weights < 2; weights++)
        for (int i = 0; i < VKS_STAGES && !has_room(p, stage); i++)
            if (order[i] != stage) {
                if (weights)
                    leave(p, order[i]);
                else
                    rest(p, order[i]);
            }
}

// Brings a stage to the device.
static bool enter(struct vksteer_painter *p, enum vks_stage stage)
{
    const struct vks_exec_params params = {.gpu = p->model->session->gpu};
    const double start = vks_os_seconds();
    const bool whole = !p->held[stage];
    uint64_t peak;
    if (ready(p, stage))
        return true;
    make_room(p, stage);
    const uint64_t before = vks_gpu_allocated(params.gpu, &peak);
    if (whole)
        vks_pipeline_hold(p->model->pipeline, stage);
    p->held[stage] = true;
    if (stage == VKS_STAGE_TEXT)
        p->text = vks_api_text_create(p->model, 1, p->uses.attachment);
    else if (stage == VKS_STAGE_UNET)
        p->unet_exec = build_unet(p) ? vks_exec_create(&p->unet_graph, &params) : NULL;
    else
        p->decoder_exec = build_decoder(p) ? vks_exec_create(&p->decoder_graph, &params) : NULL;
    if (whole) {
        p->stages[stage].load_seconds = vks_os_seconds() - start;
        p->stages[stage].device = vks_gpu_allocated(params.gpu, &peak) - before;
    }
    if (!ready(p, stage))
        leave(p, stage);
    return ready(p, stage);
}

// Counts a run of a stage that began at `start`, and with -v says how long it took.
static void count_run(struct vksteer_painter *p, enum vks_stage stage, double start)
{
    static const char *const names[VKS_STAGES] = {
        [VKS_STAGE_TEXT] = "text", [VKS_STAGE_UNET] = "step", [VKS_STAGE_DECODER] = "decoder"};
    p->stages[stage].runs++;
    p->stages[stage].run_seconds = vks_os_seconds() - start;
    vks_debug(p->model->log, "%s: %.3f s", names[stage], p->stages[stage].run_seconds);
}

// ---- opening ------------------------------------------------------------------------------------------------------

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
    p->down = vks_api_tiles_of(p->rows, p->rows);
    p->across = vks_api_tiles_of(p->columns, p->columns);
    return true;
}

static void note(struct vksteer_painter *p, enum vks_stage stage, const struct vks_exec_plan *plan)
{
    uint64_t missing;
    p->stages[stage] = (struct vks_api_stage){
        .weights = vks_pipeline_wanted(p->model->pipeline, stage, &missing),
        .run = plan->bytes,
        .flop = plan->flop,
        .dispatches = plan->dispatches,
    };
}

// Plans the UNet or the decoder; the weights are dry.
static bool measure(struct vksteer_painter *p, enum vks_stage stage)
{
    const struct vks_exec_params params = {.gpu = p->model->session->gpu};
    struct vks_exec_plan plan;
    struct vks_graph *graph = stage == VKS_STAGE_UNET ? &p->unet_graph : &p->decoder_graph;
    const bool ok = (stage == VKS_STAGE_UNET ? build_unet(p) : build_decoder(p)) &&
                    vks_exec_measure(graph, &params, &plan);
    rest(p, stage);
    if (ok)
        note(p, stage, &plan);
    return ok;
}

static bool measure_all(struct vksteer_painter *p)
{
    struct vks_api_text_size text;
    if (!vks_api_text_measure(p->model, 1, p->uses.attachment, &text))
        return false;
    note(p, VKS_STAGE_TEXT, &text.plan);
    memcpy(p->context_shape, text.context, sizeof(p->context_shape));
    p->context = (uint64_t)text.context[0] * text.context[1];
    p->pooled = text.pooled;
    return measure(p, VKS_STAGE_UNET) && (!p->model->pipeline->has_decoder || measure(p, VKS_STAGE_DECODER));
}

static bool measure_dry(struct vksteer_painter *p)
{
    const bool was = vks_pipeline_dry(p->model->pipeline, true), ok = measure_all(p);
    vks_pipeline_dry(p->model->pipeline, was);
    return ok;
}

static vksteer_painter *create(vksteer_model *model, const struct vksteer_paint_params *params,
                               const struct vks_api_steerings *steerings)
{
    vksteer_painter *p = calloc(1, sizeof(*p));
    if (!p)
        return vks_fail_null(model->log, VKS_NO_MEMORY);
    p->model = model;
    vks_graph_init(&p->unet_graph, model->log);
    vks_graph_init(&p->decoder_graph, model->log);
    if (!settle(p, params) || (steerings && !vks_api_uses_open(model, steerings, &p->uses)) || !measure_dry(p))
        vksteer_painter_close(&p);
    return p;
}

// Where the decoder does not fit in one piece: the largest square tiles that do.
static bool choose_tiles(struct vksteer_painter *p)
{
    const uint32_t factor = p->model->pipeline->factor;
    const uint64_t whole = VKS_API_SLACK(p->stages[VKS_STAGE_DECODER].weights + p->stages[VKS_STAGE_DECODER].run);
    bool ok = true;
    for (uint32_t size = 1024 / factor; ok && size >= 128 / factor && !has_room(p, VKS_STAGE_DECODER); size /= 2) {
        if (size >= p->rows && size >= p->columns)
            continue;
        p->down = vks_api_tiles_of(p->rows, size);
        p->across = vks_api_tiles_of(p->columns, size);
        const bool was = vks_pipeline_dry(p->model->pipeline, true);
        ok = measure(p, VKS_STAGE_DECODER);
        vks_pipeline_dry(p->model->pipeline, was);
    }
    if (ok && has_room(p, VKS_STAGE_DECODER))
        vks_warn(p->model->log, "decoding %u x %u pixels in one piece takes %" PRIu64 " MiB, more than there is (see "
                 "--memory): it is done in tiles of %u x %u, blended where they overlap, and colours may differ a "
                 "little from one to the next", p->width, p->height, whole >> 20, p->across.size * factor,
                 p->down.size * factor);
    return ok;
}

// Whether every stage fits by itself; the decoder perhaps in tiles.
static bool fits(struct vksteer_painter *p)
{
    static const char *const names[VKS_STAGES] = {"the text encoders", "the UNet", "the decoder"};
    uint64_t budget;
    const uint64_t left = vks_gpu_available(p->model->session->gpu, &budget);
    for (int i = 0; i < VKS_STAGES; i++) {
        if (i == VKS_STAGE_DECODER && !has_room(p, VKS_STAGE_DECODER) && !choose_tiles(p))
            return false;
        const uint64_t bytes = VKS_API_SLACK(p->stages[i].weights + p->stages[i].run);
        if (!has_room(p, (enum vks_stage)i))
            return vks_fail(p->model->log, "%s alone take%s %" PRIu64 " MiB for %u x %u pixels, and of the %" PRIu64
                            " MiB that may be used %" PRIu64 " are left: use a smaller picture (-W, -H) or model, or "
                            "raise --memory", names[i], i ? "s" : "", (bytes >> 20) + 1, p->width, p->height,
                            budget >> 20, left >> 20);
    }
    return true;
}

vksteer_painter *vks_api_painter_open(vksteer_model *model, const struct vksteer_paint_params *params,
                                      const struct vks_api_steerings *steerings)
{
    if (!vks_api_paints(model, "apply") || !vks_pipeline_can_decode(model->pipeline))
        return NULL;
    vksteer_painter *p = create(model, params, steerings);
    if (p && !((!p->uses.attachment || vks_attachment_check(p->uses.attachment, model->log)) && fits(p)))
        vksteer_painter_close(&p);
    return p;
}

bool vks_api_painter_plan(vksteer_model *model, const struct vksteer_paint_params *params,
                          struct vks_api_stage stages[VKS_STAGES])
{
    vksteer_painter *p = create(model, params, NULL);
    if (p)
        memcpy(stages, p->stages, sizeof(p->stages));
    const bool ok = p != NULL;
    vksteer_painter_close(&p);
    return ok;
}

const struct vks_api_stage *vks_api_painter_stages(const vksteer_painter *painter)
{
    return painter->stages;
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
    for (int i = 0; i < VKS_STAGES; i++)
        leave(p, (enum vks_stage)i);
    vks_graph_finish(&p->unet_graph);
    vks_graph_finish(&p->decoder_graph);
    vks_api_uses_close(&p->uses);
    vks_schedule_finish(&p->schedule);
    for (int i = 0; i < MOST_EMBEDDINGS; i++)
        forget(&p->prompts[i]);
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

bool vksteer_painter_tiles(const vksteer_painter *painter, uint32_t *width, uint32_t *height)
{
    const uint32_t factor = painter->model->pipeline->factor;
    *width = painter->across.size * factor;
    *height = painter->down.size * factor;
    return painter->across.count > 1 || painter->down.count > 1;
}

// ---- pictures -----------------------------------------------------------------------------------------------------

static bool embed(struct vksteer_painter *p, struct embedding *embedding, const char *prompt, const uint32_t *step)
{
    forget(embedding);
    embedding->context = malloc(p->context * sizeof(float) + 1);
    embedding->pooled = malloc(p->pooled * sizeof(float) + 1);
    char *copy = malloc(strlen(prompt) + 1);
    bool ok = (embedding->context && embedding->pooled && copy) || vks_fail(p->model->log, VKS_NO_MEMORY);
    ok = ok && enter(p, VKS_STAGE_TEXT);
    const double start = vks_os_seconds();
    ok = ok && vks_api_text_run(p->text, &prompt, 1, step, embedding->context, embedding->pooled);
    if (!ok) {
        free(copy);
        return false;
    }
    count_run(p, VKS_STAGE_TEXT, start);
    embedding->prompt = strcpy(copy, prompt);
    return true;
}

static struct embedding *find_embedding(struct vksteer_painter *p, const char *prompt)
{
    for (size_t i = 0; i < p->prompt_count; i++)
        if (strcmp(p->prompts[i].prompt, prompt) == 0)
            return &p->prompts[i];
    return NULL;
}

static bool add_embedding(struct vksteer_painter *p, const char *prompt, const uint32_t *step)
{
    const bool ok = embed(p, &p->prompts[p->prompt_count], prompt, step);
    p->prompt_count += ok;
    return ok;
}

// The embedding of a prompt, read together with those that are to come; kept unless strengths change them. NULL:
// failed.
static const struct embedding *read_prompt(struct vksteer_painter *p, const char *prompt, const uint32_t *step)
{
    const bool keeps = !p->uses.text;
    const struct embedding *found = keeps ? find_embedding(p, prompt) : NULL;
    size_t at = 0;
    if (found)
        return found;
    if (!keeps || p->prompt_count == MOST_EMBEDDINGS)
        p->prompt_count = 0;
    if (!add_embedding(p, prompt, step))
        return NULL;
    while (at < p->coming_count && p->coming[at].prompt != prompt)
        at++;
    for (; keeps && at < p->coming_count && p->prompt_count < MOST_EMBEDDINGS; at++)
        if (!find_embedding(p, p->coming[at].prompt) && !add_embedding(p, p->coming[at].prompt, step))
            return NULL;
    return find_embedding(p, prompt);
}

// What guidance leads away from.
static bool read_negative(struct vksteer_painter *p, const char *prompt, const uint32_t *step)
{
    struct embedding *embedding = &p->negative;
    prompt = prompt || p->model->pipeline->zero_negative ? prompt : "";
    if (prompt)
        return (embedding->prompt && !p->uses.text && strcmp(embedding->prompt, prompt) == 0) ||
               embed(p, embedding, prompt, step);
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
    const double start = vks_os_seconds();
    const bool ok =
           vks_exec_write(p->unet_exec, p->sample, input, bytes) &&
           vks_exec_write(p->unet_exec, p->unet_text.context, embedding->context, p->context * sizeof(float)) &&
           (!p->pooled ||
            vks_exec_write(p->unet_exec, p->unet_text.pooled, embedding->pooled, p->pooled * sizeof(float))) &&
           vks_pipeline_unet_feed(p->model->pipeline, p->unet_exec, &p->unet, at, p->cfg) &&
           vks_exec_run(p->unet_exec, step) && vks_exec_read(p->unet_exec, p->unet.output, output, bytes);
    count_run(p, VKS_STAGE_UNET, start);
    return ok;
}

// The schedule, from noise to latents, in place. `work`: WORK more arrays of latents.
#define WORK (VKS_SCHEDULER_OUTPUTS + 3)
static bool denoise(struct vksteer_painter *p, const struct embedding *prompt, uint64_t seed, const uint32_t *step,
                    float *latents, float *work)
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
        if (!pass(p, prompt, input, at, step, output))
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
    return true;
}

// `what`: "the latents are"
static bool are_numbers(const struct vksteer_painter *p, const char *what, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return vks_api_not_finite(p->model, what);
    return true;
}

// (-1 to 1) to bytes, rounded to nearest as diffusers does.
static bool to_bytes(const struct vksteer_painter *p, const float *values, struct vksteer_image *image)
{
    const size_t count = (size_t)p->width * p->height * 3;
    if (!are_numbers(p, "the picture is", values, count))
        return false;
    image->width = p->width;
    image->height = p->height;
    image->rgb = malloc(count);
    if (!image->rgb)
        return vks_fail(p->model->log, VKS_NO_MEMORY);
    for (size_t i = 0; i < count; i++) {
        const float x = values[i] * 0.5f + 0.5f;
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

static bool decode_piece(struct vksteer_painter *p, const float *latents, const uint32_t *step, float *pixels)
{
    const uint32_t factor = p->model->pipeline->factor;
    const uint64_t piece = (uint64_t)p->down.size * p->across.size;
    const double start = vks_os_seconds();
    const bool ok = vks_exec_write(p->decoder_exec, p->latents, latents, piece * p->channels * sizeof(float)) &&
                    vks_exec_run(p->decoder_exec, step) &&
                    vks_exec_read(p->decoder_exec, p->picture, pixels, piece * factor * factor * 3 * sizeof(float));
    count_run(p, VKS_STAGE_DECODER, start);
    return ok;
}

// Tile (i, j) of the latents into `pixels`, zeros at first, by its share of each.
static bool decode_tile(struct vksteer_painter *p, uint32_t i, uint32_t j, const float *latents, const uint32_t *step,
                        float *work, float *pixels)
{
    const uint32_t factor = p->model->pipeline->factor, rows = p->down.size, columns = p->across.size;
    const uint32_t top = vks_api_tile_first(&p->down, i), left = vks_api_tile_first(&p->across, j);
    const size_t line = (size_t)columns * p->channels;
    float *tile = work, *out = work + rows * line;
    for (uint32_t y = 0; y < rows; y++)
        memcpy(tile + y * line, latents + ((size_t)(top + y) * p->columns + left) * p->channels,
               line * sizeof(*tile));
    if (!decode_piece(p, tile, step, out))
        return false;
    for (uint32_t y = top * factor; y < (top + rows) * factor; y++) {
        const float share = vks_api_tile_share(&p->down, factor, i, y);
        for (uint32_t x = left * factor; x < (left + columns) * factor; x++) {
            const float part = share * vks_api_tile_share(&p->across, factor, j, x);
            for (int c = 0; c < 3; c++)
                pixels[3 * ((size_t)y * p->width + x) + c] += part * *out++;
        }
    }
    return true;
}

static bool decode(struct vksteer_painter *p, const float *latents, const uint32_t *step, float *pixels)
{
    const uint32_t factor = p->model->pipeline->factor;
    const size_t piece = (size_t)p->down.size * p->across.size;
    if (!enter(p, VKS_STAGE_DECODER))
        return false;
    if (p->down.count * p->across.count == 1)
        return decode_piece(p, latents, step, pixels);
    float *work = malloc(piece * (p->channels + 3 * factor * factor) * sizeof(*work));
    bool ok = work != NULL || vks_fail(p->model->log, VKS_NO_MEMORY);
    memset(pixels, 0, (size_t)p->width * p->height * 3 * sizeof(*pixels));
    for (uint32_t i = 0; i < p->down.count; i++)
        for (uint32_t j = 0; j < p->across.count && ok; j++)
            ok = decode_tile(p, i, j, latents, step, work, pixels);
    free(work);
    return ok;
}

static size_t latent_values(const struct vksteer_painter *p)
{
    return (size_t)p->rows * p->columns * p->channels;
}

static bool make_latents(struct vksteer_painter *p, const struct vksteer_picture *picture, float *values)
{
    const size_t count = latent_values(p);
    uint32_t step[VKS_STEP_WORDS];
    const struct embedding *read = NULL;
    if (!vks_api_uses_check(&p->uses, p->model->log, picture->strengths))
        return false;
    vks_api_uses_step(&p->uses, picture->strengths, step);
    float *work = malloc(WORK * count * sizeof(*work));
    bool ok = work != NULL || vks_fail(p->model->log, VKS_NO_MEMORY);
    ok = ok && start(p, picture->seed, picture->latents, picture->latent_count, values) &&
         (read = read_prompt(p, picture->prompt, step)) != NULL &&
         (!p->guided || read_negative(p, picture->negative_prompt, step)) && enter(p, VKS_STAGE_UNET) &&
         denoise(p, read, picture->seed, step, values, work) &&
         are_numbers(p, "the latents are", values, count);  // a decoder may make a picture of anything
    free(work);
    return ok;
}

static bool make_image(struct vksteer_painter *p, const struct vksteer_picture *picture, const float *latents,
                       struct vksteer_image *image)
{
    uint32_t step[VKS_STEP_WORDS];
    *image = (struct vksteer_image){0};
    vks_api_uses_step(&p->uses, picture->strengths, step);
    float *pixels = malloc((size_t)p->width * p->height * 3 * sizeof(*pixels));
    const bool ok = (pixels || vks_fail(p->model->log, VKS_NO_MEMORY)) && decode(p, latents, step, pixels) &&
                    to_bytes(p, pixels, image);
    free(pixels);
    return ok;
}

// Whether UNet and decoder can be on the device together.
static bool both_fit(const struct vksteer_painter *p)
{
    uint64_t budget, bytes = vks_gpu_available(p->model->session->gpu, &budget), wanted = 0;
    for (int i = 0; i < VKS_STAGES; i++) {
        bytes += (p->held[i] ? p->stages[i].weights : 0) + (ready(p, (enum vks_stage)i) ? p->stages[i].run : 0);
        if (i != VKS_STAGE_TEXT)
            wanted += (p->held[i] ? p->stages[i].weights : missing_weights(p, (enum vks_stage)i)) + p->stages[i].run;
    }
    return VKS_API_SLACK(wanted) <= bytes;
}

// Pictures [first, first + count): the latents of all, then what the decoder makes of those that are there.
static enum vksteer_result paint_round(struct vksteer_painter *p, const struct vksteer_picture *pictures,
                                       size_t first, size_t count, const struct vksteer_paint_calls *calls,
                                       float *latents)
{
    const size_t size = latent_values(p);
    size_t there = 0;
    bool ok = true, go_on = true;
    while (there < count && ok && go_on) {
        ok = make_latents(p, &pictures[first + there], latents + there * size);
        if (ok && count > 1 && calls->denoised)
            go_on = calls->denoised(calls->priv, first + there);
        there += ok;
    }
    for (size_t i = 0; i < there && go_on; i++) {
        struct vksteer_image image;
        if (!make_image(p, &pictures[first + i], latents + i * size, &image))
            return VKSTEER_FAILED;
        go_on = calls->done(calls->priv, first + i, &image);
    }
    return !ok ? VKSTEER_FAILED : go_on ? VKSTEER_DONE : VKSTEER_STOPPED;
}

enum vksteer_result vksteer_paint_all(vksteer_painter *p, const struct vksteer_picture *pictures, size_t count,
                                      const struct vksteer_paint_calls *calls)
{
    // Where the UNet must leave for the decoder, it makes the latents of many pictures before.
    const size_t round = both_fit(p) ? 1 : count < MOST_ROUND ? count : MOST_ROUND;
    float *latents = malloc((round ? round : 1) * latent_values(p) * sizeof(*latents));
    enum vksteer_result result = VKSTEER_DONE;
    if (!latents)
        return vks_fail(p->model->log, VKS_NO_MEMORY), VKSTEER_FAILED;
    p->coming = pictures;
    p->coming_count = count;
    for (size_t first = 0; first < count && result == VKSTEER_DONE; first += round)
        result = paint_round(p, pictures, first, count - first < round ? count - first : round, calls, latents);
    p->coming_count = 0;
    free(latents);
    return result;
}

static bool take(void *priv, size_t index, struct vksteer_image *image)
{
    (void)index;
    *(struct vksteer_image *)priv = *image;
    return true;
}

bool vksteer_paint(vksteer_painter *p, const char *prompt, const char *negative_prompt, uint64_t seed,
                   const float *strengths, const float *latents, size_t latent_count, struct vksteer_image *image)
{
    const struct vksteer_picture picture = {prompt, negative_prompt, seed, strengths, latents, latent_count};
    *image = (struct vksteer_image){0};
    return vksteer_paint_all(p, &picture, 1, &(struct vksteer_paint_calls){take, NULL, image}) == VKSTEER_DONE;
}
