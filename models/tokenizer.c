#include "models/tokenizer.h"

#include "models/tokenizer_parts.h"
#include "models/unicode.h"

#include <stdlib.h>
#include <string.h>

struct vks_tokenizer *vks_tokenizer_new(const struct vks_log *log, const char *path)
{
    struct vks_tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
    if (!tokenizer)
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, path);
    tokenizer->bpe = (struct vks_bpe){.vocabulary = &tokenizer->vocabulary, .prefix = "", .suffix = "",
                                      .unknown = -1};
    tokenizer->names = (struct vks_tokenizer_names){-1, -1, -1, -1, NULL};
    return tokenizer;
}

void vks_tokenizer_close(struct vks_tokenizer **tokenizer)
{
    struct vks_tokenizer *t = *tokenizer;
    if (t) {
        vks_bpe_finish(&t->bpe);
        vks_unigram_finish(&t->unigram);
        vks_decoder_finish(&t->decoder);
        vks_pretokeniser_finish(&t->pretokeniser);
        vks_normaliser_finish(&t->normaliser);
        vks_added_finish(&t->added);
        vks_vocabulary_finish(&t->added_ids);
        vks_vocabulary_finish(&t->vocabulary);
        free(t->before.items);
        free(t->after.items);
        free(t->ends.items);
        vks_arena_finish(&t->arena);
        free(t);
    }
    *tokenizer = NULL;
}

bool vks_tokenizer_add(const struct vks_log *log, const char *path, struct vks_tokenizer *tokenizer,
                       const struct vks_added_token *token, int32_t id)
{
    struct vks_added_token made = *token;
    struct vks_text pattern = {0}, spare = {0};
    struct vks_finder_data *data = vks_finder_data_create();
    const int32_t known = vks_vocabulary_find(&tokenizer->vocabulary, token->text, token->text_size);
    bool first = true, done = data && vks_text_add(&pattern, token->text, token->text_size);
    if (token->normalised)
        done = done && vks_normaliser_apply(&tokenizer->normaliser, data, &pattern, &spare, &first);
    made.id = known >= 0 ? known : id;
    made.pattern = pattern.data;
    made.pattern_size = pattern.length;
    if (token->text_size > VKS_ADDED_MAX || pattern.length > VKS_ADDED_MAX)
        done = vks_fail(log, "%s: an added token is longer than %d bytes; fetch the file again", path, VKS_ADDED_MAX);
    else if (!done || !vks_added_put(&tokenizer->added, &made))
        done = vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    else
        done = vks_vocabulary_add(log, path, &tokenizer->added_ids, pattern.data, pattern.length, made.id);
    vks_finder_data_destroy(&data);
    vks_text_finish(&pattern);
    vks_text_finish(&spare);
    return done;
}

// ---- encoding

struct encoder {
    const struct vks_log *log;
    const struct vks_tokenizer *tokenizer;
    struct vks_finder_data *data;
    const char *text;             // the whole text
    bool literal;
    bool first;                   // the piece at hand begins where the text does
    bool failed;                  // a message has been printed
    struct vks_pieces pieces;
    struct vks_text normal, spare;
};

static bool out_of_memory(struct encoder *e)
{
    e->failed = true;
    return vks_fail(e->log, VKS_NO_MEMORY);
}

static bool add_normal(void *priv, int32_t id, const char *text, size_t size)
{
    struct encoder *e = priv;
    if (id >= 0)
        return vks_pieces_add(&e->pieces, 0, 0, id, false) || out_of_memory(e);
    const size_t at = e->pieces.text.length;
    return (vks_text_add(&e->pieces.text, text, size) &&
            vks_pieces_add(&e->pieces, at, size, -1, e->first && text == e->normal.data)) ||
           out_of_memory(e);
}

static bool add_raw(void *priv, int32_t id, const char *text, size_t size)
{
    struct encoder *e = priv;
    const struct vks_tokenizer *t = e->tokenizer;
    if (id >= 0)
        return vks_pieces_add(&e->pieces, 0, 0, id, false) || out_of_memory(e);
    e->first = text == e->text;
    e->normal.length = 0;
    if (!vks_text_add(&e->normal, text, size))
        return out_of_memory(e);
    if (!vks_normaliser_apply(&t->normaliser, e->data, &e->normal, &e->spare, &e->first)) {
        e->failed = true;
        return vks_fail(e->log, "a text is too long for the tokenizer's normalizer; shorten it");
    }
    return !e->normal.length || vks_added_split(&t->added, VKS_ADDED_NORMALISED, e->literal, e->normal.data,
                                                e->normal.length, add_normal, e);
}

static bool run_model(struct encoder *e, struct vks_ids *ids)
{
    const struct vks_tokenizer *t = e->tokenizer;
    struct vks_bpe_work bpe = {0};
    struct vks_unigram_work unigram = {0};
    bool done = true;
    for (size_t i = 0; i < e->pieces.count && done; i++) {
        const struct vks_piece *piece = &e->pieces.items[i];
        const char *text = e->pieces.text.data + piece->at;
        if (piece->id >= 0)
            done = vks_ids_add(ids, piece->id);
        else if (t->model == VKS_MODEL_BPE)
            done = vks_bpe_encode(&t->bpe, text, piece->size, &bpe, ids);
        else if (!vks_unigram_encode(e->log, &t->unigram, text, piece->size, &unigram, ids))
            e->failed = true, done = false;
    }
    vks_bpe_work_finish(&bpe);
    free(unigram.nodes);
    return done || e->failed ? done : out_of_memory(e);
}

static bool add_all(struct encoder *e, const struct vks_ids *from, struct vks_ids *ids)
{
    for (size_t i = 0; i < from->count; i++) {
        if (!vks_ids_add(ids, from->items[i]))
            return out_of_memory(e);
    }
    return true;
}

bool vks_tokenizer_encode(const struct vks_log *log, const struct vks_tokenizer *tokenizer,
                          const struct vks_encode *how, const char *text, size_t size, struct vks_ids *ids)
{
    const struct vks_encode options = how ? *how : (struct vks_encode){0};
    struct encoder e = {.log = log, .tokenizer = tokenizer, .literal = options.literal};
    struct vks_text repaired = {0};
    bool done = true;
    if (size > VKS_TOKENIZER_MAX_TEXT)
        return vks_fail(log, "a text of %llu bytes is longer than the limit of %llu; shorten it",
                        (unsigned long long)size, (unsigned long long)VKS_TOKENIZER_MAX_TEXT);
    if (vks_utf8_check(text, size) != size) {
        struct vks_utf8_repair repair = {0};
        done = vks_utf8_repair_add(&repair, text, size, &repaired) && vks_utf8_repair_end(&repair, &repaired);
        text = repaired.data;
        size = repaired.length;
    }
    e.text = text;
    e.data = vks_finder_data_create();
    if (!done || !e.data)
        done = out_of_memory(&e);
    done = done && vks_added_split(&tokenizer->added, VKS_ADDED_RAW, e.literal, text, size, add_raw, &e) &&
           vks_pretokeniser_apply(log, &tokenizer->pretokeniser, e.data, &e.pieces) &&
           (options.bare || add_all(&e, &tokenizer->before, ids)) && run_model(&e, ids) &&
           (options.bare || add_all(&e, &tokenizer->after, ids));
    vks_finder_data_destroy(&e.data);
    vks_pieces_finish(&e.pieces);
    vks_text_finish(&e.normal);
    vks_text_finish(&e.spare);
    vks_text_finish(&repaired);
    return done;
}

// ---- decoding

// The token of an id as decoders get it.
static const struct vks_token *token_of(const struct vks_tokenizer *tokenizer, int32_t id)
{
    const struct vks_token *added = vks_vocabulary_get(&tokenizer->added_ids, id);
    return added ? added : vks_vocabulary_get(&tokenizer->vocabulary, id);
}

// By the text, as in the original: a token of the model that reads like a special one is skipped too.
static bool skipped(const struct vks_tokenizer *tokenizer, const struct vks_token *token)
{
    const struct vks_added_token *added = vks_added_find(&tokenizer->added, token->text, token->size);
    return added && added->special;
}

struct vks_tokenizer_stream {
    const struct vks_tokenizer *tokenizer;
    struct vks_decoding *decoding;
    bool skip_special;
};

static bool add_id(const struct vks_log *log, const struct vks_tokenizer *tokenizer, struct vks_decoding *decoding,
                   int32_t id, bool skip_special, struct vks_text *out)
{
    const struct vks_token *token = token_of(tokenizer, id);
    if (!token || (skip_special && skipped(tokenizer, token)))
        return true;
    return vks_decoding_add(decoding, token->text, token->size, out) ||
           vks_fail(log, VKS_NO_MEMORY);
}

bool vks_tokenizer_decode(const struct vks_log *log, const struct vks_tokenizer *tokenizer, const int32_t *ids,
                          size_t count, bool skip_special, struct vks_text *out)
{
    struct vks_decoding *decoding = vks_decoding_create(&tokenizer->decoder, false);
    bool done = decoding != NULL;
    for (size_t i = 0; i < count && done; i++)
        done = add_id(NULL, tokenizer, decoding, ids[i], skip_special, out);
    done = done && vks_decoding_end(decoding, out);
    vks_decoding_destroy(&decoding);
    return done || vks_fail(log, VKS_NO_MEMORY);
}

struct vks_tokenizer_stream *vks_tokenizer_stream_open(const struct vks_log *log,
                                                       const struct vks_tokenizer *tokenizer, bool skip_special)
{
    struct vks_tokenizer_stream *stream = calloc(1, sizeof(*stream));
    struct vks_decoding *decoding = vks_decoding_create(&tokenizer->decoder, true);
    if (!stream || !decoding) {
        free(stream);
        vks_decoding_destroy(&decoding);
        return vks_fail_null(log, VKS_NO_MEMORY);
    }
    *stream = (struct vks_tokenizer_stream){tokenizer, decoding, skip_special};
    return stream;
}

bool vks_tokenizer_stream_add(const struct vks_log *log, struct vks_tokenizer_stream *stream, int32_t id,
                              struct vks_text *out)
{
    return add_id(log, stream->tokenizer, stream->decoding, id, stream->skip_special, out);
}

bool vks_tokenizer_stream_end(const struct vks_log *log, struct vks_tokenizer_stream *stream, struct vks_text *out)
{
    return vks_decoding_end(stream->decoding, out) ||
           vks_fail(log, VKS_NO_MEMORY);
}

void vks_tokenizer_stream_close(struct vks_tokenizer_stream **stream)
{
    if (*stream)
        vks_decoding_destroy(&(*stream)->decoding);
    free(*stream);
    *stream = NULL;
}

// ---- questions

int32_t vks_tokenizer_size(const struct vks_tokenizer *tokenizer)
{
    const int32_t own = tokenizer->vocabulary.size, added = tokenizer->added_ids.size;
    return own > added ? own : added;
}

int32_t vks_tokenizer_find(const struct vks_tokenizer *tokenizer, const char *text)
{
    const struct vks_added_token *added = vks_added_find(&tokenizer->added, text, strlen(text));
    return added ? added->id : vks_vocabulary_find(&tokenizer->vocabulary, text, strlen(text));
}

const char *vks_tokenizer_text(const struct vks_tokenizer *tokenizer, int32_t id)
{
    const struct vks_token *token = token_of(tokenizer, id);
    return token ? token->text : NULL;
}

bool vks_tokenizer_is_special(const struct vks_tokenizer *tokenizer, int32_t id)
{
    const struct vks_token *token = token_of(tokenizer, id);
    return token && skipped(tokenizer, token);
}

const struct vks_tokenizer_names *vks_tokenizer_names(const struct vks_tokenizer *tokenizer)
{
    return &tokenizer->names;
}

bool vks_tokenizer_ends(const struct vks_tokenizer *tokenizer, int32_t id)
{
    bool ends = id >= 0 && id == tokenizer->names.eos;
    for (size_t i = 0; i < tokenizer->ends.count && !ends; i++)
        ends = tokenizer->ends.items[i] == id;
    return ends;
}
