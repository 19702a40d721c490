// Tokenizers of language models against golden files of `tokenizers` (tests/golden/language_tokenizers.py), their
// streams and settings, long texts, and files that are refused.
#include "base/os.h"
#include "io/gguf.h"
#include "io/json.h"
#include "models/tokenizer.h"
#include "tests/test.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#define DATA VKS_TEST_DATA "/tokenizers/"

static char scratch[512];

// ---- golden files

// The bytes of a hex string, in place; how many.
static size_t unhex(char *text)
{
    size_t size = 0;
    for (const char *at = text; at[0] && at[1]; at += 2) {
        unsigned byte = 0;
        sscanf(at, "%2x", &byte);
        text[size++] = (char)byte;
    }
    return size;
}

// U+E0FF stands for NUL.
static size_t restore_nul(char *text)
{
    size_t size = strlen(text), at = 0;
    for (size_t i = 0; i < size; i++) {
        const bool nul = !strncmp(text + i, "\xee\x83\xbf", 3);
        text[at++] = nul ? 0 : text[i];
        i += nul ? 2 : 0;
    }
    return at;
}

static bool same_ids(const struct vks_ids *ids, const struct cJSON *want)
{
    const struct cJSON *id = want->child;
    size_t i = 0;
    for (; id && i < ids->count && ids->items[i] == (int32_t)id->valuedouble; id = id->next)
        i++;
    return !id && i == ids->count;
}

static bool stream(struct test *t, const struct vks_tokenizer *tokenizer, const struct vks_ids *ids, bool skip,
                   struct vks_text *out)
{
    struct vks_tokenizer_stream *s = vks_tokenizer_stream_open(test_log(t), tokenizer, skip);
    bool done = s != NULL;
    for (size_t i = 0; i < ids->count && done; i++)
        done = vks_tokenizer_stream_add(test_log(t), s, ids->items[i], out) &&
               vks_utf8_check(out->data ? out->data : "", out->length) == out->length;
    done = done && vks_tokenizer_stream_end(test_log(t), s, out);
    vks_tokenizer_stream_close(&s);
    return done;
}

// The text of ids, all at once and one by one.
static void check_decode(struct test *t, const struct vks_tokenizer *tokenizer, const struct vks_ids *ids, bool skip,
                         struct cJSON *want, const char *quoted)
{
    struct vks_text whole = {0}, pieces = {0};
    const size_t size = restore_nul(want->valuestring);
    EXPECT(t, vks_tokenizer_decode(test_log(t), tokenizer, ids->items, ids->count, skip, &whole) &&
                  stream(t, tokenizer, ids, skip, &pieces), "\"%s\" does not decode", quoted);
    EXPECT(t, whole.length == size && (!size || !memcmp(whole.data, want->valuestring, size)),
           "\"%s\" decodes to \"%s\", not \"%s\"", quoted, whole.data ? whole.data : "", want->valuestring);
    EXPECT(t, pieces.length == size && (!size || !memcmp(pieces.data, want->valuestring, size)),
           "\"%s\" decodes to \"%s\" one by one", quoted, pieces.data ? pieces.data : "");
    vks_text_finish(&whole);
    vks_text_finish(&pieces);
}

// [hex of the text, ids, decoded text, decoded without special tokens]; the last two may not be there.
static void check_case(struct test *t, const struct vks_tokenizer *tokenizer, struct cJSON *item)
{
    char *text = cJSON_GetArrayItem(item, 0)->valuestring, quoted[120];
    const size_t size = unhex(text);
    struct vks_ids ids = {0};
    vks_text_quote(text, size, quoted, sizeof(quoted));
    EXPECT(t, vks_tokenizer_encode(test_log(t), tokenizer, NULL, text, size, &ids), "\"%s\" is refused", quoted);
    if (!t->bad && !same_ids(&ids, cJSON_GetArrayItem(item, 1))) {
        struct vks_text got = {0};
        for (size_t i = 0; i < ids.count; i++)
            vks_text_printf(&got, " %d", ids.items[i]);
        char *want = cJSON_PrintUnformatted(cJSON_GetArrayItem(item, 1));
        EXPECT(t, false, "\"%s\" has ids%s, not %s", quoted, got.data ? got.data : " none", want);
        cJSON_free(want);
        vks_text_finish(&got);
    }
    for (int skip = 0; skip < 2 && cJSON_GetArraySize(item) == 4 && !t->bad; skip++)
        check_decode(t, tokenizer, &ids, skip, cJSON_GetArrayItem(item, 2 + skip), quoted);
    free(ids.items);
}

// Calls `each` for every line of a file of JSON; how many there were.
static size_t each_line(struct test *t, const char *path,
                        void (*each)(struct test *t, void *priv, struct cJSON *item), void *priv)
{
    size_t size, count = 0;
    char *text = vks_os_read_file(test_log(t), path, (size_t)1 << 24, &size);
    EXPECT(t, text, "cannot read %s", path);
    for (char *at = text, *next; !t->bad && (next = strchr(at, '\n')); at = next + 1) {
        struct cJSON *item = cJSON_ParseWithLength(at, (size_t)(next - at));
        if (item)
            each(t, priv, item);
        else
            EXPECT(t, false, "%s: line %zu is no JSON", path, count + 1);
        cJSON_Delete(item);
        count++;
    }
    free(text);
    return count;
}

static void one_case(struct test *t, void *priv, struct cJSON *item)
{
    check_case(t, priv, item);
}

// Takes the tokenizer.
static void check_cases(struct test *t, struct vks_tokenizer *tokenizer, const char *cases, size_t least)
{
    EXPECT(t, tokenizer, "the tokenizer of %s does not open", cases);
    if (tokenizer) {
        const size_t count = each_line(t, cases, one_case, tokenizer);
        EXPECT(t, count >= least, "only %zu cases", count);
    }
    vks_tokenizer_close(&tokenizer);
}

static struct vks_tokenizer *open_gguf(struct test *t, const char *path)
{
    struct vks_gguf *file = vks_gguf_open(test_log(t), path);
    struct vks_tokenizer *tokenizer = file ? vks_tokenizer_from_gguf(test_log(t), file) : NULL;
    vks_gguf_close(&file);
    return tokenizer;
}

static void golden_bytes(struct test *t)
{
    check_cases(t, vks_tokenizer_open(test_log(t), DATA "bytes.json"), DATA "bytes.jsonl", 400);
}

static void golden_pieces(struct test *t)
{
    check_cases(t, vks_tokenizer_open(test_log(t), DATA "pieces.json"), DATA "pieces.jsonl", 400);
}

static void golden_unigram(struct test *t)
{
    check_cases(t, vks_tokenizer_open(test_log(t), DATA "unigram.json"), DATA "unigram.jsonl", 400);
}

static void golden_gguf_bytes(struct test *t)
{
    check_cases(t, open_gguf(t, DATA "smollm.gguf"), DATA "smollm.jsonl", 350);
}

static void golden_gguf_pieces(struct test *t)
{
    check_cases(t, open_gguf(t, DATA "pieces.gguf"), DATA "pieces.jsonl", 400);
}

// ---- parts of tokenizer.json

// A tokenizer of bytes alone with what `parts` has beside the model, unless they have one. In its ids byte 1 marks
// all characters of a piece but the first.
static struct vks_tokenizer *with_parts(struct test *t, const char *parts)
{
    struct vks_text json = {0};
    if (strstr(parts, "\"model\":"))
        return vks_tokenizer_parse(test_log(t), "parts", parts, strlen(parts));
    vks_text_add_str(&json, "{\"model\":{\"type\":\"BPE\",\"continuing_subword_prefix\":\"\\u0001\","
                            "\"byte_fallback\":true,\"merges\":[],\"vocab\":{");
    for (int i = 0; i < 256; i++)
        vks_text_printf(&json, "%s\"<0x%02X>\":%d", i ? "," : "", i, i);
    vks_text_printf(&json, "}}%s%s", parts[1] == '}' ? "" : ",", parts + 1);
    struct vks_tokenizer *tokenizer = vks_tokenizer_parse(test_log(t), "parts", json.data, json.length);
    vks_text_finish(&json);
    return tokenizer;
}

static void one_tokenizer(struct test *t, void *priv, struct cJSON *item)
{
    (void)priv;
    char *parts = cJSON_PrintUnformatted(cJSON_GetObjectItem(item, "parts"));
    struct vks_tokenizer *tokenizer = with_parts(t, parts);
    EXPECT(t, tokenizer, "%s is refused", parts);
    struct cJSON *one = cJSON_GetObjectItem(item, "cases")->child;
    for (; one && !t->bad; one = one->next)
        check_case(t, tokenizer, one);
    if (t->bad)
        printf("# with %s\n", parts);
    vks_tokenizer_close(&tokenizer);
    cJSON_free(parts);
}

static void golden_parts(struct test *t)
{
    const size_t count = each_line(t, DATA "parts.jsonl", one_tokenizer, NULL);
    EXPECT(t, count >= 140, "only %zu tokenizers", count);
}

// ---- settings and questions

static size_t encode(struct test *t, const struct vks_tokenizer *tokenizer, struct vks_encode how, const char *text,
                     int32_t *out, size_t capacity)
{
    struct vks_ids ids = {0};
    EXPECT(t, vks_tokenizer_encode(test_log(t), tokenizer, &how, text, strlen(text), &ids), "%s is refused", text);
    for (size_t i = 0; i < ids.count && i < capacity; i++)
        out[i] = ids.items[i];
    free(ids.items);
    return ids.count;
}

static void bare_and_literal(struct test *t)
{
    int32_t ids[64];
    struct vks_tokenizer *tokenizer = vks_tokenizer_open(test_log(t), DATA "bytes.json");
    CHECK(t, tokenizer);
    const int32_t begin = vks_tokenizer_find(tokenizer, "<|begin|>"), tool = vks_tokenizer_find(tokenizer, "<tool>");
    EXPECT(t, begin == 0 && tool == 700 && vks_tokenizer_find(tokenizer, "none such") == -1, "%d %d", begin, tool);
    EXPECT(t, vks_tokenizer_is_special(tokenizer, begin) && !vks_tokenizer_is_special(tokenizer, tool) &&
                  !vks_tokenizer_is_special(tokenizer, 5) && !vks_tokenizer_is_special(tokenizer, -1), "special");
    EXPECT(t, vks_tokenizer_size(tokenizer) == 706 && !vks_tokenizer_text(tokenizer, 706), "size");
    EXPECT(t, !strcmp(vks_tokenizer_text(tokenizer, tool), "<tool>"), "text");
    EXPECT(t, encode(t, tokenizer, (struct vks_encode){0}, "<|end|><tool>", ids, 64) == 3 && ids[0] == begin &&
                  ids[1] == 1 && ids[2] == tool, "with all");
    EXPECT(t, encode(t, tokenizer, (struct vks_encode){.bare = true}, "<|end|><tool>", ids, 64) == 2, "bare");
    const size_t count = encode(t, tokenizer, (struct vks_encode){.literal = true}, "<|end|><tool>", ids, 64);
    EXPECT(t, count > 4 && ids[0] == begin && ids[1] != 1 && ids[count - 1] == tool, "literal: %zu", count);
    EXPECT(t, encode(t, tokenizer, (struct vks_encode){.bare = true}, "", ids, 64) == 0, "empty");
    vks_tokenizer_close(&tokenizer);
    vks_tokenizer_close(&tokenizer);
}

static void put(struct test *t, const char *name, const char *content, size_t size)
{
    char path[700];
    snprintf(path, sizeof(path), "%s/%s", scratch, name);
    EXPECT(t, vks_os_write_file(test_log(t), path, content, size), "cannot write %s", path);
}

static void folder(struct test *t)
{
    static const char generation[] = "{\"eos_token_id\": [5, 7]}";
    static const char config[] = "{\"bos_token\": \"<|begin|>\", \"eos_token\": {\"content\": \"<|end|>\"}, "
                                 "\"pad_token\": null, \"chat_template\": \"{{ messages }}\"}";
    size_t size;
    char *whole = vks_os_read_file(test_log(t), DATA "bytes.json", (size_t)1 << 24, &size);
    CHECK(t, whole);
    put(t, "tokenizer.json", whole, size);
    put(t, "tokenizer_config.json", config, strlen(config));
    free(whole);
    put(t, "generation_config.json", generation, strlen(generation));
    struct vks_tokenizer *tokenizer = vks_tokenizer_open(test_log(t), scratch);
    CHECK(t, tokenizer);
    for (int32_t id = -1; id < 9; id++)
        EXPECT(t, vks_tokenizer_ends(tokenizer, id) == (id == 1 || id == 5 || id == 7), "end %d", id);
    const struct vks_tokenizer_names *names = vks_tokenizer_names(tokenizer);
    EXPECT(t, names->bos == 0 && names->eos == 1 && names->pad == -1 && names->unknown == -1, "names");
    EXPECT(t, names->chat_template && !strcmp(names->chat_template, "{{ messages }}"), "template");
    vks_tokenizer_close(&tokenizer);
    tokenizer = open_gguf(t, DATA "pieces.gguf");
    CHECK(t, tokenizer);
    names = vks_tokenizer_names(tokenizer);
    EXPECT(t, names->bos == 1 && names->eos == 2 && names->pad == -1 && names->unknown == 0, "names of a GGUF file");
    vks_tokenizer_close(&tokenizer);
}

// ---- GGUF files made here

static void add_number(struct vks_text *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        vks_text_add(out, &(char){(char)(value >> 8 * i)}, 1);
}

static void add_string(struct vks_text *out, const char *text)
{
    add_number(out, strlen(text), 8);
    vks_text_add_str(out, text);
}

// A key and the number of its kind: 4 u32, 8 string; of an array 9 and that of its elements, and how many.
static void add_key(struct vks_text *out, const char *key, int kind, int item, uint64_t count)
{
    add_string(out, key);
    add_number(out, (uint64_t)kind, 4);
    if (kind == 9) {
        add_number(out, (uint64_t)item, 4);
        add_number(out, count, 8);
    }
}

// A byte-level tokenizer of "a", "b", "ab" and a token that ends a turn; `pre` may be NULL.
static struct vks_tokenizer *make_gguf(struct test *t, const char *pre)
{
    static const char *const tokens[] = {"a", "b", "ab", "<end_of_turn>", "<|end|>"};
    static const int kinds[] = {1, 1, 1, 3, 4};
    char path[700];
    struct vks_text out = {0};
    vks_text_add_str(&out, "GGUF");
    add_number(&out, 3, 4);
    add_number(&out, 0, 8);
    add_number(&out, pre ? 6 : 5, 8);
    add_key(&out, "tokenizer.ggml.model", 8, 0, 0);
    add_string(&out, "gpt2");
    add_key(&out, "tokenizer.ggml.tokens", 9, 8, 5);
    for (int i = 0; i < 5; i++)
        add_string(&out, tokens[i]);
    add_key(&out, "tokenizer.ggml.token_type", 9, 4, 5);
    for (int i = 0; i < 5; i++)
        add_number(&out, (uint64_t)kinds[i], 4);
    add_key(&out, "tokenizer.ggml.merges", 9, 8, 1);
    add_string(&out, "a b");
    add_key(&out, "tokenizer.ggml.bos_token_id", 4, 0, 0);
    add_number(&out, 0, 4);
    if (pre) {
        add_key(&out, "tokenizer.ggml.pre", 8, 0, 0);
        add_string(&out, pre);
    }
    put(t, "made.gguf", out.data, out.length);
    vks_text_finish(&out);
    snprintf(path, sizeof(path), "%s/made.gguf", scratch);
    return open_gguf(t, path);
}

// Every name of a pre-tokenizer: its expressions compile, and texts of these begin with bos where they should.
static void known_names(struct test *t)
{
    static const char *const plain[] = {
        "default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "roberta-bpe", "smollm",
        "starcoder", "refact", "codeshell", "command-r", "exaone", "minerva-7b", "dbrx", "smaug-bpe", "chatglm-bpe",
        "glm4", "qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "qwen35", "gpt-4o", "llama4",
        "deepseek-v3",
        "deepseek-coder", "falcon", "bloom", "poro-chat", "gpt3-finnish", "viking", NULL};
    static const char *const with_bos[] = {"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2", "tekken",
                                           NULL};
    for (int bos = 0; bos < 2; bos++) {
        for (const char *const *name = bos ? with_bos : plain; *name; name++) {
            int32_t ids[8];
            struct vks_tokenizer *tokenizer = make_gguf(t, *name);
            EXPECT(t, tokenizer, "%s is refused", *name);
            const struct vks_encode how = {0};
            const size_t count = tokenizer ? encode(t, tokenizer, how, "ab 1<end_of_turn>", ids, 8) : 0;
            EXPECT(t, count == 2 + (size_t)bos && ids[bos] == 2 && ids[bos + 1] == 3, "%s: %zu ids", *name, count);
            EXPECT(t, !tokenizer || (vks_tokenizer_ends(tokenizer, 3) && !vks_tokenizer_ends(tokenizer, 4)), "ends");
            vks_tokenizer_close(&tokenizer);
        }
    }
    struct vks_tokenizer *tokenizer = make_gguf(t, NULL);
    EXPECT(t, tokenizer, "no name is refused");
    vks_tokenizer_close(&tokenizer);
}

// ---- streams

// What has come out after each id.
static void steps(struct test *t, const struct vks_tokenizer *tokenizer, const int32_t *ids, size_t count,
                  const char *const *want)
{
    struct vks_text out = {0};
    struct vks_tokenizer_stream *s = vks_tokenizer_stream_open(test_log(t), tokenizer, false);
    CHECK(t, s);
    for (size_t i = 0; i <= count && !t->bad; i++) {
        EXPECT(t, i < count ? vks_tokenizer_stream_add(test_log(t), s, ids[i], &out)
                            : vks_tokenizer_stream_end(test_log(t), s, &out), "step %zu fails", i);
        EXPECT(t, !strcmp(out.data ? out.data : "", want[i]), "step %zu: \"%s\", not \"%s\"", i,
               out.data ? out.data : "", want[i]);
    }
    vks_text_finish(&out);
    vks_tokenizer_stream_close(&s);
}

#define BAD "\xef\xbf\xbd"

static void partial_characters(struct test *t)
{
    // U+1F600, then a lead byte that nothing follows, then "é" whose first byte is there twice.
    static const int32_t fallback[] = {0xf0, 0x9f, 0x98, 0x80, 0xe2, 'a', 0xc3, 0xc3, 0xa9};
    static const char *const early[] = {"", "", "", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80",
                                        "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80",
                                        "\xf0\x9f\x98\x80" BAD BAD BAD BAD BAD};
    struct vks_tokenizer *tokenizer =
        with_parts(t, "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"}]}}");
    CHECK(t, tokenizer);
    steps(t, tokenizer, fallback, 9, early);
    struct vks_text whole = {0};  // at once, a run that is no UTF-8 is so in all of its bytes
    EXPECT(t, vks_tokenizer_decode(test_log(t), tokenizer, fallback, 9, false, &whole) && whole.length == 27 &&
                  !memcmp(whole.data, early[9] + 4, 15) && !memcmp(whole.data + 12, early[9] + 4, 15), "at once");
    vks_text_finish(&whole);
    vks_tokenizer_close(&tokenizer);

    tokenizer = vks_tokenizer_open(test_log(t), DATA "bytes.json");
    CHECK(t, tokenizer);
    static const char *const names[] = {"\xc3\xb0", "\xc4\x8c", "\xc3\xa2", "a", "\xc3\x83", "\xc3\x83", "\xc2\xa9"};
    int32_t ids[7];
    for (int i = 0; i < 7; i++)
        ids[i] = vks_tokenizer_find(tokenizer, names[i]);  // f0, 0c, e2, a, c3, c3, a9
    static const char *const bytes[] = {"", "\xef\xbf\xbd\f", "\xef\xbf\xbd\f", "\xef\xbf\xbd\f\xef\xbf\xbd" "a",
                                        "\xef\xbf\xbd\f\xef\xbf\xbd" "a",
                                        "\xef\xbf\xbd\f\xef\xbf\xbd" "a\xef\xbf\xbd",
                                        "\xef\xbf\xbd\f\xef\xbf\xbd" "a\xef\xbf\xbd\xc3\xa9",
                                        "\xef\xbf\xbd\f\xef\xbf\xbd" "a\xef\xbf\xbd\xc3\xa9"};
    steps(t, tokenizer, ids, 7, bytes);
    static const char *const held[] = {"", "\xef\xbf\xbd"};
    steps(t, tokenizer, ids, 1, held);
    vks_tokenizer_close(&tokenizer);
}

// ---- long and broken texts

static void long_texts(struct test *t)
{
    static const char *const files[] = {DATA "bytes.json", DATA "pieces.json", DATA "unigram.json"};
    static const char *const units[] = {"a", " ", "\n", "the ", "\xcc\x81\xcc\xa7", "<tool>", "1", "\xe4\xbd\xa0",
                                        "\xf0", "\xe2\x96\x81", "<|begin|", "!"};
    const size_t size = (size_t)1 << 18;  // what takes quadratic time takes minutes
    char *text = malloc(size + 16);
    CHECK(t, text);
    for (size_t f = 0; f < 3; f++) {
        struct vks_tokenizer *tokenizer = vks_tokenizer_open(test_log(t), files[f]);
        CHECK(t, tokenizer);
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
            const size_t unit = strlen(units[i]);
            for (size_t at = 0; at < size; at += unit)
                memcpy(text + at, units[i], unit);
            struct vks_ids ids = {0};
            struct vks_text out = {0};
            const double start = vks_os_seconds();
            CHECK(t, vks_tokenizer_encode(test_log(t), tokenizer, NULL, text, size / unit * unit, &ids));
            CHECK(t, vks_tokenizer_decode(test_log(t), tokenizer, ids.items, ids.count, false, &out));
            const double seconds = vks_os_seconds() - start;
            EXPECT(t, seconds < 4, "%s: 256 KiB of \"%s\" takes %.1f s", files[f], units[i], seconds);
            free(ids.items);
            vks_text_finish(&out);
        }
        vks_tokenizer_close(&tokenizer);
    }
    free(text);
}

static void odd_ids(struct test *t)
{
    static const int32_t ids[] = {-1, INT32_MIN, INT32_MAX, 706, 100000};
    struct vks_text out = {0};
    struct vks_tokenizer *tokenizer = vks_tokenizer_open(test_log(t), DATA "bytes.json");
    CHECK(t, tokenizer);
    CHECK(t, vks_tokenizer_decode(test_log(t), tokenizer, ids, 5, false, &out) && !out.length);
    vks_text_finish(&out);
    vks_tokenizer_close(&tokenizer);
}

static void endless_expression(struct test *t)
{
    struct vks_tokenizer *tokenizer =
        with_parts(t, "{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
                      "\"pattern\":{\"Regex\":\"^((a+)+)+$\"}}}");
    CHECK(t, tokenizer);
    char text[64];
    memset(text, 'a', 64);
    text[63] = '!';
    struct vks_ids ids = {0};
    CHECK_REFUSED(t, vks_tokenizer_encode(test_log(t), tokenizer, NULL, text, 64, &ids), "takes too long");
    free(ids.items);
    vks_tokenizer_close(&tokenizer);
}

// ---- refused files

static bool parses(struct test *t, const char *json)
{
    struct vks_tokenizer *tokenizer = vks_tokenizer_parse(test_log(t), "x.json", json, strlen(json));
    const bool done = tokenizer != NULL;
    vks_tokenizer_close(&tokenizer);
    return done;
}

static void refused_files(struct test *t)
{
    static const char *const cases[][2] = {
        {"", "unexpected end"},
        {"[]", "model is missing"},
        {"{\"model\":{\"type\":\"WordPiece\"}}", "model WordPiece is not supported"},
        {"{\"model\":{\"type\":\"BPE\"}}", "not an object of ids"},
        {"{\"model\":{\"vocab\":{}}}", "not supported"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "merges is not an array"},
        {"{\"model\":{\"merges\":[],\"vocab\":{\"a\":-1}}}", "no proper id"},
        {"{\"model\":{\"merges\":[],\"vocab\":{\"a\":4194304}}}", "no proper id"},
        {"{\"model\":{\"merges\":[],\"vocab\":{\"a\":0.5}}}", "no proper id"},
        {"{\"model\":{\"merges\":[\"a b\"],\"vocab\":{\"a\":0}}}", "merge 1 names a token"},
        {"{\"model\":{\"merges\":[[\"a\"]],\"vocab\":{\"a\":0}}}", "merge 1 is not a pair"},
        {"{\"model\":{\"merges\":[],\"vocab\":{\"a\":0},\"unk_token\":\"u\"}}", "lacks model.unk_token"},
        {"{\"model\":{\"merges\":[],\"vocab\":{\"a\":0},\"dropout\":0.1}}", "dropout is not supported"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "no tokens"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"b\"]]}}", "token 1 is not a text and a score"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}}", "unk_id"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_REFUSED(t, parses(t, cases[i][0]), cases[i][1]);
    CHECK_REFUSED(t, vks_tokenizer_open(test_log(t), "/no/such/file") != NULL, "/no/such/file");
}

static bool takes_parts(struct test *t, const char *parts)
{
    struct vks_tokenizer *tokenizer = with_parts(t, parts);
    const bool done = tokenizer != NULL;
    vks_tokenizer_close(&tokenizer);
    return done;
}

static void refused_parts(struct test *t)
{
    static const char *const cases[][2] = {
        {"{\"normalizer\":1}", "a normalizer is not an object"},
        {"{\"normalizer\":{}}", "type is missing"},
        {"{\"normalizer\":{\"type\":\"Precompiled\"}}", "normalizer Precompiled is not supported"},
        {"{\"normalizer\":{\"type\":\"Replace\",\"content\":\"a\",\"pattern\":{}}}", "no pattern"},
        {"{\"normalizer\":{\"type\":\"Prepend\"}}", "prepend is missing"},
        {"{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", "pre-tokenizer UnicodeScripts is not supported"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}}", "one character"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"a\",\"prepend_scheme\":\"x\"}}",
         "prepend_scheme"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"x\"}}", "behavior"},
        {"{\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":0}}", "length"},
        {"{\"decoder\":{\"type\":\"CTC\"}}", "decoder CTC is not supported"},
        {"{\"decoder\":{\"type\":\"Strip\",\"content\":\"\"}}", "one character"},
        {"{\"post_processor\":{\"type\":\"Odd\"}}", "post-processor Odd is not supported"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}}", "drops the text"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"a\"}}]}}",
         "does not have"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\"}}]}}",
         "repeats a text"},
        {"{\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",-1]}}", "no proper id"},
        {"{\"added_tokens\":[1]}", "an added token is not an object"},
        {"{\"added_tokens\":[{\"id\":1}]}", "content is missing"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_REFUSED(t, takes_parts(t, cases[i][0]), cases[i][1]);
}

static void refused_expressions(struct test *t)
{
    static const char *const cases[][2] = {
        {"[[:alpha:]]", "a POSIX class"}, {"[a&&b]", "an intersection"}, {"[a", "a class that has no end"},
        {"\\\\p{alpha}", "a POSIX property"}, {"\\\\p{Nosuch}", "PCRE2 says"}, {"\\\\pL", "without braces"},
        {"a(?i)b", "in the middle"}, {"(?x: a)", "a kind that it does not know"}, {"(a", "PCRE2 says"},
        {"a)", "closes nothing"}, {"\\\\K", "does not know"}, {"\\\\", "a backslash at the end"},
        {"(?i:strasse)", "that others stand for"}, {"(?i:\\u00e9)", "that others stand for"},
        {"\\\\x{g}", "a number"},
        {"[a[^\\\\Wb]]", "a negated class inside"}, {"*", "PCRE2 says"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char parts[200];
        snprintf(parts, sizeof(parts), "{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
                                       "\"pattern\":{\"Regex\":\"%s\"}}}", cases[i][0]);
        CHECK_REFUSED(t, takes_parts(t, parts), cases[i][1]);
    }
}

static bool opens_gguf(struct test *t, const char *path)
{
    struct vks_tokenizer *tokenizer = open_gguf(t, path);
    const bool done = tokenizer != NULL;
    vks_tokenizer_close(&tokenizer);
    return done;
}

// A golden GGUF file with one text in it changed for another of the same length.
static void refused_gguf(struct test *t)
{
    static const char *const cases[][4] = {
        {"smollm.gguf", "gpt2", "bert", "model bert is not supported"},
        {"smollm.gguf", "smollm", "smollx", "pre-tokenizer smollx is not supported"},
        {"smollm.gguf", "ggml.merges", "ggml.mergez", "no tokenizer.ggml.merges"},
        {"smollm.gguf", "ggml.tokens", "ggml.tokenz", "no tokens"},
        {"smollm.gguf", "\xc4\xa0 t", "\xc4\xa0_t", "not a pair"},
        {"smollm.gguf", "\xc4\xa0 t", "\xc4\xa0 \x01", "lacks"},
        {"smollm.gguf", "<|begin|>", "<|begi\xff|>", "not UTF-8"},
        {"pieces.gguf", "ggml.scores", "ggml.scorez", "no tokenizer.ggml.scores"},
        {"pieces.gguf", "llama", "lamas", "model lamas is not supported"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[700];
        size_t size, changed = 0;
        snprintf(path, sizeof(path), DATA "%s", cases[i][0]);
        char *data = vks_os_read_file(test_log(t), path, (size_t)1 << 24, &size);
        CHECK(t, data);
        const size_t length = strlen(cases[i][1]);
        CHECK(t, length == strlen(cases[i][2]));
        for (size_t at = 0; at + length <= size; at++) {
            // The model's name stands behind its key; "llama" is the architecture's too.
            const bool wanted = i != 8 || (at > 60 && !memcmp(data + at - 12 - 5, "model", 5));
            if (wanted && !memcmp(data + at, cases[i][1], length)) {
                memcpy(data + at, cases[i][2], length);
                changed++;
            }
        }
        EXPECT(t, changed, "%s has no %s", cases[i][0], cases[i][1]);
        put(t, "changed.gguf", data, size);
        free(data);
        snprintf(path, sizeof(path), "%s/changed.gguf", scratch);
        CHECK_REFUSED(t, opens_gguf(t, path), cases[i][3]);
    }
}

int main(void)
{
    struct test t = {0};
    const char *temporary = vks_os_env("TMPDIR");
    snprintf(scratch, sizeof(scratch), "%s/vks-test-language-tokenizer", temporary ? temporary : "/tmp");
    if (!vks_os_make_dirs(test_log(&t), scratch))
        return 1;
    TEST(&t, golden_bytes);
    TEST(&t, golden_pieces);
    TEST(&t, golden_unigram);
    TEST(&t, golden_gguf_bytes);
    TEST(&t, golden_gguf_pieces);
    TEST(&t, golden_parts);
    TEST(&t, bare_and_literal);
    TEST(&t, folder);
    TEST(&t, known_names);
    TEST(&t, partial_characters);
    TEST(&t, long_texts);
    TEST(&t, odd_ids);
    TEST(&t, endless_expression);
    TEST(&t, refused_files);
    TEST(&t, refused_parts);
    TEST(&t, refused_expressions);
    TEST(&t, refused_gguf);
    return test_summary(&t);
}
