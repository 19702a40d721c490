// Private to runtime/steer: samples of different lengths, put together so that little of a batch is padding. No bit
// of a result depends on it: see vks_subject.length.
#ifndef VKS_STEER_LENGTHS_H
#define VKS_STEER_LENGTHS_H

#include "steer/subject.h"

// Lengths of the prompts of a set, in the order of the set; all 0 where samples are alike.
void vks_lengths_of(const struct vks_subject *subject, enum vks_prompt_set set, uint32_t lengths[]);

// Sorts samples 0 to count - 1 by their lengths, longest first, those of one length in their order: the low words of
// `order` are their numbers.
void vks_lengths_sort(const uint32_t lengths[], uint32_t count, uint64_t order[]);

// Samples [first, first + count) of some that are sorted by length, to be run in one graph.
struct vks_length_group {
    uint32_t first, count, length;
};
// Cuts `count` samples, of which the i-th is of at most bounds[i], falling, into groups of at most `most`, with the
// least work: all their tokens, padding too, and what a group costs whatever its size. Where all are alike (0) every
// group is of `most`, so that one graph serves, and the last one may reach beyond the samples. Returns how many of
// `groups` (count) there are; 0: out of memory.
uint32_t vks_lengths_group(const uint32_t bounds[], uint32_t count, uint32_t most, struct vks_length_group groups[]);
// The group of the most tokens, padding too; its number.
uint32_t vks_lengths_largest(const struct vks_length_group groups[], uint32_t count);

// How the first `count` prompts of a set run, at most so many together.
struct vks_length_order {
    uint32_t *lengths;               // by prompt
    uint64_t *sorted;                // by length, see vks_lengths_sort
    struct vks_length_group *groups;
    uint32_t group_count;
};
// False: out of memory (logged). The caller finishes `order` in any case.
bool vks_length_order_init(const struct vks_subject *subject, enum vks_prompt_set set, uint32_t count, uint32_t most,
                           struct vks_length_order *order);
void vks_length_order_finish(struct vks_length_order *order);

#endif
