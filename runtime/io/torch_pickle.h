// Private to runtime/io: the pickle inside of a PyTorch file, read without running anything.
//
// A pickle is a program for a stack machine that builds objects, by calling any Python function that it names. Here
// the instructions are the ones that torch.save writes (protocol 2), and the functions are few: what makes a tensor,
// a parameter, a storage and an ordered dictionary. Anything else is refused by its name. What is built is data:
// nothing refers to the outside, sizes follow the pickle's own, and values may be shared and even hold themselves
// (whoever walks them must bound the depth).
#ifndef VKS_IO_TORCH_PICKLE_H
#define VKS_IO_TORCH_PICKLE_H

#include "base/arena.h"
#include "base/log.h"
#include "io/safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vks_pickle_kind {
    VKS_PICKLE_NONE,
    VKS_PICKLE_BOOL,
    VKS_PICKLE_INT,
    VKS_PICKLE_FLOAT,
    VKS_PICKLE_TEXT,
    VKS_PICKLE_TUPLE,
    VKS_PICKLE_LIST,
    VKS_PICKLE_DICT,
    VKS_PICKLE_GLOBAL,
    VKS_PICKLE_STORAGE,
    VKS_PICKLE_TENSOR,
    VKS_PICKLE_MARK,
};

struct vks_pickle_value {
    enum vks_pickle_kind kind;
    union {
        int64_t number;                            // BOOL, INT
        double real;                               // FLOAT
        const char *text;                          // TEXT: UTF-8, no NUL inside
        struct vks_pickle_items *items;            // TUPLE, LIST, DICT
        const struct vks_pickle_global *global;
        const struct vks_pickle_storage *storage;
        const struct vks_pickle_tensor *tensor;
    };
};

struct vks_pickle_items {
    struct vks_pickle_value *values;               // of a DICT: key, value, key, value
    size_t count, capacity;
};

struct vks_pickle_storage {
    const char *key;                               // names its bytes
    enum vks_st_dtype dtype;
    uint64_t count;                                // elements
};

// As the file says it: nothing but the rank has been checked.
struct vks_pickle_tensor {
    const struct vks_pickle_storage *storage;
    int64_t offset;                                // elements
    int rank;
    int64_t shape[VKS_ST_MAX_RANK], stride[VKS_ST_MAX_RANK];
};

// Runs a pickle; all it makes is in the arena. False after one message.
bool vks_torch_unpickle(const struct vks_log *log, const char *path, const unsigned char *data, size_t size,
                        struct vks_arena *arena, struct vks_pickle_value *root);

#endif
