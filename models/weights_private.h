// Private to weights.c and weights_upload.c: what they keep of parameters.
#ifndef VKS_MODELS_WEIGHTS_PRIVATE_H
#define VKS_MODELS_WEIGHTS_PRIVATE_H

#include "base/arena.h"
#include "models/gguf_names.h"
#include "models/weights.h"

// Where something lies on the device.
struct vks_weights_slot {
    enum vks_weight_layout layout;
    struct vks_storage *storage;  // NULL: not uploaded
    uint64_t offset, size;        // bytes
    enum vks_dtype dtype;
};

// A parameter, in its file and on the device.
struct vks_weights_entry {
    struct vks_weight weight;
    bool readable;                // its type is one that can be computed with, namely:
    enum vks_quant_type type;
    enum vks_gguf_form form;
    bool changed;                 // some of weights->changes are its
    bool wanted;                  // by the graphs of the last time that it was dry
    struct vks_weights_slot at;
};

struct vks_weights_changed {
    size_t entry;
    struct vks_weight_change change;
};

// Parameters lie one behind the other.
struct vks_weights_block {
    struct vks_storage *storage;
    uint64_t used;                // bytes
};

struct vks_weights_constant {
    const char *key;
    struct vks_weights_slot at;
};

struct vks_weights {
    const struct vks_log *log;
    struct vks_gpu *gpu;
    const char *path;             // for messages
    struct vks_tensor_file file;  // one of the two
    struct vks_gguf *gguf;
    uint32_t head_width;          // rows of a head, where a GGUF file pairs them
    struct vks_weights_entry *entries;        // sorted by name
    size_t entry_count;
    struct vks_arena arena;       // keys of constants, names
    struct vks_weights_constant *constants;
    size_t constant_count, constant_capacity;
    struct vks_weights_changed *changes;      // in the order given
    size_t change_count, change_capacity;
    struct vks_weights_block *blocks;
    size_t block_count, block_capacity;
    uint32_t holders;
    bool dry;                     // nothing is uploaded now
};

// Bytes that a parameter takes on the device in a layout.
uint64_t vks_weights_device_size(const struct vks_weights_entry *entry, enum vks_weight_layout layout);
// Bytes that it takes as it is, or will be, laid out.
uint64_t vks_weights_planned_size(const struct vks_weights_entry *entry);

// Finds room for slot->size bytes: at the end of the first block that has it, so that small parameters fill what
// large ones leave.
bool vks_weights_make_room(struct vks_weights *weights, struct vks_weights_slot *slot);
// Converts what the file holds and writes it to the device. False after a message.
bool vks_weights_upload(struct vks_weights *weights, struct vks_weights_entry *entry);

#endif
