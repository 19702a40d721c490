// Texts of different lengths: however they are padded, sorted and cut into batches, the bits are the same, and the
// work is less.
#include <stdlib.h>

#include "models/decoder.h"
#include "steer/lengths.h"
#include "steer/train.h"
#include "test_device.h"
#include "test_scratch.h"

#define SOURCES 14
#define TARGETS 9
#define LONGEST 61

static struct vks_gpu *gpu;

struct texts {
    struct vks_decoder *decoder;
    int32_t ids[2][SOURCES][LONGEST];
    uint32_t counts[2][SOURCES];
    uint32_t step;     // lengths are multiples of it, or
    uint32_t alike;    // all graphs are of this length
};

static bool texts_open(struct test *t, const char *model, struct texts *texts)
{
    char path[1024];
    snprintf(path, sizeof(path), VKS_TEST_DATA "/language/%s", model);
    *texts = (struct texts){.decoder = vks_decoder_open(test_log(t), gpu, path)};
    uint32_t state = 12345;
    for (uint32_t set = 0; set < 2 && texts->decoder; set++)
        for (uint32_t i = 0; i < SOURCES; i++) {
            // A few are alike to the last token, so that sorting meets ties.
            const bool again = i % 5 == 4;
            texts->counts[set][i] = again ? texts->counts[set][i - 3] : 1 + (i * i * 7 + 5 * set) % LONGEST;
            for (uint32_t k = 0; k < texts->counts[set][i]; k++) {
                state = state * 1664525u + 1013904223u;
                texts->ids[set][i][k] = again ? texts->ids[set][i - 3][k]
                                              : (int32_t)((state >> 8) % texts->decoder->config.vocabulary);
            }
        }
    return texts->decoder != NULL;
}

static bool build(void *priv, struct vks_graph *g, uint32_t batch, uint32_t length, void **out)
{
    const struct texts *texts = priv;
    struct vks_decoder_io *io = vks_arena_alloc(&g->arena, sizeof(*io));
    const struct vks_decoder_params params = {.batch = batch, .length = length ? length : texts->alike};
    *out = io;
    return io && vks_decoder_build(texts->decoder, g, &params, io);
}

static bool feed(void *priv, struct vks_exec *exec, const void *inputs, const struct vks_sample samples[],
                 uint32_t count)
{
    const struct texts *texts = priv;
    const int32_t *ids[SOURCES];
    uint32_t counts[SOURCES];
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = texts->ids[samples[i].set][samples[i].index];
        counts[i] = texts->counts[samples[i].set][samples[i].index];
    }
    return vks_decoder_feed(texts->decoder, exec, inputs, ids, counts);
}

static uint32_t length_of(void *priv, const struct vks_sample *sample)
{
    const struct texts *texts = priv;
    return (texts->counts[sample->set][sample->index] + texts->step - 1) / texts->step * texts->step;
}

// Lengths in steps, or (0) all alike.
static struct vks_subject subject_of(struct test *t, struct texts *texts, uint32_t step, uint32_t alike)
{
    texts->step = step;
    texts->alike = alike;
    return (struct vks_subject){
        .priv = texts,
        .gpu = gpu,
        .log = test_log(t),
        .model = "texts",
        .set_sizes = {SOURCES, TARGETS},
        .build = build,
        .feed = feed,
        .length = step ? length_of : NULL,
    };
}

static const struct { uint32_t step, alike, batch; } ways[] = {
    {0, 62, 3}, {0, 64, 14}, {1, 64, 14}, {4, 64, 14}, {8, 64, 4}, {8, 64, 1},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static void collected_rows_do_not_depend_on_padding(struct test *t)
{
    static const char *const models[] = {"llama", "window"};
    for (int m = 0; m < 2; m++) {
        struct texts texts;
        struct vks_site_list sites = {0};
        CHECK(t, texts_open(t, models[m], &texts));
        CHECK(t, vks_site_list_add(&sites, test_log(t), "model.layers.1.post_attention_layernorm", VKS_SITE_TOKENS,
                                   texts.decoder->config.width));
        CHECK(t, vks_site_list_add(&sites, test_log(t), "model.layers.1.mlp", VKS_SITE_TOKENS,
                                   texts.decoder->config.width));
        const enum vks_pool pools[] = {VKS_POOL_MEAN, VKS_POOL_LAST, VKS_POOL_MAX};
        for (int p = 0; p < (m ? 3 : 1); p++) {
            float *first = NULL;
            for (size_t w = 0; w < WAYS; w++) {
                const struct vks_subject subject = subject_of(t, &texts, ways[w].step, ways[w].alike);
                float *rows = vks_collect(&subject, &sites, VKS_SET_SOURCE, pools[p], ways[w].batch, 0, NULL, NULL);
                EXPECT(t, rows && (!first || memcmp(rows, first, SOURCES * sites.channels * sizeof(*rows)) == 0),
                       "%s, pooling %d: other bits in steps of %u, padded to %u, %u at a time", models[m], p,
                       ways[w].step, ways[w].alike, ways[w].batch);
                if (first)
                    free(rows);
                else
                    first = rows;
            }
            free(first);
        }
        vks_site_list_finish(&sites);
        vks_decoder_close(&texts.decoder);
    }
}

static void trained_maps_do_not_depend_on_padding(struct test *t)
{
    static const struct { uint32_t step, alike, micro; bool recompute, last; } cases[] = {
        {0, 61, 6, false, false}, {0, 64, 6, false, false}, {1, 64, 6, false, false}, {4, 64, 6, false, false},
        {8, 64, 6, true, false},  {4, 64, 3, false, false}, {4, 64, 1, false, false}, {4, 64, 2, true, false},
        {0, 64, 6, false, true},  {4, 64, 6, false, true},  {4, 64, 2, false, true},
    };
    char want[512] = "", path[512];
    struct texts texts;
    CHECK(t, texts_open(t, "window", &texts));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct vks_subject subject = subject_of(t, &texts, cases[i].step, cases[i].alike);
        const bool first = i == 0 || cases[i].last != cases[i - 1].last;
        snprintf(path, sizeof(path), "%s/%zu", scratch, i);
        const struct vks_train_params params = {
            .sites = ".*norm.*",
            .steps = 4,             // of 14 sources 6 a step: two an epoch, in which two are left out
            .batch = 6,
            .micro_batch = cases[i].micro,
            .lr = 0.05,
            .sgd = true,
            .gamma = 0.01,
            .p = 2,
            .pool = cases[i].last ? VKS_POOL_LAST : VKS_POOL_MEAN,
            .position = cases[i].last ? VKS_POSITION_LAST : VKS_POSITION_ALL,
            .seed = 3,
            .recompute = cases[i].recompute,
            .output = path,
        };
        struct vks_train_progress progress;
        const bool trained = vks_train(&subject, &params, &progress) == VKS_TRAIN_DONE;
        EXPECT(t, trained, "case %zu: not trained", i);
        EXPECT(t, !trained || progress.loss != progress.first_loss, "case %zu: nothing was learnt", i);
        EXPECT(t, !trained || first || test_same_files(want, path),
               "other bits in steps of %u, padded to %u, %u at a time%s", cases[i].step, cases[i].alike,
               cases[i].micro, cases[i].recompute ? ", recomputed" : "");
        if (first)
            memcpy(want, path, sizeof(want));
    }
    vks_decoder_close(&texts.decoder);
}

static double work_of(struct test *t, struct texts *texts, uint32_t step, uint32_t micro)
{
    const struct vks_subject subject = subject_of(t, texts, step, LONGEST);
    const struct vks_train_params params = {
        .sites = ".*norm.*", .steps = 1, .batch = SOURCES, .micro_batch = micro, .lr = 1, .p = 2};
    struct vks_train_need need = {0};
    EXPECT(t, vks_train_measure(&subject, &params, &need), "not measured");
    return need.flop;
}

static void less_padding_is_less_work(struct test *t)
{
    struct texts texts;
    CHECK(t, texts_open(t, "llama", &texts));
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < SOURCES; i++)
        tokens += texts.counts[0][i];
    const double share = tokens / (double)(LONGEST * SOURCES);
    const double slices = work_of(t, &texts, 1, 1) / work_of(t, &texts, 0, 1);
    const double whole = work_of(t, &texts, 1, SOURCES) / work_of(t, &texts, 0, SOURCES);
    EXPECT(t, slices < share + 0.03, "text by text it is %.2f of the work, and %.2f are tokens", slices, share);
    EXPECT(t, whole < share + 0.2, "in groups it is %.2f of the work, and %.2f are tokens", whole, share);
    vks_decoder_close(&texts.decoder);
}

static void groups_are_cut_where_it_pays(struct test *t)
{
    enum { COUNT = 60 };
    uint32_t lengths[COUNT], bounds[COUNT];
    uint64_t order[COUNT];
    struct vks_length_group groups[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        lengths[i] = i % 3 == 1 ? 104 : i % 3 == 2 ? 16 : 48;
    vks_lengths_sort(lengths, COUNT, order);
    for (uint32_t i = 0; i < COUNT; i++)
        bounds[i] = lengths[(uint32_t)order[i]];
    EXPECT(t, (uint32_t)order[0] == 1 && (uint32_t)order[1] == 4 && (uint32_t)order[20] == 0, "not stable");
    uint32_t used = vks_lengths_group(bounds, COUNT, COUNT, groups);
    EXPECT(t, used == 3 && groups[0].length == 104 && groups[1].length == 48 && groups[2].length == 16 &&
                  groups[1].first == 20 && groups[2].count == 20, "%u groups", used);
    used = vks_lengths_group(bounds, COUNT, 8, groups);
    for (uint32_t i = 0, next = 0; i < used; i++) {
        EXPECT(t, groups[i].first == next && groups[i].count >= 1 && groups[i].count <= 8 &&
                      groups[i].length >= bounds[next], "group %u: %u samples from %u on", i, groups[i].count,
               groups[i].first);
        next += groups[i].count;
        EXPECT(t, i + 1 < used || next == COUNT, "the groups end at %u", next);
    }
    bounds[1] = bounds[0] = 56;
    used = vks_lengths_group(bounds + 20, 3, 3, groups);
    EXPECT(t, used == 1 && groups[0].count == 3, "3 texts are cut in %u", used);
    // Alike: whole batches.
    memset(bounds, 0, sizeof(bounds));
    used = vks_lengths_group(bounds, COUNT, 16, groups);
    EXPECT(t, used == 4 && groups[3].count == 16 && groups[3].first == 48, "%u groups of alike samples", used);
}

int main(void)
{
    struct test t = {0};
    gpu = test_device_open();
    if (!gpu || !test_scratch_open("lengths"))
        return 1;
    TEST(&t, groups_are_cut_where_it_pays);
    TEST(&t, collected_rows_do_not_depend_on_padding);
    TEST(&t, trained_maps_do_not_depend_on_padding);
    TEST(&t, less_padding_is_less_work);
    test_scratch_close();
    return test_device_summary(&t, &gpu);
}
