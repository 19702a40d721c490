#include "models/normalise.h"

#include "models/unicode.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 64

enum kind { NORMAL_FORM, LOWERCASE, REPLACE, PREPEND, STRIP, STRIP_ACCENTS, NMT, BYTE_LEVEL };

struct vks_normal_step {
    enum kind kind;
    enum vks_normal_form form;
    struct vks_expression pattern;
    const char *content;
    bool left, right;
};

// ---- reading

static bool add_step(struct vks_normaliser *normaliser, const struct vks_normal_step *step)
{
    if (!vks_grow(&normaliser->steps, &normaliser->capacity, normaliser->count, sizeof(*step)))
        return false;
    normaliser->steps[normaliser->count++] = *step;
    return true;
}

bool vks_normaliser_add_replace(struct vks_normaliser *normaliser, const char *pattern, const char *content)
{
    struct vks_normal_step step = {.kind = REPLACE};
    step.pattern.literal = vks_arena_strdup(&normaliser->arena, pattern);
    step.pattern.literal_size = strlen(pattern);
    step.content = vks_arena_strdup(&normaliser->arena, content);
    return step.pattern.literal && step.content && add_step(normaliser, &step);
}

bool vks_normaliser_add_prepend(struct vks_normaliser *normaliser, const char *content)
{
    const struct vks_normal_step step = {.kind = PREPEND, .content = vks_arena_strdup(&normaliser->arena, content)};
    return step.content && add_step(normaliser, &step);
}

bool vks_normaliser_add_compose(struct vks_normaliser *normaliser)
{
    return add_step(normaliser, &(struct vks_normal_step){.kind = NORMAL_FORM, .form = VKS_NFC});
}

static bool read_replace(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                         struct vks_normaliser *normaliser)
{
    const struct cJSON *pattern = NULL;
    const char *literal, *regex, *content;
    if (!vks_json_require(log, json, value, "pattern") || !vks_json_require(log, json, value, "content") ||
        !vks_json_object(log, json, value, "pattern", &pattern) ||
        !vks_json_string(log, json, value, "content", NULL, &content) ||
        !vks_json_string(log, json, pattern, "String", NULL, &literal) ||
        !vks_json_string(log, json, pattern, "Regex", NULL, &regex))
        return false;
    if (literal)
        return vks_normaliser_add_replace(normaliser, literal, content) ||
               vks_fail(log, "%s: " VKS_NO_MEMORY, json->path);
    if (!regex)
        return vks_fail(log, "%s: a normalizer Replace has no pattern; fetch the file again", json->path);
    struct vks_normal_step step = {.kind = REPLACE, .content = vks_arena_strdup(&normaliser->arena, content)};
    if (!vks_expression_compile(log, json->path, regex, &step.pattern))
        return false;
    if (step.content && add_step(normaliser, &step))
        return true;
    vks_expression_finish(&step.pattern);
    return vks_fail(log, "%s: " VKS_NO_MEMORY, json->path);
}

static bool read_prepend(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                         struct vks_normaliser *normaliser)
{
    const char *content;
    if (!vks_json_require(log, json, value, "prepend") ||
        !vks_json_string(log, json, value, "prepend", NULL, &content))
        return false;
    return vks_normaliser_add_prepend(normaliser, content) || vks_fail(log, "%s: " VKS_NO_MEMORY, json->path);
}

static bool read_sequence(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                          struct vks_normaliser *normaliser)
{
    const struct cJSON *list = NULL;
    if (!vks_json_array(log, json, value, "normalizers", &list))
        return false;
    for (const struct cJSON *item = list ? list->child : NULL; item; item = item->next) {
        if (!vks_normaliser_read(log, json, item, normaliser))
            return false;
    }
    return true;
}

bool vks_normaliser_read(const struct vks_log *log, const struct vks_json *json, const struct cJSON *value,
                         struct vks_normaliser *normaliser)
{
    static const struct {
        const char *type;
        struct vks_normal_step step;
    } plain[] = {
        {"NFC", {.kind = NORMAL_FORM, .form = VKS_NFC}}, {"NFD", {.kind = NORMAL_FORM, .form = VKS_NFD}},
        {"NFKC", {.kind = NORMAL_FORM, .form = VKS_NFKC}}, {"NFKD", {.kind = NORMAL_FORM, .form = VKS_NFKD}},
        {"Lowercase", {.kind = LOWERCASE}}, {"StripAccents", {.kind = STRIP_ACCENTS}}, {"Nmt", {.kind = NMT}},
        {"ByteLevel", {.kind = BYTE_LEVEL}},
    };
    const char *type;
    if (!value || cJSON_IsNull(value))
        return true;
    if (normaliser->count >= MAX_STEPS)
        return vks_fail(log, "%s: more than %d normalizers; fetch the file again", json->path, MAX_STEPS);
    if (!cJSON_IsObject(value))
        return vks_fail(log, "%s: a normalizer is not an object; fetch the file again", json->path);
    if (!vks_json_require(log, json, value, "type") || !vks_json_string(log, json, value, "type", NULL, &type))
        return false;
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (!strcmp(type, plain[i].type))
            return add_step(normaliser, &plain[i].step) || vks_fail(log, "%s: " VKS_NO_MEMORY, json->path);
    }
    if (!strcmp(type, "Sequence"))
        return read_sequence(log, json, value, normaliser);
    if (!strcmp(type, "Replace"))
        return read_replace(log, json, value, normaliser);
    if (!strcmp(type, "Prepend"))
        return read_prepend(log, json, value, normaliser);
    if (!strcmp(type, "Strip")) {
        struct vks_normal_step step = {.kind = STRIP};
        return vks_json_bool(log, json, value, "strip_left", false, &step.left) &&
               vks_json_bool(log, json, value, "strip_right", false, &step.right) &&
               (add_step(normaliser, &step) || vks_fail(log, "%s: " VKS_NO_MEMORY, json->path));
    }
    char quoted[60];
    return vks_fail(log, "%s: normalizer %s is not supported: use a model with another tokenizer", json->path,
                    vks_text_quote(type, strlen(type), quoted, sizeof(quoted)));
}

void vks_normaliser_finish(struct vks_normaliser *normaliser)
{
    for (size_t i = 0; i < normaliser->count; i++)
        vks_expression_finish(&normaliser->steps[i].pattern);
    free(normaliser->steps);
    vks_arena_finish(&normaliser->arena);
    *normaliser = (struct vks_normaliser){0};
}

// ---- steps

// A match that takes more than one character away takes the first one's place with it.
static bool replace(const struct vks_normal_step *step, struct vks_finder_data *data, const char *text,
                    size_t size, struct vks_text *out, bool *first)
{
    struct vks_finder finder = {.expression = &step->pattern, .data = data, .text = text, .size = size};
    size_t done = 0, begin, end;
    enum vks_found found;
    while ((found = vks_finder_next(&finder, &begin, &end)) == VKS_FOUND) {
        uint32_t code;
        if (!begin && end)
            *first = *first && *step->content && vks_utf8_decode(text, text + size, &code) == end;
        vks_text_add(out, text + done, begin - done);
        vks_text_add_str(out, step->content);
        done = end;
    }
    vks_text_add(out, text + done, size - done);
    return found == VKS_FOUND_NONE;
}

static void strip(const struct vks_normal_step *step, const char *text, size_t size, struct vks_text *out,
                  bool *first)
{
    const char *begin = text, *end = text + size;
    uint32_t code;
    for (size_t length; step->left && (length = vks_utf8_decode(begin, end, &code)) && vks_unicode_space(code);)
        begin += length;
    for (const char *back; step->right && end > begin; end = back) {
        back = vks_unicode_back(begin, end, &code);
        if (!vks_unicode_space(code))
            break;
    }
    *first = *first && begin == text;
    vks_text_add(out, begin, (size_t)(end - begin));
}

// The rules of SentencePiece's "nmt" for one character: gone, a space, or itself.
static void add_nmt(struct vks_text *out, uint32_t c, const char *bytes, size_t size)
{
    if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
        return;
    if (c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 ||
        c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
        vks_text_add_str(out, " ");
    else
        vks_text_add(out, bytes, size);
}

static void each_character(enum kind kind, const char *text, size_t size, struct vks_text *out, bool *first)
{
    for (size_t at = 0; at < size;) {
        uint32_t code = 0;
        const size_t found = vks_utf8_decode(text + at, text + size, &code), step = found ? found : 1;
        const size_t before = out->length;
        if (kind == LOWERCASE) {
            vks_unicode_add_lower(out, code);
        } else if (kind == NMT) {
            add_nmt(out, code, text + at, step);
        } else if (kind == STRIP_ACCENTS && !vks_unicode_mark(code)) {
            vks_text_add(out, text + at, step);
        } else if (kind == BYTE_LEVEL) {
            char bytes[4];
            for (size_t i = 0; i < step; i++)
                vks_text_add(out, bytes, vks_utf8_encode(vks_byte_character((unsigned char)text[at + i]), bytes));
        }
        if (at == 0 && out->length == before)
            *first = false;
        at += step;
    }
}

static bool apply(const struct vks_normal_step *step, struct vks_finder_data *data, const char *text,
                  size_t size, struct vks_text *out, bool *first)
{
    switch (step->kind) {
    case NORMAL_FORM:
        return vks_unicode_normalise(step->form, text, size, out);
    case REPLACE:
        return replace(step, data, text, size, out, first);
    case PREPEND:
        vks_text_add_str(out, size ? step->content : "");
        vks_text_add(out, text, size);
        return true;
    case STRIP:
        strip(step, text, size, out, first);
        return true;
    default:
        each_character(step->kind, text, size, out, first);
        return true;
    }
}

bool vks_normaliser_apply(const struct vks_normaliser *normaliser, struct vks_finder_data *data,
                          struct vks_text *text, struct vks_text *spare, bool *first)
{
    for (size_t i = 0; i < normaliser->count; i++) {
        spare->length = 0;
        if (!vks_text_add(spare, "", 0) ||
            !apply(&normaliser->steps[i], data, text->data ? text->data : "", text->length, spare, first) ||
            spare->failed)
            return false;
        const struct vks_text old = *text;
        *text = *spare;
        *spare = old;
    }
    return true;
}
