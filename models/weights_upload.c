// From the file to the device: room in shared storages, conversion, changes, and the way back for those who read.
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/quant.h"
#include "models/weights_private.h"

// Small parameters share storages of at most this size; a larger one gets a storage of its own.
#define BLOCK_SIZE ((uint64_t)64 << 20)

// Converted rows are uploaded this many bytes at a time.
#define STAGE_SIZE ((size_t)4 << 20)

// Bytes of what is still to come: of all parameters, or of those that a plan has asked for. Starts are aligned.
static uint64_t bytes_to_come(const struct vks_weights *weights, uint64_t align)
{
    uint64_t wanted = 0, all = 0;
    for (size_t i = 0; i < weights->entry_count; i++) {
        const struct vks_weights_entry *entry = &weights->entries[i];
        const uint64_t size = entry->at.storage ? 0 : (vks_weights_planned_size(entry) + align - 1) / align * align;
        all += size;
        wanted += entry->wanted ? size : 0;
    }
    return wanted ? wanted : all;
}

bool vks_weights_make_room(struct vks_weights *weights, struct vks_weights_slot *entry)
{
    const struct vks_gpu_limits *limits = vks_gpu_limits(weights->gpu);
    const uint64_t align = limits->offset_align > 16 ? limits->offset_align : 16;
    for (size_t i = 0; i < weights->block_count; i++) {
        struct vks_weights_block *block = &weights->blocks[i];
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
    weights->blocks[weights->block_count++] = (struct vks_weights_block){storage, entry->size};
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
static bool is_turned(const struct vks_weights *weights, const struct vks_weights_entry *entry,
                      enum vks_weight_layout layout)
{
    const struct vks_weight *weight = &entry->weight;
    return layout == VKS_WEIGHT_CONV1D ? !weights->gguf
                                       : layout == VKS_WEIGHT_CONV && weight->rank == 4 &&
                                             weight->shape[2] * weight->shape[3] > 1;
}

// From the file's order to the layout's.
static void turn_elements(const struct vks_weights_entry *entry, const unsigned char *from, unsigned char *to)
{
    // A Conv1D matrix (I, O) is (1, I, O, 1) with its channels put last.
    const uint64_t *shape = entry->weight.shape, matrix[] = {1, shape[0], shape[1], 1};
    channels_last(to, from, entry->at.layout == VKS_WEIGHT_CONV1D ? matrix : shape, vks_dtype_size(entry->at.dtype));
}

static bool upload_turned(struct vks_weights *weights, struct vks_weights_entry *entry)
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
static uint64_t file_row(const struct vks_weights *weights, const struct vks_weights_entry *entry, uint64_t row)
{
    if (entry->form != VKS_GGUF_PAIRED_ROWS)
        return row;
    const uint64_t in = row % weights->head_width, half = weights->head_width / 2;
    return row - in + (in < half ? 2 * in : 2 * (in - half) + 1);
}

// A parameter as rows of the module; a vector is one row, unless its elements change places.
struct rows {
    const struct vks_weights *weights;
    const struct vks_weights_entry *entry;
    enum vks_dtype dtype;     // wanted
    uint64_t count, columns;
    size_t size, file_size;   // bytes of a row, as wanted and in the file
};

// False after one message: they are not the rows of whole heads, as they should be.
static bool rows_of(const struct vks_weights *weights, const struct vks_weights_entry *entry, enum vks_dtype dtype,
                    struct rows *rows)
{
    const struct vks_weight *weight = &entry->weight;
    const bool paired = entry->form == VKS_GGUF_PAIRED_ROWS;
    const uint64_t count = weight->rank >= 2 || paired ? weight->shape[0] : 1;
    if (paired && (!weights->head_width || count % weights->head_width || weight->size % count))
        return vks_fail(weights->log, "%s: %s has %llu rows, which are no heads of %u: the file is damaged, fetch it "
                        "again", weights->path, weight->name, (unsigned long long)count, weights->head_width);
    *rows = (struct rows){weights, entry, dtype, count, weight->count / count, 0, weight->size / count};
    rows->size = dtype == VKS_I32 ? vks_weights_device_size(entry, VKS_WEIGHT_PACKED) / count
                                  : rows->columns * vks_dtype_size(dtype);
    return true;
}

static void convert_rows(const struct rows *rows, uint64_t first, uint64_t count, unsigned char *out)
{
    const struct vks_weights_entry *entry = rows->entry;
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
static bool upload_rows(struct vks_weights *weights, struct vks_weights_entry *entry)
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
static bool upload_changed(struct vks_weights *weights, struct vks_weights_entry *entry)
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

bool vks_weights_upload(struct vks_weights *weights, struct vks_weights_entry *entry)
{
    bool done = vks_weights_make_room(weights, &entry->at);
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
    const struct vks_weights_entry *entry = &weights->entries[index];
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
