// LinEAS (Rodriguez et al. 2025, arXiv 2503.10679, sections 3 and 4): affine maps at all sites, trained together by
// back-propagating a one-dimensional Wasserstein loss through the frozen network.
//
// The loss couples samples only through their pooled rows, (B, sum of D_l). With a micro-batch b < B, one forward
// pass a slice fills the rows, the loss and its gradient are taken for all B at once, and a second forward and
// backward pass a slice turns the gradient of the rows into that of the maps: the same bits as with b = B, in less
// memory.
//
// Where samples differ in length, those of a step are sorted by it and cut into slices that hold little padding; the
// graph of a slice is as long as the minibatches of all steps, which the seed gives, want it. The step buffer says
// which row of the batch a sample has, so neither order nor cuts change a bit.
#include "steer/lineas.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "exec/backward.h"
#include "steer/collect.h"
#include "steer/lengths.h"
#include "steer/statistics.h"

#define PI 3.14159265358979323846
#define MOST_DRAWN 4096u  // steps whose minibatches are drawn beforehand, to see how long their samples are

enum {
    PARAM, MOMENT1, MOMENT2, GRAD, ROWS, POOLED, GRAD_POOLED, TARGET, PAIRS, WEIGHTS, SCALE, FLAG, GROUPS, STORAGES,
};

// One recorded graph.
struct part {
    struct vks_graph graph;
    struct vks_exec *exec;
    bool used;
};

// Samples of a step that run together.
struct slice {
    struct vks_length_group group;
    struct part forward, both;    // b < B; a slice like the one before it uses that one's
    void *inputs[2];              // of the subject's forward passes, in `forward` and in `both` or the whole
};

struct vks_lineas {
    const struct vks_subject *subject;
    const struct vks_train_params *params;
    const struct vks_site_list *maps, *loss;
    struct vks_attachment *base;                  // steerings that are on already, or NULL
    struct vks_graph base_hook;                   // only carries their hook
    uint32_t batch, micro, target_rows, pair_count;
    struct vks_storage *storages[STORAGES];
    struct slice *slices;                         // the longest samples first
    uint32_t slice_count, largest;                // that of the most tokens, whose memory serves the others
    struct part whole;                            // b = B: everything in one graph
    struct part middle, update;                   // b < B
    struct vks_tensor *terms;                     // of the graph that computes the loss
    float *host_terms;
    uint32_t *order;                              // the source prompts of an epoch
    uint32_t epoch;
    uint32_t *lengths;                            // by source prompt, where a step's samples are sorted; or NULL
    uint32_t *drawn;                              // (batch): lengths of a step's samples
    uint64_t *sorted;                             // (batch): their places in the minibatch, see vks_lengths_sort
    struct vks_sample *samples;                   // (micro)
    double floor;
    struct vks_train_need *need;                  // only measured: nothing is allocated on the device, nothing runs
};

// A state of this training in a graph.
static struct vks_tensor *state(const struct vks_lineas *t, struct vks_graph *g, int which)
{
    const uint32_t d2 = 2 * t->maps->channels, l = t->loss->channels, groups = 2 * (uint32_t)t->maps->count;
    static const char *const names[] = {
        "maps", "moments", "squared moments", "gradient", "gradient rows", "pooled", "gradient of pooled", "target",
        "pairs", "weights", "scale", "flag", "groups",
    };
    const struct { enum vks_dtype dtype; uint32_t rank, shape[2]; } kinds[STORAGES] = {
        [PARAM] = {VKS_F32, 1, {d2}}, [MOMENT1] = {VKS_F32, 1, {d2}}, [MOMENT2] = {VKS_F32, 1, {d2}},
        [GRAD] = {VKS_F32, 1, {d2}}, [ROWS] = {VKS_F32, 2, {t->batch, d2}}, [POOLED] = {VKS_F32, 2, {t->batch, l}},
        [GRAD_POOLED] = {VKS_F32, 2, {t->batch, l}}, [TARGET] = {VKS_F32, 2, {t->target_rows, l}},
        [PAIRS] = {VKS_I32, 2, {t->pair_count, 2}}, [WEIGHTS] = {VKS_F32, 1, {t->pair_count}},
        [SCALE] = {VKS_F32, 1, {l}}, [FLAG] = {VKS_I32, 1, {1}}, [GROUPS] = {VKS_I32, 1, {groups / 2 + 1}},
    };
    return vks_graph_state(g, names[which], kinds[which].dtype, kinds[which].rank, kinds[which].shape,
                           t->storages[which], 0);
}

struct hook {
    struct vks_lineas *t;
    bool differentiate;
    struct vks_tensor *param, *rows, *pooled, *grad_pooled;
};

static struct vks_tensor *on_site(void *priv, struct vks_graph *g, const struct vks_site *site, struct vks_tensor *z)
{
    const struct hook *hook = priv;
    const struct vks_lineas *t = hook->t;
    if (t->base)
        z = t->base_hook.hook(t->base_hook.hook_priv, g, site, z);
    const struct vks_site_slot *map = vks_site_list_find(t->maps, site->name);
    if (map) {
        const uint32_t d = t->maps->channels, first = map->first, count = map->channels;
        z = vks_affine_map(g, z, vks_graph_columns(g, hook->param, first, count),
                           vks_graph_columns(g, hook->param, d + first, count), site->mask,
                           hook->differentiate ? vks_graph_columns(g, hook->rows, first, count) : NULL,
                           hook->differentiate ? vks_graph_columns(g, hook->rows, d + first, count) : NULL,
                           &(struct vks_affine){.position = t->params->position, .strength = t->params->base_count});
    }
    const struct vks_site_slot *loss = vks_site_list_find(t->loss, site->name);
    if (loss)
        z = vks_pool_rows(g, z, site->mask, vks_graph_columns(g, hook->pooled, loss->first, loss->channels),
                          hook->differentiate
                              ? vks_graph_columns(g, hook->grad_pooled, loss->first, loss->channels) : NULL,
                          t->params->pool);
    return z;
}

static bool build_forward(struct vks_lineas *t, struct part *part, const struct vks_length_group *group,
                          bool differentiate, void **inputs)
{
    struct vks_graph *g = &part->graph;
    struct hook hook = {t, differentiate, state(t, g, PARAM), state(t, g, ROWS), state(t, g, POOLED),
                        state(t, g, GRAD_POOLED)};
    g->hook = on_site;
    g->hook_priv = &hook;
    const bool ok = t->subject->build(t->subject->priv, g, group->count, group->length, inputs) && !g->failed;
    g->hook = NULL;
    g->segment = 0;
    return ok;
}

static bool build_loss(struct vks_lineas *t, struct vks_graph *g)
{
    struct vks_tensor *sorted = NULL, *permutation = NULL;
    vks_sort_columns(g, state(t, g, POOLED), state(t, g, FLAG), &sorted, &permutation);
    t->terms = vks_wasserstein(g, sorted, permutation, state(t, g, TARGET), state(t, g, PAIRS), state(t, g, WEIGHTS),
                               state(t, g, SCALE), state(t, g, GRAD_POOLED), t->params->p);
    if (t->terms)
        t->terms->keep = true;
    return !g->failed;
}

static bool build_update(struct vks_lineas *t, struct vks_graph *g)
{
    const uint32_t d = t->maps->channels;
    struct vks_tensor *param = state(t, g, PARAM), *grad = state(t, g, GRAD);
    struct vks_tensor *w = vks_graph_columns(g, param, 0, d), *b = vks_graph_columns(g, param, d, d);
    vks_sum_rows(g, state(t, g, ROWS), grad);
    if (t->params->refit)
        vks_keep_support(g, vks_graph_columns(g, grad, 0, d), vks_graph_columns(g, grad, d, d), w, b);
    if (t->params->sgd)
        vks_sgd(g, param, grad);
    else  // betas and eps of the reference; eps matters, since gradients of large models are about 1e-7
        vks_adam(g, param, grad, state(t, g, MOMENT1), state(t, g, MOMENT2), &(struct vks_adam){0.9f, 0.9f, 1e-8f});
    if (t->params->gamma > 0) {
        const float shrink = t->params->sgd || t->params->sparse_group ? 1 : 0;
        vks_prox(g, w, state(t, g, GROUPS), &(struct vks_prox){1, 1, shrink});
        vks_prox(g, b, state(t, g, GROUPS), &(struct vks_prox){0, 1, shrink});
    }
    return !g->failed;
}

static struct vks_exec_params exec_params(const struct vks_lineas *t)
{
    struct vks_exec_params params = t->params->exec;
    params.gpu = t->subject->gpu;
    params.batch = t->params->batch;
    // Each graph of a slice would keep its own; and who recomputes is short of memory.
    if (t->micro < t->batch || t->params->recompute)
        params.keep = 0;
    return params;
}

// Adds a graph that a step runs so many times. `shared`: it works in the memory of the largest slice's `both`.
static bool measure_part(const struct vks_lineas *t, struct part *part, uint32_t runs, bool shared,
                         const struct vks_exec_params *params)
{
    struct vks_train_need *need = t->need;
    struct vks_exec_plan plan;
    if (!vks_exec_measure(&part->graph, params, &plan))
        return false;
    need->bytes += shared && plan.bytes <= need->run_bytes ? 0 : plan.bytes;
    plan.bytes -= plan.kept_bytes;  // which are lent to none
    need->run_bytes = plan.bytes > need->run_bytes ? plan.bytes : need->run_bytes;
    need->flop += runs * plan.flop;
    need->dispatches += runs * plan.dispatches;
    return true;
}

static bool finish_part(struct vks_lineas *t, struct part *part, uint32_t runs, bool shared)
{
    struct vks_exec_params params = exec_params(t);
    params.lender = shared ? t->slices[t->largest].both.exec : NULL;
    if (t->need)
        return measure_part(t, part, runs, shared, &params);
    part->exec = vks_exec_create(&part->graph, &params);
    return part->exec != NULL;
}

static struct vks_graph *begin_part(struct vks_lineas *t, struct part *part)
{
    vks_graph_init(&part->graph, t->subject->log);
    part->used = true;
    return &part->graph;
}

// Nodes are joined before there are gradients: the joint operators have better ones.
static bool join(const struct vks_lineas *t, struct vks_graph *g)
{
    return t->params->exec.no_fuse || vks_graph_fuse(g);
}

// All slices, the loss, the gradients and the update. The gradient of the pooled rows is read by backward, so the
// loss stands between both passes.
static bool build_whole(struct vks_lineas *t, const struct vks_backward *backward)
{
    struct vks_graph *g = begin_part(t, &t->whole);
    for (uint32_t i = 0; i < t->slice_count; i++) {
        g->sample = t->slices[i].group.first;
        if (!build_forward(t, &t->whole, &t->slices[i].group, true, &t->slices[i].inputs[1]))
            return false;
    }
    return join(t, g) && build_loss(t, g) && vks_graph_backward(g, backward) && build_update(t, g) &&
           finish_part(t, &t->whole, 1, false);
}

// The slice whose graphs slice `i` uses: the first of its size and length, which are neighbours.
static struct slice *model_of(const struct vks_lineas *t, uint32_t i)
{
    while (i > 0 && t->slices[i - 1].group.count == t->slices[i].group.count &&
           t->slices[i - 1].group.length == t->slices[i].group.length)
        i--;
    return &t->slices[i];
}

// Both passes over a slice write all their inputs and leave nothing but states, so one memory serves them all: that
// of the largest slice, which is built first.
static bool build_slice(struct vks_lineas *t, uint32_t i, const struct vks_backward *backward)
{
    struct slice *slice = &t->slices[i];
    uint32_t runs = 1;
    if (model_of(t, i) != slice)
        return true;
    while (i + runs < t->slice_count && model_of(t, i + runs) == slice)
        runs++;
    begin_part(t, &slice->forward);
    struct vks_graph *both = begin_part(t, &slice->both);
    return build_forward(t, &slice->both, &slice->group, true, &slice->inputs[1]) && join(t, both) &&
           vks_graph_backward(both, backward) && finish_part(t, &slice->both, runs, i != t->largest) &&
           build_forward(t, &slice->forward, &slice->group, false, &slice->inputs[0]) &&
           finish_part(t, &slice->forward, runs, true);
}

static bool build_parts(struct vks_lineas *t)
{
    const struct vks_backward backward = {.recompute = t->params->recompute};
    if (t->micro == t->batch)
        return build_whole(t, &backward);
    if (!build_slice(t, t->largest, &backward))
        return false;
    for (uint32_t i = 0; i < t->slice_count; i++)
        if (i != t->largest && !build_slice(t, i, &backward))
            return false;
    struct vks_graph *middle = begin_part(t, &t->middle), *update = begin_part(t, &t->update);
    return build_loss(t, middle) && finish_part(t, &t->middle, 1, false) &&
           build_update(t, update) && finish_part(t, &t->update, 1, false);
}

// ---- constants ---------------------------------------------------------------------------------------------------

static bool put(struct vks_lineas *t, int which, const void *data, uint64_t size)
{
    if (t->need) {
        t->need->bytes += size;
        return true;
    }
    t->storages[which] = vks_storage_create(t->subject->gpu, size);
    if (!t->storages[which])
        return false;
    return data ? vks_storage_write(t->storages[which], 0, data, size)
                : vks_storage_fill(t->storages[which], 0, vks_storage_size(t->storages[which]), 0);
}

// Sorted once, on the host and in fp32 order: the targets never change.
static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static bool put_target(struct vks_lineas *t, const float *target)
{
    const uint32_t n = t->target_rows, l = t->loss->channels;
    if (t->need)
        return put(t, TARGET, NULL, (uint64_t)n * l * sizeof(*target));
    const struct vks_loss_floor floor = {t->loss, target, n, t->batch, t->params->p, t->params->mean_scale};
    float *sorted = malloc((size_t)n * l * sizeof(*sorted)), *column = malloc(n * sizeof(*column));
    bool ok = sorted && column && vks_loss_floor(&floor, &t->floor);
    for (uint32_t c = 0; c < l && ok; c++) {
        for (uint32_t i = 0; i < n; i++)
            column[i] = target[(size_t)i * l + c];
        qsort(column, n, sizeof(*column), ascending);
        for (uint32_t i = 0; i < n; i++)
            sorted[(size_t)i * l + c] = column[i];
    }
    ok = ok ? put(t, TARGET, sorted, (uint64_t)n * l * sizeof(*sorted))
            : vks_fail(t->subject->log, VKS_NO_MEMORY);
    free(sorted);
    free(column);
    return ok;
}

static bool put_tables(struct vks_lineas *t)
{
    const uint32_t l = t->loss->channels, n = t->batch + t->target_rows;
    int32_t *pairs = malloc(2 * (size_t)n * sizeof(*pairs)), *groups = malloc((t->maps->count + 1) * sizeof(*groups));
    float *weights = malloc(n * sizeof(*weights)), *scale = malloc(l * sizeof(*scale));
    bool ok = pairs && groups && weights && scale;
    if (ok) {
        t->pair_count = vks_quantile_coupling(t->batch, t->target_rows, pairs, weights);
        for (size_t s = 0; s < t->loss->count; s++) {
            const struct vks_site_slot *slot = &t->loss->slots[s];
            for (uint32_t c = 0; c < slot->channels; c++)
                scale[slot->first + c] = (float)vks_loss_weight(t->loss, slot, t->params->mean_scale);
        }
        for (size_t s = 0; s < t->maps->count; s++)
            groups[s] = (int32_t)t->maps->slots[s].first;
        groups[t->maps->count] = (int32_t)t->maps->channels;
        ok = put(t, PAIRS, pairs, 2 * (uint64_t)t->pair_count * sizeof(*pairs)) &&
             put(t, WEIGHTS, weights, t->pair_count * sizeof(*weights)) &&
             put(t, SCALE, scale, l * sizeof(*scale)) &&
             put(t, GROUPS, groups, (t->maps->count + 1) * sizeof(*groups));
    } else {
        vks_fail(t->subject->log, VKS_NO_MEMORY);
    }
    free(pairs);
    free(groups);
    free(weights);
    free(scale);
    return ok;
}

static bool put_arrays(struct vks_lineas *t)
{
    const uint64_t d = t->maps->channels, l = t->loss->channels, size = sizeof(float);
    float *identity = calloc(2 * d, sizeof(*identity));
    if (!identity)
        return vks_fail(t->subject->log, VKS_NO_MEMORY);
    for (uint64_t i = 0; i < d; i++)
        identity[i] = 1;
    const bool ok = put(t, PARAM, identity, 2 * d * size);
    free(identity);
    return ok && put(t, MOMENT1, NULL, 2 * d * size) && put(t, MOMENT2, NULL, 2 * d * size) &&
           put(t, GRAD, NULL, 2 * d * size) && put(t, ROWS, NULL, 2 * d * t->batch * size) &&
           put(t, POOLED, NULL, l * t->batch * size) && put(t, GRAD_POOLED, NULL, l * t->batch * size) &&
           put(t, FLAG, NULL, size);
}

// ---- minibatches and slices ---------------------------------------------------------------------------------------

// Sources of a step: without replacement within an epoch, the last partial batch dropped. A pure function of seed and
// step, so that a resumed run sees the same prompts.
static void shuffle(struct vks_lineas *t, uint32_t epoch)
{
    if (t->epoch == epoch)
        return;
    t->epoch = epoch;
    vks_noise_shuffle(&(struct vks_noise){.seed = t->params->seed, .offset = epoch, .domain = VKS_NOISE_SHUFFLE},
                      t->order, t->subject->set_sizes[VKS_SET_SOURCE]);
}

// The minibatch of a step: its prompts, and in t->sorted the places among them in the order in which they run.
static const uint32_t *draw(struct vks_lineas *t, uint32_t step)
{
    const uint32_t per_epoch = t->subject->set_sizes[VKS_SET_SOURCE] / t->batch;
    shuffle(t, step / per_epoch);
    const uint32_t *prompts = t->order + step % per_epoch * t->batch;
    for (uint32_t i = 0; i < t->batch; i++) {
        t->drawn[i] = t->lengths ? t->lengths[prompts[i]] : 0;
        t->sorted[i] = i;
    }
    if (t->lengths)
        vks_lengths_sort(t->drawn, t->batch, t->sorted);
    return prompts;
}

// The longest that the i-th sample of a minibatch, sorted by length, gets in any step. 0: any length.
static bool find_bounds(struct vks_lineas *t, uint32_t bounds[])
{
    const uint32_t sources = t->subject->set_sizes[VKS_SET_SOURCE], steps = t->params->steps + t->params->refit;
    memset(bounds, 0, t->batch * sizeof(*bounds));
    if (!t->lengths || t->batch > sources)  // more than there are: only measured, and for prompts of any length
        return true;
    if (t->batch == sources || steps > MOST_DRAWN) {
        // No minibatch has a longer i-th sample than all sources together.
        uint64_t *sorted = malloc(sources * sizeof(*sorted));
        if (!sorted)
            return false;
        vks_lengths_sort(t->lengths, sources, sorted);
        for (uint32_t i = 0; i < t->batch; i++)
            bounds[i] = t->lengths[(uint32_t)sorted[i]];
        free(sorted);
        return true;
    }
    for (uint32_t step = 0; step < steps; step++) {
        draw(t, step);
        for (uint32_t i = 0; i < t->batch; i++) {
            const uint32_t length = t->drawn[(uint32_t)t->sorted[i]];
            bounds[i] = length > bounds[i] ? length : bounds[i];
        }
    }
    return true;
}

// Cuts the batch into slices.
static bool cut(struct vks_lineas *t)
{
    const struct vks_subject *subject = t->subject;
    uint32_t *bounds = malloc(t->batch * sizeof(*bounds));
    struct vks_length_group *groups = malloc(t->batch * sizeof(*groups));
    t->lengths = subject->length ? malloc(subject->set_sizes[VKS_SET_SOURCE] * sizeof(*t->lengths)) : NULL;
    if (bounds && groups && (t->lengths || !subject->length)) {
        if (t->lengths)
            vks_lengths_of(subject, VKS_SET_SOURCE, t->lengths);
        const bool known = find_bounds(t, bounds);
        // Without a table for so many rows they stay in their order.
        for (uint32_t i = 1; i < t->batch && t->batch > VKS_STEP_ORDERS; i++)
            bounds[i] = bounds[0];
        t->slice_count = known ? vks_lengths_group(bounds, t->batch, t->micro, groups) : 0;
    }
    t->slices = calloc(t->slice_count + 1, sizeof(*t->slices));
    for (uint32_t i = 0; t->slices && i < t->slice_count; i++)
        t->slices[i].group = groups[i];
    t->largest = t->slice_count ? vks_lengths_largest(groups, t->slice_count) : 0;
    if (t->batch > VKS_STEP_ORDERS) {
        free(t->lengths);
        t->lengths = NULL;
    }
    free(bounds);
    free(groups);
    return t->slice_count && t->slices;
}

static bool build(struct vks_lineas *t, const float *target)
{
    const struct vks_subject *subject = t->subject;
    const struct vks_train_params *params = t->params;
    t->batch = params->batch;
    t->micro = params->micro_batch ? params->micro_batch : params->batch;
    t->target_rows = subject->set_sizes[VKS_SET_TARGET];
    t->epoch = UINT32_MAX;
    t->order = malloc(subject->set_sizes[VKS_SET_SOURCE] * sizeof(*t->order));
    t->drawn = malloc(t->batch * sizeof(*t->drawn));
    t->sorted = malloc(t->batch * sizeof(*t->sorted));
    t->samples = malloc(t->micro * sizeof(*t->samples));
    t->host_terms = malloc(t->loss->channels * sizeof(*t->host_terms));
    if (!t->order || !t->drawn || !t->sorted || !t->samples || !t->host_terms || !cut(t))
        return vks_fail(subject->log, VKS_NO_MEMORY);
    if (params->base_count) {
        t->base = vks_attachment_create(subject->gpu, params->base, params->base_count);
        if (!t->base)
            return false;
        vks_attachment_hook(t->base, &t->base_hook);
    }
    return put_tables(t) && put_target(t, target) && put_arrays(t) && build_parts(t) &&
           (!t->base || vks_attachment_check(t->base, subject->log));
}

struct vks_lineas *vks_lineas_create(const struct vks_subject *subject, const struct vks_train_params *params,
                                     const struct vks_site_list *maps, const struct vks_site_list *loss,
                                     const float *target)
{
    struct vks_lineas *t = calloc(1, sizeof(*t));
    if (!t)
        return vks_fail_null(subject->log, VKS_NO_MEMORY);
    *t = (struct vks_lineas){.subject = subject, .params = params, .maps = maps, .loss = loss};
    if (!build(t, target))
        vks_lineas_destroy(&t);
    return t;
}

static void finish(struct part *part)
{
    if (!part->used)
        return;
    vks_exec_destroy(&part->exec);
    vks_graph_finish(&part->graph);
}

// The forward pass over the held-out prompts works in the memory of the training, as far as that goes.
static bool measure_validation(struct vks_lineas *t)
{
    const struct vks_subject *subject = t->subject;
    const uint32_t count = subject->set_sizes[VKS_SET_VALIDATION];
    if (!count)
        return true;
    struct vks_length_order order;
    const bool known =
        vks_length_order_init(subject, VKS_SET_VALIDATION, count, t->micro < count ? t->micro : count, &order);
    const struct vks_length_group most = known ? order.groups[vks_lengths_largest(order.groups, order.group_count)]
                                               : (struct vks_length_group){0};
    vks_length_order_finish(&order);
    if (!known)
        return false;
    struct part part = {0};
    struct vks_exec_plan plan;
    struct vks_exec_params params = exec_params(t);
    params.keep = 0;
    void *inputs;
    begin_part(t, &part);
    const bool ok = build_forward(t, &part, &most, false, &inputs) && vks_exec_measure(&part.graph, &params, &plan);
    if (ok && plan.bytes > t->need->run_bytes)
        t->need->bytes += plan.bytes - t->need->run_bytes;
    finish(&part);
    return ok;
}

bool vks_lineas_measure(const struct vks_subject *subject, const struct vks_train_params *params,
                        const struct vks_site_list *maps, const struct vks_site_list *loss,
                        struct vks_train_need *need)
{
    struct vks_lineas *t = calloc(1, sizeof(*t));
    if (!t)
        return vks_fail(subject->log, VKS_NO_MEMORY);
    *need = (struct vks_train_need){0};
    *t = (struct vks_lineas){.subject = subject, .params = params, .maps = maps, .loss = loss, .need = need};
    const bool ok = build(t, NULL) && measure_validation(t);
    // Held-out prompts are pooled beside it.
    need->bytes += (uint64_t)subject->set_sizes[VKS_SET_VALIDATION] * loss->channels * sizeof(float);
    vks_lineas_destroy(&t);
    return ok;
}

void vks_lineas_destroy(struct vks_lineas **address)
{
    struct vks_lineas *t = *address;
    if (!t)
        return;
    *address = NULL;
    for (uint32_t i = 0; t->slices && i < t->slice_count; i++) {
        finish(&t->slices[i].forward);
        if (i != t->largest)
            finish(&t->slices[i].both);
    }
    if (t->slices && t->slice_count)  // it lends its memory
        finish(&t->slices[t->largest].both);
    finish(&t->whole);
    finish(&t->middle);
    finish(&t->update);
    for (int i = 0; i < STORAGES; i++)
        vks_storage_destroy(&t->storages[i]);
    vks_attachment_destroy(&t->base);
    free(t->slices);
    free(t->lengths);
    free(t->sorted);
    free(t->order);
    free(t->drawn);
    free(t->samples);
    free(t->host_terms);
    free(t);
}

// ---- steps -------------------------------------------------------------------------------------------------------

static double cosine(double lr, uint32_t step, uint32_t steps)
{
    return lr * (1e-3 + (1 - 1e-3) * (1 + cos(PI * step / steps)) / 2);
}

double vks_lineas_rate(const struct vks_train_params *params, uint32_t step)
{
    return step < params->steps ? cosine(params->lr, step, params->steps)
                                : cosine(params->lr, step - params->steps, params->refit);
}

static void fill_step_words(const struct vks_lineas *t, uint32_t step, uint32_t words[VKS_STEP_WORDS])
{
    const struct vks_train_params *p = t->params;
    const double lr = vks_lineas_rate(p, step);
    const bool refit = step >= p->steps;
    const uint32_t updates = 1 + (refit ? step - p->steps : step);  // of moments that began at 0
    const struct { uint32_t word; float value; } floats[] = {
        {VKS_STEP_LR, (float)lr},
        {VKS_STEP_BIAS1, (float)(1 - pow(0.9, updates))},
        {VKS_STEP_BIAS2, (float)(1 - pow(0.9, updates))},
        {VKS_STEP_TAU, (float)(refit ? 0 : lr * p->gamma)},
        {VKS_STEP_STRENGTH + p->base_count, 1},
    };
    memset(words, 0, VKS_STEP_WORDS * sizeof(*words));
    words[VKS_STEP_REFIT] = refit;
    if (p->base_count)
        memcpy(&words[VKS_STEP_STRENGTH], p->base_strengths, p->base_count * sizeof(float));
    for (size_t i = 0; i < sizeof(floats) / sizeof(floats[0]); i++)
        memcpy(&words[floats[i].word], &floats[i].value, sizeof(float));
}

// Writes the inputs of a slice.
static bool feed(struct vks_lineas *t, const struct slice *slice, struct vks_exec *exec, const void *inputs,
                 const uint32_t *prompts, uint32_t step)
{
    const struct vks_length_group *group = &slice->group;
    for (uint32_t i = 0; i < group->count; i++)
        t->samples[i] = (struct vks_sample){VKS_SET_SOURCE, prompts[(uint32_t)t->sorted[group->first + i]], step};
    return t->subject->feed(t->subject->priv, exec, inputs, t->samples, group->count);
}

// Runs a pass over all samples of the step, a slice at a time: forward, or both.
static bool run_slices(struct vks_lineas *t, bool both, const uint32_t *prompts, uint32_t step,
                       uint32_t words[VKS_STEP_WORDS])
{
    for (uint32_t i = 0; i < t->slice_count; i++) {
        const struct slice *slice = &t->slices[i], *model = model_of(t, i);
        struct vks_exec *exec = both ? model->both.exec : model->forward.exec;
        words[VKS_STEP_SLICE] = slice->group.first;
        if (!feed(t, slice, exec, model->inputs[both], prompts, step) || !vks_exec_run(exec, words))
            return false;
    }
    words[VKS_STEP_SLICE] = 0;
    return true;
}

static bool run_whole(struct vks_lineas *t, const uint32_t *prompts, uint32_t step,
                      const uint32_t words[VKS_STEP_WORDS])
{
    for (uint32_t i = 0; i < t->slice_count; i++)
        if (!feed(t, &t->slices[i], t->whole.exec, t->slices[i].inputs[1], prompts, step))
            return false;
    return vks_exec_run(t->whole.exec, words);
}

// The refit is a training of its own, from the maps that the first one left.
static bool forget_moments(struct vks_lineas *t)
{
    return vks_storage_fill(t->storages[MOMENT1], 0, vks_storage_size(t->storages[MOMENT1]), 0) &&
           vks_storage_fill(t->storages[MOMENT2], 0, vks_storage_size(t->storages[MOMENT2]), 0);
}

bool vks_lineas_step(struct vks_lineas *t, uint32_t step, double *value)
{
    uint32_t words[VKS_STEP_WORDS];
    int32_t flag = 0;
    fill_step_words(t, step, words);
    const uint32_t *prompts = draw(t, step);
    words[VKS_STEP_ORDERED] = t->lengths != NULL;
    for (uint32_t i = 0; i < t->batch && t->lengths; i++)
        words[VKS_STEP_ORDER + i] = (uint32_t)t->sorted[i];
    bool ok = step != t->params->steps || forget_moments(t);
    if (ok && t->whole.used)
        ok = run_whole(t, prompts, step, words);
    else if (ok)
        ok = run_slices(t, false, prompts, step, words) && vks_exec_run(t->middle.exec, words) &&
             run_slices(t, true, prompts, step, words) && vks_exec_run(t->update.exec, words);
    struct part *loss = t->whole.used ? &t->whole : &t->middle;
    ok = ok && vks_exec_read(loss->exec, t->terms, t->host_terms, t->loss->channels * sizeof(float)) &&
         vks_storage_read(t->storages[FLAG], 0, &flag, sizeof(flag));
    if (!ok)
        return false;
    *value = 0;
    for (uint32_t c = 0; c < t->loss->channels; c++)
        *value += t->host_terms[c];
    if (flag || !isfinite(*value))
        return vks_fail(t->subject->log, "the activations stopped being finite at step %u: use a smaller --lr",
                        step + 1);
    return true;
}

uint64_t vks_lineas_size(const struct vks_lineas *t)
{
    return 2 * (uint64_t)t->maps->channels;
}

bool vks_lineas_get(struct vks_lineas *t, uint32_t array, float *out)
{
    return vks_storage_read(t->storages[PARAM + array], 0, out, vks_lineas_size(t) * sizeof(*out));
}

bool vks_lineas_set(struct vks_lineas *t, uint32_t array, const float *in)
{
    return vks_storage_write(t->storages[PARAM + array], 0, in, vks_lineas_size(t) * sizeof(*in));
}

const struct vks_exec *vks_lineas_exec(const struct vks_lineas *t)
{
    return t->whole.used ? t->whole.exec : t->slices[t->largest].both.exec;
}

double vks_lineas_floor(const struct vks_lineas *t)
{
    return t->floor;
}
