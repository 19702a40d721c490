// Affine maps and pooling: references against central differences, kernels against references, in slices of a batch
// and as columns of flat arrays.
#include <string.h>

#include "check.h"
#include "ref/pointwise.h"
#include "ref/steering.h"
#include "shaders/push.h"

#define STRENGTH 3u

struct shape {
    uint32_t samples, rows, cols;
    bool pixels, masked;
};

struct problem {
    struct ref_site site;
    enum vks_position position;
    enum vks_pool kind;
    double strength;
    const double *z, *w, *b;
};

static void affine_of_z(void *priv, const double *x, double *y)
{
    const struct problem *p = priv;
    ref_affine(y, x, p->w, p->b, NULL, &p->site, p->position, p->strength);
}

static void affine_of_w(void *priv, const double *x, double *y)
{
    const struct problem *p = priv;
    ref_affine(y, p->z, x, p->b, NULL, &p->site, p->position, p->strength);
}

static void affine_of_b(void *priv, const double *x, double *y)
{
    const struct problem *p = priv;
    ref_affine(y, p->z, p->w, x, NULL, &p->site, p->position, p->strength);
}

static void pool_of_z(void *priv, const double *x, double *y)
{
    const struct problem *p = priv;
    ref_pool(y, x, &p->site, p->kind);
}

static double *mask_of(struct check *c, const struct shape *s)
{
    double *mask = check_alloc(c, s->samples * s->rows, sizeof(*mask));
    for (uint32_t i = 0; i < s->samples; i++) {
        const uint32_t length = check_random(c, s->rows + 1);
        for (uint32_t t = 0; t < s->rows; t++)
            mask[i * s->rows + t] = t < length && (t == 0 || check_random(c, 8) > 0);
    }
    // A sample without any token, and one without padding.
    memset(mask, 0, s->rows * sizeof(*mask));
    for (uint32_t t = 0; t < s->rows && s->samples > 1; t++)
        mask[s->rows + t] = 1;
    return mask;
}

static void differences(struct check *c, struct problem p)
{
    const uint64_t n = p.site.samples * p.site.rows * p.site.cols, rows = p.site.samples * p.site.cols;
    const uint32_t cols = p.site.cols;
    double *z = check_values(c, n, CHECK_NORMAL), *w = check_values(c, cols, CHECK_UNIFORM);
    double *b = check_values(c, cols, CHECK_NORMAL), *dy = check_values(c, n, CHECK_NORMAL);
    double *dz = check_alloc(c, n, sizeof(*dz)), *dw = check_alloc(c, rows, sizeof(*dw));
    double *db = check_alloc(c, rows, sizeof(*db)), sum_w[16] = {0}, sum_b[16] = {0};
    p.z = z;
    p.w = w;
    p.b = b;
    ref_affine_backward(dz, dw, db, z, w, dy, &p.site, p.position, p.strength);
    for (uint32_t s = 0; s < p.site.samples; s++)
        for (uint32_t k = 0; k < cols; k++) {
            sum_w[k] += dw[s * cols + k];
            sum_b[k] += db[s * cols + k];
        }
    check_differences(c, "affine dz", affine_of_z, &p, z, n, dy, n, dz);
    check_differences(c, "affine dw", affine_of_w, &p, w, cols, dy, n, sum_w);
    check_differences(c, "affine db", affine_of_b, &p, b, cols, dy, n, sum_b);
    ref_pool_backward(dz, z, NULL, dy, &p.site, p.kind);
    check_differences(c, "pooling dz", pool_of_z, &p, z, n, dy, rows, dz);
}

static uint32_t shape_of(const struct shape *s, uint32_t shape[4])
{
    const uint32_t square = s->rows % 2 ? 1 : 2;
    const uint32_t vector[] = {s->samples, s->cols}, tokens[] = {s->samples, s->rows, s->cols};
    const uint32_t pixels[] = {s->samples, square, s->rows / square, s->cols};
    if (s->rows == 1) {
        memcpy(shape, vector, sizeof(vector));
        return 2;
    }
    memcpy(shape, s->pixels ? pixels : tokens, s->pixels ? sizeof(pixels) : sizeof(tokens));
    return s->pixels ? 4 : 3;
}

// Where the samples of a case have their rows among those of a batch: behind others, in order or by a table.
struct places {
    uint32_t total, first;     // rows of the batch, samples before these
    bool ordered;
    uint32_t rows[VKS_STEP_ORDERS];
};

static struct places places_of(struct check *c, const struct shape *s)
{
    struct places places = {.first = check_random(c, 4), .ordered = check_random(c, 2)};
    places.total = s->samples + places.first + check_random(c, 3);
    for (uint32_t i = 0; i < places.total; i++)
        places.rows[i] = i;
    for (uint32_t i = places.total; i-- > 1 && places.ordered;) {
        const uint32_t other = check_random(c, i + 1), row = places.rows[i];
        places.rows[i] = places.rows[other];
        places.rows[other] = row;
    }
    return places;
}

// Of the samples before these some are in other slices, the others in the same graph.
static void put_places(struct check *c, struct vks_graph *g, const struct places *places)
{
    g->sample = check_random(c, places->first + 1);
    check_step_uint(c, VKS_STEP_SLICE, places->first - g->sample);
    check_step_uint(c, VKS_STEP_ORDERED, places->ordered);
    for (uint32_t i = 0; i < places->total && places->ordered; i++)
        check_step_uint(c, VKS_STEP_ORDER + i, places->rows[i]);
}

static uint32_t row_of(const struct places *places, uint32_t sample)
{
    return places->rows[places->first + sample];
}

// The samples' rows of `flat`, columns [first, first + cols), become `dense`.
static void put_rows(double *flat, uint32_t width, const struct places *places, uint32_t first, const double *dense,
                     const struct shape *s)
{
    for (uint32_t i = 0; i < s->samples; i++)
        memcpy(flat + (uint64_t)row_of(places, i) * width + first, dense + (uint64_t)i * s->cols,
               s->cols * sizeof(*flat));
}

static double *copy_of(struct check *c, const double *values, uint64_t count)
{
    double *copy = check_alloc(c, count, sizeof(*copy));
    memcpy(copy, values, count * sizeof(*copy));
    return copy;
}

// The bits of values as the device holds them.
static int32_t *bits_of(struct check *c, const double *values, uint64_t count)
{
    int32_t *bits = check_alloc(c, count, sizeof(*bits));
    for (uint64_t i = 0; i < count; i++) {
        const float value = (float)values[i];
        memcpy(&bits[i], &value, sizeof(value));
    }
    return bits;
}

// Where a site lies in the flat arrays of all sites: its samples in rows of their own, its channels in columns
// [first, first + cols) of `width`.
struct flat {
    struct places places;
    uint32_t first, width;
};

static struct flat flat_of(struct check *c, const struct shape *s)
{
    const uint32_t first = check_random(c, 20), width = s->cols + first + check_random(c, 30);
    return (struct flat){places_of(c, s), first, width};
}

// A map, and what its gradients are added to.
struct map {
    const struct shape *s;
    struct flat at;
    enum vks_position position;
    bool trained;
    double *w, *b, *grad_w, *grad_b;   // (width), (total, width)
    struct vks_tensor *tgw, *tgb;
};

static void draw_map(struct check *c, struct map *m)
{
    const uint64_t all = (uint64_t)m->at.places.total * m->at.width;
    m->w = check_values(c, m->at.width, CHECK_UNIFORM);
    m->b = check_values(c, m->at.width, CHECK_NORMAL);
    m->grad_w = check_values(c, all, CHECK_NORMAL);
    m->grad_b = check_values(c, all, CHECK_NORMAL);
}

static struct vks_tensor *add_map(struct check *c, struct vks_graph *g, struct map *m, struct vks_tensor *z,
                                  struct vks_tensor *mask)
{
    const uint32_t vector[] = {m->at.width}, flat[] = {m->at.places.total, m->at.width};
    const uint32_t first = m->at.first, cols = m->s->cols;
    struct vks_tensor *w = check_state(c, "w", m->w, VKS_F32, 1, vector);
    struct vks_tensor *b = check_state(c, "b", m->b, VKS_F32, 1, vector);
    m->tgw = check_state(c, "grad_w", m->grad_w, VKS_F32, 2, flat);
    m->tgb = check_state(c, "grad_b", m->grad_b, VKS_F32, 2, flat);
    return vks_affine_map(g, z, vks_graph_columns(g, w, first, cols), vks_graph_columns(g, b, first, cols), mask,
                          m->trained ? vks_graph_columns(g, m->tgw, first, cols) : NULL,
                          m->trained ? vks_graph_columns(g, m->tgb, first, cols) : NULL,
                          &(struct vks_affine){.position = m->position, .strength = STRENGTH});
}

// The flat array with the rows of the site replaced by `dense` (samples, cols), or as it was with NULL.
static void expect_rows(struct check *c, struct vks_tensor *tensor, const double *values, const struct flat *at,
                        const struct shape *s, const double *dense, double tolerance)
{
    double *want = copy_of(c, values, (uint64_t)at->places.total * at->width);
    if (dense)
        put_rows(want, at->width, &at->places, at->first, dense, s);
    check_expect(c, tensor, want, tolerance);
}

static void expect_gradients(struct check *c, const struct map *m, const double *dw, const double *db,
                             double tolerance)
{
    expect_rows(c, m->tgw, m->grad_w, &m->at, m->s, m->trained ? dw : NULL, tolerance);
    expect_rows(c, m->tgb, m->grad_b, &m->at, m->s, m->trained ? db : NULL, tolerance);
}

static void affine_case(struct check *c, const struct shape *s, enum vks_position position, double strength,
                        bool trained)
{
    const uint64_t n = (uint64_t)s->samples * s->rows * s->cols;
    const uint32_t mask_shape[] = {s->samples, s->rows};
    uint32_t shape[4];
    const uint32_t rank = shape_of(s, shape);
    struct map map = {.s = s, .at = flat_of(c, s), .position = position, .trained = trained};
    draw_map(c, &map);
    const double *w = map.w + map.at.first, *b = map.b + map.at.first;
    double *z = check_values(c, n, strength != 0 ? CHECK_NORMAL : CHECK_HOSTILE);
    double *dy = check_values(c, n, CHECK_NORMAL), *y = check_alloc(c, n, sizeof(*y));
    double *dz = check_alloc(c, n, sizeof(*dz)), *dw = check_alloc(c, s->samples * s->cols, sizeof(*dw));
    double *db = check_alloc(c, s->samples * s->cols, sizeof(*db));
    const struct ref_site site = {s->samples, s->rows, s->cols, s->masked ? mask_of(c, s) : NULL};
    ref_affine(y, z, w, b, NULL, &site, position, strength);
    ref_affine_backward(dz, dw, db, z, w, dy, &site, position, strength);

    struct vks_graph *g = check_begin(c, "affine_map (%u, %u, %u) position %d strength %g%s%s", s->samples, s->rows,
                                      s->cols, position, strength, s->masked ? " mask" : "",
                                      trained ? " trained" : "");
    check_step_float(c, VKS_STEP_STRENGTH + STRENGTH, (float)strength);
    put_places(c, g, &map.at.places);
    struct vks_tensor *mask = s->masked ? check_input(c, "mask", site.mask, 2, mask_shape) : NULL;
    struct vks_tensor *tz = check_input(c, "z", z, rank, shape), *ty = add_map(c, g, &map, tz, mask);
    check_expect(c, ty, y, strength == 0 ? 0 : 1e-6);
    if (strength == 0)
        check_expect_i32(c, ty, bits_of(c, z, n));  // -0 stays -0
    check_backward(c, ty, dy);
    check_expect_gradient(c, tz, dz, 1e-6);
    expect_gradients(c, &map, dw, db, 2e-6);
    check_run(c);
}

// Maps that act within a range only, some of whose ends are values (means) that occur.
static void range_case(struct check *c, const struct shape *s, enum vks_position position, double strength)
{
    const uint64_t n = (uint64_t)s->samples * s->rows * s->cols;
    const uint32_t first = check_random(c, 2) * check_random(c, 20), width = s->cols + first + check_random(c, 30);
    const uint32_t vector[] = {width}, ends[] = {2 * width}, mask_shape[] = {s->samples, s->rows};
    uint32_t shape[4];
    const uint32_t rank = shape_of(s, shape);
    double *z = check_values(c, n, CHECK_NORMAL), *y = check_alloc(c, n, sizeof(*y));
    double *w = check_values(c, width, CHECK_UNIFORM), *b = check_values(c, width, CHECK_NORMAL);
    double *range = check_values(c, 2 * width, CHECK_NORMAL);
    for (uint32_t k = 0; k < width; k++) {
        const double value = position == VKS_POSITION_AVG ? range[2 * k] : z[k % s->cols];  // a mean is rounded
        range[2 * k] = k % 3 ? value : -3.4e38f;
        range[2 * k + 1] = k % 4 == 1 ? value : k % 4 ? value + 1 : 3.4e38f;
    }
    const struct ref_site site = {s->samples, s->rows, s->cols, s->masked ? mask_of(c, s) : NULL};
    for (uint32_t k = 0; k < 2 * width; k++)
        range[k] = (float)range[k];
    ref_affine(y, z, w + first, b + first, range + 2 * first, &site, position, strength);

    struct vks_graph *g = check_begin(c, "affine_map (%u, %u, %u) position %d strength %g%s within ranges",
                                      s->samples, s->rows, s->cols, position, strength, s->masked ? " mask" : "");
    check_step_float(c, VKS_STEP_STRENGTH + STRENGTH, (float)strength);
    struct vks_tensor *tw = vks_graph_columns(g, check_state(c, "w", w, VKS_F32, 1, vector), first, s->cols);
    struct vks_tensor *tb = vks_graph_columns(g, check_state(c, "b", b, VKS_F32, 1, vector), first, s->cols);
    struct vks_tensor *tr = check_state(c, "range", range, VKS_F32, 1, ends);
    struct vks_tensor *mask = s->masked ? check_input(c, "mask", site.mask, 2, mask_shape) : NULL;
    struct vks_tensor *ty = vks_affine_map(g, check_input(c, "z", z, rank, shape), tw, tb, mask, NULL, NULL,
                                           &(struct vks_affine){.position = position, .strength = STRENGTH,
                                           .range = vks_graph_columns(g, tr, 2 * first, 2 * s->cols)});
    check_expect(c, ty, y, 1e-6);
    check_run(c);
}

// Pooled rows, and the gradient that comes to them.
struct pooling {
    const struct shape *s;
    struct flat at;
    double *pooled, *grad, *dense_grad;   // (total, width) twice, (samples, cols)
    struct vks_tensor *tp;
};

static void draw_pooling(struct check *c, struct pooling *p)
{
    const struct shape *s = p->s;
    const uint64_t all = (uint64_t)p->at.places.total * p->at.width;
    p->pooled = check_values(c, all, CHECK_NORMAL);
    p->grad = check_values(c, all, CHECK_NORMAL);
    p->dense_grad = check_alloc(c, (uint64_t)s->samples * s->cols, sizeof(*p->dense_grad));
    for (uint32_t i = 0; i < s->samples; i++)
        memcpy(p->dense_grad + (uint64_t)i * s->cols,
               p->grad + (uint64_t)row_of(&p->at.places, i) * p->at.width + p->at.first, s->cols * sizeof(*p->grad));
}

static struct vks_tensor *add_pooling(struct check *c, struct vks_graph *g, struct pooling *p, struct vks_tensor *z,
                                      struct vks_tensor *mask, enum vks_pool kind)
{
    const uint32_t flat[] = {p->at.places.total, p->at.width};
    p->tp = check_state(c, "pooled", p->pooled, VKS_F32, 2, flat);
    struct vks_tensor *tg = check_state(c, "grad_pooled", p->grad, VKS_F32, 2, flat);
    return vks_pool_rows(g, z, mask, vks_graph_columns(g, p->tp, p->at.first, p->s->cols),
                         vks_graph_columns(g, tg, p->at.first, p->s->cols), kind);
}

static void pool_case(struct check *c, const struct shape *s, enum vks_pool kind, bool above)
{
    const uint64_t n = (uint64_t)s->samples * s->rows * s->cols;
    const uint32_t mask_shape[] = {s->samples, s->rows};
    uint32_t shape[4];
    const uint32_t rank = shape_of(s, shape);
    struct pooling pooling = {.s = s, .at = flat_of(c, s)};
    draw_pooling(c, &pooling);
    double *z = check_values(c, n, kind == VKS_POOL_MAX ? CHECK_HOSTILE : CHECK_NORMAL);
    double *dy = check_values(c, n, CHECK_NORMAL), *dz = check_alloc(c, n, sizeof(*dz));
    double *dense = check_alloc(c, s->samples * s->cols, sizeof(*dense));
    const struct ref_site site = {s->samples, s->rows, s->cols, s->masked ? mask_of(c, s) : NULL};
    ref_pool(dense, z, &site, kind);
    ref_pool_backward(dz, z, above ? dy : NULL, pooling.dense_grad, &site, kind);

    struct vks_graph *g = check_begin(c, "pool_rows (%u, %u, %u) kind %d%s%s", s->samples, s->rows, s->cols, kind,
                                      s->masked ? " mask" : "", above ? " below another gradient" : "");
    put_places(c, g, &pooling.at.places);
    struct vks_tensor *mask = s->masked ? check_input(c, "mask", site.mask, 2, mask_shape) : NULL;
    struct vks_tensor *tz = check_input(c, "z", z, rank, shape);
    struct vks_tensor *ty = add_pooling(c, g, &pooling, tz, mask, kind);
    expect_rows(c, pooling.tp, pooling.pooled, &pooling.at, s, dense, 1e-6);
    check_expect(c, ty, z, 0);
    // Where nothing stands above, the walk is started by another output that pooling knows nothing of.
    check_backward(c, above ? ty : vks_scale(g, check_input(c, "other", z, rank, shape), 2, 0), dy);
    check_expect_gradient(c, tz, dz, 1e-6);
    check_run(c);
}

// A map, and what may follow it at a site: one node each way, with the bits of all of them.
enum { POOL = 1, ACT = 2, TRAINED = 4 };

static void site_case(struct check *c, const struct shape *s, uint32_t parts, enum vks_unary kind, double strength)
{
    const uint64_t n = (uint64_t)s->samples * s->rows * s->cols, per = (uint64_t)s->samples * s->cols;
    uint32_t shape[4];
    const uint32_t rank = shape_of(s, shape);
    const struct ref_site site = {s->samples, s->rows, s->cols, NULL};
    const uint32_t first = 4 * check_random(c, 5) + (s->cols % 4 != 0);  // aligned to four where the channels are
    const struct flat at = {places_of(c, s), first, s->cols + first + 4 * check_random(c, 9)};
    struct map map = {.s = s, .at = at, .position = VKS_POSITION_ALL, .trained = parts & TRAINED};
    struct pooling pooling = {.s = s, .at = at};
    draw_map(c, &map);
    draw_pooling(c, &pooling);
    const double *w = map.w + at.first, *b = map.b + at.first;
    double *z = check_values(c, n, CHECK_NORMAL), *dy = check_values(c, n, CHECK_NORMAL);
    double *mapped = check_alloc(c, n, sizeof(*mapped)), *y = check_alloc(c, n, sizeof(*y));
    double *dmapped = copy_of(c, dy, n), *dz = check_alloc(c, n, sizeof(*y));
    double *mean = check_alloc(c, per, sizeof(*mean)), *dw = check_alloc(c, per, sizeof(*dw));
    double *db = check_alloc(c, per, sizeof(*db));
    ref_affine(mapped, z, w, b, NULL, &site, VKS_POSITION_ALL, strength);
    memcpy(y, mapped, n * sizeof(*y));
    if (parts & ACT) {
        ref_unary(y, mapped, n, kind);
        ref_unary_backward(dmapped, mapped, dy, n, kind);
    }
    ref_pool(mean, mapped, &site, VKS_POOL_MEAN);
    if (parts & POOL)
        ref_pool_backward(dmapped, mapped, copy_of(c, dmapped, n), pooling.dense_grad, &site, VKS_POOL_MEAN);
    ref_affine_backward(dz, dw, db, z, w, dmapped, &site, VKS_POSITION_ALL, strength);

    struct vks_graph *g = check_begin(c, "site (%u, %u, %u) strength %g%s%s%s kind %d", s->samples, s->rows, s->cols,
                                      strength, parts & POOL ? " pooled" : "", parts & ACT ? " activated" : "",
                                      parts & TRAINED ? " trained" : "", kind);
    check_step_float(c, VKS_STEP_STRENGTH + STRENGTH, (float)strength);
    put_places(c, g, &at.places);
    struct vks_tensor *tz = check_input(c, "z", z, rank, shape), *t = add_map(c, g, &map, tz, NULL);
    if (parts & POOL)
        t = add_pooling(c, g, &pooling, t, NULL, VKS_POOL_MEAN);
    if (parts & ACT)
        t = vks_unary(g, t, kind);
    check_expect(c, t, y, 2e-6);
    if (parts & POOL)
        expect_rows(c, pooling.tp, pooling.pooled, &at, s, mean, 1e-6);
    check_backward(c, t, dy);
    check_expect_gradient(c, tz, dz, 4e-6);
    expect_gradients(c, &map, dw, db, 4e-6);
    check_run(c);
}

void check_steering(struct check *c)
{
    static const struct shape shapes[] = {
        {3, 1, 7, false, false},    {2, 5, 3, false, true},    {3, 16, 65, true, false},  {2, 17, 32, false, true},
        {4, 33, 130, false, false}, {5, 100, 12, true, true},  {1, 1024, 40, true, false}, {16, 256, 9, true, false},
    };
    for (int k = 0; k < 3; k++)
        for (int masked = 0; masked < 2; masked++) {
            const struct shape small = {3, 6, 4, false, masked};
            const struct ref_site site = {3, 6, 4, masked ? mask_of(c, &small) : NULL};
            differences(c, (struct problem){site, (enum vks_position)k, (enum vks_pool)k, 0.7, NULL, NULL, NULL});
        }
    for (uint32_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (int k = 0; k < 3; k++) {
            static const double strengths[] = {1, 0, -0.5, 1.7};
            affine_case(c, &shapes[i], (enum vks_position)k, strengths[(i + k) % 4], (i + k) % 5 != 4);
            range_case(c, &shapes[i], (enum vks_position)k, strengths[(i + k) % 4]);
            pool_case(c, &shapes[i], (enum vks_pool)k, check_random(c, 2));
        }
    for (uint32_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (uint32_t k = 0; k < 2; k++) {
            static const uint32_t parts[] = {POOL | ACT | TRAINED, POOL | TRAINED, ACT | TRAINED,
                                             POOL | ACT, ACT};
            const enum vks_unary kind = (enum vks_unary)((i + 3 * k) % 7);
            site_case(c, &shapes[i], parts[(i + 2 * k) % 5], kind, (i + k) % 4 ? 0.8 : 0);
        }
    // Partial sums of a sample that no binding of 64 KiB holds: 64 blocks of 300 columns.
    const struct shape wide = {2, 1024, 300, true, true};
    for (int k = 0; k < 3; k++) {
        pool_case(c, &wide, (enum vks_pool)k, k == 1);
        affine_case(c, &wide, (enum vks_position)k, 0.8, true);
    }
    site_case(c, &(struct shape){2, 1024, 300, true, false}, POOL | ACT | TRAINED, VKS_SILU, 0.8);
    // Rows of which 64 KiB hold one, but not two partial sums of each channel.
    site_case(c, &(struct shape){3, 3, 10000, false, false}, POOL | ACT | TRAINED, VKS_SILU, 0.8);
    site_case(c, &(struct shape){3, 1, 10000, false, false}, ACT | TRAINED, VKS_SILU, 0.8);
    pool_case(c, &(struct shape){4, 20, 3000, false, false}, VKS_POOL_MEAN, true);
    affine_case(c, &(struct shape){4, 20, 3000, false, true}, VKS_POSITION_ALL, 1, true);
}
