// Zip archives of stored entries, in memory: for tests of their readers.
#ifndef VKS_TESTS_ZIP_PACK_H
#define VKS_TESTS_ZIP_PACK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct zip_part {
    const char *name;
    const void *data;
    size_t size;
};

struct zip_archive {
    unsigned char bytes[32768];
    size_t size, directory;
};

static inline void zip_put(struct zip_archive *a, const void *data, size_t size)
{
    memcpy(a->bytes + a->size, data, size);
    a->size += size;
}

static inline void zip_put_number(struct zip_archive *a, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        a->bytes[a->size++] = (unsigned char)(value >> (8 * i));
}

// The fields from the version on that the local and the central record share.
static inline void zip_put_common(struct zip_archive *a, const struct zip_part *part)
{
    zip_put_number(a, 0, 8);              // flags, method, time, date
    zip_put_number(a, 0, 4);              // checksum
    zip_put_number(a, part->size, 4);
    zip_put_number(a, part->size, 4);
    zip_put_number(a, strlen(part->name), 2);
    zip_put_number(a, 0, 2);              // extra
}

// Stored entries; at most 8, and all of it within the room of the archive.
static inline void zip_pack(struct zip_archive *a, const struct zip_part *parts, size_t count)
{
    size_t at[8];
    a->size = 0;
    for (size_t i = 0; i < count; i++) {
        at[i] = a->size;
        zip_put(a, "PK\3\4\0\0", 6);
        zip_put_common(a, &parts[i]);
        zip_put(a, parts[i].name, strlen(parts[i].name));
        zip_put(a, parts[i].data, parts[i].size);
    }
    a->directory = a->size;
    for (size_t i = 0; i < count; i++) {
        zip_put(a, "PK\1\2\0\0\0\0", 8);
        zip_put_common(a, &parts[i]);
        zip_put(a, "\0\0\0\0\0\0\0\0\0", 10);  // comment, disk, attributes
        zip_put_number(a, at[i], 4);
        zip_put(a, parts[i].name, strlen(parts[i].name));
    }
    const size_t size = a->size - a->directory;
    zip_put(a, "PK\5\6\0\0\0\0", 8);
    zip_put_number(a, count, 2);
    zip_put_number(a, count, 2);
    zip_put_number(a, size, 4);
    zip_put_number(a, a->directory, 4);
    zip_put_number(a, 0, 2);
}

#endif
