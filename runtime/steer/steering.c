#include "steer/steering.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"

#define FORMAT "vksteer-1"

void vks_steering_finish(struct vks_steering *steering)
{
    vks_site_list_finish(&steering->sites);
    free(steering->w);
    free(steering->b);
    free(steering->range);
    free(steering->metadata);
    vks_arena_finish(&steering->arena);
    *steering = (struct vks_steering){0};
}

static bool set_metadata(struct vks_steering *steering, const char *key, const char *value)
{
    char *copy = vks_arena_strdup(&steering->arena, value);
    for (size_t i = 0; i < steering->metadata_count && copy; i++)
        if (strcmp(steering->metadata[i].key, key) == 0) {
            steering->metadata[i].value = copy;
            return true;
        }
    char *name = vks_arena_strdup(&steering->arena, key);
    if (!copy || !name ||
        !vks_grow(&steering->metadata, &steering->metadata_capacity, steering->metadata_count,
                  sizeof(*steering->metadata)))
        return false;
    steering->metadata[steering->metadata_count].key = name;
    steering->metadata[steering->metadata_count++].value = copy;
    return true;
}

bool vks_steering_note(struct vks_steering *steering, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *value = length < 0 ? NULL : malloc((size_t)length + 1);  // a site expression may be long
    if (!value)
        return false;
    va_start(args, format);
    vsnprintf(value, (size_t)length + 1, format, args);
    va_end(args);
    const bool ok = set_metadata(steering, key, value);
    free(value);
    return ok;
}

const char *vks_steering_metadata(const struct vks_steering *steering, const char *key)
{
    for (size_t i = 0; i < steering->metadata_count; i++)
        if (strcmp(steering->metadata[i].key, key) == 0)
            return steering->metadata[i].value;
    return NULL;
}

enum vks_position vks_steering_position(const struct vks_steering *steering, enum vks_site_kind kind)
{
    const char *position = vks_steering_metadata(steering, "position");
    if (position && strcmp(position, "last") == 0)
        return VKS_POSITION_LAST;
    if (position && strcmp(position, "avg") == 0)
        return VKS_POSITION_AVG;
    if (position && strcmp(position, "pixels-avg") == 0 && kind == VKS_SITE_PIXELS)
        return VKS_POSITION_AVG;
    return VKS_POSITION_ALL;
}

enum vks_pool vks_steering_pool(const struct vks_steering *steering)
{
    const char *pool = vks_steering_metadata(steering, "pool");
    return !pool ? VKS_POOL_MEAN : strcmp(pool, "last") == 0 ? VKS_POOL_LAST : strcmp(pool, "max") == 0 ? VKS_POOL_MAX
           : VKS_POOL_MEAN;
}

bool vks_steering_add_range(struct vks_steering *steering)
{
    const uint32_t channels = steering->sites.channels;
    float *range = realloc(steering->range, 2 * (size_t)channels * sizeof(*range));
    for (uint32_t i = 0; i < channels && range; i++) {
        range[2 * i] = -FLT_MAX;
        range[2 * i + 1] = FLT_MAX;
    }
    steering->range = range ? range : steering->range;
    return range != NULL;
}

bool vks_steering_has_range(const struct vks_steering *steering, const struct vks_site_slot *slot)
{
    for (uint32_t c = slot->first; c < slot->first + slot->channels && steering->range; c++)
        if (steering->range[2 * c] > -FLT_MAX || steering->range[2 * c + 1] < FLT_MAX)
            return true;
    return false;
}

// The ends of a site's ranges as a vector of their own: `end` 0 low, 1 high.
static float *ends_of(const struct vks_steering *steering, const struct vks_site_slot *slot, int end,
                      struct vks_arena *arena)
{
    float *ends = vks_arena_alloc(arena, slot->channels * sizeof(*ends));
    for (uint32_t c = 0; c < slot->channels && ends; c++)
        ends[c] = steering->range[2 * (slot->first + c) + end];
    return ends;
}

// Tensors of one site, 2 or 4 of them.
static bool site_items(const struct vks_steering *steering, const struct vks_site_slot *slot, struct vks_arena *arena,
                       struct vks_st_item *items, size_t *count)
{
    static const char *const suffixes[] = {"weight", "bias", "low", "high"};
    const int tensors = vks_steering_has_range(steering, slot) ? 4 : 2;
    for (int k = 0; k < tensors; k++) {
        const float *data = k == 0 ? steering->w + slot->first
                          : k == 1 ? steering->b + slot->first : ends_of(steering, slot, k - 2, arena);
        const char *name = vks_arena_printf(arena, "%s.%s", slot->name, suffixes[k]);
        if (!data || !name)
            return false;
        items[(*count)++] = (struct vks_st_item){
            .name = name,
            .dtype = VKS_ST_F32,
            .rank = 1,
            .shape = {slot->channels},
            .data = data,
        };
    }
    return true;
}

bool vks_steering_save(const struct vks_steering *steering, const struct vks_log *log, const char *path)
{
    struct vks_arena arena = {0};
    struct vks_st_item *items = vks_arena_alloc(&arena, 4 * steering->sites.count * sizeof(*items));
    struct vks_st_pair *pairs = vks_arena_alloc(&arena, (steering->metadata_count + 1) * sizeof(*pairs));
    size_t count = 0;
    bool ok = items && pairs;
    for (size_t i = 0; i < steering->sites.count && ok; i++)
        ok = site_items(steering, &steering->sites.slots[i], &arena, items, &count);
    if (ok) {
        pairs[0] = (struct vks_st_pair){"format", FORMAT};
        for (size_t i = 0; i < steering->metadata_count; i++)
            pairs[i + 1] = (struct vks_st_pair){steering->metadata[i].key, steering->metadata[i].value};
        ok = vks_safetensors_write(log, path, items, count, pairs, steering->metadata_count + 1);
    } else {
        vks_fail(log, VKS_NO_MEMORY);
    }
    vks_arena_finish(&arena);
    return ok;
}

static bool add_map(struct vks_steering *steering, const struct vks_log *log, const struct vks_safetensors *file,
                    const struct vks_st_tensor *weight)
{
    char name[1024];
    const size_t length = strlen(weight->name) - strlen(".weight");
    if (weight->rank != 1 || length == 0 || length > sizeof(name) - 16 || weight->count > 1u << 24)
        return vks_fail(log, "%s: %s is not a map of one gain a channel: the file is damaged or of another program",
                        file->path, weight->name);
    memcpy(name, weight->name, length);
    name[length] = 0;
    char bias_name[1040];
    snprintf(bias_name, sizeof(bias_name), "%s.bias", name);
    const struct vks_st_tensor *bias =
        vks_safetensors_need(log, file, bias_name, -1, 1, (const uint64_t[]){weight->count});
    // The kind of the site is the model's; the list only needs a place for the channels.
    if (!bias || !vks_site_list_add(&steering->sites, log, name, VKS_SITE_TOKENS, (uint32_t)weight->count))
        return false;
    const struct vks_site_slot *slot = &steering->sites.slots[steering->sites.count - 1];
    float *w = realloc(steering->w, steering->sites.channels * sizeof(*w));
    if (w)
        steering->w = w;
    float *b = realloc(steering->b, steering->sites.channels * sizeof(*b));
    if (b)
        steering->b = b;
    if (!w || !b)
        return vks_fail(log, VKS_NO_MEMORY);
    if (!vks_st_to_f32(log, file, weight, w + slot->first) || !vks_st_to_f32(log, file, bias, b + slot->first))
        return false;
    for (uint32_t i = 0; i < slot->channels; i++)
        if (!isfinite(w[slot->first + i]) || !isfinite(b[slot->first + i]))
            return vks_fail(log, "%s: the map of %s is not finite: train it again", file->path, name);
    return true;
}

// One end of a site's ranges.
static bool load_ends(struct vks_steering *steering, const struct vks_log *log, const struct vks_safetensors *file,
                      const struct vks_site_slot *slot, int end)
{
    char name[1040];
    snprintf(name, sizeof(name), "%s.%s", slot->name, end ? "high" : "low");
    const struct vks_st_tensor *tensor =
        vks_safetensors_need(log, file, name, -1, 1, (const uint64_t[]){slot->channels});
    float *ends = tensor ? malloc(slot->channels * sizeof(*ends)) : NULL;
    if (tensor && !(ends && (steering->range || vks_steering_add_range(steering)))) {
        free(ends);
        return vks_fail(log, VKS_NO_MEMORY);
    }
    const bool ok = tensor && vks_st_to_f32(log, file, tensor, ends);
    for (uint32_t c = 0; c < slot->channels && ok; c++)
        steering->range[2 * (slot->first + c) + end] = ends[c];
    free(ends);
    return ok;
}

// The ranges of the sites that have them, *tensors of them in all.
static bool load_ranges(struct vks_steering *steering, const struct vks_log *log, const struct vks_safetensors *file,
                        size_t *tensors)
{
    for (size_t i = 0; i < steering->sites.count; i++) {
        const struct vks_site_slot *slot = &steering->sites.slots[i];
        char name[1040];
        snprintf(name, sizeof(name), "%s.low", slot->name);
        if (!vks_safetensors_find(file, name))
            continue;
        if (!load_ends(steering, log, file, slot, 0) || !load_ends(steering, log, file, slot, 1))
            return false;
        *tensors += 2;
        for (uint32_t c = slot->first; c < slot->first + slot->channels; c++) {
            const float low = steering->range[2 * c], high = steering->range[2 * c + 1];
            if (!isfinite(low) || !isfinite(high) || low > high)
                return vks_fail(log, "%s: the range of %s makes no sense: train it again", file->path, slot->name);
        }
    }
    return true;
}

// What files may say, and what older ones leave out.
static bool known(const struct vks_steering *steering, const struct vks_log *log, const char *path, const char *key,
                  const char *const *words, size_t count)
{
    const char *value = vks_steering_metadata(steering, key);
    bool found = !value;
    for (size_t i = 0; i < count && !found; i++)
        found = strcmp(value, words[i]) == 0;
    return found || vks_fail(log, "%s: its metadata says %s \"%s\", which this version does not know: update vksteer, "
                             "or train it again", path, key, value);
}

static bool has_ending(const char *name, const char *ending)
{
    const size_t length = strlen(name), end = strlen(ending);
    return length > end && strcmp(name + length - end, ending) == 0;
}

bool vks_steering_load(struct vks_steering *steering, const struct vks_log *log, const char *path)
{
    size_t ends = 0;
    *steering = (struct vks_steering){0};
    struct vks_safetensors *file = vks_safetensors_open(log, path);
    if (!file)
        return false;
    const char *format = vks_safetensors_metadata(file, "format");
    bool ok = format && strcmp(format, FORMAT) == 0;
    if (!ok)
        vks_fail(log, "%s is no steering file (its metadata says format %s, not " FORMAT "): make one with "
                 "`vksteer train`", path, format ? format : "nothing");
    for (size_t i = 0; i < file->metadata_count && ok; i++)
        if (strcmp(file->metadata[i].key, "format") != 0)
            ok = set_metadata(steering, file->metadata[i].key, file->metadata[i].value);
    static const char *const positions[] = {"all", "last", "avg", "pixels-avg"};
    static const char *const pools[] = {"mean", "last", "max"};
    ok = ok && known(steering, log, path, "position", positions, sizeof(positions) / sizeof(positions[0])) &&
         known(steering, log, path, "pool", pools, sizeof(pools) / sizeof(pools[0]));
    for (size_t i = 0; i < file->tensor_count && ok; i++) {
        const char *name = file->tensors[i].name;
        if (has_ending(name, ".weight"))
            ok = add_map(steering, log, file, &file->tensors[i]);
        else if (!has_ending(name, ".bias") && !has_ending(name, ".low") && !has_ending(name, ".high"))
            ok = vks_fail(log, "%s: the tensor %s belongs to a method that this version does not know: update "
                          "vksteer", path, name);
    }
    ok = ok && load_ranges(steering, log, file, &ends);
    if (ok && 2 * steering->sites.count + ends != file->tensor_count)
        ok = vks_fail(log, "%s: some maps have no gain, no offset or half a range: the file is damaged", path);
    if (ok && steering->sites.count == 0)
        ok = vks_fail(log, "%s holds no maps: train it again", path);
    vks_safetensors_close(&file);
    if (!ok)
        vks_steering_finish(steering);
    return ok;
}

void vks_steering_invert(struct vks_steering *steering, uint32_t *skipped)
{
    *skipped = 0;
    for (uint32_t i = 0; i < steering->sites.channels; i++) {
        const float w = steering->w[i], b = steering->b[i];
        const bool possible = fabsf(w) >= 1e-3f && isfinite(b / w);
        *skipped += !possible;
        steering->w[i] = possible ? 1 / w : 1;
        steering->b[i] = possible ? -b / w : 0;
    }
}

// Whether a channel's map is more than rounding away from the identity.
static bool moves(const struct vks_steering *steering, uint32_t channel)
{
    return fabsf(steering->w[channel] - 1) > 1e-5f || fabsf(steering->b[channel]) > 1e-5f;
}

// Removes the maps of sites whose names begin with `prefix`, or with NULL of those where nothing moves.
static void drop(struct vks_steering *steering, const char *prefix)
{
    struct vks_site_list *sites = &steering->sites;
    size_t kept = 0;
    uint32_t channels = 0;
    for (size_t i = 0; i < sites->count; i++) {
        struct vks_site_slot slot = sites->slots[i];
        bool kept_here = prefix && strncmp(slot.name, prefix, strlen(prefix)) != 0;
        for (uint32_t c = slot.first; c < slot.first + slot.channels && !prefix; c++)
            kept_here |= moves(steering, c);
        if (!kept_here)
            continue;
        memmove(steering->w + channels, steering->w + slot.first, slot.channels * sizeof(float));
        memmove(steering->b + channels, steering->b + slot.first, slot.channels * sizeof(float));
        if (steering->range)
            memmove(steering->range + 2 * (size_t)channels, steering->range + 2 * (size_t)slot.first,
                    2 * (size_t)slot.channels * sizeof(float));
        slot.first = channels;
        channels += slot.channels;
        sites->slots[kept++] = slot;
    }
    sites->count = kept;
    sites->channels = channels;
}

void vks_steering_drop(struct vks_steering *steering, const char *prefix)
{
    drop(steering, prefix);
}

void vks_steering_drop_identity(struct vks_steering *steering)
{
    drop(steering, NULL);
}

double vks_steering_support(const struct vks_steering *steering)
{
    uint32_t moved = 0;
    for (uint32_t i = 0; i < steering->sites.channels; i++)
        moved += moves(steering, i);
    return steering->sites.channels ? (double)moved / steering->sites.channels : 0;
}
