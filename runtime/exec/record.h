// Private to runtime/exec: from planned dispatches to recorded commands.
#ifndef VKS_EXEC_RECORD_H
#define VKS_EXEC_RECORD_H

#include "exec/plan.h"

#define VKS_POISON 0x7fc0dead  // a NaN that no kernel makes

// A piece of a dispatch that is cut by time: workgroups [begin, end) along one axis (dynamic: of those that the valid
// rows need).
struct vks_piece {
    struct vks_groups groups;
    int axis;
    uint32_t begin, end;
};

struct vks_recorder {
    struct vks_gpu *gpu;
    const struct vks_emitter *emitter;
    const struct vks_memory_plan *plan;
    struct vks_storage *const *blocks;   // by plan block; NULL when only measuring
    struct vks_storage *indirect;        // NULL when only measuring
    struct vks_stream *stream;           // NULL when only measuring
    struct vks_groups *dynamic;          // out: heap, one a dynamic dispatch
    size_t dynamic_count, dynamic_capacity;
    struct vks_piece *pieces;            // out: heap, one a late command of the stream
    size_t piece_count, piece_capacity;
    bool settled;                        // records the settled dispatches, else all others
    bool poison;                         // fill a value's bytes with VKS_POISON after its last use
    uint64_t max_range;                  // bytes of a binding: the device's, or what a test pretends
    double rate;                         // floating-point operations a second that the device is taken to do
    const struct vks_node *shared;       // the node of the last dispatch, and what each of its dispatches has
    double share;                        // of its operations
    struct vks_exec_plan totals;         // out: flop, dispatches, barriers, submissions
};

// Records all dispatches: derives barriers from the bytes each one touches, cuts long ones by workgroups.
bool vks_record(struct vks_recorder *recorder);
// Workgroups of a dynamic dispatch when `rows` leading rows are valid.
void vks_dynamic_groups(const struct vks_groups *groups, uint32_t rows, uint32_t xyz[3]);
// The same of a piece, from `base` on; none beyond the valid rows.
void vks_piece_groups(const struct vks_piece *piece, uint32_t rows, uint32_t base[3], uint32_t xyz[3]);

#endif
