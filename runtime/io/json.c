#include "io/json.h"

#include "base/os.h"
#include "base/text.h"
#include "io/json_check.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Doubles hold integers exactly up to here.
#define EXACT 9007199254740992.0

static bool add_path(struct vks_json *json, const char *path)
{
    const size_t size = strlen(path) + 1;
    json->path = malloc(size);
    if (json->path)
        memcpy(json->path, path, size);
    return json->path != NULL;
}

struct vks_json *vks_json_parse(const struct vks_log *log, const char *path, const char *text, size_t size)
{
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        text += 3;
        size -= 3;
    }
    if (size > VKS_JSON_MAX_SIZE)
        return vks_fail_null(log, "%s: is larger than the limit of %d MiB; give a smaller file", path,
                             (int)(VKS_JSON_MAX_SIZE >> 20));
    size_t offset;
    const char *wrong = vks_json_check(text, size, &offset);
    if (wrong) {
        size_t line = 1;
        for (size_t i = 0; i < offset; i++)
            line += text[i] == '\n';
        return vks_fail_null(log, "%s: line %llu: %s; this is not valid JSON, restore the file", path,
                             (unsigned long long)line, wrong);
    }
    struct vks_json *json = calloc(1, sizeof(*json));
    if (json && add_path(json, path))
        json->root = cJSON_ParseWithLength(text, size);
    if (!json || !json->root) {
        vks_json_close(&json);
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, path);
    }
    return json;
}

struct vks_json *vks_json_open(const struct vks_log *log, const char *path)
{
    size_t size;
    char *text = vks_os_read_file(log, path, VKS_JSON_MAX_SIZE, &size);
    struct vks_json *json = text ? vks_json_parse(log, path, text, size) : NULL;
    free(text);
    return json;
}

void vks_json_close(struct vks_json **json)
{
    if (*json) {
        cJSON_Delete((*json)->root);
        free((*json)->path);
        free(*json);
    }
    *json = NULL;
}

const struct cJSON *vks_json_get(const struct cJSON *object, const char *key)
{
    const struct cJSON *found = NULL;
    if (!cJSON_IsObject(object))
        return NULL;
    for (const struct cJSON *item = object->child; item; item = item->next) {
        if (!strcmp(item->string, key))
            found = item;
    }
    return found && !cJSON_IsNull(found) ? found : NULL;
}

// What a value is, for messages.
static const char *describe(const struct cJSON *item, char *out, size_t capacity)
{
    struct vks_text text = {0};
    if (cJSON_IsString(item)) {
        char quoted[48];
        vks_text_printf(&text, "\"%s\"", vks_text_quote(item->valuestring, strlen(item->valuestring), quoted,
                                                        sizeof(quoted)));
    } else if (cJSON_IsNumber(item)) {
        vks_text_printf(&text, "%.17g", item->valuedouble);
    } else {
        vks_text_add_str(&text, cJSON_IsBool(item)     ? (cJSON_IsTrue(item) ? "true" : "false")
                                : cJSON_IsArray(item)  ? "an array"
                                : cJSON_IsObject(item) ? "an object"
                                                       : "null");
    }
    vks_text_quote(text.data ? text.data : "", text.length, out, capacity);
    vks_text_finish(&text);
    return out;
}

static bool unexpected(const struct vks_log *log, const struct vks_json *json, const char *key, const char *expected,
                       const struct cJSON *item)
{
    char got[80];
    return vks_fail(log, "%s: key %s: expected %s, found %s; correct the file", json->path, key, expected,
                    describe(item, got, sizeof(got)));
}

static const struct cJSON *get(const struct vks_json *json, const struct cJSON *object, const char *key)
{
    return vks_json_get(object ? object : json->root, key);
}

// An integer in [low, high], exactly representable.
static bool is_int(const struct cJSON *item, int64_t low, int64_t high)
{
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= EXACT) || item->valuedouble != floor(item->valuedouble))
        return false;
    const int64_t value = (int64_t)item->valuedouble;
    return value >= low && value <= high;
}

bool vks_json_int(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object, const char *key,
                  int64_t missing, int64_t low, int64_t high, int64_t *value)
{
    const struct cJSON *item = get(json, object, key);
    *value = missing;
    if (!item)
        return true;
    if (!is_int(item, low, high)) {
        char expected[80];
        snprintf(expected, sizeof(expected), "an integer in [%" PRId64 ", %" PRId64 "]", low, high);
        return unexpected(log, json, key, expected, item);
    }
    *value = (int64_t)item->valuedouble;
    return true;
}

bool vks_json_number(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                     const char *key, double missing, double low, double high, double *value)
{
    const struct cJSON *item = get(json, object, key);
    *value = missing;
    if (!item)
        return true;
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble) || !(item->valuedouble >= low) ||
        !(item->valuedouble <= high)) {
        char expected[80];
        snprintf(expected, sizeof(expected), "a number in [%g, %g]", low, high);
        return unexpected(log, json, key, expected, item);
    }
    *value = item->valuedouble;
    return true;
}

bool vks_json_bool(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                   const char *key, bool missing, bool *value)
{
    const struct cJSON *item = get(json, object, key);
    *value = missing;
    if (!item)
        return true;
    if (!cJSON_IsBool(item))
        return unexpected(log, json, key, "true or false", item);
    *value = cJSON_IsTrue(item);
    return true;
}

bool vks_json_string(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                     const char *key, const char *missing, const char **value)
{
    const struct cJSON *item = get(json, object, key);
    *value = missing;
    if (!item)
        return true;
    if (!cJSON_IsString(item))
        return unexpected(log, json, key, "a string", item);
    *value = item->valuestring;
    return true;
}

bool vks_json_choice(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                     const char *key, const char *const *choices, int missing, int *index)
{
    const struct cJSON *item = get(json, object, key);
    *index = missing;
    if (!item)
        return missing >= 0 || vks_json_require(log, json, object, key);
    for (int i = 0; cJSON_IsString(item) && choices[i]; i++) {
        if (!strcmp(item->valuestring, choices[i])) {
            *index = i;
            return true;
        }
    }
    struct vks_text expected = {0};
    vks_text_add_str(&expected, "one of ");
    for (int i = 0; choices[i]; i++)
        vks_text_printf(&expected, "%s\"%s\"", i ? ", " : "", choices[i]);
    unexpected(log, json, key, expected.failed ? "another value" : expected.data, item);
    vks_text_finish(&expected);
    return false;
}

bool vks_json_ints(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                   const char *key, int64_t low, int64_t high, int64_t *values, size_t capacity, size_t *count,
                   bool *scalar)
{
    const struct cJSON *item = get(json, object, key);
    *count = 0;
    if (scalar)
        *scalar = cJSON_IsNumber(item);
    if (!item)
        return true;
    const struct cJSON *element = cJSON_IsArray(item) ? item->child : item;
    for (; element; element = cJSON_IsArray(item) ? element->next : NULL) {
        char expected[112];
        snprintf(expected, sizeof(expected), "at most %llu integers in [%" PRId64 ", %" PRId64 "]",
                 (unsigned long long)capacity, low, high);
        if (*count == capacity || !is_int(element, low, high))
            return unexpected(log, json, key, expected, *count == capacity ? item : element);
        values[(*count)++] = (int64_t)element->valuedouble;
    }
    return true;
}

bool vks_json_strings(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                      const char *key, const char **values, size_t capacity, size_t *count)
{
    const struct cJSON *item = get(json, object, key);
    *count = 0;
    if (!item)
        return true;
    const struct cJSON *element = cJSON_IsArray(item) ? item->child : item;
    for (; element; element = cJSON_IsArray(item) ? element->next : NULL) {
        char expected[64];
        snprintf(expected, sizeof(expected), "an array of at most %llu strings", (unsigned long long)capacity);
        if (*count == capacity || !cJSON_IsArray(item) || !cJSON_IsString(element))
            return unexpected(log, json, key, expected, *count == capacity ? item : element);
        values[(*count)++] = element->valuestring;
    }
    return true;
}

bool vks_json_object(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                     const char *key, const struct cJSON **child)
{
    *child = get(json, object, key);
    return !*child || cJSON_IsObject(*child) || unexpected(log, json, key, "an object", *child);
}

bool vks_json_array(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                    const char *key, const struct cJSON **child)
{
    *child = get(json, object, key);
    return !*child || cJSON_IsArray(*child) || unexpected(log, json, key, "an array", *child);
}

bool vks_json_require(const struct vks_log *log, const struct vks_json *json, const struct cJSON *object,
                      const char *key)
{
    return get(json, object, key) || vks_fail(log, "%s: key %s is missing; correct the file", json->path, key);
}
