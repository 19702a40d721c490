// Models: where they are found, what they say about themselves, their defaults for steering and painting.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/text.h"
#include "io/gguf.h"
#include "io/json.h"

#define BUILT_IN "emoji"

static bool holds(const char *path, const char *name)
{
    char *index = vks_path_join(path, name);
    const bool is = index && vks_os_is_file(index);
    free(index);
    return is;
}

static bool is_pipeline(const char *path)
{
    return holds(path, "model_index.json");
}

// Whether a folder or file is a language model's, or means to be one.
static bool is_language(const char *path)
{
    return vks_gguf_is(path) || (holds(path, "config.json") && !is_pipeline(path));
}

static bool is_model(const char *path)
{
    return is_pipeline(path) || is_language(path);
}

// The folder or file of a model by its name; heap. Of a single-file checkpoint the folder of its base, and
// *checkpoint is the file, unless it is one already.
static char *locate(const vksteer_session *session, const struct vks_log *log, const char *name,
                    const char **checkpoint)
{
    if (!*name)
        return vks_fail_null(log, "the model's name is empty: give a folder, or `" BUILT_IN "`");
    if (vks_os_is_dir(name) && (is_model(name) || strpbrk(name, "/\\")))
        return vks_path_join(name, "");
    if (vks_gguf_is(name))
        return vks_path_join("", name);
    if (vks_os_is_file(name) && *checkpoint)
        return vks_fail_null(log, "%s is a file: give the folder over which the checkpoint %s goes", name,
                             *checkpoint);
    if (vks_os_is_file(name)) {
        *checkpoint = name;
        return vks_api_base_of(log, name);
    }
    bool other = false;
    char *found = strpbrk(name, "/\\:") ? vks_api_find_repository(name, &other) : vks_api_find(session, name);
    if (found && is_model(found))
        return found;
    free(found);
    if (vks_os_is_dir(name))
        return vks_path_join(name, "");
    if (other)
        return vks_fail_null(log, "%s: the repository is in the local Hugging Face cache, but not at %s: download "
                             "that revision, or give one that is there (ORG/NAME@REVISION: a branch, a tag or a "
                             "whole commit)", name, strchr(name, '@') ? strchr(name, '@') + 1 : "main");
    return vks_fail_null(log, "there is no model %s: give a diffusers folder (model_index.json), a Hugging Face "
                         "folder (config.json), a .gguf file, a repository id from the local Hugging Face cache, or "
                         "the built-in `" BUILT_IN "`", name);
}

static bool out_of_memory(const struct vks_log *log)
{
    return vks_fail(log, VKS_NO_MEMORY);
}

// What the class of a model suggests when its folder has no vksteer.json.
static void class_defaults(vksteer_model *model)
{
    const struct vks_scheduler_config *scheduler = &model->pipeline->scheduler;
    struct vksteer_model_info *info = &model->info;
    info->train_sites = "unet.*norm.*";
    model->place_sites[VKS_PLACE_RESIDUAL] = "unet.mid_block";
    model->place_sites[VKS_PLACE_HEADS] = "unet.*attn[12].to_out.0";
    model->place_sites[VKS_PLACE_FEED_FORWARD] = "unet.*ff.net.(0.proj|2)";
    info->train_optimizer = "adam";
    info->train_lr = 1e-3;
    info->train_steps = 1000;
    info->train_batch = 4;
    if (scheduler->kind == VKS_SCHEDULER_LCM) {
        model->apply_steps = 4;
        model->apply_cfg = model->pipeline->unet.condition ? 8.5 : 1;
    } else if (scheduler->spacing == VKS_SPACING_TRAILING &&
               scheduler->kind <= VKS_SCHEDULER_EULER_ANCESTRAL) {  // turbo
        model->apply_steps = 1;
        model->apply_cfg = 1;
    } else {
        model->apply_steps = 20;
        model->apply_cfg = 7;
    }
}

static bool read_train(vksteer_model *model, const struct vks_json *json, const struct cJSON *train)
{
    static const char *const optimizers[] = {"adam", "sgd", NULL};
    struct vksteer_model_info *info = &model->info;
    const struct vks_log *log = model->log;
    const char *sites = NULL;
    int64_t steps = 0, batch = 0, refit = 0;
    int optimizer = 0;
    if (!vks_json_string(log, json, train, "sites", info->train_sites, &sites) ||
        !vks_json_choice(log, json, train, "optimizer", optimizers, 0, &optimizer) ||
        !vks_json_number(log, json, train, "lr", info->train_lr, 0, 1e3, &info->train_lr) ||
        !vks_json_int(log, json, train, "steps", info->train_steps, 1, 1000000, &steps) ||
        !vks_json_number(log, json, train, "gamma", info->train_gamma, 0, 1e6, &info->train_gamma) ||
        !vks_json_int(log, json, train, "refit", info->train_refit, 0, 1000000, &refit) ||
        !vks_json_int(log, json, train, "batch", info->train_batch, 1, 65536, &batch))
        return false;
    info->train_sites = vks_arena_strdup(&model->arena, sites);
    info->train_optimizer = optimizers[optimizer];
    info->train_steps = (uint32_t)steps;
    info->train_refit = (uint32_t)refit;
    info->train_batch = (uint32_t)batch;
    return info->train_sites || out_of_memory(log);
}

// vksteer.json beside model_index.json or config.json: {"train": {...}, "apply": {"steps", "cfg_scale"}}.
static bool read_defaults(vksteer_model *model)
{
    char *path = vks_path_join(model->info.path, "vksteer.json");
    struct vks_json *json = NULL;
    const struct cJSON *train = NULL, *apply = NULL;
    int64_t steps = 0;
    bool ok = path != NULL || out_of_memory(model->log);
    if (ok && vks_os_is_file(path)) {
        ok = (json = vks_json_open(model->log, path)) != NULL &&
             vks_json_object(model->log, json, NULL, "train", &train) &&
             vks_json_object(model->log, json, NULL, "apply", &apply) && (!train || read_train(model, json, train));
        if (ok && apply)
            ok = vks_json_int(model->log, json, apply, "steps", model->apply_steps, 1, 1000, &steps) &&
                 vks_json_number(model->log, json, apply, "cfg_scale", model->apply_cfg, 0, 100, &model->apply_cfg);
        if (ok && steps)
            model->apply_steps = (uint32_t)steps;
    }
    vks_json_close(&json);
    free(path);
    return ok;
}

static bool open_loras(vksteer_model *model, const struct vksteer_model_params *params)
{
    const struct vks_pipeline *pipeline = model->pipeline;
    struct vksteer_model_info *info = &model->info;
    struct vks_lora_part parts[VKS_PIPELINE_PARTS];
    size_t count = 0;
    if (model->decoder)
        parts[count++] = (struct vks_lora_part){"model", model->decoder->weights, 0,
                                                vks_decoder_has_conv1d(model->decoder)};
    if (params->lora_count > VKSTEER_MAX_LORAS)
        return vks_fail(model->log, "%zu LoRAs at once: %d is the most", params->lora_count, VKSTEER_MAX_LORAS);
    for (uint32_t i = 0; pipeline && i < pipeline->part_count; i++)
        if (strcmp(pipeline->parts[i].name, "vae"))
            parts[count++] = (struct vks_lora_part){pipeline->parts[i].name, pipeline->parts[i].weights,
                                                    i == pipeline->text_count ? pipeline->unet.layers[0] : 0, false};
    for (size_t i = 0; i < params->lora_count; i++) {
        const struct vksteer_lora *lora = &params->loras[i];
        if (!isfinite(lora->strength) || fabsf(lora->strength) > 1000)
            return vks_fail(model->log, "%s: a strength of %g makes no sense: 0 is off, 1 is as trained", lora->path,
                            lora->strength);
        model->loras[i] = vks_lora_open(model->log, lora->path, lora->strength, parts, count);
        if (!model->loras[i])
            return false;
        info->lora_files[i] = model->loras[i]->path;
        info->lora_strengths[i] = lora->strength;
        info->lora_layers[i] = (uint32_t)model->loras[i]->layers;
        info->loras++;
    }
    return true;
}

static bool take_timesteps(vksteer_model *model, const struct vksteer_model_params *params)
{
    struct vks_schedule schedule;
    struct vksteer_model_info *info = &model->info;
    info->scheduler = vks_scheduler_name(model->pipeline->scheduler.kind);
    if (!params->timestep_count)
        return true;
    if (params->timestep_count > VKSTEER_MAX_TIMESTEPS)
        return vks_fail(model->log, "%zu timesteps: %d are the most", params->timestep_count, VKSTEER_MAX_TIMESTEPS);
    info->timestep_count = (uint32_t)params->timestep_count;
    memcpy(info->timesteps, params->timesteps, params->timestep_count * sizeof(*params->timesteps));
    const bool good = vks_schedule_init(model->log, &model->pipeline->scheduler, info->timestep_count,
                                        info->timesteps, &schedule);
    vks_schedule_finish(&schedule);
    return good;
}

static bool open_pipeline(vksteer_model *model, const struct vksteer_model_params *params)
{
    struct vks_gpu *gpu = model->session ? model->session->gpu : NULL;
    model->pipeline = vks_pipeline_open_over(model->log, gpu, model->info.path,
                                             &(struct vks_pipeline_over){.checkpoint = params->checkpoint,
                                                                         .unet = params->unet,
                                                                         .vae = params->vae,
                                                                         .variant = params->variant,
                                                                         .scheduler = params->scheduler});
    if (!model->pipeline || !take_timesteps(model, params))
        return false;
    class_defaults(model);
    const struct vks_pipeline *pipeline = model->pipeline;
    struct vksteer_model_info *info = &model->info;
    const char *unet = "";
    if (!open_loras(model, params))
        return false;
    info->pipeline = pipeline->type;
    info->width = pipeline->width;
    info->height = pipeline->height;
    for (uint32_t i = 0; i < pipeline->part_count; i++) {
        const struct vks_pipeline_part *part = &pipeline->parts[i];
        info->part_names[i] = part->name;
        info->part_classes[i] = part->type;
        info->part_files[i] = part->over;
        info->part_parameters[i] = part->parameters;
        info->parameters += part->parameters;
        info->bytes += part->bytes;
        info->parts++;
        if (strcmp(part->name, "unet") == 0)
            unet = part->type;
    }
    info->architecture = vks_arena_printf(&model->arena, "%s/%s", info->pipeline, unet);
    return info->architecture || out_of_memory(model->log);
}

// Names, shapes and a sample of the bytes of every parameter: enough to tell one model from another when a training
// is resumed, and quick on large ones.
static void hash_parameters(struct vks_hash *hash, const struct vks_weights *weights)
{
    for (size_t i = 0; i < vks_weights_count(weights); i++) {
        const struct vks_weight *weight = vks_weights_at(weights, i);
        const size_t most = weight->size < 4096 ? weight->size : 4096;
        vks_hash_add_text(hash, weight->name);
        vks_hash_add_text(hash, weight->type);
        vks_hash_add_u64(hash, weight->count);
        vks_hash_add(hash, weight->data, most);
        vks_hash_add(hash, weight->data + weight->size - most, most);
    }
    vks_weights_hash_changes(weights, hash);
}

static uint64_t hash_model(const vksteer_model *model)
{
    struct vks_hash hash;
    vks_hash_init(&hash, 1);
    if (model->decoder)
        hash_parameters(&hash, model->decoder->weights);
    for (uint32_t p = 0; model->pipeline && p < model->pipeline->part_count; p++)
        hash_parameters(&hash, model->pipeline->parts[p].weights);
    return vks_hash_value(&hash);
}

void vks_api_norms_add(struct vks_api_norms *norms, const float *weights, uint64_t count)
{
    norms->count += count;
    for (uint64_t i = 0; i < count; i++) {
        norms->sum += weights[i];
        norms->squares += (double)weights[i] * weights[i];
    }
}

void vks_api_norms_text(const struct vks_api_norms *norms, char *text, size_t capacity)
{
    const double n = norms->count ? (double)norms->count : 1;
    snprintf(text, capacity, "norms %llu mean %s rms %s", (unsigned long long)norms->count,
             VKS_NUMBER("%.5f", norms->sum / n), VKS_NUMBER("%.5f", sqrt(norms->squares / n)));
}

static bool is_norm(const struct vks_weight *weight)
{
    return weight->rank == 1 && (strstr(weight->name, "norm") || strstr(weight->name, "ln_")) &&
           vks_ends_with(weight->name, ".weight");
}

static void add_norms(struct vks_api_norms *norms, const struct vks_weights *weights)
{
    for (size_t i = 0; i < vks_weights_count(weights); i++) {
        const struct vks_weight *weight = vks_weights_at(weights, i);
        if (!is_norm(weight) || !vks_weights_readable(weights, i))
            continue;
        float *values = malloc((size_t)weight->count * sizeof(*values) + 1);
        if (values && vks_weights_read(weights, i, values))
            vks_api_norms_add(norms, values, weight->count);
        free(values);
    }
}

void vks_api_fingerprint(vksteer_model *model)
{
    struct vks_api_norms norms = {0};
    if (model->decoder)
        add_norms(&norms, model->decoder->weights);
    for (uint32_t p = 0; model->pipeline && p < model->pipeline->part_count; p++)
        if (strcmp(model->pipeline->parts[p].name, "unet") == 0)
            add_norms(&norms, model->pipeline->parts[p].weights);
    vks_api_norms_text(&norms, model->fingerprint, sizeof(model->fingerprint));
    if (model->info.loras) {
        const size_t used = strlen(model->fingerprint);
        char hex[17];
        struct vks_hash hash;
        vks_hash_init(&hash, 1);
        if (model->decoder)
            vks_weights_hash_changes(model->decoder->weights, &hash);
        for (uint32_t p = 0; model->pipeline && p < model->pipeline->part_count; p++)
            vks_weights_hash_changes(model->pipeline->parts[p].weights, &hash);
        snprintf(model->fingerprint + used, sizeof(model->fingerprint) - used, " lora %s",
                 vks_hash_hex(vks_hash_value(&hash), hex));
    }
}

static bool open_language(vksteer_model *model, const struct vksteer_model_params *params)
{
    if (params->checkpoint || params->unet || params->vae || params->variant || params->scheduler ||
        params->timestep_count)
        return vks_fail(model->log, "%s is a language model: another checkpoint, UNet, autoencoder, variant or "
                        "scheduler is for image models: give a diffusers folder", model->info.path);
    return vks_api_language_open(model) && open_loras(model, params);
}

vksteer_model *vksteer_model_open(vksteer_session *session, const struct vksteer_log *log, const char *name)
{
    return vksteer_model_open_with(session, log, &(struct vksteer_model_params){.model = name});
}

vksteer_model *vksteer_model_open_with(vksteer_session *session, const struct vksteer_log *log,
                                       const struct vksteer_model_params *given)
{
    struct vksteer_model_params taken = *given;
    const struct vksteer_model_params *params = &taken;
    vksteer_model *model = calloc(1, sizeof(*model));
    if (!model) {
        struct vks_api_log bridge;
        return vks_fail_null(session ? &session->bridge.log : vks_api_log_init(&bridge, log), VKS_NO_MEMORY);
    }
    const struct vks_log *own = vks_api_log_init(&model->bridge, log);
    model->session = session;
    model->log = session ? &session->bridge.log : own;
    char *path = locate(session, model->log, taken.model ? taken.model : BUILT_IN, &taken.checkpoint);
    // locate leaves a separator at the end of folders that were given; the pipeline adds its own.
    for (size_t length = path ? strlen(path) : 0; length > 1 && path[length - 1] == '/'; length--)
        path[length - 1] = 0;
    model->info.path = path ? vks_arena_strdup(&model->arena, path) : NULL;
    const bool found = path != NULL;
    free(path);
    bool ok = found && (model->info.path || out_of_memory(model->log));
    ok = ok && (is_language(model->info.path) ? open_language(model, params) : open_pipeline(model, params)) &&
         read_defaults(model);
    if (!ok) {
        vksteer_model_close(&model);
        return NULL;
    }
    if (model->info.timestep_count)
        model->apply_steps = model->info.timestep_count;
    model->info.steps = model->pipeline ? model->apply_steps : 0;
    model->info.cfg_scale = model->pipeline ? model->apply_cfg : 0;
    model->hash = hash_model(model);
    model->info.hash = vks_hash_hex(model->hash, model->hash_text);
    vks_api_fingerprint(model);
    return model;
}

bool vksteer_model_attach(vksteer_model *model, vksteer_session *session)
{
    if (model->session)
        return vks_fail(model->log, "the model has a session already: open it again for another one");
    model->session = session;
    if (model->decoder)
        vks_decoder_attach(model->decoder, session->gpu);
    else
        vks_pipeline_attach(model->pipeline, session->gpu);
    return true;
}

void vksteer_model_close(vksteer_model **address)
{
    vksteer_model *model = *address;
    if (!model)
        return;
    *address = NULL;
    vks_pipeline_close(&model->pipeline);
    vks_api_language_close(model);
    for (size_t i = 0; i < VKSTEER_MAX_LORAS; i++)
        vks_lora_close(&model->loras[i]);
    vks_arena_finish(&model->arena);
    vks_arena_finish(&model->site_arena);
    free(model);
}

const struct vksteer_model_info *vksteer_model_info(const vksteer_model *model)
{
    return &model->info;
}

bool vks_api_can_run(const vksteer_model *model)
{
    return model->session ||
           vks_fail(model->log, "the model was opened without a session, so it cannot run: open one");
}

static bool add_all(vksteer_model *model, struct vks_graph *graph)
{
    struct vks_decoder_io io;
    if (!model->decoder)
        return vks_pipeline_describe(model->pipeline, graph);
    const struct vks_decoder_params params = {
        .batch = 1, .length = vks_api_text_length(model), .head = VKS_HEAD_ALL};
    return vks_decoder_build(model->decoder, graph, &params, &io);
}

bool vks_api_graph(vksteer_model *model, struct vks_graph *graph)
{
    const bool was = vks_api_dry(model, true), ok = add_all(model, graph);
    vks_api_dry(model, was);
    return ok;
}

bool vks_api_paints(const vksteer_model *model, const char *what)
{
    return model->pipeline || vks_fail(model->log, "%s is a language model, and `%s` is for image models so far: "
                                       "give a diffusers folder, or `" BUILT_IN "`", model->info.path, what);
}

bool vks_api_guided(const vksteer_model *model, double cfg_scale)
{
    return cfg_scale > 1 && !model->pipeline->unet.condition;  // the others embed the scale
}

bool vks_api_schedule(const vksteer_model *model, uint32_t steps, struct vks_schedule *schedule)
{
    const uint32_t given = model->info.timestep_count;
    if (given && steps && steps != given)
        return vks_fail(model->log, "%u steps and %u timesteps: leave one of them out", steps, given);
    return vks_schedule_init(model->log, &model->pipeline->scheduler, steps ? steps : model->apply_steps,
                             given ? model->info.timesteps : NULL, schedule);
}

bool vks_api_size(const vksteer_model *model, uint32_t *width, uint32_t *height)
{
    const uint32_t factor = model->pipeline->factor, levels = model->pipeline->unet.levels;
    // Every level of the UNet halves; the way up needs the same sizes again.
    const uint32_t unit = factor << (levels ? levels - 1 : 0);
    *width = *width ? *width : model->info.width;
    *height = *height ? *height : model->info.height;
    if (*width > 8192 || *height > 8192)
        return vks_fail(model->log, "%u x %u pixels are too many: 8192 along a side is the most", *width, *height);
    if (*width % unit || *height % unit || !*width || !*height)
        return vks_fail(model->log, "%u x %u pixels do not fit this model: width and height must be multiples of %u",
                        *width, *height, unit);
    return true;
}

void vks_api_channels_last(const float *in, uint32_t channels, uint64_t pixels, float *out)
{
    for (uint32_t c = 0; c < channels; c++)
        for (uint64_t i = 0; i < pixels; i++)
            out[i * channels + c] = in[c * pixels + i];
}

bool vks_api_noise(const vksteer_model *model, const struct vks_noise *noise, uint32_t height, uint32_t width,
                   float *values)
{
    const uint32_t channels = model->pipeline->unet.in;
    const uint64_t pixels = (uint64_t)height * width;
    float *drawn = malloc((size_t)pixels * channels * sizeof(*drawn));
    if (!drawn)
        return out_of_memory(model->log);
    vks_noise_normal(noise, drawn, (size_t)pixels * channels);
    vks_api_channels_last(drawn, channels, pixels, values);
    free(drawn);
    return true;
}
