// Private to runtime/api: a painter, and what its files share. painter.c makes one ready, painter_stages.c moves its
// stages to the device and away, paint.c makes pictures.
#ifndef VKS_API_PAINTER_H
#define VKS_API_PAINTER_H

#include "api/internal.h"

#define VKS_PAINTER_PROMPTS 64  // embeddings that are kept

// What the text encoders made of a prompt.
struct vks_painter_prompt {
    char *prompt;              // NULL: nothing stored
    float *context, *pooled;
};

struct vksteer_painter {
    vksteer_model *model;
    struct vks_api_uses uses;
    struct vks_schedule schedule;
    uint32_t width, height, rows, columns, channels, steps;
    struct vks_api_tiles down, across;  // of latents, in which they are decoded
    double cfg;
    bool guided;               // two passes
    uint64_t context, pooled;  // floats of one prompt
    uint32_t context_shape[2];
    struct vks_api_stage stages[VKS_STAGES];
    bool held[VKS_STAGES];     // its weights
    struct vks_painter_prompt prompts[VKS_PAINTER_PROMPTS], negative;
    size_t prompt_count;
    const struct vksteer_picture *coming;  // pictures that are asked for, the caller's
    size_t coming_count;
    const struct vksteer_paint_calls *calls;  // the caller's, while it paints
    bool stopped;              // by one of them
    struct vks_api_text *text;
    struct vks_graph unet_graph, decoder_graph;
    struct vks_tensor *sample, *latents, *picture;
    struct vks_pipeline_text unet_text;
    struct vks_pipeline_unet unet;
    struct vks_exec *unet_exec, *decoder_exec;
};

// ---- painter_stages.c

// Fills in p->stages, and the shapes of embeddings, from graphs that are planned and not run.
bool vks_painter_measure_all(struct vksteer_painter *p);
// Of the decoder alone, when its tiles have changed.
bool vks_painter_measure_decoder(struct vksteer_painter *p);
// Whether a stage can come to the device without another's leaving.
bool vks_painter_has_room(const struct vksteer_painter *p, enum vks_stage stage);
// Whether UNet and decoder can be on the device together.
bool vks_painter_both_fit(const struct vksteer_painter *p);
// Brings a stage to the device, for which others may leave. False after one message.
bool vks_painter_enter(struct vksteer_painter *p, enum vks_stage stage);
// Its graph and its weights leave.
void vks_painter_leave(struct vksteer_painter *p, enum vks_stage stage);
// Counts a run of a stage that began at `start`, and with -v says how long it took.
void vks_painter_count_run(struct vksteer_painter *p, enum vks_stage stage, double start);

// ---- painter.c

// Frees what is stored.
void vks_painter_forget(struct vks_painter_prompt *prompt);

#endif
