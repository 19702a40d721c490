// A text that grows, and text that terminals can be given.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

void text_add(struct text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    const size_t need = text->length + (size_t)(size > 0 ? size : 0) + 1;
    if (need > text->capacity) {
        char *data = realloc(text->data, 2 * need);
        text->failed |= !data;
        text->data = data ? data : text->data;
        text->capacity = data ? 2 * need : text->capacity;
    }
    if (need <= text->capacity) {
        vsnprintf(text->data + text->length, text->capacity - text->length, format, again);
        text->length = need - 1;
    }
    va_end(again);
}

// Where `c`, behind `tail` bytes that a UTF-8 character still wants, may stand in text; counts `tail` on.
static bool is_plain(unsigned char c, unsigned char next, unsigned *tail)
{
    const bool inside = *tail && (c & 0xc0) == 0x80;
    *tail = inside ? *tail - 1 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc2 ? 1 : 0;
    if (c == 0xc2 && next >= 0x80 && next < 0xa0) {  // controls beyond ASCII, both bytes of them
        *tail = 0;
        return false;
    }
    return inside || c >= 0xc2 || (c >= 0x20 && c < 0x7f) || c == '\t';
}

void print_plain(FILE *file, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    const int size = vsnprintf(NULL, 0, format, args);
    unsigned char *all = size < 0 ? NULL : malloc(5 * ((size_t)size + 1));
    if (all) {  // written at the end of the room, read from there, and escaped into its beginning
        unsigned char *in = all + 4 * ((size_t)size + 1);
        char *out = (char *)all;
        unsigned tail = 0;
        vsnprintf((char *)in, (size_t)size + 1, format, again);
        for (; *in; in++)
            if (is_plain(in[0], in[1], &tail))
                *out++ = (char)*in;
            else
                out += snprintf(out, 5, "\\x%02x", *in);
        *out = 0;
        fputs((char *)all, file);  // in one piece, so that lines of several programs do not mix
    } else {
        vfprintf(file, format, again);
    }
    va_end(again);
    free(all);
}

void text_add_number(struct text *text, double value, bool single)
{
    char digits[40];
    int precision = 1;
    do
        snprintf(digits, sizeof(digits), "%.*g", precision, value);
    while (precision++ < 17 &&
           (single ? (float)strtod(digits, NULL) != (float)value : strtod(digits, NULL) != value));
    text_add(text, "%s", digits);
}

void text_add_word(struct text *text, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,+@%=";
    if (*word && strspn(word, plain) == strlen(word)) {
        text_add(text, " %s", word);
        return;
    }
    text_add(text, " '");
    for (; *word; word++)
        if (*word == '\'')
            text_add(text, "'\\''");
        else
            text_add(text, "%c", *word);
    text_add(text, "'");
}
