// A tiny JSON writer.
#include <math.h>
#include <string.h>

#include "cli.h"

#define DEPTH 16

static struct {
    char closing[DEPTH];
    bool some[DEPTH];    // a member was written at this level
    int depth;
} state;

static void write_string(const char *text)
{
    putchar('"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            printf("\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f)
            printf("\\u%04x", *p);
        else
            putchar(*p);
    }
    putchar('"');
}

static void start_member(const char *key)
{
    if (state.depth && state.some[state.depth - 1])
        fputs(", ", stdout);
    if (state.depth)
        state.some[state.depth - 1] = true;
    if (key) {
        write_string(key);
        fputs(": ", stdout);
    }
}

void json_open(const char *key, char bracket)
{
    start_member(key);
    putchar(bracket);
    if (state.depth < DEPTH) {
        state.closing[state.depth] = bracket == '{' ? '}' : ']';
        state.some[state.depth++] = false;
    }
}

void json_close(void)
{
    if (state.depth)
        putchar(state.closing[--state.depth]);
}

void json_text(const char *key, const char *value)
{
    start_member(key);
    if (value)
        write_string(value);
    else
        fputs("null", stdout);
}

void json_number(const char *key, double value)
{
    start_member(key);
    if (isfinite(value))
        printf("%.9g", value);
    else
        fputs("null", stdout);
}

void json_integer(const char *key, uint64_t value)
{
    start_member(key);
    printf("%llu", (unsigned long long)value);
}

void json_bool(const char *key, bool value)
{
    start_member(key);
    fputs(value ? "true" : "false", stdout);
}

bool json_finish(void)
{
    while (state.depth)
        json_close();
    putchar('\n');
    return output_is_good();
}
