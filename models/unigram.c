#include "models/unigram.h"

#include "base/text.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0  // below the lowest score
#define NONE UINT32_MAX
#define MAX_TOKEN 4096  // bytes; a text is searched for tokens at every place

// The best path to a place in the text: its last token and where that begins.
struct vks_unigram_node {
    double score;
    uint32_t from;  // NONE: no path
    int32_t id;
};

// ---- reading

static bool read_scores(const struct vks_log *log, const struct vks_json *json, const struct cJSON *list,
                        struct vks_vocabulary *vocabulary, struct vks_unigram *unigram)
{
    const size_t count = (size_t)cJSON_GetArraySize(list);
    double lowest = INFINITY;
    unigram->scores = malloc((count + 1) * sizeof(*unigram->scores));
    if (!unigram->scores)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, json->path);
    size_t id = 0;
    for (const struct cJSON *item = list->child; item; item = item->next, id++) {
        const struct cJSON *text = cJSON_IsArray(item) ? item->child : NULL, *score = text ? text->next : NULL;
        if (!cJSON_IsString(text) || !cJSON_IsNumber(score))
            return vks_fail(log, "%s: token %llu is not a text and a score; fetch the file again", json->path,
                            (unsigned long long)id);
        if (strlen(text->valuestring) > MAX_TOKEN)
            return vks_fail(log, "%s: token %llu is longer than %d bytes; fetch the file again", json->path,
                            (unsigned long long)id, MAX_TOKEN);
        if (!vks_vocabulary_add(log, json->path, vocabulary, text->valuestring, strlen(text->valuestring),
                                (double)id))
            return false;
        unigram->scores[id] = score->valuedouble;
        if (score->valuedouble < lowest)
            lowest = score->valuedouble;
    }
    unigram->unknown_score = lowest - UNKNOWN_PENALTY;
    return true;
}

static bool build(struct vks_unigram *unigram)
{
    const struct vks_vocabulary *vocabulary = unigram->vocabulary;
    struct vks_prefix *list = malloc((vocabulary->count + 1) * sizeof(*list));
    size_t count = 0;
    if (!list)
        return false;
    for (size_t i = 0; i < vocabulary->count; i++) {
        const struct vks_token *token = &vocabulary->items[i];
        if (token->size)
            list[count++] = (struct vks_prefix){token->text, token->size, token->id};
    }
    vks_prefixes_build(list, count, &unigram->prefixes);
    for (unsigned i = 0; i < 256; i++) {
        char text[8];
        snprintf(text, sizeof(text), "<0x%02X>", i);
        unigram->bytes[i] = vks_vocabulary_find(vocabulary, text, 6);
    }
    return true;
}

bool vks_unigram_read(const struct vks_log *log, const struct vks_json *json, const struct cJSON *model,
                      struct vks_vocabulary *vocabulary, struct vks_unigram *unigram)
{
    const struct cJSON *list = NULL;
    int64_t unknown;
    *unigram = (struct vks_unigram){.vocabulary = vocabulary};
    if (!vks_json_array(log, json, model, "vocab", &list))
        return false;
    const int64_t count = list ? cJSON_GetArraySize(list) : 0;
    if (!count || count > (int64_t)VKS_MAX_TOKENS)
        return vks_fail(log, "%s: the vocabulary has no tokens, or too many; fetch the file again", json->path);
    if (!vks_json_int(log, json, model, "unk_id", -1, 0, count - 1, &unknown) ||
        !vks_json_bool(log, json, model, "byte_fallback", false, &unigram->byte_fallback))
        return false;
    unigram->unknown = (int32_t)unknown;
    return read_scores(log, json, list, vocabulary, unigram) &&
           (build(unigram) || vks_fail(log, "%s: " VKS_NO_MEMORY, json->path));
}

void vks_unigram_finish(struct vks_unigram *unigram)
{
    vks_prefixes_finish(&unigram->prefixes);
    free(unigram->scores);
    *unigram = (struct vks_unigram){0};
}

// ---- encoding

static void improve(struct vks_unigram_node *node, double score, size_t from, int32_t id)
{
    if (node->from == NONE || score > node->score)
        *node = (struct vks_unigram_node){score, (uint32_t)from, id};
}

// Fills nodes[0, size] with the best paths. False: a character has no token and there is no unknown one.
static bool find_paths(const struct vks_unigram *unigram, const char *text, size_t size,
                       struct vks_unigram_node *nodes)
{
    for (size_t i = 0; i <= size; i++)
        nodes[i] = (struct vks_unigram_node){0, NONE, -1};
    for (size_t at = 0; at < size;) {
        uint32_t code;
        const size_t found = vks_utf8_decode(text + at, text + size, &code), step = found ? found : 1;
        const double here = nodes[at].score;
        bool single = false;
        struct vks_prefix_walk walk = {0};
        for (const struct vks_prefix *next;
             (next = vks_prefixes_next(&unigram->prefixes, text + at, size - at, &walk));) {
            improve(&nodes[at + next->size], unigram->scores[next->value] + here, at, next->value);
            single = single || next->size == step;
        }
        if (!single) {
            const double score = unigram->unknown_score + here;
            if ((nodes[at + step].from == NONE || score > nodes[at + step].score) && unigram->unknown < 0)
                return false;
            improve(&nodes[at + step], score, at, unigram->unknown);
        }
        at += step;
    }
    return true;
}

// The token of text[0, size) on the best path, or its bytes, or the unknown token.
static bool add_token(const struct vks_unigram *unigram, const char *text, size_t size, struct vks_ids *ids)
{
    const int32_t id = vks_vocabulary_find(unigram->vocabulary, text, size);
    bool bytes = id < 0 && unigram->byte_fallback;
    for (size_t i = 0; i < size && bytes; i++)
        bytes = unigram->bytes[(unsigned char)text[i]] >= 0;
    if (!bytes)
        return vks_ids_add(ids, id >= 0 ? id : unigram->unknown);
    for (size_t i = 0; i < size; i++) {
        if (!vks_ids_add(ids, unigram->bytes[(unsigned char)text[i]]))
            return false;
    }
    return true;
}

// Turns the path around: nodes[0].from becomes the end of the first token, and so on to `size`.
static void turn(struct vks_unigram_node *nodes, size_t size)
{
    uint32_t to = NONE;
    int32_t id = -1;
    for (uint32_t at = (uint32_t)size;;) {
        const struct vks_unigram_node node = nodes[at];
        nodes[at].from = to;
        nodes[at].id = id;
        if (!at)
            break;
        to = at;
        id = node.id;
        at = node.from;
    }
}

bool vks_unigram_encode(const struct vks_log *log, const struct vks_unigram *unigram, const char *text, size_t size,
                        struct vks_unigram_work *work, struct vks_ids *ids)
{
    if (size >= NONE)
        return vks_fail(log, "a text of %llu bytes is too long; shorten it", (unsigned long long)size);
    if (work->capacity < size + 1) {
        free(work->nodes);
        work->capacity = 0;
        work->nodes = malloc((size + 1) * sizeof(*work->nodes));
        if (!work->nodes)
            return vks_fail(log, VKS_NO_MEMORY);
        work->capacity = size + 1;
    }
    if (!find_paths(unigram, text, size, work->nodes))
        return vks_fail(log, "a text has a character that is in no token, and the tokenizer has no unknown token; "
                             "use another text");
    turn(work->nodes, size);
    for (size_t at = 0; at < size;) {
        size_t to = work->nodes[at].from;
        // Neighbouring unknown characters are one token.
        if (work->nodes[at].id == unigram->unknown) {
            while (to < size && work->nodes[to].id == unigram->unknown)
                to = work->nodes[to].from;
        }
        if (!add_token(unigram, text + at, to - at, ids))
            return vks_fail(log, VKS_NO_MEMORY);
        at = to;
    }
    return true;
}
