// Single-file checkpoints as models: the folder that gives them configuration and tokenizer, found in the local
// Hugging Face cache, where diffusers' from_single_file leaves it.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "io/tensor_file.h"

// What a checkpoint is of, by the first prefix that some of its tensors have; and the repositories of that kind.
static const struct {
    const char *prefix, *kind;
    const char *repositories[4];
} bases[] = {
    {"conditioner.embedders.1.model.", "SDXL",
     {"stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/sdxl-turbo"}},
    {"cond_stage_model.model.", "Stable Diffusion 2",
     {"stabilityai/stable-diffusion-2-1", "stabilityai/stable-diffusion-2-1-base", "stabilityai/sd-turbo"}},
    {"cond_stage_model.transformer.", "Stable Diffusion 1",
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
    for (size_t i = 0; bases[b].repositories[i]; i++) {
        char *folder = vks_api_find_repository(bases[b].repositories[i]);
        if (folder) {
            vks_info(log, "%s is of %s: configuration and tokenizer are those of %s", path, bases[b].kind,
                     bases[b].repositories[i]);
            return folder;
        }
    }
    return vks_fail_null(log, "%s is a checkpoint of %s, and %s, whose configuration and tokenizer it takes, is not "
                         "in the local Hugging Face cache: give their folder, -m FOLDER --checkpoint %s", path,
                         bases[b].kind, bases[b].repositories[0], path);
}
