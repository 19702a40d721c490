// A file of named tensors, whatever its format: safetensors or PyTorch's, one file or a sharded set.
#ifndef VKS_IO_TENSOR_FILE_H
#define VKS_IO_TENSOR_FILE_H

#include "base/log.h"
#include "io/safetensors.h"
#include "io/torch_zip.h"

#include <stdbool.h>
#include <stddef.h>

struct vks_tensor_file {
    const char *path;                     // as given, for messages
    const struct vks_st_tensor *tensors;  // sorted by name; all of it lives until close
    size_t tensor_count;

    struct vks_safetensors *safetensors;  // private: one of the two
    struct vks_torch_zip **torch;         // all files of a set, torch_count of them
    size_t torch_count;
    struct vks_arena arena;
};

// PyTorch's by what torch_zip.h takes for such, otherwise safetensors or, with a path that ends in ".json", the set
// that this index describes. False after one message: nothing to close.
bool vks_tensor_file_open(const struct vks_log *log, const char *path, struct vks_tensor_file *file);
// Accepts a zeroed file; zeroes it.
void vks_tensor_file_close(struct vks_tensor_file *file);
// NULL when there is none of that name (no message).
const struct vks_st_tensor *vks_tensor_file_find(const struct vks_tensor_file *file, const char *name);
// The value of a metadata key, or NULL: only safetensors have them.
const char *vks_tensor_file_metadata(const struct vks_tensor_file *file, const char *key);

#endif
