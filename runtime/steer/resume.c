#include "steer/resume.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "io/safetensors.h"

#define FORMAT "vksteer-state-4"  // counts on whenever the bits of a step change, or what it is resumed by

static const char *const array_names[VKS_LINEAS_ARRAYS] = {"maps", "moments", "squared_moments"};

// Two numbers, every bit of them; NaN stands for none.
static void write_pair(const double pair[2], char *out, size_t capacity)
{
    snprintf(out, capacity, "%s %s", isnan(pair[0]) ? "nan" : VKS_NUMBER("%.17g", pair[0]),
             isnan(pair[1]) ? "nan" : VKS_NUMBER("%.17g", pair[1]));
}

static bool read_pair(const char *text, double pair[2])
{
    char words[2][32], more;
    if (sscanf(text, "%31s %31s %c", words[0], words[1], &more) != 2)
        return false;
    for (int i = 0; i < 2; i++) {
        pair[i] = NAN;
        if (strcmp(words[i], "nan") != 0 && !vks_parse_double(words[i], &pair[i]))
            return false;
    }
    return true;
}

bool vks_resume_save(const struct vks_resume *resume, struct vks_lineas *lineas, const struct vks_log *log)
{
    const uint64_t size = vks_lineas_size(lineas);
    float *arrays = malloc(VKS_LINEAS_ARRAYS * size * sizeof(*arrays));
    if (!arrays)
        return vks_fail(log, VKS_NO_MEMORY);
    struct vks_st_item items[VKS_LINEAS_ARRAYS];
    bool ok = true;
    for (uint32_t a = 0; a < VKS_LINEAS_ARRAYS && ok; a++) {
        ok = vks_lineas_get(lineas, a, arrays + a * size);
        items[a] = (struct vks_st_item){
            .name = array_names[a], .dtype = VKS_ST_F32, .rank = 1, .shape = {size}, .data = arrays + a * size};
    }
    char hash[17], targets[17], step[32], log_size[32], losses[80], validation[80];
    vks_hash_hex(resume->hash, hash);
    vks_hash_hex(resume->activation_hash, targets);
    snprintf(step, sizeof(step), "%u", resume->step);
    snprintf(log_size, sizeof(log_size), "%" PRIu64, resume->log_size);
    write_pair((double[]){resume->first_loss, resume->last_loss}, losses, sizeof(losses));
    write_pair(resume->validation, validation, sizeof(validation));
    const struct vks_st_pair pairs[] = {
        {"format", FORMAT}, {"hash", hash}, {"step", step}, {"log_size", log_size}, {"losses", losses},
        {"device", resume->device}, {"validation", validation}, {"targets", targets},
    };
    ok = ok && vks_safetensors_write(log, resume->path, items, VKS_LINEAS_ARRAYS, pairs,
                                     sizeof(pairs) / sizeof(pairs[0]));
    free(arrays);
    return ok;
}

static bool fits(const struct vks_resume *resume, const struct vks_safetensors *file, bool force,
                 const struct vks_log *log)
{
    char hash[17], activation_hash[17];
    vks_hash_hex(resume->hash, hash);
    vks_hash_hex(resume->activation_hash, activation_hash);
    const char *targets = vks_safetensors_metadata(file, "targets");
    const char *format = vks_safetensors_metadata(file, "format"), *saved = vks_safetensors_metadata(file, "hash");
    const char *device = vks_safetensors_metadata(file, "device");
    if (!format || strcmp(format, FORMAT) != 0)
        return vks_fail(log, "%s is no training state of this version: delete it and train without --resume",
                        resume->path);
    if (!saved || strcmp(saved, hash) != 0)
        return vks_fail(log, "%s belongs to another training (other prompts, options or model): repeat its command, "
                        "or delete it and train without --resume", resume->path);
    if (!force && (!device || strcmp(device, resume->device) != 0))
        return vks_fail(log, "%s was made on \"%s\", this is \"%s\", whose bits differ: go on there, or with --force",
                        resume->path, device ? device : "?", resume->device);
    if (!force && (!targets || strcmp(targets, activation_hash) != 0))
        return vks_fail(log, "%s: the targets' activations had other bits (other kernels, by VKSTEER_DISABLE or "
                        "VKSTEER_ENABLE?): run as it was made, or go on with --force", resume->path);
    return true;
}

static bool read_progress(struct vks_resume *resume, const struct vks_safetensors *file)
{
    const char *step = vks_safetensors_metadata(file, "step"), *losses = vks_safetensors_metadata(file, "losses");
    const char *log_size = vks_safetensors_metadata(file, "log_size");
    uint64_t steps = 0;
    double pair[2];
    if (!step || !losses || !log_size || !vks_parse_u64(step, &steps) || steps > UINT32_MAX ||
        !vks_parse_u64(log_size, &resume->log_size))
        return false;
    resume->step = (uint32_t)steps;
    if (!read_pair(losses, pair) || !isfinite(pair[0]) || !isfinite(pair[1]))
        return false;
    resume->first_loss = pair[0];
    resume->last_loss = pair[1];
    const char *validation = vks_safetensors_metadata(file, "validation");
    resume->validation[0] = resume->validation[1] = NAN;
    return !validation || read_pair(validation, resume->validation);
}

bool vks_resume_load(struct vks_resume *resume, struct vks_lineas *lineas, bool force, const struct vks_log *log)
{
    struct vks_safetensors *file = vks_safetensors_open(log, resume->path);
    if (!file)
        return false;
    const uint64_t size = vks_lineas_size(lineas);
    float *array = malloc(size * sizeof(*array));
    bool ok = array ? fits(resume, file, force, log) : vks_fail(log, VKS_NO_MEMORY);
    for (uint32_t a = 0; a < VKS_LINEAS_ARRAYS && ok; a++) {
        const struct vks_st_tensor *tensor =
            vks_safetensors_need(log, file, array_names[a], VKS_ST_F32, 1, (const uint64_t[]){size});
        ok = tensor && vks_st_to_f32(log, file, tensor, array) && vks_lineas_set(lineas, a, array);
    }
    ok = ok && (read_progress(resume, file) ||
                vks_fail(log, "%s is damaged: delete it and train without --resume", resume->path));
    free(array);
    vks_safetensors_close(&file);
    return ok;
}
