// JSON files as trees of cJSON, with limits, and getters that check type and range and name file and key.
#ifndef VKS_IO_JSON_H
#define VKS_IO_JSON_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VKS_JSON_MAX_SIZE ((size_t)64 << 20)    // bytes of a file
#define VKS_JSON_MAX_DEPTH 64                  // nested objects and arrays
#define VKS_JSON_MAX_VALUES ((size_t)8 << 20)  // values in all: each costs some 64 bytes of memory

struct cJSON;

// A parsed document. `root` may be walked with cJSON's own functions too; `path` is used in messages.
struct vks_json {
    char *path;
    struct cJSON *root;
};

// NULL after one message ("FILE: line N: ..." for a syntax error).
struct vks_json *vks_json_open(const struct vks_log *log, const char *path);
// The same from memory; `path` is only a name for messages. Text must be UTF-8 (a byte order mark is skipped);
// the grammar is strict; duplicate keys keep the last, as Python does; NaN, Infinity and "\\u0000" are refused.
struct vks_json *vks_json_parse(const struct vks_log *log, const char *path, const char *text, size_t size);
// Accepts NULL; nulls it.
void vks_json_close(struct vks_json **json);

// The member of an object, NULL when it is absent or null (JSON null counts as absent everywhere here), or when
// `object` is not an object. Case matters. The last of duplicates.
const struct cJSON *vks_json_get(const struct cJSON *object, const char *key);

// Getters: *value is `missing` when the key is absent; a wrong type or a value outside of [low, high] is an error
// "FILE: key X: expected ...". `object` NULL means the root.
bool vks_json_int(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object, const char *key,
                  int64_t missing, int64_t low, int64_t high, int64_t *value);
bool vks_json_number(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                     const char *key, double missing, double low, double high, double *value);
bool vks_json_bool(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                   const char *key, bool missing, bool *value);
// The string belongs to the document. `missing` may be NULL.
bool vks_json_string(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                     const char *key, const char *missing, const char **value);
// One of `choices` (NULL-terminated); *index gets its position. Absent gives `missing` (an index, or -1: required).
bool vks_json_choice(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                     const char *key, const char *const *choices, int missing, int *index);
// Arrays of at most `capacity` elements, each in [low, high]; *count = elements (0 when absent). A lone number counts
// as an array of one, as diffusers' configs mean it; *scalar (may be NULL) says that it was one.
bool vks_json_ints(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                   const char *key, int64_t low, int64_t high, int64_t *values, size_t capacity, size_t *count,
                   bool *scalar);
bool vks_json_strings(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                      const char *key, const char **values, size_t capacity, size_t *count);
// A nested object or array: *child is NULL when absent.
bool vks_json_object(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                     const char *key, const struct cJSON **child);
bool vks_json_array(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                    const char *key, const struct cJSON **child);
// Fails with "FILE: key X is missing" unless the key is there and not null.
bool vks_json_require(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                      const char *key);

#endif
