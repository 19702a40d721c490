// vksteer: activation steering on any Vulkan device. The commands and what they share.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"devices", command_devices, "what Vulkan devices there are, and a self-test"},
    {"info", command_info, "a model: parts, sites, memory plan"},
    {"train", command_train, "train a steering from source and target prompts"},
    {"apply", command_apply, "make pictures, steered or not"},
    {"eval", command_eval, "what a steering does to the model, in figures"},
    {"inspect", command_inspect, "what is in a steering file"},
    {"import", command_import, "steerings of AcT's reference implementation as a steering file"},
    {"bake", command_bake, "a model with steerings folded in, for any other tool"},
    {"bench", command_bench, "how fast this device is"},
    {"demo", command_demo, "train two steerings on the built-in model and show them"},
};

int open_session(const struct common *common, vksteer_session **session)
{
    *session = vksteer_session_open(&(struct vksteer_session_params){
        .log = *cli_log(),
        .device = common->device,
        .memory_mib = common->memory,
        .phone_limits = common->limits != NULL,
        .validate = common->validate,
        .own_process = true,
    });
    return *session ? EXIT_DONE : EXIT_NO_DEVICE;
}

int open_model(const struct common *common, vksteer_model **model)
{
    struct vksteer_model_params params = common->parts;
    params.model = common->model;
    params.loras = common->loras.items;
    params.lora_count = common->loras.count;
    params.timesteps = common->timesteps.items;
    params.timestep_count = common->timesteps.count;
    *model = vksteer_model_open_with(NULL, cli_log(), &params);
    return *model ? EXIT_DONE : EXIT_FAILED;
}

int open_both(const struct common *common, bool (*check)(vksteer_model *model, void *priv), void *priv,
              vksteer_session **session, vksteer_model **model)
{
    int code = open_model(common, model);
    if (code == EXIT_DONE && check && !check(*model, priv))
        code = EXIT_FAILED;
    if (code == EXIT_DONE)
        code = open_session(common, session);
    if (code == EXIT_DONE && !vksteer_model_attach(*model, *session))
        code = EXIT_FAILED;
    return code;
}

int exit_code_of(enum vksteer_result result)
{
    return result == VKSTEER_DONE ? EXIT_DONE : result == VKSTEER_STOPPED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

void print_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_plain(stdout, format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

bool output_is_good(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    say_error("standard output could not be written: is the disk full, or the reader gone?");
    return false;
}

static void print_help(FILE *file)
{
    fputs("vksteer COMMAND [OPTIONS]: activation steering on any Vulkan device\n\n", file);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(file, "  %-9s %s\n", commands[i].name, commands[i].summary);
    fputs("\n`vksteer COMMAND --help` lists a command's options. Start with `vksteer demo`.\n", file);
}

static int run(int argc, char **argv)
{
    const char *names[COUNT_OF(commands)];
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || (!strcmp(name, "help") && argc == 2)) {
        print_help(stdout);
        return EXIT_DONE;
    }
    if (!strcmp(name, "--version")) {
        print_line("vksteer " VKSTEER_VERSION);
        return EXIT_DONE;
    }
    char *help[] = {"--help"};
    const bool wants_help = !strcmp(name, "help");
    name = wants_help ? argv[2] : name;
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        names[i] = commands[i].name;
        if (strcmp(name, commands[i].name) == 0)
            return wants_help ? commands[i].run(1, help) : commands[i].run(argc - 2, argv + 2);
    }
    const char *near = nearest_name(name, names, COUNT_OF(names));
    if (near)
        return usage_error("there is no command %s: did you mean %s?", name, near);
    return usage_error("there is no command %s: see `vksteer --help`", name);
}

int main(int argc, char **argv)
{
    vksteer_setup_streams();
    cli_log_setup(&(struct common){0});
    const int code = run(argc, argv);
    if (code == EXIT_DONE && !output_is_good())
        return EXIT_FAILED;
    return code;
}
