// runtime/io: files of torch.save: those that PyTorch wrote (tests/golden/torch_files.py), and every kind of bad one.
#include "base/os.h"
#include "io/tensor_file.h"
#include "io/torch_zip.h"
#include "io/zip.h"
#include "tests/test_scratch.h"
#include "tests/zip_pack.h"

#include <stdlib.h>

// ---- files of PyTorch

static void equals(struct test *t, const char *name)
{
    char path[600];
    snprintf(path, sizeof(path), VKS_TEST_DATA "/torch/%s.bin", name);
    struct vks_tensor_file file, expected;
    CHECK(t, vks_tensor_file_open(test_log(t), path, &file));
    snprintf(path, sizeof(path), VKS_TEST_DATA "/torch/%s.safetensors", name);
    CHECK(t, vks_tensor_file_open(test_log(t), path, &expected));
    EXPECT(t, file.torch && expected.safetensors, "%s: taken for another format", name);
    EXPECT(t, file.tensor_count == expected.tensor_count, "%s: %zu tensors, not %zu", name, file.tensor_count,
           expected.tensor_count);
    for (size_t i = 0; i < expected.tensor_count && !t->bad; i++) {
        const struct vks_st_tensor *want = &expected.tensors[i], *got = vks_tensor_file_find(&file, want->name);
        EXPECT(t, got, "%s: %s is missing", name, want->name);
        if (got)
            EXPECT(t, got->dtype == want->dtype && got->rank == want->rank && got->size == want->size &&
                   !memcmp(got->shape, want->shape, sizeof(want->shape)) &&
                   !memcmp(got->data, want->data, want->size),
                   "%s: %s differs", name, want->name);
    }
    vks_tensor_file_close(&file);
    vks_tensor_file_close(&expected);
}

static void of_pytorch(struct test *t)
{
    equals(t, "module");
    equals(t, "wrapped");
    equals(t, "kinds");
    struct vks_torch_zip *file = vks_torch_zip_open(test_log(t), VKS_TEST_DATA "/torch/wrapped.bin");
    CHECK(t, file);
    CHECK_STR(t, file->prefix, "state_dict.module.");
    vks_torch_zip_close(&file);
    vks_torch_zip_close(&file);
    CHECK(t, vks_torch_zip_is(VKS_TEST_DATA "/torch/module.bin"));
    CHECK(t, !vks_torch_zip_is(VKS_TEST_DATA "/torch/module.safetensors"));
    CHECK(t, !vks_torch_zip_is(VKS_TEST_DATA "/torch/none.bin"));
}

// ---- archives made here

// Reads every byte that the reader vouches for.
static bool opens(struct test *t, const void *data, size_t size, const char *first)
{
    FILE *out = fopen(in_scratch("x.pt"), "wb");  // a plain FILE: no need to sync it
    fwrite(data, 1, size, out);
    fclose(out);
    struct vks_torch_zip *file = vks_torch_zip_open(test_log(t), in_scratch("x.pt"));
    const bool done = file != NULL;
    unsigned sum = 0;
    for (size_t i = 0; done && i < file->tensor_count; i++) {
        const struct vks_st_tensor *tensor = &file->tensors[i];
        EXPECT(t, tensor->size == tensor->count * vks_st_dtype_size(tensor->dtype), "%s: size", tensor->name);
        for (size_t k = 0; k < tensor->size; k++)
            sum += tensor->data[k];
    }
    if (done && first)
        EXPECT(t, file->tensor_count && !strcmp(file->tensors[0].name, first), "%s: %s", first,
               file->tensors[0].name);
    t->messages += sum == 0x12345678;  // so that the reads are not left out
    vks_torch_zip_close(&file);
    return done;
}

static const unsigned char sixteen[16] = {1, 2, 3, 4};

static bool unpickles(struct test *t, const char *pickle, size_t size, const char *first)
{
    static struct zip_archive a;
    const struct zip_part parts[] = {{"x/data.pkl", pickle, size}, {"x/data/0", sixteen, sizeof(sixteen)}};
    zip_pack(&a, parts, 2);
    return opens(t, a.bytes, a.size, first);
}

#define TEXT(length, text) "X" length "\0\0\0" text
#define STORAGE(type, key, count) "(" TEXT("\7", "storage") type TEXT("\1", key) TEXT("\3", "cpu") count "tQ"
#define FLOATS STORAGE("ctorch\nFloatStorage\n", "0", "K\4")
#define DICT "ccollections\nOrderedDict\n)R"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
#define TENSOR(storage, offset, shape, stride) REBUILD "(" storage offset shape stride "\x89" DICT "tR"
#define GOOD TENSOR(FLOATS, "K\0", "K\2K\2\x86", "K\2K\1\x86")
#define A TEXT("\1", "a")
#define ROOT(text) "\x80\2}" text "."
#define HUGE8 "\x8a\x8\xff\xff\xff\xff\xff\xff\xff\x7f"  // 2^63 - 1
#define TWO32 "\x8a\x8\0\0\0\0\1\0\0\0"

#define CASE(text, message) {text, sizeof(text) - 1, message}

struct pickle_case {
    const char *text;
    size_t size;
    const char *message;  // NULL: good
};

static void check_cases(struct test *t, const struct pickle_case *cases, size_t count, const char *first)
{
    for (size_t i = 0; i < count && !t->bad; i++) {
        if (cases[i].message)
            CHECK_REFUSED(t, unpickles(t, cases[i].text, cases[i].size, first), cases[i].message);
        else
            EXPECT(t, unpickles(t, cases[i].text, cases[i].size, first), "case %zu is refused", i);
    }
}

static void pickles(struct test *t)
{
    static const struct pickle_case cases[] = {
        CASE(ROOT(A GOOD "s"), NULL),
        CASE(ROOT("(" A GOOD "u"), NULL),
        CASE("\x80\2" DICT A GOOD "s}b.", NULL),
        CASE(ROOT(A "ctorch._utils\n_rebuild_parameter\n(" GOOD "\x88" DICT "tRs"), NULL),
        CASE(ROOT(A "q\0" "0" GOOD "s"), "0x30"),
        CASE(ROOT(A GOOD "q\0sX\1\0\0\0bh\0s"), NULL),
        CASE("", "does not begin as one"),
        CASE("\x80\4}.", "protocol 4"),
        CASE("\x80\2.", "more or less than one value"),
        CASE("\x80\2NN.", "more or less than one value"),
        CASE("\x80\2}", "middle of an instruction"),
        CASE("\x80\2X\xff\xff\xff\xff" "a.", "middle of an instruction"),
        CASE("\x80\2cos\nsystem", "middle of an instruction"),
        CASE("\x80\2N.", "no dictionary of tensors"),
        CASE(ROOT(""), "holds no tensor"),
        CASE(ROOT(A GOOD "s" A GOOD "s"), "\"a\": appears twice"),
        CASE("\x80\2cos\nsystem\n(X\4\0\0\0exittR.", "asks for Python's os.system"),
        CASE("\x80\2" "cbuiltins\neval\n)R.", "asks for Python's builtins.eval"),
        CASE("\x80\2ctorch\nQInt8Storage\n.", "torch.QInt8Storage"),
        CASE("\x80\2" "ccollections\nOrderedDict\x01\n)R.", "OrderedDict\\x01"),
        CASE("\x80\2ctorch\nFloatStorage\n)R.", "calls a type of storage"),
        CASE("\x80\2K\1)R.", "calls something that is no function"),
        CASE("\x80\2" "ccollections\nOrderedDict\n]R.", "calls something that is no function"),
        CASE("\x80\2" "ccollections\nOrderedDict\n]\x85R.", "with contents"),
        CASE("\x80\2K\1}b.", "gives attributes"),
        CASE("\x80\2ib.", "0x69"),
        CASE("\x80\2R", "empty stack"),
        CASE("\x80\2(\x85", "empty stack"),
        CASE("\x80\2t", "a mark that is not there"),
        CASE("\x80\2(q\0.", "empty stack"),
        CASE("\x80\2h\0.", "has not kept"),
        CASE("\x80\2}q\1.", "out of order"),
        CASE("\x80\2}r\xff\xff\xff\x7f.", "out of order"),
        CASE("\x80\2NK\1K\2s", "takes none"),
        CASE("\x80\2}(Nu", "a key without a value"),
        CASE("\x80\2(NNu", "takes none"),
        CASE("\x80\2}K\1" "a", "takes none"),
        CASE("\x80\2\x8a\xff", "more than 64 bits"),
        CASE("\x80\2X\1\0\0\0\xff.", "not UTF-8"),
        CASE("\x80\2X\2\0\0\0a\0.", "not UTF-8"),
        CASE(ROOT("N" GOOD "s"), "neither a text nor a number"),
    };
    check_cases(t, cases, sizeof(cases) / sizeof(*cases), "a");
}

static void tensors(struct test *t)
{
#define ONE(storage, offset, shape, stride) ROOT(A TENSOR(storage, offset, shape, stride) "s")
    static const struct pickle_case cases[] = {
        CASE(ONE(FLOATS, "K\0", ")", ")"), NULL),
        CASE(ONE(FLOATS, "K\0", "K\2K\2\x86", "K\1K\2\x86"), NULL),
        CASE(ONE(FLOATS, "K\4", "K\0\x85", "K\1\x85"), NULL),
        CASE(ONE(FLOATS, "K\3", "K\1K\1\x86", HUGE8 "K\1\x86"), NULL),
        CASE(ONE(FLOATS, "K\1", "K\2K\2\x86", "K\2K\1\x86"), "goes beyond its data"),
        CASE(ONE(FLOATS, "K\5", "K\0\x85", "K\1\x85"), "goes beyond its data"),
        CASE(ONE(FLOATS, "K\0", "K\2\x85", "K\4\x85"), "goes beyond its data"),
        CASE(ONE(FLOATS, "K\0", "K\5\x85", "K\1\x85"), "goes beyond its data"),
        CASE(ONE(FLOATS, "K\0", "K\3\x85", HUGE8 "\x85"), "goes beyond its data"),
        CASE(ONE(FLOATS, HUGE8, "K\1\x85", "K\1\x85"), "goes beyond its data"),
        CASE(ONE(FLOATS, "J\xff\xff\xff\xff", "K\1\x85", "K\1\x85"), "begins before its data"),
        CASE(ONE(FLOATS, "K\0", "J\xff\xff\xff\xff\x85", "K\1\x85"), "negative extent"),
        CASE(ONE(FLOATS, "K\0", "K\1\x85", "J\xff\xff\xff\xff\x85"), "negative extent or stride"),
        CASE(ONE(FLOATS, "K\0", HUGE8 "K\4\x86", "K\0K\0\x86"), "shape overflows"),
        CASE(ONE(FLOATS, "K\0", TWO32 TWO32 "\x86", "K\0K\0\x86"), "shape overflows"),
        CASE(ONE(FLOATS, "K\0", HUGE8 "\x85", "K\0\x85"), "more than once"),
        CASE(ONE(FLOATS, "K\0", "K\2K\2\x86", "K\1K\1\x86"), "more than once"),
        CASE(ONE(FLOATS, "K\0", "K\2\x85", ")"), "something else than a storage"),
        CASE(ONE(FLOATS, "K\0", "N\x85", "K\1\x85"), "no list of numbers"),
        CASE(ONE(FLOATS, "K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t"), "rank above 8"),
        CASE(ONE("N", "K\0", ")", ")"), "something else than a storage"),
        CASE(ONE("NQ", "K\0", ")", ")"), "no storage"),
        CASE(ONE(STORAGE("ctorch\nFloatStorage\n", "0", "K\5"), "K\0", ")", ")"), "shorter than they should be"),
        CASE(ONE(STORAGE("ctorch\nFloatStorage\n", "0", HUGE8), "K\0", ")", ")"), "shorter than they should be"),
        CASE(ONE(STORAGE("ctorch\nFloatStorage\n", "1", "K\4"), "K\0", ")", ")"), "not in the file"),
        CASE(ONE(STORAGE("ctorch\nFloatStorage\n", "0", "J\xff\xff\xff\xff"), "K\0", ")", ")"), "no storage"),
        CASE(ONE(STORAGE("ccollections\nOrderedDict\n", "0", "K\4"), "K\0", ")", ")"), "no storage"),
    };
#undef ONE
    check_cases(t, cases, sizeof(cases) / sizeof(*cases), "a");
}

// Dictionaries that hold themselves, or each other many times over.
static void shared(struct test *t)
{
    static const char self[] = "\x80\2}q\0" A "h\0s.";
    CHECK_REFUSED(t, unpickles(t, self, sizeof(self) - 1, NULL), "nested more than 16 deep");
    // {"a": list}, where each of twelve lists holds the one inside of it eight times: 8^12 tensors.
    static const char head[] = "\x80\2}" A "](](](](](](](](](](](](" GOOD;
    char text[1024];
    size_t size = sizeof(head) - 1;
    memcpy(text, head, size);
    for (char level = 0; level < 12; level++) {
        const char inner[] = {'q', level, 'h', level, 'h', level, 'h', level, 'h', level, 'h', level, 'h', level, 'h',
                              level, 'e'};
        memcpy(text + size, inner, sizeof(inner));
        size += sizeof(inner);
    }
    memcpy(text + size, "s.", 2);
    CHECK_REFUSED(t, unpickles(t, text, size + 2, NULL), "more values than any file of weights");
}

static void archives(struct test *t)
{
    static struct zip_archive a;
    static const char good[] = ROOT(A GOOD "s");
    const struct zip_part pickle = {"x/data.pkl", good, sizeof(good) - 1};
    const struct zip_part data = {"x/data/0", sixteen, sizeof(sixteen)};
    zip_pack(&a, (struct zip_part[]){pickle, data, {"x/byteorder", "little", 6}}, 3);
    CHECK(t, opens(t, a.bytes, a.size, "a"));
    for (size_t cut = 0; cut < a.size; cut++)
        EXPECT(t, !opens(t, a.bytes, cut, NULL), "accepted, cut to %zu bytes", cut);
    // Any byte changed: refused, or whatever is vouched for can be read.
    for (size_t i = 0; i < a.size; i++)
        for (int change = 0; change < 4; change++) {
            const unsigned char old = a.bytes[i];
            a.bytes[i] = (unsigned char)(change == 0 ? 255 : change == 1 ? 0 : change == 2 ? old + 1 : old ^ 0x80);
            opens(t, a.bytes, a.size, NULL);
            a.bytes[i] = old;
        }
    a.bytes[a.directory + 10] = 8;
    CHECK_REFUSED(t, opens(t, a.bytes, a.size, NULL), "x/data.pkl is compressed");
    a.bytes[a.directory + 10] = 0;
    a.bytes[a.directory + 42] = 1;
    CHECK_REFUSED(t, opens(t, a.bytes, a.size, NULL), "not where the directory says");
    a.bytes[a.directory + 42] = 0;
    a.bytes[a.directory + 20] = a.bytes[a.directory + 24] = 0xff;
    a.bytes[a.directory + 21] = a.bytes[a.directory + 25] = 0xff;
    CHECK_REFUSED(t, opens(t, a.bytes, a.size, NULL), "beyond the end of the file");
    zip_pack(&a, (struct zip_part[]){pickle, data, {"x/byteorder", "big", 3}}, 3);
    CHECK_REFUSED(t, opens(t, a.bytes, a.size, NULL), "not little endian");
    zip_pack(&a, (struct zip_part[]){pickle, data, {"y/data.pkl", good, 5}}, 3);
    CHECK_REFUSED(t, opens(t, a.bytes, a.size, NULL), "more than one data.pkl");
    zip_pack(&a, (struct zip_part[]){pickle, data, data}, 3);
    CHECK_REFUSED(t, opens(t, a.bytes, a.size, NULL), "appears twice");
    zip_pack(&a, &data, 1);
    CHECK_REFUSED(t, opens(t, a.bytes, a.size, NULL), "without data.pkl");
    zip_pack(&a, &pickle, 1);
    CHECK_REFUSED(t, opens(t, a.bytes, a.size, NULL), "tensor \"a\": its data are not in the file");
    CHECK_REFUSED(t, opens(t, "\x80\2\x8a\nl\xfc", 6, NULL), "before PyTorch 1.6");
}

int main(void)
{
    struct test t = {0};
    if (!test_scratch_open("torch"))
        return 1;
    TEST(&t, of_pytorch);
    TEST(&t, pickles);
    TEST(&t, tensors);
    TEST(&t, shared);
    TEST(&t, archives);
    test_scratch_close();
    return test_summary(&t);
}
