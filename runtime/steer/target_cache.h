// Private to runtime/steer: pooled activations of the targets, kept in files between trainings (subject->cache).
//
// They are what a training begins with, and depend on no source prompt: whoever trains again towards the same prompts
// need not run the model over them. A file is named after a hash of all that they depend on. What else their bits may
// depend on (the program's version, a driver's update under one name) shows where the first row is computed anew,
// which whoever reads a file does (collect.c).
#ifndef VKS_STEER_TARGET_CACHE_H
#define VKS_STEER_TARGET_CACHE_H

#include "ops/ops.h"
#include "steer/sites.h"
#include "steer/subject.h"

#define VKS_TARGET_CACHE_MOST ((uint64_t)1 << 30)  // bytes of all files; the oldest go first

// Rows (target prompts, channels), heap; NULL where there are none, or none that make sense.
float *vks_target_cache_read(const struct vks_subject *subject, const struct vks_site_list *sites,
                             enum vks_pool pool);
// Keeps them, if it can: nothing is said where it cannot, but at the level of debugging.
void vks_target_cache_write(const struct vks_subject *subject, const struct vks_site_list *sites, enum vks_pool pool,
                            const float *rows);

#endif
