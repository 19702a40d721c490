// What a model would do, without doing it: sites, memory, work.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "exec/backward.h"

static const char *kind_name(enum vks_site_kind kind)
{
    static const char *const names[] = {"tokens", "pixels", "vector"};
    return names[kind];
}

bool vksteer_model_sites(vksteer_model *model, const char *expression, const struct vksteer_site **sites,
                         size_t *count)
{
    struct vks_graph graph;
    struct vks_site_list list = {0};
    *sites = NULL;
    *count = 0;
    vks_graph_init(&graph, model->log);
    vks_arena_finish(&model->site_arena);
    bool ok = vks_pipeline_describe(model->pipeline, &graph) && !graph.failed;
    if (ok && expression)
        ok = vks_site_list_select(&list, &graph, expression);
    struct vksteer_site *out = ok ? vks_arena_alloc(&model->site_arena, (graph.site_count + 1) * sizeof(*out)) : NULL;
    if (ok && !out)
        ok = vks_fail(model->log, VKS_NO_MEMORY);
    for (size_t i = 0; i < graph.site_count && ok; i++) {
        const struct vks_site *site = &graph.sites[i];
        if (expression && !vks_site_list_find(&list, site->name))
            continue;
        struct vksteer_site *row = &out[(*count)++];
        row->name = vks_arena_strdup(&model->site_arena, site->name);
        row->kind = kind_name(site->kind);
        row->channels = site->channels;
        row->rows = site->rows;
        ok = row->name != NULL || vks_fail(model->log, VKS_NO_MEMORY);
    }
    *sites = out;
    vks_site_list_finish(&list);
    vks_graph_finish(&graph);
    return ok;
}

static bool measure_apply(vksteer_model *model, struct vksteer_plan *plan)
{
    struct vks_graph graph;
    struct vks_exec_plan measured = {0};
    vks_graph_init(&graph, model->log);
    bool ok = vks_pipeline_describe(model->pipeline, &graph);
    // The last node made is the decoder's, or the UNet's where there is no decoder.
    if (ok && graph.node_count) {
        graph.nodes[graph.node_count - 1]->outputs[0]->keep = true;
        ok = vks_exec_measure(&graph, &(struct vks_exec_params){.gpu = model->session->gpu}, &measured);
    }
    plan->apply_bytes = measured.bytes;
    plan->apply_flop = measured.flop;
    plan->apply_dispatches = measured.dispatches;
    vks_graph_finish(&graph);
    return ok;
}

// Every chosen site gets a map that trains and pooled rows that carry a loss.
struct trial {
    const struct vks_site_list *sites;
    struct vks_tensor *w, *b, *grad_w, *grad_b, *pooled, *grad_pooled;
    struct vks_storage *storage;
};

static struct vks_tensor *on_site(void *priv, struct vks_graph *graph, const struct vks_site *site,
                                  struct vks_tensor *value)
{
    struct trial *t = priv;
    const struct vks_site_slot *slot = vks_site_list_find(t->sites, site->name);
    if (!slot)
        return value;
    const uint32_t first = slot->first, count = slot->channels;
    value = vks_affine_map(graph, value, vks_graph_columns(graph, t->w, first, count),
                           vks_graph_columns(graph, t->b, first, count), site->mask,
                           vks_graph_columns(graph, t->grad_w, first, count),
                           vks_graph_columns(graph, t->grad_b, first, count), &(struct vks_affine){0});
    return vks_pool_rows(graph, value, site->mask, vks_graph_columns(graph, t->pooled, first, count),
                         vks_graph_columns(graph, t->grad_pooled, first, count), VKS_POOL_MEAN);
}

static bool measure_train(vksteer_model *model, const struct vks_subject *subject, const struct vks_site_list *sites,
                          uint32_t batch, uint32_t micro, struct vksteer_plan *plan)
{
    struct vks_graph graph;
    struct vks_exec_plan measured = {0};
    void *inputs;
    const uint32_t flat[] = {sites->channels}, rows[] = {batch, sites->channels};
    struct trial t = {.sites = sites};
    t.storage = vks_storage_create(model->session->gpu, (uint64_t)batch * sites->channels * sizeof(float));
    if (!t.storage)
        return false;
    vks_graph_init(&graph, model->log);
    t.w = vks_graph_state(&graph, "w", VKS_F32, 1, flat, t.storage, 0);
    t.b = vks_graph_state(&graph, "b", VKS_F32, 1, flat, t.storage, 0);
    t.grad_w = vks_graph_state(&graph, "dw", VKS_F32, 2, rows, t.storage, 0);
    t.grad_b = vks_graph_state(&graph, "db", VKS_F32, 2, rows, t.storage, 0);
    t.pooled = vks_graph_state(&graph, "pooled", VKS_F32, 2, rows, t.storage, 0);
    t.grad_pooled = vks_graph_state(&graph, "dpooled", VKS_F32, 2, rows, t.storage, 0);
    graph.hook = on_site;
    graph.hook_priv = &t;
    const bool ok = subject->build(subject->priv, &graph, micro, &inputs) && !graph.failed &&
                    vks_graph_backward(&graph, &(struct vks_backward){0}) &&
                    vks_exec_measure(&graph, &(struct vks_exec_params){.gpu = model->session->gpu}, &measured);
    plan->train_bytes = measured.bytes + 8ull * batch * sites->channels * sizeof(float);
    plan->train_flop = measured.flop * ((double)batch / micro);
    plan->train_dispatches = measured.dispatches * ((batch + micro - 1) / micro);
    vks_graph_finish(&graph);
    vks_storage_destroy(&t.storage);
    return ok;
}

bool vksteer_model_plan(vksteer_model *model, const char *sites, uint32_t batch, uint32_t micro_batch,
                        struct vksteer_plan *plan)
{
    *plan = (struct vksteer_plan){.weight_bytes = model->info.bytes};
    if (!vks_api_can_run(model))
        return false;
    batch = batch ? batch : model->info.train_batch;
    micro_batch = micro_batch && micro_batch < batch ? micro_batch : batch;
    const char *prompt = "a cat", *expression = sites ? sites : model->info.train_sites;
    const struct vks_api_subject_params params = {
        .prompts = {&prompt, &prompt}, .counts = {1, 1}, .sites = expression};
    struct vks_api_subject *subject = vks_api_subject_create(model, &params);
    struct vks_site_list list = {0};
    struct vks_graph graph;
    void *inputs;
    vks_graph_init(&graph, model->log);
    bool ok = subject && measure_apply(model, plan);
    if (ok) {
        const struct vks_subject *s = vks_api_subject(subject);
        ok = s->build(s->priv, &graph, 1, &inputs) && vks_site_list_select(&list, &graph, expression) &&
             measure_train(model, s, &list, batch, micro_batch, plan);
    }
    vks_site_list_finish(&list);
    vks_graph_finish(&graph);
    vks_api_subject_destroy(&subject);
    return ok;
}
