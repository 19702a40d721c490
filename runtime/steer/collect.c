#include "steer/collect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/op.h"
#include "steer/target_cache.h"

struct vks_collector {
    const struct vks_subject *subject;
    const struct vks_site_list *sites;
    enum vks_pool pool;
    struct vks_attachment *attachment;
    uint32_t batch, rows;
    struct vks_graph graph, hooks;   // hooks: only carries the attachment's hook
    void *inputs;
    struct vks_storage *pooled;      // (rows, channels)
    struct vks_tensor *pooled_tensor;
    struct vks_exec *exec;
};

const struct vks_node *vks_linear_node(const struct vks_tensor *value)
{
    const struct vks_node *node = value->node;
    // A layer whose matrix stays in blocks adds its bias afterwards.
    if (node && strcmp(node->op->name, "add_rows") == 0 && node->inputs[1]->rank == 1)
        node = node->inputs[0]->node;
    const bool linear = node && (strcmp(node->op->name, "linear") == 0 || strcmp(node->op->name, "linear_packed") == 0);
    return linear ? node : NULL;
}

static struct vks_tensor *on_site(void *priv, struct vks_graph *graph, const struct vks_site *site,
                                  struct vks_tensor *value)
{
    struct vks_collector *collector = priv;
    struct vks_tensor *output = value;
    if (collector->attachment)
        value = collector->hooks.hook(collector->hooks.hook_priv, graph, site, value);
    const struct vks_site_slot *slot = vks_site_list_find(collector->sites, site->name);
    if (!slot)
        return value;
    struct vks_tensor *pooled = vks_graph_columns(graph, collector->pooled_tensor, slot->first, slot->channels);
    if (!collector->sites->inputs)
        return vks_pool_rows(graph, value, site->mask, pooled, NULL, collector->pool);
    const struct vks_node *layer = vks_linear_node(output);
    if (!layer)
        return vks_graph_fail(graph, "internal: %s is no linear layer", site->name);
    vks_pool_rows(graph, layer->inputs[0], site->mask, pooled, NULL, collector->pool);
    return value;
}

struct vks_collector *vks_collector_create(const struct vks_subject *subject, const struct vks_site_list *sites,
                                           enum vks_pool pool, uint32_t batch, uint32_t rows,
                                           struct vks_attachment *attachment, const struct vks_exec_params *exec)
{
    struct vks_collector *collector = calloc(1, sizeof(*collector));
    if (!collector)
        return vks_fail_null(subject->log, VKS_NO_MEMORY);
    collector->subject = subject;
    collector->sites = sites;
    collector->pool = pool;
    collector->attachment = attachment;
    collector->batch = batch = batch < rows ? batch : rows;
    collector->rows = (rows + batch - 1) / batch * batch;  // the last batch is filled up with a repeated sample
    struct vks_graph *graph = &collector->graph;
    vks_graph_init(graph, subject->log);
    const uint32_t shape[] = {collector->rows, sites->channels};
    collector->pooled = vks_storage_create(subject->gpu, (uint64_t)shape[0] * shape[1] * sizeof(float));
    if (!collector->pooled)
        goto fail;
    collector->pooled_tensor = vks_graph_state(graph, "pooled", VKS_F32, 2, shape, collector->pooled, 0);
    if (attachment)
        vks_attachment_hook(attachment, &collector->hooks);
    graph->hook = on_site;
    graph->hook_priv = collector;
    if (!subject->build(subject->priv, graph, batch, &collector->inputs) || graph->failed ||
        (attachment && !vks_attachment_check(attachment, subject->log)))
        goto fail;
    struct vks_exec_params params = exec ? *exec : (struct vks_exec_params){0};
    params.gpu = subject->gpu;
    collector->exec = vks_exec_create(graph, &params);
    if (!collector->exec)
        goto fail;
    return collector;
fail:
    vks_collector_destroy(&collector);
    return NULL;
}

void vks_collector_destroy(struct vks_collector **address)
{
    struct vks_collector *collector = *address;
    if (!collector)
        return;
    *address = NULL;
    vks_exec_destroy(&collector->exec);
    vks_storage_destroy(&collector->pooled);
    vks_graph_finish(&collector->graph);
    free(collector);
}

// Statistics of values that are not finite are rubbish, and sorting them has no order.
static bool all_finite(const struct vks_collector *collector, const float *rows, uint32_t count)
{
    const struct vks_site_list *sites = collector->sites;
    for (uint32_t i = 0; i < count; i++)
        for (size_t s = 0; s < sites->count; s++)
            for (uint32_t c = sites->slots[s].first; c < sites->slots[s].first + sites->slots[s].channels; c++)
                if (!isfinite(rows[(size_t)i * sites->channels + c]))
                    return vks_fail(collector->subject->log, "the model's activations at %s are not finite for "
                                    "prompt %u: leave that prompt out, or check the model's files",
                                    sites->slots[s].name, i + 1);
    return true;
}

// The first `count` prompts of a set.
static bool run(struct vks_collector *collector, enum vks_prompt_set set, uint32_t count, uint32_t draw,
                const float strengths[VKS_STEP_STRENGTHS], float *out)
{
    const struct vks_subject *subject = collector->subject;
    const uint32_t batch = collector->batch;
    struct vks_sample *samples = malloc(batch * sizeof(*samples));
    uint32_t step[VKS_STEP_WORDS] = {0};
    bool ok = samples != NULL || vks_fail(subject->log, VKS_NO_MEMORY);
    if (strengths)
        memcpy(&step[VKS_STEP_STRENGTH], strengths, VKS_STEP_STRENGTHS * sizeof(*strengths));
    for (uint32_t first = 0; first < count && ok; first += batch) {
        for (uint32_t i = 0; i < batch; i++)
            samples[i] = (struct vks_sample){set, first + i < count ? first + i : count - 1, draw};
        step[VKS_STEP_SLICE] = first;
        ok = subject->feed(subject->priv, collector->exec, collector->inputs, samples, batch) &&
             vks_exec_run(collector->exec, step);
        const uint32_t done = first + batch < count ? first + batch : count;
        if (ok && set == VKS_SET_TARGET && subject->watch)
            ok = subject->watch(subject->watch_priv, done, count);
    }
    free(samples);
    return ok && vks_storage_read(collector->pooled, 0, out,
                                  (uint64_t)count * collector->sites->channels * sizeof(float)) &&
           all_finite(collector, out, count);
}

bool vks_collector_run(struct vks_collector *collector, enum vks_prompt_set set, uint32_t draw,
                       const float strengths[VKS_STEP_STRENGTHS], float *out)
{
    return run(collector, set, collector->subject->set_sizes[set], draw, strengths, out);
}

// The targets' rows from their file, if it is there and its first row is what the model gives now. *failed: it cannot
// even be tried.
static float *read_kept(const struct vks_subject *subject, const struct vks_site_list *sites, enum vks_pool pool,
                        bool *failed)
{
    float *rows = vks_target_cache_read(subject, sites, pool);
    if (!rows)
        return NULL;
    const size_t size = sites->channels * sizeof(*rows);
    float *first = malloc(size);
    struct vks_collector *collector = vks_collector_create(subject, sites, pool, 1, 1, NULL, NULL);
    *failed = !collector || (!first && !vks_fail(subject->log, VKS_NO_MEMORY)) ||
              !run(collector, VKS_SET_TARGET, 1, 0, NULL, first);
    const bool same = !*failed && memcmp(rows, first, size) == 0;
    if (!*failed && !same)
        vks_debug(subject->log, "which are not what the model gives now: they are collected again");
    vks_collector_destroy(&collector);
    free(first);
    if (!same) {
        free(rows);
        rows = NULL;
    }
    return rows;
}

float *vks_collect(const struct vks_subject *subject, const struct vks_site_list *sites, enum vks_prompt_set set,
                   enum vks_pool pool, uint32_t batch, uint32_t draw, struct vks_attachment *attachment,
                   const float *strengths)
{
    const uint32_t count = subject->set_sizes[set];
    const bool kept = subject->cache && set == VKS_SET_TARGET && !attachment && draw == 0;
    bool failed = false;
    float *known = kept ? read_kept(subject, sites, pool, &failed) : NULL;
    if (known || failed)
        return known;
    struct vks_collector *collector =
        vks_collector_create(subject, sites, pool, batch, count, attachment, NULL);
    if (!collector)
        return NULL;
    float *rows = malloc((size_t)count * sites->channels * sizeof(*rows));
    if (!rows)
        vks_fail(subject->log, VKS_NO_MEMORY);
    if (rows && !vks_collector_run(collector, set, draw, strengths, rows)) {
        free(rows);
        rows = NULL;
    }
    vks_collector_destroy(&collector);
    if (rows && kept)
        vks_target_cache_write(subject, sites, pool, rows);
    return rows;
}

bool vks_subject_sites(const struct vks_subject *subject, const char *expression, struct vks_site_list *list)
{
    struct vks_graph graph;
    void *inputs;
    vks_graph_init(&graph, subject->log);
    const bool ok = subject->build(subject->priv, &graph, 1, &inputs) && !graph.failed &&
                    vks_site_list_select(list, &graph, expression);
    vks_graph_finish(&graph);
    return ok;
}
