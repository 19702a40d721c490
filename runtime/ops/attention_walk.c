#include "ops/attention.h"

#include "ops/common.h"

enum { FORWARD, QUERIES, KEYS };                                  // constant 1
enum { TAIL = 1, CACHED = 2, HALVES = 4, AGAIN = 8, MORE = 16 };  // constant 4

#define STEP 4u          // rows that the kernel walks at a time
// Floats that a lane keeps for its rows: a processor's first cache holds so many vectors.
#define MOST_KEPT 256u

// Channels of a head up to which the walk was faster than products: measured on Mesa 25 with addresses (128 were level)
// and with texels (40 take two thirds of the time), on Mesa 22.3 without (64 took twice as long) and with them (40 take
// half as long again).
static uint32_t most_channels(const struct vks_gpu_limits *limits)
{
    return limits->addresses || (limits->texels && !limits->dear_lanes) ? 80 : 32;
}

static enum vks_kernel kernel_of(const struct vks_gpu_limits *limits)
{
    static const enum vks_kernel kernels[] = {VKS_K_attention_cpu4, VKS_K_attention_cpu8, VKS_K_attention_cpu16};
    for (uint32_t i = 0; limits->is_cpu && i < 3; i++)
        if (vks_kernels[kernels[i]].lanes == limits->subgroup_size)
            return kernels[i];
    return VKS_KERNEL_COUNT;
}

// Elements of a row of q, and of one of k.
static uint64_t cols_of(const struct vks_attention_walk *walk, bool keys)
{
    return walk->q->shape[2] / (keys ? walk->group : 1);
}

bool vks_attention_walks(const struct vks_gpu_limits *limits, const struct vks_attention_walk *walk)
{
    const uint64_t channels = cols_of(walk, true) / walk->heads;
    const uint64_t stats = 8 * (uint64_t)walk->heads * walk->group * walk->q->shape[1];  // are bound whole
    return kernel_of(limits) != VKS_KERNEL_COUNT && channels % 4 == 0 && channels <= most_channels(limits) &&
           stats <= limits->max_range && walk->heads <= limits->max_groups && vks_aligned(walk->q, 0) &&
           vks_aligned(walk->k, 0) && vks_aligned(walk->v, 0) && vks_aligned(walk->y, 0);
}

// Rows of each lane: as many as its memory holds, but no lane without a row where there are few.
static uint32_t width_of(uint32_t mode, uint32_t channels, uint32_t lanes, uint32_t rows)
{
    uint32_t width = 4;
    while (width > 1 && ((mode == FORWARD ? 2 : 4) * channels * width > MOST_KEPT || lanes * (width / 2) >= rows))
        width /= 2;
    return width;
}

// What a dispatch binds: some samples, or some tokens and keys of one.
struct cut {
    uint32_t b, samples, token, tokens, key, keys;
    uint32_t key_rows;  // that are bound of each sample: keys, or the whole cache
};

static struct vks_operand bound(const struct vks_tensor *tensor, enum vks_access access, const struct cut *cut,
                                bool keys)
{
    const uint64_t rows = tensor->shape[1], cols = tensor->shape[2];
    return (struct vks_operand){tensor, access, (cut->b * rows + (keys ? cut->key : cut->token)) * cols,
                                (uint64_t)cut->samples * (keys ? cut->key_rows : cut->tokens) * cols};
}

// Statistics and D lie head by head, so samples are bound whole.
static struct vks_operand of_samples(const struct vks_tensor *tensor, enum vks_access access, const struct cut *cut,
                                     uint64_t each)
{
    return (struct vks_operand){tensor, access, cut->b * each, cut->samples * each};
}

// The sums that go on between dispatches over some of the walked rows; `second` is the sum that no output holds.
struct sums {
    const struct vks_tensor *products, *second;
};

// The operands as the kernel numbers them.
static void find_operands(const struct vks_attention_walk *w, uint32_t mode, const struct sums *sums, uint32_t flags,
                          const struct cut *cut, struct vks_operand operands[8])
{
    const bool keys = mode == KEYS, again = flags & AGAIN;
    const enum vks_access sum = again ? VKS_READ_WRITE : VKS_WRITE;
    const struct vks_operand q = bound(w->q, VKS_READ, cut, false), k = bound(w->k, VKS_READ, cut, true);
    const struct vks_operand v = bound(w->v, VKS_READ, cut, true);
    // Positions lie in a slot that no mode writes, which is what validation goes by.
    const struct vks_operand dy = mode != FORWARD ? bound(w->y, VKS_READ, cut, false)
                                  : w->positions  ? of_samples(w->positions, VKS_READ, cut, w->q->shape[1])
                                                  : vks_unused();
    const uint64_t each = (uint64_t)w->heads * w->group * w->q->shape[1];
    operands[0] = keys ? k : q;
    operands[1] = keys ? v : dy;
    operands[2] = keys ? q : k;
    operands[3] = keys ? dy : v;
    operands[4] = of_samples(w->stats, mode == FORWARD ? sum : VKS_READ, cut, 2 * each);
    operands[5] = mode != FORWARD ? of_samples(sums->products, keys ? VKS_READ : sum, cut, each) : vks_unused();
    operands[6] = bound(mode == FORWARD ? w->y : keys ? w->dk : w->dq, sum, cut, keys);
    operands[7] = keys ? bound(w->dv, sum, cut, true)
                  : mode == QUERIES && (flags & (AGAIN | MORE)) ? bound(w->dq, sum, cut, false) : vks_unused();
    if (mode == QUERIES && operands[7].tensor)
        operands[7].tensor = sums->second;  // in the layout of dq
}

static bool emit_cut(struct vks_emitter *emitter, const struct vks_attention_walk *w, uint32_t mode,
                     const struct sums *sums, const struct cut *cut)
{
    const enum vks_kernel kernel = kernel_of(&emitter->limits);
    const uint32_t lanes = vks_kernels[kernel].lanes, tokens = w->q->shape[1], queries = tokens * w->group;
    const uint32_t channels = (uint32_t)cols_of(w, true) / w->heads;
    const bool keys = mode == KEYS;
    const struct vks_push_attention_cpu push = {
        .heads = w->heads,
        .owned = keys ? cut->keys : cut->tokens * w->group,
        .own_first = keys ? cut->key : cut->token * w->group,
        .walked = keys ? queries : w->keys,
        .walk_first = keys ? cut->token : cut->key,
        .walk_end = keys ? cut->token + cut->tokens : cut->key + cut->keys,
        .walk_rows = keys ? cut->tokens : cut->key_rows,
        .queries = queries,
        .group = w->group,
        .tokens = tokens,
        .window = w->window,
        .scale = w->scale,
    };
    // All of a side decide the width, so that no cut adds a pipeline.
    const uint32_t width = width_of(mode, channels, lanes, keys ? w->keys : queries);
    const uint32_t flags = (push.walk_end % STEP ? TAIL : 0) | (w->positions ? CACHED : 0) |
                           (w->k->dtype == VKS_F16 ? HALVES : 0) | (push.walk_first > 0 ? AGAIN : 0) |
                           (push.walk_end < push.walked ? MORE : 0);
    const uint32_t spec[] = {mode, channels, width, flags};
    struct vks_operand operands[8];
    find_operands(w, mode, sums, flags, cut, operands);
    struct vks_groups groups = vks_groups_1d(push.owned, lanes * width);
    groups.z = cut->samples * w->heads;
    return vks_emit_special(emitter, kernel, spec, 4, operands, 8, &push, sizeof(push), groups);
}

// Rows that a binding holds of so many: all, or a whole number of turns.
static uint32_t fit(uint64_t range, uint32_t rows, uint64_t row_bytes)
{
    return rows * row_bytes <= range ? rows : (uint32_t)(range / row_bytes / STEP * STEP);
}

// The largest cut: samples first, then tokens, and keys by the steps of the walk.
static bool find_cut(const struct vks_emitter *emitter, const struct vks_attention_walk *w, struct cut *most)
{
    const uint64_t range = emitter->limits.max_range;
    const uint64_t token = 4 * cols_of(w, false), key = vks_dtype_size(w->k->dtype) * cols_of(w, true);
    *most = (struct cut){.samples = 1, .tokens = w->q->shape[1], .keys = w->keys, .key_rows = w->k->shape[1]};
    const uint64_t longest = token * most->tokens > key * most->key_rows ? token * most->tokens : key * most->key_rows;
    if (longest <= range) {
        most->samples = (uint32_t)vks_min_u64(vks_rows_per_slice(emitter, w->q->shape[0], longest),
                                              emitter->limits.max_groups / w->heads);
        return most->samples > 0;
    }
    most->tokens = fit(range, most->tokens, token);
    most->keys = most->key_rows = fit(range, most->keys, key);
    return most->tokens > 0 && most->keys > 0;
}

static bool emit_mode(struct vks_emitter *emitter, const struct vks_attention_walk *w, uint32_t mode,
                      const struct sums *sums)
{
    struct cut most;
    if (!find_cut(emitter, w, &most))
        return vks_fail_row(emitter, w->q);
    const uint32_t samples = w->q->shape[0], tokens = w->q->shape[1];
    struct cut cut = most;
    for (cut.b = 0; cut.b < samples; cut.b += most.samples)
        for (cut.token = 0; cut.token < tokens; cut.token += most.tokens)
            for (cut.key = 0; cut.key < w->keys; cut.key += most.keys) {
                cut.samples = (uint32_t)vks_min_u64(most.samples, samples - cut.b);
                cut.tokens = (uint32_t)vks_min_u64(most.tokens, tokens - cut.token);
                cut.keys = (uint32_t)vks_min_u64(most.keys, w->keys - cut.key);
                cut.key_rows = most.key_rows == most.keys ? cut.keys : most.key_rows;
                if (!emit_cut(emitter, w, mode, sums, &cut))
                    return false;
            }
    return true;
}

bool vks_emit_attention_walk(struct vks_emitter *emitter, const struct vks_attention_walk *walk)
{
    if (!walk->dq)
        return emit_mode(emitter, walk, FORWARD, NULL);
    struct cut most;
    if (!find_cut(emitter, walk, &most))
        return vks_fail_row(emitter, walk->q);
    const struct vks_tensor *q = walk->q;
    const bool cut = most.keys < walk->keys;
    const struct sums sums = {
        .products = vks_emit_scratch(emitter, (uint64_t)q->shape[0] * q->shape[1] * walk->heads),
        .second = cut ? vks_emit_scratch(emitter, vks_tensor_elements(q)) : NULL,
    };
    return sums.products && (!cut || sums.second) && emit_mode(emitter, walk, QUERIES, &sums) &&
           emit_mode(emitter, walk, KEYS, &sums);
}
