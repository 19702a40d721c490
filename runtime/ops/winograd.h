// Convolutions of 3 x 3 taps by Winograd's minimal filtering F(4 x 4, 3 x 3) (shaders/include/winograd.glsl).
#ifndef VKS_OPS_WINOGRAD_H
#define VKS_OPS_WINOGRAD_H

#include "graph/emit.h"

// target (B, H, W, N) = source (B, H, W, K) under 3 x 3 taps, stride 1, a border of one pixel of zeros on all sides.
struct vks_winograd {
    const struct vks_tensor *source, *target;
    const struct vks_tensor *weight;  // (N, 3, 3, K); turned: (K, 3, 3, N)
    const struct vks_tensor *bias;    // (N), or NULL
    const struct vks_tensor *plus;    // added to the finished sums: a tensor of target's shape, or NULL
    bool turned;                      // taps turned by half a turn: the gradient of the input
};

// Whether it pays, and its dispatches fit the limits: a pure function of these, of emitter->batch and of the shapes of
// one sample.
bool vks_winograd_takes(const struct vks_emitter *emitter, const struct vks_winograd *winograd);

// Writes the dispatches: of each slice of N the weights, and of each stretch of tiles the tiles of the source, 36
// products of matrices, and the pixels of the target. Scratch: 16 MiB of weights, and 4 of tiles and products each;
// more where one row of tiles, or four columns of weights, take more.
bool vks_emit_winograd(struct vks_emitter *emitter, const struct vks_winograd *winograd);

#endif
