// A painter made ready: sizes, schedule, steerings, and whether it fits the device.
#include "api/painter.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool settle(struct vksteer_painter *p, const struct vksteer_paint_params *params)
{
    vksteer_model *model = p->model;
    p->width = params->width;
    p->height = params->height;
    p->cfg = params->cfg_scale > 0 ? params->cfg_scale : model->apply_cfg;
    p->guided = vks_api_guided(model, p->cfg);
    p->channels = model->pipeline->unet.in;
    if (!vks_api_size(model, &p->width, &p->height) ||
        !vks_api_schedule(model, params->steps, &p->schedule))
        return false;
    p->steps = params->steps ? params->steps : model->apply_steps;
    p->rows = p->height / model->pipeline->factor;
    p->columns = p->width / model->pipeline->factor;
    p->down = vks_api_tiles_of(p->rows, p->rows);
    p->across = vks_api_tiles_of(p->columns, p->columns);
    return true;
}

static vksteer_painter *create(vksteer_model *model, const struct vksteer_paint_params *params,
                               const struct vks_api_steerings *steerings)
{
    vksteer_painter *p = calloc(1, sizeof(*p));
    if (!p)
        return vks_fail_null(model->log, VKS_NO_MEMORY);
    p->model = model;
    vks_graph_init(&p->unet_graph, model->log);
    vks_graph_init(&p->decoder_graph, model->log);
    if (!settle(p, params) || (steerings && !vks_api_uses_open(model, steerings, &p->uses)) ||
        !vks_painter_measure_all(p))
        vksteer_painter_close(&p);
    return p;
}

// Where the decoder does not fit in one piece: the largest square tiles that do.
static bool choose_tiles(struct vksteer_painter *p)
{
    const uint32_t factor = p->model->pipeline->factor;
    const uint64_t whole = VKS_API_SLACK(p->stages[VKS_STAGE_DECODER].weights + p->stages[VKS_STAGE_DECODER].run);
    bool ok = true;
    for (uint32_t size = 1024 / factor; ok && size >= 128 / factor; size /= 2) {
        if (vks_painter_has_room(p, VKS_STAGE_DECODER))
            break;
        if (size >= p->rows && size >= p->columns)
            continue;
        p->down = vks_api_tiles_of(p->rows, size);
        p->across = vks_api_tiles_of(p->columns, size);
        ok = vks_painter_measure_decoder(p);
    }
    if (ok && vks_painter_has_room(p, VKS_STAGE_DECODER))
        vks_warn(p->model->log, "decoding %u x %u pixels in one piece takes %" PRIu64 " MiB, more than there is (see "
                 "--memory): it is done in tiles of %u x %u, blended where they overlap, and colours may differ a "
                 "little from one to the next", p->width, p->height, whole >> 20, p->across.size * factor,
                 p->down.size * factor);
    return ok;
}

// Whether every stage fits by itself; the decoder perhaps in tiles.
static bool fits(struct vksteer_painter *p)
{
    static const char *const names[VKS_STAGES] = {"the text encoders", "the UNet", "the decoder"};
    uint64_t budget;
    const uint64_t left = vks_gpu_available(p->model->session->gpu, &budget);
    for (int i = 0; i < VKS_STAGES; i++) {
        if (i == VKS_STAGE_DECODER && !vks_painter_has_room(p, VKS_STAGE_DECODER) && !choose_tiles(p))
            return false;
        const uint64_t bytes = VKS_API_SLACK(p->stages[i].weights + p->stages[i].run);
        if (!vks_painter_has_room(p, (enum vks_stage)i))
            return vks_fail(p->model->log, "%s alone take%s %" PRIu64 " MiB for %u x %u pixels, and of the %" PRIu64
                            " MiB that may be used %" PRIu64 " are left: use a smaller picture (-W, -H) or model, or "
                            "raise --memory", names[i], i ? "s" : "", (bytes >> 20) + 1, p->width, p->height,
                            budget >> 20, left >> 20);
    }
    return true;
}

vksteer_painter *vks_api_painter_open(vksteer_model *model, const struct vksteer_paint_params *params,
                                      const struct vks_api_steerings *steerings)
{
    if (!vks_api_paints(model, "apply") || !vks_pipeline_can_decode(model->pipeline))
        return NULL;
    vksteer_painter *p = create(model, params, steerings);
    if (p && !((!p->uses.attachment || vks_attachment_check(p->uses.attachment, model->log)) && fits(p)))
        vksteer_painter_close(&p);
    return p;
}

bool vks_api_painter_plan(vksteer_model *model, const struct vksteer_paint_params *params,
                          struct vks_api_stage stages[VKS_STAGES])
{
    vksteer_painter *p = create(model, params, NULL);
    if (p)
        memcpy(stages, p->stages, sizeof(p->stages));
    const bool ok = p != NULL;
    vksteer_painter_close(&p);
    return ok;
}

const struct vks_api_stage *vks_api_painter_stages(const vksteer_painter *painter)
{
    return painter->stages;
}

vksteer_painter *vksteer_painter_open(vksteer_model *model, const struct vksteer_paint_params *params)
{
    static const struct vksteer_paint_params defaults;
    struct vks_api_steerings steerings;
    params = params ? params : &defaults;
    if (!vks_api_can_run(model) ||
        !vks_api_steerings_load(model, params->steerings, params->steering_count,
                                params->strict ? VKS_API_STRICT : 0, &steerings))
        return NULL;
    vksteer_painter *painter = vks_api_painter_open(model, params, &steerings);
    vks_api_steerings_finish(&steerings);
    return painter;
}

void vks_painter_forget(struct vks_painter_prompt *embedding)
{
    free(embedding->prompt);
    free(embedding->context);
    free(embedding->pooled);
    *embedding = (struct vks_painter_prompt){0};
}

void vksteer_painter_close(vksteer_painter **address)
{
    vksteer_painter *p = *address;
    if (!p)
        return;
    *address = NULL;
    for (int i = 0; i < VKS_STAGES; i++)
        vks_painter_leave(p, (enum vks_stage)i);
    vks_graph_finish(&p->unet_graph);
    vks_graph_finish(&p->decoder_graph);
    vks_api_uses_close(&p->uses);
    vks_schedule_finish(&p->schedule);
    for (int i = 0; i < VKS_PAINTER_PROMPTS; i++)
        vks_painter_forget(&p->prompts[i]);
    vks_painter_forget(&p->negative);
    free(p);
}

void vksteer_painter_size(const vksteer_painter *painter, uint32_t *width, uint32_t *height, uint32_t *steps,
                          double *cfg_scale)
{
    *width = painter->width;
    *height = painter->height;
    *steps = painter->steps;
    *cfg_scale = painter->cfg;
}

bool vksteer_painter_tiles(const vksteer_painter *painter, uint32_t *width, uint32_t *height)
{
    const uint32_t factor = painter->model->pipeline->factor;
    *width = painter->across.size * factor;
    *height = painter->down.size * factor;
    return painter->across.count > 1 || painter->down.count > 1;
}
