// The tokens of a tokenizer: text to id and back.
#ifndef VKS_MODELS_VOCABULARY_H
#define VKS_MODELS_VOCABULARY_H

#include "base/arena.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VKS_MAX_TOKENS ((size_t)1 << 22)  // also bounds the ids

struct cJSON;

struct vks_token {
    const char *text;  // any bytes, NUL behind them
    uint32_t size;
    int32_t id;
};

struct vks_vocabulary {
    struct vks_arena arena;
    struct vks_token *items;  // in the order in which they came
    size_t count, capacity;
    int32_t *slots;           // places in `items`, open addressing by text; -1: free
    size_t slot_count;
    int32_t *by_id;           // places in `items`; -1: none
    size_t id_capacity;
    int32_t size;             // largest id + 1
};

// A growing list of ids; zero-initialise, free() items.
struct vks_ids {
    int32_t *items;
    size_t count, capacity;
};

bool vks_ids_add(struct vks_ids *ids, int32_t id);

// Zero-initialise. False after one message that begins with `path`: out of memory, or an id that is none. Of a text
// or an id given twice the last counts.
bool vks_vocabulary_add(const struct vks_log *log, const char *path, struct vks_vocabulary *vocabulary,
                        const char *text, size_t size, double id);
// The same for all of {"token": id, ...}.
bool vks_vocabulary_read_json(const struct vks_log *log, const char *path, const struct cJSON *json,
                              struct vks_vocabulary *vocabulary);
void vks_vocabulary_finish(struct vks_vocabulary *vocabulary);

// The id of a text, or -1.
int32_t vks_vocabulary_find(const struct vks_vocabulary *vocabulary, const char *text, size_t size);
// The token of an id, or NULL.
const struct vks_token *vks_vocabulary_get(const struct vks_vocabulary *vocabulary, int32_t id);

#endif
