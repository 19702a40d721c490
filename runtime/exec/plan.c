#include "exec/plan.h"

#include <stdlib.h>
#include <string.h>

#include "graph/op.h"

// Follows aliases and in-place decisions to the tensor that owns the bytes.
static uint32_t root_of(struct vks_place *places, uint32_t id)
{
    while (places[id].root != id)
        id = places[id].root;
    return id;
}

void vks_plan_roots(const struct vks_graph *graph, struct vks_place *places)
{
    for (size_t i = 0; i < graph->tensor_count; i++)
        places[i].root = (uint32_t)i;
    for (size_t n = 0; n < graph->node_count; n++) {
        const struct vks_node *node = graph->nodes[n];
        if (node->op->alias)
            places[node->outputs[0]->id].root = root_of(places, node->inputs[0]->id);
    }
}

bool vks_plan_prune(struct vks_emitter *emitter)
{
    struct vks_graph *graph = emitter->graph;
    struct vks_place *places = calloc(graph->tensor_count + 1, sizeof(*places));
    bool *live = calloc(graph->tensor_count + 1, sizeof(*live));
    bool *kept = calloc(emitter->dispatch_count + 1, sizeof(*kept));
    const bool ok = places && live && kept;
    if (!ok)
        vks_graph_fail(graph, VKS_NO_MEMORY);
    if (ok) {
        vks_plan_roots(graph, places);
        for (size_t i = 0; i < graph->tensor_count; i++)
            if (graph->tensors[i]->keep)
                live[root_of(places, (uint32_t)i)] = true;
        for (size_t d = emitter->dispatch_count; d-- > 0;) {
            const struct vks_dispatch *dispatch = &emitter->dispatches[d];
            for (uint32_t i = 0; i < dispatch->operand_count; i++) {
                const struct vks_operand *operand = &dispatch->operands[i];
                if (operand->tensor && (operand->access & VKS_WRITE))
                    kept[d] |= operand->tensor->kind == VKS_TENSOR_STATE ||
                               live[root_of(places, operand->tensor->id)];
            }
            for (uint32_t i = 0; i < dispatch->operand_count && kept[d]; i++)
                if (dispatch->operands[i].tensor && (dispatch->operands[i].access & VKS_READ))
                    live[root_of(places, dispatch->operands[i].tensor->id)] = true;
        }
        size_t count = 0;
        for (size_t d = 0; d < emitter->dispatch_count; d++)
            if (kept[d])
                emitter->dispatches[count++] = emitter->dispatches[d];
        emitter->dispatch_count = count;
    }
    free(places);
    free(live);
    free(kept);
    return ok;
}

static void touch(struct vks_place *places, uint32_t id, uint32_t position)
{
    struct vks_place *place = &places[root_of(places, id)];
    if (place->first > position)
        place->first = position;
    if (place->last < position)
        place->last = position;
}

static void find_lives(const struct vks_emitter *emitter, struct vks_place *places)
{
    const struct vks_graph *graph = emitter->graph;
    const uint32_t end = (uint32_t)emitter->dispatch_count;
    for (size_t i = 0; i < graph->tensor_count; i++) {
        places[i].first = UINT32_MAX;
        places[i].last = 0;
    }
    for (uint32_t d = 0; d < end; d++)
        for (uint32_t i = 0; i < emitter->dispatches[d].operand_count; i++)
            if (emitter->dispatches[d].operands[i].tensor)
                touch(places, emitter->dispatches[d].operands[i].tensor->id, d);
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const struct vks_tensor *tensor = graph->tensors[i];
        struct vks_place *root = &places[root_of(places, (uint32_t)i)];
        if (tensor->keep && root->first != UINT32_MAX)
            root->last = end;
        // Inputs keep their bytes from run to run, whether or not the host writes them again.
        if (tensor->kind == VKS_TENSOR_INPUT) {
            root->first = 0;
            root->last = end;
        }
    }
    for (uint32_t d = 0; d < end; d++)
        for (uint32_t i = 0; i < emitter->dispatches[d].operand_count && emitter->dispatches[d].settled; i++) {
            const struct vks_operand *operand = &emitter->dispatches[d].operands[i];
            if (operand->tensor && (operand->access & VKS_WRITE)) {
                struct vks_place *root = &places[root_of(places, operand->tensor->id)];
                root->kept = true;
                root->first = 0;
                root->last = end;
            }
        }
}

// The last live dispatch of a node.
static bool ends_node(const struct vks_emitter *emitter, uint32_t d)
{
    return d + 1 == emitter->dispatch_count || emitter->dispatches[d + 1].node != emitter->dispatches[d].node;
}

// Lets output 0 of an elementwise node take the bytes of an input that dies there.
static void join_in_place(const struct vks_emitter *emitter, struct vks_place *places)
{
    for (uint32_t d = 0; d < emitter->dispatch_count; d++) {
        const struct vks_node *node = emitter->dispatches[d].node;
        if (!node->op->in_place || !ends_node(emitter, d))
            continue;
        const struct vks_tensor *y = node->outputs[0];
        const uint32_t y_root = root_of(places, y->id);
        if (y_root != y->id || y->kind != VKS_TENSOR_VALUE)
            continue;
        for (uint32_t i = 0; i < node->input_count; i++) {
            const struct vks_tensor *x = node->inputs[i];
            if (!x || !(node->op->in_place >> i & 1) || vks_tensor_elements(x) != vks_tensor_elements(y))
                continue;
            const uint32_t x_root = root_of(places, x->id);
            const struct vks_tensor *owner = emitter->graph->tensors[x_root];
            if (owner->kind != VKS_TENSOR_VALUE || places[x_root].last != d || x_root == y_root ||
                vks_tensor_elements(owner) != vks_tensor_elements(y) || places[x_root].first == UINT32_MAX)
                continue;
            places[x_root].last = places[y_root].last > d ? places[y_root].last : d;
            places[y_root].root = x_root;
            break;
        }
    }
}

int vks_plan_by_size(const void *a, const void *b)
{
    const struct vks_plan_sized *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static bool lives_overlap(const struct vks_place *a, const struct vks_place *b)
{
    return a->first <= b->last && b->first <= a->last;
}

struct gap_search {
    struct vks_place *places;
    const struct vks_plan_sized *placed;
    size_t placed_count;
    bool no_alias;
};

static int by_offset(const void *a, const void *b)
{
    const struct vks_place *const *x = a, *const *y = b;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

// The lowest offset in a block at which `place` collides with nothing that lives at the same time.
static uint64_t lowest_offset(const struct gap_search *search, const struct vks_place *place, uint32_t block,
                              const struct vks_place **neighbours)
{
    size_t count = 0;
    for (size_t i = 0; i < search->placed_count; i++) {
        const struct vks_place *other = &search->places[search->placed[i].id];
        if (other->block == block && (search->no_alias || lives_overlap(place, other)))
            neighbours[count++] = other;
    }
    qsort(neighbours, count, sizeof(*neighbours), by_offset);
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        if (neighbours[i]->offset >= offset + place->size)
            break;
        if (neighbours[i]->offset + neighbours[i]->size > offset)
            offset = neighbours[i]->offset + neighbours[i]->size;
    }
    return offset;
}

// From a new block on.
static bool place_all(const struct vks_emitter *emitter, const struct vks_plan_sized *candidates, size_t count,
                      struct vks_memory_plan *plan, bool no_alias)
{
    const uint32_t first = (uint32_t)plan->block_count;
    struct vks_graph *graph = emitter->graph;
    const struct vks_place **neighbours = malloc((count + 1) * sizeof(*neighbours));
    if (!neighbours)
        return vks_graph_fail(graph, VKS_NO_MEMORY) != NULL;
    const uint64_t largest = emitter->limits.max_alloc;
    bool ok = true;
    for (size_t c = 0; c < count && ok; c++) {
        struct vks_place *place = &plan->places[candidates[c].id];
        const struct gap_search search = {plan->places, candidates, c, no_alias};
        if (place->size > largest)
            vks_graph_fail(graph, "%s alone exceeds what the device allocates at once: use a smaller --micro-batch "
                           "or picture", vks_tensor_text(graph, graph->tensors[candidates[c].id]));
        ok = !graph->failed;
        for (uint32_t block = first; ok; block++) {
            if (block == plan->block_count) {
                if (!vks_grow(&plan->blocks, &plan->block_capacity, plan->block_count, sizeof(*plan->blocks))) {
                    ok = vks_graph_fail(graph, VKS_NO_MEMORY) != NULL;
                    break;
                }
                plan->blocks[plan->block_count++] = 0;
            }
            const uint64_t offset = lowest_offset(&search, place, block, neighbours);
            if (offset + place->size > largest)
                continue;
            place->block = block;
            place->offset = offset;
            if (plan->blocks[block] < offset + place->size)
                plan->blocks[block] = offset + place->size;
            break;
        }
    }
    free(neighbours);
    return ok;
}

bool vks_plan_memory(const struct vks_emitter *emitter, const struct vks_exec_params *params,
                     struct vks_memory_plan *plan)
{
    struct vks_graph *graph = emitter->graph;
    *plan = (struct vks_memory_plan){.tensor_count = graph->tensor_count};
    plan->places = calloc(graph->tensor_count + 1, sizeof(*plan->places));
    struct vks_plan_sized *candidates = malloc((graph->tensor_count + 1) * sizeof(*candidates));
    struct vks_plan_sized *kept = malloc((graph->tensor_count + 1) * sizeof(*kept));
    if (!plan->places || !candidates || !kept) {
        free(candidates);
        free(kept);
        return vks_graph_fail(graph, VKS_NO_MEMORY) != NULL;
    }
    vks_plan_roots(graph, plan->places);
    find_lives(emitter, plan->places);
    if (!params->no_in_place)
        join_in_place(emitter, plan->places);
    const uint64_t align = emitter->limits.offset_align;
    size_t count = 0, kept_count = 0;
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const struct vks_tensor *tensor = graph->tensors[i];
        struct vks_place *place = &plan->places[i];
        place->block = VKS_NO_BLOCK;
        if (place->root != i || tensor->kind == VKS_TENSOR_STATE || place->first == UINT32_MAX)
            continue;
        const uint64_t band = params->poison && params->no_alias ? VKS_BAND : 0;
        const uint64_t bytes = vks_tensor_elements(tensor) * vks_dtype_size(tensor->dtype);
        place->size = (bytes + align - 1) / align * align + (band + align - 1) / align * align;
        *(place->kept ? &kept[kept_count++] : &candidates[count++]) = (struct vks_plan_sized){(uint32_t)i, place->size};
    }
    qsort(candidates, count, sizeof(*candidates), vks_plan_by_size);
    qsort(kept, kept_count, sizeof(*kept), vks_plan_by_size);
    bool ok = place_all(emitter, candidates, count, plan, params->no_alias);
    plan->first_kept = plan->block_count;
    ok = ok && place_all(emitter, kept, kept_count, plan, params->no_alias);
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const uint32_t root = root_of(plan->places, (uint32_t)i);
        plan->places[i].root = root;
        plan->places[i].block = plan->places[root].block;
        plan->places[i].offset = plan->places[root].offset;
    }
    free(candidates);
    free(kept);
    return ok;
}

void vks_memory_plan_finish(struct vks_memory_plan *plan)
{
    free(plan->places);
    free(plan->blocks);
    *plan = (struct vks_memory_plan){0};
}
