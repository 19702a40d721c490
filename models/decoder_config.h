// What a decoder-only language model is: families, sizes and rotary tables, from config.json or a GGUF file.
//
// Families are those of transformers (LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Gemma2ForCausalLM,
// Gemma3ForCausalLM, GPT2LMHeadModel); keys are read in the spelling of transformers 5 (rope_parameters) and before
// it (rope_theta, rope_scaling, rope_local_base_freq). Files are hostile input: every size is bounded here.
#ifndef VKS_MODELS_DECODER_CONFIG_H
#define VKS_MODELS_DECODER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/log.h"
#include "io/gguf.h"
#include "io/json.h"
#include "ops/ops.h"

enum vks_decoder_family {
    VKS_DECODER_LLAMA,
    VKS_DECODER_QWEN2,
    VKS_DECODER_QWEN3,
    VKS_DECODER_GEMMA2,
    VKS_DECODER_GEMMA3,
    VKS_DECODER_GPT2,
    VKS_DECODER_FAMILIES,
};

enum vks_rope_kind {
    VKS_ROPE_PLAIN,
    VKS_ROPE_LINEAR,   // every frequency divided by factor
    VKS_ROPE_LLAMA3,   // long waves divided by factor, short ones kept, those between interpolated
    VKS_ROPE_DIVISORS, // a divisor for each frequency (the tensor rope_freqs of GGUF files)
};

struct vks_rope {
    enum vks_rope_kind kind;
    double theta;                        // frequency i is theta^(-2 i / head_width)
    double factor, low, high, original;  // of Llama 3: factors of the two wave lengths, context trained on
    const float *divisors;               // (head_width / 2), in the arena
};

struct vks_decoder_config {
    enum vks_decoder_family family;
    const char *type;            // "LlamaForCausalLM"
    uint32_t vocabulary, context, width, inner, layers, heads, kv_heads, head_width;
    enum vks_unary act;
    float eps;
    float score_scale;           // of queries times keys
    float attention_cap, logit_cap;  // c tanh(x / c); 0: none
    bool tied;                   // the head's matrix is the embedding's
    bool qkv_bias, out_bias, mlp_bias;
    uint32_t window;             // keys that a query of a local layer sees, itself included
    const bool *local;           // (layers), in the arena
    struct vks_rope rope[2];     // of global and of local layers; GPT-2 has positions in its weights instead
};

// Whether transformers' norms hold weight - 1, and norms stand behind attention and feed-forward part too.
bool vks_decoder_is_gemma(const struct vks_decoder_config *config);
// Norms of single heads of queries and keys.
bool vks_decoder_has_head_norms(const struct vks_decoder_config *config);

// Reads FOLDER/config.json; what the config points to is put into the arena. False: one message.
bool vks_decoder_config_read(const struct vks_log *log, const char *folder, struct vks_arena *arena,
                             struct vks_decoder_config *config);
// The same from the metadata of a GGUF file, and from which tensors it has.
bool vks_decoder_config_from_gguf(const struct vks_log *log, const struct vks_gguf *file, struct vks_arena *arena,
                                  struct vks_decoder_config *config);
// Bounds and divisibility, whatever the source; `path` is for messages.
bool vks_decoder_config_check(const struct vks_log *log, const char *path, const struct vks_decoder_config *config);

// Cosines and sines of positions first .. first + count - 1, computed in double: out (count, head_width), a row the
// head_width / 2 cosines and then the sines.
void vks_rope_table(const struct vks_rope *rope, uint32_t head_width, uint32_t first, uint32_t count, float *out);

#endif
