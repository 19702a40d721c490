// Evaluation of language models: perplexity against transformers (tests/golden/perplexity.py); scores by other
// programs, whatever they do; lists of words; plots.
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
    const struct vksteer_read_params read = {
        .texts = texts, .prompts = prompt_count ? prompts : NULL, .count = count};
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
    static const char *const texts[] = {"the cat and the dog in the sun", "on and on", "zebra quiz jazz and more"};
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

// A log that counts the graphs that are recorded.
static void count_graphs(void *priv, enum vksteer_log_level level, const char *message)
{
    (void)level;
    *(int *)priv += !strncmp(message, "graph ", 6);
}

// One reader at changing strengths over changing texts, of other lengths and numbers, gives the bits of a fresh one
// for each, and needs no new graphs for another strength, nor once it has had all texts with its largest graph there.
static void graphs_are_kept(struct test *t)
{
    static const char *const texts[] = {
        "the cat and the dog in the sun", "on and on", "zebra quiz jazz and more", "in the sun there is more of it",
        "on and on and on and on and on and on and on and on and on and on and on and on and on and on and on"};
    static const struct { size_t first, count; } sets[] = {{0, 3}, {1, 4}, {1, 1}, {0, 5}};
    static const float strengths[] = {1, 0, 1000, -0.5f};
    enum { SETS = sizeof(sets) / sizeof(*sets), STRENGTHS = sizeof(strengths) / sizeof(*strengths) };
    const struct vksteer_use use = {.path = DATA "steering.safetensors", .strength = 1};
    const struct vksteer_reader_params params = {.context = 24, .steerings = &use, .steering_count = 1};
    int made = 0, before = 0;
    const struct vksteer_log log = {.print = count_graphs, .priv = &made, .level = VKSTEER_LOG_DEBUG};
    vksteer_model *counted = vksteer_model_open(NULL, &log, VKS_TEST_DATA "/language/llama");
    CHECK(t, counted && vksteer_model_attach(counted, session));
    vksteer_reader *kept = vksteer_reader_open(counted, &params);
    CHECK(t, kept);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < SETS * STRENGTHS; i++) {
            const float strength = strengths[i % STRENGTHS];
            const struct vksteer_read_params read = {.texts = texts + sets[i / STRENGTHS].first,
                                                     .count = sets[i / STRENGTHS].count};
            struct vksteer_perplexity got = {0}, want = {0};
            vksteer_reader *fresh = vksteer_reader_open(model, &params);
            CHECK(t, fresh && vksteer_read(fresh, &read, &strength, &want) == VKSTEER_DONE);
            vksteer_reader_close(&fresh);
            CHECK(t, vksteer_read(kept, &read, &strength, &got) == VKSTEER_DONE && got.tokens == want.tokens);
            EXPECT(t, got.nll == want.nll, "set %d, strength %g: %.17g, not %.17g", i / STRENGTHS, strength, got.nll,
                   want.nll);
            EXPECT(t, made > 0 && (made == before || (round < 2 && i % STRENGTHS == 0)),
                   "round %d, set %d, strength %g: %d new graphs", round, i / STRENGTHS, strength, made - before);
            before = made;
        }
    vksteer_reader_close(&kept);
    vksteer_model_close(&counted);
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
    const char *long_text = "the cat and the dog in the sun, on and on and on and on and on and on and on and on and "
                            "on and on and on and on and on and on and on and on and on and on and on and on and on";
    const struct vksteer_read_params some = {.texts = &long_text, .count = 1, .progress = stop, .priv = &calls};
    CHECK(t, vksteer_read(reader, &some, NULL, &out) == VKSTEER_STOPPED && calls >= 1);
    vksteer_reader_close(&reader);
}

// ---- scores by another program

static struct vksteer_log log_of(struct test *t)
{
    return (struct vksteer_log){.print = print, .priv = t, .level = VKSTEER_LOG_WARN};
}

static bool scores(struct test *t, const char *command, const struct vksteer_sample *samples, size_t count,
                   double *out)
{
    const struct vksteer_log log = log_of(t);
    return vksteer_score(&log, command, samples, count, out) == VKSTEER_DONE;
}

static void scorer(struct test *t)
{
    static const struct vksteer_sample samples[] = {
        {"say \"x\"", "a\nb\t\\ \x01 h\xc3\xa9", 0.5}, {"", "", -1}, {"p", "\xe6\x97\xa5", NAN}};
    double got[3] = {0};
    char command[900];
    size_t size;
    CHECK(t, scores(t, "awk '{ print NR / 4; print \"noise\" >\"/dev/null\" }'", samples, 3, got));
    CHECK(t, got[0] == 0.25 && got[1] == 0.5 && got[2] == 0.75);
    CHECK(t, scores(t, "sed 's/.*/ -1e3 \t/'; echo; echo", samples, 2, got) && got[0] == -1000 && got[1] == -1000);
    CHECK(t, scores(t, "false", samples, 0, got));
    snprintf(command, sizeof(command), "tee '%s' | sed s/.*/1/", in_scratch("lines.jsonl"));
    CHECK(t, scores(t, command, samples, 3, got));
    char *lines = vks_os_read_file(test_log(t), in_scratch("lines.jsonl"), 1 << 20, &size);
    CHECK(t, lines);
    struct cJSON *first = cJSON_ParseWithLength(lines, strcspn(lines, "\n"));
    CHECK(t, first);
    CHECK_STR(t, cJSON_GetStringValue(cJSON_GetObjectItem(first, "prompt")), samples[0].prompt);
    CHECK_STR(t, cJSON_GetStringValue(cJSON_GetObjectItem(first, "text")), samples[0].text);
    CHECK(t, number(first, "strength") == 0.5);
    cJSON_Delete(first);
    struct cJSON *last = cJSON_Parse(strstr(lines, "{\"prompt\": \"p\""));
    CHECK(t, last);
    CHECK(t, cJSON_IsNull(cJSON_GetObjectItem(last, "strength")));
    CHECK_STR(t, cJSON_GetStringValue(cJSON_GetObjectItem(last, "text")), samples[2].text);
    cJSON_Delete(last);
    free(lines);
}

static void bad_scorers(struct test *t)
{
    static const struct {
        const char *command, *message;
    } cases[] = {
        {"cat >/dev/null; echo 1", "prints 1 numbers for 2000 texts"},
        {"true", "prints 0 numbers"},
        {"exec <&-; sleep 0.1", "prints 0 numbers"},
        {"head -n 1 >/dev/null; echo 1; echo 2", "prints 2 numbers"},
        {"cat", "prints \"{"},
        {"cat >/dev/null; seq 2001", "more than 2000 lines"},
        {"sed 's/.*/nan/'", "prints \"nan\" in line 1"},
        {"sed 's/.*/1 2/'", "prints \"1 2\""},
        {"echo 1; echo; yes 1 | head -n 1999", "prints \"\" in line 2"},
        {"exit 3", "exit code 3"},
        {"yes 1 | head -n 2000; exit 1", "exit code 1"},
        {"kill -9 $$", "signal 9"},
        {"./no-such-scorer 2>/dev/null", "exit code 127"},
        {"yes", "wrote more than"},
    };
    enum { COUNT = 2000 };
    struct vksteer_sample *samples = malloc(COUNT * sizeof(*samples));
    static double got[COUNT];
    char text[401];
    memset(text, 'x', 400);
    text[400] = 0;
    CHECK(t, samples);
    for (int i = 0; i < COUNT; i++)
        samples[i] = (struct vksteer_sample){"p", text, 1};  // more than a pipe holds
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !t->bad; i++) {
        t->messages = 0;
        const bool done = scores(t, cases[i].command, samples, COUNT, got);
        if (done || t->messages != 1 || !strstr(t->message, cases[i].message))
            test_fail(t, __FILE__, __LINE__, "%s: %s, %d messages, \"%s\" expected", cases[i].command,
                      done ? "taken" : "refused", t->messages, cases[i].message);
        else
            t->message[0] = 0;
    }
    if (!t->bad)
        CHECK(t, scores(t, "sed 's/.*/2/'", samples, COUNT, got) && got[COUNT - 1] == 2);
    free(samples);
}

// ---- words

static bool opens_words(struct test *t, const char *text, vksteer_words **words)
{
    const struct vksteer_log log = log_of(t);
    if (!vks_os_write_file(test_log(t), in_scratch("words.txt"), text, strlen(text)))
        return false;
    *words = vksteer_words_open(&log, in_scratch("words.txt"));
    return *words != NULL;
}

static void words(struct test *t)
{
    static const struct {
        const char *text;
        double words, listed;
    } cases[] = {
        {"A Fool, a FOOLISH fool!", 5, 2},
        {"damn it: Damn\xe2\x80\x99 it, damn   it", 6, 3},
        {"don\xe2\x80\x99t DON'T dont 'don't'", 4, 3},
        {"STRASSE stra\xc3\x9f" "e", 2, 2},
        {"caf\x65\xcc\x81 CAF\xc3\x89 cafes", 3, 2},
        {"\xd0\x94\xd0\xa3\xd0\xa0\xd0\x90\xd0\x9a", 1, 1},
        {"fool_x foolx x1 10 fool2", 5, 0},
        {"damn", 1, 0},
        {"... !", 0, 0},
        {"", 0, 0},
    };
    const struct vksteer_log log = log_of(t);
    struct vksteer_survey got;
    vksteer_words *list = NULL;
    CHECK(t, opens_words(t, "fool\r\n\n  Damn IT \nDon't\nStra\xc3\x9f" "e\ncaf\xc3\xa9\n"
                            "\xd0\xb4\xd1\x83\xd1\x80\xd0\xb0\xd0\xba", &list));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !t->bad; i++) {
        CHECK(t, vksteer_survey(&log, list, &cases[i].text, 1, &got));
        const double rate = cases[i].words ? 100 * cases[i].listed / cases[i].words : NAN;
        if ((double)got.words != cases[i].words || got.listed != (cases[i].listed > 0) ||
            (cases[i].words && fabs(got.rate - rate) > 1e-9) || got.empty != !cases[i].words)
            test_fail(t, __FILE__, __LINE__, "\"%s\": %g words, %g listed in 100", cases[i].text, (double)got.words,
                      got.rate);
    }
    static const char *const several[] = {"a b c a b", "A b, d", "", "fool"};
    CHECK(t, vksteer_survey(&log, list, several, 4, &got));
    CHECK(t, got.words == 9 && got.distinct2 == 4.0 / 6 && got.empty == 0.25 && got.listed == 0.25);
    CHECK(t, vksteer_survey(&log, NULL, several, 4, &got) && isnan(got.listed) && isnan(got.rate));
    CHECK(t, vksteer_survey(&log, NULL, several + 2, 2, &got) && isnan(got.distinct2) && got.empty == 0.5);
    vksteer_words_close(&list);
    CHECK_REFUSED(t, opens_words(t, " \n,,\n", &list), "holds no words");
    CHECK_REFUSED(t, opens_words(t, "a\xff", &list), "UTF-8");
    CHECK_REFUSED(t, vksteer_words_open(&log, in_scratch("nowhere")) != NULL, "nowhere");
}

// ---- plots

static bool draws(struct test *t, const struct vksteer_plot_params *params, struct vksteer_image *image)
{
    const struct vksteer_log log = log_of(t);
    return vksteer_plot(&log, params, image);
}

// The first row, from the top of the picture, in which a column of pixels is as blue as the first curve.
static uint32_t blue_row(const struct vksteer_image *image, uint32_t x)
{
    for (uint32_t y = 60; y < image->height; y++) {
        const uint8_t *at = image->rgb + 3 * ((size_t)y * image->width + x);
        if (at[0] < 60 && at[2] > 140)
            return y;
    }
    return image->height;
}

static void plots(struct test *t)
{
    static const double x[] = {0, 0.5, 1, 1.5}, y[] = {1, 3, NAN, 2}, flat[4], huge[] = {1, INFINITY, 1e30, 2};
    const struct vksteer_series series[] = {{"rising", y}, {"flat", flat}, {"huge", huge}};
    struct vksteer_plot_params params = {
        .x_name = "strength", .x = x, .count = 4, .series = series, .series_count = 3};
    struct vksteer_image image;
    CHECK(t, draws(t, &params, &image) && image.width == 960 && image.height > 900);
    // The line from the first point rises to the second, which no line leaves.
    const uint32_t left = 960 / 4, middle = 960 / 3;
    CHECK(t, blue_row(&image, middle) < blue_row(&image, left) && blue_row(&image, left) < 360);
    CHECK(t, blue_row(&image, 960 / 2) > 360);
    free(image.rgb);
    params.title = "one";
    params.count = params.series_count = 1;
    CHECK(t, draws(t, &params, &image));
    free(image.rgb);
    params.count = 0;
    CHECK_REFUSED(t, draws(t, &params, &image), "0 points");
    params.count = 1;
    params.width = 100;
    CHECK_REFUSED(t, draws(t, &params, &image), "100 x");
    params.width = 0;
    params.panel = 1u << 31;
    params.series_count = 2;
    CHECK_REFUSED(t, draws(t, &params, &image), "960 x 4294967");
    params.panel = 0;
    params.x = y + 2;
    CHECK_REFUSED(t, draws(t, &params, &image), "no place");
    params.x = &(double){1e200};
    CHECK_REFUSED(t, draws(t, &params, &image), "no place");
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
    TEST(&t, graphs_are_kept);
    TEST(&t, refused);
    TEST(&t, scorer);
    TEST(&t, bad_scorers);
    TEST(&t, words);
    TEST(&t, plots);
    if (vksteer_session_validation_messages(session)) {
        printf("FAIL validation\n");
        t.failed++;
    }
    test_scratch_close();
    vksteer_model_close(&model);
    vksteer_session_close(&session);
    return test_summary(&t);
}
