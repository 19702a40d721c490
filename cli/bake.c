// vksteer bake: a model with steerings folded in.
#include "cli.h"

static bool on_stop(void *priv)
{
    (void)priv;
    return vksteer_interrupted();
}

static void print_result(const char *output, const struct vksteer_bake_result *result, bool json)
{
    if (json) {
        json_open(NULL, '{');
        json_text("path", output);
        json_integer("sites", result->sites);
        json_integer("tensors", result->tensors);
        json_integer("widened", result->widened);
        json_integer("left_out", result->left_out);
        json_close();
        return;
    }
    say("%zu sites folded into %zu tensors", result->sites, result->tensors);
    if (result->widened)
        say("%zu of them are F32 now: rounded to their old type they would have lost the steering", result->widened);
    print_line("%s", output);
}

static int bake(const struct common *common, struct vksteer_bake_params *params)
{
    vksteer_model *model = NULL;
    struct vksteer_bake_result result;
    int code = open_model(common, &model);
    if (code == EXIT_DONE) {
        vksteer_catch_interrupt();
        const enum vksteer_result done = vksteer_bake(model, params, &result);
        code = exit_code_of(done);
    }
    if (code == EXIT_DONE) {
        print_result(params->output, &result, common->json);
        if (common->json && !json_finish())
            code = EXIT_FAILED;
    }
    vksteer_model_close(&model);
    return code;
}

int command_bake(int argc, char **argv)
{
    struct common common = {0};
    struct arguments arguments;
    struct steer_list steer = {0};
    struct vksteer_bake_params params = {.stop = on_stop};
    const struct option options[] = {
        {0, "steer", OPT_STEER, &steer, 0, 0, "FILE[:S|:inv]", "fold this in, at strength S (default 1) or by the "
         "inverse maps; may be repeated"},
        {'o', "output", OPT_TEXT, &params.output, 0, 0, "DIR", "the new model's folder"},
        MODEL_OPTIONS(common),
        {0, "strict", OPT_FLAG, &params.strict, 0, 0, NULL, "refuse steerings of other weights"},
    };
    const struct command command = {"bake", "[-m MODEL] --steer FILE[:STRENGTH]... -o DIR",
                                    "Writes a copy of the model with steerings folded into its weights, for any "
                                    "other tool. Needs no device.", options, COUNT_OF(options), 0, 0, NULL};
    int code = parse_arguments(&command, &common, argc, argv, &arguments);
    if (code == EXIT_DONE && !common.help && (steer.count == 0 || !params.output))
        code = usage_error("bake needs --steer and -o: see `vksteer bake --help`");
    if (code == EXIT_DONE && !common.help) {
        params.steerings = steer.uses;
        params.steering_count = steer.count;
        code = bake(&common, &params);
    }
    steer_list_finish(&steer);
    common_finish(&common);
    return code;
}
