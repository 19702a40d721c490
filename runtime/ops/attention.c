#include <math.h>

#include "ops/common.h"
#include "ops/matmul.h"
#include "ops/ops.h"

// ---- softmax ----------------------------------------------------------------------------------------------------

static bool infer_softmax(struct vks_graph *graph, struct vks_node *node)
{
    return vks_want_f32(graph, node, 0) && vks_output_like(graph, node, node->inputs[0]);
}

// Forward: x -> y. Backward: y, dy -> dx.
static bool emit_softmax(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0];
    const uint32_t backward = node->input_count == 2, lanes = vks_row_lanes(emitter);
    const uint32_t spec[] = {lanes, backward};
    const uint64_t cols = vks_tensor_channels(x), rows = vks_tensor_rows(x);
    const uint64_t most = vks_rows_per_slice(emitter, rows, 4 * cols);
    if (most == 0)
        return vks_fail_row(emitter, x);
    for (uint64_t row = 0; row < rows; row += most) {
        const uint64_t n = vks_min_u64(most, rows - row);
        const struct vks_operand operands[] = {
            vks_update(node->outputs[0], row * cols, n * cols),
            vks_read(x, row * cols, n * cols),
            backward ? vks_read(node->inputs[1], row * cols, n * cols) : vks_unused(),
        };
        const struct vks_push_rows push = {(uint32_t)n, (uint32_t)cols};
        if (!vks_emit_special(emitter, VKS_K_softmax, spec, 2, operands, 3, &push, sizeof(push),
                              vks_groups_rows(x, row, n, lanes, VKS_GROUP)))
            return false;
    }
    return true;
}

static double flop_softmax(const struct vks_node *node)
{
    return 25.0 * (double)vks_tensor_elements(node->outputs[0]);
}

static const struct vks_op softmax_backward_op = {
    .name = "softmax_backward",
    .infer = infer_softmax,
    .emit = emit_softmax,
    .flop = flop_softmax,
};

static bool softmax_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                             const bool want[], struct vks_tensor *dx[])
{
    struct vks_tensor *const inputs[] = {node->outputs[0], dy[0]};
    if (want[0])
        dx[0] = vks_graph_add(graph, &softmax_backward_op, inputs, 2, NULL, 0);
    return !graph->failed;
}

static const struct vks_op softmax_op = {
    .name = "softmax",
    .infer = infer_softmax,
    .emit = emit_softmax,
    .backward = softmax_backward,
    .differentiable = 1,
    .flop = flop_softmax,
};

vks_tensor *vks_softmax(struct vks_graph *g, vks_tensor *x)
{
    return x ? vks_graph_add(g, &softmax_op, &x, 1, NULL, 0) : NULL;
}

// ---- attention --------------------------------------------------------------------------------------------------

// Scores that are held at once: 8 MiB, or what a binding holds, and twice that in backward. Forward and backward cut
// alike, so the rows' statistics may lie in the order of the chunks.
#define CHUNK_SCORES ((uint64_t)2 << 20)

enum { Q, K, V, MASK, STATS, DY };  // inputs; the last two of backward only

struct attention_shape {
    uint32_t b, tq, tk, heads, width, cols;  // cols = heads * width
    uint32_t chunk_b, chunk_q;               // samples, or queries of one sample, that are taken at once
    float scale;
    bool causal;
};

// `most`: scores that a binding holds.
static struct attention_shape shape_of(const struct vks_node *node, uint64_t most)
{
    const struct vks_attention *attrs = node->attrs;
    const struct vks_tensor *q = node->inputs[Q], *k = node->inputs[K];
    struct attention_shape s = {
        .b = q->shape[0], .tq = q->shape[1], .tk = k->shape[1], .heads = attrs->heads, .cols = q->shape[2]};
    s.width = s.cols / s.heads;
    s.scale = attrs->scale != 0 ? attrs->scale : (float)(1 / sqrt(s.width));
    s.causal = attrs->causal;
    const uint64_t rows = vks_min_u64(CHUNK_SCORES, most) / s.tk;
    s.chunk_q = (uint32_t)vks_min_u64(rows / s.heads ? rows / s.heads : 1, s.tq);
    const uint64_t samples = rows / ((uint64_t)s.heads * s.tq);
    s.chunk_b = s.chunk_q < s.tq || samples == 0 ? 1 : (uint32_t)vks_min_u64(samples, s.b);
    return s;
}

// Some samples, or some queries of one.
struct attention_chunk {
    uint32_t b, b_count, q, q_count;
    uint64_t row;  // (sample, head, query) rows before this chunk
};

// Steps to the next chunk; `chunk` begins zeroed. False: that was the last.
static bool next_chunk(const struct attention_shape *s, struct attention_chunk *chunk)
{
    chunk->row += (uint64_t)chunk->b_count * s->heads * chunk->q_count;
    chunk->q += chunk->q_count;
    if (chunk->q >= s->tq) {
        chunk->q = 0;
        chunk->b += chunk->b_count;
    }
    chunk->b_count = (uint32_t)vks_min_u64(s->chunk_b, s->b - chunk->b);
    chunk->q_count = (uint32_t)vks_min_u64(s->chunk_q, s->tq - chunk->q);
    return chunk->b < s->b;
}

static struct vks_matrix query_side(const struct attention_shape *s, const struct attention_chunk *c,
                                    const struct vks_tensor *tensor)
{
    const uint64_t first = ((uint64_t)c->b * s->tq + c->q) * s->cols;
    return (struct vks_matrix){tensor, first, s->cols, {s->tq * s->cols, s->width}};
}

static struct vks_matrix key_side(const struct attention_shape *s, const struct attention_chunk *c,
                                  const struct vks_tensor *tensor)
{
    return (struct vks_matrix){tensor, (uint64_t)c->b * s->tk * s->cols, s->cols, {s->tk * s->cols, s->width}};
}

static struct vks_matrix score_side(const struct attention_shape *s, const struct attention_chunk *c,
                                    const struct vks_tensor *tensor)
{
    return (struct vks_matrix){tensor, 0, s->tk, {s->heads * c->q_count * s->tk, c->q_count * s->tk}};
}

// scores = alpha a bᵀ over a head's channels
static bool emit_scores(struct vks_emitter *emitter, const struct attention_shape *s, const struct attention_chunk *c,
                        const struct vks_tensor *a, const struct vks_tensor *b, const struct vks_tensor *scores,
                        float alpha)
{
    const struct vks_matmul matmul = {
        .form = VKS_MATMUL_NT,
        .m = c->q_count,
        .n = s->tk,
        .k = s->width,
        .batch = {c->b_count, s->heads},
        .a = query_side(s, c, a),
        .b = key_side(s, c, b),
        .c = score_side(s, c, scores),
        .alpha = alpha,
    };
    return vks_emit_matmul(emitter, &matmul);
}

// y = alpha scores x, rows of queries
static bool emit_to_queries(struct vks_emitter *emitter, const struct attention_shape *s,
                            const struct attention_chunk *c, const struct vks_tensor *scores,
                            const struct vks_tensor *x, const struct vks_tensor *y, float alpha)
{
    const struct vks_matmul matmul = {
        .form = VKS_MATMUL_NN,
        .m = c->q_count,
        .n = s->width,
        .k = s->tk,
        .batch = {c->b_count, s->heads},
        .a = score_side(s, c, scores),
        .b = key_side(s, c, x),
        .c = query_side(s, c, y),
        .alpha = alpha,
    };
    return vks_emit_matmul(emitter, &matmul);
}

// y += alpha scoresᵀ x, rows of keys; the first chunk of a sample's queries sets y
static bool emit_to_keys(struct vks_emitter *emitter, const struct attention_shape *s,
                         const struct attention_chunk *c, const struct vks_tensor *scores,
                         const struct vks_tensor *x, const struct vks_tensor *y, float alpha)
{
    const struct vks_matmul matmul = {
        .form = VKS_MATMUL_TN,
        .m = s->tk,
        .n = s->width,
        .k = c->q_count,
        .batch = {c->b_count, s->heads},
        .a = score_side(s, c, scores),
        .b = query_side(s, c, x),
        .c = key_side(s, c, y),
        .alpha = alpha,
        .accumulate = c->q > 0,
    };
    return vks_emit_matmul(emitter, &matmul);
}

// scores -> probabilities, and with `slopes` dP -> dS; cut at rows.
static bool emit_rows(struct vks_emitter *emitter, const struct attention_shape *s, const struct attention_chunk *c,
                      const struct vks_tensor *scores, const struct vks_tensor *slopes, const struct vks_tensor *stats,
                      const struct vks_tensor *mask)
{
    const uint32_t backward = slopes != NULL, lanes = vks_row_lanes(emitter);
    const uint32_t spec[] = {lanes, backward};
    const uint32_t per_sample = s->heads * c->q_count;
    const uint64_t rows = (uint64_t)c->b_count * per_sample, cols = s->tk;
    const uint64_t most = vks_rows_per_slice(emitter, rows, 4 * (cols > 2 ? cols : 2));
    if (most == 0)
        return vks_fail_row(emitter, scores);
    for (uint64_t row = 0; row < rows; row += most) {
        const uint64_t n = vks_min_u64(most, rows - row);
        const uint64_t sample = row / per_sample, samples = (row + n - 1) / per_sample + 1 - sample;
        const struct vks_operand operands[] = {
            vks_update(scores, row * cols, n * cols),
            backward ? vks_update(slopes, row * cols, n * cols) : vks_unused(),
            {stats, backward ? VKS_READ : VKS_WRITE, 2 * (c->row + row), 2 * n},
            mask ? vks_read(mask, (c->b + sample) * cols, samples * cols) : vks_unused(),
        };
        const struct vks_push_attention push = {
            .rows = (uint32_t)n,
            .cols = s->tk,
            .row_first = (uint32_t)row,
            .per_sample = per_sample,
            .queries = c->q_count,
            .query_first = c->q,
            .sample_first = (uint32_t)sample,
            .flags = (mask ? 1u : 0) | (s->causal ? 2u : 0),
        };
        if (!vks_emit_special(emitter, VKS_K_attention_softmax, spec, 2, operands, 4, &push, sizeof(push),
                              vks_groups_1d(n * lanes, VKS_GROUP)))
            return false;
    }
    return true;
}

static struct vks_tensor *chunk_scratch(struct vks_emitter *emitter, const struct attention_shape *s)
{
    return vks_emit_scratch(emitter, (uint64_t)s->chunk_b * s->heads * s->chunk_q * s->tk);
}

static bool emit_attention(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct attention_shape s = shape_of(node, emitter->limits.max_range / 4);
    struct vks_tensor *const *in = node->inputs;
    const struct vks_tensor *scores = chunk_scratch(emitter, &s);
    for (struct attention_chunk c = {0}; scores && next_chunk(&s, &c);)
        if (!emit_scores(emitter, &s, &c, in[Q], in[K], scores, s.scale) ||
            !emit_rows(emitter, &s, &c, scores, NULL, node->outputs[1], in[MASK]) ||
            !emit_to_queries(emitter, &s, &c, scores, in[V], node->outputs[0], 1))
            return false;
    return scores != NULL;
}

static bool emit_attention_backward(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct attention_shape s = shape_of(node, emitter->limits.max_range / 4);
    struct vks_tensor *const *in = node->inputs, *const *out = node->outputs;
    const struct vks_tensor *scores = chunk_scratch(emitter, &s), *slopes = chunk_scratch(emitter, &s);
    for (struct attention_chunk c = {0}; scores && slopes && next_chunk(&s, &c);)
        if (!emit_scores(emitter, &s, &c, in[Q], in[K], scores, s.scale) ||
            !emit_scores(emitter, &s, &c, in[DY], in[V], slopes, 1) ||
            !emit_rows(emitter, &s, &c, scores, slopes, in[STATS], in[MASK]) ||
            !emit_to_queries(emitter, &s, &c, slopes, in[K], out[0], s.scale) ||
            !emit_to_keys(emitter, &s, &c, slopes, in[Q], out[1], s.scale) ||
            !emit_to_keys(emitter, &s, &c, scores, in[DY], out[2], 1))
            return false;
    return scores && slopes;
}

static bool infer_attention(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_attention *attrs = node->attrs;
    const struct vks_tensor *q = node->inputs[Q], *k = node->inputs[K], *v = node->inputs[V];
    const struct vks_tensor *mask = node->inputs[MASK];
    if (q->rank != 3 || k->rank != 3 || !vks_same_shape(k, v) || k->shape[0] != q->shape[0] ||
        k->shape[2] != q->shape[2])
        return vks_graph_fail(graph, "attention: q %s, k %s and v %s must be (B, Tq, C) and twice (B, Tk, C)",
                              vks_tensor_text(graph, q), vks_tensor_text(graph, k), vks_tensor_text(graph, v)) != NULL;
    if (attrs->heads == 0 || q->shape[2] % attrs->heads)
        return vks_graph_fail(graph, "attention: the channels of %s do not divide into %u heads",
                              vks_tensor_text(graph, q), attrs->heads) != NULL;
    if (mask && (mask->rank != 2 || mask->shape[0] != k->shape[0] || mask->shape[1] != k->shape[1]))
        return vks_graph_fail(graph, "attention: the mask %s has not one value for each key of %s",
                              vks_tensor_text(graph, mask), vks_tensor_text(graph, k)) != NULL;
    for (uint32_t i = Q; i <= MASK; i++)
        if (!vks_want_f32(graph, node, i))
            return false;
    const uint32_t stats[] = {q->shape[0], attrs->heads, q->shape[1], 2};
    return vks_output_like(graph, node, q) && vks_graph_output(graph, node, VKS_F32, 4, stats);
}

static bool infer_attention_backward(struct vks_graph *graph, struct vks_node *node)
{
    return vks_output_like(graph, node, node->inputs[Q]) && vks_output_like(graph, node, node->inputs[K]) &&
           vks_output_like(graph, node, node->inputs[V]);
}

static double flop_attention(const struct vks_node *node)
{
    const struct attention_shape s = shape_of(node, CHUNK_SCORES);
    const double products = node->input_count > STATS ? 5 : 2;
    return (double)s.b * s.heads * s.tq * s.tk * (2 * products * s.width + 25);
}

static const struct vks_op attention_backward_op = {
    .name = "attention_backward",
    .infer = infer_attention_backward,
    .emit = emit_attention_backward,
    .flop = flop_attention,
};

static bool attention_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                               const bool want[], struct vks_tensor *dx[])
{
    struct vks_tensor *const inputs[] = {node->inputs[Q],    node->inputs[K],  node->inputs[V],
                                         node->inputs[MASK], node->outputs[1], dy[0]};
    const struct vks_tensor *dq =
        vks_graph_add(graph, &attention_backward_op, inputs, 6, node->attrs, node->attrs_size);
    // The products of gradients that nothing reads are left out when the graph is planned.
    for (uint32_t i = 0; i < 3; i++)
        if (want[i])
            dx[i] = vks_tensor_sibling(dq, i);
    return dq != NULL;
}

static const struct vks_op attention_op = {
    .name = "attention",
    .infer = infer_attention,
    .emit = emit_attention,
    .backward = attention_backward,
    .differentiable = 1 << Q | 1 << K | 1 << V,
    .flop = flop_attention,
};

vks_tensor *vks_attention(struct vks_graph *g, vks_tensor *q, vks_tensor *k, vks_tensor *v, vks_tensor *mask,
                          const struct vks_attention *attrs)
{
    vks_tensor *const inputs[] = {q, k, v, mask};
    return q && k && v ? vks_graph_add(g, &attention_op, inputs, 4, attrs, sizeof(*attrs)) : NULL;
}
