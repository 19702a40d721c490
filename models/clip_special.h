// The special tokens of a CLIP tokenizer, which are cut out of the text before it is split into words.
#ifndef VKS_MODELS_CLIP_SPECIAL_H
#define VKS_MODELS_CLIP_SPECIAL_H

#include "base/arena.h"
#include "base/log.h"
#include "base/text.h"
#include "io/json.h"
#include "models/clip_bpe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vks_clip_special {
    const char *text;     // as written in the files
    const char *pattern;  // what is searched for: the text, normalised when `normalised`
    size_t pattern_size;
    int32_t id;
    bool normalised;                   // searched for in normalised text, else in the text as it is
    bool lstrip, rstrip, single_word;  // takes the white space before or after it; only as a word of its own
};

struct vks_clip_specials {
    struct vks_arena arena;
    struct vks_clip_special *items;
    size_t count, capacity;
    int32_t bos, eos, pad;
    int32_t size;  // largest id of all tokens + 1
};

// The documents that describe them; each may be NULL.
struct vks_clip_special_files {
    const struct vks_json *config;  // tokenizer_config.json
    const struct vks_json *map;     // special_tokens_map.json
    const struct vks_json *added;   // added_tokens.json
    const struct vks_json *whole;   // tokenizer.json
    const char *folder;             // for messages
};

// Also sets bpe->unknown. Tokens that the vocabulary lacks get new ids behind it. False after one message.
bool vks_clip_specials_read(const struct vks_log *log, const struct vks_clip_special_files *files,
                            struct vks_clip_bpe *bpe, struct vks_clip_specials *specials);
void vks_clip_specials_finish(struct vks_clip_specials *specials);

// Calls `emit` for every special token (its id) and every piece of text between them (id -1), in order, until it
// returns false; the longest of the tokens that begin leftmost counts. `normalised`: which tokens are searched for.
bool vks_clip_specials_split(const struct vks_clip_specials *specials, bool normalised, const char *text, size_t size,
                             bool (*emit)(void *priv, int32_t id, const char *text, size_t size), void *priv);

// Appends the normal form of valid UTF-8: NFC, runs of white space to one space, lower case. False: out of memory.
bool vks_clip_normalise(const char *text, size_t size, struct vks_text *out);

#endif
