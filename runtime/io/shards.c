#include "io/shards.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/text.h"
#include "io/json.h"

#define MOST_SHARDS 1024

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vks_shard_entry *)a)->name, ((const struct vks_shard_entry *)b)->name);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool no_memory(const struct vks_log *log, const char *path)
{
    return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
}

// Entries and names of shards, as they come.
static bool read_map(const struct vks_log *log, const char *path, const struct cJSON *map, struct vks_shards *set)
{
    const size_t count = (size_t)cJSON_GetArraySize(map);
    set->entries = vks_arena_alloc(&set->arena, (count + 1) * sizeof(*set->entries));
    set->shards = vks_arena_alloc(&set->arena, (count + 1) * sizeof(*set->shards));
    if (!set->entries || !set->shards)
        return no_memory(log, path);
    for (const struct cJSON *item = map->child; item; item = item->next) {
        const char *shard = cJSON_IsString(item) ? item->valuestring : "";
        if (!*shard || strpbrk(shard, "/\\:") || !strcmp(shard, ".") || !strcmp(shard, ".."))
            return vks_fail(log, "%s: weight_map names a shard that is not the name of a file in this folder; "
                            "correct the file", path);
        struct vks_shard_entry *entry = &set->entries[set->count];
        *entry = (struct vks_shard_entry){vks_arena_strdup(&set->arena, item->string),
                                          vks_arena_strdup(&set->arena, shard)};
        if (!entry->name || !entry->shard)
            return no_memory(log, path);
        set->shards[set->count++] = entry->shard;
    }
    return set->count || vks_fail(log, "%s: weight_map is empty; fetch the model again", path);
}

static bool sort(const struct vks_log *log, const char *path, struct vks_shards *set)
{
    qsort(set->entries, set->count, sizeof(*set->entries), by_name);
    qsort(set->shards, set->count, sizeof(*set->shards), by_text);
    for (size_t i = 0; i < set->count; i++) {
        if (i && !strcmp(set->entries[i].name, set->entries[i - 1].name))
            return vks_fail(log, "%s: weight_map has a tensor twice; correct the file", path);
        if (!set->shard_count || strcmp(set->shards[set->shard_count - 1], set->shards[i]) != 0)
            set->shards[set->shard_count++] = set->shards[i];
    }
    return set->shard_count <= MOST_SHARDS ||
           vks_fail(log, "%s: names more than %d shards; correct the file", path, MOST_SHARDS);
}

static bool join(const struct vks_log *log, const char *path, struct vks_shards *set)
{
    char *folder = vks_path_folder(path);
    bool done = folder && (set->paths = vks_arena_alloc(&set->arena, set->shard_count * sizeof(*set->paths)));
    for (size_t i = 0; done && i < set->shard_count; i++) {
        char *joined = vks_path_join(folder, set->shards[i]);
        set->paths[i] = joined ? vks_arena_strdup(&set->arena, joined) : NULL;
        done = set->paths[i] != NULL;
        free(joined);
    }
    free(folder);
    return done || no_memory(log, path);
}

bool vks_shards_open(const struct vks_log *log, const char *path, struct vks_shards *set)
{
    const struct cJSON *map;
    *set = (struct vks_shards){0};
    struct vks_json *json = vks_json_open(log, path);
    const bool done = json && vks_json_require(log, json, NULL, "weight_map") &&
                      vks_json_object(log, json, NULL, "weight_map", &map) && read_map(log, path, map, set) &&
                      sort(log, path, set) && join(log, path, set);
    vks_json_close(&json);
    return done;
}

void vks_shards_finish(struct vks_shards *set)
{
    vks_arena_finish(&set->arena);
    *set = (struct vks_shards){0};
}

bool vks_shards_take(const struct vks_log *log, const struct vks_shards *set, size_t shard,
                     const struct vks_st_tensor *found, size_t count, struct vks_st_tensor *out)
{
    for (size_t i = 0, at = 0; i < set->count; i++) {
        const char *name = set->entries[i].name;
        if (strcmp(set->entries[i].shard, set->shards[shard]) != 0)
            continue;
        while (at < count && strcmp(found[at].name, name) < 0)
            at++;
        if (at == count || strcmp(found[at].name, name) != 0) {
            char quoted[200];
            return vks_fail(log, "%s: lacks tensor \"%s\" of the index; fetch the model again", set->paths[shard],
                            vks_text_quote(name, strlen(name), quoted, sizeof(quoted)));
        }
        out[i] = found[at];
    }
    return true;
}
