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
    json_open(NULL, '{');
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
    json_close();
}

static bool check(vksteer_model *model, void *priv)
{
    const struct vksteer_eval_params *params = priv;
    return vksteer_model_fits(model, params->steerings, params->steering_count, false);
}

static int evaluate(const struct common *common, struct vksteer_eval_params *params)
{
    vksteer_session *session = NULL;
    vksteer_model *model = NULL;
    struct vksteer_eval eval = {0};
    int code = open_both(common, check, params, &session, &model);
    if (code == EXIT_DONE && !vksteer_evaluate(model, params, &eval))
        code = EXIT_FAILED;
    if (code == EXIT_DONE && common->json) {
        json_eval(&eval);
        code = json_finish() ? EXIT_DONE : EXIT_FAILED;
    } else if (code == EXIT_DONE) {
        print_eval(&eval);
    }
    vksteer_eval_finish(&eval);
    vksteer_model_close(&model);
    vksteer_session_close(&session);
    return code;
}

int command_eval(int argc, char **argv)
{
    const char *paths[3] = {0}, *field = NULL;
    int64_t seed = 42;
    struct common common = {0};
    struct arguments arguments;
    struct steer_list steer = {0};
    struct vksteer_prompts sets[3] = {{0}, {0}, {0}};
    const struct option options[] = {
        {0, "steer", OPT_STEER, &steer, 0, 0, "FILE[:S|:inv]", "the steering; may be repeated"},
        {0, "source", OPT_TEXT, &paths[0], 0, 0, "FILE", "prompts that are steered"},
        {0, "target", OPT_TEXT, &paths[1], 0, 0, "FILE", "prompts to compare with"},
        {0, "prompts", OPT_TEXT, &paths[2], 0, 0, "FILE", "prompts of the pictures (default: the source)"},
        {0, "field", OPT_TEXT, &field, 0, 0, "NAME", "field of .jsonl, .json and .csv prompts"},
        MODEL_OPTIONS(common),
        {'s', "seed", OPT_SEED, &seed, 0, 0, "SEED", "of the noise (default 42)"},
    };
    const struct command command = {"eval", "--steer FILE[:STRENGTH] --source FILE --target FILE [--prompts FILE]",
                                    "Says how much nearer to the target a steering brings the activations, and how far "
                                    "the pictures move.", options, COUNT_OF(options), 0, 0, NULL};
    int code = parse_arguments(&command, &common, argc, argv, &arguments);
    if (code == EXIT_DONE && !common.help && (steer.count == 0 || !paths[0] || !paths[1]))
        code = usage_error("eval needs --steer, --source and --target: see `vksteer eval --help`");
    if (code == EXIT_DONE && !common.help && seed < 0)
        code = usage_error("-s %lld: the seed must not be negative", (long long)seed);
    if (code == EXIT_DONE && !common.help) {
        for (int i = 0; i < 3 && code == EXIT_DONE; i++)
            if (paths[i] && !vksteer_prompts_read(cli_log(), paths[i], field, &sets[i]))
                code = EXIT_FAILED;
        struct vksteer_eval_params params = {
            .source = (const char *const *)sets[0].items,
            .target = (const char *const *)sets[1].items,
            .prompts = (const char *const *)sets[2].items,
            .source_count = sets[0].count,
            .target_count = sets[1].count,
            .prompt_count = sets[2].count,
            .steerings = steer.uses,
            .steering_count = steer.count,
            .seed = (uint64_t)seed,
        };
        if (code == EXIT_DONE)
            code = evaluate(&common, &params);
    }
    for (int i = 0; i < 3; i++)
        vksteer_prompts_finish(&sets[i]);
    steer_list_finish(&steer);
    return code;
}
