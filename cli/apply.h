// vksteer apply: what its two halves share, pictures (apply.c) and texts (apply_text.c).
#ifndef VKSTEER_APPLY_H
#define VKSTEER_APPLY_H

#include "cli.h"

struct job {
    struct common common;
    const char *prompt, *prompts_path, *field, *negative, *output, *latents_path;
    struct steer_list steer;
    struct sweep sweep;
    uint32_t grid, batch;
    int64_t seed;
    bool show, strict, has_grid, misused;
    struct vksteer_paint_params paint;
    struct vksteer_write_params write;
    const char *system, *cache;
    bool chat;
    // made from these
    char *typed;                        // the prompt that standard input brought
    struct vksteer_prompts list;
    const char *const *prompts;
    size_t prompt_count;
    char **chats;                       // the prompts as conversations; NULL: they are taken as they are
    float *latents;
    size_t latent_count;
    vksteer_session *session;
    vksteer_model *model;
    vksteer_painter *painter;
    vksteer_writer *writer;
};

// Writes all texts of a job whose model, a language model, is open; an exit code.
int apply_texts(struct job *job);
void say_seeds(const struct job *job);

#endif
