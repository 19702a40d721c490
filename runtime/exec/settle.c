// What need not run every time: dispatches that read nothing but steady tensors, and what such dispatches made.
#include <stdlib.h>

#include "exec/plan.h"

// A tensor that owns bytes, as the dispatches see it.
struct value {
    uint32_t first_read, last_write;  // by dispatch; one that reads and writes counts as a write
    bool written, changes;            // changes: may differ from run to run
};

static struct value *value_of(const struct vks_place *places, struct value *values, const struct vks_operand *operand)
{
    return &values[places[operand->tensor->id].root];
}

static void see_accesses(const struct vks_emitter *emitter, const struct vks_place *places, struct value *values)
{
    for (size_t i = 0; i < emitter->graph->tensor_count; i++)
        values[i].first_read = UINT32_MAX;
    for (uint32_t d = 0; d < emitter->dispatch_count; d++)
        for (uint32_t i = 0; i < emitter->dispatches[d].operand_count; i++) {
            const struct vks_operand *operand = &emitter->dispatches[d].operands[i];
            if (!operand->tensor)
                continue;
            struct value *value = value_of(places, values, operand);
            if (operand->access & VKS_WRITE) {
                value->last_write = d;
                value->written = true;
            } else if (value->first_read > d) {
                value->first_read = d;
            }
        }
    // Bytes that are written again after they were read hold several values, one after the other, in each run.
    for (size_t i = 0; i < emitter->graph->tensor_count; i++) {
        const struct vks_tensor *tensor = emitter->graph->tensors[i];
        values[i].changes = tensor->kind == VKS_TENSOR_VALUE
                                ? !values[i].written || values[i].last_write > values[i].first_read
                                : values[i].written || !tensor->steady;
    }
}

// Whatever touches a value that changes makes others change: to the fixed point, which comes after a pass or two, as
// dispatches stand in the order in which values flow.
static void spread(struct vks_emitter *emitter, const struct vks_place *places, struct value *values)
{
    bool again = true;
    while (again) {
        again = false;
        for (size_t d = 0; d < emitter->dispatch_count; d++) {
            struct vks_dispatch *dispatch = &emitter->dispatches[d];
            bool changes = dispatch->groups.per_row > 0;  // follows the step buffer
            for (uint32_t i = 0; i < dispatch->operand_count; i++)
                if (dispatch->operands[i].tensor)
                    changes |= value_of(places, values, &dispatch->operands[i])->changes;
            dispatch->settled = !changes;
            for (uint32_t i = 0; i < dispatch->operand_count && changes; i++) {
                const struct vks_operand *operand = &dispatch->operands[i];
                if (!operand->tensor || !(operand->access & VKS_WRITE))
                    continue;
                struct value *value = value_of(places, values, operand);
                again |= !value->changes;
                value->changes = true;
            }
        }
    }
}

// Small values first: they tend to be results, and large ones copies of weights.
static void limit(const struct vks_graph *graph, struct value *values, struct vks_plan_sized *candidates, uint64_t keep)
{
    size_t count = 0;
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const struct vks_tensor *tensor = graph->tensors[i];
        if (tensor->kind == VKS_TENSOR_VALUE && !values[i].changes)
            candidates[count++] = (struct vks_plan_sized){
                (uint32_t)i, vks_tensor_elements(tensor) * vks_dtype_size(tensor->dtype)};
    }
    qsort(candidates, count, sizeof(*candidates), vks_plan_by_size);
    while (count-- > 0) {
        const struct vks_plan_sized *smallest = &candidates[count];
        values[smallest->id].changes = smallest->size > keep;
        keep -= smallest->size > keep ? 0 : smallest->size;
    }
}

bool vks_plan_settle(struct vks_emitter *emitter, uint64_t keep)
{
    struct vks_graph *graph = emitter->graph;
    if (keep == 0)
        return true;
    struct vks_place *places = calloc(graph->tensor_count + 1, sizeof(*places));
    struct value *values = calloc(graph->tensor_count + 1, sizeof(*values));
    struct vks_plan_sized *candidates = calloc(graph->tensor_count + 1, sizeof(*candidates));
    const bool ok = places && values && candidates;
    if (ok) {
        vks_plan_roots(graph, places);
        see_accesses(emitter, places, values);
        spread(emitter, places, values);
        limit(graph, values, candidates, keep);
        spread(emitter, places, values);
    }
    free(places);
    free(values);
    free(candidates);
    return ok || vks_graph_fail(graph, VKS_NO_MEMORY) != NULL;
}
