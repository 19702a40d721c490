// config.json of a component: which class it is, and which of its keys nobody implements.
#ifndef VKS_MODELS_CONFIG_H
#define VKS_MODELS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "io/json.h"
#include "ops/ops.h"

#define VKS_MAX_LEVELS 8     // resolutions of an image model
#define VKS_MAX_WIDTH 65536  // channels of anything

// A key that is implemented for some values only: JSON texts separated by '|'. Absent or null always passes.
struct vks_config_only {
    const char *key, *values;
};

// Opens FOLDER/FILE. NULL after one message.
struct vks_json *vks_config_open(const struct vks_log *log, const char *folder, const char *file);
// Whether all these keys (the last one NULL) have values that are implemented; if not, one message.
bool vks_config_check(const struct vks_log *log, const struct vks_json *json, const struct vks_config_only only[]);
// Whether the key is there and null, which for some keys is not the same as absent.
bool vks_config_is_null(const struct vks_json *json, const char *key);
// A positive integer that must be there, at most VKS_MAX_WIDTH.
bool vks_config_width(const struct vks_log *log, const struct vks_json *json, const char *key, uint32_t *value);
// The same with a default.
bool vks_config_width_or(const struct vks_log *log, const struct vks_json *json, const char *key, uint32_t missing,
                         uint32_t *value);
// One positive integer for each of `levels` levels; a lone number stands for all of them, an absent key for `missing`
// (0: it must be there).
bool vks_config_levels(const struct vks_log *log, const struct vks_json *json, const char *key, uint32_t levels,
                       uint32_t missing, uint32_t values[VKS_MAX_LEVELS]);
// An activation by its name in diffusers and transformers.
bool vks_config_activation(const struct vks_log *log, const struct vks_json *json, const char *key,
                           const char *missing, enum vks_unary *kind);

#endif
