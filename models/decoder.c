#include "models/decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/build.h"
#include "models/language.h"

// ---- files --------------------------------------------------------------------------------------------------------

static bool open_gguf(struct vks_decoder *d, struct vks_gpu *gpu, const char *path)
{
    struct vks_gguf *file = vks_gguf_open(d->log, path);
    struct vks_language language;
    if (!file)
        return false;
    if (!vks_language_from_gguf(d->log, file, &d->arena, &language) ||
        !vks_decoder_config_from_gguf(d->log, file, &d->arena, &d->config)) {
        vks_gguf_close(&file);
        return false;
    }
    d->weights = vks_weights_from_gguf(d->log, gpu, file, language.architecture, d->config.head_width);
    return d->weights != NULL;
}

struct vks_decoder *vks_decoder_open(const struct vks_log *log, struct vks_gpu *gpu, const char *path)
{
    struct vks_decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return vks_fail_null(log, VKS_NO_MEMORY);
    d->log = log;
    d->path = vks_arena_strdup(&d->arena, path);
    bool done = d->path || vks_fail(log, VKS_NO_MEMORY);
    if (vks_gguf_is(path))
        done = done && open_gguf(d, gpu, path);
    else
        done = done && vks_decoder_config_read(log, path, &d->arena, &d->config) &&
               (d->weights = vks_weights_open(log, gpu, path, "model", NULL)) != NULL;
    if (!done) {
        vks_decoder_close(&d);
        return NULL;
    }
    d->parameters = vks_weights_parameters(d->weights);
    d->bytes = vks_weights_bytes(d->weights);
    return d;
}

void vks_decoder_attach(struct vks_decoder *d, struct vks_gpu *gpu)
{
    vks_weights_attach(d->weights, gpu);
}

bool vks_decoder_has_conv1d(const struct vks_decoder *d)
{
    return d->config.family == VKS_DECODER_GPT2 && !vks_weights_gguf(d->weights);
}

void vks_decoder_close(struct vks_decoder **at)
{
    struct vks_decoder *d = *at;
    if (!d)
        return;
    vks_weights_close(&d->weights);
    vks_arena_finish(&d->arena);
    free(d);
    *at = NULL;
}

// ---- caches -------------------------------------------------------------------------------------------------------

struct vks_decoder_cache *vks_decoder_cache_create(const struct vks_decoder *decoder, struct vks_gpu *gpu,
                                                   uint32_t batch, uint32_t rows, enum vks_dtype dtype)
{
    const struct vks_decoder_config *config = &decoder->config;
    const uint64_t size = (uint64_t)batch * rows * config->kv_heads * config->head_width *
                          vks_dtype_size(dtype);
    struct vks_decoder_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return vks_fail_null(decoder->log, VKS_NO_MEMORY);
    cache->batch = batch;
    cache->rows = rows;
    cache->dtype = dtype;
    cache->layers = config->layers;
    cache->storages = calloc(2 * (size_t)config->layers, sizeof(struct vks_storage *));
    bool ok = cache->storages || vks_fail(decoder->log, VKS_NO_MEMORY);
    for (uint32_t i = 0; i < 2 * config->layers && ok; i++)
        ok = (cache->storages[i] = vks_storage_create(gpu, size)) && vks_storage_fill(cache->storages[i], 0, size, 0);
    if (!ok)
        vks_decoder_cache_destroy(&cache);
    return cache;
}

void vks_decoder_cache_destroy(struct vks_decoder_cache **at)
{
    struct vks_decoder_cache *cache = *at;
    if (!cache)
        return;
    for (uint32_t i = 0; cache->storages && i < 2 * cache->layers; i++)
        vks_storage_destroy(&cache->storages[i]);
    free(cache->storages);
    free(cache);
    *at = NULL;
}

// ---- graph --------------------------------------------------------------------------------------------------------

// A model under construction.
struct decoder_build {
    struct vks_build b;
    const struct vks_decoder_config *config;
    const struct vks_decoder_params *params;
    const struct vks_decoder_io *io;
    vks_tensor *angles[2];  // (B, T, head_width) of global and of local layers
    uint32_t width;         // of all query heads together
    float offset;           // of the norms' gains
};

// The angles at every position: rows of a table that covers all there can be.
static vks_tensor *angles_of(struct decoder_build *d, uint32_t kind)
{
    const struct vks_decoder_config *config = d->config;
    struct vks_graph *graph = d->b.graph;
    const uint32_t most = d->params->cache ? d->params->cache->rows : d->params->length;
    uint32_t rows = 64;
    while (rows < most)
        rows *= 2;
    const uint32_t shape[] = {rows, config->head_width};
    float *table = malloc((size_t)rows * config->head_width * sizeof(*table));
    if (!table)
        return vks_graph_fail(graph, VKS_NO_MEMORY);
    vks_rope_table(&config->rope[kind], config->head_width, 0, rows, table);
    vks_tensor *state = vks_weights_constant(d->b.weights, graph, vks_path(&d->b, "angles %u of %u", kind, rows),
                                             VKS_F32, 2, shape, table);
    free(table);
    return vks_embedding(graph, d->io->positions, state);
}

static vks_tensor *norm(struct decoder_build *d, const char *path, vks_tensor *x)
{
    return vks_build_rms_norm(&d->b, path, x, 1, d->offset, d->config->eps);
}

// c tanh(x / c)
static vks_tensor *capped(struct vks_graph *graph, vks_tensor *x, float cap)
{
    x = vks_unary(graph, vks_scale(graph, x, 1 / cap, 0), VKS_TANH);
    return vks_scale(graph, x, cap, 0);
}

// The cache of keys (part 0) or values (1) of a layer, with x appended.
static vks_tensor *append(struct decoder_build *d, uint32_t layer, uint32_t part, vks_tensor *x)
{
    const struct vks_decoder_cache *cache = d->params->cache;
    const uint32_t shape[] = {cache->batch, cache->rows, d->config->kv_heads * d->config->head_width};
    vks_tensor *state = vks_graph_state(d->b.graph, part ? "cache of values" : "cache of keys", cache->dtype, 3,
                                        shape, cache->storages[2 * layer + part], 0);
    return vks_cache_rows(d->b.graph, state, x, d->io->positions);
}

static vks_tensor *attend(struct decoder_build *d, uint32_t layer, vks_tensor *q, vks_tensor *k, vks_tensor *v)
{
    const struct vks_decoder_config *config = d->config;
    const struct vks_attention attrs = {
        .heads = config->heads,
        .kv_heads = config->kv_heads,
        .scale = config->score_scale,
        .causal = true,
        .window = config->local[layer] ? config->window : 0,
        .softcap = config->attention_cap,
        .keys = d->params->keys,
    };
    if (d->params->cache)
        return vks_attention_cached(d->b.graph, q, append(d, layer, 0, k), append(d, layer, 1, v), d->io->positions,
                                    &attrs);
    return vks_attention(d->b.graph, q, k, v, d->io->mask, &attrs);
}

// x (B, T, C) -> (B, T, C)
static vks_tensor *self_attention(struct decoder_build *d, const char *path, vks_tensor *x, uint32_t layer)
{
    const struct vks_decoder_config *c = d->config;
    struct vks_build *b = &d->b;
    const uint32_t few = c->kv_heads * c->head_width;
    vks_tensor *q = vks_build_linear(b, vks_path(b, "%s.q_proj", path), x, d->width, c->qkv_bias);
    vks_tensor *k = vks_build_linear(b, vks_path(b, "%s.k_proj", path), x, few, c->qkv_bias);
    vks_tensor *v = vks_build_linear(b, vks_path(b, "%s.v_proj", path), x, few, c->qkv_bias);
    if (vks_decoder_has_head_norms(c)) {
        q = vks_build_rms_norm(b, vks_path(b, "%s.q_norm", path), q, c->heads, d->offset, c->eps);
        k = vks_build_rms_norm(b, vks_path(b, "%s.k_norm", path), k, c->kv_heads, d->offset, c->eps);
    }
    q = vks_rope(b->graph, q, d->angles[c->local[layer]], c->heads);
    k = vks_rope(b->graph, k, d->angles[c->local[layer]], c->kv_heads);
    vks_tensor *y = attend(d, layer, q, k, v);
    y = vks_build_linear(b, vks_path(b, "%s.o_proj", path), y, c->width, c->out_bias);
    return vks_build_site(b, vks_path(b, "%s:0", path), y);
}

static vks_tensor *gated_mlp(struct decoder_build *d, const char *path, vks_tensor *x)
{
    const struct vks_decoder_config *c = d->config;
    struct vks_build *b = &d->b;
    vks_tensor *gate = vks_build_linear(b, vks_path(b, "%s.gate_proj", path), x, c->inner, c->mlp_bias);
    gate = vks_build_unary(b, vks_path(b, "%s.act_fn", path), gate, c->act);
    vks_tensor *up = vks_build_linear(b, vks_path(b, "%s.up_proj", path), x, c->inner, c->mlp_bias);
    vks_tensor *y = vks_multiply(b->graph, gate, up);
    y = vks_build_linear(b, vks_path(b, "%s.down_proj", path), y, c->width, c->mlp_bias);
    return vks_build_site(b, path, y);
}

static vks_tensor *rotary_layer(struct decoder_build *d, uint32_t index, vks_tensor *x)
{
    struct vks_build *b = &d->b;
    struct vks_graph *graph = b->graph;
    const bool gemma = vks_decoder_is_gemma(d->config);
    const char *path = vks_path(b, "layers.%u", index);
    const char *behind = vks_path(b, "%s.post_attention_layernorm", path);
    vks_tensor *h = norm(d, vks_path(b, "%s.input_layernorm", path), x);
    h = self_attention(d, vks_path(b, "%s.self_attn", path), h, index);
    if (gemma) {
        x = vks_add(graph, x, norm(d, behind, h));
        h = norm(d, vks_path(b, "%s.pre_feedforward_layernorm", path), x);
    } else {
        x = vks_add(graph, x, h);
        h = norm(d, behind, x);
    }
    h = gated_mlp(d, vks_path(b, "%s.mlp", path), h);
    if (gemma)
        h = norm(d, vks_path(b, "%s.post_feedforward_layernorm", path), h);
    return vks_build_site(b, path, vks_add(graph, x, h));
}

static vks_tensor *rotary_model(struct decoder_build *d)
{
    struct vks_build *b = &d->b;
    const bool gemma = vks_decoder_is_gemma(d->config);
    vks_tensor *x = vks_build_rows(b, "embed_tokens", d->io->ids, d->config->vocabulary, d->config->width);
    if (gemma)
        x = vks_scale(b->graph, x, (float)sqrt(d->config->width), 0);
    x = vks_build_site(b, "embed_tokens", x);
    d->angles[0] = angles_of(d, 0);
    d->angles[1] = d->config->window ? angles_of(d, 1) : NULL;
    for (uint32_t i = 0; i < d->config->layers; i++) {
        const uint32_t outer = vks_build_segment(b);
        x = rotary_layer(d, i, x);
        vks_build_segment_end(b, outer);
    }
    return norm(d, "norm", x);
}

static vks_tensor *gpt2_layer(struct decoder_build *d, uint32_t index, vks_tensor *x)
{
    const struct vks_decoder_config *c = d->config;
    struct vks_build *b = &d->b;
    const char *path = vks_path(b, "h.%u", index), *attn = vks_path(b, "%s.attn", path);
    const char *mlp = vks_path(b, "%s.mlp", path);
    vks_tensor *h = vks_build_layer_norm(b, vks_path(b, "%s.ln_1", path), x, c->eps);
    h = vks_build_conv1d(b, vks_path(b, "%s.c_attn", attn), h, 3 * c->width);
    vks_tensor *parts[3];
    for (uint32_t i = 0; i < 3; i++)
        parts[i] = vks_slice(b->graph, h, i * c->width, c->width);
    h = attend(d, index, parts[0], parts[1], parts[2]);
    h = vks_build_conv1d(b, vks_path(b, "%s.c_proj", attn), h, c->width);
    h = vks_build_site(b, vks_path(b, "%s.resid_dropout", attn), h);
    x = vks_add(b->graph, x, vks_build_site(b, vks_path(b, "%s:0", attn), h));
    h = vks_build_layer_norm(b, vks_path(b, "%s.ln_2", path), x, c->eps);
    h = vks_build_conv1d(b, vks_path(b, "%s.c_fc", mlp), h, c->inner);
    h = vks_build_unary(b, vks_path(b, "%s.act", mlp), h, c->act);
    h = vks_build_conv1d(b, vks_path(b, "%s.c_proj", mlp), h, c->width);
    h = vks_build_site(b, vks_path(b, "%s.dropout", mlp), h);
    return vks_build_site(b, path, vks_add(b->graph, x, vks_build_site(b, mlp, h)));
}

static vks_tensor *gpt2_model(struct decoder_build *d)
{
    const struct vks_decoder_config *c = d->config;
    struct vks_build *b = &d->b;
    vks_tensor *tokens = vks_build_embedding(b, "wte", d->io->ids, c->vocabulary, c->width);
    vks_tensor *positions = vks_build_embedding(b, "wpe", d->io->positions, c->context, c->width);
    vks_tensor *x = vks_build_site(b, "drop", vks_add(b->graph, tokens, positions));
    for (uint32_t i = 0; i < c->layers; i++) {
        const uint32_t outer = vks_build_segment(b);
        x = gpt2_layer(d, i, x);
        vks_build_segment_end(b, outer);
    }
    return vks_build_layer_norm(b, "ln_f", x, c->eps);
}

// The head, a module of the whole model and not of its base: its names have no prefix. Of one token only that is
// left, no padding, and it is the last.
static vks_tensor *head_of(struct decoder_build *d, vks_tensor *x)
{
    const struct vks_decoder_config *c = d->config;
    struct vks_build *b = &d->b;
    if (d->io->row) {
        const uint32_t shape[] = {d->params->batch, 1, c->width};
        x = vks_gather_row(b->graph, x, d->io->row);
        x = x ? vks_reshape(b->graph, x, 3, shape) : NULL;
        b->mask = NULL;
    }
    const char *owner = !c->tied ? "lm_head" : c->family == VKS_DECODER_GPT2 ? "wte" : "embed_tokens";
    if (!c->tied)
        b->weight_prefix = "";
    b->site_prefix = "";
    x = vks_build_site(b, "lm_head", vks_build_product(b, owner, x, c->vocabulary));
    return c->logit_cap > 0 ? capped(b->graph, x, c->logit_cap) : x;
}

bool vks_decoder_build(struct vks_decoder *decoder, struct vks_graph *graph, const struct vks_decoder_params *params,
                       struct vks_decoder_io *io)
{
    const struct vks_decoder_config *config = &decoder->config;
    const bool gpt2 = config->family == VKS_DECODER_GPT2;
    const uint32_t shape[] = {params->batch, params->length};
    *io = (struct vks_decoder_io){0};
    if (!params->cache && params->length > config->context) {
        vks_graph_fail(graph, "%s: %u tokens do not fit the model's context of %u: shorten the texts", decoder->path,
                       params->length, config->context);
        return false;
    }
    io->ids = vks_graph_input(graph, "ids", VKS_I32, 2, shape, false);
    io->positions = vks_graph_input(graph, "positions", VKS_I32, 2, shape, false);
    io->mask = vks_graph_input(graph, "mask", VKS_F32, 2, shape, false);
    if (params->head == VKS_HEAD_ONE)
        io->row = vks_graph_input(graph, "row", VKS_I32, 1, shape, false);
    if (graph->failed)
        return false;
    const char *base = gpt2 ? "transformer." : "model.";
    struct decoder_build d = {
        .b = {.graph = graph, .weights = decoder->weights, .site_prefix = base, .mask = io->mask},
        .config = config,
        .params = params,
        .io = io,
        .width = config->heads * config->head_width,
        .offset = vks_decoder_is_gemma(config) ? 1.0f : 0.0f,
    };
    // A checkpoint of the base model alone has no prefix.
    const bool bare = vks_weights_find(decoder->weights, gpt2 ? "wte.weight" : "embed_tokens.weight") != NULL;
    d.b.weight_prefix = bare ? "" : base;
    io->last = gpt2 ? gpt2_model(&d) : rotary_model(&d);
    if (params->head != VKS_HEAD_NONE)
        io->logits = head_of(&d, io->last);
    return !graph->failed;
}

bool vks_decoder_feed(const struct vks_decoder *decoder, struct vks_exec *exec, const struct vks_decoder_io *io,
                      const int32_t *const ids[], const uint32_t counts[])
{
    const uint32_t batch = io->ids->shape[0], length = io->ids->shape[1];
    const size_t cells = (size_t)batch * length;
    int32_t *words = calloc(cells, sizeof(*words)), *positions = calloc(cells, sizeof(*positions));
    float *mask = calloc(cells, sizeof(*mask));
    bool done = (words && positions && mask) || vks_fail(decoder->log, VKS_NO_MEMORY);
    for (uint32_t b = 0; b < batch && done; b++) {
        if (!counts[b] || counts[b] > length)
            done = vks_fail(decoder->log, "a text of %u tokens where 1 to %u are expected: shorten it", counts[b],
                            length);
        for (uint32_t t = 0; t < length && done; t++) {
            const size_t at = (size_t)b * length + t;
            positions[at] = (int32_t)t;
            mask[at] = t < counts[b];
            words[at] = t < counts[b] ? ids[b][t] : 0;
            if (words[at] < 0 || (uint32_t)words[at] >= decoder->config.vocabulary)
                done = vks_fail(decoder->log, "token %d is not in the model's vocabulary of %u: the tokenizer is of "
                                "another model", (int)words[at], decoder->config.vocabulary);
        }
    }
    done = done && vks_exec_write(exec, io->ids, words, cells * sizeof(*words)) &&
           vks_exec_write(exec, io->positions, positions, cells * sizeof(*positions)) &&
           vks_exec_write(exec, io->mask, mask, cells * sizeof(*mask));
    free(words);
    free(positions);
    free(mask);
    return done;
}
