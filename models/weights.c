#include "models/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/half.h"
#include "base/os.h"
#include "base/quant.h"
#include "base/text.h"
#include "models/checkpoint.h"
#include "models/gguf_names.h"

// Small parameters share storages of at most this size; a larger one gets a storage of its own.
#define BLOCK_SIZE ((uint64_t)64 << 20)

// Converted rows are uploaded this many bytes at a time.
#define STAGE_SIZE ((size_t)4 << 20)

// Where something lies on the device.
struct place {
    enum vks_weight_layout layout;
    struct vks_storage *storage;  // NULL: not uploaded
    uint64_t offset, size;        // bytes
    enum vks_dtype dtype;
};

// A parameter, in its file and on the device.
struct entry {
    struct vks_weight weight;
    bool readable;                // its type is one that can be computed with, namely:
    enum vks_quant_type type;
    enum vks_gguf_form form;
    bool changed;                 // some of weights->changes are its
    bool wanted;                  // by the graphs of the last time that it was dry
    struct place at;
};

struct changed {
    size_t entry;
    struct vks_weight_change change;
};

// Parameters lie one behind the other.
struct block {
    struct vks_storage *storage;
    uint64_t used;                // bytes
};

struct constant {
    const char *key;
    struct place at;
};

struct vks_weights {
    const struct vks_log *log;
    struct vks_gpu *gpu;
    const char *path;             // for messages
    struct vks_tensor_file file;  // one of the two
    struct vks_gguf *gguf;
    uint32_t head_width;          // rows of a head, where a GGUF file pairs them
    struct entry *entries;        // sorted by name
    size_t entry_count;
    struct vks_arena arena;       // keys of constants, names
    struct constant *constants;
    size_t constant_count, constant_capacity;
    struct changed *changes;      // in the order given
    size_t change_count, change_capacity;
    struct block *blocks;
    size_t block_count, block_capacity;
    uint32_t holders;
    bool dry;                     // nothing is uploaded now
};

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
    const struct entry *left = a, *right = b;
    return strcmp(left->weight.name, right->weight.name);
}

static struct entry *find(const struct vks_weights *weights, const char *name)
{
    const struct entry key = {.weight.name = name};
    return weights->entry_count ? bsearch(&key, weights->entries, weights->entry_count, sizeof(key), by_name) : NULL;
}

// Whether a parameter is a matrix that can stay in its blocks.
static bool packable(const struct entry *entry)
{
    const struct vks_weight *weight = &entry->weight;
    return weight->rank == 2 && entry->form != VKS_GGUF_PLUS_ONE && weight->shape[1] <= UINT32_MAX &&
           vks_packed_can(entry->type, (uint32_t)weight->shape[1]);
}

// The type of a parameter on the device, in a layout.
static enum vks_dtype device_type(const struct entry *entry, enum vks_weight_layout layout)
{
    return layout == VKS_WEIGHT_PACKED                                      ? VKS_I32
           : layout == VKS_WEIGHT_VECTOR || entry->form == VKS_GGUF_PLUS_ONE ? VKS_F32
           : entry->type == VKS_QUANT_F16                                   ? VKS_F16
           : entry->type == VKS_QUANT_BF16                                  ? VKS_BF16
                                                                            : VKS_F32;
}

// Bytes that a parameter takes on the device in a layout.
static uint64_t device_size(const struct entry *entry, enum vks_weight_layout layout)
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
        struct entry *entry = &weights->entries[weights->entry_count++];
        entry->weight = (struct vks_weight){.name = tensor->name,
                                            .type = vks_st_dtype_name(tensor->dtype),
                                            .rank = tensor->rank,
                                            .count = tensor->count,
                                            .size = tensor->size,
                                            .data = tensor->data};
        memcpy(entry->weight.shape, tensor->shape, sizeof(tensor->shape));
        entry->readable = tensor->dtype == VKS_ST_F32 || tensor->dtype == VKS_ST_F16 || tensor->dtype == VKS_ST_BF16;
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
        struct entry *entry = &weights->entries[weights->entry_count++];
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

// Bytes that a parameter takes as it is, or will be, laid out.
static uint64_t planned_size(const struct entry *entry)
{
    return entry->at.size ? entry->at.size
                          : device_size(entry, packable(entry) ? VKS_WEIGHT_PACKED : VKS_WEIGHT_MATRIX);
}

uint64_t vks_weights_wanted(const struct vks_weights *weights, uint64_t *missing)
{
    uint64_t bytes = 0;
    *missing = 0;
    for (size_t i = 0; i < weights->entry_count; i++) {
        const struct entry *entry = &weights->entries[i];
        bytes += entry->wanted ? planned_size(entry) : 0;
        *missing += entry->wanted && !entry->at.storage ? planned_size(entry) : 0;
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
        const struct entry *entry = &weights->entries[i];
        bytes += device_size(entry, packable(entry) ? VKS_WEIGHT_PACKED : VKS_WEIGHT_MATRIX);
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
    const struct entry *entry = find(weights, name);
    return entry ? &entry->weight : NULL;
}

bool vks_weights_place(const struct vks_weights *weights, const char *name, struct vks_weight_place *place)
{
    const struct entry *entry = find(weights, name);
    if (!entry || !entry->at.storage)
        return false;
    *place = (struct vks_weight_place){.storage = entry->at.storage,
                                       .offset = entry->at.offset,
                                       .size = entry->at.size,
                                       .dtype = entry->at.dtype};
    return true;
}

// Bytes of what is still to come: of all parameters, or of those that a plan has asked for. Starts are aligned.
static uint64_t bytes_to_come(const struct vks_weights *weights, uint64_t align)
{
    uint64_t wanted = 0, all = 0;
    for (size_t i = 0; i < weights->entry_count; i++) {
        const struct entry *entry = &weights->entries[i];
        const uint64_t size = entry->at.storage ? 0 : (planned_size(entry) + align - 1) / align * align;
        all += size;
        wanted += entry->wanted ? size : 0;
    }
    return wanted ? wanted : all;
}

// Finds room for entry->size bytes: at the end of the first block that has it, so that small parameters fill what
// large ones leave.
static bool make_room(struct vks_weights *weights, struct place *entry)
{
    const struct vks_gpu_limits *limits = vks_gpu_limits(weights->gpu);
    const uint64_t align = limits->offset_align > 16 ? limits->offset_align : 16;
    for (size_t i = 0; i < weights->block_count; i++) {
        struct block *block = &weights->blocks[i];
        const uint64_t at = (block->used + align - 1) / align * align, size = vks_storage_size(block->storage);
        if (at <= size && entry->size <= size - at) {
            entry->storage = block->storage;
            entry->offset = at;
            block->used = at + entry->size;
            return true;
        }
    }
    if (!vks_grow(&weights->blocks, &weights->block_capacity, weights->block_count, sizeof(*weights->blocks)))
        return vks_fail(weights->log, VKS_NO_MEMORY);
    uint64_t size = bytes_to_come(weights, align) + 4096;  // constants
    size = size < BLOCK_SIZE ? size : BLOCK_SIZE;
    size = size < limits->max_alloc ? size : limits->max_alloc;
    size = size > entry->size ? size : entry->size;
    struct vks_storage *storage = vks_storage_create(weights->gpu, size);
    if (!storage)
        return false;
    weights->blocks[weights->block_count++] = (struct block){storage, entry->size};
    entry->storage = storage;
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

// Whether the elements change places as a whole: all of them are turned at once.
static bool is_turned(const struct vks_weights *weights, const struct entry *entry, enum vks_weight_layout layout)
{
    const struct vks_weight *weight = &entry->weight;
    return layout == VKS_WEIGHT_CONV1D ? !weights->gguf
                                       : layout == VKS_WEIGHT_CONV && weight->rank == 4 &&
                                             weight->shape[2] * weight->shape[3] > 1;
}

// From the file's order to the layout's.
static void turn_elements(const struct entry *entry, const unsigned char *from, unsigned char *to)
{
    // A Conv1D matrix (I, O) is (1, I, O, 1) with its channels put last.
    const uint64_t *shape = entry->weight.shape, matrix[] = {1, shape[0], shape[1], 1};
    channels_last(to, from, entry->at.layout == VKS_WEIGHT_CONV1D ? matrix : shape, vks_dtype_size(entry->at.dtype));
}

static bool upload_turned(struct vks_weights *weights, struct entry *entry)
{
    unsigned char *copy = malloc(entry->weight.size + 1);
    if (!copy)
        return vks_fail(weights->log, VKS_NO_MEMORY);
    turn_elements(entry, entry->weight.data, copy);
    const bool done = vks_storage_write(entry->at.storage, entry->at.offset, copy, entry->weight.size);
    free(copy);
    return done;
}

// The row of the file that is row `row` of the module.
static uint64_t file_row(const struct vks_weights *weights, const struct entry *entry, uint64_t row)
{
    if (entry->form != VKS_GGUF_PAIRED_ROWS)
        return row;
    const uint64_t in = row % weights->head_width, half = weights->head_width / 2;
    return row - in + (in < half ? 2 * in : 2 * (in - half) + 1);
}

// A parameter as rows of the module; a vector is one row, unless its elements change places.
struct rows {
    const struct vks_weights *weights;
    const struct entry *entry;
    enum vks_dtype dtype;     // wanted
    uint64_t count, columns;
    size_t size, file_size;   // bytes of a row, as wanted and in the file
};

// False after one message: they are not the rows of whole heads, as they should be.
static bool rows_of(const struct vks_weights *weights, const struct entry *entry, enum vks_dtype dtype,
                    struct rows *rows)
{
    const struct vks_weight *weight = &entry->weight;
    const bool paired = entry->form == VKS_GGUF_PAIRED_ROWS;
    const uint64_t count = weight->rank >= 2 || paired ? weight->shape[0] : 1;
    if (paired && (!weights->head_width || count % weights->head_width || weight->size % count))
        return vks_fail(weights->log, "%s: %s has %llu rows, which are no heads of %u: the file is damaged, fetch it "
                        "again", weights->path, weight->name, (unsigned long long)count, weights->head_width);
    *rows = (struct rows){weights, entry, dtype, count, weight->count / count, 0, weight->size / count};
    rows->size = dtype == VKS_I32 ? device_size(entry, VKS_WEIGHT_PACKED) / count
                                  : rows->columns * vks_dtype_size(dtype);
    return true;
}

static void convert_rows(const struct rows *rows, uint64_t first, uint64_t count, unsigned char *out)
{
    const struct entry *entry = rows->entry;
    const bool same = rows->dtype == VKS_I32 ||
                      (rows->size == rows->file_size && entry->form != VKS_GGUF_PLUS_ONE);
    for (uint64_t i = 0; i < count; i++) {
        const unsigned char *in = entry->weight.data + file_row(rows->weights, entry, first + i) * rows->file_size;
        if (same) {
            memcpy(out, in, rows->file_size);
            memset(out + rows->file_size, 0, rows->size - rows->file_size);
        } else {
            float *values = (void *)out;
            vks_quant_unpack(entry->type, in, rows->columns, values);
            for (uint64_t c = 0; c < rows->columns && entry->form == VKS_GGUF_PLUS_ONE; c++)
                values[c] -= 1;
        }
        out += rows->size;
    }
}

// Row by row, converted on the way, in pieces of bounded size.
static bool upload_rows(struct vks_weights *weights, struct entry *entry)
{
    struct rows rows = {0};
    if (!rows_of(weights, entry, entry->at.dtype, &rows))
        return false;
    const uint64_t most = STAGE_SIZE / rows.size ? STAGE_SIZE / rows.size : 1;
    const uint64_t piece = most < rows.count ? most : rows.count;
    unsigned char *stage = malloc(piece * rows.size);
    bool done = stage || vks_fail(weights->log, VKS_NO_MEMORY);
    for (uint64_t at = 0; at < rows.count && done; at += piece) {
        const uint64_t count = piece < rows.count - at ? piece : rows.count - at;
        convert_rows(&rows, at, count, stage);
        done = vks_storage_write(entry->at.storage, entry->at.offset + at * rows.size, stage, count * rows.size);
    }
    free(stage);
    return done;
}

static void from_f32(enum vks_dtype dtype, const float *values, size_t count, void *out)
{
    if (dtype == VKS_F16)
        vks_f16_from_f32_array(out, values, count);
    else if (dtype == VKS_BF16)
        vks_bf16_from_f32_array(out, values, count);
    else
        memcpy(out, values, count * sizeof(*values));
}

// With its changes, rounded once, to the type of the file.
static bool upload_changed(struct vks_weights *weights, struct entry *entry)
{
    const size_t count = (size_t)entry->weight.count;
    float *values = malloc(count * sizeof(*values));
    unsigned char *bytes = malloc((size_t)entry->at.size), *turned = malloc((size_t)entry->at.size);
    bool done = (values && bytes && turned) || vks_fail(weights->log, VKS_NO_MEMORY);
    done = done && vks_weights_read(weights, (size_t)(entry - weights->entries), values);
    if (done) {
        const bool turn = is_turned(weights, entry, entry->at.layout);
        from_f32(entry->at.dtype, values, count, bytes);
        if (turn)
            turn_elements(entry, bytes, turned);
        done = vks_storage_write(entry->at.storage, entry->at.offset, turn ? turned : bytes, entry->at.size);
    }
    free(values);
    free(bytes);
    free(turned);
    return done;
}

static bool upload(struct vks_weights *weights, struct entry *entry)
{
    bool done = make_room(weights, &entry->at);
    if (entry->changed)
        done = done && upload_changed(weights, entry);
    else if (is_turned(weights, entry, entry->at.layout))
        done = done && upload_turned(weights, entry);
    else if (entry->at.size == entry->weight.size && entry->form == VKS_GGUF_AS_IS)  // the same bits
        done = done && vks_storage_write(entry->at.storage, entry->at.offset, entry->weight.data, entry->weight.size);
    else
        done = done && upload_rows(weights, entry);
    if (!done)
        entry->at.storage = NULL;
    return done;
}

bool vks_weights_read(const struct vks_weights *weights, size_t index, float *out)
{
    const struct entry *entry = &weights->entries[index];
    struct rows rows = {0};
    if (!entry->readable)
        return vks_fail(weights->log, "%s: %s is of type %s: convert the weights to F32, F16 or BF16", weights->path,
                        entry->weight.name, entry->weight.type);
    if (!entry->weight.count || !rows_of(weights, entry, VKS_F32, &rows))
        return !entry->weight.count;
    convert_rows(&rows, 0, rows.count, (void *)out);
    for (size_t i = 0; entry->changed && i < weights->change_count; i++)
        if (weights->changes[i].entry == index &&
            !vks_weight_change_add(&weights->changes[i].change, rows.count, rows.columns, out))
            return vks_fail(weights->log, VKS_NO_MEMORY);
    return true;
}

bool vks_weights_change(struct vks_weights *weights, const char *name, const struct vks_weight_change *change)
{
    struct entry *entry = find(weights, name);
    const struct vks_weight *weight = entry ? &entry->weight : NULL;
    const uint64_t rows = entry && weight->rank >= 2 ? weight->shape[0] : 1;
    if (!entry || !entry->readable || weights->gguf)
        return vks_fail(weights->log, "%s: %s cannot be changed: use a model with F32, F16 or BF16 weights in "
                        "safetensors", weights->path, name);
    if (change->up ? change->up->count != rows * change->rank || !change->rank || !weight->count ||
                         change->down->count != weight->count / rows * change->rank
                   : change->down->count != weight->count)
        return vks_fail(weights->log, "%s: a change of %s is of another size: it is for another model", weights->path,
                        name);
    if (!vks_grow(&weights->changes, &weights->change_capacity, weights->change_count, sizeof(*weights->changes)))
        return vks_fail(weights->log, VKS_NO_MEMORY);
    weights->changes[weights->change_count++] = (struct changed){(size_t)(entry - weights->entries), *change};
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

static struct vks_tensor *state_of(struct vks_graph *graph, const struct place *at, const char *name,
                                   uint32_t rank, const uint32_t shape[])
{
    return vks_graph_state(graph, name, at->dtype, rank, shape, at->storage, at->offset / vks_dtype_size(at->dtype));
}

// The parameter, uploaded; NULL: the graph has failed.
static const struct entry *need(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                enum vks_weight_layout layout, uint32_t rank, const uint32_t shape[])
{
    if (graph->failed)
        return NULL;
    struct entry *entry = find(weights, name);
    if (!entry)
        return vks_graph_fail(graph, "%s: the tensor %s is missing: %s; download the model again", weights->path,
                              name, weights->gguf ? "the file is no whole model"
                                                  : "config.json describes another model");
    const struct vks_weight *weight = &entry->weight;
    uint64_t want[4];
    int want_rank;
    if (!shape_fits(weights, weight, layout, rank, shape, want, &want_rank))
        return vks_graph_fail(graph, "%s: %s has the shape (%s), %s for (%s): the two are of different models; "
                              "download the model again", weights->path, name,
                              shape_text(graph, weight->rank, weight->shape),
                              weights->gguf ? "the metadata ask" : "config.json asks",
                              shape_text(graph, want_rank, want));
    if (!entry->readable)
        return vks_graph_fail(graph, "%s: %s is of type %s: convert the weights to F32, F16 or BF16", weights->path,
                              name, weight->type);
    if (entry->at.storage && entry->at.layout != layout)
        return vks_graph_fail(graph, "%s: %s is used in two layouts: report this", weights->path, name);
    if (!entry->at.storage) {
        entry->at.layout = layout;
        entry->at.dtype = device_type(entry, layout);
        entry->at.size = device_size(entry, layout);
    }
    entry->wanted |= weights->dry;
    if (weights->gpu && !weights->dry && !entry->at.storage && !upload(weights, entry)) {
        graph->failed = true;  // said why
        return NULL;
    }
    return entry;
}

struct vks_tensor *vks_weights_get(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                   enum vks_weight_layout layout, uint32_t rank, const uint32_t shape[])
{
    const struct entry *entry = need(weights, graph, name, layout, rank, shape);
    return entry ? state_of(graph, &entry->at, name, rank, shape) : NULL;
}

bool vks_weights_is_packed(const struct vks_weights *weights, const char *name)
{
    const struct entry *entry = find(weights, name);
    return entry && packable(entry);
}

struct vks_tensor *vks_weights_get_packed(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                          uint32_t rows, uint32_t columns, struct vks_packed *packed)
{
    const struct entry *entry = need(weights, graph, name, VKS_WEIGHT_PACKED, 2, (uint32_t[]){rows, columns});
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
        struct constant constant = {.key = vks_arena_strdup(&weights->arena, key), .at = {.dtype = dtype}};
        constant.at.size = vks_dtype_size(dtype);
        for (uint32_t i = 0; i < rank; i++)
            constant.at.size *= shape[i];
        if (!constant.key ||
            !vks_grow(&weights->constants, &weights->constant_capacity, weights->constant_count, sizeof(constant)))
            return vks_graph_fail(graph, VKS_NO_MEMORY);
        weights->constants[weights->constant_count++] = constant;
    }
    struct place *place = &weights->constants[at].at;
    if (weights->gpu && !weights->dry && !place->storage &&
        !(make_room(weights, place) && vks_storage_write(place->storage, place->offset, data, place->size))) {
        place->storage = NULL;
        graph->failed = true;  // said why
        return NULL;
    }
    return state_of(graph, place, key, rank, shape);
}
