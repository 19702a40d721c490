#include "models/clip_special.h"

#include "models/unicode.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SPECIALS 4096

// ---- normal form

bool vks_clip_normalise(const char *text, size_t size, struct vks_text *out)
{
    struct vks_text composed = {0};
    if (!vks_unicode_normalise(VKS_NFC, text, size, &composed)) {
        vks_text_finish(&composed);
        return false;
    }
    bool space = false;
    uint32_t code;
    const char *end = composed.data + composed.length;
    for (const char *at = composed.data; at < end;) {
        const size_t step = vks_utf8_decode(at, end, &code);
        const bool again = space;
        at += step ? step : 1;
        space = vks_unicode_space(code);
        if (space && !again)
            vks_text_add_str(out, " ");
        else if (!space)
            vks_unicode_add_lower(out, code);
    }
    vks_text_finish(&composed);
    return !out->failed && vks_text_add(out, "", 0);
}

// ---- reading

struct reader {
    const struct vks_log *log;
    const struct vks_clip_special_files *files;
    const struct vks_clip_bpe *bpe;
    struct vks_clip_specials *specials;
    int32_t last;  // the largest id of a special token so far, -1: none
};

// The id of a token that the vocabulary may lack.
static int32_t id_of(const struct reader *r, const char *text)
{
    const int32_t id = vks_vocabulary_find(&r->bpe->vocabulary, text, strlen(text));
    const int32_t count = (int32_t)r->bpe->vocabulary.count;
    return id >= 0 ? id : r->last >= count ? r->last + 1 : count;
}

// Of a token added twice the last counts.
static bool add(struct reader *r, const struct vks_added_token *token)
{
    struct vks_added *list = &r->specials->added;
    const size_t size = strlen(token->text);
    const struct vks_added_token *old = vks_added_find(list, token->text, size);
    if (!size)
        return true;
    if (size > VKS_ADDED_MAX)
        return vks_fail(r->log, "%s: a special token is longer than %d bytes; correct the files", r->files->folder,
                        VKS_ADDED_MAX);
    if (!old && list->count == MAX_SPECIALS)
        return vks_fail(r->log, "%s: more than %d special tokens; correct the files", r->files->folder, MAX_SPECIALS);
    struct vks_added_token made = *token;
    struct vks_text normal = {0};
    bool done = vks_clip_normalise(token->text, size, &normal);
    made.text_size = size;
    made.pattern = token->normalised ? normal.data : token->text;
    made.pattern_size = token->normalised ? normal.length : size;
    made.id = old ? old->id : id_of(r, token->text);
    done = done && vks_added_put(list, &made);
    vks_text_finish(&normal);
    if (!done)
        return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->files->folder);
    r->last = made.id > r->last ? made.id : r->last;
    if (made.id >= r->specials->size)
        r->specials->size = made.id + 1;
    return true;
}

// A token written as a string or as {"content": ..., "normalized": ...}. `special` is the default of that flag.
static bool parse(struct reader *r, const struct vks_json *json, const char *key, const struct cJSON *value,
                  bool special, struct vks_added_token *token)
{
    *token = (struct vks_added_token){0};
    if (cJSON_IsString(value)) {
        token->text = value->valuestring;
        return true;
    }
    if (!cJSON_IsObject(value))
        return vks_fail(r->log, "%s: key %s: expected a token (string or object); correct the file", json->path, key);
    if (!vks_json_require(r->log, json, value, "content") ||
        !vks_json_string(r->log, json, value, "content", NULL, &token->text) ||
        !vks_json_bool(r->log, json, value, "special", special, &special) ||
        !vks_json_bool(r->log, json, value, "normalized", !special, &token->normalised) ||
        !vks_json_bool(r->log, json, value, "lstrip", false, &token->lstrip) ||
        !vks_json_bool(r->log, json, value, "rstrip", false, &token->rstrip) ||
        !vks_json_bool(r->log, json, value, "single_word", false, &token->single_word))
        return false;
    return true;
}

struct numbered {
    double id;
    size_t order;
    const struct vks_json *json;
    const struct cJSON *value;  // an object, or NULL: a plain token `text`
    const char *text;
};

static int by_id(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

// Lists what added_tokens_decoder, added_tokens.json or tokenizer.json say, by rising id.
static bool list_added(struct reader *r, struct numbered *list, size_t *count)
{
    const struct vks_clip_special_files *files = r->files;
    const struct cJSON *decoder = NULL, *tokens = NULL;
    if (files->config && !vks_json_object(r->log, files->config, NULL, "added_tokens_decoder", &decoder))
        return false;
    if (files->whole && !vks_json_array(r->log, files->whole, NULL, "added_tokens", &tokens))
        return false;
    const struct cJSON *plain = files->added && cJSON_IsObject(files->added->root) ? files->added->root : NULL;
    *count = 0;
    for (const struct cJSON *item = decoder ? decoder->child : NULL; item && *count < MAX_SPECIALS;
         item = item->next) {
        double id;
        if (!vks_parse_double(item->string, &id))
            return vks_fail(r->log, "%s: key added_tokens_decoder: expected ids as keys; correct the file",
                            files->config->path);
        list[*count] = (struct numbered){id, *count, files->config, item, NULL};
        ++*count;
    }
    for (const struct cJSON *item = plain ? plain->child : NULL; item && *count < MAX_SPECIALS; item = item->next) {
        list[*count] = (struct numbered){cJSON_IsNumber(item) ? item->valuedouble : 0, *count, files->added, NULL,
                                         item->string};
        ++*count;
    }
    for (const struct cJSON *item = tokens ? tokens->child : NULL; item && *count < MAX_SPECIALS; item = item->next) {
        const struct cJSON *id = vks_json_get(item, "id");
        list[*count] = (struct numbered){cJSON_IsNumber(id) ? id->valuedouble : 0, *count, files->whole, item, NULL};
        ++*count;
    }
    if (*count)
        qsort(list, *count, sizeof(*list), by_id);
    return true;
}

// The value of a key: of special_tokens_map.json, else of tokenizer_config.json.
static const struct cJSON *setting(const struct reader *r, const char *key, const struct vks_json **from)
{
    const struct cJSON *value = r->files->map ? vks_json_get(r->files->map->root, key) : NULL;
    *from = value ? r->files->map : r->files->config;
    return value ? value : r->files->config ? vks_json_get(r->files->config->root, key) : NULL;
}

static bool add_listed(struct reader *r, const struct numbered *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct vks_added_token token = {.text = list[i].text};
        if (list[i].text) {
            const struct vks_json *from;
            token.normalised = true;
            for (const char *const *key = (const char *const[]){"bos_token", "eos_token", "unk_token", "pad_token",
                                                                NULL}; *key; key++) {
                const struct cJSON *value = setting(r, *key, &from);
                struct vks_added_token named;
                if (value && parse(&(struct reader){.files = r->files}, from, *key, value, true, &named) &&
                    !strcmp(named.text, token.text))
                    token.normalised = false;
            }
        } else if (!parse(r, list[i].json, "added tokens", list[i].value, false, &token)) {
            return false;
        }
        if (!add(r, &token))
            return false;
    }
    return true;
}

// The tokens with names, in the order of the original, where they are not listed already. ids: bos, eos, unk, pad.
static bool add_named(struct reader *r, int32_t ids[4])
{
    static const char *const keys[7] = {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token",
                                        "mask_token"};
    static const int order[7] = {0, 1, 2, 4, 3, 5, 6};  // bos, eos, unk, sep, pad, cls, mask
    const struct vks_added *list = &r->specials->added;
    const size_t listed = list->count;
    for (int i = 0; i < 7; i++) {
        const int k = order[i];
        const struct vks_json *from;
        const struct cJSON *value = setting(r, keys[k], &from);
        struct vks_added_token token = {.text = k == 0 ? "<|startoftext|>" : k < 4 ? "<|endoftext|>" : NULL};
        if (value && !parse(r, from, keys[k], value, from == r->files->map, &token))
            return false;
        if (!token.text)
            continue;
        const struct vks_added_token *old = vks_added_find(list, token.text, strlen(token.text));
        if (!(old && (size_t)(old - list->items) < listed) && !add(r, &token))
            return false;
        old = vks_added_find(list, token.text, strlen(token.text));
        if (!old && k < 4)
            return vks_fail(r->log, "%s: %s is empty; correct tokenizer_config.json", r->files->folder, keys[k]);
        if (k < 4)
            ids[k] = k == 2 ? vks_vocabulary_find(&r->bpe->vocabulary, token.text, strlen(token.text)) : old->id;
    }
    return true;
}

static bool add_extra(struct reader *r)
{
    static const char *const keys[] = {"extra_special_tokens", "additional_special_tokens"};
    for (int i = 0; i < 2; i++) {
        const struct vks_json *from;
        const struct cJSON *list = setting(r, keys[i], &from);
        for (const struct cJSON *item = list ? list->child : NULL; item; item = item->next) {
            struct vks_added_token token;
            if (!parse(r, from, keys[i], item, true, &token))
                return false;
            if (!vks_added_find(&r->specials->added, token.text, strlen(token.text)) && !add(r, &token))
                return false;
        }
    }
    return true;
}

bool vks_clip_specials_read(const struct vks_log *log, const struct vks_clip_special_files *files,
                            struct vks_clip_bpe *bpe, struct vks_clip_specials *specials)
{
    *specials = (struct vks_clip_specials){.size = bpe->vocabulary.size};
    struct reader r = {.log = log, .files = files, .bpe = bpe, .specials = specials, .last = -1};
    struct numbered *list = malloc(MAX_SPECIALS * sizeof(*list));
    size_t count;
    int32_t ids[4];
    bool done = list ? list_added(&r, list, &count) && add_listed(&r, list, count) && add_named(&r, ids) &&
                           add_extra(&r)
                     : vks_fail(log, "%s: " VKS_NO_MEMORY, files->folder);
    free(list);
    bool complete = true;
    for (int i = 0; i < 512; i++)
        complete = complete && bpe->bytes[i / 256][i % 256] >= 0;
    if (done && !complete && ids[2] < 0)
        done = vks_fail(log, "%s: the vocabulary lacks single bytes and the unknown token; fetch the tokenizer again",
                        files->folder);
    if (done && !vks_added_index(&specials->added))
        done = vks_fail(log, "%s: " VKS_NO_MEMORY, files->folder);
    if (!done) {
        vks_clip_specials_finish(specials);
        return false;
    }
    specials->bos = ids[0];
    specials->eos = ids[1];
    specials->pad = ids[3];
    bpe->unknown = ids[2];
    return true;
}

void vks_clip_specials_finish(struct vks_clip_specials *specials)
{
    vks_added_finish(&specials->added);
    *specials = (struct vks_clip_specials){0};
}
