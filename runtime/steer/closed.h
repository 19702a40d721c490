// Private to runtime/steer: methods without gradients.
#ifndef VKS_STEER_CLOSED_H
#define VKS_STEER_CLOSED_H

#include "steer/train.h"

// Estimates steering->w and ->b, (channels) each, for params->method; the caller has chosen the sites and filled both
// with the identity. Stopped by params->progress, which only linear-act asks between sites: nothing is kept.
enum vks_train_result vks_train_closed(const struct vks_subject *subject, const struct vks_train_params *params,
                                       struct vks_steering *steering);

#endif
