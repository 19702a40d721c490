#include "exec/exec.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "exec/record.h"
#include "graph/op.h"

struct vks_exec {
    struct vks_graph *graph;
    struct vks_exec_params params;
    struct vks_emitter emitter;
    struct vks_memory_plan memory;
    struct vks_exec_plan plan;
    struct vks_storage **blocks, *step, *indirect;
    struct vks_stream *stream, *once;  // once: the settled dispatches
    bool current;            // the values that `once` makes are those of what it reads
    struct vks_groups *dynamic;
    size_t dynamic_count;
    struct vks_piece *pieces;
    size_t piece_count;
    uint64_t piece_rows;     // valid rows that the pieces were last set for; none yet: UINT64_MAX
    uint64_t max_range;      // bytes of a binding
    uint32_t *groups;        // (dynamic_count, 4): what the indirect dispatches read
    void **steady;           // by tensor id: the bytes that a steady input was given, or NULL
};

static bool emit_all(struct vks_exec *exec)
{
    struct vks_graph *graph = exec->graph;
    struct vks_emitter *emitter = &exec->emitter;
    const uint32_t words[] = {VKS_STEP_WORDS};
    emitter->graph = graph;
    emitter->limits = *vks_gpu_limits(exec->params.gpu);
    if (exec->params.max_range && exec->params.max_range < emitter->limits.max_range)
        emitter->limits.max_range = exec->params.max_range;
    exec->max_range = emitter->limits.max_range;
    // A binding begins at a multiple of the alignment and ends with a word: it may be longer than what it is for.
    if (emitter->limits.max_range > 2 * emitter->limits.offset_align)
        emitter->limits.max_range -= emitter->limits.offset_align;
    if (exec->params.dispatch_seconds > 0)
        emitter->limits.dispatch_seconds = exec->params.dispatch_seconds;
    emitter->limits.winograd &= !exec->params.direct;
    emitter->batch = exec->params.batch ? exec->params.batch : 1;
    emitter->step = vks_graph_state(graph, "step", VKS_F32, 1, words, exec->step, 0);
    for (size_t n = 0; n < graph->node_count && !graph->failed; n++) {
        emitter->node = graph->nodes[n];
        if (!emitter->node->op->emit(emitter, emitter->node) && !graph->failed)
            vks_graph_fail(graph, "the operator %s could not be planned", emitter->node->op->name);
    }
    return !graph->failed && vks_plan_prune(emitter) && vks_plan_settle(emitter, exec->params.keep) &&
           vks_plan_memory(emitter, &exec->params, &exec->memory);
}

// The lender's storage for planned block `b`, or NULL.
static struct vks_storage *lent(const struct vks_exec *exec, size_t b)
{
    const struct vks_exec *lender = exec->params.lender;
    return lender && b < lender->memory.first_kept && b < exec->memory.first_kept &&
           vks_storage_size(lender->blocks[b]) >= exec->memory.blocks[b] ? lender->blocks[b] : NULL;
}

// Whether the planned blocks fit what may still be used, beside the states, which have their storages already.
static bool fits_memory(struct vks_exec *exec)
{
    struct vks_exec_params *params = &exec->params;
    uint64_t bytes, left, budget;
    do {
        bytes = 0;
        for (size_t b = 0; b < exec->memory.block_count; b++)
            bytes += lent(exec, b) ? 0 : exec->memory.blocks[b];
        left = vks_gpu_available(params->gpu, &budget);
    } while (bytes > left && params->make_room && params->make_room(params->make_room_priv, &params->lender));
    return bytes <= left ||
           vks_fail(exec->graph->log, "the plan needs %llu MiB, and of the %llu MiB that may be used %llu are left: "
                    "use a smaller --micro-batch or picture (-W, -H), or raise --memory",
                    (unsigned long long)(bytes >> 20), (unsigned long long)(budget >> 20),
                    (unsigned long long)(left >> 20));
}

static int by_address(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)*(void *const *)a, y = (uintptr_t)*(void *const *)b;
    return (x > y) - (x < y);
}

// Storages count once, however many tensors lie in one, and only if a dispatch touches it.
static bool sum_bytes(struct vks_exec *exec)
{
    const struct vks_emitter *emitter = &exec->emitter;
    const struct vks_storage **storages =
        malloc((emitter->dispatch_count * VKS_MAX_OPERANDS + 1) * sizeof(*storages));
    size_t count = 0;
    if (!storages)
        return vks_fail(exec->graph->log, VKS_NO_MEMORY);
    for (size_t d = 0; d < emitter->dispatch_count; d++)
        for (uint32_t i = 0; i < emitter->dispatches[d].operand_count; i++) {
            const struct vks_tensor *tensor = emitter->dispatches[d].operands[i].tensor;
            if (tensor && tensor->storage)
                storages[count++] = tensor->storage;
        }
    qsort(storages, count, sizeof(*storages), by_address);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || storages[i] != storages[i - 1])
            exec->plan.state_bytes += vks_storage_size(storages[i]);
    for (size_t b = 0; b < exec->memory.block_count; b++) {
        exec->plan.bytes += exec->memory.blocks[b];
        exec->plan.kept_bytes += b < exec->memory.first_kept ? 0 : exec->memory.blocks[b];
    }
    free(storages);
    return true;
}

static bool allocate(struct vks_exec *exec)
{
    struct vks_gpu *gpu = exec->params.gpu;
    const size_t count = exec->memory.block_count;
    exec->blocks = calloc(count + 1, sizeof(*exec->blocks));
    exec->steady = calloc(exec->memory.tensor_count + 1, sizeof(*exec->steady));
    if (!exec->blocks || !exec->steady)
        return vks_fail(exec->graph->log, VKS_NO_MEMORY);
    exec->stream = vks_stream_create(gpu);
    exec->once = vks_stream_create(gpu);
    // Sixteen bytes for each dispatch that might be dynamic.
    exec->indirect = vks_storage_create(gpu, 16 * (exec->emitter.dispatch_count + 1));
    if (!exec->stream || !exec->once || !exec->indirect)
        return false;
    for (size_t b = 0; b < count; b++) {
        const uint32_t word = exec->params.poison && b >= exec->memory.first_kept ? VKS_POISON : 0;
        exec->blocks[b] = lent(exec, b) ? lent(exec, b) : vks_storage_create(gpu, exec->memory.blocks[b]);
        if (!exec->blocks[b] || !vks_storage_fill(exec->blocks[b], 0, exec->memory.blocks[b], word))
            return false;
    }
    return true;
}

// The settled dispatches, which none of the others precedes, and then these.
static bool record(struct vks_exec *exec)
{
    struct vks_recorder recorder = {
        .gpu = exec->params.gpu,
        .emitter = &exec->emitter,
        .plan = &exec->memory,
        .blocks = exec->blocks,
        .indirect = exec->indirect,
        .stream = exec->once,
        .settled = true,
        .max_range = exec->max_range,
        .rate = vks_gpu_rate(exec->params.gpu),
    };
    if (!vks_record(&recorder))
        return false;
    recorder.stream = exec->stream;
    recorder.settled = false;
    recorder.poison = exec->params.poison;
    recorder.totals.flop = 0;
    const bool ok = vks_record(&recorder);
    exec->dynamic = recorder.dynamic;
    exec->dynamic_count = recorder.dynamic_count;
    exec->pieces = recorder.pieces;
    exec->piece_count = recorder.piece_count;
    exec->plan = recorder.totals;
    exec->groups = calloc(exec->dynamic_count + 1, 4 * sizeof(*exec->groups));
    return ok && (exec->groups || vks_fail(exec->graph->log, VKS_NO_MEMORY));
}

// `run`: allocate and record too; otherwise only measure.
static struct vks_exec *build(struct vks_graph *graph, const struct vks_exec_params *params, bool run)
{
    if (graph->failed || (!params->no_fuse && !vks_graph_fuse(graph)))
        return NULL;
    struct vks_exec *exec = calloc(1, sizeof(*exec));
    if (!exec)
        return vks_fail_null(graph->log, VKS_NO_MEMORY);
    exec->graph = graph;
    exec->params = *params;
    exec->piece_rows = UINT64_MAX;
    if (run && !(exec->step = vks_storage_create(params->gpu, VKS_STEP_WORDS * 4)))
        goto fail;
    if (!emit_all(exec) || (run && (!fits_memory(exec) || !allocate(exec))) || !record(exec) || !sum_bytes(exec))
        goto fail;
    return exec;
fail:
    graph->failed = true;
    vks_exec_destroy(&exec);
    return NULL;
}

struct vks_exec *vks_exec_create(struct vks_graph *graph, const struct vks_exec_params *params)
{
    return build(graph, params, true);
}

bool vks_exec_measure(struct vks_graph *graph, const struct vks_exec_params *params, struct vks_exec_plan *plan)
{
    struct vks_exec *exec = build(graph, params, false);
    if (exec)
        *plan = exec->plan;
    const bool ok = exec != NULL;
    vks_exec_destroy(&exec);
    return ok;
}

void vks_exec_destroy(struct vks_exec **exec_address)
{
    struct vks_exec *exec = *exec_address;
    if (!exec)
        return;
    *exec_address = NULL;
    vks_stream_destroy(&exec->stream);
    vks_stream_destroy(&exec->once);
    for (size_t i = 0; exec->steady && i < exec->memory.tensor_count; i++)
        free(exec->steady[i]);
    free(exec->steady);
    for (size_t b = 0; exec->blocks && b < exec->memory.block_count; b++)
        if (!lent(exec, b))
            vks_storage_destroy(&exec->blocks[b]);
    free(exec->blocks);
    vks_storage_destroy(&exec->step);
    vks_storage_destroy(&exec->indirect);
    vks_memory_plan_finish(&exec->memory);
    free(exec->emitter.dispatches);
    free(exec->dynamic);
    free(exec->pieces);
    free(exec->groups);
    free(exec);
}

const struct vks_exec_plan *vks_exec_plan(const struct vks_exec *exec)
{
    return &exec->plan;
}

// Where the tensor's bytes begin.
static struct vks_storage *locate(const struct vks_exec *exec, const struct vks_tensor *tensor, uint64_t *offset)
{
    const struct vks_place *place = &exec->memory.places[tensor->id];
    const struct vks_tensor *root = exec->graph->tensors[place->root];
    if (root->kind == VKS_TENSOR_STATE) {
        *offset = root->offset * vks_dtype_size(root->dtype);
        return root->storage;
    }
    if (place->block == VKS_NO_BLOCK)
        return vks_fail_null(exec->graph->log, "internal: %s has no bytes: mark it `keep`",
                             tensor->name ? tensor->name : "a tensor");
    *offset = place->offset;
    return exec->blocks[place->block];
}

static bool copy(struct vks_exec *exec, const struct vks_tensor *tensor, const char *in, char *out, uint64_t size)
{
    uint64_t offset, rows = 1, stride = 0;
    struct vks_storage *storage = locate(exec, tensor, &offset);
    const uint64_t whole = vks_tensor_elements(tensor) * vks_dtype_size(tensor->dtype);
    if (!storage)
        return false;
    if (size != whole)
        return vks_fail(exec->graph->log, "internal: a copy of %llu bytes to or from %s, which has %llu",
                        (unsigned long long)size, tensor->name ? tensor->name : "a tensor",
                        (unsigned long long)whole);
    if (tensor->row_stride) {
        rows = tensor->shape[0];
        stride = (uint64_t)tensor->row_stride * vks_dtype_size(tensor->dtype);
    }
    const uint64_t part = whole / rows;
    for (uint64_t row = 0; row < rows; row++) {
        const uint64_t at = offset + row * stride;
        const bool ok = in ? vks_storage_write(storage, at, in + row * part, part)
                           : vks_storage_read(storage, at, out + row * part, part);
        if (!ok)
            return false;
    }
    return true;
}

// What the settled dispatches made is no longer current if a steady input gets other bytes than the last ones.
static bool note_steady(struct vks_exec *exec, const struct vks_tensor *tensor, const void *data, uint64_t size)
{
    void **bytes = &exec->steady[tensor->id];
    if (!exec->params.keep || !tensor->steady || tensor->kind != VKS_TENSOR_INPUT)
        return true;
    if (*bytes && !memcmp(*bytes, data, size))
        return true;
    exec->current = false;
    if (!*bytes && !(*bytes = malloc(size)))
        return vks_fail(exec->graph->log, VKS_NO_MEMORY);
    memcpy(*bytes, data, size);
    return true;
}

bool vks_exec_write(struct vks_exec *exec, const struct vks_tensor *tensor, const void *data, uint64_t size)
{
    return copy(exec, tensor, data, NULL, size) && note_steady(exec, tensor, data, size);
}

bool vks_exec_read(struct vks_exec *exec, const struct vks_tensor *tensor, void *data, uint64_t size)
{
    return copy(exec, tensor, NULL, data, size);
}

// Fills what holds no input with NaN, so that a value read before it is written shows; the recorder does the same to
// what nothing reads any more.
static bool poison(struct vks_exec *exec)
{
    for (size_t b = 0; b < exec->memory.first_kept; b++) {
        uint64_t at = 0;
        while (at < exec->memory.blocks[b]) {
            uint64_t next = exec->memory.blocks[b], after = next;
            for (size_t t = 0; t < exec->memory.tensor_count; t++) {
                const struct vks_place *place = &exec->memory.places[t];
                if (place->block == b && place->root == t && exec->graph->tensors[t]->kind == VKS_TENSOR_INPUT &&
                    place->offset >= at && place->offset < next) {
                    next = place->offset;
                    after = place->offset + place->size;
                }
            }
            if (next > at && !vks_storage_fill(exec->blocks[b], at, next - at, VKS_POISON))
                return false;
            at = after;
        }
    }
    return true;
}

// The bands that the planner left behind tensors must still hold the poison.
static bool bands_hold(struct vks_exec *exec)
{
    for (size_t t = 0; t < exec->memory.tensor_count; t++) {
        const struct vks_place *place = &exec->memory.places[t];
        uint32_t band[VKS_BAND / 4];
        if (place->block == VKS_NO_BLOCK || place->root != t)
            continue;
        const struct vks_tensor *tensor = exec->graph->tensors[t];
        if (!vks_storage_read(exec->blocks[place->block], place->offset + place->size - VKS_BAND, band, VKS_BAND))
            return false;
        for (size_t i = 0; i < VKS_BAND / 4; i++)
            if (band[i] != VKS_POISON && tensor->kind != VKS_TENSOR_INPUT)
                return vks_fail(exec->graph->log, "internal: something wrote behind %s",
                                vks_tensor_text(exec->graph, tensor));
    }
    return true;
}

// Hands the device the workgroups that `rows` valid rows need.
static bool set_rows(struct vks_exec *exec, uint32_t rows)
{
    // In one piece: on graphics cards every write is a submission of its own.
    for (size_t i = 0; i < exec->dynamic_count; i++)
        vks_dynamic_groups(&exec->dynamic[i], rows, &exec->groups[4 * i]);
    if (exec->dynamic_count && !vks_storage_write(exec->indirect, 0, exec->groups, 16 * exec->dynamic_count))
        return false;
    if (exec->piece_rows == rows)
        return true;
    exec->piece_rows = UINT64_MAX;
    for (size_t i = 0; i < exec->piece_count; i++) {
        uint32_t base[3], groups[3];
        vks_piece_groups(&exec->pieces[i], rows, base, groups);
        if (!vks_stream_set(exec->stream, i, base, groups))
            return false;
    }
    exec->piece_rows = rows;
    return true;
}

bool vks_exec_run(struct vks_exec *exec, const uint32_t step[VKS_STEP_WORDS])
{
    static const uint32_t zeros[VKS_STEP_WORDS];
    const uint32_t *words = step ? step : zeros;
    if (exec->params.poison && !poison(exec))
        return false;
    if (!vks_storage_write(exec->step, 0, words, VKS_STEP_WORDS * sizeof(*words)) ||
        !set_rows(exec, words[VKS_STEP_ROWS]))
        return false;
    if (!exec->current && !vks_stream_run(exec->once))
        return false;
    exec->current = true;
    const double start = vks_os_seconds();
    if (!vks_stream_run(exec->stream))
        return false;
    // The plan counts all rows of a dynamic length: a short one would look like a fast device.
    if (!exec->dynamic_count && !exec->piece_count)
        vks_gpu_learn_rate(exec->params.gpu, exec->plan.flop, vks_os_seconds() - start);
    return !exec->params.poison || !exec->params.no_alias || bands_hold(exec);
}
