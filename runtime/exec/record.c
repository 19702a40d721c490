#include "exec/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/op.h"

// Bytes that a dispatch binds; `memory` identifies the block or storage.
struct span {
    const void *memory;
    uint64_t begin, end;
    bool write;
};

struct hazards {
    struct span *spans;       // since the last barrier
    size_t count, capacity;
};

static bool conflicts(const struct hazards *hazards, const struct span *span)
{
    for (size_t i = 0; i < hazards->count; i++) {
        const struct span *other = &hazards->spans[i];
        if (other->memory == span->memory && other->begin < span->end && span->begin < other->end &&
            (other->write || span->write))
            return true;
    }
    return false;
}

static bool add_span(const struct vks_recorder *recorder, struct hazards *hazards, struct span span)
{
    if (!vks_grow(&hazards->spans, &hazards->capacity, hazards->count, sizeof(*hazards->spans)))
        return vks_fail(recorder->emitter->graph->log, VKS_NO_MEMORY);
    hazards->spans[hazards->count++] = span;
    return true;
}

static bool resolve(const struct vks_recorder *recorder, const struct vks_operand *operand,
                    enum vks_kernel kernel, struct vks_binding *binding, struct span *span)
{
    const struct vks_graph *graph = recorder->emitter->graph;
    const struct vks_place *place = &recorder->plan->places[operand->tensor->id];
    const struct vks_tensor *root = graph->tensors[place->root];
    const uint64_t size = vks_dtype_size(operand->tensor->dtype), align = recorder->emitter->limits.offset_align;
    uint64_t begin = operand->first * size;
    const void *memory;
    if (root->kind == VKS_TENSOR_STATE) {
        begin += root->offset * size;
        binding->storage = root->storage;
        memory = root->storage;
    } else if (place->block != VKS_NO_BLOCK) {
        begin += place->offset;
        binding->storage = recorder->blocks ? recorder->blocks[place->block] : NULL;
        memory = (const char *)recorder->plan->blocks + place->block;
    } else {
        return vks_fail(graph->log, "internal: %s is read by %s but nothing ever wrote it",
                        operand->tensor->name ? operand->tensor->name : "a tensor", vks_kernels[kernel].name);
    }
    uint64_t end = begin + operand->count * size;
    end = (end + 3) / 4 * 4;
    binding->offset = begin / align * align;
    binding->size = end - binding->offset;
    if (binding->size > recorder->max_range)
        return vks_fail(graph->log, "internal: %s binds %llu bytes of %llu", vks_kernels[kernel].name,
                        (unsigned long long)binding->size, (unsigned long long)recorder->max_range);
    binding->first = (uint32_t)((begin - binding->offset) / size);
    binding->element = (uint32_t)size;
    binding->written = (operand->access & VKS_WRITE) != 0;
    // The bound bytes, not only the touched ones: synchronization validation knows no finer, and must stay silent.
    *span = (struct span){memory, binding->offset, end, binding->written};
    return true;
}

// Work of a dispatch in units of the recorder's rate: its share of the node's operations, or its bytes. A graphics
// card does several operations in the time of a byte.
static double work_of(struct vks_recorder *recorder, const struct vks_dispatch *dispatch)
{
    double bytes = 0;
    for (uint32_t i = 0; i < dispatch->operand_count; i++) {
        const struct vks_operand *operand = &dispatch->operands[i];
        if (operand->tensor)
            bytes += (double)operand->count * (double)vks_dtype_size(operand->tensor->dtype);
    }
    if (dispatch->node != recorder->shared) {  // a node's dispatches lie together
        const struct vks_emitter *emitter = recorder->emitter;
        const size_t d = (size_t)(dispatch - emitter->dispatches);
        size_t end = d + 1;
        while (end < emitter->dispatch_count && emitter->dispatches[end].node == dispatch->node)
            end++;
        recorder->shared = dispatch->node;
        recorder->share = dispatch->node->op->flop ? dispatch->node->op->flop(dispatch->node) / (double)(end - d) : 0;
    }
    bytes *= recorder->emitter->limits.is_cpu ? 1 : 8;
    return bytes > recorder->share ? bytes : recorder->share;
}

void vks_dynamic_groups(const struct vks_groups *groups, uint32_t rows, uint32_t xyz[3])
{
    uint64_t valid = rows > groups->row_first ? rows - groups->row_first : 0;
    if (valid > groups->row_count)
        valid = groups->row_count;
    const struct vks_groups now = vks_groups_1d(valid * groups->per_row, groups->per_group);
    xyz[0] = now.x;
    xyz[1] = now.y;
    xyz[2] = groups->z;  // columns: not counted by the step buffer
}

void vks_piece_groups(const struct vks_piece *piece, uint32_t rows, uint32_t base[3], uint32_t xyz[3])
{
    vks_dynamic_groups(&piece->groups, rows, xyz);
    memset(base, 0, 3 * sizeof(*base));
    const uint32_t end = piece->end < xyz[piece->axis] ? piece->end : xyz[piece->axis];
    base[piece->axis] = piece->begin;
    xyz[piece->axis] = end > piece->begin ? end - piece->begin : 0;
}

static bool add_dynamic(struct vks_recorder *recorder, const struct vks_dispatch *dispatch,
                        struct vks_command *command)
{
    if (!vks_grow(&recorder->dynamic, &recorder->dynamic_capacity, recorder->dynamic_count,
                  sizeof(*recorder->dynamic)))
        return vks_fail(recorder->emitter->graph->log, VKS_NO_MEMORY);
    command->indirect = recorder->indirect;
    command->indirect_offset = recorder->dynamic_count * 16;
    recorder->dynamic[recorder->dynamic_count++] = dispatch->groups;
    return !recorder->stream || vks_stream_add(recorder->stream, command);
}

// An indirect dispatch has no first workgroup: the pieces of one get theirs before each run, when the rows are known.
static bool add_late(struct vks_recorder *recorder, const struct vks_piece *piece, const struct vks_command *command)
{
    if (!vks_grow(&recorder->pieces, &recorder->piece_capacity, recorder->piece_count, sizeof(*recorder->pieces)))
        return vks_fail(recorder->emitter->graph->log, VKS_NO_MEMORY);
    recorder->pieces[recorder->piece_count++] = *piece;
    return !recorder->stream || vks_stream_add_late(recorder->stream, command);
}

static bool add_static(struct vks_recorder *recorder, const struct vks_piece *piece, struct vks_command *command)
{
    memcpy(command->groups, (const uint32_t[]){piece->groups.x, piece->groups.y, piece->groups.z},
           sizeof(command->groups));
    command->groups[piece->axis] = piece->end - piece->begin;
    command->base[piece->axis] = piece->begin;
    if (recorder->stream && ((piece->begin > 0 && !vks_stream_cut(recorder->stream)) ||
                             !vks_stream_add(recorder->stream, command)))
        return false;
    command->barrier = false;  // pieces of one dispatch do not depend on each other
    return true;
}

// Adds a command in as many pieces as the budget asks: ranges of workgroups along the longest axis, one submission
// each. Reductions run inside a workgroup, so no piece changes a bit. The budget counts all rows of a dynamic length.
static bool add_pieces(struct vks_recorder *recorder, const struct vks_dispatch *dispatch,
                       struct vks_command *command, double work, double budget)
{
    const bool dynamic = dispatch->groups.per_row > 0;
    uint32_t groups[3] = {dispatch->groups.x, dispatch->groups.y, dispatch->groups.z};
    if (dynamic)
        vks_dynamic_groups(&dispatch->groups, UINT32_MAX, groups);
    const int axis = groups[2] >= groups[1] && groups[2] >= groups[0] ? 2 : groups[1] >= groups[0] ? 1 : 0;
    const uint32_t pieces = work > budget ? (uint32_t)fmin(ceil(work / budget), groups[axis]) : 1;
    if (dynamic && pieces == 1)
        return add_dynamic(recorder, dispatch, command);
    for (uint32_t i = 0; i < pieces; i++) {
        const struct vks_piece piece = {
            .groups = dispatch->groups,
            .axis = axis,
            .begin = (uint32_t)((uint64_t)groups[axis] * i / pieces),
            .end = (uint32_t)((uint64_t)groups[axis] * (i + 1) / pieces),
        };
        recorder->totals.submissions += i > 0;
        if (dynamic ? !add_late(recorder, &piece, command) : !add_static(recorder, &piece, command))
            return false;
    }
    return true;
}

static bool record_one(struct vks_recorder *recorder, const struct vks_dispatch *dispatch, struct hazards *hazards,
                       double *pending)
{
    struct vks_binding bindings[VKS_MAX_OPERANDS] = {{0}}, written = {0};
    struct span spans[VKS_MAX_OPERANDS];
    uint32_t span_count = 0;
    struct vks_command command = {
        .kernel = dispatch->kernel,
        .spec = dispatch->spec,
        .spec_count = dispatch->spec_count,
        .bindings = bindings,
        .binding_count = dispatch->operand_count,
        .push = dispatch->push,
        .push_size = dispatch->push_size,
        .long_running = dispatch->groups.long_running,
    };
    for (uint32_t i = 0; i < dispatch->operand_count; i++) {
        if (!dispatch->operands[i].tensor)
            continue;
        if (!resolve(recorder, &dispatch->operands[i], dispatch->kernel, &bindings[i], &spans[span_count]))
            return false;
        if (spans[span_count].write)
            written = bindings[i];
        command.barrier |= conflicts(hazards, &spans[span_count++]);
    }
    // Slots that the kernel leaves alone get bytes that this dispatch owns anyway.
    for (uint32_t i = 0; i < dispatch->operand_count; i++)
        if (!dispatch->operands[i].tensor)
            bindings[i] = written;
    const double work = work_of(recorder, dispatch);
    const double budget = recorder->rate * recorder->emitter->limits.dispatch_seconds;
    if (*pending > 0 && *pending + work > budget) {
        recorder->totals.submissions++;
        *pending = 0;
        command.barrier = true;
        if (recorder->stream && !vks_stream_cut(recorder->stream))
            return false;
    }
    *pending = work > budget ? budget : *pending + work;
    if (command.barrier) {
        hazards->count = 0;
        recorder->totals.barriers++;
    }
    for (uint32_t i = 0; i < span_count; i++)
        if (!add_span(recorder, hazards, spans[i]))
            return false;
    recorder->totals.dispatches++;
    return add_pieces(recorder, dispatch, &command, work, budget);
}

// Test mode: poisons the values that dispatch `d` was the last to touch, so that a later read of them shows. The
// fills are writes like those of a kernel, and what comes after waits for them.
static bool poison_dead(struct vks_recorder *recorder, uint32_t d, struct hazards *hazards)
{
    const struct vks_memory_plan *plan = recorder->plan;
    for (size_t t = 0; t < plan->tensor_count && recorder->stream; t++) {
        const struct vks_place *place = &plan->places[t];
        if (place->root != t || place->block == VKS_NO_BLOCK || place->last != d || place->first > d ||
            recorder->emitter->graph->tensors[t]->kind != VKS_TENSOR_VALUE)
            continue;
        const void *memory = (const char *)plan->blocks + place->block;
        if (!vks_stream_fill(recorder->stream, recorder->blocks[place->block], place->offset, place->size,
                             VKS_POISON) ||
            !add_span(recorder, hazards, (struct span){memory, place->offset, place->offset + place->size, true}))
            return false;
    }
    return true;
}

bool vks_record(struct vks_recorder *recorder)
{
    struct hazards hazards = {0};
    double pending = 0;
    bool ok = true, any = false;
    const struct vks_dispatch *dispatches = recorder->emitter->dispatches;
    for (uint32_t d = 0; d < recorder->emitter->dispatch_count && ok; d++)
        if (dispatches[d].settled == recorder->settled) {
            ok = record_one(recorder, &dispatches[d], &hazards, &pending) &&
                 (!recorder->poison || poison_dead(recorder, d, &hazards));
            any = true;
        }
    recorder->totals.submissions += any;
    const struct vks_node *counted = NULL;
    for (size_t d = 0; d < recorder->emitter->dispatch_count && ok; d++) {
        const struct vks_node *node = dispatches[d].node;
        if (dispatches[d].settled != recorder->settled)
            continue;
        if (node != counted && node->op->flop)
            recorder->totals.flop += node->op->flop(node);
        counted = node;
    }
    free(hazards.spans);
    return ok;
}
