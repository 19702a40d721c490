#include "ops/common.h"
#include "ops/ops.h"

static bool infer_cache_rows(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *cache = node->inputs[0], *x = node->inputs[1];  // and the positions
    if (cache->kind != VKS_TENSOR_STATE || cache->rank != 3 || x->rank != 3 || x->shape[0] != cache->shape[0] ||
        x->shape[1] > cache->shape[1] || x->shape[2] != cache->shape[2] ||
        (cache->dtype == VKS_F16 ? cache->shape[2] % 2 : cache->dtype != VKS_F32))
        return vks_graph_fail(graph, "cache_rows: %s does not fit the cache %s", vks_tensor_text(graph, x),
                              vks_tensor_text(graph, cache)) != NULL;
    return vks_want_f32(graph, node, 1) && vks_want_positions(graph, node, node->inputs[2], x) &&
           vks_graph_output(graph, node, cache->dtype, 3, cache->shape);
}

// Rows [row, row + n) of x into rows [first, first + bound) of the cache, as far as they belong there.
static bool emit_stretch(struct vks_emitter *emitter, const struct vks_node *node, uint64_t row, uint64_t n,
                         uint64_t first, uint64_t bound)
{
    const struct vks_tensor *cache = node->inputs[0], *x = node->inputs[1];
    const uint64_t cols = x->shape[2];
    const struct vks_operand operands[] = {
        vks_update(cache, first * cols, bound * cols),
        vks_read(x, row * cols, n * cols),
        vks_read(node->inputs[2], 0, 0),
    };
    const struct vks_push_cache_rows push = {
        .count = (uint32_t)n,
        .cols = (uint32_t)cols,
        .tokens = x->shape[1],
        .rows = cache->shape[1],
        .x_first = (uint32_t)row,
        .first = (uint32_t)first,
        .bound = (uint32_t)bound,
    };
    const uint32_t halves = cache->dtype == VKS_F16, quads = cols % 4 == 0 && vks_all_aligned(operands, 2);
    const uint32_t spec[] = {quads, halves}, width = quads ? 4 : halves ? 2 : 1;
    return vks_emit_special(emitter, VKS_K_cache_rows, spec, 2, operands, 3, &push, sizeof(push),
                            vks_groups_1d(n * cols / width, VKS_GROUP));
}

static bool emit_cache_rows(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_tensor *cache = node->inputs[0], *x = node->inputs[1];
    const uint64_t x_rows = vks_tensor_rows(x), tokens = x->shape[1], rows = cache->shape[1];
    const uint64_t most = vks_rows_per_slice(emitter, vks_tensor_rows(cache), 4 * (uint64_t)x->shape[2]);
    if (most == 0)
        return vks_fail_row(emitter, x);
    for (uint64_t row = 0; row < x_rows; row += vks_min_u64(most, x_rows)) {
        const uint64_t n = vks_min_u64(most, x_rows - row);
        // The samples of these rows.
        const uint64_t begin = row / tokens * rows, end = ((row + n - 1) / tokens + 1) * rows;
        for (uint64_t first = begin; first < end; first += most)
            if (!emit_stretch(emitter, node, row, n, first, vks_min_u64(most, end - first)))
                return false;
    }
    return true;
}

static double flop_0(const struct vks_node *node)
{
    (void)node;
    return 0;
}

static const struct vks_op cache_rows_op = {
    .name = "cache_rows",
    .infer = infer_cache_rows,
    .emit = emit_cache_rows,
    .flop = flop_0,
    .alias = true,
    .again = vks_pass,
};

vks_tensor *vks_cache_rows(struct vks_graph *g, vks_tensor *cache, vks_tensor *x, vks_tensor *positions)
{
    vks_tensor *const inputs[] = {cache, x, positions};
    return cache && x && positions ? vks_graph_add(g, &cache_rows_op, inputs, 3, NULL, 0) : NULL;
}
