// What the file of a language model says about it.
#ifndef VKS_MODELS_LANGUAGE_H
#define VKS_MODELS_LANGUAGE_H

#include "base/arena.h"
#include "base/log.h"
#include "io/gguf.h"

#include <stdbool.h>
#include <stdint.h>

// NULL or 0: the file does not say. Texts are fit to be printed: control and invalid bytes stand as \xNN, and what is
// longer than 200 bytes is cut.
struct vks_language {
    const char *architecture;  // "llama": lower-case letters, digits, '-' and '_'
    const char *name, *tokenizer, *pre_tokenizer;  // "gpt2", "smollm"
    uint64_t context;          // tokens
    uint64_t width, layers;    // of the embedding; blocks
    uint64_t heads, kv_heads, head_width, feed_forward;  // where layers differ, the largest
    uint64_t window;           // tokens that local attention sees
    uint64_t vocabulary;       // tokens
    double rope_base;
};

// From the metadata of a GGUF file; texts go to the arena. False, after a message, when the file is no language
// model, is only a part of one, or gives a size that is none.
bool vks_language_from_gguf(const struct vks_log *log, const struct vks_gguf *file, struct vks_arena *arena,
                            struct vks_language *language);

#endif
