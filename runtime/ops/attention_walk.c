#include "ops/attention.h"

#include "ops/common.h"

enum { FORWARD, QUERIES, KEYS };  // constant 1

#define STEP 4u          // rows that the kernel walks at a time
// Floats that a lane keeps for its rows: a processor's first cache holds so many vectors.
#define MOST_KEPT 256u

// Channels of a head up to which the walk was faster than products: measured with addresses on Mesa 25 (128 were
// level), and without on Mesa 22.3 (64 took twice as long).
static uint32_t most_channels(const struct vks_gpu_limits *limits)
{
    return limits->addresses ? 80 : 32;
}

static enum vks_kernel kernel_of(const struct vks_gpu_limits *limits)
{
    static const enum vks_kernel kernels[] = {VKS_K_attention_cpu4, VKS_K_attention_cpu8, VKS_K_attention_cpu16};
    for (uint32_t i = 0; limits->is_cpu && i < 3; i++)
        if (vks_kernels[kernels[i]].lanes == limits->subgroup_size)
            return kernels[i];
    return VKS_KERNEL_COUNT;
}

bool vks_attention_walks(const struct vks_gpu_limits *limits, const struct vks_attention_walk *walk)
{
    const uint64_t cols = walk->q->shape[2], channels = cols / walk->heads;
    const uint64_t queries = walk->q->shape[1], keys = walk->k->shape[1];
    return kernel_of(limits) != VKS_KERNEL_COUNT && channels % 4 == 0 && channels <= most_channels(limits) &&
           4 * cols * (queries > keys ? queries : keys) <= limits->max_range &&
           8 * walk->heads * queries <= limits->max_range && walk->heads <= limits->max_groups;
}

// Rows of each lane: as many as its memory holds, but no lane without a row where there are few.
static uint32_t width_of(uint32_t mode, uint32_t channels, uint32_t lanes, uint32_t rows)
{
    uint32_t width = 4;
    while (width > 1 && ((mode == FORWARD ? 2 : 4) * channels * width > MOST_KEPT || lanes * (width / 2) >= rows))
        width /= 2;
    return width;
}

// Samples [first, first + count).
static struct vks_operand samples_of(const struct vks_tensor *tensor, enum vks_access access, uint32_t first,
                                     uint32_t count)
{
    const uint64_t each = vks_tensor_elements(tensor) / tensor->shape[0];
    return (struct vks_operand){tensor, access, first * each, count * each};
}

// The operands of samples [b, b + n) as the kernel numbers them.
static void find_operands(const struct vks_attention_walk *w, uint32_t mode, const struct vks_tensor *sums,
                          uint32_t b, uint32_t n, struct vks_operand operands[8])
{
    const bool keys = mode == KEYS;
    const struct vks_operand q = samples_of(w->q, VKS_READ, b, n), k = samples_of(w->k, VKS_READ, b, n);
    const struct vks_operand v = samples_of(w->v, VKS_READ, b, n);
    const struct vks_operand dy = mode == FORWARD ? vks_unused() : samples_of(w->y, VKS_READ, b, n);
    const uint64_t each = (uint64_t)w->heads * w->q->shape[1];
    operands[0] = keys ? k : q;
    operands[1] = keys ? v : dy;
    operands[2] = keys ? q : k;
    operands[3] = keys ? dy : v;
    operands[4] = samples_of(w->stats, mode == FORWARD ? VKS_WRITE : VKS_READ, b, n);
    operands[5] = sums ? (struct vks_operand){sums, keys ? VKS_READ : VKS_WRITE, b * each, n * each} : vks_unused();
    operands[6] = samples_of(mode == FORWARD ? w->y : keys ? w->dk : w->dq, VKS_WRITE, b, n);
    operands[7] = keys ? samples_of(w->dv, VKS_WRITE, b, n) : vks_unused();
}

// One kernel over all samples, cut at samples.
static bool emit_mode(struct vks_emitter *emitter, const struct vks_attention_walk *w, uint32_t mode,
                      const struct vks_tensor *sums)
{
    const enum vks_kernel kernel = kernel_of(&emitter->limits);
    const uint32_t lanes = vks_kernels[kernel].lanes, samples = w->q->shape[0], cols = w->q->shape[2];
    const uint32_t queries = w->q->shape[1], keys = w->k->shape[1], channels = cols / w->heads;
    const uint32_t owned = mode == KEYS ? keys : queries, walked = mode == KEYS ? queries : keys;
    const uint32_t width = width_of(mode, channels, lanes, owned);
    const uint32_t spec[] = {mode, channels, width, walked % STEP != 0};
    const uint64_t longest = 4 * (uint64_t)cols * (owned > walked ? owned : walked);
    const uint32_t fit = (uint32_t)vks_min_u64(vks_rows_per_slice(emitter, samples, longest),
                                               emitter->limits.max_groups / w->heads);
    const struct vks_push_attention_cpu push = {w->heads, owned, walked, queries, w->scale};
    struct vks_groups groups = vks_groups_1d(owned, lanes * width);
    for (uint32_t b = 0; b < samples; b += fit) {
        const uint32_t n = samples - b < fit ? samples - b : fit;
        struct vks_operand operands[8];
        find_operands(w, mode, sums, b, n, operands);
        groups.z = n * w->heads;
        if (!vks_emit_special(emitter, kernel, spec, 4, operands, 8, &push, sizeof(push), groups))
            return false;
    }
    return true;
}

bool vks_emit_attention_walk(struct vks_emitter *emitter, const struct vks_attention_walk *walk)
{
    if (!walk->dq)
        return emit_mode(emitter, walk, FORWARD, NULL);
    const struct vks_tensor *q = walk->q;
    const struct vks_tensor *sums = vks_emit_scratch(emitter, (uint64_t)q->shape[0] * q->shape[1] * walk->heads);
    return sums && emit_mode(emitter, walk, QUERIES, sums) && emit_mode(emitter, walk, KEYS, sums);
}
