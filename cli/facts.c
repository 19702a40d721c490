// What a picture says about itself: PNG text with all that it takes to make the picture again.
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void add_option(struct text *text, const char *option, const char *value)
{
    if (!value)
        return;
    text_add(text, " %s", option);
    text_add_word(text, value);
}

// --steer FILE:STRENGTH, --lora FILE:STRENGTH; FILE:inv has the strength of --steer-strength.
static void add_strong(struct text *text, const char *option, const char *path, float strength, bool inverse)
{
    struct text value = {0};
    text_add(&value, "%s:", path);
    if (inverse)
        text_add(&value, "inv");
    else
        text_add_number(&value, strength, true);
    text->failed |= value.failed;
    if (!value.failed)
        add_option(text, option, value.data);
    free(value.data);
}

static void add_parts(struct text *text, const struct common *common)
{
    const struct vksteer_model_params *parts = &common->parts;
    add_option(text, "-m", common->model ? common->model : "emoji");
    add_option(text, "--checkpoint", parts->checkpoint);
    add_option(text, "--unet", parts->unet);
    add_option(text, "--vae", parts->vae);
    add_option(text, "--variant", parts->variant);
    for (size_t i = 0; i < common->loras.count; i++)
        add_strong(text, "--lora", common->loras.items[i].path, common->loras.items[i].strength, false);
    add_option(text, "--scheduler", parts->scheduler);
    for (size_t i = 0; i < common->timesteps.count; i++)
        text_add(text, "%s%u", i ? "," : " --timesteps ", common->timesteps.items[i]);
}

static void add_steerings(struct text *text, const struct picture_facts *facts)
{
    for (size_t i = 0; i < facts->use_count; i++) {
        const struct vksteer_use *use = &facts->uses[i];
        add_strong(text, "--steer", use->path, use->strength, use->inverse);
    }
    // Of those that were given without a number, which all have one strength.
    for (size_t i = 0; i < facts->use_count; i++)
        if (facts->uses[i].inverse && facts->uses[i].strength != 1) {
            text_add(text, " --steer-strength ");
            text_add_number(text, facts->uses[i].strength, true);
            break;
        }
    add_option(text, "--sweep", facts->sweep);
}

// The command that makes the picture, on the same device with the same driver bit for bit, tiles aside; empty where
// there is none.
static void add_command(struct text *text, const struct picture_facts *facts)
{
    const struct common *common = facts->common;
    if (!common)
        return;
    text_add(text, "vksteer apply");
    add_parts(text, common);
    add_option(text, "--prompts", facts->prompts_path);
    add_option(text, "-p", facts->prompts_path ? NULL : facts->prompt);
    add_option(text, "--field", facts->prompts_path ? facts->field : NULL);
    add_option(text, "-n", facts->negative);
    add_steerings(text, facts);
    text_add(text, " -s %lld -W %u -H %u", (long long)facts->seed, facts->width, facts->height);
    if (!common->timesteps.count)
        text_add(text, " --steps %u", facts->steps);
    text_add(text, " --cfg-scale ");
    text_add_number(text, facts->cfg, false);
    add_option(text, "--latents", facts->latents_path);
    if (facts->batch > 1)
        text_add(text, " -b %u", facts->batch);
    if (facts->grid)
        text_add(text, " --grid %u", facts->grid);
    if (common->memory)  // which may make a decoder work in tiles
        text_add(text, " --memory %u", common->memory);
}

// "ink.safetensors:0.8; pizza.safetensors:1:inv"
static void describe_steering(const struct picture_facts *facts, struct text *out)
{
    text_add(out, "%s", "");
    for (size_t i = 0; i < facts->use_count; i++) {
        const struct vksteer_use *use = &facts->uses[i];
        text_add(out, "%s%s:%g%s", i ? "; " : "", use->path, (double)use->strength, use->inverse ? ":inv" : "");
    }
}

// What was put over the model: "unet FILE; lora FILE:0.8".
static void describe_parts(const struct vksteer_model_info *info, struct text *out)
{
    text_add(out, "%s", "");
    for (uint32_t i = 0; info && i < info->parts; i++)
        if (info->part_files[i])
            text_add(out, "%s%s %s", out->length ? "; " : "", info->part_names[i], info->part_files[i]);
    for (uint32_t i = 0; info && i < info->loras; i++)
        text_add(out, "%slora %s:%g", out->length ? "; " : "", info->lora_files[i], (double)info->lora_strengths[i]);
}

// Of the model as it ran, and of the content of each steering: "model 0123456789abcdef; ink.safetensors ...".
static void add_hashes(const struct picture_facts *facts, struct text *out)
{
    char hex[17];
    text_add(out, "%s%s", facts->info ? "model " : "", facts->info ? facts->info->hash : "");
    for (size_t i = 0; i < facts->use_count; i++)
        if (vksteer_file_hash(NULL, facts->uses[i].path, hex))
            text_add(out, "%s%s %s", out->length ? "; " : "", facts->uses[i].path, hex);
}

// In the form of other image tools.
static void add_parameters(const struct picture_facts *facts, const char *steering, const char *parts,
                           struct text *out)
{
    text_add(out, "%s\n", facts->prompt);
    if (facts->negative && *facts->negative)
        text_add(out, "Negative prompt: %s\n", facts->negative);
    text_add(out, "Steps: %u", facts->steps);
    if (facts->info && facts->info->scheduler)
        text_add(out, ", Sampler: %s", facts->info->scheduler);
    text_add(out, ", CFG scale: %g, Seed: %lld, Size: %ux%u, Model: %s, RNG: cuda, Version: vksteer " VKSTEER_VERSION,
        facts->cfg, (long long)facts->seed, facts->width, facts->height, facts->model);
    if (*steering)
        text_add(out, ", Steering: \"%s\"", steering);
    if (*parts)
        text_add(out, ", Parts: \"%s\"", parts);
}

const char *tiles_text(const vksteer_painter *painter, char *text, size_t capacity)
{
    uint32_t width, height;
    if (!vksteer_painter_tiles(painter, &width, &height))
        return NULL;
    snprintf(text, capacity, "%u x %u", width, height);
    return text;
}

bool save_picture(const char *path, const struct vksteer_image *image, const struct picture_facts *facts)
{
    struct text parameters = {0}, steering = {0}, parts = {0}, command = {0}, hashes = {0};
    char seed[32];
    describe_steering(facts, &steering);
    describe_parts(facts->info, &parts);
    if (!steering.failed && !parts.failed)
        add_parameters(facts, steering.data, parts.data, &parameters);
    text_add(&command, "%s", "");
    add_command(&command, facts);
    add_hashes(facts, &hashes);
    snprintf(seed, sizeof(seed), "%lld", (long long)facts->seed);
    const struct { const char *key, *value; } all[] = {
        {"parameters", parameters.data},   {"vksteer.prompt", facts->prompt}, {"vksteer.seed", seed},
        {"vksteer.steering", steering.data}, {"vksteer.parts", parts.data},   {"vksteer.sweep", facts->sweep},
        {"vksteer.command", command.data}, {"vksteer.hashes", hashes.data},   {"vksteer.device", facts->device},
        {"vksteer.tiles", facts->tiles},
    };
    const char *keys[COUNT_OF(all)], *values[COUNT_OF(all)];
    size_t count = 0;
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (all[i].value && *all[i].value) {
            keys[count] = all[i].key;
            values[count++] = all[i].value;
        }
    bool ok = !(parameters.failed || steering.failed || parts.failed || command.failed || hashes.failed);
    if (!ok)
        say_error(NO_MEMORY);
    ok = ok && vksteer_image_write(cli_log(), path, image, keys, values, count);
    free(parameters.data);
    free(steering.data);
    free(parts.data);
    free(command.data);
    free(hashes.data);
    return ok;
}
