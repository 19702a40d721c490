// Evaluation of language models: perplexity against transformers (tests/golden/perplexity.py).
#include <math.h>

#include "api/vksteer.h"
#include "tests/test_scratch.h"

#include <cjson/cJSON.h>

#define DATA VKS_TEST_DATA "/perplexity/"

static vksteer_session *session;
static vksteer_model *model;

static void print(void *priv, enum vksteer_log_level level, const char *message)
{
    test_print(priv, (enum vks_log_level)level, message);
}

// ---- perplexity

#define MOST 8

static size_t read_texts(const struct cJSON *list, const char *texts[MOST])
{
    size_t count = 0;
    for (const struct cJSON *item = list ? list->child : NULL; item && count < MOST; item = item->next)
        texts[count++] = cJSON_GetStringValue(item);
    return count;
}

static double number(const struct cJSON *object, const char *key)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static void check_case(struct test *t, const struct cJSON *row, const char *const *texts, size_t count)
{
    const struct vksteer_use use = {.path = DATA "steering.safetensors", .strength = 1};
    const struct vksteer_reader_params params = {
        .context = (uint32_t)number(row, "context"), .stride = (uint32_t)number(row, "stride"), .steerings = &use,
        .steering_count = 1};
    const float strength = (float)number(row, "strength");
    const char *prompts[MOST];
    const size_t prompt_count = read_texts(cJSON_GetObjectItemCaseSensitive(row, "prompts"), prompts);
    struct vksteer_perplexity got = {0};
    vksteer_reader *reader = vksteer_reader_open(model, &params);
    CHECK(t, reader);
    const struct vksteer_read_params read = {.texts = texts, .prompts = prompt_count ? prompts : NULL, .count = count};
    const enum vksteer_result result = vksteer_read(reader, &read, &strength, &got);
    vksteer_reader_close(&reader);
    CHECK(t, result == VKSTEER_DONE);
    const double want = number(row, "nll");
    if (got.tokens != (uint64_t)number(row, "tokens") || got.windows != (uint64_t)number(row, "windows") ||
        fabs(got.nll - want) > 1e-4 * want || fabs(got.perplexity - exp(got.nll)) > 1e-9 * got.perplexity)
        test_fail(t, __FILE__, __LINE__, "context %u, stride %u, strength %g: %.7f of %llu tokens, not %.7f of %g",
                  params.context, params.stride, strength, got.nll, (unsigned long long)got.tokens, want,
                  number(row, "tokens"));
}

static void perplexity(struct test *t)
{
    size_t size, rows = 0;
    char *text = vks_os_read_file(test_log(t), DATA "cases.jsonl", 1 << 20, &size);
    CHECK(t, text);
    struct cJSON *first = NULL;
    for (char *at = text, *next; !t->bad && (next = strchr(at, '\n')); at = next + 1) {
        struct cJSON *row = cJSON_ParseWithLength(at, (size_t)(next - at));
        const char *texts[MOST];
        if (!first) {
            first = row;
            continue;
        }
        const size_t count = read_texts(cJSON_GetObjectItemCaseSensitive(first, "texts"), texts);
        check_case(t, row, texts, count);
        rows++;
        cJSON_Delete(row);
    }
    cJSON_Delete(first);
    free(text);
    CHECK(t, t->bad || rows >= 8);
}

// Texts one by one are what all of them are, and strength 0 is no steering, bit for bit.
static void bits(struct test *t)
{
    static const char *const texts[] = {"the cat and the dog in the sun", "on and on", "zebra quiz jazz and more of it"};
    const struct vksteer_use use = {.path = DATA "steering.safetensors", .strength = 0};
    struct vksteer_perplexity all, one, off;
    double sum = 0;
    uint64_t tokens = 0;
    vksteer_reader *reader = vksteer_reader_open(model, &(struct vksteer_reader_params){.context = 12});
    vksteer_reader *steered = vksteer_reader_open(model, &(struct vksteer_reader_params){
        .context = 12, .steerings = &use, .steering_count = 1});
    CHECK(t, reader && steered);
    struct vksteer_read_params read = {.texts = texts, .count = 3};
    CHECK(t, vksteer_read(reader, &read, NULL, &all) == VKSTEER_DONE && all.context == 12 && all.stride == 6);
    CHECK(t, vksteer_read(steered, &read, NULL, &off) == VKSTEER_DONE && off.nll == all.nll);
    for (int i = 0; i < 3; i++) {
        read = (struct vksteer_read_params){.texts = &texts[i], .count = 1};
        CHECK(t, vksteer_read(reader, &read, NULL, &one) == VKSTEER_DONE);
        sum += one.nll * (double)one.tokens;
        tokens += one.tokens;
    }
    CHECK(t, tokens == all.tokens && fabs(sum / (double)tokens - all.nll) < 1e-12);
    vksteer_reader_close(&reader);
    vksteer_reader_close(&steered);
}

static bool stop(void *priv, size_t done, size_t windows)
{
    size_t *calls = priv;
    ++*calls;
    return done < windows && *calls < 2;
}

static bool opens(uint32_t context, uint32_t stride)
{
    vksteer_reader *reader = vksteer_reader_open(model, &(struct vksteer_reader_params){
        .context = context, .stride = stride});
    const bool opened = reader != NULL;
    vksteer_reader_close(&reader);
    return opened;
}

static void refused(struct test *t)
{
    const char *text = "";
    struct vksteer_perplexity out;
    size_t calls = 0;
    CHECK_REFUSED(t, opens(1, 0), "windows of 1 tokens");
    CHECK_REFUSED(t, opens(100000, 0), "the model's context");
    CHECK_REFUSED(t, opens(16, 16), "a stride of 16");
    vksteer_reader *reader = vksteer_reader_open(model, &(struct vksteer_reader_params){.context = 4});
    CHECK(t, reader);
    const struct vksteer_read_params nothing = {.texts = &text, .count = 1};
    CHECK_REFUSED(t, vksteer_read(reader, &nothing, NULL, &out) != VKSTEER_FAILED, "longer");
    const char *long_text = "the cat and the dog in the sun, on and on and on and on and on and on and on and on and on and "
                            "on and on and on and on and on and on and on and on and on and on and on and on and on and";
    const struct vksteer_read_params some = {.texts = &long_text, .count = 1, .progress = stop, .priv = &calls};
    CHECK(t, vksteer_read(reader, &some, NULL, &out) == VKSTEER_STOPPED && calls >= 1);
    vksteer_reader_close(&reader);
}

int main(void)
{
    struct test t = {0};
    const struct vksteer_log log = {.print = print, .priv = &t, .level = VKSTEER_LOG_WARN};
    session = vksteer_session_open(&(struct vksteer_session_params){.log = log, .validate = true});
    model = session ? vksteer_model_open(session, &log, VKS_TEST_DATA "/language/llama") : NULL;
    if (!model || !test_scratch_open("eval-text")) {
        printf("FAIL eval-text: %s\n", t.message);
        return 1;
    }
    TEST(&t, perplexity);
    TEST(&t, bits);
    TEST(&t, refused);
    if (vksteer_session_validation_messages(session)) {
        printf("FAIL validation\n");
        t.failed++;
    }
    test_scratch_close();
    vksteer_model_close(&model);
    vksteer_session_close(&session);
    return test_summary(&t);
}
