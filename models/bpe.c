#include "models/bpe.h"

#include "base/text.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vks_merge {
    int32_t left, right;  // left < 0: free slot
    int32_t rank, result;
};

// ---- the table

static struct vks_merge *merge_slot(const struct vks_merges *merges, int32_t left, int32_t right)
{
    uint64_t mixed = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    mixed ^= mixed >> 29;
    size_t at = (size_t)mixed & (merges->slot_count - 1);
    while (merges->slots[at].left >= 0 && (merges->slots[at].left != left || merges->slots[at].right != right))
        at = (at + 1) & (merges->slot_count - 1);
    return &merges->slots[at];
}

bool vks_merges_start(const struct vks_log *log, const char *path, size_t count, struct vks_merges *merges)
{
    if (count > VKS_MAX_TOKENS)
        return vks_fail(log, "%s: has too many merges; fetch the file again", path);
    merges->slot_count = 64;
    while (merges->slot_count < 2 * count)
        merges->slot_count *= 2;
    merges->slots = malloc(merges->slot_count * sizeof(*merges->slots));
    if (!merges->slots)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    for (size_t i = 0; i < merges->slot_count; i++)
        merges->slots[i].left = -1;
    return true;
}

// The id of two texts as one.
static int32_t find_joined(const struct vks_vocabulary *vocabulary, const char *left, size_t left_size,
                           const char *right, size_t right_size)
{
    char buffer[512], *joined = buffer;
    if (left_size + right_size > sizeof(buffer) && !(joined = malloc(left_size + right_size)))
        return -1;
    memcpy(joined, left, left_size);
    memcpy(joined + left_size, right, right_size);
    const int32_t id = vks_vocabulary_find(vocabulary, joined, left_size + right_size);
    if (joined != buffer)
        free(joined);
    return id;
}

bool vks_merges_add(const struct vks_log *log, const char *path, size_t number,
                    const struct vks_vocabulary *vocabulary, const char *left, size_t left_size, const char *right,
                    size_t right_size, size_t prefix, struct vks_merges *merges)
{
    const int32_t first = vks_vocabulary_find(vocabulary, left, left_size);
    const int32_t second = vks_vocabulary_find(vocabulary, right, right_size);
    int32_t result = -1;
    if (first >= 0 && second >= 0 && right_size >= prefix)
        result = find_joined(vocabulary, left, left_size, right + prefix, right_size - prefix);
    if (result < 0)
        return vks_fail(log, "%s: merge %llu names a token that the vocabulary lacks; fetch both files again", path,
                        (unsigned long long)number);
    *merge_slot(merges, first, second) = (struct vks_merge){first, second, (int32_t)merges->count++, result};
    return true;
}

bool vks_merges_read_json(const struct vks_log *log, const char *path, const struct vks_vocabulary *vocabulary,
                          const struct cJSON *json, size_t prefix, struct vks_merges *merges)
{
    if (!cJSON_IsArray(json))
        return vks_fail(log, "%s: model.merges is not an array; fetch the file again", path);
    if (!vks_merges_start(log, path, (size_t)cJSON_GetArraySize(json), merges))
        return false;
    size_t number = 0;
    for (const struct cJSON *item = json->child; item; item = item->next) {
        const char *left = NULL, *right = NULL;
        size_t left_size = 0;
        number++;
        if (cJSON_IsString(item) && !strncmp(item->valuestring, "#version", 8))
            continue;
        if (cJSON_IsString(item) && (right = strchr(item->valuestring, ' '))) {
            left = item->valuestring;
            left_size = (size_t)(right++ - left);
        } else if (cJSON_IsArray(item) && cJSON_IsString(item->child) && cJSON_IsString(item->child->next)) {
            left = item->child->valuestring;
            right = item->child->next->valuestring;
            left_size = strlen(left);
        }
        if (!left || !right)
            return vks_fail(log, "%s: merge %llu is not a pair of tokens; fetch the file again", path,
                            (unsigned long long)number);
        if (!vks_merges_add(log, path, number, vocabulary, left, left_size, right, strlen(right), prefix, merges))
            return false;
    }
    return true;
}

void vks_merges_finish(struct vks_merges *merges)
{
    free(merges->slots);
    *merges = (struct vks_merges){0};
}

// ---- joining

// A pair that may be joined: the symbol at `at` and its next one.
struct vks_candidate {
    int32_t rank, result;
    uint32_t at;
};

#define NONE UINT32_MAX

static bool before(const struct vks_candidate *a, const struct vks_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static bool push(struct vks_bpe_work *work, struct vks_candidate candidate)
{
    if (!vks_grow(&work->heap, &work->heap_capacity, work->heap_count, sizeof(*work->heap)))
        return false;
    size_t at = work->heap_count++;
    for (size_t up; at && before(&candidate, &work->heap[up = (at - 1) / 2]); at = up)
        work->heap[at] = work->heap[up];
    work->heap[at] = candidate;
    return true;
}

static struct vks_candidate pop(struct vks_bpe_work *work)
{
    const struct vks_candidate top = work->heap[0], last = work->heap[--work->heap_count];
    size_t at = 0;
    for (size_t down; (down = 2 * at + 1) < work->heap_count; at = down) {
        if (down + 1 < work->heap_count && before(&work->heap[down + 1], &work->heap[down]))
            down++;
        if (!before(&work->heap[down], &last))
            break;
        work->heap[at] = work->heap[down];
    }
    work->heap[at] = last;
    return top;
}

bool vks_bpe_add_symbol(struct vks_bpe_work *work, int32_t id, size_t at, size_t size)
{
    const size_t count = work->count;
    if (!vks_grow(&work->symbols, &work->capacity, count, sizeof(*work->symbols)))
        return false;
    work->symbols[count] = (struct vks_symbol){id, (uint32_t)at, (uint32_t)size, count ? (uint32_t)count - 1 : NONE,
                                               NONE};
    if (count)
        work->symbols[count - 1].next = (uint32_t)count;
    work->count++;
    return true;
}

void vks_bpe_work_finish(struct vks_bpe_work *work)
{
    free(work->symbols);
    free(work->heap);
    *work = (struct vks_bpe_work){0};
}

// Whether the symbol at `at` and its next one may be joined.
static bool candidate_at(const struct vks_bpe_rule *rule, const char *word, const struct vks_symbol *symbols,
                         uint32_t at, struct vks_candidate *out)
{
    if (at == NONE || !symbols[at].size || symbols[at].next == NONE)
        return false;
    const struct vks_symbol *left = &symbols[at], *right = &symbols[left->next];
    if (rule->ranks) {
        const int32_t id = vks_vocabulary_find(rule->vocabulary, word + left->at, (size_t)left->size + right->size);
        if (id < 0 || rule->ranks[id] < 0)
            return false;
        *out = (struct vks_candidate){rule->ranks[id], id, at};
        return true;
    }
    const struct vks_merge *merge = merge_slot(rule->merges, left->id, right->id);
    if (merge->left < 0)
        return false;
    *out = (struct vks_candidate){merge->rank, merge->result, at};
    return true;
}

bool vks_bpe_join(const struct vks_bpe_rule *rule, const char *word, struct vks_bpe_work *work)
{
    struct vks_symbol *symbols = work->symbols;
    struct vks_candidate pair;
    work->heap_count = 0;
    for (uint32_t i = 0; i + 1 < work->count; i++) {
        if (candidate_at(rule, word, symbols, i, &pair) && !push(work, pair))
            return false;
    }
    while (work->heap_count) {
        const struct vks_candidate top = pop(work);
        if (!candidate_at(rule, word, symbols, top.at, &pair) || pair.result != top.result)
            continue;  // one of the two has been joined elsewhere since
        struct vks_symbol *left = &symbols[top.at], *gone = &symbols[left->next];
        left->id = top.result;
        left->size += gone->size;
        left->next = gone->next;
        gone->size = 0;
        if (left->next != NONE)
            symbols[left->next].previous = top.at;
        if (candidate_at(rule, word, symbols, left->previous, &pair) && !push(work, pair))
            return false;
        if (candidate_at(rule, word, symbols, top.at, &pair) && !push(work, pair))
            return false;
    }
    return true;
}

// ---- a word

void vks_bpe_find_bytes(struct vks_bpe *bpe)
{
    for (unsigned i = 0; i < 256; i++) {
        char text[8];
        snprintf(text, sizeof(text), "<0x%02X>", i);
        bpe->bytes[i] = vks_vocabulary_find(bpe->vocabulary, text, 6);
    }
}

void vks_bpe_finish(struct vks_bpe *bpe)
{
    vks_merges_finish(&bpe->merges);
    free(bpe->ranks);
    *bpe = (struct vks_bpe){.unknown = -1};
}

static bool have_bytes(const struct vks_bpe *bpe, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bpe->bytes[(unsigned char)text[i]] < 0)
            return false;
    }
    return bpe->byte_fallback;
}

// The text of one character of a word with what goes before and behind it; `scratch` holds it when it is not plain.
static bool decorate(const struct vks_bpe *bpe, bool first, bool last, const char **text, size_t *size,
                     struct vks_text *scratch)
{
    const bool before_it = !first && *bpe->prefix, behind_it = last && *bpe->suffix;
    if (!before_it && !behind_it)
        return true;
    scratch->length = 0;
    vks_text_add_str(scratch, before_it ? bpe->prefix : "");
    vks_text_add(scratch, *text, *size);
    vks_text_add_str(scratch, behind_it ? bpe->suffix : "");
    *text = scratch->data;
    *size = scratch->length;
    return !scratch->failed;
}

// An unknown character that is waiting: it goes in front of the next known one, as the original has it.
struct waiting {
    size_t at, size;  // size 0: none
};

static bool flush(const struct vks_bpe *bpe, struct vks_bpe_work *work, struct waiting *unknown)
{
    const bool done = !unknown->size || vks_bpe_add_symbol(work, bpe->unknown, unknown->at, unknown->size);
    unknown->size = 0;
    return done;
}

// The symbol or symbols of the character at `at`, `step` bytes of the word, which reads `text`.
static bool add_character(const struct vks_bpe *bpe, const char *text, size_t size, size_t at, size_t step,
                          struct vks_bpe_work *work, struct waiting *unknown)
{
    const int32_t id = vks_vocabulary_find(bpe->vocabulary, text, size);
    if (id >= 0)
        return flush(bpe, work, unknown) && vks_bpe_add_symbol(work, id, at, step);
    if (have_bytes(bpe, text, size)) {
        for (size_t i = 0; i < size; i++) {
            if (!vks_bpe_add_symbol(work, bpe->bytes[(unsigned char)text[i]], at, 1))
                return false;
        }
        return true;
    }
    if (bpe->unknown < 0)
        return true;
    if (unknown->size && bpe->fuse_unknown) {
        unknown->size += step;
        return true;
    }
    const bool done = flush(bpe, work, unknown);
    *unknown = (struct waiting){at, step};
    return done;
}

static bool make_symbols(const struct vks_bpe *bpe, const char *word, size_t size, struct vks_bpe_work *work)
{
    struct vks_text scratch = {0};
    struct waiting unknown = {0, 0};
    bool done = true;
    for (size_t at = 0; at < size && done;) {
        uint32_t code;
        const size_t found = vks_utf8_decode(word + at, word + size, &code), step = found ? found : 1;
        const char *text = word + at;
        size_t length = step;
        done = decorate(bpe, at == 0, at + step == size, &text, &length, &scratch) &&
               add_character(bpe, text, length, at, step, work, &unknown);
        at += step;
    }
    vks_text_finish(&scratch);
    return done && flush(bpe, work, &unknown);
}

// Merges by score: what is no token in the end becomes its bytes, or the unknown token.
static bool encode_by_score(const struct vks_bpe *bpe, const char *word, size_t size, struct vks_bpe_work *work,
                            struct vks_ids *ids)
{
    for (size_t at = 0; at < size;) {
        uint32_t code;
        const size_t found = vks_utf8_decode(word + at, word + size, &code), step = found ? found : 1;
        if (!vks_bpe_add_symbol(work, vks_vocabulary_find(bpe->vocabulary, word + at, step), at, step))
            return false;
        at += step;
    }
    if (!vks_bpe_join(&(struct vks_bpe_rule){NULL, bpe->vocabulary, bpe->ranks}, word, work))
        return false;
    for (size_t i = 0; i < work->count; i++) {
        const struct vks_symbol *symbol = &work->symbols[i];
        bool done = true;
        if (symbol->size && symbol->id >= 0) {
            done = vks_ids_add(ids, symbol->id);
        } else if (symbol->size && have_bytes(bpe, word + symbol->at, symbol->size)) {
            for (size_t k = 0; k < symbol->size && done; k++)
                done = vks_ids_add(ids, bpe->bytes[(unsigned char)word[symbol->at + k]]);
        } else if (symbol->size && bpe->unknown >= 0) {
            done = vks_ids_add(ids, bpe->unknown);
        }
        if (!done)
            return false;
    }
    return true;
}

bool vks_bpe_encode(const struct vks_bpe *bpe, const char *word, size_t size, struct vks_bpe_work *work,
                    struct vks_ids *ids)
{
    if (size > VKS_BPE_MAX_TEXT)
        return false;
    work->count = 0;
    if (bpe->ranks)
        return encode_by_score(bpe, word, size, work, ids);
    const int32_t whole = bpe->ignore_merges ? vks_vocabulary_find(bpe->vocabulary, word, size) : -1;
    if (whole >= 0)
        return vks_ids_add(ids, whole);
    if (!make_symbols(bpe, word, size, work) ||
        !vks_bpe_join(&(struct vks_bpe_rule){&bpe->merges, NULL, NULL}, word, work))
        return false;
    for (size_t i = 0; i < work->count; i++) {
        if (work->symbols[i].size && !vks_ids_add(ids, work->symbols[i].id))
            return false;
    }
    return true;
}
