// Single-file checkpoints in the layout in which Stable Diffusion was published (`model.diffusion_model.…`,
// `cond_stage_model.…` or `conditioner.embedders.…`, `first_stage_model.…`): the tensors of one part, under the names
// and in the shapes that diffusers and transformers give them.
#ifndef VKS_MODELS_CHECKPOINT_H
#define VKS_MODELS_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/log.h"
#include "io/tensor_file.h"

// Leaves in file->tensors those of the part ("unet", "text_encoder", "text_encoder_2", "vae"), renamed, in the arena,
// which must live as long as the file is used; none when the file lacks the part. `layers`: resnets of the UNet's
// down blocks. Cut or squeezed tensors lie where they lay, transposed ones are copied. False: out of memory (said).
bool vks_checkpoint_part(const struct vks_log *log, struct vks_tensor_file *file, const char *part, uint32_t layers,
                         struct vks_arena *arena);

#endif
