// GGUF tensors and the PyTorch modules of transformers whose parameters they hold.
#ifndef VKS_MODELS_GGUF_NAMES_H
#define VKS_MODELS_GGUF_NAMES_H

#include <stdbool.h>
#include <stddef.h>

// How the file's values stand to the module's parameter.
enum vks_gguf_form {
    VKS_GGUF_AS_IS,
    // Rows of queries and keys: of a head of D rows, row 2 i + s of the file is row s D / 2 + i of the module (the
    // halves that rotate together lie side by side). Biases too. Of the llama architecture.
    VKS_GGUF_PAIRED_ROWS,
    // Gemma's norms: the file holds 1 + weight.
    VKS_GGUF_PLUS_ONE,
};

// Of architectures llama, qwen2, qwen3, gemma2, gemma3 and gpt2: "blk.3.attn_q.weight" is a parameter of
// model.layers.3.self_attn.q_proj. `module` (at least 80 bytes) gets the module's name. False when no module has a
// parameter of this name (tables such as rope_freqs have none), or the architecture is another.
bool vks_gguf_module(const char *architecture, const char *tensor, char *module, size_t capacity,
                     enum vks_gguf_form *form);

#endif
