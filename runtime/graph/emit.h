// Dispatches before they have addresses: what operators write and the planner and the recorder read.
#ifndef VKS_GRAPH_EMIT_H
#define VKS_GRAPH_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/gpu.h"
#include "graph/graph.h"

#define VKS_MAX_OPERANDS 8
#define VKS_MAX_PUSH 128

enum vks_access {
    VKS_READ = 1,
    VKS_WRITE = 2,
    VKS_READ_WRITE = 3,
};

// A stretch of a tensor as a kernel sees it: element 0 of the binding is element `first` of the tensor.
struct vks_operand {
    const struct vks_tensor *tensor;  // NULL: the kernel leaves this slot alone; it must write another
    enum vks_access access;
    uint64_t first, count;            // elements; count 0: to the end of the tensor
};

// How many workgroups. Static: x, y, z as they are. Dynamic (per_row > 0): work items follow the valid rows
// [row_first, row_first + row_count) of step[VKS_STEP_ROWS], x = ceil(rows * per_row / per_group); z stays.
struct vks_groups {
    uint32_t x, y, z;
    uint32_t row_first, row_count, per_row, per_group;
    bool long_running;  // some 10 microseconds each on a CPU: worth tickets (shaders/include/vks.glsl)
};

struct vks_dispatch {
    enum vks_kernel kernel;
    uint32_t spec[VKS_MAX_SPEC], spec_count;  // specialisation constants 1, 2, ...
    uint32_t operand_count;
    struct vks_operand operands[VKS_MAX_OPERANDS];
    uint32_t push_size;
    unsigned char push[VKS_MAX_PUSH];
    struct vks_groups groups;
    const struct vks_node *node;
    bool settled;              // by the planner: runs again only when what it reads has changed
};

struct vks_emitter {
    struct vks_graph *graph;
    struct vks_gpu_limits limits;             // what the device, --limits or a test allows; max_range already lacks
                                              // what the alignment of a binding's offset may cost
    uint32_t batch;                           // samples that weights serve in all (vks_exec_params)
    const struct vks_node *node;              // the one being emitted
    struct vks_dispatch *dispatches;
    size_t dispatch_count, dispatch_capacity;
    const struct vks_tensor *step;            // the step buffer, an operand like any other
};

// Appends a dispatch. `push` is the kernel's struct of shaders/push.h.
bool vks_emit(struct vks_emitter *emitter, enum vks_kernel kernel, const struct vks_operand operands[],
              uint32_t operand_count, const void *push, size_t push_size, struct vks_groups groups);
// The same with specialisation constants (the first becomes constant_id 1; 0 is the workgroup size).
bool vks_emit_special(struct vks_emitter *emitter, enum vks_kernel kernel, const uint32_t spec[], uint32_t spec_count,
                      const struct vks_operand operands[], uint32_t operand_count, const void *push,
                      size_t push_size, struct vks_groups groups);
// Memory for the node being emitted, shared with other nodes' scratch; `elements` floats.
struct vks_tensor *vks_emit_scratch(struct vks_emitter *emitter, uint64_t elements);

// Workgroups for `items` invocations of a one-dimensional kernel, `per_group` items each (x, then y).
struct vks_groups vks_groups_1d(uint64_t items, uint32_t per_group);
// The same for rows [first, first + count) of a tensor, `per_row` items a row; follows the step buffer if the tensor
// is dynamic.
struct vks_groups vks_groups_rows(const struct vks_tensor *tensor, uint64_t first, uint64_t count, uint64_t per_row,
                                  uint32_t per_group);

// Elementary cut: how many of `rows` rows a slice may hold when the widest operand takes `row_bytes` bytes a row.
// Zero when a single row is already too long: the operator must cut another axis, or refuse.
uint64_t vks_rows_per_slice(const struct vks_emitter *emitter, uint64_t rows, uint64_t row_bytes);

#endif
