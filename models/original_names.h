// The names that Stable Diffusion's networks had where they were first published, and have in files of many tools, as
// diffusers and transformers call them.
#ifndef VKS_MODELS_ORIGINAL_NAMES_H
#define VKS_MODELS_ORIGINAL_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// "input_blocks.4.1.proj_in" of a UNet whose down blocks have `layers` resnets each is
// "down_blocks.1.attentions.0.proj_in"; both with `mark` ('.' or, as in LoRA files, '_') between their parts. False:
// no such name, or longer than `capacity`.
bool vks_original_unet(const char *name, char mark, uint32_t layers, char *out, size_t capacity);
// "decoder.up.0.block.1.nin_shortcut.weight" of an autoencoder of so many levels; its attention's kernels are
// matrices.
bool vks_original_vae(const char *name, uint32_t levels, char *out, size_t capacity);
// A text encoder of OpenCLIP: "transformer.resblocks.3.mlp.c_fc.weight". "….attn.in_proj_weight" is queries, keys and
// values one below the other, and out is theirs with '*' for q, k and v.
bool vks_original_open_clip(const char *name, char *out, size_t capacity);

#endif
