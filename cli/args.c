// Arguments: a table of options, checked as they are read.
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MAX_OPTIONS 64    // of a command, those of all commands included
#define COMMON_OPTIONS 10

int usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("vksteer: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_USAGE;
}

bool parse_number(const char *text, double *value)
{
    char *end;
    // strtod would take white space, "nan" and hexadecimal too.
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
        return false;
    errno = 0;
    *value = strtod(text, &end);
    return *end == 0 && end != text && isfinite(*value);
}

bool parse_numbers(const char *text, double values[], size_t count)
{
    char copy[128];
    if (strlen(text) >= sizeof(copy))
        return false;
    char *at = strcpy(copy, text);
    for (size_t i = 0; i < count; i++) {
        char *part = at;
        if (!part)
            return false;
        at = strchr(part, ':');
        if (at)
            *at++ = 0;
        if (!parse_number(part, &values[i]))
            return false;
    }
    return at == NULL;
}

// Edits that turn one word into the other.
static size_t distance(const char *a, const char *b)
{
    size_t row[64];
    const size_t length = strlen(b);
    if (length + 1 > COUNT_OF(row))
        return 64;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            const size_t above = row[j];
            const size_t swap = corner + (a[i - 1] != b[j - 1]);
            const size_t other = (above < row[j - 1] ? above : row[j - 1]) + 1;
            row[j] = swap < other ? swap : other;
            corner = above;
        }
    }
    return row[length];
}

const char *nearest_name(const char *text, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t least = strlen(text) / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        const size_t d = distance(text, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

static bool parse_seed(const char *text, int64_t *value)
{
    char *end;
    const char *digits = text + (*text == '-');
    if (!*digits || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return errno == 0;
}

// FILE of FILE, FILE:STRENGTH or FILE:OTHER, split at the last colon, and only when what follows fits; heap. `other`
// may be NULL. NULL after a message.
static char *split_strength(const char *option, const char *text, const char *other, double *strength, bool *numbered,
                            bool *is_other)
{
    const char *colon = strrchr(text, ':');
    *strength = 1;
    *is_other = colon && other && strcmp(colon + 1, other) == 0;
    *numbered = colon && parse_number(colon + 1, strength);
    const size_t length = *is_other || *numbered ? (size_t)(colon - text) : strlen(text);
    char *path = NULL;
    if (length == 0)
        usage_error("%s %s: the file is missing: give FILE or FILE:STRENGTH", option, text);
    else if (fabs(*strength) > 100)
        usage_error("%s %s: the strength must lie between -100 and 100", option, text);
    else if (!(path = malloc(length + 1)))
        usage_error(NO_MEMORY);
    if (path) {
        memcpy(path, text, length);
        path[length] = 0;
    }
    return path;
}

void steer_list_finish(struct steer_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->copies[i]);
    *list = (struct steer_list){0};
}

static int add_steering(struct steer_list *list, const char *text)
{
    if (list->count == VKSTEER_MAX_STEERINGS)
        return usage_error("--steer: %d steerings at once are the most", VKSTEER_MAX_STEERINGS);
    double strength;
    bool numbered, inverse;
    char *path = split_strength("--steer", text, "inv", &strength, &numbered, &inverse);
    if (!path)
        return EXIT_USAGE;
    list->copies[list->count] = path;
    list->numbered[list->count] = numbered;
    list->uses[list->count++] = (struct vksteer_use){.path = path, .strength = (float)strength, .inverse = inverse};
    return EXIT_DONE;
}

void common_finish(struct common *common)
{
    for (size_t i = 0; i < common->loras.count; i++)
        free(common->loras.copies[i]);
    common->loras.count = 0;
}

static int add_lora(struct lora_list *list, const char *text)
{
    if (list->count == VKSTEER_MAX_LORAS)
        return usage_error("--lora: %d LoRAs at once are the most", VKSTEER_MAX_LORAS);
    double strength;
    bool numbered, other;
    char *path = split_strength("--lora", text, NULL, &strength, &numbered, &other);
    if (!path)
        return EXIT_USAGE;
    list->copies[list->count] = path;
    list->items[list->count++] = (struct vksteer_lora){path, (float)strength};
    return EXIT_DONE;
}

bool has_parts(const struct common *common)
{
    const struct vksteer_model_params *parts = &common->parts;
    return parts->checkpoint || parts->unet || parts->vae || parts->variant || parts->scheduler ||
           common->loras.count || common->timesteps.count;
}

static int read_timesteps(struct timestep_list *list, const char *text)
{
    char part[16];
    list->count = 0;
    for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        double value = -1;
        const size_t length = strcspn(at, ",");
        snprintf(part, sizeof(part), "%.*s", (int)(length < 15 ? length : 15), at);
        if (!parse_number(part, &value) || value < 0 || value > 1e6 || value != floor(value))
            return usage_error("--timesteps %s: give whole numbers with commas between, such as 999,749,499,249",
                               text);
        if (list->count == VKSTEER_MAX_TIMESTEPS)
            return usage_error("--timesteps: %d are the most", VKSTEER_MAX_TIMESTEPS);
        list->items[list->count++] = (uint32_t)value;
    }
    return EXIT_DONE;
}

static int read_sweep(struct sweep *sweep, const char *text)
{
    double values[3];
    if (!parse_numbers(text, values, 3) || values[2] != floor(values[2]))
        return usage_error("--sweep %s: give FROM:TO:COUNT, such as 0:1.5:7", text);
    if (values[2] < 2 || values[2] > 64)
        return usage_error("--sweep %s: the count must lie between 2 and 64", text);
    if (fabs(values[0]) > 100 || fabs(values[1]) > 100)
        return usage_error("--sweep %s: strengths must lie between -100 and 100", text);
    *sweep = (struct sweep){values[0], values[1], (uint32_t)values[2]};
    return EXIT_DONE;
}

bool sweep_is_good(const struct sweep *sweep, const struct steer_list *steer)
{
    if (sweep->count && steer->count == 0)
        return usage_error("--sweep moves the strength of steerings: give one with --steer"), false;
    for (size_t i = 0; i < steer->count && sweep->count; i++)
        if (steer->numbered[i])
            say("--sweep replaces the strength given with %s", steer->uses[i].path);
    return true;
}

double sweep_strength(const struct sweep *sweep, uint32_t index, float strengths[VKSTEER_MAX_STEERINGS])
{
    const double share = sweep->count > 1 ? (double)index / (sweep->count - 1) : 0;
    const double strength = sweep->from + (sweep->to - sweep->from) * share;
    for (size_t k = 0; k < VKSTEER_MAX_STEERINGS; k++)
        strengths[k] = (float)strength;
    return strength;
}

static int set_number(const struct option *option, const char *shown, const char *text)
{
    double value;
    const bool bounded = option->low != 0 || option->high != 0, whole = option->kind == OPT_COUNT;
    const double low = bounded ? option->low : whole ? 0 : -1e30;
    const double high = bounded ? option->high : whole ? 4294967295.0 : 1e30;
    if (!parse_number(text, &value) || (whole && value != floor(value)))
        return usage_error("%s %s: a %s is wanted", shown, text, whole ? "whole number" : "number");
    if (value < low || value > high)
        return usage_error("%s %s: the value must lie between %.10g and %.10g", shown, text, low, high);
    if (whole)
        *(uint32_t *)option->value = (uint32_t)value;
    else
        *(double *)option->value = value;
    return EXIT_DONE;
}

static int set_value(const struct option *option, const char *shown, const char *text)
{
    switch (option->kind) {
    case OPT_FLAG:
        *(bool *)option->value = true;
        return EXIT_DONE;
    case OPT_TEXT:
    case OPT_OUT:
        *(const char **)option->value = text;
        return EXIT_DONE;
    case OPT_NUMBER:
    case OPT_COUNT:
        return set_number(option, shown, text);
    case OPT_SEED:
        return parse_seed(text, option->value) ? EXIT_DONE
                                               : usage_error("%s %s: a whole number is wanted", shown, text);
    case OPT_STEER:
        return add_steering(option->value, text);
    case OPT_SWEEP:
        return read_sweep(option->value, text);
    case OPT_LORA:
        return add_lora(option->value, text);
    case OPT_TIMESTEPS:
        return read_timesteps(option->value, text);
    }
    return EXIT_FAILED;
}

static void print_options(const struct option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char left[64];
        const struct option *o = &options[i];
        if (!o->help)
            continue;
        const int used = o->letter ? snprintf(left, sizeof(left), "  -%c, --%s", o->letter, o->name)
                                   : snprintf(left, sizeof(left), "      --%s", o->name);
        if (o->meta && used > 0 && (size_t)used < sizeof(left))
            snprintf(left + used, sizeof(left) - (size_t)used, " %s", o->meta);
        printf("%-34s %s\n", left, o->help);
    }
}

static size_t common_options(struct common *common, struct option *out)
{
    const struct option options[COMMON_OPTIONS] = {
        {'m', "model", OPT_TEXT, &common->model, 0, 0, "MODEL", "folder (diffusers, Hugging Face), .gguf file, "
         "repository id or built-in name (emoji)"},
        {0, "device", OPT_TEXT, &common->device, 0, 0, "N|NAME", "device by number or part of its name"},
        {0, "memory", OPT_COUNT, &common->memory, 1, 16777216, "MIB", "use at most so much device memory"},
        {0, "limits", OPT_TEXT, &common->limits, 0, 0, "phone", "pretend the device has only the required limits"},
        {0, "precision", OPT_TEXT, &common->precision, 0, 0, "exact|fast", "exact: fp32 throughout"},
        {0, "json", OPT_FLAG, &common->json, 0, 0, NULL, "figures as JSON on standard output"},
        {'v', "verbose", OPT_FLAG, &common->verbose, 0, 0, NULL, "say more"},
        {'q', "quiet", OPT_FLAG, &common->quiet, 0, 0, NULL, "say nothing but errors"},
        {0, "validation-layers", OPT_FLAG, &common->validate, 0, 0, NULL, "run under Vulkan's validation layers"},
        {'h', "help", OPT_FLAG, &common->help, 0, 0, NULL, "this text"},
    };
    memcpy(out, options, sizeof(options));
    return COUNT_OF(options);
}

static const struct option *find(const struct option *options, size_t count, const char *name, size_t length,
                                 bool is_long)
{
    for (size_t i = 0; i < count; i++)
        if (is_long ? strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0
                    : options[i].letter == name[0])
            return &options[i];
    return NULL;
}

static int unknown_option(const struct command *command, const struct option *options, size_t count, const char *text)
{
    const char *names[MAX_OPTIONS];
    char word[64];
    for (size_t i = 0; i < count; i++)
        names[i] = options[i].name;
    const char *start = text + strspn(text, "-");
    const size_t length = strcspn(start, "=");
    snprintf(word, sizeof(word), "%.*s", (int)(length < 60 ? length : 60), start);
    const char *near = strlen(word) > 1 ? nearest_name(word, names, count) : NULL;
    if (near)
        return usage_error("%s has no option %s: did you mean --%s?", command->name, text, near);
    return usage_error("%s has no option %s: see `vksteer %s --help`", command->name, text, command->name);
}

// One option with its value, which may be the next argument; moves *i.
static int take_option(const struct command *command, const struct option *options, size_t count, int argc,
                       char **argv, int *i)
{
    const char *text = argv[*i];
    const bool is_long = text[1] == '-';
    const char *name = text + (is_long ? 2 : 1), *inside = NULL;
    size_t length = is_long ? strcspn(name, "=") : 1;
    const struct option *option = find(options, count, name, length, is_long);
    if (!option)
        return unknown_option(command, options, count, text);
    if (is_long && name[length] == '=')
        inside = name + length + 1;
    else if (!is_long && name[1])
        inside = name + 1 + (name[1] == '=');
    char shown[64];
    snprintf(shown, sizeof(shown), "%s%s", is_long ? "--" : "-", option->name);
    if (!is_long)
        snprintf(shown, sizeof(shown), "-%c", option->letter);
    if (option->kind == OPT_FLAG)
        return inside ? usage_error("%s takes no value", shown) : set_value(option, shown, NULL);
    if (!inside) {
        if (*i + 1 >= argc)
            return usage_error("%s needs a value: %s", shown, option->meta);
        inside = argv[++*i];
    }
    return set_value(option, shown, inside);
}

static int check_common(const struct common *common)
{
    if (common->limits && strcmp(common->limits, "phone") != 0)
        return usage_error("--limits %s: only `phone` is known", common->limits);
    if (common->precision && strcmp(common->precision, "exact") != 0 && strcmp(common->precision, "fast") != 0)
        return usage_error("--precision %s: use exact or fast", common->precision);
    if (common->verbose && common->quiet)
        return usage_error("-v and -q exclude each other: give one");
    return EXIT_DONE;
}

static bool same(const char *a, const char *b)
{
    return a && b && vksteer_same_file(a, b);
}

// Whether the option names the file, as one to read or, when it is another, to write.
static bool names_file(const struct option *option, const char *file, const struct option *asking)
{
    bool found = false;
    if ((option->kind == OPT_TEXT && option->meta && strcmp(option->meta, "FILE") == 0) ||
        (option->kind == OPT_OUT && option != asking))
        return same(*(const char *const *)option->value, file);
    if (option->kind == OPT_STEER) {
        const struct steer_list *list = option->value;
        for (size_t i = 0; i < list->count; i++)
            found |= same(list->uses[i].path, file);
    } else if (option->kind == OPT_LORA) {
        const struct lora_list *list = option->value;
        for (size_t i = 0; i < list->count; i++)
            found |= same(list->items[i].path, file);
    }
    return found;
}

// Nothing that is read may be overwritten, and no output by another.
static int check_outputs(const struct option *options, size_t count, const struct common *common,
                         const struct arguments *arguments)
{
    for (const struct option *out = options; out < options + count; out++) {
        const char *file = out->kind == OPT_OUT ? *(const char *const *)out->value : NULL;
        for (size_t i = 0; i < count && file; i++)
            if (names_file(&options[i], file, out))
                return usage_error("--%s and --%s are the same file, %s: give another name", out->name,
                                   options[i].name, file);
        bool found = file && same(common->model, file);
        for (size_t i = 0; i < arguments->count && file; i++)
            found |= same(arguments->positionals[i], file);
        if (found)
            return usage_error("--%s %s would overwrite what is read: give another name", out->name, file);
    }
    return EXIT_DONE;
}

int parse_arguments(const struct command *command, struct common *common, int argc, char **argv,
                    struct arguments *arguments)
{
    struct option options[MAX_OPTIONS];
    if (command->option_count > MAX_OPTIONS - COMMON_OPTIONS)
        return usage_error("internal: %s has too many options", command->name);
    if (command->option_count)
        memcpy(options, command->options, command->option_count * sizeof(*options));
    const size_t count = command->option_count + common_options(common, options + command->option_count);
    bool only_positionals = false;
    *arguments = (struct arguments){0};
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i];
        if (!only_positionals && strcmp(text, "--") == 0) {
            only_positionals = true;
        } else if (!only_positionals && text[0] == '-' && text[1]) {
            const int result = take_option(command, options, count, argc, argv, &i);
            if (result != EXIT_DONE)
                return result;
        } else if (arguments->count == command->positionals_high || arguments->count == MAX_POSITIONALS) {
            return usage_error("%s: \"%s\" was not expected here: see `vksteer %s --help`", command->name, text,
                               command->name);
        } else {
            arguments->positionals[arguments->count++] = text;
        }
    }
    if (common->help) {
        printf("vksteer %s %s\n%s\n\n", command->name, command->usage, command->summary);
        print_options(options, count);
        return EXIT_DONE;
    }
    if (arguments->count < command->positionals_low)
        return usage_error("%s needs %s: see `vksteer %s --help`", command->name, command->positional_name,
                           command->name);
    int result = check_common(common);
    if (result == EXIT_DONE)
        result = check_outputs(options, count, common, arguments);
    if (result != EXIT_DONE)
        return result;
    cli_log_setup(common);
    if (common->precision && strcmp(common->precision, "fast") == 0)
        say("warning: there is no fast precision yet: exact is used");
    return EXIT_DONE;
}
