// Texts that grow over caches: the same logits as without them, for every tiny architecture, in any pieces and any
// company, and steered.
//
//     test_generate [FIXTURE]       one architecture alone
#include <math.h>
#include <stdlib.h>

#include "models/decoder_run.h"
#include "steer/steering.h"
#include "test_device.h"

#define TEXTS 3
#define LENGTH 23  // of the longest texts; gpt2's context is 24
#define CONTEXT 320

static struct vks_gpu *gpu;
static const char *fixture;
static const uint32_t lengths[TEXTS] = {LENGTH, LENGTH, 16};

// A model, texts for it, and what it says behind every token of theirs without a cache.
struct bed {
    struct vks_decoder *decoder;
    int32_t ids[TEXTS][CONTEXT];
    uint32_t vocabulary;
    float *wanted;             // (TEXTS, LENGTH, V)
};

static bool bed_open(struct test *t, struct bed *bed, const char *name)
{
    char path[600];
    uint32_t random = 1;
    memset(bed, 0, sizeof(*bed));
    snprintf(path, sizeof(path), VKS_TEST_DATA "/language/%s", name);
    bed->decoder = vks_decoder_open(test_log(t), gpu, path);
    EXPECT(t, bed->decoder, "%s cannot be opened", path);
    if (!bed->decoder)
        return false;
    bed->vocabulary = bed->decoder->config.vocabulary;
    for (uint32_t i = 0; i < TEXTS * CONTEXT; i++) {
        random = random * 1664525u + 1013904223u;
        bed->ids[i / CONTEXT][i % CONTEXT] = (int32_t)((random >> 16) % bed->vocabulary);
    }
    bed->wanted = calloc((size_t)TEXTS * LENGTH * bed->vocabulary, sizeof(*bed->wanted));
    return bed->wanted != NULL;
}

static void bed_close(struct bed *bed)
{
    free(bed->wanted);
    vks_decoder_close(&bed->decoder);
}

// The logits of whole texts, steered by `attachment` unless it is NULL, into `logits` (count, length, V).
static bool whole_texts(struct bed *bed, struct vks_attachment *attachment, const int32_t *const ids[],
                        const uint32_t counts[], uint32_t count, uint32_t length, const uint32_t *step, float *logits)
{
    struct vks_graph graph;
    struct vks_decoder_io io;
    struct vks_exec *exec = NULL;
    const struct vks_decoder_params params = {.batch = count, .length = length, .head = VKS_HEAD_ALL};
    vks_graph_init(&graph, bed->decoder->log);
    if (attachment)
        vks_attachment_hook(attachment, &graph);
    if (vks_decoder_build(bed->decoder, &graph, &params, &io)) {
        io.logits->keep = true;
        exec = vks_exec_create(&graph, &(struct vks_exec_params){.gpu = gpu});
    }
    const bool ok = exec && vks_decoder_feed(bed->decoder, exec, &io, ids, counts) && vks_exec_run(exec, step) &&
                    vks_exec_read(exec, io.logits, logits,
                                  (uint64_t)count * length * bed->vocabulary * sizeof(float));
    vks_exec_destroy(&exec);
    vks_graph_finish(&graph);
    return ok;
}

static bool want(struct test *t, struct bed *bed)
{
    const int32_t *ids[TEXTS] = {bed->ids[0], bed->ids[1], bed->ids[2]};
    const bool ok = whole_texts(bed, NULL, ids, lengths, TEXTS, LENGTH, NULL, bed->wanted);
    EXPECT(t, ok, "%s does not run without a cache", fixture);
    return ok;
}

static double gap(const float *a, const float *b, uint32_t count)
{
    double most = 0, size = 0;
    for (uint32_t i = 0; i < count; i++) {
        most = fmax(most, isfinite(a[i]) ? fabs((double)a[i] - b[i]) : INFINITY);
        size = fmax(size, fabs(b[i]));
    }
    return size > 0 ? most / size : most;
}

static void hook(void *priv, struct vks_graph *graph)
{
    vks_attachment_hook(priv, graph);
}

static bool half_cache;

static struct vks_decoder_run *run_of(struct bed *bed, uint32_t batch, struct vks_attachment *attachment)
{
    return vks_decoder_run_create(bed->decoder, &(struct vks_decoder_run_params){
        .gpu = gpu, .batch = batch, .half_cache = half_cache, .prepare = attachment ? hook : NULL,
        .priv = attachment});
}

// How many tokens of each text a call brings, until all are in: odd pieces, single steps, and texts that pause.
static const uint32_t pieces[][TEXTS] = {{2, 11, 3}, {1, 1, 1}, {0, 1, 1}, {17, 3, 0}, {1, 1, 0}, {0, 0, 1},
                                         {1, 5, 9}, {0, 1, 1}, {1, 0, 0}};

// Writes the texts so; `single` tells whether text number `only` is alone or all come. Compares every row of logits
// with what is wanted, and keeps it in got (pieces, TEXTS, V), or compares it with what is there, bit by bit.
static void write_pieces(struct test *t, struct bed *bed, struct vks_decoder_run *run, int only, float *got)
{
    const uint32_t v = bed->vocabulary, batch = only < 0 ? TEXTS : 1;
    uint32_t at[TEXTS] = {0};
    double furthest = 0;
    float *logits = malloc((size_t)TEXTS * v * sizeof(*logits));
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]) && logits && !t->bad; i++) {
        const int32_t *ids[TEXTS];
        uint32_t counts[TEXTS];
        for (uint32_t b = 0; b < batch; b++) {
            const uint32_t text = only < 0 ? b : (uint32_t)only;
            ids[b] = bed->ids[text] + at[text];
            counts[b] = pieces[i][text];
            at[text] += counts[b];
        }
        EXPECT(t, vks_decoder_run_add(run, ids, counts, NULL, logits), "%s: call %zu", fixture, i);
        for (uint32_t b = 0; b < batch && !t->bad; b++) {
            const uint32_t text = only < 0 ? b : (uint32_t)only;
            const float *row = logits + b * v;
            float *kept = got + (i * TEXTS + text) * v;
            if (!counts[b])
                continue;
            const double off = gap(row, bed->wanted + ((size_t)text * LENGTH + at[text] - 1) * v, v);
            EXPECT(t, off < (half_cache ? 5e-3 : 1e-5), "%s: text %u is off by %.2g behind %u tokens%s", fixture,
                   text, off, at[text], half_cache ? ", over halves" : "");
            furthest = fmax(furthest, off);
            if (only < 0)
                memcpy(kept, row, v * sizeof(*row));
            else
                EXPECT(t, !memcmp(kept, row, v * sizeof(*row)), "%s: text %u alone has other bits behind %u tokens, "
                       "off by %.2g", fixture, text, at[text], gap(row, kept, v));
        }
    }
    EXPECT(t, t->bad || (at[0] == lengths[0] && at[1] == lengths[1] && at[2] == lengths[2]) || only >= 0,
           "the pieces are not the texts");
    EXPECT(t, t->bad || !half_cache || furthest > 1e-5, "%s: nothing was rounded to halves", fixture);
    free(logits);
}

static void caches_change_nothing(struct test *t)
{
    struct bed bed;
    const bool ready = bed_open(t, &bed, fixture) && want(t, &bed);
    struct vks_decoder_run *run = ready ? run_of(&bed, TEXTS, NULL) : NULL, *alone = NULL;
    float *got = ready ? calloc((size_t)TEXTS * 16 * bed.vocabulary, sizeof(*got)) : NULL;
    EXPECT(t, run && got && vks_decoder_run_begin(run, LENGTH), "%s: no caches", fixture);
    if (!t->bad)
        write_pieces(t, &bed, run, -1, got);
    if (!t->bad && (alone = run_of(&bed, 1, NULL)))
        for (int text = 0; text < TEXTS; text++) {
            EXPECT(t, vks_decoder_run_begin(alone, lengths[text]), "%s: no caches for one text", fixture);
            if (!t->bad)
                write_pieces(t, &bed, alone, text, got);
        }
    free(got);
    vks_decoder_run_destroy(&run);
    vks_decoder_run_destroy(&alone);
    if (ready || bed.decoder)
        bed_close(&bed);
}

// Keys and values in fp16: nearly the same, in any company the same bits, in half the memory.
static void halves_change_little(struct test *t)
{
    half_cache = true;
    caches_change_nothing(t);
    half_cache = false;
    struct bed bed;
    CHECK(t, bed_open(t, &bed, fixture));
    uint64_t bytes[2] = {0};
    for (int half = 0; half < 2; half++) {
        struct vks_decoder_cache *cache =
            vks_decoder_cache_create(bed.decoder, gpu, 64, 64, half ? VKS_F16 : VKS_F32);
        for (uint32_t i = 0; cache && i < 2 * cache->layers; i++)
            bytes[half] += vks_storage_size(cache->storages[i]);
        vks_decoder_cache_destroy(&cache);
    }
    EXPECT(t, bytes[1] && 2 * bytes[1] == bytes[0], "caches of %llu and, in halves, %llu bytes",
           (unsigned long long)bytes[0], (unsigned long long)bytes[1]);
    bed_close(&bed);
}

// ---- steering

// Maps at every layer and at the head.
static bool steer(struct test *t, struct vks_steering *steering, const struct bed *bed, const char *position)
{
    const uint32_t width = bed->decoder->config.width;
    memset(steering, 0, sizeof(*steering));
    const bool ok =
        vks_site_list_add(&steering->sites, test_log(t), "model.layers.0.self_attn:0", VKS_SITE_TOKENS, width) &&
        vks_site_list_add(&steering->sites, test_log(t), "model.layers.1.post_attention_layernorm", VKS_SITE_TOKENS,
                          width) &&
        vks_site_list_add(&steering->sites, test_log(t), "lm_head", VKS_SITE_TOKENS, bed->vocabulary) &&
        vks_steering_note(steering, "position", "%s", position);
    const uint32_t channels = steering->sites.channels;
    steering->w = malloc(channels * sizeof(float));
    steering->b = malloc(channels * sizeof(float));
    for (uint32_t i = 0; ok && steering->w && steering->b && i < channels; i++) {
        steering->w[i] = 1 + 0.3f * (float)sin(i);
        steering->b[i] = 0.2f * (float)cos(3 * i);
    }
    return ok && steering->w && steering->b;
}

static void set_strength(uint32_t step[VKS_STEP_WORDS], float strength)
{
    memset(step, 0, VKS_STEP_WORDS * sizeof(*step));
    memcpy(&step[VKS_STEP_STRENGTH], &strength, sizeof(strength));
}

// One text of `count` tokens in a call at each of some strengths, in the same graphs, against the whole text; then
// the bits of no steering at strength 0. `then`: single tokens behind it, which maps at `all` alone can be compared
// with.
static void strengths_act(struct test *t, struct bed *bed, const char *position, uint32_t count, uint32_t then)
{
    static const float strengths[] = {1, -0.5f, 0};
    const uint32_t v = bed->vocabulary, total = count + then;
    const int32_t *ids = bed->ids[1], *next;
    const uint32_t one = 1;
    struct vks_steering steering;
    struct vks_attachment *attachment = NULL;
    float *wanted = malloc((size_t)total * v * sizeof(*wanted)), *logits = malloc(2 * v * sizeof(*logits));
    if (steer(t, &steering, bed, position))
        attachment = vks_attachment_create(gpu, (const struct vks_steering *[]){&steering}, 1);
    struct vks_decoder_run *run = run_of(bed, 1, attachment), *plain = run_of(bed, 1, NULL);
    EXPECT(t, attachment && run && plain && wanted && logits, "no steering");
    uint32_t made = 0;
    for (int i = 0; i < 3 && !t->bad; i++) {
        uint32_t step[VKS_STEP_WORDS];
        set_strength(step, strengths[i]);
        EXPECT(t, whole_texts(bed, attachment, &ids, &count, 1, count, step, wanted) &&
                      vks_decoder_run_begin(run, total) && vks_decoder_run_add(run, &ids, &count, step, logits),
               "no run");
        const double off = t->bad ? 0 : gap(logits, wanted + (size_t)(count - 1) * v, v);
        EXPECT(t, off < 1e-5, "%s at strength %g is off by %.2g behind the prompt", position, strengths[i], off);
        EXPECT(t, t->bad || !then || whole_texts(bed, attachment, &ids, &total, 1, total, step, wanted), "no run");
        for (uint32_t n = count; n < total && !t->bad; n++) {
            next = ids + n;
            EXPECT(t, vks_decoder_run_add(run, &next, &one, step, logits), "no run");
            EXPECT(t, gap(logits, wanted + (size_t)n * v, v) < 1e-5, "%s at strength %g is off by %.2g behind token "
                   "%u", position, strengths[i], gap(logits, wanted + (size_t)n * v, v), n);
        }
        EXPECT(t, i == 0 || vks_decoder_run_graphs(run) == made, "another strength made new graphs");
        made = vks_decoder_run_graphs(run);
    }
    next = ids + count;
    EXPECT(t, t->bad || (vks_decoder_run_begin(plain, total) &&
                         vks_decoder_run_add(plain, &ids, &count, NULL, logits + v)), "no run");
    for (uint32_t n = count; n < total && !t->bad; n++, next++)
        EXPECT(t, vks_decoder_run_add(plain, &next, &one, NULL, logits + v), "no run");
    EXPECT(t, t->bad || !memcmp(logits, logits + v, v * sizeof(*logits)),
           "strength 0 has other bits than no steering");
    vks_decoder_run_destroy(&run);
    vks_decoder_run_destroy(&plain);
    vks_attachment_destroy(&attachment);
    vks_steering_finish(&steering);
    free(wanted);
    free(logits);
}

static void strengths_change_in_recorded_graphs(struct test *t)
{
    struct bed bed;
    if (bed_open(t, &bed, "llama")) {
        strengths_act(t, &bed, "all", 21, 3);
        strengths_act(t, &bed, "last", 21, 0);
        bed.decoder->config.context = CONTEXT;
        strengths_act(t, &bed, "last", 150, 0);  // the last token of the second run, and none of the first
    }
    bed_close(&bed);
}

// The last token moves at every step, so a text that was written token by token had maps at all of them.
static void last_is_each_new_token(struct test *t)
{
    struct bed bed;
    uint32_t step[VKS_STEP_WORDS];
    struct vks_steering steerings[2];
    struct vks_attachment *attachments[2] = {NULL, NULL};
    static const char *const positions[] = {"last", "all"};
    float *logits[2] = {NULL, NULL};
    set_strength(step, 1);
    for (int i = 0; i < 2; i++) {
        CHECK(t, i || bed_open(t, &bed, "llama"));
        CHECK(t, steer(t, &steerings[i], &bed, positions[i]));
        attachments[i] = vks_attachment_create(gpu, (const struct vks_steering *[]){&steerings[i]}, 1);
        struct vks_decoder_run *run = attachments[i] ? run_of(&bed, 1, attachments[i]) : NULL;
        logits[i] = malloc(bed.vocabulary * sizeof(float));
        EXPECT(t, run && logits[i] && vks_decoder_run_begin(run, LENGTH), "no run");
        for (uint32_t n = 0; n < 5 && !t->bad; n++) {
            const int32_t *next = bed.ids[0] + n;
            EXPECT(t, vks_decoder_run_add(run, &next, (const uint32_t[]){1}, step, logits[i]), "no run");
        }
        vks_decoder_run_destroy(&run);
    }
    EXPECT(t, t->bad || !memcmp(logits[0], logits[1], bed.vocabulary * sizeof(float)),
           "token by token, maps at the last token are not those at all");
    for (int i = 0; i < 2; i++) {
        vks_attachment_destroy(&attachments[i]);
        vks_steering_finish(&steerings[i]);
        free(logits[i]);
    }
    bed_close(&bed);
}

// ---- sizes

// Runs of 128 tokens and more rows than one graph sees; a longer text gets larger caches.
static void long_texts_take_several_runs(struct test *t)
{
    struct bed bed;
    CHECK(t, bed_open(t, &bed, "gemma3"));
    bed.decoder->config.context = CONTEXT;
    const uint32_t v = bed.vocabulary, counts[] = {300, 140};
    const int32_t *ids[] = {bed.ids[0], bed.ids[1]};
    float *wanted = malloc((size_t)2 * 300 * v * sizeof(*wanted)), *logits = malloc(2 * v * sizeof(*logits));
    struct vks_decoder_run *run = run_of(&bed, 2, NULL);
    EXPECT(t, run && wanted && logits && whole_texts(&bed, NULL, ids, counts, 2, 300, NULL, wanted), "no run");
    EXPECT(t, t->bad || (vks_decoder_run_begin(run, 20) && vks_decoder_run_begin(run, 300)), "no room");
    EXPECT(t, t->bad || vks_decoder_run_add(run, ids, counts, NULL, logits), "no run");
    for (uint32_t b = 0; b < 2 && !t->bad; b++) {
        const double off = gap(logits + b * v, wanted + ((size_t)b * 300 + counts[b] - 1) * v, v);
        EXPECT(t, off < 1e-5, "text %u of %u tokens is off by %.2g", b, counts[b], off);
    }
    if (!t->bad) {
        const uint32_t more[] = {21, 0};  // 321 of 320
        CHECK_REFUSED(t, vks_decoder_run_add(run, ids, more, NULL, logits), "room");
        CHECK_REFUSED(t, vks_decoder_run_begin(run, CONTEXT + 1), "321 tokens do not fit");
        const int32_t foreign = (int32_t)v, *at = &foreign;
        CHECK(t, vks_decoder_run_begin(run, 9));
        const int32_t *const both[] = {at, at};
        CHECK_REFUSED(t, vks_decoder_run_add(run, both, (const uint32_t[]){1, 0}, NULL, logits), "vocabulary");
    }
    vks_decoder_run_destroy(&run);
    free(wanted);
    free(logits);
    bed_close(&bed);
}

int main(int argc, char **argv)
{
    static const char *const fixtures[] = {"llama", "llama3", "linear", "linear/model.gguf", "qwen2", "window",
                                           "qwen3", "gemma2", "gemma3", "gpt2"};
    static const char *const halves[] = {"llama", "gemma2", "gpt2"};
    struct test t = {0};
    gpu = test_device_open();
    if (!gpu)
        return 1;
    for (size_t i = 0; i < sizeof(fixtures) / sizeof(fixtures[0]); i++) {
        fixture = fixtures[i];
        if (argc < 2 || !strcmp(argv[1], fixture))
            test_run(&t, fixture, caches_change_nothing);
    }
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]) && argc < 2; i++) {
        fixture = halves[i];
        TEST(&t, halves_change_little);
    }
    if (argc > 1)
        return test_device_summary(&t, &gpu);
    TEST(&t, strengths_change_in_recorded_graphs);
    TEST(&t, last_is_each_new_token);
    TEST(&t, long_texts_take_several_runs);
    return test_device_summary(&t, &gpu);
}
