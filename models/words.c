#include "models/words.h"

#include "base/arena.h"
#include "base/hash.h"
#include "base/os.h"
#include "models/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LIST ((size_t)16 << 20)  // bytes of a list

static bool is_apostrophe(uint32_t c)
{
    return c == '\'' || c == 0x2019;
}

// Folded and in normal form C, in which words are found.
static bool fold(const char *text, size_t size, struct vks_text *out)
{
    struct vks_text folded = {0};
    uint32_t c;
    bool ok = true;
    for (const char *at = text, *end = text + size; at < end && ok;) {
        const size_t step = vks_utf8_decode(at, end, &c);
        ok = step ? vks_unicode_add_folded(&folded, c) : vks_text_add(&folded, " ", 1);
        at += step ? step : 1;
    }
    ok = ok && (!folded.length || vks_unicode_normalise(VKS_NFC, folded.data, folded.length, out));
    vks_text_finish(&folded);
    return ok;
}

static bool end_word(struct vks_words *words)
{
    if (!vks_grow(&words->ends, &words->capacity, words->count, sizeof(*words->ends)))
        return false;
    words->ends[words->count++] = words->text.length;
    return true;
}

bool vks_words_add(struct vks_words *words, const char *text, size_t size)
{
    struct vks_text folded = {0};
    bool ok = fold(text, size, &folded), inside = false;
    const char *at = folded.length ? folded.data : "", *end = at + folded.length;
    while (ok && at < end) {
        uint32_t c = 0, next = 0;
        const size_t step = vks_utf8_decode(at, end, &c);
        const bool quote = inside && is_apostrophe(c);
        if (quote && at + step < end)
            vks_utf8_decode(at + step, end, &next);
        if (vks_unicode_word(c) || (quote && vks_unicode_word(next))) {
            if (!inside && words->count)
                ok = vks_text_add(&words->text, " ", 1);
            ok = ok && (quote ? vks_text_add(&words->text, "'", 1) : vks_text_add(&words->text, at, step));
            inside = true;
        } else if (inside) {
            ok = end_word(words);
            inside = false;
        }
        at += step ? step : 1;
    }
    ok = ok && (!inside || end_word(words));
    vks_text_finish(&folded);
    return ok;
}

void vks_words_finish(struct vks_words *words)
{
    vks_text_finish(&words->text);
    free(words->ends);
    *words = (struct vks_words){0};
}

static size_t begin_of(const struct vks_words *words, size_t i)
{
    return i ? words->ends[i - 1] + 1 : 0;
}

// ---- lists

struct entry {
    const char *text;  // words with a space between
    size_t size;
};

struct vks_word_list {
    struct vks_arena arena;
    struct entry *entries;  // sorted
    size_t count, capacity;
    size_t most;            // words of an entry
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    const int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static bool add_entry(struct vks_word_list *list, const char *line, size_t size)
{
    struct vks_words words = {0};
    bool ok = vks_words_add(&words, line, size);
    if (ok && words.count) {
        char *copy = vks_arena_alloc(&list->arena, words.text.length);
        ok = copy && vks_grow(&list->entries, &list->capacity, list->count, sizeof(*list->entries));
        if (ok) {
            memcpy(copy, words.text.data, words.text.length);
            list->entries[list->count++] = (struct entry){copy, words.text.length};
            list->most = words.count > list->most ? words.count : list->most;
        }
    }
    vks_words_finish(&words);
    return ok;
}

struct vks_word_list *vks_word_list_open(const struct vks_log *log, const char *path)
{
    size_t size;
    char *text = vks_os_read_file(log, path, MAX_LIST, &size);
    if (!text)
        return NULL;
    struct vks_word_list *list = calloc(1, sizeof(*list));
    bool ok = list || vks_fail(log, VKS_NO_MEMORY);
    if (ok && vks_utf8_check(text, size) != size)
        ok = vks_fail(log, "%s is not UTF-8: save the list of words as UTF-8 text", path);
    for (size_t at = 0; at < size && ok;) {
        const char *end = memchr(text + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - text) - at : size - at;
        ok = add_entry(list, text + at, length) || vks_fail(log, VKS_NO_MEMORY);
        at += length + 1;
    }
    if (ok && !list->count)
        ok = vks_fail(log, "%s holds no words: write one a line", path);
    if (ok)
        qsort(list->entries, list->count, sizeof(*list->entries), compare_entries);
    free(text);
    if (!ok)
        vks_word_list_close(&list);
    return list;
}

void vks_word_list_close(struct vks_word_list **address)
{
    struct vks_word_list *list = *address;
    if (!list)
        return;
    vks_arena_finish(&list->arena);
    free(list->entries);
    free(list);
    *address = NULL;
}

size_t vks_word_list_count(const struct vks_word_list *list, const struct vks_words *words)
{
    size_t found = 0;
    for (size_t i = 0; i < words->count;) {
        size_t length = words->count - i < list->most ? words->count - i : list->most;
        for (; length; length--) {
            const size_t from = begin_of(words, i);
            const struct entry key = {words->text.data + from, words->ends[i + length - 1] - from};
            if (bsearch(&key, list->entries, list->count, sizeof(key), compare_entries))
                break;
        }
        found += length > 0;
        i += length ? length : 1;
    }
    return found;
}

// ---- pairs

bool vks_word_pairs_add(struct vks_word_pairs *pairs, const struct vks_words *words)
{
    for (size_t i = 0; i + 1 < words->count; i++) {
        struct vks_hash hash;
        const size_t from = begin_of(words, i);
        if (!vks_grow(&pairs->hashes, &pairs->capacity, pairs->count, sizeof(*pairs->hashes)))
            return false;
        vks_hash_init(&hash, 0);
        vks_hash_add(&hash, words->text.data + from, words->ends[i + 1] - from);
        pairs->hashes[pairs->count++] = vks_hash_value(&hash);
    }
    return true;
}

static int compare_hashes(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

double vks_word_pairs_distinct(struct vks_word_pairs *pairs)
{
    size_t distinct = pairs->count > 0;
    if (pairs->count)
        qsort(pairs->hashes, pairs->count, sizeof(*pairs->hashes), compare_hashes);
    for (size_t i = 1; i < pairs->count; i++)
        distinct += pairs->hashes[i] != pairs->hashes[i - 1];
    return pairs->count ? (double)distinct / (double)pairs->count : NAN;
}

void vks_word_pairs_finish(struct vks_word_pairs *pairs)
{
    free(pairs->hashes);
    *pairs = (struct vks_word_pairs){0};
}
