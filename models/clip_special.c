#include "models/clip_special.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define MAX_SPECIALS 4096

// ---- normal form

// Unicode's White_Space.
static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool vks_clip_normalise(const char *text, size_t size, struct vks_text *out)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    if (!size)
        return vks_text_add(out, "", 0);
    utf8proc_ssize_t count = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, NULL, 0,
                                                options);
    utf8proc_int32_t *codes = count > 0 ? malloc((size_t)count * sizeof(*codes)) : NULL;
    if (!codes)
        return false;
    count = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, codes, count, options);
    if (count > 0)
        count = utf8proc_normalize_utf32(codes, count, options);
    bool space = false;
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        const bool again = space;
        space = is_space((uint32_t)codes[i]);
        if (space && again)
            continue;
        char bytes[4];
        if (codes[i] == 0x130)  // the one character whose lower case is two; simple mapping would lose the dot
            vks_text_add_str(out, "i\xcc\x87");
        else
            vks_text_add(out, bytes,
                         vks_utf8_encode(space ? 0x20 : (uint32_t)utf8proc_tolower(codes[i]), bytes));
    }
    free(codes);
    return count >= 0 && !out->failed;
}

// ---- searching

// Letters (with the symbols that count as such: circled and squared ones), marks, digits, connectors, joiners.
static bool is_word(uint32_t c)
{
    if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
        (c >= 0x1f170 && c <= 0x1f189))
        return true;
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
           category == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d;
}

// The code point that ends at `end`, and where it begins.
static const char *step_back(const char *from, const char *end, uint32_t *code)
{
    const char *at = end - 1;
    while (at > from && ((unsigned char)*at & 0xc0) == 0x80)
        at--;
    if (!vks_utf8_decode(at, end, code))
        *code = 0;
    return at;
}

static bool stands_alone(const char *text, const char *end, const char *from, const char *to)
{
    uint32_t code;
    if (from > text) {
        step_back(text, from, &code);
        if (is_word(code))
            return false;
    }
    return !vks_utf8_decode(to, end, &code) || !is_word(code);
}

// The longest token at `at`, or NULL.
static const struct vks_clip_special *special_at(const struct vks_clip_specials *specials, bool normalised,
                                                 const char *at, const char *end)
{
    const struct vks_clip_special *best = NULL;
    for (size_t i = 0; i < specials->count; i++) {
        const struct vks_clip_special *item = &specials->items[i];
        if (item->normalised == normalised && item->pattern_size && *item->pattern == *at &&
            item->pattern_size <= (size_t)(end - at) && (!best || item->pattern_size > best->pattern_size) &&
            !memcmp(item->pattern, at, item->pattern_size))
            best = item;
    }
    return best;
}

bool vks_clip_specials_split(const struct vks_clip_specials *specials, bool normalised, const char *text, size_t size,
                             bool (*emit)(void *priv, int32_t id, const char *text, size_t size), void *priv)
{
    const char *end = text + size, *open = text;  // from `open` on, nothing was handed out yet
    for (const char *at = text; at < end;) {
        const struct vks_clip_special *found = special_at(specials, normalised, at, end);
        if (!found) {
            at++;
            continue;
        }
        const char *from = at, *to = at + found->pattern_size;
        uint32_t code;
        at = to;
        if (found->single_word && !stands_alone(text, end, from, to))
            continue;
        for (const char *back; found->lstrip && from > open; from = back) {
            back = step_back(open, from, &code);
            if (!is_space(code))
                break;
        }
        for (size_t step; found->rstrip && (step = vks_utf8_decode(to, end, &code)) && is_space(code);)
            to += step;
        if (from > open && !emit(priv, -1, open, (size_t)(from - open)))
            return false;
        if (!emit(priv, found->id, from, (size_t)(to - from)))
            return false;
        open = at = to;
    }
    return open == end || emit(priv, -1, open, (size_t)(end - open));
}

// ---- reading

struct reader {
    const struct vks_log *log;
    const struct vks_clip_special_files *files;
    const struct vks_clip_bpe *bpe;
    struct vks_clip_specials *specials;
    int32_t last;  // the largest id of a special token so far, -1: none
};

static struct vks_clip_special *find(const struct vks_clip_specials *specials, const char *text)
{
    for (size_t i = 0; i < specials->count; i++) {
        if (!strcmp(specials->items[i].text, text))
            return &specials->items[i];
    }
    return NULL;
}

// The id of a token that the vocabulary may lack.
static int32_t id_of(const struct reader *r, const char *text)
{
    const int32_t id = vks_clip_bpe_find(r->bpe, text, strlen(text)), count = (int32_t)r->bpe->token_count;
    return id >= 0 ? id : r->last >= count ? r->last + 1 : count;
}

// Of a token added twice the last counts.
static bool add(struct reader *r, const struct vks_clip_special *token)
{
    struct vks_clip_specials *specials = r->specials;
    const struct vks_clip_special *old = find(specials, token->text);
    const size_t at = old ? (size_t)(old - specials->items) : specials->count;
    if (!*token->text)
        return true;
    if (at == MAX_SPECIALS)
        return vks_fail(r->log, "%s: more than %d special tokens; correct the files", r->files->folder, MAX_SPECIALS);
    struct vks_clip_special added = *token;
    struct vks_text normal = {0};
    if (!vks_clip_normalise(token->text, strlen(token->text), &normal) ||
        !vks_grow(&specials->items, &specials->capacity, at, sizeof(*specials->items)) ||
        !(added.text = vks_arena_strdup(&specials->arena, token->text)) ||
        !(added.pattern = vks_arena_strdup(&specials->arena, token->normalised ? normal.data : token->text))) {
        vks_text_finish(&normal);
        return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->files->folder);
    }
    vks_text_finish(&normal);
    added.pattern_size = strlen(added.pattern);
    added.id = old ? old->id : id_of(r, added.text);
    r->last = added.id > r->last ? added.id : r->last;
    if (added.id >= specials->size)
        specials->size = added.id + 1;
    specials->items[at] = added;
    specials->count += !old;
    return true;
}

// A token written as a string or as {"content": ..., "normalized": ...}. `special` is the default of that flag.
static bool parse(struct reader *r, const struct vks_json *json, const char *key, const struct cJSON *value,
                  bool special, struct vks_clip_special *token)
{
    *token = (struct vks_clip_special){0};
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
        struct vks_clip_special token = {.text = list[i].text};
        if (list[i].text) {
            const struct vks_json *from;
            token.normalised = true;
            for (const char *const *key = (const char *const[]){"bos_token", "eos_token", "unk_token", "pad_token",
                                                                NULL}; *key; key++) {
                const struct cJSON *value = setting(r, *key, &from);
                struct vks_clip_special named;
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
    const size_t listed = r->specials->count;
    for (int i = 0; i < 7; i++) {
        const int k = order[i];
        const struct vks_json *from;
        const struct cJSON *value = setting(r, keys[k], &from);
        struct vks_clip_special token = {.text = k == 0 ? "<|startoftext|>" : k < 4 ? "<|endoftext|>" : NULL};
        if (value && !parse(r, from, keys[k], value, from == r->files->map, &token))
            return false;
        if (!token.text)
            continue;
        const struct vks_clip_special *old = find(r->specials, token.text);
        if (!(old && (size_t)(old - r->specials->items) < listed) && !add(r, &token))
            return false;
        old = find(r->specials, token.text);
        if (!old && k < 4)
            return vks_fail(r->log, "%s: %s is empty; correct tokenizer_config.json", r->files->folder, keys[k]);
        if (k < 4)
            ids[k] = k == 2 ? vks_clip_bpe_find(r->bpe, token.text, strlen(token.text)) : old->id;
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
            struct vks_clip_special token;
            if (!parse(r, from, keys[i], item, true, &token))
                return false;
            if (!find(r->specials, token.text) && !add(r, &token))
                return false;
        }
    }
    return true;
}

bool vks_clip_specials_read(const struct vks_log *log, const struct vks_clip_special_files *files,
                            struct vks_clip_bpe *bpe, struct vks_clip_specials *specials)
{
    *specials = (struct vks_clip_specials){.size = bpe->size};
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
    free(specials->items);
    vks_arena_finish(&specials->arena);
    *specials = (struct vks_clip_specials){0};
}
