// Inference-time intervention (Li et al. 2023, arXiv 2306.03341, sections 3 and 4), with the direction of the probe
// (what arXiv 2410.23054 calls ITI-c).
//
// For every attention head h, a logistic probe tells the head's output x_h on target prompts from that on source
// prompts (pooled at the last token), fitted on four fifths of the prompts; every fifth of each side ranks the heads,
// by how many it gets right, then by its log-likelihood there, then in the model's order. The K best move by
//
//     x_h' = x_h + α σ_h θ_h     θ_h the probe's weights at length 1, σ_h the standard deviation of x_h·θ_h over all
//                                prompts
//
// before the layer that joins the heads, o = W x (+ bias). A head's output is no module's in PyTorch, but W is
// linear: the map stands at the output of that layer, o' = o + Σ_h W_h (α σ_h θ_h), which is the same thing, as a
// bias of one value a channel. The authors publish their models with it as that layer's bias.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/op.h"
#include "ops/ops.h"
#include "steer/closed.h"
#include "steer/collect.h"
#include "steer/probe.h"
#include "steer/statistics.h"

#define HELD_OUT 5           // every fifth prompt
#define PUBLISHED_HEADS 48.0   // of LLaMA-7B's
#define PUBLISHED_OF 1024.0

struct head {
    uint32_t first, width;   // columns of what the layers read
    uint32_t order;          // in the model
    uint32_t right;          // of the held-out prompts
    double loss;             // on them
    double *shift;           // (width) σ θ
};

struct iti {
    const struct vks_subject *subject;
    const struct vks_train_params *params;
    struct vks_steering *steering;
    struct vks_site_list read;         // by site of the steering: what the layer reads
    uint32_t *counts;                  // by site: heads
    float *source, *target;            // (prompts, read.channels)
    struct head *heads;
    uint32_t head_count;
    float *shift;                      // (read.channels) α σ θ of the chosen heads, 0 elsewhere
    struct vks_arena arena;
};

// ---- what the layers read ----------------------------------------------------------------------------------------

static struct vks_tensor *count_heads(void *priv, struct vks_graph *graph, const struct vks_site *site,
                                      struct vks_tensor *value)
{
    struct iti *iti = priv;
    const struct vks_site_slot *slot = vks_site_list_find(&iti->steering->sites, site->name);
    if (!slot)
        return value;
    const struct vks_node *layer = vks_linear_node(value), *from = layer ? layer->inputs[0]->node : NULL;
    if (!from || strcmp(from->op->name, "attention") != 0)
        return vks_graph_fail(graph, "iti moves attention heads, and %s does not read any: give --sites with the "
                              "layers that join the heads, such as '.*o_proj'", site->name);
    iti->counts[iti->read.count] = ((const struct vks_attention *)from->attrs)->heads;
    if (!vks_site_list_add(&iti->read, graph->log, site->name, site->kind, vks_tensor_channels(layer->inputs[0])))
        return vks_graph_fail(graph, VKS_NO_MEMORY);
    return value;
}

// The model's pass over one sample, with `hook` at its sites.
static bool build(const struct iti *iti, struct vks_graph *graph, vks_site_hook hook, void *priv)
{
    void *inputs;
    vks_graph_init(graph, iti->subject->log);
    graph->hook = hook;
    graph->hook_priv = priv;
    return iti->subject->build(iti->subject->priv, graph, 1, 0, &inputs) && !graph->failed;
}

static bool find_heads(struct iti *iti)
{
    const struct vks_site_list *sites = &iti->steering->sites;
    struct vks_graph graph;
    iti->counts = vks_arena_alloc(&iti->arena, sites->count * sizeof(*iti->counts));
    if (!iti->counts)
        return vks_fail(iti->subject->log, VKS_NO_MEMORY);
    const bool ok = build(iti, &graph, count_heads, iti);
    vks_graph_finish(&graph);
    for (size_t s = 0; s < iti->read.count && ok; s++)
        iti->head_count += iti->counts[s];
    iti->read.inputs = true;
    iti->heads = ok ? vks_arena_alloc(&iti->arena, iti->head_count * sizeof(*iti->heads)) : NULL;
    iti->shift = ok ? vks_arena_alloc(&iti->arena, iti->read.channels * sizeof(*iti->shift)) : NULL;
    if (!ok || !iti->heads || !iti->shift)
        return ok && vks_fail(iti->subject->log, VKS_NO_MEMORY);
    struct head *head = iti->heads;
    for (size_t s = 0; s < iti->read.count; s++)
        for (uint32_t h = 0; h < iti->counts[s]; h++, head++) {
            head->width = iti->read.slots[s].channels / iti->counts[s];
            head->first = iti->read.slots[s].first + h * head->width;
            head->order = (uint32_t)(head - iti->heads);
        }
    return iti->params->top_heads <= iti->head_count ||
           vks_fail(iti->subject->log, "--top-heads %u: the sites have %u heads in all: give fewer",
                    iti->params->top_heads, iti->head_count);
}

static bool collect(struct iti *iti)
{
    const struct vks_train_params *p = iti->params;
    float strengths[VKS_STEP_STRENGTHS] = {0};
    struct vks_attachment *base = NULL;
    iti->target = vks_collect(iti->subject, &iti->read, VKS_SET_TARGET, p->pool, p->batch, 0, NULL, NULL);
    if (iti->target && vks_closed_attach(iti->subject, p, NULL, strengths, &base))
        iti->source = vks_collect(iti->subject, &iti->read, VKS_SET_SOURCE, p->pool, p->batch, 0, base, strengths);
    vks_attachment_destroy(&base);
    return iti->source != NULL;
}

// ---- probes ------------------------------------------------------------------------------------------------------

// A head's samples: those that the probe is fitted on, then the held-out ones; of each, source prompts first.
struct samples {
    double *x;                  // (count, width)
    bool *labels;               // target
    uint32_t fitted, count;
};

static void gather(const struct iti *iti, const struct head *head, struct samples *samples)
{
    samples->count = 0;
    for (int held = 0; held < 2; held++) {
        for (int target = 0; target < 2; target++) {
            const float *rows = target ? iti->target : iti->source;
            const uint32_t rows_count = iti->subject->set_sizes[target ? VKS_SET_TARGET : VKS_SET_SOURCE];
            for (uint32_t i = 0; i < rows_count; i++) {
                if ((i % HELD_OUT == HELD_OUT - 1) != held)
                    continue;
                double *x = samples->x + (size_t)samples->count * head->width;
                for (uint32_t c = 0; c < head->width; c++)
                    x[c] = rows[(size_t)i * iti->read.channels + head->first + c];
                samples->labels[samples->count++] = target;
            }
        }
        samples->fitted = held ? samples->fitted : samples->count;
    }
}

// Fits the head's probe, w (width + 1) and projections (count) being scratch memory; fills in right, loss and shift.
static bool probe(struct head *head, const struct samples *samples, double *w, double *projections)
{
    double length = 0;
    if (!vks_probe_fit(samples->x, samples->labels, samples->fitted, head->width, w))
        return false;
    for (uint32_t i = samples->fitted; i < samples->count; i++) {
        const double margin = vks_probe_margin(w, samples->x + (size_t)i * head->width, head->width);
        head->right += (margin > 0) == samples->labels[i];
        head->loss += vks_probe_loss(samples->labels[i] ? margin : -margin);
    }
    for (uint32_t c = 0; c < head->width; c++)
        length += w[c] * w[c];
    length = sqrt(length);
    for (uint32_t c = 0; c < head->width; c++)  // a head that is the same on all prompts has no direction
        w[c] = length > 0 ? w[c] / length : 0;
    w[head->width] = 0;
    for (uint32_t i = 0; i < samples->count; i++)
        projections[i] = vks_probe_margin(w, samples->x + (size_t)i * head->width, head->width);
    const double sigma = sqrt(vks_variance(projections, samples->count, vks_mean(projections, samples->count)));
    for (uint32_t c = 0; c < head->width; c++)
        head->shift[c] = sigma * w[c];
    return true;
}

static enum vks_train_result probe_all(struct iti *iti)
{
    const uint32_t *sizes = iti->subject->set_sizes;
    const uint32_t count = sizes[VKS_SET_SOURCE] + sizes[VKS_SET_TARGET];
    uint32_t widest = 1;
    for (uint32_t h = 0; h < iti->head_count; h++)
        widest = iti->heads[h].width > widest ? iti->heads[h].width : widest;
    struct samples samples = {
        .x = malloc((size_t)count * widest * sizeof(*samples.x)),
        .labels = malloc(count * sizeof(*samples.labels)),
    };
    double *w = malloc(((size_t)widest + 1 + count) * sizeof(*w));
    bool ok = samples.x && samples.labels && w, go_on = true;
    for (uint32_t h = 0; h < iti->head_count && ok && go_on; h++) {
        struct head *head = &iti->heads[h];
        head->shift = vks_arena_alloc(&iti->arena, head->width * sizeof(*head->shift));
        gather(iti, head, &samples);
        ok = head->shift && probe(head, &samples, w, w + widest + 1);
        go_on = vks_closed_report(iti->params, h + 1, iti->head_count);
    }
    free(samples.x);
    free(samples.labels);
    free(w);
    if (!ok)
        vks_fail(iti->subject->log, VKS_NO_MEMORY);
    return !ok ? VKS_TRAIN_FAILED : go_on ? VKS_TRAIN_DONE : VKS_TRAIN_STOPPED;
}

static int best_first(const void *a, const void *b)
{
    const struct head *x = a, *y = b;
    if (x->right != y->right)
        return x->right < y->right ? 1 : -1;
    if (x->loss != y->loss)
        return x->loss < y->loss ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static bool choose_heads(struct iti *iti)
{
    uint32_t top = iti->params->top_heads;
    if (!top)
        top = (uint32_t)fmax(1, round(iti->head_count * PUBLISHED_HEADS / PUBLISHED_OF));
    qsort(iti->heads, iti->head_count, sizeof(*iti->heads), best_first);
    for (uint32_t h = 0; h < top; h++)
        for (uint32_t c = 0; c < iti->heads[h].width; c++)
            iti->shift[iti->heads[h].first + c] = (float)(iti->params->alpha * iti->heads[h].shift[c]);
    return vks_steering_note(iti->steering, "top_heads", "%u", top) &&
           vks_steering_note(iti->steering, "heads", "%u", iti->head_count);
}

// ---- from the heads to the layers' outputs -----------------------------------------------------------------------

struct projection {
    const struct iti *iti;
    struct vks_tensor **in, **out;  // by site
    uint32_t met;
};

// The layer once more, on a row of its own and without its bias. Nothing reads the model's own pass, so that is left
// out when the graph is planned.
static struct vks_tensor *on_layer(void *priv, struct vks_graph *graph, const struct vks_site *site,
                                   struct vks_tensor *value)
{
    struct projection *p = priv;
    const struct vks_site_slot *slot = vks_site_list_find(&p->iti->read, site->name);
    if (!slot)
        return value;
    const struct vks_node *layer = vks_linear_node(value);
    const uint32_t shape[] = {1, slot->channels};
    struct vks_tensor *in = vks_graph_input(graph, "shift", VKS_F32, 2, shape, false);
    struct vks_tensor *const inputs[VKS_MAX_INPUTS] = {in, layer->inputs[1]};
    struct vks_tensor *out = in ? vks_graph_add(graph, layer->op, inputs, layer->input_count, layer->attrs,
                                                layer->attrs_size) : NULL;
    if (out)
        out->keep = true;
    p->in[p->met] = in;
    p->out[p->met++] = out;
    return value;
}

static bool run_projection(struct projection *p, struct vks_graph *graph)
{
    const struct iti *iti = p->iti;
    struct vks_steering *steering = iti->steering;
    struct vks_exec_params params = iti->params->exec;
    params.gpu = iti->subject->gpu;
    struct vks_exec *exec = vks_exec_create(graph, &params);
    bool ok = exec != NULL;
    for (uint32_t s = 0; s < p->met && ok; s++)
        ok = vks_exec_write(exec, p->in[s], iti->shift + iti->read.slots[s].first,
                            iti->read.slots[s].channels * sizeof(float));
    ok = ok && vks_exec_run(exec, NULL);
    for (uint32_t s = 0; s < p->met && ok; s++)
        ok = vks_exec_read(exec, p->out[s], steering->b + steering->sites.slots[s].first,
                           steering->sites.slots[s].channels * sizeof(float));
    vks_exec_destroy(&exec);
    return ok;
}

static bool project(struct iti *iti)
{
    const size_t count = iti->read.count;
    struct projection p = {
        .iti = iti,
        .in = vks_arena_alloc(&iti->arena, count * sizeof(*p.in)),
        .out = vks_arena_alloc(&iti->arena, count * sizeof(*p.out)),
    };
    struct vks_graph graph;
    if (!p.in || !p.out)
        return vks_fail(iti->subject->log, VKS_NO_MEMORY);
    const bool ok = build(iti, &graph, on_layer, &p) && run_projection(&p, &graph);
    vks_graph_finish(&graph);
    return ok;
}

enum vks_train_result vks_train_iti(const struct vks_subject *subject, const struct vks_train_params *params,
                                    struct vks_steering *steering)
{
    struct iti iti = {.subject = subject, .params = params, .steering = steering};
    enum vks_train_result result = find_heads(&iti) && collect(&iti) ? probe_all(&iti) : VKS_TRAIN_FAILED;
    if (result == VKS_TRAIN_DONE && !(choose_heads(&iti) && project(&iti)))
        result = VKS_TRAIN_FAILED;
    if (result == VKS_TRAIN_DONE && vks_steering_support(steering) > 0)
        vks_steering_drop_identity(steering);
    vks_site_list_finish(&iti.read);
    vks_arena_finish(&iti.arena);
    free(iti.source);
    free(iti.target);
    return result;
}
