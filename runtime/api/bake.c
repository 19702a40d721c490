// A model with steerings folded into its parameters: the whole folder copied, its weights rewritten on the way. Parts
// whose weights are not the folder's own safetensors, or have LoRAs in them, are written anew from those in use;
// another scheduler or autoencoder takes the place of the folder's.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/os.h"
#include "base/text.h"

#define INDEX "model_index.json"
#define VAE_CONFIG "vae/config.json"
#define MOST_FOLDERS 16  // one inside the other: links in circles end there

// What lies in the model's folder, folders before what is in them.
struct entry {
    const char *path;            // relative
    bool is_folder;
    uint32_t whole;              // 1 + the part whose weights, as they are in use, are written there; 0: of none
};

struct bake {
    vksteer_model *model;
    const struct vksteer_bake_params *params;
    struct vksteer_bake_result *result;
    struct vks_api_foldings folds;
    struct vks_arena arena;
    struct entry *entries;
    size_t count, capacity, made;  // made: entries that are there in the new folder
    size_t wholes;                 // parts that part_is_whole
    const char *note;              // metadata of rewritten files
    char *place, *temporary;       // where the new folder goes, and where it is made
};

static bool add_entry(struct bake *b, const char *path, bool is_folder, uint32_t whole)
{
    if (!path || !vks_grow(&b->entries, &b->capacity, b->count, sizeof(*b->entries)))
        return vks_fail(b->model->log, VKS_NO_MEMORY);
    b->entries[b->count++] = (struct entry){path, is_folder, whole};
    return true;
}

static bool list_folder(struct bake *b, const char *relative, int depth)
{
    struct vks_os_names names = {0};
    const struct vks_log *log = b->model->log;
    char *folder = vks_path_join(b->model->info.path, relative);
    if (!folder)
        return vks_fail(log, VKS_NO_MEMORY);
    bool ok = depth < MOST_FOLDERS ||
              vks_fail(log, "%s: %d folders inside each other: is a link leading in a circle?", folder, depth);
    ok = ok && vks_os_list(log, folder, &names);
    for (size_t i = 0; ok && i < names.count; i++) {
        if (depth == 0 && b->model->pipeline->over.vae && !strcmp(names.items[i], "vae"))
            continue;  // add_wholes
        const char *path = *relative ? vks_arena_printf(&b->arena, "%s/%s", relative, names.items[i])
                                     : vks_arena_strdup(&b->arena, names.items[i]);
        char *full = path ? vks_path_join(b->model->info.path, path) : NULL;
        const bool is_folder = full && vks_os_is_dir(full);
        ok = full ? add_entry(b, path, is_folder, 0) && (!is_folder || list_folder(b, path, depth + 1))
                  : vks_fail(log, VKS_NO_MEMORY);
        free(full);
    }
    vks_os_names_finish(&names);
    free(folder);
    return ok;
}

// Which part's folder a file lies in directly; part_count: none.
static uint32_t part_of(const struct bake *b, const char *path)
{
    const struct vks_pipeline *pipeline = b->model->pipeline;
    const char *slash = strchr(path, '/');
    for (uint32_t i = 0; slash && !strchr(slash + 1, '/') && i < pipeline->part_count; i++)
        if (strlen(pipeline->parts[i].name) == (size_t)(slash - path) &&
            strncmp(path, pipeline->parts[i].name, (size_t)(slash - path)) == 0)
            return i;
    return pipeline->part_count;
}

static bool part_changes(const struct bake *b, uint32_t part)
{
    for (size_t i = 0; i < b->folds.count; i++)
        if (b->folds.items[i].part == part)
            return true;
    return false;
}

// Whether a part's weights are written as they are in use, and its folder's own left out: those of another file, with
// LoRAs in them, or folded in the format of PyTorch.
static bool part_is_whole(const struct bake *b, uint32_t part)
{
    const struct vks_pipeline_part *p = &b->model->pipeline->parts[part];
    return p->over || vks_weights_changed(p->weights) ||
           (part_changes(b, part) && !vks_weights_is_safetensors(p->weights));
}

// Adds the files of such parts behind the folder's own, and of another autoencoder also what makes its folder.
static bool add_wholes(struct bake *b)
{
    const struct vks_pipeline *pipeline = b->model->pipeline;
    if (pipeline->over.vae && (!add_entry(b, "vae", true, 0) || !add_entry(b, VAE_CONFIG, false, 0)))
        return false;
    for (uint32_t i = 0; i < pipeline->part_count; i++) {
        if (!part_is_whole(b, i))
            continue;
        const char *name = strncmp(pipeline->parts[i].name, "text", 4) ? "diffusion_pytorch_model" : "model";
        const char *path = vks_arena_printf(&b->arena, "%s/%s.safetensors", pipeline->parts[i].name, name);
        if (!add_entry(b, path, false, i + 1))
            return false;
        b->wholes++;
    }
    return true;
}

// Weights in formats that are not read here: in a folder whose part changes, they would still be the old model.
static bool is_foreign(const char *path)
{
    static const char *const ends[] = {".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx",
                                       ".onnx_data", ".pb", ".gguf"};
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        if (vks_ends_with(path, ends[i]))
            return true;
    return false;
}

static const struct vks_api_folding *find_fold(const struct bake *b, uint32_t part, const char *name, bool *bias)
{
    for (size_t i = 0; i < b->folds.count; i++) {
        const struct vks_api_folding *fold = &b->folds.items[i];
        *bias = fold->bias && strcmp(fold->bias, name) == 0;
        if (fold->part == part && (*bias || strcmp(fold->weight, name) == 0))
            return fold;
    }
    return NULL;
}

// `file`: whose metadata are kept; NULL: none.
static bool write_weights(struct bake *b, const struct vks_safetensors *file, const char *to,
                          const struct vks_st_item *items, size_t item_count)
{
    struct vks_st_pair *pairs = malloc(((file ? file->metadata_count : 0) + 2) * sizeof(*pairs));
    size_t count = 0;
    if (!pairs)
        return vks_fail(b->model->log, VKS_NO_MEMORY);
    const char *note = b->note;
    if (!file)
        pairs[count++] = (struct vks_st_pair){"format", "pt"};  // which transformers asks for
    for (size_t i = 0; file && i < file->metadata_count; i++) {
        if (strcmp(file->metadata[i].key, "vksteer") != 0)
            pairs[count++] = file->metadata[i];
        else  // baked before
            note = vks_arena_printf(&b->arena, "%s; %s", file->metadata[i].value, b->note);
    }
    pairs[count++] = (struct vks_st_pair){"vksteer", note ? note : b->note};
    // Falling element sizes, so that every tensor is aligned in the file.
    struct vks_st_item *sorted = malloc((item_count + 1) * sizeof(*sorted));
    size_t at = 0;
    for (size_t size = 8; sorted && size; size /= 2)
        for (size_t i = 0; i < item_count; i++)
            if (vks_st_dtype_size(items[i].dtype) == size)
                sorted[at++] = items[i];
    const bool ok = sorted ? vks_safetensors_write(b->model->log, to, sorted, at, pairs, count)
                           : vks_fail(b->model->log, VKS_NO_MEMORY);
    free(sorted);
    free(pairs);
    return ok;
}

// One safetensors file of a part; *changed says whether it was written (otherwise it is to be copied).
static bool bake_weights(struct bake *b, uint32_t part, const char *from, const char *to, bool *changed)
{
    struct vks_safetensors *file = vks_safetensors_open(b->model->log, from);
    struct vks_st_item *items = file ? calloc(file->tensor_count + 1, sizeof(*items)) : NULL;
    void **owned = file ? calloc(file->tensor_count + 1, sizeof(*owned)) : NULL;
    bool ok = items && owned;
    if (file && !ok)
        vks_fail(b->model->log, VKS_NO_MEMORY);
    *changed = false;
    for (size_t i = 0; ok && i < file->tensor_count; i++) {
        const struct vks_st_tensor *tensor = &file->tensors[i];
        bool bias;
        const struct vks_api_folding *fold = find_fold(b, part, tensor->name, &bias);
        items[i] = (struct vks_st_item){
            .name = tensor->name, .dtype = tensor->dtype, .rank = tensor->rank, .data = tensor->data};
        memcpy(items[i].shape, tensor->shape, sizeof(tensor->shape));
        if (!fold)
            continue;
        owned[i] = vks_api_fold_tensor(b->model->log, file, tensor, fold, bias, &items[i].dtype);
        items[i].data = owned[i];
        ok = owned[i] != NULL;
        b->result->tensors++;
        b->result->widened += items[i].dtype != tensor->dtype;
        *changed = true;
    }
    ok = ok && (!*changed || write_weights(b, file, to, items, file->tensor_count));
    for (size_t i = 0; owned && i < file->tensor_count; i++)
        free(owned[i]);
    free(owned);
    free(items);
    vks_safetensors_close(&file);
    return ok;
}

// One parameter of a part as it is in use, folded; *owned is what it was rewritten to, or NULL.
static bool bake_weight(struct bake *b, uint32_t part, size_t index, struct vks_st_item *item, void **owned)
{
    const struct vks_weights *weights = b->model->pipeline->parts[part].weights;
    const struct vks_weight *weight = vks_weights_at(weights, index);
    struct vks_st_tensor tensor = {.name = weight->name, .rank = weight->rank, .count = weight->count};
    memcpy(tensor.shape, weight->shape, sizeof(tensor.shape));
    while (tensor.dtype < VKS_ST_F64 && strcmp(vks_st_dtype_name(tensor.dtype), weight->type) != 0)
        tensor.dtype++;
    *item = (struct vks_st_item){weight->name, tensor.dtype, weight->rank, {0}, weight->data};
    memcpy(item->shape, weight->shape, sizeof(item->shape));
    bool bias = false;
    const struct vks_api_folding *fold = find_fold(b, part, weight->name, &bias);
    if (!fold && !vks_weight_changed(weights, index))
        return true;
    float *values = malloc((size_t)weight->count * sizeof(*values) + 1);
    if (!values)
        return vks_fail(b->model->log, VKS_NO_MEMORY);
    if (vks_weights_read(weights, index, values))
        *owned = vks_api_fold_values(b->model->log, vks_weights_path(weights), &tensor, values, fold, bias,
                                     &item->dtype);
    free(values);
    item->data = *owned;
    b->result->tensors += fold != NULL;
    b->result->widened += item->dtype != tensor.dtype;
    return *owned != NULL;
}

// All of a part's weights, as they are in use, in one file.
static bool bake_whole(struct bake *b, uint32_t part, const char *to)
{
    const size_t count = vks_weights_count(b->model->pipeline->parts[part].weights);
    struct vks_st_item *items = calloc(count + 1, sizeof(*items));
    void **owned = calloc(count + 1, sizeof(*owned));
    bool ok = (items && owned) || vks_fail(b->model->log, VKS_NO_MEMORY);
    for (size_t i = 0; ok && i < count; i++)
        ok = bake_weight(b, part, i, &items[i], &owned[i]);
    ok = ok && write_weights(b, NULL, to, items, count);
    for (size_t i = 0; owned && i < count; i++)
        free(owned[i]);
    free(owned);
    free(items);
    return ok;
}

// Whether a file holds weights, or lists files that do.
static bool is_weights(const char *path)
{
    return is_foreign(path) || vks_ends_with(path, ".safetensors") ||
           (vks_ends_with(path, ".json") && strstr(vks_path_name(path), ".index."));
}

static bool copy_file(const struct vks_log *log, const char *from, const char *to)
{
    struct vks_os_map map;
    if (!vks_os_map_open(log, from, &map))
        return false;
    const bool ok = vks_os_write_file(log, to, map.data, map.size);
    vks_os_map_close(&map);
    return ok;
}

// Whether a file of settings names a class, and one of another class is in use.
static bool names_class(const struct bake *b, const char *path)
{
    const struct vks_pipeline_over *over = &b->model->pipeline->over;
    return ((over->scheduler || over->vae) && !strcmp(path, INDEX)) || (over->vae && !strcmp(path, VAE_CONFIG)) ||
           (over->scheduler && !strcmp(path, "scheduler/scheduler_config.json"));
}

static bool write_settings(const struct bake *b, const char *path, const char *from, const char *to)
{
    const struct vks_log *log = b->model->log;
    const struct vks_pipeline *pipeline = b->model->pipeline;
    if (!strcmp(path, VAE_CONFIG)) {
        char *config = vks_path_join(pipeline->over.vae, "config.json");
        const bool copied = config ? copy_file(log, config, to) : vks_fail(log, VKS_NO_MEMORY);
        free(config);
        return copied;
    }
    char *text = !strcmp(path, INDEX) ? vks_pipeline_index(pipeline)
                                      : vks_scheduler_rewrite(log, from, pipeline->scheduler.kind);
    const bool ok = text && vks_os_write_file(log, to, text, strlen(text));
    free(text);
    return ok;
}

static bool make_entry(struct bake *b, const struct entry *entry)
{
    const struct vks_log *log = b->model->log;
    const uint32_t part = part_of(b, entry->path);
    const bool top = !strchr(entry->path, '/'), changes = b->folds.count && part_changes(b, part);
    const bool whole = part < b->model->pipeline->part_count && part_is_whole(b, part);
    char *from = vks_path_join(b->model->info.path, entry->path), *to = vks_path_join(b->temporary, entry->path);
    bool ok = (from && to) || vks_fail(log, VKS_NO_MEMORY), written = false;
    if (ok && entry->is_folder) {
        ok = vks_os_make_dirs(log, to);
    } else if (ok && entry->whole) {
        ok = bake_whole(b, entry->whole - 1, to);
    } else if (ok && names_class(b, entry->path)) {
        ok = write_settings(b, entry->path, from, to);
    } else if (ok && whole && is_weights(from)) {
        vks_debug(log, "%s is left out: the weights in use are written in its place", from);
    } else if (ok && (((b->folds.count || b->wholes) && top &&
                       (is_foreign(from) || vks_ends_with(from, ".safetensors"))) ||
                      (changes && is_foreign(from)))) {
        vks_warn(log, "%s is left out: it holds the weights in a form that is not folded here", from);
        b->result->left_out++;
    } else if (ok) {
        ok = !changes || !vks_ends_with(from, ".safetensors") || bake_weights(b, part, from, to, &written);
        ok = ok && (written || copy_file(log, from, to));
    }
    free(from);
    free(to);
    return ok;
}

// "ink.safetensors:0.8, pizza.safetensors:inv"
static bool write_note(struct bake *b)
{
    struct vks_text text = {0};
    for (size_t i = 0; i < b->params->steering_count; i++) {
        const struct vksteer_use *use = &b->params->steerings[i];
        vks_text_printf(&text, "%s%s:", i ? ", " : "", vks_path_name(use->path));
        if (use->inverse)
            vks_text_add_str(&text, "inv");
        else
            vks_text_add_str(&text, VKS_NUMBER("%g", use->strength));
    }
    const struct vksteer_model_info *info = &b->model->info;
    for (uint32_t i = 0; i < info->parts; i++)
        if (info->part_files[i])
            vks_text_printf(&text, "; %s %s", info->part_names[i], vks_path_name(info->part_files[i]));
    for (uint32_t i = 0; i < info->loras; i++)
        vks_text_printf(&text, "; lora %s:%s", vks_path_name(info->lora_files[i]),
                        VKS_NUMBER("%g", info->lora_strengths[i]));
    b->note = text.failed || !text.data ? NULL : vks_arena_strdup(&b->arena, text.data);
    vks_text_finish(&text);
    return b->note || vks_fail(b->model->log, VKS_NO_MEMORY);
}

static bool fold(struct bake *b)
{
    const struct vksteer_bake_params *p = b->params;
    if (p->steering_count == 0 || p->steering_count > VKSTEER_MAX_STEERINGS)
        return vks_fail(b->model->log, "%zu steerings to fold in: give 1 to %d", p->steering_count,
                        VKSTEER_MAX_STEERINGS);
    struct vks_api_steerings loaded;
    if (!vks_api_steerings_load(b->model, p->steerings, p->steering_count, p->strict ? VKS_API_STRICT : 0, &loaded))
        return false;
    const bool ok = vks_api_fold(b->model, loaded.items, loaded.strengths, loaded.count, &b->folds);
    vks_api_steerings_finish(&loaded);
    b->result->sites = b->folds.count;
    return ok && write_note(b);
}

// The folder's configuration stays, the scheduler's class and the autoencoder aside: it has no place for timesteps.
static bool can_fold(const struct bake *b)
{
    const struct vks_pipeline *pipeline = b->model->pipeline;
    if (b->model->info.timestep_count)
        return vks_fail(b->model->log, "a model's folder cannot hold timesteps: leave --timesteps out, and give them "
                        "to what paints with it");
    return !pipeline->over.vae || pipeline->has_decoder ||
           vks_fail(b->model->log, "%s: an autoencoder of a class that is not supported is not baked: leave --vae "
                    "out", pipeline->over.vae);
}

// The new folder is free, and so is the name under which it is made.
static bool choose_place(struct bake *b)
{
    const char *output = b->params->output;
    const struct vks_log *log = b->model->log;
    size_t length = strlen(output);
    while (length > 1 && (output[length - 1] == '/' || output[length - 1] == '\\'))
        length--;
    char *name = vks_arena_printf(&b->arena, "%.*s", (int)length, output);
    char *folder = name ? vks_path_folder(name) : NULL;
    b->place = name;
    b->temporary = name ? vks_arena_printf(&b->arena, "%s.partial", name) : NULL;
    bool ok = (folder && b->temporary) || vks_fail(log, VKS_NO_MEMORY);
    if (ok && !length)
        ok = vks_fail(log, "the name of the new folder is empty: give one");
    if (ok && vks_os_exists(name))
        ok = vks_fail(log, "%s is there already: remove it, or give another name", name);
    if (ok && vks_os_exists(b->temporary))
        ok = vks_fail(log, "%s is there, left by a run that was killed: remove it", b->temporary);
    if (ok && !vks_os_is_dir(folder))
        ok = vks_fail(log, "the folder %s is not there: create it, or write somewhere else", folder);
    free(folder);
    return ok;
}

static void remove_made(struct bake *b)
{
    while (b->made) {
        const struct entry *entry = &b->entries[--b->made];
        char *path = vks_path_join(b->temporary, entry->path);
        if (path && entry->is_folder)
            vks_os_remove_folder(NULL, path);
        else if (path)
            vks_os_remove(NULL, path);
        free(path);
    }
    vks_os_remove_folder(NULL, b->temporary);
}

enum vksteer_result vksteer_bake(vksteer_model *model, const struct vksteer_bake_params *params,
                                 struct vksteer_bake_result *result)
{
    struct vksteer_bake_result unused;
    struct bake b = {.model = model, .params = params, .result = result ? result : &unused};
    *b.result = (struct vksteer_bake_result){0};
    bool stopped = false;
    bool ok = vks_api_paints(model, "bake") && choose_place(&b) && fold(&b) && can_fold(&b) &&
              list_folder(&b, "", 0) && add_wholes(&b);
    if (ok && (ok = vks_os_make_dirs(model->log, b.temporary))) {
        for (; ok && !stopped && b.made < b.count; stopped = params->stop && params->stop(params->priv))
            ok = make_entry(&b, &b.entries[b.made++]);
        ok = ok && !stopped && vks_os_rename_folder(model->log, b.temporary, b.place);
        if (!ok)
            remove_made(&b);
    }
    free(b.entries);
    vks_api_foldings_finish(&b.folds);
    vks_arena_finish(&b.arena);
    return ok ? VKSTEER_DONE : stopped ? VKSTEER_STOPPED : VKSTEER_FAILED;
}
