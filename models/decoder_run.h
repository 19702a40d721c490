// A decoder at work on texts that grow: caches of keys and values, and a recorded graph for every size of run.
//
//     run = vks_decoder_run_create(decoder, &(struct vks_decoder_run_params){.gpu = gpu, .batch = 2});
//     vks_decoder_run_begin(run, 300);
//     vks_decoder_run_add(run, prompts, counts, NULL, logits);              // logits behind the prompts' last tokens
//     vks_decoder_run_add(run, tokens, (uint32_t[]){1, 1}, NULL, logits);   // and behind a token more of each
//
// Texts of a batch need not be of one length: each stands in its rows of the caches from row 0 on, so what comes out
// for one does not depend on the others. A call takes its tokens 128 at a time, or in the smallest of 1, 16, 32, 64
// and 128 that holds what is left, and attention looks at a power of two of rows, 64 at least, or at all: one graph
// for each pair of these, the last few of which are kept.
#ifndef VKS_MODELS_DECODER_RUN_H
#define VKS_MODELS_DECODER_RUN_H

#include "models/decoder.h"

struct vks_decoder_run;

struct vks_decoder_run_params {
    struct vks_gpu *gpu;
    uint32_t batch;              // texts at once
    bool half_cache;             // keys and values in fp16: half the memory, other bits
    // Called with every graph before the model is added to it, so that steerings can hook in; may be NULL.
    void (*prepare)(void *priv, struct vks_graph *graph);
    void *priv;
};

// The decoder must outlive it. NULL after one message.
struct vks_decoder_run *vks_decoder_run_create(struct vks_decoder *decoder,
                                               const struct vks_decoder_run_params *params);
// Accepts NULL; nulls it.
void vks_decoder_run_destroy(struct vks_decoder_run **run);

// Empties all texts, and makes room for `tokens` tokens in each (1 to the model's context). Graphs are kept where
// there is room already.
bool vks_decoder_run_begin(struct vks_decoder_run *run, uint32_t tokens);
// Appends counts[b] tokens to text b, of which some may be 0, and writes the logits behind its last token: logits
// (batch, V), rows of texts that did not grow are left alone. `step`: strengths of steerings, or NULL; maps at
// position `last` act on the last token of each text that this call brings.
bool vks_decoder_run_add(struct vks_decoder_run *run, const int32_t *const ids[], const uint32_t counts[],
                         const uint32_t step[VKS_STEP_WORDS], float *logits);

// How many graphs were made so far.
uint32_t vks_decoder_run_graphs(const struct vks_decoder_run *run);

#endif
