// JSON documents, their getters, and prompt files. The first byte chooses what the rest is.
#include "io/json.h"
#include "io/lines.h"
#include "tests/fuzz/standalone.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static void read_document(const char *text, size_t size)
{
    static const char *const keys[] = {"a", "model_max_length", "block_out_channels", "weight_map"};
    static const char *const choices[] = {"x", "y", NULL};
    struct vks_json *json = vks_json_parse(NULL, "x.json", text, size);
    for (size_t i = 0; json && i < sizeof(keys) / sizeof(keys[0]); i++) {
        int64_t value, values[4];
        double number;
        bool flag;
        const char *string, *strings[4];
        const struct cJSON *child;
        size_t count;
        int index;
        vks_json_int(NULL, json, NULL, keys[i], 0, INT64_MIN, INT64_MAX, &value);
        vks_json_number(NULL, json, NULL, keys[i], 0, -1e300, 1e300, &number);
        vks_json_bool(NULL, json, NULL, keys[i], false, &flag);
        vks_json_string(NULL, json, NULL, keys[i], "", &string);
        vks_json_choice(NULL, json, NULL, keys[i], choices, -1, &index);
        vks_json_ints(NULL, json, NULL, keys[i], -5, 5, values, 4, &count, &flag);
        vks_json_strings(NULL, json, NULL, keys[i], strings, 4, &count);
        vks_json_array(NULL, json, NULL, keys[i], &child);
        if (vks_json_object(NULL, json, NULL, keys[i], &child) && child)
            vks_json_int(NULL, json, child, "a", 0, 0, 9, &value);
    }
    vks_json_close(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"x.txt", "x.jsonl", "x.json", "x.csv"};
    if (!size)
        return 0;
    const char *text = (const char *)data + 1;
    if (data[0] % 8 >= 4) {
        read_document(text, size - 1);
        return 0;
    }
    struct vks_lines lines;
    if (vks_lines_parse(NULL, names[data[0] % 4], data[0] & 16 ? "a" : NULL, text, size - 1, &lines)) {
        for (size_t i = 0; i < lines.count; i++) {
            if (!*lines.items[i])
                abort();  // promised never to be empty
        }
        vks_lines_finish(&lines);
    }
    return 0;
}
