#include "io/safetensors.h"

#include "base/bytes.h"
#include "base/half.h"
#include "base/os.h"
#include "base/text.h"
#include "io/json.h"
#include "io/shards.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INTEGER ((int64_t)1 << 53)

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [VKS_ST_F32] = {"F32", 4},         [VKS_ST_F16] = {"F16", 2},         [VKS_ST_BF16] = {"BF16", 2},
    [VKS_ST_I32] = {"I32", 4},         [VKS_ST_BOOL] = {"BOOL", 1},       [VKS_ST_U8] = {"U8", 1},
    [VKS_ST_I8] = {"I8", 1},           [VKS_ST_F8_E4M3] = {"F8_E4M3", 1}, [VKS_ST_F8_E5M2] = {"F8_E5M2", 1},
    [VKS_ST_U16] = {"U16", 2},         [VKS_ST_I16] = {"I16", 2},         [VKS_ST_U32] = {"U32", 4},
    [VKS_ST_U64] = {"U64", 8},         [VKS_ST_I64] = {"I64", 8},         [VKS_ST_F64] = {"F64", 8},
};

#define DTYPES (sizeof(dtypes) / sizeof(dtypes[0]))

size_t vks_st_dtype_size(enum vks_st_dtype dtype)
{
    return dtypes[dtype].size;
}

const char *vks_st_dtype_name(enum vks_st_dtype dtype)
{
    return dtypes[dtype].name;
}

bool vks_st_is_float(enum vks_st_dtype dtype)
{
    return dtype == VKS_ST_F32 || dtype == VKS_ST_F16 || dtype == VKS_ST_BF16;
}

// ---- one file

// What is being parsed, for messages.
struct header {
    const struct vks_log *log;
    const char *path;
    const unsigned char *data;  // first byte behind the header
    size_t size;                // bytes there
};

static bool bad_tensor(const struct header *h, const char *name, const char *why)
{
    char quoted[200];
    return vks_fail(h->log, "%s: tensor \"%s\": %s; the file is damaged, fetch it again", h->path,
                    vks_text_quote(name, strlen(name), quoted, sizeof(quoted)), why);
}

// A non-negative integer that a double holds exactly.
static bool take_integer(const struct cJSON *item, uint64_t *value)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= (double)MAX_INTEGER))
        return false;
    *value = (uint64_t)item->valuedouble;
    return (double)*value == item->valuedouble;
}

static bool parse_shape(const struct header *h, const struct cJSON *shape, struct vks_st_tensor *tensor)
{
    if (!cJSON_IsArray(shape))
        return bad_tensor(h, tensor->name, "shape is not an array");
    tensor->count = 1;
    for (const struct cJSON *item = shape->child; item; item = item->next) {
        uint64_t extent;
        if (tensor->rank == VKS_ST_MAX_RANK)
            return bad_tensor(h, tensor->name, "rank above 8");
        if (!take_integer(item, &extent))
            return bad_tensor(h, tensor->name, "shape holds something else than counts");
        if (extent && tensor->count > UINT64_MAX / extent)
            return bad_tensor(h, tensor->name, "shape overflows");
        tensor->count *= extent;
        tensor->shape[tensor->rank++] = extent;
    }
    return true;
}

static bool parse_tensor(const struct header *h, const struct cJSON *item, struct vks_st_tensor *tensor)
{
    const struct cJSON *dtype = vks_json_get(item, "dtype"), *offsets = vks_json_get(item, "data_offsets");
    uint64_t begin, end;
    size_t type = 0;
    if (!cJSON_IsObject(item))
        return bad_tensor(h, tensor->name, "header entry is not an object");
    if (!cJSON_IsString(dtype))
        return bad_tensor(h, tensor->name, "no dtype");
    while (type < DTYPES && strcmp(dtypes[type].name, dtype->valuestring) != 0)
        type++;
    if (type == DTYPES) {
        char quoted[40], why[80];
        snprintf(why, sizeof(why), "unknown dtype \"%s\"",
                 vks_text_quote(dtype->valuestring, strlen(dtype->valuestring), quoted, sizeof(quoted)));
        return bad_tensor(h, tensor->name, why);
    }
    tensor->dtype = (enum vks_st_dtype)type;
    if (!parse_shape(h, vks_json_get(item, "shape"), tensor))
        return false;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !take_integer(offsets->child, &begin) ||
        !take_integer(offsets->child->next, &end))
        return bad_tensor(h, tensor->name, "data_offsets are not two counts");
    if (begin > end || end > h->size)
        return bad_tensor(h, tensor->name, "data lies outside of the file");
    if (tensor->count > UINT64_MAX / dtypes[type].size || tensor->count * dtypes[type].size != end - begin)
        return bad_tensor(h, tensor->name, "shape and data size differ");
    tensor->size = (size_t)(end - begin);
    tensor->data = h->data + begin;
    return true;
}

static int by_data(const void *a, const void *b)
{
    const struct vks_st_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->size != y->size ? (x->size < y->size ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vks_st_tensor *)a)->name, ((const struct vks_st_tensor *)b)->name);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct vks_st_pair *)a)->key, ((const struct vks_st_pair *)b)->key);
}

// The format wants tensors side by side from the first byte to the last; leaves them sorted by name.
static bool check_layout(const struct header *h, struct vks_st_tensor *tensors, size_t count)
{
    const unsigned char *at = h->data;
    if (count)
        qsort(tensors, count, sizeof(*tensors), by_data);
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].data != at)
            return bad_tensor(h, tensors[i].name, tensors[i].data < at ? "overlaps another" : "a gap lies before it");
        at += tensors[i].size;
    }
    if (at != h->data + h->size)
        return vks_fail(h->log, "%s: %llu bytes belong to no tensor; the file is damaged, fetch it again", h->path,
                        (unsigned long long)(h->data + h->size - at));
    if (count)
        qsort(tensors, count, sizeof(*tensors), by_name);
    for (size_t i = 1; i < count; i++) {
        if (!strcmp(tensors[i - 1].name, tensors[i].name))
            return bad_tensor(h, tensors[i].name, "appears twice");
    }
    return true;
}

static bool parse_metadata(const struct header *h, struct vks_safetensors *file, const struct cJSON *metadata)
{
    if (!cJSON_IsObject(metadata))
        return vks_fail(h->log, "%s: __metadata__ is not an object; the file is damaged, fetch it again", h->path);
    const size_t count = (size_t)cJSON_GetArraySize(metadata);
    struct vks_st_pair *pairs = vks_arena_alloc(&file->arena, (count + 1) * sizeof(*pairs));
    if (!pairs)
        return vks_fail(h->log, "%s: " VKS_NO_MEMORY, h->path);
    size_t done = 0;
    for (const struct cJSON *item = metadata->child; item; item = item->next) {
        if (!cJSON_IsString(item))
            return vks_fail(h->log, "%s: __metadata__ holds something else than strings; the file is damaged, "
                            "fetch it again", h->path);
        pairs[done].key = vks_arena_strdup(&file->arena, item->string);
        pairs[done].value = vks_arena_strdup(&file->arena, item->valuestring);
        if (!pairs[done].key || !pairs[done].value)
            return vks_fail(h->log, "%s: " VKS_NO_MEMORY, h->path);
        done++;
    }
    if (done)
        qsort(pairs, done, sizeof(*pairs), by_key);
    for (size_t i = 1; i < done; i++) {
        if (!strcmp(pairs[i - 1].key, pairs[i].key))
            return vks_fail(h->log, "%s: __metadata__ has a key twice; the file is damaged, fetch it again", h->path);
    }
    if (!file->metadata) {  // of a set, the first file's
        file->metadata = pairs;
        file->metadata_count = done;
    }
    return true;
}

// Makes a list of the header's tensors, in the arena.
static bool parse_header(const struct header *h, struct vks_safetensors *file, const struct cJSON *root,
                         struct vks_st_tensor **tensors, size_t *count)
{
    if (!cJSON_IsObject(root))
        return vks_fail(h->log, "%s: the header is not an object; the file is damaged, fetch it again", h->path);
    const size_t capacity = (size_t)cJSON_GetArraySize(root);
    *tensors = vks_arena_alloc(&file->arena, (capacity + 1) * sizeof(**tensors));
    *count = 0;
    if (!*tensors)
        return vks_fail(h->log, "%s: " VKS_NO_MEMORY, h->path);
    bool metadata = false;
    for (const struct cJSON *item = root->child; item; item = item->next) {
        if (!strcmp(item->string, "__metadata__")) {
            if (metadata)
                return vks_fail(h->log, "%s: __metadata__ appears twice; the file is damaged, fetch it again",
                                h->path);
            metadata = true;
            if (!parse_metadata(h, file, item))
                return false;
            continue;
        }
        struct vks_st_tensor *tensor = &(*tensors)[(*count)++];
        tensor->name = vks_arena_strdup(&file->arena, item->string);
        if (!tensor->name)
            return vks_fail(h->log, "%s: " VKS_NO_MEMORY, h->path);
        if (!parse_tensor(h, item, tensor))
            return false;
    }
    return check_layout(h, *tensors, *count);
}

// Maps one file into file->maps[file->map_count] and lists its tensors, sorted by name.
static bool load_file(const struct vks_log *log, struct vks_safetensors *file, const char *path,
                      struct vks_st_tensor **tensors, size_t *count)
{
    struct vks_os_map *map = &file->maps[file->map_count];
    if (!vks_os_map_open(log, path, map))
        return false;
    file->map_count++;
    if (map->size < 8)
        return vks_fail(log, "%s: is too short for a safetensors file; fetch it again", path);
    const uint64_t length = vks_le(map->data, 8);
    if (length > map->size - 8)
        return vks_fail(log, "%s: the header is longer than the file; it is cut short or no safetensors file, fetch "
                        "it again", path);
    if (length > VKS_JSON_MAX_SIZE)
        return vks_fail(log, "%s: a header of %llu bytes is more than the limit of %d MiB; fetch the file again",
                        path, (unsigned long long)length, (int)(VKS_JSON_MAX_SIZE >> 20));
    const struct header h = {log, path, map->data + 8 + length, map->size - 8 - (size_t)length};
    struct vks_json *json = vks_json_parse(log, path, (const char *)map->data + 8, (size_t)length);
    const bool done = json && parse_header(&h, file, json->root, tensors, count);
    vks_json_close(&json);
    return done;
}

// ---- a set of files

static bool load_set(const struct vks_log *log, struct vks_safetensors *file, const char *path,
                     const struct vks_shards *set)
{
    file->tensor_count = set->count;
    file->tensors = vks_arena_alloc(&file->arena, set->count * sizeof(*file->tensors));
    file->maps = calloc(set->shard_count, sizeof(*file->maps));
    bool done = (file->tensors && file->maps) || vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    for (size_t i = 0; done && i < set->shard_count; i++) {
        struct vks_st_tensor *tensors;
        size_t found;
        done = load_file(log, file, set->paths[i], &tensors, &found) &&
               vks_shards_take(log, set, i, tensors, found, file->tensors);
    }
    return done;
}

// ---- opening and looking up

struct vks_safetensors *vks_safetensors_open(const struct vks_log *log, const char *path)
{
    struct vks_safetensors *file = calloc(1, sizeof(*file));
    if (!file)
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, path);
    bool done = false;
    file->path = vks_arena_strdup(&file->arena, path);
    if (!file->path) {
        vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    } else if (vks_ends_with(path, ".json")) {
        struct vks_shards set = {0};
        done = vks_shards_open(log, path, &set) && load_set(log, file, path, &set);
        vks_shards_finish(&set);
    } else {
        file->maps = calloc(1, sizeof(*file->maps));
        done = file->maps ? load_file(log, file, path, &file->tensors, &file->tensor_count)
                          : vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    }
    if (!done)
        vks_safetensors_close(&file);
    return file;
}

struct vks_safetensors *vks_safetensors_open_in(const struct vks_log *log, const char *folder, const char *name)
{
    struct vks_text text = {0};
    vks_text_printf(&text, "%s.safetensors", name);
    char *single = text.failed ? NULL : vks_path_join(folder, text.data);
    vks_text_add_str(&text, ".index.json");
    char *index = text.failed ? NULL : vks_path_join(folder, text.data);
    vks_text_finish(&text);
    struct vks_safetensors *file = NULL;
    if (!single || !index)
        vks_fail(log, "%s: " VKS_NO_MEMORY, folder);
    else
        file = vks_safetensors_open(log, !vks_os_exists(single) && vks_os_exists(index) ? index : single);
    free(single);
    free(index);
    return file;
}

void vks_safetensors_close(struct vks_safetensors **file)
{
    if (*file) {
        for (size_t i = 0; i < (*file)->map_count; i++)
            vks_os_map_close(&(*file)->maps[i]);
        free((*file)->maps);
        vks_arena_finish(&(*file)->arena);
        free(*file);
    }
    *file = NULL;
}

const struct vks_st_tensor *vks_safetensors_find(const struct vks_safetensors *file, const char *name)
{
    const struct vks_st_tensor key = {.name = name};
    return file->tensor_count ? bsearch(&key, file->tensors, file->tensor_count, sizeof(key), by_name) : NULL;
}

const char *vks_safetensors_metadata(const struct vks_safetensors *file, const char *key)
{
    const struct vks_st_pair wanted = {.key = key};
    const struct vks_st_pair *found =
        file->metadata_count ? bsearch(&wanted, file->metadata, file->metadata_count, sizeof(wanted), by_key) : NULL;
    return found ? found->value : NULL;
}

const struct vks_st_tensor *vks_safetensors_need(const struct vks_log *log, const struct vks_safetensors *file,
                                                 const char *name, int dtype, int rank, const uint64_t *shape)
{
    const struct vks_st_tensor *tensor = vks_safetensors_find(file, name);
    if (!tensor)
        return vks_fail_null(log, "%s: tensor %s is missing; the file does not belong to this configuration",
                             file->path, name);
    if (dtype < 0 ? !vks_st_is_float(tensor->dtype) : (int)tensor->dtype != dtype)
        return vks_fail_null(log, "%s: tensor %s has type %s, not %s; convert the file", file->path, name,
                             vks_st_dtype_name(tensor->dtype),
                             dtype < 0 ? "F32, F16 or BF16" : vks_st_dtype_name((enum vks_st_dtype)dtype));
    if (shape && (tensor->rank != rank || memcmp(tensor->shape, shape, (size_t)rank * sizeof(*shape)) != 0))
        return vks_fail_null(log, "%s: tensor %s has shape %s, not %s; the file does not belong to this "
                             "configuration", file->path, name, VKS_SHAPE(tensor->rank, tensor->shape),
                             VKS_SHAPE(rank, shape));
    return tensor;
}

bool vks_st_to_f32(const struct vks_log *log, const struct vks_safetensors *file, const struct vks_st_tensor *tensor,
                   float *out)
{
    if (!vks_st_is_float(tensor->dtype))
        return vks_fail(log, "%s: tensor %s has type %s, not F32, F16 or BF16; convert the file", file->path,
                        tensor->name, vks_st_dtype_name(tensor->dtype));
    if (tensor->dtype == VKS_ST_F16)
        vks_f32_from_f16_array(out, tensor->data, (size_t)tensor->count);
    else if (tensor->dtype == VKS_ST_BF16)
        vks_f32_from_bf16_array(out, tensor->data, (size_t)tensor->count);
    else if (tensor->size)
        memcpy(out, tensor->data, tensor->size);
    return true;
}
