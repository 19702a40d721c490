// UNet2DConditionModel of diffusers 0.42, as Stable Diffusion 1.x, 2.x, turbo, LCM and SDXL configure it.
//
// conv_in -> down blocks (resnets, transformers, halving) -> middle -> up blocks (the same with the skips, doubling)
// -> norm, activation, conv_out. Rombach et al. 2022; Podell et al. 2023 for the added embeddings of SDXL.
// A block's output 0 is a site (`unet.down_blocks.0:0`); a map on it leaves the skip that was already stored alone.
#ifndef VKS_MODELS_UNET_H
#define VKS_MODELS_UNET_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"
#include "models/config.h"
#include "models/weights.h"
#include "ops/ops.h"

struct vks_unet_config {
    uint32_t in, out, levels;
    uint32_t sample_size;                          // latents the model was trained on, 0: not said
    uint32_t channels[VKS_MAX_LEVELS];
    uint32_t layers[VKS_MAX_LEVELS];               // resnets of a down block; an up block has one more
    uint32_t transformers[VKS_MAX_LEVELS];         // transformer blocks behind each resnet
    uint32_t heads[VKS_MAX_LEVELS];                // the config calls them attention_head_dim
    uint32_t context[VKS_MAX_LEVELS];              // channels of the text
    bool down_cross[VKS_MAX_LEVELS], up_cross[VKS_MAX_LEVELS];  // CrossAttn or plain block
    bool middle;
    bool linear_projection, center, flip;
    uint32_t groups, conv_in_kernel, conv_out_kernel, downsample_padding;
    float eps, middle_scale;
    double frequency_shift;
    uint32_t time;                                 // channels of the time embedding
    uint32_t condition;                            // channels of the guidance embedding of LCM models, 0: none
    uint32_t added_time, added;                    // SDXL: channels of each time id, and of all; 0: none
    enum vks_unary act;
};

// Reads FOLDER/config.json.
bool vks_unet_config_read(const struct vks_log *log, const char *folder, struct vks_unet_config *config);

struct vks_unet_inputs {
    const char *component;           // "unet": the first part of the sites' names
    struct vks_tensor *sample;       // (B, H, W, in), scaled as the scheduler says
    struct vks_tensor *time;         // (B, channels[0]) of vks_unet_time_table: one row a sample
    struct vks_tensor *context;      // (B, T, context)
    struct vks_tensor *context_mask; // (B, T) float, 1 = token; or NULL
    struct vks_tensor *condition;    // (B, condition) of vks_unet_guidance_table, for models that have one; or NULL
    struct vks_tensor *text_embeds;  // SDXL: (B, added - 6 added_time), the pooled text
    struct vks_tensor *time_ids;     // SDXL: (B, ids, added_time) of vks_unet_time_id_table
};

// Adds the network to `graph`; returns its output (B, H, W, out), or NULL when the graph has failed.
struct vks_tensor *vks_unet_build(struct vks_graph *graph, struct vks_weights *weights,
                                  const struct vks_unet_config *config, const struct vks_unet_inputs *inputs);

// One row of the sinusoids, computed in double: out[channels[0]], out[added_time], out[condition].
void vks_unet_time_table(const struct vks_unet_config *config, double timestep, float out[]);
void vks_unet_time_id_table(const struct vks_unet_config *config, double id, float out[]);
void vks_unet_guidance_table(const struct vks_unet_config *config, double guidance_scale, float out[]);

#endif
