#include "io/safetensors.h"

#include "base/os.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static bool is_utf8(const char *string)
{
    const size_t size = strlen(string);
    return vks_utf8_check(string, size) == size;
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const struct vks_st_pair *const *)a)->key, (*(const struct vks_st_pair *const *)b)->key);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool add_metadata(const struct vks_log *log, const char *path, struct vks_text *text,
                         const struct vks_st_pair *metadata, size_t count)
{
    const struct vks_st_pair **sorted = malloc((count + 1) * sizeof(*sorted));
    if (!sorted)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    for (size_t i = 0; i < count; i++)
        sorted[i] = &metadata[i];
    if (count)
        qsort(sorted, count, sizeof(*sorted), by_key);
    bool done = true;
    vks_text_add_str(text, "\"__metadata__\":{");
    for (size_t i = 0; done && i < count; i++) {
        if (!is_utf8(sorted[i]->key) || !is_utf8(sorted[i]->value))
            done = vks_fail(log, "%s: metadata that is not UTF-8 cannot be written; correct the text", path);
        else if (i && !strcmp(sorted[i]->key, sorted[i - 1]->key))
            done = vks_fail(log, "%s: metadata key %s is given twice; give it once", path, sorted[i]->key);
        vks_text_add_str(text, i ? "," : "");
        vks_text_add_json(text, sorted[i]->key);
        vks_text_add_str(text, ":");
        vks_text_add_json(text, sorted[i]->value);
    }
    vks_text_add_str(text, "}");
    free(sorted);
    return done;
}

// Bytes of the item; false when its shape overflows.
static bool item_size(const struct vks_st_item *item, uint64_t *size)
{
    *size = vks_st_dtype_size(item->dtype);
    if (item->rank < 0 || item->rank > VKS_ST_MAX_RANK)
        return false;
    for (int i = 0; i < item->rank; i++) {
        if (item->shape[i] && *size > SIZE_MAX / item->shape[i])
            return false;
        *size *= item->shape[i];
    }
    return true;
}

static bool add_items(const struct vks_log *log, const char *path, struct vks_text *text,
                      const struct vks_st_item *items, size_t count)
{
    uint64_t at = 0, size;
    for (size_t i = 0; i < count; i++) {
        if (!is_utf8(items[i].name) || !strcmp(items[i].name, "__metadata__"))
            return vks_fail(log, "%s: a tensor's name is reserved or not UTF-8; give it another", path);
        if (!item_size(&items[i], &size) || at > SIZE_MAX - size)
            return vks_fail(log, "%s: the shape of tensor %s is too large; nothing was written", path, items[i].name);
        if (text->data[text->length - 1] != '{')
            vks_text_add_str(text, ",");
        vks_text_add_json(text, items[i].name);
        vks_text_printf(text, ":{\"dtype\":\"%s\",\"shape\":[", vks_st_dtype_name(items[i].dtype));
        for (int k = 0; k < items[i].rank; k++)
            vks_text_printf(text, "%s%llu", k ? "," : "", (unsigned long long)items[i].shape[k]);
        vks_text_printf(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                        (unsigned long long)(at + size));
        at += size;
        if (text->failed)
            return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    }
    return true;
}

static bool names_differ(const struct vks_log *log, const char *path, const struct vks_st_item *items, size_t count)
{
    const char **names = malloc((count + 1) * sizeof(*names));
    if (!names)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    for (size_t i = 0; i < count; i++)
        names[i] = items[i].name;
    if (count)
        qsort(names, count, sizeof(*names), by_text);
    bool done = true;
    for (size_t i = 1; done && i < count; i++) {
        if (!strcmp(names[i], names[i - 1]))
            done = vks_fail(log, "%s: tensor %s is given twice; give it once", path, names[i]);
    }
    free(names);
    return done;
}

bool vks_safetensors_write(const struct vks_log *log, const char *path, const struct vks_st_item *items, size_t count,
                           const struct vks_st_pair *metadata, size_t metadata_count)
{
    struct vks_text text = {0};
    vks_text_add_str(&text, "{");
    bool done = (!text.failed || vks_fail(log, "%s: " VKS_NO_MEMORY, path)) &&
                names_differ(log, path, items, count) &&
                (!metadata_count || add_metadata(log, path, &text, metadata, metadata_count)) &&
                add_items(log, path, &text, items, count);
    vks_text_add_str(&text, "}");
    while (!text.failed && text.length % 8)
        vks_text_add_str(&text, " ");
    if (done && text.failed)
        done = vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    struct vks_os_writer *writer = done ? vks_os_writer_open(log, path) : NULL;
    if (writer) {
        unsigned char length[8];
        for (int i = 0; i < 8; i++)
            length[i] = (unsigned char)((uint64_t)text.length >> (8 * i));
        vks_os_writer_write(writer, length, sizeof(length));
        vks_os_writer_write(writer, text.data, text.length);
        for (size_t i = 0; i < count; i++) {
            uint64_t size = 0;
            item_size(&items[i], &size);
            vks_os_writer_write(writer, items[i].data, (size_t)size);
        }
    }
    vks_text_finish(&text);
    return vks_os_writer_commit(&writer);
}
