// Private to runtime/steer: methods without gradients. closed.c runs the prompts; one file a family has the formulas.
#ifndef VKS_STEER_CLOSED_H
#define VKS_STEER_CLOSED_H

#include "steer/train.h"

// Estimates steering->w and ->b, (channels) each, for params->method; the caller has chosen the sites and filled both
// with the identity. Stopped by params->progress, asked between sites: nothing is kept.
enum vks_train_result vks_train_closed(const struct vks_subject *subject, const struct vks_train_params *params,
                                       struct vks_steering *steering);

// Pooled activations of both sets at all sites of a list.
struct vks_evidence {
    const float *source, *target;        // (source_rows, channels), (target_rows, channels)
    uint32_t source_rows, target_rows, channels;
};
// The maps of one site. False: out of memory (nothing is logged). `steering` holds the identity there.
typedef bool vks_site_estimate(const struct vks_train_params *params, const struct vks_evidence *evidence,
                               const struct vks_site_slot *slot, struct vks_steering *steering);
vks_site_estimate vks_act_maps;      // act.c: Mean-, Gaussian- and Linear-AcT
vks_site_estimate vks_vector_maps;   // vectors.c: CAA, ActAdd, RepE; as many source_rows as target_rows
vks_site_estimate vks_expert_maps;   // experts.c: AurA, DetZero

// iti.c: the same as vks_train_closed for VKS_METHOD_ITI, which reads activations of its own.
enum vks_train_result vks_train_iti(const struct vks_subject *subject, const struct vks_train_params *params,
                                    struct vks_steering *steering);

// Tells params->progress of `step` of `steps`; false: stop.
bool vks_closed_report(const struct vks_train_params *params, uint32_t step, uint32_t steps);
// The base steerings and, unless NULL, one more, at strength 1. *attachment is NULL where there are none at all.
// False: one message.
bool vks_closed_attach(const struct vks_subject *subject, const struct vks_train_params *params,
                       const struct vks_steering *steering, float strengths[],
                       struct vks_attachment **attachment);

#endif
