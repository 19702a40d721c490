#include "models/pretokenise.h"

#include "models/unicode.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 64

// GPT-2's (Radford et al. 2019), which ByteLevel uses.
static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// What is looked for.
enum pattern { EXPRESSION, NUMBER, PUNCTUATION, SPACE, CHARACTER, WORDS, LENGTH, NOTHING };
// What becomes of a match.
enum behaviour { ISOLATED, REMOVED, CONTIGUOUS, WITH_PREVIOUS, WITH_NEXT };
// What is done beside it.
enum work { ONLY_CUT, BYTE_LEVEL, METASPACE };
enum scheme { PREPEND_ALWAYS, PREPEND_NEVER, PREPEND_FIRST };

struct vks_pre_step {
    enum work work;
    enum pattern pattern;
    struct vks_expression expression;
    uint32_t character;      // CHARACTER, METASPACE
    size_t length;           // LENGTH, in characters
    enum behaviour behaviour;
    bool invert;             // what is between the matches counts as match
    enum scheme scheme;      // METASPACE
    bool add_prefix_space;   // BYTE_LEVEL
};

bool vks_pieces_add(struct vks_pieces *pieces, size_t at, size_t size, int32_t id, bool first)
{
    if (!vks_grow(&pieces->items, &pieces->capacity, pieces->count, sizeof(*pieces->items)))
        return false;
    pieces->items[pieces->count++] = (struct vks_piece){at, size, id, first};
    return true;
}

void vks_pieces_finish(struct vks_pieces *pieces)
{
    vks_text_finish(&pieces->text);
    free(pieces->items);
    *pieces = (struct vks_pieces){0};
}

// ---- reading

static bool add_step(const struct vks_log *log, const char *path, struct vks_pre_step *step,
                     struct vks_pretokeniser *pretokeniser)
{
    if (!vks_grow(&pretokeniser->steps, &pretokeniser->capacity, pretokeniser->count, sizeof(*step))) {
        vks_expression_finish(&step->expression);
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    }
    pretokeniser->steps[pretokeniser->count++] = *step;
    return true;
}

bool vks_pretokeniser_add(const struct vks_log *log, const char *path, const char *expression,
                          struct vks_pretokeniser *pretokeniser)
{
    struct vks_pre_step step = {.work = expression ? ONLY_CUT : BYTE_LEVEL,
                                .pattern = expression ? EXPRESSION : NOTHING};
    if (expression && !vks_expression_compile(log, path, expression, &step.expression))
        return false;
    return add_step(log, path, &step, pretokeniser);
}

static bool read_behaviour(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                           int missing, enum behaviour *behaviour)
{
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext",
                                        NULL};
    int index;
    if (!vks_json_choice(log, json, value, "behavior", names, missing, &index))
        return false;
    *behaviour = (enum behaviour)index;
    return true;
}

static bool read_split(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                       struct vks_pretokeniser *pretokeniser)
{
    const struct cJSON *pattern = NULL;
    const char *literal, *regex;
    struct vks_pre_step step = {.pattern = EXPRESSION};
    if (!vks_json_require(log, json, value, "pattern") || !vks_json_object(log, json, value, "pattern", &pattern) ||
        !vks_json_string(log, json, pattern, "String", NULL, &literal) ||
        !vks_json_string(log, json, pattern, "Regex", NULL, &regex) ||
        !read_behaviour(log, json, value, -1, &step.behaviour) ||
        !vks_json_bool(log, json, value, "invert", false, &step.invert))
        return false;
    if (literal) {
        step.expression.literal = vks_arena_strdup(&pretokeniser->arena, literal);
        step.expression.literal_size = strlen(literal);
        if (!step.expression.literal)
            return vks_fail(log, "%s: " VKS_NO_MEMORY, json->path);
    } else if (!regex) {
        return vks_fail(log, "%s: a pre-tokenizer Split has no pattern; fetch the file again", json->path);
    } else if (!vks_expression_compile(log, json->path, regex, &step.expression)) {
        return false;
    }
    return add_step(log, json->path, &step, pretokeniser);
}

static bool read_byte_level(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                            struct vks_pretokeniser *pretokeniser)
{
    struct vks_pre_step step = {.work = BYTE_LEVEL, .pattern = EXPRESSION};
    bool use_regex;
    if (!vks_json_bool(log, json, value, "add_prefix_space", true, &step.add_prefix_space) ||
        !vks_json_bool(log, json, value, "use_regex", true, &use_regex))
        return false;
    if (!use_regex)
        step.pattern = NOTHING;
    else if (!vks_expression_compile(log, json->path, gpt2, &step.expression))
        return false;
    return add_step(log, json->path, &step, pretokeniser);
}

// The one character of a string.
static bool read_character(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                           const char *key, uint32_t *character)
{
    const char *text;
    if (!vks_json_require(log, json, value, key) || !vks_json_string(log, json, value, key, NULL, &text))
        return false;
    const size_t size = strlen(text);
    if (!size || vks_utf8_decode(text, text + size, character) != size)
        return vks_fail(log, "%s: key %s: expected one character; fetch the file again", json->path, key);
    return true;
}

static bool read_metaspace(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                           struct vks_pretokeniser *pretokeniser)
{
    static const char *const names[] = {"always", "never", "first", NULL};
    struct vks_pre_step step = {.work = METASPACE, .behaviour = WITH_NEXT};
    bool split, prefix;
    int scheme;
    if (!read_character(log, json, value, "replacement", &step.character) ||
        !vks_json_choice(log, json, value, "prepend_scheme", names, 0, &scheme) ||
        !vks_json_bool(log, json, value, "add_prefix_space", true, &prefix) ||
        !vks_json_bool(log, json, value, "split", true, &split))
        return false;
    step.scheme = prefix ? (enum scheme)scheme : PREPEND_NEVER;
    step.pattern = split ? CHARACTER : NOTHING;
    return add_step(log, json->path, &step, pretokeniser);
}

static bool read_sequence(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                          struct vks_pretokeniser *pretokeniser)
{
    const struct cJSON *list = NULL;
    if (!vks_json_array(log, json, value, "pretokenizers", &list))
        return false;
    for (const struct cJSON *item = list ? list->child : NULL; item; item = item->next) {
        if (!vks_pretokeniser_read(log, json, item, pretokeniser))
            return false;
    }
    return true;
}

// Those that are one step with at most one setting.
static bool read_plain(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                       const char *type, struct vks_pretokeniser *pretokeniser)
{
    struct vks_pre_step step = {.behaviour = REMOVED};
    bool individual = false;
    int64_t length = 0;
    char quoted[60];
    if (!strcmp(type, "Digits")) {
        if (!vks_json_bool(log, json, value, "individual_digits", false, &individual))
            return false;
        step.pattern = NUMBER;
        step.behaviour = individual ? ISOLATED : CONTIGUOUS;
    } else if (!strcmp(type, "Punctuation")) {
        step.pattern = PUNCTUATION;
        if (!read_behaviour(log, json, value, ISOLATED, &step.behaviour))
            return false;
    } else if (!strcmp(type, "WhitespaceSplit")) {
        step.pattern = SPACE;
    } else if (!strcmp(type, "Whitespace")) {
        step.pattern = WORDS;
        step.invert = true;
    } else if (!strcmp(type, "CharDelimiterSplit") || !strcmp(type, "Delimiter")) {
        step.pattern = CHARACTER;
        if (!read_character(log, json, value, "delimiter", &step.character))
            return false;
    } else if (!strcmp(type, "FixedLength")) {
        step.pattern = LENGTH;
        step.behaviour = ISOLATED;
        if (!vks_json_int(log, json, value, "length", 5, 1, INT32_MAX, &length))
            return false;
        step.length = (size_t)length;
    } else {
        return vks_fail(log, "%s: pre-tokenizer %s is not supported: use a model with another tokenizer", json->path,
                        vks_text_quote(type, strlen(type), quoted, sizeof(quoted)));
    }
    return add_step(log, json->path, &step, pretokeniser);
}

bool vks_pretokeniser_read(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                           struct vks_pretokeniser *pretokeniser)
{
    const char *type;
    if (!value || cJSON_IsNull(value))
        return true;
    if (pretokeniser->count >= MAX_STEPS)
        return vks_fail(log, "%s: more than %d pre-tokenizers; fetch the file again", json->path, MAX_STEPS);
    if (!cJSON_IsObject(value))
        return vks_fail(log, "%s: a pre-tokenizer is not an object; fetch the file again", json->path);
    if (!vks_json_require(log, json, value, "type") || !vks_json_string(log, json, value, "type", NULL, &type))
        return false;
    if (!strcmp(type, "Sequence"))
        return read_sequence(log, json, value, pretokeniser);
    if (!strcmp(type, "Split"))
        return read_split(log, json, value, pretokeniser);
    if (!strcmp(type, "ByteLevel"))
        return read_byte_level(log, json, value, pretokeniser);
    if (!strcmp(type, "Metaspace"))
        return read_metaspace(log, json, value, pretokeniser);
    return read_plain(log, json, value, type, pretokeniser);
}

void vks_pretokeniser_finish(struct vks_pretokeniser *pretokeniser)
{
    for (size_t i = 0; i < pretokeniser->count; i++)
        vks_expression_finish(&pretokeniser->steps[i].expression);
    free(pretokeniser->steps);
    vks_arena_finish(&pretokeniser->arena);
    *pretokeniser = (struct vks_pretokeniser){0};
}

// ---- finding

static bool is_one(const struct vks_pre_step *step, uint32_t c)
{
    switch (step->pattern) {
    case NUMBER: return vks_unicode_number(c);
    case PUNCTUATION: return vks_unicode_punctuation(c);
    case SPACE: return vks_unicode_space(c);
    default: return c == step->character;
    }
}

// The class of a character for WORDS: neighbours of one class that is not 0 are a match.
static int word_class(uint32_t c)
{
    return vks_unicode_word(c) ? 1 : vks_unicode_space(c) ? 0 : 2;
}

// The next match of a pattern that is no expression.
static bool find_plain(const struct vks_pre_step *step, const char *text, size_t size, size_t from, size_t *begin,
                       size_t *end)
{
    uint32_t code;
    for (size_t at = from, length; at < size && (length = vks_utf8_decode(text + at, text + size, &code));
         at += length) {
        const int class = step->pattern == WORDS ? word_class(code) : 0;
        *begin = at;
        *end = at + length;
        if (step->pattern == LENGTH) {
            for (size_t i = 1; i < step->length && *end < size; i++)
                *end += vks_utf8_decode(text + *end, text + size, &code);
            return true;
        }
        if (step->pattern != WORDS && is_one(step, code))
            return true;
        if (class) {
            while ((length = vks_utf8_decode(text + *end, text + size, &code)) && word_class(code) == class)
                *end += length;
            return true;
        }
    }
    return false;
}

// ---- cutting

// One step at work on one piece.
struct cutter {
    const struct vks_pre_step *step;
    struct vks_pieces *out;
    const char *text;    // what is cut
    size_t base;         // of the piece in the text of `out`, for ONLY_CUT
    bool first;
    bool previous;       // whether what came last was a match
    bool held;           // text[begin, end) waits for what may join it
    size_t begin, end;
};

static bool emit(struct cutter *c, size_t begin, size_t end)
{
    struct vks_text *text = &c->out->text;
    size_t at = c->base + begin;
    if (begin == end)
        return true;
    if (c->step->work != ONLY_CUT)
        at = text->length;
    if (c->step->work == METASPACE)
        vks_text_add(text, c->text + begin, end - begin);
    for (size_t i = begin; i < end && c->step->work == BYTE_LEVEL; i++) {
        char bytes[4];
        vks_text_add(text, bytes, vks_utf8_encode(vks_byte_character((unsigned char)c->text[i]), bytes));
    }
    const size_t size = c->step->work != ONLY_CUT ? text->length - at : end - begin;
    return !text->failed && vks_pieces_add(c->out, at, size, -1, c->first && begin == 0);
}

static bool flush(struct cutter *c)
{
    const bool done = !c->held || emit(c, c->begin, c->end);
    c->held = false;
    return done;
}

// A match, or what is between two of them, in order.
static bool part(struct cutter *c, size_t begin, size_t end, bool match)
{
    const bool previous = c->previous;
    bool joins = false;
    c->previous = match;
    switch (c->step->behaviour) {
    case REMOVED:
        return match || emit(c, begin, end);
    case ISOLATED:
        return emit(c, begin, end);
    case CONTIGUOUS:
        joins = match == previous;
        break;
    case WITH_PREVIOUS:
        joins = match && !previous;
        break;
    case WITH_NEXT:
        joins = !match && previous;
        break;
    }
    if (joins && c->held) {
        c->end = end;
        return true;
    }
    if (!flush(c))
        return false;
    c->held = true;
    c->begin = begin;
    c->end = end;
    return true;
}

// False after one message.
static bool cut(const struct vks_log *log, struct cutter *c, struct vks_finder_data *data, size_t size)
{
    const struct vks_pre_step *step = c->step;
    struct vks_finder finder = {.expression = &step->expression, .data = data, .text = c->text, .size = size};
    size_t done = 0, begin = 0, end = 0;
    bool room = true;
    c->previous = c->held = false;
    while (room && step->pattern != NOTHING) {
        enum vks_found found = VKS_FOUND_NONE;
        if (step->pattern == EXPRESSION)
            found = vks_finder_next(&finder, &begin, &end);
        else if (find_plain(step, c->text, size, done, &begin, &end))
            found = VKS_FOUND;
        if (found == VKS_FOUND_FAILED)
            return vks_fail(log, "the tokenizer's expression takes too long on a text; shorten the text");
        if (found == VKS_FOUND_NONE)
            break;
        if (begin > done)
            room = part(c, done, begin, step->invert);
        room = room && part(c, begin, end, !step->invert);
        done = end;
    }
    if (room && done < size)
        room = part(c, done, size, step->pattern != NOTHING && step->invert);
    return (room && flush(c)) || vks_fail(log, VKS_NO_MEMORY);
}

// The text of a piece as a step wants it: with a space or the character for spaces in front.
static bool prepare(const struct vks_pre_step *step, const char *text, size_t size, bool first, struct vks_text *out)
{
    char mark[4];
    out->length = 0;
    if (step->work == BYTE_LEVEL) {
        if (step->add_prefix_space && *text != ' ')
            vks_text_add_str(out, " ");
        return vks_text_add(out, text, size);
    }
    const size_t length = vks_utf8_encode(step->character, mark);
    const bool marked = *text == ' ' || (size >= length && !memcmp(text, mark, length));
    if (!marked && (step->scheme == PREPEND_ALWAYS || (step->scheme == PREPEND_FIRST && first)))
        vks_text_add(out, mark, length);
    for (size_t at = 0; at < size;) {
        const char *space = memchr(text + at, ' ', size - at);
        const size_t to = space ? (size_t)(space - text) : size;
        vks_text_add(out, text + at, to - at);
        if (space)
            vks_text_add(out, mark, length);
        at = to + (space != NULL);
    }
    return !out->failed;
}

static bool apply(const struct vks_log *log, const struct vks_pre_step *step, struct vks_finder_data *data,
                  struct vks_pieces *pieces, struct vks_pieces *out, struct vks_text *scratch)
{
    const char *text = pieces->text.data;
    if (step->work == ONLY_CUT) {  // the text stays the same
        out->text = pieces->text;
        pieces->text = (struct vks_text){0};
    }
    for (size_t i = 0; i < pieces->count; i++) {
        const struct vks_piece *piece = &pieces->items[i];
        struct cutter cutter = {.step = step, .out = out, .text = text + piece->at, .base = piece->at,
                                .first = piece->first};
        size_t size = piece->size;
        bool room = true;
        if (piece->id >= 0) {
            if (!vks_pieces_add(out, 0, 0, piece->id, false))
                return vks_fail(log, VKS_NO_MEMORY);
            continue;
        }
        if (step->work != ONLY_CUT) {
            room = prepare(step, cutter.text, size, piece->first, scratch);
            cutter.text = scratch->data;
            size = scratch->length;
        }
        if (!room)
            return vks_fail(log, VKS_NO_MEMORY);
        if (!cut(log, &cutter, data, size))
            return false;
    }
    return true;
}

bool vks_pretokeniser_apply(const struct vks_log *log, const struct vks_pretokeniser *pretokeniser,
                            struct vks_finder_data *data, struct vks_pieces *pieces)
{
    struct vks_text scratch = {0};
    bool done = true;
    for (size_t i = 0; i < pretokeniser->count && done && pieces->count; i++) {
        struct vks_pieces next = {0};
        done = apply(log, &pretokeniser->steps[i], data, pieces, &next, &scratch);
        vks_pieces_finish(pieces);
        *pieces = next;
    }
    vks_text_finish(&scratch);
    return done;
}
