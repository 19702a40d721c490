#include "models/clip_bpe.h"

#include "base/hash.h"
#include "base/os.h"
#include "base/text.h"
#include "io/json.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TOKENS ((size_t)1 << 22)  // also bounds the ids
#define MAX_FILE ((size_t)64 << 20)

struct vks_clip_token {
    const char *text;  // NULL: free slot
    size_t size;
    int32_t id;
};

struct vks_clip_merge {
    int32_t left, right;  // left < 0: free slot
    int32_t rank, result;
};

// ---- tables

static size_t slots_for(size_t count)
{
    size_t slots = 64;
    while (slots < 2 * count)
        slots *= 2;
    return slots;
}

// The slot of a text, or the free one where it belongs.
static struct vks_clip_token *token_slot(const struct vks_clip_bpe *bpe, const char *text, size_t size)
{
    size_t at = (size_t)vks_hash64(text, size) & (bpe->token_slots - 1);
    while (bpe->tokens[at].text && (bpe->tokens[at].size != size || memcmp(bpe->tokens[at].text, text, size) != 0))
        at = (at + 1) & (bpe->token_slots - 1);
    return &bpe->tokens[at];
}

static struct vks_clip_merge *merge_slot(const struct vks_clip_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t mixed = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    mixed ^= mixed >> 29;
    size_t at = (size_t)mixed & (bpe->merge_slots - 1);
    while (bpe->merges[at].left >= 0 && (bpe->merges[at].left != left || bpe->merges[at].right != right))
        at = (at + 1) & (bpe->merge_slots - 1);
    return &bpe->merges[at];
}

int32_t vks_clip_bpe_find(const struct vks_clip_bpe *bpe, const char *text, size_t size)
{
    const struct vks_clip_token *token = token_slot(bpe, text, size);
    return token->text ? token->id : -1;
}

// Takes {"token": id, ...}.
static bool read_vocab(const struct vks_log *log, const char *path, const struct cJSON *vocab,
                       struct vks_clip_bpe *bpe)
{
    if (!cJSON_IsObject(vocab) || !vocab->child)
        return vks_fail(log, "%s: the vocabulary is not an object of ids; fetch the file again", path);
    const size_t count = (size_t)cJSON_GetArraySize(vocab);
    if (count > MAX_TOKENS)
        return vks_fail(log, "%s: the vocabulary is too large; fetch the file again", path);
    bpe->token_slots = slots_for(count);
    bpe->tokens = calloc(bpe->token_slots, sizeof(*bpe->tokens));
    if (!bpe->tokens)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    for (const struct cJSON *item = vocab->child; item; item = item->next) {
        const double id = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(id >= 0 && id < (double)MAX_TOKENS) || id != (double)(int32_t)id) {
            char quoted[80];
            return vks_fail(log, "%s: token \"%s\" has no proper id; fetch the file again", path,
                            vks_text_quote(item->string, strlen(item->string), quoted, sizeof(quoted)));
        }
        struct vks_clip_token *token = token_slot(bpe, item->string, strlen(item->string));
        if (!token->text) {
            token->size = strlen(item->string);
            token->text = vks_arena_strdup(&bpe->arena, item->string);
            if (!token->text)
                return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
            bpe->token_count++;
        }
        token->id = (int32_t)id;
        if (token->id >= bpe->size)
            bpe->size = token->id + 1;
    }
    return true;
}

// Byte to printable character: '!' to '~', U+00A1 to U+00AC and U+00AE to U+00FF stand for themselves, the others in
// order for U+0100 and up. The ids of all bytes, inside of a word and at its end.
static void map_bytes(struct vks_clip_bpe *bpe)
{
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        const bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        char text[8];
        const size_t size = vks_utf8_encode(itself ? byte : next++, text);
        bpe->bytes[0][byte] = vks_clip_bpe_find(bpe, text, size);
        memcpy(text + size, "</w>", 4);
        bpe->bytes[1][byte] = vks_clip_bpe_find(bpe, text, size + 4);
    }
}

static bool start_merges(const struct vks_log *log, const char *path, size_t count, struct vks_clip_bpe *bpe)
{
    if (count > MAX_TOKENS)
        return vks_fail(log, "%s: has too many merges; fetch the file again", path);
    bpe->merge_slots = slots_for(count);
    bpe->merges = malloc(bpe->merge_slots * sizeof(*bpe->merges));
    if (!bpe->merges)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    for (size_t i = 0; i < bpe->merge_slots; i++)
        bpe->merges[i].left = -1;
    return true;
}

// The merge of the next rank; `number` is where it stands, for messages. Of a pair given twice the last counts.
static bool add_merge(const struct vks_log *log, const char *path, size_t number, const char *left, size_t left_size,
                      const char *right, size_t right_size, struct vks_clip_bpe *bpe)
{
    char joined[1024];
    const bool fits = left_size + right_size <= sizeof(joined);
    int32_t ids[3] = {-1, -1, -1};
    if (fits) {
        memcpy(joined, left, left_size);
        memcpy(joined + left_size, right, right_size);
        ids[0] = vks_clip_bpe_find(bpe, left, left_size);
        ids[1] = vks_clip_bpe_find(bpe, right, right_size);
        ids[2] = vks_clip_bpe_find(bpe, joined, left_size + right_size);
    }
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
        return vks_fail(log, "%s: merge %llu names a token that the vocabulary lacks; fetch both files again", path,
                        (unsigned long long)number);
    *merge_slot(bpe, ids[0], ids[1]) = (struct vks_clip_merge){ids[0], ids[1], (int32_t)bpe->merge_count++, ids[2]};
    return true;
}

// "left right" a line, after "#version".
static bool parse_merges(const struct vks_log *log, const char *path, const char *text, size_t size,
                         struct vks_clip_bpe *bpe)
{
    size_t lines = 1, number = 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    if (!start_merges(log, path, lines, bpe))
        return false;
    const char *end = text + size;
    for (const char *at = text, *stop; at < end; at = stop + 1) {
        stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop)
            stop = end;
        size_t length = (size_t)(stop - at);
        if (length && at[length - 1] == '\r')
            length--;
        number++;
        if (!length || (length >= 8 && !memcmp(at, "#version", 8)))
            continue;
        const char *space = memchr(at, ' ', length);
        const size_t left = space ? (size_t)(space - at) : 0, right = space ? length - left - 1 : 0;
        if (!left || !right || memchr(space + 1, ' ', right))
            return vks_fail(log, "%s: line %llu: expected two tokens; fetch the file again", path,
                            (unsigned long long)number);
        if (!add_merge(log, path, number, at, left, space + 1, right, bpe))
            return false;
    }
    return true;
}

// ["left right", ...] or [["left", "right"], ...]
static bool parse_json_merges(const struct vks_log *log, const char *path, const struct cJSON *merges,
                              struct vks_clip_bpe *bpe)
{
    if (!cJSON_IsArray(merges))
        return vks_fail(log, "%s: model.merges is not an array; fetch the file again", path);
    if (!start_merges(log, path, (size_t)cJSON_GetArraySize(merges), bpe))
        return false;
    size_t number = 0;
    for (const struct cJSON *item = merges->child; item; item = item->next) {
        const char *left = NULL, *right = NULL;
        size_t left_size = 0;
        number++;
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
        if (!add_merge(log, path, number, left, left_size, right, strlen(right), bpe))
            return false;
    }
    return true;
}

bool vks_clip_bpe_read(const struct vks_log *log, const char *vocab, const char *merges, struct vks_clip_bpe *bpe)
{
    *bpe = (struct vks_clip_bpe){.unknown = -1};
    size_t size = 0;
    struct vks_json *json = vks_json_open(log, vocab);
    char *text = json ? vks_os_read_file(log, merges, MAX_FILE, &size) : NULL;
    bool done = json && text && read_vocab(log, vocab, json->root, bpe);
    if (done) {
        map_bytes(bpe);
        done = parse_merges(log, merges, text, size, bpe);
    }
    vks_json_close(&json);
    free(text);
    if (!done)
        vks_clip_bpe_finish(bpe);
    return done;
}

bool vks_clip_bpe_read_json(const struct vks_log *log, const char *path, struct vks_clip_bpe *bpe)
{
    *bpe = (struct vks_clip_bpe){.unknown = -1};
    struct vks_json *json = vks_json_open(log, path);
    const struct cJSON *model = NULL;
    bool done = json && vks_json_object(log, json, NULL, "model", &model);
    if (done) {
        done = read_vocab(log, path, vks_json_get(model, "vocab"), bpe);
        if (done)
            map_bytes(bpe);
        done = done && parse_json_merges(log, path, vks_json_get(model, "merges"), bpe);
    }
    vks_json_close(&json);
    if (!done)
        vks_clip_bpe_finish(bpe);
    return done;
}

void vks_clip_bpe_finish(struct vks_clip_bpe *bpe)
{
    free(bpe->tokens);
    free(bpe->merges);
    vks_arena_finish(&bpe->arena);
    *bpe = (struct vks_clip_bpe){.unknown = -1};
}

// ---- one word

struct vks_clip_symbol {
    int32_t id;  // -1: joined to the one before it
    size_t previous, next;  // NONE at the ends
};

// A pair that may be joined: the symbol at `at` and its next one.
struct vks_clip_candidate {
    int32_t rank, result;
    size_t at;
};

#define NONE SIZE_MAX

static bool before(const struct vks_clip_candidate *a, const struct vks_clip_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static bool push(struct vks_clip_work *work, struct vks_clip_candidate candidate)
{
    if (!vks_grow(&work->heap, &work->heap_capacity, work->heap_count, sizeof(*work->heap)))
        return false;
    size_t at = work->heap_count++;
    for (size_t up; at && before(&candidate, &work->heap[up = (at - 1) / 2]); at = up)
        work->heap[at] = work->heap[up];
    work->heap[at] = candidate;
    return true;
}

static struct vks_clip_candidate pop(struct vks_clip_work *work)
{
    const struct vks_clip_candidate top = work->heap[0], last = work->heap[--work->heap_count];
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

static const struct vks_clip_merge *merge_at(const struct vks_clip_bpe *bpe, const struct vks_clip_symbol *symbols,
                                             size_t at)
{
    if (at == NONE || symbols[at].id < 0 || symbols[at].next == NONE)
        return NULL;
    const struct vks_clip_merge *merge = merge_slot(bpe, symbols[at].id, symbols[symbols[at].next].id);
    return merge->left >= 0 ? merge : NULL;
}

static bool push_at(const struct vks_clip_bpe *bpe, struct vks_clip_work *work, size_t at)
{
    const struct vks_clip_merge *merge = merge_at(bpe, work->symbols, at);
    return !merge || push(work, (struct vks_clip_candidate){merge->rank, merge->result, at});
}

bool vks_clip_ids_add(struct vks_clip_ids *ids, int32_t id)
{
    if (!vks_grow(&ids->items, &ids->capacity, ids->count, sizeof(*ids->items)))
        return false;
    ids->items[ids->count++] = id;
    return true;
}

// Makes one symbol a byte; returns how many.
static size_t make_symbols(const struct vks_clip_bpe *bpe, const char *word, size_t size, struct vks_clip_work *work)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        const int32_t known = bpe->bytes[i + 1 == size][(unsigned char)word[i]];
        const int32_t id = known >= 0 ? known : bpe->unknown;
        if (id < 0)
            continue;
        work->symbols[count] = (struct vks_clip_symbol){id, count ? count - 1 : NONE, count + 1};
        count++;
    }
    if (count)
        work->symbols[count - 1].next = NONE;
    return count;
}

bool vks_clip_bpe_word(const struct vks_clip_bpe *bpe, const char *word, size_t size, struct vks_clip_work *work,
                       struct vks_clip_ids *ids)
{
    while (work->symbol_capacity < size) {
        if (!vks_grow(&work->symbols, &work->symbol_capacity, work->symbol_capacity, sizeof(*work->symbols)))
            return false;
    }
    const size_t count = make_symbols(bpe, word, size, work);
    struct vks_clip_symbol *symbols = work->symbols;
    work->heap_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!push_at(bpe, work, i))
            return false;
    }
    while (work->heap_count) {
        const struct vks_clip_candidate top = pop(work);
        const struct vks_clip_merge *merge = merge_at(bpe, symbols, top.at);
        if (!merge || merge->result != top.result)
            continue;  // one of the two has been joined elsewhere since
        const size_t gone = symbols[top.at].next;
        symbols[top.at].id = merge->result;
        symbols[top.at].next = symbols[gone].next;
        symbols[gone].id = -1;
        if (symbols[gone].next != NONE)
            symbols[symbols[gone].next].previous = top.at;
        if (!push_at(bpe, work, symbols[top.at].previous) || !push_at(bpe, work, top.at))
            return false;
    }
    for (size_t at = count ? 0 : NONE; at != NONE; at = symbols[at].next) {
        if (!vks_clip_ids_add(ids, symbols[at].id))
            return false;
    }
    return true;
}

void vks_clip_work_finish(struct vks_clip_work *work)
{
    free(work->symbols);
    free(work->heap);
    *work = (struct vks_clip_work){0};
}
