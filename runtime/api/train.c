// vksteer_train: the model's prompts and noise, the steering layer's training.
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "steer/train.h"

struct bridge {
    const struct vksteer_train_params *params;
    bool stopped;                          // while targets were collected
    const struct vks_train_params *inner;  // as they fit the memory
};

static void translate(const struct bridge *bridge, const struct vks_train_progress *in, struct vksteer_progress *out)
{
    *out = (struct vksteer_progress){
        .stage = "training",
        .step = in->step,
        .steps = in->steps,
        .first_loss = in->first_loss,
        .loss = in->loss,
        .floor = in->floor,
        .max_w = in->max_w,
        .max_b = in->max_b,
        .path_share = in->path_share,
        .seconds = in->seconds,
        .validation_first = in->validation_first,
        .validation = in->validation,
        .validation_floor = in->validation_floor,
        .micro_batch = bridge->inner->micro_batch,
        .recompute = bridge->inner->recompute,
    };
}

static bool report(void *priv, const struct vks_train_progress *progress)
{
    const struct bridge *bridge = priv;
    struct vksteer_progress out;
    if (!bridge->params->progress)
        return true;
    translate(bridge, progress, &out);
    return bridge->params->progress(bridge->params->priv, &out);
}

static bool watch(void *priv, uint32_t done, uint32_t count)
{
    struct bridge *bridge = priv;
    const struct vksteer_progress progress = {.stage = "targets", .step = done, .steps = count};
    bridge->stopped = bridge->params->progress && !bridge->params->progress(bridge->params->priv, &progress);
    return !bridge->stopped;
}

// The index of `text` among `names` (the last one NULL); NULL text is the first.
static bool choose(const struct vks_log *log, const char *what, const char *text, const char *const names[],
                   int *index)
{
    char known[256] = "";
    *index = 0;
    if (!text)
        return true;
    for (int i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *index = i;
            return true;
        }
        if (strlen(known) + strlen(names[i]) + 3 < sizeof(known)) {
            strcat(known, i ? ", " : "");
            strcat(known, names[i]);
        }
    }
    return vks_fail(log, "%s \"%s\" is not known: use one of %s", what, text, known);
}

// Steps of the refit, which needs channels that were taken away.
static uint32_t refit_of(const struct vksteer_train_params *in, const vksteer_model *model, uint32_t steps,
                         double gamma)
{
    if (in->refit > 0)
        return (uint32_t)in->refit;
    if (in->refit < 0 || (gamma <= 0 && in->support <= 0))
        return 0;
    const struct vksteer_model_info *info = &model->info;
    if (!info->train_refit)
        return in->support > 0 ? (steps + 1) / 2 : 0;
    return (uint32_t)(((uint64_t)steps * info->train_refit + info->train_steps - 1) / info->train_steps);
}

static const char *default_sites(const vksteer_model *model, enum vks_place place)
{
    const char *own = model->place_sites[place];
    return own ? own : model->info.train_sites;
}

// Indices of the words among the params.
struct choices {
    int method, optimizer, position, pool, scale, prox;
    bool own_optimizer;  // the model's default, to which its rate and gamma belong
};

static bool choose_all(const vksteer_model *model, const struct vksteer_train_params *in, struct choices *out)
{
    static const char *const optimizers[] = {"adam", "sgd", NULL}, *const positions[] = {"all", "last", "avg", NULL};
    static const char *const pools[] = {"mean", "last", "max", NULL}, *const scales[] = {"sum", "mean", NULL};
    static const char *const proxes[] = {"l1", "sparse-group", NULL};
    const struct vks_log *log = model->log;
    const char *optimizer = in->optimizer ? in->optimizer : model->info.train_optimizer;
    out->own_optimizer = strcmp(optimizer, model->info.train_optimizer) == 0;
    return choose(log, "the method", in->method, vks_method_names(), &out->method) &&
           choose(log, "the optimizer", optimizer, optimizers, &out->optimizer) &&
           choose(log, "the position", in->position, positions, &out->position) &&
           choose(log, "the pooling", in->pool, pools, &out->pool) &&
           choose(log, "the loss scale", in->loss_scale, scales, &out->scale) &&
           choose(log, "the proximal step", in->prox ? in->prox : proxes[out->optimizer == 1], proxes, &out->prox);
}

static bool fill(vksteer_model *model, const struct vksteer_train_params *in, struct vks_train_params *out)
{
    struct choices chosen;
    if (!choose_all(model, in, &chosen))
        return false;
    if (chosen.method != VKS_METHOD_LINEAS && (in->gamma > 0 || in->support > 0 || in->refit > 0))
        return vks_fail(model->log, "--gamma, --support and --refit take channels away from lineas: %s changes all; "
                        "leave them out", in->method);
    const uint32_t steps = in->steps ? in->steps : model->info.train_steps;
    const bool same = chosen.own_optimizer, sgd = chosen.optimizer == 1;
    // A gamma belongs to its proximal step, too.
    const double usual = same && !in->prox ? model->info.train_gamma : 0;
    const double gamma = in->gamma < 0 ? 0 : in->gamma > 0 ? in->gamma : usual;
    const struct vks_method_info *kind = vks_method_info((enum vks_method)chosen.method);
    static const enum vks_position places[] = {VKS_POSITION_ALL, VKS_POSITION_LAST, VKS_POSITION_AVG};
    static const enum vks_pool pooling[] = {VKS_POOL_MEAN, VKS_POOL_LAST, VKS_POOL_MAX};
    *out = (struct vks_train_params){
        .method = (enum vks_method)chosen.method,
        .sites = in->sites ? in->sites : default_sites(model, kind->place),
        .loss_sites = in->loss_sites,
        .steps = steps,
        .batch = in->batch ? in->batch : model->info.train_batch,
        .micro_batch = in->micro_batch,
        .lr = in->lr > 0 ? in->lr : same ? model->info.train_lr : sgd ? 0.1 : 1e-3,
        .refit = refit_of(in, model, steps, gamma),
        .exec = {.keep = chosen.method == VKS_METHOD_LINEAS ? vks_api_keep(model) : 0},
        .gamma = gamma,
        .support = in->support,
        .sgd = sgd,
        .sparse_group = chosen.prox == 1,
        .mean_scale = chosen.scale == 1,
        .p = in->p ? in->p : 2,
        .position = places[chosen.position],
        // The last token has read the text before it; the last pixel is a corner.
        .pool = in->pool                                         ? pooling[chosen.pool]
                : !model->decoder && kind->pool == VKS_POOL_LAST ? VKS_POOL_MEAN : kind->pool,
        .alpha = in->alpha,
        .top_heads = in->top_heads,
        .threshold = in->threshold,
        .quantiles = {in->quantiles[0], in->quantiles[1]},
        .seed = in->seed,
        .sample_steps = in->sample_steps,
        .cfg_scale = in->cfg_scale,
        .recompute = in->recompute,
        .force = in->force,
        .output = in->output,
        .log_path = in->log_path,
        .resume = in->resume,
    };
    // The model's batch is a default and gives way to a small set; one that was asked for does not.
    if (!in->batch && out->batch > in->source_count && in->source_count >= 4)
        out->batch = (uint32_t)in->source_count;
    return true;
}

// `in` as the steering layer wants it; refused when it makes no sense for the model.
static bool check(vksteer_model *model, const struct vksteer_train_params *in, struct vks_train_params *out)
{
    const struct vks_log *log = model->log;
    if (!fill(model, in, out))
        return false;
    if (!in->source_count || !in->target_count)
        return vks_fail(log, "training needs source and target prompts: give at least 4 of each");
    if (in->sample_steps > 1)
        return vks_fail(log, "--sample-steps %u: maps are trained on a single step so far: give 1, or leave it out "
                        "for the first of the model's own %u", in->sample_steps, model->apply_steps);
    if (model->decoder && (in->width || in->height || in->sample_steps || in->cfg_scale > 0))
        return vks_fail(log, "sizes of pictures, --sample-steps and --cfg-scale are not for a language model: leave "
                        "them out");
    if (in->source_count > UINT32_MAX / 2 || in->target_count > UINT32_MAX / 2 ||
        in->validation_count > UINT32_MAX / 2)
        return vks_fail(log, "too many prompts: give fewer");
    if (in->base_count >= VKSTEER_MAX_STEERINGS)
        return vks_fail(log, "%zu steerings at once: %d is the most while training", in->base_count,
                        VKSTEER_MAX_STEERINGS - 1);
    const struct vks_subject sizes = {
        .log = log, .set_sizes = {(uint32_t)in->source_count, (uint32_t)in->target_count}};
    return vks_train_check(&sizes, out);
}

bool vksteer_train_check(vksteer_model *model, const struct vksteer_train_params *params)
{
    struct vks_train_params inner;
    struct vks_graph graph;
    struct vks_site_list sites = {0}, loss = {0};
    if (!check(model, params, &inner) || !vksteer_model_fits(model, params->base, params->base_count, false) ||
        (model->decoder && !vks_api_tokenizer(model)))
        return false;
    vks_graph_init(&graph, model->log);
    const bool ok = vks_api_graph(model, &graph) &&
                    vks_site_list_select(&sites, &graph, inner.sites) &&
                    (!inner.loss_sites || vks_site_list_select(&loss, &graph, inner.loss_sites));
    vks_graph_finish(&graph);
    vks_site_list_finish(&sites);
    vks_site_list_finish(&loss);
    return ok;
}

// What the maps are trained under, where that is not the model's own: "lcm, timestep 399".
static const char *sampler_of(const vksteer_model *model, char text[64])
{
    const struct vksteer_model_info *info = &model->info;
    const int used = model->pipeline && (model->pipeline->over.scheduler || info->timestep_count)
                         ? snprintf(text, 64, "%s", info->scheduler) : 0;
    if (used && info->timestep_count)
        snprintf(text + used, 64 - (size_t)used, ", timestep %u", info->timesteps[0]);
    return used ? text : NULL;
}

// Bytes that a training would take beside what is on the device; UINT64_MAX: it cannot be planned.
static uint64_t bytes_of(vksteer_model *model, const struct vks_subject *subject,
                         const struct vks_train_params *params)
{
    struct vks_train_need need;
    const bool was = vks_api_dry(model, true), ok = vks_train_measure(subject, params, &need);
    const uint64_t bytes = ok ? vks_api_missing(model) + VKS_API_SLACK(need.bytes) : UINT64_MAX;
    vks_api_dry(model, was);
    return bytes;
}

// A language model would fill the budget with its weights, unpacked: much memory for a small part of their products.
uint64_t vks_api_keep(const vksteer_model *model)
{
    return model->pipeline ? (uint64_t)128 << 20 : 0;
}

// Keeps nothing, recomputes and takes smaller slices, which changes no bit, until the training fits the memory that
// is left.
static bool fit_memory(vksteer_model *model, const struct vks_subject *subject, struct vks_train_params *params)
{
    uint64_t budget, bytes = UINT64_MAX;
    const uint64_t left = vks_gpu_available(subject->gpu, &budget);
    const uint32_t first = params->micro_batch ? params->micro_batch : params->batch;
    struct vks_train_params trial = *params;
    if (params->method != VKS_METHOD_LINEAS)
        return true;
    if (trial.exec.keep > 0) {
        bytes = bytes_of(model, subject, &trial);
        if (bytes <= left || bytes == UINT64_MAX) {
            params->micro_batch = first;
            return bytes <= left;
        }
        trial.exec.keep = params->exec.keep = 0;
    }
    for (uint32_t micro = first; micro > 0; micro--) {
        if (params->batch % micro)
            continue;
        trial.micro_batch = micro;
        for (int again = params->recompute; again < 2; again++) {
            trial.recompute = again;
            bytes = bytes_of(model, subject, &trial);
            if (bytes == UINT64_MAX)
                return false;
            if (bytes > left)
                continue;
            if (micro != first || trial.recompute != params->recompute)
                vks_info(model->log, "to fit the %llu MiB that are left, the training works as with --micro-batch "
                         "%u%s: slower, but with the same bits", (unsigned long long)(left >> 20), micro,
                         trial.recompute ? " --recompute" : "");
            params->micro_batch = micro;
            params->recompute = trial.recompute;
            return true;
        }
    }
    return vks_fail(model->log, "a training step takes %llu MiB even sample by sample and with --recompute, and of "
                    "the %llu MiB that may be used %llu are left: train at a smaller size (-W, -H) or at fewer "
                    "--sites, or raise --memory", (unsigned long long)((bytes >> 20) + 1),
                    (unsigned long long)(budget >> 20), (unsigned long long)(left >> 20));
}

enum vksteer_result vksteer_train(vksteer_model *model, const struct vksteer_train_params *params,
                                  struct vksteer_progress *last)
{
    struct vks_train_params inner;
    struct vks_train_progress figures = {0};
    struct bridge bridge = {.params = params, .inner = &inner};
    char sampler[64];
    if (last)
        *last = (struct vksteer_progress){0};
    if (!vks_api_can_run(model) || !check(model, params, &inner))
        return VKSTEER_FAILED;
    if (model->apply_steps > 1 && !params->sample_steps)
        vks_warn(model->log, "maps are trained at the first of this model's %u steps", model->apply_steps);
    if (inner.method != VKS_METHOD_LINEAS && (params->steps || params->lr > 0 || params->optimizer || params->prox))
        vks_warn(model->log, "%s takes no steps: --steps, --lr, --optimizer and --prox change nothing",
                 params->method);
    if (params->progress && !params->progress(params->priv, &(struct vksteer_progress){.stage = "prompts"}))
        return VKSTEER_STOPPED;
    struct vks_api_steerings base;
    const struct vks_steering *pointers[VKSTEER_MAX_STEERINGS];
    if (!vks_api_steerings_load(model, params->base, params->base_count, 0, &base))
        return VKSTEER_FAILED;
    vks_api_steerings_drop_decoder(&base);
    const struct vks_api_subject_params subject_params = {
        .prompts = {params->source, params->target, params->validation},
        .counts = {params->source_count, params->target_count, params->validation_count},
        .sites = inner.sites,
        .loss_sites = inner.loss_sites,
        .text = vks_api_steerings_in_text(&base),
        .width = params->width,
        .height = params->height,
        .seed = params->seed,
        .sample_steps = params->sample_steps,
        .cfg_scale = params->cfg_scale,
        .cache = !params->no_cache,
    };
    struct vks_api_subject *subject = vks_api_subject_create(model, &subject_params);
    if (!subject) {
        vks_api_steerings_finish(&base);
        return VKSTEER_FAILED;
    }
    for (size_t i = 0; i < base.count; i++)
        pointers[i] = &base.items[i];
    inner.base = pointers;
    inner.base_strengths = base.strengths;
    inner.base_count = (uint32_t)base.count;
    inner.sampler = sampler_of(model, sampler);
    inner.progress = report;
    inner.progress_priv = &bridge;
    struct vks_subject watched = *vks_api_subject(subject);
    watched.watch = watch;
    watched.watch_priv = &bridge;
    enum vks_train_result result =
        fit_memory(model, &watched, &inner) ? vks_train(&watched, &inner, &figures) : VKS_TRAIN_FAILED;
    if (result == VKS_TRAIN_FAILED && bridge.stopped)
        result = VKS_TRAIN_STOPPED;
    vks_api_subject_destroy(&subject);
    vks_api_steerings_finish(&base);
    if (last)
        translate(&bridge, &figures, last);
    return result == VKS_TRAIN_DONE ? VKSTEER_DONE : result == VKS_TRAIN_STOPPED ? VKSTEER_STOPPED : VKSTEER_FAILED;
}
