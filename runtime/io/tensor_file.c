#include "io/tensor_file.h"

#include <stdlib.h>
#include <string.h>

bool vks_tensor_file_open(const struct vks_log *log, const char *path, struct vks_tensor_file *file)
{
    *file = (struct vks_tensor_file){0};
    if (vks_torch_zip_is(path)) {
        if ((file->torch = vks_torch_zip_open(log, path)))
            *file = (struct vks_tensor_file){.path = file->torch->path,
                                             .tensors = file->torch->tensors,
                                             .tensor_count = file->torch->tensor_count,
                                             .torch = file->torch};
        return file->torch != NULL;
    }
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
    vks_torch_zip_close(&file->torch);
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
