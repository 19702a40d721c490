// The few macros of a test program. A test is a `static void name(struct test *t)`; TEST runs it and prints one line,
// `ok NAME` or `FAIL NAME: FILE:LINE: why`; `return test_summary(&t)` prints `N passed, N failed, N skipped` last.
#ifndef VKS_TESTS_TEST_H
#define VKS_TESTS_TEST_H

#include "base/log.h"
#include "base/os.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
    int passed, failed, skipped;
    bool bad, skip;      // of the running test
    char why[512];       // its first failure, or why it is skipped
    char message[1024];  // the last error that came through test_log()
    int messages;        // how many errors came
    struct vks_log log;
};

static inline void test_print(void *priv, enum vks_log_level level, const char *message)
{
    struct test *t = priv;
    if (level != VKS_LOG_ERROR)
        return;
    t->messages++;
    snprintf(t->message, sizeof(t->message), "%s", message);
}

// A log that keeps the last error in t->message and counts them, so that a test can look at them.
static inline const struct vks_log *test_log(struct test *t)
{
    t->log = (struct vks_log){.print = test_print, .priv = t, .level = VKS_LOG_WARN};
    return &t->log;
}

static inline void test_fail(struct test *t, const char *file, int line, const char *format, ...) VKS_PRINTF(4, 5);
static inline void test_fail(struct test *t, const char *file, int line, const char *format, ...)
{
    if (t->bad)
        return;
    t->bad = true;
    const int at = snprintf(t->why, sizeof(t->why), "%s:%d: ", file, line);
    va_list args;
    va_start(args, format);
    vsnprintf(t->why + at, sizeof(t->why) - (size_t)at, format, args);
    va_end(args);
}

static inline void test_run(struct test *t, const char *name, void (*function)(struct test *t))
{
    t->bad = t->skip = false;
    t->message[0] = 0;
    t->messages = 0;
    function(t);
    if (t->bad) {
        t->failed++;
        printf("FAIL %s: %s%s%s\n", name, t->why, t->message[0] ? " | log: " : "", t->message);
    } else if (t->skip) {
        t->skipped++;
        printf("skip %s: %s\n", name, t->why);
    } else {
        t->passed++;
        printf("ok %s\n", name);
    }
    fflush(stdout);
}

static inline int test_summary(const struct test *t)
{
    printf("%d passed, %d failed, %d skipped\n", t->passed, t->failed, t->skipped);
    return t->failed ? 1 : 0;
}

#define TEST(t, name) test_run(t, #name, name)

// Records the first failure with a message of one's own; the test goes on.
#define EXPECT(t, condition, ...)                            \
    do {                                                     \
        if (!(condition))                                    \
            test_fail(t, __FILE__, __LINE__, __VA_ARGS__);   \
    } while (0)

// Ends the test function when the condition does not hold.
#define CHECK(t, condition)                                  \
    do {                                                     \
        if (!(condition)) {                                  \
            test_fail(t, __FILE__, __LINE__, "%s", #condition); \
            return;                                          \
        }                                                    \
    } while (0)

#define CHECK_STR(t, got, want)                              \
    do {                                                     \
        const char *got_ = (got), *want_ = (want);           \
        if (!got_ || strcmp(got_, want_) != 0) {             \
            test_fail(t, __FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #got, got_ ? got_ : "(null)", want_); \
            return;                                          \
        }                                                    \
    } while (0)

// Checks that `call` fails with exactly one error message that contains `text`.
#define CHECK_REFUSED(t, call, text)                         \
    do {                                                     \
        (t)->messages = 0;                                   \
        (t)->message[0] = 0;                                 \
        const bool taken_ = (call);                          \
        if (taken_ || (t)->messages != 1 || !strstr((t)->message, text)) { \
            test_fail(t, __FILE__, __LINE__, "%s: %s, %d messages, \"%s\" expected", #call, \
                      taken_ ? "accepted" : "refused", (t)->messages, text); \
            return;                                          \
        }                                                    \
        (t)->message[0] = 0;                                 \
    } while (0)

#define SKIP(t, ...)                                         \
    do {                                                     \
        (t)->skip = true;                                    \
        snprintf((t)->why, sizeof((t)->why), __VA_ARGS__);   \
        return;                                              \
    } while (0)

// Whether two files hold the same bytes.
static inline bool test_same_files(const char *a, const char *b)
{
    size_t size_a = 0, size_b = 0;
    char *x = vks_os_read_file(NULL, a, 1 << 24, &size_a), *y = vks_os_read_file(NULL, b, 1 << 24, &size_b);
    const bool same = x && y && size_a == size_b && memcmp(x, y, size_a) == 0;
    free(x);
    free(y);
    return same;
}

#endif
