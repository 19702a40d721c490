// The vocabulary and merges of CLIP's byte-level BPE.
//
// A word's bytes become single-byte tokens (byte-to-printable map, the last one with "</w>"); then the adjacent pair
// whose merge has the lowest rank is joined until no pair has a merge (bpe.h).
// Sennrich et al. 2016 "Neural Machine Translation of Rare Words with Subword Units"; Radford et al. 2021 (CLIP).
#ifndef VKS_MODELS_CLIP_BPE_H
#define VKS_MODELS_CLIP_BPE_H

#include "base/log.h"
#include "models/bpe.h"
#include "models/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vks_clip_bpe {
    struct vks_vocabulary vocabulary;
    struct vks_merges merges;
    int32_t bytes[2][256];  // id of a byte inside of a word and at its end; -1: not in the vocabulary
    int32_t unknown;        // id that stands for such a byte; -1: none
};

// Reads vocab.json and merges.txt. False after one message; `bpe` is then finished.
bool vks_clip_bpe_read(const struct vks_log *log, const char *vocab, const char *merges, struct vks_clip_bpe *bpe);
// Reads "model" of a tokenizer.json.
bool vks_clip_bpe_read_json(const struct vks_log *log, const char *path, struct vks_clip_bpe *bpe);
void vks_clip_bpe_finish(struct vks_clip_bpe *bpe);

// Appends the ids of one word of raw bytes; false when memory runs out.
bool vks_clip_bpe_word(const struct vks_clip_bpe *bpe, const char *word, size_t size, struct vks_bpe_work *work,
                       struct vks_ids *ids);

#endif
