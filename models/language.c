#include "models/language.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define MAX_SIZE ((uint64_t)1 << 40)  // no size of a model is near it; products of two such sizes do not overflow

struct source {
    const struct vks_log *log;
    const struct vks_gguf *file;
    struct vks_arena *arena;
    const char *architecture;
};

static bool bad(const struct source *s, const char *key, const char *why)
{
    return vks_fail(s->log, "%s: metadata \"%s\" %s; the file is damaged, fetch it again", s->file->path, key, why);
}

static bool take_text(const struct source *s, const char *key, const char **text)
{
    char quoted[208];
    const struct vks_gguf_value *value = vks_gguf_get(s->file, key);
    *text = NULL;
    if (!value)
        return true;
    if (value->kind != VKS_GGUF_STRING)
        return bad(s, key, "is no text");
    vks_text_quote((const char *)value->data, value->size, quoted, sizeof(quoted));
    *text = vks_arena_strdup(s->arena, quoted);
    return *text || vks_fail(s->log, "%s: " VKS_NO_MEMORY, s->file->path);
}

// A count, or an array with one for each layer, of which the largest is taken.
static bool take_size(const struct source *s, const char *key, uint64_t *size)
{
    const struct vks_gguf_value *value = vks_gguf_get(s->file, key);
    struct vks_gguf_value item;
    uint64_t number;
    *size = 0;
    if (!value)
        return true;
    if (value->kind != VKS_GGUF_ARRAY)
        return (vks_gguf_uint(value, size) && *size <= MAX_SIZE) || bad(s, key, "is no size");
    for (size_t at = 0; vks_gguf_next(value, &at, &item);) {
        if (!vks_gguf_uint(&item, &number) || number > MAX_SIZE)
            return bad(s, key, "holds something else than sizes");
        *size = number > *size ? number : *size;
    }
    return true;
}

// Of a key that begins with the architecture's name.
static bool take_own_size(const struct source *s, const char *key, uint64_t *size)
{
    char full[128];
    snprintf(full, sizeof(full), "%s.%s", s->architecture, key);
    return take_size(s, full, size);
}

static bool take_architecture(struct source *s, struct vks_language *language)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *key = "general.architecture";
    if (!take_text(s, key, &language->architecture))
        return false;
    s->architecture = language->architecture;
    if (!s->architecture)
        return vks_fail(s->log, "%s: names no architecture (general.architecture), so it is no model; give the GGUF "
                        "file of a language model", s->file->path);
    if (!*s->architecture || strlen(s->architecture) > 64 ||
        strspn(s->architecture, allowed) != strlen(s->architecture))
        return bad(s, key, "is no name of an architecture");
    return true;
}

static bool take_rope(const struct source *s, double *base)
{
    char key[128];
    snprintf(key, sizeof(key), "%s.rope.freq_base", s->architecture);
    const struct vks_gguf_value *value = vks_gguf_get(s->file, key);
    *base = 0;
    return !value || (vks_gguf_number(value, base) && *base > 0 && *base < 1e30) ||
           bad(s, key, "is no positive number");
}

static bool take_vocabulary(const struct source *s, uint64_t *vocabulary)
{
    const char *key = "tokenizer.ggml.tokens";
    const struct vks_gguf_value *tokens = vks_gguf_get(s->file, key);
    if (!tokens)
        return take_own_size(s, "vocab_size", vocabulary);
    if (tokens->kind != VKS_GGUF_ARRAY || tokens->item != VKS_GGUF_STRING)
        return bad(s, key, "is no list of tokens");
    *vocabulary = tokens->count;
    return true;
}

bool vks_language_from_gguf(const struct vks_log *log, const struct vks_gguf *file, struct vks_arena *arena,
                            struct vks_language *language)
{
    struct source s = {.log = log, .file = file, .arena = arena};
    uint64_t parts;
    *language = (struct vks_language){0};
    if (!take_size(&s, "split.count", &parts))
        return false;
    if (parts > 1)
        return vks_fail(log, "%s: is one of %llu parts of a model; join them with llama-gguf-split --merge",
                        file->path, (unsigned long long)parts);
    if (!take_architecture(&s, language) || !take_text(&s, "general.name", &language->name) ||
        !take_text(&s, "tokenizer.ggml.model", &language->tokenizer) ||
        !take_text(&s, "tokenizer.ggml.pre", &language->pre_tokenizer) ||
        !take_own_size(&s, "context_length", &language->context) ||
        !take_own_size(&s, "embedding_length", &language->width) ||
        !take_own_size(&s, "block_count", &language->layers) ||
        !take_own_size(&s, "attention.head_count", &language->heads) ||
        !take_own_size(&s, "attention.head_count_kv", &language->kv_heads) ||
        !take_own_size(&s, "attention.key_length", &language->head_width) ||
        !take_own_size(&s, "attention.sliding_window", &language->window) ||
        !take_own_size(&s, "feed_forward_length", &language->feed_forward) || !take_rope(&s, &language->rope_base) ||
        !take_vocabulary(&s, &language->vocabulary))
        return false;
    // What the format leaves out when it follows from the rest.
    if (!language->kv_heads)
        language->kv_heads = language->heads;
    if (!language->head_width && language->heads)
        language->head_width = language->width / language->heads;
    return true;
}
