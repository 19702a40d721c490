// AutoencoderTiny of diffusers (TAESD): latents to pixels and back, by small residual convolutions.
#ifndef VKS_MODELS_AUTOENCODER_TINY_H
#define VKS_MODELS_AUTOENCODER_TINY_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"
#include "models/config.h"
#include "models/weights.h"
#include "ops/ops.h"

struct vks_autoencoder_tiny_config {
    uint32_t in, out, latents;  // channels of pictures and of latents
    uint32_t upsampling;        // a level's factor
    uint32_t encoder_levels, decoder_levels;
    uint32_t encoder_channels[VKS_MAX_LEVELS], decoder_channels[VKS_MAX_LEVELS];
    uint32_t encoder_blocks[VKS_MAX_LEVELS], decoder_blocks[VKS_MAX_LEVELS];
    enum vks_unary act;
    float scaling;              // latents of the diffusion model = scaling * latents of the autoencoder
};

// Reads FOLDER/config.json.
bool vks_autoencoder_tiny_config_read(const struct vks_log *log, const char *folder,
                                      struct vks_autoencoder_tiny_config *config);
// Pixels a latent stands for, along each axis.
uint32_t vks_autoencoder_tiny_factor(const struct vks_autoencoder_tiny_config *config);

// latents (B, H, W, latents), already divided by `scaling` -> pictures (B, f H, f W, out), about -1 to 1.
// Sites `component`.decoder...
struct vks_tensor *vks_autoencoder_tiny_decode(struct vks_graph *graph, struct vks_weights *weights,
                                               const struct vks_autoencoder_tiny_config *config,
                                               const char *component, struct vks_tensor *latents);
// pictures (B, H, W, in) of -1 to 1 -> latents (B, H / f, W / f, latents), not yet multiplied by `scaling`.
struct vks_tensor *vks_autoencoder_tiny_encode(struct vks_graph *graph, struct vks_weights *weights,
                                               const struct vks_autoencoder_tiny_config *config,
                                               const char *component, struct vks_tensor *pictures);

#endif
