// Single-file checkpoints as models: the folder that gives them configuration and tokenizer, found in the local
// Hugging Face cache, where diffusers' from_single_file leaves it.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/text.h"
#include "io/tensor_file.h"

// What a checkpoint is of, by the first prefix that some of its tensors have; and the repositories of that kind.
static const struct base {
    const char *prefix, *kind;
    bool alike;  // one does for the other: their configurations are the same
    const char *repositories[4];
} bases[] = {
    {"conditioner.embedders.1.model.", "SDXL", false,
     {"stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/sdxl-turbo"}},
    {"cond_stage_model.model.", "Stable Diffusion 2", false,
     {"stabilityai/stable-diffusion-2-1", "stabilityai/stable-diffusion-2-1-base", "stabilityai/sd-turbo"}},
    {"cond_stage_model.transformer.", "Stable Diffusion 1", true,
     {"stable-diffusion-v1-5/stable-diffusion-v1-5", "runwayml/stable-diffusion-v1-5",
      "CompVis/stable-diffusion-v1-4"}},
};

static bool has_prefix(const struct vks_tensor_file *file, const char *prefix)
{
    for (size_t i = 0; i < file->tensor_count; i++)
        if (!strncmp(file->tensors[i].name, prefix, strlen(prefix)))
            return true;
    return false;
}

// A name without what people write in different ways: "stable-diffusion-xl-base-1.0" and "sd_xl_base_1.0" are
// sdxlbase10.
static void plain_name(const char *name, char *out, size_t capacity)
{
    static const char words[] = "stablediffusion";
    size_t n = 0;
    for (; *name && n + 1 < capacity; name++) {
        const char c = *name >= 'A' && *name <= 'Z' ? (char)(*name + 32) : *name;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            out[n++] = c;
        out[n] = 0;
        const size_t length = sizeof(words) - 1;
        if (n >= length && !strcmp(out + n - length, words)) {
            n -= length;
            out[n++] = 's';
            out[n++] = 'd';
        }
    }
    out[n] = 0;
}

// Of the bases that are in the cache that whose name the file's bears, the longest one, or the first where any of
// them does; -1 after one message.
static int choose(const struct vks_log *log, const struct base *base, char *const folders[4], const char *path)
{
    struct vks_text list = {0};
    char file[256], name[128];
    size_t longest = 0;
    int best = -1, count = 0, first = -1;
    plain_name(vks_path_name(path), file, sizeof(file));
    for (int i = 0; i < 4; i++) {
        if (!folders[i])
            continue;
        vks_text_printf(&list, "%s%s", count++ ? ", " : "", base->repositories[i]);
        first = first < 0 ? i : first;
        plain_name(strchr(base->repositories[i], '/') + 1, name, sizeof(name));
        if (strstr(file, name) && strlen(name) > longest) {
            longest = strlen(name);
            best = i;
        }
    }
    if (best < 0 && (base->alike || count == 1))
        best = first;
    if (!count)
        vks_fail(log, "%s is a checkpoint of %s, and %s, whose configuration and tokenizer it takes, is not in the "
                 "local Hugging Face cache: give their folder, -m FOLDER --checkpoint %s", path, base->kind,
                 base->repositories[0], path);
    else if (best < 0)
        vks_fail(log, "%s is a checkpoint of %s, and several models that it may be of are in the local Hugging Face "
                 "cache (%s): say which, --checkpoint %s -m MODEL", path, base->kind, list.data ? list.data : "",
                 path);
    vks_text_finish(&list);
    return best;
}

char *vks_api_base_of(const struct vks_log *log, const char *path)
{
    struct vks_tensor_file file;
    const size_t count = sizeof(bases) / sizeof(*bases);
    size_t b = 0;
    if (!vks_tensor_file_open(log, path, &file))
        return NULL;
    while (b < count && !has_prefix(&file, bases[b].prefix))
        b++;
    vks_tensor_file_close(&file);
    if (b == count)
        return vks_fail_null(log, "%s is neither a GGUF file nor a whole checkpoint of an image model: give a "
                             "model's folder (-m FOLDER --checkpoint FILE, or --unet FILE, for weights over it)",
                             path);
    char *folders[4] = {NULL}, *folder = NULL;
    bool other;
    for (size_t i = 0; i < 4 && bases[b].repositories[i]; i++)
        folders[i] = vks_api_find_repository(bases[b].repositories[i], &other);
    const int best = choose(log, &bases[b], folders, path);
    if (best >= 0) {
        vks_info(log, "%s is of %s: configuration and tokenizer are those of %s", path, bases[b].kind,
                 bases[b].repositories[best]);
        folder = folders[best];
        folders[best] = NULL;
    }
    for (size_t i = 0; i < 4; i++)
        free(folders[i]);
    return folder;
}
