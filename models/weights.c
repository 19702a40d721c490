#include "models/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/os.h"
#include "base/text.h"

// Small parameters share storages of at most this size; a larger one gets a storage of its own.
#define BLOCK_SIZE ((uint64_t)64 << 20)

struct entry {
    enum vks_weight_layout layout;
    struct vks_storage *storage;  // NULL: not uploaded
    uint64_t offset, size;        // bytes
    enum vks_dtype dtype;
};

struct constant {
    const char *key;
    struct entry at;
};

struct vks_weights {
    const struct vks_log *log;
    struct vks_gpu *gpu;
    struct vks_safetensors *file;
    struct entry *entries;        // of file->tensors, by position
    struct vks_arena arena;       // keys of constants
    struct constant *constants;
    size_t constant_count, constant_capacity;
    struct vks_storage **blocks;
    size_t block_count, block_capacity;
    uint64_t block_used;          // bytes of the last block
    uint64_t left;                // bytes of the file that were not uploaded yet
};

static bool is_float(enum vks_st_dtype dtype)
{
    return dtype == VKS_ST_F32 || dtype == VKS_ST_F16 || dtype == VKS_ST_BF16;
}

// Opens FOLDER/NAME or FOLDER/NAME.fp16, whichever is there.
static struct vks_safetensors *open_file(const struct vks_log *log, const char *folder, const char *name)
{
    static const char *const ends[] = {".safetensors", ".safetensors.index.json", ".fp16.safetensors",
                                       ".safetensors.index.fp16.json"};
    struct vks_text path = {0};
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        path.length = 0;
        if (!vks_text_printf(&path, "%s/%s%s", folder, name, ends[i]))
            break;
        if (vks_os_is_file(path.data)) {
            struct vks_safetensors *file = vks_safetensors_open(log, path.data);
            vks_text_finish(&path);
            return file;
        }
    }
    vks_text_finish(&path);
    return vks_fail_null(log, "%s holds no %s.safetensors: download the model's safetensors files (.bin and .ckpt "
                         "files are not read)", folder, name);
}

struct vks_weights *vks_weights_open(const struct vks_log *log, struct vks_gpu *gpu, const char *folder,
                                     const char *name)
{
    struct vks_weights *weights = calloc(1, sizeof(*weights));
    if (!weights)
        return vks_fail_null(log, VKS_NO_MEMORY);
    weights->log = log;
    weights->gpu = gpu;
    weights->file = open_file(log, folder, name);
    if (!weights->file) {
        vks_weights_close(&weights);
        return NULL;
    }
    weights->entries = calloc(weights->file->tensor_count + 1, sizeof(*weights->entries));
    if (!weights->entries) {
        vks_weights_close(&weights);
        return vks_fail_null(log, VKS_NO_MEMORY);
    }
    for (size_t i = 0; i < weights->file->tensor_count; i++)
        weights->left += weights->file->tensors[i].size;
    return weights;
}

void vks_weights_attach(struct vks_weights *weights, struct vks_gpu *gpu)
{
    weights->gpu = gpu;
    weights->constant_count = 0;  // none of them was uploaded
}

void vks_weights_close(struct vks_weights **at)
{
    struct vks_weights *weights = *at;
    if (!weights)
        return;
    for (size_t i = 0; i < weights->block_count; i++)
        vks_storage_destroy(&weights->blocks[i]);
    free(weights->blocks);
    free(weights->constants);
    free(weights->entries);
    vks_arena_finish(&weights->arena);
    vks_safetensors_close(&weights->file);
    free(weights);
    *at = NULL;
}

const struct vks_safetensors *vks_weights_file(const struct vks_weights *weights)
{
    return weights->file;
}

uint64_t vks_weights_parameters(const struct vks_weights *weights)
{
    uint64_t count = 0;
    for (size_t i = 0; i < weights->file->tensor_count; i++)
        count += is_float(weights->file->tensors[i].dtype) ? weights->file->tensors[i].count : 0;
    return count;
}

bool vks_weights_has(const struct vks_weights *weights, const char *name)
{
    return vks_safetensors_find(weights->file, name) != NULL;
}

bool vks_weights_place(const struct vks_weights *weights, const char *name, struct vks_weight_place *place)
{
    const struct vks_st_tensor *tensor = vks_safetensors_find(weights->file, name);
    const struct entry *entry = tensor ? &weights->entries[tensor - weights->file->tensors] : NULL;
    if (!entry || !entry->storage)
        return false;
    *place = (struct vks_weight_place){
        .storage = entry->storage, .offset = entry->offset, .size = entry->size, .dtype = entry->dtype};
    return true;
}

// Finds room for entry->size bytes.
static bool place_entry(struct vks_weights *weights, struct entry *entry)
{
    const struct vks_gpu_limits *limits = vks_gpu_limits(weights->gpu);
    const uint64_t align = limits->offset_align > 16 ? limits->offset_align : 16;
    const uint64_t at = (weights->block_used + align - 1) / align * align;
    struct vks_storage *last = weights->block_count ? weights->blocks[weights->block_count - 1] : NULL;
    if (last && at <= vks_storage_size(last) && entry->size <= vks_storage_size(last) - at) {
        entry->storage = last;
        entry->offset = at;
        weights->block_used = at + entry->size;
        return true;
    }
    if (!vks_grow(&weights->blocks, &weights->block_capacity, weights->block_count, sizeof(*weights->blocks)))
        return vks_fail(weights->log, VKS_NO_MEMORY);
    // A sixteenth more than is left: vectors grow when fp16 becomes fp32, and starts are aligned.
    uint64_t size = weights->left + weights->left / 16 + 4096;
    size = size < BLOCK_SIZE ? size : BLOCK_SIZE;
    size = size < limits->max_alloc ? size : limits->max_alloc;
    size = size > entry->size ? size : entry->size;
    struct vks_storage *block = vks_storage_create(weights->gpu, size);
    if (!block)
        return false;
    // A parameter that fills a block by itself leaves the one before it open for others.
    const bool whole = size == entry->size && last;
    weights->blocks[weights->block_count] = block;
    if (whole) {
        weights->blocks[weights->block_count] = last;
        weights->blocks[weights->block_count - 1] = block;
    } else {
        weights->block_used = entry->size;
    }
    weights->block_count++;
    entry->storage = block;
    entry->offset = 0;
    return true;
}

// (O, I, KH, KW) -> (O, KH, KW, I), elements of `size` bytes, the same bits.
static void channels_last(unsigned char *out, const unsigned char *in, const uint64_t shape[4], size_t size)
{
    const uint64_t plane = shape[2] * shape[3], channels = shape[1];
    for (uint64_t o = 0; o < shape[0]; o++)
        for (uint64_t p = 0; p < plane; p++)
            for (uint64_t i = 0; i < channels; i++) {
                memcpy(out, in + ((o * channels + i) * plane + p) * size, size);
                out += size;
            }
}

static bool upload(struct vks_weights *weights, const struct vks_st_tensor *tensor, struct entry *entry)
{
    const bool widen = entry->layout == VKS_WEIGHT_VECTOR && tensor->dtype != VKS_ST_F32;
    const bool turn = entry->layout == VKS_WEIGHT_CONV && tensor->rank == 4 &&
                      tensor->shape[2] * tensor->shape[3] > 1;
    const void *data = tensor->data;
    unsigned char *copy = NULL;
    entry->dtype = widen ? VKS_F32 : (enum vks_dtype)tensor->dtype;
    entry->size = tensor->count * vks_dtype_size(entry->dtype);
    if (widen || turn) {
        copy = malloc(entry->size);
        if (!copy)
            return vks_fail(weights->log, VKS_NO_MEMORY);
        data = copy;
    }
    if (turn)
        channels_last(copy, tensor->data, tensor->shape, vks_dtype_size(entry->dtype));
    bool done = !widen || vks_st_to_f32(weights->log, weights->file, tensor, (void *)copy);
    done = done && place_entry(weights, entry) &&
           vks_storage_write(entry->storage, entry->offset, data, entry->size);
    if (!done)
        entry->storage = NULL;
    weights->left -= tensor->size < weights->left ? tensor->size : weights->left;
    free(copy);
    return done;
}

// Whether the file's shape is the one that `shape` on the device asks for; writes what was expected into `want`.
static bool shape_fits(const struct vks_st_tensor *tensor, enum vks_weight_layout layout, uint32_t rank,
                       const uint32_t shape[], uint64_t want[4], int *want_rank)
{
    *want_rank = layout == VKS_WEIGHT_CONV ? 4 : (int)rank;
    for (uint32_t i = 0; i < 4; i++)
        want[i] = i < rank ? shape[i] : 1;
    if (layout == VKS_WEIGHT_CONV && rank == 4) {
        want[1] = shape[3];
        want[2] = shape[1];
        want[3] = shape[2];
    }
    bool fits = tensor->rank == *want_rank;
    for (int i = 0; fits && i < *want_rank; i++)
        fits = tensor->shape[i] == want[i];
    return fits;
}

static const char *shape_text(struct vks_graph *graph, int rank, const uint64_t shape[])
{
    char text[VKS_ST_MAX_RANK * 24];
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < rank; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%" PRIu64, i ? ", " : "", shape[i]);
    const char *copy = vks_arena_strdup(&graph->arena, text);
    return copy ? copy : "";
}

static struct vks_tensor *state_of(struct vks_graph *graph, const struct entry *entry, const char *name,
                                   uint32_t rank, const uint32_t shape[])
{
    return vks_graph_state(graph, name, entry->dtype, rank, shape, entry->storage,
                           entry->offset / vks_dtype_size(entry->dtype));
}

struct vks_tensor *vks_weights_get(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                   enum vks_weight_layout layout, uint32_t rank, const uint32_t shape[])
{
    if (graph->failed)
        return NULL;
    const char *path = weights->file->path;
    const struct vks_st_tensor *tensor = vks_safetensors_find(weights->file, name);
    if (!tensor)
        return vks_graph_fail(graph, "%s: the tensor %s is missing: config.json describes another model; download "
                              "the folder again", path, name);
    uint64_t want[4];
    int want_rank;
    if (!shape_fits(tensor, layout, rank, shape, want, &want_rank))
        return vks_graph_fail(graph, "%s: %s has the shape (%s), config.json asks for (%s): the two are of different "
                              "models; download the folder again", path, name,
                              shape_text(graph, tensor->rank, tensor->shape), shape_text(graph, want_rank, want));
    if (!is_float(tensor->dtype))
        return vks_graph_fail(graph, "%s: %s is of type %s: convert the weights to F32, F16 or BF16", path, name,
                              vks_st_dtype_name(tensor->dtype));
    struct entry *entry = &weights->entries[tensor - weights->file->tensors];
    if (entry->storage && entry->layout != layout)
        return vks_graph_fail(graph, "%s: %s is used in two layouts: report this", path, name);
    entry->layout = layout;
    if (weights->gpu && !entry->storage && !upload(weights, tensor, entry)) {
        graph->failed = true;  // said why
        return NULL;
    }
    if (!weights->gpu)
        entry->dtype = layout == VKS_WEIGHT_VECTOR ? VKS_F32 : (enum vks_dtype)tensor->dtype;
    return state_of(graph, entry, name, rank, shape);
}

struct vks_tensor *vks_weights_constant(struct vks_weights *weights, struct vks_graph *graph, const char *key,
                                        enum vks_dtype dtype, uint32_t rank, const uint32_t shape[], const void *data)
{
    if (graph->failed)
        return NULL;
    for (size_t i = 0; i < weights->constant_count; i++)
        if (!strcmp(weights->constants[i].key, key))
            return state_of(graph, &weights->constants[i].at, key, rank, shape);
    struct constant constant = {.key = vks_arena_strdup(&weights->arena, key), .at = {.dtype = dtype}};
    constant.at.size = vks_dtype_size(dtype);
    for (uint32_t i = 0; i < rank; i++)
        constant.at.size *= shape[i];
    if (!constant.key ||
        !vks_grow(&weights->constants, &weights->constant_capacity, weights->constant_count, sizeof(constant)))
        return vks_graph_fail(graph, VKS_NO_MEMORY);
    if (weights->gpu && !(place_entry(weights, &constant.at) &&
                          vks_storage_write(constant.at.storage, constant.at.offset, data, constant.at.size))) {
        graph->failed = true;  // said why
        return NULL;
    }
    weights->constants[weights->constant_count++] = constant;
    return state_of(graph, &constant.at, key, rank, shape);
}
