// Private to runtime/exec: which dispatches live, which bytes they use, where they must wait.
#ifndef VKS_EXEC_PLAN_H
#define VKS_EXEC_PLAN_H

#include "exec/exec.h"
#include "graph/emit.h"

#define VKS_NO_BLOCK UINT32_MAX
#define VKS_BAND 256  // bytes left free behind every tensor in tests (vks_exec_params.poison)

// Where a tensor's bytes are. Tensors that share bytes by decision (aliases, in place) have the same `root`.
struct vks_place {
    uint32_t root;         // tensor id
    uint32_t first, last;  // positions of the first and last live dispatch that touches it; first > last: unused
    uint32_t block;        // index of a planned block; VKS_NO_BLOCK: a storage of its own
    uint64_t offset;       // bytes from the start of the block
    uint64_t size;         // bytes, rounded up to the offset alignment
    bool kept;             // from run to run: written by settled dispatches alone
};

struct vks_memory_plan {
    struct vks_place *places;      // by tensor id
    size_t tensor_count;
    uint64_t *blocks;              // sizes in bytes
    size_t block_count, block_capacity;
    size_t first_kept;             // blocks from here on hold kept values
};

// A tensor and its bytes; for qsort: the largest first, equal ones by id.
struct vks_plan_sized {
    uint32_t id;
    uint64_t size;
};
int vks_plan_by_size(const void *a, const void *b);
// Sets each tensor's root as far as aliases go.
void vks_plan_roots(const struct vks_graph *graph, struct vks_place *places);
// Drops dispatches that no state and no kept tensor depends on.
bool vks_plan_prune(struct vks_emitter *emitter);
// Marks the dispatches that read nothing but steady tensors and what such dispatches make, as long as their values
// take no more than `keep` bytes: small ones first.
bool vks_plan_settle(struct vks_emitter *emitter, uint64_t keep);
// Assigns bytes to values and inputs.
bool vks_plan_memory(const struct vks_emitter *emitter, const struct vks_exec_params *params,
                     struct vks_memory_plan *plan);
void vks_memory_plan_finish(struct vks_memory_plan *plan);

#endif
