// runtime/io: JSON, safetensors, PNG, prompt files; good files, and every kind of bad one.
#include "base/half.h"
#include "base/os.h"
#include "base/text.h"
#include "io/json.h"
#include "io/lines.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "tests/test_scratch.h"

#include <stdlib.h>

#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#endif
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#include <stb/stb_image.h>

// ---- JSON

static bool parses(struct test *t, const char *text, size_t size)
{
    char *exact = malloc(size + !size);  // so that a read past the end is seen
    if (size)
        memcpy(exact, text, size);
    struct vks_json *json = vks_json_parse(test_log(t), "x.json", exact, size);
    const bool done = json != NULL;
    vks_json_close(&json);
    free(exact);
    return done;
}

static void json_syntax(struct test *t)
{
    static const char *const good[] = {"{}", "[]", " [ 1 , -2.5e+3 , 0 , \"\\u00e9\\ud83d\\ude00\" ] ", "\"x\"",
                                       "true", "null",
                                       "{\"a\":{\"b\":[{},[],[[]]]},\"a\":1}", "\xef\xbb\xbf[1]", "1e400", "-0.0"};
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "unexpected end"},        {"{", "key in quotes"},          {"[1", "unexpected end"},
        {"[1,]", "a value expected"},  {"{\"a\":1,}", "key in quotes"}, {"{\"a\" 1}", "':' expected"},
        {"[1 2]", "',' or ']'"},       {"{\"a\":1]", "',' or '}'"},     {"[1]]", "follows the end"},
        {"01", "malformed number"},    {"1.", "malformed number"},      {"1.2.3", "follows the end"},
        {"+1", "a value expected"},    {"-", "malformed number"},       {"1e", "malformed number"},
        {"NaN", "a value expected"},   {"Infinity", "a value"},         {"nul", "a value expected"},
        {"\"a", "unfinished string"},  {"\"\\x\"", "unknown escape"},   {"\"\\u12\"", "malformed \\u"},
        {"\"\\", "unfinished string"}, {"\"\\u0000\"", "NUL"},          {"\"\\ud800\"", "surrogate"},
        {"\"\\udc00\"", "surrogate"},  {"\"\\ud800\\u0041\"", "surrog"}, {"\"\xff\"", "not UTF-8"},
        {"\"\x01\"", "control"},       {"\n\n[x", "line 3"},            {"'a'", "a value expected"},
        {"0000000000000000000000000000000000000000000000000000000000000000", "malformed number"},
        {"1000000000000000000000000000000000000000000000000000000000000", "more than 60"},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        EXPECT(t, parses(t, good[i], strlen(good[i])), "%s is refused", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_REFUSED(t, parses(t, bad[i].text, strlen(bad[i].text)), bad[i].message);
    CHECK_REFUSED(t, parses(t, "[\0]", 3), "a value expected");
    char deep[300];
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    CHECK_REFUSED(t, parses(t, deep, 200), "nested too deeply");
    CHECK(t, parses(t, deep + 36, 128));
}

static void json_getters(struct test *t)
{
    static const char text[] = "{\"i\":5,\"f\":2.5,\"s\":\"x\",\"b\":true,\"n\":null,\"l\":[1,2,3],"
                               "\"m\":[\"a\",\"b\"],"
                               "\"o\":{\"i\":7},\"big\":1e300,\"d\":1,\"d\":2,\"inf\":1e400}";
    static const char *const choices[] = {"w", "x", NULL};
    struct vks_json *json = vks_json_parse(test_log(t), "c.json", text, strlen(text));
    const struct vks_log *log = test_log(t);
    const struct cJSON *o;
    int64_t i, list[3];
    double f;
    bool b, scalar;
    const char *s, *strings[2];
    size_t count;
    int index;
    CHECK(t, json);
    CHECK(t, vks_json_int(log, json, NULL, "i", 1, 0, 9, &i) && i == 5);
    CHECK(t, vks_json_int(log, json, NULL, "n", 1, 0, 9, &i) && i == 1);
    CHECK(t, vks_json_int(log, json, NULL, "d", 0, 0, 9, &i) && i == 2);
    CHECK(t, vks_json_number(log, json, NULL, "f", 0, 0, 9, &f) && f == 2.5);
    CHECK(t, vks_json_bool(log, json, NULL, "b", false, &b) && b);
    CHECK(t, vks_json_string(log, json, NULL, "none", NULL, &s) && !s);
    CHECK(t, vks_json_choice(log, json, NULL, "s", choices, -1, &index) && index == 1);
    CHECK(t, vks_json_ints(log, json, NULL, "l", 1, 3, list, 3, &count, &scalar) && count == 3 && !scalar);
    CHECK(t, list[2] == 3);
    CHECK(t, vks_json_ints(log, json, NULL, "i", 1, 9, list, 3, &count, &scalar) && count == 1 && scalar);
    CHECK(t, vks_json_strings(log, json, NULL, "m", strings, 2, &count) && count == 2 && !strcmp(strings[1], "b"));
    CHECK(t, vks_json_object(log, json, NULL, "o", &o) && vks_json_int(log, json, o, "i", 0, 0, 9, &i) && i == 7);
    CHECK_REFUSED(t, vks_json_int(log, json, NULL, "f", 0, 0, 9, &i),
                  "c.json: key f: expected an integer in [0, 9], found 2.5");
    CHECK_REFUSED(t, vks_json_int(log, json, NULL, "i", 0, 6, 9, &i), "found 5");
    CHECK_REFUSED(t, vks_json_int(log, json, NULL, "big", 0, INT64_MIN, INT64_MAX, &i), "an integer");
    CHECK_REFUSED(t, vks_json_int(log, json, NULL, "s", 0, 6, 9, &i), "found \"x\"");
    CHECK_REFUSED(t, vks_json_number(log, json, NULL, "inf", 0, -1e308, 1e308, &f), "a number");
    CHECK_REFUSED(t, vks_json_bool(log, json, NULL, "i", false, &b), "true or false");
    CHECK_REFUSED(t, vks_json_string(log, json, NULL, "o", NULL, &s), "found an object");
    CHECK_REFUSED(t, vks_json_choice(log, json, NULL, "i", choices, 0, &index), "one of \"w\", \"x\"");
    CHECK_REFUSED(t, vks_json_choice(log, json, NULL, "none", choices, -1, &index), "none is missing");
    CHECK_REFUSED(t, vks_json_ints(log, json, NULL, "l", 1, 3, list, 2, &count, NULL), "at most 2");
    CHECK_REFUSED(t, vks_json_ints(log, json, NULL, "l", 1, 2, list, 3, &count, NULL), "found 3");
    CHECK_REFUSED(t, vks_json_strings(log, json, NULL, "l", strings, 3, &count), "strings");
    CHECK_REFUSED(t, vks_json_array(log, json, NULL, "o", &o), "an array");
    CHECK_REFUSED(t, vks_json_require(log, json, NULL, "n"), "key n is missing");
    vks_json_close(&json);
    vks_json_close(&json);
    CHECK_REFUSED(t, vks_json_open(log, "/no/such.json"), "cannot open");
}

// ---- safetensors

// Writes length, header and `size` zero bytes; opens it.
static bool opens_header(struct test *t, const char *header, size_t size)
{
    const size_t length = strlen(header);
    unsigned char *data = calloc(1, 8 + length + size);
    for (int i = 0; i < 8; i++)
        data[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(data + 8, header, length);
    const bool written = vks_os_write_file(NULL, in_scratch("x.safetensors"), data, 8 + length + size);
    free(data);
    struct vks_safetensors *file = written ? vks_safetensors_open(test_log(t), in_scratch("x.safetensors")) : NULL;
    const bool done = file != NULL;
    vks_safetensors_close(&file);
    return done;
}

static void safetensors_hostile(struct test *t)
{
#define ENTRY(dtype, shape, begin, end) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"
    static const struct {
        const char *header;
        size_t size;
        const char *message;  // NULL: good
    } cases[] = {
        {"{}", 0, NULL},
        {"{\"a\":" ENTRY("F32", "[2]", "0", "8") "}  ", 8, NULL},
        {"{\"a\":" ENTRY("F32", "[]", "0", "4") "}", 4, NULL},
        {"{\"a\":" ENTRY("F32", "[0,5]", "0", "0") ",\"b\":" ENTRY("U8", "[1]", "0", "1") "}", 1, NULL},
        {"{\"a\":" ENTRY("U8", "[1]", "0", "1") ",\"b\":" ENTRY("F32", "[1]", "1", "5") "}", 5, NULL},
        {"{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1]", "0", "4") "}", 4, NULL},
        {"{\"__metadata__\":{\"k\":\"v\"}}", 0, NULL},
        {"[]", 0, "header is not an object"},
        {"{\"a\":5}", 0, "not an object"},
        {"{\"a\":{}}", 0, "no dtype"},
        {"{\"a\":" ENTRY("F33", "[2]", "0", "8") "}", 8, "unknown dtype \"F33\""},
        {"{\"a\":" ENTRY("F32", "5", "0", "8") "}", 8, "shape is not an array"},
        {"{\"a\":" ENTRY("F32", "[-2]", "0", "8") "}", 8, "something else than counts"},
        {"{\"a\":" ENTRY("F32", "[2.5]", "0", "8") "}", 8, "something else than counts"},
        {"{\"a\":" ENTRY("F32", "[1e300]", "0", "8") "}", 8, "something else than counts"},
        {"{\"a\":" ENTRY("F32", "[4294967296,4294967296]", "0", "0") "}", 0, "overflows"},
        {"{\"a\":" ENTRY("F32", "[2147483648,2147483648]", "0", "0") "}", 0, "shape and data size differ"},
        {"{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "rank above 8"},
        {"{\"a\":" ENTRY("F32", "[2]", "0", "4") "}", 4, "shape and data size differ"},
        {"{\"a\":" ENTRY("F32", "[2]", "8", "0") "}", 8, "outside of the file"},
        {"{\"a\":" ENTRY("F32", "[2]", "0", "8") "}", 7, "outside of the file"},
        {"{\"a\":" ENTRY("F32", "[2]", "9007199254740984", "9007199254740992") "}", 8, "outside of the file"},
        {"{\"a\":" ENTRY("F32", "[2]", "18446744073709551608", "18446744073709551616") "}", 8, "two counts"},
        {"{\"a\":" ENTRY("F32", "[2]", "-8", "0") "}", 8, "two counts"},
        {"{\"a\":" ENTRY("F32", "[2]", "0", "8,8") "}", 8, "two counts"},
        {"{\"a\":" ENTRY("F32", "[2]", "0", "8") "}", 9, "belong to no tensor"},
        {"{\"a\":" ENTRY("F32", "[1]", "4", "8") "}", 8, "a gap"},
        {"{\"a\":" ENTRY("F32", "[2]", "0", "8") ",\"b\":" ENTRY("F32", "[2]", "4", "12") "}", 12, "overlaps"},
        {"{\"a\":" ENTRY("F32", "[2]", "0", "8") ",\"b\":" ENTRY("F32", "[2]", "0", "8") "}", 8, "overlaps"},
        {"{\"a\":" ENTRY("F32", "[1]", "0", "4") ",\"a\":" ENTRY("F32", "[1]", "4", "8") "}", 8, "appears twice"},
        {"{\"a\\u0000b\":" ENTRY("F32", "[1]", "0", "4") "}", 4, "NUL"},
        {"{\"a\xff\":" ENTRY("F32", "[1]", "0", "4") "}", 4, "not UTF-8"},
        {"{\"__metadata__\":5}", 0, "not an object"},
        {"{\"__metadata__\":{\"k\":5}}", 0, "something else than strings"},
        {"{\"__metadata__\":{\"k\":\"\",\"k\":\"\"}}", 0, "a key twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "appears twice"},
        {"{\"a\":" ENTRY("F32", "[2]", "0", "8"), 8, "not valid JSON"},
        {"", 0, "not valid JSON"},
    };
#undef ENTRY
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (cases[i].message)
            CHECK_REFUSED(t, opens_header(t, cases[i].header, cases[i].size), cases[i].message);
        else
            EXPECT(t, opens_header(t, cases[i].header, cases[i].size), "%s is refused", cases[i].header);
    }
}

static void safetensors_sizes(struct test *t)
{
    static const unsigned char giant[16] = {255, 255, 255, 255, 255, 255, 255, 127, '{', '}'};
    const char *path = in_scratch("y.safetensors");
    CHECK(t, vks_os_write_file(NULL, path, giant, sizeof(giant)));
    CHECK_REFUSED(t, vks_safetensors_open(test_log(t), path), "longer than the file");
    CHECK(t, vks_os_write_file(NULL, path, giant, 7));
    CHECK_REFUSED(t, vks_safetensors_open(test_log(t), path), "too short");
    CHECK(t, vks_os_write_file(NULL, path, giant, 0));
    CHECK_REFUSED(t, vks_safetensors_open(test_log(t), path), "too short");
    CHECK_REFUSED(t, vks_safetensors_open(test_log(t), in_scratch("none.safetensors")), "cannot open");
}

static const float values[6] = {1, -2, 0.5f, 1e-30f, 3e38f, -0.0f};

// Three tensors, one of them named with all that must be escaped.
static bool write_sample(struct test *t, const char *path)
{
    uint16_t half[2];
    vks_f16_from_f32_array(half, values, 2);
    const struct vks_st_item items[] = {
        {.name = "z.weight", .dtype = VKS_ST_F32, .rank = 2, .shape = {2, 3}, .data = values},
        {.name = "a\"\\\n\xc3\xa9", .dtype = VKS_ST_F16, .rank = 1, .shape = {2}, .data = half},
        {.name = "none", .dtype = VKS_ST_I64, .rank = 2, .shape = {0, 7}, .data = NULL},
    };
    const struct vks_st_pair metadata[] = {{"method", "lineas"}, {"format", "vksteer-1"},
                                           {"note", "\xe2\x9c\x93 \"q\""}};
    return vks_safetensors_write(test_log(t), path, items, 3, metadata, 3);
}

static void safetensors_round_trip(struct test *t)
{
    char path[700], again[700];
    float back[6];
    size_t size, size2;
    snprintf(path, sizeof(path), "%s", in_scratch("s.safetensors"));
    snprintf(again, sizeof(again), "%s", in_scratch("s2.safetensors"));
    CHECK(t, write_sample(t, path) && write_sample(t, again));
    char *one = vks_os_read_file(test_log(t), path, 1 << 20, &size);
    char *two = vks_os_read_file(test_log(t), again, 1 << 20, &size2);
    EXPECT(t, one && two && size == size2 && !memcmp(one, two, size), "two writes differ");
    EXPECT(t, one && (unsigned char)one[0] % 8 == 0, "the header is not padded");
    EXPECT(t, one && strstr(one + 8, "{\"__metadata__\":{\"format\":\"vksteer-1\",\"method\":\"lineas\",\"note\":"),
           "metadata is not sorted");
    free(one);
    free(two);
    struct vks_safetensors *file = vks_safetensors_open(test_log(t), path);
    CHECK(t, file && file->tensor_count == 3 && file->metadata_count == 3);
    CHECK_STR(t, vks_safetensors_metadata(file, "note"), "\xe2\x9c\x93 \"q\"");
    CHECK(t, !vks_safetensors_metadata(file, "nothing") && !vks_safetensors_find(file, "nothing"));
    const struct vks_st_tensor *w = vks_safetensors_find(file, "z.weight");
    CHECK(t, w && w->rank == 2 && w->shape[1] == 3 && w->size == 24 && !memcmp(w->data, values, 24));
    const struct vks_st_tensor *h = vks_safetensors_find(file, "a\"\\\n\xc3\xa9");
    CHECK(t, h && vks_st_to_f32(test_log(t), file, h, back) && back[0] == 1 && back[1] == -2);
    const uint64_t right[] = {2, 3}, wrong[] = {3, 2};
    CHECK(t, vks_safetensors_need(test_log(t), file, "z.weight", VKS_ST_F32, 2, right) == w);
    CHECK(t, vks_safetensors_need(test_log(t), file, "z.weight", -1, 0, NULL) == w);
    CHECK_REFUSED(t, vks_safetensors_need(test_log(t), file, "z.weight", -1, 2, wrong), "shape (2, 3), not (3, 2)");
    CHECK_REFUSED(t, vks_safetensors_need(test_log(t), file, "z.weight", VKS_ST_F16, 2, right), "type F32, not F16");
    CHECK_REFUSED(t, vks_safetensors_need(test_log(t), file, "none", -1, 2, right), "type I64");
    CHECK_REFUSED(t, vks_safetensors_need(test_log(t), file, "nothing", -1, 2, right), "nothing is missing");
    CHECK_REFUSED(t, vks_st_to_f32(test_log(t), file, vks_safetensors_find(file, "none"), back), "convert");
    vks_safetensors_close(&file);
    vks_safetensors_close(&file);
}

static void safetensors_write_refused(struct test *t)
{
    const struct vks_st_item twice[] = {{.name = "a", .rank = 1, .shape = {1}, .data = values},
                                        {.name = "a", .rank = 1, .shape = {1}, .data = values}};
    const struct vks_st_item reserved = {.name = "__metadata__", .rank = 1, .shape = {1}, .data = values};
    const struct vks_st_item large = {.name = "a", .rank = 2, .shape = {UINT64_MAX / 2, 3}, .data = values};
    const struct vks_st_pair keys[] = {{"k", "1"}, {"k", "2"}}, bytes[] = {{"k", "\xff"}};
    char path[700];
    snprintf(path, sizeof(path), "%s", in_scratch("refused.safetensors"));
    CHECK(t, vks_os_remove(test_log(t), path));
    CHECK_REFUSED(t, vks_safetensors_write(test_log(t), path, twice, 2, NULL, 0), "given twice");
    CHECK_REFUSED(t, vks_safetensors_write(test_log(t), path, &reserved, 1, NULL, 0), "reserved");
    CHECK_REFUSED(t, vks_safetensors_write(test_log(t), path, &large, 1, NULL, 0), "too large");
    CHECK_REFUSED(t, vks_safetensors_write(test_log(t), path, twice, 1, keys, 2), "given twice");
    CHECK_REFUSED(t, vks_safetensors_write(test_log(t), path, twice, 1, bytes, 1), "not UTF-8");
    CHECK_REFUSED(t, vks_safetensors_write(test_log(t), "/no/such/x", twice, 1, NULL, 0), "cannot write");
    CHECK(t, !vks_os_exists(path) && vks_safetensors_write(test_log(t), path, NULL, 0, NULL, 0));
    struct vks_safetensors *file = vks_safetensors_open(test_log(t), path);
    CHECK(t, file && !file->tensor_count && !vks_safetensors_find(file, "a") && !vks_safetensors_metadata(file, "k"));
    vks_safetensors_close(&file);
}

static bool opens_index(struct test *t, const char *text)
{
    vks_os_write_file(NULL, in_scratch("model.safetensors.index.json"), text, strlen(text));
    struct vks_safetensors *file = vks_safetensors_open_in(test_log(t), scratch, "model");
    const bool done = file != NULL;
    vks_safetensors_close(&file);
    return done;
}

static void safetensors_sharded(struct test *t)
{
    const struct vks_st_item items[] = {{.name = "b", .rank = 1, .shape = {1}, .data = values},
                                        {.name = "a", .rank = 1, .shape = {2}, .data = values},
                                        {.name = "extra", .rank = 1, .shape = {2}, .data = values},
                                        {.name = "c", .rank = 1, .shape = {3}, .data = values}};
    static const char index[] = "{\"metadata\":{\"total_size\":24},\"weight_map\":{\"c\":\"m-2.safetensors\","
                                "\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\"}}";
    CHECK(t, vks_os_remove(NULL, in_scratch("model.safetensors")));
    CHECK(t, vks_safetensors_write(test_log(t), in_scratch("m-1.safetensors"), items, 3, NULL, 0));
    CHECK(t, vks_safetensors_write(test_log(t), in_scratch("m-2.safetensors"), items + 3, 1, NULL, 0));
    CHECK(t, opens_index(t, index));
    struct vks_safetensors *file = vks_safetensors_open(test_log(t), in_scratch("model.safetensors.index.json"));
    CHECK(t, file && file->tensor_count == 3 && !vks_safetensors_find(file, "extra"));
    CHECK(t, vks_safetensors_find(file, "c")->count == 3 && vks_safetensors_find(file, "a")->count == 2);
    vks_safetensors_close(&file);
    CHECK_REFUSED(t, opens_index(t, "{}"), "weight_map is missing");
    CHECK_REFUSED(t, opens_index(t, "{\"weight_map\":{}}"), "weight_map is empty");
    CHECK_REFUSED(t, opens_index(t, "{\"weight_map\":[]}"), "expected an object");
    CHECK_REFUSED(t, opens_index(t, "{\"weight_map\":{\"a\":\"../m-1.safetensors\"}}"), "not the name of a file");
    CHECK_REFUSED(t, opens_index(t, "{\"weight_map\":{\"a\":\"/etc/passwd\"}}"), "not the name of a file");
    CHECK_REFUSED(t, opens_index(t, "{\"weight_map\":{\"a\":5}}"), "not the name of a file");
    CHECK_REFUSED(t, opens_index(t, "{\"weight_map\":{\"a\":\"none.safetensors\"}}"), "cannot open");
    CHECK_REFUSED(t, opens_index(t, "{\"weight_map\":{\"zz\":\"m-1.safetensors\"}}"), "lacks tensor \"zz\"");
    CHECK_REFUSED(t, opens_index(t, "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"a\":\"m-1.safetensors\"}}"),
                  "twice");
    CHECK(t, vks_os_remove(NULL, in_scratch("model.safetensors.index.json")));
    CHECK_REFUSED(t, vks_safetensors_open_in(test_log(t), scratch, "model"), "model.safetensors: cannot open");
}

// ---- PNG

static void png_round_trip(struct test *t)
{
    enum { W = 37, H = 23 };
    uint8_t rgb[H * W * 3];
    char path[700];
    size_t size;
    for (size_t i = 0; i < sizeof(rgb); i++)
        rgb[i] = (uint8_t)(i * i / 7);
    const struct vks_png_text texts[] = {{"parameters", "a red apple\nSteps: 1, Seed: 5"}, {"note", "caf\xc3\xa9"},
                                         {"empty", ""}};
    snprintf(path, sizeof(path), "%s", in_scratch("x.png"));
    CHECK(t, vks_png_write(test_log(t), path, rgb, W, H, texts, 3));
    char *data = vks_os_read_file(test_log(t), path, 1 << 20, &size);
    CHECK(t, data);
    int w, h, n;
    unsigned char *back = stbi_load_from_memory((unsigned char *)data, (int)size, &w, &h, &n, 3);
    EXPECT(t, back && w == W && h == H && n == 3 && !memcmp(back, rgb, sizeof(rgb)), "the pixels differ");
    stbi_image_free(back);
    EXPECT(t, !memcmp(data + 37, "tEXtparameters\0a red apple\nSteps: 1, Seed: 5", 44), "no tEXt");
    static const char itxt[] = "iTXtnote\0\0\0\0\0caf\xc3\xa9";
    bool found = false;
    for (size_t i = 0; i + sizeof(itxt) < size; i++)
        found = found || !memcmp(data + i, itxt, sizeof(itxt) - 1);
    EXPECT(t, found, "no iTXt");
    // CRC-32 of "tEXtempty\0", from zlib.
    static const unsigned char empty[] = {0, 0, 0, 6, 't', 'E', 'X', 't', 'e', 'm', 'p', 't', 'y', 0,
                                          0xe9, 0x68, 0x98, 0x2d};
    found = false;
    for (size_t i = 0; i + sizeof(empty) < size; i++)
        found = found || !memcmp(data + i, empty, sizeof(empty));
    EXPECT(t, found, "the CRC of a text differs");
    free(data);
    CHECK_REFUSED(t, vks_png_write(test_log(t), path, rgb, 0, 5, NULL, 0), "0 x 5");
    CHECK_REFUSED(t, vks_png_write(test_log(t), path, rgb, 1 << 30, 1 << 30, NULL, 0), "cannot be written");
    CHECK_REFUSED(t, vks_png_write(test_log(t), path, rgb, 1, 1, &(struct vks_png_text){"", "x"}, 1), "key");
    CHECK_REFUSED(t, vks_png_write(test_log(t), path, rgb, 1, 1, &(struct vks_png_text){"k", "\xff"}, 1), "UTF-8");
    CHECK_REFUSED(t, vks_png_write(test_log(t), "/no/such.png", rgb, 1, 1, NULL, 0), "cannot write");
}

// ---- prompt files

static bool reads(struct test *t, const char *name, const char *field, const char *text, size_t size)
{
    struct vks_lines lines;
    const bool done = vks_lines_parse(test_log(t), name, field, text, size, &lines);
    vks_lines_finish(&lines);
    return done;
}

static void lines_good(struct test *t)
{
    static const struct {
        const char *name, *field, *text, *joined;
    } cases[] = {
        {"a.txt", NULL, "one\ntwo\n", "one|two"},
        {"a.txt", NULL, "\xef\xbb\xbf one \r\n\r\n  \ntwo", " one |two"},
        {"a", NULL, "{\"prompt\": 1}", "{\"prompt\": 1}"},
        {"a.jsonl", NULL, "{\"prompt\":\"x\"}\n\n{\"text\":\"no\",\"prompt\":\"y\\n\"}\r\n", "x|y\n"},
        {"a.jsonl", "q", "{\"q\":\"x\",\"prompt\":\"no\"}\n\"z\"", "x|z"},
        {"a.JSON", NULL, "[\"x\", {\"caption\":\"y\"}]", "x|y"},
        {"a.csv", NULL, "id,prompt\r\n1,\"a, \"\"b\"\"\nc\"\r\n\r\n2,d\r\n", "a, \"b\"\nc|d"},
        {"a.csv", "x y", "\"x y\",text\na,b", "a"},
        {"a.csv", NULL, "text,caption\nno,yes\n", "yes"},
        {"a.csv", NULL, "anything\nq\n\"\"\"\"\n", "q|\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vks_lines lines;
        struct vks_text joined = {0};
        const char *text = cases[i].text;
        EXPECT(t, vks_lines_parse(test_log(t), cases[i].name, cases[i].field, text, strlen(text), &lines),
               "case %zu is refused", i);
        for (size_t k = 0; k < lines.count; k++)
            vks_text_printf(&joined, "%s%s", k ? "|" : "", lines.items[k]);
        EXPECT(t, joined.data && !strcmp(joined.data, cases[i].joined), "case %zu gives %s", i, joined.data);
        vks_text_finish(&joined);
        vks_lines_finish(&lines);
    }
}

static void lines_bad(struct test *t)
{
    static const struct {
        const char *name, *field, *text, *message;
    } cases[] = {
        {"a.txt", NULL, "", "holds no prompt"},
        {"a.txt", NULL, "\n \r\n", "holds no prompt"},
        {"a.txt", NULL, "ok\n\xff\n", "line 2: is not UTF-8"},
        {"a.jsonl", NULL, "{\"prompt\":\"x\"}\n{\"prompt\"", "line 2: ':' expected"},
        {"a.jsonl", NULL, "{\"q\":\"x\"}", "line 1: no field \"prompt\""},
        {"a.jsonl", "r", "\"s\"\n{\"prompt\":\"x\"}", "line 2: no field \"r\""},
        {"a.jsonl", NULL, "{\"prompt\":5}", "not a string"},
        {"a.jsonl", NULL, "{\"prompt\":\" \"}", "is empty"},
        {"a.jsonl", NULL, "5", "expected an object or a string"},
        {"a.json", NULL, "{}", "expected an array"},
        {"a.json", NULL, "[]", "holds no prompt"},
        {"a.json", NULL, "[\"a\", 5]", "item 2"},
        {"a.json", NULL, "[", "line 1"},
        {"a.csv", NULL, "", "holds no prompt"},
        {"a.csv", NULL, "prompt\n", "holds no prompt"},
        {"a.csv", NULL, "x,y\n1,2\n", "no column \"prompt\""},
        {"a.csv", "z", "x\n1\n", "no column \"z\""},
        {"a.csv", NULL, "prompt,x\na\n", "line 2: 1 fields"},
        {"a.csv", NULL, "prompt,x\na,b\na,b,c\n", "line 3: 3 fields"},
        {"a.csv", NULL, "prompt,x\n,b\n", "line 2: the prompt is empty"},
        {"a.csv", NULL, "prompt\n\"a\nb\n", "line 2: a quote is never closed"},
        {"a.csv", NULL, "prompt\n\"a\"b\n", "line 2: text follows"},
        {"a.csv", NULL, "prompt\na\"b\n", "line 2: a quote stands inside"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_REFUSED(t, reads(t, cases[i].name, cases[i].field, cases[i].text, strlen(cases[i].text)),
                      cases[i].message);
    CHECK_REFUSED(t, reads(t, "a.txt", NULL, "a\nb\0c\n", 6), "line 2: holds a NUL");
    struct vks_lines lines;
    CHECK_REFUSED(t, vks_lines_read(test_log(t), "/no/such.txt", NULL, &lines), "cannot open");
    CHECK(t, vks_os_write_file(test_log(t), in_scratch("p.txt"), "hello\n", 6));
    CHECK(t, vks_lines_read(test_log(t), in_scratch("p.txt"), NULL, &lines) && lines.count == 1);
    CHECK_STR(t, lines.items[0], "hello");
    vks_lines_finish(&lines);
}

int main(void)
{
    struct test t = {0};
    if (!test_scratch_open("io"))
        return 1;
    TEST(&t, json_syntax);
    TEST(&t, json_getters);
    TEST(&t, safetensors_hostile);
    TEST(&t, safetensors_sizes);
    TEST(&t, safetensors_round_trip);
    TEST(&t, safetensors_write_refused);
    TEST(&t, safetensors_sharded);
    TEST(&t, png_round_trip);
    TEST(&t, lines_good);
    TEST(&t, lines_bad);
    test_scratch_close();
    return test_summary(&t);
}
