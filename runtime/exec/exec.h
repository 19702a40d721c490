// Runs a graph: plans its memory, records its dispatches once, submits them as often as wanted.
#ifndef VKS_EXEC_EXEC_H
#define VKS_EXEC_EXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/gpu.h"
#include "graph/graph.h"
#include "shaders/push.h"

struct vks_exec;

struct vks_exec_params {
    struct vks_gpu *gpu;
    // Its planned memory is taken where it is large enough. The lender must live longer, and a run of either of the
    // two loses all that the other holds, inputs and kept tensors too. May be NULL.
    const struct vks_exec *lender;
    // Called where the plan does not fit what memory is left, until it does: frees some, which may be the lender's if
    // *lender becomes another or NULL. False: there is none to free. May be NULL.
    bool (*make_room)(void *priv, const struct vks_exec **lender);
    void *make_room_priv;
    // Samples that weights serve in all, in however many runs (a training step's batch): kernels that turn the weights
    // first may pay for it. It decides the last bits of results, which no graph's own number of samples does. 0: 1.
    uint32_t batch;
    // About how many bytes there are, beside the plan's other memory, for values that follow from steady tensors alone
    // (weights as Winograd's and other large products take them, embeddings of a time step): these are made in the
    // first run, and again after a steady input was written with other bytes. No bit depends on it. 0: every run makes
    // them.
    uint64_t keep;
    bool direct;               // no convolution by Winograd's way, whatever pays: to choose among kernels of the other
    // For tests: results must not depend on any of these.
    bool no_alias;             // no two tensors share bytes
    bool no_in_place;          // an output never takes the bytes of its input
    bool no_fuse;              // every node by itself
    bool poison;               // planned memory holds NaN before a value is written and, within a run, after its last
                               // use; with no_alias, a band of it behind every tensor must still be there afterwards
    uint64_t max_range;        // pretend this binding limit, in bytes; 0: the device's
    double dispatch_seconds;   // pretend this submission budget; 0: the device's
};

// What a graph needs, known before anything is allocated.
struct vks_exec_plan {
    uint64_t bytes;        // planned memory: values, inputs, scratch
    uint64_t kept_bytes;   // of these, for values that runs have in common (vks_exec_params.keep): never lent
    uint64_t state_bytes;  // storages of states that the graph touches
    double flop;           // of one run, without what is made once
    uint32_t dispatches, barriers, submissions;
};

// Emits, plans, allocates and records. `graph` must outlive the exec and may not be changed any more. NULL when the
// graph has failed, does not fit the device, or memory is short.
struct vks_exec *vks_exec_create(struct vks_graph *graph, const struct vks_exec_params *params);
void vks_exec_destroy(struct vks_exec **exec);
// Plans only.
bool vks_exec_measure(struct vks_graph *graph, const struct vks_exec_params *params, struct vks_exec_plan *plan);
const struct vks_exec_plan *vks_exec_plan(const struct vks_exec *exec);

// Copies a whole tensor, in its own dtype: an INPUT before a run; one marked `keep`, or a STATE, after it. `size` is
// in bytes and must be the tensor's. Column views of states are copied densely.
bool vks_exec_write(struct vks_exec *exec, const struct vks_tensor *tensor, const void *data, uint64_t size);
bool vks_exec_read(struct vks_exec *exec, const struct vks_tensor *tensor, void *data, uint64_t size);

// Submits the recorded work with these step words (NULL: all zero) and waits for it.
bool vks_exec_run(struct vks_exec *exec, const uint32_t step[VKS_STEP_WORDS]);

#endif
