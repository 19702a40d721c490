// What is the same on every operating system.
#include "base/os.h"

#include <stdlib.h>

bool vks_os_write_file(const struct vks_log *log, const char *path, const void *data, size_t size)
{
    struct vks_os_writer *writer = vks_os_writer_open(log, path);
    vks_os_writer_write(writer, data, size);
    return vks_os_writer_commit(&writer);
}

void vks_os_names_finish(struct vks_os_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct vks_os_names){0};
}

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
