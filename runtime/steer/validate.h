// Private to runtime/steer: held-out source prompts against the targets while a training runs. It looks on and
// changes nothing: a training with it ends in the same file, bit for bit.
#ifndef VKS_STEER_VALIDATE_H
#define VKS_STEER_VALIDATE_H

#include "steer/train.h"

struct vks_validation {
    const struct vks_subject *subject;
    const struct vks_train_params *params;
    const struct vks_site_list *loss;
    const float *target;                  // (N, loss channels), pooled
    const struct vks_exec *lender;        // of memory for the forward passes; may be NULL
};

// W_p^p between the pooled activations of the validation prompts, with the base steerings and `steering` active, and
// the targets, by the reduction of the loss. Every prompt has one draw of noise, the same each time.
bool vks_validation_measure(const struct vks_validation *validation, const struct vks_steering *steering,
                            double *value);
// What the same would show between identical laws, as vks_lineas_floor.
bool vks_validation_floor(const struct vks_validation *validation, double *floor);
// Whether to measure after `step` of `steps`: ten times in a training, the last step among them.
bool vks_validation_due(uint32_t step, uint32_t steps);

#endif
