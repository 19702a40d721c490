// Byte pair encoding: of the neighbouring symbols of a word the pair whose merge has the lowest rank, leftmost first,
// is joined until no pair has a merge.
// Sennrich et al. 2016 "Neural Machine Translation of Rare Words with Subword Units"; Kudo and Richardson 2018
// "SentencePiece" for merges by score.
#ifndef VKS_MODELS_BPE_H
#define VKS_MODELS_BPE_H

#include "base/log.h"
#include "models/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VKS_BPE_MAX_TEXT ((size_t)1 << 30)  // bytes of a word

struct vks_merge;

// A table of pairs of ids; zero-initialise.
struct vks_merges {
    struct vks_merge *slots;  // open addressing
    size_t slot_count, count;
};

// Room for `count` merges. False after a message.
bool vks_merges_start(const struct vks_log *log, const char *path, size_t count, struct vks_merges *merges);
// The merge of the next rank, of two texts; the first `prefix` bytes of the right one are not part of the result.
// `number` is where it stands, for messages. Of a pair given twice the last counts.
bool vks_merges_add(const struct vks_log *log, const char *path, size_t number,
                    const struct vks_vocabulary *vocabulary, const char *left, size_t left_size, const char *right,
                    size_t right_size, size_t prefix, struct vks_merges *merges);
// All of ["left right", ...] or [["left", "right"], ...].
bool vks_merges_read_json(const struct vks_log *log, const char *path, const struct vks_vocabulary *vocabulary,
                          const struct cJSON *json, size_t prefix, struct vks_merges *merges);
void vks_merges_finish(struct vks_merges *merges);

// A piece of a word.
struct vks_symbol {
    int32_t id;           // -1: none (only where merges go by text)
    uint32_t at, size;    // in the word; size 0: joined to the one before it
    uint32_t previous, next;  // private
};

// Scratch that may serve many words; zero-initialise.
struct vks_bpe_work {
    struct vks_symbol *symbols;
    size_t count, capacity;
    struct vks_candidate *heap;
    size_t heap_count, heap_capacity;
};

// Appends a symbol to those of a new word, whose count was set to 0. False: out of memory.
bool vks_bpe_add_symbol(struct vks_bpe_work *work, int32_t id, size_t at, size_t size);
void vks_bpe_work_finish(struct vks_bpe_work *work);

// What makes two neighbours one: a merge of their ids, or, where `ranks` are given (by id, the lowest first), the
// token whose text is that of both.
struct vks_bpe_rule {
    const struct vks_merges *merges;
    const struct vks_vocabulary *vocabulary;
    const int32_t *ranks;
};

// Joins the symbols of a word; O(n log n). Those left have size > 0. False: out of memory.
bool vks_bpe_join(const struct vks_bpe_rule *rule, const char *word, struct vks_bpe_work *work);

// A whole model.
struct vks_bpe {
    const struct vks_vocabulary *vocabulary;
    struct vks_merges merges;
    int32_t *ranks;               // by id, for merges by score; NULL: merges by rank
    const char *prefix, *suffix;  // of what is not first in a word, of what is last; "" for none
    int32_t unknown;              // -1: none
    int32_t bytes[256];           // "<0x00>" and so on, -1: none
    bool byte_fallback;           // what is unknown becomes these, when all of its bytes have one
    bool fuse_unknown;            // neighbouring unknown characters are one token
    bool ignore_merges;           // a word that is a token is that token
};

// Fills `bytes` from the vocabulary.
void vks_bpe_find_bytes(struct vks_bpe *bpe);
// Appends the ids of one word of valid UTF-8. False: out of memory.
bool vks_bpe_encode(const struct vks_bpe *bpe, const char *word, size_t size, struct vks_bpe_work *work,
                    struct vks_ids *ids);
void vks_bpe_finish(struct vks_bpe *bpe);

#endif
