#include "models/vocabulary.h"

#include "base/hash.h"
#include "base/text.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

bool vks_ids_add(struct vks_ids *ids, int32_t id)
{
    if (!vks_grow(&ids->items, &ids->capacity, ids->count, sizeof(*ids->items)))
        return false;
    ids->items[ids->count++] = id;
    return true;
}

// The slot of a text, or the free one where it belongs.
static struct vks_token *slot(const struct vks_vocabulary *vocabulary, const char *text, size_t size)
{
    size_t at = (size_t)vks_hash64(text, size) & (vocabulary->slot_count - 1);
    while (vocabulary->slots[at].text &&
           (vocabulary->slots[at].size != size || memcmp(vocabulary->slots[at].text, text, size) != 0))
        at = (at + 1) & (vocabulary->slot_count - 1);
    return &vocabulary->slots[at];
}

static bool make_room(struct vks_vocabulary *vocabulary)
{
    if (vocabulary->slot_count && 2 * (vocabulary->count + 1) <= vocabulary->slot_count)
        return true;
    const size_t count = vocabulary->slot_count;
    struct vks_token *old = vocabulary->slots;
    struct vks_token *slots = calloc(count ? 4 * count : 64, sizeof(*slots));
    if (!slots)
        return false;
    vocabulary->slots = slots;
    vocabulary->slot_count = count ? 4 * count : 64;
    for (size_t i = 0; i < count; i++) {
        if (old[i].text)
            *slot(vocabulary, old[i].text, old[i].size) = old[i];
    }
    free(old);
    return true;
}

static bool reach(struct vks_vocabulary *vocabulary, int32_t id)
{
    const size_t needed = (size_t)id + 1;
    if (needed > vocabulary->capacity) {
        const size_t capacity = needed + needed / 2 + 64;
        struct vks_token *grown = realloc(vocabulary->by_id, capacity * sizeof(*grown));
        if (!grown)
            return false;
        memset(grown + vocabulary->capacity, 0, (capacity - vocabulary->capacity) * sizeof(*grown));
        vocabulary->by_id = grown;
        vocabulary->capacity = capacity;
    }
    if (id >= vocabulary->size)
        vocabulary->size = id + 1;
    return true;
}

bool vks_vocabulary_add(const struct vks_log *log, const char *path, struct vks_vocabulary *vocabulary,
                        const char *text, size_t size, double id)
{
    if (!(id >= 0 && id < (double)VKS_MAX_TOKENS) || id != (double)(int32_t)id) {
        char quoted[80];
        return vks_fail(log, "%s: token \"%s\" has no proper id; fetch the file again", path,
                        vks_text_quote(text, size, quoted, sizeof(quoted)));
    }
    if (!make_room(vocabulary) || !reach(vocabulary, (int32_t)id))
        return vks_fail(log, "%s: out of memory", path);
    struct vks_token *token = slot(vocabulary, text, size);
    if (!token->text) {
        char *copy = vks_arena_alloc(&vocabulary->arena, size + 1);
        if (!copy)
            return vks_fail(log, "%s: out of memory", path);
        memcpy(copy, text, size);
        token->text = copy;
        token->size = size;
        vocabulary->count++;
    }
    token->id = (int32_t)id;
    vocabulary->by_id[token->id] = *token;
    return true;
}

bool vks_vocabulary_read_json(const struct vks_log *log, const char *path, const struct cJSON *json,
                              struct vks_vocabulary *vocabulary)
{
    if (!cJSON_IsObject(json) || !json->child)
        return vks_fail(log, "%s: the vocabulary is not an object of ids; fetch the file again", path);
    if ((size_t)cJSON_GetArraySize(json) > VKS_MAX_TOKENS)
        return vks_fail(log, "%s: the vocabulary is too large; fetch the file again", path);
    for (const struct cJSON *item = json->child; item; item = item->next) {
        if (!vks_vocabulary_add(log, path, vocabulary, item->string, strlen(item->string),
                                cJSON_IsNumber(item) ? item->valuedouble : -1))
            return false;
    }
    return true;
}

void vks_vocabulary_finish(struct vks_vocabulary *vocabulary)
{
    free(vocabulary->slots);
    free(vocabulary->by_id);
    vks_arena_finish(&vocabulary->arena);
    *vocabulary = (struct vks_vocabulary){0};
}

int32_t vks_vocabulary_find(const struct vks_vocabulary *vocabulary, const char *text, size_t size)
{
    const struct vks_token *token = vocabulary->slot_count ? slot(vocabulary, text, size) : NULL;
    return token && token->text ? token->id : -1;
}

const struct vks_token *vks_vocabulary_get(const struct vks_vocabulary *vocabulary, int32_t id)
{
    return id >= 0 && id < vocabulary->size && vocabulary->by_id[id].text ? &vocabulary->by_id[id] : NULL;
}
