// The stages of a picture, text encoders, UNet and decoder, each a graph recorded once: what they take, and which of
// them are on the device.
//
// They stay there as long as there is room. Where there is not, one that is needed makes the others leave: first
// their graphs, then their weights, text encoders before the decoder before the UNet. No bit depends on that.
#include "api/painter.h"

#include <string.h>

#include "base/os.h"

// ---- graphs -------------------------------------------------------------------------------------------------------

static bool build_unet(struct vksteer_painter *p)
{
    struct vks_graph *graph = &p->unet_graph;
    const uint32_t sample[] = {1, p->rows, p->columns, p->channels}, pooled[] = {1, (uint32_t)p->pooled};
    const uint32_t context[] = {1, p->context_shape[0], p->context_shape[1]};
    const struct vks_scheduler_step unscaled = {.input_scale = 1};  // the host scales
    if (p->uses.attachment)
        vks_attachment_hook(p->uses.attachment, graph);
    p->sample = vks_graph_input(graph, "sample", VKS_F32, 4, sample, false);
    p->unet_text = (struct vks_pipeline_text){0};
    p->unet_text.context = vks_graph_input(graph, "context", VKS_F32, 3, context, false);
    if (p->pooled)
        p->unet_text.pooled = vks_graph_input(graph, "pooled", VKS_F32, 2, pooled, false);
    if (!vks_pipeline_unet_build(p->model->pipeline, graph, &unscaled, p->sample, &p->unet_text, &p->unet))
        return false;
    p->unet.output->keep = true;
    return true;
}

static bool build_decoder(struct vksteer_painter *p)
{
    struct vks_graph *graph = &p->decoder_graph;
    const uint32_t shape[] = {1, p->down.size, p->across.size, p->channels};
    if (p->uses.attachment)
        vks_attachment_hook(p->uses.attachment, graph);
    p->latents = vks_graph_input(graph, "latents", VKS_F32, 4, shape, false);
    p->picture = vks_pipeline_decode_build(p->model->pipeline, graph, p->latents);
    if (!p->picture)
        return false;
    p->picture->keep = true;
    return true;
}

static bool ready(const struct vksteer_painter *p, enum vks_stage stage)
{
    return stage == VKS_STAGE_TEXT ? p->text != NULL : stage == VKS_STAGE_UNET ? p->unet_exec != NULL
                                                                               : p->decoder_exec != NULL;
}

// Its graph leaves the device.
static void rest(struct vksteer_painter *p, enum vks_stage stage)
{
    const struct vks_log *log = p->model->log;
    if (stage == VKS_STAGE_TEXT) {
        vks_api_text_destroy(&p->text);
        return;
    }
    struct vks_graph *graph = stage == VKS_STAGE_UNET ? &p->unet_graph : &p->decoder_graph;
    vks_exec_destroy(stage == VKS_STAGE_UNET ? &p->unet_exec : &p->decoder_exec);
    vks_graph_finish(graph);
    vks_graph_init(graph, log);
}

// ---- what they take -----------------------------------------------------------------------------------------------

static void note(struct vksteer_painter *p, enum vks_stage stage, const struct vks_exec_plan *plan)
{
    uint64_t missing;
    p->stages[stage] = (struct vks_api_stage){
        .weights = vks_pipeline_wanted(p->model->pipeline, stage, &missing),
        .run = plan->bytes,
        .flop = plan->flop,
        .dispatches = plan->dispatches,
    };
}

// Of the UNet or the decoder; the weights are dry.
static bool measure(struct vksteer_painter *p, enum vks_stage stage)
{
    const struct vks_exec_params params = {.gpu = p->model->session->gpu};
    struct vks_exec_plan plan;
    struct vks_graph *graph = stage == VKS_STAGE_UNET ? &p->unet_graph : &p->decoder_graph;
    const bool ok = (stage == VKS_STAGE_UNET ? build_unet(p) : build_decoder(p)) &&
                    vks_exec_measure(graph, &params, &plan);
    rest(p, stage);
    if (ok)
        note(p, stage, &plan);
    return ok;
}

static bool measure_dry(struct vksteer_painter *p)
{
    struct vks_api_text_size text;
    if (!vks_api_text_measure(p->model, 1, p->uses.attachment, &text))
        return false;
    note(p, VKS_STAGE_TEXT, &text.plan);
    memcpy(p->context_shape, text.context, sizeof(p->context_shape));
    p->context = (uint64_t)text.context[0] * text.context[1];
    p->pooled = text.pooled;
    return measure(p, VKS_STAGE_UNET) && (!p->model->pipeline->has_decoder || measure(p, VKS_STAGE_DECODER));
}

bool vks_painter_measure_all(struct vksteer_painter *p)
{
    const bool was = vks_pipeline_dry(p->model->pipeline, true), ok = measure_dry(p);
    vks_pipeline_dry(p->model->pipeline, was);
    return ok;
}

bool vks_painter_measure_decoder(struct vksteer_painter *p)
{
    const bool was = vks_pipeline_dry(p->model->pipeline, true), ok = measure(p, VKS_STAGE_DECODER);
    vks_pipeline_dry(p->model->pipeline, was);
    return ok;
}

// ---- coming and going ---------------------------------------------------------------------------------------------

void vks_painter_leave(struct vksteer_painter *p, enum vks_stage stage)
{
    rest(p, stage);
    if (p->held[stage])
        vks_pipeline_drop(p->model->pipeline, stage);
    p->held[stage] = false;
}

// Bytes of its weights that are not on the device. Another painter of the model may hold them; where it cannot be
// told, because somebody else has planned since (vks_weights_dry), they count as missing.
static uint64_t missing_weights(const struct vksteer_painter *p, enum vks_stage stage)
{
    uint64_t missing;
    const uint64_t weights = p->stages[stage].weights;
    if (p->held[stage])
        return 0;
    return vks_pipeline_wanted(p->model->pipeline, stage, &missing) == weights ? missing : weights;
}

bool vks_painter_has_room(const struct vksteer_painter *p, enum vks_stage stage)
{
    uint64_t budget;
    return VKS_API_SLACK(missing_weights(p, stage) + p->stages[stage].run) <=
           vks_gpu_available(p->model->session->gpu, &budget);
}

static void make_room(struct vksteer_painter *p, enum vks_stage stage)
{
    static const enum vks_stage order[VKS_STAGES] = {VKS_STAGE_TEXT, VKS_STAGE_DECODER, VKS_STAGE_UNET};
    for (int weights = 0; weights < 2; weights++)
        for (int i = 0; i < VKS_STAGES && !vks_painter_has_room(p, stage); i++)
            if (order[i] != stage) {
                if (weights)
                    vks_painter_leave(p, order[i]);
                else
                    rest(p, order[i]);
            }
}

bool vks_painter_enter(struct vksteer_painter *p, enum vks_stage stage)
{
    const struct vks_exec_params params = {.gpu = p->model->session->gpu};
    const double start = vks_os_seconds();
    const bool whole = !p->held[stage];
    uint64_t peak;
    if (ready(p, stage))
        return true;
    make_room(p, stage);
    const uint64_t before = vks_gpu_allocated(params.gpu, &peak);
    if (whole)
        vks_pipeline_hold(p->model->pipeline, stage);
    p->held[stage] = true;
    if (stage == VKS_STAGE_TEXT)
        p->text = vks_api_text_create(p->model, 1, p->uses.attachment);
    else if (stage == VKS_STAGE_UNET)
        p->unet_exec = build_unet(p) ? vks_exec_create(&p->unet_graph, &params) : NULL;
    else
        p->decoder_exec = build_decoder(p) ? vks_exec_create(&p->decoder_graph, &params) : NULL;
    if (whole) {
        p->stages[stage].load_seconds = vks_os_seconds() - start;
        p->stages[stage].device = vks_gpu_allocated(params.gpu, &peak) - before;
    }
    if (!ready(p, stage))
        vks_painter_leave(p, stage);
    return ready(p, stage);
}

void vks_painter_count_run(struct vksteer_painter *p, enum vks_stage stage, double start)
{
    static const char *const names[VKS_STAGES] = {
        [VKS_STAGE_TEXT] = "text", [VKS_STAGE_UNET] = "step", [VKS_STAGE_DECODER] = "decoder"};
    p->stages[stage].runs++;
    p->stages[stage].run_seconds = vks_os_seconds() - start;
    vks_debug(p->model->log, "%s: %.3f s", names[stage], p->stages[stage].run_seconds);
}

bool vks_painter_both_fit(const struct vksteer_painter *p)
{
    uint64_t budget, bytes = vks_gpu_available(p->model->session->gpu, &budget), wanted = 0;
    for (int i = 0; i < VKS_STAGES; i++) {
        bytes += (p->held[i] ? p->stages[i].weights : 0) + (ready(p, (enum vks_stage)i) ? p->stages[i].run : 0);
        if (i != VKS_STAGE_TEXT)
            wanted += (p->held[i] ? p->stages[i].weights : missing_weights(p, (enum vks_stage)i)) + p->stages[i].run;
    }
    return VKS_API_SLACK(wanted) <= bytes;
}
