#include "ops/common.h"
#include "ops/ops.h"

struct rope {
    uint32_t heads;
    uint32_t inverse;  // 1: turns back, the gradient
};

static bool infer_rope(struct vks_graph *graph, struct vks_node *node)
{
    const struct rope *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0], *angles = node->inputs[1];
    if (attrs->heads == 0 || vks_tensor_channels(x) % attrs->heads)
        return vks_graph_fail(graph, "rope: the channels of %s do not divide into %u heads",
                              vks_tensor_text(graph, x), attrs->heads) != NULL;
    const uint32_t width = vks_tensor_channels(x) / attrs->heads, turned = vks_tensor_channels(angles);
    if (angles->rank != x->rank || memcmp(angles->shape, x->shape, (x->rank - 1) * sizeof(x->shape[0])) ||
        turned % 2 || turned > width)
        return vks_graph_fail(graph, "rope: %s must have a row for each of %s, of at most %u cosines and sines",
                              vks_tensor_text(graph, angles), vks_tensor_text(graph, x), width) != NULL;
    return vks_want_f32(graph, node, 0) && vks_want_f32(graph, node, 1) && vks_output_like(graph, node, x);
}

static bool emit_rope(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct rope *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0], *angles = node->inputs[1];
    const uint64_t cols = vks_tensor_channels(x), turned = vks_tensor_channels(angles), rows = vks_tensor_rows(x);
    const uint64_t most = vks_rows_per_slice(emitter, rows, 4 * cols);
    if (most == 0)
        return vks_fail_row(emitter, x);
    for (uint64_t row = 0; row < rows; row += most) {
        const uint64_t n = vks_min_u64(most, rows - row);
        const struct vks_operand operands[] = {
            vks_write(node->outputs[0], row * cols, n * cols),
            vks_read(x, row * cols, n * cols),
            vks_read(angles, row * turned, n * turned),
        };
        const struct vks_push_rope push = {
            .rows = (uint32_t)n,
            .heads = attrs->heads,
            .width = (uint32_t)cols / attrs->heads,
            .pairs = (uint32_t)turned / 2,
            // CPU drivers want long invocations, graphics cards many.
            .per_item = emitter->limits.is_cpu ? attrs->heads : 1,
        };
        const bool quads = push.width % 4 == 0 && push.pairs % 4 == 0 && vks_all_aligned(operands, 3);
        const uint32_t spec[] = {attrs->inverse, quads};
        const uint64_t items = (push.width - push.pairs) / (quads ? 4 : 1) * (push.heads / push.per_item);
        if (!vks_emit_special(emitter, VKS_K_rope, spec, 2, operands, 3, &push, sizeof(push),
                              vks_groups_rows(x, row, n, items, VKS_GROUP)))
            return false;
    }
    return true;
}

static double flop_rope(const struct vks_node *node)
{
    return 3.0 * (double)vks_tensor_elements(node->outputs[0]);
}

static bool rope_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                          const bool want[], struct vks_tensor *dx[]);

static const struct vks_op rope_op = {
    .name = "rope",
    .infer = infer_rope,
    .emit = emit_rope,
    .backward = rope_backward,
    .differentiable = 1,
    .flop = flop_rope,
    .in_place = 1,
};

static bool rope_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                          const bool want[], struct vks_tensor *dx[])
{
    struct rope attrs = *(const struct rope *)node->attrs;
    vks_tensor *const inputs[] = {dy[0], node->inputs[1]};
    attrs.inverse ^= 1;
    if (want[0])
        dx[0] = vks_graph_add(graph, &rope_op, inputs, 2, &attrs, sizeof(attrs));
    return !graph->failed;
}

vks_tensor *vks_rope(struct vks_graph *g, vks_tensor *x, vks_tensor *angles, uint32_t heads)
{
    vks_tensor *const inputs[] = {x, angles};
    const struct rope attrs = {.heads = heads};
    return x && angles ? vks_graph_add(g, &rope_op, inputs, 2, &attrs, sizeof(attrs)) : NULL;
}
