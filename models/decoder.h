// Decoder-only language models: Llama, Qwen 2 and 3, Gemma 2 and 3 (text), GPT-2.
//
//     struct vks_decoder *d = vks_decoder_open(log, gpu, "folder or file.gguf");
//     vks_decoder_build(d, &graph, batch, length, true, &io);
//     ... io.logits->keep = true; exec = vks_exec_create(...)
//     vks_decoder_feed(d, exec, &io, ids, counts); vks_exec_run(exec, NULL);
//
// Every module of transformers' model is a site under its name ("model.layers.3.post_attention_layernorm",
// "transformer.h.3.attn:0"), of kind TOKENS with the padding as its mask, whether the weights come from safetensors
// or from GGUF, and with the same channels. No sites are the tables of angles (rotary_emb) and the attention weights
// (self_attn:1), which are not made here. Norms of single heads (q_norm) have heads * D channels.
#ifndef VKS_MODELS_DECODER_H
#define VKS_MODELS_DECODER_H

#include <stdbool.h>
#include <stdint.h>

#include "exec/exec.h"
#include "gpu/gpu.h"
#include "graph/graph.h"
#include "models/decoder_config.h"
#include "models/weights.h"

// Read-only for users.
struct vks_decoder {
    const struct vks_log *log;
    const char *path;            // as given
    struct vks_decoder_config config;
    struct vks_weights *weights;
    uint64_t parameters, bytes;  // of the file
    struct vks_arena arena;      // private
};

// Opens a Hugging Face folder (config.json, safetensors, also sharded) or a GGUF file. With `gpu` NULL graphs can be
// built and looked at, but not run. `log` and `gpu` must outlive it. NULL after one message.
struct vks_decoder *vks_decoder_open(const struct vks_log *log, struct vks_gpu *gpu, const char *path);
// Gives a device to a model that was opened without one; graphs that were made before still cannot be run.
void vks_decoder_attach(struct vks_decoder *decoder, struct vks_gpu *gpu);
// Frees device memory too. Accepts NULL; nulls it.
void vks_decoder_close(struct vks_decoder **decoder);

struct vks_decoder_io {
    struct vks_tensor *ids;        // INPUT (B, T) int32
    struct vks_tensor *positions;  // INPUT (B, T) int32, below T; of padding: any
    struct vks_tensor *mask;       // INPUT (B, T) float, 1 = token, 0 = padding; on either side
    struct vks_tensor *last;       // (B, T, C) after the final norm
    struct vks_tensor *logits;     // (B, T, V), or NULL without the head
};

// Adds the model to `graph`. Without `head` it ends at the final norm, and the head's matrix is not needed. False
// when the graph has failed.
bool vks_decoder_build(struct vks_decoder *decoder, struct vks_graph *graph, uint32_t batch, uint32_t length,
                       bool head, struct vks_decoder_io *io);
// Writes the inputs: as many texts as the graph's batch, of counts[b] tokens each (1 to T), padded on the right.
bool vks_decoder_feed(const struct vks_decoder *decoder, struct vks_exec *exec, const struct vks_decoder_io *io,
                      const int32_t *const ids[], const uint32_t counts[]);

#endif
