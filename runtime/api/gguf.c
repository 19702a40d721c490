// A language model's GGUF file, looked at.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/text.h"
#include "io/gguf.h"
#include "models/gguf_names.h"
#include "models/language.h"

// What a description owns; the file itself is closed before it is handed out.
struct description {
    struct vks_arena arena;
    bool failed;  // out of memory
};

static char *quote(struct description *d, const char *bytes, size_t size)
{
    char quoted[208];
    char *copy = vks_arena_strdup(&d->arena, vks_text_quote(bytes, size, quoted, sizeof(quoted)));
    d->failed |= !copy;
    return copy;
}

static void *allot(struct description *d, size_t count, size_t size)
{
    void *items = vks_arena_alloc(&d->arena, (count + 1) * size);
    d->failed |= !items;
    return items;
}

static void add_value(struct vks_text *text, const struct vks_gguf_value *value)
{
    static const char *const names[] = {"uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                        "bool",  "string", "array",  "uint64", "int64",  "float64"};
    const bool is_float = value->kind == VKS_GGUF_F32 || value->kind == VKS_GGUF_F64;
    char quoted[208];
    uint64_t whole;
    double number;
    if (value->kind == VKS_GGUF_STRING)
        vks_text_add_str(text, vks_text_quote((const char *)value->data, value->size, quoted, sizeof(quoted)));
    else if (value->kind == VKS_GGUF_BOOL)
        vks_text_add_str(text, *value->data ? "true" : "false");
    else if (vks_gguf_uint(value, &whole))
        vks_text_printf(text, "%llu", (unsigned long long)whole);
    else if (vks_gguf_number(value, &number))
        vks_text_add_str(text, VKS_NUMBER(is_float ? "%.9g" : "%.0f", number));
    else
        vks_text_printf(text, "%llu of %s", (unsigned long long)value->count, names[value->item]);
}

// Arrays of up to eight elements are written out, others counted.
static char *value_text(struct description *d, const struct vks_gguf_value *value)
{
    struct vks_text text = {0};
    struct vks_gguf_value item;
    if (value->kind == VKS_GGUF_ARRAY && value->count && value->count <= 8) {
        for (size_t at = 0; vks_gguf_next(value, &at, &item);) {
            vks_text_add_str(&text, text.length ? ", " : "");
            add_value(&text, &item);
        }
    } else {
        add_value(&text, value);
    }
    char *copy = text.failed ? NULL : vks_arena_strdup(&d->arena, text.data ? text.data : "");
    d->failed |= !copy;
    vks_text_finish(&text);
    return copy;
}

static void list_metadata(struct description *d, const struct vks_gguf *file, struct vksteer_gguf *out)
{
    const char **keys = allot(d, file->metadata_count, sizeof(*keys));
    const char **values = allot(d, file->metadata_count, sizeof(*values));
    for (size_t i = 0; i < file->metadata_count && !d->failed; i++) {
        keys[i] = quote(d, file->metadata[i].key, strlen(file->metadata[i].key));
        values[i] = value_text(d, &file->metadata[i].value);
    }
    out->metadata_count = file->metadata_count;
    out->keys = keys;
    out->values = values;
}

// Adds the weights of a norm, as the PyTorch module has them; the tensor may be large, whatever it says it is.
static void add_norm(struct vks_api_norms *norms, const struct vks_gguf_tensor *tensor, enum vks_gguf_form form)
{
    float weights[256];
    const struct vks_quant *quant = vks_quant(tensor->type);
    for (uint64_t at = 0; at < tensor->count; at += 256) {
        const uint64_t left = tensor->count - at, count = left < 256 ? left : 256;
        vks_quant_unpack(tensor->type, tensor->data + at / quant->elements * quant->bytes, (size_t)count, weights);
        for (uint64_t i = 0; i < count && form == VKS_GGUF_PLUS_ONE; i++)
            weights[i] -= 1;
        vks_api_norms_add(norms, weights, count);
    }
}

static void name_site(struct description *d, const char *architecture, const struct vks_gguf_tensor *tensor,
                      struct vks_api_norms *norms, struct vksteer_gguf_tensor *out)
{
    static const char *const forms[] = {
        [VKS_GGUF_PAIRED_ROWS] = "rows in rotary pairs",
        [VKS_GGUF_PLUS_ONE] = "1 + weight",
    };
    char site[96];
    enum vks_gguf_form form;
    if (!vks_gguf_module(architecture, tensor->name, site, sizeof(site), &form))
        return;
    out->site = quote(d, site, strlen(site));
    out->form = form == VKS_GGUF_AS_IS ? NULL : forms[form];
    if (vks_ends_with(tensor->name, "norm.weight"))
        add_norm(norms, tensor, form);
}

static void list_tensors(struct description *d, const struct vks_gguf *file, struct vksteer_gguf *out)
{
    struct vksteer_gguf_type by_number[VKS_QUANT_BF16 + 1] = {{0}};
    struct vksteer_gguf_tensor *tensors = allot(d, file->tensor_count, sizeof(*tensors));
    struct vksteer_gguf_type *types = allot(d, VKS_QUANT_BF16, sizeof(*types));
    struct vks_api_norms norms = {0};
    char fingerprint[128];
    for (size_t i = 0; i < file->tensor_count && !d->failed; i++) {
        const struct vks_gguf_tensor *tensor = &file->tensors[i];
        struct vksteer_gguf_type *type = &by_number[tensor->type];
        tensors[i] = (struct vksteer_gguf_tensor){
            .name = quote(d, tensor->name, strlen(tensor->name)),
            .type = vks_quant(tensor->type)->name,
            .rank = (uint32_t)tensor->rank,
            .parameters = tensor->count,
            .bytes = tensor->size,
        };
        memcpy(tensors[i].shape, tensor->shape, sizeof(tensor->shape));
        name_site(d, out->architecture, tensor, &norms, &tensors[i]);
        type->name = tensors[i].type;
        type->tensors++;
        type->parameters += tensor->count;
        type->bytes += tensor->size;
        out->parameters += tensor->count;
        out->bytes += tensor->size;
    }
    for (size_t i = 0; i <= VKS_QUANT_BF16 && !d->failed; i++)
        if (by_number[i].tensors)
            types[out->type_count++] = by_number[i];
    if (norms.count) {
        vks_api_norms_text(&norms, fingerprint, sizeof(fingerprint));
        out->fingerprint = quote(d, fingerprint, strlen(fingerprint));
    }
    out->tensor_count = file->tensor_count;
    out->tensors = tensors;
    out->types = types;
}

bool vksteer_is_gguf(const char *path)
{
    return vks_gguf_is(path);
}

bool vksteer_gguf_describe(const struct vksteer_log *log, const char *path, struct vksteer_gguf *out)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    struct vks_language language;
    *out = (struct vksteer_gguf){0};
    struct vks_gguf *file = vks_gguf_open(inner, path);
    if (!file)
        return false;
    struct description *d = calloc(1, sizeof(*d));
    bool ok = d || vks_fail(inner, VKS_NO_MEMORY);
    out->priv = d;
    ok = ok && vks_language_from_gguf(inner, file, &d->arena, &language);
    if (ok) {
        out->path = quote(d, path, strlen(path));
        out->version = file->version;
        out->architecture = language.architecture;
        out->name = language.name;
        out->tokenizer = language.tokenizer;
        out->pre_tokenizer = language.pre_tokenizer;
        out->context = language.context;
        out->width = language.width;
        out->layers = language.layers;
        out->heads = language.heads;
        out->kv_heads = language.kv_heads;
        out->head_width = language.head_width;
        out->feed_forward = language.feed_forward;
        out->window = language.window;
        out->vocabulary = language.vocabulary;
        out->rope_base = language.rope_base;
        list_metadata(d, file, out);
        list_tensors(d, file, out);
        ok = !d->failed || vks_fail(inner, VKS_NO_MEMORY);
    }
    vks_gguf_close(&file);
    if (!ok)
        vksteer_gguf_finish(out);
    return ok;
}

void vksteer_gguf_finish(struct vksteer_gguf *gguf)
{
    struct description *d = gguf->priv;
    if (d)
        vks_arena_finish(&d->arena);
    free(d);
    *gguf = (struct vksteer_gguf){0};
}
