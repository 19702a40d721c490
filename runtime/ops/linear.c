#include "ops/common.h"
#include "ops/matmul.h"
#include "ops/ops.h"

static uint32_t row_stride(const struct vks_tensor *weight)
{
    return weight->row_stride ? weight->row_stride : weight->shape[1];
}

// Inputs: x, weight, bias or NULL, and what is added to the output, or NULL.
#define INPUTS 4

static bool want_weight(struct vks_graph *graph, const struct vks_node *node)
{
    const struct vks_tensor *w = node->inputs[1];
    if (w->rank != 2 || w->dtype == VKS_I32)
        return vks_graph_fail(graph, "%s: the weight %s %s is no matrix of numbers", node->op->name,
                              vks_tensor_text(graph, w), vks_dtype_name(w->dtype)) != NULL;
    return vks_want_f32(graph, node, 0);
}

static bool infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *w = node->inputs[1], *bias = node->inputs[2];
    if (!want_weight(graph, node) || !vks_want_f32(graph, node, 2))
        return false;
    if (vks_tensor_channels(x) != w->shape[1] || (bias && vks_tensor_elements(bias) != w->shape[0]))
        return vks_graph_fail(graph, "linear: the weight %s%s does not fit %s", vks_tensor_text(graph, w),
                              bias ? " or its bias" : "", vks_tensor_text(graph, x)) != NULL;
    return vks_output_channels(graph, node, x, w->shape[0]) != NULL;
}

static bool infer_transposed(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *w = node->inputs[1];
    if (!want_weight(graph, node))
        return false;
    if (vks_tensor_channels(x) != w->shape[0])
        return vks_graph_fail(graph, "linear_transposed: the weight %s does not fit %s", vks_tensor_text(graph, w),
                              vks_tensor_text(graph, x)) != NULL;
    return vks_output_channels(graph, node, x, w->shape[1]) != NULL;
}

static bool emit_product(struct vks_emitter *emitter, const struct vks_node *node, enum vks_matmul_form form)
{
    const struct vks_tensor *x = node->inputs[0], *w = node->inputs[1], *y = node->outputs[0];
    const uint32_t k = vks_tensor_channels(x), n = vks_tensor_channels(y);
    return vks_emit_matmul(emitter, &(struct vks_matmul){
        .form = form,
        .m = (uint32_t)vks_tensor_rows(x), .n = n, .k = k,
        .a = {.tensor = x, .stride = k},
        .b = {.tensor = w, .stride = row_stride(w)},
        .c = {.tensor = y, .stride = n},
        .bias = node->inputs[2],
        .plus = node->inputs[3],
        .rows = y,
    });
}

static bool emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    return emit_product(emitter, node, VKS_MATMUL_NT);
}

static bool emit_transposed(struct vks_emitter *emitter, const struct vks_node *node)
{
    return emit_product(emitter, node, VKS_MATMUL_NN);
}

// dx = dy W
static bool backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                     const bool want[], struct vks_tensor *dx[])
{
    dx[3] = want[3] ? dy[0] : NULL;
    if (want[0])
        dx[0] = vks_linear_transposed(graph, dy[0], node->inputs[1]);
    return !want[0] || dx[0];
}

// dx = dy Wᵀ
static bool backward_transposed(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                                const bool want[], struct vks_tensor *dx[])
{
    dx[3] = want[3] ? dy[0] : NULL;
    if (want[0])
        dx[0] = vks_linear(graph, dy[0], node->inputs[1], NULL);
    return !want[0] || dx[0];
}

static struct vks_tensor *fuse(struct vks_graph *graph, const struct vks_node *node, const struct vks_node *next)
{
    return vks_fuse_plus(graph, node, next, 3);
}

static double flop(const struct vks_node *node)
{
    return 2.0 * (double)vks_tensor_elements(node->outputs[0]) * (double)vks_tensor_channels(node->inputs[0]);
}

static const struct vks_op linear = {
    .name = "linear",
    .infer = infer,
    .emit = emit,
    .backward = backward,
    .differentiable = 1 | 8,
    .fuse = fuse,
    .flop = flop,
    .strided = 2,
};

static const struct vks_op linear_transposed = {
    .name = "linear_transposed",
    .infer = infer_transposed,
    .emit = emit_transposed,
    .backward = backward_transposed,
    .differentiable = 1 | 8,
    .fuse = fuse,
    .flop = flop,
    .strided = 2,
};

vks_tensor *vks_linear(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, vks_tensor *bias)
{
    if (!x || !weight)
        return NULL;
    return vks_graph_add(g, &linear, (vks_tensor *[]){x, weight, bias, NULL}, INPUTS, NULL, 0);
}

vks_tensor *vks_linear_transposed(struct vks_graph *g, vks_tensor *x, vks_tensor *weight)
{
    if (!x || !weight)
        return NULL;
    return vks_graph_add(g, &linear_transposed, (vks_tensor *[]){x, weight, NULL, NULL}, INPUTS, NULL, 0);
}
