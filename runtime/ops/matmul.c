#include "ops/matmul.h"

#include "ops/common.h"
#include "ops/panels.h"

enum { START_BIAS = 1 };                                                            // push flags
enum {  // constant 3
    VEC_A = 1, VEC_B = 2, VEC_C = 4, ALPHA = 8, START_C = 16, TAIL = 32, PLUS = 64, ALIKE = 256, PANELS_A = 512,
    PANELS_B = 1024,
};
// Products of a tile from which on it is worth its two tickets: at least 12 microseconds to their 0.4 (Zen 3).
enum { LONG_RUNNING = 24 * 32 * 256 };
enum { BLOCKS_FROM = 16 };  // constant 2: the dtype of B, or this and the type of its blocks

// The committed table: for each variant its kernels and tiles, as in shaders/include/matmul_*.glsl.
static const struct vks_matmul_kernel kernels[] = {
    [VKS_MATMUL_PLAIN] = {"plain", VKS_K_matmul_plain, VKS_K_conv2d_plain, 4, 64},
    [VKS_MATMUL_TILE] = {"tile", VKS_K_matmul_tile, VKS_K_conv2d_tile, 32, 64},
    [VKS_MATMUL_CPU4] = {"cpu4", VKS_K_matmul_cpu4, VKS_K_conv2d_cpu4, 12, 16, 16},
    [VKS_MATMUL_CPU8] = {"cpu8", VKS_K_matmul_cpu8, VKS_K_conv2d_cpu8, 24, 32, 32},
    [VKS_MATMUL_CPU8_TALL] = {"cpu8-tall", VKS_K_matmul_cpu8_tall, VKS_K_conv2d_cpu8_tall, 64, 32, 32},
    [VKS_MATMUL_CPU8_ALIKE] = {"cpu8-alike", VKS_K_matmul_cpu8_alike, VKS_K_conv2d_cpu8_alike, 16, 64, 32, ALIKE},
    [VKS_MATMUL_CPU8_NARROW] = {"cpu8-narrow", VKS_K_matmul_cpu8_narrow, VKS_K_conv2d_cpu8_narrow, 16, 32, 32, ALIKE},
    [VKS_MATMUL_CPU8_FEW] = {"cpu8-few", VKS_K_matmul_cpu8_few, VKS_KERNEL_COUNT, 8, 32, 32},
    [VKS_MATMUL_CPU16] = {"cpu16", VKS_K_matmul_cpu16, VKS_K_conv2d_cpu16, 64, 64, 64},
    [VKS_MATMUL_CPU16_NARROW] = {"cpu16-narrow", VKS_K_matmul_cpu16_narrow, VKS_K_conv2d_cpu16_narrow, 96, 32, 32},
    [VKS_MATMUL_CPU16_FEW] = {"cpu16-few", VKS_K_matmul_cpu16_few, VKS_KERNEL_COUNT, 16, 32, 32},
    [VKS_MATMUL_ROWS] = {"rows", VKS_K_few_rows, VKS_KERNEL_COUNT, VKS_FEW_ROWS, 16},
    [VKS_MATMUL_ROWS8] = {"rows8", VKS_K_few_rows_cpu8, VKS_KERNEL_COUNT, VKS_FEW_ROWS, 16},
    [VKS_MATMUL_ROWS16] = {"rows16", VKS_K_few_rows_cpu16, VKS_KERNEL_COUNT, VKS_FEW_ROWS, 32},
};

static bool is_rows(enum vks_matmul_variant variant)
{
    return variant >= VKS_MATMUL_ROWS;
}

enum vks_matmul_use vks_matmul_use(uint32_t m)
{
    return m == UINT32_MAX ? VKS_MATMUL_CONVOLUTION : m > 16 ? VKS_MATMUL_MANY_ROWS : VKS_MATMUL_FEW_ROWS;
}

// The kernel for few rows, or VKS_MATMUL_VARIANTS: for lanes of 4 there is none.
static enum vks_matmul_variant rows_variant(const struct vks_gpu_limits *limits)
{
    return !limits->is_cpu                 ? VKS_MATMUL_ROWS
           : limits->subgroup_size == 8  ? VKS_MATMUL_ROWS8
           : limits->subgroup_size == 16 ? VKS_MATMUL_ROWS16
                                           : VKS_MATMUL_VARIANTS;
}

bool vks_matmul_runs(const struct vks_gpu_limits *limits, enum vks_matmul_use use, enum vks_matmul_variant variant)
{
    if (variant >= VKS_MATMUL_VARIANTS || is_rows(variant) ||
        (use == VKS_MATMUL_CONVOLUTION && kernels[variant].conv2d == VKS_KERNEL_COUNT))
        return false;
    const uint32_t lanes = vks_kernels[kernels[variant].matmul].lanes;
    return !lanes || (limits->is_cpu && lanes == limits->subgroup_size);
}

// Whether tiles of CPU8 have so many rows beyond the last one that those of CPU8_NARROW, a tenth slower, win.
static bool wastes_rows(uint32_t m)
{
    const uint32_t tall = kernels[VKS_MATMUL_CPU8].rows, low = kernels[VKS_MATMUL_CPU8_NARROW].rows;
    return 11 * (uint64_t)vks_ceil_div(m, low) * low < 10 * (uint64_t)vks_ceil_div(m, tall) * tall;
}

enum vks_matmul_variant vks_matmul_choose(const struct vks_gpu_limits *limits, enum vks_matmul_form form, uint32_t m,
                                          uint32_t n)
{
    const enum vks_matmul_variant rows = rows_variant(limits);
    if (form == VKS_MATMUL_NT && m <= VKS_FEW_ROWS && rows < VKS_MATMUL_VARIANTS)
        return rows;
    const enum vks_matmul_use use = vks_matmul_use(m);
    const uint8_t own = limits->matmul[use];
    if (own && vks_matmul_runs(limits, use, own - 1))
        return own - 1;
    if (limits->is_cpu && limits->subgroup_size == 16)
        return m <= 32 ? VKS_MATMUL_CPU16_FEW : n <= 32 ? VKS_MATMUL_CPU16_NARROW : VKS_MATMUL_CPU16;
    if (limits->is_cpu && limits->subgroup_size == 8)
        return use == VKS_MATMUL_FEW_ROWS    ? VKS_MATMUL_CPU8_FEW
               : limits->texels && limits->dear_lanes ? (n <= 32 ? VKS_MATMUL_CPU8_NARROW : VKS_MATMUL_CPU8_ALIKE)
               : limits->addresses && m > 32 ? VKS_MATMUL_CPU8_TALL
               : wastes_rows(m)              ? VKS_MATMUL_CPU8_NARROW
                                             : VKS_MATMUL_CPU8;
    if (limits->is_cpu && limits->subgroup_size == 4)
        return VKS_MATMUL_CPU4;
    // Barriers are coroutine switches on a CPU; graphics cards want the tile even for few rows, whose loads it joins.
    return limits->is_cpu ? VKS_MATMUL_PLAIN : VKS_MATMUL_TILE;
}

struct vks_matmul_panels vks_matmul_panels(const struct vks_gpu_limits *limits, enum vks_matmul_form form, uint32_t m,
                                           uint32_t n)
{
    const struct vks_matmul_kernel *kernel = &kernels[vks_matmul_choose(limits, form, m, n)];
    if (limits->panels == VKS_PANELS_NEVER || form == VKS_MATMUL_TN || !kernel->strip)
        return (struct vks_matmul_panels){0};
    return (struct vks_matmul_panels){.a = vks_kernels[kernel->matmul].lanes, .b = kernel->strip};
}

bool vks_matmul_takes_blocks(const struct vks_gpu_limits *limits, uint32_t m, uint32_t k,
                             const struct vks_tensor *packed)
{
    // On CPU drivers stores are so dear that a panel pays only where many rows share it.
    return m <= (limits->is_cpu ? 8 : 1) * VKS_FEW_ROWS && rows_variant(limits) < VKS_MATMUL_VARIANTS &&
           vks_aligned(packed, 0) && 4 * (uint64_t)m * k <= limits->max_range &&
           4 * (uint64_t)packed->shape[1] <= limits->max_range;
}

uint32_t vks_matmul_device_flags(const struct vks_gpu_limits *limits, const struct vks_matmul_kernel *kernel)
{
    return limits->texels && limits->dear_lanes ? kernel->alike : 0;
}

const struct vks_matmul_kernel *vks_matmul_kernel(enum vks_matmul_variant variant)
{
    return &kernels[variant];
}

bool vks_matmul_aligned(const struct vks_matrix *matrix)
{
    return matrix->stride % 4 == 0 && matrix->batch[0] % 4 == 0 && matrix->batch[1] % 4 == 0 &&
           vks_aligned(matrix->tensor, matrix->first);
}

static enum vks_matmul_variant variant_of(const struct vks_emitter *emitter, const struct vks_matmul *mm)
{
    return mm->blocks ? rows_variant(&emitter->limits) : vks_matmul_choose(&emitter->limits, mm->form, mm->m, mm->n);
}

// A piece of the product: matrices [bo, bo + no) x [bi, bi + ni), rows, columns and k.
struct piece {
    uint32_t bo, bi, m, n, k;
    uint32_t no, ni, nm, nn, nk;
};

// Elements of a row-major matrix before (row, col), and from the first to the last one of rows x cols.
static uint64_t before(const struct vks_matrix *matrix, uint32_t row, uint32_t col)
{
    return (uint64_t)row * matrix->stride + col;
}

static uint64_t extent(const struct vks_matrix *matrix, uint32_t rows, uint32_t cols)
{
    return (uint64_t)(rows - 1) * matrix->stride + cols;
}

// The same of the operands, A at (m, k) and B at (k, n), row-major or in panels; the extent of panels is of whole ones.
static uint64_t before_a(const struct vks_matmul *mm, uint32_t m, uint32_t k)
{
    const struct vks_matrix *a = &mm->a;
    return a->panel ? (uint64_t)m * a->stride + (uint64_t)k * a->panel
                    : mm->form == VKS_MATMUL_TN ? before(a, k, m) : before(a, m, k);
}

static uint64_t extent_a(const struct vks_matmul *mm, uint32_t m, uint32_t k)
{
    const struct vks_matrix *a = &mm->a;
    return a->panel ? (uint64_t)(vks_ceil_div(m, a->panel) - 1) * a->panel * a->stride + (uint64_t)k * a->panel
                    : mm->form == VKS_MATMUL_TN ? extent(a, k, m) : extent(a, m, k);
}

static uint64_t before_b(const struct vks_matmul *mm, uint32_t k, uint32_t n)
{
    const struct vks_matrix *b = &mm->b;
    return b->panel ? (uint64_t)(n / b->panel) * b->stride + (uint64_t)k * b->panel
                    : mm->form == VKS_MATMUL_NT ? before(b, n, k) : before(b, k, n);
}

static uint64_t extent_b(const struct vks_matmul *mm, uint32_t k, uint32_t n)
{
    const struct vks_matrix *b = &mm->b;
    if (b->panel)
        return (uint64_t)(vks_ceil_div(n, b->panel) - 1) * b->stride + (uint64_t)k * b->panel;
    return mm->blocks                  ? extent(b, n, b->stride)
           : mm->form == VKS_MATMUL_NT ? extent(b, n, k)
                                       : extent(b, k, n);
}

// Elements from the piece's first matrix to its last one.
static uint64_t stack(const struct vks_matrix *matrix, const struct piece *piece)
{
    return (uint64_t)(piece->no - 1) * matrix->batch[0] + (uint64_t)(piece->ni - 1) * matrix->batch[1];
}

static uint64_t span_a(const struct vks_matmul *mm, const struct piece *piece)
{
    return stack(&mm->a, piece) + extent_a(mm, piece->nm, piece->nk);
}

static uint64_t span_b(const struct vks_matmul *mm, const struct piece *piece)
{
    return stack(&mm->b, piece) + extent_b(mm, piece->nk, piece->nn);
}

static uint64_t span_c(const struct vks_matmul *mm, const struct piece *piece)
{
    return stack(&mm->c, piece) + extent(&mm->c, piece->nm, piece->nn);
}

// Where the piece's first matrix begins.
static uint64_t matrix_first(const struct vks_matrix *matrix, const struct piece *piece)
{
    return matrix->first + (uint64_t)piece->bo * matrix->batch[0] + (uint64_t)piece->bi * matrix->batch[1];
}

// About half, in steps that keep 16-byte loads aligned.
static bool halve(uint32_t *count, uint32_t step)
{
    const uint32_t half = (*count + 1) / 2;
    if (*count <= 1)
        return false;
    *count = half > step  ? vks_ceil_div(half, step) * step
             : half > 4   ? vks_ceil_div(half, 4) * 4
             : *count > 4 ? 4
                          : half;
    return true;
}

// The same for rows or columns, which no piece takes from the middle of a panel.
static bool halve_panels(uint32_t *count, uint32_t panel)
{
    uint32_t half = *count;
    if (!halve(&half, 32))
        return false;
    if (panel)
        half = vks_ceil_div(half, panel) * panel;
    if (half >= *count)
        return false;
    *count = half;
    return true;
}

// The same for k, of which panels hold fours: halves of more than four are fours too.
static bool halve_k(uint32_t *k, bool panels)
{
    return !(panels && *k <= 4) && halve(k, 16);
}

// The largest piece whose bindings fit; false when not even one row does. Batch first, k last.
static bool fit(const struct vks_emitter *emitter, const struct vks_matmul *mm, uint32_t tile_cols, struct piece *piece)
{
    const uint64_t most = emitter->limits.max_range / sizeof(float);
    const uint64_t most_b = emitter->limits.max_range / vks_dtype_size(mm->b.tensor->dtype);
    for (;;) {
        const bool long_a = span_a(mm, piece) > most, long_b = span_b(mm, piece) > most_b;
        const bool long_c = span_c(mm, piece) > most;
        const bool many = (uint64_t)piece->no * piece->ni * vks_ceil_div(piece->nn, tile_cols) >
                          emitter->limits.max_groups;
        if (!long_a && !long_b && !long_c && !many)
            return true;
        if (halve(&piece->no, 1) || halve(&piece->ni, 1))
            continue;
        const bool tn = mm->form == VKS_MATMUL_TN, nt = mm->form == VKS_MATMUL_NT;
        bool cut = false;
        if (long_c || (long_a && !tn))
            cut = halve_panels(&piece->nm, mm->a.panel);
        if (!cut && (long_c || many || (long_b && nt)))
            cut = halve_panels(&piece->nn, mm->b.panel);
        if (!cut && (long_a || long_b))
            cut = halve_k(&piece->nk, mm->a.panel || mm->b.panel) || (tn && halve(&piece->nm, 32)) ||
                  halve_panels(&piece->nn, mm->b.panel);
        if (!cut)
            return false;
    }
}

// The constant of shaders/include/few_rows.glsl: fewer flags, and the rows, in few steps for few pipelines.
static uint32_t rows_flags(uint32_t flags, uint32_t rows)
{
    return (flags & (VEC_A | VEC_B | ALPHA | START_C | PLUS)) | (rows > 4 ? 8 : rows > 2 ? 4 : rows) << 8;
}

static bool emit_piece(struct vks_emitter *emitter, const struct vks_matmul *mm, const struct piece *piece)
{
    const enum vks_matmul_variant variant = variant_of(emitter, mm);
    const struct vks_matmul_kernel *kernel = vks_matmul_kernel(variant);
    const bool tn = mm->form == VKS_MATMUL_TN, nt = mm->form == VKS_MATMUL_NT;
    const bool more = mm->accumulate || piece->k > 0, biased = mm->bias && !more;
    const bool plus = mm->plus && piece->k + piece->nk == mm->k;
    const struct vks_push_matmul push = {
        .m = piece->nm, .n = piece->nn, .k = piece->nk,
        .lda = mm->a.stride, .ldb = mm->b.stride, .ldc = mm->c.stride,
        .inner = piece->ni,
        .a0 = mm->a.batch[0], .a1 = mm->a.batch[1],
        .b0 = mm->b.batch[0], .b1 = mm->b.batch[1],
        .c0 = mm->c.batch[0], .c1 = mm->c.batch[1],
        .alpha = mm->alpha != 0 ? mm->alpha : 1,
        .flags = biased ? START_BIAS : 0,
    };
    const uint32_t type = mm->blocks ? BLOCKS_FROM + mm->blocks : (uint32_t)mm->b.tensor->dtype;
    const uint32_t flags = (vks_matmul_aligned(&mm->a) && (!tn || piece->nm % 4 == 0) ? VEC_A : 0) |
                           (vks_matmul_aligned(&mm->b) && (nt || piece->nn % 4 == 0) ? VEC_B : 0) |
                           (vks_matmul_aligned(&mm->c) && piece->nn % 4 == 0 && (!plus || vks_aligned(mm->plus, 0))
                                ? VEC_C : 0) |
                           (push.alpha != 1 ? ALPHA : 0) | (more ? START_C : 0) | (plus ? PLUS : 0) |
                           (piece->nk % 4 ? TAIL : 0) | (mm->a.panel ? PANELS_A : 0) |
                           (mm->b.panel ? PANELS_B : 0) | vks_matmul_device_flags(&emitter->limits, kernel);
    const uint32_t spec[] = {mm->form, type, is_rows(variant) ? rows_flags(flags, piece->nm) : flags};
    const uint64_t a = matrix_first(&mm->a, piece) + before_a(mm, piece->m, piece->k);
    const uint64_t b = matrix_first(&mm->b, piece) + before_b(mm, piece->k, piece->n);
    const uint64_t c = matrix_first(&mm->c, piece) + before(&mm->c, piece->m, piece->n), c_count = span_c(mm, piece);
    const struct vks_operand operands[] = {
        vks_read(mm->a.tensor, a, span_a(mm, piece)),
        vks_read(mm->b.tensor, b, span_b(mm, piece)),
        more ? vks_update(mm->c.tensor, c, c_count) : vks_write(mm->c.tensor, c, c_count),
        biased ? vks_read(mm->bias, piece->n, piece->nn) : vks_unused(),
        plus ? vks_read(mm->plus, c, c_count) : vks_unused(),
    };
    struct vks_groups groups = mm->rows ? vks_groups_rows(mm->rows, piece->m, piece->nm, 1, kernel->rows)
                                        : vks_groups_1d(piece->nm, kernel->rows);
    groups.z = vks_ceil_div(piece->nn, kernel->cols) * piece->no * piece->ni;
    groups.long_running = (uint64_t)kernel->rows * kernel->cols * piece->nk >= LONG_RUNNING;
    return vks_emit_special(emitter, kernel->matmul, spec, 3, operands, 5, &push, sizeof(push), groups);
}

static bool emit_pieces(struct vks_emitter *emitter, const struct vks_matmul *mm)
{
    const uint32_t outer = mm->batch[0] ? mm->batch[0] : 1, inner = mm->batch[1] ? mm->batch[1] : 1;
    const struct vks_matmul_kernel *kernel = vks_matmul_kernel(variant_of(emitter, mm));
    struct piece most = {.no = outer, .ni = inner, .nm = mm->m, .nn = mm->n, .nk = mm->k};
    if (!fit(emitter, mm, kernel->cols, &most))
        return vks_fail_row(emitter, mm->c.tensor);
    if (mm->rows && mm->rows->dynamic) {
        // The step buffer counts leading rows: no piece may begin inside one.
        const uint32_t each = (uint32_t)vks_tensor_step_rows(mm->rows);
        if (most.nm < mm->m && most.nm < each)
            return vks_fail_row(emitter, mm->c.tensor);
        if (most.nm < mm->m)
            most.nm = most.nm / each * each;
    }
    struct piece piece;
    for (piece.bo = 0; piece.bo < outer; piece.bo += most.no)
        for (piece.bi = 0; piece.bi < inner; piece.bi += most.ni)
            for (piece.m = 0; piece.m < mm->m; piece.m += most.nm)
                for (piece.n = 0; piece.n < mm->n; piece.n += most.nn)
                    for (piece.k = 0; piece.k < mm->k; piece.k += most.nk) {
                        piece.no = (uint32_t)vks_min_u64(most.no, outer - piece.bo);
                        piece.ni = (uint32_t)vks_min_u64(most.ni, inner - piece.bi);
                        piece.nm = (uint32_t)vks_min_u64(most.nm, mm->m - piece.m);
                        piece.nn = (uint32_t)vks_min_u64(most.nn, mm->n - piece.n);
                        piece.nk = (uint32_t)vks_min_u64(most.nk, mm->k - piece.k);
                        if (!emit_piece(emitter, mm, &piece))
                            return false;
                    }
    return true;
}

bool vks_emit_matmul(struct vks_emitter *emitter, const struct vks_matmul *matmul)
{
    struct vks_panels panels;
    if (!vks_panels_plan(emitter, matmul, &panels) ||
        (panels.b.tensor && !vks_emit_panels_b(emitter, matmul, &panels)))
        return false;
    if (!panels.a.tensor && !panels.b.tensor)
        return emit_pieces(emitter, matmul);
    for (uint32_t row = 0; row < matmul->m; row += panels.rows) {
        const uint32_t rows = (uint32_t)vks_min_u64(panels.rows, matmul->m - row);
        const struct vks_matmul block = vks_panels_block(matmul, row, rows, &panels);
        if ((panels.a.tensor && !vks_emit_panels_a(emitter, matmul, row, rows, &panels)) ||
            !emit_pieces(emitter, &block))
            return false;
    }
    return true;
}
