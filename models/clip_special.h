// The special tokens of a CLIP tokenizer, which are cut out of the text before it is split into words.
#ifndef VKS_MODELS_CLIP_SPECIAL_H
#define VKS_MODELS_CLIP_SPECIAL_H

#include "base/log.h"
#include "base/text.h"
#include "io/json.h"
#include "models/added.h"
#include "models/clip_bpe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vks_clip_specials {
    struct vks_added added;
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

// Appends the normal form of valid UTF-8: NFC, runs of white space to one space, lower case. False: out of memory.
bool vks_clip_normalise(const char *text, size_t size, struct vks_text *out);

#endif
