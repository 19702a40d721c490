// A strict check of JSON text before a tree is built from it.
#ifndef VKS_IO_JSON_CHECK_H
#define VKS_IO_JSON_CHECK_H

#include <stddef.h>

// NULL when `text` is one JSON value by RFC 8259 within the limits of json.h; else what is wrong, and *offset is
// where. Stricter than the RFC where a C string could not hold the value: U+0000 and unpaired surrogates are refused.
const char *vks_json_check(const char *text, size_t size, size_t *offset);

#endif
