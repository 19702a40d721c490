// CLIP's text encoder (CLIPTextModel, CLIPTextModelWithProjection of transformers).
//
// tokens + positions -> L x [x += attention(norm1(x)), x += mlp(norm2(x))], causal -> final norm. Radford et al.
// 2021. Sites bear transformers 5's names: CLIPTextModel has no `text_model.` in them
// (`text_encoder.encoder.layers.0...`), CLIPTextModelWithProjection has
// (`text_encoder_2.text_model.encoder.layers.0...`). Parameters are found with the prefix and without, as both are in
// use.
#ifndef VKS_MODELS_CLIP_TEXT_H
#define VKS_MODELS_CLIP_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"
#include "models/weights.h"
#include "ops/ops.h"

struct vks_clip_text_config {
    bool projected;             // CLIPTextModelWithProjection
    uint32_t vocabulary, length, width, inner, layers, heads, projection;
    enum vks_unary act;
    float eps;
    int32_t end;                // id of the end token, or 2 in old files, where it means the largest id
};

// Reads FOLDER/config.json.
bool vks_clip_text_config_read(const struct vks_log *log, const char *folder, struct vks_clip_text_config *config);

struct vks_clip_text_inputs {
    const char *component;      // "text_encoder": the first part of the sites' names
    struct vks_tensor *ids;     // (B, T) int32, T at most config.length
    struct vks_tensor *end;     // (B) int32, row of the end token in each sample; NULL: no pooled outputs
};

struct vks_clip_text_outputs {
    struct vks_tensor *last;         // (B, T, C) after the final norm
    struct vks_tensor *penultimate;  // (B, T, C) what the last layer reads, not normalised: hidden_states[-2]
    struct vks_tensor *pooled;       // (B, C) the end token's row of `last`; NULL without `end`
    struct vks_tensor *embeds;       // (B, projection); NULL without `end` or without projection
};

// Adds the encoder to `graph`; false when the graph has failed.
bool vks_clip_text_build(struct vks_graph *graph, struct vks_weights *weights,
                         const struct vks_clip_text_config *config, const struct vks_clip_text_inputs *inputs,
                         struct vks_clip_text_outputs *outputs);

// The row that pooling takes of each of `rows` samples of `length` ids.
void vks_clip_text_end_rows(const struct vks_clip_text_config *config, const int32_t ids[], uint32_t rows,
                            uint32_t length, int32_t end[]);

#endif
