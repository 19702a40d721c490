// What a program needs of the operating system, and prompt files.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/os.h"
#include "base/text.h"
#include "io/lines.h"

void vksteer_catch_interrupt(void)
{
    vks_os_catch_interrupt();
}

bool vksteer_interrupted(void)
{
    return vks_os_interrupted();
}

bool vksteer_is_terminal(int stream)
{
    return vks_os_is_terminal(stream);
}

int vksteer_terminal_width(void)
{
    return vks_os_terminal_width();
}

void vksteer_setup_streams(void)
{
    vks_os_setup_streams();
}

bool vksteer_file_hash(const struct vksteer_log *log, const char *path, char hex[17])
{
    struct vks_api_log bridge;
    struct vks_os_map map = {0};
    if (!vks_os_map_open(vks_api_log_init(&bridge, log), path, &map))
        return false;
    vks_hash_hex(vks_hash64(map.data, map.size), hex);
    vks_os_map_close(&map);
    return true;
}

double vksteer_seconds(void)
{
    return vks_os_seconds();
}

bool vksteer_make_folder(const struct vksteer_log *log, const char *path)
{
    struct vks_api_log bridge;
    return vks_os_make_dirs(vks_api_log_init(&bridge, log), path);
}

bool vksteer_file_write(const struct vksteer_log *log, const char *path, const void *data, size_t size)
{
    struct vks_api_log bridge;
    return vks_os_write_file(vks_api_log_init(&bridge, log), path, data, size);
}

bool vksteer_same_file(const char *a, const char *b)
{
    return strcmp(a, b) == 0 ? vks_os_is_file(a) || !vks_os_exists(a) : vks_os_same_file(a, b);
}

bool vksteer_can_write(const struct vksteer_log *log, const char *path)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    if (!*path)
        return vks_fail(inner, "the name of the output file is empty: give one");
    if (vks_os_is_dir(path))
        return vks_fail(inner, "%s is a folder: give the name of a file in it", path);
    char *folder = vks_path_folder(path);
    const bool there = folder && vks_os_is_dir(folder);
    if (!folder)
        vks_fail(inner, VKS_NO_MEMORY);
    else if (!there)
        vks_fail(inner, "the folder %s is not there: create it, or write somewhere else", folder);
    free(folder);
    return there;
}

bool vksteer_prompts_read(const struct vksteer_log *log, const char *path, const char *field,
                          struct vksteer_prompts *prompts)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    *prompts = (struct vksteer_prompts){0};
    struct vks_lines *lines = calloc(1, sizeof(*lines));
    if (!lines)
        return vks_fail(inner, VKS_NO_MEMORY);
    if (!vks_lines_read(inner, path, field, lines)) {
        free(lines);
        return false;
    }
    *prompts = (struct vksteer_prompts){.items = lines->items, .count = lines->count, .priv = lines};
    return true;
}

void vksteer_prompts_finish(struct vksteer_prompts *prompts)
{
    struct vks_lines *lines = prompts->priv;
    if (lines)
        vks_lines_finish(lines);
    free(lines);
    *prompts = (struct vksteer_prompts){0};
}
