// The index of a sharded set of weights: {"weight_map": {TENSOR: FILE, ...}}, of files in its own folder.
#ifndef VKS_IO_SHARDS_H
#define VKS_IO_SHARDS_H

#include "base/arena.h"
#include "base/log.h"
#include "io/safetensors.h"

#include <stdbool.h>
#include <stddef.h>

struct vks_shards {
    struct vks_shard_entry {
        const char *name, *shard;
    } *entries;                   // sorted by name, each once
    size_t count;                 // at least 1
    const char **shards, **paths; // sorted, each once: names, and with the folder before them
    size_t shard_count;           // at most 1024
    struct vks_arena arena;       // private
};

// False after one message. Finish it in any case.
bool vks_shards_open(const struct vks_log *log, const char *path, struct vks_shards *set);
void vks_shards_finish(struct vks_shards *set);
// Puts the tensors that the index places in a shard into out[], which has one place for each entry, in their order.
// `found` are the shard's own, sorted by name. False after one message: it lacks one.
bool vks_shards_take(const struct vks_log *log, const struct vks_shards *set, size_t shard,
                     const struct vks_st_tensor *found, size_t count, struct vks_st_tensor *out);

#endif
