// Optimisers over the flat parameters of all maps: one dispatch a step each, cut by columns where they do not fit.
#include "ops/columns.h"
#include "ops/common.h"
#include "ops/ops.h"

// A node without inputs of its own: every operand is a STATE that its attributes name.
static bool states_fit(struct vks_graph *graph, const struct vks_node *node, vks_tensor *const states[],
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (states[i]->dtype != VKS_F32 || states[i]->rank != 1 || states[i]->shape[0] != states[0]->shape[0])
            return vks_graph_fail(graph, "%s: %s does not fit %s", node->op->name, vks_tensor_text(graph, states[i]),
                                  vks_tensor_text(graph, states[0])) != NULL;
    if (states[0]->kind != VKS_TENSOR_STATE)
        return vks_graph_fail(graph, "%s updates states only, not %s", node->op->name,
                              vks_tensor_text(graph, states[0])) != NULL;
    return true;
}

static bool update_infer(struct vks_graph *graph, struct vks_node *node)
{
    if (!states_fit(graph, node, node->inputs, node->input_count))
        return false;
    node->outputs[node->output_count++] = node->inputs[0];
    return true;
}

static bool add_update(struct vks_graph *g, const struct vks_op *op, vks_tensor *const inputs[], uint32_t count,
                       const void *attrs, size_t attrs_size)
{
    for (uint32_t i = 0; i < count; i++)
        if (!inputs[i])
            return false;
    return vks_graph_add(g, op, inputs, count, attrs, attrs_size) != NULL;
}

static double update_flop(const struct vks_node *node)
{
    return 8 * (double)vks_tensor_elements(node->inputs[0]);
}

// ---- sum of rows ------------------------------------------------------------------------------------------------

static bool sum_rows_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *y = node->outputs[0];
    const uint64_t total = x->shape[0], stride = vks_row_stride(x);
    const uint64_t width = vks_min_u64(x->shape[1], vks_binding_words(emitter));
    for (struct vks_stretch cols = {0}; vks_stretch_next(&cols, x->shape[1], width);) {
        const uint64_t fit = vks_rows_per_binding(emitter, cols.count, stride);
        for (struct vks_stretch rows = {0}; vks_stretch_next(&rows, total, fit);) {
            const struct vks_operand operands[] = {
                vks_block_operand(x, VKS_READ, stride, rows.first, rows.count, cols.first, cols.count),
                vks_update(y, cols.first, cols.count),
            };
            const struct vks_push_sum_rows push = {
                .rows = (uint32_t)rows.count,
                .cols = (uint32_t)cols.count,
                .stride = (uint32_t)stride,
                .accumulate = rows.first > 0,
            };
            if (!vks_emit(emitter, VKS_K_sum_rows, operands, 2, &push, sizeof(push),
                          vks_groups_1d(cols.count, VKS_GROUP)))
                return false;
        }
    }
    return true;
}

static bool sum_rows_infer(struct vks_graph *graph, struct vks_node *node)
{
    struct vks_tensor *const grad = *(struct vks_tensor *const *)node->attrs;
    const struct vks_tensor *rows = node->inputs[0];
    if (rows->rank != 2 || grad->rank != 1 || grad->shape[0] != rows->shape[1] || grad->kind != VKS_TENSOR_STATE)
        return vks_graph_fail(graph, "sum_rows: %s does not fit rows of %s", vks_tensor_text(graph, grad),
                              vks_tensor_text(graph, rows)) != NULL;
    node->outputs[node->output_count++] = grad;
    return true;
}

static const struct vks_op op_sum_rows = {
    .name = "sum_rows",
    .infer = sum_rows_infer,
    .emit = sum_rows_emit,
    .flop = update_flop,
    .strided = 1,
};

bool vks_sum_rows(struct vks_graph *g, vks_tensor *rows, vks_tensor *grad)
{
    return rows && grad && vks_graph_add(g, &op_sum_rows, &rows, 1, &grad, sizeof(grad));
}

// ---- SGD and Adam -----------------------------------------------------------------------------------------------

// An elementwise kernel over flat states and, as its last operand, the step buffer: cut into stretches. `first` and
// `count` of the states are filled in here, and so is the first word of `push`: the number of elements.
static bool emit_elements(struct vks_emitter *emitter, enum vks_kernel kernel, struct vks_operand operands[],
                          uint32_t operand_count, void *push, size_t push_size)
{
    const uint64_t total = vks_tensor_elements(operands[0].tensor);
    for (struct vks_stretch at = {0}; vks_stretch_next(&at, total, vks_binding_words(emitter));) {
        const uint32_t elements = (uint32_t)at.count;
        for (uint32_t i = 0; i + 1 < operand_count; i++) {
            operands[i].first = at.first;
            operands[i].count = at.count;
        }
        memcpy(push, &elements, sizeof(elements));
        if (!vks_emit(emitter, kernel, operands, operand_count, push, push_size, vks_groups_1d(at.count, VKS_GROUP)))
            return false;
    }
    return true;
}

static bool sgd_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    struct vks_push_sgd push = {0};
    struct vks_operand operands[] = {
        vks_update(node->inputs[0], 0, 0),
        vks_read(node->inputs[1], 0, 0),
        vks_read(emitter->step, 0, 0),
    };
    return emit_elements(emitter, VKS_K_sgd, operands, 3, &push, sizeof(push));
}

static bool adam_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_adam *attrs = node->attrs;
    struct vks_push_adam push = {.beta1 = attrs->beta1, .beta2 = attrs->beta2, .eps = attrs->eps};
    struct vks_operand operands[] = {
        vks_update(node->inputs[0], 0, 0),
        vks_read(node->inputs[1], 0, 0),
        vks_update(node->inputs[2], 0, 0),
        vks_update(node->inputs[3], 0, 0),
        vks_read(emitter->step, 0, 0),
    };
    return emit_elements(emitter, VKS_K_adam, operands, 5, &push, sizeof(push));
}

static const struct vks_op op_sgd = {
    .name = "sgd",
    .infer = update_infer,
    .emit = sgd_emit,
    .flop = update_flop,
};

static const struct vks_op op_adam = {
    .name = "adam",
    .infer = update_infer,
    .emit = adam_emit,
    .flop = update_flop,
};

bool vks_sgd(struct vks_graph *g, vks_tensor *param, vks_tensor *grad)
{
    vks_tensor *const inputs[] = {param, grad};
    return add_update(g, &op_sgd, inputs, 2, NULL, 0);
}

bool vks_adam(struct vks_graph *g, vks_tensor *param, vks_tensor *grad, vks_tensor *m, vks_tensor *v,
              const struct vks_adam *attrs)
{
    vks_tensor *const inputs[] = {param, grad, m, v};
    return add_update(g, &op_adam, inputs, 4, attrs, sizeof(*attrs));
}

// ---- support ----------------------------------------------------------------------------------------------------

static bool keep_support_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    struct vks_push_keep_support push = {0};
    struct vks_operand operands[] = {
        vks_update(node->inputs[0], 0, 0),
        vks_update(node->inputs[1], 0, 0),
        vks_read(node->inputs[2], 0, 0),
        vks_read(node->inputs[3], 0, 0),
        vks_read(emitter->step, 0, 0),
    };
    return emit_elements(emitter, VKS_K_keep_support, operands, 5, &push, sizeof(push));
}

static const struct vks_op op_keep_support = {
    .name = "keep_support",
    .infer = update_infer,
    .emit = keep_support_emit,
    .flop = update_flop,
};

bool vks_keep_support(struct vks_graph *g, vks_tensor *dw, vks_tensor *db, vks_tensor *w, vks_tensor *b)
{
    vks_tensor *const inputs[] = {dw, db, w, b};
    return add_update(g, &op_keep_support, inputs, 4, NULL, 0);
}

// ---- proximal step ----------------------------------------------------------------------------------------------

// One pass over all elements: soft threshold and partial norms of the groups, or their shrink.
static bool emit_group_pass(struct vks_emitter *emitter, const struct vks_node *node, enum vks_kernel kernel,
                            const struct vks_tensor *part)
{
    const struct vks_prox *attrs = node->attrs;
    const uint32_t groups = node->inputs[1]->shape[0] - 1;
    const bool norms = kernel == VKS_K_prox_norms;
    const uint64_t total = node->inputs[0]->shape[0];
    for (struct vks_stretch at = {0}; vks_stretch_next(&at, total, vks_binding_words(emitter));) {
        const struct vks_operand operands[] = {
            vks_update(node->inputs[0], at.first, at.count),
            vks_read(node->inputs[1], 0, 0),
            vks_read(emitter->step, 0, 0),
            norms ? vks_update(part, 0, 0) : vks_read(part, 0, 0),
        };
        const struct vks_push_prox_group push = {
            .groups = groups,
            .first = (uint32_t)at.first,
            .count = (uint32_t)at.count,
            .center = attrs->center,
            .lambda1 = attrs->lambda1,
            .lambda_group = attrs->lambda_group,
        };
        if (!vks_emit(emitter, kernel, operands, 4, &push, sizeof(push),
                      vks_groups_1d((uint64_t)groups * VKS_PROX_PARTS, VKS_GROUP)))
            return false;
    }
    return true;
}

static bool prox_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_prox *attrs = node->attrs;
    if (attrs->lambda_group == 0) {
        struct vks_push_prox push = {.center = attrs->center, .lambda1 = attrs->lambda1};
        struct vks_operand operands[] = {vks_update(node->inputs[0], 0, 0), vks_read(emitter->step, 0, 0)};
        return emit_elements(emitter, VKS_K_prox, operands, 2, &push, sizeof(push));
    }
    const struct vks_tensor *part =
        vks_emit_scratch(emitter, (uint64_t)VKS_PROX_PARTS * (node->inputs[1]->shape[0] - 1));
    return part && emit_group_pass(emitter, node, VKS_K_prox_norms, part) &&
           emit_group_pass(emitter, node, VKS_K_prox_shrink, part);
}

static bool prox_infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *groups = node->inputs[1];
    if (!states_fit(graph, node, node->inputs, 1))
        return false;
    if (groups && (groups->rank != 1 || groups->shape[0] < 2 || groups->dtype != VKS_I32))
        return vks_graph_fail(graph, "prox: groups are int32 (G + 1), not %s",
                              vks_tensor_text(graph, groups)) != NULL;
    node->outputs[node->output_count++] = node->inputs[0];
    return true;
}

static const struct vks_op op_prox = {
    .name = "prox",
    .infer = prox_infer,
    .emit = prox_emit,
    .flop = update_flop,
};

bool vks_prox(struct vks_graph *g, vks_tensor *param, vks_tensor *groups, const struct vks_prox *attrs)
{
    vks_tensor *const inputs[] = {param, groups};
    if (!param || (!groups && attrs->lambda_group != 0))
        return false;
    return vks_graph_add(g, &op_prox, inputs, 2, attrs, sizeof(*attrs)) != NULL;
}
