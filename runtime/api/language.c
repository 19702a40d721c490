// Language models: what they say about themselves, their defaults for steering, their tokenizer.
#include <stdlib.h>

#include "api/internal.h"
#include "models/chat.h"
#include "models/tokenizer.h"

// Sites of LinEAS: Rodriguez et al., arXiv 2503.10679, the norms behind attention (and, in Gemma, behind the
// feed-forward part too). Of a single steering vector: the block at 13/32 of the depth, as in Rimsky et al.,
// arXiv 2312.06681.
static bool defaults(vksteer_model *model)
{
    struct vksteer_model_info *info = &model->info;
    const bool gpt2 = model->decoder->config.family == VKS_DECODER_GPT2;
    info->train_sites = gpt2 ? "transformer.h.*.ln_2" : ".*post.*layernorm";
    model->place_sites[VKS_PLACE_RESIDUAL] =
        vks_arena_printf(&model->arena, "%s.%u", gpt2 ? "transformer.h" : "model.layers",
                         (uint32_t)((uint64_t)info->layers * 13 / 32));
    model->place_sites[VKS_PLACE_HEADS] = gpt2 ? ".*attn.c_proj" : ".*o_proj";
    // AcT layer by layer at LinEAS's norms breaks SmolLM2-135M; behind the heads it does what LinEAS does there
    // (README).
    model->place_sites[VKS_PLACE_TRANSPORT] = model->place_sites[VKS_PLACE_HEADS];
    model->place_sites[VKS_PLACE_FEED_FORWARD] = gpt2 ? ".*mlp.(c_fc|c_proj)" : ".*mlp.(gate|up|down)_proj";
    // The paper's optimizer and rate, at a twentieth of its steps: tests/compare/lineas_sweep.py on SmolLM2-135M,
    // where 40 steps take 85 % of the distance away, 80 take 88 % and cost more fluency, and a rate of 1 diverges.
    info->train_optimizer = "sgd";
    info->train_lr = 0.1;
    info->train_steps = 50;
    info->train_batch = 32;
    model->apply_steps = 1;
    model->apply_cfg = 1;
    return model->place_sites[VKS_PLACE_RESIDUAL] != NULL || vks_fail(model->log, VKS_NO_MEMORY);
}

bool vks_api_language_open(vksteer_model *model)
{
    struct vksteer_model_info *info = &model->info;
    model->decoder = vks_decoder_open(model->log, model->session ? model->session->gpu : NULL, info->path);
    if (!model->decoder)
        return false;
    const struct vks_decoder_config *config = &model->decoder->config;
    info->pipeline = info->architecture = config->type;
    info->parameters = model->decoder->parameters;
    info->bytes = model->decoder->bytes;
    info->parts = 1;
    info->part_names[0] = "model";
    info->part_classes[0] = config->type;
    info->part_parameters[0] = info->parameters;
    info->context = config->context;
    info->layers = config->layers;
    info->channels = config->width;
    info->vocabulary = config->vocabulary;
    return defaults(model);
}

void vks_api_language_close(vksteer_model *model)
{
    vks_tokenizer_close(&model->tokenizer);
    vks_decoder_close(&model->decoder);
}

uint32_t vks_api_text_length(const vksteer_model *model)
{
    const uint32_t context = model->decoder->config.context;
    return context < 64 ? context : 64;
}

uint32_t vks_api_padded(uint32_t tokens)
{
    uint32_t step = 8;
    while (8 * step < tokens)
        step *= 2;
    return (tokens + step - 1) / step * step;
}

const struct vks_tokenizer *vks_api_tokenizer(vksteer_model *model)
{
    const struct vks_gguf *file = vks_weights_gguf(model->decoder->weights);
    if (!model->tokenizer)
        model->tokenizer = file ? vks_tokenizer_from_gguf(model->log, file)
                                : vks_tokenizer_open(model->log, model->info.path);
    return model->tokenizer;
}

bool vksteer_chat(vksteer_model *model, const struct vksteer_message *messages, size_t count, char **text)
{
    struct vks_chat chat = {0};
    struct vks_text out = {0};
    *text = NULL;
    if (!model->decoder)
        return vks_fail(model->log, "%s makes pictures and holds no conversations: give a language model with -m",
                        model->info.path);
    const struct vks_tokenizer *tokenizer = vks_api_tokenizer(model);
    struct vks_chat_message *own = malloc((count + 1) * sizeof(*own));
    bool ok = tokenizer && (own || vks_fail(model->log, VKS_NO_MEMORY));
    for (size_t i = 0; i < count && ok; i++)
        own[i] = (struct vks_chat_message){messages[i].role, messages[i].content};
    ok = ok && vks_chat_open(model->log, model->info.path, tokenizer, &chat) &&
         vks_chat_render(model->log, &chat, own, count, true, &out);
    if (ok)
        *text = out.data;
    else
        vks_text_finish(&out);
    vks_chat_finish(&chat);
    free(own);
    return ok;
}
