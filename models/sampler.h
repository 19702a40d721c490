// From logits to the next token, on the host.
//
// In this order, which is that of transformers' generate (its LogitsProcessors of these names):
//     1. repeat penalty r: the logit of every token that stands among the last `repeat_last` of prompt and text, once
//        each: divided by r where it is positive, multiplied by r where not (Keskar et al., arXiv 1909.05858)
//     2. temperature t: logits / t; t = 0 takes the largest logit, the first where several are equal, and ends here
//     3. top-k: the k largest                                                              (arXiv 1805.04833)
//     4. top-p: of these the fewest, from the most probable on, that hold a share p        (arXiv 1904.09751)
//     5. min-p: of these the ones at least min_p times as probable as the first            (arXiv 2407.01082)
//     6. a draw: the first token, from the most probable on, at which the sum of probabilities exceeds u
// Equal logits count in the order of their tokens. u in (0, 1) is a function of seed, stream and offset alone.
#ifndef VKS_MODELS_SAMPLER_H
#define VKS_MODELS_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

struct vks_sampler_params {
    double temperature;      // 0: the most probable token
    uint32_t top_k;          // 0: all
    double top_p;            // 0 or 1: all
    double min_p;            // 0: all
    double repeat_penalty;   // 0 or 1: none
    uint32_t repeat_last;    // tokens; 0: 64, as llama.cpp has it; UINT32_MAX: all, as transformers has it
};
// False after one message that names the parameter which makes no sense.
bool vks_sampler_check(const struct vks_log *log, const struct vks_sampler_params *params);

struct vks_sampler_candidate {
    int32_t id;
    float logit;             // after penalty, before temperature
    double p;                // probability among the candidates
};

struct vks_sampler;

// For logits of `vocabulary` tokens. NULL after one message.
struct vks_sampler *vks_sampler_create(const struct vks_log *log, uint32_t vocabulary);
// Accepts NULL; nulls it.
void vks_sampler_destroy(struct vks_sampler **sampler);

// What is left after steps 1 to 5, the most probable first; with temperature 0 one token. Where neither top-k, top-p
// nor min-p cuts, it is only as long as it takes to hold a share `enough` (above 1: all) of the probability, and p
// are shares of all. NULL after one message when a logit is no number. It belongs to the sampler, until its next
// call.
const struct vks_sampler_candidate *vks_sampler_filter(struct vks_sampler *sampler,
                                                       const struct vks_sampler_params *params, const float *logits,
                                                       const int32_t *history, size_t history_count, double enough,
                                                       size_t *count);

// Where a draw stands: of a seed, the number of the text and of the token in it.
struct vks_sampler_place {
    uint64_t seed;
    uint32_t stream, offset;
};
double vks_sampler_uniform(const struct vks_sampler_place *place);

// The next token, or -1 after one message. history: prompt and text so far.
int32_t vks_sampler_draw(struct vks_sampler *sampler, const struct vks_sampler_params *params, const float *logits,
                         const int32_t *history, size_t history_count, const struct vks_sampler_place *place);

#endif
