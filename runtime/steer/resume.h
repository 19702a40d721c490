// Private to runtime/steer: OUT.state, from which an interrupted training goes on bit for bit.
#ifndef VKS_STEER_RESUME_H
#define VKS_STEER_RESUME_H

#include "steer/lineas.h"

struct vks_resume {
    char *path;              // OUT.state; heap
    uint64_t hash;           // of every parameter, the model, the sites and the prompts
    uint64_t activation_hash;    // of the targets' activations: other kernels give other bits
    char device[600];        // name and driver: other ones give other bits
    uint32_t step;           // steps done
    uint64_t log_size;       // bytes of the log that belong to them
    double first_loss, last_loss;
    double validation[2];    // before training and last; NaN without
};

// Replaces the file atomically.
bool vks_resume_save(const struct vks_resume *resume, struct vks_lineas *lineas, const struct vks_log *log);
// Loads step, log size, losses and arrays, or explains why the file does not fit. `force` accepts another device, and
// targets with other bits.
bool vks_resume_load(struct vks_resume *resume, struct vks_lineas *lineas, bool force, const struct vks_log *log);

#endif
