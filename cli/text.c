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

void print_plain(FILE *file, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    const int size = vsnprintf(NULL, 0, format, args);
    char *all = size < 0 ? NULL : malloc((size_t)size + 1);
    if (all)
        vsnprintf(all, (size_t)size + 1, format, again);
    va_end(again);
    for (const unsigned char *at = (const unsigned char *)all; at && *at; at++) {
        const bool wide = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;  // controls beyond ASCII, in UTF-8
        if (wide || (*at < 0x20 && *at != '\t') || *at == 0x7f)
            fprintf(file, "\\x%02x", wide ? *++at : *at);
        else
            fputc(*at, file);
    }
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
