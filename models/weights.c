#include "models/weights_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/quant.h"
#include "base/text.h"
#include "models/checkpoint.h"

// Finds the weights of a folder, in one file or a set: safetensors before what torch.save wrote, and of each the
// variant that was asked for, or else the plain ones before those of fp16.
static bool find_file(const char *folder, const char *name, const char *variant, struct vks_text *path)
{
    static const char *const forms[2][5] = {
        {"%s/%s%s.safetensors", "%s/%s.safetensors.index%s.json", NULL},
        {"%s/%s%s.bin", "%s/pytorch_%s%s.bin", "%s/%s.bin.index%s.json", "%s/pytorch_%s.bin.index%s.json", NULL},
    };
    char dotted[2][40] = {"", ".fp16"};
    if (variant) {
        snprintf(dotted[0], sizeof(dotted[0]), ".%s", variant);
        dotted[1][0] = 0;
    }
    for (int format = 0; format < 2; format++)
        for (int v = 0; v < 2; v++)
            for (int i = 0; forms[format][i]; i++) {
                path->length = 0;
                if (vks_text_printf(path, forms[format][i], folder, name, dotted[v]) && vks_os_is_file(path->data))
                    return true;
            }
    return false;
}

static bool open_file(const struct vks_log *log, const char *folder, const char *name, const char *variant,
                      struct vks_tensor_file *file)
{
    struct vks_text path = {0};
    bool done = false;
    if (find_file(folder, name, variant, &path))
        done = vks_tensor_file_open(log, path.data, file);
    else
        vks_fail(log, "%s holds no %s.safetensors (nor a .bin file of PyTorch): download the model's safetensors "
                 "files", folder, name);
    vks_text_finish(&path);
    return done;
}

static int by_name(const void *a, const void *b)
{
    const struct vks_weights_entry *left = a, *right = b;
    return strcmp(left->weight.name, right->weight.name);
}

static struct vks_weights_entry *find(const struct vks_weights *weights, const char *name)
{
    const struct vks_weights_entry key = {.weight.name = name};
    return weights->entry_count ? bsearch(&key, weights->entries, weights->entry_count, sizeof(key), by_name) : NULL;
}

// Whether a parameter is a matrix that can stay in its blocks: one that is changed is unpacked for it.
static bool packable(const struct vks_weights_entry *entry)
{
    const struct vks_weight *weight = &entry->weight;
    return !entry->changed && weight->rank == 2 && entry->form != VKS_GGUF_PLUS_ONE &&
           weight->shape[1] <= UINT32_MAX && vks_packed_can(entry->type, (uint32_t)weight->shape[1]);
}

// The type of a parameter on the device, in a layout.
static enum vks_dtype device_type(const struct vks_weights_entry *entry, enum vks_weight_layout layout)
{
    return layout == VKS_WEIGHT_PACKED                                      ? VKS_I32
           : layout == VKS_WEIGHT_VECTOR || entry->form == VKS_GGUF_PLUS_ONE ? VKS_F32
           : entry->type == VKS_QUANT_F16                                   ? VKS_F16
           : entry->type == VKS_QUANT_BF16                                  ? VKS_BF16
           : entry->changed && vks_quant(entry->type)->elements > 1         ? VKS_F16
                                                                            : VKS_F32;
}

uint64_t vks_weights_device_size(const struct vks_weights_entry *entry, enum vks_weight_layout layout)
{
    const struct vks_weight *weight = &entry->weight;
    if (layout == VKS_WEIGHT_PACKED)
        return weight->shape[0] * vks_packed_words(entry->type, (uint32_t)weight->shape[1]) * sizeof(uint32_t);
    return weight->count * vks_dtype_size(device_type(entry, layout));
}

static bool add_tensors(struct vks_weights *weights)
{
    for (size_t i = 0; i < weights->file.tensor_count; i++) {
        const struct vks_st_tensor *tensor = &weights->file.tensors[i];
        struct vks_weights_entry *entry = &weights->entries[weights->entry_count++];
        entry->weight = (struct vks_weight){.name = tensor->name,
                                            .type = vks_st_dtype_name(tensor->dtype),
                                            .rank = tensor->rank,
                                            .count = tensor->count,
                                            .size = tensor->size,
                                            .data = tensor->data};
        memcpy(entry->weight.shape, tensor->shape, sizeof(tensor->shape));
        entry->readable = vks_st_is_float(tensor->dtype);
        entry->type = tensor->dtype == VKS_ST_F16    ? VKS_QUANT_F16
                      : tensor->dtype == VKS_ST_BF16 ? VKS_QUANT_BF16
                                                     : VKS_QUANT_F32;
    }
    return true;
}

// Tensors that are no module's parameter are left out.
static bool add_gguf(struct vks_weights *weights, const char *architecture)
{
    char module[96];
    for (size_t i = 0; i < weights->gguf->tensor_count; i++) {
        const struct vks_gguf_tensor *tensor = &weights->gguf->tensors[i];
        enum vks_gguf_form form;
        if (!vks_gguf_module(architecture, tensor->name, module, sizeof(module), &form))
            continue;
        struct vks_weights_entry *entry = &weights->entries[weights->entry_count++];
        entry->weight = (struct vks_weight){
            .name = vks_arena_printf(&weights->arena, "%s%s", module, strrchr(tensor->name, '.')),
            .type = vks_quant(tensor->type)->name,
            .rank = tensor->rank,
            .count = tensor->count,
            .size = tensor->size,
            .data = tensor->data};
        memcpy(entry->weight.shape, tensor->shape, sizeof(tensor->shape));
        entry->readable = true;
        entry->type = tensor->type;
        entry->form = form;
        if (!entry->weight.name)
            return false;
    }
    return true;
}

// Fills in the entries of a file that was `opened`. Takes `weights`, which are closed when that, or this, fails.
static struct vks_weights *fill(struct vks_weights *weights, bool opened, const char *architecture)
{
    if (!opened) {
        vks_weights_close(&weights);
        return NULL;
    }
    const size_t count = weights->gguf ? weights->gguf->tensor_count : weights->file.tensor_count;
    weights->path = weights->gguf ? weights->gguf->path : weights->file.path;
    weights->entries = calloc(count + 1, sizeof(*weights->entries));
    if (!weights->entries || !(weights->gguf ? add_gguf(weights, architecture) : add_tensors(weights))) {
        vks_fail(weights->log, VKS_NO_MEMORY);
        vks_weights_close(&weights);
        return NULL;
    }
    if (weights->entry_count)
        qsort(weights->entries, weights->entry_count, sizeof(*weights->entries), by_name);
    return weights;
}

static struct vks_weights *create(const struct vks_log *log, struct vks_gpu *gpu)
{
    struct vks_weights *weights = calloc(1, sizeof(*weights));
    if (!weights)
        return vks_fail_null(log, VKS_NO_MEMORY);
    weights->log = log;
    weights->gpu = gpu;
    return weights;
}

struct vks_weights *vks_weights_open(const struct vks_log *log, struct vks_gpu *gpu, const char *folder,
                                     const char *name, const char *variant)
{
    struct vks_weights *weights = create(log, gpu);
    return fill(weights, weights && open_file(log, folder, name, variant, &weights->file), NULL);
}

struct vks_weights *vks_weights_open_file(const struct vks_log *log, struct vks_gpu *gpu, const char *path)
{
    struct vks_weights *weights = create(log, gpu);
    return fill(weights, weights && vks_tensor_file_open(log, path, &weights->file), NULL);
}

struct vks_weights *vks_weights_open_checkpoint(const struct vks_log *log, struct vks_gpu *gpu, const char *path,
                                                const char *part, uint32_t layers)
{
    struct vks_weights *weights = create(log, gpu);
    return fill(weights, weights && vks_tensor_file_open(log, path, &weights->file) &&
                             vks_checkpoint_part(log, &weights->file, part, layers, &weights->arena), NULL);
}

struct vks_weights *vks_weights_from_gguf(const struct vks_log *log, struct vks_gpu *gpu, struct vks_gguf *file,
                                          const char *architecture, uint32_t head_width)
{
    struct vks_weights *weights = create(log, gpu);
    if (!weights) {
        vks_gguf_close(&file);
        return NULL;
    }
    weights->gguf = file;
    weights->head_width = head_width;
    return fill(weights, true, architecture);
}

void vks_weights_attach(struct vks_weights *weights, struct vks_gpu *gpu)
{
    weights->gpu = gpu;
}

bool vks_weights_dry(struct vks_weights *weights, bool dry)
{
    const bool before = weights->dry;
    for (size_t i = 0; dry && !before && i < weights->entry_count; i++)
        weights->entries[i].wanted = false;
    weights->dry = dry;
    return before;
}

uint64_t vks_weights_planned_size(const struct vks_weights_entry *entry)
{
    return entry->at.size ? entry->at.size
                          : vks_weights_device_size(entry, packable(entry) ? VKS_WEIGHT_PACKED : VKS_WEIGHT_MATRIX);
}

uint64_t vks_weights_wanted(const struct vks_weights *weights, uint64_t *missing)
{
    uint64_t bytes = 0;
    *missing = 0;
    for (size_t i = 0; i < weights->entry_count; i++) {
        const struct vks_weights_entry *entry = &weights->entries[i];
        bytes += entry->wanted ? vks_weights_planned_size(entry) : 0;
        *missing += entry->wanted && !entry->at.storage ? vks_weights_planned_size(entry) : 0;
    }
    return bytes;
}

// Frees what is on the device.
static void release(struct vks_weights *weights)
{
    for (size_t i = 0; i < weights->block_count; i++)
        vks_storage_destroy(&weights->blocks[i].storage);
    weights->block_count = 0;
    for (size_t i = 0; i < weights->entry_count; i++)
        weights->entries[i].at.storage = NULL;
    for (size_t i = 0; i < weights->constant_count; i++)
        weights->constants[i].at.storage = NULL;
}

void vks_weights_hold(struct vks_weights *weights)
{
    weights->holders++;
}

void vks_weights_drop(struct vks_weights *weights)
{
    if (--weights->holders == 0)
        release(weights);
}

void vks_weights_close(struct vks_weights **at)
{
    struct vks_weights *weights = *at;
    if (!weights)
        return;
    release(weights);
    free(weights->blocks);
    free(weights->constants);
    free(weights->changes);
    free(weights->entries);
    vks_arena_finish(&weights->arena);
    vks_tensor_file_close(&weights->file);
    vks_gguf_close(&weights->gguf);
    free(weights);
    *at = NULL;
}

bool vks_weights_is_safetensors(const struct vks_weights *weights)
{
    return weights->file.safetensors != NULL;
}

const char *vks_weights_path(const struct vks_weights *weights)
{
    return weights->path;
}

const struct vks_gguf *vks_weights_gguf(const struct vks_weights *weights)
{
    return weights->gguf;
}

uint64_t vks_weights_device_bytes(const struct vks_weights *weights)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < weights->entry_count; i++) {
        const struct vks_weights_entry *entry = &weights->entries[i];
        bytes += vks_weights_device_size(entry, packable(entry) ? VKS_WEIGHT_PACKED : VKS_WEIGHT_MATRIX);
    }
    return bytes;
}

size_t vks_weights_count(const struct vks_weights *weights)
{
    return weights->entry_count;
}

const struct vks_weight *vks_weights_at(const struct vks_weights *weights, size_t index)
{
    return &weights->entries[index].weight;
}

bool vks_weights_readable(const struct vks_weights *weights, size_t index)
{
    return weights->entries[index].readable;
}

uint64_t vks_weights_parameters(const struct vks_weights *weights)
{
    uint64_t count = 0;
    for (size_t i = 0; i < weights->entry_count; i++)
        count += weights->entries[i].readable ? weights->entries[i].weight.count : 0;
    return count;
}

uint64_t vks_weights_bytes(const struct vks_weights *weights)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < weights->entry_count; i++)
        bytes += weights->entries[i].weight.size;
    return bytes;
}

const struct vks_weight *vks_weights_find(const struct vks_weights *weights, const char *name)
{
    const struct vks_weights_entry *entry = find(weights, name);
    return entry ? &entry->weight : NULL;
}

bool vks_weights_place(const struct vks_weights *weights, const char *name, struct vks_weight_place *place)
{
    const struct vks_weights_entry *entry = find(weights, name);
    if (!entry || !entry->at.storage)
        return false;
    *place = (struct vks_weight_place){.storage = entry->at.storage,
                                       .offset = entry->at.offset,
                                       .size = entry->at.size,
                                       .dtype = entry->at.dtype};
    return true;
}

bool vks_weights_change(struct vks_weights *weights, const char *name, const struct vks_weight_change *change)
{
    struct vks_weights_entry *entry = find(weights, name);
    const struct vks_weight *weight = entry ? &entry->weight : NULL;
    const uint64_t rows = entry && weight->rank >= 2 ? weight->shape[0] : 1;
    if (!entry || !entry->readable)
        return vks_fail(weights->log, "%s: %s is %s%s: convert the weights to F32, F16 or BF16", weights->path, name,
                        entry ? "of type " : "missing", entry ? weight->type : "");
    const uint64_t ups = change->up ? change->up->count : 0, downs = change->down->count;
    if (change->up ? (change->transposed ? downs : ups) != rows * change->rank || !change->rank || !weight->count ||
                         (change->transposed ? ups : downs) != weight->count / rows * change->rank
                   : downs != weight->count)
        return vks_fail(weights->log, "%s: a change of %s is of another size: it is for another model", weights->path,
                        name);
    if (change->scale == 0)
        return true;
    if (!vks_grow(&weights->changes, &weights->change_capacity, weights->change_count, sizeof(*weights->changes)))
        return vks_fail(weights->log, VKS_NO_MEMORY);
    weights->changes[weights->change_count++] =
        (struct vks_weights_changed){(size_t)(entry - weights->entries), *change};
    entry->changed = true;
    return true;
}

bool vks_weights_changed(const struct vks_weights *weights)
{
    return weights->change_count > 0;
}

bool vks_weight_changed(const struct vks_weights *weights, size_t index)
{
    return weights->entries[index].changed;
}

// Whole: changes are small beside the weights.
static void hash_tensor(struct vks_hash *hash, const struct vks_st_tensor *tensor)
{
    vks_hash_add_u64(hash, tensor->count);
    vks_hash_add(hash, tensor->data, tensor->size);
}

void vks_weights_hash_changes(const struct vks_weights *weights, struct vks_hash *hash)
{
    for (size_t i = 0; i < weights->change_count; i++) {
        const struct vks_weight_change *change = &weights->changes[i].change;
        vks_hash_add_text(hash, weights->entries[weights->changes[i].entry].weight.name);
        vks_hash_add(hash, &change->scale, sizeof(change->scale));
        hash_tensor(hash, change->down);
        if (change->up)
            hash_tensor(hash, change->up);
    }
}

// Whether the file's shape is the one that `shape` on the device asks for; writes what was expected into `want`.
static bool shape_fits(const struct vks_weights *weights, const struct vks_weight *weight,
                       enum vks_weight_layout layout, uint32_t rank, const uint32_t shape[], uint64_t want[4],
                       int *want_rank)
{
    *want_rank = layout == VKS_WEIGHT_CONV ? 4 : (int)rank;
    for (uint32_t i = 0; i < 4; i++)
        want[i] = i < rank ? shape[i] : 1;
    if (layout == VKS_WEIGHT_CONV && rank == 4) {
        want[1] = shape[3];
        want[2] = shape[1];
        want[3] = shape[2];
    }
    if (layout == VKS_WEIGHT_CONV1D && !weights->gguf) {
        want[0] = shape[1];
        want[1] = shape[0];
    }
    bool fits = weight->rank == *want_rank;
    for (int i = 0; fits && i < *want_rank; i++)
        fits = weight->shape[i] == want[i];
    return fits;
}

static struct vks_tensor *state_of(struct vks_graph *graph, const struct vks_weights_slot *at, const char *name,
                                   uint32_t rank, const uint32_t shape[])
{
    struct vks_tensor *tensor =
        vks_graph_state(graph, name, at->dtype, rank, shape, at->storage, at->offset / vks_dtype_size(at->dtype));
    if (tensor)
        tensor->steady = true;
    return tensor;
}

// The parameter, uploaded; NULL: the graph has failed.
static const struct vks_weights_entry *need(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                enum vks_weight_layout layout, uint32_t rank, const uint32_t shape[])
{
    if (graph->failed)
        return NULL;
    struct vks_weights_entry *entry = find(weights, name);
    if (!entry)
        return vks_graph_fail(graph, "%s: the tensor %s is missing: %s; download the model again", weights->path,
                              name, weights->gguf ? "the file is no whole model"
                                                  : "config.json describes another model");
    const struct vks_weight *weight = &entry->weight;
    uint64_t want[4];
    int want_rank;
    if (!shape_fits(weights, weight, layout, rank, shape, want, &want_rank))
        return vks_graph_fail(graph, "%s: %s has the shape %s, %s for %s: the two are of different models; "
                              "download the model again", weights->path, name,
                              VKS_SHAPE(weight->rank, weight->shape),
                              weights->gguf ? "the metadata ask" : "config.json asks", VKS_SHAPE(want_rank, want));
    if (!entry->readable)
        return vks_graph_fail(graph, "%s: %s is of type %s: convert the weights to F32, F16 or BF16", weights->path,
                              name, weight->type);
    if (entry->at.storage && entry->at.layout != layout)
        return vks_graph_fail(graph, "%s: %s is used in two layouts: report this", weights->path, name);
    if (!entry->at.storage) {
        entry->at.layout = layout;
        entry->at.dtype = device_type(entry, layout);
        entry->at.size = vks_weights_device_size(entry, layout);
    }
    entry->wanted |= weights->dry;
    if (weights->gpu && !weights->dry && !entry->at.storage && !vks_weights_upload(weights, entry)) {
        graph->failed = true;  // said why
        return NULL;
    }
    return entry;
}

struct vks_tensor *vks_weights_get(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                   enum vks_weight_layout layout, uint32_t rank, const uint32_t shape[])
{
    const struct vks_weights_entry *entry = need(weights, graph, name, layout, rank, shape);
    return entry ? state_of(graph, &entry->at, name, rank, shape) : NULL;
}

bool vks_weights_is_packed(const struct vks_weights *weights, const char *name)
{
    const struct vks_weights_entry *entry = find(weights, name);
    return entry && packable(entry);
}

struct vks_tensor *vks_weights_get_packed(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                          uint32_t rows, uint32_t columns, struct vks_packed *packed)
{
    const struct vks_weights_entry *entry =
        need(weights, graph, name, VKS_WEIGHT_PACKED, 2, (uint32_t[]){rows, columns});
    if (!entry)
        return NULL;
    *packed = (struct vks_packed){entry->type, columns};
    return state_of(graph, &entry->at, name, 2, (uint32_t[]){rows, vks_packed_words(entry->type, columns)});
}

struct vks_tensor *vks_weights_constant(struct vks_weights *weights, struct vks_graph *graph, const char *key,
                                        enum vks_dtype dtype, uint32_t rank, const uint32_t shape[], const void *data)
{
    if (graph->failed)
        return NULL;
    size_t at = 0;
    while (at < weights->constant_count && strcmp(weights->constants[at].key, key) != 0)
        at++;
    if (at == weights->constant_count) {
        struct vks_weights_constant constant = {
            .key = vks_arena_strdup(&weights->arena, key),
            .at = {.dtype = dtype},
        };
        constant.at.size = vks_dtype_size(dtype);
        for (uint32_t i = 0; i < rank; i++)
            constant.at.size *= shape[i];
        if (!constant.key ||
            !vks_grow(&weights->constants, &weights->constant_capacity, weights->constant_count, sizeof(constant)))
            return vks_graph_fail(graph, VKS_NO_MEMORY);
        weights->constants[weights->constant_count++] = constant;
    }
    struct vks_weights_slot *place = &weights->constants[at].at;
    if (weights->gpu && !weights->dry && !place->storage &&
        !(vks_weights_make_room(weights, place) &&
          vks_storage_write(place->storage, place->offset, data, place->size))) {
        place->storage = NULL;
        graph->failed = true;  // said why
        return NULL;
    }
    return state_of(graph, place, key, rank, shape);
}
