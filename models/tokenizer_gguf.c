// Tokenizers from the metadata of GGUF files: tokenizer.ggml.*.
//
// Such a file names the pre-tokenizer ("llama-bpe"), it does not describe it; the table below has for each name what
// the tokenizer.json of its model says.
#include "models/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define NOT_WORD "[^\\r\\n\\p{L}\\p{N}]?"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SYMBOLS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTIONS "|" NOT_WORD "\\p{L}+|\\p{N}{1,3}|" SYMBOLS SPACES
#define QWEN2 CONTRACTIONS "|" NOT_WORD "\\p{L}+|\\p{N}|" SYMBOLS SPACES
#define QWEN35 CONTRACTIONS "|" NOT_WORD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES
#define GPT4O NOT_WORD UPPER "*" LOWER "+" CONTRACTIONS "?|" NOT_WORD UPPER "+" LOWER "*" CONTRACTIONS \
    "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define TEKKEN NOT_WORD UPPER "*" LOWER "+|" NOT_WORD UPPER "+" LOWER "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" \
    SPACES
#define DEEPSEEK3 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|" \
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES
#define BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+"

enum { COMPOSE = 1, WHOLE = 2, BOS = 4 };  // NFC first; words that are tokens are not merged; texts begin with bos

static const struct {
    const char *name;
    int flags;
    const char *expressions[4];  // applied one after the other
} kinds[] = {
    {"default", 0, {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gpt-2", 0, {GPT2}}, {"phi-2", 0, {GPT2}}, {"mpt", COMPOSE, {GPT2}}, {"olmo", COMPOSE, {GPT2}},
    {"jais", 0, {GPT2}}, {"trillion", 0, {GPT2}}, {"exaone4", 0, {GPT2}}, {"roberta-bpe", 0, {GPT2}},
    {"smollm", 0, {"\\p{N}", GPT2}}, {"starcoder", 0, {"\\p{N}", GPT2}}, {"refact", 0, {"\\p{N}", GPT2}},
    {"codeshell", 0, {"\\p{N}", GPT2}}, {"command-r", COMPOSE, {"\\p{N}", GPT2}}, {"exaone", 0, {"\\p{N}", GPT2}},
    {"minerva-7b", 0, {"\\p{N}", GPT2}},
    {"llama-bpe", WHOLE | BOS, {LLAMA3}}, {"llama3", WHOLE | BOS, {LLAMA3}}, {"llama-v3", WHOLE | BOS, {LLAMA3}},
    {"falcon3", WHOLE | BOS, {LLAMA3}}, {"pixtral", WHOLE | BOS, {LLAMA3}}, {"lfm2", WHOLE | BOS, {LLAMA3}},
    {"dbrx", 0, {LLAMA3}}, {"smaug-bpe", 0, {LLAMA3}}, {"chatglm-bpe", 0, {LLAMA3}}, {"glm4", 0, {LLAMA3}},
    {"qwen2", COMPOSE, {QWEN2}}, {"deepseek-r1-qwen", COMPOSE, {QWEN2}}, {"megrez", COMPOSE, {QWEN2}},
    {"stablelm2", 0, {QWEN2}}, {"hunyuan", 0, {QWEN2}}, {"qwen35", COMPOSE, {QWEN35}},
    {"gpt-4o", 0, {GPT4O}}, {"llama4", 0, {GPT4O}}, {"tekken", WHOLE | BOS, {TEKKEN}},
    {"deepseek-v3", 0, {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3}},
    {"deepseek-coder", 0, {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+|\\p{N}"}},
    {"falcon", 0, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {"bloom", 0, {BLOOM}}, {"poro-chat", 0, {BLOOM}}, {"gpt3-finnish", 0, {BLOOM}}, {"viking", 0, {BLOOM, "\\p{N}"}},
};

// Kinds of tokens, as the files number them.
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

struct reader {
    const struct vks_log *log;
    const struct vks_gguf *file;
    struct vks_tokenizer *tokenizer;
    const struct vks_gguf_value *tokens;
    bool sentencepiece;
};

static bool out_of_memory(const struct reader *r)
{
    return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->file->path);
}

// ---- single values

static bool is_text(const struct vks_gguf_value *value, const char *text)
{
    return value && value->kind == VKS_GGUF_STRING && value->count == strlen(text) &&
           !memcmp(value->data, text, strlen(text));
}

static bool flag(const struct reader *r, const char *key, bool missing)
{
    const struct vks_gguf_value *value = vks_gguf_get(r->file, key);
    double number;
    return value && vks_gguf_number(value, &number) ? number != 0 : missing;
}

// The id that a key names, `missing` when there is none or it is no token.
static int32_t id_at(const struct reader *r, const char *key, int32_t missing)
{
    const struct vks_gguf_value *value = vks_gguf_get(r->file, key);
    uint64_t id;
    const bool named = value && vks_gguf_uint(value, &id) && id < r->tokens->count;
    return named ? (int32_t)id : (uint64_t)missing < r->tokens->count ? missing : -1;
}

// An array of as many items as there are tokens; NULL when there is none.
static bool find_array(const struct reader *r, const char *key, const struct vks_gguf_value **array)
{
    *array = vks_gguf_get(r->file, key);
    if (*array && ((*array)->kind != VKS_GGUF_ARRAY || (*array)->count != r->tokens->count))
        return vks_fail(r->log, "%s: %s does not fit the tokens; fetch the file again", r->file->path, key);
    return true;
}

// ---- tokens

// A user's token that is nothing but spaces, two at least: merges make it, before all others, once spaces are marks.
static bool is_run(const struct vks_gguf_value *item, int kind)
{
    size_t spaces = 0;
    while (kind == USER_DEFINED && spaces < item->count && item->data[spaces] == ' ')
        spaces++;
    return spaces > 1 && spaces == item->count;
}

// The text with its spaces as SentencePiece marks them.
static bool mark_spaces(const struct vks_gguf_value *item, struct vks_text *out)
{
    out->length = 0;
    for (size_t i = 0; i < item->count; i++)
        vks_text_add(out, item->data[i] == ' ' ? "\xe2\x96\x81" : (const char *)item->data + i,
                     item->data[i] == ' ' ? 3 : 1);
    return !out->failed;
}

// Goes through the tokens with their kinds; false after a message, or when `each` returned false.
static bool walk(const struct reader *r, bool (*each)(const struct reader *r, const struct vks_gguf_value *item,
                                                      int32_t id, int kind))
{
    const struct vks_gguf_value *types;
    struct vks_gguf_value type, item;
    size_t at_type = 0, at_item = 0;
    if (!find_array(r, "tokenizer.ggml.token_type", &types))
        return false;
    for (int32_t id = 0; vks_gguf_next(r->tokens, &at_item, &item); id++) {
        double kind = NORMAL;
        if (types && (!vks_gguf_next(types, &at_type, &type) || !vks_gguf_number(&type, &kind) ||
                      !(kind >= 0 && kind < 100)))
            return vks_fail(r->log, "%s: tokenizer.ggml.token_type has no kind for token %ld; fetch the file again",
                            r->file->path, (long)id);
        if (!each(r, &item, id, (int)kind))
            return false;
    }
    return true;
}

static bool add_to_vocabulary(const struct reader *r, const struct vks_gguf_value *item, int32_t id, int kind)
{
    struct vks_vocabulary *vocabulary = &r->tokenizer->vocabulary;
    struct vks_text marked = {0};
    const char *text = (const char *)item->data;
    size_t size = (size_t)item->count;
    if (vks_utf8_check(text, size) != size)
        return vks_fail(r->log, "%s: token %ld is not UTF-8 text; fetch the file again", r->file->path, (long)id);
    if (r->sentencepiece && is_run(item, kind)) {
        if (!mark_spaces(item, &marked))
            return out_of_memory(r);
        text = marked.data;
        size = marked.length;
    }
    const bool done = vks_vocabulary_add(r->log, r->file->path, vocabulary, text, size, (double)id);
    vks_text_finish(&marked);
    return done;
}

static bool read_tokens(struct reader *r)
{
    r->tokens = vks_gguf_get(r->file, "tokenizer.ggml.tokens");
    if (!r->tokens || r->tokens->kind != VKS_GGUF_ARRAY || r->tokens->item != VKS_GGUF_STRING || !r->tokens->count ||
        r->tokens->count > VKS_MAX_TOKENS)
        return vks_fail(r->log, "%s: has no tokens in tokenizer.ggml.tokens, or too many; fetch the file again",
                        r->file->path);
    return walk(r, add_to_vocabulary);
}

static bool add_token(const struct reader *r, const char *text, size_t size, int32_t id, bool special)
{
    return !size || vks_tokenizer_add(r->log, r->file->path, r->tokenizer,
                                      &(struct vks_added_token){.text = text, .text_size = size, .special = special},
                                      id);
}

// Tokens that a text may name. A user's own spaces stand in the file as spaces: the other way to write them counts
// too, and of runs of spaces it alone.
static bool add_to_added(const struct reader *r, const struct vks_gguf_value *item, int32_t id, int kind)
{
    const char *text = (const char *)item->data;
    const size_t size = (size_t)item->count;
    if (kind != UNKNOWN && kind != CONTROL && kind != USER_DEFINED)
        return true;
    const bool marks = r->sentencepiece && kind == USER_DEFINED && size && memchr(text, ' ', size);
    if (!(marks && is_run(item, kind)) && !add_token(r, text, size, id, kind != USER_DEFINED))
        return false;
    struct vks_text marked = {0};
    bool done = !marks || mark_spaces(item, &marked) || out_of_memory(r);
    done = done && (!marks || add_token(r, marked.data, marked.length, id, false));
    vks_text_finish(&marked);
    return done;
}

static bool read_added(const struct reader *r)
{
    return walk(r, add_to_added) && (vks_added_index(&r->tokenizer->added) || out_of_memory(r));
}

// ---- byte-level BPE

static bool read_merges(const struct reader *r)
{
    const struct vks_gguf_value *merges = vks_gguf_get(r->file, "tokenizer.ggml.merges");
    struct vks_gguf_value item;
    size_t at = 0, number = 0;
    if (!merges || merges->kind != VKS_GGUF_ARRAY || merges->item != VKS_GGUF_STRING)
        return vks_fail(r->log, "%s: has no tokenizer.ggml.merges; fetch the file again", r->file->path);
    if (!vks_merges_start(r->log, r->file->path, (size_t)merges->count, &r->tokenizer->bpe.merges))
        return false;
    while (vks_gguf_next(merges, &at, &item)) {
        const char *text = (const char *)item.data;
        const size_t size = (size_t)item.count;
        const char *space = size > 1 ? memchr(text + 1, ' ', size - 1) : NULL;
        const size_t left = space ? (size_t)(space - text) : 0;
        number++;
        if (!space || left + 1 == size)
            return vks_fail(r->log, "%s: merge %llu is not a pair of tokens; fetch the file again", r->file->path,
                            (unsigned long long)number);
        if (!vks_merges_add(r->log, r->file->path, number, &r->tokenizer->vocabulary, text, left, space + 1,
                            size - left - 1, 0, &r->tokenizer->bpe.merges))
            return false;
    }
    return true;
}

static bool read_byte_level(const struct reader *r, bool *add_bos)
{
    const struct vks_gguf_value *pre = vks_gguf_get(r->file, "tokenizer.ggml.pre");
    const size_t count = sizeof(kinds) / sizeof(kinds[0]);
    struct vks_tokenizer *t = r->tokenizer;
    size_t kind = 0;
    while (pre && kind < count && !is_text(pre, kinds[kind].name))
        kind++;
    if (kind == count) {
        char quoted[60];
        const bool text = pre->kind == VKS_GGUF_STRING;
        return vks_fail(r->log, "%s: pre-tokenizer %s is not supported: tokenizer.ggml.pre has a name that is not "
                                "known; use a folder with the model's tokenizer.json", r->file->path,
                        vks_text_quote(text ? (const char *)pre->data : "?", text ? (size_t)pre->count : 1, quoted,
                                       sizeof(quoted)));
    }
    if (!pre)
        vks_warn(r->log, "%s: names no pre-tokenizer (tokenizer.ggml.pre): ids may not be those that the model knows",
                 r->file->path);
    *add_bos = kinds[kind].flags & BOS;
    t->bpe.ignore_merges = kinds[kind].flags & WHOLE;
    if ((kinds[kind].flags & COMPOSE) && !vks_normaliser_add_compose(&t->normaliser))
        return out_of_memory(r);
    for (size_t i = 0; i < 4 && kinds[kind].expressions[i]; i++) {
        if (!vks_pretokeniser_add(r->log, r->file->path, kinds[kind].expressions[i], &t->pretokeniser))
            return false;
    }
    return vks_pretokeniser_add(r->log, r->file->path, NULL, &t->pretokeniser) &&
           (vks_decoder_add_byte_level(&t->decoder) || out_of_memory(r)) && read_merges(r);
}

// ---- SentencePiece

#define FIRST_RANK 4096  // the ranks before are for runs of spaces

struct scored {
    double score;
    int32_t id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

// What a token's kind makes of its rank: no merge makes those of control, nor those of a user, which are cut out
// before, but that runs of spaces come before all others, the longest first.
static bool set_rank(const struct reader *r, const struct vks_gguf_value *item, int32_t id, int kind)
{
    int32_t *rank = &r->tokenizer->bpe.ranks[id];
    if (is_run(item, kind))
        *rank = item->count < FIRST_RANK ? FIRST_RANK - (int32_t)item->count : 0;
    else if (kind != NORMAL && kind != UNUSED)
        *rank = -1;
    return true;
}

// Ranks by falling score, equal ones for equal scores.
static bool rank(const struct reader *r, const struct vks_gguf_value *scores, struct scored *list)
{
    struct vks_gguf_value value;
    const size_t count = (size_t)r->tokens->count;
    int32_t *ranks = r->tokenizer->bpe.ranks, last = 0;
    size_t at = 0;
    for (size_t id = 0; id < count; id++) {
        list[id].id = (int32_t)id;
        if (!vks_gguf_next(scores, &at, &value) || !vks_gguf_number(&value, &list[id].score) ||
            !(list[id].score == list[id].score))
            return vks_fail(r->log, "%s: tokenizer.ggml.scores has no number for token %llu; fetch the file again",
                            r->file->path, (unsigned long long)id);
    }
    qsort(list, count, sizeof(*list), by_score);
    for (size_t i = 0; i < count; i++) {
        last = i && list[i].score == list[i - 1].score ? last : (int32_t)i;
        ranks[list[i].id] = FIRST_RANK + last;
    }
    return walk(r, set_rank);
}

static bool read_sentencepiece(const struct reader *r)
{
    struct vks_tokenizer *t = r->tokenizer;
    const struct vks_gguf_value *scores;
    const bool prefix = flag(r, "tokenizer.ggml.add_space_prefix", true);
    if (!find_array(r, "tokenizer.ggml.scores", &scores))
        return false;
    if (!scores)
        return vks_fail(r->log, "%s: has no tokenizer.ggml.scores; fetch the file again", r->file->path);
    struct scored *list = malloc((size_t)r->tokens->count * sizeof(*list));
    t->bpe.ranks = malloc((size_t)r->tokens->count * sizeof(*t->bpe.ranks));
    bool done = (list && t->bpe.ranks) || out_of_memory(r);
    done = done && rank(r, scores, list);
    free(list);
    if (!done)
        return false;
    vks_bpe_find_bytes(&t->bpe);
    t->bpe.byte_fallback = true;
    t->bpe.unknown = id_at(r, "tokenizer.ggml.unknown_token_id", 0);
    return (vks_normaliser_add_replace(&t->normaliser, " ", "\xe2\x96\x81") &&
            (!prefix || vks_normaliser_add_prepend(&t->normaliser, "\xe2\x96\x81")) &&
            vks_decoder_add_sentencepiece(&t->decoder, prefix)) ||
           out_of_memory(r);
}

// ---- all

static bool read_names(const struct reader *r, bool add_bos)
{
    struct vks_tokenizer *t = r->tokenizer;
    struct vks_tokenizer_names *names = &t->names;
    const struct vks_gguf_value *chat = vks_gguf_get(r->file, "tokenizer.chat_template");
    names->bos = id_at(r, "tokenizer.ggml.bos_token_id", r->sentencepiece ? 1 : -1);
    names->eos = id_at(r, "tokenizer.ggml.eos_token_id", r->sentencepiece ? 2 : -1);
    names->pad = id_at(r, "tokenizer.ggml.padding_token_id", -1);
    names->unknown = id_at(r, "tokenizer.ggml.unknown_token_id", r->sentencepiece ? 0 : -1);
    if (chat && chat->kind == VKS_GGUF_STRING) {
        char *copy = vks_arena_alloc(&t->arena, (size_t)chat->count + 1);
        if (!copy)
            return out_of_memory(r);
        memcpy(copy, chat->data, (size_t)chat->count);
        names->chat_template = copy;
    }
    if (flag(r, "tokenizer.ggml.add_bos_token", add_bos) && names->bos >= 0 && !vks_ids_add(&t->before, names->bos))
        return out_of_memory(r);
    if (flag(r, "tokenizer.ggml.add_eos_token", false) && names->eos >= 0 && !vks_ids_add(&t->after, names->eos))
        return out_of_memory(r);
    return true;
}

// Tokens that end a turn: those that the file names so, and control tokens of known names, as files often lack these.
static bool read_ends(const struct reader *r)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    static const char *const texts[] = {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",
                                        "<|endoftext|>", "<|end_of_text|>", "<EOT>"};
    struct vks_ids *ends = &r->tokenizer->ends;
    bool done = true;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && done; i++) {
        const int32_t id = id_at(r, keys[i], -1);
        done = id < 0 || vks_ids_add(ends, id);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && done; i++) {
        const int32_t id = vks_tokenizer_find(r->tokenizer, texts[i]);
        done = !vks_tokenizer_is_special(r->tokenizer, id) || vks_ids_add(ends, id);
    }
    return done || out_of_memory(r);
}

struct vks_tokenizer *vks_tokenizer_from_gguf(const struct vks_log *log, const struct vks_gguf *file)
{
    const struct vks_gguf_value *model = vks_gguf_get(file, "tokenizer.ggml.model");
    const bool sentencepiece = is_text(model, "llama");
    bool add_bos = sentencepiece;
    if (!sentencepiece && !is_text(model, "gpt2")) {
        char quoted[60];
        const bool text = model && model->kind == VKS_GGUF_STRING;
        return vks_fail_null(log, "%s: tokenizer model %s is not supported: use a file whose tokenizer.ggml.model is "
                                  "gpt2 or llama", file->path,
                             vks_text_quote(text ? (const char *)model->data : "?", text ? (size_t)model->count : 1,
                                            quoted, sizeof(quoted)));
    }
    struct vks_tokenizer *tokenizer = vks_tokenizer_new(log, file->path);
    struct reader r = {.log = log, .file = file, .tokenizer = tokenizer, .sentencepiece = sentencepiece};
    if (tokenizer && (!read_tokens(&r) || !(sentencepiece ? read_sentencepiece(&r) : read_byte_level(&r, &add_bos)) ||
                      !read_added(&r) || !read_names(&r, add_bos) || !read_ends(&r)))
        vks_tokenizer_close(&tokenizer);
    return tokenizer;
}
