// What is the same on every operating system.
#include "base/arena.h"
#include "base/os_files.h"

#include <stdlib.h>
#include <string.h>

// ---- files and folders

bool vks_os_fail_large(const struct vks_log *log, const char *path, size_t limit)
{
    return vks_fail(log, "%s: is larger than the limit of %llu bytes; give a smaller file", path,
                    (unsigned long long)limit);
}

bool vks_os_fail_short(const struct vks_log *log, const char *path, uint64_t size, uint64_t keep)
{
    return vks_fail(log, "%s: has %llu bytes where %llu were expected; it was changed since, start it anew", path,
                    (unsigned long long)size, (unsigned long long)keep);
}

void vks_os_writer_abandon(struct vks_os_writer **writer)
{
    if (*writer)
        vks_os_writer_free(*writer);
    *writer = NULL;
}

bool vks_os_write_file(const struct vks_log *log, const char *path, const void *data, size_t size)
{
    struct vks_os_writer *writer = vks_os_writer_open(log, path);
    vks_os_writer_write(writer, data, size);
    return vks_os_writer_commit(&writer);
}

bool vks_os_appender_write(struct vks_os_appender *appender, const void *data, size_t size)
{
    if (!vks_os_write_all(appender->file, data, size))
        return vks_os_fail(appender->log, appender->path, "cannot append");
    appender->size += size;
    return true;
}

uint64_t vks_os_appender_size(const struct vks_os_appender *appender)
{
    return appender->size;
}

bool vks_os_names_add(struct vks_os_names *names, size_t *capacity, char *name)
{
    if (!name || !vks_grow(&names->items, capacity, names->count, sizeof(*names->items))) {
        free(name);
        return false;
    }
    names->items[names->count++] = name;
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void vks_os_names_sort(struct vks_os_names *names)
{
    if (names->count)
        qsort(names->items, names->count, sizeof(*names->items), compare_names);
}

void vks_os_names_finish(struct vks_os_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct vks_os_names){0};
}

// ---- processor, environment

bool vks_os_wide_vectors(void)
{
    // The first processors with AVX-512 slowed down under it; those with these extensions do not.
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vbmi2");
#else
    return false;
#endif
}

const char *vks_os_env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}
