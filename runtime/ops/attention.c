#include <math.h>

#include "ops/attention.h"
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

// Inputs: of a cache with its positions, and no mask; STATS and DY of backward alone, which has no cache.
enum { Q, K, V, MASK, POSITIONS, STATS = POSITIONS, DY };

// The query heads that share a head of keys are further queries of it: query r of a head of keys is that of token
// r / group and of head r % group among those that share it. So one product serves them all, and sums over queries,
// dk and dv, run over tokens first, wherever the chunks begin.
struct attention_shape {
    const struct vks_attention *attrs;
    uint32_t b, tk, heads, group, width;  // heads of k and v, each shared by `group` query heads
    uint32_t k_rows;                      // of a sample in k and v: tk, or a longer cache's
    uint32_t queries;                     // of a head of keys: Tq * group
    uint32_t chunk_b, chunk_q;            // samples, or queries of one sample, that are taken at once
    uint32_t q_stride, q_batch[2];        // elements from query to query, sample to sample, head of keys to the next
    bool cached;                          // positions come with the run
    bool packed;                          // the products' queries lie in scratch, see emit_pack
    float scale;
};

static uint32_t kv_heads_of(const struct vks_attention *attrs)
{
    return attrs->kv_heads ? attrs->kv_heads : attrs->heads;
}

// Backward has one input more.
static bool is_cached(const struct vks_node *node)
{
    return node->input_count == POSITIONS + 1;
}

static bool is_backward(const struct vks_node *node)
{
    return node->input_count == DY + 1;
}

static float scale_of(const struct vks_node *node)
{
    const struct vks_attention *attrs = node->attrs;
    return attrs->scale != 0 ? attrs->scale : (float)(1 / sqrt(node->inputs[Q]->shape[2] / attrs->heads));
}

// Rows of k and v that the queries may see.
static uint32_t keys_of(const struct vks_node *node)
{
    const struct vks_attention *attrs = node->attrs;
    return attrs->keys ? attrs->keys : node->inputs[K]->shape[1];
}

// `most`: scores that a binding holds.
static struct attention_shape shape_of(const struct vks_node *node, uint64_t most)
{
    const struct vks_attention *attrs = node->attrs;
    const struct vks_tensor *q = node->inputs[Q], *k = node->inputs[K];
    const uint32_t tq = q->shape[1], cols = q->shape[2];
    struct attention_shape s = {.attrs = attrs, .b = q->shape[0], .tk = keys_of(node), .heads = kv_heads_of(attrs)};
    s.k_rows = k->shape[1];
    s.cached = is_cached(node);
    s.width = cols / attrs->heads;
    s.group = attrs->heads / s.heads;
    s.queries = tq * s.group;
    s.scale = scale_of(node);
    // Where a token's heads share several heads of keys, one head's queries are no matrix with a stride of its own.
    s.packed = s.group > 1 && s.heads > 1 && tq > 1;
    s.q_stride = s.group > 1 ? s.width : cols;
    s.q_batch[0] = tq * (s.packed ? s.group * s.width : cols);
    s.q_batch[1] = s.group * s.width * (s.packed ? s.b * tq : 1);
    const uint64_t rows = vks_min_u64(CHUNK_SCORES, most) / s.tk;
    s.chunk_q = (uint32_t)vks_min_u64(rows / s.heads ? rows / s.heads : 1, s.queries);
    const uint64_t samples = rows / ((uint64_t)s.heads * s.queries);
    s.chunk_b = s.chunk_q < s.queries || samples == 0 ? 1 : (uint32_t)vks_min_u64(samples, s.b);
    return s;
}

// Copies the queries (B, Tq, heads, group, D) to `packed` (heads, B, Tq, group, D), or back; cut at tokens.
static bool emit_pack(struct vks_emitter *emitter, const struct attention_shape *s, const struct vks_tensor *plain,
                      const struct vks_tensor *packed, bool back)
{
    const uint32_t part = s->group * s->width, cols = s->heads * part;
    const uint64_t tokens = (uint64_t)s->b * s->queries / s->group, most = emitter->limits.max_range / 4;
    const uint32_t heads = tokens * cols <= most ? s->heads : 1;
    const uint64_t step = heads > 1 ? tokens : most < part ? 0 : vks_min_u64(1 + (most - part) / cols, tokens);
    if (step == 0)
        return vks_fail_row(emitter, plain);
    for (uint32_t head = 0; head < s->heads; head += heads)
        for (uint64_t token = 0; token < tokens; token += step) {
            const uint64_t n = vks_min_u64(step, tokens - token);
            const struct vks_operand a = vks_read(plain, token * cols + head * (uint64_t)part,
                                                  (n - 1) * cols + (uint64_t)heads * part);
            const struct vks_operand b = vks_read(packed, (head * tokens + token) * part, heads * n * part);
            struct vks_operand operands[] = {back ? a : b, back ? b : a};
            operands[0].access = VKS_WRITE;
            struct vks_push_unpack push = {.ni = heads, .nj = (uint32_t)n, .nl = part, .sl = 1, .dl = 1};
            push.si = back ? (uint32_t)n * part : part;
            push.sj = back ? part : cols;
            push.di = back ? part : (uint32_t)n * part;
            push.dj = back ? cols : part;
            const uint32_t spec[] = {VKS_F32, part % 4 == 0 && vks_all_aligned(operands, 2)};
            if (!vks_emit_special(emitter, VKS_K_unpack, spec, 2, operands, 2, &push, sizeof(push),
                                  vks_groups_1d(heads * n * part / (spec[1] ? 4 : 1), VKS_GROUP)))
                return false;
        }
    return true;
}

// What the products read in place of the queries in `plain`, or write in place of them: without packing, `plain`.
static const struct vks_tensor *packed_like(struct vks_emitter *emitter, const struct attention_shape *s,
                                            const struct vks_tensor *plain)
{
    return s->packed ? vks_emit_scratch(emitter, vks_tensor_elements(plain)) : plain;
}

static const struct vks_tensor *emit_packed(struct vks_emitter *emitter, const struct attention_shape *s,
                                            const struct vks_tensor *plain)
{
    const struct vks_tensor *packed = packed_like(emitter, s, plain);
    return packed == plain || (packed && emit_pack(emitter, s, plain, packed, false)) ? packed : NULL;
}

// Some samples, or some queries of one.
struct attention_chunk {
    uint32_t b, b_count, q, q_count;
    uint32_t k, k_count;  // keys that some query of these may see
    uint64_t row;  // (sample, head, query) rows before this chunk
};

// Position of the first query among the keys; in a cache each sample has its own.
static uint32_t first_position(const struct attention_shape *s)
{
    return s->attrs->causal && !s->cached ? s->tk - s->queries / s->group : 0;
}

// Later chunks of causal queries leave out keys that none of them sees.
static void find_keys(const struct attention_shape *s, struct attention_chunk *chunk)
{
    chunk->k = 0;
    chunk->k_count = s->tk;
    if (!s->attrs->causal || s->cached)
        return;
    const uint32_t first = first_position(s) + chunk->q / s->group, window = s->attrs->window;
    if (window && first >= window)
        chunk->k = (first + 1 - window) / 16 * 16;  // products like aligned rows; what is added has P = 0
    const uint32_t end = first_position(s) + (chunk->q + chunk->q_count - 1) / s->group + 1;
    chunk->k_count = (uint32_t)vks_min_u64(vks_ceil_div(end, 16) * 16, s->tk) - chunk->k;
}

// Steps to the next chunk; `chunk` begins zeroed. False: that was the last.
static bool next_chunk(const struct attention_shape *s, struct attention_chunk *chunk)
{
    chunk->row += (uint64_t)chunk->b_count * s->heads * chunk->q_count;
    chunk->q += chunk->q_count;
    if (chunk->q >= s->queries) {
        chunk->q = 0;
        chunk->b += chunk->b_count;
    }
    chunk->b_count = (uint32_t)vks_min_u64(s->chunk_b, s->b - chunk->b);
    chunk->q_count = (uint32_t)vks_min_u64(s->chunk_q, s->queries - chunk->q);
    find_keys(s, chunk);
    return chunk->b < s->b;
}

static struct vks_matrix query_side(const struct attention_shape *s, const struct attention_chunk *c,
                                    const struct vks_tensor *tensor)
{
    const uint64_t first = (uint64_t)c->b * s->q_batch[0] + (uint64_t)c->q * s->q_stride;
    return (struct vks_matrix){tensor, first, s->q_stride, {s->q_batch[0], s->q_batch[1]}};
}

static struct vks_matrix key_side(const struct attention_shape *s, const struct attention_chunk *c,
                                  const struct vks_tensor *tensor)
{
    const uint32_t cols = s->heads * s->width;
    return (struct vks_matrix){tensor, (uint64_t)c->b * s->k_rows * cols, cols, {s->k_rows * cols, s->width}};
}

static struct vks_matrix score_side(const struct attention_shape *s, const struct attention_chunk *c,
                                    const struct vks_tensor *tensor)
{
    return (struct vks_matrix){tensor, 0, s->tk, {s->heads * c->q_count * s->tk, c->q_count * s->tk}};
}

// The chunk's keys among those of its samples, and the columns of its scores.
static struct vks_matrix some_keys(const struct attention_shape *s, const struct attention_chunk *c,
                                   const struct vks_tensor *tensor)
{
    struct vks_matrix keys = key_side(s, c, tensor);
    keys.first += (uint64_t)c->k * keys.stride;
    return keys;
}

static struct vks_matrix some_scores(const struct attention_shape *s, const struct attention_chunk *c,
                                     const struct vks_tensor *tensor)
{
    struct vks_matrix scores = score_side(s, c, tensor);
    scores.first += c->k;
    return scores;
}

// scores = alpha a bᵀ over a head's channels
static bool emit_scores(struct vks_emitter *emitter, const struct attention_shape *s, const struct attention_chunk *c,
                        const struct vks_tensor *a, const struct vks_tensor *b, const struct vks_tensor *scores,
                        float alpha)
{
    const struct vks_matmul matmul = {
        .form = VKS_MATMUL_NT,
        .m = c->q_count,
        .n = c->k_count,
        .k = s->width,
        .batch = {c->b_count, s->heads},
        .a = query_side(s, c, a),
        .b = some_keys(s, c, b),
        .c = some_scores(s, c, scores),
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
        .k = c->k_count,
        .batch = {c->b_count, s->heads},
        .a = some_scores(s, c, scores),
        .b = some_keys(s, c, x),
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

static struct vks_push_attention softmax_push(const struct attention_shape *s, const struct attention_chunk *c,
                                              const struct vks_tensor *mask)
{
    const struct vks_attention *attrs = s->attrs;
    return (struct vks_push_attention){
        .cols = s->tk,
        .per_sample = s->heads * c->q_count,
        .queries = c->q_count,
        .query_first = c->q,
        .flags = (mask ? 1u : 0) | (attrs->causal ? 2u : 0) | (s->cached ? 4u : 0),
        .position = first_position(s),
        .tokens = s->queries / s->group,
        .group = s->group,
        .window = attrs->window,
        .softcap = attrs->softcap,
    };
}

// scores -> probabilities, and with `slopes` dP -> dS; cut at rows. `inputs`: of the node.
static bool emit_rows(struct vks_emitter *emitter, const struct attention_shape *s, const struct attention_chunk *c,
                      const struct vks_tensor *scores, const struct vks_tensor *slopes, const struct vks_tensor *stats,
                      struct vks_tensor *const inputs[])
{
    const struct vks_tensor *mask = inputs[MASK];
    const uint64_t tokens = s->queries / s->group;
    const uint32_t backward = slopes != NULL, lanes = vks_row_lanes(emitter);
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
            s->cached ? vks_read(inputs[POSITIONS], (c->b + sample) * tokens, samples * tokens) : vks_unused(),
        };
        struct vks_push_attention push = softmax_push(s, c, mask);
        push.rows = (uint32_t)n;
        push.row_first = (uint32_t)row;
        push.sample_first = (uint32_t)sample;
        const uint32_t quads = lanes == 1 && cols % 4 == 0 && vks_all_aligned(operands, 2);
        const uint32_t spec[] = {lanes, backward, s->attrs->softcap != 0, quads};
        if (!vks_emit_special(emitter, VKS_K_attention_softmax, spec, 4, operands, 5, &push, sizeof(push),
                              vks_groups_1d(n * lanes, VKS_GROUP)))
            return false;
    }
    return true;
}

static struct vks_tensor *chunk_scratch(struct vks_emitter *emitter, const struct attention_shape *s)
{
    return vks_emit_scratch(emitter, (uint64_t)s->chunk_b * s->heads * s->chunk_q * s->tk);
}

// Whether one walk does it, see ops/attention.h.
static bool find_walk(const struct vks_emitter *emitter, const struct vks_node *node, struct vks_attention_walk *walk)
{
    const struct vks_attention *attrs = node->attrs;
    struct vks_tensor *const *in = node->inputs, *const *out = node->outputs;
    const bool backward = is_backward(node);
    *walk = (struct vks_attention_walk){
        .q = in[Q],
        .k = in[K],
        .v = in[V],
        .y = backward ? in[DY] : out[0],
        .stats = backward ? in[STATS] : out[1],
        .dq = backward ? out[0] : NULL,
        .dk = backward ? out[1] : NULL,
        .dv = backward ? out[2] : NULL,
        .positions = is_cached(node) ? in[POSITIONS] : NULL,
        .heads = kv_heads_of(attrs),
        .group = attrs->heads / kv_heads_of(attrs),
        .keys = keys_of(node),
        .window = attrs->window,
        .scale = scale_of(node),
    };
    return (is_cached(node) || (!in[MASK] && !attrs->causal && walk->group == 1)) && attrs->softcap == 0 &&
           vks_attention_walks(&emitter->limits, walk);
}

static bool emit_attention(struct vks_emitter *emitter, const struct vks_node *node)
{
    struct vks_attention_walk walk;
    if (find_walk(emitter, node, &walk))
        return vks_emit_attention_walk(emitter, &walk);
    const struct attention_shape s = shape_of(node, emitter->limits.max_range / 4);
    struct vks_tensor *const *in = node->inputs;
    const struct vks_tensor *scores = chunk_scratch(emitter, &s), *q = emit_packed(emitter, &s, in[Q]);
    const struct vks_tensor *y = packed_like(emitter, &s, node->outputs[0]);
    if (!scores || !q || !y)
        return false;
    for (struct attention_chunk c = {0}; next_chunk(&s, &c);)
        if (!emit_scores(emitter, &s, &c, q, in[K], scores, s.scale) ||
            !emit_rows(emitter, &s, &c, scores, NULL, node->outputs[1], in) ||
            !emit_to_queries(emitter, &s, &c, scores, in[V], y, 1))
            return false;
    return !s.packed || emit_pack(emitter, &s, node->outputs[0], y, true);
}

static bool emit_attention_backward(struct vks_emitter *emitter, const struct vks_node *node)
{
    struct vks_attention_walk walk;
    if (find_walk(emitter, node, &walk))
        return vks_emit_attention_walk(emitter, &walk);
    const struct attention_shape s = shape_of(node, emitter->limits.max_range / 4);
    struct vks_tensor *const *in = node->inputs, *const *out = node->outputs;
    const struct vks_tensor *scores = chunk_scratch(emitter, &s), *slopes = chunk_scratch(emitter, &s);
    const struct vks_tensor *q = emit_packed(emitter, &s, in[Q]), *dy = emit_packed(emitter, &s, in[DY]);
    const struct vks_tensor *dq = packed_like(emitter, &s, out[0]);
    if (!scores || !slopes || !q || !dy || !dq)
        return false;
    for (struct attention_chunk c = {0}; next_chunk(&s, &c);)
        if (!emit_scores(emitter, &s, &c, q, in[K], scores, s.scale) ||
            !emit_scores(emitter, &s, &c, dy, in[V], slopes, 1) ||
            !emit_rows(emitter, &s, &c, scores, slopes, in[STATS], in) ||
            !emit_to_queries(emitter, &s, &c, slopes, in[K], dq, s.scale) ||
            !emit_to_keys(emitter, &s, &c, slopes, q, out[1], s.scale) ||
            !emit_to_keys(emitter, &s, &c, scores, dy, out[2], 1))
            return false;
    return !s.packed || emit_pack(emitter, &s, out[0], dq, true);
}

static bool infer_attention(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_attention *attrs = node->attrs;
    const struct vks_tensor *q = node->inputs[Q], *k = node->inputs[K], *v = node->inputs[V];
    const struct vks_tensor *mask = node->inputs[MASK];
    if (q->rank != 3 || k->rank != 3 || !vks_same_shape(k, v) || k->shape[0] != q->shape[0])
        return vks_graph_fail(graph, "attention: q %s, k %s and v %s must be (B, Tq, C) and twice (B, Tk, C)",
                              vks_tensor_text(graph, q), vks_tensor_text(graph, k), vks_tensor_text(graph, v)) != NULL;
    if (attrs->heads == 0 || q->shape[2] % attrs->heads || attrs->heads % kv_heads_of(attrs) ||
        k->shape[2] != q->shape[2] / attrs->heads * kv_heads_of(attrs))
        return vks_graph_fail(graph, "attention: the channels of q %s and k %s do not divide into %u and %u heads of "
                              "one size", vks_tensor_text(graph, q), vks_tensor_text(graph, k), attrs->heads,
                              kv_heads_of(attrs)) != NULL;
    if (attrs->keys > k->shape[1] || (attrs->keys && !is_cached(node)))
        return vks_graph_fail(graph, "attention: %u rows are no part of a cache %s", attrs->keys,
                              vks_tensor_text(graph, k)) != NULL;
    if (attrs->causal ? q->shape[1] > keys_of(node) : attrs->window || is_cached(node))
        return vks_graph_fail(graph, "attention: %s", attrs->causal ? "more causal queries than keys"
                              : "a window or a cache needs causal queries") != NULL;
    if (attrs->softcap < 0)
        return vks_graph_fail(graph, "attention: the cap of the scores is negative") != NULL;
    if (mask && (mask->rank != 2 || mask->shape[0] != k->shape[0] || mask->shape[1] != keys_of(node)))
        return vks_graph_fail(graph, "attention: the mask %s has not one value for each key of %s",
                              vks_tensor_text(graph, mask), vks_tensor_text(graph, k)) != NULL;
    for (uint32_t i = Q; i <= MASK; i++)
        if (!(is_cached(node) && (i == K || i == V) && k->dtype == VKS_F16 && v->dtype == VKS_F16) &&
            !vks_want_f32(graph, node, i))
            return false;
    if (is_cached(node) && !vks_want_positions(graph, node, node->inputs[POSITIONS], q))
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
    const double products = is_backward(node) ? 5 : 2;
    return (double)s.b * s.heads * s.queries * s.tk * (2 * products * s.width + 25);
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
    if (is_cached(node))
        return vks_graph_fail(graph, "attention over a cache has no gradient: train on whole texts") != NULL;
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

vks_tensor *vks_attention_cached(struct vks_graph *g, vks_tensor *q, vks_tensor *k, vks_tensor *v,
                                 vks_tensor *positions, const struct vks_attention *attrs)
{
    vks_tensor *const inputs[] = {q, k, v, NULL, positions};
    return q && k && v && positions ? vks_graph_add(g, &attention_op, inputs, 5, attrs, sizeof(*attrs)) : NULL;
}
