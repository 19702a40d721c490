// The overrides of the kernel table: a small file for each device and driver, in the user's cache folder.
//
//     {"format": "vksteer-kernels-2", "device": "...", "driver": "...", "few_rows": "plain", ...}
//
// Only `bench --tune` writes it. Uses that are not in it keep the built-in table's choice.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/text.h"
#include "io/json.h"
#include "ops/matmul.h"

#define FORMAT "vksteer-kernels-2"

static const char *const uses[VKS_MATMUL_USES] = {"few_rows", "many_rows", "convolution"};

char *vks_api_tuning_path(const vksteer_session *session, bool create)
{
    char hex[17];
    struct vks_hash hash;
    struct vks_text text = {0};
    const struct vks_log *log = create ? &session->bridge.log : NULL;
    char *folder = vks_os_cache_dir(log, "vksteer", create);
    vks_hash_init(&hash, 0);
    vks_hash_add_text(&hash, session->device.name);
    vks_hash_add_text(&hash, session->device.driver);
    vks_hash_add_u64(&hash, vks_gpu_info(session->gpu)->driver_version);
    if (folder)
        vks_text_printf(&text, "%s/kernels-%s.json", folder, vks_hash_hex(vks_hash_value(&hash), hex));
    free(folder);
    if (text.failed)
        vks_text_finish(&text);
    return text.data;
}

void vks_api_tuning_load(vksteer_session *session)
{
    const struct vks_log *log = &session->bridge.log;
    const char *names[VKS_MATMUL_VARIANTS + 1] = {NULL}, *format = NULL;
    uint8_t own[VKS_MATMUL_USES] = {0};
    char *path = vks_api_tuning_path(session, false);
    for (int v = 0; v < VKS_MATMUL_VARIANTS; v++)
        names[v] = vks_matmul_kernel((enum vks_matmul_variant)v)->name;
    if (!path || !vks_os_is_file(path)) {
        free(path);
        return;
    }
    struct vks_json *json = vks_json_open(NULL, path);
    bool ok = json && vks_json_string(NULL, json, NULL, "format", NULL, &format) && format &&
              strcmp(format, FORMAT) == 0;
    for (int use = 0; use < VKS_MATMUL_USES && ok; use++) {
        int variant = 0;
        if (!vks_json_get(json->root, uses[use]))
            continue;
        ok = vks_json_choice(NULL, json, NULL, uses[use], names, 0, &variant) &&
             vks_matmul_runs(vks_gpu_limits(session->gpu), (enum vks_matmul_use)use,
                             (enum vks_matmul_variant)variant);
        own[use] = (uint8_t)(variant + 1);
    }
    vks_json_close(&json);
    if (ok) {
        vks_gpu_tune(session->gpu, own);
        vks_info(log, "kernels as %s says", path);
    } else {
        vks_warn(log, "%s is damaged and ignored: delete it, or run `vksteer bench --tune` again", path);
    }
    free(path);
}

// Names of devices are printable, but nothing promises it.
static void add_quoted(struct vks_text *text, const char *key, const char *value)
{
    vks_text_printf(text, ",\n \"%s\": \"", key);
    for (; *value; value++) {
        const char c = *value >= ' ' && *value < 127 && *value != '"' && *value != '\\' ? *value : '?';
        vks_text_add(text, &c, 1);
    }
    vks_text_add_str(text, "\"");
}

bool vks_api_tuning_save(const vksteer_session *session, const char *path, const uint8_t matmul[3])
{
    const struct vks_log *log = &session->bridge.log;
    struct vks_text text = {0};
    bool any = false;
    vks_text_add_str(&text, "{\"format\": \"" FORMAT "\"");
    add_quoted(&text, "device", session->device.name);
    add_quoted(&text, "driver", session->device.driver);
    for (int use = 0; use < VKS_MATMUL_USES; use++) {
        any |= matmul[use] != 0;
        if (matmul[use])
            add_quoted(&text, uses[use], vks_matmul_kernel((enum vks_matmul_variant)(matmul[use] - 1))->name);
    }
    vks_text_add_str(&text, "}\n");
    bool ok = !text.failed || vks_fail(log, VKS_NO_MEMORY);
    if (ok)
        ok = any ? vks_os_write_file(log, path, text.data, text.length) : vks_os_remove(log, path);
    vks_text_finish(&text);
    return ok;
}
