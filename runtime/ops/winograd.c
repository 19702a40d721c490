#include "ops/winograd.h"

#include "ops/common.h"
#include "ops/matmul.h"

enum { POINTS = 36, TILE = 4 };
enum { BIAS = 1, PLUS = 2 };  // constant 1 of winograd_output.comp

// From where it pays. Fewer tiles are not worth the weights that are turned anew each time; with fewer channels the
// tiles cost what they save. A smaller picture is mostly border.
enum { LEAST_TILES = 8, LEAST_CHANNELS = 16, LEAST_EXTENT = 4 };

// Bytes of scratch. Tiles and products are to stay in a processor's caches from dispatch to dispatch; with each slice
// of the weights, tiles that were not kept are made again.
#define TILE_BYTES ((uint64_t)4 << 20)
#define WEIGHT_BYTES ((uint64_t)16 << 20)

// What every device binds at least (README, What runs on what): a limit below it is a test's.
#define FLOOR_RANGE ((uint64_t)128 << 20)

struct extents {
    uint32_t samples, h, w, k, n;
    uint32_t down, across;  // tiles of a sample
};

static struct extents extents_of(const struct vks_winograd *winograd)
{
    const uint32_t *shape = winograd->source->shape;
    return (struct extents){
        .samples = shape[0], .h = shape[1], .w = shape[2], .k = shape[3],
        .n = vks_tensor_channels(winograd->target),
        .down = vks_ceil_div(shape[1], TILE), .across = vks_ceil_div(shape[2], TILE),
    };
}

bool vks_winograd_takes(const struct vks_emitter *emitter, const struct vks_winograd *winograd)
{
    const struct vks_gpu_limits *limits = &emitter->limits;
    const struct extents e = extents_of(winograd);
    const uint32_t most = e.k > e.n ? e.k : e.n, least = e.k < e.n ? e.k : e.n;
    const struct vks_tensor *weight = winograd->weight;
    const uint64_t range = limits->max_range < FLOOR_RANGE ? limits->max_range : FLOOR_RANGE;
    return limits->winograd && (uint64_t)e.down * e.across * emitter->batch >= LEAST_TILES &&
           e.h >= LEAST_EXTENT && e.w >= LEAST_EXTENT && least >= LEAST_CHANNELS &&
           (e.k | e.n) % 4 == 0 && vks_aligned(winograd->source, 0) && vks_aligned(winograd->target, 0) &&
           vks_aligned(weight, 0) && (!winograd->plus || vks_aligned(winograd->plus, 0)) &&
           vks_tensor_elements(weight) * vks_dtype_size(weight->dtype) <= range &&
           4 * (uint64_t)POINTS * (e.across > 4 ? e.across : 4) * most <= range &&
           4 * (uint64_t)(TILE + 2) * e.w * most <= range;
}

// Tile rows [row, row + rows) of each of these samples.
struct window {
    uint32_t sample, samples, row, rows;
};

static uint32_t tiles_of(const struct extents *e, const struct window *window)
{
    return window->samples * window->rows * e->across;
}

// The form of the products.
static enum vks_matmul_form form_of(const struct vks_winograd *winograd)
{
    return winograd->turned ? VKS_MATMUL_NN : VKS_MATMUL_NT;
}

// How the tiles lie that n columns of weights are multiplied with (ops/panels.h): tiles of a panel, or 0, and all of
// them with those that fill the last one. Slices of fewer columns take them as they are.
struct layout {
    uint32_t panel, tiles;
};

static struct layout layout_of(const struct vks_emitter *emitter, const struct vks_winograd *winograd, uint32_t k,
                               uint32_t tiles, uint32_t n)
{
    const uint32_t panel = vks_matmul_panels(&emitter->limits, form_of(winograd), tiles, n).a;
    const uint32_t whole = panel ? vks_ceil_div(tiles, panel) * panel : tiles;
    if (4 * (uint64_t)POINTS * whole * k > emitter->limits.max_range)
        return (struct layout){.tiles = tiles};
    return (struct layout){panel, whole};
}

// Lines of pixels from the first to the last that lie within `border` of the window, and the first one.
static uint32_t lines_of(const struct extents *e, const struct window *window, uint32_t border, uint32_t *first)
{
    const uint32_t begin = TILE * window->row, end = TILE * (window->row + window->rows) + border;
    *first = begin > border ? begin - border : 0;
    return (window->samples - 1) * e->h + (end < e->h ? end : e->h) - *first;
}

// What both kernels of pixels are told, and how many lines, from push.line of the first sample on, they may touch.
static struct vks_push_winograd push_of(const struct extents *e, const struct window *window, uint32_t border,
                                        uint32_t *lines)
{
    struct vks_push_winograd push = {
        .tiles = tiles_of(e, window),
        .across = e->across, .down = window->rows, .first = window->row,
        .h = e->h, .w = e->w,
    };
    *lines = lines_of(e, window, border, &push.line);
    return push;
}

// Weights of columns [j, j + n) of the target.
static bool emit_weight(struct vks_emitter *emitter, const struct vks_winograd *winograd, const struct extents *e,
                        const struct vks_tensor *u, uint32_t j, uint32_t n)
{
    const uint32_t cols = winograd->turned ? e->n : e->k;  // of a tap
    const struct vks_push_winograd_weight push = {
        .rows = winograd->turned ? e->k : n,
        .cols = winograd->turned ? n : e->k,
        .row = 9 * cols, .tap = cols,
    };
    const struct vks_operand operands[] = {
        vks_write(u, 0, (uint64_t)POINTS * push.rows * push.cols),
        vks_read(winograd->weight, winograd->turned ? j : (uint64_t)j * push.row,
                 (uint64_t)(push.rows - 1) * push.row + 8 * push.tap + push.cols),
    };
    return vks_emit_special(emitter, VKS_K_winograd_weight,
                            (const uint32_t[]){winograd->weight->dtype, winograd->turned}, 2, operands, 2, &push,
                            sizeof(push), vks_groups_1d((uint64_t)push.rows * (push.cols / 4), VKS_GROUP));
}

static bool emit_input(struct vks_emitter *emitter, const struct vks_winograd *winograd, const struct extents *e,
                       const struct vks_tensor *v, const struct window *window, uint32_t n)
{
    const uint64_t line = (uint64_t)e->w * e->k;
    uint32_t lines;
    struct vks_push_winograd push = push_of(e, window, 1, &lines);
    push.cols = push.stride = e->k;
    const struct layout layout = layout_of(emitter, winograd, e->k, push.tiles, n);
    const struct vks_operand operands[] = {
        vks_write(v, 0, (uint64_t)POINTS * layout.tiles * e->k),
        vks_read(winograd->source, ((uint64_t)window->sample * e->h + push.line) * line, lines * line),
    };
    return vks_emit_special(emitter, VKS_K_winograd_input, &layout.panel, 1, operands, 2, &push, sizeof(push),
                            vks_groups_1d((uint64_t)layout.tiles * (e->k / 4), VKS_GROUP));
}

static bool emit_output(struct vks_emitter *emitter, const struct vks_winograd *winograd, const struct extents *e,
                        const struct vks_tensor *m, const struct window *window, uint32_t j, uint32_t n)
{
    const uint64_t line = (uint64_t)e->w * e->n;
    uint32_t lines;
    struct vks_push_winograd push = push_of(e, window, 0, &lines);
    push.cols = n;
    push.stride = e->n;
    const uint64_t first = ((uint64_t)window->sample * e->h + push.line) * line + j, count = lines * line - (e->n - n);
    const struct vks_operand operands[] = {
        vks_write(winograd->target, first, count),
        vks_read(m, 0, (uint64_t)POINTS * push.tiles * n),
        winograd->bias ? vks_read(winograd->bias, j, n) : vks_unused(),
        winograd->plus ? vks_read(winograd->plus, first, count) : vks_unused(),
    };
    const uint32_t flags = (winograd->bias ? BIAS : 0) | (winograd->plus ? PLUS : 0);
    return vks_emit_special(emitter, VKS_K_winograd_output, &flags, 1, operands, 4, &push, sizeof(push),
                            vks_groups_1d((uint64_t)push.tiles * (n / 4), VKS_GROUP));
}

// `most`: columns of the widest slice, for which the tiles were laid out.
static bool emit_products(struct vks_emitter *emitter, const struct vks_winograd *winograd, const struct extents *e,
                          const struct vks_tensor *const uvm[3], uint32_t tiles, uint32_t n, uint32_t most)
{
    const struct layout layout = layout_of(emitter, winograd, e->k, tiles, most);
    return vks_emit_matmul(emitter, &(struct vks_matmul){
        .form = form_of(winograd),
        .m = tiles, .n = n, .k = e->k,
        .batch = {POINTS, 1},
        .a = {.tensor = uvm[1], .stride = e->k, .batch = {layout.tiles * e->k}, .panel = layout.panel},
        .b = {.tensor = uvm[0], .stride = winograd->turned ? n : e->k, .batch = {e->k * n}},
        .c = {.tensor = uvm[2], .stride = n, .batch = {tiles * n}},
    });
}

bool vks_emit_winograd(struct vks_emitter *emitter, const struct vks_winograd *winograd)
{
    const struct extents e = extents_of(winograd);
    const uint64_t range = emitter->limits.max_range / sizeof(float);
    const uint64_t most = vks_min_u64(range, TILE_BYTES / sizeof(float)) / POINTS;
    const uint64_t most_weights = vks_min_u64(range, WEIGHT_BYTES / sizeof(float)) / POINTS;
    uint32_t n = e.n, first;
    while (n > 4 && (uint64_t)e.k * n > most_weights)
        n = vks_ceil_div(n, 8) * 4;
    const uint64_t widest = e.k > n ? e.k : n, pixel = e.k > e.n ? e.k : e.n;
    struct window all = {.samples = e.samples, .rows = e.down};
    // The widest border is that of a window inside the picture.
    while (tiles_of(&e, &all) * widest > most ||
           (lines_of(&e, &all, 1, &first) + (all.rows < e.down)) * (uint64_t)e.w * pixel > range) {
        if (all.samples > 1)
            all.samples = (all.samples + 1) / 2;
        else if (all.rows > 1)
            all.rows = (all.rows + 1) / 2;
        else
            break;
    }
    const bool once = all.samples == e.samples && all.rows == e.down;
    const struct vks_tensor *uvm[3] = {
        vks_emit_scratch(emitter, (uint64_t)POINTS * e.k * n),
        vks_emit_scratch(emitter,
                         (uint64_t)POINTS * layout_of(emitter, winograd, e.k, tiles_of(&e, &all), n).tiles * e.k),
        vks_emit_scratch(emitter, (uint64_t)POINTS * tiles_of(&e, &all) * n),
    };
    if (!uvm[0] || !uvm[1] || !uvm[2])
        return false;
    for (uint32_t j = 0; j < e.n; j += n) {
        const uint32_t nj = (uint32_t)vks_min_u64(n, e.n - j);
        struct window window;
        if (!emit_weight(emitter, winograd, &e, uvm[0], j, nj))
            return false;
        for (window.sample = 0; window.sample < e.samples; window.sample += all.samples)
            for (window.row = 0; window.row < e.down; window.row += all.rows) {
                window.samples = (uint32_t)vks_min_u64(all.samples, e.samples - window.sample);
                window.rows = (uint32_t)vks_min_u64(all.rows, e.down - window.row);
                if (((j == 0 || !once) && !emit_input(emitter, winograd, &e, uvm[1], &window, n)) ||
                    !emit_products(emitter, winograd, &e, uvm, tiles_of(&e, &window), nj, n) ||
                    !emit_output(emitter, winograd, &e, uvm[2], &window, j, nj))
                    return false;
            }
    }
    return true;
}
