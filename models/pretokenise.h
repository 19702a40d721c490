// Pre-tokenizers of tokenizer.json: where a normalised text is cut before the model sees it.
#ifndef VKS_MODELS_PRETOKENISE_H
#define VKS_MODELS_PRETOKENISE_H

#include "base/arena.h"
#include "base/log.h"
#include "base/text.h"
#include "io/json.h"
#include "models/expression.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A piece of a text, or a token that was found in it.
struct vks_piece {
    size_t at, size;  // in the text of vks_pieces
    int32_t id;       // -1: not a token yet
    bool first;       // begins where the whole text began
};

struct vks_pieces {
    struct vks_text text;
    struct vks_piece *items;
    size_t count, capacity;
};

bool vks_pieces_add(struct vks_pieces *pieces, size_t at, size_t size, int32_t id, bool first);
void vks_pieces_finish(struct vks_pieces *pieces);

struct vks_pre_step;

// Steps in their order; zero-initialise.
struct vks_pretokeniser {
    struct vks_arena arena;
    struct vks_pre_step *steps;
    size_t count, capacity;
};

// Appends the steps of "pre_tokenizer", which may be NULL. False after one message.
bool vks_pretokeniser_read(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                           struct vks_pretokeniser *pretokeniser);
// Appends one step: cuts out what an expression finds, or (NULL) maps bytes to characters as byte-level BPE has them.
bool vks_pretokeniser_add(const struct vks_log *log, const char *path, const char *expression,
                          struct vks_pretokeniser *pretokeniser);
void vks_pretokeniser_finish(struct vks_pretokeniser *pretokeniser);

// Cuts the pieces that are no tokens; none of the pieces is empty afterwards. False after one message.
bool vks_pretokeniser_apply(const struct vks_log *log, const struct vks_pretokeniser *pretokeniser,
                            struct vks_finder_data *data, struct vks_pieces *pieces);

#endif
