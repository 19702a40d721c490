// Private to runtime/base: what os_files_posix.c and os_files_windows.c share, and each has of its own for that.
#ifndef VKS_BASE_OS_FILES_H
#define VKS_BASE_OS_FILES_H

#include "base/os.h"

#ifdef _WIN32
typedef void *vks_os_handle;  // a HANDLE
#else
typedef int vks_os_handle;    // a descriptor
#endif

struct vks_os_appender {
    const struct vks_log *log;
    char *path;
    vks_os_handle file;
    uint64_t size;
};

// ---- os_files_posix.c, os_files_windows.c

// "PATH: WHAT: ", what the system says of its last error, and what to do about it. Returns false.
bool vks_os_fail(const struct vks_log *log, const char *path, const char *what);
// False: the system's last error says why.
bool vks_os_write_all(vks_os_handle file, const char *data, size_t size);
// Frees a writer, and its temporary with it.
void vks_os_writer_free(struct vks_os_writer *writer);

// ---- os.c

// Messages; both return false. A file of more bytes than are read:
bool vks_os_fail_large(const struct vks_log *log, const char *path, size_t limit);
// a file of fewer bytes than are kept:
bool vks_os_fail_short(const struct vks_log *log, const char *path, uint64_t size, uint64_t keep);
// Takes over a name (heap). False: out of memory, or `name` is NULL because of that.
bool vks_os_names_add(struct vks_os_names *names, size_t *capacity, char *name);
void vks_os_names_sort(struct vks_os_names *names);

#endif
