#include "exec/exec_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/os.h"

void vks_exec_cache_init(struct vks_exec_cache *cache, const struct vks_exec_cache_params *params)
{
    *cache = (struct vks_exec_cache){.params = *params};
}

static void destroy(struct vks_exec_entry *entry)
{
    vks_exec_destroy(&entry->exec);
    vks_graph_finish(&entry->graph);
    free(entry);
}

// Drops the graph that was not used for longest; one that lends its memory goes last.
static bool drop_oldest(struct vks_exec_cache *cache)
{
    size_t oldest = cache->params.share && cache->count > 1 ? 1 : 0;
    if (!cache->count)
        return false;
    for (size_t i = oldest + 1; i < cache->count; i++)
        if (cache->entries[i]->used < cache->entries[oldest]->used)
            oldest = i;
    destroy(cache->entries[oldest]);
    cache->entries[oldest] = cache->entries[--cache->count];
    return true;
}

void vks_exec_cache_drop(struct vks_exec_cache *cache)
{
    while (drop_oldest(cache))
        ;
}

void vks_exec_cache_finish(struct vks_exec_cache *cache)
{
    vks_exec_cache_drop(cache);
    free(cache->entries);
    *cache = (struct vks_exec_cache){0};
}

// For a graph in the making (vks_exec_params.make_room), which is not among the entries yet.
static bool make_room(void *priv, const struct vks_exec **lender)
{
    struct vks_exec_cache *cache = priv;
    if (cache->count == 1 && *lender == cache->entries[0]->exec)
        *lender = cache->params.exec.lender;
    return drop_oldest(cache);
}

static uint64_t size_of(const uint32_t shape[2])
{
    return (uint64_t)(shape[0] ? shape[0] : 1) * (shape[1] ? shape[1] : 1);
}

static struct vks_exec_entry *make(struct vks_exec_cache *cache, const uint32_t shape[2])
{
    struct vks_exec_params params = cache->params.exec;
    const double start = vks_os_seconds();
    struct vks_exec_entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return vks_fail_null(cache->params.log, VKS_NO_MEMORY);
    memcpy(entry->shape, shape, sizeof(entry->shape));
    entry->used = ++cache->clock;
    vks_graph_init(&entry->graph, cache->params.log);
    if (cache->params.share && cache->count)
        params.lender = cache->entries[0]->exec;
    params.make_room = make_room;
    params.make_room_priv = cache;
    cache->made++;
    if (cache->params.build(cache->params.priv, &entry->graph, shape, &entry->io))
        entry->exec = vks_exec_create(&entry->graph, &params);
    if (!entry->exec) {
        destroy(entry);
        return NULL;
    }
    vks_debug(cache->params.log, "graph %u of %u x %u: %.3f s, %llu MiB", cache->made, shape[0], shape[1],
              vks_os_seconds() - start, (unsigned long long)(vks_exec_plan(entry->exec)->bytes >> 20));
    return entry;
}

const struct vks_exec_entry *vks_exec_cache_get(struct vks_exec_cache *cache, const uint32_t shape[2])
{
    for (size_t i = 0; i < cache->count; i++)
        if (!memcmp(cache->entries[i]->shape, shape, sizeof(cache->entries[i]->shape))) {
            cache->entries[i]->used = ++cache->clock;
            return cache->entries[i];
        }
    if (cache->params.share && cache->count && size_of(shape) > size_of(cache->entries[0]->shape))
        vks_exec_cache_drop(cache);
    while (cache->count >= cache->params.most && drop_oldest(cache))
        ;
    if (!vks_grow(&cache->entries, &cache->capacity, cache->count, sizeof(*cache->entries)))
        return vks_fail_null(cache->params.log, VKS_NO_MEMORY);
    struct vks_exec_entry *entry = make(cache, shape);
    if (entry)
        cache->entries[cache->count++] = entry;
    return entry;
}
