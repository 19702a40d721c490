// vksteer info: a model's parts, sites and memory plan.
#include <string.h>

#include "cli.h"

static void print_info(const struct vksteer_model_info *info)
{
    print_line("%s", info->path);
    if (info->context)
        print_line("  %s, a language model: %u layers of %u channels, %u tokens known, context of %u", info->pipeline,
                   info->layers, info->channels, info->vocabulary, info->context);
    else
        print_line("  %s, pictures of %u x %u, %u %s of %s, guidance %g", info->pipeline, info->width, info->height,
                   info->steps, info->steps == 1 ? "step" : "steps", info->scheduler, info->cfg_scale);
    print_line("  %.3f M parameters, %.1f MiB", (double)info->parameters / 1e6, (double)info->bytes / (1 << 20));
    for (uint32_t i = 0; i < info->parts; i++)
        print_line("    %-16s %-28s %10.3f M%s%s", info->part_names[i], info->part_classes[i],
                   (double)info->part_parameters[i] / 1e6, info->part_files[i] ? ", of " : "",
                   info->part_files[i] ? info->part_files[i] : "");
    for (uint32_t i = 0; i < info->loras; i++)
        print_line("    %-16s %s at strength %g, %u layers", "LoRA", info->lora_files[i], info->lora_strengths[i],
                   info->lora_layers[i]);
    print_line("  steering defaults: sites %s, %s, lr %g, gamma %g, %u + %u steps, batch %u", info->train_sites,
               info->train_optimizer, info->train_lr, info->train_gamma, info->train_steps, info->train_refit,
               info->train_batch);
}

static void json_info(const struct vksteer_model_info *info)
{
    json_text("path", info->path);
    json_text("pipeline", info->pipeline);
    json_text("architecture", info->architecture);
    if (info->context) {
        json_integer("context", info->context);
        json_integer("layers", info->layers);
        json_integer("channels", info->channels);
        json_integer("vocabulary", info->vocabulary);
    } else {
        json_integer("width", info->width);
        json_integer("height", info->height);
        json_text("scheduler", info->scheduler);
        json_integer("steps", info->steps);
        json_number("cfg_scale", info->cfg_scale);
    }
    json_integer("parameters", info->parameters);
    json_integer("bytes", info->bytes);
    json_open("parts", '[');
    for (uint32_t i = 0; i < info->parts; i++) {
        json_open(NULL, '{');
        json_text("name", info->part_names[i]);
        json_text("class", info->part_classes[i]);
        json_integer("parameters", info->part_parameters[i]);
        if (info->part_files[i])
            json_text("file", info->part_files[i]);
        json_close();
    }
    json_close();
    json_open("loras", '[');
    for (uint32_t i = 0; i < info->loras; i++) {
        json_open(NULL, '{');
        json_text("file", info->lora_files[i]);
        json_number("strength", info->lora_strengths[i]);
        json_integer("layers", info->lora_layers[i]);
        json_close();
    }
    json_close();
    json_open("train", '{');
    json_text("sites", info->train_sites);
    json_text("optimizer", info->train_optimizer);
    json_number("lr", info->train_lr);
    json_number("gamma", info->train_gamma);
    json_integer("steps", info->train_steps);
    json_integer("refit", info->train_refit);
    json_integer("batch", info->train_batch);
    json_close();
}

static bool show_sites(vksteer_model *model, const char *expression, bool json)
{
    const struct vksteer_site *sites;
    size_t count;
    uint64_t channels = 0;
    if (!vksteer_model_sites(model, expression, &sites, &count))
        return false;
    if (json)
        json_open("sites", '[');
    for (size_t i = 0; i < count; i++) {
        channels += sites[i].channels;
        if (json) {
            json_open(NULL, '{');
            json_text("name", sites[i].name);
            json_text("kind", sites[i].kind);
            json_integer("channels", sites[i].channels);
            json_integer("rows", sites[i].rows);
            json_close();
        } else {
            print_line("  %-72s %-6s %6u channels x %u", sites[i].name, sites[i].kind, sites[i].channels,
                       sites[i].rows);
        }
    }
    if (json)
        json_close();
    else
        print_line("  %zu sites, %llu channels", count, (unsigned long long)channels);
    return true;
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

// The device memory of a training: while prompts are read, or while a step runs.
static uint64_t train_peak(const struct vksteer_plan *plan, uint64_t step)
{
    const uint64_t bytes = plan->train_weight_bytes + step;
    return bytes > plan->train_reading_bytes ? bytes : plan->train_reading_bytes;
}

static void json_plan(const struct vksteer_plan *plan)
{
    json_open("plan", '{');
    json_integer("width", plan->width);
    json_integer("height", plan->height);
    json_integer("batch", plan->batch);
    json_integer("micro_batch", plan->micro_batch);
    json_integer("budget_bytes", plan->budget_bytes);
    json_open("stages", '[');
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        json_open(NULL, '{');
        json_text("name", plan->stages[i].name);
        json_integer("weight_bytes", plan->stages[i].weight_bytes);
        json_integer("run_bytes", plan->stages[i].run_bytes);
        json_close();
    }
    json_close();
    json_integer("weight_bytes", plan->weight_bytes);
    json_integer("apply_bytes", plan->apply_bytes);
    json_integer("apply_peak_bytes", plan->apply_peak_bytes);
    json_integer("train_weight_bytes", plan->train_weight_bytes);
    json_integer("train_bytes", plan->train_bytes);
    json_integer("train_recompute_bytes", plan->train_recompute_bytes);
    json_integer("train_peak_bytes", train_peak(plan, plan->train_bytes));
    json_integer("train_recompute_peak_bytes", train_peak(plan, plan->train_recompute_bytes));
    json_number("apply_flop", plan->apply_flop);
    json_number("train_flop", plan->train_flop);
    json_integer("apply_dispatches", plan->apply_dispatches);
    json_integer("train_dispatches", plan->train_dispatches);
    json_close();
}

static bool show_plan(vksteer_model *model, const struct vksteer_plan_params *params, bool json)
{
    struct vksteer_plan plan;
    if (!vksteer_model_plan(model, params, &plan))
        return false;
    if (json) {
        json_plan(&plan);
        return true;
    }
    print_line("  device memory, MiB   weights    values  together  (%.0f may be used)", mib(plan.budget_bytes));
    for (uint32_t i = 0; i < plan.stage_count; i++)
        print_line("    %-16s %9.1f %9.1f %9.1f", plan.stages[i].name, mib(plan.stages[i].weight_bytes),
                   mib(plan.stages[i].run_bytes), mib(plan.stages[i].weight_bytes + plan.stages[i].run_bytes));
    char what[64] = "a text of 64 tokens";
    if (plan.width)
        snprintf(what, sizeof(what), "a picture, %u x %u", plan.width, plan.height);
    print_line("  %s: %.0f MiB with all of it on the device, %.3f GFLOP, %u dispatches", what,
               mib(plan.weight_bytes + plan.apply_bytes), plan.apply_flop / 1e9, plan.apply_dispatches);
    if (plan.stage_count > 1)
        print_line("    %.0f MiB one after the other, as it is done where memory is short",
                   mib(plan.apply_peak_bytes));
    print_line("  a step, batch %u, micro-batch %u: %.0f MiB, %.0f of them weights, %.3f GFLOP, %u dispatches",
               plan.batch, plan.micro_batch, mib(train_peak(&plan, plan.train_bytes)), mib(plan.train_weight_bytes),
               plan.train_flop / 1e9, plan.train_dispatches);
    print_line("    %.0f MiB with --recompute, as it is done where memory is short",
               mib(train_peak(&plan, plan.train_recompute_bytes)));
    return true;
}

// `sites`: an expression, or NULL; `planned` is read only with `plan`.
static int show_model(const struct common *common, const char *sites, bool plan,
                      const struct vksteer_plan_params *planned)
{
    vksteer_session *session = NULL;
    vksteer_model *model = NULL;
    int code = plan ? open_both(common, NULL, NULL, &session, &model) : open_model(common, &model);
    if (code == EXIT_DONE) {
        if (common->json) {
            json_open(NULL, '{');
            json_info(vksteer_model_info(model));
        } else {
            print_info(vksteer_model_info(model));
        }
        if ((sites && !show_sites(model, sites, common->json)) ||
            (plan && !show_plan(model, planned, common->json)))
            code = EXIT_FAILED;
        if (common->json && !json_finish())
            code = EXIT_FAILED;
    }
    vksteer_model_close(&model);
    vksteer_session_close(&session);
    return code;
}

int command_info(int argc, char **argv)
{
    const char *sites = NULL;
    bool plan = false;
    struct vksteer_plan_params planned = {0};
    struct common common = {0};
    struct arguments arguments;
    const struct option options[] = {
        {0, "sites", OPT_TEXT, &sites, 0, 0, "REGEX", "list the sites that the expression matches ('.*': all)"},
        {0, "plan", OPT_FLAG, &plan, 0, 0, NULL, "memory and work of a picture and of a training step"},
        {0, "batch", OPT_COUNT, &planned.batch, 1, 65536, "B", "batch of the planned training step"},
        MODEL_OPTIONS(common),
        {0, "micro-batch", OPT_COUNT, &planned.micro_batch, 1, 65536, "b", "samples that are in memory at once"},
        {'W', "width", OPT_COUNT, &planned.width, 1, 8192, "PX", "picture width of the plan"},
        {'H', "height", OPT_COUNT, &planned.height, 1, 8192, "PX", "picture height of the plan"},
    };
    const struct command command = {"info", "[-m MODEL] [--sites REGEX] [--plan [-W PX -H PX] [--batch B] "
                                    "[--micro-batch b]]",
                                    "Says what a model is, a .gguf file too. Needs no device, except for --plan.",
                                    options, COUNT_OF(options), 0, 0, NULL};
    int code = parse_arguments(&command, &common, argc, argv, &arguments);
    if (code == EXIT_DONE && !common.help && !plan &&
        (planned.width || planned.height || planned.batch || planned.micro_batch))
        code = usage_error("-W, -H, --batch and --micro-batch are about a plan: give --plan too, or leave them out");
    if (code != EXIT_DONE || common.help) {
        common_finish(&common);
        return code;
    }
    planned.sites = sites;
    // Sites and plan are those of a model that runs: opening it says that this one does not.
    if (!sites && !plan && !has_parts(&common) && common.model && vksteer_is_gguf(common.model))
        code = info_gguf(&common);
    else
        code = show_model(&common, sites, plan, &planned);
    common_finish(&common);
    return code;
}
