// A tiny JSON writer.
#include <math.h>
#include <string.h>

#include "cli.h"

#define DEPTH 16

static struct state {
    FILE *file;          // NULL: standard output
    char closing[DEPTH];
    bool some[DEPTH];    // a member was written at this level
    int depth;
} states[2], *state = &states[0];

static FILE *target(void)
{
    return state->file ? state->file : stdout;
}

void json_to(FILE *file)
{
    state = &states[file != stdout];
    if (file != stdout)
        *state = (struct state){.file = file};
}

static void write_string(const char *text)
{
    putc('"', target());
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            fprintf(target(), "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f)
            fprintf(target(), "\\u%04x", *p);
        else
            putc(*p, target());
    }
    putc('"', target());
}

static void start_member(const char *key)
{
    if (state->depth && state->some[state->depth - 1])
        fputs(", ", target());
    if (state->depth)
        state->some[state->depth - 1] = true;
    if (key) {
        write_string(key);
        fputs(": ", target());
    }
}

void json_open(const char *key, char bracket)
{
    start_member(key);
    putc(bracket, target());
    if (state->depth < DEPTH) {
        state->closing[state->depth] = bracket == '{' ? '}' : ']';
        state->some[state->depth++] = false;
    }
}

void json_close(void)
{
    if (state->depth)
        putc(state->closing[--state->depth], target());
}

void json_text(const char *key, const char *value)
{
    start_member(key);
    if (value)
        write_string(value);
    else
        fputs("null", target());
}

void json_number(const char *key, double value)
{
    start_member(key);
    if (isfinite(value))
        fprintf(target(), "%.9g", value);
    else
        fputs("null", target());
}

void json_integer(const char *key, uint64_t value)
{
    start_member(key);
    fprintf(target(), "%llu", (unsigned long long)value);
}

void json_bool(const char *key, bool value)
{
    start_member(key);
    fputs(value ? "true" : "false", target());
}

bool json_finish(void)
{
    while (state->depth)
        json_close();
    putc('\n', target());
    return output_is_good();
}
