// cJSON is lenient (numbers such as "1.2.3", control characters, bytes that are no UTF-8) and recursive. This walk
// goes first, without recursion, so that cJSON only ever sees text that is right.
#include "io/json_check.h"

#include "base/text.h"
#include "io/json.h"

#include <string.h>

struct walk {
    const char *text, *at, *end;
    char stack[VKS_JSON_MAX_DEPTH];  // '{' or '['
    size_t depth, values;
};

static void skip_space(struct walk *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\t' || *w->at == '\n' || *w->at == '\r'))
        w->at++;
}

// Four hex digits at `at`, or -1.
static long hex4(const char *at, const char *end)
{
    long value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char c = at[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

// What follows a backslash.
static const char *check_escape(struct walk *w)
{
    if (w->at >= w->end)
        return "unfinished string";
    const char c = *w->at++;
    if (c != 'u')
        return c && strchr("\"\\/bfnrt", c) ? NULL : "unknown escape in a string";
    const long code = hex4(w->at, w->end);
    if (code < 0)
        return "malformed \\u escape";
    if (code == 0)
        return "NUL in a string";
    w->at += 4;
    if (code < 0xd800 || code >= 0xe000)
        return NULL;
    if (code >= 0xdc00 || w->end - w->at < 6 || w->at[0] != '\\' || w->at[1] != 'u')
        return "unpaired surrogate in a string";
    const long low = hex4(w->at + 2, w->end);
    if (low < 0xdc00 || low >= 0xe000)
        return "unpaired surrogate in a string";
    w->at += 6;
    return NULL;
}

static const char *check_string(struct walk *w)
{
    w->at++;
    while (w->at < w->end) {
        const unsigned char c = (unsigned char)*w->at;
        if (c == '"') {
            w->at++;
            return NULL;
        }
        if (c < 0x20)
            return "control character in a string";
        if (c == '\\') {
            w->at++;
            const char *wrong = check_escape(w);
            if (wrong)
                return wrong;
            continue;
        }
        uint32_t code;
        const size_t length = vks_utf8_decode(w->at, w->end, &code);
        if (!length)
            return "text that is not UTF-8";
        w->at += length;
    }
    return "unfinished string";
}

static size_t skip_digits(struct walk *w)
{
    const char *from = w->at;
    while (w->at < w->end && *w->at >= '0' && *w->at <= '9')
        w->at++;
    return (size_t)(w->at - from);
}

static const char *check_number(struct walk *w)
{
    static const char *const wrong = "malformed number";
    const char *from = w->at;
    if (*w->at == '-')
        w->at++;
    const char *digits = w->at;
    const size_t count = skip_digits(w);
    if (!count || (count > 1 && *digits == '0'))
        return wrong;
    if (w->at < w->end && *w->at == '.') {
        w->at++;
        if (!skip_digits(w))
            return wrong;
    }
    if (w->at < w->end && (*w->at == 'e' || *w->at == 'E')) {
        w->at++;
        if (w->at < w->end && (*w->at == '+' || *w->at == '-'))
            w->at++;
        if (!skip_digits(w))
            return wrong;
    }
    return w->at - from > 60 ? "number of more than 60 characters" : NULL;  // cJSON cuts at 63
}

static bool take_word(struct walk *w, const char *word)
{
    const size_t length = strlen(word);
    if ((size_t)(w->end - w->at) < length || memcmp(w->at, word, length) != 0)
        return false;
    w->at += length;
    return true;
}

static const char *check_key(struct walk *w)
{
    if (w->at >= w->end || *w->at != '"')
        return "a key in quotes expected";
    const char *wrong = check_string(w);
    if (wrong)
        return wrong;
    skip_space(w);
    if (w->at >= w->end || *w->at != ':')
        return "':' expected";
    w->at++;
    skip_space(w);
    return NULL;
}

// The start of one value at `at`. For an object or array that is not empty the walk stands at its first element, and
// *open says so; else it stands behind the value.
static const char *check_value(struct walk *w, bool *open)
{
    *open = false;
    if (w->at >= w->end)
        return "unexpected end";
    if (++w->values > VKS_JSON_MAX_VALUES)
        return "too many values";
    const char c = *w->at;
    if (c == '"')
        return check_string(w);
    if (c == '-' || (c >= '0' && c <= '9'))
        return check_number(w);
    if (c != '{' && c != '[')
        return take_word(w, "true") || take_word(w, "false") || take_word(w, "null") ? NULL : "a value expected";
    w->at++;
    skip_space(w);
    if (w->at < w->end && *w->at == (c == '{' ? '}' : ']')) {
        w->at++;
        return NULL;
    }
    if (w->depth == VKS_JSON_MAX_DEPTH)
        return "nested too deeply";
    w->stack[w->depth++] = c;
    *open = true;
    return c == '{' ? check_key(w) : NULL;
}

// Behind a value: leaves what ends here, until another value follows or all is closed.
static const char *close_values(struct walk *w)
{
    while (w->depth) {
        skip_space(w);
        const char kind = w->stack[w->depth - 1];
        if (w->at >= w->end)
            return "unexpected end";
        const char c = *w->at;
        if (c == ',') {
            w->at++;
            skip_space(w);
            return kind == '{' ? check_key(w) : NULL;
        }
        if (c != (kind == '{' ? '}' : ']'))
            return kind == '{' ? "',' or '}' expected" : "',' or ']' expected";
        w->at++;
        w->depth--;
    }
    return NULL;
}

const char *vks_json_check(const char *text, size_t size, size_t *offset)
{
    struct walk w = {.text = text, .at = text, .end = text + size};
    const char *wrong = NULL;
    skip_space(&w);
    do {
        bool open;
        wrong = check_value(&w, &open);
        if (!wrong && !open)
            wrong = close_values(&w);
    } while (!wrong && w.depth);
    if (!wrong) {
        skip_space(&w);
        if (w.at != w.end)
            wrong = "something follows the end";
    }
    *offset = (size_t)(w.at - text);
    return wrong;
}
