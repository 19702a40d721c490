// A change of a parameter by a file that is put over a model, such as a LoRA.
#ifndef VKS_MODELS_WEIGHT_CHANGE_H
#define VKS_MODELS_WEIGHT_CHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/safetensors.h"

// weight += scale up down, with up (rows, rank) and down (rank, columns), where a kernel's axes (I, KH, KW) are
// columns (Hu et al., arXiv 2106.09685, section 4.1); or with up NULL: weight += scale down, of the weight's own
// count.
struct vks_weight_change {
    const struct vks_st_tensor *up, *down;  // F32, F16 or BF16, and of these counts
    uint32_t rank;
    float scale;
    bool transposed;                        // up down is (columns, rows): its transpose is added
};

// Adds the change to values (rows, columns), in fp32 and in an order that never varies. False: out of memory.
bool vks_weight_change_add(const struct vks_weight_change *change, uint64_t rows, uint64_t columns, float *values);

#endif
