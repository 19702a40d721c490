// A set of texts that tells which of them a text begins with.
#ifndef VKS_MODELS_PREFIXES_H
#define VKS_MODELS_PREFIXES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vks_prefix {
    const char *text;  // not empty; not copied
    size_t size;
    int32_t value;
};

struct vks_prefixes {
    struct vks_prefix *sorted;  // by bytes
    size_t count, first[257];   // those that begin with byte b: first[b] to first[b + 1]
};

// Takes `items` (heap), whether it succeeds or not; of equal texts that with the lowest value stays.
void vks_prefixes_build(struct vks_prefix *items, size_t count, struct vks_prefixes *prefixes);
void vks_prefixes_finish(struct vks_prefixes *prefixes);

// Where a search stands; zero-initialise for each place in the text.
struct vks_prefix_walk {
    size_t low, high, depth;
};

// The next longer one that `text` of `size` bytes begins with, or NULL.
const struct vks_prefix *vks_prefixes_next(const struct vks_prefixes *prefixes, const char *text, size_t size,
                                           struct vks_prefix_walk *walk);

#endif
