// LoRA files put over the parts of a model: found by the names that are in use, merged when weights are uploaded.
//
// Understood are, for the UNet and the text encoders, linear layers and convolutions of any kernel:
//   diffusers and PEFT   unet.MODULE.lora_A.weight, .lora_B.weight; .lora.down.weight, .lora.up.weight;
//                        MODULE.processor.to_q_lora.down.weight; text_encoder.…, text_encoder_2.…;
//                        base_model.model.MODULE.…; ranks and alphas of the metadata "lora_adapter_metadata"
//   kohya                lora_unet_MODULE.lora_down.weight, .lora_up.weight, .alpha, with '_' for every '.', also of
//                        the original names (input_blocks_4_1_…); lora_te_…, lora_te1_…, lora_te2_…
//   differences          MODULE.diff and .diff_b in either spelling: added to weight and bias as they are
// and for language models what PEFT saves: a folder of adapter_model.safetensors (or .bin) and adapter_config.json,
// or that file with the other one beside it. The model may be a GGUF file.
// A layer becomes W + strength alpha / rank up down; without alpha it is the rank.
#ifndef VKS_MODELS_LORA_H
#define VKS_MODELS_LORA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "models/weights.h"

// Where it may go.
struct vks_lora_part {
    const char *name;              // "unet", "text_encoder", "text_encoder_2"; "model" of a language model
    struct vks_weights *weights;   // nothing of them uploaded yet
    uint32_t layers;               // resnets of the UNet's down blocks, which original names count; 0: no UNet
    bool conv1d;                   // c_attn, c_proj and c_fc lie as (in, out): vks_decoder_has_conv1d
};

struct vks_lora {
    const char *path;              // the file; of a folder the adapter in it
    float strength;
    size_t layers;                 // that it changes
    size_t tensors, strays;        // in the file; those of them that fit nothing in the model
    struct vks_tensor_file file;   // private
    struct vks_arena arena;
};

// Opens a file and hands its changes to the weights, which must be closed before it. Tensors that fit nothing are
// warned about in one line. NULL after one message: the file is bad, of a form that is not understood (DoRA, LoHa,
// LoKr and the like), of another model's sizes, or nothing in it fits; the weights may then have some of the changes
// and are to be closed.
struct vks_lora *vks_lora_open(const struct vks_log *log, const char *path, float strength,
                               const struct vks_lora_part parts[], size_t count);
// Accepts NULL; nulls it.
void vks_lora_close(struct vks_lora **lora);

#endif
