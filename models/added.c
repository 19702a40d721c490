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
    free(added->index[0].sorted);
    free(added->index[1].sorted);
    vks_vocabulary_finish(&added->positions);
    vks_arena_finish(&added->arena);
    *added = (struct vks_added){0};
}

// ---- searching

// By the bytes of the pattern, then by place.
static int compare(const void *a, const void *b)
{
    const struct vks_added_token *x = *(const struct vks_added_token *const *)a;
    const struct vks_added_token *y = *(const struct vks_added_token *const *)b;
    const size_t shorter = x->pattern_size < y->pattern_size ? x->pattern_size : y->pattern_size;
    const int order = memcmp(x->pattern, y->pattern, shorter);
    if (order)
        return order;
    if (x->pattern_size != y->pattern_size)
        return x->pattern_size < y->pattern_size ? -1 : 1;
    return x < y ? -1 : x > y;
}

static bool same_pattern(const struct vks_added_token *x, const struct vks_added_token *y)
{
    return x->pattern_size == y->pattern_size && !memcmp(x->pattern, y->pattern, x->pattern_size);
}

bool vks_added_finish_index(struct vks_added *added)
{
    for (int which = 0; which < 2; which++) {
        struct vks_added_index *index = &added->index[which];
        free(index->sorted);
        *index = (struct vks_added_index){.sorted = malloc((added->count + 1) * sizeof(const void *))};
        if (!index->sorted)
            return false;
        for (size_t i = 0; i < added->count; i++) {
            if (added->items[i].normalised == which && added->items[i].pattern_size)
                index->sorted[index->count++] = &added->items[i];
        }
        qsort(index->sorted, index->count, sizeof(const void *), compare);
        size_t kept = 0;
        for (size_t i = 0; i < index->count; i++) {  // of equal patterns the first
            if (!kept || !same_pattern(index->sorted[kept - 1], index->sorted[i]))
                index->sorted[kept++] = index->sorted[i];
        }
        index->count = kept;
        for (size_t i = 0, byte = 0; byte <= 256; byte++) {
            while (i < kept && (unsigned char)*index->sorted[i]->pattern < byte)
                i++;
            index->first[byte] = i;
        }
    }
    return true;
}

// The first of sorted[low, high), which agree before `depth` and are longer, whose byte there is `byte` or more.
static size_t lower_bound(const struct vks_added_index *index, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if ((unsigned char)index->sorted[middle]->pattern[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// The longest token at `at`, or NULL.
static const struct vks_added_token *token_at(const struct vks_added_index *index, const char *at, const char *end)
{
    const struct vks_added_token *best = NULL;
    const unsigned char *bytes = (const unsigned char *)at;
    const size_t left = (size_t)(end - at);
    size_t low = index->first[*bytes], high = index->first[*bytes + 1];
    for (size_t depth = 1; low < high; depth++) {
        if (index->sorted[low]->pattern_size == depth)
            best = index->sorted[low++];
        if (low == high || depth == left)
            break;
        low = lower_bound(index, low, high, depth, bytes[depth]);
        high = lower_bound(index, low, high, depth, bytes[depth] + 1u);
    }
    return best;
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
    const struct vks_added_index *index = &added->index[which];
    const char *end = text + size, *open = text;  // from `open` on, nothing was handed out yet
    for (const char *at = text; at < end && index->count;) {
        const struct vks_added_token *found = token_at(index, at, end);
        if (!found) {
            at++;
            continue;
        }
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
