// The names that modules of Stable Diffusion's networks had where they were first published, and have in files of
// many tools, as diffusers calls them.
#ifndef VKS_MODELS_ORIGINAL_NAMES_H
#define VKS_MODELS_ORIGINAL_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// "input_blocks.4.1.proj_in" of a UNet whose down blocks have `layers` resnets each is
// "down_blocks.1.attentions.0.proj_in"; both with `mark` ('.' or, as in LoRA files, '_') between their parts. False:
// no such name, or longer than `capacity`.
bool vks_original_unet(const char *name, char mark, uint32_t layers, char *out, size_t capacity);

#endif
