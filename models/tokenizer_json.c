// Tokenizers from tokenizer.json.
#include "base/os.h"
#include "io/json.h"
#include "models/tokenizer_parts.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEMPLATE ((size_t)16 << 20)
#define MAX_ENDS 64

struct reader {
    const struct vks_log *log;
    const struct vks_json *json;
    struct vks_tokenizer *tokenizer;
};

// ---- the model

// A text that may be absent, kept by the tokenizer; "" when it is.
static bool read_text(const struct reader *r, const struct cJSON *model, const char *key, const char **text)
{
    if (!vks_json_string(r->log, r->json, model, key, "", text))
        return false;
    *text = vks_arena_strdup(&r->tokenizer->arena, *text);
    return *text || vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->json->path);
}

static bool read_bpe(const struct reader *r, const struct cJSON *model)
{
    struct vks_tokenizer *t = r->tokenizer;
    struct vks_bpe *bpe = &t->bpe;
    const char *unknown;
    double dropout;
    t->model = VKS_MODEL_BPE;
    if (!vks_json_number(r->log, r->json, model, "dropout", 0, 0, 1, &dropout) ||
        !vks_json_string(r->log, r->json, model, "unk_token", NULL, &unknown) ||
        !read_text(r, model, "continuing_subword_prefix", &bpe->prefix) ||
        !read_text(r, model, "end_of_word_suffix", &bpe->suffix) ||
        !vks_json_bool(r->log, r->json, model, "fuse_unk", false, &bpe->fuse_unknown) ||
        !vks_json_bool(r->log, r->json, model, "byte_fallback", false, &bpe->byte_fallback) ||
        !vks_json_bool(r->log, r->json, model, "ignore_merges", false, &bpe->ignore_merges))
        return false;
    if (dropout > 0)
        return vks_fail(r->log, "%s: model.dropout is not supported: it makes ids random; set it to null",
                        r->json->path);
    if (!vks_vocabulary_read_json(r->log, r->json->path, vks_json_get(model, "vocab"), &t->vocabulary) ||
        !vks_merges_read_json(r->log, r->json->path, &t->vocabulary, vks_json_get(model, "merges"),
                              strlen(bpe->prefix), &bpe->merges))
        return false;
    vks_bpe_find_bytes(bpe);
    bpe->unknown = unknown ? vks_vocabulary_find(&t->vocabulary, unknown, strlen(unknown)) : -1;
    if (unknown && bpe->unknown < 0)
        return vks_fail(r->log, "%s: the vocabulary lacks model.unk_token; fetch the file again", r->json->path);
    t->names.unknown = bpe->unknown;
    return true;
}

static bool read_model(const struct reader *r)
{
    const struct cJSON *model = NULL;
    const char *type;
    if (!vks_json_require(r->log, r->json, NULL, "model") ||
        !vks_json_object(r->log, r->json, NULL, "model", &model) ||
        !vks_json_string(r->log, r->json, model, "type", NULL, &type))
        return false;
    if (!type)  // files of old do not say
        type = vks_json_get(model, "merges") ? "BPE" : cJSON_IsArray(vks_json_get(model, "vocab")) ? "Unigram" : "?";
    if (!strcmp(type, "BPE"))
        return read_bpe(r, model);
    if (!strcmp(type, "Unigram")) {
        r->tokenizer->model = VKS_MODEL_UNIGRAM;
        if (!vks_unigram_read(r->log, r->json, model, &r->tokenizer->vocabulary, &r->tokenizer->unigram))
            return false;
        r->tokenizer->names.unknown = r->tokenizer->unigram.unknown;
        return true;
    }
    char quoted[60];
    return vks_fail(r->log, "%s: tokenizer model %s is not supported: use a model with BPE or Unigram",
                    r->json->path, vks_text_quote(type, strlen(type), quoted, sizeof(quoted)));
}

// ---- added tokens

static bool read_added_token(const struct reader *r, const struct cJSON *item, struct vks_added_token *token)
{
    *token = (struct vks_added_token){0};
    if (!cJSON_IsObject(item))
        return vks_fail(r->log, "%s: an added token is not an object; fetch the file again", r->json->path);
    if (!vks_json_require(r->log, r->json, item, "content") ||
        !vks_json_string(r->log, r->json, item, "content", NULL, &token->text) ||
        !vks_json_bool(r->log, r->json, item, "special", false, &token->special) ||
        !vks_json_bool(r->log, r->json, item, "normalized", true, &token->normalised) ||
        !vks_json_bool(r->log, r->json, item, "lstrip", false, &token->lstrip) ||
        !vks_json_bool(r->log, r->json, item, "rstrip", false, &token->rstrip) ||
        !vks_json_bool(r->log, r->json, item, "single_word", false, &token->single_word))
        return false;
    token->text_size = strlen(token->text);
    return true;
}

// Ids are the model's, or follow its last one in order, whatever "id" says: so does the original.
static bool read_added(const struct reader *r)
{
    const struct cJSON *list = NULL;
    struct vks_tokenizer *t = r->tokenizer;
    size_t next = t->vocabulary.count;
    if (!vks_json_array(r->log, r->json, NULL, "added_tokens", &list))
        return false;
    for (const struct cJSON *item = list ? list->child : NULL; item; item = item->next) {
        struct vks_added_token token;
        if (!read_added_token(r, item, &token))
            return false;
        if (!token.text_size)
            continue;
        if (next >= VKS_MAX_TOKENS)
            return vks_fail(r->log, "%s: has too many added tokens; fetch the file again", r->json->path);
        const struct vks_added_token *old = vks_added_find(&t->added, token.text, token.text_size);
        const bool known = old || vks_vocabulary_find(&t->vocabulary, token.text, token.text_size) >= 0;
        if (!vks_tokenizer_add(r->log, r->json->path, t, &token, old ? old->id : (int32_t)next))
            return false;
        next += !known;
    }
    return vks_added_index(&t->added) || vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->json->path);
}

// ---- what is put around a text

// Puts one more layer around: before + old + after.
static bool wrap(const struct reader *r, const struct vks_ids *before, const struct vks_ids *after)
{
    struct vks_tokenizer *t = r->tokenizer;
    struct vks_ids whole = {0};
    bool done = true;
    for (size_t i = 0; i < before->count && done; i++)
        done = vks_ids_add(&whole, before->items[i]);
    for (size_t i = 0; i < t->before.count && done; i++)
        done = vks_ids_add(&whole, t->before.items[i]);
    free(t->before.items);
    t->before = whole;
    for (size_t i = 0; i < after->count && done; i++)
        done = vks_ids_add(&t->after, after->items[i]);
    if (t->before.count + t->after.count > 4096)
        return vks_fail(r->log, "%s: the post-processor adds too many tokens; fetch the file again", r->json->path);
    return done || vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->json->path);
}

static bool add_id(const struct reader *r, const struct cJSON *id, struct vks_ids *ids)
{
    const double value = cJSON_IsNumber(id) ? id->valuedouble : -1;
    if (!(value >= 0 && value < (double)VKS_MAX_TOKENS) || value != (double)(int32_t)value)
        return vks_fail(r->log, "%s: the post-processor has a token of no proper id; fetch the file again",
                        r->json->path);
    return vks_ids_add(ids, (int32_t)value) || vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->json->path);
}

static bool read_template(const struct reader *r, const struct cJSON *value)
{
    const struct cJSON *list = NULL, *tokens = NULL;
    struct vks_ids sides[2] = {{0}, {0}};
    int side = 0;
    if (!vks_json_array(r->log, r->json, value, "single", &list) ||
        !vks_json_object(r->log, r->json, value, "special_tokens", &tokens))
        return false;
    bool done = true;
    for (const struct cJSON *item = list ? list->child : NULL; item && done; item = item->next) {
        const struct cJSON *special = vks_json_get(item, "SpecialToken"), *sequence = vks_json_get(item, "Sequence");
        const struct cJSON *name = vks_json_get(special, "id"), *which = vks_json_get(sequence, "id");
        if (sequence) {
            if (side++ || !cJSON_IsString(which) || strcmp(which->valuestring, "A") != 0)
                done = vks_fail(r->log, "%s: a post-processor that repeats a text is not supported: use a model with "
                                        "another tokenizer", r->json->path);
            continue;
        }
        const struct cJSON *token = cJSON_IsString(name) ? vks_json_get(tokens, name->valuestring) : NULL;
        const struct cJSON *ids = vks_json_get(token, "ids");
        if (!cJSON_IsArray(ids))
            done = vks_fail(r->log, "%s: the post-processor names a token that it does not have; fetch the file "
                                    "again", r->json->path);
        for (const struct cJSON *id = done ? ids->child : NULL; id && done; id = id->next)
            done = add_id(r, id, &sides[side > 0]);
    }
    if (done && !side)
        done = vks_fail(r->log, "%s: the post-processor drops the text; fetch the file again", r->json->path);
    done = done && wrap(r, &sides[0], &sides[1]);
    free(sides[0].items);
    free(sides[1].items);
    return done;
}

// {"cls": ["text", id], "sep": ["text", id]}
static bool read_cls_sep(const struct reader *r, const struct cJSON *value)
{
    struct vks_ids sides[2] = {{0}, {0}};
    static const char *const keys[2] = {"cls", "sep"};
    bool done = true;
    for (int i = 0; i < 2 && done; i++) {
        const struct cJSON *pair = vks_json_get(value, keys[i]);
        done = add_id(r, cJSON_IsArray(pair) && pair->child ? pair->child->next : NULL, &sides[i]);
    }
    done = done && wrap(r, &sides[0], &sides[1]);
    free(sides[0].items);
    free(sides[1].items);
    return done;
}

static bool read_post_processor(const struct reader *r, const struct cJSON *value)
{
    const struct cJSON *list = NULL;
    const char *type;
    if (!value || cJSON_IsNull(value))
        return true;
    if (!cJSON_IsObject(value))
        return vks_fail(r->log, "%s: a post-processor is not an object; fetch the file again", r->json->path);
    if (!vks_json_require(r->log, r->json, value, "type") ||
        !vks_json_string(r->log, r->json, value, "type", NULL, &type))
        return false;
    if (!strcmp(type, "ByteLevel"))  // only moves offsets
        return true;
    if (!strcmp(type, "TemplateProcessing"))
        return read_template(r, value);
    if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing"))
        return read_cls_sep(r, value);
    if (!strcmp(type, "Sequence")) {
        if (!vks_json_array(r->log, r->json, value, "processors", &list))
            return false;
        for (const struct cJSON *item = list ? list->child : NULL; item; item = item->next) {
            if (!read_post_processor(r, item))
                return false;
        }
        return true;
    }
    char quoted[60];
    return vks_fail(r->log, "%s: post-processor %s is not supported: use a model with another tokenizer",
                    r->json->path, vks_text_quote(type, strlen(type), quoted, sizeof(quoted)));
}

// ---- the files beside it

// The id of a token that is written as a text or as {"content": text}.
static bool read_name(const struct reader *r, const struct vks_json *config, const char *key, int32_t *id)
{
    const struct cJSON *value = vks_json_get(config->root, key);
    const char *text = NULL;
    if (cJSON_IsObject(value)) {
        if (!vks_json_string(r->log, config, value, "content", NULL, &text))
            return false;
    } else if (!vks_json_string(r->log, config, NULL, key, NULL, &text)) {
        return false;
    }
    const int32_t found = text ? vks_tokenizer_find(r->tokenizer, text) : -1;
    if (found >= 0)
        *id = found;
    return true;
}

static bool keep_template(const struct reader *r, const char *text)
{
    r->tokenizer->names.chat_template = vks_arena_strdup(&r->tokenizer->arena, text);
    return r->tokenizer->names.chat_template || vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->json->path);
}

// A text, or [{"name": "default", "template": text}, ...].
static bool read_chat_template(const struct reader *r, const struct vks_json *config)
{
    const struct cJSON *value = vks_json_get(config->root, "chat_template");
    if (cJSON_IsString(value))
        return keep_template(r, value->valuestring);
    for (const struct cJSON *item = cJSON_IsArray(value) ? value->child : NULL; item; item = item->next) {
        const struct cJSON *name = vks_json_get(item, "name"), *text = vks_json_get(item, "template");
        if (cJSON_IsString(name) && !strcmp(name->valuestring, "default") && cJSON_IsString(text))
            return keep_template(r, text->valuestring);
    }
    return true;
}

// The ids of "eos_token_id" in generation_config.json: one or several.
static bool read_ends(const struct reader *r, const char *path)
{
    int64_t ids[MAX_ENDS];
    size_t count = 0;
    struct vks_json *config = vks_json_open(r->log, path);
    bool done = config && vks_json_ints(r->log, config, NULL, "eos_token_id", 0, (int64_t)VKS_MAX_TOKENS - 1, ids,
                                        MAX_ENDS, &count, NULL);
    for (size_t i = 0; i < count && done; i++)
        done = vks_ids_add(&r->tokenizer->ends, (int32_t)ids[i]) || vks_fail(r->log, "%s: " VKS_NO_MEMORY, path);
    vks_json_close(&config);
    return done;
}

// tokenizer_config.json, chat_template.jinja and generation_config.json, where they are.
static bool read_config(const struct reader *r, const char *folder)
{
    struct vks_tokenizer_names *names = &r->tokenizer->names;
    char *path = vks_path_join(folder, "tokenizer_config.json");
    char *jinja = vks_path_join(folder, "chat_template.jinja");
    char *generation = vks_path_join(folder, "generation_config.json");
    bool done = path && jinja && generation;
    if (!done)
        vks_fail(r->log, "%s: " VKS_NO_MEMORY, folder);
    if (done && vks_os_exists(path)) {
        struct vks_json *config = vks_json_open(r->log, path);
        done = config && read_name(r, config, "bos_token", &names->bos) &&
               read_name(r, config, "eos_token", &names->eos) && read_name(r, config, "pad_token", &names->pad) &&
               read_name(r, config, "unk_token", &names->unknown) && read_chat_template(r, config);
        vks_json_close(&config);
    }
    if (done && vks_os_exists(jinja)) {
        size_t size;
        char *text = vks_os_read_file(r->log, jinja, MAX_TEMPLATE, &size);
        done = text && keep_template(r, text);
        free(text);
    }
    if (done && vks_os_exists(generation))
        done = read_ends(r, generation);
    free(path);
    free(jinja);
    free(generation);
    return done;
}

// Takes `json`, which may be NULL, and closes it.
static struct vks_tokenizer *read_all(const struct vks_log *log, struct vks_json *json, const char *folder)
{
    struct vks_tokenizer *tokenizer = json ? vks_tokenizer_new(log, json->path) : NULL;
    if (tokenizer) {
        const struct reader r = {log, json, tokenizer};
        const struct cJSON *root = json->root;
        if (!read_model(&r) ||
            !vks_normaliser_read(log, json, vks_json_get(root, "normalizer"), &tokenizer->normaliser) ||
            !read_added(&r) ||
            !vks_pretokeniser_read(log, json, vks_json_get(root, "pre_tokenizer"), &tokenizer->pretokeniser) ||
            !vks_decoder_read(log, json, vks_json_get(root, "decoder"), &tokenizer->decoder) ||
            !read_post_processor(&r, vks_json_get(root, "post_processor")) || (folder && !read_config(&r, folder)))
            vks_tokenizer_close(&tokenizer);
    }
    vks_json_close(&json);
    return tokenizer;
}

struct vks_tokenizer *vks_tokenizer_parse(const struct vks_log *log, const char *path, const char *text, size_t size)
{
    return read_all(log, vks_json_parse(log, path, text, size), NULL);
}

struct vks_tokenizer *vks_tokenizer_open(const struct vks_log *log, const char *path)
{
    if (!vks_os_is_dir(path))
        return read_all(log, vks_json_open(log, path), NULL);
    char *file = vks_path_join(path, "tokenizer.json");
    struct vks_tokenizer *tokenizer = NULL;
    if (!file)
        vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    else if (!vks_os_exists(file))
        vks_fail(log, "%s: has no tokenizer.json; fetch the model's tokenizer again", path);
    else
        tokenizer = read_all(log, vks_json_open(log, file), path);
    free(file);
    return tokenizer;
}
