// vksteer import: steerings of the reference implementation of AcT.
#include "cli.h"

int command_import(int argc, char **argv)
{
    const char *quantiles = NULL;
    struct common common = {0};
    struct arguments arguments;
    struct vksteer_import_params params = {0};
    struct vksteer_import_result result = {0};
    vksteer_model *model = NULL;
    const struct option options[] = {
        {'o', "output", OPT_OUT, &params.output, 0, 0, "FILE", "the steering file (.safetensors)"},
        {0, "quantiles", OPT_TEXT, &quantiles, 0, 0, "LOW:HIGH", "move only values within this support, saved with "
         "the maps: 0:100 is what linear maps are run with by default (here: none)"},
        {0, "only-mean", OPT_FLAG, &params.only_mean, 0, 0, NULL, "the maps are of the method that moves means "
         "alone, which saves the same as the Gaussian one"},
        MODEL_OPTIONS(common),
    };
    const struct command command = {"import", "FOLDER -m MODEL -o OUT.safetensors",
                                    "Reads the .statedict files of AcT's reference implementation. Needs no device.",
                                    options, COUNT_OF(options), 1, 1, "a folder"};
    int code = parse_arguments(&command, &common, argc, argv, &arguments);
    if (code != EXIT_DONE || common.help) {
        common_finish(&common);
        return code;
    }
    params.folder = arguments.positionals[0];
    if (!params.output)
        code = usage_error("import needs -o: see `vksteer import --help`");
    else if (quantiles && !(parse_numbers(quantiles, params.quantiles, 2) && params.quantiles[0] >= 0 &&
                            params.quantiles[0] < params.quantiles[1] && params.quantiles[1] <= 100))
        code = usage_error("--quantiles %s: give LOW:HIGH in percent, such as 0:100", quantiles);
    else if (!vksteer_can_write(cli_log(), params.output))
        code = EXIT_FAILED;
    if (code == EXIT_DONE)
        code = open_model(&common, &model);
    if (code == EXIT_DONE && !vksteer_import(model, &params, &result))
        code = EXIT_FAILED;
    if (code == EXIT_DONE && common.json) {
        json_open(NULL, '{');
        json_text("path", params.output);
        json_integer("sites", result.sites);
        json_integer("channels", result.channels);
        json_close();
        code = json_finish() ? EXIT_DONE : EXIT_FAILED;
    } else if (code == EXIT_DONE) {
        say("maps at %zu sites, %u channels", result.sites, result.channels);
        print_line("%s", params.output);
    }
    vksteer_model_close(&model);
    common_finish(&common);
    return code;
}
