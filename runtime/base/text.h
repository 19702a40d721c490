// Text: a growing string, UTF-8, paths, numbers.
#ifndef VKS_BASE_TEXT_H
#define VKS_BASE_TEXT_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A growing string, always NUL-terminated once something was added. Zero-initialise; free with vks_text_finish, or
// take `data` (free() it). When memory runs out `failed` is set and further additions do nothing.
struct vks_text {
    char *data;
    size_t length, capacity;
    bool failed;
};

bool vks_text_add(struct vks_text *text, const void *bytes, size_t size);
bool vks_text_add_str(struct vks_text *text, const char *string);
bool vks_text_printf(struct vks_text *text, const char *format, ...) VKS_PRINTF(2, 3);
// A JSON string of UTF-8 text, in quotes; only what must be escaped is.
bool vks_text_add_json(struct vks_text *text, const char *string);
void vks_text_finish(struct vks_text *text);

// Decodes the code point at `at` (before `end`) and returns its length in bytes, 0 when it is not valid UTF-8
// (overlong forms, surrogates and values above U+10FFFF are not).
size_t vks_utf8_decode(const char *at, const char *end, uint32_t *code);
// Writes the code point, 1 to 4 bytes; returns how many. A code that is none is written as U+FFFD.
size_t vks_utf8_encode(uint32_t code, char out[4]);
// The offset of the first invalid byte, or `size`.
size_t vks_utf8_check(const char *bytes, size_t size);

// A copy for messages: control and invalid bytes as \xNN, cut to fit; returns `out`.
char *vks_text_quote(const char *bytes, size_t size, char *out, size_t capacity);

// "folder/name", or "name" when folder is empty or name is absolute; NULL when out of memory. free() it.
char *vks_path_join(const char *folder, const char *name);
// What follows the last separator; points into `path`.
const char *vks_path_name(const char *path);
// The folder of `path`: "." when it has none. free() it.
char *vks_path_folder(const char *path);
// Whether `text` ends in `end`, ASCII letters compared without case.
bool vks_ends_with(const char *text, const char *end);

// A number as printf's `format` (of one double) writes it, but with a point whatever the locale of the program is:
// for all that machines read. Returns `out`; VKS_NUMBER has room of its own, which lasts to the end of the block.
char *vks_number(char *out, size_t capacity, const char *format, double value);
#define VKS_NUMBER(format, value) vks_number((char[32]){0}, 32, format, value)
// The extents of a tensor for messages, "(3, 4)", cut where they are too many. Returns `out`; VKS_SHAPE as above.
char *vks_shape_text(char *out, size_t capacity, int rank, const uint64_t shape[]);
#define VKS_SHAPE(rank, shape) vks_shape_text((char[192]){0}, 192, rank, shape)
// Whole-string numbers in the C locale's spelling, whatever the locale is; false when malformed or out of range.
bool vks_parse_double(const char *text, double *value);  // finite only
bool vks_parse_u64(const char *text, uint64_t *value);

#endif
