// Which sites: regular expressions over module names, and where a site's channels lie in the flat arrays.
#ifndef VKS_STEER_SITES_H
#define VKS_STEER_SITES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "graph/graph.h"

// A compiled expression (PCRE2). It must match the whole name; one without ':' never matches `name:index`, and one
// with it matches nothing else.
struct vks_site_pattern;
struct vks_site_pattern *vks_site_pattern_create(const struct vks_log *log, const char *expression);
void vks_site_pattern_destroy(struct vks_site_pattern **pattern);
bool vks_site_pattern_matches(const struct vks_site_pattern *pattern, const char *name);

struct vks_site_slot {
    const char *name;
    enum vks_site_kind kind;
    uint32_t channels;   // D_l
    uint32_t first;      // of its channels in the flat arrays
};

// Chosen sites in the order in which the model publishes them.
struct vks_site_list {
    struct vks_site_slot *slots;
    size_t count, capacity;
    uint32_t channels;          // sum of D_l
    bool inputs;                // channels are those of what the linear layers at the sites read: to be pooled only
    struct vks_arena arena;
};

// The sites of `graph` that `expression` matches; false with a message when there are none (it names a few that are).
bool vks_site_list_select(struct vks_site_list *list, const struct vks_graph *graph, const char *expression);
// Adds one; the name is copied.
bool vks_site_list_add(struct vks_site_list *list, const struct vks_log *log, const char *name,
                       enum vks_site_kind kind, uint32_t channels);
void vks_site_list_finish(struct vks_site_list *list);
// NULL when the name is not in the list.
const struct vks_site_slot *vks_site_list_find(const struct vks_site_list *list, const char *name);

#endif
