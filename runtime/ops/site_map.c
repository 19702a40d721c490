// Map, pooling and activation of one site in one kernel each way: what stays of the three where they stand in a row.
#include "ops/columns.h"
#include "ops/common.h"
#include "ops/site.h"

// Inputs of the backward node.
enum { DY, Z, W, B, GRAD_POOLED, BACKWARD_INPUTS };

static uint32_t act_of(const struct vks_site_map *attrs)
{
    return attrs->has_act ? attrs->act : VKS_SITE_NO_ACT;
}

static struct vks_push_site_map push_of(const struct vks_site_rows *site, const struct vks_site_slice *at,
                                        const struct vks_site_map *attrs)
{
    return (struct vks_push_site_map){
        .samples = at->samples,
        .blocks = vks_site_slice_blocks(at),
        .cols = (uint32_t)site->width,
        .stride = site->cols,
        .column = (uint32_t)site->column,
        .sample_rows = site->rows,
        .first = at->first,
        .end = at->end,
        .strength = VKS_STEP_STRENGTH + attrs->affine.map.strength,
        .first_sample = attrs->affine.sample + at->sample,
    };
}

static bool four_columns(const struct vks_site_rows *site)
{
    return (site->cols | site->column | site->width) % 4 == 0;
}

static struct vks_groups groups_of(const struct vks_site_rows *site, const struct vks_site_slice *at, bool quads)
{
    const uint64_t columns = site->width / (quads ? 4 : 1);
    return vks_groups_1d((uint64_t)at->samples * vks_site_slice_blocks(at) * columns, VKS_GROUP);
}

// First and count of the slice's partial sums.
static struct vks_operand parts_of(const struct vks_site_rows *site, const struct vks_site_slice *at,
                                   const struct vks_tensor *parts)
{
    const uint64_t block = site->sums * site->width;
    return vks_update(parts, ((uint64_t)at->sample * site->blocks + at->first / VKS_POOL_BLOCK) * block,
                      (uint64_t)at->samples * vks_site_slice_blocks(at) * block);
}

// ---- forward ------------------------------------------------------------------------------------------------------

static bool emit_slice(const struct vks_site_rows *site, const struct vks_node *node, const struct vks_site_slice *at,
                       const struct vks_tensor *parts)
{
    const struct vks_site_map *attrs = node->attrs;
    const uint64_t first = vks_site_slice_row(site, at) * site->cols, count = vks_site_slice_rows(at) * site->cols;
    const struct vks_operand operands[] = {
        vks_read(node->inputs[0], first, count),
        vks_read(node->inputs[1], site->column, site->width),
        vks_read(node->inputs[2], site->column, site->width),
        vks_read(site->emitter->step, 0, 0),
        vks_write(node->outputs[0], first, count),
        parts ? parts_of(site, at, parts) : vks_unused(),
    };
    const struct vks_push_site_map push = push_of(site, at, attrs);
    const bool quads = four_columns(site) && vks_all_aligned(operands, 3) &&
                       vks_all_aligned(operands + 4, parts ? 2 : 1);
    const uint32_t spec[] = {quads, act_of(attrs), parts != NULL};
    return vks_emit_special(site->emitter, VKS_K_site_map, spec, 3, operands, 6, &push, sizeof(push),
                            groups_of(site, at, quads));
}

static bool emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_site_map *attrs = node->attrs;
    const struct vks_tensor *pooled = attrs->pool.pooled, *parts = NULL;
    struct vks_site_rows site;
    if (!vks_site_begin(&site, emitter, node->inputs[0], NULL, false) ||
        (pooled && !(parts = vks_site_parts(&site))))
        return false;
    while (vks_site_next_columns(&site)) {
        const struct vks_site_finish finish = {
            .part = parts,
            .to = pooled,
            .kind = VKS_SUMS_MEAN,
            .rows = pooled ? pooled->shape[0] : 0,
            .stride = pooled ? vks_row_stride(pooled) : 0,
            .sample = attrs->affine.sample,
            .sliced = true,
            .divide = true,
        };
        for (struct vks_site_slice at = {0}; vks_site_next_slice(&site, &at);)
            if (!emit_slice(&site, node, &at, parts))
                return false;
        if (pooled && !vks_site_emit_finish(&site, &finish))
            return false;
    }
    return true;
}

static bool infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_site_map *attrs = node->attrs;
    if (!vks_output_like(graph, node, node->inputs[0]))
        return false;
    if (attrs->pool.pooled)
        node->outputs[node->output_count++] = attrs->pool.pooled;
    return true;
}

static double flop(const struct vks_node *node)
{
    const struct vks_site_map *attrs = node->attrs;
    return (attrs->has_act ? 23 : 3) * (double)vks_tensor_elements(node->outputs[0]);
}

// ---- backward -----------------------------------------------------------------------------------------------------

static bool emit_backward_slice(const struct vks_site_rows *site, const struct vks_node *node,
                                const struct vks_site_slice *at, const struct vks_stretch *bound,
                                const struct vks_tensor *parts)
{
    const struct vks_site_map *attrs = node->attrs;
    const struct vks_tensor *dy = node->inputs[DY], *grad = node->inputs[GRAD_POOLED];
    const uint64_t first = vks_site_slice_row(site, at) * site->cols, count = vks_site_slice_rows(at) * site->cols;
    const uint64_t stride = grad ? vks_row_stride(grad) : 0;
    const bool reads = attrs->has_act || parts;
    const struct vks_operand operands[] = {
        dy ? vks_read(dy, first, count) : vks_unused(),
        reads ? vks_read(node->inputs[Z], first, count) : vks_unused(),
        vks_read(node->inputs[W], site->column, site->width),
        attrs->has_act ? vks_read(node->inputs[B], site->column, site->width) : vks_unused(),
        vks_read(site->emitter->step, 0, 0),
        grad ? vks_block_operand(grad, VKS_READ, stride, bound->first, bound->count, site->column, site->width)
             : vks_unused(),
        vks_write(node->outputs[0], first, count),
        parts ? parts_of(site, at, parts) : vks_unused(),
    };
    struct vks_push_site_map push = push_of(site, at, attrs);
    push.first_row = (uint32_t)bound->first;
    push.rows = (uint32_t)bound->count;
    push.row_stride = (uint32_t)stride;
    push.gradient = dy != NULL;
    bool quads = four_columns(site);
    for (uint32_t i = 0; i < 8; i++)
        quads = quads && (i == 4 || i == 5 || !operands[i].tensor || vks_all_aligned(&operands[i], 1));
    const uint32_t spec[] = {quads, act_of(attrs), grad != NULL, parts != NULL};
    return vks_emit_special(site->emitter, VKS_K_site_map_backward, spec, 4, operands, 8, &push, sizeof(push),
                            groups_of(site, at, quads));
}

static bool emit_backward(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_site_map *attrs = node->attrs;
    const struct vks_tensor *grad = node->inputs[GRAD_POOLED], *parts = NULL;
    struct vks_site_rows site;
    if (!vks_site_begin(&site, emitter, node->inputs[Z], NULL, false))
        return false;
    site.sums = 2;
    if (attrs->affine.grad_w && !(parts = vks_site_parts(&site)))
        return false;
    const struct vks_site_gradient rows = {.affine = &attrs->affine, .product = parts};
    while (vks_site_next_columns(&site)) {
        const uint64_t total = grad ? grad->shape[0] : 1;
        const uint64_t fit = grad ? vks_rows_per_binding(emitter, site.width, vks_row_stride(grad)) : 1;
        for (struct vks_site_slice at = {0}; vks_site_next_slice(&site, &at);)
            for (struct vks_stretch bound = {0}; vks_stretch_next(&bound, total, fit);)
                if (!emit_backward_slice(&site, node, &at, &bound, parts))
                    return false;
        if (parts && !vks_site_emit_gradient(&site, &rows))
            return false;
    }
    return true;
}

static bool infer_backward(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_site_map *attrs = node->attrs;
    if (!vks_output_like(graph, node, node->inputs[Z]))
        return false;
    if (attrs->affine.grad_w) {
        node->outputs[node->output_count++] = attrs->affine.grad_w;
        node->outputs[node->output_count++] = attrs->affine.grad_b;
    }
    return true;
}

static const struct vks_op site_map_backward_op = {
    .name = "site_map_backward",
    .infer = infer_backward,
    .emit = emit_backward,
    .flop = flop,
    .strided = 1 << GRAD_POOLED,
    .in_place = 1 << DY,
};

static bool backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                     const bool want[], struct vks_tensor *dx[])
{
    const struct vks_site_map *attrs = node->attrs;
    vks_tensor *const inputs[BACKWARD_INPUTS] = {dy[0], node->inputs[0], node->inputs[1], node->inputs[2],
                                                 attrs->pool.grad_pooled};
    vks_tensor *dz = vks_graph_add(graph, &site_map_backward_op, inputs, BACKWARD_INPUTS, attrs, sizeof(*attrs));
    if (want[0])
        dx[0] = dz;
    return dz != NULL;
}

static bool trains(const struct vks_node *node)
{
    return ((const struct vks_site_map *)node->attrs)->affine.grad_w != NULL;
}

static bool seeds(const struct vks_node *node)
{
    return ((const struct vks_site_map *)node->attrs)->pool.grad_pooled != NULL;
}

// ---- the operator -------------------------------------------------------------------------------------------------

static struct vks_tensor *again(struct vks_graph *graph, const struct vks_node *node,
                                struct vks_tensor *const inputs[])
{
    struct vks_site_map attrs = *(const struct vks_site_map *)node->attrs;
    attrs.pool = (struct vks_site_pool){0};
    return vks_site_map(graph, inputs[0], inputs[1], inputs[2], &attrs);
}

static struct vks_tensor *fuse(struct vks_graph *graph, const struct vks_node *node, const struct vks_node *next)
{
    struct vks_site_map attrs = *(const struct vks_site_map *)node->attrs;
    if (attrs.has_act || !vks_is_unary(next, &attrs.act))
        return NULL;
    attrs.has_act = true;
    return vks_site_map(graph, node->inputs[0], node->inputs[1], node->inputs[2], &attrs);
}

static const struct vks_op site_map_op = {
    .name = "site_map",
    .infer = infer,
    .emit = emit,
    .backward = backward,
    .differentiable = 1,
    .flop = flop,
    .in_place = 1,
    .again = again,
    .fuse = fuse,
    .trains = trains,
    .seeds = seeds,
};

vks_tensor *vks_site_map(struct vks_graph *g, vks_tensor *z, vks_tensor *w, vks_tensor *b,
                         const struct vks_site_map *attrs)
{
    return vks_graph_add(g, &site_map_op, (vks_tensor *const[]){z, w, b}, 3, attrs, sizeof(*attrs));
}
