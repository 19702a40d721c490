// vksteer inspect: what is in a steering file.
#include <string.h>

#include "cli.h"

static void print_inspection(const char *path, const struct vksteer_inspection *in)
{
    print_line("%s", path);
    for (size_t i = 0; i < in->metadata_count; i++)
        print_line("  %-16s %s", in->keys[i], in->values[i]);
    print_line("  %zu maps, %llu of %llu channels changed (%.1f %%), max |w-1| %.4g, max |b| %.4g", in->map_count,
               (unsigned long long)in->support, (unsigned long long)in->channels,
               in->channels ? 100.0 * (double)in->support / (double)in->channels : 0, in->max_w, in->max_b);
    for (size_t i = 0; i < in->map_count; i++)
        print_line("    %-68s %5u of %5u, max |w-1| %.4g, max |b| %.4g%s", in->maps[i].site, in->maps[i].support,
                   in->maps[i].channels, in->maps[i].max_w, in->maps[i].max_b,
                   in->maps[i].ranged ? ", within ranges" : "");
    if (in->strongest_count)
        print_line("  strongest channels");
    for (size_t i = 0; i < in->strongest_count; i++)
        print_line("    %-68s %5u  w %8.4f  b %8.4f", in->strongest[i].site, in->strongest[i].channel,
                   in->strongest[i].w, in->strongest[i].b);
}

static void json_inspection(const char *path, const struct vksteer_inspection *in)
{
    json_open(NULL, '{');
    json_text("path", path);
    json_open("metadata", '{');
    for (size_t i = 0; i < in->metadata_count; i++)
        json_text(in->keys[i], in->values[i]);
    json_close();
    json_integer("channels", in->channels);
    json_integer("support", in->support);
    json_number("max_w", in->max_w);
    json_number("max_b", in->max_b);
    json_open("maps", '[');
    for (size_t i = 0; i < in->map_count; i++) {
        json_open(NULL, '{');
        json_text("site", in->maps[i].site);
        json_integer("channels", in->maps[i].channels);
        json_integer("support", in->maps[i].support);
        json_number("max_w", in->maps[i].max_w);
        json_number("max_b", in->maps[i].max_b);
        json_bool("ranged", in->maps[i].ranged);
        json_close();
    }
    json_close();
    json_open("strongest", '[');
    for (size_t i = 0; i < in->strongest_count; i++) {
        json_open(NULL, '{');
        json_text("site", in->strongest[i].site);
        json_integer("channel", in->strongest[i].channel);
        json_number("w", in->strongest[i].w);
        json_number("b", in->strongest[i].b);
        json_close();
    }
    json_close();
    json_close();
}

int command_inspect(int argc, char **argv)
{
    struct common common = {0};
    struct arguments arguments;
    const struct command command = {"inspect", "FILE.safetensors",
                                    "Says what is in a steering file. Needs no device.", NULL, 0, 1, 1,
                                    "a steering file"};
    const int code = parse_arguments(&command, &common, argc, argv, &arguments);
    if (code != EXIT_DONE || common.help)
        return code;
    struct vksteer_inspection inspection;
    if (!vksteer_inspect(cli_log(), arguments.positionals[0], &inspection))
        return EXIT_FAILED;
    if (common.json)
        json_inspection(arguments.positionals[0], &inspection);
    else
        print_inspection(arguments.positionals[0], &inspection);
    vksteer_inspection_finish(&inspection);
    return !common.json || json_finish() ? EXIT_DONE : EXIT_FAILED;
}
