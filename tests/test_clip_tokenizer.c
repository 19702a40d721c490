// The tokenizer against golden ids from transformers (tests/golden/tokenizer.py), and against hostile input.
//     test_clip_tokenizer [FOLDER]      FOLDER: the root of the source tree, default "."
#include "base/os.h"
#include "base/text.h"
#include "io/json.h"
#include "models/clip_tokenizer.h"
#include "tests/test_scratch.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

static const char *root = ".";

static char *path_of(const char *format, const char *name)
{
    struct vks_text text = {0};
    vks_text_printf(&text, format, root, name);
    return text.data;
}

static bool copy_file(struct test *t, const char *from, const char *to)
{
    size_t size;
    char *data = vks_os_read_file(test_log(t), from, (size_t)1 << 24, &size);
    const bool done = data && vks_os_write_file(test_log(t), to, data, size);
    free(data);
    return done;
}

// A folder in scratch space with the shared vocabulary and one configuration.
static bool build_folder(struct test *t, const char *name, char *folder, size_t capacity)
{
    static const char *const files[] = {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json"};
    snprintf(folder, capacity, "%s/%s", scratch, name);
    bool done = vks_os_make_dirs(test_log(t), folder);
    for (size_t i = 0; done && i < sizeof(files) / sizeof(files[0]); i++) {
        char from[1024], to[1200];
        snprintf(from, sizeof(from), "%s/tests/golden/tokenizer/%s/%s", root,
                 i < 2 && strcmp(name, "json") != 0 ? "base" : name, files[i]);
        snprintf(to, sizeof(to), "%s/%s", folder, files[i]);
        if (vks_os_exists(from))
            done = copy_file(t, from, to);
        else
            done = vks_os_remove(test_log(t), to);
    }
    return done;
}

// U+E0FF stands for NUL.
static size_t restore_nul(char *text)
{
    size_t size = strlen(text), at = 0;
    for (size_t i = 0; i < size; i++) {
        if (!strncmp(text + i, "\xee\x83\xbf", 3)) {
            text[at++] = 0;
            i += 2;
        } else {
            text[at++] = text[i];
        }
    }
    return at;
}

// One string: whole, cut to the model's length, and cut to 5.
static void check_case(struct test *t, const struct vks_clip_tokenizer *tokenizer, struct cJSON *item)
{
    char *text = cJSON_GetArrayItem(item, 0)->valuestring, quoted[160];
    const struct cJSON *want = cJSON_GetArrayItem(item, 1);
    const size_t size = restore_nul(text), total = (size_t)cJSON_GetArraySize(want);
    const size_t lengths[3] = {total + 3, vks_clip_tokenizer_max_length(tokenizer), 5};
    vks_text_quote(text, size, quoted, sizeof(quoted));
    for (int k = 0; k < 3 && !t->bad; k++) {
        const size_t length = lengths[k], kept = total < length ? total : length;
        int32_t *ids = malloc(length * sizeof(*ids));
        size_t used = 0, all = 0;
        EXPECT(t, vks_clip_tokenizer_encode(test_log(t), tokenizer, text, size, ids, length, &used, &all),
               "\"%s\" is refused", quoted);
        EXPECT(t, used == kept && all == total, "\"%s\": %zu of %zu ids, not %zu of %zu", quoted, used, all, kept,
               total);
        const struct cJSON *id = want->child;
        for (size_t i = 0; i < length && !t->bad; i++, id = id ? id->next : NULL) {
            const int32_t expected = i + 1 == kept ? vks_clip_tokenizer_eos(tokenizer)
                                     : i < kept    ? (int32_t)id->valuedouble
                                                   : vks_clip_tokenizer_pad(tokenizer);
            EXPECT(t, ids[i] == expected, "\"%s\": id %zu is %d, not %d", quoted, i, ids[i], expected);
        }
        free(ids);
    }
}

static void check_cases(struct test *t, const char *name, const char *folder)
{
    size_t size, count = 0;
    char *path = path_of("%s/tests/golden/tokenizer/%s.jsonl", name);
    char *text = vks_os_read_file(test_log(t), path, (size_t)1 << 24, &size);
    struct vks_clip_tokenizer *tokenizer = vks_clip_tokenizer_open(test_log(t), folder);
    EXPECT(t, text && tokenizer, "cannot open %s", folder);
    for (char *at = text, *next; !t->bad && (next = strchr(at, '\n')); at = next + 1) {
        struct cJSON *item = cJSON_ParseWithLength(at, (size_t)(next - at));
        if (item)
            check_case(t, tokenizer, item);
        else
            EXPECT(t, false, "%s: line %zu is no JSON", path, count + 1);
        cJSON_Delete(item);
        count++;
    }
    EXPECT(t, count >= 100, "only %zu strings", count);
    vks_clip_tokenizer_close(&tokenizer);
    free(text);
    free(path);
}

static void run_golden(struct test *t, const char *name)
{
    char folder[600];
    CHECK(t, build_folder(t, name, folder, sizeof(folder)));
    check_cases(t, name, folder);
}

static void golden_sd1(struct test *t)
{
    run_golden(t, "sd1");
}

static void golden_sd2(struct test *t)
{
    run_golden(t, "sd2");
}

static void golden_flags(struct test *t)
{
    run_golden(t, "flags");
}

static void golden_json(struct test *t)
{
    run_golden(t, "json");
}

// Whether a file of assets has the size and byte sum that the golden file was made with.
static bool same_mark(const struct vks_json *marks, const char *name)
{
    char *path = path_of("%s/assets/emoji/tokenizer/%s", name);
    const struct cJSON *mark = vks_json_get(marks->root, name);
    size_t size = 0;
    char *data = vks_os_read_file(NULL, path, (size_t)1 << 24, &size);
    double sum = 0;
    for (size_t i = 0; data && i < size; i++)
        sum += (unsigned char)data[i];
    const bool same = data && mark && cJSON_GetArrayItem(mark, 0)->valuedouble == (double)size &&
                      cJSON_GetArrayItem(mark, 1)->valuedouble == sum;
    free(data);
    free(path);
    return same;
}

static void golden_emoji(struct test *t)
{
    char *path = path_of("%s/tests/golden/tokenizer/%s", "emoji.json");
    struct vks_json *marks = vks_json_open(NULL, path);
    free(path);
    const bool same = marks && same_mark(marks, "vocab.json") && same_mark(marks, "merges.txt");
    vks_json_close(&marks);
    if (!same)
        SKIP(t, "the emoji vocabulary is not the one of the golden file; run tests/golden/tokenizer.py");
    char *folder = path_of("%s/assets/emoji/%s", "tokenizer");
    check_cases(t, "emoji", folder);
    free(folder);
}

static bool encodes(struct test *t, const struct vks_clip_tokenizer *tokenizer, const char *text, size_t size)
{
    int32_t ids[77];
    return vks_clip_tokenizer_encode(test_log(t), tokenizer, text, size, ids, 77, NULL, NULL);
}

static void broken_text(struct test *t)
{
    static const char *const broken[] = {"\x80", "a\xff", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                         "\xc0\x80", "\xf0\x82\x82\xac", "ok \xf0\x9f\x98"};
    char folder[600];
    CHECK(t, build_folder(t, "sd1", folder, sizeof(folder)));
    struct vks_clip_tokenizer *tokenizer = vks_clip_tokenizer_open(test_log(t), folder);
    CHECK(t, tokenizer);
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        CHECK_REFUSED(t, encodes(t, tokenizer, broken[i], strlen(broken[i])), "UTF-8");
    int32_t ids[2] = {7, 7};
    CHECK_REFUSED(t, vks_clip_tokenizer_encode(test_log(t), tokenizer, "a", 1, ids, 1, NULL, NULL), "two tokens");
    CHECK(t, vks_clip_tokenizer_encode(test_log(t), tokenizer, "a b", 3, ids, 2, NULL, NULL));
    CHECK(t, ids[0] == vks_clip_tokenizer_bos(tokenizer) && ids[1] == vks_clip_tokenizer_eos(tokenizer));
    vks_clip_tokenizer_close(&tokenizer);
    vks_clip_tokenizer_close(&tokenizer);
}

// Long runs of one thing: no quadratic time, no overflow.
static void long_text(struct test *t)
{
    static const char *const units[] = {"a", " ", "!", "the", "\xcc\x81", "<|endoftext|>", "'", "1", "\xe4\xbd\xa0"};
    const size_t size = (size_t)64 << 10;
    char folder[600], *text = malloc(size + 16);
    CHECK(t, build_folder(t, "sd1", folder, sizeof(folder)));
    struct vks_clip_tokenizer *tokenizer = vks_clip_tokenizer_open(test_log(t), folder);
    CHECK(t, tokenizer && text);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        const size_t unit = strlen(units[i]);
        for (size_t at = 0; at < size; at += unit)
            memcpy(text + at, units[i], unit);
        const double start = vks_os_seconds();
        CHECK(t, encodes(t, tokenizer, text, size / unit * unit));
        EXPECT(t, vks_os_seconds() - start < 5, "64 KiB of \"%s\" take %.1f s", units[i], vks_os_seconds() - start);
    }
    CHECK_REFUSED(t, encodes(t, tokenizer, text, size + 1), "shorten");
    vks_clip_tokenizer_close(&tokenizer);
    free(text);
}

static bool opens(struct test *t, const char *folder)
{
    struct vks_clip_tokenizer *tokenizer = vks_clip_tokenizer_open(test_log(t), folder);
    const bool done = tokenizer != NULL;
    vks_clip_tokenizer_close(&tokenizer);
    return done;
}

// Replaces one file of a good folder and expects one message with `message`.
static void broken_files(struct test *t)
{
    static const struct {
        const char *file, *content, *message;
    } cases[] = {
        {"vocab.json", "", "unexpected end"},
        {"vocab.json", "[]", "not an object"},
        {"vocab.json", "{\"a\": -1}", "no proper id"},
        {"vocab.json", "{\"a\": 1.5}", "no proper id"},
        {"vocab.json", "{\"a\": 1e300}", "no proper id"},
        {"vocab.json", "{\"a\": \"b\"}", "no proper id"},
        {"merges.txt", "a b c\n", "expected two tokens"},
        {"merges.txt", "#version: 0.2\na\n", "line 2"},
        {"merges.txt", "nosuch token\n", "vocabulary lacks"},
        {"tokenizer_config.json", "{\"model_max_length\": 1}", "model_max_length"},
        {"tokenizer_config.json", "{\"bos_token\": 5}", "bos_token"},
        {"tokenizer_config.json", "{\"bos_token\": {\"content\": 5}}", "content"},
        {"tokenizer_config.json", "{\"padding_side\": \"left\"}", "padding_side"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {}}}", "ids as keys"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"1\": {}}}", "content is missing"},
        {"tokenizer_config.json", "{", "not valid JSON"},
        {"special_tokens_map.json", "{\"eos_token\": \"\"}", "eos_token is empty"},
        {"special_tokens_map.json", "{\"pad_token\": [1]}", "pad_token"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char folder[600], path[700];
        CHECK(t, build_folder(t, "sd1", folder, sizeof(folder)));
        if (!strcmp(cases[i].file, "tokenizer_config.json")) {
            snprintf(path, sizeof(path), "%s/special_tokens_map.json", folder);
            CHECK(t, vks_os_remove(test_log(t), path));
        }
        snprintf(path, sizeof(path), "%s/%s", folder, cases[i].file);
        CHECK(t, vks_os_write_file(test_log(t), path, cases[i].content, strlen(cases[i].content)));
        CHECK_REFUSED(t, opens(t, folder), cases[i].message);
    }
    CHECK_REFUSED(t, opens(t, "/no/such/folder"), "neither vocab.json");
}

int main(int argc, char **argv)
{
    struct test t = {0};
    if (argc > 1)
        root = argv[1];
    if (!test_scratch_open("tokenizer"))
        return 1;
    TEST(&t, golden_sd1);
    TEST(&t, golden_sd2);
    TEST(&t, golden_flags);
    TEST(&t, golden_json);
    TEST(&t, golden_emoji);
    TEST(&t, broken_text);
    TEST(&t, long_text);
    TEST(&t, broken_files);
    test_scratch_close();
    return test_summary(&t);
}
