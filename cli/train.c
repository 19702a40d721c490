// vksteer train: source and target prompts to a steering file.
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static bool on_progress(void *priv, const struct vksteer_progress *p)
{
    char note[128] = "";
    (void)priv;
    if (strcmp(p->stage, "training") == 0 && p->validation_floor > 0)
        snprintf(note, sizeof(note), "loss %.4g (floor %.3g), validation %.4g (floor %.3g)", p->loss, p->floor,
                 p->validation, p->validation_floor);
    else if (strcmp(p->stage, "training") == 0)
        snprintf(note, sizeof(note), "loss %.4g (floor %.3g)", p->loss, p->floor);
    progress_show(p->stage, p->step, p->steps, note);
    return !vksteer_interrupted();
}

static void print_result(const struct vksteer_train_params *params, const struct vksteer_progress *last,
                         const vksteer_session *session, bool json)
{
    uint64_t peak;
    vksteer_session_memory(session, &peak);
    if (json) {
        json_open(NULL, '{');
        json_text("path", params->output);
        if (last->steps) {  // not of closed forms
            json_integer("steps", last->step);
            json_number("first_loss", last->first_loss);
            json_number("loss", last->loss);
            json_number("floor", last->floor);
            json_number("max_w", last->max_w);
            json_number("max_b", last->max_b);
            json_number("path_share", last->path_share);
            json_number("seconds", last->seconds);
        }
        if (params->validation_count) {
            json_number("validation_first", last->validation_first);
            json_number("validation", last->validation);
            json_number("validation_floor", last->validation_floor);
        }
        json_integer("device_peak_bytes", peak);
        json_integer("seed", params->seed);
        json_close();
        return;
    }
    if (last->steps) {
        print_line("loss %.4g to %.4g (two samples of one law would show %.4g)", last->first_loss, last->loss,
                   last->floor);
        print_line("max|w-1| %.4g, max|b| %.4g, %.0f %% of the allowed path used", last->max_w, last->max_b,
                   100 * last->path_share);
    }
    if (params->validation_count)
        print_line("validation %.4g to %.4g (two samples of one law would show %.4g)", last->validation_first,
                   last->validation, last->validation_floor);
    print_line("%s", params->output);
}

struct job {
    struct common common;
    struct vksteer_train_params params;
    const char *source, *target, *validate, *field, *quantiles;
    int64_t seed;
    double gamma;                      // below 0: not given
    uint32_t refit;                    // UINT32_MAX: not given
    struct steer_list base;
    struct vksteer_prompts sets[3];    // source, target, held-out
};

static bool check_model(vksteer_model *model, void *priv)
{
    return vksteer_train_check(model, priv);
}

static int train(struct job *job)
{
    vksteer_session *session = NULL;
    vksteer_model *model = NULL;
    struct vksteer_progress last = {0};
    int code = open_both(&job->common, check_model, &job->params, &session, &model);
    if (code == EXIT_DONE) {
        vksteer_catch_interrupt();
        code = exit_code_of(vksteer_train(model, &job->params, &last));
        progress_done();
    }
    if (code == EXIT_INTERRUPTED && last.step > 0)  // closed forms, and a LinEAS before its first step, keep nothing
        say("stopped after %u steps: the same command with --resume goes on from there", last.step);
    if (code == EXIT_DONE) {
        print_result(&job->params, &last, session, job->common.json);
        if (job->common.json && !json_finish())
            code = EXIT_FAILED;
    }
    vksteer_model_close(&model);
    vksteer_session_close(&session);
    return code;
}

// The options that need more than their table says; fills in the params.
static int check(struct job *job)
{
    struct vksteer_train_params *p = &job->params;
    if (!job->source || !job->target || !p->output)
        return usage_error("train needs --source, --target and -o: see `vksteer train --help`");
    if (job->seed < 0)
        return usage_error("-s %lld: the seed of a training must not be negative", (long long)job->seed);
    if (job->quantiles && !(parse_numbers(job->quantiles, p->quantiles, 2) && p->quantiles[0] < p->quantiles[1]))
        return usage_error("--quantiles %s: give LOW:HIGH in percent, such as 0:100", job->quantiles);
    if (p->support > 0 && job->gamma >= 0)
        return usage_error("--support finds the gamma: leave --gamma out");
    if (p->resume && p->method && strcmp(p->method, "lineas") != 0)
        return usage_error("--resume is for lineas: %s is trained in one go", p->method);
    p->seed = (uint64_t)job->seed;
    p->gamma = job->gamma == 0 ? -1 : job->gamma > 0 ? job->gamma : 0;
    p->refit = job->refit == UINT32_MAX ? 0 : job->refit > 0 ? (int32_t)job->refit : -1;
    struct text state = {0};
    text_add(&state, "%s.state", p->output);
    const bool clash = p->log_path && state.data && vksteer_same_file(p->log_path, state.data);
    free(state.data);
    if (clash)
        return usage_error("--log %s is where the training is resumed from: give another name", p->log_path);
    p->base = job->base.uses;
    p->base_count = job->base.count;
    return EXIT_DONE;
}

static int run(struct job *job)
{
    struct vksteer_train_params *p = &job->params;
    struct vksteer_prompts *sets = job->sets;
    if (!vksteer_can_write(cli_log(), p->output) || (p->log_path && !vksteer_can_write(cli_log(), p->log_path)) ||
        !vksteer_prompts_read(cli_log(), job->source, job->field, &sets[0]) ||
        !vksteer_prompts_read(cli_log(), job->target, job->field, &sets[1]) ||
        (job->validate && !vksteer_prompts_read(cli_log(), job->validate, job->field, &sets[2])))
        return EXIT_FAILED;
    p->source = (const char *const *)sets[0].items;
    p->source_count = sets[0].count;
    p->target = (const char *const *)sets[1].items;
    p->target_count = sets[1].count;
    p->validation = (const char *const *)sets[2].items;
    p->validation_count = sets[2].count;
    return train(job);
}

// The method, and what only some of them take.
#define METHOD_OPTIONS(params, quantiles) \
    {0, "method", OPT_TEXT, &(params)->method, 0, 0, "NAME", "lineas (default), linear-act, linear-act-at-once, " \
     "mean-act, gaussian-act, caa, actadd, repe, iti, aura, detzero"}, \
    {0, "alpha", OPT_NUMBER, &(params)->alpha, 1e-6, 1e6, "F", "iti: standard deviations that a head moves " \
     "(default 15)"}, \
    {0, "top-heads", OPT_COUNT, &(params)->top_heads, 1, 1000000, "N", "iti: heads that move (default: 48 of " \
     "1024)"}, \
    {0, "threshold", OPT_NUMBER, &(params)->threshold, 1e-6, 1, "F", "detzero: average precision of an expert " \
     "(default 0.9)"}, \
    {0, "quantiles", OPT_TEXT, &(quantiles), 0, 0, "LOW:HIGH", "linear-act: move only values between these " \
     "percentiles of the source, such as 0:100"}

int command_train(int argc, char **argv)
{
    struct job job = {.params = {.progress = on_progress}, .seed = 42, .gamma = -1, .refit = UINT32_MAX};
    struct vksteer_train_params *const p = &job.params;
    struct arguments arguments;
    const struct option options[] = {
        {0, "source", OPT_TEXT, &job.source, 0, 0, "FILE", "prompts to steer away from"},
        {0, "target", OPT_TEXT, &job.target, 0, 0, "FILE", "prompts to steer towards"},
        {0, "validate", OPT_TEXT, &job.validate, 0, 0, "FILE", "held-out source prompts: their distance to the "
         "target, before, ten times meanwhile, after; changes no bit"},
        {'o', "output", OPT_OUT, &p->output, 0, 0, "FILE", "the steering file (.safetensors)"},
        {0, "field", OPT_TEXT, &job.field, 0, 0, "NAME", "field of .jsonl, .json and .csv prompts"},
        METHOD_OPTIONS(p, job.quantiles),
        {0, "sites", OPT_TEXT, &p->sites, 0, 0, "REGEX", "modules that get maps (default: the method's, or the "
         "model's)"},
        {0, "loss-sites", OPT_TEXT, &p->loss_sites, 0, 0, "REGEX", "modules that carry the loss (default: the same)"},
        {0, "steps", OPT_COUNT, &p->steps, 1, 10000000, "N", "training steps"},
        {0, "lr", OPT_NUMBER, &p->lr, 1e-12, 1e6, "F", "learning rate"},
        {0, "optimizer", OPT_TEXT, &p->optimizer, 0, 0, "NAME", "adam or sgd"},
        {0, "batch", OPT_COUNT, &p->batch, 1, 65536, "B", "source prompts a step"},
        {0, "micro-batch", OPT_COUNT, &p->micro_batch, 1, 65536, "b", "samples in memory at once; changes no bit"},
        {0, "gamma", OPT_NUMBER, &job.gamma, 0, 1e6, "G", "strength of the sparsity, 0: none"},
        {0, "support", OPT_NUMBER, &p->support, 1e-6, 1, "F", "find gamma for this share of channels"},
        {0, "refit", OPT_COUNT, &job.refit, 0, 10000000, "N", "N steps more for the channels that --gamma left, "
         "without it; 0: none (default: the model's share of --steps, or half of them with --support)"},
        {0, "position", OPT_TEXT, &p->position, 0, 0, "NAME", "all, last or avg"},
        {0, "pool", OPT_TEXT, &p->pool, 0, 0, "NAME", "mean, last or max (default: the method's)"},
        {0, "loss-scale", OPT_TEXT, &p->loss_scale, 0, 0, "NAME", "sum or mean over channels"},
        {0, "prox", OPT_TEXT, &p->prox, 0, 0, "NAME", "l1 or sparse-group"},
        {0, "p", OPT_COUNT, &p->p, 1, 2, "1|2", "power of the Wasserstein distance (default 2)"},
        {'s', "seed", OPT_SEED, &job.seed, 0, 0, "SEED", "of noise and shuffle (default 42)"},
        {'W', "width", OPT_COUNT, &p->width, 1, 8192, "PX", "picture width in training"},
        {'H', "height", OPT_COUNT, &p->height, 1, 8192, "PX", "picture height in training"},
        {0, "sample-steps", OPT_COUNT, &p->sample_steps, 1, 1000, "N", "steps of the sampler while training: 1 "
         "(default: the first of the model's own)"},
        {0, "cfg-scale", OPT_NUMBER, &p->cfg_scale, 0, 100, "F", "guidance scale, for models that embed it"},
        {0, "steer", OPT_STEER, &job.base, 0, 0, "FILE[:S|:inv]", "a steering that is on already; may be repeated"},
        MODEL_OPTIONS(job.common),
        {0, "log", OPT_OUT, &p->log_path, 0, 0, "FILE", "a JSON line for every step"},
        {0, "resume", OPT_FLAG, &p->resume, 0, 0, NULL, "go on from OUT.state"},
        {0, "no-cache", OPT_FLAG, &p->no_cache, 0, 0, NULL, "collect the targets' activations anew and keep none; "
         "changes no bit"},
        {0, "recompute", OPT_FLAG, &p->recompute, 0, 0, NULL, "less memory, more work; changes no bit"},
        {0, "force", OPT_FLAG, &p->force, 0, 0, NULL, "fewer than 4 prompts; resume on another device, or with "
         "other kernels"},
    };
    const struct command command = {"train", "--source FILE --target FILE -o OUT.safetensors [OPTIONS]",
                                    "Trains a steering: maps under which source prompts act like target prompts.",
                                    options, COUNT_OF(options), 0, 0, NULL};
    int code = parse_arguments(&command, &job.common, argc, argv, &arguments);
    if (code == EXIT_DONE && !job.common.help)
        code = check(&job);
    if (code == EXIT_DONE && !job.common.help)
        code = run(&job);
    for (size_t i = 0; i < COUNT_OF(job.sets); i++)
        vksteer_prompts_finish(&job.sets[i]);
    steer_list_finish(&job.base);
    common_finish(&job.common);
    return code;
}
