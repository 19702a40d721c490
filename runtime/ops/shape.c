#include "ops/common.h"
#include "ops/ops.h"

static double flop_0(const struct vks_node *node)
{
    (void)node;
    return 0;
}

// ---- columns: concat, slice, and the slice's gradient -----------------------------------------------------------

struct columns {
    uint32_t cols;            // of the output
    uint32_t first, a_cols;   // where a's columns go, and how many
    uint32_t a_first;         // the first of a's columns that goes
};

static bool infer_columns(struct vks_graph *graph, struct vks_node *node)
{
    const struct columns *attrs = node->attrs;
    return vks_want_f32(graph, node, 0) && vks_want_f32(graph, node, 1) &&
           vks_output_channels(graph, node, node->inputs[0], attrs->cols);
}

static bool emit_columns(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct columns *attrs = node->attrs;
    const struct vks_tensor *y = node->outputs[0], *a = node->inputs[0], *b = node->inputs[1];
    const uint64_t cols = attrs->cols, a_cols = vks_tensor_channels(a), b_cols = cols - attrs->a_cols;
    const uint64_t rows = vks_tensor_rows(y);
    const uint64_t most = vks_rows_per_slice(emitter, rows, 4 * (cols > a_cols ? cols : a_cols));
    if (most == 0)
        return vks_fail_row(emitter, cols > a_cols ? y : a);
    for (uint64_t row = 0; row < rows; row += most) {
        const uint64_t n = vks_min_u64(most, rows - row);
        const struct vks_operand operands[] = {
            vks_write(y, row * cols, n * cols),
            vks_read(a, row * a_cols, n * a_cols),
            b ? vks_read(b, row * b_cols, n * b_cols) : vks_unused(),
        };
        const struct vks_push_columns push = {
            .rows = (uint32_t)n,
            .cols = attrs->cols,
            .first = attrs->first,
            .a_cols = attrs->a_cols,
            .a_first = attrs->a_first,
            .a_stride = (uint32_t)a_cols,
            .with_b = b != NULL,
        };
        const uint32_t quads = (cols | a_cols | attrs->first | attrs->a_cols | attrs->a_first) % 4 == 0 &&
                               vks_all_aligned(operands, 3);
        if (!vks_emit_special(emitter, VKS_K_columns, &quads, 1, operands, 3, &push, sizeof(push),
                              vks_groups_rows(y, row, n, cols, VKS_GROUP * VKS_ELEMENTS)))
            return false;
    }
    return true;
}

static bool concat_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                            const bool want[], struct vks_tensor *dx[])
{
    const uint32_t c1 = vks_tensor_channels(node->inputs[0]);
    if (want[0])
        dx[0] = vks_slice(graph, dy[0], 0, c1);
    if (want[1])
        dx[1] = vks_slice(graph, dy[0], c1, vks_tensor_channels(node->inputs[1]));
    return !graph->failed;
}

static const struct vks_op concat_op = {
    .name = "concat",
    .infer = infer_columns,
    .emit = emit_columns,
    .backward = concat_backward,
    .differentiable = 1 | 2,
    .flop = flop_0,
};

vks_tensor *vks_concat(struct vks_graph *g, vks_tensor *a, vks_tensor *b)
{
    vks_tensor *const inputs[] = {a, b};
    if (!a || !b)
        return NULL;
    if (a->rank != b->rank || memcmp(a->shape, b->shape, (a->rank - 1) * sizeof(a->shape[0])))
        return vks_graph_fail(g, "concat: %s and %s differ in more than their channels", vks_tensor_text(g, a),
                              vks_tensor_text(g, b));
    const uint32_t c1 = vks_tensor_channels(a);
    const struct columns attrs = {.cols = c1 + vks_tensor_channels(b), .a_cols = c1};
    return vks_graph_add(g, &concat_op, inputs, 2, &attrs, sizeof(attrs));
}

// input: dy
static const struct vks_op slice_backward_op = {
    .name = "slice_backward",
    .infer = infer_columns,
    .emit = emit_columns,
    .flop = flop_0,
};

static bool slice_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                           const bool want[], struct vks_tensor *dx[])
{
    const struct columns *slice = node->attrs;
    const struct columns attrs = {
        .cols = vks_tensor_channels(node->inputs[0]), .first = slice->a_first, .a_cols = slice->a_cols};
    vks_tensor *const inputs[] = {dy[0], NULL};
    if (want[0])
        dx[0] = vks_graph_add(graph, &slice_backward_op, inputs, 2, &attrs, sizeof(attrs));
    return !graph->failed;
}

static const struct vks_op slice_op = {
    .name = "slice",
    .infer = infer_columns,
    .emit = emit_columns,
    .backward = slice_backward,
    .differentiable = 1,
    .flop = flop_0,
};

vks_tensor *vks_slice(struct vks_graph *g, vks_tensor *x, uint32_t first, uint32_t count)
{
    vks_tensor *const inputs[] = {x, NULL};
    const struct columns attrs = {.cols = count, .a_cols = count, .a_first = first};
    if (!x)
        return NULL;
    const uint32_t channels = vks_tensor_channels(x);
    if (count == 0 || first > channels || count > channels - first)
        return vks_graph_fail(g, "slice: channels %u to %u are not in %s", first, first + count,
                              vks_tensor_text(g, x));
    return vks_graph_add(g, &slice_op, inputs, 2, &attrs, sizeof(attrs));
}

// ---- upsample ---------------------------------------------------------------------------------------------------

struct upsample {
    uint32_t b, h, w, height, width, cols;
};

static bool infer_upsample(struct vks_graph *graph, struct vks_node *node)
{
    const struct upsample *attrs = node->attrs;
    const uint32_t shape[] = {attrs->b, attrs->height, attrs->width, attrs->cols};
    return vks_want_f32(graph, node, 0) && vks_graph_output(graph, node, VKS_F32, 4, shape);
}

static bool infer_upsample_backward(struct vks_graph *graph, struct vks_node *node)
{
    const struct upsample *attrs = node->attrs;
    const uint32_t shape[] = {attrs->b, attrs->h, attrs->w, attrs->cols};
    return vks_graph_output(graph, node, VKS_F32, 4, shape) != NULL;
}

// Line of the small picture that line `line` of the large one reads, samples counted on.
static uint64_t small_line(const struct upsample *s, uint64_t line)
{
    return line / s->height * s->h + line % s->height * s->h / s->height;
}

// First line of the large picture that reads line `line` of the small one.
static uint64_t large_line(const struct upsample *s, uint64_t line)
{
    return line / s->h * s->height + vks_ceil_div(line % s->h * s->height, s->h);
}

static bool emit_upsample(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct upsample *s = node->attrs;
    const uint32_t backward = node->outputs[0]->shape[1] == s->h && node->outputs[0]->shape[2] == s->w;
    const uint64_t small = (uint64_t)s->w * s->cols, large = (uint64_t)s->width * s->cols;
    const uint64_t lines = s->b * (uint64_t)(backward ? s->h : s->height);
    // Growing, n lines of y read at most n lines of x, and a line of dx sums at most ceil(height / h) lines of dy.
    const uint64_t widest = backward ? large * vks_ceil_div(s->height, s->h) : large;
    const uint64_t most = vks_rows_per_slice(emitter, lines, 4 * widest);
    if (most == 0)
        return vks_fail_row(emitter, node->inputs[0]);
    for (uint64_t line = 0; line < lines; line += most) {
        const uint64_t n = vks_min_u64(most, lines - line);
        const uint64_t other = backward ? large_line(s, line) : small_line(s, line);
        const uint64_t end = backward ? large_line(s, line + n) : small_line(s, line + n - 1) + 1;
        const uint64_t width = backward ? small : large, other_width = backward ? large : small;
        const struct vks_operand operands[] = {
            vks_write(node->outputs[0], line * width, n * width),
            vks_read(node->inputs[0], other * other_width, (end - other) * other_width),
        };
        const struct vks_push_upsample push = {
            .lines = (uint32_t)n,
            .line = (uint32_t)line,
            .other_line = (uint32_t)other,
            .h = s->h,
            .w = s->w,
            .height = s->height,
            .width = s->width,
            .cols = s->cols,
        };
        const uint32_t quads = s->cols % 4 == 0 && vks_all_aligned(operands, 2);
        if (!vks_emit_special(emitter, VKS_K_upsample, (const uint32_t[]){backward, quads}, 2, operands, 2, &push,
                              sizeof(push), vks_groups_1d(n * s->cols / (quads ? 4 : 1), VKS_GROUP)))
            return false;
    }
    return true;
}

// input: dy
static const struct vks_op upsample_backward_op = {
    .name = "upsample_backward",
    .infer = infer_upsample_backward,
    .emit = emit_upsample,
    .flop = flop_0,
};

static bool upsample_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                              const bool want[], struct vks_tensor *dx[])
{
    if (want[0])
        dx[0] = vks_graph_add(graph, &upsample_backward_op, dy, 1, node->attrs, node->attrs_size);
    return !graph->failed;
}

static const struct vks_op upsample_op = {
    .name = "upsample",
    .infer = infer_upsample,
    .emit = emit_upsample,
    .backward = upsample_backward,
    .differentiable = 1,
    .flop = flop_0,
};

vks_tensor *vks_upsample_nearest(struct vks_graph *g, vks_tensor *x, uint32_t height, uint32_t width)
{
    if (!x)
        return NULL;
    if (x->rank != 4 || height < x->shape[1] || width < x->shape[2])
        return vks_graph_fail(g, "upsample: %s is no picture (B, H, W, C) of at most %u x %u", vks_tensor_text(g, x),
                              height, width);
    if (height == x->shape[1] && width == x->shape[2])
        return x;
    const struct upsample attrs = {x->shape[0], x->shape[1], x->shape[2], height, width, x->shape[3]};
    return vks_graph_add(g, &upsample_op, &x, 1, &attrs, sizeof(attrs));
}

// ---- embedding --------------------------------------------------------------------------------------------------

static bool infer_embedding(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *ids = node->inputs[0], *table = node->inputs[1];
    if (ids->dtype != VKS_I32 || table->dtype == VKS_I32 || table->rank != 2 || ids->rank == VKS_MAX_RANK)
        return vks_graph_fail(graph, "embedding: %s must be int32 and %s a table (V, C) of F32, F16 or BF16",
                              vks_tensor_text(graph, ids), vks_tensor_text(graph, table)) != NULL;
    uint32_t shape[VKS_MAX_RANK];
    memcpy(shape, ids->shape, sizeof(shape));
    shape[ids->rank] = table->shape[1];
    struct vks_tensor *y = vks_graph_output(graph, node, VKS_F32, ids->rank + 1, shape);
    if (y)
        vks_follow(y, ids);
    return y != NULL;
}

static bool emit_embedding(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_tensor *y = node->outputs[0], *ids = node->inputs[0], *table = node->inputs[1];
    const uint64_t cols = table->shape[1], table_rows = table->shape[0], rows = vks_tensor_rows(y);
    const uint32_t dtype = table->dtype;
    const uint64_t most = vks_rows_per_slice(emitter, rows, 4 * cols);
    const uint64_t most_table = vks_rows_per_slice(emitter, table_rows, cols * vks_dtype_size(table->dtype));
    if (most == 0 || most_table == 0)
        return vks_fail_row(emitter, table);
    for (uint64_t row = 0; row < rows; row += most)
        for (uint64_t first = 0; first < table_rows; first += most_table) {
            const uint64_t n = vks_min_u64(most, rows - row);
            const uint64_t count = vks_min_u64(most_table, table_rows - first);
            const struct vks_operand operands[] = {
                // Elements of other stretches of the table stay as they are.
                table_rows > most_table ? vks_update(y, row * cols, n * cols) : vks_write(y, row * cols, n * cols),
                vks_read(ids, row, n),
                vks_read(table, first * cols, count * cols),
            };
            const struct vks_push_embedding push = {(uint32_t)n, (uint32_t)cols, (uint32_t)table_rows,
                                                    (uint32_t)first, (uint32_t)count};
            if (!vks_emit_special(emitter, VKS_K_embedding, &dtype, 1, operands, 3, &push, sizeof(push),
                                  vks_groups_rows(y, row, n, cols, VKS_GROUP)))
                return false;
        }
    return true;
}

static const struct vks_op embedding_op = {
    .name = "embedding",
    .infer = infer_embedding,
    .emit = emit_embedding,
    .flop = flop_0,
};

vks_tensor *vks_embedding(struct vks_graph *g, vks_tensor *ids, vks_tensor *table)
{
    vks_tensor *const inputs[] = {ids, table};
    return ids && table ? vks_graph_add(g, &embedding_op, inputs, 2, NULL, 0) : NULL;
}

// ---- gather_row -------------------------------------------------------------------------------------------------

static bool infer_gather_row(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *index = node->inputs[1];
    if (x->rank != 3 || index->dtype != VKS_I32 || index->rank != 1 || index->shape[0] != x->shape[0])
        return vks_graph_fail(graph, "gather_row: %s must be (B, T, C), and %s (B) int32", vks_tensor_text(graph, x),
                              vks_tensor_text(graph, index)) != NULL;
    const uint32_t shape[] = {x->shape[0], x->shape[2]};
    return vks_want_f32(graph, node, 0) && vks_graph_output(graph, node, VKS_F32, 2, shape);
}

// inputs: dy, index; attrs: T
static bool infer_gather_row_backward(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *dy = node->inputs[0];
    const uint32_t shape[] = {dy->shape[0], *(const uint32_t *)node->attrs, dy->shape[1]};
    return vks_graph_output(graph, node, VKS_F32, 3, shape) != NULL;
}

static bool emit_gather_row(struct vks_emitter *emitter, const struct vks_node *node)
{
    const uint32_t backward = node->inputs[0]->rank == 2;
    const struct vks_tensor *y = node->outputs[0], *x = node->inputs[0], *index = node->inputs[1];
    const struct vks_tensor *rows = backward ? y : x, *row = backward ? x : y;
    const uint64_t samples = rows->shape[0], t = rows->shape[1], c = rows->shape[2];
    const uint64_t most = vks_rows_per_slice(emitter, samples * t, 4 * c);
    if (most == 0)
        return vks_fail_row(emitter, rows);
    const uint64_t most_samples = most < t ? 1 : most / t, most_rows = vks_min_u64(most, t);
    for (uint64_t b = 0; b < samples; b += most_samples)
        for (uint64_t first = 0; first < t; first += most_rows) {
            const uint64_t n = vks_min_u64(most_samples, samples - b), m = vks_min_u64(most_rows, t - first);
            struct vks_operand many = vks_read(rows, (b * t + first) * c, n * m * c);
            struct vks_operand one = vks_read(row, b * c, n * c);
            if (backward)
                many.access = VKS_WRITE;
            else
                one.access = m < t ? VKS_READ_WRITE : VKS_WRITE;
            const struct vks_operand operands[] = {
                backward ? many : one, backward ? one : many, vks_read(index, b, n)};
            const struct vks_push_gather_row push = {(uint32_t)n, (uint32_t)t, (uint32_t)c, (uint32_t)first,
                                                     (uint32_t)(first + m)};
            if (!vks_emit_special(emitter, VKS_K_gather_row, &backward, 1, operands, 3, &push, sizeof(push),
                                  vks_groups_1d(n * c * (backward ? m : 1), VKS_GROUP)))
                return false;
        }
    return true;
}

static const struct vks_op gather_row_backward_op = {
    .name = "gather_row_backward",
    .infer = infer_gather_row_backward,
    .emit = emit_gather_row,
    .flop = flop_0,
};

static bool gather_row_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                                const bool want[], struct vks_tensor *dx[])
{
    vks_tensor *const inputs[] = {dy[0], node->inputs[1]};
    const uint32_t t = node->inputs[0]->shape[1];
    if (want[0])
        dx[0] = vks_graph_add(graph, &gather_row_backward_op, inputs, 2, &t, sizeof(t));
    return !graph->failed;
}

static const struct vks_op gather_row_op = {
    .name = "gather_row",
    .infer = infer_gather_row,
    .emit = emit_gather_row,
    .backward = gather_row_backward,
    .differentiable = 1,
    .flop = flop_0,
};

vks_tensor *vks_gather_row(struct vks_graph *g, vks_tensor *x, vks_tensor *index)
{
    vks_tensor *const inputs[] = {x, index};
    return x && index ? vks_graph_add(g, &gather_row_op, inputs, 2, NULL, 0) : NULL;
}
