// Private to runtime/ops: attention whose scores never reach memory.
#ifndef VKS_OPS_ATTENTION_H
#define VKS_OPS_ATTENTION_H

#include "graph/emit.h"

// q (B, Tq, C), k and v (B, Tk, C), `heads` of C / heads channels; forward writes y like q and stats (B, heads, Tq, 2).
// Backward reads stats, and dy in place of y, and writes dq like q, dk and dv like k.
struct vks_attention_walk {
    const struct vks_tensor *q, *k, *v, *y, *stats;
    const struct vks_tensor *dq, *dk, *dv;  // dq NULL: forward
    uint32_t heads;
    float scale;
};

// Whether shaders/attention_cpu.comp takes this attention, which has no mask, causality or cap. The answer depends on
// shapes and the device, never on the batch, so no result does. It saves what products of a head's few channels lose,
// and all traffic of scores.
bool vks_attention_walks(const struct vks_gpu_limits *limits, const struct vks_attention_walk *walk);
bool vks_emit_attention_walk(struct vks_emitter *emitter, const struct vks_attention_walk *walk);

#endif
