// A model with steerings folded into its parameters: the whole folder copied, its weights rewritten on the way.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/os.h"
#include "base/text.h"

#define MOST_FOLDERS 16  // one inside the other: links in circles end there

// What lies in the model's folder, folders before what is in them.
struct entry {
    const char *path;            // relative
    bool is_folder;
};

struct bake {
    vksteer_model *model;
    const struct vksteer_bake_params *params;
    struct vksteer_bake_result *result;
    struct vks_api_foldings folds;
    struct vks_arena arena;
    struct entry *entries;
    size_t count, capacity, made;  // made: entries that are there in the new folder
    const char *note;              // metadata of rewritten files
    char *place, *temporary;       // where the new folder goes, and where it is made
};

static bool list_folder(struct bake *b, const char *relative, int depth)
{
    struct vks_os_names names = {0};
    const struct vks_log *log = b->model->log;
    char *folder = vks_path_join(b->model->info.path, relative);
    if (!folder)
        return vks_fail(log, VKS_NO_MEMORY);
    bool ok = depth < MOST_FOLDERS || vks_fail(log, "%s: %d folders inside each other: is a link leading in a circle?",
                                               folder, depth);
    ok = ok && vks_os_list(log, folder, &names);
    for (size_t i = 0; ok && i < names.count; i++) {
        const char *path = *relative ? vks_arena_printf(&b->arena, "%s/%s", relative, names.items[i])
                                     : vks_arena_strdup(&b->arena, names.items[i]);
        char *full = path ? vks_path_join(b->model->info.path, path) : NULL;
        if (!full || !vks_grow(&b->entries, &b->capacity, b->count, sizeof(*b->entries))) {
            ok = vks_fail(log, VKS_NO_MEMORY);
        } else {
            const bool is_folder = vks_os_is_dir(full);
            b->entries[b->count++] = (struct entry){path, is_folder};
            ok = !is_folder || list_folder(b, path, depth + 1);
        }
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

static bool write_weights(struct bake *b, const struct vks_safetensors *file, const char *to,
                          const struct vks_st_item *items)
{
    struct vks_st_pair *pairs = malloc((file->metadata_count + 1) * sizeof(*pairs));
    size_t count = 0;
    if (!pairs)
        return vks_fail(b->model->log, VKS_NO_MEMORY);
    const char *note = b->note;
    for (size_t i = 0; i < file->metadata_count; i++) {
        if (strcmp(file->metadata[i].key, "vksteer") != 0)
            pairs[count++] = file->metadata[i];
        else  // baked before
            note = vks_arena_printf(&b->arena, "%s; %s", file->metadata[i].value, b->note);
    }
    pairs[count++] = (struct vks_st_pair){"vksteer", note ? note : b->note};
    // Falling element sizes, so that every tensor is aligned in the file.
    struct vks_st_item *sorted = malloc((file->tensor_count + 1) * sizeof(*sorted));
    size_t at = 0;
    for (size_t size = 8; sorted && size; size /= 2)
        for (size_t i = 0; i < file->tensor_count; i++)
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
    ok = ok && (!*changed || write_weights(b, file, to, items));
    for (size_t i = 0; owned && i < file->tensor_count; i++)
        free(owned[i]);
    free(owned);
    free(items);
    vks_safetensors_close(&file);
    return ok;
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

static bool make_entry(struct bake *b, const struct entry *entry)
{
    const struct vks_log *log = b->model->log;
    const uint32_t part = part_of(b, entry->path);
    const bool top = !strchr(entry->path, '/'), changes = b->folds.count && part_changes(b, part);
    char *from = vks_path_join(b->model->info.path, entry->path), *to = vks_path_join(b->temporary, entry->path);
    bool ok = (from && to) || vks_fail(log, VKS_NO_MEMORY), written = false;
    if (ok && entry->is_folder) {
        ok = vks_os_make_dirs(log, to);
    } else if (ok && ((b->folds.count && top && (is_foreign(from) || vks_ends_with(from, ".safetensors"))) ||
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

// Only safetensors of the model's own folder are folded.
static bool can_fold(const struct bake *b)
{
    const struct vks_pipeline *pipeline = b->model->pipeline;
    if (b->model->info.loras)
        return vks_fail(b->model->log, "a model with LoRAs cannot be baked: open it without them");
    for (uint32_t i = 0; i < pipeline->part_count; i++) {
        const char *path = vks_weights_path(pipeline->parts[i].weights);
        if (pipeline->parts[i].over)
            return vks_fail(b->model->log, "a model with another %s cannot be baked: open it without %s",
                            pipeline->parts[i].name, path);
        if (part_changes(b, i) && vks_torch_zip_is(path))
            return vks_fail(b->model->log, "%s: steerings are folded into safetensors only: convert the file", path);
    }
    return true;
}

// The new folder is free, and so is the name under which it is made.
static bool choose_place(struct bake *b)
{
    const char *output = b->params->output;
    const struct vks_log *log = b->model->log;
    size_t length = strlen(output);
    while (length > 1 && (output[length - 1] == '/' || output[length - 1] == '\\'))
        length--;
    char *name = vks_arena_printf(&b->arena, "%.*s", (int)length, output), *folder = name ? vks_path_folder(name) : NULL;
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
              list_folder(&b, "", 0);
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
