#include "models/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/os.h"
#include "base/text.h"
#include "io/json.h"
#include "models/original_names.h"

#define MAX_STEM 256
#define NO_PART SIZE_MAX  // any that has the module

enum role { DOWN, UP, ALPHA, DIFF, DIFF_BIAS, ROLES };

// A layer of the file: what belongs to one module.
struct layer {
    const char *stem;                            // the module's name with '_' for '.', without its part's
    size_t part;
    const struct vks_st_tensor *roles[ROLES];    // NULL: not there
};

// A module of the model.
struct module {
    const char *stem, *weight;                   // as above; the parameter's name in the part's weights
    size_t part;
};

struct loader {
    const struct vks_log *log;
    struct vks_lora *lora;
    const struct vks_lora_part *parts;
    size_t part_count;
    struct module *modules;                      // sorted by stem, then part
    size_t module_count;
    struct layer *layers;                        // one a tensor at first, then one a module
    size_t layer_count;
    struct vks_json *adapter;                    // the metadata of diffusers, PEFT's configuration, or NULL
    bool peft;                                   // the latter: one for all parts
    const char *stray;                           // the first tensor that fits nothing
};

static bool no_memory(const struct loader *l)
{
    return vks_fail(l->log, "%s: " VKS_NO_MEMORY, l->lora->path);
}

static void add_stray(struct loader *l, const struct vks_st_tensor *tensor)
{
    if (!l->lora->strays++ || strcmp(tensor->name, l->stray) < 0)
        l->stray = tensor->name;
}

// ---- names of modules

// '_' for every '.', without the name that older files have before the text encoder's modules.
static void to_stem(char *name)
{
    static const char text[] = "text_model_";
    for (char *at = name; *at; at++)
        if (*at == '.')
            *at = '_';
    if (!strncmp(name, text, strlen(text)))
        memmove(name, name + strlen(text), strlen(name + strlen(text)) + 1);
}

static int by_stem(const void *a, const void *b)
{
    const struct module *x = a, *y = b;
    const int order = strcmp(x->stem, y->stem);
    return order ? order : x->part < y->part ? -1 : x->part > y->part;
}

// Every weight of the parts.
static bool list_modules(struct loader *l)
{
    static const char end[] = ".weight";
    size_t most = 0;
    for (size_t p = 0; p < l->part_count; p++)
        most += vks_weights_count(l->parts[p].weights);
    l->modules = calloc(most + 1, sizeof(*l->modules));
    if (!l->modules)
        return no_memory(l);
    for (size_t p = 0; p < l->part_count; p++)
        for (size_t i = 0; i < vks_weights_count(l->parts[p].weights); i++) {
            const struct vks_weight *weight = vks_weights_at(l->parts[p].weights, i);
            const size_t length = strlen(weight->name);
            if (length < sizeof(end) || strcmp(weight->name + length - strlen(end), end))
                continue;
            char *stem = vks_arena_strdup(&l->lora->arena, weight->name);
            if (!stem)
                return no_memory(l);
            stem[length - strlen(end)] = 0;
            to_stem(stem);
            l->modules[l->module_count++] = (struct module){stem, weight->name, p};
        }
    qsort(l->modules, l->module_count, sizeof(*l->modules), by_stem);
    return true;
}

// The first part that has the module, or the one that is asked for; NULL when there is none.
static const struct module *find_module(const struct loader *l, const char *stem, size_t part)
{
    size_t low = 0, high = l->module_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(l->modules[middle].stem, stem) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < l->module_count && !strcmp(l->modules[low].stem, stem); low++)
        if (part == NO_PART || l->modules[low].part == part)
            return &l->modules[low];
    return NULL;
}

// ---- names of tensors

static bool cut_end(char *name, const char *end)
{
    const size_t length = strlen(name), size = strlen(end);
    if (length <= size || strcmp(name + length - size, end))
        return false;
    name[length - size] = 0;
    return true;
}

// Takes what a tensor is for off the end of its name.
static bool take_role(char *name, enum role *role)
{
    static const struct {
        const char *end;
        enum role role;
    } ends[] = {
        {".lora_A.weight", DOWN},         {".lora_B.weight", UP},          {".lora_A.default.weight", DOWN},
        {".lora_B.default.weight", UP},   {".lora_down.weight", DOWN},     {".lora_up.weight", UP},
        {".lora_linear_layer.down.weight", DOWN}, {".lora_linear_layer.up.weight", UP},
        {".lora.down.weight", DOWN},      {".lora.up.weight", UP},         {"_lora.down.weight", DOWN},
        {"_lora.up.weight", UP},          {".alpha", ALPHA},               {".diff", DIFF},
        {".diff_b", DIFF_BIAS},
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        if (cut_end(name, ends[i].end)) {
            *role = ends[i].role;
            return true;
        }
    return false;
}

// Takes the name of a part off the beginning.
static size_t take_part(const struct loader *l, char *name)
{
    static const struct {
        const char *begin, *part;
    } begins[] = {
        {"unet.", "unet"}, {"lora_unet_", "unet"}, {"text_encoder.", "text_encoder"},
        {"text_encoder_2.", "text_encoder_2"}, {"lora_te_", "text_encoder"}, {"lora_te1_", "text_encoder"},
        {"lora_te2_", "text_encoder_2"}, {"base_model.model.", NULL},
    };
    for (size_t i = 0; i < sizeof(begins) / sizeof(*begins); i++) {
        const size_t length = strlen(begins[i].begin);
        if (strncmp(name, begins[i].begin, length))
            continue;
        memmove(name, name + length, strlen(name + length) + 1);
        for (size_t p = 0; begins[i].part && p < l->part_count; p++)
            if (!strcmp(l->parts[p].name, begins[i].part))
                return p;
        return begins[i].part ? l->part_count : NO_PART;  // a part that the model lacks
    }
    return NO_PART;
}

// The attention processors of early diffusers: "attn1_processor_to_q", and to_out for to_out.0.
static void drop_processor(char *stem)
{
    static const char word[] = "_processor_";
    char *at = strstr(stem, word);
    if (!at)
        return;
    memmove(at + 1, at + strlen(word), strlen(at + strlen(word)) + 1);
    if (vks_ends_with(stem, "_to_out") && strlen(stem) + 2 < MAX_STEM)
        strcat(stem, "_0");
}

// Files of a language model's base alone have its modules without the name of the base.
static void drop_base(const struct loader *l, char *stem, size_t part)
{
    static const char *const bases[] = {"transformer_", "model_"};
    for (size_t i = 0; i < sizeof(bases) / sizeof(*bases) && !find_module(l, stem, part); i++) {
        const size_t length = strlen(bases[i]);
        if (!strncmp(stem, bases[i], length) && find_module(l, stem + length, part))
            memmove(stem, stem + length, strlen(stem + length) + 1);
    }
}

// From a tensor's name to its module's stem; false: no tensor of any LoRA.
static bool read_name(const struct loader *l, const char *name, char stem[MAX_STEM], size_t *part, enum role *role)
{
    char original[MAX_STEM];
    if (strlen(name) >= MAX_STEM)
        return false;
    strcpy(stem, name);
    if (!take_role(stem, role))
        return false;
    *part = take_part(l, stem);
    to_stem(stem);
    drop_processor(stem);
    drop_base(l, stem, *part);
    const uint32_t layers = *part < l->part_count ? l->parts[*part].layers : 0;
    if (layers && !find_module(l, stem, *part) && vks_original_unet(stem, '_', layers, original, sizeof(original)))
        strcpy(stem, original);
    return true;
}

// ---- layers

static int by_layer(const void *a, const void *b)
{
    const struct layer *x = a, *y = b;
    const int order = strcmp(x->stem, y->stem);
    return order ? order : x->part < y->part ? -1 : x->part > y->part;
}

// Puts the tensors of one module together. A module in two spellings is an error.
static bool join_layers(struct loader *l)
{
    size_t kept = 0;
    if (l->layer_count)
        qsort(l->layers, l->layer_count, sizeof(*l->layers), by_layer);
    for (size_t i = 0; i < l->layer_count; i++) {
        if (!kept || by_layer(&l->layers[kept - 1], &l->layers[i])) {
            l->layers[kept++] = l->layers[i];
            continue;
        }
        for (int r = 0; r < ROLES; r++) {
            const struct vks_st_tensor **into = &l->layers[kept - 1].roles[r], *from = l->layers[i].roles[r];
            if (from && *into)
                return vks_fail(l->log, "%s: %s and %s are for the same layer: use a file with one of them",
                                l->lora->path, (*into)->name, from->name);
            *into = from ? from : *into;
        }
    }
    l->layer_count = kept;
    return true;
}

// Forms of adapters that share the names of modules, of which nothing may be left out silently.
static bool check_form(const struct loader *l, const struct vks_st_tensor *tensor)
{
    static const char *const others[] = {"dora_scale", "lora_magnitude_vector", "lora_mid.", "hada_w", "hada_t",
                                         "lokr_", "oft_", "lora_B.bias", "lora_up.bias"};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        if (strstr(tensor->name, others[i]))
            return vks_fail(l->log, "%s: %s belongs to a form of adapter that is not supported: use a plain LoRA",
                            l->lora->path, tensor->name);
    return true;
}

static bool list_layers(struct loader *l)
{
    struct vks_lora *lora = l->lora;
    l->layers = calloc(lora->file.tensor_count + 1, sizeof(*l->layers));
    if (!l->layers)
        return no_memory(l);
    for (size_t i = 0; i < lora->file.tensor_count; i++) {
        const struct vks_st_tensor *tensor = &lora->file.tensors[i];
        struct layer *layer = &l->layers[l->layer_count];
        char stem[MAX_STEM];
        enum role role;
        if (!check_form(l, tensor))
            return false;
        if (!read_name(l, tensor->name, stem, &layer->part, &role)) {
            add_stray(l, tensor);
            continue;
        }
        if (!vks_st_is_float(tensor->dtype))
            return vks_fail(l->log, "%s: %s has type %s, not F32, F16 or BF16: convert the file", lora->path,
                            tensor->name, vks_st_dtype_name(tensor->dtype));
        layer->stem = vks_arena_strdup(&lora->arena, stem);
        if (!layer->stem)
            return no_memory(l);
        layer->roles[role] = tensor;
        l->layer_count++;
    }
    return join_layers(l);
}

// ---- strengths

// "unet.lora_alpha" of diffusers' metadata, "lora_alpha" of PEFT's configuration.
static const struct cJSON *adapter_get(const struct loader *l, const struct module *module, const char *name)
{
    char key[64];
    snprintf(key, sizeof(key), "%s%s%s", l->peft ? "" : l->parts[module->part].name, l->peft ? "" : ".", name);
    return vks_json_get(l->adapter->root, key);
}

// PEFT's alphas: of the module in "alpha_pattern" whose name ends so, otherwise "lora_alpha".
static double adapter_alpha(const struct loader *l, const struct module *module, double rank)
{
    const struct cJSON *alpha = adapter_get(l, module, "lora_alpha");
    const struct cJSON *patterns = adapter_get(l, module, "alpha_pattern");
    for (const struct cJSON *item = patterns ? patterns->child : NULL; item; item = item->next) {
        char stem[MAX_STEM];
        if (!item->string || strlen(item->string) + 1 >= MAX_STEM)
            continue;
        snprintf(stem, sizeof(stem), "%s", item->string);
        to_stem(stem);
        const size_t length = strlen(stem), whole = strlen(module->stem);
        if (length <= whole && !strcmp(module->stem + whole - length, stem) &&
            (length == whole || module->stem[whole - length - 1] == '_')) {
            alpha = item;  // PEFT takes the first that fits
            break;
        }
    }
    const double over = cJSON_IsTrue(adapter_get(l, module, "use_rslora")) ? sqrt(rank) : 1;
    return (cJSON_IsNumber(alpha) ? alpha->valuedouble : rank) * over;
}

// alpha of a layer; its rank where nothing says otherwise.
static bool find_alpha(const struct loader *l, const struct layer *layer, const struct module *module, double rank,
                       double *alpha)
{
    float value;
    *alpha = rank;
    if (layer->roles[ALPHA]) {
        if (layer->roles[ALPHA]->count != 1)
            return vks_fail(l->log, "%s: %s is not one number: fetch the file again", l->lora->path,
                            layer->roles[ALPHA]->name);
        vks_st_to_f32(l->log, NULL, layer->roles[ALPHA], &value);
        *alpha = value;
    } else if (l->adapter) {
        *alpha = adapter_alpha(l, module, rank);
    }
    return isfinite(*alpha) || vks_fail(l->log, "%s: the alpha of %s is no number: fetch the file again",
                                        l->lora->path, layer->roles[DOWN]->name);
}

// ---- merging

// Whether a module is one of transformers' Conv1D, whose weight lies as (in, out).
static bool is_conv1d(const struct loader *l, const struct module *module)
{
    const char *dot = strstr(module->weight, ".c_");
    return l->parts[module->part].conv1d && dot && !strcmp(strchr(dot + 1, '.'), ".weight");
}

static bool merge_pair(struct loader *l, const struct layer *layer, const struct module *module)
{
    const struct vks_st_tensor *down = layer->roles[DOWN], *up = layer->roles[UP];
    struct vks_weights *weights = l->parts[module->part].weights;
    const struct vks_weight *weight = vks_weights_find(weights, module->weight);
    const uint64_t rank = down->rank ? down->shape[0] : 0;
    const bool transposed = is_conv1d(l, module);
    const uint64_t out = weight->rank >= 2 ? weight->shape[transposed] : 0;
    double alpha;
    if (!up || !rank || rank > UINT32_MAX || up->rank < 2 || up->shape[1] != rank || !out || !weight->count ||
        up->count != up->shape[0] * rank || up->shape[0] != out || down->count != weight->count / out * rank)
        return vks_fail(l->log, "%s: %s does not fit the model's %s: the LoRA is for another model", l->lora->path,
                        down->name, module->weight);
    if (!find_alpha(l, layer, module, (double)rank, &alpha))
        return false;
    const struct vks_weight_change change = {
        up, down, (uint32_t)rank, (float)((double)l->lora->strength * alpha / (double)rank), transposed};
    return vks_weights_change(weights, module->weight, &change);
}

static bool merge_difference(struct loader *l, const struct vks_st_tensor *tensor, const struct module *module,
                             const char *name)
{
    const struct vks_weight_change change = {.down = tensor, .scale = l->lora->strength};
    if (vks_weights_find(l->parts[module->part].weights, name))
        return vks_weights_change(l->parts[module->part].weights, name, &change);
    add_stray(l, tensor);
    return true;
}

static bool merge(struct loader *l, const struct layer *layer)
{
    const struct module *module = find_module(l, layer->stem, layer->part);
    char bias[MAX_STEM + 8];
    const bool differs = layer->roles[DIFF] || layer->roles[DIFF_BIAS];
    if (!module || (!layer->roles[DOWN] && (layer->roles[UP] || !differs))) {
        for (int r = 0; r < ROLES; r++)
            if (layer->roles[r])
                add_stray(l, layer->roles[r]);
        return true;
    }
    snprintf(bias, sizeof(bias), "%.*s.bias", (int)(strlen(module->weight) - strlen(".weight")), module->weight);
    l->lora->layers++;
    return (!layer->roles[DOWN] || merge_pair(l, layer, module)) &&
           (!layer->roles[DIFF] || merge_difference(l, layer->roles[DIFF], module, module->weight)) &&
           (!layer->roles[DIFF_BIAS] || merge_difference(l, layer->roles[DIFF_BIAS], module, bias));
}

// What a folder of PEFT's holds, in place of the folder.
static bool enter_folder(struct loader *l)
{
    static const char *const names[] = {"adapter_model.safetensors", "adapter_model.bin"};
    struct vks_lora *lora = l->lora;
    if (!vks_os_is_dir(lora->path))
        return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const char *path = vks_arena_printf(&lora->arena, "%s/%s", lora->path, names[i]);
        if (!path)
            return no_memory(l);
        if (vks_os_is_file(path)) {
            lora->path = path;
            return true;
        }
    }
    return vks_fail(l->log, "%s holds no adapter_model.safetensors: give a LoRA file, or a folder that PEFT saved",
                    lora->path);
}

// Whether PEFT's configuration asks for more than a sum of products. (PEFT itself sets fan_in_fan_out right by the
// module's class: see is_conv1d.)
static bool is_special(const struct cJSON *root)
{
    static const char *const flags[] = {"use_dora", "use_bdlora", "use_qalora"};
    bool special = cJSON_IsArray(vks_json_get(root, "alora_invocation_tokens"));
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
        special = special || cJSON_IsTrue(vks_json_get(root, flags[i]));
    return special;
}

// PEFT's configuration, where one lies beside the file.
static bool read_peft(struct loader *l)
{
    static const char name[] = "adapter_config.json";
    char *folder = vks_path_folder(l->lora->path), *path = folder ? vks_path_join(folder, name) : NULL;
    const bool there = path && vks_os_is_file(path) && !strncmp(vks_path_name(l->lora->path), "adapter_model.", 14);
    bool done = path || no_memory(l);
    if (there && (done = (l->adapter = vks_json_open(l->log, path)) != NULL)) {
        const struct cJSON *root = l->adapter->root, *type = vks_json_get(root, "peft_type");
        const struct cJSON *start = vks_json_get(root, "init_lora_weights");
        const char *first = cJSON_IsString(start) ? start->valuestring : "";
        l->peft = true;
        if (cJSON_IsString(type) && strcmp(type->valuestring, "LORA"))
            done = vks_fail(l->log, "%s: the adapter %.40s is not supported: use a plain LoRA", path,
                            type->valuestring);
        else if (is_special(root))
            done = vks_fail(l->log, "%s: DoRA, aLoRA, BD-LoRA and QA-LoRA are not supported: use a plain LoRA", path);
        else if (!strncmp(first, "pissa", 5) || !strcmp(first, "olora") || !strcmp(first, "corda"))
            done = vks_fail(l->log, "%s: with init_lora_weights %.40s the model's own weights differ too: convert it "
                            "to a plain LoRA (PEFT's path_initial_model_for_weight_conversion)", path, first);
    }
    free(folder);
    free(path);
    return done;
}

static bool load(struct loader *l)
{
    struct vks_lora *lora = l->lora;
    if (!enter_folder(l) || !vks_tensor_file_open(l->log, lora->path, &lora->file))
        return false;
    lora->tensors = lora->file.tensor_count;
    const char *adapter = vks_tensor_file_metadata(&lora->file, "lora_adapter_metadata");
    if (adapter ? !(l->adapter = vks_json_parse(l->log, lora->path, adapter, strlen(adapter))) : !read_peft(l))
        return false;
    if (!list_modules(l) || !list_layers(l))
        return false;
    for (size_t i = 0; i < l->layer_count; i++)
        if (!merge(l, &l->layers[i]))
            return false;
    char quoted[200];
    vks_text_quote(l->stray ? l->stray : "", l->stray ? strlen(l->stray) : 0, quoted, sizeof(quoted));
    if (!lora->layers)
        return vks_fail(l->log, "%s: nothing in it fits this model, neither %s nor any other of its %zu tensors: use "
                        "a LoRA for this model", lora->path, quoted, lora->tensors);
    if (lora->strays)
        vks_warn(l->log, "%s: %zu of %zu tensors fit nothing in this model and are left out, the first is %s",
                 lora->path, lora->strays, lora->tensors, quoted);
    return true;
}

struct vks_lora *vks_lora_open(const struct vks_log *log, const char *path, float strength,
                               const struct vks_lora_part parts[], size_t count)
{
    struct vks_lora *lora = calloc(1, sizeof(*lora));
    if (!lora)
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, path);
    struct loader l = {.log = log, .lora = lora, .parts = parts, .part_count = count};
    lora->path = vks_arena_strdup(&lora->arena, path);
    lora->strength = strength;
    const bool done = lora->path ? load(&l) : vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    vks_json_close(&l.adapter);
    free(l.modules);
    free(l.layers);
    if (!done)
        vks_lora_close(&lora);
    return lora;
}

void vks_lora_close(struct vks_lora **lora)
{
    if (*lora) {
        vks_tensor_file_close(&(*lora)->file);
        vks_arena_finish(&(*lora)->arena);
        free(*lora);
    }
    *lora = NULL;
}
