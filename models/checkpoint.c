#include "models/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "models/original_names.h"

#define MAX_NAME 256

enum layout { UNET, CLIP, OPEN_CLIP, VAE };

// Where the parts' tensors stand; of two prefixes for one part a file has one.
static const struct {
    const char *part, *prefix;
    enum layout layout;
} prefixes[] = {
    {"unet", "model.diffusion_model.", UNET},
    {"text_encoder", "cond_stage_model.transformer.", CLIP},             // SD 1
    {"text_encoder", "cond_stage_model.model.", OPEN_CLIP},              // SD 2
    {"text_encoder", "conditioner.embedders.0.transformer.", CLIP},      // SDXL
    {"text_encoder_2", "conditioner.embedders.1.model.", OPEN_CLIP},
    {"vae", "first_stage_model.", VAE},
};

struct converter {
    const struct vks_tensor_file *file;
    struct vks_arena *arena;
    uint32_t layers, levels;
    struct vks_st_tensor *tensors;
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vks_st_tensor *)a)->name, ((const struct vks_st_tensor *)b)->name);
}

// Levels of the autoencoder: one more than the highest number.
static uint32_t count_levels(const struct vks_tensor_file *file)
{
    static const char up[] = "first_stage_model.decoder.up.";
    uint32_t levels = 0;
    for (size_t i = 0; i < file->tensor_count; i++)
        if (!strncmp(file->tensors[i].name, up, strlen(up))) {
            const char digit = file->tensors[i].name[strlen(up)];
            const uint32_t level = digit >= '0' && digit <= '9' ? (uint32_t)(digit - '0') + 1 : 0;
            levels = level > levels ? level : levels;
        }
    return levels;
}

static bool rename_tensor(const struct converter *c, enum layout layout, const char *name, char out[MAX_NAME])
{
    switch (layout) {
    case UNET:
        return vks_original_unet(name, '.', c->layers, out, MAX_NAME);
    case VAE:
        return vks_original_vae(name, c->levels, out, MAX_NAME);
    case OPEN_CLIP:
        return vks_original_open_clip(name, out, MAX_NAME);
    case CLIP:
        break;
    }
    if (strlen(name) >= MAX_NAME)
        return false;
    strcpy(out, name);
    return true;
}

static bool add(struct converter *c, const char *name, const struct vks_st_tensor *tensor)
{
    c->tensors[c->count] = *tensor;
    c->tensors[c->count].name = vks_arena_strdup(c->arena, name);
    return c->tensors[c->count++].name != NULL;
}

// Queries, keys and values, one below the other; the name has '*' for their letter.
static bool add_thirds(struct converter *c, char *name, struct vks_st_tensor tensor)
{
    char *letter = strchr(name, '*');
    if (!tensor.rank || tensor.shape[0] % 3)
        return true;  // of no use: whoever asks for it says that it is missing
    tensor.shape[0] /= 3;
    tensor.count /= 3;
    tensor.size /= 3;
    for (int i = 0; i < 3; i++, tensor.data += tensor.size) {
        *letter = "qkv"[i];
        if (!add(c, name, &tensor))
            return false;
    }
    return true;
}

static bool add_transposed(struct converter *c, const char *name, struct vks_st_tensor tensor)
{
    const size_t size = vks_st_dtype_size(tensor.dtype), rows = (size_t)tensor.shape[0];
    const size_t columns = (size_t)tensor.shape[1];
    unsigned char *copy = vks_arena_alloc(c->arena, tensor.size + 1);
    if (!copy)
        return false;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < columns; k++)
            memcpy(copy + (k * rows + i) * size, tensor.data + (i * columns + k) * size, size);
    tensor.data = copy;
    tensor.shape[0] = columns;
    tensor.shape[1] = rows;
    return add(c, name, &tensor);
}

static bool convert(struct converter *c, enum layout layout, const struct vks_st_tensor *tensor, const char *rest)
{
    char name[MAX_NAME];
    struct vks_st_tensor changed = *tensor;
    if (!rename_tensor(c, layout, rest, name))
        return true;  // nothing that is used, such as the steps of training
    if (layout == OPEN_CLIP && strchr(name, '*'))
        return add_thirds(c, name, changed);
    if (layout == OPEN_CLIP && !strcmp(name, "text_projection.weight") && tensor->rank == 2)
        return add_transposed(c, name, changed);
    // The autoencoder's attention is made of convolutions of one pixel.
    if (layout == VAE && strstr(name, ".attentions.") && tensor->rank == 4 &&
        tensor->shape[2] * tensor->shape[3] == 1) {
        changed.rank = 2;
        changed.shape[2] = changed.shape[3] = 0;
    }
    return add(c, name, &changed);
}

bool vks_checkpoint_part(const struct vks_log *log, struct vks_tensor_file *file, const char *part, uint32_t layers,
                         struct vks_arena *arena)
{
    struct converter c = {.file = file, .arena = arena, .layers = layers, .levels = count_levels(file)};
    bool done = file->tensor_count < SIZE_MAX / 3 / sizeof(*c.tensors) &&
                (c.tensors = vks_arena_alloc(arena, (3 * file->tensor_count + 1) * sizeof(*c.tensors)));
    for (size_t p = 0; p < sizeof(prefixes) / sizeof(*prefixes); p++) {
        const size_t length = strlen(prefixes[p].prefix);
        if (strcmp(prefixes[p].part, part) != 0)
            continue;
        for (size_t i = 0; done && i < file->tensor_count; i++)
            if (!strncmp(file->tensors[i].name, prefixes[p].prefix, length))
                done = convert(&c, prefixes[p].layout, &file->tensors[i], file->tensors[i].name + length);
    }
    if (!done)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, file->path);
    if (c.count)
        qsort(c.tensors, c.count, sizeof(*c.tensors), by_name);
    file->tensors = c.tensors;
    file->tensor_count = c.count;
    return true;
}
