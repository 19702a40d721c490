// A steering: affine maps at sites, and the file that holds them.
//
// The file is safetensors, fp32: `<site>.weight` and `<site>.bias` (D) for each site, where maps act within a range
// only also `<site>.low` and `<site>.high` (D), and string metadata: `format` = "vksteer-1", `method`, `model`,
// `position`, every hyperparameter, sample counts, first and last loss. Nothing in it depends on the time, so equal
// trainings give equal files.
#ifndef VKS_STEER_STEERING_H
#define VKS_STEER_STEERING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "graph/graph.h"
#include "ops/ops.h"
#include "steer/sites.h"

struct vks_steering {
    struct vks_site_list sites;
    float *w, *b;                // (sites.channels), in the order of the sites; heap
    // (sites.channels, 2), heap: the lowest and the highest value that is mapped, both included; values outside stay
    // as they are. -FLT_MAX to FLT_MAX: no limit. NULL: no site has limits.
    float *range;
    struct { const char *key, *value; } *metadata;
    size_t metadata_count, metadata_capacity;
    struct vks_arena arena;      // of the metadata
};

void vks_steering_finish(struct vks_steering *steering);
// Sets a metadata string; printf-style value.
bool vks_steering_note(struct vks_steering *steering, const char *key, const char *format, ...) VKS_PRINTF(3, 4);
const char *vks_steering_metadata(const struct vks_steering *steering, const char *key);
// Where its maps act: "all", "last", "avg", or "pixels-avg" (avg on PIXELS sites, all elsewhere).
enum vks_position vks_steering_position(const struct vks_steering *steering, enum vks_site_kind kind);
// Over what it was trained on: by its metadata, otherwise the mean.
enum vks_pool vks_steering_pool(const struct vks_steering *steering);

bool vks_steering_save(const struct vks_steering *steering, const struct vks_log *log, const char *path);
// Refuses other formats, missing halves, wrong shapes, values that are not finite.
bool vks_steering_load(struct vks_steering *steering, const struct vks_log *log, const char *path);
// Gives every channel the range of all values.
bool vks_steering_add_range(struct vks_steering *steering);
// Whether the map of a site is limited to a range.
bool vks_steering_has_range(const struct vks_steering *steering, const struct vks_site_slot *slot);
// Replaces T by its inverse (z - b) / w. Channels with |w| < 1e-3, or whose offset would overflow, become the
// identity; *skipped counts them. Not for maps within a range, which have none.
void vks_steering_invert(struct vks_steering *steering, uint32_t *skipped);
// Removes the maps of sites whose names begin with `prefix`.
void vks_steering_drop(struct vks_steering *steering, const char *prefix);
// Removes the maps of sites at which no channel moves.
void vks_steering_drop_identity(struct vks_steering *steering);
// Share of channels with |w - 1| > 1e-5 or |b| > 1e-5.
double vks_steering_support(const struct vks_steering *steering);

// Maps attached to the graphs of a model, in order of application.
struct vks_attachment;
// `steerings[k]` acts with strength word k of the step buffer (VKS_STEP_STRENGTH + k); at most VKS_STEP_STRENGTHS of
// them. Uploads w and b. The steerings may be freed afterwards.
struct vks_attachment *vks_attachment_create(struct vks_gpu *gpu, const struct vks_steering *const steerings[],
                                             uint32_t count);
void vks_attachment_destroy(struct vks_attachment **attachment);
// Uploads new w and b of a steering with the sites of `steerings[index]`: recorded graphs read them from then on.
bool vks_attachment_update(struct vks_attachment *attachment, uint32_t index, const struct vks_steering *steering);
// Becomes the hook of a graph. The attachment must outlive the graph.
void vks_attachment_hook(struct vks_attachment *attachment, struct vks_graph *graph);
// After the model is built: every site of every steering was met, with its width; otherwise one clear message.
bool vks_attachment_check(const struct vks_attachment *attachment, const struct vks_log *log);

#endif
