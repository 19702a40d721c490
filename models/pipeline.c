#include "models/pipeline.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/text.h"
#include "models/config.h"

static const char *const types[] = {"StableDiffusionPipeline", "LatentConsistencyModelPipeline",
                                    "StableDiffusionXLPipeline", NULL};
static const char *const text_names[] = {"text_encoder", "text_encoder_2"};
static const char *const tokenizer_names[] = {"tokenizer", "tokenizer_2"};

// The folder of a part; NULL (said) when memory is short.
static const char *part_folder(struct vks_pipeline *p, const char *name)
{
    const char *folder = vks_arena_printf(&p->arena, "%s/%s", p->folder, name);
    return folder ? folder : vks_fail_null(p->log, VKS_NO_MEMORY);
}

// The class of a part by model_index.json: ["library", "class"]. NULL when the part is absent or null.
static const char *part_type(struct vks_pipeline *p, const struct vks_json *index, const char *name)
{
    const struct cJSON *pair = vks_json_get(index->root, name);
    const struct cJSON *type = cJSON_IsArray(pair) ? cJSON_GetArrayItem(pair, 1) : NULL;
    return cJSON_IsString(type) ? vks_arena_strdup(&p->arena, type->valuestring) : NULL;
}

// Whether model_index.json names one of the `supported` classes for a part (and says so if not).
static bool need_type(struct vks_pipeline *p, const struct vks_json *index, const char *name,
                      const char *const supported[], const char **type)
{
    *type = part_type(p, index, name);
    if (!*type)
        return vks_fail(p->log, "%s: the part %s is missing: download the folder again", index->path, name);
    for (size_t i = 0; supported[i]; i++)
        if (!strcmp(*type, supported[i]))
            return true;
    return vks_fail(p->log, "%s: the class %.60s of %s is not supported: use a model with %s", index->path, *type,
                    name, supported[0]);
}

// The class of a part that stands beside the folder, by its own config.json.
static const char *foreign_type(struct vks_pipeline *p, const char *folder)
{
    const char *name = NULL;
    struct vks_json *json = vks_config_open(p->log, folder, "config.json");
    if (json && vks_json_require(p->log, json, NULL, "_class_name") &&
        vks_json_string(p->log, json, NULL, "_class_name", NULL, &name) &&
        !(name = vks_arena_strdup(&p->arena, name)))
        vks_fail(p->log, VKS_NO_MEMORY);
    vks_json_close(&json);
    return name;
}

// UNet weights in the names of diffusers, or of the original layout.
static struct vks_weights *open_unet_file(struct vks_pipeline *p, struct vks_gpu *gpu, const char *path)
{
    struct vks_weights *weights = vks_weights_open_file(p->log, gpu, path);
    if (!weights || vks_weights_find(weights, "conv_in.weight"))
        return weights;
    vks_weights_close(&weights);
    return vks_weights_open_checkpoint(p->log, gpu, path, "unet", p->unet.layers[0]);
}

static struct vks_pipeline_part *add_part(struct vks_pipeline *p, struct vks_gpu *gpu, const char *name,
                                          const char *type, const char *folder, const char *file)
{
    const char *over = !strcmp(name, "unet") ? p->over.unet : !strcmp(name, "vae") ? p->over.vae : NULL;
    struct vks_weights *weights = NULL;
    if (!over && p->over.checkpoint && strcmp(type, "AutoencoderTiny")) {  // never in such a file
        weights = vks_weights_open_checkpoint(p->log, gpu, p->over.checkpoint, name, p->unet.layers[0]);
        if (!weights)
            return NULL;
        over = p->over.checkpoint;
        if (!vks_weights_count(weights) && !strcmp(name, "unet")) {
            vks_weights_close(&weights);
            return vks_fail_null(p->log, "%s: has no model.diffusion_model: give a single-file checkpoint in the "
                                 "original layout", over);
        }
        if (!vks_weights_count(weights)) {
            vks_warn(p->log, "%s: has no %s: that of %s is taken", over, name, p->folder);
            vks_weights_close(&weights);
            over = NULL;
        }
    }
    if (!weights)
        weights = over && !strcmp(name, "unet") ? open_unet_file(p, gpu, over)
                                                : vks_weights_open(p->log, gpu, folder, file, p->over.variant);
    if (!weights)
        return NULL;
    struct vks_pipeline_part *part = &p->parts[p->part_count++];
    *part = (struct vks_pipeline_part){
        .name = name, .type = type, .parameters = vks_weights_parameters(weights), .weights = weights};
    part->bytes = vks_weights_bytes(weights);
    part->over = over;
    return part;
}

static bool open_text(struct vks_pipeline *p, struct vks_gpu *gpu, const struct vks_json *index, uint32_t i)
{
    static const char *const supported[] = {"CLIPTextModel", "CLIPTextModelWithProjection", NULL};
    static const char *const tokenizers[] = {"CLIPTokenizer", "CLIPTokenizerFast", NULL};
    const char *type, *tokenizer;
    if (!need_type(p, index, text_names[i], supported, &type) ||
        !need_type(p, index, tokenizer_names[i], tokenizers, &tokenizer))
        return false;
    const char *folder = part_folder(p, text_names[i]), *tokens = part_folder(p, tokenizer_names[i]);
    if (!folder || !tokens || !vks_clip_text_config_read(p->log, folder, &p->text[i]))
        return false;
    p->text[i].projected = !strcmp(type, supported[1]);  // the index decides, as in diffusers
    if (!add_part(p, gpu, text_names[i], type, folder, "model"))
        return false;
    p->tokenizer[i] = vks_clip_tokenizer_open(p->log, tokens);
    if (!p->tokenizer[i])
        return false;
    if ((uint32_t)vks_clip_tokenizer_size(p->tokenizer[i]) > p->text[i].vocabulary)
        return vks_fail(p->log, "%s: the tokenizer has %d tokens, %s only %u: the two are of different models",
                        tokens, (int)vks_clip_tokenizer_size(p->tokenizer[i]), text_names[i], p->text[i].vocabulary);
    const size_t most = vks_clip_tokenizer_max_length(p->tokenizer[i]);
    const uint32_t length = most < p->text[i].length ? (uint32_t)most : p->text[i].length;
    p->text_length = i && p->text_length < length ? p->text_length : length;
    p->text_count = i + 1;
    return true;
}

// Pixels a latent stands for in an autoencoder of a class that only diffusers runs.
static bool read_foreign_factor(struct vks_pipeline *p, const char *folder)
{
    int64_t channels[VKS_MAX_LEVELS];
    size_t count = 0;
    struct vks_json *json = vks_config_open(p->log, folder, "config.json");
    const bool done = json && vks_json_ints(p->log, json, NULL, "block_out_channels", 1, VKS_MAX_WIDTH, channels,
                                            VKS_MAX_LEVELS, &count, NULL);
    vks_json_close(&json);
    p->factor = count ? 1u << (count - 1) : 8;
    return done;
}

static bool open_decoder(struct vks_pipeline *p, struct vks_gpu *gpu, const struct vks_json *index)
{
    const char *type = p->over.vae ? foreign_type(p, p->over.vae) : part_type(p, index, "vae");
    const char *folder = p->over.vae ? p->over.vae : part_folder(p, "vae");
    if (!folder || (p->over.vae && !type))
        return false;
    if (!type)
        return vks_fail(p->log, "%s: the part vae is missing: download the folder again", index->path);
    p->has_kl = !strcmp(type, "AutoencoderKL");
    if (!p->has_kl && strcmp(type, "AutoencoderTiny") != 0) {
        vks_warn(p->log, "%s: %.60s is not supported, so pictures cannot be decoded: put an AutoencoderKL or "
                 "AutoencoderTiny (TAESD) for this model in vae and in model_index.json", folder, type);
        return read_foreign_factor(p, folder);
    }
    if (!(p->has_kl ? vks_autoencoder_kl_config_read(p->log, folder, &p->kl)
                    : vks_autoencoder_tiny_config_read(p->log, folder, &p->tiny)) ||
        !add_part(p, gpu, "vae", type, folder, "diffusion_pytorch_model"))
        return false;
    const uint32_t latents = p->has_kl ? p->kl.latents : p->tiny.latents;
    if (latents != p->unet.out)
        return vks_fail(p->log, "%s: latent_channels %u and the UNet's out_channels %u differ: the two are of "
                        "different models", folder, latents, p->unet.out);
    if ((p->has_kl ? p->kl.out : p->tiny.out) != 3)
        return vks_fail(p->log, "%s: out_channels is not 3, so what it decodes is no picture: use another model",
                        folder);
    p->factor = p->has_kl ? vks_autoencoder_kl_factor(&p->kl) : vks_autoencoder_tiny_factor(&p->tiny);
    p->has_decoder = true;
    return true;
}

static bool open_unet(struct vks_pipeline *p, struct vks_gpu *gpu, const struct vks_json *index)
{
    static const char *const supported[] = {"UNet2DConditionModel", NULL};
    const char *type, *folder = part_folder(p, "unet");
    if (!folder || !need_type(p, index, "unet", supported, &type) ||
        !vks_unet_config_read(p->log, folder, &p->unet) ||
        !add_part(p, gpu, "unet", type, folder, "diffusion_pytorch_model"))
        return false;
    if (p->over.unet && !vks_weights_find(p->parts[p->part_count - 1].weights, "conv_in.weight"))
        return vks_fail(p->log, "%s: has no conv_in.weight: give a file of UNet weights, in the names of diffusers "
                        "or the original layout", p->over.unet);
    if (p->unet.in != p->unet.out)
        return vks_fail(p->log, "%s: in_channels %u and out_channels %u differ (an inpainting or editing model): use "
                        "a text-to-image model", folder, p->unet.in, p->unet.out);
    const uint32_t width = p->xl ? p->text[0].width + p->text[1].width : p->text[0].width;
    if (p->unet.context[0] != width)
        return vks_fail(p->log, "%s: cross_attention_dim %u does not fit the text's %u channels: the two are of "
                        "different models", folder, p->unet.context[0], width);
    if (p->xl != (p->unet.added != 0))
        return vks_fail(p->log, "%s: addition_embed_type does not fit a %s: UNet and folder are of different models",
                        folder, p->type);
    return true;
}

// Whether it can be in a file's name (and says so if not).
static bool variant_is_name(const struct vks_pipeline *p)
{
    if (!p->over.variant)
        return true;
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const size_t length = strlen(p->over.variant);
    if (!length || length > 32 || strspn(p->over.variant, letters) != length)
        return vks_fail(p->log, "the variant %.60s is no name: give one such as fp16", p->over.variant);
    return true;
}

// Whether the variant that was asked for is there, of one part at least (and says so if not).
static bool variant_met(const struct vks_pipeline *p)
{
    if (!p->over.variant)
        return true;
    const size_t length = strlen(p->over.variant);
    for (uint32_t i = 0; i < p->part_count; i++) {
        // NAME.VARIANT.safetensors, NAME.safetensors.index.VARIANT.json
        const char *name = vks_path_name(vks_weights_path(p->parts[i].weights)), *end = strrchr(name, '.');
        if (end && (size_t)(end - name) > length && end[-(ptrdiff_t)length - 1] == '.' &&
            !strncmp(end - length, p->over.variant, length))
            return true;
    }
    return vks_fail(p->log, "%s: no part has weights of the variant %s: leave --variant out", p->folder,
                    p->over.variant);
}

static bool open_parts(struct vks_pipeline *p, struct vks_gpu *gpu, const struct vks_json *index)
{
    int type;
    if (!vks_json_choice(p->log, index, NULL, "_class_name", types, -1, &type))
        return false;
    p->type = types[type];
    p->xl = type == 2;
    const char *scheduler = part_folder(p, "scheduler");
    if (!scheduler || !vks_scheduler_config_read(p->log, scheduler, p->over.scheduler, &p->scheduler))
        return false;
    if (type == 0) {  // diffusers' StableDiffusionPipeline takes these values for files that have others
        p->scheduler.steps_offset = 1;
        p->scheduler.clip = false;
    }
    if (p->xl && !vks_json_bool(p->log, index, NULL, "force_zeros_for_empty_prompt", true, &p->zero_negative))
        return false;
    for (uint32_t i = 0; i < (p->xl ? 2u : 1u); i++)
        if (!open_text(p, gpu, index, i))
            return false;
    if (!open_unet(p, gpu, index) || !open_decoder(p, gpu, index) || !variant_met(p))
        return false;
    const uint32_t latents = p->unet.sample_size ? p->unet.sample_size : 64;
    p->width = p->height = latents * p->factor;
    return true;
}

// A copy in the arena, NULL of NULL.
static const char *kept(struct vks_pipeline *p, const char *text, bool *ok)
{
    const char *copy = text ? vks_arena_strdup(&p->arena, text) : NULL;
    if (text && !copy)
        *ok = vks_fail(p->log, VKS_NO_MEMORY);
    return copy;
}

struct vks_pipeline *vks_pipeline_open(const struct vks_log *log, struct vks_gpu *gpu, const char *folder)
{
    return vks_pipeline_open_over(log, gpu, folder, &(struct vks_pipeline_over){0});
}

struct vks_pipeline *vks_pipeline_open_over(const struct vks_log *log, struct vks_gpu *gpu, const char *folder,
                                            const struct vks_pipeline_over *over)
{
    struct vks_pipeline *p = calloc(1, sizeof(*p));
    if (!p)
        return vks_fail_null(log, VKS_NO_MEMORY);
    bool ok = true;
    p->log = log;
    p->folder = kept(p, folder, &ok);
    p->over.unet = kept(p, over->unet, &ok);
    p->over.vae = kept(p, over->vae, &ok);
    p->over.checkpoint = kept(p, over->checkpoint, &ok);
    p->over.variant = kept(p, over->variant, &ok);
    p->over.scheduler = kept(p, over->scheduler, &ok);
    struct vks_json *index = ok && variant_is_name(p) ? vks_config_open(log, folder, "model_index.json") : NULL;
    const bool done = index && open_parts(p, gpu, index);
    vks_json_close(&index);
    if (!done)
        vks_pipeline_close(&p);
    return p;
}

// Makes an index name a class of diffusers for a part.
static bool name_class(struct vks_json *index, const char *part, const char *type)
{
    const char *const pair[] = {"diffusers", type};
    cJSON *value = cJSON_CreateStringArray(pair, 2);
    const bool there = cJSON_GetObjectItemCaseSensitive(index->root, part) != NULL;
    const bool done = value && (there ? cJSON_ReplaceItemInObjectCaseSensitive(index->root, part, value)
                                      : cJSON_AddItemToObject(index->root, part, value));
    if (!done)
        cJSON_Delete(value);
    return done;
}

char *vks_pipeline_index(const struct vks_pipeline *p)
{
    struct vks_json *index = vks_config_open(p->log, p->folder, "model_index.json");
    if (!index)
        return NULL;
    const bool named =
        (!p->over.scheduler || name_class(index, "scheduler", vks_scheduler_class_name(p->scheduler.kind))) &&
        (!p->over.vae || !p->has_decoder || name_class(index, "vae", p->parts[p->part_count - 1].type));
    char *text = named ? cJSON_Print(index->root) : NULL;
    vks_json_close(&index);
    return text ? text : vks_fail_null(p->log, VKS_NO_MEMORY);
}

void vks_pipeline_attach(struct vks_pipeline *p, struct vks_gpu *gpu)
{
    for (uint32_t i = 0; i < p->part_count; i++)
        vks_weights_attach(p->parts[i].weights, gpu);
}

void vks_pipeline_close(struct vks_pipeline **at)
{
    struct vks_pipeline *p = *at;
    if (!p)
        return;
    for (uint32_t i = 0; i < p->part_count; i++)
        vks_weights_close(&p->parts[i].weights);
    for (uint32_t i = 0; i < VKS_PIPELINE_TEXTS; i++)
        vks_clip_tokenizer_close(&p->tokenizer[i]);
    vks_arena_finish(&p->arena);
    free(p);
    *at = NULL;
}

// Its parts are [first, end).
static void stage_parts(const struct vks_pipeline *p, enum vks_stage stage, uint32_t *first, uint32_t *end)
{
    *first = stage == VKS_STAGE_TEXT ? 0 : p->text_count + (stage == VKS_STAGE_DECODER);
    *end = stage == VKS_STAGE_TEXT ? p->text_count : *first + 1 < p->part_count ? *first + 1 : p->part_count;
}

void vks_pipeline_hold(struct vks_pipeline *p, enum vks_stage stage)
{
    uint32_t first, end;
    stage_parts(p, stage, &first, &end);
    for (uint32_t i = first; i < end; i++)
        vks_weights_hold(p->parts[i].weights);
}

void vks_pipeline_drop(struct vks_pipeline *p, enum vks_stage stage)
{
    uint32_t first, end;
    stage_parts(p, stage, &first, &end);
    for (uint32_t i = first; i < end; i++)
        vks_weights_drop(p->parts[i].weights);
}

uint64_t vks_pipeline_wanted(const struct vks_pipeline *p, enum vks_stage stage, uint64_t *missing)
{
    uint32_t first, end;
    uint64_t bytes = 0, part;
    *missing = 0;
    stage_parts(p, stage, &first, &end);
    for (uint32_t i = first; i < end; i++) {
        bytes += vks_weights_wanted(p->parts[i].weights, &part);
        *missing += part;
    }
    return bytes;
}

bool vks_pipeline_dry(struct vks_pipeline *p, bool dry)
{
    bool before = false;
    for (uint32_t i = 0; i < p->part_count; i++)
        before = vks_weights_dry(p->parts[i].weights, dry);
    return before;
}

bool vks_pipeline_text_build(struct vks_pipeline *p, struct vks_graph *graph, uint32_t batch,
                             struct vks_pipeline_text *text)
{
    *text = (struct vks_pipeline_text){0};
    struct vks_clip_text_outputs out[VKS_PIPELINE_TEXTS];
    const uint32_t shape[] = {batch, p->text_length};
    for (uint32_t i = 0; i < p->text_count; i++) {
        text->ids[i] = vks_graph_input(graph, "ids", VKS_I32, 2, shape, false);
        if (p->xl && i == 1)
            text->end[i] = vks_graph_input(graph, "end", VKS_I32, 1, shape, false);
        const struct vks_clip_text_inputs inputs = {
            .component = text_names[i], .ids = text->ids[i], .end = text->end[i]};
        if (!vks_clip_text_build(graph, p->parts[i].weights, &p->text[i], &inputs, &out[i]))
            return false;
    }
    text->context = out[0].last;
    if (p->xl) {
        text->context = vks_concat(graph, out[0].penultimate, out[1].penultimate);
        text->pooled = out[1].embeds ? out[1].embeds : out[1].pooled;
    }
    return !graph->failed;
}

bool vks_pipeline_text_feed(const struct vks_pipeline *p, struct vks_exec *exec, const struct vks_pipeline_text *text,
                            const char *const prompts[], uint32_t count)
{
    const uint32_t length = p->text_length;
    int32_t *ids = malloc(((size_t)count * length + count + 1) * sizeof(*ids));
    if (!ids)
        return vks_fail(p->log, VKS_NO_MEMORY);
    int32_t *end = ids + (size_t)count * length;
    bool done = true;
    for (uint32_t i = 0; done && i < p->text_count; i++) {
        for (uint32_t b = 0; done && b < count; b++)
            done = vks_clip_tokenizer_encode(p->log, p->tokenizer[i], prompts[b], strlen(prompts[b]),
                                             ids + (size_t)b * length, length, NULL, NULL);
        done = done && vks_exec_write(exec, text->ids[i], ids, (uint64_t)count * length * sizeof(*ids));
        if (done && text->end[i]) {
            vks_clip_text_end_rows(&p->text[i], ids, count, length, end);
            done = vks_exec_write(exec, text->end[i], end, count * sizeof(*end));
        }
    }
    free(ids);
    return done;
}

// Written with the same bytes before every run of a training.
static struct vks_tensor *steady_input(struct vks_graph *graph, const char *name, uint32_t rank,
                                       const uint32_t shape[])
{
    struct vks_tensor *tensor = vks_graph_input(graph, name, VKS_F32, rank, shape, false);
    if (tensor)
        tensor->steady = true;
    return tensor;
}

bool vks_pipeline_unet_build(struct vks_pipeline *p, struct vks_graph *graph, const struct vks_scheduler_step *step,
                             struct vks_tensor *sample, const struct vks_pipeline_text *text,
                             struct vks_pipeline_unet *unet)
{
    *unet = (struct vks_pipeline_unet){0};
    if (graph->failed || !sample)
        return false;
    const uint32_t batch = sample->shape[0];
    unet->batch = batch;
    unet->height = sample->shape[1] * p->factor;
    unet->width = sample->shape[2] * p->factor;
    unet->time = steady_input(graph, "time", 2, (uint32_t[]){batch, p->unet.channels[0]});
    if (p->unet.condition)
        unet->condition = steady_input(graph, "guidance", 2, (uint32_t[]){batch, p->unet.condition});
    if (p->unet.added)
        unet->time_ids = steady_input(graph, "sizes", 3, (uint32_t[]){batch, 6, p->unet.added_time});
    const struct vks_unet_inputs inputs = {
        .component = "unet",
        .sample = step->input_scale == 1 ? sample : vks_scale(graph, sample, (float)step->input_scale, 0),
        .time = unet->time,
        .context = text->context,
        .condition = unet->condition,
        .text_embeds = text->pooled,
        .time_ids = unet->time_ids,
    };
    unet->output = vks_unet_build(graph, p->parts[p->text_count].weights, &p->unet, &inputs);
    return unet->output != NULL;
}

bool vks_pipeline_unet_feed(const struct vks_pipeline *p, struct vks_exec *exec, const struct vks_pipeline_unet *unet,
                            const struct vks_scheduler_step *step, double guidance_scale)
{
    const struct vks_unet_config *config = &p->unet;
    const uint32_t row = config->channels[0], guide = config->condition, sizes = 6 * config->added_time;
    const uint32_t batch = unet->batch;
    float *time = calloc((size_t)batch * ((size_t)row + guide + sizes) + 1, sizeof(*time));
    if (!time)
        return vks_fail(p->log, VKS_NO_MEMORY);
    float *condition = time + (size_t)batch * row, *ids = condition + (size_t)batch * guide;
    // SDXL: original size, top left corner of the crop, target size
    const double size[6] = {unet->height, unet->width, 0, 0, unet->height, unet->width};
    for (uint32_t b = 0; b < batch; b++) {
        vks_unet_time_table(config, step->timestep, time + (size_t)b * row);
        if (guide)
            vks_unet_guidance_table(config, guidance_scale, condition + (size_t)b * guide);
        for (uint32_t i = 0; sizes && i < 6; i++)
            vks_unet_time_id_table(config, size[i], ids + (size_t)b * sizes + (size_t)i * config->added_time);
    }
    bool done = vks_exec_write(exec, unet->time, time, (uint64_t)batch * row * sizeof(*time));
    if (done && unet->condition)
        done = vks_exec_write(exec, unet->condition, condition, (uint64_t)batch * guide * sizeof(*time));
    if (done && unet->time_ids)
        done = vks_exec_write(exec, unet->time_ids, ids, (uint64_t)batch * sizes * sizeof(*time));
    free(time);
    return done;
}

struct vks_tensor *vks_pipeline_step_build(struct vks_graph *graph, const struct vks_scheduler_step *step,
                                           struct vks_tensor *sample, struct vks_tensor *output,
                                           struct vks_tensor *noise)
{
    vks_tensor *next = vks_scale(graph, output, (float)step->next_output, 0);
    if (step->next_earlier[0] != 0 || step->next_earlier[1] != 0)
        return vks_graph_fail(graph, "this step of the scheduler needs the one before: report this");
    if (step->next_sample != 0)
        next = vks_add(graph, next, vks_scale(graph, sample, (float)step->next_sample, 0));
    if (step->next_noise == 0)
        return next;
    if (!noise)
        return vks_graph_fail(graph, "this step of the scheduler needs fresh noise: report this");
    return vks_add(graph, next, vks_scale(graph, noise, (float)step->next_noise, 0));
}

bool vks_pipeline_can_decode(const struct vks_pipeline *p)
{
    return p->has_decoder ||
           vks_fail(p->log, "%s/vae: pictures cannot be decoded by this autoencoder: put an AutoencoderKL or "
                    "AutoencoderTiny (TAESD) for this model in its place", p->folder);
}

struct vks_tensor *vks_pipeline_decode_build(struct vks_pipeline *p, struct vks_graph *graph,
                                             struct vks_tensor *latents)
{
    if (!vks_pipeline_can_decode(p)) {
        graph->failed = true;
        return NULL;
    }
    struct vks_weights *weights = p->parts[p->text_count + 1].weights;
    const float scaling = p->has_kl ? p->kl.scaling : p->tiny.scaling, shift = p->has_kl ? p->kl.shift : 0;
    if (scaling != 1 || shift != 0)
        latents = vks_scale(graph, latents, 1 / scaling, shift);
    return p->has_kl ? vks_autoencoder_kl_decode(graph, weights, &p->kl, "vae", latents)
                     : vks_autoencoder_tiny_decode(graph, weights, &p->tiny, "vae", latents);
}

bool vks_pipeline_describe(struct vks_pipeline *p, struct vks_graph *graph)
{
    struct vks_pipeline_text text;
    struct vks_pipeline_unet unet;
    const struct vks_scheduler_step step = {.input_scale = 1};
    const uint32_t shape[] = {1, p->height / p->factor, p->width / p->factor, p->unet.in};
    if (!vks_pipeline_text_build(p, graph, 1, &text))
        return false;
    vks_tensor *sample = vks_graph_input(graph, "sample", VKS_F32, 4, shape, false);
    if (!vks_pipeline_unet_build(p, graph, &step, sample, &text, &unet))
        return false;
    if (p->has_decoder)
        vks_pipeline_decode_build(p, graph, unet.output);
    return !graph->failed;
}
