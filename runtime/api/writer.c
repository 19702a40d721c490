// Prompts to texts: a batch at a time, token by token, with the steerings' strengths in the step buffer.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/os.h"
#include "base/text.h"
#include "models/decoder_run.h"
#include "models/sampler.h"
#include "models/tokenizer.h"

#define DEFAULT_TOKENS 128u

struct vksteer_writer {
    vksteer_model *model;
    const struct vks_tokenizer *tokenizer;
    struct vks_api_uses uses;
    struct vks_decoder_run *run;
    struct vks_sampler *sampler;
    uint32_t batch, context;
    bool half_cache;
    float *logits;             // (batch, V)
};

// A text in the making.
struct writing {
    struct vks_ids ids;        // prompt and text
    size_t prompt;             // tokens of the prompt
    uint64_t seed;
    uint32_t stream;
    struct vks_tokenizer_stream *decoder;
    struct vks_text text;
    bool live;
};

// ---- open and close -----------------------------------------------------------------------------------------------

static void prepare(void *priv, struct vks_graph *graph)
{
    const vksteer_writer *w = priv;
    if (w->uses.attachment)
        vks_attachment_hook(w->uses.attachment, graph);
}

// Maps that see tokens which are not made yet, or whose sites are not there, are refused.
static bool can_write(vksteer_model *model, const struct vks_api_steerings *steerings)
{
    if (!vks_api_causal(model, steerings))
        return false;
    struct vks_graph graph;
    vks_graph_init(&graph, model->log);
    const bool ok = steerings->count == 0 ||
                    (vks_api_graph(model, &graph) && vks_api_steerings_fit(model, steerings, &graph));
    vks_graph_finish(&graph);
    return ok;
}

static bool start(vksteer_writer *w, const struct vks_api_steerings *steerings)
{
    vksteer_model *model = w->model;
    const uint32_t vocabulary = model->decoder->config.vocabulary;
    w->tokenizer = vks_api_tokenizer(model);
    if (!w->tokenizer || !can_write(model, steerings) || !vks_api_uses_open(model, steerings, &w->uses))
        return false;
    w->logits = malloc((size_t)w->batch * vocabulary * sizeof(*w->logits));
    if (!w->logits)
        return vks_fail(model->log, VKS_NO_MEMORY);
    w->sampler = vks_sampler_create(model->log, vocabulary);
    w->run = vks_decoder_run_create(model->decoder, &(struct vks_decoder_run_params){
        .gpu = model->session->gpu, .batch = w->batch, .half_cache = w->half_cache, .prepare = prepare, .priv = w});
    return w->sampler && w->run;
}

vksteer_writer *vksteer_writer_open(vksteer_model *model, const struct vksteer_writer_params *params)
{
    static const struct vksteer_writer_params defaults;
    struct vks_api_steerings steerings;
    params = params ? params : &defaults;
    if (!model->decoder)
        return vks_fail_null(model->log, "%s makes pictures and writes no text: give a language model with -m",
                             model->info.path);
    if (!vks_api_can_run(model) ||
        !vks_api_steerings_load(model, params->steerings, params->steering_count,
                                params->strict ? VKS_API_STRICT : 0, &steerings))
        return NULL;
    vksteer_writer *w = calloc(1, sizeof(*w));
    if (w) {
        const uint32_t context = model->decoder->config.context;
        w->model = model;
        w->batch = params->batch ? params->batch : 1;
        w->half_cache = params->half_cache;
        w->context = params->context && params->context < context ? params->context : context;
        if (!start(w, &steerings))
            vksteer_writer_close(&w);
    } else {
        vks_fail(model->log, VKS_NO_MEMORY);
    }
    vks_api_steerings_finish(&steerings);
    return w;
}

void vksteer_writer_close(vksteer_writer **address)
{
    vksteer_writer *w = *address;
    if (!w)
        return;
    *address = NULL;
    vks_decoder_run_destroy(&w->run);
    vks_sampler_destroy(&w->sampler);
    vks_api_uses_close(&w->uses);
    free(w->logits);
    free(w);
}

// ---- texts --------------------------------------------------------------------------------------------------------

// A prompt's tokens, with those that begin a text unless they are written in it; what looks like a special token is
// one.
static bool read_prompt(vksteer_writer *w, const char *prompt, size_t index, bool chat, struct vks_ids *ids)
{
    const struct vks_log *log = w->model->log;
    const struct vks_encode how = {.bare = chat};
    if (vks_utf8_check(prompt, strlen(prompt)) != strlen(prompt))
        return vks_fail(log, "prompt %zu is no UTF-8 text: write it in UTF-8", index + 1);
    if (!vks_tokenizer_encode(log, w->tokenizer, &how, prompt, strlen(prompt), ids))
        return false;
    if (!ids->count)
        return vks_fail(log, "prompt %zu has no tokens: write one", index + 1);
    if (ids->count >= w->context)
        return vks_fail(log, "prompt %zu has %zu tokens, and the context holds %u with the text that follows: "
                        "shorten it", index + 1, ids->count, w->context);
    return true;
}

// The stream of a text's random numbers: the same for the same prompt, whatever comes with it.
static uint32_t stream_of(const struct vks_ids *ids)
{
    const uint64_t hash = vks_hash64(ids->items, ids->count * sizeof(*ids->items));
    return (uint32_t)(hash ^ hash >> 32);
}

static bool begin(vksteer_writer *w, struct writing *t, uint64_t seed)
{
    const struct vks_log *log = w->model->log;
    struct vks_text before = {0};
    t->prompt = t->ids.count;
    t->seed = seed;
    t->stream = stream_of(&t->ids);
    t->live = true;
    t->decoder = vks_tokenizer_stream_open(log, w->tokenizer, true);
    // The text's first token continues the prompt: a space before it may be part of it.
    bool ok = t->decoder != NULL;
    for (size_t i = 0; i < t->ids.count && ok; i++)
        ok = vks_tokenizer_stream_add(log, t->decoder, t->ids.items[i], &before);
    vks_text_finish(&before);
    return ok;
}

static void finish(struct writing *t)
{
    free(t->ids.items);
    vks_tokenizer_stream_close(&t->decoder);
    vks_text_finish(&t->text);
    *t = (struct writing){0};
}

// Draws the next token of a text from its row of logits. False: a failure, or *stop, which the caller asked for.
static bool extend(vksteer_writer *w, struct writing *t, size_t index, const struct vksteer_write_params *params,
                   const float *logits, struct vksteer_text *out, bool *stop)
{
    const struct vks_log *log = w->model->log;
    const struct vks_sampler_params sampling = {
        .temperature = params->temperature, .top_k = params->top_k, .top_p = params->top_p, .min_p = params->min_p,
        .repeat_penalty = params->repeat_penalty, .repeat_last = params->repeat_last};
    const struct vks_sampler_place place = {t->seed, t->stream, (uint32_t)(t->ids.count - t->prompt)};
    const int32_t id = vks_sampler_draw(w->sampler, &sampling, logits, t->ids.items, t->ids.count, &place);
    const size_t before = t->text.length;
    if (id < 0)
        return false;
    out->ended = vks_tokenizer_ends(w->tokenizer, id) && !params->ignore_end;
    out->tokens += !out->ended;
    if (!out->ended && (!vks_ids_add(&t->ids, id) || !vks_tokenizer_stream_add(log, t->decoder, id, &t->text)))
        return vks_fail(log, VKS_NO_MEMORY);
    t->live = !out->ended && t->ids.count < w->context &&
              out->tokens < (params->max_tokens ? params->max_tokens : DEFAULT_TOKENS);
    if (!t->live && !vks_tokenizer_stream_end(log, t->decoder, &t->text))
        return false;
    if (t->text.failed)
        return vks_fail(log, VKS_NO_MEMORY);
    *stop = params->piece && !params->piece(params->priv, index, t->text.data ? t->text.data + before : "");
    return !*stop;
}

// One batch: `items` are its texts, `first` the number of the first. False as above.
static bool write_batch(vksteer_writer *w, struct writing *items, size_t first, size_t count,
                        const struct vksteer_write_params *params, const uint32_t *step, struct vksteer_text *texts,
                        bool *stop)
{
    const size_t vocabulary = w->model->decoder->config.vocabulary;
    const int32_t **ids = calloc(w->batch, sizeof(*ids));
    uint32_t *counts = calloc(w->batch, sizeof(*counts));
    double start_time = vks_os_seconds(), prompt_seconds = 0;
    bool ok = (ids && counts) || vks_fail(w->model->log, VKS_NO_MEMORY), live = count > 0;
    for (size_t b = 0; b < count && ok; b++) {
        ids[b] = items[b].ids.items;
        counts[b] = (uint32_t)items[b].prompt;
        texts[b].prompt_tokens = counts[b];
    }
    for (bool prompt = true; ok && live; prompt = false) {
        ok = vks_decoder_run_add(w->run, ids, counts, step, w->logits);
        if (prompt) {
            prompt_seconds = vks_os_seconds() - start_time;
            start_time += prompt_seconds;
        }
        live = false;
        for (size_t b = 0; b < count && ok; b++) {
            if (items[b].live)
                ok = extend(w, &items[b], first + b, params, w->logits + b * vocabulary, &texts[b], stop);
            ids[b] = items[b].ids.items + items[b].ids.count - 1;
            counts[b] = items[b].live;
            live = live || items[b].live;
        }
    }
    for (size_t b = 0; b < count; b++) {
        texts[b].prompt_seconds = prompt_seconds;
        texts[b].seconds = vks_os_seconds() - start_time;
        texts[b].text = items[b].text.data;
        items[b].text = (struct vks_text){0};
    }
    free(ids);
    free(counts);
    return ok;
}

// Tokens of all prompts; the most that one of them may come to with its text, or 0 after a message.
static uint32_t read_all(vksteer_writer *w, const char *const *prompts, size_t count,
                         const struct vksteer_write_params *params, struct writing *items)
{
    const size_t more = params->max_tokens ? params->max_tokens : DEFAULT_TOKENS;
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        if (!read_prompt(w, prompts[i], i, params->chat, &items[i].ids) ||
            !begin(w, &items[i], params->seeds ? params->seeds[i] : params->seed))
            return 0;
        longest = items[i].prompt > longest ? items[i].prompt : longest;
    }
    return longest + more < w->context ? (uint32_t)(longest + more) : w->context;
}

enum vksteer_result vksteer_write(vksteer_writer *w, const char *const *prompts, size_t count,
                                  const struct vksteer_write_params *params, const float *strengths,
                                  struct vksteer_text *texts)
{
    static const struct vksteer_write_params defaults;
    const struct vks_log *log = w->model->log;
    uint32_t step[VKS_STEP_WORDS];
    bool stop = false;
    params = params ? params : &defaults;
    memset(texts, 0, count * sizeof(*texts));
    const struct vks_sampler_params sampling = {.temperature = params->temperature, .top_p = params->top_p,
                                                .min_p = params->min_p, .repeat_penalty = params->repeat_penalty};
    if (!vks_sampler_check(log, &sampling) || !vks_api_uses_check(&w->uses, log, strengths))
        return VKSTEER_FAILED;
    vks_api_uses_step(&w->uses, strengths, step);
    struct writing *items = calloc(count + 1, sizeof(*items));
    bool ok = items || vks_fail(log, VKS_NO_MEMORY);
    const uint32_t room = ok && count ? read_all(w, prompts, count, params, items) : 0;
    ok = ok && (room || !count);
    for (size_t first = 0; first < count && ok; first += w->batch) {
        const size_t part = count - first < w->batch ? count - first : w->batch;
        ok = vks_decoder_run_begin(w->run, room) &&
             write_batch(w, items + first, first, part, params, step, texts + first, &stop);
    }
    for (size_t i = 0; items && i < count; i++)
        finish(&items[i]);
    free(items);
    for (size_t i = 0; i < count && ok; i++)
        if (!texts[i].text && !(texts[i].text = calloc(1, 1)))
            ok = vks_fail(log, VKS_NO_MEMORY);
    return stop ? VKSTEER_STOPPED : ok ? VKSTEER_DONE : VKSTEER_FAILED;
}

void vksteer_texts_finish(struct vksteer_text *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(texts[i].text);
        texts[i] = (struct vksteer_text){0};
    }
}
