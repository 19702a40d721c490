// What a model would do, without doing it: sites, memory, work.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "exec/backward.h"
#include "steer/train.h"

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
    bool ok = vks_api_graph(model, &graph) && !graph.failed;
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

// Adds a graph that runs so many times for a picture.
static bool add_apply(const vksteer_model *model, struct vks_graph *graph, uint32_t runs, struct vksteer_plan *plan)
{
    struct vks_exec_plan measured;
    if (graph->failed || !vks_exec_measure(graph, &(struct vks_exec_params){.gpu = model->session->gpu}, &measured))
        return false;
    plan->apply_bytes += measured.bytes;
    plan->apply_flop += runs * measured.flop;
    plan->apply_dispatches += runs * measured.dispatches;
    return true;
}

// Of a language model: the whole of it on one text.
static bool measure_text(vksteer_model *model, struct vksteer_plan *plan)
{
    struct vks_graph graph;
    struct vks_decoder_io io;
    vks_graph_init(&graph, model->log);
    const struct vks_decoder_params params = {
        .batch = 1, .length = vks_api_text_length(model), .head = VKS_HEAD_ALL};
    bool ok = vks_decoder_build(model->decoder, &graph, &params, &io);
    if (ok) {
        io.logits->keep = true;
        ok = add_apply(model, &graph, 1, plan);
    }
    vks_graph_finish(&graph);
    return ok;
}

// The three graphs of a painter, with the model's steps and guidance.
static bool measure_picture(vksteer_model *model, struct vksteer_plan *plan)
{
    struct vks_pipeline *pipeline = model->pipeline;
    struct vks_graph graphs[3];
    struct vks_pipeline_text text, fed = {{0}};
    struct vks_pipeline_unet unet;
    const struct vks_scheduler_step step = {.input_scale = 1};
    const uint32_t factor = pipeline->factor, passes = vks_api_guided(model, model->apply_cfg) ? 2 : 1;
    const uint32_t latents[] = {1, pipeline->height / factor, pipeline->width / factor, pipeline->unet.in};
    for (int i = 0; i < 3; i++)
        vks_graph_init(&graphs[i], model->log);
    bool ok = vks_pipeline_text_build(pipeline, &graphs[0], 1, &text);
    if (ok) {
        text.context->keep = true;
        fed.context = vks_graph_input(&graphs[1], "context", VKS_F32, 3, text.context->shape, false);
    }
    if (ok && text.pooled) {
        text.pooled->keep = true;
        fed.pooled = vks_graph_input(&graphs[1], "pooled", VKS_F32, 2, text.pooled->shape, false);
    }
    ok = ok && add_apply(model, &graphs[0], passes, plan) &&
         vks_pipeline_unet_build(pipeline, &graphs[1], &step,
                                 vks_graph_input(&graphs[1], "sample", VKS_F32, 4, latents, false), &fed, &unet);
    if (ok) {
        unet.output->keep = true;
        ok = add_apply(model, &graphs[1], passes * model->apply_steps, plan);
    }
    if (ok && pipeline->has_decoder) {
        struct vks_tensor *picture = vks_pipeline_decode_build(
            pipeline, &graphs[2], vks_graph_input(&graphs[2], "latents", VKS_F32, 4, latents, false));
        if (picture)
            picture->keep = true;
        ok = add_apply(model, &graphs[2], 1, plan);
    }
    for (int i = 0; i < 3; i++)
        vks_graph_finish(&graphs[i]);
    return ok;
}

// Every chosen site gets a map that trains and pooled rows that carry a loss.
struct trial {
    const struct vks_site_list *sites;
    bool differentiate;
    struct vks_tensor *w, *b, *grad_w, *grad_b, *pooled, *grad_pooled;
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
                           t->differentiate ? vks_graph_columns(graph, t->grad_w, first, count) : NULL,
                           t->differentiate ? vks_graph_columns(graph, t->grad_b, first, count) : NULL,
                           &(struct vks_affine){0});
    return vks_pool_rows(graph, value, site->mask, vks_graph_columns(graph, t->pooled, first, count),
                         t->differentiate ? vks_graph_columns(graph, t->grad_pooled, first, count) : NULL,
                         VKS_POOL_MEAN);
}

struct train_size {
    const struct vks_subject *subject;
    const struct vks_site_list *sites;
    struct vks_storage *storage;       // of all states: nothing runs
    uint32_t batch, micro;
};

// Adds the pass over a batch, a slice at a time: forward, and backward if asked for.
static bool add_train(const struct train_size *size, bool differentiate, struct vksteer_plan *plan)
{
    const struct vks_subject *subject = size->subject;
    struct vks_graph graph;
    struct vks_exec_plan measured = {0};
    void *inputs;
    const uint32_t flat[] = {size->sites->channels}, rows[] = {size->batch, size->sites->channels};
    vks_graph_init(&graph, subject->log);
    struct trial t = {
        .sites = size->sites,
        .differentiate = differentiate,
        .w = vks_graph_state(&graph, "w", VKS_F32, 1, flat, size->storage, 0),
        .b = vks_graph_state(&graph, "b", VKS_F32, 1, flat, size->storage, 0),
        .grad_w = vks_graph_state(&graph, "dw", VKS_F32, 2, rows, size->storage, 0),
        .grad_b = vks_graph_state(&graph, "db", VKS_F32, 2, rows, size->storage, 0),
        .pooled = vks_graph_state(&graph, "pooled", VKS_F32, 2, rows, size->storage, 0),
        .grad_pooled = vks_graph_state(&graph, "dpooled", VKS_F32, 2, rows, size->storage, 0),
    };
    graph.hook = on_site;
    graph.hook_priv = &t;
    const bool ok = subject->build(subject->priv, &graph, size->micro, &inputs) && !graph.failed &&
                    (!differentiate || vks_graph_backward(&graph, &(struct vks_backward){0})) &&
                    vks_exec_measure(&graph, &(struct vks_exec_params){.gpu = subject->gpu}, &measured);
    const uint32_t slices = size->batch / size->micro;
    plan->train_bytes += measured.bytes;
    plan->train_flop += slices * measured.flop;
    plan->train_dispatches += slices * measured.dispatches;
    vks_graph_finish(&graph);
    return ok;
}

// With slices, a forward pass over all of them stands before the one that is differentiated (steer/lineas.c).
static bool measure_train(const struct vks_subject *subject, const struct vks_site_list *sites, uint32_t batch,
                          uint32_t micro, struct vksteer_plan *plan)
{
    const uint64_t rows = (uint64_t)batch * sites->channels * sizeof(float);
    struct train_size size = {subject, sites, vks_storage_create(subject->gpu, rows), batch, micro};
    plan->train_bytes = 8 * rows;
    const bool ok = size.storage && (micro == batch || add_train(&size, false, plan)) && add_train(&size, true, plan);
    vks_storage_destroy(&size.storage);
    return ok;
}

// Whether graphs are built without uploading a weight.
static void set_dry(vksteer_model *model, bool dry)
{
    if (model->decoder)
        vks_weights_dry(model->decoder->weights, dry);
    for (uint32_t i = 0; model->pipeline && i < model->pipeline->part_count; i++)
        vks_weights_dry(model->pipeline->parts[i].weights, dry);
}

bool vksteer_model_plan(vksteer_model *model, const char *sites, uint32_t batch, uint32_t micro_batch,
                        struct vksteer_plan *plan)
{
    *plan = (struct vksteer_plan){.weight_bytes = model->decoder ? vks_weights_device_bytes(model->decoder->weights)
                                                                 : model->info.bytes};
    if (!vks_api_can_run(model))
        return false;
    batch = batch ? batch : model->info.train_batch;
    micro_batch = micro_batch ? micro_batch : batch;
    if (!vks_train_check_micro(model->log, batch, micro_batch))
        return false;
    const char *prompt = "a cat", *expression = sites ? sites : model->info.train_sites;
    const struct vks_api_subject_params params = {
        .prompts = {&prompt, &prompt},
        .counts = {1, 1},
        .sites = expression,
        .length = model->decoder ? vks_api_text_length(model) : 0,
        .dry = true,
    };
    set_dry(model, true);
    struct vks_api_subject *subject = vks_api_subject_create(model, &params);
    struct vks_site_list list = {0};
    struct vks_graph graph;
    void *inputs;
    vks_graph_init(&graph, model->log);
    bool ok = subject && (model->decoder ? measure_text(model, plan) : measure_picture(model, plan));
    if (ok) {
        const struct vks_subject *s = vks_api_subject(subject);
        ok = s->build(s->priv, &graph, 1, &inputs) && vks_site_list_select(&list, &graph, expression) &&
             measure_train(s, &list, batch, micro_batch, plan);
    }
    vks_site_list_finish(&list);
    vks_graph_finish(&graph);
    vks_api_subject_destroy(&subject);
    set_dry(model, false);
    return ok;
}
