// Private to runtime/steer: methods without gradients.
#ifndef VKS_STEER_CLOSED_H
#define VKS_STEER_CLOSED_H

#include "steer/train.h"

// Estimates steering->w and ->b (already allocated, sites chosen) for params->method.
bool vks_train_closed(const struct vks_subject *subject, const struct vks_train_params *params,
                      struct vks_steering *steering);

#endif
