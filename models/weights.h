// The parameters of one component of a model: found in its safetensors, PyTorch or GGUF file, uploaded once, shared
// by all graphs.
#ifndef VKS_MODELS_WEIGHTS_H
#define VKS_MODELS_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/hash.h"
#include "base/log.h"
#include "gpu/gpu.h"
#include "graph/graph.h"
#include "io/gguf.h"
#include "io/tensor_file.h"
#include "models/weight_change.h"
#include "ops/ops.h"

// How a parameter lies on the device.
enum vks_weight_layout {
    VKS_WEIGHT_MATRIX,  // as in the file, and in its type: (N, K) of a linear layer, (V, C) of an embedding
    VKS_WEIGHT_VECTOR,  // fp32 whatever the file has: biases and the affine part of norms
    VKS_WEIGHT_CONV,    // (O, I, KH, KW) in the file, the same bits as (O, KH, KW, I) on the device; with a device
                        // shape of two dimensions a 1x1 kernel as a matrix (O, I)
    VKS_WEIGHT_PACKED,  // a matrix in quantised blocks, as ops.h has them (vks_weights_get_packed)
    VKS_WEIGHT_CONV1D,  // transformers' Conv1D (GPT-2): (K, N) in safetensors, (N, K) in GGUF files and on the device
};

struct vks_weights;

// Opens FOLDER/NAME.safetensors, its index of shards, the .fp16 variant of either, or where none of them is NAME.bin
// or pytorch_NAME.bin, their indices and variants. `variant` ("fp16"; NULL: none) comes first. With `gpu`
// NULL nothing is ever uploaded: graphs built with it can be looked at but not run.
// NULL after one message. `log` and `gpu` must outlive it.
struct vks_weights *vks_weights_open(const struct vks_log *log, struct vks_gpu *gpu, const char *folder,
                                     const char *name, const char *variant);
// The same from a file by its path, of any format that tensor_file.h reads.
struct vks_weights *vks_weights_open_file(const struct vks_log *log, struct vks_gpu *gpu, const char *path);
// The same of one part of a single-file checkpoint (checkpoint.h); without any parameter where the file lacks the
// part.
struct vks_weights *vks_weights_open_checkpoint(const struct vks_log *log, struct vks_gpu *gpu, const char *path,
                                                const char *part, uint32_t layers);
// The same from a GGUF file, under the names of transformers: the tensors that gguf_names.h knows, the rest is left
// out. Rows of queries and keys are put in PyTorch's order (head_width: of a head) and Gemma's norms back to weight -
// 1, so that every channel is the one of the Hugging Face folder. Takes `file`, whatever happens.
struct vks_weights *vks_weights_from_gguf(const struct vks_log *log, struct vks_gpu *gpu, struct vks_gguf *file,
                                          const char *architecture, uint32_t head_width);
// Gives a device to weights that were opened without one; graphs that were made before still cannot be run.
void vks_weights_attach(struct vks_weights *weights, struct vks_gpu *gpu);
// Changes a parameter, wherever it is read or uploaded from now on: nothing may have been uploaded yet. Changes add
// up in the order in which they were given; the sum is rounded to the type of the file, and to fp16 where that is one
// of quantised blocks: they are unpacked, and the matrix is no longer packed. A scale of 0 changes nothing. What
// `change` points to must outlive the weights. False after one message: there is no such parameter, it is of another
// type or size, or memory is short.
bool vks_weights_change(struct vks_weights *weights, const char *name, const struct vks_weight_change *change);
// Whether any parameter, or that one, is changed.
bool vks_weights_changed(const struct vks_weights *weights);
bool vks_weight_changed(const struct vks_weights *weights, size_t index);
// Adds all changes to a hash: nothing where there are none.
void vks_weights_hash_changes(const struct vks_weights *weights, struct vks_hash *hash);
// While it is dry nothing is uploaded: graphs built meanwhile can be measured (vks_exec_measure) but not run. Returns
// whether it was dry before.
bool vks_weights_dry(struct vks_weights *weights, bool dry);
// Bytes on the device of the parameters that graphs have asked for since it last became dry; *missing: of those that
// are not there yet.
uint64_t vks_weights_wanted(const struct vks_weights *weights, uint64_t *missing);
// Who holds weights runs graphs over them. When the last one drops them their device memory is freed, and no exec
// that reads them may run any more; graphs built afterwards upload what they need again. Weights that nobody ever
// held stay.
void vks_weights_hold(struct vks_weights *weights);
void vks_weights_drop(struct vks_weights *weights);
// Frees device memory too: no exec that reads these weights may run afterwards. Accepts NULL; nulls it.
void vks_weights_close(struct vks_weights **weights);

// Whether they are in safetensors.
bool vks_weights_is_safetensors(const struct vks_weights *weights);
// The file, as it was found.
const char *vks_weights_path(const struct vks_weights *weights);

// A parameter as it stands in the file.
struct vks_weight {
    const char *name;                   // PyTorch's
    const char *type;                   // "F16", "Q4_1"
    int rank;
    uint64_t shape[VKS_ST_MAX_RANK];
    uint64_t count;                     // elements
    size_t size;                        // bytes
    const unsigned char *data;          // may be unaligned
};
// All of them, sorted by name.
size_t vks_weights_count(const struct vks_weights *weights);
const struct vks_weight *vks_weights_at(const struct vks_weights *weights, size_t index);
// NULL when there is none of that name (no message).
const struct vks_weight *vks_weights_find(const struct vks_weights *weights, const char *name);
// Whether it is of a type to compute with.
bool vks_weights_readable(const struct vks_weights *weights, size_t index);
// The values of one, with its changes, as the module has them, fp32 in the file's shape; false after a message when
// its type is none to compute with.
bool vks_weights_read(const struct vks_weights *weights, size_t index, float *out);
// What all of them take on the device.
uint64_t vks_weights_device_bytes(const struct vks_weights *weights);
// The GGUF file, for its metadata; NULL where there is none.
const struct vks_gguf *vks_weights_gguf(const struct vks_weights *weights);
// Bytes in the file, and parameters: floating-point elements.
uint64_t vks_weights_bytes(const struct vks_weights *weights);
uint64_t vks_weights_parameters(const struct vks_weights *weights);

// A STATE tensor of `graph` that holds the parameter `name`, of `shape` on the device, uploaded when it is first
// asked for (see vks_weights_drop). A missing parameter or one of another shape or type fails the graph with a
// message that names the file.
struct vks_tensor *vks_weights_get(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                   enum vks_weight_layout layout, uint32_t rank, const uint32_t shape[]);
// Whether a matrix stays in quantised blocks on the device: they are unpacked when they are read.
bool vks_weights_is_packed(const struct vks_weights *weights, const char *name);
// The same as vks_weights_get for such a matrix (rows, columns): int32 words, and what ops.h needs to read them.
struct vks_tensor *vks_weights_get_packed(struct vks_weights *weights, struct vks_graph *graph, const char *name,
                                          uint32_t rows, uint32_t columns, struct vks_packed *packed);
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
