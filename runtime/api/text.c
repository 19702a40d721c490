// Prompts to embeddings, through a graph of the text encoders alone.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

struct vks_api_text {
    vksteer_model *model;
    uint32_t batch;
    struct vks_graph graph;
    struct vks_pipeline_text io;
    struct vks_exec *exec;
    uint64_t context, pooled;  // floats of one prompt
};

static bool build(struct vks_api_text *text, struct vks_attachment *attachment)
{
    if (attachment)
        vks_attachment_hook(attachment, &text->graph);
    if (!vks_pipeline_text_build(text->model->pipeline, &text->graph, text->batch, &text->io))
        return false;
    text->io.context->keep = true;
    text->context = vks_tensor_elements(text->io.context) / text->batch;
    if (text->io.pooled) {
        text->io.pooled->keep = true;
        text->pooled = vks_tensor_elements(text->io.pooled) / text->batch;
    }
    return true;
}

struct vks_api_text *vks_api_text_create(vksteer_model *model, uint32_t batch, struct vks_attachment *attachment)
{
    struct vks_api_text *text = calloc(1, sizeof(*text));
    if (!text)
        return vks_fail_null(model->log, VKS_NO_MEMORY);
    text->model = model;
    text->batch = batch;
    vks_pipeline_hold(model->pipeline, VKS_STAGE_TEXT);
    vks_graph_init(&text->graph, model->log);
    if (build(text, attachment))
        text->exec = vks_exec_create(&text->graph, &(struct vks_exec_params){.gpu = model->session->gpu});
    if (!text->exec)
        vks_api_text_destroy(&text);
    return text;
}

bool vks_api_text_measure(vksteer_model *model, uint32_t batch, struct vks_attachment *attachment,
                          struct vks_api_text_size *size)
{
    struct vks_api_text text = {.model = model, .batch = batch};
    const bool was = vks_pipeline_dry(model->pipeline, true);
    *size = (struct vks_api_text_size){0};
    vks_graph_init(&text.graph, model->log);
    const bool ok = build(&text, attachment) &&
                    vks_exec_measure(&text.graph, &(struct vks_exec_params){.gpu = model->session->gpu}, &size->plan);
    if (ok) {
        memcpy(size->context, text.io.context->shape + 1, sizeof(size->context));
        size->pooled = (uint32_t)text.pooled;
    }
    vks_graph_finish(&text.graph);
    vks_pipeline_dry(model->pipeline, was);
    return ok;
}

void vks_api_text_destroy(struct vks_api_text **address)
{
    struct vks_api_text *text = *address;
    if (!text)
        return;
    *address = NULL;
    vks_exec_destroy(&text->exec);
    vks_graph_finish(&text->graph);
    vks_pipeline_drop(text->model->pipeline, VKS_STAGE_TEXT);
    free(text);
}

// One batch; the last is filled up with its last prompt.
static bool run_batch(struct vks_api_text *text, const char *const prompts[], size_t count, const uint32_t *step,
                      float *context, float *pooled)
{
    const uint32_t batch = text->batch;
    const char **full = malloc(batch * sizeof(*full));
    float *rows = malloc((size_t)batch * (text->context + text->pooled) * sizeof(*rows));
    bool ok = (full && rows) || vks_fail(text->model->log, VKS_NO_MEMORY);
    for (uint32_t b = 0; b < batch && ok; b++)
        full[b] = prompts[b < count ? b : count - 1];
    ok = ok && vks_pipeline_text_feed(text->model->pipeline, text->exec, &text->io, full, batch) &&
         vks_exec_run(text->exec, step) &&
         vks_exec_read(text->exec, text->io.context, rows, batch * text->context * sizeof(*rows));
    if (ok)
        memcpy(context, rows, count * text->context * sizeof(*rows));
    if (ok && text->pooled && pooled) {
        ok = vks_exec_read(text->exec, text->io.pooled, rows, batch * text->pooled * sizeof(*rows));
        if (ok)
            memcpy(pooled, rows, count * text->pooled * sizeof(*rows));
    }
    free(rows);
    free(full);
    return ok;
}

bool vks_api_text_run(struct vks_api_text *text, const char *const prompts[], size_t count,
                      const uint32_t step[VKS_STEP_WORDS], float *context, float *pooled)
{
    bool ok = true;
    for (size_t first = 0; first < count && ok; first += text->batch) {
        const size_t part = count - first < text->batch ? count - first : text->batch;
        ok = run_batch(text, prompts + first, part, step, context + first * text->context,
                       pooled ? pooled + first * text->pooled : NULL);
    }
    return ok;
}
