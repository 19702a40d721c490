// GGUF files and quantised weights: the golden file of tests/golden/gguf_files.py, and every kind of bad file.
#include "base/os.h"
#include "base/quant.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "models/gguf_names.h"
#include "models/language.h"
#include "tests/test_scratch.h"

#include <math.h>
#include <stdlib.h>

static char path[600];  // of the file under test, in scratch space

// ---- a file written by the gguf package

static struct vks_gguf *open_golden(struct test *t)
{
    return vks_gguf_open(test_log(t), VKS_TEST_DATA "/gguf/weights.gguf");
}

// Values that are neither the same bits nor both NaN.
static size_t differing(const float *a, const float *b, size_t count)
{
    size_t differ = 0;
    for (size_t i = 0; i < count; i++)
        differ += memcmp(&a[i], &b[i], sizeof(*a)) != 0 && !(isnan(a[i]) && isnan(b[i]));
    return differ;
}

static void check_tensor(struct test *t, const struct vks_gguf_tensor *tensor, const struct vks_st_tensor *expected)
{
    const struct vks_quant *quant = vks_quant(tensor->type);
    const size_t count = (size_t)tensor->count, length = strlen(quant->name);
    EXPECT(t, !strncmp(tensor->name, quant->name, length) && tensor->name[length] == '.', "%s is taken for %s",
           tensor->name, quant->name);
    CHECK(t, expected && expected->count == tensor->count && tensor->rank == 2 && tensor->shape[0] == 2);
    CHECK(t, tensor->shape[1] == expected->shape[1] && tensor->size == count / quant->elements * quant->bytes);
    float *values = malloc(count * sizeof(*values)), *wanted = malloc(count * sizeof(*wanted));
    char *shifted = malloc(tensor->size + 1);  // so that the blocks lie at an odd address
    memcpy(shifted + 1, tensor->data, tensor->size);
    memcpy(wanted, expected->data, expected->size);
    vks_quant_unpack(tensor->type, shifted + 1, count, values);
    const size_t differ = differing(values, wanted, count);
    EXPECT(t, differ == 0, "%s: %zu of %zu values differ", tensor->name, differ, count);
    free(values);
    free(wanted);
    free(shifted);
}

static void unpacked_values(struct test *t)
{
    struct vks_gguf *file = open_golden(t);
    struct vks_safetensors *expected = vks_safetensors_open(test_log(t), VKS_TEST_DATA "/gguf/expected.safetensors");
    bool seen[VKS_QUANT_BF16 + 1] = {0};
    size_t types = 0;
    CHECK(t, file && expected && file->tensor_count == expected->tensor_count);
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct vks_gguf_tensor *tensor = &file->tensors[i];
        check_tensor(t, tensor, vks_safetensors_find(expected, tensor->name));
        types += !seen[tensor->type];
        seen[tensor->type] = true;
    }
    EXPECT(t, types == 13, "%zu types", types);
    EXPECT(t, !vks_quant(4) && !vks_quant(9) && !vks_quant(31) && !vks_quant(UINT32_MAX), "unknown types are known");
    vks_safetensors_close(&expected);
    vks_gguf_close(&file);
}

static void expect_number(struct test *t, const struct vks_gguf *file, const char *key, double wanted)
{
    const struct vks_gguf_value *value = vks_gguf_get(file, key);
    double number = NAN;
    uint64_t whole = 0;
    EXPECT(t, value && vks_gguf_number(value, &number) && number == wanted, "%s is %g, not %g", key, number, wanted);
    if (value && value->kind != VKS_GGUF_F32 && value->kind != VKS_GGUF_F64 && value->kind != VKS_GGUF_BOOL)
        EXPECT(t, vks_gguf_uint(value, &whole) == (wanted >= 0) && (wanted < 0 || (double)whole == wanted),
               "%s is not the whole number %g", key, wanted);
    else
        EXPECT(t, value && !vks_gguf_uint(value, &whole), "%s is a whole number", key);
}

static void golden_metadata(struct test *t)
{
    struct vks_gguf *file = open_golden(t);
    CHECK(t, file && file->version == 3 && file->metadata_count == 27);
    expect_number(t, file, "test.uint8", 255);
    expect_number(t, file, "test.int8", -128);
    expect_number(t, file, "test.uint16", 65535);
    expect_number(t, file, "test.int16", -32768);
    expect_number(t, file, "test.uint32", 4294967295.0);
    expect_number(t, file, "test.int32", -2147483648.0);
    expect_number(t, file, "test.float32", -1.5);
    expect_number(t, file, "test.uint64", 18446744073709551615.0);
    expect_number(t, file, "test.int64", -9223372036854775808.0);
    expect_number(t, file, "test.float64", 1e300);
    expect_number(t, file, "test.bool", 1);
    expect_number(t, file, "llama.rope.freq_base", 50000);
    const struct vks_gguf_value *name = vks_gguf_get(file, "general.name");
    CHECK(t, name && name->kind == VKS_GGUF_STRING && name->count == 9 && !memcmp(name->data, "Golden \xc3\xa9", 9));
    double number;
    uint64_t whole;
    size_t at = 0;
    struct vks_gguf_value item;
    CHECK(t, !vks_gguf_number(name, &number) && !vks_gguf_uint(name, &whole) && !vks_gguf_next(name, &at, &item));
    CHECK(t, !vks_gguf_get(file, "test.none") && !vks_gguf_find(file, "none"));
    CHECK(t, vks_gguf_find(file, "Q4_K.bytes") && !strcmp(vks_gguf_find(file, "Q4_K.bytes")->name, "Q4_K.bytes"));
    CHECK_STR(t, file->metadata[0].key, "general.architecture");
    CHECK_STR(t, file->tensors[0].name, "F32.blocks");
    vks_gguf_close(&file);
    vks_gguf_close(&file);
}

// Adds up the numbers of arrays in arrays; returns how many there were.
static size_t add_up(const struct vks_gguf_value *array, double *sum)
{
    struct vks_gguf_value item;
    size_t at = 0, count = 0, items = 0;
    double number;
    for (; vks_gguf_next(array, &at, &item); items++) {
        if (vks_gguf_number(&item, &number)) {
            *sum += number;
            count++;
        } else {
            count += add_up(&item, sum);
        }
    }
    return items == array->count ? count : 1000;
}

static void golden_arrays(struct test *t)
{
    struct vks_gguf *file = open_golden(t);
    CHECK(t, file);
    const struct vks_gguf_value *nested = vks_gguf_get(file, "test.nested"),
                                *bools = vks_gguf_get(file, "test.bools"),
                                *integers = vks_gguf_get(file, "test.integers"),
                                *tokens = vks_gguf_get(file, "tokenizer.ggml.tokens");
    double sum = 0;
    CHECK(t, nested && nested->item == VKS_GGUF_ARRAY && nested->count == 2);
    CHECK(t, add_up(nested, &sum) == 4 && sum == 10);
    CHECK(t, integers && integers->item == VKS_GGUF_I32 && add_up(integers, &sum) == 3 && sum == 12);
    CHECK(t, bools && bools->item == VKS_GGUF_BOOL && add_up(bools, &sum) == 2 && sum == 13);
    CHECK(t, tokens && tokens->item == VKS_GGUF_STRING && tokens->count == 4);
    static const char *const texts[] = {"a", "b", "\304\240c", ""};
    struct vks_gguf_value item;
    size_t at = 0, count = 0;
    for (; vks_gguf_next(tokens, &at, &item); count++)
        EXPECT(t, count < 4 && item.kind == VKS_GGUF_STRING && item.count == strlen(texts[count]) &&
               !memcmp(item.data, texts[count], item.count), "token %zu", count);
    CHECK(t, count == 4);
    vks_gguf_close(&file);
}

// ---- files made here

struct bytes {
    unsigned char data[4096];
    size_t size;
};

static void put(struct bytes *b, const void *data, size_t size)
{
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void put_number(struct bytes *b, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        b->data[b->size++] = (unsigned char)(value >> (8 * i));
}

static void put_text(struct bytes *b, const char *text)
{
    put_number(b, strlen(text), 8);
    put(b, text, strlen(text));
}

static void put_header(struct bytes *b, uint32_t version, uint64_t tensors, uint64_t pairs)
{
    b->size = 0;
    put(b, "GGUF", 4);
    put_number(b, version, 4);
    put_number(b, tensors, 8);
    put_number(b, pairs, 8);
}

static void put_u32(struct bytes *b, const char *key, uint32_t value)
{
    put_text(b, key);
    put_number(b, VKS_GGUF_U32, 4);
    put_number(b, value, 4);
}

struct entry {
    const char *name;
    uint32_t rank, type;
    uint64_t extents[5], offset;
};

static void put_entry(struct bytes *b, const struct entry *entry)
{
    put_text(b, entry->name);
    put_number(b, entry->rank, 4);
    for (uint32_t i = 0; i < entry->rank; i++)
        put_number(b, entry->extents[i], 8);
    put_number(b, entry->type, 4);
    put_number(b, entry->offset, 8);
}

// Zeros up to a multiple of `alignment`, then `size` bytes of data.
static void put_data(struct bytes *b, size_t alignment, size_t size)
{
    const size_t end = (b->size + alignment - 1) / alignment * alignment + size;
    memset(b->data + b->size, 0, end - b->size);
    b->size = end;
}

// Reads all that the reader vouches for; false when it refused.
static bool opens(struct test *t, const void *data, size_t size)
{
    FILE *out = fopen(path, "wb");  // no sync: there are thousands of these
    if (!out || fwrite(data, 1, size, out) != size || fclose(out))
        return false;
    struct vks_gguf *file = vks_gguf_open(test_log(t), path);
    if (!file)
        return false;
    float *values = malloc(4096 * sizeof(*values));
    for (size_t i = 0; i < file->tensor_count; i++)
        vks_quant_unpack(file->tensors[i].type, file->tensors[i].data, (size_t)file->tensors[i].count, values);
    free(values);
    vks_gguf_close(&file);
    return true;
}

static void bad_headers(struct test *t)
{
    static const struct {
        uint32_t version;
        uint64_t tensors, pairs;
        const char *message;  // NULL: good
    } cases[] = {
        {3, 0, 0, NULL},
        {2, 0, 0, NULL},
        {1, 0, 0, "version 1, and only 2 and 3"},
        {4, 0, 0, "version 4, and only 2 and 3"},
        {0, 0, 0, "version 0"},
        {0x03000000, 0, 0, "big-endian"},
        {3, 1, 0, "tensor: goes beyond the end"},
        {3, UINT64_MAX, 0, "tensor: goes beyond the end"},
        {3, 0, 1, "metadata: goes beyond the end"},
        {3, 0, UINT64_MAX, "metadata: goes beyond the end"},
        {3, UINT64_MAX, UINT64_MAX, "metadata: goes beyond the end"},
    };
    struct bytes b;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put_header(&b, cases[i].version, cases[i].tensors, cases[i].pairs);
        if (cases[i].message)
            CHECK_REFUSED(t, opens(t, b.data, b.size), cases[i].message);
        else
            EXPECT(t, opens(t, b.data, b.size), "version %u is refused", cases[i].version);
    }
    CHECK_REFUSED(t, opens(t, "", 0), "no GGUF file");
    CHECK_REFUSED(t, opens(t, "GGU", 3), "no GGUF file");
    CHECK_REFUSED(t, opens(t, "<!doctype html>", 15), "no GGUF file");
    CHECK_REFUSED(t, vks_gguf_open(test_log(t), "/no/such.gguf"), "cannot open");
    CHECK(t, !vks_gguf_is("/no/such.gguf"));
}

// Numbers below 256 in 4 and 8 bytes, and the largest there is.
#define N4(c) c "\0\0\0"
#define N8(c) c "\0\0\0\0\0\0\0"
#define HUGE8 "\377\377\377\377\377\377\377\377"
#define KEY N8("\1") "k"
#define RAW(text) text, sizeof(text) - 1

static void bad_metadata(struct test *t)
{
    static const struct {
        const char *pairs;
        size_t size;
        const char *message;
        int count;
    } cases[] = {
        {RAW(KEY N4("\4") N4("\1")), NULL, 1},
        {RAW(N8("\2") "\xc3\xa9" N4("\10") N8("\0")), NULL, 1},
        {RAW(KEY N4("\11") N4("\10") N8("\2") N8("\0") N8("\1") "\377"), NULL, 1},  // any bytes are a string
        {RAW(KEY N4("\11") N4("\11") N8("\1") N4("\11") N8("\1") N4("\11") N8("\1") N4("\0") N8("\1") "x"), NULL, 1},
        {RAW(KEY N4("\11") N4("\11") N8("\1") N4("\11") N8("\1") N4("\11") N8("\1") N4("\11") N8("\1") N4("\0")),
         "nested more than 4 deep", 1},
        {RAW(KEY N4("\15")), "unknown kind", 1},
        {RAW(KEY "\377\377\377\377"), "unknown kind", 1},
        {RAW(KEY N4("\11") N4("\15") N8("\0")), "unknown kind", 1},
        {RAW(KEY N4("\4") "\1\0\0"), "\"k\": goes beyond the end", 1},
        {RAW(KEY N4("\10") N8("\4") "abc"), "beyond the end", 1},
        {RAW(KEY N4("\10") HUGE8 "abc"), "beyond the end", 1},
        {RAW(KEY N4("\11") N4("\4") N8("\2") N4("\1") "\1\0\0"), "beyond the end", 1},
        {RAW(KEY N4("\11") N4("\4") HUGE8 N4("\1")), "beyond the end", 1},
        {RAW(KEY N4("\11") N4("\12") "\0\0\0\0\0\0\0\40" N8("\1")), "beyond the end", 1},  // 2^61 of 8
        {RAW(KEY N4("\11") N4("\10") HUGE8 N8("\1") "a"), "beyond the end", 1},
        {RAW(KEY N4("\11") N4("\11") HUGE8 N4("\0") N8("\0")), "beyond the end", 1},
        {RAW(KEY N4("\11") N4("\7") HUGE8 "\1"), "beyond the end", 1},
        {RAW(KEY N4("\7") "\2"), "neither 0 nor 1", 1},
        {RAW(KEY N4("\11") N4("\7") N8("\2") "\1\2"), "neither 0 nor 1", 1},
        {RAW(N8("\0") N4("\4") N4("\1")), "empty name", 1},
        {RAW("\0\0\1\0\0\0\0\0"), "more bytes", 1},
        {RAW(HUGE8), "more bytes", 1},
        {RAW(N8("\2") "a\0" N4("\4") N4("\1")), "not UTF-8", 1},
        {RAW(N8("\1") "\377" N4("\4") N4("\1")), "not UTF-8", 1},
        {RAW(KEY N4("\4") N4("\1") KEY N4("\0") "\1"), "\"k\": appears twice", 2},
    };
    struct bytes b;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put_header(&b, 3, 0, (uint64_t)cases[i].count);
        put(&b, cases[i].pairs, cases[i].size);
        if (cases[i].message)
            CHECK_REFUSED(t, opens(t, b.data, b.size), cases[i].message);
        else
            EXPECT(t, opens(t, b.data, b.size), "case %zu is refused", i);
    }
}

static void bad_tensors(struct test *t)
{
    static const struct {
        struct entry a, b;
        size_t size;          // of the data
        const char *message;  // NULL: good
    } cases[] = {
        {{"a", 1, 0, {4}, 0}, {"b", 2, 2, {32, 2}, 32}, 68, NULL},
        {{"a", 0, 0, {0}, 0}, {"b", 4, 0, {1, 1, 1, 1}, 32}, 36, NULL},
        {{"a", 1, 0, {0}, 0}, {"b", 1, 0, {1}, 0}, 4, NULL},  // empty, at the place of another
        {{"b", 1, 0, {1}, 64}, {"a", 1, 0, {1}, 0}, 68, NULL},  // in any order, with a gap
        {{"a", 5, 0, {1, 1, 1, 1, 1}, 0}, {"b", 1, 0, {1}, 32}, 36, "rank above 4"},
        {{"a", 1, 4, {32}, 0}, {"b", 1, 0, {1}, 32}, 36, "type 4 is not supported"},
        {{"a", 1, 23, {256}, 0}, {"b", 1, 0, {1}, 32}, 36, "type 23 (IQ4_XS) is not supported"},
        {{"a", 1, UINT32_MAX, {256}, 0}, {"b", 1, 0, {1}, 32}, 36, "type 4294967295 is not"},
        {{"a", 1, 2, {33}, 0}, {"b", 1, 0, {1}, 32}, 36, "\"a\": has rows that are not whole blocks"},
        {{"a", 2, 12, {128, 2}, 0}, {"b", 1, 0, {1}, 32}, 200, "not whole blocks"},
        {{"a", 0, 8, {0}, 0}, {"b", 1, 0, {1}, 32}, 200, "not whole blocks"},
        {{"a", 2, 0, {1ull << 32, 1ull << 32}, 0}, {"b", 1, 0, {1}, 32}, 36, "overflows"},
        {{"a", 1, 0, {1ull << 62}, 0}, {"b", 1, 0, {1}, 32}, 36, "overflows"},
        {{"a", 1, 8, {UINT64_MAX - 31}, 0}, {"b", 1, 0, {1}, 32}, 36, "overflows"},
        {{"a", 1, 0, {1ull << 61}, 0}, {"b", 1, 0, {1}, 32}, 36, "\"a\": has data outside of the file"},
        {{"a", 1, 0, {1}, 0}, {"b", 1, 0, {2}, 32}, 36, "\"b\": has data outside of the file"},
        {{"a", 1, 0, {1}, 0}, {"b", 1, 0, {1}, 64}, 36, "outside of the file"},
        {{"a", 1, 0, {1}, 0}, {"b", 1, 0, {1}, UINT64_MAX - 31}, 36, "outside of the file"},
        {{"a", 1, 0, {1}, 0}, {"b", 1, 0, {1}, 4}, 36, "\"b\": has an offset that is not aligned"},
        {{"a", 1, 0, {9}, 0}, {"b", 1, 0, {1}, 32}, 36, "\"b\": overlaps another"},
        {{"a", 1, 0, {1}, 32}, {"b", 1, 0, {9}, 0}, 36, "\"a\": overlaps another"},
        {{"a", 1, 0, {1}, 0}, {"b", 1, 0, {1}, 0}, 36, "overlaps another"},
        {{"a", 1, 0, {1}, 0}, {"a", 1, 0, {1}, 32}, 36, "\"a\": appears twice"},
        {{"", 1, 0, {1}, 0}, {"b", 1, 0, {1}, 32}, 36, "empty name"},
        {{"a\xff", 1, 0, {1}, 0}, {"b", 1, 0, {1}, 32}, 36, "not UTF-8"},
    };
    struct bytes b;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put_header(&b, 3, 2, 0);
        put_entry(&b, &cases[i].a);
        put_entry(&b, &cases[i].b);
        put_data(&b, 32, cases[i].size);
        if (cases[i].message)
            CHECK_REFUSED(t, opens(t, b.data, b.size), cases[i].message);
        else
            EXPECT(t, opens(t, b.data, b.size), "case %zu is refused", i);
    }
    char name[300];
    memset(name, 'n', sizeof(name));
    for (size_t length = 255; length <= 256; length++) {
        name[length] = 0;
        put_header(&b, 3, 1, 0);
        put_entry(&b, &(struct entry){name, 1, 0, {1}, 0});
        put_data(&b, 32, 4);
        name[length] = 'n';
        if (length == 255)
            EXPECT(t, opens(t, b.data, b.size), "a name of 255 bytes is refused");
        else
            CHECK_REFUSED(t, opens(t, b.data, b.size), "more bytes");
    }
}

static void alignments(struct test *t)
{
    static const struct {
        uint32_t alignment;
        const char *message;
    } cases[] = {
        {8, NULL}, {24, NULL}, {32, NULL}, {0, "multiple of 8"}, {1, "multiple of 8"}, {7, "multiple of 8"},
        {12, "multiple of 8"}, {1u << 31, "outside of the file"}, {UINT32_MAX, "multiple of 8"},
    };
    struct bytes b;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put_header(&b, 3, 1, 1);
        put_u32(&b, "general.alignment", cases[i].alignment);
        put_entry(&b, &(struct entry){"a", 1, 0, {1}, 0});
        put_data(&b, cases[i].message ? 32 : cases[i].alignment, 4);
        if (cases[i].message)
            CHECK_REFUSED(t, opens(t, b.data, b.size), cases[i].message);
        else
            EXPECT(t, opens(t, b.data, b.size), "%u is refused", cases[i].alignment);
    }
    put_header(&b, 3, 0, 1);
    put_text(&b, "general.alignment");
    put_number(&b, VKS_GGUF_STRING, 4);
    put_text(&b, "32");
    CHECK_REFUSED(t, opens(t, b.data, b.size), "multiple of 8");
}

// A whole small file: metadata, an array of strings, two tensors.
static void put_small(struct bytes *b)
{
    put_header(b, 3, 2, 3);
    put_u32(b, "general.alignment", 8);
    put_u32(b, "x", 5);
    put_text(b, "tokens");
    put_number(b, VKS_GGUF_ARRAY, 4);
    put_number(b, VKS_GGUF_STRING, 4);
    put_number(b, 2, 8);
    put_text(b, "one");
    put_text(b, "");
    put_entry(b, &(struct entry){"a", 1, VKS_QUANT_F16, {3}, 0});
    put_entry(b, &(struct entry){"b", 2, VKS_QUANT_Q8_0, {32, 2}, 8});
    put_data(b, 8, 8 + 68);
}

static void cut_at_every_byte(struct test *t)
{
    struct bytes b;
    put_small(&b);
    CHECK(t, opens(t, b.data, b.size) && vks_gguf_is(path));
    for (size_t size = 0; size < b.size; size++)
        CHECK_REFUSED(t, opens(t, b.data, size), "fetch it again");
}

// ---- what a language model says of itself

// As vks_gguf_module has it, or "" when it knows none.
static const char *module_of(const char *architecture, const char *tensor, enum vks_gguf_form *form)
{
    static char module[96];
    return vks_gguf_module(architecture, tensor, module, sizeof(module), form) ? module : "";
}

static void module_names(struct test *t)
{
    static const char *const unknown[][2] = {
        {"llama", "rope_freqs.weight"},        {"llama", "blk.0.attn_q"},           {"llama", "blk.x.attn_q.weight"},
        {"llama", "blk.00.attn_q.weight"},     {"llama", "blk.0.attn_q.scale"},     {"llama", "blk.0attn_q.weight"},
        {"llama", "blk.0.attn_q_norm.weight"}, {"mamba", "blk.0.attn_norm.weight"}, {"gpt2", "blk.0.ffn_gate.weight"},
        {"llama", "blk.1234567.attn_q.weight"}, {"llama", "blk.0..weight"},         {"llama", ".weight"},
        {"llama", "blk."},                     {"llama", "attn_q.weight"},          {"llama", "blk.0.output.weight"},
    };
    enum vks_gguf_form form;
    size_t size, lines = 0;
    char *text = vks_os_read_file(test_log(t), VKS_TEST_DATA "/gguf/names.txt", 1 << 20, &size);
    CHECK(t, text);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        char architecture[16], tensor[64], module[96];
        CHECK(t, sscanf(line, "%15s %63s %95s", architecture, tensor, module) == 3);
        EXPECT(t, !strcmp(module_of(architecture, tensor, &form), module), "%s of %s is not %s", tensor, architecture,
               module_of(architecture, tensor, &form));
    }
    free(text);
    EXPECT(t, lines == 169, "%zu lines", lines);
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        EXPECT(t, !*module_of(unknown[i][0], unknown[i][1], &form), "%s is known", unknown[i][1]);
}

static void module_forms(struct test *t)
{
    static const struct {
        const char *architecture, *tensor;
        enum vks_gguf_form form;
    } cases[] = {
        {"llama", "blk.0.attn_q.weight", VKS_GGUF_PAIRED_ROWS},  {"llama", "blk.7.attn_k.bias", VKS_GGUF_PAIRED_ROWS},
        {"llama", "blk.0.attn_v.weight", VKS_GGUF_AS_IS},        {"llama", "blk.0.attn_norm.weight", VKS_GGUF_AS_IS},
        {"llama", "blk.0.attn_output.weight", VKS_GGUF_AS_IS},   {"qwen2", "blk.0.attn_q.weight", VKS_GGUF_AS_IS},
        {"qwen3", "blk.0.attn_k_norm.weight", VKS_GGUF_AS_IS},   {"gemma2", "blk.0.attn_q.weight", VKS_GGUF_AS_IS},
        {"gemma2", "output_norm.weight", VKS_GGUF_PLUS_ONE},
        {"gemma2", "blk.0.ffn_norm.weight", VKS_GGUF_PLUS_ONE},
        {"gemma3", "blk.0.attn_q_norm.weight", VKS_GGUF_PLUS_ONE}, {"gemma3", "token_embd.weight", VKS_GGUF_AS_IS},
        {"gemma3", "blk.0.post_ffw_norm.weight", VKS_GGUF_PLUS_ONE}, {"gpt2", "output_norm.weight", VKS_GGUF_AS_IS},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum vks_gguf_form form;
        EXPECT(t, *module_of(cases[i].architecture, cases[i].tensor, &form) && form == cases[i].form, "%s of %s",
               cases[i].tensor, cases[i].architecture);
    }
}

static void put_string(struct bytes *b, const char *key, const char *value)
{
    put_text(b, key);
    put_number(b, VKS_GGUF_STRING, 4);
    put_text(b, value);
}

// The architecture (NULL: none) and one more pair.
static bool describes(struct test *t, const char *architecture, const struct bytes *pair,
                      struct vks_language *language)
{
    struct bytes b;
    struct vks_arena arena = {0};
    put_header(&b, 3, 0, 1 + !!architecture);
    if (architecture)
        put_string(&b, "general.architecture", architecture);
    put(&b, pair->data, pair->size);
    if (!opens(t, b.data, b.size))
        return false;
    struct vks_gguf *file = vks_gguf_open(test_log(t), path);
    const bool done = file && vks_language_from_gguf(test_log(t), file, &arena, language);
    language->architecture = NULL;  // its text goes with the arena
    vks_arena_finish(&arena);
    vks_gguf_close(&file);
    return done;
}

static void language_sizes(struct test *t)
{
    struct vks_language language;
    struct bytes b = {.size = 0};
    put_text(&b, "x.attention.head_count");
    put_number(&b, VKS_GGUF_ARRAY, 4);
    put_number(&b, VKS_GGUF_I32, 4);
    put_number(&b, 2, 8);
    put_number(&b, 5, 4);
    put_number(&b, 3, 4);
    CHECK(t, describes(t, "x", &b, &language) && language.heads == 5 && language.kv_heads == 5 && !language.layers);
    b.data[b.size - 1] = 0x80;
    CHECK_REFUSED(t, describes(t, "x", &b, &language), "\"x.attention.head_count\" holds something else than sizes");
    static const struct {
        const char *architecture, *key;
        uint32_t value;
        const char *message;
    } cases[] = {
        {"x", "x.vocab_size", 7, NULL},
        {"x", "split.count", 1, NULL},
        {"x", "split.count", 3, "one of 3 parts"},
        {"x", "x.rope.freq_base", 0, "no positive number"},
        {"x", "general.name", 5, "is no text"},
        {"x", "tokenizer.ggml.tokens", 5, "no list of tokens"},
        {"", "k", 5, "no name of an architecture"},
        {"../x", "k", 5, "no name of an architecture"},
        {NULL, "k", 5, "names no architecture"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        b.size = 0;
        put_u32(&b, cases[i].key, cases[i].value);
        if (cases[i].message)
            CHECK_REFUSED(t, describes(t, cases[i].architecture, &b, &language), cases[i].message);
        else
            EXPECT(t, describes(t, cases[i].architecture, &b, &language), "%s is refused", cases[i].key);
    }
    b.size = 0;
    put_string(&b, "x.block_count", "2");
    CHECK_REFUSED(t, describes(t, "x", &b, &language), "\"x.block_count\" is no size");
}

// With any bit wrong it is refused in one line, or what it still promises can be read.
static void every_bit_flipped(struct test *t)
{
    struct bytes b;
    put_small(&b);
    size_t refused = 0;
    for (size_t i = 0; i < 8 * b.size; i++) {
        b.data[i / 8] ^= (unsigned char)(1 << i % 8);
        t->messages = 0;
        const bool opened = opens(t, b.data, b.size);
        CHECK(t, t->messages == !opened);
        refused += !opened;
        b.data[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    t->message[0] = 0;
    CHECK(t, refused > b.size && refused < 8 * b.size);
}

int main(void)
{
    struct test t = {0};
    if (!test_scratch_open("gguf"))
        return 1;
    snprintf(path, sizeof(path), "%s/x.gguf", scratch);
    TEST(&t, unpacked_values);
    TEST(&t, golden_metadata);
    TEST(&t, golden_arrays);
    TEST(&t, module_names);
    TEST(&t, module_forms);
    TEST(&t, language_sizes);
    TEST(&t, bad_headers);
    TEST(&t, bad_metadata);
    TEST(&t, bad_tensors);
    TEST(&t, alignments);
    TEST(&t, cut_at_every_byte);
    TEST(&t, every_bit_flipped);
    test_scratch_close();
    return test_summary(&t);
}
