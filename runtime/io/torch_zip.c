#include "io/torch_zip.h"

#include "base/os.h"
#include "base/text.h"
#include "io/torch_pickle.h"
#include "io/zip.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// More than any file of weights has; they bound what shared dictionaries can be unfolded to.
#define MAX_NAME 511                   // bytes
#define MAX_DEPTH 16
#define MAX_VISITS ((size_t)1 << 19)   // values looked at

struct loader {
    const struct vks_log *log;
    struct vks_torch_zip *file;
    struct vks_arena work;         // the pickle's
    struct vks_zip zip;
    char folder[256];              // of the entries: "archive/"
    char name[MAX_NAME + 1];       // of where the walk is
    size_t visits, capacity, copied;
};

static bool no_memory(const struct loader *l)
{
    return vks_fail(l->log, "%s: " VKS_NO_MEMORY, l->file->path);
}

static bool bad(const struct loader *l, const char *why)
{
    return vks_fail(l->log, "%s: %s; the file is damaged or no file of weights, fetch it again", l->file->path, why);
}

static bool bad_tensor(const struct loader *l, const char *why)
{
    char quoted[200];
    return vks_fail(l->log, "%s: tensor \"%s\": %s; the file is damaged, fetch it again", l->file->path,
                    vks_text_quote(l->name, strlen(l->name), quoted, sizeof(quoted)), why);
}

// ---- tensors

// The bytes of a storage.
static const struct vks_zip_entry *storage_bytes(const struct loader *l, const struct vks_pickle_storage *storage)
{
    char name[512];
    const int length = snprintf(name, sizeof(name), "%sdata/%s", l->folder, storage->key);
    const struct vks_zip_entry *entry = length < (int)sizeof(name) ? vks_zip_find(&l->zip, name) : NULL;
    if (entry && storage->count <= entry->size / vks_st_dtype_size(storage->dtype))
        return entry;
    bad_tensor(l, entry ? "its data are shorter than they should be" : "its data are not in the file");
    return NULL;
}

// Shape and count of elements; whether all of them lie in the storage.
static bool check_extents(const struct loader *l, const struct vks_pickle_tensor *from, struct vks_st_tensor *tensor)
{
    const uint64_t have = from->storage->count;
    uint64_t last = (uint64_t)from->offset;
    if (from->offset < 0)
        return bad_tensor(l, "begins before its data");
    tensor->count = 1;
    for (int i = 0; i < from->rank; i++) {
        if (from->shape[i] < 0 || from->stride[i] < 0)
            return bad_tensor(l, "has a negative extent or stride");
        tensor->shape[i] = (uint64_t)from->shape[i];
        if (tensor->shape[i] && tensor->count > UINT64_MAX / tensor->shape[i])
            return bad_tensor(l, "shape overflows");
        tensor->count *= tensor->shape[i];
    }
    for (int i = 0; i < from->rank && tensor->count && last < have; i++) {
        const uint64_t steps = tensor->shape[i] - 1, stride = (uint64_t)from->stride[i];
        last = steps && stride > have / steps ? have : last + steps * stride;
    }
    return (tensor->count ? last < have : last <= have) || bad_tensor(l, "goes beyond its data");
}

static bool is_contiguous(const struct vks_pickle_tensor *from)
{
    uint64_t stride = 1;
    for (int i = from->rank; i--;) {
        if (from->shape[i] != 1 && (uint64_t)from->stride[i] != stride)
            return false;
        stride *= (uint64_t)from->shape[i];
    }
    return true;
}

// Whether no two elements share bytes, as in every view that transposes or cuts: then they are no more than the
// storage has. `order` gets the axes, the fastest first.
static bool is_spread(const struct vks_pickle_tensor *from, int order[VKS_ST_MAX_RANK])
{
    for (int i = 0; i < from->rank; i++) {
        int at = i;
        for (; at && from->stride[order[at - 1]] > from->stride[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    int64_t reach = 1;  // elements that the axes so far span; no more than the storage has
    for (int i = 0; i < from->rank; i++) {
        if (from->shape[order[i]] == 1)
            continue;
        if (from->stride[order[i]] < reach)
            return false;
        reach += (from->shape[order[i]] - 1) * from->stride[order[i]];
    }
    return true;
}

// A contiguous copy of a tensor that was transposed or cut when it was saved.
static bool copy_elements(struct loader *l, const struct vks_pickle_tensor *from, const unsigned char *data,
                          struct vks_st_tensor *tensor)
{
    const size_t size = vks_st_dtype_size(tensor->dtype);
    int order[VKS_ST_MAX_RANK];
    if (!is_spread(from, order))
        return vks_fail(l->log, "%s: tensor \"%s\" uses elements of its data more than once: save it with "
                        ".contiguous(), or convert the file to safetensors", l->file->path, l->name);
    l->copied += tensor->size;
    if (l->copied > l->file->map->size)
        return bad(l, "has more tensors of the same data than the file is long");
    unsigned char *copy = vks_arena_alloc(&l->file->arena, tensor->size), *out = copy;
    if (!copy)
        return no_memory(l);
    int64_t index[VKS_ST_MAX_RANK] = {0}, at = 0;
    for (uint64_t i = 0; i < tensor->count; i++, out += size) {
        memcpy(out, data + (size_t)at * size, size);
        for (int axis = from->rank; axis--;) {
            if (from->shape[axis] == 1)
                continue;
            at += from->stride[axis];
            if (++index[axis] < from->shape[axis])
                break;
            at -= from->stride[axis] * from->shape[axis];
            index[axis] = 0;
        }
    }
    tensor->data = copy;
    return true;
}

static bool add_tensor(struct loader *l, const struct vks_pickle_tensor *from)
{
    struct vks_torch_zip *file = l->file;
    const struct vks_zip_entry *bytes = storage_bytes(l, from->storage);
    struct vks_st_tensor tensor = {.dtype = from->storage->dtype, .rank = from->rank};
    if (!bytes || !check_extents(l, from, &tensor))
        return false;
    const size_t size = vks_st_dtype_size(tensor.dtype);
    tensor.size = (size_t)tensor.count * size;
    tensor.data = bytes->data + (size_t)from->offset * size;
    if (tensor.count && !is_contiguous(from) && !copy_elements(l, from, tensor.data, &tensor))
        return false;
    tensor.name = vks_arena_strdup(&file->arena, l->name);
    if (!tensor.name)
        return no_memory(l);
    if (file->tensor_count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        struct vks_st_tensor *more = vks_arena_alloc(&file->arena, l->capacity * sizeof(*more));
        if (!more)
            return no_memory(l);
        if (file->tensor_count)
            memcpy(more, file->tensors, file->tensor_count * sizeof(*more));
        file->tensors = more;
    }
    file->tensors[file->tensor_count++] = tensor;
    return true;
}

// ---- dictionaries

static bool walk(struct loader *l, const struct vks_pickle_value *value, size_t length, int depth);

// A value by its name in what is around it, whose own name has `length` bytes.
static bool enter(struct loader *l, const struct vks_pickle_value *value, const char *name, size_t length, int depth)
{
    const size_t left = sizeof(l->name) - length;
    const int added = snprintf(l->name + length, left, "%s%s", length ? "." : "", name);
    const bool fits = added >= 0 && (size_t)added < left;
    return fits ? walk(l, value, length + (size_t)added, depth) : bad(l, "a name is longer than 511 bytes");
}

static bool holds(const struct vks_pickle_value *value)
{
    return value->kind == VKS_PICKLE_TENSOR || value->kind == VKS_PICKLE_DICT || value->kind == VKS_PICKLE_LIST ||
           value->kind == VKS_PICKLE_TUPLE;
}

static bool walk(struct loader *l, const struct vks_pickle_value *value, size_t length, int depth)
{
    if (value->kind == VKS_PICKLE_TENSOR)
        return add_tensor(l, value->tensor);
    if (!holds(value))
        return true;
    if (!depth)
        return bad(l, "has dictionaries nested more than 16 deep");
    const bool dict = value->kind == VKS_PICKLE_DICT;
    const struct vks_pickle_items *items = value->items;
    for (size_t i = 0; i < items->count; i += dict ? 2 : 1) {
        const struct vks_pickle_value *key = &items->values[i], *item = &items->values[dict ? i + 1 : i];
        char number[24];
        const char *name = number;
        if (++l->visits > MAX_VISITS)
            return bad(l, "has more values than any file of weights");
        if (!holds(item))
            continue;
        if (dict && key->kind == VKS_PICKLE_TEXT)
            name = key->text;
        else if (!dict || key->kind == VKS_PICKLE_INT)
            snprintf(number, sizeof(number), "%lld", dict ? (long long)key->number : (long long)i);
        else
            return bad(l, "a dictionary has a key that is neither a text nor a number");
        if (!enter(l, item, name, length, depth - 1))
            return false;
    }
    return true;
}

// The dictionary that a training program has put around the one of the weights is left: *root becomes what is inside.
static bool unwrap(struct loader *l, struct vks_pickle_value *root)
{
    static const char *const names[] = {"state_dict", "model_state_dict", "model", "module", "params_ema", "params"};
    const struct vks_pickle_items *items = root->items;
    for (size_t i = 1; i < items->count; i += 2)
        if (items->values[i].kind == VKS_PICKLE_TENSOR)
            return false;
    for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++)
        for (size_t i = 0; i + 1 < items->count; i += 2)
            if (items->values[i].kind == VKS_PICKLE_TEXT && !strcmp(items->values[i].text, names[n]) &&
                items->values[i + 1].kind == VKS_PICKLE_DICT) {
                *root = items->values[i + 1];
                l->file->prefix = vks_arena_printf(&l->file->arena, "%s%s.", l->file->prefix, names[n]);
                return l->file->prefix != NULL;
            }
    return false;
}

// Takes a text off every name, if all begin with it.
static bool strip(struct loader *l, const char *text)
{
    struct vks_torch_zip *file = l->file;
    const size_t length = strlen(text);
    for (size_t i = 0; i < file->tensor_count; i++)
        if (strncmp(file->tensors[i].name, text, length) || !file->tensors[i].name[length])
            return true;
    for (size_t i = 0; i < file->tensor_count; i++)
        file->tensors[i].name += length;
    file->prefix = vks_arena_printf(&file->arena, "%s%s", file->prefix, file->tensor_count ? text : "");
    return file->prefix || no_memory(l);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vks_st_tensor *)a)->name, ((const struct vks_st_tensor *)b)->name);
}

static bool list_tensors(struct loader *l, struct vks_pickle_value *root)
{
    struct vks_torch_zip *file = l->file;
    if (root->kind != VKS_PICKLE_DICT)
        return bad(l, "holds no dictionary of tensors");
    for (int i = 0; i < 4 && unwrap(l, root); i++)
        ;
    if (!file->prefix)
        return no_memory(l);
    if (!walk(l, root, 0, MAX_DEPTH) || !strip(l, "module.") || !strip(l, "_orig_mod."))
        return false;
    if (!file->tensor_count)
        return bad(l, "holds no tensor");
    if (*file->prefix)
        vks_debug(l->log, "%s: names are read without \"%s\" before them", file->path, file->prefix);
    qsort(file->tensors, file->tensor_count, sizeof(*file->tensors), by_name);
    for (size_t i = 1; i < file->tensor_count; i++)
        if (!strcmp(file->tensors[i - 1].name, file->tensors[i].name)) {
            snprintf(l->name, sizeof(l->name), "%s", file->tensors[i].name);
            return bad_tensor(l, "appears twice");
        }
    return true;
}

// ---- the archive

// The pickle, NAME/data.pkl; its folder becomes l->folder.
static const struct vks_zip_entry *find_pickle(struct loader *l)
{
    static const char file[] = "/data.pkl";
    const struct vks_zip_entry *found = NULL;
    for (size_t i = 0; i < l->zip.count; i++) {
        const char *name = l->zip.entries[i].name, *slash = strchr(name, '/');
        if (!slash || strcmp(slash, file) || (size_t)(slash - name) + 2 > sizeof(l->folder))
            continue;
        if (found)
            return vks_fail_null(l->log, "%s: has more than one data.pkl; the file is damaged, fetch it again",
                                 l->file->path);
        found = &l->zip.entries[i];
        snprintf(l->folder, sizeof(l->folder), "%.*s", (int)(slash - name) + 1, name);
    }
    return found ? found : vks_fail_null(l->log, "%s: is a zip archive without data.pkl, so no file of torch.save: "
                                         "give a file of weights", l->file->path);
}

static bool check_order(const struct loader *l)
{
    char name[300];
    snprintf(name, sizeof(name), "%sbyteorder", l->folder);
    const struct vks_zip_entry *order = vks_zip_find(&l->zip, name);
    return !order || (order->size == 6 && !memcmp(order->data, "little", 6)) ||
           vks_fail(l->log, "%s: its numbers are not little endian: convert it to safetensors", l->file->path);
}

static bool load(struct loader *l)
{
    struct vks_torch_zip *file = l->file;
    if (!vks_os_map_open(l->log, file->path, file->map))
        return false;
    if (file->map->size < 4 || memcmp(file->map->data, "PK\3\4", 4))
        return vks_fail(l->log, "%s: is no file of torch.save, or of one before PyTorch 1.6: load and save it with a "
                        "newer one, or convert it to safetensors", file->path);
    const struct vks_zip_entry *pickle = NULL;
    struct vks_pickle_value root;
    return vks_zip_read(l->log, file->path, file->map->data, file->map->size, &l->work, &l->zip) &&
           (pickle = find_pickle(l)) && check_order(l) &&
           vks_torch_unpickle(l->log, file->path, pickle->data, pickle->size, &l->work, &root) &&
           list_tensors(l, &root);
}

struct vks_torch_zip *vks_torch_zip_open(const struct vks_log *log, const char *path)
{
    struct vks_torch_zip *file = calloc(1, sizeof(*file));
    struct loader *l = calloc(1, sizeof(*l));
    bool done = false;
    if (file && l) {
        file->path = vks_arena_strdup(&file->arena, path);
        file->map = vks_arena_alloc(&file->arena, sizeof(*file->map));
        file->prefix = "";
        l->log = log;
        l->file = file;
    }
    if (!file || !l || !file->path || !file->map)
        vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    else
        done = load(l);
    if (l)
        vks_arena_finish(&l->work);
    free(l);
    if (!done)
        vks_torch_zip_close(&file);
    return file;
}

void vks_torch_zip_close(struct vks_torch_zip **file)
{
    if (*file) {
        if ((*file)->map)
            vks_os_map_close((*file)->map);
        vks_arena_finish(&(*file)->arena);
        free(*file);
    }
    *file = NULL;
}

bool vks_torch_zip_is(const char *path)
{
    static const char *const ends[] = {".bin", ".pt", ".pth", ".ckpt"};
    struct vks_os_map map;
    if (!vks_os_is_file(path))
        return false;
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        if (vks_ends_with(path, ends[i]))
            return true;
    if (!vks_os_map_open(NULL, path, &map))
        return false;
    const bool is = map.size >= 4 && memcmp(map.data, "PK\3\4", 4) == 0;
    vks_os_map_close(&map);
    return is;
}
