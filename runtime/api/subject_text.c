// A language model as training sees it: texts as tokens, padded on the right to the length of their graph.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/hash.h"
#include "models/tokenizer.h"

#define MAX_LENGTH 512u  // tokens of a text in training; longer ones are cut

struct text_subject {
    struct vks_api_subject base;
    vksteer_model *model;
    uint32_t length;              // tokens of a graph that holds every text
    bool fixed;                   // all graphs are of that length
    bool head;                    // a site lies at the head
    struct vks_ids *texts[VKS_SETS];
    size_t counts[VKS_SETS];
};

static bool build(void *priv, struct vks_graph *graph, uint32_t batch, uint32_t length, void **out)
{
    struct text_subject *s = priv;
    struct vks_decoder_io *io = vks_arena_alloc(&graph->arena, sizeof(*io));
    *out = io;
    if (!io)
        return vks_graph_fail(graph, VKS_NO_MEMORY) != NULL;
    const struct vks_decoder_params params = {
        .batch = batch, .length = length ? length : s->length, .head = s->head ? VKS_HEAD_ALL : VKS_HEAD_NONE};
    return vks_decoder_build(s->model->decoder, graph, &params, io);
}

static uint32_t length_of(void *priv, const struct vks_sample *sample)
{
    const struct text_subject *s = priv;
    const uint32_t length = vks_api_padded((uint32_t)s->texts[sample->set][sample->index].count);
    return s->fixed || length > s->length ? s->length : length;
}

static bool feed(void *priv, struct vks_exec *exec, const void *inputs, const struct vks_sample samples[],
                 uint32_t count)
{
    const struct text_subject *s = priv;
    const int32_t **ids = malloc(count * sizeof(*ids));
    uint32_t *counts = malloc(count * sizeof(*counts));
    bool ok = (ids && counts) || vks_fail(s->model->log, VKS_NO_MEMORY);
    for (uint32_t b = 0; b < count && ok; b++) {
        const struct vks_ids *text = &s->texts[samples[b].set][samples[b].index];
        ids[b] = text->items;
        counts[b] = (uint32_t)text->count;
    }
    ok = ok && vks_decoder_feed(s->model->decoder, exec, inputs, ids, counts);
    free(ids);
    free(counts);
    return ok;
}

// Tokens of all texts; no graph is longer than a multiple of 8 that holds the longest, or all are of the length
// that is given.
static bool tokenize(struct text_subject *s, const struct vks_api_subject_params *params)
{
    static const char *const names[VKS_SETS] = {"source", "target", "validation"};
    vksteer_model *model = s->model;
    const struct vks_tokenizer *tokenizer = vks_api_tokenizer(model);
    const uint32_t context = model->decoder->config.context, most = context < MAX_LENGTH ? context : MAX_LENGTH;
    size_t longest = 1, cut = 0;
    if (!tokenizer)
        return false;
    for (int set = 0; set < VKS_SETS; set++) {
        s->counts[set] = params->counts[set];
        s->texts[set] = calloc(params->counts[set] + 1, sizeof(*s->texts[set]));
        if (!s->texts[set])
            return vks_fail(model->log, VKS_NO_MEMORY);
        for (size_t i = 0; i < params->counts[set]; i++) {
            struct vks_ids *ids = &s->texts[set][i];
            const char *text = params->prompts[set][i];
            if (!vks_tokenizer_encode(model->log, tokenizer, NULL, text, strlen(text), ids))
                return false;
            if (!ids->count)
                return vks_fail(model->log, "%s text %zu has no tokens: leave it out", names[set], i + 1);
            cut += ids->count > most;
            ids->count = ids->count > most ? most : ids->count;
            longest = ids->count > longest ? ids->count : longest;
        }
    }
    if (cut)
        vks_warn(model->log, "%zu texts are longer than %u tokens: what is beyond is left out", cut, most);
    s->fixed = params->length > 0;
    s->length = s->fixed ? params->length : ((uint32_t)longest + 7) / 8 * 8;
    s->length = s->length < context ? s->length : context;
    return true;
}

// Whether an expression names the head, which is not computed otherwise.
static bool names_head(struct text_subject *s, const char *expression)
{
    struct vks_site_pattern *pattern = expression ? vks_site_pattern_create(s->model->log, expression) : NULL;
    if (pattern)
        s->head |= vks_site_pattern_matches(pattern, "lm_head");
    const bool ok = pattern || !expression;
    vks_site_pattern_destroy(&pattern);
    return ok;
}

static void destroy(struct vks_api_subject *base)
{
    struct text_subject *s = (struct text_subject *)base;
    for (int set = 0; set < VKS_SETS; set++) {
        for (size_t i = 0; s->texts[set] && i < s->counts[set]; i++)
            free(s->texts[set][i].items);
        free(s->texts[set]);
    }
    free(s);
}

struct vks_api_subject *vks_api_subject_of_texts(vksteer_model *model, const struct vks_api_subject_params *params)
{
    struct text_subject *s = calloc(1, sizeof(*s));
    if (!s)
        return vks_fail_null(model->log, VKS_NO_MEMORY);
    s->model = model;
    if (!names_head(s, params->sites) || !names_head(s, params->loss_sites) || !tokenize(s, params)) {
        destroy(&s->base);
        return NULL;
    }
    struct vks_hash hash;
    vks_hash_init(&hash, 4);
    vks_hash_add_u64(&hash, model->hash);
    struct vks_hash targets = hash;
    for (size_t i = 0; i < s->counts[VKS_SET_TARGET]; i++) {
        const struct vks_ids *ids = &s->texts[VKS_SET_TARGET][i];
        vks_hash_add_u64(&targets, ids->count);
        vks_hash_add(&targets, ids->items, ids->count * sizeof(*ids->items));
    }
    vks_api_subject_hash(&s->base, &hash, &targets, params);
    s->base.destroy = destroy;
    s->base.subject.priv = s;
    s->base.subject.build = build;
    s->base.subject.length = length_of;
    s->base.subject.feed = feed;
    return &s->base;
}
