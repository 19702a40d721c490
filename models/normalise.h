// Normalizers of tokenizer.json: what is done to a text before it is split.
#ifndef VKS_MODELS_NORMALISE_H
#define VKS_MODELS_NORMALISE_H

#include "base/arena.h"
#include "base/log.h"
#include "base/text.h"
#include "io/json.h"
#include "models/expression.h"

#include <stdbool.h>
#include <stddef.h>

struct vks_normal_step;

// Steps in their order; zero-initialise.
struct vks_normaliser {
    struct vks_arena arena;
    struct vks_normal_step *steps;
    size_t count, capacity;
};

// Appends the steps of "normalizer", which may be NULL. False after one message.
bool vks_normaliser_read(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                         struct vks_normaliser *normaliser);
// Appends one step: every `pattern` becomes `content`, or `content` goes in front of a text that is not empty.
bool vks_normaliser_add_replace(struct vks_normaliser *normaliser, const char *pattern, const char *content);
bool vks_normaliser_add_prepend(struct vks_normaliser *normaliser, const char *content);
// NFC.
bool vks_normaliser_add_compose(struct vks_normaliser *normaliser);
void vks_normaliser_finish(struct vks_normaliser *normaliser);

// Changes `text` (valid UTF-8) in place; `spare` is scratch. *first: whether its first character is the first of the
// whole text, which is no longer so when that one is taken away. False: an expression takes too long, or no memory.
bool vks_normaliser_apply(const struct vks_normaliser *normaliser, struct vks_finder_data *data,
                          struct vks_text *text, struct vks_text *spare, bool *first);

#endif
