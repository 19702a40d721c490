#include "ops/common.h"

enum { HAS_WEIGHT = 1, HAS_BIAS = 2 };
enum { PLUS = 5, BACKWARD_INPUTS };  // of a backward node: what is added to dx, or NULL

// Checks weight and bias, inputs 1 and 2: (C) or absent.
static bool want_affine(struct vks_graph *graph, const struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0];
    for (uint32_t i = 1; i < 3; i++) {
        const struct vks_tensor *w = node->inputs[i];
        if (w && vks_tensor_elements(w) != vks_tensor_channels(x))
            return vks_graph_fail(graph, "%s: %s does not have one value for each channel of %s", node->op->name,
                                  vks_tensor_text(graph, w), vks_tensor_text(graph, x)) != NULL;
    }
    return vks_want_f32(graph, node, 0) && vks_want_f32(graph, node, 1) && vks_want_f32(graph, node, 2);
}

static double flop_10(const struct vks_node *node)
{
    return 10.0 * (double)vks_tensor_elements(node->outputs[0]);
}

static struct vks_operand read_optional(const struct vks_tensor *tensor)
{
    return tensor ? vks_read(tensor, 0, 0) : vks_unused();
}

// ---- group_norm -------------------------------------------------------------------------------------------------

// Values of a group that one invocation reduces: enough to keep the second kernel short, few enough to fill a device.
#define CHUNK_VALUES 2048u

struct group_norm {
    uint32_t groups;
    float eps;
};

// The shape as the kernels see it; `push` starts every dispatch.
struct group_shape {
    uint64_t samples, rows, cols, chunks;
    struct vks_push_group_norm push;
};

static struct group_shape group_shape(const struct vks_node *node)
{
    const struct group_norm *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0];
    struct group_shape s = {.samples = x->shape[0], .cols = vks_tensor_channels(x)};
    s.rows = vks_tensor_rows(x) / s.samples;
    const uint32_t width = (uint32_t)(s.cols / attrs->groups);
    const uint32_t wanted = vks_ceil_div(s.rows * width, CHUNK_VALUES);
    const uint32_t chunk_rows = vks_ceil_div(s.rows, vks_min_u64(wanted, s.rows));
    s.chunks = vks_ceil_div(s.rows, chunk_rows);
    s.push = (struct vks_push_group_norm){
        .rows = (uint32_t)s.rows,
        .groups = attrs->groups,
        .width = width,
        .chunk_rows = chunk_rows,
        .eps = attrs->eps,
        .flags = (node->inputs[1] ? HAS_WEIGHT : 0) | (node->inputs[2] ? HAS_BIAS : 0),
    };
    return s;
}

// A stretch of rows: whole samples, or part of one.
struct group_slice {
    uint64_t sample, samples, row_first, row_end;
};

// Steps through stretches of at most `most` rows; `slice` begins zeroed. False: that was the last.
static bool next_slice(const struct group_shape *s, uint64_t most, struct group_slice *slice)
{
    if (slice->samples) {
        if (slice->row_end < s->rows) {
            slice->row_first = slice->row_end;
            slice->row_end = vks_min_u64(slice->row_first + most, s->rows);
            return true;
        }
        slice->sample += slice->samples;
    }
    if (slice->sample >= s->samples)
        return false;
    slice->samples = most < s->rows ? 1 : vks_min_u64(most / s->rows, s->samples - slice->sample);
    slice->row_first = 0;
    slice->row_end = vks_min_u64(most, s->rows);
    return true;
}

static struct vks_operand slice_of(const struct group_shape *s, const struct group_slice *slice,
                                   const struct vks_tensor *tensor, enum vks_access access)
{
    const uint64_t first = slice->sample * s->rows + slice->row_first;
    const uint64_t rows = (slice->samples - 1) * s->rows + slice->row_end - slice->row_first;
    return (struct vks_operand){tensor, access, first * s->cols, rows * s->cols};
}

// The pairs (B, groups, 2) of the slice's samples.
static struct vks_operand pairs_of(const struct group_shape *s, const struct group_slice *slice,
                                   const struct vks_tensor *tensor, enum vks_access access)
{
    const uint64_t pairs = 2 * (uint64_t)s->push.groups;
    return (struct vks_operand){tensor, access, slice->sample * pairs, slice->samples * pairs};
}

static struct vks_push_group_norm push_of(const struct group_shape *s, const struct group_slice *slice)
{
    struct vks_push_group_norm push = s->push;
    push.samples = (uint32_t)slice->samples;
    push.row_first = (uint32_t)slice->row_first;
    push.row_end = (uint32_t)slice->row_end;
    push.chunk_first = (uint32_t)slice->row_first / push.chunk_rows;
    push.chunk_count = vks_ceil_div(slice->row_end, push.chunk_rows) - push.chunk_first;
    push.finish = s->chunks == 1;
    return push;
}

// part (B, chunks, groups, 3) -> out (B, groups, 2)
static bool emit_group_combine(struct vks_emitter *emitter, const struct group_shape *s, uint32_t backward,
                               const struct vks_tensor *part, const struct vks_tensor *out)
{
    const uint64_t pairs = 2 * (uint64_t)s->push.groups, triples = 3 * s->chunks * (uint64_t)s->push.groups;
    const uint64_t most = vks_rows_per_slice(emitter, s->samples, 4 * triples);
    if (most == 0)
        return vks_fail_row(emitter, part);
    for (uint64_t b = 0; b < s->samples; b += most) {
        const uint64_t n = vks_min_u64(most, s->samples - b);
        struct vks_push_group_norm push = s->push;
        push.samples = (uint32_t)n;
        push.chunk_count = (uint32_t)s->chunks;
        const struct vks_operand operands[] = {
            vks_write(out, b * pairs, n * pairs),
            vks_read(part, b * triples, n * triples),
        };
        if (!vks_emit_special(emitter, VKS_K_group_norm_combine, &backward, 1, operands, 2, &push, sizeof(push),
                              vks_groups_1d(n * push.groups, VKS_GROUP)))
            return false;
    }
    return true;
}

// Reduces x (and dy) to `out` (B, groups, 2), through partial sums where a sample has several chunks or is cut.
static bool emit_group_sums(struct vks_emitter *emitter, const struct group_shape *s, const struct vks_node *node,
                            const struct vks_tensor *dy, const struct vks_tensor *stats, const struct vks_tensor *out,
                            uint64_t most)
{
    const uint32_t backward = dy != NULL;
    const uint64_t triples = 3 * (uint64_t)s->push.groups;
    const struct vks_tensor *part = NULL;
    if ((s->chunks > 1 || most < s->rows) && !(part = vks_emit_scratch(emitter, s->samples * s->chunks * triples)))
        return false;
    for (struct group_slice slice = {0}; next_slice(s, most, &slice);) {
        const struct vks_push_group_norm push = push_of(s, &slice);
        const uint64_t chunk = slice.sample * s->chunks + push.chunk_first, chunks = slice.samples * push.chunk_count;
        const bool resumes = slice.row_first % push.chunk_rows != 0;
        const bool finishes = s->chunks == 1 && slice.row_end == s->rows;
        const struct vks_operand operands[] = {
            !part || (finishes && !resumes) ? vks_unused()
            : finishes                      ? vks_read(part, chunk * triples, chunks * triples)
            : resumes                       ? vks_update(part, chunk * triples, chunks * triples)
                                            : vks_write(part, chunk * triples, chunks * triples),
            finishes ? pairs_of(s, &slice, out, VKS_WRITE) : vks_unused(),
            slice_of(s, &slice, node->inputs[0], VKS_READ),
            backward ? slice_of(s, &slice, dy, VKS_READ) : vks_unused(),
            backward ? read_optional(node->inputs[1]) : vks_unused(),
            backward ? pairs_of(s, &slice, stats, VKS_READ) : vks_unused(),
        };
        const uint32_t quads = push.width % 4 == 0 && vks_all_aligned(&operands[2], 3);
        if (!vks_emit_special(emitter, VKS_K_group_norm_partial, (const uint32_t[]){backward, quads}, 2, operands, 6,
                              &push, sizeof(push), vks_groups_1d(chunks * push.groups, VKS_GROUP)))
            return false;
    }
    return s->chunks == 1 || emit_group_combine(emitter, s, backward, part, out);
}

// Forward: extra = bias. Backward: extra = dy, and sums are the two of each group.
static bool emit_group_apply(struct vks_emitter *emitter, const struct group_shape *s, const struct vks_node *node,
                             const struct vks_tensor *stats, const struct vks_tensor *dy,
                             const struct vks_tensor *sums, uint64_t most)
{
    const uint32_t backward = dy != NULL;
    const struct vks_tensor *plus = backward ? node->inputs[PLUS] : NULL;
    for (struct group_slice slice = {0}; next_slice(s, most, &slice);) {
        const struct vks_push_group_norm push = push_of(s, &slice);
        const struct vks_operand operands[] = {
            slice_of(s, &slice, node->outputs[0], VKS_WRITE),
            slice_of(s, &slice, node->inputs[0], VKS_READ),
            pairs_of(s, &slice, stats, VKS_READ),
            read_optional(node->inputs[1]),
            backward ? slice_of(s, &slice, dy, VKS_READ) : read_optional(node->inputs[2]),
            backward ? pairs_of(s, &slice, sums, VKS_READ) : vks_unused(),
            plus ? slice_of(s, &slice, plus, VKS_READ) : vks_unused(),
        };
        const uint64_t blocks = vks_ceil_div(slice.row_end - slice.row_first, VKS_NORM_ROWS);
        // Of slots 0, 1 and 4 dy is read four at a time, the bias one by one.
        const bool quads = s->cols % 4 == 0 && vks_all_aligned(operands, 2) &&
                           (!backward || vks_all_aligned(operands + 4, 1)) &&
                           (!plus || vks_all_aligned(operands + 6, 1));
        const uint32_t spec[] = {backward, quads, plus != NULL};
        if (!vks_emit_special(emitter, VKS_K_group_norm, spec, 3, operands, 7, &push, sizeof(push),
                              vks_groups_1d(slice.samples * blocks * s->cols / (quads ? 4 : 1), VKS_GROUP)))
            return false;
    }
    return true;
}

static bool infer_group_norm(struct vks_graph *graph, struct vks_node *node)
{
    const struct group_norm *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0];
    if (x->rank < 2 || attrs->groups == 0 || vks_tensor_channels(x) % attrs->groups)
        return vks_graph_fail(graph, "group_norm: the channels of %s do not divide into %u groups",
                              vks_tensor_text(graph, x), attrs->groups) != NULL;
    const uint32_t stats[] = {x->shape[0], attrs->groups, 2};
    return want_affine(graph, node) && vks_output_like(graph, node, x) &&
           vks_graph_output(graph, node, VKS_F32, 3, stats);
}

static bool emit_group_norm(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct group_shape s = group_shape(node);
    const uint64_t most = vks_rows_per_slice(emitter, s.samples * s.rows, 4 * s.cols);
    if (most == 0)
        return vks_fail_row(emitter, node->inputs[0]);
    return emit_group_sums(emitter, &s, node, NULL, NULL, node->outputs[1], most) &&
           emit_group_apply(emitter, &s, node, node->outputs[1], NULL, NULL, most);
}

static struct vks_tensor *fuse_backward(struct vks_graph *graph, const struct vks_node *node,
                                        const struct vks_node *next)
{
    return vks_fuse_plus(graph, node, next, PLUS);
}

static bool infer_norm_backward(struct vks_graph *graph, struct vks_node *node)
{
    return vks_output_like(graph, node, node->inputs[0]) != NULL;
}

// inputs: x, weight, (no bias), stats, dy, and what is added to dx, or NULL
static bool emit_group_norm_backward(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct group_shape s = group_shape(node);
    const struct vks_tensor *stats = node->inputs[3], *dy = node->inputs[4];
    const uint64_t most = vks_rows_per_slice(emitter, s.samples * s.rows, 4 * s.cols);
    if (most == 0)
        return vks_fail_row(emitter, node->inputs[0]);
    const struct vks_tensor *sums = vks_emit_scratch(emitter, vks_tensor_elements(stats));
    return sums && emit_group_sums(emitter, &s, node, dy, stats, sums, most) &&
           emit_group_apply(emitter, &s, node, stats, dy, sums, most);
}

static const struct vks_op group_norm_backward_op = {
    .name = "group_norm_backward",
    .infer = infer_norm_backward,
    .emit = emit_group_norm_backward,
    .fuse = fuse_backward,
    .flop = flop_10,
};

static bool group_norm_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                                const bool want[], struct vks_tensor *dx[])
{
    struct vks_tensor *inputs[] = {node->inputs[0], node->inputs[1], NULL, node->outputs[1], dy[0],
                                    NULL};
    if (want[0])
        dx[0] = vks_graph_add(graph, &group_norm_backward_op, inputs, BACKWARD_INPUTS, node->attrs, node->attrs_size);
    return !graph->failed;
}

static const struct vks_op group_norm_op = {
    .name = "group_norm",
    .infer = infer_group_norm,
    .emit = emit_group_norm,
    .backward = group_norm_backward,
    .differentiable = 1,
    .flop = flop_10,
};

vks_tensor *vks_group_norm(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, vks_tensor *bias, uint32_t groups,
                           float eps)
{
    vks_tensor *const inputs[] = {x, weight, bias};
    const struct group_norm attrs = {groups, eps};
    return x ? vks_graph_add(g, &group_norm_op, inputs, 3, &attrs, sizeof(attrs)) : NULL;
}

// ---- layer_norm and rms_norm ------------------------------------------------------------------------------------

struct layer_norm {
    float eps, offset;     // offset: added to the weight
    uint32_t centred;      // 0: rms_norm
};

static bool infer_layer_norm(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0];
    if (vks_tensor_rows(x) > UINT32_MAX)
        return vks_graph_fail(graph, "%s: %s has too many rows", node->op->name, vks_tensor_text(graph, x)) != NULL;
    const uint32_t stats[] = {(uint32_t)vks_tensor_rows(x), 2};
    return want_affine(graph, node) && vks_output_like(graph, node, x) &&
           vks_graph_output(graph, node, VKS_F32, 2, stats);
}

// Forward: inputs x, weight, bias; outputs y, stats. Backward: inputs x, weight, (no bias), stats, dy, plus; output
// dx.
static bool emit_layer_norm(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct layer_norm *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0];
    const uint32_t backward = node->input_count == BACKWARD_INPUTS, lanes = vks_row_lanes(emitter);
    const struct vks_tensor *stats = backward ? node->inputs[3] : node->outputs[1];
    const uint64_t cols = vks_tensor_channels(x), rows = vks_tensor_rows(x);
    const uint64_t most = vks_rows_per_slice(emitter, rows, 4 * (cols > 2 ? cols : 2));
    const struct vks_tensor *plus = backward ? node->inputs[PLUS] : NULL;
    if (most == 0)
        return vks_fail_row(emitter, x);
    for (uint64_t row = 0; row < rows; row += most) {
        const uint64_t n = vks_min_u64(most, rows - row);
        const struct vks_operand operands[] = {
            vks_write(node->outputs[0], row * cols, n * cols),
            {stats, backward ? VKS_READ : VKS_WRITE, 2 * row, 2 * n},
            vks_read(x, row * cols, n * cols),
            read_optional(node->inputs[1]),
            backward ? vks_read(node->inputs[4], row * cols, n * cols) : read_optional(node->inputs[2]),
            plus ? vks_read(plus, row * cols, n * cols) : vks_unused(),
        };
        const struct vks_push_layer_norm push = {
            .rows = (uint32_t)n,
            .cols = (uint32_t)cols,
            .inverse = 1.0f / (float)cols,
            .eps = attrs->eps,
            .offset = attrs->offset,
            .flags = (node->inputs[1] ? HAS_WEIGHT : 0) | (node->inputs[2] ? HAS_BIAS : 0),
        };
        const uint32_t quads = lanes == 1 && cols % 4 == 0 && vks_all_aligned(operands, 6);
        const uint32_t spec[] = {lanes, backward, attrs->centred, plus != NULL, quads};
        if (!vks_emit_special(emitter, VKS_K_layer_norm, spec, 5, operands, 6, &push, sizeof(push),
                              vks_groups_rows(x, row, n, lanes, VKS_GROUP)))
            return false;
    }
    return true;
}

static const struct vks_op layer_norm_backward_op = {
    .name = "layer_norm_backward",
    .infer = infer_norm_backward,
    .emit = emit_layer_norm,
    .fuse = fuse_backward,
    .flop = flop_10,
};

static bool layer_norm_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                                const bool want[], struct vks_tensor *dx[])
{
    struct vks_tensor *inputs[] = {node->inputs[0], node->inputs[1], NULL, node->outputs[1], dy[0],
                                    NULL};
    if (want[0])
        dx[0] = vks_graph_add(graph, &layer_norm_backward_op, inputs, BACKWARD_INPUTS, node->attrs, node->attrs_size);
    return !graph->failed;
}

static const struct vks_op layer_norm_op = {
    .name = "layer_norm",
    .infer = infer_layer_norm,
    .emit = emit_layer_norm,
    .backward = layer_norm_backward,
    .differentiable = 1,
    .flop = flop_10,
};

vks_tensor *vks_layer_norm(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, vks_tensor *bias, float eps)
{
    vks_tensor *const inputs[] = {x, weight, bias};
    const struct layer_norm attrs = {.eps = eps, .centred = 1};
    return x ? vks_graph_add(g, &layer_norm_op, inputs, 3, &attrs, sizeof(attrs)) : NULL;
}

static const struct vks_op rms_norm_op = {
    .name = "rms_norm",
    .infer = infer_layer_norm,
    .emit = emit_layer_norm,
    .backward = layer_norm_backward,
    .differentiable = 1,
    .flop = flop_10,
};

vks_tensor *vks_rms_norm(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, float offset, float eps)
{
    vks_tensor *const inputs[] = {x, weight, NULL};
    const struct layer_norm attrs = {.eps = eps, .offset = offset};
    return x ? vks_graph_add(g, &rms_norm_op, inputs, 3, &attrs, sizeof(attrs)) : NULL;
}
