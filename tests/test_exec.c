// The planner, the recorder and the reverse walk: one graph at several lengths, shared bytes, pruning, recomputation,
// failures that are reported once.
#include <math.h>
#include <stdlib.h>

#include "exec/backward.h"
#include "exec/exec.h"
#include "graph/emit.h"
#include "ops/ops.h"
#include "test_device.h"

static struct vks_gpu *gpu;

static float value(uint32_t i)
{
    return (float)sin(1.7 * i + 0.3);
}

static void one_graph_at_several_lengths(struct test *t)
{
    const uint32_t shape[] = {64, 24};
    float in[64 * 24], out[64 * 24];
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 2, shape, true);
    struct vks_tensor *y = vks_scale(&g, vks_unary(&g, x, VKS_RELU), 2, 1);
    CHECK(t, y && y->dynamic);
    y->keep = true;
    struct vks_exec *exec =
        vks_exec_create(&g, &(struct vks_exec_params){.gpu = gpu, .no_alias = true, .no_in_place = true,
                                                      .poison = true});
    CHECK(t, exec);
    for (uint32_t i = 0; i < 64 * 24; i++)
        in[i] = value(i);
    CHECK(t, vks_exec_write(exec, x, in, sizeof(in)));
    const uint32_t lengths[] = {64, 1, 17, 0, 40};
    for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
        uint32_t step[VKS_STEP_WORDS] = {[VKS_STEP_ROWS] = lengths[k]};
        CHECK(t, vks_exec_run(exec, step));
        CHECK(t, vks_exec_read(exec, y, out, sizeof(out)));
        for (uint32_t i = 0; i < lengths[k] * 24; i++)
            EXPECT(t, out[i] == 2 * fmaxf(in[i], 0) + 1, "length %u: element %u is %g", lengths[k], i, out[i]);
        // At most the rest of one workgroup is computed beyond the valid rows.
        const uint32_t beyond = lengths[k] * 24 + 1024;
        for (uint32_t i = beyond; i < 64 * 24; i++)
            EXPECT(t, isnan(out[i]), "length %u: element %u was computed", lengths[k], i);
    }
    vks_exec_destroy(&exec);
    vks_graph_finish(&g);
}

// A layer over dynamic rows, in submissions of at most so many seconds.
struct layer {
    struct vks_graph graph;
    struct vks_tensor *x, *y;
    struct vks_exec *exec;
};

static bool layer_begin(struct test *t, struct layer *layer, struct vks_storage *weight, double seconds)
{
    const uint32_t shape[] = {64, 96}, matrix[] = {200, 96};
    struct vks_graph *g = &layer->graph;
    vks_graph_init(g, test_log(t));
    layer->x = vks_graph_input(g, "x", VKS_F32, 2, shape, true);
    layer->y = vks_linear(g, layer->x, vks_graph_state(g, "weight", VKS_F32, 2, matrix, weight, 0), NULL);
    layer->y = vks_scale(g, vks_unary(g, vks_softmax(g, layer->y), VKS_SILU), 3, 1);
    if (!layer->y)
        return false;
    layer->y->keep = true;
    layer->exec = vks_exec_create(g, &(struct vks_exec_params){.gpu = gpu, .no_alias = true, .no_in_place = true,
                                                               .poison = true, .dispatch_seconds = seconds});
    return layer->exec != NULL;
}

static void dynamic_work_is_cut_by_time(struct test *t)
{
    static float weights[200 * 96], in[64 * 96], whole[64 * 200], cut[64 * 200];
    struct layer layers[2] = {{.exec = NULL}};
    struct vks_storage *weight = vks_storage_create(gpu, sizeof(weights));
    for (uint32_t i = 0; i < 200 * 96; i++)
        weights[i] = value(i);
    for (uint32_t i = 0; i < 64 * 96; i++)
        in[i] = value(7 * i);
    CHECK(t, weight && vks_storage_write(weight, 0, weights, sizeof(weights)));
    for (int k = 0; k < 2; k++) {
        CHECK(t, layer_begin(t, &layers[k], weight, k ? 1e-7 : 1000));
        CHECK(t, vks_exec_write(layers[k].exec, layers[k].x, in, sizeof(in)));
    }
    const uint32_t one = vks_exec_plan(layers[0].exec)->submissions;
    const uint32_t many = vks_exec_plan(layers[1].exec)->submissions;
    EXPECT(t, one == 1 && many >= 20, "%u submissions in one piece, %u in many", one, many);
    const uint32_t lengths[] = {64, 1, 17, 17, 0, 40, 64};
    for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
        const uint32_t step[VKS_STEP_WORDS] = {[VKS_STEP_ROWS] = lengths[k]};
        CHECK(t, vks_exec_run(layers[0].exec, step) && vks_exec_run(layers[1].exec, step));
        CHECK(t, vks_exec_read(layers[0].exec, layers[0].y, whole, sizeof(whole)));
        CHECK(t, vks_exec_read(layers[1].exec, layers[1].y, cut, sizeof(cut)));
        for (uint32_t i = 0; i < lengths[k] * 200; i++)
            EXPECT(t, cut[i] == whole[i], "length %u: element %u is %g, not %g", lengths[k], i, cut[i], whole[i]);
        for (uint32_t i = lengths[k] * 200 + 1024; i < 64 * 200; i++)
            EXPECT(t, isnan(cut[i]), "length %u: element %u was computed", lengths[k], i);
    }
    for (int k = 0; k < 2; k++) {
        vks_exec_destroy(&layers[k].exec);
        vks_graph_finish(&layers[k].graph);
    }
    vks_storage_destroy(&weight);
}

#define ROWS 40   // two and a half blocks
#define WIDTH 12

// Pools the tokens of one text (1, T, C) made from dynamic rows (T, C), below a map; checks rows, gradient and map
// gradient for the first `length` of them, the others being NaN.
struct pooling {
    struct vks_tensor *x, *dx;
    struct vks_storage *pooled, *seed, *maps, *rows;   // (1, C), (1, C), (2 C), (1, 2 C)
    struct vks_exec *exec;
};

static void check_length(struct test *t, const struct pooling *p, enum vks_pool kind, enum vks_position position,
                         uint32_t length)
{
    float in[ROWS * WIDTH], dx[ROWS * WIDTH], pooled[WIDTH], seed[WIDTH], maps[2 * WIDTH], rows[2 * WIDTH];
    uint32_t step[VKS_STEP_WORDS] = {[VKS_STEP_ROWS] = length};
    const float one = 1;
    memcpy(&step[VKS_STEP_STRENGTH], &one, sizeof(one));
    for (uint32_t i = 0; i < ROWS * WIDTH; i++)
        in[i] = i < length * WIDTH ? value(i) : NAN;
    for (uint32_t c = 0; c < WIDTH; c++) {
        seed[c] = value(1000 + c);
        maps[c] = 1 + 0.2f * value(c);
        maps[WIDTH + c] = 0.3f * value(7 * c);
    }
    CHECK(t, vks_storage_write(p->seed, 0, seed, sizeof(seed)) && vks_storage_write(p->maps, 0, maps, sizeof(maps)));
    CHECK(t, vks_exec_write(p->exec, p->x, in, sizeof(in)) && vks_exec_run(p->exec, step));
    CHECK(t, vks_exec_read(p->exec, p->dx, dx, sizeof(dx)));
    CHECK(t, vks_storage_read(p->pooled, 0, pooled, sizeof(pooled)));
    CHECK(t, vks_storage_read(p->rows, 0, rows, sizeof(rows)));
    for (uint32_t c = 0; c < WIDTH; c++) {
        double mean = 0, sum = 0, dw = 0, best = -1e30;
        uint32_t at = length - 1;
        for (uint32_t r = 0; r < length; r++)
            mean += in[r * WIDTH + c] / (double)length;
        for (uint32_t r = 0; r < length; r++) {
            const double z = in[r * WIDTH + c];
            const double y = position == VKS_POSITION_AVG ? z + (maps[c] - 1) * mean + maps[WIDTH + c]
                             : position == VKS_POSITION_ALL || r == length - 1 ? maps[c] * z + maps[WIDTH + c] : z;
            sum += y;
            at = kind == VKS_POOL_MAX && y > best ? r : at;
            best = y > best ? y : best;
            if (kind == VKS_POOL_LAST && r == length - 1)
                best = y;
        }
        const double want = kind == VKS_POOL_MEAN ? sum / length : best;
        EXPECT(t, fabs(pooled[c] - want) < 1e-5, "kind %d, position %d, length %u: %g, not %g", kind, position,
               length, pooled[c], want);
        // The gradient of each row of the mapped values, then what the map makes of it.
        double db = 0;
        for (uint32_t r = 0; r < length; r++) {
            const double dy = kind == VKS_POOL_MEAN ? seed[c] / (double)length : r == at ? seed[c] : 0;
            const bool mapped = position != VKS_POSITION_LAST || r == length - 1;
            db += mapped ? dy : 0;
            dw += mapped ? dy * (position == VKS_POSITION_AVG ? mean : in[r * WIDTH + c]) : 0;
        }
        EXPECT(t, fabs(rows[c] - dw) < 1e-5 && fabs(rows[WIDTH + c] - db) < 1e-5,
               "kind %d, position %d, length %u: dw %g, not %g; db %g, not %g", kind, position, length, rows[c], dw,
               rows[WIDTH + c], db);
        for (uint32_t r = 0; r < length; r++)
            EXPECT(t, isfinite(dx[r * WIDTH + c]), "kind %d, position %d, length %u: dx is not finite at row %u",
                   kind, position, length, r);
    }
}

static void pool_dynamic(struct test *t, enum vks_pool kind, enum vks_position position)
{
    const uint32_t tokens[] = {ROWS, WIDTH}, text[] = {1, ROWS, WIDTH}, row[] = {1, WIDTH}, flat[] = {2 * WIDTH};
    const uint32_t flat_rows[] = {1, 2 * WIDTH};
    struct pooling p = {0};
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    p.pooled = vks_storage_create(gpu, sizeof(float) * WIDTH);
    p.seed = vks_storage_create(gpu, sizeof(float) * WIDTH);
    p.maps = vks_storage_create(gpu, sizeof(float) * 2 * WIDTH);
    p.rows = vks_storage_create(gpu, sizeof(float) * 2 * WIDTH);
    CHECK(t, p.pooled && p.seed && p.maps && p.rows);
    p.x = vks_graph_input(&g, "x", VKS_F32, 2, tokens, true);
    struct vks_tensor *maps = vks_graph_state(&g, "maps", VKS_F32, 1, flat, p.maps, 0);
    struct vks_tensor *rows = vks_graph_state(&g, "rows", VKS_F32, 2, flat_rows, p.rows, 0);
    struct vks_tensor *z = vks_reshape(&g, vks_scale(&g, p.x, 1, 0), 3, text);
    CHECK(t, z && z->dynamic);
    z = vks_affine_map(&g, z, vks_graph_columns(&g, maps, 0, WIDTH), vks_graph_columns(&g, maps, WIDTH, WIDTH), NULL,
                       vks_graph_columns(&g, rows, 0, WIDTH), vks_graph_columns(&g, rows, WIDTH, WIDTH),
                       &(struct vks_affine){.position = position});
    vks_pool_rows(&g, z, NULL, vks_graph_state(&g, "pooled", VKS_F32, 2, row, p.pooled, 0),
                  vks_graph_state(&g, "seed", VKS_F32, 2, row, p.seed, 0), kind);
    CHECK(t, vks_graph_backward(&g, &(struct vks_backward){.wanted = &p.x, .gradients = &p.dx, .wanted_count = 1}));
    CHECK(t, p.dx);
    p.dx->keep = true;
    p.exec = vks_exec_create(&g, &(struct vks_exec_params){.gpu = gpu, .poison = true});
    CHECK(t, p.exec);
    const uint32_t lengths[] = {ROWS, 1, 16, 33};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        check_length(t, &p, kind, position, lengths[i]);
    vks_exec_destroy(&p.exec);
    vks_graph_finish(&g);
    struct vks_storage **storages[] = {&p.pooled, &p.seed, &p.maps, &p.rows};
    for (int i = 0; i < 4; i++)
        vks_storage_destroy(storages[i]);
}

static void pooling_follows_a_dynamic_length(struct test *t)
{
    for (int kind = 0; kind < 3; kind++)
        for (int position = 0; position < 3; position++)
            pool_dynamic(t, (enum vks_pool)kind, (enum vks_position)position);
}

// A text in steps through one recorded graph over caches, three tokens at a time and then one by one, and the same
// text at once: the same bits.
#define TEXT 11
#define HEADS 4
#define KV_HEADS 2
#define HEAD 6
#define CACHE 16

struct decoder {
    struct vks_graph graph;
    struct vks_tensor *q, *k, *v, *positions, *y;
    struct vks_exec *exec;
};

// caches: of k and v (1, CACHE, KV_HEADS * HEAD); NULL: a graph of the whole text.
static bool decoder_begin(struct test *t, struct decoder *d, uint32_t tokens, struct vks_storage *const caches[])
{
    const uint32_t q[] = {1, tokens, HEADS * HEAD}, k[] = {1, tokens, KV_HEADS * HEAD}, rows[] = {1, CACHE, k[2]};
    vks_graph_init(&d->graph, test_log(t));
    struct vks_graph *g = &d->graph;
    struct vks_tensor *keys = d->k = vks_graph_input(g, "k", VKS_F32, 3, k, false);
    struct vks_tensor *values = d->v = vks_graph_input(g, "v", VKS_F32, 3, k, false);
    d->q = vks_graph_input(g, "q", VKS_F32, 3, q, false);
    const struct vks_attention attrs = {.heads = HEADS, .kv_heads = KV_HEADS, .causal = true, .window = 7};
    if (caches) {
        d->positions = vks_graph_input(g, "positions", VKS_I32, 2, q, false);
        keys = vks_cache_rows(g, vks_graph_state(g, "keys", VKS_F32, 3, rows, caches[0], 0), keys, d->positions);
        values = vks_cache_rows(g, vks_graph_state(g, "values", VKS_F32, 3, rows, caches[1], 0), values,
                                d->positions);
    }
    d->y = caches ? vks_attention_cached(g, d->q, keys, values, d->positions, &attrs)
                  : vks_attention(g, d->q, keys, values, NULL, &attrs);
    if (!d->y)
        return false;
    d->y->keep = true;
    d->exec = vks_exec_create(g, &(struct vks_exec_params){.gpu = gpu, .poison = true});
    return d->exec != NULL;
}

// Tokens from `position` on; writes their rows of y.
static bool decoder_run(struct decoder *d, uint32_t position, float *y)
{
    const uint32_t tokens = d->q->shape[1];
    const int32_t positions[TEXT] = {(int32_t)position};
    float values[3][TEXT * HEADS * HEAD];
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t cols = i ? KV_HEADS * HEAD : HEADS * HEAD;
        for (uint32_t j = 0; j < tokens * cols; j++)
            values[i][j] = value(5000 * i + position * cols + j);
    }
    return (!d->positions || vks_exec_write(d->exec, d->positions, positions, 4 * tokens)) &&
           vks_exec_write(d->exec, d->q, values[0], 4 * vks_tensor_elements(d->q)) &&
           vks_exec_write(d->exec, d->k, values[1], 4 * vks_tensor_elements(d->k)) &&
           vks_exec_write(d->exec, d->v, values[2], 4 * vks_tensor_elements(d->v)) && vks_exec_run(d->exec, NULL) &&
           vks_exec_read(d->exec, d->y, y + position * HEADS * HEAD, 4 * vks_tensor_elements(d->y));
}

static void decoder_finish(struct decoder *d)
{
    vks_exec_destroy(&d->exec);
    vks_graph_finish(&d->graph);
}

static void a_cache_gives_the_bits_of_the_whole_text(struct test *t)
{
    static float whole[TEXT * HEADS * HEAD], steps[TEXT * HEADS * HEAD];
    struct decoder all = {0}, prompt = {0}, one = {0};
    struct vks_storage *caches[2];
    for (int i = 0; i < 2; i++) {
        caches[i] = vks_storage_create(gpu, sizeof(float) * CACHE * KV_HEADS * HEAD);
        CHECK(t, caches[i] && vks_storage_fill(caches[i], 0, sizeof(float) * CACHE * KV_HEADS * HEAD, 0));
    }
    CHECK(t, decoder_begin(t, &all, TEXT, NULL) && decoder_run(&all, 0, whole));
    CHECK(t, decoder_begin(t, &prompt, 3, caches) && decoder_begin(t, &one, 1, caches));
    CHECK(t, decoder_run(&prompt, 0, steps) && decoder_run(&prompt, 3, steps));
    for (uint32_t position = 6; position < TEXT; position++)
        CHECK(t, decoder_run(&one, position, steps));
    for (uint32_t i = 0; i < TEXT * HEADS * HEAD; i++)
        EXPECT(t, steps[i] == whole[i], "token %u: %g, not %g", i / (HEADS * HEAD), steps[i], whole[i]);
    decoder_finish(&all);
    decoder_finish(&prompt);
    decoder_finish(&one);
    vks_storage_destroy(&caches[0]);
    vks_storage_destroy(&caches[1]);
}

// A chain of n scales: its values can share a few places.
static struct vks_tensor *chain(struct vks_graph *g, struct vks_tensor *x, int n)
{
    for (int i = 0; i < n; i++)
        x = vks_add(g, vks_scale(g, x, 0.5f, 0.25f), x);
    return x;
}

static void dead_values_share_bytes(struct test *t)
{
    const uint32_t shape[] = {100, 100};
    struct vks_exec_plan shared, apart;
    for (int k = 0; k < 2; k++) {
        struct vks_graph g;
        vks_graph_init(&g, test_log(t));
        struct vks_tensor *y = chain(&g, vks_graph_input(&g, "x", VKS_F32, 2, shape, false), 20);
        y->keep = true;
        const struct vks_exec_params params = {.gpu = gpu, .no_alias = k == 1, .no_in_place = k == 1};
        CHECK(t, vks_exec_measure(&g, &params, k ? &apart : &shared));
        vks_graph_finish(&g);
    }
    EXPECT(t, shared.bytes <= 4 * 40448, "%llu bytes for a chain that needs three places",
           (unsigned long long)shared.bytes);
    EXPECT(t, apart.bytes >= 41 * 40000, "%llu bytes without sharing", (unsigned long long)apart.bytes);
    EXPECT(t, shared.dispatches == 40, "%u dispatches", shared.dispatches);
}

// y = x W' + silu(s V'), where W, V and s are steady: what is made of s alone is made once.
struct steady {
    struct vks_graph graph;
    struct vks_tensor *x, *s, *y;
    struct vks_exec *exec;
};

enum { STEADY_ROWS = 20, STEADY_IN = 12, STEADY_OUT = 24 };

static bool steady_begin(struct test *t, struct steady *steady, struct vks_storage *const weights[2],
                         const struct vks_exec_params *params)
{
    const uint32_t shape[] = {STEADY_ROWS, STEADY_IN}, matrix[] = {STEADY_OUT, STEADY_IN};
    struct vks_graph *g = &steady->graph;
    vks_graph_init(g, test_log(t));
    struct vks_tensor *w[2];
    for (int i = 0; i < 2; i++) {
        w[i] = vks_graph_state(g, "weight", VKS_F32, 2, matrix, weights[i], 0);
        if (w[i])
            w[i]->steady = true;
    }
    steady->x = vks_graph_input(g, "x", VKS_F32, 2, shape, false);
    steady->s = vks_graph_input(g, "s", VKS_F32, 2, shape, false);
    if (!steady->s)
        return false;
    steady->s->steady = true;
    steady->y = vks_add(g, vks_linear(g, steady->x, w[0], NULL),
                        vks_unary(g, vks_linear(g, steady->s, w[1], NULL), VKS_SILU));
    if (!steady->y)
        return false;
    steady->y->keep = true;
    steady->exec = vks_exec_create(g, params);
    return steady->exec != NULL;
}

static void steady_end(struct steady *steady)
{
    vks_exec_destroy(&steady->exec);
    vks_graph_finish(&steady->graph);
}

static bool steady_run(struct steady *steady, uint32_t x, uint32_t s, float y[STEADY_ROWS * STEADY_OUT])
{
    float in[2][STEADY_ROWS * STEADY_IN];
    for (uint32_t i = 0; i < STEADY_ROWS * STEADY_IN; i++) {
        in[0][i] = value(1000 * x + i);
        in[1][i] = value(7777 + 1000 * s + i);
    }
    return vks_exec_write(steady->exec, steady->x, in[0], sizeof(in[0])) &&
           vks_exec_write(steady->exec, steady->s, in[1], sizeof(in[1])) && vks_exec_run(steady->exec, NULL) &&
           vks_exec_read(steady->exec, steady->y, y, STEADY_ROWS * STEADY_OUT * sizeof(*y));
}

static void what_no_run_changes_is_made_once(struct test *t)
{
    const struct vks_exec_params variants[] = {
        {.gpu = gpu},
        {.gpu = gpu, .keep = 1 << 20},
        {.gpu = gpu, .keep = 1 << 20, .poison = true, .no_in_place = true},
        {.gpu = gpu, .keep = 1 << 20, .poison = true, .no_alias = true, .no_in_place = true},
        {.gpu = gpu, .keep = 1 << 20, .dispatch_seconds = 1e-9},
    };
    enum { VARIANTS = sizeof(variants) / sizeof(variants[0]), SIZE = STEADY_ROWS * STEADY_OUT };
    static float weight[STEADY_OUT * STEADY_IN], plain[SIZE], y[SIZE];
    struct vks_storage *weights[2] = {vks_storage_create(gpu, sizeof(weight)), vks_storage_create(gpu, sizeof(weight))};
    struct steady steady[VARIANTS] = {{.exec = NULL}}, guest = {.exec = NULL};
    for (uint32_t i = 0; i < STEADY_OUT * STEADY_IN; i++)
        weight[i] = value(i + 5);
    for (int i = 0; i < 2; i++)
        CHECK(t, weights[i] && vks_storage_write(weights[i], 0, weight, sizeof(weight)));
    for (int v = 0; v < VARIANTS; v++) {
        CHECK(t, steady_begin(t, &steady[v], weights, &variants[v]));
        const struct vks_exec_plan *plan = vks_exec_plan(steady[v].exec);
        EXPECT(t, (plan->kept_bytes > 0) == (v > 0) && plan->dispatches == 3, "variant %d keeps %llu bytes", v,
               (unsigned long long)plan->kept_bytes);
    }
    const uint32_t runs[][2] = {{0, 0}, {1, 0}, {2, 1}, {2, 1}, {2, 0}};
    for (size_t r = 0; r < sizeof(runs) / sizeof(runs[0]); r++)
        for (int v = 0; v < VARIANTS; v++) {
            CHECK(t, steady_run(&steady[v], runs[r][0], runs[r][1], v ? y : plain));
            EXPECT(t, !v || !memcmp(plain, y, sizeof(y)), "run %zu, variant %d: other bits", r, v);
        }
    // Who borrows its memory loses nothing of it but the inputs.
    struct vks_exec_params borrows = {.gpu = gpu, .lender = steady[1].exec, .keep = 1 << 20};
    CHECK(t, steady_begin(t, &guest, weights, &borrows));
    CHECK(t, steady_run(&guest, 3, 3, y) && steady_run(&steady[0], 4, 0, plain) && steady_run(&steady[1], 4, 0, y));
    EXPECT(t, !memcmp(plain, y, sizeof(y)), "other bits after the memory was lent");
    // It is indeed made once: with another V, which nobody may write, the old values stay until s is another.
    memset(weight, 0, sizeof(weight));
    CHECK(t, vks_storage_write(weights[1], 0, weight, sizeof(weight)));
    CHECK(t, steady_run(&steady[1], 4, 0, y));
    EXPECT(t, !memcmp(plain, y, sizeof(y)), "it was made again");
    CHECK(t, steady_run(&steady[0], 4, 2, plain) && steady_run(&steady[1], 4, 2, y));
    EXPECT(t, !memcmp(plain, y, sizeof(y)), "it was not made again");
    steady_end(&guest);
    for (int v = 0; v < VARIANTS; v++)
        steady_end(&steady[v]);
    for (int i = 0; i < 2; i++)
        vks_storage_destroy(&weights[i]);
}

// Large values do not take the place of small ones, and bytes that hold several values in turn are not kept.
static void as_much_is_kept_as_may_be(struct test *t)
{
    const uint64_t budgets[] = {0, 4 * 100, 4 * 100 + 4 * 10000 - 1, 4 * 100 + 4 * 10000, 1 << 20};
    const uint32_t small[] = {10, 10}, large[] = {100, 100};
    uint64_t kept[5];
    for (int k = 0; k < 5; k++) {
        struct vks_graph g;
        struct vks_exec_plan plan;
        vks_graph_init(&g, test_log(t));
        struct vks_tensor *a = vks_graph_input(&g, "a", VKS_F32, 2, large, false);
        struct vks_tensor *b = vks_graph_input(&g, "b", VKS_F32, 2, small, false);
        struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 2, large, false);
        a->steady = b->steady = true;
        struct vks_tensor *y = vks_add(&g, vks_scale(&g, a, 2, 1), x), *z = vks_scale(&g, b, 3, 1);
        y->keep = z->keep = true;
        CHECK(t, vks_exec_measure(&g, &(struct vks_exec_params){.gpu = gpu, .keep = budgets[k], .no_fuse = true},
                                  &plan));
        kept[k] = plan.kept_bytes;
        vks_graph_finish(&g);
    }
    EXPECT(t, kept[0] == 0 && kept[1] >= 400 && kept[1] < 40000 && kept[2] == kept[1] && kept[3] >= 40400 &&
              kept[4] == kept[3], "kept %llu, %llu, %llu, %llu, %llu bytes", (unsigned long long)kept[0],
           (unsigned long long)kept[1], (unsigned long long)kept[2], (unsigned long long)kept[3],
           (unsigned long long)kept[4]);
}

// In test mode nothing is left of a value once its last reader has run.
static void dead_values_are_poisoned_within_a_run(struct test *t)
{
    const uint32_t shape[] = {100, 100};
    static float in[100 * 100], out[100 * 100];
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 2, shape, false);
    struct vks_tensor *a = vks_scale(&g, x, 2, 0), *b = vks_scale(&g, a, 3, 0), *y = vks_scale(&g, b, 4, 0);
    y->keep = true;
    struct vks_exec *exec =
        vks_exec_create(&g, &(struct vks_exec_params){.gpu = gpu, .no_alias = true, .no_in_place = true,
                                                      .poison = true});
    CHECK(t, exec);
    for (uint32_t i = 0; i < 100 * 100; i++)
        in[i] = value(i);
    CHECK(t, vks_exec_write(exec, x, in, sizeof(in)) && vks_exec_run(exec, NULL));
    CHECK(t, vks_exec_read(exec, y, out, sizeof(out)));
    for (uint32_t i = 0; i < 100 * 100; i++)
        EXPECT(t, out[i] == 24 * in[i], "element %u is %g, not %g", i, out[i], 24 * in[i]);
    const struct vks_tensor *dead[] = {a, b};
    for (int k = 0; k < 2; k++) {
        CHECK(t, vks_exec_read(exec, dead[k], out, sizeof(out)));
        for (uint32_t i = 0; i < 100 * 100; i++)
            EXPECT(t, isnan(out[i]), "value %d outlives its reader: element %u is %g", k, i, out[i]);
    }
    CHECK(t, vks_exec_read(exec, x, out, sizeof(out)));
    EXPECT(t, memcmp(in, out, sizeof(in)) == 0, "the input is gone");
    vks_exec_destroy(&exec);
    vks_graph_finish(&g);
}

// Plans are measured and recorded from one graph as often as wanted.
static void one_graph_several_execs(struct test *t)
{
    const uint32_t shape[] = {10, 10};
    struct vks_exec_plan plan;
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_storage *storage = vks_storage_create(gpu, 10 * 10 * 4);
    struct vks_tensor *w = vks_graph_state(&g, "w", VKS_F32, 2, shape, storage, 0);
    struct vks_tensor *again = vks_graph_state(&g, "w", VKS_F32, 2, shape, storage, 0);
    struct vks_tensor *y = vks_add(&g, vks_scale(&g, w, 2, 0), again);
    y->keep = true;
    for (int k = 0; k < 3; k++) {
        struct vks_exec *exec = vks_exec_create(&g, &(struct vks_exec_params){.gpu = gpu});
        CHECK(t, exec && vks_exec_run(exec, NULL));
        vks_exec_destroy(&exec);
        CHECK(t, vks_exec_measure(&g, &(struct vks_exec_params){.gpu = gpu}, &plan));
        EXPECT(t, plan.state_bytes == vks_storage_size(storage), "%llu bytes of states",
               (unsigned long long)plan.state_bytes);
    }
    vks_graph_finish(&g);
    vks_storage_destroy(&storage);
}

static void what_nobody_reads_is_left_out(struct test *t)
{
    const uint32_t shape[] = {10, 10};
    struct vks_exec_plan plan;
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 2, shape, false);
    struct vks_tensor *y = chain(&g, x, 2);
    chain(&g, y, 5);
    y->keep = true;
    CHECK(t, vks_exec_measure(&g, &(struct vks_exec_params){.gpu = gpu}, &plan));
    EXPECT(t, plan.dispatches == 4, "%u dispatches, not 4", plan.dispatches);
    vks_graph_finish(&g);
}

// A block as models have it: the residual sum goes into the product before it, the activation into the map.
static void nodes_are_joined(struct test *t)
{
    const uint32_t shape[] = {16, 16}, row[] = {16};
    struct vks_exec_plan plans[2];
    struct vks_storage *zeros = vks_storage_create(gpu, 1024);
    for (int alone = 0; alone < 2; alone++) {
        struct vks_graph g;
        vks_graph_init(&g, test_log(t));
        struct vks_tensor *w = vks_graph_state(&g, "w", VKS_F32, 2, shape, zeros, 0);
        struct vks_tensor *b = vks_graph_state(&g, "b", VKS_F32, 1, row, zeros, 0);
        struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 2, shape, false);
        struct vks_tensor *h = vks_unary(&g, vks_affine_map(&g, x, b, b, NULL, NULL, NULL, &(struct vks_affine){0}),
                                         VKS_SILU);
        struct vks_tensor *shared = vks_linear(&g, h, w, b), *y = vks_add(&g, x, shared);
        y = vks_add(&g, y, vks_linear(&g, shared, w, NULL));  // what two nodes read stays
        y->keep = true;
        CHECK(t, vks_exec_measure(&g, &(struct vks_exec_params){.gpu = gpu, .no_fuse = alone}, &plans[alone]));
        vks_graph_finish(&g);
    }
    EXPECT(t, plans[0].dispatches == 4 && plans[1].dispatches == 6, "%u dispatches, not 4, and %u, not 6, alone",
           plans[0].dispatches, plans[1].dispatches);
    vks_storage_destroy(&zeros);
}

static void independent_work_needs_no_barrier(struct test *t)
{
    const uint32_t shape[] = {16, 16};
    struct vks_exec_plan plan;
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 2, shape, false);
    struct vks_tensor *a = vks_scale(&g, x, 2, 0), *b = vks_scale(&g, x, 3, 0);
    struct vks_tensor *y = vks_add(&g, a, b);
    y->keep = true;
    CHECK(t, vks_exec_measure(&g, &(struct vks_exec_params){.gpu = gpu, .no_in_place = true}, &plan));
    EXPECT(t, plan.barriers == 1, "%u barriers, not 1", plan.barriers);
    vks_graph_finish(&g);
}

// Gradient of a three-segment network, kept and recomputed: the same bits, fewer bytes.
static bool gradient_of(struct test *t, bool recompute, float out[64 * 64], uint64_t *bytes)
{
    const uint32_t shape[] = {64, 64};
    float in[64 * 64];
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 2, shape, false), *y = x;
    for (uint32_t segment = 1; segment <= 4; segment++) {
        g.segment = segment;
        for (int i = 0; i < 6; i++)
            y = vks_unary(&g, vks_scale(&g, y, 1.1f, 0.1f), i % 2 ? VKS_GELU : VKS_SILU);
    }
    g.segment = 0;
    struct vks_tensor *dy = vks_graph_input(&g, "dy", VKS_F32, 2, shape, false), *dx = NULL;
    const bool ok = vks_graph_backward(&g, &(struct vks_backward){
        .outputs = &y, .output_gradients = &dy, .output_count = 1, .wanted = &x, .gradients = &dx, .wanted_count = 1,
        .recompute = recompute});
    if (!ok || !dx)
        return false;
    dx->keep = true;
    struct vks_exec *exec = vks_exec_create(&g, &(struct vks_exec_params){.gpu = gpu});
    for (uint32_t i = 0; i < 64 * 64; i++)
        in[i] = value(i);
    const bool run = exec && vks_exec_write(exec, x, in, sizeof(in)) && vks_exec_write(exec, dy, in, sizeof(in)) &&
                     vks_exec_run(exec, NULL) && vks_exec_read(exec, dx, out, sizeof(in));
    if (run)
        *bytes = vks_exec_plan(exec)->bytes;
    vks_exec_destroy(&exec);
    vks_graph_finish(&g);
    return run;
}

static void recomputation_keeps_the_bits(struct test *t)
{
    static float kept[64 * 64], again[64 * 64];
    uint64_t kept_bytes, again_bytes;
    CHECK(t, gradient_of(t, false, kept, &kept_bytes));
    CHECK(t, gradient_of(t, true, again, &again_bytes));
    CHECK(t, memcmp(kept, again, sizeof(kept)) == 0);
    EXPECT(t, again_bytes < 0.7 * (double)kept_bytes, "%llu bytes recomputed, %llu kept",
           (unsigned long long)again_bytes, (unsigned long long)kept_bytes);
}

static void a_failed_graph_says_so_once(struct test *t)
{
    const uint32_t a[] = {3, 4}, b[] = {5, 7};
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 2, a, false);
    struct vks_tensor *z = vks_graph_input(&g, "z", VKS_F32, 2, b, false);
    t->messages = 0;
    struct vks_tensor *y = vks_multiply(&g, x, z);
    y = vks_unary(&g, vks_add(&g, y, x), VKS_TANH);
    CHECK(t, !y && g.failed && t->messages == 1);
    EXPECT(t, strstr(t->message, "x (3, 4)") && strstr(t->message, "z (5, 7)"), "shapes missing");
    CHECK(t, vks_exec_create(&g, &(struct vks_exec_params){.gpu = gpu}) == NULL && t->messages == 1);
    t->message[0] = 0;
    vks_graph_finish(&g);
}

// Each of these is refused in one line that names what is wrong.
static void attention_and_rope_refuse_what_does_not_fit(struct test *t)
{
    const uint32_t q[] = {2, 5, 24}, k[] = {2, 7, 12}, few[] = {2, 3, 12}, odd[] = {2, 5, 5}, wide[] = {2, 5, 8};
    static const struct refusal {
        struct vks_attention attrs;
        bool few;           // three keys in place of seven
        bool cached;
        const char *says;
    } refusals[] = {
        {{.heads = 5, .kv_heads = 5}, false, false, "heads"},               // 24 channels
        {{.heads = 4}, false, false, "heads"},                              // k is half as wide
        {{.heads = 3, .kv_heads = 2}, false, false, "heads"},
        {{.heads = 4, .kv_heads = 2, .window = 3}, false, false, "causal"},
        {{.heads = 4, .kv_heads = 2}, false, true, "causal"},
        {{.heads = 4, .kv_heads = 2, .causal = true}, true, false, "more causal queries"},
        {{.heads = 4, .kv_heads = 2, .causal = true, .keys = 8}, false, true, "8 rows"},
        {{.heads = 4, .kv_heads = 2, .causal = true, .keys = 6}, false, false, "6 rows"},
        {{.heads = 4, .kv_heads = 2, .softcap = -1}, false, false, "cap"},
    };
    const uint32_t count = sizeof(refusals) / sizeof(refusals[0]);
    for (uint32_t i = 0; i < count + 3; i++) {
        struct vks_graph g;
        vks_graph_init(&g, test_log(t));
        t->messages = 0;
        struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 3, q, false), *y;
        const bool short_keys = i < count && refusals[i].few;
        struct vks_tensor *keys = vks_graph_input(&g, "keys", VKS_F32, 3, short_keys ? few : k, false);
        const uint32_t *angles = i == count ? odd : wide;            // five of a head of six, eight of one
        struct vks_tensor *positions = vks_graph_input(&g, "positions", VKS_I32, 2, q, false);
        if (i < count && refusals[i].cached)
            y = vks_attention_cached(&g, x, keys, keys, positions, &refusals[i].attrs);
        else if (i < count)
            y = vks_attention(&g, x, keys, keys, NULL, &refusals[i].attrs);
        else if (i < count + 2)
            y = vks_rope(&g, x, vks_graph_input(&g, "angles", VKS_F32, 3, angles, false), 4);
        else
            y = vks_cache_rows(&g, keys, x, positions);
        const char *says = i < count ? refusals[i].says : i < count + 2 ? "cosines" : "cache";
        EXPECT(t, !y && g.failed && t->messages == 1 && strstr(t->message, says), "case %u: %d messages: %s", i,
               t->messages, t->message);
        vks_graph_finish(&g);
    }
    t->message[0] = 0;
}

// Columns of a wide state: where an operator takes them they give the bits of a dense copy, elsewhere they are
// refused.
static void a_view_of_columns_is_read_as_one_or_refused(struct test *t)
{
    const uint32_t wide[] = {6, 20}, narrow[] = {6, 8}, in[] = {3, 8}, flat[] = {48};
    float all[6 * 20], dense[6 * 8], x[3 * 8], y[2][3 * 6];
    for (uint32_t i = 0; i < 6 * 20; i++)
        all[i] = value(i);
    for (uint32_t i = 0; i < 6 * 8; i++)
        dense[i] = all[i / 8 * 20 + 5 + i % 8];
    for (uint32_t i = 0; i < 3 * 8; i++)
        x[i] = value(300 + i);
    struct vks_storage *storages[] = {vks_storage_create(gpu, sizeof(all)), vks_storage_create(gpu, sizeof(dense))};
    CHECK(t, vks_storage_write(storages[0], 0, all, sizeof(all)));
    CHECK(t, vks_storage_write(storages[1], 0, dense, sizeof(dense)));
    for (int k = 0; k < 5; k++) {
        struct vks_graph g;
        vks_graph_init(&g, test_log(t));
        struct vks_tensor *state = vks_graph_state(&g, "wide", VKS_F32, 2, wide, storages[0], 0);
        struct vks_tensor *view = vks_graph_columns(&g, state, 5, 8);
        struct vks_tensor *input = vks_graph_input(&g, "x", VKS_F32, 2, in, false);
        if (k < 2) {
            view = k ? vks_graph_state(&g, "dense", VKS_F32, 2, narrow, storages[1], 0) : view;
            struct vks_tensor *product = vks_linear(&g, input, view, NULL);
            CHECK(t, product);
            product->keep = true;
            struct vks_exec *exec = vks_exec_create(&g, &(struct vks_exec_params){.gpu = gpu});
            CHECK(t, exec && vks_exec_write(exec, input, x, sizeof(x)) && vks_exec_run(exec, NULL));
            CHECK(t, vks_exec_read(exec, product, y[k], sizeof(y[k])));
            vks_exec_destroy(&exec);
        } else {
            CHECK_REFUSED(t, k == 2 ? vks_scale(&g, view, 2, 0) : k == 3 ? vks_reshape(&g, view, 1, flat)
                                                                         : vks_linear(&g, view, state, NULL),
                          "wide (6, 8), is a view");
        }
        vks_graph_finish(&g);
    }
    EXPECT(t, memcmp(y[0], y[1], sizeof(y[0])) == 0, "a weight that is a view gives other bits than a dense one");
    vks_storage_destroy(&storages[0]);
    vks_storage_destroy(&storages[1]);
}

// One row, or all columns, lie as a dense tensor does.
static void a_view_that_is_dense_is_taken(struct test *t)
{
    const uint32_t row[] = {1, 20}, rows[] = {6, 20};
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *one = vks_graph_state(&g, "row", VKS_F32, 2, row, NULL, 0);
    struct vks_tensor *all = vks_graph_state(&g, "all", VKS_F32, 2, rows, NULL, 0);
    CHECK(t, vks_scale(&g, vks_graph_columns(&g, one, 5, 8), 2, 0));
    CHECK(t, vks_scale(&g, vks_graph_columns(&g, all, 0, 20), 2, 0));
    vks_graph_finish(&g);
}

static void an_unused_slot_needs_a_written_one(struct test *t)
{
    const uint32_t shape[] = {4};
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 1, shape, false);
    struct vks_emitter emitter = {.graph = &g, .limits = *vks_gpu_limits(gpu)};
    const struct vks_operand operands[] = {{x, VKS_READ, 0, 0}, {x, VKS_READ, 0, 0}, {NULL, 0, 0, 0}};
    const struct vks_push_flat push = {4};
    CHECK_REFUSED(t, vks_emit(&emitter, VKS_K_unary, operands, 3, &push, sizeof(push), vks_groups_1d(4, 64)), "slot");
    free(emitter.dispatches);
    vks_graph_finish(&g);
}

static void a_tensor_without_bytes_is_one_line(struct test *t)
{
    const uint32_t shape[] = {4};
    float out[4];
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 1, shape, false);
    struct vks_tensor *unread = vks_scale(&g, x, 2, 0), *y = vks_scale(&g, x, 3, 0);
    y->keep = true;
    struct vks_exec *exec = vks_exec_create(&g, &(struct vks_exec_params){.gpu = gpu});
    CHECK(t, exec);
    CHECK_REFUSED(t, vks_exec_read(exec, unread, out, sizeof(out)), "has no bytes");
    CHECK_REFUSED(t, vks_exec_read(exec, y, out, 3), "a copy of 3 bytes");
    vks_exec_destroy(&exec);
    vks_graph_finish(&g);
}

static void too_little_memory_is_one_line(struct test *t)
{
    struct test inner = {0};
    struct vks_gpu *small = vks_gpu_create(&(struct vks_gpu_params){.log = test_log(&inner), .memory = 20 << 20});
    CHECK(t, small);
    const uint32_t shape[] = {4096, 4096};
    struct vks_graph g;
    vks_graph_init(&g, test_log(&inner));
    struct vks_tensor *y = vks_scale(&g, vks_graph_input(&g, "x", VKS_F32, 2, shape, false), 2, 0);
    y->keep = true;
    inner.messages = 0;
    CHECK(t, vks_exec_create(&g, &(struct vks_exec_params){.gpu = small}) == NULL);
    EXPECT(t, inner.messages == 1 && strstr(inner.message, "--memory") &&
              strstr(inner.message, "needs 128 MiB, and of the 20 MiB that may be used 19 are left"),
           "%d messages: %s", inner.messages, inner.message);
    uint64_t peak;
    vks_gpu_allocated(small, &peak);
    EXPECT(t, peak <= 16 << 20, "%llu bytes were allocated for a plan that does not fit", (unsigned long long)peak);
    vks_graph_finish(&g);
    // What fits between the storages that are there is taken, although the budget is spent.
    vks_graph_init(&g, test_log(&inner));
    const uint32_t little[] = {1024, 512};
    struct vks_storage *first = vks_storage_create(small, 4096), *rest = vks_storage_create(small, 4 << 20);
    y = vks_scale(&g, vks_graph_input(&g, "x", VKS_F32, 2, little, false), 2, 0);
    y->keep = true;
    struct vks_exec *exec = first && rest ? vks_exec_create(&g, &(struct vks_exec_params){.gpu = small}) : NULL;
    EXPECT(t, exec, "a plan that fits is refused: %s", inner.message);
    vks_exec_destroy(&exec);
    vks_graph_finish(&g);
    vks_storage_destroy(&first);
    vks_storage_destroy(&rest);
    vks_gpu_destroy(&small);
}

int main(void)
{
    struct test t = {0};
    gpu = test_device_open();
    if (!gpu)
        return 1;
    TEST(&t, one_graph_at_several_lengths);
    TEST(&t, dynamic_work_is_cut_by_time);
    TEST(&t, dead_values_share_bytes);
    TEST(&t, what_no_run_changes_is_made_once);
    TEST(&t, as_much_is_kept_as_may_be);
    TEST(&t, dead_values_are_poisoned_within_a_run);
    TEST(&t, one_graph_several_execs);
    TEST(&t, pooling_follows_a_dynamic_length);
    TEST(&t, a_cache_gives_the_bits_of_the_whole_text);
    TEST(&t, what_nobody_reads_is_left_out);
    TEST(&t, nodes_are_joined);
    TEST(&t, independent_work_needs_no_barrier);
    TEST(&t, recomputation_keeps_the_bits);
    TEST(&t, a_failed_graph_says_so_once);
    TEST(&t, attention_and_rope_refuse_what_does_not_fit);
    TEST(&t, a_view_of_columns_is_read_as_one_or_refused);
    TEST(&t, a_view_that_is_dense_is_taken);
    TEST(&t, an_unused_slot_needs_a_written_one);
    TEST(&t, a_tensor_without_bytes_is_one_line);
    TEST(&t, too_little_memory_is_one_line);
    return test_device_summary(&t, &gpu);
}
