// CLIP's byte-level BPE, token for token as transformers' CLIPTokenizer (fast, 5.x) for Stable Diffusion tokenizers.
//
// Text -> special tokens cut out -> NFC, runs of white space to one space, lower case -> CLIP's split expression ->
// bytes to printable characters -> merges by rank, the last piece of a word with "</w>" -> ids, cut to length with
// start and end tokens, padded.
#ifndef VKS_MODELS_CLIP_TOKENIZER_H
#define VKS_MODELS_CLIP_TOKENIZER_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vks_clip_tokenizer;

// Reads vocab.json and merges.txt (or tokenizer.json when they are not there), tokenizer_config.json and
// special_tokens_map.json from a folder. NULL after one message.
struct vks_clip_tokenizer *vks_clip_tokenizer_open(const struct vks_log *log, const char *folder);
// Accepts NULL; nulls it.
void vks_clip_tokenizer_close(struct vks_clip_tokenizer **tokenizer);

// Encodes UTF-8 text of `size` bytes into exactly `length` ids (length >= 2): start token, at most length - 2 tokens,
// end token, then padding. *used (may be NULL) gets the number of ids before the padding, start and end included;
// *total (may be NULL) what it would be without truncation. Invalid UTF-8 is refused with a message.
// The tokenizer is not changed: several threads may use one.
bool vks_clip_tokenizer_encode(const struct vks_log *log, const struct vks_clip_tokenizer *tokenizer,
                               const char *text, size_t size, int32_t *ids, size_t length, size_t *used,
                               size_t *total);

// model_max_length of the configuration (77 when it says nothing sensible).
size_t vks_clip_tokenizer_max_length(const struct vks_clip_tokenizer *tokenizer);
// Largest id + 1.
int32_t vks_clip_tokenizer_size(const struct vks_clip_tokenizer *tokenizer);
int32_t vks_clip_tokenizer_bos(const struct vks_clip_tokenizer *tokenizer);
int32_t vks_clip_tokenizer_eos(const struct vks_clip_tokenizer *tokenizer);
int32_t vks_clip_tokenizer_pad(const struct vks_clip_tokenizer *tokenizer);

#endif
