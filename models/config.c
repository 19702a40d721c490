#include "models/config.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/text.h"

struct vks_json *vks_config_open(const struct vks_log *log, const char *folder, const char *file)
{
    char *path = vks_path_join(folder, file);
    if (!path)
        return vks_fail_null(log, VKS_NO_MEMORY);
    struct vks_json *json = vks_json_open(log, path);
    free(path);
    if (json && !cJSON_IsObject(json->root)) {
        vks_fail(log, "%s: an object of settings is expected: download the file again", json->path);
        vks_json_close(&json);
    }
    return json;
}

// Whether `text` is one of the alternatives "a|b|c".
static bool listed(const char *values, const char *text)
{
    const size_t length = strlen(text);
    for (const char *at = values; *at;) {
        const size_t size = strcspn(at, "|");
        if (size == length && !memcmp(at, text, size))
            return true;
        at += size + (at[size] == '|');
    }
    return false;
}

bool vks_config_check(const struct vks_log *log, const struct vks_json *json, const struct vks_config_only only[])
{
    for (; only->key; only++) {
        const struct cJSON *item = vks_json_get(json->root, only->key);
        char *text = item ? cJSON_PrintUnformatted(item) : NULL;
        if (item && !text)
            return vks_fail(log, VKS_NO_MEMORY);
        if (item && !listed(only->values, text)) {
            char quoted[80];
            vks_fail(log, "%s: %s = %s is not supported (only %s): use another model of this class", json->path,
                     only->key, vks_text_quote(text, strlen(text), quoted, sizeof(quoted)),
                     *only->values ? only->values : "null");
            cJSON_free(text);
            return false;
        }
        cJSON_free(text);
    }
    return true;
}

bool vks_config_is_null(const struct vks_json *json, const char *key)
{
    return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json->root, key));
}

bool vks_config_width_or(const struct vks_log *log, const struct vks_json *json, const char *key, uint32_t missing,
                         uint32_t *value)
{
    int64_t number;
    if (!vks_json_int(log, json, NULL, key, missing, 1, VKS_MAX_WIDTH, &number))
        return false;
    *value = (uint32_t)number;
    return true;
}

bool vks_config_width(const struct vks_log *log, const struct vks_json *json, const char *key, uint32_t *value)
{
    return vks_json_require(log, json, NULL, key) && vks_config_width_or(log, json, key, 1, value);
}

bool vks_config_levels(const struct vks_log *log, const struct vks_json *json, const char *key, uint32_t levels,
                       uint32_t missing, uint32_t values[VKS_MAX_LEVELS])
{
    int64_t numbers[VKS_MAX_LEVELS];
    size_t count;
    bool scalar = false;
    if (!missing && !vks_json_require(log, json, NULL, key))
        return false;
    if (!vks_json_ints(log, json, NULL, key, 1, VKS_MAX_WIDTH, numbers, VKS_MAX_LEVELS, &count, &scalar))
        return false;
    if (!count && missing) {
        numbers[0] = missing;
        count = 1;
        scalar = true;
    }
    if (count != levels && !scalar)
        return vks_fail(log, "%s: %s lists %zu numbers for %u blocks: correct the file", json->path, key, count,
                        levels);
    for (uint32_t i = 0; i < levels; i++)
        values[i] = (uint32_t)numbers[scalar ? 0 : i];
    return true;
}

bool vks_config_activation(const struct vks_log *log, const struct vks_json *json, const char *key,
                           const char *missing, enum vks_unary *kind)
{
    static const struct {
        const char *name;
        enum vks_unary kind;
    } known[] = {
        {"silu", VKS_SILU}, {"swish", VKS_SILU}, {"gelu", VKS_GELU}, {"quick_gelu", VKS_QUICK_GELU},
        {"gelu_new", VKS_GELU_TANH}, {"gelu_pytorch_tanh", VKS_GELU_TANH}, {"relu", VKS_RELU},
    };
    const char *name;
    if (!vks_json_string(log, json, NULL, key, missing, &name))
        return false;
    for (size_t i = 0; name && i < sizeof(known) / sizeof(*known); i++)
        if (!strcmp(name, known[i].name)) {
            *kind = known[i].kind;
            return true;
        }
    return vks_fail(log, "%s: the activation %s = \"%.40s\" is not supported (silu, gelu, quick_gelu, gelu_new, "
                    "relu): use another model of this class", json->path, key, name ? name : "");
}
