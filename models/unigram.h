// The Unigram model: of all ways to cut a text into tokens the one with the largest sum of scores.
// Kudo 2018 "Subword Regularization" (Viterbi's best path, section 3.2).
#ifndef VKS_MODELS_UNIGRAM_H
#define VKS_MODELS_UNIGRAM_H

#include "base/log.h"
#include "io/json.h"
#include "models/prefixes.h"
#include "models/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vks_unigram {
    const struct vks_vocabulary *vocabulary;
    struct vks_prefixes prefixes;  // values: ids
    double *scores;                // by id: logarithms of probabilities
    double unknown_score;
    int32_t unknown;               // -1: none
    int32_t bytes[256];            // "<0x00>" and so on, -1: none
    bool byte_fallback;
};

// Scratch that may serve many texts; zero-initialise, free() nodes.
struct vks_unigram_work {
    struct vks_unigram_node *nodes;
    size_t capacity;
};

// Reads "model" of a tokenizer.json: [["token", score], ...], the place is the id. Fills `vocabulary`, which must
// stay. False after one message.
bool vks_unigram_read(const struct vks_log *log, const struct vks_json *json, const struct cJSON *model,
                      struct vks_vocabulary *vocabulary, struct vks_unigram *unigram);
void vks_unigram_finish(struct vks_unigram *unigram);

// Appends the ids of a text of valid UTF-8. False after one message: out of memory, or a character that no token has
// and no unknown token.
bool vks_unigram_encode(const struct vks_log *log, const struct vks_unigram *unigram, const char *text, size_t size,
                        struct vks_unigram_work *work, struct vks_ids *ids);

#endif
