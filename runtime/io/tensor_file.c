#include "io/tensor_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "io/shards.h"

// One file, or the shards of a set (NULL: one file).
static bool open_torch(const struct vks_log *log, const char *path, const struct vks_shards *set,
                       struct vks_tensor_file *file)
{
    const size_t count = set ? set->shard_count : 1;
    struct vks_st_tensor *tensors = set ? vks_arena_alloc(&file->arena, set->count * sizeof(*tensors)) : NULL;
    file->path = vks_arena_strdup(&file->arena, path);
    file->torch = vks_arena_alloc(&file->arena, count * sizeof(*file->torch));
    if (!file->path || !file->torch || (set && !tensors))
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    for (size_t i = 0; i < count; i++) {
        struct vks_torch_zip *one = vks_torch_zip_open(log, set ? set->paths[i] : path);
        if (!one)
            return false;
        file->torch[file->torch_count++] = one;
        if (set && !vks_shards_take(log, set, i, one->tensors, one->tensor_count, tensors))
            return false;
        file->tensors = set ? tensors : one->tensors;
        file->tensor_count = set ? set->count : one->tensor_count;
    }
    return true;
}

// Whether an index is of PyTorch's files; false too where it cannot be read, which whoever opens it then says.
static bool is_torch_set(const char *path, struct vks_shards *set)
{
    return vks_ends_with(path, ".json") && vks_shards_open(NULL, path, set) && vks_torch_zip_is(set->paths[0]);
}

bool vks_tensor_file_open(const struct vks_log *log, const char *path, struct vks_tensor_file *file)
{
    *file = (struct vks_tensor_file){0};
    struct vks_shards set = {0};
    const bool torch_set = is_torch_set(path, &set), torch = torch_set || vks_torch_zip_is(path);
    const bool done = torch && open_torch(log, path, torch_set ? &set : NULL, file);
    vks_shards_finish(&set);
    if (torch && !done)
        vks_tensor_file_close(file);
    if (torch)
        return done;
    if ((file->safetensors = vks_safetensors_open(log, path)))
        *file = (struct vks_tensor_file){.path = file->safetensors->path,
                                         .tensors = file->safetensors->tensors,
                                         .tensor_count = file->safetensors->tensor_count,
                                         .safetensors = file->safetensors};
    return file->safetensors != NULL;
}

void vks_tensor_file_close(struct vks_tensor_file *file)
{
    vks_safetensors_close(&file->safetensors);
    for (size_t i = 0; i < file->torch_count; i++)
        vks_torch_zip_close(&file->torch[i]);
    vks_arena_finish(&file->arena);
    *file = (struct vks_tensor_file){0};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vks_st_tensor *)a)->name, ((const struct vks_st_tensor *)b)->name);
}

const struct vks_st_tensor *vks_tensor_file_find(const struct vks_tensor_file *file, const char *name)
{
    const struct vks_st_tensor key = {.name = name};
    return file->tensor_count ? bsearch(&key, file->tensors, file->tensor_count, sizeof(key), by_name) : NULL;
}

const char *vks_tensor_file_metadata(const struct vks_tensor_file *file, const char *key)
{
    return file->safetensors ? vks_safetensors_metadata(file->safetensors, key) : NULL;
}
