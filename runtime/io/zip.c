#include "io/zip.h"

#include "base/bytes.h"
#include "base/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES ((uint64_t)1 << 20)

// Bytes of the records, without what varies in length.
enum { LOCAL = 30, CENTRAL = 46, END = 22, END64 = 56, LOCATOR = 20 };

// What is being read.
struct reader {
    const struct vks_log *log;
    const char *path;
    const unsigned char *data;
    size_t size;
};

static bool bad(const struct reader *r, const char *why)
{
    return vks_fail(r->log, "%s: %s; the file is damaged, fetch it again", r->path, why);
}

// Whether `size` bytes at `at` lie in the file.
static bool inside(const struct reader *r, uint64_t at, uint64_t size)
{
    return at <= r->size && size <= r->size - at;
}

static bool is_record(const struct reader *r, uint64_t at, uint64_t size, const char signature[4])
{
    return inside(r, at, size) && !memcmp(r->data + at, signature, 4);
}

// The directory: where it begins, its bytes and entries.
struct directory {
    uint64_t at, size, count;
};

static bool find_directory(const struct reader *r, struct directory *out)
{
    // The record at the end is followed by a comment of up to 65535 bytes.
    uint64_t end = r->size < END ? 0 : r->size - END, tries = 0;
    while (end && !is_record(r, end, END, "PK\5\6") && tries++ < 65536)
        end--;
    if (!is_record(r, end, END, "PK\5\6"))
        return bad(r, "has no directory at its end, so it is cut short or no zip archive");
    const unsigned char *record = r->data + end;
    *out = (struct directory){vks_le(record + 16, 4), vks_le(record + 12, 4), vks_le(record + 10, 2)};
    if (end >= LOCATOR && is_record(r, end - LOCATOR, LOCATOR, "PK\6\7")) {
        const uint64_t at = vks_le(r->data + end - LOCATOR + 8, 8);
        if (!is_record(r, at, END64, "PK\6\6"))
            return bad(r, "its 64-bit directory is not where it should be");
        record = r->data + at;
        *out = (struct directory){vks_le(record + 48, 8), vks_le(record + 40, 8), vks_le(record + 32, 8)};
    }
    if (!inside(r, out->at, out->size))
        return bad(r, "its directory lies outside of the file");
    if (out->count > MAX_ENTRIES || out->count > out->size / CENTRAL)
        return bad(r, "its directory counts more entries than it has room for");
    return true;
}

// Sizes and offset of an entry; those that are all ones stand in the zip64 extra field, in this order.
struct extent {
    uint64_t size, stored, at;
};

static bool read_wide(const unsigned char *extra, uint64_t length, struct extent *extent)
{
    uint64_t *const wide[] = {&extent->size, &extent->stored, &extent->at};
    const bool missing = extent->size == UINT32_MAX || extent->stored == UINT32_MAX || extent->at == UINT32_MAX;
    for (uint64_t at = 0, field; missing && at + 4 <= length; at += 4 + field) {
        field = vks_le(extra + at + 2, 2);
        if (field > length - at - 4)
            return false;
        if (vks_le(extra + at, 2) != 1)
            continue;
        uint64_t used = 0;
        for (int i = 0; i < 3; i++) {
            if (*wide[i] != UINT32_MAX)
                continue;
            if (used + 8 > field)
                return false;
            *wide[i] = vks_le(extra + at + 4 + used, 8);
            used += 8;
        }
        return true;
    }
    return !missing;
}

static const char *copy_name(struct vks_arena *arena, const unsigned char *bytes, size_t length)
{
    char *name = vks_arena_alloc(arena, length + 1);
    return name ? memcpy(name, bytes, length) : NULL;
}

// One entry of the directory, `left` bytes before its end; *used: its own bytes.
static bool read_entry(const struct reader *r, const unsigned char *record, uint64_t left, struct vks_arena *arena,
                       struct vks_zip_entry *entry, uint64_t *used)
{
    if (left < CENTRAL || memcmp(record, "PK\1\2", 4))
        return bad(r, "its directory is damaged");
    const uint64_t name = vks_le(record + 28, 2), extra = vks_le(record + 30, 2);
    *used = CENTRAL + name + extra + vks_le(record + 32, 2);
    if (*used > left)
        return bad(r, "its directory is damaged");
    const char *text = (const char *)record + CENTRAL;
    if (!name || memchr(text, 0, (size_t)name) || vks_utf8_check(text, (size_t)name) != name)
        return bad(r, "an entry has a name that is not UTF-8");
    if (!(entry->name = copy_name(arena, record + CENTRAL, (size_t)name)))
        return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->path);
    char quoted[200];
    vks_text_quote(text, (size_t)name, quoted, sizeof(quoted));
    struct extent extent = {vks_le(record + 24, 4), vks_le(record + 20, 4), vks_le(record + 42, 4)};
    if (vks_le(record + 10, 2) || (vks_le(record + 8, 2) & 1))
        return vks_fail(r->log, "%s: the entry %s is compressed or encrypted, which files of weights never are: "
                        "convert the file to safetensors", r->path, quoted);
    if (!read_wide(record + CENTRAL + name, extra, &extent) || extent.size != extent.stored ||
        !is_record(r, extent.at, LOCAL, "PK\3\4"))
        return vks_fail(r->log, "%s: the entry %s is not where the directory says; the file is damaged, fetch it "
                        "again", r->path, quoted);
    const unsigned char *local = r->data + extent.at;
    const uint64_t data = extent.at + LOCAL + vks_le(local + 26, 2) + vks_le(local + 28, 2);
    if (!inside(r, data, extent.size))
        return vks_fail(r->log, "%s: the entry %s goes beyond the end of the file; it is cut short, fetch it again",
                        r->path, quoted);
    entry->data = r->data + data;
    entry->size = (size_t)extent.size;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vks_zip_entry *)a)->name, ((const struct vks_zip_entry *)b)->name);
}

bool vks_zip_read(const struct vks_log *log, const char *path, const unsigned char *data, size_t size,
                  struct vks_arena *arena, struct vks_zip *zip)
{
    const struct reader r = {log, path, data, size};
    struct directory directory = {0};
    *zip = (struct vks_zip){0};
    if (!find_directory(&r, &directory))
        return false;
    zip->entries = vks_arena_alloc(arena, ((size_t)directory.count + 1) * sizeof(*zip->entries));
    if (!zip->entries)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    for (uint64_t at = 0, used = 0; zip->count < directory.count; at += used) {
        if (!read_entry(&r, data + directory.at + at, directory.size - at, arena, &zip->entries[zip->count], &used))
            return false;
        zip->count++;
    }
    if (zip->count)
        qsort(zip->entries, zip->count, sizeof(*zip->entries), by_name);
    for (size_t i = 1; i < zip->count; i++)
        if (!strcmp(zip->entries[i - 1].name, zip->entries[i].name))
            return bad(&r, "an entry appears twice");
    return true;
}

const struct vks_zip_entry *vks_zip_find(const struct vks_zip *zip, const char *name)
{
    const struct vks_zip_entry key = {.name = name};
    return zip->count ? bsearch(&key, zip->entries, zip->count, sizeof(key), by_name) : NULL;
}
