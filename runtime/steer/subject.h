// The frozen model as steering sees it: something that builds a forward pass and can be fed samples.
#ifndef VKS_STEER_SUBJECT_H
#define VKS_STEER_SUBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "exec/exec.h"
#include "graph/graph.h"

enum vks_prompt_set {
    VKS_SET_SOURCE,
    VKS_SET_TARGET,
    VKS_SET_VALIDATION,  // held-out sources that training never sees; may be empty
    VKS_SETS,
};

// One forward pass: a prompt of a set, and the draw of its noise. Noise comes from Philox(seed, set, draw, index):
// target j is always draw 0, as is validation prompt k, source i at training step s is draw s, so that no sample
// depends on the batch it is in.
struct vks_sample {
    enum vks_prompt_set set;
    uint32_t index;   // of the prompt in its set
    uint32_t draw;
};

struct vks_subject {
    void *priv;
    struct vks_gpu *gpu;
    const struct vks_log *log;
    const char *model;          // architecture, for the steering file: "StableDiffusionPipeline/UNet2DConditionModel"
    const char *fingerprint;    // of the weights, for the steering file; may be NULL
    uint64_t hash;              // of all that samples depend on: weights, prompts, sizes; resumed runs need the same
    uint32_t set_sizes[VKS_SETS];  // prompts of each set
    // Folder in which pooled activations of the targets are kept between trainings (target_cache.h); NULL: nowhere.
    // target_hash is of all that they depend on beside device, sites and pooling.
    const char *cache;
    uint64_t target_hash;
    // Told how many of the targets have run while they are collected; false ends it. May be NULL.
    bool (*watch)(void *priv, uint32_t done, uint32_t count);
    void *watch_priv;
    bool all_weights;           // graphs run the text encoders too, not only what they gave
    // Builds the forward pass of `batch` samples of up to `length` (0: of any of the sets') up to the last site that
    // may be steered, publishing sites through graph->hook. *inputs is handed to feed; it lives in the graph's arena.
    bool (*build)(void *priv, struct vks_graph *graph, uint32_t batch, uint32_t length, void **inputs);
    // The length that a graph must have for a sample, above 0, where samples differ in it, as texts do; what comes
    // out for one does not depend on how much longer its graph is. NULL: all samples are alike.
    uint32_t (*length)(void *priv, const struct vks_sample *sample);
    // Writes the inputs of `count` (= batch) samples.
    bool (*feed)(void *priv, struct vks_exec *exec, const void *inputs, const struct vks_sample samples[],
                 uint32_t count);
};

#endif
