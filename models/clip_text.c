#include "models/clip_text.h"

#include <stdlib.h>
#include <string.h>

#include "models/build.h"
#include "models/config.h"

static bool read_config(const struct vks_log *log, const struct vks_json *json, struct vks_clip_text_config *config)
{
    const char *class;
    const struct cJSON *classes;
    if (!vks_json_array(log, json, NULL, "architectures", &classes))
        return false;
    size_t count = 0;
    if (classes && !vks_json_strings(log, json, NULL, "architectures", &class, 1, &count))
        return false;
    if (count && strcmp(class, "CLIPTextModel") && strcmp(class, "CLIPTextModelWithProjection"))
        return vks_fail(log, "%s: the text encoder %.60s is not supported: use a model with a CLIPTextModel",
                        json->path, class);
    config->projected = count && !strcmp(class, "CLIPTextModelWithProjection");
    int64_t end;
    double eps;
    if (!vks_json_int(log, json, NULL, "eos_token_id", 2, 0, INT32_MAX, &end) ||
        !vks_json_number(log, json, NULL, "layer_norm_eps", 1e-5, 0, 1, &eps) ||
        !vks_config_activation(log, json, "hidden_act", "quick_gelu", &config->act))
        return false;
    int64_t vocabulary;
    if (!vks_json_int(log, json, NULL, "vocab_size", 49408, 1, 1 << 24, &vocabulary) ||
        !vks_config_width_or(log, json, "max_position_embeddings", 77, &config->length) ||
        !vks_config_width(log, json, "hidden_size", &config->width) ||
        !vks_config_width(log, json, "intermediate_size", &config->inner) ||
        !vks_config_width(log, json, "num_hidden_layers", &config->layers) ||
        !vks_config_width(log, json, "num_attention_heads", &config->heads) ||
        !vks_config_width_or(log, json, "projection_dim", 512, &config->projection))
        return false;
    if (config->width % config->heads)
        return vks_fail(log, "%s: hidden_size %u is no multiple of num_attention_heads %u: correct the file",
                        json->path, config->width, config->heads);
    if (config->layers > 1024)
        return vks_fail(log, "%s: num_hidden_layers %u is beyond reason: correct the file", json->path,
                        config->layers);
    config->vocabulary = (uint32_t)vocabulary;
    config->end = (int32_t)end;
    config->eps = (float)eps;
    return true;
}

bool vks_clip_text_config_read(const struct vks_log *log, const char *folder, struct vks_clip_text_config *config)
{
    *config = (struct vks_clip_text_config){0};
    struct vks_json *json = vks_config_open(log, folder, "config.json");
    if (!json)
        return false;
    const bool done = read_config(log, json, config);
    vks_json_close(&json);
    return done;
}

static vks_tensor *embeddings(struct vks_build *b, const struct vks_clip_text_config *config, vks_tensor *ids)
{
    vks_tensor *tokens = vks_build_embedding(b, "embeddings.token_embedding", ids, config->vocabulary, config->width);
    if (!tokens)
        return NULL;
    const uint32_t batch = ids->shape[0], length = ids->shape[1];
    int32_t *rows = vks_arena_alloc(&b->graph->arena, sizeof(*rows) * batch * length);
    if (!rows)
        return vks_graph_fail(b->graph, VKS_NO_MEMORY);
    for (uint32_t i = 0; i < batch * length; i++)
        rows[i] = (int32_t)(i % length);
    // PyTorch looks the positions up once for the batch; here every sample has its own, so that maps see samples.
    vks_tensor *numbers = vks_weights_constant(b->weights, b->graph, vks_path(b, "positions %ux%u", batch, length),
                                               VKS_I32, 2, ids->shape, rows);
    vks_tensor *positions =
        vks_build_embedding(b, "embeddings.position_embedding", numbers, config->length, config->width);
    return vks_build_site(b, "embeddings", vks_add(b->graph, tokens, positions));
}

static vks_tensor *attention(struct vks_build *b, const struct vks_clip_text_config *config, const char *path,
                             vks_tensor *x)
{
    const struct vks_attention attrs = {.heads = config->heads, .causal = true};
    const uint32_t width = config->width;
    vks_tensor *q = vks_build_linear(b, vks_path(b, "%s.q_proj", path), x, width, true);
    vks_tensor *k = vks_build_linear(b, vks_path(b, "%s.k_proj", path), x, width, true);
    vks_tensor *v = vks_build_linear(b, vks_path(b, "%s.v_proj", path), x, width, true);
    vks_tensor *y = vks_attention(b->graph, q, k, v, NULL, &attrs);
    y = vks_build_linear(b, vks_path(b, "%s.out_proj", path), y, width, true);
    return vks_build_site(b, vks_path(b, "%s:0", path), y);
}

static vks_tensor *layer(struct vks_build *b, const struct vks_clip_text_config *config, uint32_t index,
                         vks_tensor *x)
{
    const char *path = vks_path(b, "encoder.layers.%u", index);
    const uint32_t outer = vks_build_segment(b);
    vks_tensor *h = vks_build_layer_norm(b, vks_path(b, "%s.layer_norm1", path), x, config->eps);
    x = vks_add(b->graph, x, attention(b, config, vks_path(b, "%s.self_attn", path), h));
    h = vks_build_layer_norm(b, vks_path(b, "%s.layer_norm2", path), x, config->eps);
    h = vks_build_linear(b, vks_path(b, "%s.mlp.fc1", path), h, config->inner, true);
    h = vks_build_unary(b, vks_path(b, "%s.mlp.activation_fn", path), h, config->act);
    h = vks_build_linear(b, vks_path(b, "%s.mlp.fc2", path), h, config->width, true);
    h = vks_build_site(b, vks_path(b, "%s.mlp", path), h);
    x = vks_build_site(b, path, vks_add(b->graph, x, h));
    vks_build_segment_end(b, outer);
    return x;
}

bool vks_clip_text_build(struct vks_graph *graph, struct vks_weights *weights,
                         const struct vks_clip_text_config *config, const struct vks_clip_text_inputs *inputs,
                         struct vks_clip_text_outputs *outputs)
{
    *outputs = (struct vks_clip_text_outputs){0};
    struct vks_build b = {.graph = graph, .weights = weights};
    const bool prefixed = vks_weights_find(weights, "text_model.final_layer_norm.weight") != NULL;
    const char *inside = config->projected ? "text_model." : "";
    b.weight_prefix = prefixed ? "text_model." : "";
    b.site_prefix = vks_path(&b, "%s.%s", inputs->component, inside);
    if (graph->failed || !inputs->ids)
        return false;
    if (inputs->ids->rank != 2 || inputs->ids->shape[1] > config->length) {
        vks_graph_fail(graph, "%s: at most %u tokens fit: shorten the prompts", inputs->component, config->length);
        return false;
    }
    vks_tensor *x = embeddings(&b, config, inputs->ids);
    for (uint32_t i = 0; i < config->layers; i++) {
        outputs->penultimate = x;
        x = layer(&b, config, i, x);
    }
    outputs->last = x = vks_build_layer_norm(&b, "final_layer_norm", x, config->eps);
    if (inputs->end) {
        outputs->pooled = vks_gather_row(graph, x, inputs->end);
        b.weight_prefix = "";
        b.site_prefix = vks_path(&b, "%s.", inputs->component);
        if (config->projected)
            outputs->embeds = vks_build_linear(&b, "text_projection", outputs->pooled, config->projection, false);
    }
    return !graph->failed;
}

void vks_clip_text_end_rows(const struct vks_clip_text_config *config, const int32_t ids[], uint32_t rows,
                            uint32_t length, int32_t end[])
{
    for (uint32_t b = 0; b < rows; b++) {
        const int32_t *row = ids + (size_t)b * length;
        uint32_t at = 0;
        if (config->end == 2) {  // old files carry a wrong id: the end token has the largest one
            for (uint32_t i = 1; i < length; i++)
                at = row[i] > row[at] ? i : at;
        } else {
            while (at < length && row[at] != config->end)
                at++;
            at = at == length ? 0 : at;
        }
        end[b] = (int32_t)at;
    }
}
