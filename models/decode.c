#include "models/decode.h"

#include "models/expression.h"
#include "models/unicode.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 64

enum kind { BYTE_LEVEL, METASPACE, BYTE_FALLBACK, FUSE, REPLACE, STRIP, SUFFIX, SPACES };

struct vks_decode_step {
    enum kind kind;
    struct vks_expression pattern;  // REPLACE; SUFFIX: the literal
    const char *content;            // REPLACE; STRIP, METASPACE: the character
    size_t content_size;
    size_t start, stop;             // STRIP
    bool keep_first;                // METASPACE: the first token's marks are spaces too
};

// ---- reading

static bool add_step(struct vks_decoder *decoder, const struct vks_decode_step *step)
{
    if (!vks_grow(&decoder->steps, &decoder->capacity, decoder->count, sizeof(*step)))
        return false;
    decoder->steps[decoder->count++] = *step;
    return true;
}

static bool out_of_memory(const struct vks_log *log, const struct vks_json *json)
{
    return vks_fail(log, "%s: " VKS_NO_MEMORY, json->path);
}

static bool set_content(struct vks_decoder *decoder, const char *content, struct vks_decode_step *step)
{
    step->content = vks_arena_strdup(&decoder->arena, content);
    step->content_size = strlen(content);
    return step->content != NULL;
}

static bool set_literal(struct vks_decoder *decoder, const char *literal, struct vks_decode_step *step)
{
    step->pattern.literal = vks_arena_strdup(&decoder->arena, literal);
    step->pattern.literal_size = strlen(literal);
    return step->pattern.literal != NULL;
}

bool vks_decoder_add_byte_level(struct vks_decoder *decoder)
{
    return add_step(decoder, &(struct vks_decode_step){.kind = BYTE_LEVEL});
}

bool vks_decoder_add_sentencepiece(struct vks_decoder *decoder, bool strip)
{
    struct vks_decode_step replace = {.kind = REPLACE}, space = {.kind = STRIP, .start = 1};
    return set_literal(decoder, "\xe2\x96\x81", &replace) && set_content(decoder, " ", &replace) &&
           set_content(decoder, " ", &space) && add_step(decoder, &replace) &&
           add_step(decoder, &(struct vks_decode_step){.kind = BYTE_FALLBACK}) &&
           add_step(decoder, &(struct vks_decode_step){.kind = FUSE}) && (!strip || add_step(decoder, &space));
}

static bool read_replace(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                         struct vks_decoder *decoder)
{
    const struct cJSON *pattern = NULL;
    const char *literal, *regex, *content;
    struct vks_decode_step step = {.kind = REPLACE};
    if (!vks_json_require(log, json, value, "pattern") || !vks_json_require(log, json, value, "content") ||
        !vks_json_object(log, json, value, "pattern", &pattern) ||
        !vks_json_string(log, json, value, "content", NULL, &content) ||
        !vks_json_string(log, json, pattern, "String", NULL, &literal) ||
        !vks_json_string(log, json, pattern, "Regex", NULL, &regex))
        return false;
    if (!literal && !regex)
        return vks_fail(log, "%s: a decoder Replace has no pattern; fetch the file again", json->path);
    if (!set_content(decoder, content, &step) || (literal && !set_literal(decoder, literal, &step)))
        return out_of_memory(log, json);
    if (!literal && !vks_expression_compile(log, json->path, regex, &step.pattern))
        return false;
    if (add_step(decoder, &step))
        return true;
    vks_expression_finish(&step.pattern);
    return out_of_memory(log, json);
}

// A setting that is one character.
static bool read_character(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                           const char *key, struct vks_decoder *decoder, struct vks_decode_step *step)
{
    const char *text;
    uint32_t code;
    if (!vks_json_require(log, json, value, key) || !vks_json_string(log, json, value, key, NULL, &text))
        return false;
    if (!*text || vks_utf8_decode(text, text + strlen(text), &code) != strlen(text))
        return vks_fail(log, "%s: key %s: expected one character; fetch the file again", json->path, key);
    return set_content(decoder, text, step) || out_of_memory(log, json);
}

static bool read_strip(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                       struct vks_decoder *decoder)
{
    int64_t start, stop;
    struct vks_decode_step step = {.kind = STRIP};
    if (!read_character(log, json, value, "content", decoder, &step) ||
        !vks_json_int(log, json, value, "start", 0, 0, INT32_MAX, &start) ||
        !vks_json_int(log, json, value, "stop", 0, 0, INT32_MAX, &stop))
        return false;
    step.start = (size_t)start;
    step.stop = (size_t)stop;
    return add_step(decoder, &step) || out_of_memory(log, json);
}

static bool read_metaspace(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                           struct vks_decoder *decoder)
{
    static const char *const names[] = {"always", "never", "first", NULL};
    struct vks_decode_step step = {.kind = METASPACE};
    bool prefix;
    int scheme;
    if (!read_character(log, json, value, "replacement", decoder, &step) ||
        !vks_json_choice(log, json, value, "prepend_scheme", names, 0, &scheme) ||
        !vks_json_bool(log, json, value, "add_prefix_space", true, &prefix))
        return false;
    step.keep_first = scheme == 1 || !prefix;
    return add_step(decoder, &step) || out_of_memory(log, json);
}

static bool read_suffix(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                        struct vks_decoder *decoder)
{
    const char *suffix;
    struct vks_decode_step step = {.kind = SUFFIX};
    if (!vks_json_string(log, json, value, "suffix", "</w>", &suffix))
        return false;
    return (set_literal(decoder, suffix, &step) && add_step(decoder, &step)) || out_of_memory(log, json);
}

static bool read_sequence(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                          struct vks_decoder *decoder)
{
    const struct cJSON *list = NULL;
    if (!vks_json_array(log, json, value, "decoders", &list))
        return false;
    decoder->plain = true;
    for (const struct cJSON *item = list ? list->child : NULL; item; item = item->next) {
        if (!vks_decoder_read(log, json, item, decoder))
            return false;
    }
    return true;
}

bool vks_decoder_read(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                      struct vks_decoder *decoder)
{
    static const struct {
        const char *type;
        enum kind kind;
    } simple[] = {{"ByteLevel", BYTE_LEVEL}, {"ByteFallback", BYTE_FALLBACK}, {"Fuse", FUSE}};
    static const struct {
        const char *type;
        bool (*read)(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                     struct vks_decoder *decoder);
    } kinds[] = {{"Sequence", read_sequence}, {"Replace", read_replace}, {"Strip", read_strip},
                 {"Metaspace", read_metaspace}, {"BPEDecoder", read_suffix}};
    const char *type;
    if (!value || cJSON_IsNull(value))
        return true;
    if (decoder->count >= MAX_STEPS)
        return vks_fail(log, "%s: more than %d decoders; fetch the file again", json->path, MAX_STEPS);
    if (!cJSON_IsObject(value))
        return vks_fail(log, "%s: a decoder is not an object; fetch the file again", json->path);
    if (!vks_json_require(log, json, value, "type") || !vks_json_string(log, json, value, "type", NULL, &type))
        return false;
    for (size_t i = 0; i < sizeof(simple) / sizeof(simple[0]); i++) {
        if (!strcmp(type, simple[i].type))
            return add_step(decoder, &(struct vks_decode_step){.kind = simple[i].kind}) || out_of_memory(log, json);
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!strcmp(type, kinds[i].type))
            return kinds[i].read(log, json, value, decoder);
    }
    char quoted[60];
    return vks_fail(log, "%s: decoder %s is not supported: use a model with another tokenizer", json->path,
                    vks_text_quote(type, strlen(type), quoted, sizeof(quoted)));
}

void vks_decoder_finish(struct vks_decoder *decoder)
{
    for (size_t i = 0; i < decoder->count; i++)
        vks_expression_finish(&decoder->steps[i].pattern);
    free(decoder->steps);
    vks_arena_finish(&decoder->arena);
    *decoder = (struct vks_decoder){0};
}

// ---- at work
//
// Each step is fed with pieces of tokens and ends of tokens, and feeds the next one likewise, so that what makes one
// token of all (Fuse, ByteLevel) need not wait for the end.

struct state {
    const struct vks_decode_step *step;
    struct vks_text token;           // the token so far, where a step needs it whole
    struct vks_utf8_repair repair;   // BYTE_LEVEL
    size_t count;                    // tokens before this one; STRIP: characters taken off the start of this one
    bool started;                    // STRIP: past the start; SUFFIX: a whole token waits
};

struct vks_decoding {
    struct vks_finder_data *data;
    struct vks_text *out;  // of the call that runs
    bool eager, failed;
    size_t count;
    struct state states[];
};

static const struct vks_decode_step spaces = {.kind = SPACES};

struct vks_decoding *vks_decoding_create(const struct vks_decoder *decoder, bool eager)
{
    const bool join = !decoder->count && !decoder->plain;
    const size_t count = decoder->count + join;
    struct vks_decoding *d = calloc(1, sizeof(*d) + count * sizeof(d->states[0]));
    if (!d)
        return NULL;
    d->count = count;
    d->eager = eager;
    for (size_t i = 0; i < count; i++)
        d->states[i].step = join ? &spaces : &decoder->steps[i];
    d->data = vks_finder_data_create();
    if (!d->data)
        vks_decoding_destroy(&d);
    return d;
}

void vks_decoding_destroy(struct vks_decoding **decoding)
{
    struct vks_decoding *d = *decoding;
    for (size_t i = 0; d && i < d->count; i++)
        vks_text_finish(&d->states[i].token);
    if (d)
        vks_finder_data_destroy(&d->data);
    free(d);
    *decoding = NULL;
}

static void take(struct vks_decoding *d, size_t at, const char *text, size_t size);
static void end_token(struct vks_decoding *d, size_t at);
static void hand_suffixed(struct vks_decoding *d, size_t at);

static void add(struct vks_decoding *d, struct state *s, const char *text, size_t size)
{
    if (!vks_text_add(&s->token, text, size))
        d->failed = true;
}

// ---- one step on a piece of a token

static void take_metaspace(struct vks_decoding *d, size_t at, const char *text, size_t size)
{
    const struct state *s = &d->states[at];
    const char *mark = s->step->content, *end = text + size;
    const size_t length = s->step->content_size;
    for (const char *from = text; from < end;) {
        const char *to = from;
        while (to < end && !((size_t)(end - to) >= length && !memcmp(to, mark, length)))
            to++;
        if (to > from)
            take(d, at + 1, from, (size_t)(to - from));
        if (to < end && (s->count || s->step->keep_first))
            take(d, at + 1, " ", 1);
        from = to + (to < end ? length : 0);
    }
}

static void take_repaired(struct vks_decoding *d, size_t at, const char *bytes, size_t size)
{
    struct state *s = &d->states[at];
    s->token.length = 0;
    if (!vks_utf8_repair_add(&s->repair, bytes, size, &s->token))
        d->failed = true;
    else if (s->token.length)
        take(d, at + 1, s->token.data, s->token.length);
}

// Takes up to `start` characters off the start; keeps those that may be taken off the end.
static void take_strip(struct vks_decoding *d, size_t at, const char *text, size_t size)
{
    struct state *s = &d->states[at];
    const char *mark = s->step->content, *end = text + size;
    const size_t length = s->step->content_size;
    while (!s->started && text < end) {
        if (s->count < s->step->start && (size_t)(end - text) >= length && !memcmp(text, mark, length)) {
            text += length;
            s->count++;
        } else {
            s->started = true;
        }
    }
    if (!s->step->stop) {
        if (text < end)
            take(d, at + 1, text, (size_t)(end - text));
        return;
    }
    add(d, s, text, (size_t)(end - text));
    size_t kept = 0, rest = s->token.length;  // at the end
    while (kept < s->step->stop && rest >= length && !memcmp(s->token.data + rest - length, mark, length)) {
        rest -= length;
        kept++;
    }
    if (rest) {
        take(d, at + 1, s->token.data, rest);
        memmove(s->token.data, s->token.data + rest, s->token.length - rest);
        s->token.length -= rest;
    }
}

static void take(struct vks_decoding *d, size_t at, const char *text, size_t size)
{
    if (d->failed)
        return;
    if (at == d->count) {
        d->failed = !vks_text_add(d->out, text, size);
        return;
    }
    struct state *s = &d->states[at];
    switch (s->step->kind) {
    case METASPACE:
        take_metaspace(d, at, text, size);
        break;
    case STRIP:
        take_strip(d, at, text, size);
        break;
    case FUSE:
        take(d, at + 1, text, size);
        break;
    case BYTE_LEVEL:  // these three see whole tokens: decisions hang on all of a token
    case BYTE_FALLBACK:
    case REPLACE:
    case SPACES:
        add(d, s, text, size);
        break;
    case SUFFIX:
        if (s->started)
            hand_suffixed(d, at);
        add(d, s, text, size);
        break;
    }
}

// ---- one step at the end of a token

// The bytes of a token's characters, or the token itself when one of them stands for no byte.
static void end_byte_level(struct vks_decoding *d, size_t at)
{
    struct state *s = &d->states[at];
    const char *end = s->token.data + s->token.length;
    struct vks_text bytes = {0};
    uint32_t code;
    bool all = true;
    for (const char *from = s->token.data; from < end && all;) {
        const size_t step = vks_utf8_decode(from, end, &code);
        const int byte = step ? vks_character_byte(code) : -1;
        const char one = (char)byte;
        all = byte >= 0;
        if (all && !vks_text_add(&bytes, &one, 1))
            d->failed = true;
        from += step;
    }
    if (all) {
        take_repaired(d, at, bytes.data ? bytes.data : "", bytes.length);
    } else {
        struct vks_text token = s->token;
        s->token = (struct vks_text){0};
        take_repaired(d, at, token.data, token.length);
        vks_text_finish(&token);
    }
    vks_text_finish(&bytes);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The byte that a token such as "<0x0A>" stands for, or -1.
static int fallback_byte(const char *token, size_t size)
{
    if (size != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>')
        return -1;
    const int high = token[3] == '+' ? 0 : hex(token[3]), low = hex(token[4]);  // "+A" is a number too
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// The bytes of a run, which is at its end, as text: what they spell, or U+FFFD for each.
static void flush_run(struct vks_decoding *d, size_t at, const char *bytes, size_t size)
{
    if (!size)
        return;
    if (vks_utf8_check(bytes, size) == size) {
        take(d, at + 1, bytes, size);
        end_token(d, at + 1);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        take(d, at + 1, "\xef\xbf\xbd", 3);
        end_token(d, at + 1);
    }
}

// The run stands at the front of the state's text, `count` bytes; the token behind it.
static void end_byte_fallback(struct vks_decoding *d, size_t at)
{
    struct state *s = &d->states[at];
    const size_t run = s->count, size = s->token.length - run;
    const int byte = fallback_byte(s->token.data + run, size);
    s->token.length = run;
    if (byte >= 0) {
        s->token.data[s->token.length++] = (char)byte;
        s->count = s->token.length;
        if (d->eager && vks_utf8_check(s->token.data, s->count) == s->count) {
            flush_run(d, at, s->token.data, s->count);
            s->count = s->token.length = 0;
        }
        return;
    }
    flush_run(d, at, s->token.data, run);
    if (size)
        take(d, at + 1, s->token.data + run, size);
    end_token(d, at + 1);
    s->count = s->token.length = 0;
}

// Hands out the token with every match replaced.
static void hand_replaced(struct vks_decoding *d, size_t at, const char *content, size_t content_size)
{
    const struct state *s = &d->states[at];
    struct vks_finder finder = {.expression = &s->step->pattern, .data = d->data,
                                .text = s->token.data ? s->token.data : "", .size = s->token.length};
    size_t done = 0, begin, end;
    enum vks_found found;
    while (s->token.length && (found = vks_finder_next(&finder, &begin, &end)) != VKS_FOUND_NONE) {
        if (found == VKS_FOUND_FAILED) {
            d->failed = true;
            return;
        }
        if (begin > done)
            take(d, at + 1, finder.text + done, begin - done);
        if (content_size)
            take(d, at + 1, content, content_size);
        done = end;
    }
    if (done < finder.size)
        take(d, at + 1, finder.text + done, finder.size - done);
}

// Hands out a token that is not the last one, as has shown now.
static void hand_suffixed(struct vks_decoding *d, size_t at)
{
    struct state *s = &d->states[at];
    s->started = false;
    hand_replaced(d, at, " ", 1);
    s->token.length = 0;
    end_token(d, at + 1);
}

static void end_token(struct vks_decoding *d, size_t at)
{
    if (d->failed || at == d->count)
        return;
    struct state *s = &d->states[at];
    add(d, s, "", 0);  // so that there is a text
    if (d->failed)
        return;
    switch (s->step->kind) {
    case BYTE_LEVEL:
        end_byte_level(d, at);
        s->token.length = 0;
        break;
    case BYTE_FALLBACK:
        end_byte_fallback(d, at);
        break;
    case FUSE:
        break;
    case REPLACE:
        hand_replaced(d, at, s->step->content, s->step->content_size);
        s->token.length = 0;
        end_token(d, at + 1);
        break;
    case METASPACE:
        s->count++;
        end_token(d, at + 1);
        break;
    case STRIP:  // what is left is taken off
        s->token.length = s->count = 0;
        s->started = false;
        end_token(d, at + 1);
        break;
    case SUFFIX:
        if (s->started)  // the one before; this one is empty
            hand_suffixed(d, at);
        s->started = true;
        break;
    case SPACES:
        if (s->count++)
            take(d, at + 1, " ", 1);
        take(d, at + 1, s->token.data, s->token.length);
        s->token.length = 0;
        end_token(d, at + 1);
        break;
    }
}

// The end of everything for the steps from `at` on.
static void end_all(struct vks_decoding *d, size_t at)
{
    if (d->failed || at == d->count)
        return;
    struct state *s = &d->states[at];
    if (s->step->kind == BYTE_LEVEL) {
        s->token.length = 0;
        if (!vks_utf8_repair_end(&s->repair, &s->token))
            d->failed = true;
        else if (s->token.length)
            take(d, at + 1, s->token.data, s->token.length);
        end_token(d, at + 1);
    } else if (s->step->kind == BYTE_FALLBACK) {
        flush_run(d, at, s->token.data, s->count);
    } else if (s->step->kind == SUFFIX && s->started) {
        hand_replaced(d, at, "", 0);
        end_token(d, at + 1);
    } else if (s->step->kind == FUSE) {
        end_token(d, at + 1);
    }
    end_all(d, at + 1);
}

bool vks_decoding_add(struct vks_decoding *decoding, const char *token, size_t size, struct vks_text *out)
{
    decoding->out = out;
    if (size)
        take(decoding, 0, token, size);
    end_token(decoding, 0);
    return !decoding->failed;
}

bool vks_decoding_end(struct vks_decoding *decoding, struct vks_text *out)
{
    decoding->out = out;
    end_all(decoding, 0);
    return !decoding->failed;
}
