// What a picture says about itself: PNG text with all that it takes to make the picture again.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

// A text that grows.
struct text {
    char *data;
    size_t length, capacity;
    bool failed;
};

static void add(struct text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    const size_t need = text->length + (size_t)(size > 0 ? size : 0) + 1;
    if (need > text->capacity) {
        char *data = realloc(text->data, 2 * need);
        text->failed |= !data;
        text->data = data ? data : text->data;
        text->capacity = data ? 2 * need : text->capacity;
    }
    if (need <= text->capacity) {
        vsnprintf(text->data + text->length, text->capacity - text->length, format, again);
        text->length = need - 1;
    }
    va_end(again);
}

// In the fewest digits that are read as the same number.
static void add_number(struct text *text, double value, bool single)
{
    char digits[40];
    int precision = 1;
    do
        snprintf(digits, sizeof(digits), "%.*g", precision, value);
    while (precision++ < 17 &&
           (single ? (float)strtod(digits, NULL) != (float)value : strtod(digits, NULL) != value));
    add(text, "%s", digits);
}

// As a shell takes it for one word.
static void add_word(struct text *text, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,+@%=";
    if (*word && strspn(word, plain) == strlen(word)) {
        add(text, " %s", word);
        return;
    }
    add(text, " '");
    for (; *word; word++)
        if (*word == '\'')
            add(text, "'\\''");
        else
            add(text, "%c", *word);
    add(text, "'");
}

static void add_option(struct text *text, const char *option, const char *value)
{
    if (!value)
        return;
    add(text, " %s", option);
    add_word(text, value);
}

// --steer FILE:STRENGTH, --lora FILE:STRENGTH; FILE:inv has the strength of --steer-strength.
static void add_strong(struct text *text, const char *option, const char *path, float strength, bool inverse)
{
    struct text value = {0};
    add(&value, "%s:", path);
    if (inverse)
        add(&value, "inv");
    else
        add_number(&value, strength, true);
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
        add(text, "%s%u", i ? "," : " --timesteps ", common->timesteps.items[i]);
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
            add(text, " --steer-strength ");
            add_number(text, facts->uses[i].strength, true);
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
    add(text, "vksteer apply");
    add_parts(text, common);
    add_option(text, "--prompts", facts->prompts_path);
    add_option(text, "-p", facts->prompts_path ? NULL : facts->prompt);
    add_option(text, "--field", facts->prompts_path ? facts->field : NULL);
    add_option(text, "-n", facts->negative);
    add_steerings(text, facts);
    add(text, " -s %lld -W %u -H %u", (long long)facts->seed, facts->width, facts->height);
    if (!common->timesteps.count)
        add(text, " --steps %u", facts->steps);
    add(text, " --cfg-scale ");
    add_number(text, facts->cfg, false);
    add_option(text, "--latents", facts->latents_path);
    if (facts->batch > 1)
        add(text, " -b %u", facts->batch);
    if (facts->grid)
        add(text, " --grid %u", facts->grid);
    if (common->memory)  // which may make a decoder work in tiles
        add(text, " --memory %u", common->memory);
}

// "ink.safetensors:0.8; pizza.safetensors:1:inv"
static void describe_steering(const struct picture_facts *facts, struct text *out)
{
    add(out, "%s", "");
    for (size_t i = 0; i < facts->use_count; i++) {
        const struct vksteer_use *use = &facts->uses[i];
        add(out, "%s%s:%g%s", i ? "; " : "", use->path, (double)use->strength, use->inverse ? ":inv" : "");
    }
}

// What was put over the model: "unet FILE; lora FILE:0.8".
static void describe_parts(const struct vksteer_model_info *info, struct text *out)
{
    add(out, "%s", "");
    for (uint32_t i = 0; info && i < info->parts; i++)
        if (info->part_files[i])
            add(out, "%s%s %s", out->length ? "; " : "", info->part_names[i], info->part_files[i]);
    for (uint32_t i = 0; info && i < info->loras; i++)
        add(out, "%slora %s:%g", out->length ? "; " : "", info->lora_files[i], (double)info->lora_strengths[i]);
}

// Of the model as it ran, and of the content of each steering: "model 0123456789abcdef; ink.safetensors ...".
static void add_hashes(const struct picture_facts *facts, struct text *out)
{
    char hex[17];
    add(out, "%s%s", facts->info ? "model " : "", facts->info ? facts->info->hash : "");
    for (size_t i = 0; i < facts->use_count; i++)
        if (vksteer_file_hash(NULL, facts->uses[i].path, hex))
            add(out, "%s%s %s", out->length ? "; " : "", facts->uses[i].path, hex);
}

// In the form of other image tools.
static void add_parameters(const struct picture_facts *facts, const char *steering, const char *parts,
                           struct text *out)
{
    add(out, "%s\n", facts->prompt);
    if (facts->negative && *facts->negative)
        add(out, "Negative prompt: %s\n", facts->negative);
    add(out, "Steps: %u", facts->steps);
    if (facts->info && facts->info->scheduler)
        add(out, ", Sampler: %s", facts->info->scheduler);
    add(out, ", CFG scale: %g, Seed: %lld, Size: %ux%u, Model: %s, RNG: cuda, Version: vksteer " VKSTEER_VERSION,
        facts->cfg, (long long)facts->seed, facts->width, facts->height, facts->model);
    if (*steering)
        add(out, ", Steering: \"%s\"", steering);
    if (*parts)
        add(out, ", Parts: \"%s\"", parts);
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
    add(&command, "%s", "");
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
