// Steerings on the graphs of a model.
#include <stdlib.h>
#include <string.h>

#include "shaders/push.h"
#include "steer/steering.h"

struct attached {
    struct vks_site_list sites;    // names, widths, places
    enum vks_position token_position, pixel_position;
    struct vks_storage *storage;   // w, then b, then the ranges if `ranged`
    bool ranged;
    bool *met;                     // by site
};

struct vks_attachment {
    struct vks_gpu *gpu;
    struct attached items[VKS_STEP_STRENGTHS];
    uint32_t count;
    bool failed;                   // a width did not fit (already logged)
};

static bool attach(struct vks_gpu *gpu, struct attached *item, const struct vks_steering *steering)
{
    const struct vks_log *log = vks_gpu_log(gpu);
    item->token_position = vks_steering_position(steering, VKS_SITE_TOKENS);
    item->pixel_position = vks_steering_position(steering, VKS_SITE_PIXELS);
    for (size_t i = 0; i < steering->sites.count; i++) {
        const struct vks_site_slot *slot = &steering->sites.slots[i];
        if (!vks_site_list_add(&item->sites, log, slot->name, slot->kind, slot->channels))
            return false;
    }
    item->met = calloc(steering->sites.count + 1, sizeof(*item->met));
    item->ranged = steering->range != NULL;
    const uint64_t floats = (item->ranged ? 4 : 2) * (uint64_t)steering->sites.channels;
    item->storage = vks_storage_create(gpu, floats * sizeof(float));
    if (!item->met)
        return vks_fail(log, VKS_NO_MEMORY);
    return item->storage != NULL;
}

bool vks_attachment_update(struct vks_attachment *attachment, uint32_t index, const struct vks_steering *steering)
{
    struct attached *item = &attachment->items[index];
    const uint64_t bytes = (uint64_t)item->sites.channels * sizeof(float);
    if (steering->sites.channels != item->sites.channels || item->ranged != (steering->range != NULL))
        return vks_fail(vks_gpu_log(attachment->gpu), "internal: a steering with other sites than were attached");
    return vks_storage_write(item->storage, 0, steering->w, bytes) &&
           vks_storage_write(item->storage, bytes, steering->b, bytes) &&
           (!item->ranged || vks_storage_write(item->storage, 2 * bytes, steering->range, 2 * bytes));
}

struct vks_attachment *vks_attachment_create(struct vks_gpu *gpu, const struct vks_steering *const steerings[],
                                             uint32_t count)
{
    const struct vks_log *log = vks_gpu_log(gpu);
    if (count > VKS_STEP_STRENGTHS)
        return vks_fail_null(log, "%u steerings at once: %u is the most", count, VKS_STEP_STRENGTHS);
    struct vks_attachment *attachment = calloc(1, sizeof(*attachment));
    if (!attachment)
        return vks_fail_null(log, VKS_NO_MEMORY);
    attachment->gpu = gpu;
    attachment->count = count;
    for (uint32_t i = 0; i < count; i++)
        if (!attach(gpu, &attachment->items[i], steerings[i]) ||
            !vks_attachment_update(attachment, i, steerings[i])) {
            vks_attachment_destroy(&attachment);
            return NULL;
        }
    return attachment;
}

void vks_attachment_destroy(struct vks_attachment **address)
{
    struct vks_attachment *attachment = *address;
    if (!attachment)
        return;
    *address = NULL;
    for (uint32_t i = 0; i < attachment->count; i++) {
        vks_site_list_finish(&attachment->items[i].sites);
        vks_storage_destroy(&attachment->items[i].storage);
        free(attachment->items[i].met);
    }
    free(attachment);
}

static struct vks_tensor *on_site(void *priv, struct vks_graph *graph, const struct vks_site *site,
                                  struct vks_tensor *value)
{
    struct vks_attachment *attachment = priv;
    for (uint32_t k = 0; k < attachment->count; k++) {
        struct attached *item = &attachment->items[k];
        const struct vks_site_slot *slot = vks_site_list_find(&item->sites, site->name);
        if (!slot)
            continue;
        if (slot->channels != site->channels) {
            attachment->failed = true;
            return vks_graph_fail(graph, "the steering has %u channels at %s, the model %u: it was trained for "
                                  "another model", slot->channels, site->name, site->channels);
        }
        item->met[slot - item->sites.slots] = true;
        const uint32_t channels = item->sites.channels, all[] = {(item->ranged ? 4 : 2) * channels};
        struct vks_tensor *flat = vks_graph_state(graph, "maps", VKS_F32, 1, all, item->storage, 0);
        struct vks_tensor *w = vks_graph_columns(graph, flat, slot->first, slot->channels);
        struct vks_tensor *b = vks_graph_columns(graph, flat, channels + slot->first, slot->channels);
        struct vks_tensor *range = NULL;
        if (item->ranged)
            range = vks_graph_columns(graph, flat, 2 * (channels + slot->first), 2 * slot->channels);
        value = vks_affine_map(graph, value, w, b, site->mask, NULL, NULL, &(struct vks_affine){
            .position = site->kind == VKS_SITE_PIXELS ? item->pixel_position : item->token_position,
            .strength = k,
            .range = range,
        });
    }
    return value;
}

void vks_attachment_hook(struct vks_attachment *attachment, struct vks_graph *graph)
{
    graph->hook = on_site;
    graph->hook_priv = attachment;
}

bool vks_attachment_check(const struct vks_attachment *attachment, const struct vks_log *log)
{
    if (attachment->failed)
        return false;
    for (uint32_t k = 0; k < attachment->count; k++)
        for (size_t i = 0; i < attachment->items[k].sites.count; i++)
            if (!attachment->items[k].met[i])
                return vks_fail(log, "the steering acts at %s, which this model does not have: it was trained for "
                                "another model", attachment->items[k].sites.slots[i].name);
    return true;
}
