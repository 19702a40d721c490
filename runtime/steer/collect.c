#include "steer/collect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "exec/exec_cache.h"
#include "graph/op.h"
#include "steer/lengths.h"
#include "steer/target_cache.h"

#define PASSES 128  // that are kept
// Samples that kernels are told to expect (vks_exec_params.batch), whatever the set: prompts come by the dozen, and no
// activation's bits may depend on how many.
#define EXPECTED 32

struct vks_collector {
    const struct vks_subject *subject;
    const struct vks_site_list *sites;
    enum vks_pool pool;
    struct vks_attachment *attachment;
    uint32_t batch, rows;
    struct vks_graph hooks;          // only carries the attachment's hook
    struct vks_storage *pooled;      // (rows, channels)
    struct vks_tensor *pooled_tensor;  // of the graph that is being built
    struct vks_exec_cache passes;    // forward, of so many samples of up to so many tokens
};

const struct vks_node *vks_linear_node(const struct vks_tensor *value)
{
    const struct vks_node *node = value->node;
    // A layer whose matrix stays in blocks adds its bias afterwards.
    if (node && strcmp(node->op->name, "add_rows") == 0 && node->inputs[1]->rank == 1)
        node = node->inputs[0]->node;
    if (node && strcmp(node->op->name, "linear") != 0 && strcmp(node->op->name, "linear_packed") != 0)
        return NULL;
    return node;
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

static bool build(void *priv, struct vks_graph *graph, const uint32_t shape[2], void **inputs)
{
    struct vks_collector *collector = priv;
    const struct vks_subject *subject = collector->subject;
    const uint32_t rows[] = {collector->rows, collector->sites->channels};
    collector->pooled_tensor = vks_graph_state(graph, "pooled", VKS_F32, 2, rows, collector->pooled, 0);
    graph->hook = on_site;
    graph->hook_priv = collector;
    return subject->build(subject->priv, graph, shape[0], shape[1], inputs) && !graph->failed &&
           (!collector->attachment || vks_attachment_check(collector->attachment, subject->log));
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
    collector->rows = (rows + batch - 1) / batch * batch;  // a last batch may be filled up with a repeated sample
    struct vks_exec_cache_params passes = {
        .log = subject->log, .build = build, .priv = collector, .most = PASSES, .share = true};
    if (exec)
        passes.exec = *exec;
    passes.exec.gpu = subject->gpu;
    passes.exec.batch = EXPECTED;
    vks_exec_cache_init(&collector->passes, &passes);
    collector->pooled = vks_storage_create(subject->gpu, (uint64_t)collector->rows * sites->channels * sizeof(float));
    if (attachment)
        vks_attachment_hook(attachment, &collector->hooks);
    if (!collector->pooled)
        vks_collector_destroy(&collector);
    return collector;
}

void vks_collector_destroy(struct vks_collector **address)
{
    struct vks_collector *collector = *address;
    if (!collector)
        return;
    *address = NULL;
    vks_exec_cache_finish(&collector->passes);
    vks_storage_destroy(&collector->pooled);
    free(collector);
}

static const struct vks_exec_entry *pass_of(struct vks_collector *collector, const struct vks_length_group *group)
{
    return vks_exec_cache_get(&collector->passes, (const uint32_t[]){group->count, group->length});
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

// The pass of the most tokens, made before the others: these work in its memory.
static bool make_largest(struct vks_collector *collector, const struct vks_length_order *order)
{
    return pass_of(collector, &order->groups[vks_lengths_largest(order->groups, order->group_count)]) != NULL;
}

static bool run_groups(struct vks_collector *collector, const struct vks_sample *like, uint32_t count,
                       const struct vks_length_order *order, uint32_t step[VKS_STEP_WORDS])
{
    const struct vks_subject *subject = collector->subject;
    struct vks_sample *samples = malloc(collector->batch * sizeof(*samples));
    bool ok = (samples || vks_fail(subject->log, VKS_NO_MEMORY)) && make_largest(collector, order);
    for (uint32_t g = 0; g < order->group_count && ok; g++) {
        const struct vks_length_group *group = &order->groups[g];
        const uint32_t end = group->first + group->count, done = end < count ? end : count;
        const struct vks_exec_entry *pass = pass_of(collector, group);
        for (uint32_t i = 0; i < group->count; i++) {
            const uint32_t at = group->first + i < count ? group->first + i : count - 1;
            samples[i] = (struct vks_sample){like->set, (uint32_t)order->sorted[at], like->draw};
        }
        step[VKS_STEP_SLICE] = group->first;
        ok = pass && subject->feed(subject->priv, pass->exec, pass->io, samples, group->count) &&
             vks_exec_run(pass->exec, step) &&
             (like->set != VKS_SET_TARGET || !subject->watch || subject->watch(subject->watch_priv, done, count));
    }
    free(samples);
    return ok;
}

// The first `count` prompts of a set.
static bool run(struct vks_collector *collector, enum vks_prompt_set set, uint32_t count, uint32_t draw,
                const float strengths[VKS_STEP_STRENGTHS], float *out)
{
    const size_t channels = collector->sites->channels;
    const struct vks_sample like = {.set = set, .draw = draw};
    uint32_t step[VKS_STEP_WORDS] = {0};
    struct vks_length_order order;
    float *rows = malloc(count * channels * sizeof(*rows));
    if (strengths)
        memcpy(&step[VKS_STEP_STRENGTH], strengths, VKS_STEP_STRENGTHS * sizeof(*strengths));
    const bool ok = vks_length_order_init(collector->subject, set, count, collector->batch, &order) &&
                    (rows || vks_fail(collector->subject->log, VKS_NO_MEMORY)) &&
                    run_groups(collector, &like, count, &order, step) &&
                    vks_storage_read(collector->pooled, 0, rows, count * channels * sizeof(*rows));
    for (uint32_t i = 0; i < count && ok; i++)
        memcpy(out + (uint32_t)order.sorted[i] * channels, rows + i * channels, channels * sizeof(*rows));
    vks_length_order_finish(&order);
    free(rows);
    return ok && all_finite(collector, out, count);
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
    const bool ok = subject->build(subject->priv, &graph, 1, 0, &inputs) && !graph.failed &&
                    vks_site_list_select(list, &graph, expression);
    vks_graph_finish(&graph);
    return ok;
}
