#include "io/gguf.h"

#include "base/bytes.h"
#include "base/os.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY 65535  // bytes; the format's own limit
#define MAX_NAME 255   // bytes; the format says 64, some programs write longer names

// Bytes of a scalar of each kind; 0: it says its length itself.
static const unsigned char sizes[] = {
    [VKS_GGUF_U8] = 1,  [VKS_GGUF_I8] = 1,   [VKS_GGUF_U16] = 2,    [VKS_GGUF_I16] = 2,   [VKS_GGUF_U32] = 4,
    [VKS_GGUF_I32] = 4, [VKS_GGUF_F32] = 4,  [VKS_GGUF_BOOL] = 1,   [VKS_GGUF_STRING] = 0, [VKS_GGUF_ARRAY] = 0,
    [VKS_GGUF_U64] = 8, [VKS_GGUF_I64] = 8,  [VKS_GGUF_F64] = 8,
};

#define KINDS (sizeof(sizes) / sizeof(sizes[0]))

// ---- taking bytes

// What is being parsed, and where in it.
struct reader {
    const struct vks_log *log;
    const char *path;
    const unsigned char *data;
    size_t size, at;          // at <= size
    const char *part, *name;  // for messages: "metadata", "general.name"; the name may be NULL
};

static bool bad(const struct reader *r, const char *why)
{
    char quoted[200];
    if (!r->name)
        return vks_fail(r->log, "%s: %s: %s; the file is damaged, fetch it again", r->path, r->part, why);
    return vks_fail(r->log, "%s: %s \"%s\": %s; the file is damaged, fetch it again", r->path, r->part,
                    vks_text_quote(r->name, strlen(r->name), quoted, sizeof(quoted)), why);
}

static bool take(struct reader *r, uint64_t size)
{
    if (size > r->size - r->at)
        return bad(r, "goes beyond the end of the file, which may be cut short");
    r->at += (size_t)size;
    return true;
}

static bool take_number(struct reader *r, unsigned bytes, uint64_t *value)
{
    if (!take(r, bytes))
        return false;
    *value = vks_le(r->data + r->at - bytes, bytes);
    return true;
}

// A length and that many bytes of UTF-8, copied: a key or the name of a tensor.
static bool take_name(struct reader *r, struct vks_arena *arena, uint64_t most, const char **name)
{
    uint64_t length;
    if (!take_number(r, 8, &length))
        return false;
    if (length == 0 || length > most)
        return bad(r, length ? "has a name of more bytes than the format allows" : "has an empty name");
    if (!take(r, length))
        return false;
    const char *bytes = (const char *)r->data + r->at - length;
    if (memchr(bytes, 0, (size_t)length) || vks_utf8_check(bytes, (size_t)length) != length)
        return bad(r, "has a name that is not UTF-8");
    char *copy = vks_arena_alloc(arena, (size_t)length + 1);
    if (!copy)
        return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->path);
    *name = memcpy(copy, bytes, (size_t)length);
    return true;
}

// ---- metadata

static bool take_value(struct reader *r, uint64_t kind, int depth, struct vks_gguf_value *value);

static bool take_items(struct reader *r, uint64_t kind, uint64_t count, int depth)
{
    struct vks_gguf_value item;
    if (kind >= KINDS)
        return bad(r, "is an array of an unknown kind of value");
    if (sizes[kind] && count > (r->size - r->at) / sizes[kind])
        return bad(r, "goes beyond the end of the file, which may be cut short");
    if (sizes[kind] && kind != VKS_GGUF_BOOL)
        return take(r, count * sizes[kind]);
    // Each pass takes bytes or fails, so that a huge count ends with the file.
    for (uint64_t i = 0; i < count; i++)
        if (!take_value(r, kind, depth, &item))
            return false;
    return true;
}

// `depth`: how many arrays may still be opened.
static bool take_value(struct reader *r, uint64_t kind, int depth, struct vks_gguf_value *value)
{
    uint64_t item = 0, count = 1;
    if (kind >= KINDS)
        return bad(r, "has an unknown kind of value");
    if (kind == VKS_GGUF_ARRAY && depth == 0)
        return bad(r, "has arrays nested more than 4 deep");
    if (kind == VKS_GGUF_ARRAY && !take_number(r, 4, &item))
        return false;
    if ((kind == VKS_GGUF_ARRAY || kind == VKS_GGUF_STRING) && !take_number(r, 8, &count))
        return false;
    const size_t begin = r->at;
    const bool whole = kind == VKS_GGUF_ARRAY ? take_items(r, item, count, depth - 1)
                                              : take(r, kind == VKS_GGUF_STRING ? count : sizes[kind]);
    if (!whole)
        return false;
    if (kind == VKS_GGUF_BOOL && r->data[begin] > 1)
        return bad(r, "is a bool that is neither 0 nor 1");
    *value = (struct vks_gguf_value){
        .kind = (enum vks_gguf_kind)kind,
        .item = (enum vks_gguf_kind)item,
        .count = count,
        .data = r->data + begin,
        .size = r->at - begin,
    };
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct vks_gguf_pair *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static bool sort_keys(const struct reader *r, struct vks_gguf *file)
{
    const size_t count = file->metadata_count;
    file->keys = vks_arena_alloc(&file->arena, (count + 1) * sizeof(*file->keys));
    if (!file->keys)
        return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->path);
    for (size_t i = 0; i < count; i++)
        file->keys[i] = &file->metadata[i];
    if (count)
        qsort(file->keys, count, sizeof(*file->keys), by_key);
    for (size_t i = 1; i < count; i++) {
        if (!strcmp(file->keys[i - 1]->key, file->keys[i]->key)) {
            struct reader at = *r;
            at.name = file->keys[i]->key;
            return bad(&at, "appears twice");
        }
    }
    return true;
}

static bool read_metadata(struct reader *r, struct vks_gguf *file, uint64_t count)
{
    size_t capacity = 0;
    r->part = "metadata";
    // Grown as it is read: the count is the file's word only.
    for (uint64_t i = 0; i < count; i++) {
        uint64_t kind;
        if (!vks_grow(&file->metadata, &capacity, file->metadata_count, sizeof(*file->metadata)))
            return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->path);
        struct vks_gguf_pair *pair = &file->metadata[file->metadata_count];
        r->name = NULL;
        if (!take_name(r, &file->arena, MAX_KEY, &pair->key))
            return false;
        r->name = pair->key;
        if (!take_number(r, 4, &kind) || !take_value(r, kind, VKS_GGUF_MAX_DEPTH, &pair->value))
            return false;
        file->metadata_count++;
    }
    r->name = NULL;
    return sort_keys(r, file);
}

// ---- tensors

// Types that exist but are not read here, so that a message can name them.
static const char *foreign_type(uint64_t type)
{
    static const char *const names[] = {
        [9] = "Q8_1",     [15] = "Q8_K",    [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
        [20] = "IQ4_NL",  [21] = "IQ3_S",   [22] = "IQ2_S",   [23] = "IQ4_XS", [24] = "I8",      [25] = "I16",
        [26] = "I32",     [27] = "I64",     [28] = "F64",     [29] = "IQ1_M",  [34] = "TQ1_0",   [35] = "TQ2_0",
        [39] = "MXFP4",
    };
    return type < sizeof(names) / sizeof(names[0]) ? names[type] : NULL;
}

static bool unknown_type(const struct reader *r, uint64_t type)
{
    char quoted[200];
    const char *name = foreign_type(type);
    return vks_fail(r->log, "%s: tensor \"%s\": type %llu%s%s%s is not supported; fetch the model as F32, F16, BF16, "
                    "Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or Q2_K to Q6_K", r->path,
                    vks_text_quote(r->name, strlen(r->name), quoted, sizeof(quoted)), (unsigned long long)type,
                    name ? " (" : "", name ? name : "", name ? ")" : "");
}

// Extents, and from them count and size; the file's first extent varies fastest, and rows are whole blocks.
static bool take_shape(struct reader *r, struct vks_gguf_tensor *tensor)
{
    uint64_t rank, type, extents[VKS_GGUF_MAX_RANK] = {0};
    if (!take_number(r, 4, &rank))
        return false;
    if (rank > VKS_GGUF_MAX_RANK)
        return bad(r, "has a rank above 4");
    tensor->rank = (int)rank;
    tensor->count = 1;
    for (int i = 0; i < tensor->rank; i++) {
        if (!take_number(r, 8, &extents[i]))
            return false;
        if (extents[i] && tensor->count > UINT64_MAX / extents[i])
            return bad(r, "has a shape that overflows");
        tensor->count *= extents[i];
        tensor->shape[tensor->rank - 1 - i] = extents[i];
    }
    if (!take_number(r, 4, &type))
        return false;
    const struct vks_quant *quant = type <= UINT32_MAX ? vks_quant((uint32_t)type) : NULL;
    if (!quant)
        return unknown_type(r, type);
    tensor->type = (enum vks_quant_type)type;
    if ((rank ? extents[0] : 1) % quant->elements)
        return bad(r, "has rows that are not whole blocks of its type");
    const uint64_t blocks = tensor->count / quant->elements;
    if (blocks > SIZE_MAX / quant->bytes)
        return bad(r, "has a shape that overflows");
    tensor->size = (size_t)(blocks * quant->bytes);
    return true;
}

static int by_name(const void *a, const void *b)
{
    const struct vks_gguf_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_data(const void *a, const void *b)
{
    const struct vks_gguf_tensor *x = *(const struct vks_gguf_tensor *const *)a,
                                 *y = *(const struct vks_gguf_tensor *const *)b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->size != y->size ? (x->size < y->size ? -1 : 1) : 0;
}

// No byte belongs to two tensors, no name either; gaps are allowed, as the format says nothing about them.
static bool sort_names(const struct reader *r, struct vks_gguf *file)
{
    const size_t count = file->tensor_count;
    struct reader at = *r;
    file->names = vks_arena_alloc(&file->arena, (count + 1) * sizeof(*file->names));
    if (!file->names)
        return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->path);
    for (size_t i = 0; i < count; i++)
        file->names[i] = &file->tensors[i];
    if (count)
        qsort(file->names, count, sizeof(*file->names), by_data);
    for (size_t i = 1; i < count; i++) {
        const struct vks_gguf_tensor *before = file->names[i - 1], *tensor = file->names[i];
        at.name = tensor->name;
        if (before->data + before->size > tensor->data)
            return bad(&at, "overlaps another");
    }
    if (count)
        qsort(file->names, count, sizeof(*file->names), by_name);
    for (size_t i = 1; i < count; i++) {
        at.name = file->names[i]->name;
        if (!strcmp(file->names[i - 1]->name, at.name))
            return bad(&at, "appears twice");
    }
    return true;
}

static bool find_alignment(const struct reader *r, const struct vks_gguf *file, uint64_t *alignment)
{
    struct reader at = *r;
    const struct vks_gguf_value *value = vks_gguf_get(file, "general.alignment");
    *alignment = 32;
    at.part = "metadata";
    at.name = "general.alignment";
    if (value && (!vks_gguf_uint(value, alignment) || *alignment == 0 || *alignment % 8))
        return bad(&at, "is not a multiple of 8");
    return true;
}

static bool read_table(struct reader *r, struct vks_gguf *file, uint64_t count, uint64_t alignment)
{
    size_t capacity = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!vks_grow(&file->tensors, &capacity, file->tensor_count, sizeof(*file->tensors)))
            return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->path);
        struct vks_gguf_tensor *tensor = &file->tensors[file->tensor_count];
        *tensor = (struct vks_gguf_tensor){0};
        r->name = NULL;
        if (!take_name(r, &file->arena, MAX_NAME, &tensor->name))
            return false;
        r->name = tensor->name;
        if (!take_shape(r, tensor) || !take_number(r, 8, &tensor->offset))
            return false;
        if (tensor->offset % alignment)
            return bad(r, "has an offset that is not aligned");
        file->tensor_count++;
    }
    return true;
}

static bool read_tensors(struct reader *r, struct vks_gguf *file, uint64_t count)
{
    uint64_t alignment;
    r->part = "tensor";
    if (!find_alignment(r, file, &alignment) || !read_table(r, file, count, alignment))
        return false;
    // The data begin at the next multiple of the alignment.
    const uint64_t padding = (alignment - r->at % alignment) % alignment, room = r->size - r->at;
    for (size_t i = 0; i < file->tensor_count; i++) {
        struct vks_gguf_tensor *tensor = &file->tensors[i];
        r->name = tensor->name;
        if (padding > room || tensor->offset > room - padding || tensor->size > room - padding - tensor->offset)
            return bad(r, "has data outside of the file, which may be cut short");
        tensor->data = r->data + r->at + padding + tensor->offset;
    }
    r->name = NULL;
    return sort_names(r, file);
}

// ---- opening and looking up

static bool load(struct reader *r, struct vks_gguf *file)
{
    uint64_t version, tensors, pairs;
    if (r->size < 4 || memcmp(r->data, "GGUF", 4) != 0)
        return vks_fail(r->log, "%s: is no GGUF file (it does not begin with GGUF); fetch it again", r->path);
    r->at = 4;
    r->part = "header";
    if (!take_number(r, 4, &version))
        return false;
    // A number of any sane size has its low byte first; a big-endian file shows it last.
    if (version && version % 65536 == 0)
        return vks_fail(r->log, "%s: is a big-endian GGUF file; fetch the little-endian one", r->path);
    if (version != 2 && version != 3)
        return vks_fail(r->log, "%s: is GGUF version %llu, and only 2 and 3 are read; convert the model again",
                        r->path, (unsigned long long)version);
    file->version = (uint32_t)version;
    return take_number(r, 8, &tensors) && take_number(r, 8, &pairs) && read_metadata(r, file, pairs) &&
           read_tensors(r, file, tensors);
}

struct vks_gguf *vks_gguf_open(const struct vks_log *log, const char *path)
{
    struct vks_gguf *file = calloc(1, sizeof(*file));
    if (!file)
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, path);
    file->path = vks_arena_strdup(&file->arena, path);
    file->map = vks_arena_alloc(&file->arena, sizeof(*file->map));
    bool ok = (file->path && file->map) || vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    if (ok && (ok = vks_os_map_open(log, path, file->map))) {
        struct reader r = {.log = log, .path = path, .data = file->map->data, .size = file->map->size};
        ok = load(&r, file);
    }
    if (!ok)
        vks_gguf_close(&file);
    return file;
}

void vks_gguf_close(struct vks_gguf **address)
{
    struct vks_gguf *file = *address;
    if (!file)
        return;
    *address = NULL;
    if (file->map)
        vks_os_map_close(file->map);
    free(file->metadata);
    free(file->tensors);
    vks_arena_finish(&file->arena);
    free(file);
}

bool vks_gguf_is(const char *path)
{
    struct vks_os_map map;
    if (!vks_os_is_file(path))
        return false;
    if (vks_ends_with(path, ".gguf"))
        return true;
    if (!vks_os_map_open(NULL, path, &map))
        return false;
    const bool is = map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    vks_os_map_close(&map);
    return is;
}

const struct vks_gguf_tensor *vks_gguf_find(const struct vks_gguf *file, const char *name)
{
    const struct vks_gguf_tensor wanted = {.name = name}, *key = &wanted;
    const struct vks_gguf_tensor **found =
        file->tensor_count ? bsearch(&key, file->names, file->tensor_count, sizeof(key), by_name) : NULL;
    return found ? *found : NULL;
}

const struct vks_gguf_value *vks_gguf_get(const struct vks_gguf *file, const char *name)
{
    const struct vks_gguf_pair wanted = {.key = name}, *key = &wanted;
    const struct vks_gguf_pair **found =
        file->metadata_count ? bsearch(&key, file->keys, file->metadata_count, sizeof(key), by_key) : NULL;
    return found ? &(*found)->value : NULL;
}

bool vks_gguf_next(const struct vks_gguf_value *array, size_t *at, struct vks_gguf_value *item)
{
    struct reader r = {.path = "", .part = "", .data = array->data, .size = array->size, .at = *at};
    // Nothing can fail here any more: the walk at opening was the same.
    if (array->kind != VKS_GGUF_ARRAY || r.at >= r.size || !take_value(&r, array->item, VKS_GGUF_MAX_DEPTH, item))
        return false;
    *at = r.at;
    return true;
}

static bool is_signed(enum vks_gguf_kind kind)
{
    return kind == VKS_GGUF_I8 || kind == VKS_GGUF_I16 || kind == VKS_GGUF_I32 || kind == VKS_GGUF_I64;
}

static bool is_unsigned(enum vks_gguf_kind kind)
{
    return kind == VKS_GGUF_U8 || kind == VKS_GGUF_U16 || kind == VKS_GGUF_U32 || kind == VKS_GGUF_U64;
}

bool vks_gguf_uint(const struct vks_gguf_value *value, uint64_t *out)
{
    if (!is_unsigned(value->kind) && !is_signed(value->kind))
        return false;
    *out = vks_le(value->data, (unsigned)value->size);
    return !is_signed(value->kind) || !(*out >> (8 * value->size - 1));
}

bool vks_gguf_number(const struct vks_gguf_value *value, double *out)
{
    if (value->kind == VKS_GGUF_STRING || value->kind == VKS_GGUF_ARRAY)
        return false;
    const unsigned size = (unsigned)value->size;
    const uint64_t bits = vks_le(value->data, size);
    const uint32_t low = (uint32_t)bits;
    float single;
    if (value->kind == VKS_GGUF_F64) {
        memcpy(out, &bits, sizeof(bits));
    } else if (value->kind == VKS_GGUF_F32) {
        memcpy(&single, &low, sizeof(low));
        *out = single;
    } else if (is_signed(value->kind) && bits >> (8 * size - 1)) {
        *out = -(double)((~bits & (UINT64_MAX >> (64 - 8 * size))) + 1);
    } else {
        *out = (double)bits;
    }
    return true;
}
