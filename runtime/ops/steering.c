// Affine transport maps and pooling at sites, and their gradients.
#include "ops/columns.h"
#include "ops/common.h"
#include "ops/ops.h"
#include "ops/site.h"

// ---- affine map -------------------------------------------------------------------------------------------------

// y = map(x), or with `backward` the gradient: the same gain without the offset.
struct apply {
    const struct vks_affine *map;
    const struct vks_tensor *x, *w, *b, *y;
    const struct vks_tensor *range; // may be NULL
    const struct vks_tensor *mean;  // AVG only
    bool backward;
};

static bool emit_apply(const struct vks_site_rows *site, const struct apply *apply)
{
    const struct vks_tensor *x = apply->x;
    const uint64_t total = vks_tensor_rows(x), fit = vks_binding_words(site->emitter) / site->cols;
    const bool avg = apply->map->position == VKS_POSITION_AVG;
    // A dynamic length is followed row by row; otherwise an invocation keeps w and b for several rows.
    const uint32_t per_item = x->dynamic ? 1 : 16;
    for (struct vks_stretch at = {0}; vks_stretch_next(&at, total, fit);) {
        const uint64_t row = at.first, rows = at.count;
        const struct vks_operand in = vks_read(x, row * site->cols, rows * site->cols);
        const struct vks_operand out = vks_write(apply->y, row * site->cols, rows * site->cols);
        const struct vks_operand w = vks_read(apply->w, 0, site->cols);
        const struct vks_operand b = apply->b ? vks_read(apply->b, 0, site->cols) : vks_unused();
        const struct vks_operand step = vks_read(site->emitter->step, 0, 0);
        const struct vks_push_affine push = {
            .rows = (uint32_t)rows,
            .cols = site->cols,
            .strength = VKS_STEP_STRENGTH + apply->map->strength,
            .per_item = per_item,
            .first = (uint32_t)row,
            .sample_rows = site->rows,
            .bias = apply->b != NULL,
            .spans = site->span != NULL,
        };
        const struct vks_operand range =
            apply->range ? vks_read(apply->range, 0, 2 * (uint64_t)site->cols) : vks_unused();
        const struct vks_operand mapped[] = {in, w, b, step, vks_read(site->span, 0, 0), out, range};
        const struct vks_operand averaged[] = {in, w, b, step, vks_read(apply->mean, 0, 0),
                                               vks_read(site->mask, 0, 0), out, range};
        const bool quads = !avg && site->cols % 4 == 0 && vks_all_aligned(mapped, 3) && vks_all_aligned(&out, 1) &&
                           (!apply->range || vks_all_aligned(&range, 1));
        const uint32_t columns = site->cols / (quads ? 4 : 1);
        const uint32_t spec[] = {avg ? apply->backward : apply->map->position == VKS_POSITION_LAST,
                                 avg ? site->mask != NULL : quads, apply->range != NULL};
        const struct vks_groups groups =
            x->dynamic ? vks_groups_rows(x, row, rows, columns, VKS_GROUP)
                       : vks_groups_1d((uint64_t)vks_ceil_div(rows, per_item) * columns, VKS_GROUP);
        struct vks_emitter *emitter = site->emitter;
        if (avg ? !vks_emit_special(emitter, VKS_K_affine_avg, spec, 3, averaged, 8, &push, sizeof(push), groups)
                : !vks_emit_special(emitter, VKS_K_affine, spec, 3, mapped, 7, &push, sizeof(push), groups))
            return false;
    }
    return true;
}

static bool affine_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_site_affine *attrs = node->attrs;
    struct vks_site_rows site;
    struct apply apply = {
        .map = &attrs->map,
        .x = node->inputs[0],
        .w = node->inputs[1],
        .b = node->inputs[2],
        .y = node->outputs[0],
        .range = node->inputs[4],
    };
    if (!vks_site_begin(&site, emitter, apply.x, node->inputs[3], attrs->map.position != VKS_POSITION_ALL))
        return false;
    if (apply.range && 2 * (uint64_t)site.cols > vks_binding_words(emitter))
        return vks_fail_row(emitter, apply.range);
    if (attrs->map.position == VKS_POSITION_AVG &&
        !(apply.mean = vks_site_emit_reduced(&site, apply.x, site.mask, VKS_SUMS_MEAN)))
        return false;
    return emit_apply(&site, &apply);
}

// inputs dy, w, mask, z (its shape and length alone) -> dz
static bool affine_backward_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_site_affine *attrs = node->attrs;
    struct vks_site_rows site;
    struct apply apply = {
        .map = &attrs->map,
        .x = node->inputs[0],
        .w = node->inputs[1],
        .y = node->outputs[0],
        .backward = true,
    };
    if (!vks_site_begin(&site, emitter, node->inputs[3], node->inputs[2], attrs->map.position != VKS_POSITION_ALL))
        return false;
    // dy of all rows, padding too: each of them reads the mean.
    if (attrs->map.position == VKS_POSITION_AVG &&
        !(apply.mean = vks_site_emit_reduced(&site, apply.x, site.valid, VKS_SUMS_MEAN)))
        return false;
    return emit_apply(&site, &apply);
}

// inputs dy, z, mask -> rows of grad_w and grad_b
static bool affine_gradient_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_site_affine *attrs = node->attrs;
    const struct vks_tensor *dy = node->inputs[0], *z = node->inputs[1];
    const bool avg = attrs->map.position == VKS_POSITION_AVG, last = attrs->map.position == VKS_POSITION_LAST;
    struct vks_site_rows site;
    if (!vks_site_begin(&site, emitter, z, node->inputs[2], last || avg))
        return false;
    const struct vks_tensor *product = vks_site_parts(&site), *plain = vks_site_parts(&site), *mean = NULL;
    if (avg && !(mean = vks_site_emit_reduced(&site, z, site.mask, VKS_SUMS_MEAN)))
        return false;
    if (emitter->graph->failed)
        return false;
    const struct vks_site_gradient rows = {attrs, product, plain, mean};
    const enum vks_sums sums = last ? VKS_SUMS_PRODUCT_LAST : VKS_SUMS_PRODUCT;
    for (site.column = site.width = 0; vks_site_next_columns(&site);)
        if (!vks_site_emit_sums(&site, sums, dy, z, site.valid, product, plain) ||
            !vks_site_emit_gradient(&site, &rows))
            return false;
    return true;
}

static bool vector_fits(const struct vks_tensor *vector, uint32_t channels)
{
    return vector->rank == 1 && vector->shape[0] == channels && vector->dtype == VKS_F32;
}

static bool rows_fit(const struct vks_tensor *rows, uint32_t channels)
{
    return rows->rank == 2 && rows->shape[1] == channels && rows->dtype == VKS_F32 && rows->kind == VKS_TENSOR_STATE;
}

static bool mask_fits(const struct vks_tensor *mask, const struct vks_tensor *z)
{
    return !mask || (mask->dtype == VKS_F32 && vks_tensor_elements(mask) == vks_tensor_rows(z));
}

static bool affine_infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_site_affine *attrs = node->attrs;
    const struct vks_tensor *z = node->inputs[0], *w = node->inputs[1], *b = node->inputs[2];
    const uint32_t channels = vks_tensor_channels(z);
    if (z->rank < 2 || !vector_fits(w, channels) || !vector_fits(b, channels) || !mask_fits(node->inputs[3], z) ||
        !attrs->grad_w != !attrs->grad_b || (attrs->grad_w && !rows_fit(attrs->grad_w, channels)) ||
        (attrs->grad_b && !rows_fit(attrs->grad_b, channels)))
        return vks_graph_fail(graph, "affine_map: a map of %s and %s does not fit %s", vks_tensor_text(graph, w),
                              vks_tensor_text(graph, b), vks_tensor_text(graph, z)) != NULL;
    if (node->inputs[4] && !vector_fits(node->inputs[4], 2 * channels))
        return vks_graph_fail(graph, "affine_map: %s does not hold the range of each channel of %s",
                              vks_tensor_text(graph, node->inputs[4]), vks_tensor_text(graph, z)) != NULL;
    if (attrs->map.strength >= VKS_STEP_STRENGTHS)
        return vks_graph_fail(graph, "affine_map: at most %u steerings can be attached at once",
                              VKS_STEP_STRENGTHS) != NULL;
    return vks_want_f32(graph, node, 0) && vks_output_like(graph, node, z);
}

// Backward operators carry z as input 3.
static bool like_z_infer(struct vks_graph *graph, struct vks_node *node)
{
    return vks_output_like(graph, node, node->inputs[3]) != NULL;
}

static bool affine_gradient_infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_site_affine *attrs = node->attrs;
    (void)graph;
    node->outputs[node->output_count++] = attrs->grad_w;
    node->outputs[node->output_count++] = attrs->grad_b;
    return true;
}

static double site_flop(const struct vks_node *node)
{
    return 3 * (double)vks_tensor_elements(node->inputs[0]);
}

static const struct vks_op op_affine_backward = {
    .name = "affine_backward",
    .infer = like_z_infer,
    .emit = affine_backward_emit,
    .flop = site_flop,
    .in_place = 1,
};

static const struct vks_op op_affine_gradient = {
    .name = "affine_gradient",
    .infer = affine_gradient_infer,
    .emit = affine_gradient_emit,
    .flop = site_flop,
};

static bool affine_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                            const bool want[], struct vks_tensor *dx[])
{
    const struct vks_site_affine *attrs = node->attrs;
    struct vks_tensor *const gradient[] = {dy[0], node->inputs[0], node->inputs[3]};
    struct vks_tensor *const backward[] = {dy[0], node->inputs[1], node->inputs[3], node->inputs[0]};
    if (node->inputs[4])
        return vks_graph_fail(graph, "affine_map: a map within a range has no gradient: leave that steering "
                              "out") != NULL;
    if (attrs->grad_w && !vks_graph_add(graph, &op_affine_gradient, gradient, 3, attrs, sizeof(*attrs)))
        return false;
    if (want[0])
        dx[0] = vks_graph_add(graph, &op_affine_backward, backward, 4, attrs, sizeof(*attrs));
    return !graph->failed;
}

static bool affine_trains(const struct vks_node *node)
{
    return ((const struct vks_site_affine *)node->attrs)->grad_w != NULL;
}

static const struct vks_op op_pool_rows;

// Pooling and activation of what was mapped, where the map is that of every row.
static struct vks_tensor *affine_fuse(struct vks_graph *graph, const struct vks_node *node,
                                      const struct vks_node *next)
{
    const struct vks_site_affine *affine = node->attrs;
    struct vks_site_map attrs = {.affine = *affine};
    if (affine->map.position != VKS_POSITION_ALL || node->inputs[3] || node->inputs[4] || node->inputs[0]->dynamic)
        return NULL;
    if (next->op == &op_pool_rows && !next->inputs[1]) {
        attrs.pool = *(const struct vks_site_pool *)next->attrs;
        if (attrs.pool.kind != VKS_POOL_MEAN)
            return NULL;
    } else if (vks_is_unary(next, &attrs.act)) {
        attrs.has_act = true;
    } else {
        return NULL;
    }
    return vks_site_map(graph, node->inputs[0], node->inputs[1], node->inputs[2], &attrs);
}

static const struct vks_op op_affine_map = {
    .name = "affine_map",
    .infer = affine_infer,
    .emit = affine_emit,
    .backward = affine_backward,
    .differentiable = 1,
    .flop = site_flop,
    .in_place = 1,
    .fuse = affine_fuse,
    .trains = affine_trains,
};

vks_tensor *vks_affine_map(struct vks_graph *g, vks_tensor *z, vks_tensor *w, vks_tensor *b, vks_tensor *mask,
                           vks_tensor *grad_w, vks_tensor *grad_b, const struct vks_affine *attrs)
{
    vks_tensor *const inputs[] = {z, w, b, mask, attrs->range};
    const struct vks_site_affine own = {.map = *attrs, .sample = g->sample, .grad_w = grad_w, .grad_b = grad_b};
    return z && w && b ? vks_graph_add(g, &op_affine_map, inputs, 5, &own, sizeof(own)) : NULL;
}

// ---- pooling ----------------------------------------------------------------------------------------------------

static enum vks_sums sums_of(enum vks_pool kind)
{
    return kind == VKS_POOL_LAST ? VKS_SUMS_LAST : kind == VKS_POOL_MAX ? VKS_SUMS_MAX : VKS_SUMS_MEAN;
}

static bool pool_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_site_pool *attrs = node->attrs;
    const enum vks_sums kind = sums_of(attrs->kind);
    struct vks_site_rows site;
    if (!vks_site_begin(&site, emitter, node->inputs[0], node->inputs[1], kind != VKS_SUMS_MAX))
        return false;
    struct vks_site_finish finish = {
        .to = attrs->pooled,
        .kind = kind,
        .rows = attrs->pooled->shape[0],
        .stride = vks_row_stride(attrs->pooled),
        .sample = attrs->sample,
        .sliced = true,
    };
    return vks_site_emit_reduction(&site, node->inputs[0], kind == VKS_SUMS_LAST ? NULL : site.mask, &finish);
}

// inputs dy (optional), grad_pooled, mask, z -> dz
static bool pool_backward_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_site_pool *attrs = node->attrs;
    const struct vks_tensor *dy = node->inputs[0], *grad = node->inputs[1], *z = node->inputs[3], *index = NULL;
    const enum vks_sums kind = sums_of(attrs->kind);
    struct vks_site_rows site;
    if (!vks_site_begin(&site, emitter, z, node->inputs[2], kind != VKS_SUMS_MAX))
        return false;
    if (kind == VKS_SUMS_MAX && !(index = vks_site_emit_reduced(&site, z, site.mask, VKS_SUMS_MAX)))
        return false;
    const uint64_t stride = vks_row_stride(grad), total = grad->shape[0];
    const uint64_t fit = vks_rows_per_binding(emitter, site.cols, stride);
    for (struct vks_site_slice at = {0}; vks_site_next_slice(&site, &at);) {
        const uint64_t row = vks_site_slice_row(&site, &at), rows = vks_site_slice_rows(&at);
        for (struct vks_stretch g = {0}; vks_stretch_next(&g, total, fit);) {
            const struct vks_operand operands[] = {
                vks_read(dy, row * site.cols, rows * site.cols),
                vks_block_operand(grad, VKS_READ, stride, g.first, g.count, 0, site.cols),
                vks_read(site.mask, row, rows),
                vks_read(site.span, 2 * (uint64_t)at.sample, 2 * (uint64_t)at.samples),
                index ? vks_read(index, (uint64_t)at.sample * site.cols, (uint64_t)at.samples * site.cols)
                      : vks_unused(),
                vks_read(emitter->step, 0, 0),
                vks_write(node->outputs[0], row * site.cols, rows * site.cols),
            };
            const struct vks_push_pool_backward push = {
                .samples = at.samples,
                .blocks = vks_site_slice_blocks(&at),
                .cols = site.cols,
                .first_sample = attrs->sample + at.sample,
                .sample_rows = site.rows,
                .first = at.first,
                .end = at.end,
                .first_row = (uint32_t)g.first,
                .rows = (uint32_t)g.count,
                .row_stride = (uint32_t)stride,
                .gradient = dy != NULL,
                .spans = site.span != NULL,
                .mask = site.mask != NULL,
            };
            const bool quads = kind == VKS_SUMS_MEAN && site.cols % 4 == 0 && vks_all_aligned(operands, 1) &&
                               vks_all_aligned(operands + 6, 1);
            const uint32_t spec[] = {kind, quads};
            const uint64_t blocks = (uint64_t)at.samples * vks_site_slice_blocks(&at);
            if (!vks_emit_special(emitter, VKS_K_pool_backward, spec, 2, operands, 7, &push, sizeof(push),
                                  vks_groups_1d(blocks * (site.cols / (quads ? 4 : 1)), VKS_GROUP)))
                return false;
        }
    }
    return true;
}

static bool pool_infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_site_pool *attrs = node->attrs;
    const struct vks_tensor *z = node->inputs[0];
    const uint32_t channels = vks_tensor_channels(z);
    if (z->rank < 2 || !rows_fit(attrs->pooled, channels) || attrs->pooled->shape[0] < z->shape[0] ||
        !mask_fits(node->inputs[1], z) ||
        (attrs->grad_pooled && (!rows_fit(attrs->grad_pooled, channels) ||
                                attrs->grad_pooled->shape[0] < z->shape[0])))
        return vks_graph_fail(graph, "pool_rows: %s does not fit rows of %s", vks_tensor_text(graph, attrs->pooled),
                              vks_tensor_text(graph, z)) != NULL;
    if (!vks_want_f32(graph, node, 0) || !vks_output_like(graph, node, z))
        return false;
    node->outputs[node->output_count++] = attrs->pooled;
    return true;
}

static const struct vks_op op_pool_backward = {
    .name = "pool_backward",
    .infer = like_z_infer,
    .emit = pool_backward_emit,
    .strided = 2,
    .in_place = 1,
};

static bool pool_backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                          const bool want[], struct vks_tensor *dx[])
{
    const struct vks_site_pool *attrs = node->attrs;
    // z gives the shape; only MAX reads its values.
    vks_tensor *const inputs[] = {dy[0], attrs->grad_pooled, node->inputs[1], node->inputs[0]};
    if (!want[0])
        return true;
    dx[0] = attrs->grad_pooled ? vks_graph_add(graph, &op_pool_backward, inputs, 4, attrs, sizeof(*attrs)) : dy[0];
    return !graph->failed;
}

static bool pool_seeds(const struct vks_node *node)
{
    return ((const struct vks_site_pool *)node->attrs)->grad_pooled != NULL;
}

static const struct vks_op op_pool_rows = {
    .name = "pool_rows",
    .infer = pool_infer,
    .emit = pool_emit,
    .backward = pool_backward,
    .differentiable = 1,
    .flop = site_flop,
    .alias = true,
    .again = vks_pass,
    .seeds = pool_seeds,
};

vks_tensor *vks_pool_rows(struct vks_graph *g, vks_tensor *z, vks_tensor *mask, vks_tensor *pooled,
                          vks_tensor *grad_pooled, enum vks_pool kind)
{
    vks_tensor *const inputs[] = {z, mask};
    const struct vks_site_pool attrs = {
        .kind = kind, .sample = g->sample, .pooled = pooled, .grad_pooled = grad_pooled};
    return z && pooled ? vks_graph_add(g, &op_pool_rows, inputs, 2, &attrs, sizeof(attrs)) : NULL;
}
