// vksteer eval: what a steering does to the model.
#include <math.h>
#include <string.h>

#include "cli.h"

static void print_eval(const struct vksteer_eval *eval)
{
    for (size_t i = 0; i < eval->site_count; i++)
        print_line("  %-68s W2^2 to the target %10.4g -> %10.4g", eval->sites[i].site, eval->sites[i].before,
                   eval->sites[i].after);
    if (eval->site_count && eval->after <= eval->before)
        print_line("mean over %zu sites: %.5g -> %.5g (%.1f %% of it removed)", eval->site_count, eval->before,
                   eval->after, eval->before > 0 ? 100 * (1 - eval->after / eval->before) : 0);
    else if (eval->site_count)
        print_line("mean over %zu sites: %.5g -> %.5g (further away)", eval->site_count, eval->before, eval->after);
    if (eval->pictures)
        print_line("steered against unsteered, %zu pictures: %.2f dB, mean squared error %.4g", eval->pictures,
                   eval->psnr, eval->mse);
}

static void json_eval(const struct vksteer_eval *eval)
{
    json_number("before", eval->site_count ? eval->before : NAN);
    json_number("after", eval->site_count ? eval->after : NAN);
    json_number("psnr", eval->psnr);
    json_number("mse", eval->mse);
    json_integer("pictures", eval->pictures);
    json_open("sites", '[');
    for (size_t i = 0; i < eval->site_count; i++) {
        json_open(NULL, '{');
        json_text("site", eval->sites[i].site);
        json_number("before", eval->sites[i].before);
        json_number("after", eval->sites[i].after);
        json_close();
    }
    json_close();
}

struct job {
    struct common common;
    const char *paths[3], *field;       // source, target, prompts
    struct vksteer_prompts sets[3];
    struct steer_list steer;
    struct eval_text text;
    int64_t seed;
    struct vksteer_eval eval;
    vksteer_session *session;
    vksteer_model *model;
};

static bool check_model(vksteer_model *model, void *priv)
{
    struct job *job = priv;
    if (vksteer_model_info(model)->vocabulary) {  // its prompts are for texts
        job->text.prompts = (const char *const *)job->sets[2].items;
        job->text.prompt_count = job->sets[2].count;
    }
    return vksteer_model_fits(model, job->steer.uses, job->steer.count, false) && eval_text_fits(&job->text, model);
}

// Distances to the target, and pictures.
static bool compare(struct job *job)
{
    const struct vksteer_eval_params params = {
        .source = (const char *const *)job->sets[0].items,
        .target = (const char *const *)job->sets[1].items,
        .prompts = (const char *const *)job->sets[2].items,
        .source_count = job->sets[0].count,
        .target_count = job->sets[1].count,
        .prompt_count = job->sets[2].count,
        .steerings = job->steer.uses,
        .steering_count = job->steer.count,
        .seed = (uint64_t)job->seed,
    };
    return vksteer_evaluate(job->model, &params, &job->eval);
}

static int measure(struct job *job)
{
    if (job->paths[0] && !compare(job))
        return EXIT_FAILED;
    return eval_text_wanted(&job->text) ? eval_text_run(&job->text, &job->steer, job->model) : EXIT_DONE;
}

static int print(const struct job *job)
{
    const bool json = job->common.json;
    int code = EXIT_DONE;
    if (json)
        json_open(NULL, '{');
    if (job->paths[0] && json)
        json_eval(&job->eval);
    else if (job->paths[0])
        print_eval(&job->eval);
    if (eval_text_wanted(&job->text))
        code = eval_text_print(&job->text, json);
    return !json || json_finish() ? code : EXIT_FAILED;
}

static int run(struct job *job)
{
    int code = eval_text_read(&job->text);
    for (int i = 0; i < 3 && code == EXIT_DONE; i++)
        if (job->paths[i] && !vksteer_prompts_read(cli_log(), job->paths[i], job->field, &job->sets[i]))
            code = EXIT_FAILED;
    if (code == EXIT_DONE)
        code = open_both(&job->common, check_model, job, &job->session, &job->model);
    if (code == EXIT_DONE)
        code = measure(job);
    return code == EXIT_DONE ? print(job) : code;
}

static int check(const struct job *job)
{
    const bool compares = job->paths[0] || job->paths[1];
    if (!compares && !job->text.text_path && !job->paths[2])
        return usage_error("eval needs --steer, --source and --target, or --text, or --prompts: see `vksteer eval "
                           "--help`");
    if (compares && (job->steer.count == 0 || !job->paths[0] || !job->paths[1]))
        return usage_error("eval needs --steer, --source and --target: see `vksteer eval --help`");
    if (job->seed < 0)
        return usage_error("-s %lld: the seed must not be negative", (long long)job->seed);
    return eval_text_check(&job->text, &job->steer, job->paths[2] != NULL);
}

int command_eval(int argc, char **argv)
{
    struct job job = {.seed = 42, .text = {.batch = 1, .write = WRITE_NOT_GIVEN}};
    struct arguments arguments;
    const struct option options[] = {
        {0, "steer", OPT_STEER, &job.steer, 0, 0, "FILE[:S|:inv]", "the steering; may be repeated"},
        {0, "source", OPT_TEXT, &job.paths[0], 0, 0, "FILE", "prompts that are steered"},
        {0, "target", OPT_TEXT, &job.paths[1], 0, 0, "FILE", "prompts to compare with"},
        {0, "prompts", OPT_TEXT, &job.paths[2], 0, 0, "FILE", "of pictures (default: the source), or of texts to "
         "write"},
        {0, "field", OPT_TEXT, &job.field, 0, 0, "NAME", "field of .jsonl, .json and .csv prompts"},
        MODEL_OPTIONS(job.common),
        {'s', "seed", OPT_SEED, &job.seed, 0, 0, "SEED", "default 42"},
        {0, "text", OPT_TEXT, &job.text.text_path, 0, 0, "FILE", "a language model's perplexity on this text, or on "
         "the records of a .jsonl, .json or .csv file"},
        {0, "context", OPT_COUNT, &job.text.context, 2, 1048576, "N", "tokens of a window of it (default 512)"},
        {0, "stride", OPT_COUNT, &job.text.stride, 1, 1048575, "N", "tokens between windows' starts (default: half)"},
        {0, "sweep", OPT_SWEEP, &job.text.sweep, 0, 0, "FROM:TO:COUNT", "figures of texts over strengths"},
        {0, "plot", OPT_OUT, &job.text.plot_path, 0, 0, "FILE.png", "draw them"},
        {0, "scorer", OPT_TEXT, &job.text.scorer, 0, 0, "COMMAND", "reads texts, {\"prompt\", \"text\", "
         "\"strength\"} a line, and prints a number a line"},
        {0, "words", OPT_TEXT, &job.text.words_path, 0, 0, "FILE", "words and phrases, one a line, to look for in "
         "texts"},
        {'b', "batch-count", OPT_COUNT, &job.text.batch, 1, 1024, "COUNT", "so many seeds a prompt, counting up"},
        WRITE_OPTIONS(job.text.write, job.text.chat, job.text.system, job.text.cache),
    };
    const struct command command = {"eval", "[--steer FILE[:STRENGTH]]... [--source FILE --target FILE] "
                                    "[--text FILE]",
                                    "Says how much nearer to the target a steering brings the activations, how far "
                                    "the pictures move, and what becomes of a language model's texts.", options,
                                    COUNT_OF(options), 0, 0, NULL};
    int code = parse_arguments(&command, &job.common, argc, argv, &arguments);
    job.text.field = job.field;
    job.text.write.seed = (uint64_t)job.seed;
    if (code == EXIT_DONE && !job.common.help)
        code = check(&job);
    if (code == EXIT_DONE && !job.common.help)
        code = run(&job);
    vksteer_model_close(&job.model);
    vksteer_session_close(&job.session);
    for (int i = 0; i < 3; i++)
        vksteer_prompts_finish(&job.sets[i]);
    eval_text_finish(&job.text);
    vksteer_eval_finish(&job.eval);
    steer_list_finish(&job.steer);
    common_finish(&job.common);
    return code;
}
