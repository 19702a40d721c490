// The parameters of one component of a model: found in its safetensors, uploaded once, shared by all graphs.
#ifndef VKS_MODELS_WEIGHTS_H
#define VKS_MODELS_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/log.h"
#include "gpu/gpu.h"
#include "graph/graph.h"
#include "io/safetensors.h"

// How a parameter lies on the device.
enum vks_weight_layout {
    VKS_WEIGHT_MATRIX,  // as in the file, and in its type: (N, K) of a linear layer, (V, C) of an embedding
    VKS_WEIGHT_VECTOR,  // fp32 whatever the file has: biases and the affine part of norms
    VKS_WEIGHT_CONV,    // (O, I, KH, KW) in the file, the same bits as (O, KH, KW, I) on the device; with a device
                        // shape of two dimensions a 1x1 kernel as a matrix (O, I)
};

struct vks_weights;

// Opens FOLDER/NAME.safetensors, its index of shards, or the .fp16 variant of either. With `gpu` NULL nothing is ever
// uploaded: graphs built with it can be looked at but not run. NULL after one message. `log` and `gpu` must outlive
// it.
struct vks_weights *vks_weights_open(const struct vks_log *log, struct vks_gpu *gpu, const char *folder,
                                     const char *name);
// Gives a device to weights that were opened without one; graphs that were made before still cannot be run.
void vks_weights_attach(struct vks_weights *weights, struct vks_gpu *gpu);
// Frees device memory too: no exec that reads these weights may run afterwards. Accepts NULL; nulls it.
void vks_weights_close(struct vks_weights **weights);

// The file, for its tensors and metadata.
const struct vks_safetensors *vks_weights_file(const struct vks_weights *weights);
// Parameters counted over the file: floating-point elements.
uint64_t vks_weights_parameters(const struct vks_weights *weights);
bool vks_weights_has(const struct vks_weights *weights, const char *name);

// A STATE tensor of `graph` that holds the parameter `name`, of `shape` on the device, uploaded when it is first
// asked for. A missing parameter or one of another shape or type fails the graph with a message that names the file.
struct vks_tensor *vks_weights_get(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                   enum vks_weight_layout layout, uint32_t rank, const uint32_t shape[]);
// A STATE tensor with these values (a table that never changes, such as positions), kept under `key`.
struct vks_tensor *vks_weights_constant(struct vks_weights *weights, struct vks_graph *graph, const char *key,
                                        enum vks_dtype dtype, uint32_t rank, const uint32_t shape[],
                                        const void *data);

// Where an uploaded parameter lies, in bytes (tests alter weights there); false when it was never asked for.
struct vks_weight_place {
    struct vks_storage *storage;
    uint64_t offset, size;
    enum vks_dtype dtype;
};
bool vks_weights_place(const struct vks_weights *weights, const char *name, struct vks_weight_place *place);

#endif
