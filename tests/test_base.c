// runtime/base: half floats, hash, text, operating system.
#ifndef _WIN32
#define _GNU_SOURCE
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "base/half.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/text.h"
#include "tests/test_scratch.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

// Splitmix64.
static uint64_t random64(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static float float_from(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

// Rounding to `digits` fraction bits with smallest exponent `least`, in double, where all of it is exact.
static double rounded(double x, int digits, int least, double largest)
{
    int exponent;
    if (x == 0 || isinf(x))
        return x;
    frexp(x, &exponent);
    exponent = exponent - 1 < least ? least : exponent - 1;
    const double unit = ldexp(1, exponent - digits), result = nearbyint(x / unit) * unit;
    return fabs(result) > largest ? copysign(INFINITY, x) : result;
}

static void half_from_float(struct test *t)
{
    uint64_t state = 1;
    for (int i = 0; i < 2000000 && !t->bad; i++) {
        uint32_t bits = (uint32_t)random64(&state);
        if (i % 2)  // the range of half floats, and ties
            bits = (bits & 0x80000fff) | (uint32_t)(0x32000000 + random64(&state) % 0x16000000);
        if (i % 4 == 3)
            bits &= 0xfffff000;
        const float value = float_from(bits);
        if (isnan(value))
            continue;
        const double f16 = rounded(value, 10, -14, 65504), bf16 = rounded(value, 7, -126, 3.3895313892515355e38);
        const float got = vks_f32_from_f16(vks_f16_from_f32(value));
        EXPECT(t, got == f16 && !signbit(got) == !signbit(f16), "f16 of %a is %a, not %a", value, got, f16);
        const float gotb = vks_f32_from_bf16(vks_bf16_from_f32(value));
        EXPECT(t, gotb == bf16 && !signbit(gotb) == !signbit(bf16), "bf16 of %a is %a, not %a", value, gotb, bf16);
    }
}

static void half_round_trip(struct test *t)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const float f16 = vks_f32_from_f16((uint16_t)bits), bf16 = vks_f32_from_bf16((uint16_t)bits);
        if ((bits & 0x7c00) == 0x7c00 && (bits & 0x3ff))
            EXPECT(t, isnan(f16) && vks_f16_from_f32(f16) == (bits | 0x200), "NaN %04x", bits);
        else
            EXPECT(t, vks_f16_from_f32(f16) == bits, "f16 %04x comes back as %04x", bits, vks_f16_from_f32(f16));
        if ((bits & 0x7f80) == 0x7f80 && (bits & 0x7f))
            EXPECT(t, isnan(bf16) && (vks_bf16_from_f32(bf16) & ~0x40u) == (bits & ~0x40u), "bf16 NaN %04x", bits);
        else
            EXPECT(t, vks_bf16_from_f32(bf16) == bits, "bf16 %04x comes back otherwise", bits);
    }
    EXPECT(t, float_bits(vks_f32_from_f16(1)) == 0x33800000, "the smallest subnormal");
    EXPECT(t, vks_f16_from_f32(65519.996f) == 0x7bff && vks_f16_from_f32(65520) == 0x7c00, "overflow");
    EXPECT(t, vks_f16_from_f32(-NAN) == 0xfe00 || vks_f16_from_f32(-NAN) == 0x7e00, "NaN stays");
    const unsigned char unaligned[] = {0, 0x00, 0x3c, 0x00, 0xc0};
    float two[2];
    uint16_t back[2];
    vks_f32_from_f16_array(two, unaligned + 1, 2);
    EXPECT(t, two[0] == 1 && two[1] == -2, "array");
    vks_f16_from_f32_array(back, two, 2);
    EXPECT(t, back[0] == 0x3c00 && back[1] == 0xc000, "array back");
}

static void hash_values(struct test *t)
{
    unsigned char data[300];
    uint64_t state = 2, seen[301];
    char hex[17];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)random64(&state);
    for (size_t size = 0; size <= sizeof(data); size++) {
        seen[size] = vks_hash64(data, size);
        for (size_t cut = 0; cut <= size; cut += 1 + cut / 3) {
            struct vks_hash hash;
            vks_hash_init(&hash, 0);
            vks_hash_add(&hash, data, cut);
            vks_hash_value(&hash);
            vks_hash_add(&hash, data + cut, size - cut);
            EXPECT(t, vks_hash_value(&hash) == seen[size], "%zu bytes cut at %zu hash differently", size, cut);
        }
        for (size_t i = 0; i < size; i++)
            EXPECT(t, seen[i] != seen[size], "lengths %zu and %zu collide", i, size);
    }
    const uint64_t whole = vks_hash64(data, 100);
    for (size_t bit = 0; bit < 800; bit++) {
        data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        const uint64_t other = vks_hash64(data, 100);
        int changed = 0;
        for (uint64_t rest = other ^ whole; rest; rest &= rest - 1)
            changed++;
        EXPECT(t, changed > 10 && changed < 54, "bit %zu changes %d bits", bit, changed);
        data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    // Written into files: must never change.
    CHECK_STR(t, vks_hash_hex(vks_hash64("", 0), hex), "1eff9d7ad413ae8e");
    CHECK_STR(t, vks_hash_hex(vks_hash64("vksteer", 7), hex), "706acbec9192c40d");
}

static void text_utf8(struct test *t)
{
    static const char *const bad[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x82",
                                      "\xf0\x9f\x98", "\xff"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        EXPECT(t, vks_utf8_check(bad[i], strlen(bad[i])) == 0, "case %zu is taken", i);
    for (uint32_t code = 0; code < 0x110000; code++) {
        char bytes[4];
        uint32_t back = 0;
        const size_t size = vks_utf8_encode(code, bytes);
        const bool surrogate = code >= 0xd800 && code < 0xe000;
        EXPECT(t, vks_utf8_decode(bytes, bytes + size, &back) == size && back == (surrogate ? 0xfffd : code),
               "U+%04X comes back as U+%04X", code, back);
        for (size_t cut = 0; cut < size; cut++)
            EXPECT(t, vks_utf8_decode(bytes, bytes + cut, &back) == 0, "U+%04X cut", code);
    }
    char out[16];
    struct vks_text json = {0};
    vks_text_add_json(&json, "a\"b\\c\n\x7f \xc3\xa9");
    CHECK_STR(t, json.data, "\"a\\\"b\\\\c\\u000a\x7f \xc3\xa9\"");
    vks_text_finish(&json);
    CHECK_STR(t, vks_text_quote("a\nb\xff", 4, out, sizeof(out)), "a\\x0ab\\xff");
    CHECK_STR(t, vks_text_quote("0123456789abcdefgh", 18, out, sizeof(out)), "012345678...");
    for (size_t capacity = 1; capacity < sizeof(out); capacity++) {
        char *exact = malloc(capacity);
        static const char mixed[] = "\xe4\xbd\xa0\x01\xf0\x9f\x98\x80zzzzzz";
        EXPECT(t, exact && strlen(vks_text_quote(mixed, 14, exact, capacity)) < capacity, "quote into %zu bytes",
               capacity);
        free(exact);
    }
}

static void text_numbers(struct test *t)
{
    double number = 0;
    uint64_t natural = 0;
    EXPECT(t, vks_parse_double("-1.5e3", &number) && number == -1500, "-1.5e3");
    EXPECT(t, vks_parse_u64("18446744073709551615", &natural) && natural == UINT64_MAX, "UINT64_MAX");
    static const char *const bad[] = {"", " 1", "1 ", "nan", "inf", "1e999", "0x10", "1..2", "-", "1e", "1-2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        EXPECT(t, !vks_parse_double(bad[i], &number), "\"%s\" is taken", bad[i]);
    EXPECT(t, !vks_parse_u64("-1", &natural) && !vks_parse_u64("18446744073709551616", &natural), "naturals");
}

static void shapes_in_messages(struct test *t)
{
    static const uint64_t shape[] = {320, 4, 3, UINT64_MAX};
    char small[9];
    CHECK_STR(t, VKS_SHAPE(3, shape), "(320, 4, 3)");
    CHECK_STR(t, VKS_SHAPE(1, shape + 3), "(18446744073709551615)");
    CHECK_STR(t, VKS_SHAPE(0, shape), "()");
    CHECK_STR(t, vks_shape_text(small, sizeof(small), 3, shape), "(320, 4,");
}

// A library lives in programs that have set their locale: what machines read has a point all the same.
static void numbers_in_other_locales(struct test *t)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8", "es_ES.UTF-8", "ps_AF.UTF-8"};
    static const double values[] = {0.1, -1.5e-7, 1e300, 0, -2.0 / 3};
    double number;
    uint32_t met = 0;
    for (size_t n = 0; n <= sizeof(names) / sizeof(names[0]); n++) {
        const char *name = n ? setlocale(LC_NUMERIC, names[n - 1]) : "C";
        met += n && name && strcmp(localeconv()->decimal_point, ".") != 0;
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]) && name; i++) {
            const char *text = VKS_NUMBER("%.17g", values[i]);
            EXPECT(t, !strchr(text, ',') && vks_parse_double(text, &number) && number == values[i], "%s: %s", name,
                   text);
        }
        if (name)
            CHECK_STR(t, VKS_NUMBER("%.3f", -1234.5678), "-1234.568");
        if (name)
            EXPECT(t, !vks_parse_double("1,5", &number), "%s: a comma is taken", name);
        setlocale(LC_NUMERIC, "C");
    }
    if (!met && !t->bad)
        SKIP(t, "no locale with a decimal comma here (Debian and Ubuntu: locales, with localedef)");
}

static void text_paths(struct test *t)
{
    static const char *const folders[][2] = {{"a/b", "a"}, {"b", "."}, {"/b", "/"}, {"a//b", "a"}, {"a/", "a"}};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        char *folder = vks_path_folder(folders[i][0]);
        EXPECT(t, folder && !strcmp(folder, folders[i][1]), "folder of %s is %s", folders[i][0], folder);
        free(folder);
    }
    static const char *const joins[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"a", "/b", "/b"}};
    for (size_t i = 0; i < sizeof(joins) / sizeof(joins[0]); i++) {
        char *path = vks_path_join(joins[i][0], joins[i][1]);
        EXPECT(t, path && !strcmp(path, joins[i][2]), "join gives %s", path);
        free(path);
    }
    EXPECT(t, vks_ends_with("x.JSON", ".json") && !vks_ends_with("json", ".json"), "ends with");
}

static size_t count_files(const char *folder)
{
    struct vks_os_names names;
    if (!vks_os_list(NULL, folder, &names))
        return SIZE_MAX;
    const size_t count = names.count;
    vks_os_names_finish(&names);
    return count;
}

static bool holds(const char *path, const char *want)
{
    size_t size = 0;
    char *data = vks_os_read_file(NULL, path, 1 << 20, &size);
    const bool same = data && size == strlen(want) && !memcmp(data, want, size);
    free(data);
    return same;
}

static void os_files(struct test *t)
{
    test_scratch_empty(scratch);
    char path[700];
    snprintf(path, sizeof(path), "%s", in_scratch("file"));
    struct vks_os_map map;
    CHECK(t, !vks_os_exists(path) && vks_os_file_size(path) == UINT64_MAX);
    CHECK(t, vks_os_write_file(test_log(t), path, "one", 3) && holds(path, "one"));
    CHECK(t, vks_os_write_file(test_log(t), path, "", 0) && holds(path, "") && vks_os_file_size(path) == 0);
    CHECK(t, vks_os_map_open(test_log(t), path, &map) && map.size == 0 && map.data);
    vks_os_map_close(&map);
    vks_os_map_close(&map);
    CHECK(t, vks_os_write_file(test_log(t), path, "two two", 7) && vks_os_is_file(path) && !vks_os_is_dir(path));
    CHECK(t, vks_os_map_open(test_log(t), path, &map) && map.size == 7 && !memcmp(map.data, "two two", 7));
    CHECK(t, vks_os_write_file(test_log(t), path, "three", 5) && !memcmp(map.data, "two two", 7));
    vks_os_map_close(&map);
    CHECK(t, vks_os_truncate(test_log(t), path, 9) && holds(path, "three"));
    CHECK(t, vks_os_truncate(test_log(t), path, 2) && holds(path, "th") && count_files(scratch) == 1);
    struct vks_os_writer *writer = vks_os_writer_open(test_log(t), path);
    CHECK(t, writer && vks_os_writer_write(writer, "x", 1));
    vks_os_writer_abandon(&writer);
    CHECK(t, !writer && holds(path, "th") && count_files(scratch) == 1);
    size_t size;
    CHECK_REFUSED(t, vks_os_read_file(test_log(t), path, 1, &size), "larger than the limit");
    CHECK_REFUSED(t, vks_os_read_file(test_log(t), scratch, 1, &size), "is a folder");
    CHECK_REFUSED(t, vks_os_read_file(test_log(t), in_scratch("none"), 1, &size), "cannot open");
    CHECK_REFUSED(t, vks_os_map_open(test_log(t), in_scratch("none"), &map), "cannot open");
    CHECK_REFUSED(t, vks_os_map_open(test_log(t), scratch, &map), "is a folder");
    CHECK_REFUSED(t, vks_os_write_file(test_log(t), scratch, "", 0), "is a folder");
    CHECK_REFUSED(t, vks_os_write_file(test_log(t), in_scratch("no/such/file"), "", 0), "check the path");
    CHECK_REFUSED(t, vks_os_make_dirs(test_log(t), in_scratch("file/sub")), "cannot create");
    CHECK_REFUSED(t, vks_os_truncate(test_log(t), in_scratch("none"), 0), "cannot truncate");
    struct vks_os_names names;
    CHECK_REFUSED(t, vks_os_list(test_log(t), in_scratch("none"), &names), "cannot list");
    CHECK(t, vks_os_remove(test_log(t), path) && vks_os_remove(test_log(t), path) && count_files(scratch) == 0);
}

static void os_append(struct test *t)
{
    test_scratch_empty(scratch);
    const char *path = in_scratch("log");
    struct vks_os_appender *log = vks_os_appender_open(test_log(t), path, UINT64_MAX);
    CHECK(t, log && vks_os_appender_write(log, "one\n", 4) && vks_os_appender_write(log, "two\n", 4));
    CHECK(t, vks_os_appender_size(log) == 8 && holds(path, "one\ntwo\n") && vks_os_appender_sync(log));
    vks_os_appender_close(&log);
    log = vks_os_appender_open(test_log(t), path, 4);
    CHECK(t, log && vks_os_appender_write(log, "2\n", 2) && vks_os_appender_size(log) == 6);
    vks_os_appender_close(&log);
    CHECK(t, holds(path, "one\n2\n"));
    log = vks_os_appender_open(test_log(t), path, UINT64_MAX);
    CHECK(t, log && vks_os_appender_write(log, "3\n", 2));
    vks_os_appender_close(&log);
    CHECK(t, holds(path, "one\n2\n3\n"));
    CHECK_REFUSED(t, vks_os_appender_open(test_log(t), path, 100), "changed since");
    CHECK_REFUSED(t, vks_os_appender_open(test_log(t), scratch, 0), "cannot append");
    test_scratch_empty(scratch);
}

static void os_system(struct test *t)
{
    const double start = vks_os_seconds();
    vks_os_sleep(0.01);
    EXPECT(t, vks_os_seconds() - start >= 0.009, "slept %g s", vks_os_seconds() - start);
    EXPECT(t, vks_os_terminal_width() > 0 && vks_os_processors() >= 1, "width or processors");
    EXPECT(t, vks_os_available_memory() != 0, "no memory");
    EXPECT(t, !vks_os_interrupted(), "interrupted");
    char *program = vks_os_program_path();
    EXPECT(t, program && vks_os_is_file(program), "program path %s", program);
    free(program);
    char *cache = vks_os_cache_dir(test_log(t), "vksteer-none", false);
    EXPECT(t, cache && !strcmp(vks_path_name(cache), "vksteer-none"), "cache %s", cache);
    free(cache);
}

// Threads that keep processors awake do so for as long as they are told, over and over, and end.
static void os_awake(struct test *t)
{
    struct vks_os_awake *awake = vks_os_awake_open();
    for (int i = 0; i < 3; i++) {
        vks_os_awake_hold(awake, true);
        vks_os_sleep(0.02);
        vks_os_awake_hold(awake, false);
    }
    vks_os_sleep(0.01);
    const clock_t before = clock();
    vks_os_sleep(0.3);
    const double used = (double)(clock() - before) / CLOCKS_PER_SEC;
    EXPECT(t, used < 0.1, "%g s of processor time after the last hold", used);
    vks_os_awake_hold(awake, true);
    vks_os_awake_close(&awake);
    EXPECT(t, !awake, "closed");
    vks_os_awake_hold(awake, true);
    vks_os_awake_close(&awake);
}

#ifndef _WIN32
// A process of low priority does without: there such threads would take a share.
static void os_awake_nice(struct test *t)
{
    const pid_t child = fork();
    if (child == 0)
        _exit(setpriority(PRIO_PROCESS, 0, 19) || vks_os_awake_open() != NULL);
    int status = -1;
    EXPECT(t, child > 0 && waitpid(child, &status, 0) == child && status == 0, "status %d", status);
}

// A process that replaces a file over and over is killed at a random moment: the file is whole, and at most one other
// is left.
static void os_kill(struct test *t)
{
    const size_t size = 300000;
    test_scratch_empty(scratch);
    const char *path = in_scratch("state");
    char *data = malloc(size);
    CHECK(t, data);
    memset(data, 'a', size);
    CHECK(t, vks_os_write_file(test_log(t), path, data, size));
    uint64_t state = 3;
    for (int round = 0; round < 12 && !t->bad; round++) {
        const pid_t child = fork();
        if (child == 0) {
            for (char c = 'b';; c = c == 'z' ? 'a' : (char)(c + 1)) {
                memset(data, c, size);
                vks_os_write_file(NULL, path, data, size);
            }
        }
        vks_os_sleep(0.002 + (double)(random64(&state) % 1000) * 2e-5);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        size_t found = 0;
        char *got = vks_os_read_file(test_log(t), path, size, &found);
        EXPECT(t, got && found == size && !memcmp(got, got + 1, size - 1), "round %d: the file is torn", round);
        // A kill between link and rename may leave one temporary, complete; over all rounds one each at most.
        EXPECT(t, count_files(scratch) <= 2 + (size_t)round, "round %d: %zu files are left", round,
               count_files(scratch));
        free(got);
    }
    free(data);
    test_scratch_empty(scratch);
}

static void os_full_disk(struct test *t)
{
    test_scratch_empty(scratch);
    if (vks_os_exists("/dev/full"))
        CHECK_REFUSED(t, vks_os_write_file(test_log(t), "/dev/full", "x", 1), "free some space");
    CHECK(t, !vks_os_exists("/dev/full") || !vks_os_is_file("/dev/full"));
    // A limit on file sizes stands in for a full disk.
    char *data = calloc(1, 1 << 20);
    struct rlimit limit, small;
    getrlimit(RLIMIT_FSIZE, &limit);
    small = limit;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    struct vks_os_writer *writer = vks_os_writer_open(test_log(t), in_scratch("big"));
    t->messages = 0;
    for (int i = 0; data && i < 10; i++)
        vks_os_writer_write(writer, data, 50000);
    const bool done = vks_os_writer_commit(&writer);
    setrlimit(RLIMIT_FSIZE, &limit);
    free(data);
    EXPECT(t, !done && t->messages == 1, "%d messages", t->messages);
    EXPECT(t, count_files(scratch) == 0, "the temporary is left");
}

static void os_links_and_modes(struct test *t)
{
    test_scratch_empty(scratch);
    CHECK(t, vks_os_write_file(test_log(t), in_scratch("real"), "a", 1));
    CHECK(t, chmod(in_scratch("real"), 0640) == 0 && symlink("real", in_scratch("link")) == 0);
    CHECK(t, vks_os_write_file(test_log(t), in_scratch("link"), "b", 1));
    struct stat info;
    CHECK(t, lstat(in_scratch("link"), &info) == 0 && S_ISLNK(info.st_mode) && holds(in_scratch("real"), "b"));
    CHECK(t, stat(in_scratch("real"), &info) == 0 && (info.st_mode & 0777) == 0640);
    CHECK(t, vks_os_write_file(test_log(t), "/dev/null", "b", 1) && stat("/dev/null", &info) == 0 &&
                 S_ISCHR(info.st_mode));
    test_scratch_empty(scratch);
}

static void os_interrupt(struct test *t)
{
    const pid_t child = fork();
    if (child == 0) {
        vks_os_catch_interrupt();
        raise(SIGINT);
        if (!vks_os_interrupted())
            _exit(1);
        raise(SIGINT);
        _exit(2);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT(t, WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "the second Ctrl-C does not end the process (%d)",
           status);
}
#endif

int main(void)
{
    struct test t = {0};
    if (!test_scratch_open("base"))
        return 1;
    TEST(&t, half_from_float);
    TEST(&t, half_round_trip);
    TEST(&t, hash_values);
    TEST(&t, text_utf8);
    TEST(&t, text_numbers);
    TEST(&t, shapes_in_messages);
    TEST(&t, numbers_in_other_locales);
    TEST(&t, text_paths);
    TEST(&t, os_files);
    TEST(&t, os_append);
    TEST(&t, os_system);
    TEST(&t, os_awake);
#ifndef _WIN32
    TEST(&t, os_awake_nice);
    TEST(&t, os_kill);
    TEST(&t, os_full_disk);
    TEST(&t, os_links_and_modes);
    TEST(&t, os_interrupt);
#endif
    test_scratch_close();
    return test_summary(&t);
}
