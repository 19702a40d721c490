// Affine transport maps and pooling at sites, and their gradients. Every reduction over the rows of a sample goes by
// blocks of VKS_POOL_BLOCK rows, sequentially, and then over the blocks in order, whatever the batch and the cuts.
#include "ops/columns.h"
#include "ops/common.h"
#include "ops/ops.h"

enum sums {  // KIND of pool_sums.comp; the first three are also those of pool_finish.comp and pool_backward.comp
    SUMS_MEAN,
    SUMS_LAST,
    SUMS_MAX,
    SUMS_PRODUCT,
    SUMS_PRODUCT_LAST,
};

// A site's tensor as samples of rows of channels.
struct site {
    struct vks_emitter *emitter;
    uint32_t samples, rows, cols;  // (B, T, C)
    uint32_t blocks;               // K, of VKS_POOL_BLOCK rows
    const struct vks_tensor *mask; // (B, T): rows that count; NULL: all
    const struct vks_tensor *valid;  // (B, T): rows below the dynamic length, padding or not; NULL: all
    const struct vks_tensor *span;
    uint64_t column, width;        // columns whose partial sums are at hand (site_next_columns)
};

// Whole samples, or rows [first, end) of one sample: what fits a binding.
struct slice {
    uint32_t sample, samples, first, end;
};

static uint32_t sample_rows(const struct vks_tensor *z)
{
    return (uint32_t)(z->rank > 2 ? vks_tensor_extent(z, 1, z->rank - 1) : 1);
}

// Most columns of which the partial sums (K, columns) of a sample fit a binding.
static uint64_t most_columns(const struct site *site)
{
    return vks_min_u64(vks_binding_words(site->emitter) / site->blocks, site->cols);
}

// Begins with `column` and `width` 0; false when all columns are done.
static bool site_next_columns(struct site *site)
{
    site->column += site->width;
    site->width = vks_min_u64(most_columns(site), site->cols - site->column);
    return site->width > 0;
}

static bool slice_next(const struct site *site, struct slice *at)
{
    const uint64_t fit = vks_binding_words(site->emitter) / site->cols;  // rows
    if (at->end) {
        at->first = at->end < site->rows ? at->end : 0;
        at->sample += at->first ? 0 : at->samples;
    }
    if (at->sample >= site->samples)
        return false;
    at->samples = fit < site->rows ? 1 : (uint32_t)vks_min_u64(fit / site->rows, site->samples - at->sample);
    // Whole blocks if one fits; otherwise parts of one block.
    uint64_t end = at->first + fit;
    if (fit >= VKS_POOL_BLOCK)
        end = end / VKS_POOL_BLOCK * VKS_POOL_BLOCK;
    else
        end = vks_min_u64(end, (at->first / VKS_POOL_BLOCK + 1) * VKS_POOL_BLOCK);
    at->end = fit < site->rows ? (uint32_t)vks_min_u64(end, site->rows) : site->rows;
    return true;
}

static uint64_t slice_row(const struct site *site, const struct slice *at)
{
    return (uint64_t)at->sample * site->rows + at->first;
}

static uint64_t slice_rows(const struct slice *at)
{
    return (uint64_t)at->samples * (at->end - at->first);
}

static uint32_t slice_blocks(const struct slice *at)
{
    return vks_ceil_div(at->end, VKS_POOL_BLOCK) - at->first / VKS_POOL_BLOCK;
}

// The rows of z below its dynamic length as a mask, and of those the ones that `mask` (may be NULL) has.
static const struct vks_tensor *emit_length(const struct site *site, const struct vks_tensor *z,
                                            const struct vks_tensor *mask)
{
    const uint64_t total = (uint64_t)site->samples * site->rows;
    const struct vks_tensor *out = vks_emit_scratch(site->emitter, total);
    for (struct vks_stretch at = {0}; out && vks_stretch_next(&at, total, vks_binding_words(site->emitter));) {
        const struct vks_operand operands[] = {
            mask ? vks_read(mask, at.first, at.count) : vks_unused(),
            vks_read(site->emitter->step, 0, 0),
            vks_write(out, at.first, at.count),
        };
        const struct vks_push_pool_length push = {
            .first = (uint32_t)at.first,
            .count = (uint32_t)at.count,
            .each = (uint32_t)vks_tensor_step_rows(z),
            .mask = mask != NULL,
        };
        if (!vks_emit(site->emitter, VKS_K_pool_length, operands, 3, &push, sizeof(push),
                      vks_groups_1d(at.count, VKS_GROUP)))
            return NULL;
    }
    return out;
}

// Fills `site`; a dynamic length becomes part of the mask. With a mask, also emits the kernel that finds each
// sample's last row and count, if wanted.
static bool site_begin(struct site *site, struct vks_emitter *emitter, const struct vks_tensor *z,
                       const struct vks_tensor *mask, bool span)
{
    *site = (struct site){
        .emitter = emitter,
        .samples = z->shape[0],
        .rows = sample_rows(z),
        .cols = vks_tensor_channels(z),
        .mask = mask,
    };
    site->blocks = vks_ceil_div(site->rows, VKS_POOL_BLOCK);
    const uint64_t words = vks_binding_words(emitter);
    if (site->rows > words || site->cols > words || site->samples > words / 2 || most_columns(site) == 0)
        return vks_fail_row(emitter, z);
    if (z->dynamic && (!(site->valid = emit_length(site, z, NULL)) ||
                       !(site->mask = mask ? emit_length(site, z, mask) : site->valid)))
        return false;
    if (!site->mask || !span)
        return true;
    site->span = vks_emit_scratch(emitter, 2 * (uint64_t)site->samples);
    for (struct vks_stretch at = {0}; site->span && vks_stretch_next(&at, site->samples, words / site->rows);) {
        const struct vks_operand operands[] = {
            vks_read(site->mask, at.first * site->rows, at.count * site->rows),
            vks_write(site->span, 2 * at.first, 2 * at.count),
        };
        const struct vks_push_pool_span push = {.samples = (uint32_t)at.count, .rows = site->rows};
        if (!vks_emit(emitter, VKS_K_pool_span, operands, 2, &push, sizeof(push),
                      vks_groups_1d(at.count, VKS_GROUP)))
            return false;
    }
    return site->span != NULL;
}

// Partial sums over blocks of rows: x, y (B, T, C) -> out0, out1 (B, K, width), of the site's columns at hand.
static bool emit_sums(const struct site *site, enum sums kind, const struct vks_tensor *x, const struct vks_tensor *y,
                      const struct vks_tensor *mask, const struct vks_tensor *out0, const struct vks_tensor *out1)
{
    for (struct slice at = {0}; slice_next(site, &at);) {
        const uint64_t row = slice_row(site, &at), rows = slice_rows(&at);
        const uint64_t part = ((uint64_t)at.sample * site->blocks + at.first / VKS_POOL_BLOCK) * site->width;
        const uint64_t parts = (uint64_t)at.samples * slice_blocks(&at) * site->width;
        const struct vks_operand operands[] = {
            vks_read(x, row * site->cols, rows * site->cols),
            vks_read(y, row * site->cols, rows * site->cols),
            vks_read(mask, row, rows),
            vks_read(site->span, 2 * (uint64_t)at.sample, 2 * (uint64_t)at.samples),
            vks_update(out0, part, parts),
            vks_update(out1 ? out1 : out0, part, parts),  // never a dummy: a slot that is written must not be shared
        };
        const struct vks_push_pool_sums push = {
            .samples = at.samples,
            .blocks = slice_blocks(&at),
            .cols = (uint32_t)site->width,
            .stride = site->cols,
            .column = (uint32_t)site->column,
            .sample_rows = site->rows,
            .first = at.first,
            .end = at.end,
            .spans = site->span != NULL,
            .mask = mask != NULL,
        };
        const bool quads = (kind == SUMS_MEAN || kind == SUMS_PRODUCT) &&
                           (site->cols | site->column | site->width) % 4 == 0 &&
                           vks_all_aligned(operands, 2) && vks_all_aligned(operands + 4, 2);
        const uint32_t spec[] = {kind, quads};
        if (!vks_emit_special(site->emitter, VKS_K_pool_sums, spec, 2, operands, 6, &push, sizeof(push),
                              vks_groups_1d(parts / (quads ? 4 : 1), VKS_GROUP)))
            return false;
    }
    return true;
}

// Where the pooled rows of pool_finish.comp go: rows of a column view from step[VKS_STEP_SLICE] on, or rows of `to`.
struct finish {
    const struct vks_tensor *part, *part_index, *to;
    enum sums kind;
    uint64_t rows, stride;
    bool sliced, divide, index;
};

static bool emit_finish(const struct site *site, const struct finish *finish)
{
    const uint64_t sample = site->blocks * site->width, width = site->width;
    const uint64_t batch = vks_binding_words(site->emitter) / sample;
    const uint64_t fit = vks_rows_per_binding(site->emitter, width, finish->stride);
    for (struct vks_stretch s = {0}; vks_stretch_next(&s, site->samples, batch);) {
        // Which rows these samples go to is known only when it runs: each stretch of rows takes its own.
        for (struct vks_stretch at = {0}; vks_stretch_next(&at, finish->rows, fit);) {
            const struct vks_operand operands[] = {
                vks_read(finish->part, s.first * sample, s.count * sample),
                vks_read(finish->part_index, s.first * sample, s.count * sample),
                vks_read(site->span, 2 * s.first, 2 * s.count),
                vks_read(site->emitter->step, 0, 0),
                vks_block_operand(finish->to, VKS_WRITE, finish->stride, at.first, at.count, site->column, width),
            };
            const struct vks_push_pool_finish push = {
                .samples = (uint32_t)s.count,
                .blocks = site->blocks,
                .cols = (uint32_t)width,
                .sample_rows = site->rows,
                .first_sample = (uint32_t)s.first,
                .first_row = (uint32_t)at.first,
                .rows = (uint32_t)at.count,
                .row_stride = (uint32_t)finish->stride,
                .sliced = finish->sliced,
                .spans = site->span != NULL,
                .divide = finish->divide,
                .index = finish->index,
            };
            const uint32_t spec[] = {finish->kind};
            if (!vks_emit_special(site->emitter, VKS_K_pool_finish, spec, 1, operands, 5, &push, sizeof(push),
                                  vks_groups_1d(s.count * width, VKS_GROUP)))
                return false;
        }
    }
    return true;
}

// Scratch memory for partial sums, as many columns at a time as fit.
static struct vks_tensor *parts_of(const struct site *site)
{
    return vks_emit_scratch(site->emitter, (uint64_t)site->samples * site->blocks * most_columns(site));
}

// Reduces x (B, T, C) over the rows of each sample that `mask` has into finish->to.
static bool emit_reduction(struct site *site, const struct vks_tensor *x, const struct vks_tensor *mask,
                           struct finish *finish)
{
    const struct vks_tensor *part = parts_of(site);
    const struct vks_tensor *part_index = finish->kind == SUMS_MAX ? parts_of(site) : NULL;
    finish->part = part;
    finish->part_index = part_index;
    finish->divide = true;
    if (site->emitter->graph->failed)
        return false;
    for (site->column = site->width = 0; site_next_columns(site);)
        if (!emit_sums(site, finish->kind, x, NULL, mask, part, part_index) || !emit_finish(site, finish))
            return false;
    return true;
}

// The same into new scratch memory (B, C).
static struct vks_tensor *emit_reduced(struct site *site, const struct vks_tensor *x, const struct vks_tensor *mask,
                                       enum sums kind)
{
    struct vks_tensor *to = vks_emit_scratch(site->emitter, (uint64_t)site->samples * site->cols);
    struct finish finish = {
        .to = to,
        .kind = kind,
        .rows = site->samples,
        .stride = site->cols,
        .index = kind == SUMS_MAX,
    };
    return to && emit_reduction(site, x, mask, &finish) ? to : NULL;
}

// ---- affine map -------------------------------------------------------------------------------------------------

struct affine_attrs {
    struct vks_affine map;
    struct vks_tensor *grad_w, *grad_b;
};

// y = map(x), or with `backward` the gradient: the same gain without the offset.
struct apply {
    const struct vks_affine *map;
    const struct vks_tensor *x, *w, *b, *y;
    const struct vks_tensor *range; // may be NULL
    const struct vks_tensor *mean;  // AVG only
    bool backward;
};

static bool emit_apply(const struct site *site, const struct apply *apply)
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
        const struct vks_operand range = apply->range ? vks_read(apply->range, 0, 2 * (uint64_t)site->cols) : vks_unused();
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
    const struct affine_attrs *attrs = node->attrs;
    struct site site;
    struct apply apply = {
        .map = &attrs->map,
        .x = node->inputs[0],
        .w = node->inputs[1],
        .b = node->inputs[2],
        .y = node->outputs[0],
        .range = node->inputs[4],
    };
    if (!site_begin(&site, emitter, apply.x, node->inputs[3], attrs->map.position != VKS_POSITION_ALL))
        return false;
    if (apply.range && 2 * (uint64_t)site.cols > vks_binding_words(emitter))
        return vks_fail_row(emitter, apply.range);
    if (attrs->map.position == VKS_POSITION_AVG &&
        !(apply.mean = emit_reduced(&site, apply.x, site.mask, SUMS_MEAN)))
        return false;
    return emit_apply(&site, &apply);
}

// inputs dy, w, mask, z (its shape and length alone) -> dz
static bool affine_backward_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct affine_attrs *attrs = node->attrs;
    struct site site;
    struct apply apply = {
        .map = &attrs->map,
        .x = node->inputs[0],
        .w = node->inputs[1],
        .y = node->outputs[0],
        .backward = true,
    };
    if (!site_begin(&site, emitter, node->inputs[3], node->inputs[2], attrs->map.position != VKS_POSITION_ALL))
        return false;
    // dy of all rows, padding too: each of them reads the mean.
    if (attrs->map.position == VKS_POSITION_AVG &&
        !(apply.mean = emit_reduced(&site, apply.x, site.valid, SUMS_MEAN)))
        return false;
    return emit_apply(&site, &apply);
}

struct rows_of_gradient {
    const struct affine_attrs *attrs;
    const struct vks_tensor *product, *plain;  // partial sums of the columns at hand
    const struct vks_tensor *mean;             // (B, C), AVG only
};

static bool emit_gradient_rows(const struct site *site, const struct rows_of_gradient *of)
{
    const struct vks_tensor *grad_w = of->attrs->grad_w, *grad_b = of->attrs->grad_b;
    const uint64_t stride_w = vks_row_stride(grad_w), stride_b = vks_row_stride(grad_b), width = site->width;
    const uint64_t sample = site->blocks * width, batch = vks_binding_words(site->emitter) / sample;
    const uint64_t fit = vks_rows_per_binding(site->emitter, width, stride_w > stride_b ? stride_w : stride_b);
    for (struct vks_stretch s = {0}; vks_stretch_next(&s, site->samples, batch);)
        for (struct vks_stretch at = {0}; vks_stretch_next(&at, grad_w->shape[0], fit);) {
            const struct vks_operand operands[] = {
                vks_read(of->product, s.first * sample, s.count * sample),
                vks_read(of->plain, s.first * sample, s.count * sample),
                of->mean ? vks_block_operand(of->mean, VKS_READ, site->cols, s.first, s.count, site->column, width)
                         : vks_unused(),
                vks_read(site->emitter->step, 0, 0),
                vks_block_operand(grad_w, VKS_WRITE, stride_w, at.first, at.count, site->column, width),
                vks_block_operand(grad_b, VKS_WRITE, stride_b, at.first, at.count, site->column, width),
            };
            const struct vks_push_affine_gradient push = {
                .samples = (uint32_t)s.count,
                .blocks = site->blocks,
                .cols = (uint32_t)width,
                .first_sample = (uint32_t)s.first,
                .first_row = (uint32_t)at.first,
                .rows = (uint32_t)at.count,
                .row_stride_w = (uint32_t)stride_w,
                .row_stride_b = (uint32_t)stride_b,
                .mean_stride = site->cols,
                .strength = VKS_STEP_STRENGTH + of->attrs->map.strength,
            };
            const uint32_t spec[] = {of->mean != NULL};
            if (!vks_emit_special(site->emitter, VKS_K_affine_gradient, spec, 1, operands, 6, &push, sizeof(push),
                                  vks_groups_1d(s.count * width, VKS_GROUP)))
                return false;
        }
    return true;
}

// inputs dy, z, mask -> rows of grad_w and grad_b
static bool affine_gradient_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct affine_attrs *attrs = node->attrs;
    const struct vks_tensor *dy = node->inputs[0], *z = node->inputs[1];
    const bool avg = attrs->map.position == VKS_POSITION_AVG, last = attrs->map.position == VKS_POSITION_LAST;
    struct site site;
    if (!site_begin(&site, emitter, z, node->inputs[2], last || avg))
        return false;
    const struct vks_tensor *product = parts_of(&site), *plain = parts_of(&site), *mean = NULL;
    if (avg && !(mean = emit_reduced(&site, z, site.mask, SUMS_MEAN)))
        return false;
    if (emitter->graph->failed)
        return false;
    const struct rows_of_gradient rows = {attrs, product, plain, mean};
    for (site.column = site.width = 0; site_next_columns(&site);)
        if (!emit_sums(&site, last ? SUMS_PRODUCT_LAST : SUMS_PRODUCT, dy, z, site.valid, product, plain) ||
            !emit_gradient_rows(&site, &rows))
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
    const struct affine_attrs *attrs = node->attrs;
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
    const struct affine_attrs *attrs = node->attrs;
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
    const struct affine_attrs *attrs = node->attrs;
    struct vks_tensor *const gradient[] = {dy[0], node->inputs[0], node->inputs[3]};
    struct vks_tensor *const backward[] = {dy[0], node->inputs[1], node->inputs[3], node->inputs[0]};
    if (node->inputs[4])
        return vks_graph_fail(graph, "affine_map: a map within a range has no gradient: leave that steering out") != NULL;
    if (attrs->grad_w && !vks_graph_add(graph, &op_affine_gradient, gradient, 3, attrs, sizeof(*attrs)))
        return false;
    if (want[0])
        dx[0] = vks_graph_add(graph, &op_affine_backward, backward, 4, attrs, sizeof(*attrs));
    return !graph->failed;
}

static bool affine_trains(const struct vks_node *node)
{
    return ((const struct affine_attrs *)node->attrs)->grad_w != NULL;
}

static const struct vks_op op_affine_map = {
    .name = "affine_map",
    .infer = affine_infer,
    .emit = affine_emit,
    .backward = affine_backward,
    .differentiable = 1,
    .flop = site_flop,
    .in_place = 1,
    .trains = affine_trains,
};

vks_tensor *vks_affine_map(struct vks_graph *g, vks_tensor *z, vks_tensor *w, vks_tensor *b, vks_tensor *mask,
                           vks_tensor *grad_w, vks_tensor *grad_b, const struct vks_affine *attrs)
{
    vks_tensor *const inputs[] = {z, w, b, mask, attrs->range};
    const struct affine_attrs own = {.map = *attrs, .grad_w = grad_w, .grad_b = grad_b};
    return z && w && b ? vks_graph_add(g, &op_affine_map, inputs, 5, &own, sizeof(own)) : NULL;
}

// ---- pooling ----------------------------------------------------------------------------------------------------

struct pool_attrs {
    enum vks_pool kind;
    struct vks_tensor *pooled, *grad_pooled;
};

static enum sums sums_of(enum vks_pool kind)
{
    return kind == VKS_POOL_LAST ? SUMS_LAST : kind == VKS_POOL_MAX ? SUMS_MAX : SUMS_MEAN;
}

static bool pool_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct pool_attrs *attrs = node->attrs;
    const enum sums kind = sums_of(attrs->kind);
    struct site site;
    if (!site_begin(&site, emitter, node->inputs[0], node->inputs[1], kind != SUMS_MAX))
        return false;
    struct finish finish = {
        .to = attrs->pooled,
        .kind = kind,
        .rows = attrs->pooled->shape[0],
        .stride = vks_row_stride(attrs->pooled),
        .sliced = true,
    };
    return emit_reduction(&site, node->inputs[0], kind == SUMS_LAST ? NULL : site.mask, &finish);
}

// inputs dy (optional), grad_pooled, mask, z -> dz
static bool pool_backward_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct pool_attrs *attrs = node->attrs;
    const struct vks_tensor *dy = node->inputs[0], *grad = node->inputs[1], *z = node->inputs[3], *index = NULL;
    const enum sums kind = sums_of(attrs->kind);
    struct site site;
    if (!site_begin(&site, emitter, z, node->inputs[2], kind != SUMS_MAX))
        return false;
    if (kind == SUMS_MAX && !(index = emit_reduced(&site, z, site.mask, SUMS_MAX)))
        return false;
    const uint64_t stride = vks_row_stride(grad), total = grad->shape[0];
    const uint64_t fit = vks_rows_per_binding(emitter, site.cols, stride);
    for (struct slice at = {0}; slice_next(&site, &at);) {
        const uint64_t row = slice_row(&site, &at), rows = slice_rows(&at);
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
                .blocks = slice_blocks(&at),
                .cols = site.cols,
                .first_sample = at.sample,
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
            const bool quads = kind == SUMS_MEAN && site.cols % 4 == 0 && vks_all_aligned(operands, 1) &&
                               vks_all_aligned(operands + 6, 1);
            const uint32_t spec[] = {kind, quads}, columns = site.cols / (quads ? 4 : 1);
            if (!vks_emit_special(emitter, VKS_K_pool_backward, spec, 2, operands, 7, &push, sizeof(push),
                                  vks_groups_1d((uint64_t)at.samples * slice_blocks(&at) * columns, VKS_GROUP)))
                return false;
        }
    }
    return true;
}

static bool pool_infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct pool_attrs *attrs = node->attrs;
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
    const struct pool_attrs *attrs = node->attrs;
    // z gives the shape; only MAX reads its values.
    vks_tensor *const inputs[] = {dy[0], attrs->grad_pooled, node->inputs[1], node->inputs[0]};
    if (!want[0])
        return true;
    dx[0] = attrs->grad_pooled ? vks_graph_add(graph, &op_pool_backward, inputs, 4, attrs, sizeof(*attrs)) : dy[0];
    return !graph->failed;
}

static bool pool_seeds(const struct vks_node *node)
{
    return ((const struct pool_attrs *)node->attrs)->grad_pooled != NULL;
}

static const struct vks_op op_pool_rows = {
    .name = "pool_rows",
    .infer = pool_infer,
    .emit = pool_emit,
    .backward = pool_backward,
    .differentiable = 1,
    .flop = site_flop,
    .alias = true,
    .never_recompute = true,
    .seeds = pool_seeds,
};

vks_tensor *vks_pool_rows(struct vks_graph *g, vks_tensor *z, vks_tensor *mask, vks_tensor *pooled,
                          vks_tensor *grad_pooled, enum vks_pool kind)
{
    vks_tensor *const inputs[] = {z, mask};
    const struct pool_attrs attrs = {.kind = kind, .pooled = pooled, .grad_pooled = grad_pooled};
    return z && pooled ? vks_graph_add(g, &op_pool_rows, inputs, 2, &attrs, sizeof(attrs)) : NULL;
}
