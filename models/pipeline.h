// A diffusers folder (model_index.json): its parts, and the graphs they make.
//
// Graphs: every call adds to the graph it is given, so text encoder, UNet, step and decoder may be one graph or
// several.
//
//     struct vks_pipeline *p = vks_pipeline_open(log, gpu, "folder");
//     vks_pipeline_text_build(p, &graph, batch, &text);                  // ids -> text.context
//     sample = vks_graph_input(&graph, "sample", VKS_F32, 4, (uint32_t[]){batch, h, w, p->unet.in}, false);
//     vks_pipeline_unet_build(p, &graph, &step, sample, &text, &unet);   // -> unet.output
//     x0 = vks_pipeline_step_build(&graph, &step, sample, unet.output, NULL);
//     picture = vks_pipeline_decode_build(p, &graph, x0);                // (B, H, W, 3), about -1 to 1
//     ... picture->keep = true; exec = vks_exec_create(...)
//     vks_pipeline_text_feed(p, exec, &text, prompts, batch);
//     vks_pipeline_unet_feed(p, exec, &unet, &step, guidance);
//     vks_exec_write(exec, sample, noise times schedule.init_noise_sigma, size); vks_exec_run(exec, NULL);
#ifndef VKS_MODELS_PIPELINE_H
#define VKS_MODELS_PIPELINE_H

#include <stdbool.h>
#include <stdint.h>

#include "exec/exec.h"
#include "gpu/gpu.h"
#include "graph/graph.h"
#include "models/autoencoder_kl.h"
#include "models/autoencoder_tiny.h"
#include "models/clip_text.h"
#include "models/clip_tokenizer.h"
#include "models/scheduler.h"
#include "models/unet.h"
#include "models/weights.h"

#define VKS_PIPELINE_TEXTS 2
#define VKS_PIPELINE_PARTS (VKS_PIPELINE_TEXTS + 2)

struct vks_pipeline_part {
    const char *name;            // "unet": the folder, and the first part of the sites' names
    const char *type;            // "UNet2DConditionModel"
    const char *over;            // what was put over the folder's own, or NULL
    uint64_t parameters, bytes;  // of its file
    struct vks_weights *weights;
};

// What is put over the folder's own; NULL: nothing.
struct vks_pipeline_over {
    const char *checkpoint;      // a single file with the weights of the parts (checkpoint.h), all that it has
    const char *unet;            // a file of the UNet's weights, of any format that tensor_file.h reads, in the names
                                 // of diffusers or the original layout
    const char *vae;             // a folder of an autoencoder: config.json and weights
    const char *variant;         // of the folder's files of weights that are taken first: "fp16"
    const char *scheduler;       // a class in place of the folder's (scheduler.h), with the folder's settings
};

// Read-only for users.
struct vks_pipeline {
    const struct vks_log *log;
    const char *folder;          // as given
    struct vks_pipeline_over over;
    const char *type;            // "StableDiffusionPipeline"
    bool xl;                     // two text encoders, pooled text and sizes
    bool zero_negative;          // without a negative prompt guidance starts from zeros, not from the empty prompt
    uint32_t text_count;
    struct vks_clip_text_config text[VKS_PIPELINE_TEXTS];
    struct vks_clip_tokenizer *tokenizer[VKS_PIPELINE_TEXTS];
    uint32_t text_length;        // tokens of a prompt
    struct vks_unet_config unet;
    struct vks_scheduler_config scheduler;
    bool has_decoder;            // false: the autoencoder is of a class that is not supported
    bool has_kl;                 // an AutoencoderKL, otherwise an AutoencoderTiny
    struct vks_autoencoder_kl_config kl;
    struct vks_autoencoder_tiny_config tiny;
    uint32_t factor;             // pixels a latent stands for, along each axis
    uint32_t width, height;      // default picture, pixels
    uint32_t part_count;
    struct vks_pipeline_part parts[VKS_PIPELINE_PARTS];  // text encoders, then "unet", then "vae" if has_decoder

    struct vks_arena arena;      // private
};

// With `gpu` NULL graphs can be built and their sites and shapes looked at, but not run. `log` and `gpu` must outlive
// it. NULL after one message that names the file and what to do.
struct vks_pipeline *vks_pipeline_open(const struct vks_log *log, struct vks_gpu *gpu, const char *folder);
struct vks_pipeline *vks_pipeline_open_over(const struct vks_log *log, struct vks_gpu *gpu, const char *folder,
                                            const struct vks_pipeline_over *over);
// The text of its model_index.json, with the classes of what was put over the folder's own; heap, free(). NULL after
// one message.
char *vks_pipeline_index(const struct vks_pipeline *pipeline);
// Gives a device to a pipeline that was opened without one; graphs that were made before still cannot be run.
void vks_pipeline_attach(struct vks_pipeline *pipeline, struct vks_gpu *gpu);
// Frees device memory too. Accepts NULL; nulls it.
void vks_pipeline_close(struct vks_pipeline **pipeline);

// What a picture goes through, one after the other, and of which only one need be on the device at a time.
enum vks_stage {
    VKS_STAGE_TEXT,
    VKS_STAGE_UNET,
    VKS_STAGE_DECODER,
    VKS_STAGES,
};
// vks_weights_hold, _drop and _wanted of the parts of a stage.
void vks_pipeline_hold(struct vks_pipeline *pipeline, enum vks_stage stage);
void vks_pipeline_drop(struct vks_pipeline *pipeline, enum vks_stage stage);
uint64_t vks_pipeline_wanted(const struct vks_pipeline *pipeline, enum vks_stage stage, uint64_t *missing);
// vks_weights_dry of all parts.
bool vks_pipeline_dry(struct vks_pipeline *pipeline, bool dry);

// The text encoders.
struct vks_pipeline_text {
    struct vks_tensor *ids[VKS_PIPELINE_TEXTS];  // INPUT (B, T) int32
    struct vks_tensor *end[VKS_PIPELINE_TEXTS];  // INPUT (B) int32, NULL where nobody reads it
    struct vks_tensor *context;                  // (B, T, C): what the UNet attends to
    struct vks_tensor *pooled;                   // (B, C) of SDXL, otherwise NULL
};
bool vks_pipeline_text_build(struct vks_pipeline *pipeline, struct vks_graph *graph, uint32_t batch,
                             struct vks_pipeline_text *text);
// Tokenizes and writes the inputs; `count` is the batch of the graph.
bool vks_pipeline_text_feed(const struct vks_pipeline *pipeline, struct vks_exec *exec,
                            const struct vks_pipeline_text *text, const char *const prompts[], uint32_t count);

// The UNet.
struct vks_pipeline_unet {
    struct vks_tensor *time;       // INPUT (B, channels)
    struct vks_tensor *condition;  // INPUT (B, C) of LCM models, or NULL
    struct vks_tensor *time_ids;   // INPUT (B, 6, C) of SDXL, or NULL
    struct vks_tensor *output;     // (B, h, w, out)
    uint32_t batch, width, height; // width, height: of the picture, pixels
};
// `sample` (B, h, w, in) is scaled by step->input_scale here. Reads text->context and text->pooled only.
bool vks_pipeline_unet_build(struct vks_pipeline *pipeline, struct vks_graph *graph,
                             const struct vks_scheduler_step *step, struct vks_tensor *sample,
                             const struct vks_pipeline_text *text, struct vks_pipeline_unet *unet);
// Writes the tables of time, guidance and sizes.
bool vks_pipeline_unet_feed(const struct vks_pipeline *pipeline, struct vks_exec *exec,
                            const struct vks_pipeline_unet *unet, const struct vks_scheduler_step *step,
                            double guidance_scale);

// next = next_sample * sample + next_output * output + next_noise * noise; `noise` may be NULL when it is not read.
// Not for steps that read what earlier ones left.
struct vks_tensor *vks_pipeline_step_build(struct vks_graph *graph, const struct vks_scheduler_step *step,
                                           struct vks_tensor *sample, struct vks_tensor *output,
                                           struct vks_tensor *noise);

// Whether vks_pipeline_decode_build can do anything; one message if not.
bool vks_pipeline_can_decode(const struct vks_pipeline *pipeline);
// latents (B, h, w, C) -> pictures (B, factor h, factor w, 3), about -1 to 1.
struct vks_tensor *vks_pipeline_decode_build(struct vks_pipeline *pipeline, struct vks_graph *graph,
                                             struct vks_tensor *latents);

// Text encoders, UNet and, if there is one, decoder at the default size with one sample: for lists of sites.
bool vks_pipeline_describe(struct vks_pipeline *pipeline, struct vks_graph *graph);

#endif
