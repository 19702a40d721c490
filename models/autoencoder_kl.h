// AutoencoderKL of diffusers: the autoencoder of Stable Diffusion, SDXL and FLUX. Rombach et al. 2022.
//
// Latents -> post_quant_conv -> conv_in -> middle (resnet, attention over the pixels, resnet) -> up blocks (resnets,
// doubling) -> norm, SiLU, conv_out. The encoder is the mirror image, its downsampling convolutions padded behind
// only.
#ifndef VKS_MODELS_AUTOENCODER_KL_H
#define VKS_MODELS_AUTOENCODER_KL_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"
#include "models/config.h"
#include "models/weights.h"
#include "ops/ops.h"

struct vks_autoencoder_kl_config {
    uint32_t in, out, latents;          // channels of pictures and of latents
    uint32_t levels;
    uint32_t channels[VKS_MAX_LEVELS];  // from the picture down
    uint32_t layers;                    // resnets of an encoder block; a decoder block has one more
    uint32_t groups;
    bool middle_attention, quant, post_quant;
    enum vks_unary act;
    float scaling, shift;               // latents of the diffusion model = scaling * (latents here - shift)
};

// Reads FOLDER/config.json.
bool vks_autoencoder_kl_config_read(const struct vks_log *log, const char *folder,
                                    struct vks_autoencoder_kl_config *config);
// Pixels a latent stands for, along each axis.
uint32_t vks_autoencoder_kl_factor(const struct vks_autoencoder_kl_config *config);

// latents (B, H, W, latents), already latents / scaling + shift -> pictures (B, f H, f W, out), about -1 to 1.
// Sites `component`.post_quant_conv and `component`.decoder...
struct vks_tensor *vks_autoencoder_kl_decode(struct vks_graph *graph, struct vks_weights *weights,
                                             const struct vks_autoencoder_kl_config *config, const char *component,
                                             struct vks_tensor *latents);
// pictures (B, H, W, in) of -1 to 1 -> the mean of the latents (B, H / f, W / f, latents), before shift and scaling.
// Sites `component`.encoder... and `component`.quant_conv, whose channels are means, then logarithms of variances.
struct vks_tensor *vks_autoencoder_kl_encode(struct vks_graph *graph, struct vks_weights *weights,
                                             const struct vks_autoencoder_kl_config *config, const char *component,
                                             struct vks_tensor *pictures);

#endif
