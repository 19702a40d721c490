#include "ops/panels.h"

#include "ops/common.h"

// What panels cost, in multiplications and additions that a product makes meanwhile: a dispatch, and an element read
// and written (Zen 3, Mesa 25.0: 60 microseconds, 1 to 1.5 ns, 45 GFLOP/s). And the share of a product's time that
// those of A save at least, and those of B besides.
#define DISPATCH_FLOP 3e6
#define ELEMENT_FLOP 60.0
#define A_SAVES 0.12
#define B_SAVES 0.08

// Bytes of panels: of A what stays in caches until it is read, of B what is worth the memory.
#define MOST_A ((uint64_t)8 << 20)
#define MOST_B ((uint64_t)32 << 20)

static bool pays(const struct vks_emitter *emitter, const struct vks_matmul *mm, double share, uint64_t elements)
{
    return emitter->limits.panels == VKS_PANELS_ALWAYS ||
           share * 2.0 * mm->m * mm->n * mm->k > DISPATCH_FLOP + ELEMENT_FLOP * (double)elements;
}

// Whether a piece of so many rows takes these panels.
static bool takes(const struct vks_emitter *emitter, const struct vks_matmul *mm, enum vks_matmul_form form,
                  uint32_t rows, struct vks_matmul_panels shape)
{
    const struct vks_matmul_panels own = vks_matmul_panels(&emitter->limits, form, rows, mm->n);
    return own.a == shape.a && own.b == shape.b;
}

// Elements from the first to the last one of B as it lies.
static uint64_t span_b(const struct vks_matmul *mm)
{
    const bool nt = mm->form == VKS_MATMUL_NT;
    return (uint64_t)((nt ? mm->n : mm->k) - 1) * mm->b.stride + (nt ? mm->k : mm->n);
}

// Elements of B's panels, or 0: they cannot be made, or do not pay.
static uint64_t elements_b(const struct vks_emitter *emitter, const struct vks_matmul *mm, uint32_t panel)
{
    const uint64_t elements = (uint64_t)vks_ceil_div(mm->n, panel) * panel * mm->k;
    const bool fits = elements * sizeof(float) <= vks_min_u64(MOST_B, emitter->limits.max_range) &&
                      span_b(mm) * vks_dtype_size(mm->b.tensor->dtype) <= emitter->limits.max_range;
    return fits && mm->n % 4 == 0 && vks_matmul_aligned(&mm->b) && pays(emitter, mm, B_SAVES, elements) ? elements : 0;
}

// Rows of A in panels at a time: all, or equal blocks of whole tiles; 0: they cannot be made, or do not pay.
static uint32_t rows_a(const struct vks_emitter *emitter, const struct vks_matmul *mm, enum vks_matmul_form form,
                       struct vks_matmul_panels shape)
{
    if (!vks_matmul_aligned(&mm->a) || !pays(emitter, mm, A_SAVES, (uint64_t)mm->m * mm->k))
        return 0;
    const uint64_t range = emitter->limits.max_range / sizeof(float);
    if ((uint64_t)(shape.a - 1) * mm->c.stride + mm->n > range)  // rows of one panel, which no piece parts
        return 0;
    const uint64_t widest = mm->k > mm->a.stride ? mm->k : mm->a.stride;
    const uint64_t most = vks_min_u64(MOST_A / sizeof(float) / mm->k, range / widest) / shape.a * shape.a;
    if (mm->m <= most)
        return mm->m;
    const uint32_t tile = vks_matmul_kernel(vks_matmul_choose(&emitter->limits, form, mm->m, mm->n))->rows;
    if (most < tile)
        return 0;
    const uint32_t blocks = vks_ceil_div(mm->m, most / tile * tile);
    const uint32_t rows = vks_ceil_div(vks_ceil_div(mm->m, blocks), tile) * tile;
    const uint32_t rest = mm->m % rows;
    return takes(emitter, mm, form, rows, shape) && (!rest || takes(emitter, mm, form, rest, shape)) ? rows : 0;
}

bool vks_panels_plan(struct vks_emitter *emitter, const struct vks_matmul *mm, struct vks_panels *panels)
{
    *panels = (struct vks_panels){.rows = mm->m};
    const struct vks_matmul_panels shape = vks_matmul_panels(&emitter->limits, mm->form, mm->m, mm->n);
    // One matrix, of numbers, that lies as it came, and whose rows all count in each step.
    if (!shape.a || mm->blocks || mm->a.panel || mm->b.panel || mm->batch[0] > 1 || mm->batch[1] > 1 || mm->k % 4 ||
        (mm->rows && mm->rows->dynamic))
        return true;
    const uint64_t elements = elements_b(emitter, mm, shape.b);
    const uint32_t rows = rows_a(emitter, mm, elements ? VKS_MATMUL_NN : mm->form, shape);
    if (elements)
        panels->b = (struct vks_matrix){
            .tensor = vks_emit_scratch(emitter, elements), .stride = mm->k * shape.b, .panel = shape.b};
    if (rows) {
        panels->rows = rows;
        panels->a = (struct vks_matrix){
            .tensor = vks_emit_scratch(emitter, (uint64_t)vks_ceil_div(rows, shape.a) * shape.a * mm->k),
            .stride = mm->k, .panel = shape.a};
    }
    return (!elements || panels->b.tensor) && (!rows || panels->a.tensor);
}

bool vks_emit_panels_a(struct vks_emitter *emitter, const struct vks_matmul *mm, uint32_t row, uint32_t rows,
                       const struct vks_panels *panels)
{
    const struct vks_matrix *a = &panels->a;
    const struct vks_push_panels_a push = {.rows = rows, .cols = mm->k, .stride = mm->a.stride};
    const uint64_t whole = (uint64_t)vks_ceil_div(rows, a->panel) * a->panel;
    const struct vks_operand operands[] = {
        vks_write(a->tensor, 0, whole * mm->k),
        vks_read(mm->a.tensor, mm->a.first + (uint64_t)row * mm->a.stride,
                 (uint64_t)(rows - 1) * mm->a.stride + mm->k),
    };
    return vks_emit_special(emitter, VKS_K_panels_a, &a->panel, 1, operands, 2, &push, sizeof(push),
                            vks_groups_1d(whole * vks_ceil_div(mm->k, 16), VKS_GROUP));
}

bool vks_emit_panels_b(struct vks_emitter *emitter, const struct vks_matmul *mm, const struct vks_panels *panels)
{
    const struct vks_matrix *b = &panels->b;
    const struct vks_push_panels_b push = {.n = mm->n, .k = mm->k, .stride = mm->b.stride};
    const struct vks_operand operands[] = {
        vks_write(b->tensor, 0, (uint64_t)vks_ceil_div(mm->n, b->panel) * b->stride),
        vks_read(mm->b.tensor, mm->b.first, span_b(mm)),
    };
    const uint32_t spec[] = {mm->b.tensor->dtype, mm->form == VKS_MATMUL_NT, b->panel};
    return vks_emit_special(emitter, VKS_K_panels_b, spec, 3, operands, 2, &push, sizeof(push),
                            vks_groups_1d((uint64_t)(mm->n / 4) * vks_ceil_div(mm->k, 16), VKS_GROUP));
}

struct vks_matmul vks_panels_block(const struct vks_matmul *mm, uint32_t row, uint32_t rows,
                                   const struct vks_panels *panels)
{
    struct vks_matmul block = *mm;
    block.m = rows;
    block.c.first += (uint64_t)row * mm->c.stride;
    if (panels->a.tensor)  // otherwise these are all rows
        block.a = panels->a;
    if (panels->b.tensor) {
        block.form = VKS_MATMUL_NN;
        block.b = panels->b;
    }
    return block;
}
