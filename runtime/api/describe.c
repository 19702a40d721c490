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

bool vks_api_dry(vksteer_model *model, bool dry)
{
    return model->decoder ? vks_weights_dry(model->decoder->weights, dry) : vks_pipeline_dry(model->pipeline, dry);
}

uint64_t vks_api_missing(const vksteer_model *model)
{
    uint64_t bytes = 0, missing;
    if (model->decoder) {
        vks_weights_wanted(model->decoder->weights, &missing);
        return VKS_API_SLACK(missing);
    }
    for (int i = 0; i < VKS_STAGES; i++) {
        vks_pipeline_wanted(model->pipeline, (enum vks_stage)i, &missing);
        bytes += missing;
    }
    return VKS_API_SLACK(bytes);
}

// ---- the plan -----------------------------------------------------------------------------------------------------

// Adds a stage that runs so many times for a picture, or a text.
static void add_stage(struct vksteer_plan *plan, const char *name, const struct vks_api_stage *stage, uint32_t runs)
{
    const uint64_t bytes = stage->weights + stage->run;
    plan->stages[plan->stage_count++] = (struct vksteer_plan_stage){name, stage->weights, stage->run};
    plan->weight_bytes += stage->weights;
    plan->apply_bytes += stage->run;
    plan->apply_peak_bytes = bytes > plan->apply_peak_bytes ? bytes : plan->apply_peak_bytes;
    plan->apply_flop += runs * stage->flop;
    plan->apply_dispatches += runs * stage->dispatches;
}

// Of a language model: the whole of it on one text.
static bool measure_text(vksteer_model *model, struct vksteer_plan *plan)
{
    struct vks_graph graph;
    struct vks_decoder_io io;
    struct vks_exec_plan measured;
    vks_graph_init(&graph, model->log);
    const struct vks_decoder_params params = {
        .batch = 1, .length = vks_api_text_length(model), .head = VKS_HEAD_ALL};
    bool ok = vks_decoder_build(model->decoder, &graph, &params, &io);
    if (ok) {
        io.logits->keep = true;
        ok = vks_exec_measure(&graph, &(struct vks_exec_params){.gpu = model->session->gpu}, &measured);
    }
    if (ok)
        add_stage(plan, "model", &(struct vks_api_stage){.weights = vks_weights_device_bytes(model->decoder->weights),
                  .run = measured.bytes, .flop = measured.flop, .dispatches = measured.dispatches}, 1);
    vks_graph_finish(&graph);
    return ok;
}

// The stages of a painter, with the model's steps and guidance.
static bool measure_picture(vksteer_model *model, const struct vksteer_plan_params *params, struct vksteer_plan *plan)
{
    struct vks_api_stage stages[VKS_STAGES];
    struct vks_schedule schedule;
    const uint32_t passes = vks_api_guided(model, model->apply_cfg) ? 2 : 1;
    const struct vksteer_paint_params paint = {.width = params->width, .height = params->height};
    if (!vks_api_painter_plan(model, &paint, stages) || !vks_api_schedule(model, model->apply_steps, &schedule))
        return false;
    const uint32_t steps = schedule.count;
    vks_schedule_finish(&schedule);
    add_stage(plan, "text encoders", &stages[VKS_STAGE_TEXT], passes);
    add_stage(plan, "UNet", &stages[VKS_STAGE_UNET], passes * steps);
    if (model->pipeline->has_decoder)
        add_stage(plan, "decoder", &stages[VKS_STAGE_DECODER], 1);
    return true;
}

// What is on the device at once in a training: the prompts are read before, unless the text encoders are steered.
static bool measure_train(vksteer_model *model, const struct vks_subject *subject,
                          const struct vks_train_params *params, struct vksteer_plan *plan)
{
    struct vks_train_params again = *params;
    struct vks_train_need plain, recomputed;
    struct vks_api_text_size text = {0};
    uint64_t missing, reading = 0, weights;
    again.recompute = true;
    if (!vks_train_measure(subject, params, &plain) || !vks_train_measure(subject, &again, &recomputed) ||
        (model->pipeline && !vks_api_text_measure(model, VKS_API_TEXT_BATCH, NULL, &text)))
        return false;
    if (model->pipeline) {
        reading = vks_pipeline_wanted(model->pipeline, VKS_STAGE_TEXT, &missing) + text.plan.bytes;
        weights = vks_pipeline_wanted(model->pipeline, VKS_STAGE_UNET, &missing);
        if (subject->all_weights)
            weights += vks_pipeline_wanted(model->pipeline, VKS_STAGE_TEXT, &missing);
    } else {
        weights = vks_weights_device_bytes(model->decoder->weights);
    }
    plan->train_bytes = plain.bytes;
    plan->train_recompute_bytes = recomputed.bytes;
    plan->train_weight_bytes = weights;
    plan->train_reading_bytes = reading;
    plan->train_flop = plain.flop;
    plan->train_dispatches = plain.dispatches;
    return true;
}

static bool measure(vksteer_model *model, const struct vksteer_plan_params *params,
                    const struct vks_train_params *train, struct vksteer_plan *plan)
{
    enum { PROMPTS = 32 };  // of each set, as in the paper
    const char *prompts[PROMPTS];
    for (int i = 0; i < PROMPTS; i++)
        prompts[i] = "a cat";
    const struct vks_api_subject_params subject_params = {
        .prompts = {prompts, prompts},
        .counts = {PROMPTS, PROMPTS},
        .sites = train->sites,
        .width = params->width,
        .height = params->height,
        .length = model->decoder ? vks_api_text_length(model) : 0,
        .dry = true,
    };
    struct vks_api_subject *subject = vks_api_subject_create(model, &subject_params);
    const bool ok = subject && (model->decoder ? measure_text(model, plan) : measure_picture(model, params, plan)) &&
                    measure_train(model, vks_api_subject(subject), train, plan);
    vks_api_subject_destroy(&subject);
    return ok;
}

bool vksteer_model_plan(vksteer_model *model, const struct vksteer_plan_params *params, struct vksteer_plan *plan)
{
    static const struct vksteer_plan_params defaults;
    params = params ? params : &defaults;
    *plan = (struct vksteer_plan){.width = params->width, .height = params->height};
    if (model->decoder && (params->width || params->height))
        return vks_fail(model->log, "%s is a language model, whose plan has no picture: leave -W and -H out",
                        model->info.path);
    if (!vks_api_can_run(model) || (model->pipeline && !vks_api_size(model, &plan->width, &plan->height)))
        return false;
    const uint32_t batch = params->batch ? params->batch : model->info.train_batch;
    const struct vks_train_params train = {
        .sites = params->sites ? params->sites : model->info.train_sites,
        .batch = batch,
        .micro_batch = params->micro_batch ? params->micro_batch : batch,
        .steps = 1,
        .gamma = 1,
        .p = 2,
        .exec = {.keep = vks_api_keep(model)},
    };
    if (!vks_train_check_micro(model->log, train.batch, train.micro_batch))
        return false;
    plan->batch = train.batch;
    plan->micro_batch = train.micro_batch;
    vks_gpu_available(model->session->gpu, &plan->budget_bytes);
    const bool was = vks_api_dry(model, true), ok = measure(model, params, &train, plan);
    vks_api_dry(model, was);
    return ok;
}
