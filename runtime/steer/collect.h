// Private to runtime/steer: pooled activations of a set of prompts.
#ifndef VKS_STEER_COLLECT_H
#define VKS_STEER_COLLECT_H

#include "steer/train.h"

struct vks_collector;

// `rows`: capacity of the pooled storage, at least the larger set. Forward passes take `batch` prompts, or all rows
// where there are fewer. Sites with ->inputs must be linear layers. The sites and the attachment (may be NULL) must
// outlive it.
struct vks_collector *vks_collector_create(const struct vks_subject *subject, const struct vks_site_list *sites,
                                           enum vks_pool pool, uint32_t batch, uint32_t rows,
                                           struct vks_attachment *attachment, const struct vks_exec_params *exec);
void vks_collector_destroy(struct vks_collector **collector);
// The linear layer whose output `value` is, its bias included; its first two inputs are what it reads and its matrix.
// NULL: another module's output.
const struct vks_node *vks_linear_node(const struct vks_tensor *value);
// Runs all prompts of a set; out (set size, channels).
bool vks_collector_run(struct vks_collector *collector, enum vks_prompt_set set, uint32_t draw,
                       const float strengths[VKS_STEP_STRENGTHS], float *out);

// Sites of the subject's forward pass that the expression matches, without running it.
bool vks_subject_sites(const struct vks_subject *subject, const char *expression, struct vks_site_list *list);

#endif
