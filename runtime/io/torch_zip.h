// PyTorch's files of weights (.bin, .pt, .pth, .ckpt) as torch.save writes them since version 1.6: a memory-mapped
// reader of tensors, which runs nothing.
//
// A file is a zip archive of stored entries (zip.h): NAME/data.pkl, a pickle (torch_pickle.h) that says what tensors
// there are, and NAME/data/KEY, the bytes of each storage. Files are hostile input: offsets, counts, sizes, shapes
// and strides are checked, depth and memory are bounded; a refusal names the file and, where it can, the tensor.
#ifndef VKS_IO_TORCH_ZIP_H
#define VKS_IO_TORCH_ZIP_H

#include "base/arena.h"
#include "base/log.h"
#include "io/safetensors.h"

#include <stdbool.h>
#include <stddef.h>

// Dictionaries in dictionaries become names with points between: {"unet": {"conv.weight": ...}} is
// "unet.conv.weight"; what is in lists and tuples is called by its number. Numbers, texts and the like are left out.
// Where the dictionary at the top holds no tensor but one of "state_dict", "model_state_dict", "model", "module",
// "params_ema" and "params", that one is read and nothing beside it; and "module." or "_orig_mod." before every name
// goes too. Tensors that are no contiguous piece of their storage are copied, the others lie in the mapping.
struct vks_torch_zip {
    const char *path;               // as given, for messages
    const char *prefix;             // what was taken off the names: "state_dict.", or ""
    struct vks_st_tensor *tensors;  // sorted by name; all of it lives until close
    size_t tensor_count;

    struct vks_arena arena;         // private
    struct vks_os_map *map;
};

// NULL after one message.
struct vks_torch_zip *vks_torch_zip_open(const struct vks_log *log, const char *path);
// Accepts NULL; nulls it.
void vks_torch_zip_close(struct vks_torch_zip **file);
// Whether a path is to be taken for such a file: one that is there and begins as a zip archive or is named so (it may
// still be refused when it is opened).
bool vks_torch_zip_is(const char *path);

#endif
