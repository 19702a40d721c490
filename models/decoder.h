// Decoder-only language models: Llama, Qwen 2 and 3, Gemma 2 and 3 (text), GPT-2.
//
//     struct vks_decoder *d = vks_decoder_open(log, gpu, "folder or file.gguf");
//     struct vks_decoder_params params = {.batch = 2, .length = 64, .head = VKS_HEAD_ALL};
//     vks_decoder_build(d, &graph, &params, &io);
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
// Whether the weights of linear layers lie the other way round, (in, out): GPT-2's in safetensors (transformers'
// Conv1D).
bool vks_decoder_has_conv1d(const struct vks_decoder *decoder);
// Frees device memory too. Accepts NULL; nulls it.
void vks_decoder_close(struct vks_decoder **decoder);

// Keys and values of texts that grow, of every layer: row r of sample b is its token at position r. Graphs that were
// built over one cache continue each other's texts.
struct vks_decoder_cache {
    uint32_t batch, rows;          // texts, and tokens of each at most; read-only
    enum vks_dtype dtype;          // VKS_F32, or VKS_F16: half the memory, rounded; read-only
    uint32_t layers;               // private, and so is
    struct vks_storage **storages; // keys and values of each layer (batch, rows, kv_heads * head_width)
};
// NULL after one message, when memory is short.
struct vks_decoder_cache *vks_decoder_cache_create(const struct vks_decoder *decoder, struct vks_gpu *gpu,
                                                   uint32_t batch, uint32_t rows, enum vks_dtype dtype);
// Accepts NULL; nulls it. No exec of a graph over it may run afterwards.
void vks_decoder_cache_destroy(struct vks_decoder_cache **cache);

enum vks_decoder_head {
    VKS_HEAD_NONE,                 // the graph ends at the final norm, and the head's matrix is not needed
    VKS_HEAD_ALL,                  // logits of every token
    VKS_HEAD_ONE,                  // logits of one token of each sample
};

struct vks_decoder_params {
    uint32_t batch, length;        // B, T
    enum vks_decoder_head head;
    const struct vks_decoder_cache *cache;  // NULL: whole texts. Otherwise the T tokens follow what stands there
    uint32_t keys;                 // of the cache: how many rows attention looks at, which saves time; 0: all
};

struct vks_decoder_io {
    struct vks_tensor *ids;        // INPUT (B, T) int32
    struct vks_tensor *positions;  // INPUT (B, T) int32, below T; of padding: any. Over a cache the first of each
                                   // sample says where its tokens follow, and padding is on the right
    struct vks_tensor *mask;       // INPUT (B, T) float, 1 = token, 0 = padding; on either side. Over a cache it is
                                   // for maps at the last token alone: where that is not among these T, all are 0
    struct vks_tensor *row;        // INPUT (B) int32: whose logits (VKS_HEAD_ONE); otherwise NULL
    struct vks_tensor *last;       // (B, T, C) after the final norm
    struct vks_tensor *logits;     // (B, T, V), with VKS_HEAD_ONE (B, 1, V), or NULL without the head
};

// Adds the model to `graph`. False when the graph has failed.
bool vks_decoder_build(struct vks_decoder *decoder, struct vks_graph *graph, const struct vks_decoder_params *params,
                       struct vks_decoder_io *io);
// Writes the inputs of a graph without a cache: as many texts as its batch, of counts[b] tokens each (1 to T), padded
// on the right.
bool vks_decoder_feed(const struct vks_decoder *decoder, struct vks_exec *exec, const struct vks_decoder_io *io,
                      const int32_t *const ids[], const uint32_t counts[]);

#endif
