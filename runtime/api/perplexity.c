// How well a language model foresees texts, steered or not.
//
// Windows are those of transformers' guide to the perplexity of models with a fixed context: of W tokens each, S
// further on than the one before, in which only the tokens are scored that no window before has scored; so each token
// but the first counts once, and from the second window on sees W - S tokens or more. Where the tokenizer begins
// texts with a token (Llama, Gemma), it stands in front of every window, as such models were never trained without
// it.
//
// Windows of one length run together, the longest first, and what they give is added up in the order of the texts.
// Graphs are kept from one call to the next: another strength makes no new ones.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "exec/exec_cache.h"
#include "models/tokenizer.h"

#define WINDOW 512u
#define BATCH_TOKENS 512u                    // of one run, where windows are short
#define BATCH_BYTES ((uint64_t)128 << 20)    // of its logits
#define GRAPHS 32                            // that are kept

struct window {
    size_t text;
    size_t begin, end;     // tokens of the text behind its prefix
    size_t from;           // the first one that is scored
    size_t first;          // its place among all that are scored
    uint32_t length;       // of the graph that it runs in
};

// Texts as tokens, cut into windows.
struct reading {
    struct vks_ids *texts;
    size_t count;
    size_t prefix;         // tokens that begin every text
    struct window *windows;
    size_t window_count, window_capacity;
    const struct window **sorted;   // the longest first
    double *surprises;     // of every scored token
    size_t scored;
};

struct vksteer_reader {
    vksteer_model *model;
    uint32_t context, stride;
    struct vks_api_uses uses;
    struct vks_exec_cache graphs;   // by windows that run together, and tokens of each
    float *logits;         // (batch, length, V) of the largest graph so far
    size_t logits_count;
};

// ---- texts to windows

static void reading_finish(struct reading *r)
{
    for (size_t i = 0; r->texts && i < r->count; i++)
        free(r->texts[i].items);
    free(r->texts);
    free(r->windows);
    free(r->sorted);
    free(r->surprises);
}

static size_t common(const struct vks_ids *a, const struct vks_ids *b)
{
    size_t i = 0;
    while (i < a->count && i < b->count && a->items[i] == b->items[i])
        i++;
    return i;
}

static bool encode(const vksteer_reader *reader, const char *before, const char *text, bool chat, struct vks_ids *ids)
{
    const struct vks_encode how = {.bare = chat};
    struct vks_text joined = {0};
    const bool done = vks_text_add_str(&joined, before) && vks_text_add_str(&joined, text);
    const bool ok = (done || vks_fail(reader->model->log, VKS_NO_MEMORY)) &&
                    vks_tokenizer_encode(reader->model->log, vks_api_tokenizer(reader->model), &how, joined.data,
                                         joined.length, ids);
    vks_text_finish(&joined);
    return ok;
}

// `first`: the first token that may be scored.
static bool cut(const vksteer_reader *reader, struct reading *r, size_t text, size_t first)
{
    const size_t count = r->texts[text].count - r->prefix, most = reader->context - r->prefix;
    const size_t stride = reader->stride < most ? reader->stride : most;
    size_t scored = r->prefix ? 0 : 1;   // nothing foresees the first token of all
    scored = scored > first ? scored : first;
    for (size_t begin = 0; scored < count; begin += stride) {
        const size_t end = begin + most < count ? begin + most : count;
        if (end <= scored)
            continue;
        if (!vks_grow(&r->windows, &r->window_capacity, r->window_count, sizeof(*r->windows)))
            return vks_fail(reader->model->log, VKS_NO_MEMORY);
        const uint32_t length = vks_api_padded((uint32_t)(r->prefix + end - begin));
        r->windows[r->window_count++] = (struct window){
            text, begin, end, scored, r->scored, length < reader->context ? length : reader->context};
        r->scored += end - scored;
        scored = end;
    }
    return true;
}

// How many tokens begin every text, whatever it is.
static bool find_prefix(const vksteer_reader *reader, bool chat, size_t *prefix)
{
    struct vks_ids nothing = {0}, some = {0};
    const bool ok = encode(reader, "", "", chat, &nothing) && encode(reader, "", "a", chat, &some);
    *prefix = ok ? common(&nothing, &some) : 0;
    free(nothing.items);
    free(some.items);
    return ok && (*prefix < reader->context ||
                  vks_fail(reader->model->log, "a window of %u tokens has no room for text: give a larger one",
                           reader->context));
}

static int by_length(const void *a, const void *b)
{
    const struct window *x = *(const struct window *const *)a, *y = *(const struct window *const *)b;
    return x->length != y->length ? (x->length < y->length) - (x->length > y->length) : (x > y) - (x < y);
}

static bool sort(const vksteer_reader *reader, struct reading *r)
{
    r->sorted = malloc(r->window_count * sizeof(*r->sorted));
    r->surprises = malloc(r->scored * sizeof(*r->surprises));
    if (!r->sorted || !r->surprises)
        return vks_fail(reader->model->log, VKS_NO_MEMORY);
    for (size_t i = 0; i < r->window_count; i++)
        r->sorted[i] = &r->windows[i];
    qsort(r->sorted, r->window_count, sizeof(*r->sorted), by_length);
    return true;
}

// `r` is zeroed and is finished by the caller.
static bool prepare(const vksteer_reader *reader, const struct vksteer_read_params *params, struct reading *r)
{
    const struct vks_log *log = reader->model->log;
    r->texts = calloc(params->count + 1, sizeof(*r->texts));
    r->count = params->count;
    bool ok = (r->texts || vks_fail(log, VKS_NO_MEMORY)) && find_prefix(reader, params->chat, &r->prefix);
    for (size_t i = 0; i < params->count && ok; i++) {
        struct vks_ids before = {0};
        const char *prompt = params->prompts ? params->prompts[i] : "";
        ok = encode(reader, prompt, params->texts[i], params->chat, &r->texts[i]) &&
             (!*prompt || encode(reader, prompt, "", params->chat, &before));
        // Where the text begins among the tokens of both.
        const size_t seen = ok ? common(&before, &r->texts[i]) : 0;
        if (ok && r->texts[i].count > r->prefix)
            ok = cut(reader, r, i, seen > r->prefix ? seen - r->prefix : 0);
        free(before.items);
    }
    ok = ok && (r->window_count || vks_fail(log, "the texts hold no token with another one in front of it: give "
                                            "longer ones"));
    return ok && sort(reader, r);
}

// ---- windows to the device

static bool build(void *priv, struct vks_graph *graph, const uint32_t shape[2], void **out)
{
    vksteer_reader *reader = priv;
    vksteer_model *model = reader->model;
    struct vks_attachment *attachment = reader->uses.attachment;
    const struct vks_decoder_params params = {.batch = shape[0], .length = shape[1], .head = VKS_HEAD_ALL};
    struct vks_decoder_io *io = *out = vks_arena_alloc(&graph->arena, sizeof(*io));
    if (!io)
        return vks_fail(model->log, VKS_NO_MEMORY);
    if (attachment)
        vks_attachment_hook(attachment, graph);
    if (!vks_decoder_build(model->decoder, graph, &params, io) ||
        (attachment && !vks_attachment_check(attachment, model->log)))
        return false;
    io->logits->keep = true;
    return true;
}

// Windows [first, end) of the sorted ones, all of one length, and how many of them run together.
struct run {
    size_t first, end;
    uint32_t batch, length;
};

static struct run run_from(const vksteer_reader *reader, const struct reading *r, size_t first)
{
    struct run run = {.first = first, .end = first, .length = r->sorted[first]->length};
    const uint64_t bytes = (uint64_t)run.length * reader->model->decoder->config.vocabulary * sizeof(float);
    const uint64_t fits = BATCH_BYTES / bytes, tokens = BATCH_TOKENS / run.length;
    while (run.end < r->window_count && r->sorted[run.end]->length == run.length)
        run.end++;
    const uint64_t most = tokens < fits ? tokens : fits, count = run.end - first;
    run.batch = (uint32_t)(most < count ? most : count);
    run.batch = run.batch ? run.batch : 1;
    return run;
}

static const struct vks_exec_entry *graph_of(vksteer_reader *reader, const struct run *run)
{
    return vks_exec_cache_get(&reader->graphs, (const uint32_t[]){run->batch, run->length});
}

// The graph of the most tokens, before the others: these work in its memory. And room for its logits.
static bool make_largest(vksteer_reader *reader, const struct reading *r)
{
    struct run largest = run_from(reader, r, 0);
    for (struct run run = largest; run.end < r->window_count;) {
        run = run_from(reader, r, run.end);
        if ((uint64_t)run.batch * run.length > (uint64_t)largest.batch * largest.length)
            largest = run;
    }
    const size_t count = (size_t)largest.batch * largest.length * reader->model->decoder->config.vocabulary;
    if (count > reader->logits_count) {
        free(reader->logits);
        reader->logits = malloc(count * sizeof(*reader->logits));
        reader->logits_count = reader->logits ? count : 0;
        if (!reader->logits)
            return vks_fail(reader->model->log, VKS_NO_MEMORY);
    }
    return graph_of(reader, &largest) != NULL;
}

// -log softmax(logits)[target], natural.
static double surprise(const float *logits, uint32_t count, int32_t target)
{
    float most = -INFINITY;
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!isfinite(logits[i]))
            return INFINITY;
        most = logits[i] > most ? logits[i] : most;
    }
    for (uint32_t i = 0; i < count; i++)
        sum += exp((double)logits[i] - most);
    return log(sum) + most - logits[target];
}

// As many of these windows of one length as the graph takes.
static bool run_windows(vksteer_reader *reader, const struct vks_exec_entry *graph, const struct reading *r,
                        const struct window *const windows[], size_t count, const uint32_t step[VKS_STEP_WORDS])
{
    const struct vks_decoder *decoder = reader->model->decoder;
    const struct vks_decoder_io *io = graph->io;
    const uint32_t batch = graph->shape[0], width = graph->shape[1], vocabulary = decoder->config.vocabulary;
    int32_t *cells = malloc((size_t)batch * width * sizeof(*cells));
    const int32_t **ids = malloc(batch * sizeof(*ids));
    uint32_t *counts = malloc(batch * sizeof(*counts));
    bool ok = (cells && ids && counts) || vks_fail(reader->model->log, VKS_NO_MEMORY);
    for (uint32_t b = 0; b < batch && ok; b++) {
        const struct window *w = windows[b < count ? b : count - 1];
        const int32_t *text = r->texts[w->text].items;
        memcpy(cells + (size_t)b * width, text, r->prefix * sizeof(*cells));
        memcpy(cells + (size_t)b * width + r->prefix, text + r->prefix + w->begin,
               (w->end - w->begin) * sizeof(*cells));
        ids[b] = cells + (size_t)b * width;
        counts[b] = (uint32_t)(r->prefix + w->end - w->begin);
    }
    ok = ok && vks_decoder_feed(decoder, graph->exec, io, ids, counts) && vks_exec_run(graph->exec, step) &&
         vks_exec_read(graph->exec, io->logits, reader->logits, (uint64_t)batch * width * vocabulary * sizeof(float));
    for (uint32_t b = 0; b < batch && b < count && ok; b++) {
        const struct window *w = windows[b];
        for (size_t t = w->from; t < w->end; t++) {
            const size_t row = (size_t)b * width + r->prefix + (t - w->begin) - 1;   // foresees the token behind it
            r->surprises[w->first + t - w->from] =
                surprise(reader->logits + row * vocabulary, vocabulary, cells[row + 1]);
        }
    }
    free(cells);
    free(ids);
    free(counts);
    return ok;
}

static enum vksteer_result run_all(vksteer_reader *reader, const struct reading *r,
                                   const struct vksteer_read_params *params, const uint32_t step[VKS_STEP_WORDS])
{
    if (!make_largest(reader, r))
        return VKSTEER_FAILED;
    for (struct run run = {0}; run.end < r->window_count;) {
        run = run_from(reader, r, run.end);
        const struct vks_exec_entry *graph = graph_of(reader, &run);
        if (!graph)
            return VKSTEER_FAILED;
        for (size_t i = run.first; i < run.end; i += run.batch) {
            if (!run_windows(reader, graph, r, r->sorted + i, run.end - i, step))
                return VKSTEER_FAILED;
            const size_t done = i + run.batch < run.end ? i + run.batch : run.end;
            if (params->progress && !params->progress(params->priv, done, r->window_count))
                return VKSTEER_STOPPED;
        }
    }
    return VKSTEER_DONE;
}

// ---- the reader

// Maps that act on the last token see it at the end of a window alone, where writing has it at every token.
static void warn_of_positions(const vksteer_model *model, const struct vks_api_steerings *steerings)
{
    for (size_t i = 0; i < steerings->count; i++)
        if (vks_steering_position(&steerings->items[i], VKS_SITE_TOKENS) == VKS_POSITION_LAST)
            vks_warn(model->log, "%s acts on the last token: in a text that is read that is one in each window, so "
                     "this perplexity says little of it", steerings->uses[i].path);
}

vksteer_reader *vksteer_reader_open(vksteer_model *model, const struct vksteer_reader_params *params)
{
    struct vks_api_steerings steerings = {.count = 0};
    if (!vks_api_can_run(model))
        return NULL;
    if (!model->decoder)
        return vks_fail_null(model->log, "%s makes pictures: texts are read by language models", model->info.path);
    vksteer_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return vks_fail_null(model->log, VKS_NO_MEMORY);
    const uint32_t most = model->decoder->config.context;
    reader->model = model;
    vks_exec_cache_init(&reader->graphs, &(struct vks_exec_cache_params){
        .exec = {.gpu = model->session->gpu}, .log = model->log, .build = build, .priv = reader, .most = GRAPHS,
        .share = true});
    reader->context = params->context ? params->context : WINDOW < most ? WINDOW : most;
    reader->stride = params->stride ? params->stride : (reader->context + 1) / 2;
    bool ok = true;
    if (reader->context < 2 || reader->context > most)
        ok = vks_fail(model->log, "windows of %u tokens: 2 to %u, the model's context, can be read", reader->context,
                      most);
    else if (reader->stride >= reader->context)
        ok = vks_fail(model->log, "a stride of %u tokens leaves none of a window of %u to see: give a smaller one",
                      reader->stride, reader->context);
    ok = ok && vks_api_tokenizer(model) &&
         vks_api_steerings_load(model, params->steerings, params->steering_count, params->strict ? VKS_API_STRICT : 0,
                                &steerings) &&
         vks_api_causal(model, &steerings) && vks_api_uses_open(model, &steerings, &reader->uses);
    if (ok)
        warn_of_positions(model, &steerings);
    vks_api_steerings_finish(&steerings);
    if (!ok)
        vksteer_reader_close(&reader);
    return reader;
}

void vksteer_reader_close(vksteer_reader **address)
{
    vksteer_reader *reader = *address;
    if (!reader)
        return;
    vks_exec_cache_finish(&reader->graphs);
    free(reader->logits);
    vks_api_uses_close(&reader->uses);
    free(reader);
    *address = NULL;
}

enum vksteer_result vksteer_read(vksteer_reader *reader, const struct vksteer_read_params *params,
                                 const float *strengths, struct vksteer_perplexity *out)
{
    struct reading r = {0};
    uint32_t step[VKS_STEP_WORDS];
    double sum = 0;
    *out = (struct vksteer_perplexity){.context = reader->context, .stride = reader->stride};
    if (!vks_api_uses_check(&reader->uses, reader->model->log, strengths))
        return VKSTEER_FAILED;
    vks_api_uses_step(&reader->uses, strengths, step);
    enum vksteer_result result = prepare(reader, params, &r) ? VKSTEER_DONE : VKSTEER_FAILED;
    if (result == VKSTEER_DONE)
        result = run_all(reader, &r, params, step);
    if (result == VKSTEER_DONE) {
        for (size_t i = 0; i < r.scored; i++)
            sum += r.surprises[i];
        out->windows = r.window_count;
        out->tokens = r.scored;
        out->nll = sum / (double)out->tokens;
        out->perplexity = exp(out->nll);
    }
    reading_finish(&r);
    return result;
}
