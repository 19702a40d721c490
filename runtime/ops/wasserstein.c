// One-dimensional Wasserstein loss by the coupling of two empirical quantile functions.
#include "ops/columns.h"
#include "ops/ops.h"
#include "shaders/push.h"

uint32_t vks_quantile_coupling(uint32_t b, uint32_t n, int32_t *pairs, float *weights)
{
    // Breakpoints i / b and j / n in units of 1 / (b n): exact, and merged in order.
    uint32_t count = 0, i = 0, j = 0;
    uint64_t at = 0;
    while (i < b && j < n) {
        const uint64_t source_end = (uint64_t)(i + 1) * n, target_end = (uint64_t)(j + 1) * b;
        const uint64_t end = source_end < target_end ? source_end : target_end;
        if (pairs) {
            pairs[2 * count] = (int32_t)i;
            pairs[2 * count + 1] = (int32_t)j;
        }
        if (weights)
            weights[count] = (float)((double)(end - at) / ((double)b * (double)n));
        count++;
        at = end;
        i += source_end == end;
        j += target_end == end;
    }
    return count;
}

struct wasserstein_attrs {
    struct vks_tensor *grad;
    uint32_t p;
};

struct block {
    const struct vks_tensor *sorted, *permutation, *target, *grad;
    uint64_t stride, target_stride, grad_stride;
    uint32_t column, cols;  // of the whole
};

static bool emit_block(struct vks_emitter *emitter, const struct vks_node *node, const struct block *block)
{
    const struct wasserstein_attrs *attrs = node->attrs;
    const uint32_t rows = node->inputs[0]->shape[0], targets = node->inputs[2]->shape[0], cols = block->cols;
    const struct vks_operand operands[] = {
        vks_block_operand(block->sorted, VKS_READ, block->stride, 0, rows, 0, cols),
        vks_block_operand(block->permutation, VKS_READ, block->stride, 0, rows, 0, cols),
        vks_block_operand(block->target, VKS_READ, block->target_stride, 0, targets, 0, cols),
        {node->inputs[3], VKS_READ, 0, 0},
        {node->inputs[4], VKS_READ, 0, 0},
        {node->inputs[5], VKS_READ, block->column, cols},
        {node->outputs[0], VKS_WRITE, block->column, cols},
        vks_block_operand(block->grad, VKS_WRITE, block->grad_stride, 0, rows, 0, cols),
    };
    const struct vks_push_wasserstein push = {
        .rows = rows,
        .cols = cols,
        .pairs = node->inputs[4]->shape[0],
        .stride = (uint32_t)block->stride,
        .target_stride = (uint32_t)block->target_stride,
        .grad_stride = (uint32_t)block->grad_stride,
    };
    return vks_emit_special(emitter, VKS_K_wasserstein, &attrs->p, 1, operands, 8, &push, sizeof(push),
                            vks_groups_1d(cols, 64));
}

// Does not fit one binding: columns go through dense scratch arrays, as many at a time as fit.
static bool emit_cut(struct vks_emitter *emitter, const struct vks_node *node, uint64_t chunk)
{
    const struct vks_tensor *sorted = node->inputs[0], *target = node->inputs[2], *grad = node->outputs[1];
    const uint32_t rows = sorted->shape[0], targets = target->shape[0], cols = sorted->shape[1];
    struct block block = {
        .sorted = vks_emit_scratch(emitter, chunk * rows),
        .permutation = vks_emit_scratch(emitter, chunk * rows),
        .target = vks_emit_scratch(emitter, chunk * targets),
        .grad = vks_emit_scratch(emitter, chunk * rows),
    };
    for (uint64_t column = 0; column < cols && !emitter->graph->failed; column += chunk) {
        block.column = (uint32_t)column;
        block.cols = (uint32_t)(cols - column < chunk ? cols - column : chunk);
        block.stride = block.target_stride = block.grad_stride = block.cols;
        const struct vks_block_copy copies[] = {
            {sorted, block.sorted, cols, block.cols, column, 0, rows, block.cols},
            {node->inputs[1], block.permutation, cols, block.cols, column, 0, rows, block.cols},
            {target, block.target, vks_row_stride(target), block.cols, column, 0, targets, block.cols},
            {block.grad, grad, block.cols, vks_row_stride(grad), 0, column, rows, block.cols},
        };
        if (!vks_emit_copy(emitter, &copies[0]) || !vks_emit_copy(emitter, &copies[1]) ||
            !vks_emit_copy(emitter, &copies[2]) || !emit_block(emitter, node, &block) ||
            !vks_emit_copy(emitter, &copies[3]))
            return false;
    }
    return !emitter->graph->failed;
}

static bool wasserstein_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_tensor *sorted = node->inputs[0], *target = node->inputs[2], *grad = node->outputs[1];
    const uint32_t rows = sorted->shape[0], targets = target->shape[0], cols = sorted->shape[1];
    const struct block whole = {
        .sorted = sorted,
        .permutation = node->inputs[1],
        .target = target,
        .grad = grad,
        .stride = cols,
        .target_stride = vks_row_stride(target),
        .grad_stride = vks_row_stride(grad),
        .cols = cols,
    };
    if (rows <= vks_rows_per_binding(emitter, cols, cols) &&
        targets <= vks_rows_per_binding(emitter, cols, whole.target_stride) &&
        rows <= vks_rows_per_binding(emitter, cols, whole.grad_stride))
        return emit_block(emitter, node, &whole);
    const uint64_t chunk = vks_binding_words(emitter) / (rows > targets ? rows : targets);
    if (chunk == 0)
        return vks_graph_fail(emitter->graph, "wasserstein: %u against %u values exceed a binding: use fewer prompts",
                              rows, targets) != NULL;
    return emit_cut(emitter, node, chunk < cols ? chunk : cols);
}

static bool wasserstein_infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct wasserstein_attrs *attrs = node->attrs;
    const struct vks_tensor *u = node->inputs[0], *permutation = node->inputs[1], *v = node->inputs[2];
    const struct vks_tensor *pairs = node->inputs[3], *weights = node->inputs[4], *scale = node->inputs[5];
    const struct vks_tensor *grad = attrs->grad;
    const bool fits = u->rank == 2 && permutation->rank == 2 && permutation->dtype == VKS_I32 &&
                      permutation->shape[0] == u->shape[0] && permutation->shape[1] == u->shape[1] &&
                      v->rank == 2 && v->shape[1] == u->shape[1] && pairs->rank == 2 && pairs->shape[1] == 2 &&
                      pairs->dtype == VKS_I32 && weights->rank == 1 && weights->shape[0] == pairs->shape[0] &&
                      scale->rank == 1 && scale->shape[0] == u->shape[1] && grad->kind == VKS_TENSOR_STATE &&
                      grad->rank == 2 && grad->shape[0] == u->shape[0] && grad->shape[1] == u->shape[1];
    if (!fits)
        return vks_graph_fail(graph, "wasserstein: %s against %s does not fit gradient %s", vks_tensor_text(graph, u),
                              vks_tensor_text(graph, v), vks_tensor_text(graph, grad)) != NULL;
    if (attrs->p != 1 && attrs->p != 2)
        return vks_graph_fail(graph, "wasserstein: the order is %u: choose 1 or 2", attrs->p) != NULL;
    if (pairs->shape[0] != vks_quantile_coupling(u->shape[0], v->shape[0], NULL, NULL))
        return vks_graph_fail(graph, "wasserstein: %u pairs do not couple %u with %u rows: use vks_quantile_coupling",
                              pairs->shape[0], u->shape[0], v->shape[0]) != NULL;
    if (!vks_graph_output(graph, node, VKS_F32, 1, &u->shape[1]))
        return false;
    node->outputs[node->output_count++] = attrs->grad;
    return true;
}

static double wasserstein_flop(const struct vks_node *node)
{
    return 8.0 * node->inputs[4]->shape[0] * node->inputs[0]->shape[1];
}

static const struct vks_op op_wasserstein = {
    .name = "wasserstein",
    .infer = wasserstein_infer,
    .emit = wasserstein_emit,
    .flop = wasserstein_flop,
    .strided = 4,
};

vks_tensor *vks_wasserstein(struct vks_graph *g, vks_tensor *sorted, vks_tensor *permutation, vks_tensor *target,
                            vks_tensor *pairs, vks_tensor *weights, vks_tensor *column_weight, vks_tensor *grad,
                            uint32_t p)
{
    struct vks_tensor *const inputs[] = {sorted, permutation, target, pairs, weights, column_weight};
    for (uint32_t i = 0; i < 6; i++)
        if (!inputs[i] || !grad)
            return NULL;
    const struct wasserstein_attrs attrs = {.grad = grad, .p = p};
    return vks_graph_add(g, &op_wasserstein, inputs, 6, &attrs, sizeof(attrs));
}
