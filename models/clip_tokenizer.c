#include "models/clip_tokenizer.h"

#include "base/os.h"
#include "base/text.h"
#include "io/json.h"
#include "models/clip_bpe.h"
#include "models/clip_special.h"
#include "models/expression.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)64 << 10)  // bytes
#define MAX_LENGTH 4096              // a sensible model_max_length

static const char pattern[] = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|"
                              "[^\\s\\p{L}\\p{N}]+";

struct vks_clip_tokenizer {
    struct vks_clip_bpe bpe;
    struct vks_clip_specials specials;
    struct vks_expression split;
    size_t max_length;
};

// ---- opening

// FOLDER/NAME when there is such a file, else NULL. free() it.
static char *file_in(const char *folder, const char *name)
{
    char *path = vks_path_join(folder, name);
    if (path && !vks_os_exists(path)) {
        free(path);
        path = NULL;
    }
    return path;
}

static bool open_bpe(const struct vks_log *log, const char *folder, struct vks_clip_bpe *bpe)
{
    char *vocab = file_in(folder, "vocab.json"), *merges = file_in(folder, "merges.txt");
    char *json = file_in(folder, "tokenizer.json");
    bool done = false;
    if (vocab && merges)
        done = vks_clip_bpe_read(log, vocab, merges, bpe);
    else if (json)
        done = vks_clip_bpe_read_json(log, json, bpe);
    else
        vks_fail(log, "%s: has neither vocab.json and merges.txt nor tokenizer.json; fetch the tokenizer again",
                 folder);
    free(vocab);
    free(merges);
    free(json);
    return done;
}

// Opens FOLDER/NAME into *json, which stays NULL when there is no such file.
static bool open_optional(const struct vks_log *log, const char *folder, const char *name, struct vks_json **json)
{
    char *path = file_in(folder, name);
    *json = path ? vks_json_open(log, path) : NULL;
    const bool done = !path || *json;
    free(path);
    return done;
}

static bool read_config(const struct vks_log *log, const struct vks_json *config,
                        struct vks_clip_tokenizer *tokenizer)
{
    double length;
    const char *side;
    tokenizer->max_length = 77;
    if (!config)
        return true;
    if (!vks_json_number(log, config, NULL, "model_max_length", 77, 2, 1e308, &length))
        return false;
    if (length <= MAX_LENGTH)  // absent lengths are saved as 1e30
        tokenizer->max_length = (size_t)length;
    static const char *const keys[] = {"padding_side", "truncation_side"};
    for (int i = 0; i < 2; i++) {
        if (!vks_json_string(log, config, NULL, keys[i], "right", &side))
            return false;
        if (strcmp(side, "right") != 0)
            return vks_fail(log, "%s: key %s: only \"right\" is supported; correct the file", config->path, keys[i]);
    }
    return true;
}

static bool open_specials(const struct vks_log *log, const char *folder, struct vks_clip_tokenizer *tokenizer)
{
    struct vks_json *config = NULL, *map = NULL, *added = NULL, *whole = NULL;
    bool done = open_optional(log, folder, "tokenizer_config.json", &config);
    // A configuration with added_tokens_decoder is complete; older ones are spread over several files.
    if (done && !(config && vks_json_get(config->root, "added_tokens_decoder")))
        done = open_optional(log, folder, "special_tokens_map.json", &map) &&
               open_optional(log, folder, "added_tokens.json", &added) &&
               open_optional(log, folder, "tokenizer.json", &whole);
    done = done && read_config(log, config, tokenizer) &&
           vks_clip_specials_read(log, &(struct vks_clip_special_files){config, map, added, whole, folder},
                                  &tokenizer->bpe, &tokenizer->specials);
    vks_json_close(&config);
    vks_json_close(&map);
    vks_json_close(&added);
    vks_json_close(&whole);
    return done;
}

struct vks_clip_tokenizer *vks_clip_tokenizer_open(const struct vks_log *log, const char *folder)
{
    struct vks_clip_tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
    if (!tokenizer)
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, folder);
    bool done = open_bpe(log, folder, &tokenizer->bpe) && open_specials(log, folder, tokenizer);
    done = done && vks_expression_compile(log, folder, pattern, &tokenizer->split);
    if (!done)
        vks_clip_tokenizer_close(&tokenizer);
    return tokenizer;
}

void vks_clip_tokenizer_close(struct vks_clip_tokenizer **tokenizer)
{
    if (*tokenizer) {
        vks_expression_finish(&(*tokenizer)->split);
        vks_clip_specials_finish(&(*tokenizer)->specials);
        vks_clip_bpe_finish(&(*tokenizer)->bpe);
        free(*tokenizer);
    }
    *tokenizer = NULL;
}

// ---- encoding

struct encoder {
    const struct vks_clip_tokenizer *tokenizer;
    struct vks_finder_data *data;
    struct vks_bpe_work work;
    struct vks_ids ids;
};

static bool add_word(struct encoder *e, const char *word, size_t size)
{
    return vks_clip_bpe_word(&e->tokenizer->bpe, word, size, &e->work, &e->ids);
}

// Words of normalised text. The byte-level step of the original splits once more, which only ever takes a literal
// "<|startoftext|>" (one that was no special token) apart into "<|", "startoftext" and "|>".
static bool add_words(struct encoder *e, const char *text, size_t size)
{
    struct vks_finder finder = {.expression = &e->tokenizer->split, .data = e->data, .text = text, .size = size};
    size_t begin, end;
    enum vks_found found;
    while ((found = vks_finder_next(&finder, &begin, &end)) == VKS_FOUND) {
        const char *word = text + begin;
        const size_t length = end - begin;
        const bool literal = length > 4 && word[0] == '<' && word[1] == '|' && word[2] >= 'a' && word[2] <= 'z';
        const bool added = literal ? add_word(e, word, 2) && add_word(e, word + 2, length - 4) &&
                                         add_word(e, word + length - 2, 2)
                                   : add_word(e, word, length);
        if (!added)
            return false;
    }
    return found == VKS_FOUND_NONE;
}

static bool add_normalised(void *priv, int32_t id, const char *text, size_t size)
{
    struct encoder *e = priv;
    return id >= 0 ? vks_ids_add(&e->ids, id) : add_words(e, text, size);
}

static bool add_raw(void *priv, int32_t id, const char *text, size_t size)
{
    struct encoder *e = priv;
    if (id >= 0)
        return vks_ids_add(&e->ids, id);
    struct vks_text normal = {0};
    const bool done = vks_clip_normalise(text, size, &normal) &&
                      vks_added_split(&e->tokenizer->specials.added, VKS_ADDED_NORMALISED, false, normal.data,
                                      normal.length, add_normalised, e);
    vks_text_finish(&normal);
    return done;
}

bool vks_clip_tokenizer_encode(const struct vks_log *log, const struct vks_clip_tokenizer *tokenizer,
                               const char *text, size_t size, int32_t *ids, size_t length, size_t *used,
                               size_t *total)
{
    if (length < 2)
        return vks_fail(log, "a prompt needs room for two tokens at least; raise the length");
    if (size > MAX_TEXT)
        return vks_fail(log, "a prompt of %llu bytes is longer than the limit of %llu; shorten it",
                        (unsigned long long)size, (unsigned long long)MAX_TEXT);
    if (vks_utf8_check(text, size) != size)
        return vks_fail(log, "a prompt is not UTF-8 text; correct it");
    struct encoder e = {.tokenizer = tokenizer, .data = vks_finder_data_create()};
    const struct vks_added *added = &tokenizer->specials.added;
    const bool done = e.data && vks_added_split(added, VKS_ADDED_RAW, false, text, size, add_raw, &e);
    if (done) {
        const size_t kept = e.ids.count < length - 2 ? e.ids.count : length - 2;
        ids[0] = vks_clip_tokenizer_bos(tokenizer);
        if (kept)
            memcpy(ids + 1, e.ids.items, kept * sizeof(*ids));
        ids[kept + 1] = vks_clip_tokenizer_eos(tokenizer);
        for (size_t i = kept + 2; i < length; i++)
            ids[i] = vks_clip_tokenizer_pad(tokenizer);
        if (used)
            *used = kept + 2;
        if (total)
            *total = e.ids.count + 2;
    }
    vks_finder_data_destroy(&e.data);
    vks_bpe_work_finish(&e.work);
    free(e.ids.items);
    return done || vks_fail(log, VKS_NO_MEMORY);
}

size_t vks_clip_tokenizer_max_length(const struct vks_clip_tokenizer *tokenizer)
{
    return tokenizer->max_length;
}

int32_t vks_clip_tokenizer_size(const struct vks_clip_tokenizer *tokenizer)
{
    return tokenizer->specials.size;
}

int32_t vks_clip_tokenizer_bos(const struct vks_clip_tokenizer *tokenizer)
{
    return tokenizer->specials.bos;
}

int32_t vks_clip_tokenizer_eos(const struct vks_clip_tokenizer *tokenizer)
{
    return tokenizer->specials.eos;
}

int32_t vks_clip_tokenizer_pad(const struct vks_clip_tokenizer *tokenizer)
{
    return tokenizer->specials.pad;
}
