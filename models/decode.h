// Decoders of tokenizer.json: from tokens back to text, token by token.
#ifndef VKS_MODELS_DECODE_H
#define VKS_MODELS_DECODE_H

#include "base/arena.h"
#include "base/log.h"
#include "base/text.h"
#include "io/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vks_decode_step;

// Steps in their order; zero-initialise. Without a step tokens are joined with spaces.
struct vks_decoder {
    struct vks_arena arena;
    struct vks_decode_step *steps;
    size_t count, capacity;
    bool plain;  // tokens are joined as they are
};

// Appends the steps of "decoder", which may be NULL. False after one message.
bool vks_decoder_read(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                      struct vks_decoder *decoder);
// Appends one step of byte-level BPE, or those of SentencePiece, which drop the space in front when `strip`.
bool vks_decoder_add_byte_level(struct vks_decoder *decoder);
bool vks_decoder_add_sentencepiece(struct vks_decoder *decoder, bool strip);
void vks_decoder_finish(struct vks_decoder *decoder);

// A text on its way.
struct vks_decoding;

// `eager`: bytes of fallback tokens come out as soon as they are whole characters. (Else they wait until another
// token follows, since one that is broken then makes U+FFFD of all bytes of the run.) NULL: out of memory.
// The decoder must stay.
struct vks_decoding *vks_decoding_create(const struct vks_decoder *decoder, bool eager);
// Accepts NULL; nulls it.
void vks_decoding_destroy(struct vks_decoding **decoding);
// Appends to `out` what one more token makes certain. False: out of memory, or an expression that takes too long.
bool vks_decoding_add(struct vks_decoding *decoding, const char *token, size_t size, struct vks_text *out);
// Appends what was held back; no token may follow.
bool vks_decoding_end(struct vks_decoding *decoding, struct vks_text *out);

#endif
