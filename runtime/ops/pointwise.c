#include "ops/common.h"
#include "ops/ops.h"

static double flop_1(const struct vks_node *node)
{
    return (double)vks_tensor_elements(node->outputs[0]);
}

// Counts a function of exp and polynomials as what it costs beside a multiply-add.
static double flop_20(const struct vks_node *node)
{
    return 20.0 * (double)vks_tensor_elements(node->outputs[0]);
}

// The output has input 0's shape, and so have all other inputs.
static bool infer_same(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0];
    for (uint32_t i = 0; i < node->input_count; i++) {
        if (!vks_want_f32(graph, node, i))
            return false;
        if (!vks_same_shape(x, node->inputs[i]))
            return vks_graph_fail(graph, "%s: %s and %s must have one shape", node->op->name,
                                  vks_tensor_text(graph, x), vks_tensor_text(graph, node->inputs[i])) != NULL;
    }
    return vks_output_like(graph, node, x) != NULL;
}

// ---- unary ------------------------------------------------------------------------------------------------------

static bool emit_unary(struct vks_emitter *emitter, const struct vks_node *node)
{
    const uint32_t backward = node->input_count == 2;
    const uint32_t spec[] = {*(const uint32_t *)node->attrs, backward};
    struct vks_operand operands[] = {vks_write(node->outputs[0], 0, 0), vks_read(node->inputs[0], 0, 0),
                                     backward ? vks_read(node->inputs[1], 0, 0) : vks_unused()};
    struct vks_push_flat push;
    return vks_emit_flat(emitter, VKS_K_unary, spec, 2, operands, 3, &push, sizeof(push));
}

// inputs: x, dy
static const struct vks_op unary_backward_op = {
    .name = "unary_backward",
    .infer = infer_same,
    .emit = emit_unary,
    .flop = flop_20,
    .in_place = 1 | 2,
};

static bool unary_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                           const bool want[], struct vks_tensor *dx[])
{
    struct vks_tensor *inputs[] = {node->inputs[0], dy[0]};
    if (want[0])
        dx[0] = vks_graph_add(graph, &unary_backward_op, inputs, 2, node->attrs, node->attrs_size);
    return !graph->failed;
}

static const struct vks_op unary_op = {
    .name = "unary",
    .infer = infer_same,
    .emit = emit_unary,
    .backward = unary_backward,
    .differentiable = 1,
    .flop = flop_20,
    .in_place = 1,
};

bool vks_is_unary(const struct vks_node *node, enum vks_unary *kind)
{
    if (node->op != &unary_op)
        return false;
    *kind = (enum vks_unary)*(const uint32_t *)node->attrs;
    return true;
}

vks_tensor *vks_unary(struct vks_graph *g, vks_tensor *x, enum vks_unary kind)
{
    const uint32_t attrs = kind;
    if (x && (uint32_t)kind > VKS_SIGMOID)
        return vks_graph_fail(g, "there is no unary function %u", attrs);
    return x ? vks_graph_add(g, &unary_op, &x, 1, &attrs, sizeof(attrs)) : NULL;
}

// ---- geglu ------------------------------------------------------------------------------------------------------

static bool infer_geglu(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0];
    if (vks_tensor_channels(x) % 2)
        return vks_graph_fail(graph, "geglu: %s has an odd number of channels and no two halves",
                              vks_tensor_text(graph, x)) != NULL;
    return vks_want_f32(graph, node, 0) && vks_output_channels(graph, node, x, vks_tensor_channels(x) / 2);
}

static bool emit_geglu(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *y = node->outputs[0];
    const uint32_t backward = node->input_count == 2, cols = vks_tensor_channels(x) / 2;
    const uint32_t y_cols = backward ? 2 * cols : cols;
    const uint64_t rows = vks_tensor_rows(x), most = vks_rows_per_slice(emitter, rows, 8 * (uint64_t)cols);
    if (most == 0)
        return vks_fail_row(emitter, x);
    for (uint64_t row = 0; row < rows; row += most) {
        const uint64_t n = vks_min_u64(most, rows - row);
        const struct vks_operand operands[] = {
            vks_write(y, row * y_cols, n * y_cols),
            vks_read(x, row * 2 * cols, n * 2 * cols),
            backward ? vks_read(node->inputs[1], row * cols, n * cols) : vks_unused(),
        };
        const struct vks_push_rows push = {(uint32_t)n, cols};
        const uint32_t spec[] = {backward, cols % 4 == 0 && vks_all_aligned(operands, 3)};
        if (!vks_emit_special(emitter, VKS_K_geglu, spec, 2, operands, 3, &push, sizeof(push),
                              vks_groups_rows(x, row, n, cols, VKS_GROUP * VKS_ELEMENTS)))
            return false;
    }
    return true;
}

static bool infer_geglu_backward(struct vks_graph *graph, struct vks_node *node)
{
    return vks_output_like(graph, node, node->inputs[0]) != NULL;
}

// inputs: x, dy
static const struct vks_op geglu_backward_op = {
    .name = "geglu_backward",
    .infer = infer_geglu_backward,
    .emit = emit_geglu,
    .flop = flop_20,
};

static bool geglu_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                           const bool want[], struct vks_tensor *dx[])
{
    struct vks_tensor *inputs[] = {node->inputs[0], dy[0]};
    if (want[0])
        dx[0] = vks_graph_add(graph, &geglu_backward_op, inputs, 2, NULL, 0);
    return !graph->failed;
}

static const struct vks_op geglu_op = {
    .name = "geglu",
    .infer = infer_geglu,
    .emit = emit_geglu,
    .backward = geglu_backward,
    .differentiable = 1,
    .flop = flop_20,
};

vks_tensor *vks_geglu(struct vks_graph *g, vks_tensor *x)
{
    return x ? vks_graph_add(g, &geglu_op, &x, 1, NULL, 0) : NULL;
}

// ---- reduce_rows: the gradient of a repeated summand --------------------------------------------------------------

struct reduce_rows {
    uint32_t rank, shape[VKS_MAX_RANK];  // of the result, (outputs, C)
    uint32_t outputs, count;             // results, and rows of x that each sums
    uint32_t out_stride, row_stride;     // rows of x from result to result, and from summand to summand
};

static bool infer_reduce_rows(struct vks_graph *graph, struct vks_node *node)
{
    const struct reduce_rows *attrs = node->attrs;
    return vks_graph_output(graph, node, VKS_F32, attrs->rank, attrs->shape) != NULL;
}

// Sums `count` rows from row `row` on for each of `outputs` results from result `o` on.
static bool emit_reduction(struct vks_emitter *emitter, const struct vks_node *node, uint32_t o, uint32_t outputs,
                           uint32_t row, uint32_t count)
{
    const struct reduce_rows *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0], *y = node->outputs[0];
    const uint64_t cols = vks_tensor_channels(x);
    const uint64_t first = o * (uint64_t)attrs->out_stride + row * (uint64_t)attrs->row_stride;
    const uint64_t span = (outputs - 1) * (uint64_t)attrs->out_stride + (count - 1) * (uint64_t)attrs->row_stride + 1;
    const struct vks_operand operands[] = {
        row ? vks_update(y, o * cols, outputs * cols) : vks_write(y, o * cols, outputs * cols),
        vks_read(x, first * cols, span * cols),
    };
    const struct vks_push_reduce_rows push = {
        outputs, (uint32_t)cols, count, attrs->out_stride, attrs->row_stride, row > 0,
    };
    return vks_emit(emitter, VKS_K_reduce_rows, operands, 2, &push, sizeof(push),
                    vks_groups_1d(outputs * cols, VKS_GROUP));
}

static bool emit_reduce_rows(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct reduce_rows *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0];
    const uint64_t rows = vks_tensor_rows(x);
    const uint64_t most = vks_rows_per_slice(emitter, rows, 4 * (uint64_t)vks_tensor_channels(x));
    if (most == 0)
        return vks_fail_row(emitter, x);
    if (most >= rows)
        return emit_reduction(emitter, node, 0, attrs->outputs, 0, attrs->count);
    // Results that lie one after another in x are taken several at a time or in pieces; results that interleave are
    // summed row by row.
    const bool interleaved = attrs->row_stride != 1;
    const uint32_t count = interleaved ? 1 : (uint32_t)vks_min_u64(most, attrs->count);
    const uint32_t outputs = (uint32_t)vks_min_u64(interleaved ? most : most / count, attrs->outputs);
    for (uint32_t o = 0; o < attrs->outputs; o += outputs)
        for (uint32_t r = 0; r < attrs->count; r += count)
            if (!emit_reduction(emitter, node, o, (uint32_t)vks_min_u64(outputs, attrs->outputs - o), r,
                                (uint32_t)vks_min_u64(count, attrs->count - r)))
                return false;
    return true;
}

static double flop_reduce_rows(const struct vks_node *node)
{
    return (double)vks_tensor_elements(node->inputs[0]);
}

static const struct vks_op reduce_rows_op = {
    .name = "reduce_rows",
    .infer = infer_reduce_rows,
    .emit = emit_reduce_rows,
    .flop = flop_reduce_rows,
};

// ---- add --------------------------------------------------------------------------------------------------------

// Row r of x meets row (r / row_divide) % row_modulo of z.
struct add {
    uint32_t row_divide, row_modulo;
};

static bool emit_add(struct vks_emitter *emitter, const struct vks_node *node)
{
    const uint32_t form = 0;
    struct vks_operand operands[] = {vks_write(node->outputs[0], 0, 0), vks_read(node->inputs[0], 0, 0),
                                     vks_read(node->inputs[1], 0, 0)};
    struct vks_push_add push = {0};
    return vks_emit_flat(emitter, VKS_K_add, &form, 1, operands, 3, &push, sizeof(push));
}

static bool infer_add_rows(struct vks_graph *graph, struct vks_node *node)
{
    return vks_want_f32(graph, node, 0) && vks_want_f32(graph, node, 1) &&
           vks_output_like(graph, node, node->inputs[0]);
}

static bool emit_add_rows(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct add *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0], *z = node->inputs[1], *y = node->outputs[0];
    const uint64_t cols = vks_tensor_channels(x), rows = vks_tensor_rows(x);
    const uint64_t most = vks_rows_per_slice(emitter, rows, 4 * cols);
    const bool z_fits = 4 * vks_tensor_elements(z) <= emitter->limits.max_range;
    const uint32_t form = attrs->row_divide == 1 ? 1 : 2;
    if (most == 0)
        return vks_fail_row(emitter, x);
    for (uint64_t row = 0, n; row < rows; row += n) {
        n = vks_min_u64(most, rows - row);
        uint64_t z_first = 0, z_rows = vks_tensor_elements(z) / cols;
        if (!z_fits) {  // bind the stretch of z that these rows meet, and stop where it starts over
            z_first = row / attrs->row_divide % attrs->row_modulo;
            if (attrs->row_divide == 1)
                n = vks_min_u64(n, attrs->row_modulo - z_first);
            z_rows = (row + n - 1) / attrs->row_divide % attrs->row_modulo - z_first + 1;
        }
        const struct vks_operand operands[] = {
            vks_write(y, row * cols, n * cols),
            vks_read(x, row * cols, n * cols),
            vks_read(z, z_first * cols, z_rows * cols),
        };
        const struct vks_push_add push = {
            (uint32_t)(n * cols), (uint32_t)cols,    (uint32_t)row,
            (uint32_t)z_first,    attrs->row_divide, attrs->row_modulo,
        };
        const uint32_t spec[] = {form, cols % 4 == 0 && vks_all_aligned(operands, 3)};
        if (!vks_emit_special(emitter, VKS_K_add, spec, 2, operands, 3, &push, sizeof(push),
                              vks_groups_rows(x, row, n, cols, VKS_GROUP * VKS_ELEMENTS)))
            return false;
    }
    return true;
}

static bool add_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                         const bool want[], struct vks_tensor *dx[])
{
    (void)graph;
    for (uint32_t i = 0; i < 2; i++)
        dx[i] = want[i] ? dy[0] : NULL;
    (void)node;
    return true;
}

static bool add_rows_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                              const bool want[], struct vks_tensor *dx[])
{
    const struct add *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0], *z = node->inputs[1];
    const uint32_t rows = (uint32_t)vks_tensor_rows(x);
    dx[0] = want[0] ? dy[0] : NULL;
    if (!want[1])
        return true;
    struct reduce_rows sum = {.rank = z->rank, .outputs = (uint32_t)vks_tensor_rows(z)};
    memcpy(sum.shape, z->shape, sizeof(sum.shape));
    sum.count = rows / sum.outputs;
    const bool per_position = attrs->row_divide == 1 && sum.outputs > 1;
    sum.out_stride = per_position ? 1 : sum.count;
    sum.row_stride = per_position ? sum.outputs : 1;
    dx[1] = vks_graph_add(graph, &reduce_rows_op, dy, 1, &sum, sizeof(sum));
    return dx[1] != NULL;
}

static const struct vks_op add_op = {
    .name = "add",
    .infer = infer_same,
    .emit = emit_add,
    .backward = add_backward,
    .differentiable = 1 | 2,
    .flop = flop_1,
    .in_place = 1 | 2,
};

static const struct vks_op add_rows_op = {
    .name = "add_rows",
    .infer = infer_add_rows,
    .emit = emit_add_rows,
    .backward = add_rows_backward,
    .differentiable = 1 | 2,
    .flop = flop_1,
    .in_place = 1,
};

struct vks_tensor *vks_fuse_plus(struct vks_graph *graph, const struct vks_node *node, const struct vks_node *next,
                                 uint32_t slot)
{
    vks_tensor *inputs[VKS_MAX_INPUTS] = {NULL};
    if (next->op != &add_op || node->inputs[slot])
        return NULL;
    vks_tensor *other = next->inputs[next->inputs[0] == node->outputs[0]];
    if (other->row_stride)
        return NULL;
    memcpy(inputs, node->inputs, node->input_count * sizeof(*inputs));
    inputs[slot] = other;
    return vks_graph_add(graph, node->op, inputs, node->input_count, node->attrs, node->attrs_size);
}

// Finds how z is repeated over x's rows.
static bool match_rows(const struct vks_tensor *x, const struct vks_tensor *z, struct add *attrs)
{
    const uint32_t cols = vks_tensor_channels(x);
    const uint64_t rows = vks_tensor_rows(x), z_rows = vks_tensor_rows(z);
    if (vks_tensor_channels(z) != cols)
        return false;
    *attrs = (struct add){1, (uint32_t)z_rows};
    if (z_rows == 1 && (z->rank <= 2 || x->rank == z->rank))
        return true;
    if (x->rank < 3)
        return false;
    const uint64_t samples = x->shape[0], positions = rows / samples;
    const bool fits_positions = z_rows == positions && (z->rank == 2 || z->shape[0] == 1);
    const bool fits_samples = z_rows == samples && z->rank == 2;
    if (fits_samples && !(fits_positions && z->kind == VKS_TENSOR_STATE))
        *attrs = (struct add){(uint32_t)positions, (uint32_t)samples};
    return fits_positions || fits_samples;
}

vks_tensor *vks_add(struct vks_graph *g, vks_tensor *x, vks_tensor *z)
{
    vks_tensor *const inputs[] = {x, z};
    struct add attrs;
    if (g->failed || !x || !z)
        return NULL;
    if (vks_same_shape(x, z))
        return vks_graph_add(g, &add_op, inputs, 2, NULL, 0);
    if (!match_rows(x, z, &attrs))
        return vks_graph_fail(g, "add: %s cannot be repeated over the rows of %s: give it the same shape, (C), "
                              "(B, C) or (T, C)", vks_tensor_text(g, z), vks_tensor_text(g, x));
    return vks_graph_add(g, &add_rows_op, inputs, 2, &attrs, sizeof(attrs));
}

// ---- multiply ---------------------------------------------------------------------------------------------------

static bool emit_multiply(struct vks_emitter *emitter, const struct vks_node *node)
{
    struct vks_operand operands[] = {vks_write(node->outputs[0], 0, 0), vks_read(node->inputs[0], 0, 0),
                                     vks_read(node->inputs[1], 0, 0)};
    struct vks_push_flat push;
    return vks_emit_flat(emitter, VKS_K_multiply, NULL, 0, operands, 3, &push, sizeof(push));
}

static bool multiply_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                              const bool want[], struct vks_tensor *dx[])
{
    for (uint32_t i = 0; i < 2; i++)
        if (want[i])
            dx[i] = vks_multiply(graph, dy[0], node->inputs[1 - i]);
    return !graph->failed;
}

static const struct vks_op multiply_op = {
    .name = "multiply",
    .infer = infer_same,
    .emit = emit_multiply,
    .backward = multiply_backward,
    .differentiable = 1 | 2,
    .flop = flop_1,
    .in_place = 1 | 2,
};

vks_tensor *vks_multiply(struct vks_graph *g, vks_tensor *x, vks_tensor *z)
{
    vks_tensor *const inputs[] = {x, z};
    return x && z ? vks_graph_add(g, &multiply_op, inputs, 2, NULL, 0) : NULL;
}

// ---- scale ------------------------------------------------------------------------------------------------------

struct scale {
    float gain, offset;
};

static bool emit_scale(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct scale *attrs = node->attrs;
    struct vks_operand operands[] = {vks_write(node->outputs[0], 0, 0), vks_read(node->inputs[0], 0, 0)};
    struct vks_push_scale push = {.gain = attrs->gain, .bias = attrs->offset};
    return vks_emit_flat(emitter, VKS_K_scale, NULL, 0, operands, 2, &push, sizeof(push));
}

static bool scale_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                           const bool want[], struct vks_tensor *dx[])
{
    const struct scale *attrs = node->attrs;
    if (want[0])
        dx[0] = vks_scale(graph, dy[0], attrs->gain, 0);
    return !graph->failed;
}

static double flop_2(const struct vks_node *node)
{
    return 2 * flop_1(node);
}

static const struct vks_op scale_op = {
    .name = "scale",
    .infer = infer_same,
    .emit = emit_scale,
    .backward = scale_backward,
    .differentiable = 1,
    .flop = flop_2,
    .in_place = 1,
};

vks_tensor *vks_scale(struct vks_graph *g, vks_tensor *x, float gain, float offset)
{
    const struct scale attrs = {gain, offset};
    return x ? vks_graph_add(g, &scale_op, &x, 1, &attrs, sizeof(attrs)) : NULL;
}

// ---- reshape ----------------------------------------------------------------------------------------------------

struct reshape {
    uint32_t rank, shape[VKS_MAX_RANK];
};

static bool infer_reshape(struct vks_graph *graph, struct vks_node *node)
{
    const struct reshape *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0];
    uint64_t elements = 1;
    for (uint32_t i = 0; i < attrs->rank; i++)
        elements *= attrs->shape[i];
    if (elements != vks_tensor_elements(x))
        return vks_graph_fail(graph, "reshape: %s does not have the %llu elements of the new shape",
                              vks_tensor_text(graph, x), (unsigned long long)elements) != NULL;
    struct vks_tensor *y = vks_graph_output(graph, node, x->dtype, attrs->rank, attrs->shape);
    if (y)
        vks_follow_reshaped(y, x);
    return y != NULL;
}

static bool emit_nothing(struct vks_emitter *emitter, const struct vks_node *node)
{
    (void)emitter;
    (void)node;
    return true;
}

static double flop_0(const struct vks_node *node)
{
    (void)node;
    return 0;
}

static bool reshape_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                             const bool want[], struct vks_tensor *dx[])
{
    if (want[0])
        dx[0] = vks_reshape(graph, dy[0], node->inputs[0]->rank, node->inputs[0]->shape);
    return !graph->failed;
}

static const struct vks_op reshape_op = {
    .name = "reshape",
    .infer = infer_reshape,
    .emit = emit_nothing,
    .backward = reshape_backward,
    .differentiable = 1,
    .flop = flop_0,
    .alias = true,
};

vks_tensor *vks_reshape(struct vks_graph *g, vks_tensor *x, uint32_t rank, const uint32_t shape[])
{
    struct reshape attrs = {.rank = rank};
    if (!x)
        return NULL;
    if (rank < 1 || rank > VKS_MAX_RANK)
        return vks_graph_fail(g, "reshape: %u axes: 1 to %d are supported", rank, VKS_MAX_RANK);
    memcpy(attrs.shape, shape, rank * sizeof(*shape));
    return vks_graph_add(g, &reshape_op, &x, 1, &attrs, sizeof(attrs));
}
