// The vocabulary and merges of CLIP's byte-level BPE.
//
// A word's bytes become single-byte tokens (byte-to-printable map, the last one with "</w>"); then the adjacent pair
// whose merge has the lowest rank, leftmost first, is joined until no pair has a merge.
// Sennrich et al. 2016 "Neural Machine Translation of Rare Words with Subword Units"; Radford et al. 2021 (CLIP).
#ifndef VKS_MODELS_CLIP_BPE_H
#define VKS_MODELS_CLIP_BPE_H

#include "base/arena.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vks_clip_token;
struct vks_clip_merge;

struct vks_clip_bpe {
    struct vks_arena arena;
    struct vks_clip_token *tokens;  // open addressing by text
    size_t token_slots, token_count;
    struct vks_clip_merge *merges;  // open addressing by pair of ids
    size_t merge_slots, merge_count;
    int32_t bytes[2][256];  // id of a byte inside of a word and at its end; -1: not in the vocabulary
    int32_t unknown;        // id that stands for such a byte; -1: none
    int32_t size;           // largest id + 1
};

// A growing list of ids.
struct vks_clip_ids {
    int32_t *items;
    size_t count, capacity;
};

// Scratch that may serve many words; zero-initialise.
struct vks_clip_work {
    struct vks_clip_symbol *symbols;
    size_t symbol_capacity;
    struct vks_clip_candidate *heap;
    size_t heap_count, heap_capacity;
};

// Reads vocab.json and merges.txt. False after one message; `bpe` is then finished.
bool vks_clip_bpe_read(const struct vks_log *log, const char *vocab, const char *merges, struct vks_clip_bpe *bpe);
// Reads "model" of a tokenizer.json.
bool vks_clip_bpe_read_json(const struct vks_log *log, const char *path, struct vks_clip_bpe *bpe);
void vks_clip_bpe_finish(struct vks_clip_bpe *bpe);

// The id of a token's text (as in vocab.json), or -1.
int32_t vks_clip_bpe_find(const struct vks_clip_bpe *bpe, const char *text, size_t size);
// Appends the ids of one word of raw bytes; false when memory runs out.
bool vks_clip_bpe_word(const struct vks_clip_bpe *bpe, const char *word, size_t size, struct vks_clip_work *work,
                       struct vks_clip_ids *ids);
bool vks_clip_ids_add(struct vks_clip_ids *ids, int32_t id);
void vks_clip_work_finish(struct vks_clip_work *work);

#endif
