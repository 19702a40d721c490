// The inside of a tokenizer, for the files that make one: tokenizer_json.c and tokenizer_gguf.c.
#ifndef VKS_MODELS_TOKENIZER_PARTS_H
#define VKS_MODELS_TOKENIZER_PARTS_H

#include "models/added.h"
#include "models/bpe.h"
#include "models/decode.h"
#include "models/normalise.h"
#include "models/pretokenise.h"
#include "models/tokenizer.h"
#include "models/unigram.h"

enum vks_tokenizer_model { VKS_MODEL_BPE, VKS_MODEL_UNIGRAM };

struct vks_tokenizer {
    struct vks_arena arena;
    struct vks_vocabulary vocabulary;  // the model's own tokens
    struct vks_added added;
    struct vks_vocabulary added_ids;   // the added tokens by id; their text as decoders get it
    struct vks_normaliser normaliser;
    struct vks_pretokeniser pretokeniser;
    enum vks_tokenizer_model model;
    struct vks_bpe bpe;
    struct vks_unigram unigram;
    struct vks_decoder decoder;
    struct vks_ids before, after;      // what the post-processor puts around the ids of a text
    struct vks_tokenizer_names names;
    struct vks_ids ends;               // what ends a text, beside names.eos
};

// An empty one, or NULL after one message.
struct vks_tokenizer *vks_tokenizer_new(const struct vks_log *log, const char *path);
// Adds a token to `added`, of the model's id for that text or else of `id`; the normaliser must be there.
// False after one message.
bool vks_tokenizer_add(const struct vks_log *log, const char *path, struct vks_tokenizer *tokenizer,
                       const struct vks_added_token *token, int32_t id);

#endif
