// Private to runtime/steer: LinEAS on the device.
#ifndef VKS_STEER_LINEAS_H
#define VKS_STEER_LINEAS_H

#include "steer/train.h"

// What a training holds on the device and the graphs that move it.
struct vks_lineas;

// `target`: pooled activations of the target set at the loss sites, (N, loss channels).
struct vks_lineas *vks_lineas_create(const struct vks_subject *subject, const struct vks_train_params *params,
                                     const struct vks_site_list *maps, const struct vks_site_list *loss,
                                     const float *target);
void vks_lineas_destroy(struct vks_lineas **lineas);
// What that would take, without a target; nothing is allocated on the device.
bool vks_lineas_measure(const struct vks_subject *subject, const struct vks_train_params *params,
                        const struct vks_site_list *maps, const struct vks_site_list *loss,
                        struct vks_train_need *need);
// Between steps its memory may be lent (vks_exec_params.lender).
const struct vks_exec *vks_lineas_exec(const struct vks_lineas *lineas);

// One step: forward, loss, backward, update. `step` counts from 0. *value is the loss before the update.
bool vks_lineas_step(struct vks_lineas *lineas, uint32_t step, double *value);

// Everything that training changes: w and b (2 D), first and second moments (2 D each; SGD has none but keeps zeros).
#define VKS_LINEAS_ARRAYS 3
#define VKS_LINEAS_GRADIENT 3  // of the last step, for vks_lineas_get
uint64_t vks_lineas_size(const struct vks_lineas *lineas);  // floats of one array: 2 D
bool vks_lineas_get(struct vks_lineas *lineas, uint32_t array, float *out);
bool vks_lineas_set(struct vks_lineas *lineas, uint32_t array, const float *in);

// Learning rate of a step: lr (1e-3 + (1 - 1e-3)(1 + cos(pi s / S)) / 2), anew for the refit.
double vks_lineas_rate(const struct vks_train_params *params, uint32_t step);
// What the loss would be between identical laws (statistics.h), given the target's spread.
double vks_lineas_floor(const struct vks_lineas *lineas);

#endif
