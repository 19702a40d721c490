// The directory of a zip archive whose entries are stored, not compressed: where each of them lies in memory.
//
// APPNOTE.TXT of PKWARE, sections 4.3.6 to 4.3.16; 64-bit sizes and offsets (zip64) too. Archives are hostile input:
// every offset and size is checked before it is used. Checksums are not looked at: entries are gigabytes.
#ifndef VKS_IO_ZIP_H
#define VKS_IO_ZIP_H

#include "base/arena.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>

struct vks_zip_entry {
    const char *name;           // UTF-8, no NUL inside
    const unsigned char *data;  // its bytes, in the archive
    size_t size;
};

// Sorted by name. All of it lives in the arena, and as long as the archive does.
struct vks_zip {
    struct vks_zip_entry *entries;
    size_t count;
};

// Lists an archive of `size` bytes at `data`; `path` is for messages. False after one message.
bool vks_zip_read(const struct vks_log *log, const char *path, const unsigned char *data, size_t size,
                  struct vks_arena *arena, struct vks_zip *zip);
// NULL when there is none of that name (no message).
const struct vks_zip_entry *vks_zip_find(const struct vks_zip *zip, const char *name);

#endif
