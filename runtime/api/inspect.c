// A steering file, looked at.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

struct inspected {
    struct vks_steering steering;
    const char **keys, **values;
    struct vksteer_map_info *maps;
};

#define STRONGEST (sizeof(((struct vksteer_inspection *)0)->strongest) / \
                   sizeof(((struct vksteer_inspection *)0)->strongest[0]))

// Keeps the strongest channels in order.
static void offer(struct vksteer_inspection *out, const char *site, uint32_t channel, float w, float b)
{
    const float size = fabsf(w - 1) + fabsf(b);
    size_t at = out->strongest_count;
    while (at > 0 && size > fabsf(out->strongest[at - 1].w - 1) + fabsf(out->strongest[at - 1].b))
        at--;
    if (at >= STRONGEST || size == 0)
        return;
    if (out->strongest_count < STRONGEST)
        out->strongest_count++;
    for (size_t i = out->strongest_count - 1; i > at; i--)
        out->strongest[i] = out->strongest[i - 1];
    out->strongest[at].site = site;
    out->strongest[at].channel = channel;
    out->strongest[at].w = w;
    out->strongest[at].b = b;
}

static void measure(struct vksteer_inspection *out, const struct vks_steering *steering,
                    struct vksteer_map_info *maps)
{
    for (size_t i = 0; i < steering->sites.count; i++) {
        const struct vks_site_slot *slot = &steering->sites.slots[i];
        maps[i] = (struct vksteer_map_info){
            .site = slot->name,
            .channels = slot->channels,
            .ranged = vks_steering_has_range(steering, slot),
        };
        for (uint32_t c = 0; c < slot->channels; c++) {
            const float w = steering->w[slot->first + c], b = steering->b[slot->first + c];
            maps[i].max_w = fmax(maps[i].max_w, fabsf(w - 1));
            maps[i].max_b = fmax(maps[i].max_b, fabsf(b));
            maps[i].support += fabsf(w - 1) > 1e-5f || fabsf(b) > 1e-5f;
            offer(out, slot->name, c, w, b);
        }
        out->channels += maps[i].channels;
        out->support += maps[i].support;
        out->max_w = fmax(out->max_w, maps[i].max_w);
        out->max_b = fmax(out->max_b, maps[i].max_b);
    }
}

bool vksteer_inspect(const struct vksteer_log *log, const char *path, struct vksteer_inspection *out)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    *out = (struct vksteer_inspection){0};
    struct inspected *own = calloc(1, sizeof(*own));
    if (!own)
        return vks_fail(inner, VKS_NO_MEMORY);
    out->priv = own;
    if (!vks_steering_load(&own->steering, inner, path)) {
        free(own);
        out->priv = NULL;
        return false;
    }
    const size_t pairs = own->steering.metadata_count, maps = own->steering.sites.count;
    own->keys = calloc(pairs + 1, sizeof(*own->keys));
    own->values = calloc(pairs + 1, sizeof(*own->values));
    own->maps = calloc(maps + 1, sizeof(*own->maps));
    if (!own->keys || !own->values || !own->maps) {
        vksteer_inspection_finish(out);
        return vks_fail(inner, VKS_NO_MEMORY);
    }
    for (size_t i = 0; i < pairs; i++) {
        own->keys[i] = own->steering.metadata[i].key;
        own->values[i] = own->steering.metadata[i].value;
    }
    out->metadata_count = pairs;
    out->keys = own->keys;
    out->values = own->values;
    out->map_count = maps;
    out->maps = own->maps;
    measure(out, &own->steering, own->maps);
    return true;
}

void vksteer_inspection_finish(struct vksteer_inspection *inspection)
{
    struct inspected *own = inspection->priv;
    if (own) {
        vks_steering_finish(&own->steering);
        free(own->keys);
        free(own->values);
        free(own->maps);
        free(own);
    }
    *inspection = (struct vksteer_inspection){0};
}
