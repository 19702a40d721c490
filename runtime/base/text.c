#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Makes room for `more` bytes and a NUL.
static bool reserve(struct vks_text *text, size_t more)
{
    if (text->failed || more >= SIZE_MAX / 2 - text->length)
        return !(text->failed = true);
    const size_t needed = text->length + more + 1;
    if (needed <= text->capacity)
        return true;
    size_t capacity = text->capacity ? text->capacity : 64;
    while (capacity < needed)
        capacity *= 2;
    char *data = realloc(text->data, capacity);
    if (!data)
        return !(text->failed = true);
    text->data = data;
    text->capacity = capacity;
    return true;
}

bool vks_text_add(struct vks_text *text, const void *bytes, size_t size)
{
    if (!reserve(text, size))
        return false;
    if (size)
        memcpy(text->data + text->length, bytes, size);
    text->length += size;
    text->data[text->length] = 0;
    return true;
}

bool vks_text_add_str(struct vks_text *text, const char *string)
{
    return vks_text_add(text, string, strlen(string));
}

bool vks_text_printf(struct vks_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0 || !reserve(text, (size_t)length))
        return !(text->failed = true);
    va_start(args, format);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, args);
    va_end(args);
    text->length += (size_t)length;
    return true;
}

bool vks_text_add_json(struct vks_text *text, const char *string)
{
    vks_text_add_str(text, "\"");
    for (const char *at = string; *at; at++) {
        const unsigned char c = (unsigned char)*at;
        if (c == '"' || c == '\\')
            vks_text_printf(text, "\\%c", c);
        else if (c < 0x20)
            vks_text_printf(text, "\\u%04x", c);
        else
            vks_text_add(text, at, 1);
    }
    return vks_text_add_str(text, "\"");
}

void vks_text_finish(struct vks_text *text)
{
    free(text->data);
    *text = (struct vks_text){0};
}

size_t vks_utf8_decode(const char *at, const char *end, uint32_t *code)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (at >= end)
        return 0;
    const unsigned char first = (unsigned char)*at;
    if (first < 0x80) {
        *code = first;
        return 1;
    }
    const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || (size_t)(end - at) < length)
        return 0;
    uint32_t value = first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        const unsigned char next = (unsigned char)at[i];
        if ((next & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (next & 0x3f);
    }
    if (value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 0;
    *code = value;
    return length;
}

size_t vks_utf8_encode(uint32_t code, char out[4])
{
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        code = 0xfffd;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    const size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00u >> length & 0xf0) | code);
    return length;
}

size_t vks_utf8_check(const char *bytes, size_t size)
{
    uint32_t code;
    for (size_t i = 0; i < size;) {
        const size_t length = vks_utf8_decode(bytes + i, bytes + size, &code);
        if (!length)
            return i;
        i += length;
    }
    return size;
}

char *vks_text_quote(const char *bytes, size_t size, char *out, size_t capacity)
{
    size_t at = 0;
    for (size_t i = 0; i < size;) {
        uint32_t code = 0;
        const size_t length = vks_utf8_decode(bytes + i, bytes + size, &code);
        const bool plain = length && code >= 0x20 && code != 0x7f && !(code >= 0x80 && code < 0xa0);
        if (at + 8 > capacity) {  // room for one character or escape, three dots and the NUL
            if (capacity >= 4 && at + 4 <= capacity)
                at += (size_t)snprintf(out + at, 4, "...");
            break;
        }
        if (plain) {
            memcpy(out + at, bytes + i, length);
            at += length;
            i += length;
        } else {
            at += (size_t)snprintf(out + at, 5, "\\x%02x", (unsigned char)bytes[i]);
            i++;
        }
    }
    if (capacity)
        out[at < capacity ? at : capacity - 1] = 0;
    return out;
}

static bool separator(char c)
{
#ifdef _WIN32
    return c == '/' || c == '\\';
#else
    return c == '/';
#endif
}

static bool absolute(const char *path)
{
#ifdef _WIN32
    if (isalpha((unsigned char)path[0]) && path[1] == ':')
        return true;
#endif
    return separator(path[0]);
}

char *vks_path_join(const char *folder, const char *name)
{
    const size_t length = absolute(name) ? 0 : strlen(folder), size = strlen(name);
    char *path = malloc(length + size + 2);
    if (!path)
        return NULL;
    memcpy(path, folder, length);
    size_t at = length;
    if (length && !separator(path[length - 1]))
        path[at++] = '/';
    memcpy(path + at, name, size + 1);
    return path;
}

const char *vks_path_name(const char *path)
{
    const char *name = path;
    for (const char *at = path; *at; at++) {
        if (separator(*at))
            name = at + 1;
    }
    return name;
}

char *vks_path_folder(const char *path)
{
    size_t length = (size_t)(vks_path_name(path) - path);
    while (length > 1 && separator(path[length - 1]))
        length--;
    if (!length) {
        path = ".";
        length = 1;
    }
    char *folder = malloc(length + 1);
    if (!folder)
        return NULL;
    memcpy(folder, path, length);
    folder[length] = 0;
    return folder;
}

bool vks_ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), size = strlen(end);
    if (size > length)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (tolower((unsigned char)text[length - size + i]) != tolower((unsigned char)end[i]))
            return false;
    }
    return true;
}

char *vks_number(char *out, size_t capacity, const char *format, double value)
{
    snprintf(out, capacity, format, value);
    const char *point = localeconv()->decimal_point;
    char *at = *point ? strstr(out, point) : NULL;
    if (at) {
        *at = '.';
        memmove(at + 1, at + strlen(point), strlen(at + strlen(point)) + 1);
    }
    return out;
}

char *vks_shape_text(char *out, size_t capacity, int rank, const uint64_t shape[])
{
    size_t at = (size_t)snprintf(out, capacity, "(");
    for (int i = 0; i < rank && at < capacity; i++)
        at += (size_t)snprintf(out + at, capacity - at, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    if (at < capacity)
        snprintf(out + at, capacity - at, ")");
    return out;
}

bool vks_parse_double(const char *text, double *value)
{
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
        return false;
    // strtod follows the locale of the program that uses this library: hand it the point that it expects.
    char copy[80], *end;
    const size_t whole = strcspn(text, ".");
    const bool point = text[whole] != 0;
    if (whole >= sizeof(copy))
        return false;
    const int size = snprintf(copy, sizeof(copy), "%.*s%s%s", (int)whole, text,
                              point ? localeconv()->decimal_point : "", point ? text + whole + 1 : "");
    if (size < 0 || (size_t)size >= sizeof(copy))
        return false;
    const double parsed = strtod(copy, &end);
    if (*end || end == copy || !isfinite(parsed))
        return false;
    *value = parsed;
    return true;
}

bool vks_parse_u64(const char *text, uint64_t *value)
{
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    const uintmax_t parsed = strtoumax(text, NULL, 10);
    if (errno || parsed > UINT64_MAX)
        return false;
    *value = (uint64_t)parsed;
    return true;
}
