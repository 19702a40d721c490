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
static int32_t *slot(const struct vks_vocabulary *vocabulary, const char *text, size_t size)
{
    size_t at = (size_t)vks_hash64(text, size) & (vocabulary->slot_count - 1);
    for (; vocabulary->slots[at] >= 0; at = (at + 1) & (vocabulary->slot_count - 1)) {
        const struct vks_token *token = &vocabulary->items[vocabulary->slots[at]];
        if (token->size == size && !memcmp(token->text, text, size))
            break;
    }
    return &vocabulary->slots[at];
}

static bool make_room(struct vks_vocabulary *vocabulary)
{
    if (vocabulary->slot_count && 2 * (vocabulary->count + 1) <= vocabulary->slot_count)
        return true;
    const size_t count = vocabulary->slot_count ? 2 * vocabulary->slot_count : 64;
    int32_t *slots = realloc(vocabulary->slots, count * sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < count; i++)
        slots[i] = -1;
    vocabulary->slots = slots;
    vocabulary->slot_count = count;
    for (size_t i = 0; i < vocabulary->count; i++)
        *slot(vocabulary, vocabulary->items[i].text, vocabulary->items[i].size) = (int32_t)i;
    return true;
}

static bool reach(struct vks_vocabulary *vocabulary, int32_t id)
{
    const size_t needed = (size_t)id + 1;
    if (needed > vocabulary->id_capacity) {
        const size_t capacity = needed + needed / 2 + 64;
        int32_t *grown = realloc(vocabulary->by_id, capacity * sizeof(*grown));
        if (!grown)
            return false;
        for (size_t i = vocabulary->id_capacity; i < capacity; i++)
            grown[i] = -1;
        vocabulary->by_id = grown;
        vocabulary->id_capacity = capacity;
    }
    if (id >= vocabulary->size)
        vocabulary->size = id + 1;
    return true;
}

static const char *copy(struct vks_arena *arena, const char *text, size_t size)
{
    char *made = vks_arena_alloc(arena, size + 1);
    if (made && size)
        memcpy(made, text, size);
    return made;
}

bool vks_vocabulary_add(const struct vks_log *log, const char *path, struct vks_vocabulary *vocabulary,
                        const char *text, size_t size, double id)
{
    if (!(id >= 0 && id < (double)VKS_MAX_TOKENS) || id != (double)(int32_t)id) {
        char quoted[80];
        return vks_fail(log, "%s: token \"%s\" has no proper id; fetch the file again", path,
                        vks_text_quote(text, size, quoted, sizeof(quoted)));
    }
    if (size > UINT32_MAX || !make_room(vocabulary) || !reach(vocabulary, (int32_t)id) ||
        !vks_grow(&vocabulary->items, &vocabulary->capacity, vocabulary->count, sizeof(*vocabulary->items)))
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    int32_t *at = slot(vocabulary, text, size);
    if (*at < 0) {
        const char *mine = copy(&vocabulary->arena, text, size);
        if (!mine)
            return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
        *at = (int32_t)vocabulary->count++;
        vocabulary->items[*at] = (struct vks_token){mine, (uint32_t)size, 0};
    }
    vocabulary->items[*at].id = (int32_t)id;
    vocabulary->by_id[(int32_t)id] = *at;
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
    free(vocabulary->items);
    free(vocabulary->slots);
    free(vocabulary->by_id);
    vks_arena_finish(&vocabulary->arena);
    *vocabulary = (struct vks_vocabulary){0};
}

int32_t vks_vocabulary_find(const struct vks_vocabulary *vocabulary, const char *text, size_t size)
{
    const int32_t at = vocabulary->slot_count ? *slot(vocabulary, text, size) : -1;
    return at >= 0 ? vocabulary->items[at].id : -1;
}

const struct vks_token *vks_vocabulary_get(const struct vks_vocabulary *vocabulary, int32_t id)
{
    const int32_t at = id >= 0 && id < vocabulary->size ? vocabulary->by_id[id] : -1;
    return at >= 0 ? &vocabulary->items[at] : NULL;
}
