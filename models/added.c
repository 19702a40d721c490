#include "models/added.h"

#include "base/text.h"
#include "models/unicode.h"

#include <stdlib.h>
#include <string.h>

// ---- the list

static const char *copy(struct vks_arena *arena, const char *text, size_t size)
{
    char *made = vks_arena_alloc(arena, size + 1);
    if (made && size)
        memcpy(made, text, size);
    return made;
}

struct vks_added_token *vks_added_find(const struct vks_added *added, const char *text, size_t size)
{
    const int32_t at = vks_vocabulary_find(&added->positions, text, size);
    return at >= 0 ? &added->items[at] : NULL;
}

bool vks_added_put(struct vks_added *added, const struct vks_added_token *token)
{
    const struct vks_added_token *old = vks_added_find(added, token->text, token->text_size);
    const size_t at = old ? (size_t)(old - added->items) : added->count;
    struct vks_added_token mine = *token;
    mine.text = copy(&added->arena, token->text, token->text_size);
    mine.pattern = copy(&added->arena, token->pattern, token->pattern_size);
    if (!mine.text || !mine.pattern || !vks_grow(&added->items, &added->capacity, at, sizeof(*added->items)) ||
        (!old && !vks_vocabulary_add(NULL, "", &added->positions, token->text, token->text_size, (double)at)))
        return false;
    added->items[at] = mine;
    added->count += !old;
    return true;
}

void vks_added_finish(struct vks_added *added)
{
    free(added->items);
    vks_prefixes_finish(&added->patterns[0]);
    vks_prefixes_finish(&added->patterns[1]);
    vks_vocabulary_finish(&added->positions);
    vks_arena_finish(&added->arena);
    *added = (struct vks_added){0};
}

// ---- searching

bool vks_added_index(struct vks_added *added)
{
    for (int which = 0; which < 2; which++) {
        struct vks_prefix *list = malloc((added->count + 1) * sizeof(*list));
        size_t count = 0;
        if (!list)
            return false;
        for (size_t i = 0; i < added->count; i++) {
            const struct vks_added_token *token = &added->items[i];
            if (token->normalised == which && token->pattern_size)
                list[count++] = (struct vks_prefix){token->pattern, token->pattern_size, (int32_t)i};
        }
        vks_prefixes_finish(&added->patterns[which]);
        vks_prefixes_build(list, count, &added->patterns[which]);
    }
    return true;
}

static bool stands_alone(const char *text, const char *end, const char *from, const char *to)
{
    uint32_t code;
    if (from > text) {
        vks_unicode_back(text, from, &code);
        if (vks_unicode_word(code))
            return false;
    }
    return !vks_utf8_decode(to, end, &code) || !vks_unicode_word(code);
}

bool vks_added_split(const struct vks_added *added, enum vks_added_which which, bool literal, const char *text,
                     size_t size, bool (*emit)(void *priv, int32_t id, const char *text, size_t size), void *priv)
{
    const struct vks_prefixes *patterns = &added->patterns[which];
    const char *end = text + size, *open = text;  // from `open` on, nothing was handed out yet
    for (const char *at = text; at < end && patterns->count;) {
        const struct vks_prefix *longest = NULL;
        struct vks_prefix_walk walk = {0};
        for (const struct vks_prefix *next; (next = vks_prefixes_next(patterns, at, (size_t)(end - at), &walk));)
            longest = next;
        if (!longest) {
            at++;
            continue;
        }
        const struct vks_added_token *found = &added->items[longest->value];
        const char *from = at, *to = at + found->pattern_size;
        uint32_t code;
        at = to;
        if ((literal && found->special) || (found->single_word && !stands_alone(text, end, from, to)))
            continue;
        for (const char *back; found->lstrip && from > open; from = back) {
            back = vks_unicode_back(open, from, &code);
            if (!vks_unicode_space(code))
                break;
        }
        for (size_t step; found->rstrip && (step = vks_utf8_decode(to, end, &code)) && vks_unicode_space(code);)
            to += step;
        if (from > open && !emit(priv, -1, open, (size_t)(from - open)))
            return false;
        if (!emit(priv, found->id, from, (size_t)(to - from)))
            return false;
        open = to;
    }
    return open == end || emit(priv, -1, open, (size_t)(end - open));
}
