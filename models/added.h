// Added and special tokens, which are cut out of a text before anything else looks at it.
#ifndef VKS_MODELS_ADDED_H
#define VKS_MODELS_ADDED_H

#include "base/arena.h"
#include "models/prefixes.h"
#include "models/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vks_added_token {
    const char *text;     // as written in the files
    const char *pattern;  // what is searched for: the text, normalised when `normalised`
    size_t text_size, pattern_size;
    int32_t id;
    bool special;                      // may be left out when ids are decoded, may stand for itself in a text
    bool normalised;                   // searched for in normalised text, else in the text as it is
    bool lstrip, rstrip, single_word;  // takes the white space before or after it; only as a word of its own
};

// Zero-initialise.
struct vks_added {
    struct vks_arena arena;
    struct vks_added_token *items;
    size_t count, capacity;
    struct vks_vocabulary positions;   // of the texts in `items`
    struct vks_prefixes patterns[2];   // of the others and of the normalised ones; values: places in `items`
};

// Copies the texts; of a text added twice the last counts, in the place of the first. Neither text nor pattern may be
// empty or longer than VKS_ADDED_MAX. False: out of memory.
bool vks_added_put(struct vks_added *added, const struct vks_added_token *token);
// To be called when all are in. False: out of memory.
bool vks_added_index(struct vks_added *added);
void vks_added_finish(struct vks_added *added);
// The token of that very text, or NULL.
struct vks_added_token *vks_added_find(const struct vks_added *added, const char *text, size_t size);

#define VKS_ADDED_MAX 4096  // bytes

enum vks_added_which {
    VKS_ADDED_RAW,         // those that are not `normalised`
    VKS_ADDED_NORMALISED,  // the others
};

// Calls `emit` for every token in valid UTF-8 (its id) and every piece of text between them (id -1), in order, until
// it returns false; of the tokens that begin leftmost the longest counts. `literal`: special ones are only text.
bool vks_added_split(const struct vks_added *added, enum vks_added_which which, bool literal, const char *text,
                     size_t size, bool (*emit)(void *priv, int32_t id, const char *text, size_t size), void *priv);

#endif
