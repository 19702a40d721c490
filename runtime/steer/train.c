#include "steer/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/os.h"
#include "base/text.h"
#include "shaders/push.h"
#include "steer/closed.h"
#include "steer/collect.h"
#include "steer/methods.h"
#include "steer/resume.h"
#include "steer/validate.h"

#define SAVE_SECONDS 5.0

static const char *const position_names[] = {"all", "last", "avg"};
static const char *const pool_names[] = {"mean", "last", "max"};

struct training {
    const struct vks_subject *subject;
    const struct vks_train_params *params;
    struct vks_steering steering;
    struct vks_site_list loss_sites;
    struct vks_lineas *lineas;
    float *target;                     // pooled activations of the targets at the loss sites
    struct vks_os_appender *log;
    struct vks_resume resume;
    struct vks_train_progress progress;
    double path;                       // sum of all learning rates
    bool trial;                        // of the search for gamma: no log, no state
};

bool vks_train_check_micro(const struct vks_log *log, uint32_t batch, uint32_t micro_batch)
{
    return (micro_batch <= batch && batch % micro_batch == 0) ||
           vks_fail(log, "--micro-batch %u does not divide the batch of %u: give a number that does", micro_batch,
                    batch);
}

bool vks_train_check(const struct vks_subject *subject, const struct vks_train_params *p)
{
    const uint32_t *sizes = subject->set_sizes;
    if (sizes[VKS_SET_SOURCE] == 0 || sizes[VKS_SET_TARGET] == 0)
        return vks_fail(subject->log, "both prompt sets need at least one prompt");
    if (p->base_count >= VKS_STEP_STRENGTHS)
        return vks_fail(subject->log, "%u steerings at once: %u is the most while training", p->base_count,
                        VKS_STEP_STRENGTHS - 1);
    if (!vks_method_check(subject, p))
        return false;
    if (p->method != VKS_METHOD_LINEAS)
        return p->batch > 0 || vks_fail(subject->log, "--batch must be at least 1");
    if (p->batch > sizes[VKS_SET_SOURCE])
        return vks_fail(subject->log, "--batch %u exceeds the %u source prompts: give more prompts or a smaller "
                        "batch", p->batch, sizes[VKS_SET_SOURCE]);
    if (p->batch < 4 && !p->force)
        return vks_fail(subject->log, "--batch %u is too noisy to learn from: use at least 4, or --force", p->batch);
    if (p->micro_batch && !vks_train_check_micro(subject->log, p->batch, p->micro_batch))
        return false;
    if (p->steps == 0 || !(p->lr > 0) || !isfinite(p->lr) || !(p->gamma >= 0) || !isfinite(p->gamma))
        return vks_fail(subject->log, "--steps and --lr must be above 0, --gamma 0 or above");
    if (!(p->support >= 0) || p->support > 1)
        return vks_fail(subject->log, "--support is a share of the channels, above 0 and at most 1");
    if (p->refit && p->gamma == 0 && p->support == 0)
        return vks_fail(subject->log, "--refit fits the channels that are left by --gamma or --support: give one of "
                        "them");
    if (p->p != 1 && p->p != 2)
        return vks_fail(subject->log, "the loss is W_1 or W_2^2, not W_%u", p->p);
    return true;
}

static bool choose_sites(struct training *t)
{
    const struct vks_train_params *p = t->params;
    if (!vks_subject_sites(t->subject, p->sites, &t->steering.sites) ||
        !vks_subject_sites(t->subject, p->loss_sites ? p->loss_sites : p->sites, &t->loss_sites))
        return false;
    const uint32_t channels = t->steering.sites.channels;
    t->steering.w = malloc(channels * sizeof(float));
    t->steering.b = calloc(channels, sizeof(float));
    if (!t->steering.w || !t->steering.b)
        return vks_fail(t->subject->log, VKS_NO_MEMORY);
    for (uint32_t i = 0; i < channels; i++)
        t->steering.w[i] = 1;
    return p->quantiles[1] == 0 || vks_steering_add_range(&t->steering) || vks_fail(t->subject->log, VKS_NO_MEMORY);
}

bool vks_train_measure(const struct vks_subject *subject, const struct vks_train_params *params,
                       struct vks_train_need *need)
{
    struct vks_site_list maps = {0}, loss = {0};
    const bool ok = vks_subject_sites(subject, params->sites, &maps) &&
                    vks_subject_sites(subject, params->loss_sites ? params->loss_sites : params->sites, &loss) &&
                    vks_lineas_measure(subject, params, &maps, &loss, need);
    vks_site_list_finish(&maps);
    vks_site_list_finish(&loss);
    return ok;
}

static bool describe(struct training *t)
{
    const struct vks_train_params *p = t->params;
    struct vks_steering *s = &t->steering;
    bool ok = vks_steering_note(s, "method", "%s", vks_method_names()[p->method]) &&
              vks_steering_note(s, "model", "%s", t->subject->model) &&
              vks_steering_note(s, "sites", "%s", p->sites) &&
              vks_steering_note(s, "pool", "%s", pool_names[p->pool]) &&
              vks_steering_note(s, "seed", "%" PRIu64, p->seed) &&
              vks_steering_note(s, "source_count", "%u", t->subject->set_sizes[VKS_SET_SOURCE]) &&
              vks_steering_note(s, "target_count", "%u", t->subject->set_sizes[VKS_SET_TARGET]) &&
              vks_steering_note(s, "precision", "exact");
    if (ok && p->sample_steps)
        ok = vks_steering_note(s, "sample_steps", "%u", p->sample_steps);
    if (ok && p->sampler)
        ok = vks_steering_note(s, "sampler", "%s", p->sampler);
    if (ok && p->cfg_scale > 0)
        ok = vks_steering_note(s, "cfg_scale", "%s", VKS_NUMBER("%g", p->cfg_scale));
    if (ok && t->subject->fingerprint)
        ok = vks_steering_note(s, "fingerprint", "%s", t->subject->fingerprint);
    // Transport maps see pooled means, so on pictures their gain must not act on single pixels (METHODS, section 2).
    const bool pixels = vks_method_info(p->method)->transport && p->position == VKS_POSITION_ALL;
    if (ok && p->method != VKS_METHOD_LINEAS)
        return vks_steering_note(s, "position", "%s", pixels ? "pixels-avg" : position_names[p->position]) &&
               vks_method_describe(p, s);
    return ok && vks_steering_note(s, "position", "%s", position_names[p->position]) &&
           vks_steering_note(s, "loss_sites", "%s", p->loss_sites ? p->loss_sites : p->sites) &&
           vks_steering_note(s, "loss_scale", "%s", p->mean_scale ? "mean" : "sum") &&
           vks_steering_note(s, "p", "%u", p->p) &&
           vks_steering_note(s, "optimizer", "%s", p->sgd ? "sgd" : "adam") &&
           vks_steering_note(s, "lr", "%s", VKS_NUMBER("%g", p->lr)) &&
           vks_steering_note(s, "gamma", "%s", VKS_NUMBER("%g", p->gamma)) &&
           vks_steering_note(s, "prox", "%s", p->sgd || p->sparse_group ? "sparse-group" : "l1") &&
           (!p->refit || vks_steering_note(s, "refit", "%u", p->refit)) &&
           vks_steering_note(s, "steps", "%u", p->steps) && vks_steering_note(s, "batch", "%u", p->batch);
}

// Everything that the bits of the result depend on, beside the device.
static uint64_t hash_training(const struct training *t)
{
    struct vks_hash hash;
    vks_hash_init(&hash, 0);
    vks_hash_add_u64(&hash, t->subject->hash);
    for (size_t i = 0; i < t->steering.metadata_count; i++) {
        vks_hash_add_text(&hash, t->steering.metadata[i].key);
        vks_hash_add_text(&hash, t->steering.metadata[i].value);
    }
    // %g in the metadata rounds; the bits do not.
    vks_hash_add(&hash, &t->params->lr, sizeof(t->params->lr));
    vks_hash_add(&hash, &t->params->gamma, sizeof(t->params->gamma));
    for (size_t i = 0; i < t->steering.sites.count; i++)
        vks_hash_add_text(&hash, t->steering.sites.slots[i].name);
    for (size_t i = 0; i < t->loss_sites.count; i++)
        vks_hash_add_text(&hash, t->loss_sites.slots[i].name);
    for (uint32_t i = 0; i < t->params->base_count; i++) {
        const struct vks_steering *base = t->params->base[i];
        const char *position = vks_steering_metadata(base, "position");
        for (size_t s = 0; s < base->sites.count; s++)
            vks_hash_add_text(&hash, base->sites.slots[s].name);
        vks_hash_add_text(&hash, position ? position : "");
        vks_hash_add(&hash, &t->params->base_strengths[i], sizeof(float));
        vks_hash_add(&hash, base->w, base->sites.channels * sizeof(float));
        vks_hash_add(&hash, base->b, base->sites.channels * sizeof(float));
    }
    return vks_hash_value(&hash);
}

static bool open_state(struct training *t)
{
    const struct vks_train_params *p = t->params;
    struct vks_resume *resume = &t->resume;
    if (t->trial)
        return true;
    const struct vks_gpu_info *info = vks_gpu_info(t->subject->gpu);
    const size_t size = strlen(p->output) + sizeof(".state");
    resume->path = malloc(size);
    if (!resume->path)
        return vks_fail(t->subject->log, VKS_NO_MEMORY);
    snprintf(resume->path, size, "%s.state", p->output);
    // A kernel table of its own may give other bits, so it counts as another device; so do kernels switched off.
    static const uint8_t none[3] = {0};
    const struct vks_gpu_limits *limits = vks_gpu_limits(t->subject->gpu);
    const uint8_t *own = limits->matmul;
    char kernels[17];
    const int used = snprintf(resume->device, sizeof(resume->device), "%s, %s, lanes %u%s%s", info->name, info->driver,
                              limits->is_cpu ? limits->subgroup_size : 0,
                              limits->addresses ? ", addresses" : limits->texels ? ", texels" : "",
                              limits->winograd ? ", winograd" : "");
    if (memcmp(own, none, sizeof(none)) != 0 && used > 0 && (size_t)used < sizeof(resume->device))
        snprintf(resume->device + used, sizeof(resume->device) - (size_t)used, ", kernels %s",
                 vks_hash_hex(vks_hash64(own, sizeof(none)), kernels));
    resume->hash = hash_training(t);
    const size_t values = (size_t)t->subject->set_sizes[VKS_SET_TARGET] * t->loss_sites.channels;
    resume->activation_hash = vks_hash64(t->target, values * sizeof(*t->target));
    if (p->resume && vks_os_exists(resume->path)) {
        if (!vks_resume_load(resume, t->lineas, p->force, t->subject->log))
            return false;
        vks_info(t->subject->log, "going on from step %u of %s", resume->step, resume->path);
    } else if (p->resume) {
        vks_info(t->subject->log, "%s does not exist: training from the start", resume->path);
    }
    if (p->log_path && !(t->log = vks_os_appender_open(t->subject->log, p->log_path, resume->log_size)))
        return false;
    return true;
}

// Reads the maps back: w and b of the steering, and how far they have moved.
static bool read_maps(struct training *t)
{
    const uint32_t d = t->steering.sites.channels;
    float *param = malloc(2 * (size_t)d * sizeof(*param));
    if (!param)
        return vks_fail(t->subject->log, VKS_NO_MEMORY);
    const bool ok = vks_lineas_get(t->lineas, 0, param);
    t->progress.max_w = t->progress.max_b = 0;
    for (uint32_t i = 0; i < d && ok; i++) {
        t->steering.w[i] = param[i];
        t->steering.b[i] = param[d + i];
        t->progress.max_w = fmax(t->progress.max_w, fabs(param[i] - 1.0));
        t->progress.max_b = fmax(t->progress.max_b, fabs(param[d + i]));
    }
    t->progress.path_share = fmax(t->progress.max_w, t->progress.max_b) / t->path;
    free(param);
    return ok;
}

static bool validates(const struct training *t)
{
    return t->subject->set_sizes[VKS_SET_VALIDATION] > 0 && !t->trial;
}

// Held-out prompts with the maps as they are now.
static bool validate(struct training *t)
{
    const struct vks_validation validation = {t->subject, t->params, &t->loss_sites, t->target,
                                              t->lineas ? vks_lineas_exec(t->lineas) : NULL};
    return vks_validation_measure(&validation, &t->steering, &t->progress.validation) &&
           vks_validation_floor(&validation, &t->progress.validation_floor);
}

static bool write_log(struct training *t, const char *line, int length)
{
    if (!t->log)
        return true;
    if (!vks_os_appender_write(t->log, line, (size_t)length))
        return false;
    t->resume.log_size = vks_os_appender_size(t->log);
    return true;
}

// Before the first step.
static bool validate_first(struct training *t)
{
    char line[96];
    if (!validate(t))
        return false;
    t->progress.validation_first = t->progress.validation;
    return write_log(t, line, snprintf(line, sizeof(line), "{\"step\": 0, \"validation\": %s}\n",
                                       VKS_NUMBER("%.9g", t->progress.validation)));
}

static bool log_step(struct training *t, bool validated)
{
    char line[256];
    const struct vks_train_progress *now = &t->progress;
    int length = snprintf(line, sizeof(line),
                          "{\"step\": %u, \"lr\": %s, \"loss\": %s, \"floor\": %s, \"max_w\": %s, \"max_b\": %s",
                          now->step, VKS_NUMBER("%.9g", vks_lineas_rate(t->params, now->step - 1)),
                          VKS_NUMBER("%.9g", now->loss), VKS_NUMBER("%.9g", now->floor),
                          VKS_NUMBER("%.9g", now->max_w), VKS_NUMBER("%.9g", now->max_b));
    if (validated)
        length += snprintf(line + length, sizeof(line) - (size_t)length, ", \"validation\": %s",
                           VKS_NUMBER("%.9g", now->validation));
    length += snprintf(line + length, sizeof(line) - (size_t)length, "}\n");
    return write_log(t, line, length);
}

static bool save_state(struct training *t)
{
    // The log first: the state must never count bytes that a power cut could still take.
    return (!t->log || vks_os_appender_sync(t->log)) && vks_resume_save(&t->resume, t->lineas, t->subject->log);
}

static enum vks_train_result run_steps(struct training *t)
{
    const struct vks_train_params *p = t->params;
    const uint32_t steps = p->steps + p->refit;
    const double start = vks_os_seconds();
    double saved = start;
    t->progress.steps = steps;
    t->progress.floor = vks_lineas_floor(t->lineas);
    t->progress.step = t->resume.step;
    t->progress.first_loss = t->resume.first_loss;
    t->progress.loss = t->resume.last_loss;
    t->progress.validation_first = t->resume.validation[0];
    t->progress.validation = t->resume.validation[1];
    if (validates(t) && t->resume.step == 0 && !validate_first(t))
        return VKS_TRAIN_FAILED;
    for (uint32_t step = 0; step < steps; step++)
        t->path += vks_lineas_rate(p, step);
    for (uint32_t step = t->resume.step; step < steps; step++) {
        double loss;
        if (!vks_lineas_step(t->lineas, step, &loss) || !read_maps(t))
            return VKS_TRAIN_FAILED;
        if (step == 0)
            t->resume.first_loss = t->progress.first_loss = loss;
        t->resume.last_loss = t->progress.loss = loss;
        t->resume.step = t->progress.step = step + 1;
        t->progress.seconds = vks_os_seconds() - start;
        const bool due = validates(t) && vks_validation_due(step + 1, steps);
        if ((due && !validate(t)) || !log_step(t, due))
            return VKS_TRAIN_FAILED;
        t->resume.validation[0] = t->progress.validation_first;
        t->resume.validation[1] = t->progress.validation;
        const bool go_on = !p->progress || p->progress(p->progress_priv, &t->progress);
        const bool last = step + 1 == steps;
        if (t->trial && !go_on)
            return VKS_TRAIN_STOPPED;
        if (!last && !t->trial && (!go_on || vks_os_seconds() - saved > SAVE_SECONDS)) {
            if (!save_state(t))
                return VKS_TRAIN_FAILED;
            saved = vks_os_seconds();
        }
        if (!go_on && !last)
            return VKS_TRAIN_STOPPED;
    }
    return read_maps(t) ? VKS_TRAIN_DONE : VKS_TRAIN_FAILED;
}

static enum vks_train_result train_lineas(struct training *t)
{
    const struct vks_subject *subject = t->subject;
    const struct vks_train_params *p = t->params;
    const uint32_t batch = p->micro_batch ? p->micro_batch : p->batch;
    t->target = vks_collect(subject, &t->loss_sites, VKS_SET_TARGET, p->pool, batch, 0, NULL, NULL);
    if (!t->target)
        return VKS_TRAIN_FAILED;
    t->lineas = vks_lineas_create(subject, p, &t->steering.sites, &t->loss_sites, t->target);
    if (!t->lineas || !open_state(t))
        return VKS_TRAIN_FAILED;
    const enum vks_train_result result = run_steps(t);
    if (result != VKS_TRAIN_DONE)
        return result;
    if (!p->sgd && !t->trial && t->progress.path_share > 0.9)
        vks_warn(subject->log, "some channels moved %.0f %% of what the learning rates allow: the step budget is "
                 "used up; raise --lr or --steps for a stronger steering", 100 * t->progress.path_share);
    struct vks_steering *s = &t->steering;
    if (!t->trial && vks_steering_support(s) == 0)
        vks_warn(subject->log, "the steering changes nothing: no map moved; %s",
                 p->gamma > 0 ? "use less --gamma (or more --support), or train for longer"
                 : p->loss_sites ? "does anything at --loss-sites come after the maps at --sites?"
                 : "the prompts do not differ at these sites, or --lr is far from what the model needs");
    const bool noted = vks_steering_note(s, "first_loss", "%s", VKS_NUMBER("%.9g", t->resume.first_loss)) &&
                       vks_steering_note(s, "last_loss", "%s", VKS_NUMBER("%.9g", t->resume.last_loss)) &&
                       vks_steering_note(s, "loss_floor", "%s", VKS_NUMBER("%.9g", t->progress.floor));
    return noted ? VKS_TRAIN_DONE : VKS_TRAIN_FAILED;
}

// A closed form, between two looks at the held-out prompts.
static enum vks_train_result train_closed(struct training *t)
{
    const struct vks_train_params *p = t->params;
    if (validates(t)) {
        t->target = vks_collect(t->subject, &t->loss_sites, VKS_SET_TARGET, p->pool, p->batch, 0, NULL, NULL);
        if (!t->target || !validate_first(t))
            return VKS_TRAIN_FAILED;
    }
    const enum vks_train_result result = vks_train_closed(t->subject, p, &t->steering);
    if (result == VKS_TRAIN_DONE && vks_steering_support(&t->steering) == 0)
        vks_warn(t->subject->log, "the steering changes nothing: no channel at its sites tells the prompts apart as "
                 "%s asks: give other --sites, or prompts that differ more", vks_method_names()[p->method]);
    return result == VKS_TRAIN_DONE && validates(t) && !validate(t) ? VKS_TRAIN_FAILED : result;
}

static void finish_training(struct training *t)
{
    free(t->target);
    vks_os_appender_close(&t->log);
    vks_lineas_destroy(&t->lineas);
    vks_site_list_finish(&t->loss_sites);
    vks_steering_finish(&t->steering);
    free(t->resume.path);
}

// The smallest gamma, within 1/128, at which at most the wanted share of channels is left: support falls as gamma
// rises, so whole trainings bisect it.
static enum vks_train_result find_gamma(const struct vks_subject *subject, struct vks_train_params *params)
{
    const uint32_t refit = params->refit;
    double low = 0, high = 1;
    params->refit = 0;  // leaves the support as it is
    for (int trial = 0; trial < 7; trial++) {
        params->gamma = (low + high) / 2;
        struct training t = {.subject = subject, .params = params, .trial = true};
        const enum vks_train_result result =
            choose_sites(&t) && describe(&t) ? train_lineas(&t) : VKS_TRAIN_FAILED;
        const double support = vks_steering_support(&t.steering);
        finish_training(&t);
        if (result != VKS_TRAIN_DONE)
            return result;
        vks_info(subject->log, "gamma %g leaves %.1f %% of the channels", params->gamma, 100 * support);
        if (support > params->support)
            low = params->gamma;
        else
            high = params->gamma;
    }
    params->gamma = high;
    params->refit = refit;
    return VKS_TRAIN_DONE;
}

enum vks_train_result vks_train(const struct vks_subject *subject, const struct vks_train_params *asked,
                                struct vks_train_progress *last)
{
    struct vks_train_params params = *asked;
    struct training t = {.subject = subject, .params = &params};
    t.progress.validation_first = t.progress.validation = t.progress.validation_floor = NAN;
    t.resume.validation[0] = t.resume.validation[1] = NAN;
    enum vks_train_result result = vks_train_check(subject, &params) ? VKS_TRAIN_DONE : VKS_TRAIN_FAILED;
    vks_method_defaults(&params);
    if (result == VKS_TRAIN_DONE && params.support > 0 && params.method == VKS_METHOD_LINEAS)
        result = find_gamma(subject, &params);
    if (result == VKS_TRAIN_DONE && !(choose_sites(&t) && describe(&t)))
        result = VKS_TRAIN_FAILED;
    if (result == VKS_TRAIN_DONE && params.method == VKS_METHOD_LINEAS)
        result = train_lineas(&t);
    else if (result == VKS_TRAIN_DONE)
        result = train_closed(&t);
    if (result == VKS_TRAIN_DONE && !vks_steering_save(&t.steering, subject->log, params.output))
        result = VKS_TRAIN_FAILED;
    // The state has served its purpose only once the steering is on disk.
    if (result == VKS_TRAIN_DONE && t.resume.path && vks_os_exists(t.resume.path))
        vks_os_remove(subject->log, t.resume.path);
    if (last)
        *last = t.progress;
    finish_training(&t);
    return result;
}
