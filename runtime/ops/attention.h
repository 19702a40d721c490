// Private to runtime/ops: attention whose scores never reach memory.
#ifndef VKS_OPS_ATTENTION_H
#define VKS_OPS_ATTENTION_H

#include "graph/emit.h"

// q (B, Tq, C), k and v (B, Tk, C), `heads` of C / heads channels; forward writes y like q and stats (B, heads, Tq, 2).
// Backward reads stats, and dy in place of y, and writes dq like q, dk and dv like k.
//
// Forward, over a cache, k and v are (B, rows, C / group), of which the first `keys` count, fp32 or fp16.
struct vks_attention_walk {
    const struct vks_tensor *q, *k, *v, *y, *stats;
    const struct vks_tensor *dq, *dk, *dv;  // dq NULL: forward
    const struct vks_tensor *positions;     // (B, Tq), of which the first of a sample counts; NULL: no cache
    uint32_t heads, group, keys;            // heads of k; query heads for each of them, 1 without a cache
    uint32_t window;                        // keys that a query of a cache sees at most; 0: all up to its own
    float scale;
};

// Whether shaders/attention_cpu.comp takes this attention, which has no mask and no cap, and is causal if it has a
// cache, otherwise not. The answer depends on shapes and the device, never on the batch, so no result does. It saves
// what products of a head's few channels lose, and all traffic of scores.
bool vks_attention_walks(const struct vks_gpu_limits *limits, const struct vks_attention_walk *walk);
bool vks_emit_attention_walk(struct vks_emitter *emitter, const struct vks_attention_walk *walk);

#endif
