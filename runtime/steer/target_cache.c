#include "steer/target_cache.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/os.h"
#include "base/text.h"
#include "io/safetensors.h"

#define FORMAT "vksteer-targets-1"

// FOLDER/HASH.safetensors; heap.
static char *path_of(const struct vks_subject *subject, const struct vks_site_list *sites, enum vks_pool pool)
{
    const struct vks_gpu_info *info = vks_gpu_info(subject->gpu);
    struct vks_text path = {0};
    struct vks_hash hash;
    char hex[17];
    vks_hash_init(&hash, 4);
    vks_hash_add_u64(&hash, subject->target_hash);
    vks_hash_add_u64(&hash, subject->set_sizes[VKS_SET_TARGET]);
    vks_hash_add_text(&hash, info->name);
    vks_hash_add_text(&hash, info->driver);
    vks_hash_add_u64(&hash, info->driver_version);
    vks_hash_add(&hash, vks_gpu_limits(subject->gpu)->matmul, sizeof(vks_gpu_limits(subject->gpu)->matmul));
    vks_hash_add_u64(&hash, pool);
    vks_hash_add_u64(&hash, sites->inputs);
    for (size_t i = 0; i < sites->count; i++) {
        vks_hash_add_text(&hash, sites->slots[i].name);
        vks_hash_add_u64(&hash, sites->slots[i].channels);
    }
    vks_text_printf(&path, "%s/%s.safetensors", subject->cache, vks_hash_hex(vks_hash_value(&hash), hex));
    if (path.failed)
        vks_text_finish(&path);
    return path.data;
}

// Whether a file holds what was written: of the sizes that are wanted, and with all of its bits.
static bool is_whole(const struct vks_safetensors *file, uint64_t rows, uint64_t channels)
{
    const struct vks_st_tensor *tensor = vks_safetensors_find(file, "targets");
    const char *format = vks_safetensors_metadata(file, "format"), *hash = vks_safetensors_metadata(file, "hash");
    char hex[17];
    return tensor && format && !strcmp(format, FORMAT) && tensor->dtype == VKS_ST_F32 && tensor->rank == 2 &&
           tensor->shape[0] == rows && tensor->shape[1] == channels && hash &&
           !strcmp(hash, vks_hash_hex(vks_hash64(tensor->data, tensor->size), hex));
}

static bool are_finite(const float *rows, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(rows[i]))
            return false;
    return true;
}

float *vks_target_cache_read(const struct vks_subject *subject, const struct vks_site_list *sites, enum vks_pool pool)
{
    char *path = path_of(subject, sites, pool);
    float *rows = NULL;
    struct vks_safetensors *file = path && vks_os_is_file(path) ? vks_safetensors_open(NULL, path) : NULL;
    if (file && is_whole(file, subject->set_sizes[VKS_SET_TARGET], sites->channels)) {
        const struct vks_st_tensor *tensor = vks_safetensors_find(file, "targets");
        rows = malloc(tensor->size);
        if (rows)
            memcpy(rows, tensor->data, tensor->size);
        if (rows && !are_finite(rows, tensor->count)) {
            free(rows);
            rows = NULL;
        }
    }
    if (rows)
        vks_debug(subject->log, "activations of the targets as %s has them", path);
    else if (file || (path && vks_os_is_file(path)))
        vks_debug(subject->log, "%s is damaged and ignored", path);
    vks_safetensors_close(&file);
    free(path);
    return rows;
}

// Whether a file may be removed: those of the cache, and what a process that was killed left of one, which is a day
// older than the newest file. No other: it may be another process's, that is being written.
static bool is_ours(const char *name, int64_t time, int64_t newest)
{
    return vks_ends_with(name, ".safetensors") ||
           (vks_ends_with(name, ".tmp") && strstr(name, ".safetensors.") && newest - time > 24 * 60 * 60);
}

static int64_t newest_of(const struct vks_subject *subject, const struct vks_os_names *names)
{
    int64_t newest = 0;
    for (size_t i = 0; i < names->count; i++) {
        char *path = vks_path_join(subject->cache, names->items[i]);
        const int64_t time = path ? vks_os_file_time(path) : INT64_MAX;
        newest = time != INT64_MAX && time > newest ? time : newest;
        free(path);
    }
    return newest;
}

// Removes files, the oldest first, until `room` more bytes are free.
static void make_room(const struct vks_subject *subject, uint64_t room)
{
    struct vks_os_names names;
    if (!vks_os_list(NULL, subject->cache, &names))
        return;
    const int64_t newest = newest_of(subject, &names);
    for (size_t left = names.count; left; left--) {
        uint64_t used = 0;
        char *oldest = NULL;
        int64_t age = INT64_MAX;
        for (size_t i = 0; i < names.count; i++) {
            char *path = vks_path_join(subject->cache, names.items[i]);
            const uint64_t size = path ? vks_os_file_size(path) : UINT64_MAX;
            const int64_t time = size != UINT64_MAX ? vks_os_file_time(path) : INT64_MAX;
            used += size != UINT64_MAX ? size : 0;
            if (time < age && is_ours(names.items[i], time, newest)) {
                free(oldest);
                oldest = path;
                path = NULL;
                age = time;
            }
            free(path);
        }
        const bool done = used + room <= VKS_TARGET_CACHE_MOST || !oldest;
        if (!done)
            vks_os_remove(NULL, oldest);
        free(oldest);
        if (done)
            break;
    }
    vks_os_names_finish(&names);
}

void vks_target_cache_write(const struct vks_subject *subject, const struct vks_site_list *sites, enum vks_pool pool,
                            const float *rows)
{
    const uint64_t count = subject->set_sizes[VKS_SET_TARGET], size = count * sites->channels * sizeof(*rows);
    char *path = path_of(subject, sites, pool), hex[17];
    const struct vks_st_item item = {"targets", VKS_ST_F32, 2, {count, sites->channels}, rows};
    const struct vks_st_pair metadata[] = {
        {"format", FORMAT}, {"hash", vks_hash_hex(vks_hash64(rows, (size_t)size), hex)}};
    if (path && size <= VKS_TARGET_CACHE_MOST / 4 && vks_os_make_dirs(NULL, subject->cache)) {
        make_room(subject, size + 4096);
        const bool done = vks_safetensors_write(NULL, path, &item, 1, metadata, 2);
        vks_debug(subject->log, done ? "activations of the targets are kept as %s" : "%s cannot be written", path);
    }
    free(path);
}
