#include "ops/site.h"

#include "ops/columns.h"
#include "ops/common.h"

static uint32_t sample_rows(const struct vks_tensor *z)
{
    return (uint32_t)(z->rank > 2 ? vks_tensor_extent(z, 1, z->rank - 1) : 1);
}

// Most columns of which the partial sums (K, columns) of a sample fit a binding.
static uint64_t most_columns(const struct vks_site_rows *site)
{
    return vks_min_u64(vks_binding_words(site->emitter) / site->blocks / site->sums, site->cols);
}

bool vks_site_next_columns(struct vks_site_rows *site)
{
    site->column += site->width;
    site->width = vks_min_u64(most_columns(site), site->cols - site->column);
    return site->width > 0;
}

bool vks_site_next_slice(const struct vks_site_rows *site, struct vks_site_slice *at)
{
    const uint64_t words = vks_binding_words(site->emitter), fit = words / site->cols;  // rows
    const uint64_t parts = words / site->sums / site->blocks / most_columns(site);      // samples
    if (at->end) {
        at->first = at->end < site->rows ? at->end : 0;
        at->sample += at->first ? 0 : at->samples;
    }
    if (at->sample >= site->samples)
        return false;
    at->samples = fit < site->rows ? 1 : (uint32_t)vks_min_u64(vks_min_u64(fit / site->rows, parts),
                                                               site->samples - at->sample);
    // Whole blocks if one fits; otherwise parts of one block.
    uint64_t end = at->first + fit;
    if (fit >= VKS_POOL_BLOCK)
        end = end / VKS_POOL_BLOCK * VKS_POOL_BLOCK;
    else
        end = vks_min_u64(end, (at->first / VKS_POOL_BLOCK + 1) * VKS_POOL_BLOCK);
    at->end = fit < site->rows ? (uint32_t)vks_min_u64(end, site->rows) : site->rows;
    return true;
}

uint64_t vks_site_slice_row(const struct vks_site_rows *site, const struct vks_site_slice *at)
{
    return (uint64_t)at->sample * site->rows + at->first;
}

uint64_t vks_site_slice_rows(const struct vks_site_slice *at)
{
    return (uint64_t)at->samples * (at->end - at->first);
}

uint32_t vks_site_slice_blocks(const struct vks_site_slice *at)
{
    return vks_ceil_div(at->end, VKS_POOL_BLOCK) - at->first / VKS_POOL_BLOCK;
}

// The rows of z below its dynamic length as a mask, and of those the ones that `mask` (may be NULL) has.
static const struct vks_tensor *emit_length(const struct vks_site_rows *site, const struct vks_tensor *z,
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

bool vks_site_begin(struct vks_site_rows *site, struct vks_emitter *emitter, const struct vks_tensor *z,
                    const struct vks_tensor *mask, bool span)
{
    *site = (struct vks_site_rows){
        .emitter = emitter,
        .samples = z->shape[0],
        .rows = sample_rows(z),
        .cols = vks_tensor_channels(z),
        .mask = mask,
        .sums = 1,
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

bool vks_site_emit_sums(const struct vks_site_rows *site, enum vks_sums kind, const struct vks_tensor *x,
                        const struct vks_tensor *y, const struct vks_tensor *mask, const struct vks_tensor *out0,
                        const struct vks_tensor *out1)
{
    for (struct vks_site_slice at = {0}; vks_site_next_slice(site, &at);) {
        const uint64_t row = vks_site_slice_row(site, &at), rows = vks_site_slice_rows(&at);
        const uint64_t part = ((uint64_t)at.sample * site->blocks + at.first / VKS_POOL_BLOCK) * site->width;
        const uint64_t parts = (uint64_t)at.samples * vks_site_slice_blocks(&at) * site->width;
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
            .blocks = vks_site_slice_blocks(&at),
            .cols = (uint32_t)site->width,
            .stride = site->cols,
            .column = (uint32_t)site->column,
            .sample_rows = site->rows,
            .first = at.first,
            .end = at.end,
            .spans = site->span != NULL,
            .mask = mask != NULL,
        };
        const bool quads = (kind == VKS_SUMS_MEAN || kind == VKS_SUMS_PRODUCT) &&
                           (site->cols | site->column | site->width) % 4 == 0 &&
                           vks_all_aligned(operands, 2) && vks_all_aligned(operands + 4, 2);
        const uint32_t spec[] = {kind, quads};
        if (!vks_emit_special(site->emitter, VKS_K_pool_sums, spec, 2, operands, 6, &push, sizeof(push),
                              vks_groups_1d(parts / (quads ? 4 : 1), VKS_GROUP)))
            return false;
    }
    return true;
}

bool vks_site_emit_finish(const struct vks_site_rows *site, const struct vks_site_finish *finish)
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
                .first_sample = finish->sample + (uint32_t)s.first,
                .first_row = (uint32_t)at.first,
                .rows = (uint32_t)at.count,
                .row_stride = (uint32_t)finish->stride,
                .sliced = finish->sliced,
                .spans = site->span != NULL,
                .divide = finish->divide,
                .index = finish->index,
            };
            const bool quads = finish->kind == VKS_SUMS_MEAN && !finish->index && (width | finish->stride) % 4 == 0 &&
                               vks_aligned(finish->part, s.first * sample) && vks_all_aligned(operands + 4, 1);
            const uint32_t spec[] = {finish->kind, quads};
            if (!vks_emit_special(site->emitter, VKS_K_pool_finish, spec, 2, operands, 5, &push, sizeof(push),
                                  vks_groups_1d(s.count * width / (quads ? 4 : 1), VKS_GROUP)))
                return false;
        }
    }
    return true;
}

struct vks_tensor *vks_site_parts(const struct vks_site_rows *site)
{
    return vks_emit_scratch(site->emitter, (uint64_t)site->samples * site->blocks * site->sums * most_columns(site));
}

bool vks_site_emit_reduction(struct vks_site_rows *site, const struct vks_tensor *x, const struct vks_tensor *mask,
                             struct vks_site_finish *finish)
{
    const struct vks_tensor *part = vks_site_parts(site);
    const struct vks_tensor *part_index = finish->kind == VKS_SUMS_MAX ? vks_site_parts(site) : NULL;
    finish->part = part;
    finish->part_index = part_index;
    finish->divide = true;
    if (site->emitter->graph->failed)
        return false;
    for (site->column = site->width = 0; vks_site_next_columns(site);)
        if (!vks_site_emit_sums(site, finish->kind, x, NULL, mask, part, part_index) ||
            !vks_site_emit_finish(site, finish))
            return false;
    return true;
}

struct vks_tensor *vks_site_emit_reduced(struct vks_site_rows *site, const struct vks_tensor *x,
                                         const struct vks_tensor *mask, enum vks_sums kind)
{
    struct vks_tensor *to = vks_emit_scratch(site->emitter, (uint64_t)site->samples * site->cols);
    struct vks_site_finish finish = {
        .to = to,
        .kind = kind,
        .rows = site->samples,
        .stride = site->cols,
        .index = kind == VKS_SUMS_MAX,
    };
    return to && vks_site_emit_reduction(site, x, mask, &finish) ? to : NULL;
}

bool vks_site_emit_gradient(const struct vks_site_rows *site, const struct vks_site_gradient *of)
{
    const struct vks_tensor *grad_w = of->affine->grad_w, *grad_b = of->affine->grad_b;
    const uint64_t stride_w = vks_row_stride(grad_w), stride_b = vks_row_stride(grad_b), width = site->width;
    const bool joined = of->plain == NULL;
    const uint64_t block = joined ? 2 * width : width, sample = site->blocks * block;
    const uint64_t batch = vks_binding_words(site->emitter) / sample;
    const uint64_t fit = vks_rows_per_binding(site->emitter, width, stride_w > stride_b ? stride_w : stride_b);
    for (struct vks_stretch s = {0}; vks_stretch_next(&s, site->samples, batch);)
        for (struct vks_stretch at = {0}; vks_stretch_next(&at, grad_w->shape[0], fit);) {
            const uint64_t first = s.first * sample, count = s.count * sample;
            const struct vks_operand operands[] = {
                vks_read(of->product, first, count),
                joined ? vks_read(of->product, first + width, count - width) : vks_read(of->plain, first, count),
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
                .block_stride = (uint32_t)block,
                .first_sample = of->affine->sample + (uint32_t)s.first,
                .first_row = (uint32_t)at.first,
                .rows = (uint32_t)at.count,
                .row_stride_w = (uint32_t)stride_w,
                .row_stride_b = (uint32_t)stride_b,
                .mean_stride = site->cols,
                .strength = VKS_STEP_STRENGTH + of->affine->map.strength,
            };
            const bool quads = !of->mean && (width | stride_w | stride_b) % 4 == 0 && vks_all_aligned(operands, 2) &&
                               vks_all_aligned(operands + 4, 2);
            const uint32_t spec[] = {of->mean != NULL, quads};
            if (!vks_emit_special(site->emitter, VKS_K_affine_gradient, spec, 2, operands, 6, &push, sizeof(push),
                                  vks_groups_1d(s.count * width / (quads ? 4 : 1), VKS_GROUP)))
                return false;
        }
    return true;
}
