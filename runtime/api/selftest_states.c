// The self-test of the operators that work on states: maps, pooling, sort, loss, optimisers, caches.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/selftest.h"
#include "base/half.h"
#include "exec/backward.h"
#include "exec/exec.h"
#include "shaders/push.h"

#define MOST_STATES 12

// A graph with states of its own.
struct bed {
    struct vks_gpu *gpu;
    struct vks_graph graph;
    struct vks_storage *storages[MOST_STATES];
    size_t count;
    uint32_t step[VKS_STEP_WORDS];
    uint64_t random;
    bool ok;
};

static void bed_init(struct bed *bed, struct vks_gpu *gpu)
{
    *bed = (struct bed){.gpu = gpu, .random = 11, .ok = true};
    vks_graph_init(&bed->graph, vks_gpu_log(gpu));
}

static void bed_finish(struct bed *bed)
{
    vks_graph_finish(&bed->graph);
    for (size_t i = 0; i < bed->count; i++)
        vks_storage_destroy(&bed->storages[i]);
}

// Values in [-1, 1).
static void draw(struct bed *bed, float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bed->random = bed->random * 6364136223846793005u + 1442695040888963407u;
        values[i] = (float)((double)(bed->random >> 33) / 1073741824.0 - 1);
    }
}

static struct vks_tensor *state(struct bed *bed, enum vks_dtype dtype, uint32_t rank, const uint32_t shape[],
                                const void *data)
{
    uint64_t size = vks_dtype_size(dtype);
    for (uint32_t i = 0; i < rank; i++)
        size *= shape[i];
    struct vks_storage *storage = bed->count < MOST_STATES ? vks_storage_create(bed->gpu, size) : NULL;
    bed->ok = bed->ok && storage && (data ? vks_storage_write(storage, 0, data, size)
                                          : vks_storage_fill(storage, 0, size, 0));
    if (!storage)
        return NULL;
    bed->storages[bed->count++] = storage;
    return vks_graph_state(&bed->graph, "state", dtype, rank, shape, storage, 0);
}

static void step_float(struct bed *bed, uint32_t word, float value)
{
    memcpy(&bed->step[word], &value, sizeof(value));
}

// Runs once and reads up to four tensors.
static bool run(struct bed *bed, struct vks_tensor *input, const float *data, struct vks_tensor *const tensors[],
                void *const out[], size_t count)
{
    struct vks_exec *exec = NULL;
    if (bed->ok && !bed->graph.failed)
        exec = vks_exec_create(&bed->graph, &(struct vks_exec_params){.gpu = bed->gpu});
    bool ok = exec && (!input || vks_exec_write(exec, input, data, 4 * vks_tensor_elements(input))) &&
              vks_exec_run(exec, bed->step);
    for (size_t i = 0; i < count && ok; i++)
        ok = vks_exec_read(exec, tensors[i], out[i], 4 * vks_tensor_elements(tensors[i]));
    vks_exec_destroy(&exec);
    return ok;
}

static double compare(const float *a, const double *b, size_t count)
{
    double most = 0, largest = 1e-12;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(a[i]))
            return INFINITY;
        most = fmax(most, fabs(a[i] - b[i]));
        largest = fmax(largest, fabs(b[i]));
    }
    return most / largest;
}

bool vks_selftest_steering(struct vks_gpu *gpu, double *error)
{
    enum { B = 3, T = 19, C = 21, SLOT = 2 };
    const double strength = 0.75;
    const uint32_t shape[] = {B, T, C}, flat[] = {C}, rows[] = {B, C};
    static float z[B * T * C], w[C], b[C], seed[B * C], got_pooled[B * C], got_dw[B * C], got_db[B * C];
    static double pooled[B * C], dw[B * C], db[B * C];
    struct bed bed;
    bed_init(&bed, gpu);
    draw(&bed, z, B * T * C);
    draw(&bed, w, C);
    draw(&bed, b, C);
    draw(&bed, seed, B * C);
    step_float(&bed, VKS_STEP_STRENGTH + SLOT, (float)strength);
    struct vks_tensor *tz = vks_graph_input(&bed.graph, "z", VKS_F32, 3, shape, false);
    struct vks_tensor *tdw = state(&bed, VKS_F32, 2, rows, NULL), *tdb = state(&bed, VKS_F32, 2, rows, NULL);
    struct vks_tensor *tw = state(&bed, VKS_F32, 1, flat, w), *tb = state(&bed, VKS_F32, 1, flat, b);
    struct vks_tensor *tp = state(&bed, VKS_F32, 2, rows, NULL), *tg = state(&bed, VKS_F32, 2, rows, seed);
    struct vks_tensor *y = vks_affine_map(&bed.graph, tz, tw, tb, NULL, tdw, tdb,
                                          &(struct vks_affine){.strength = SLOT});
    vks_pool_rows(&bed.graph, y, NULL, tp, tg, VKS_POOL_MEAN);
    bed.ok = bed.ok && vks_graph_backward(&bed.graph, &(struct vks_backward){0});
    struct vks_tensor *const tensors[] = {tp, tdw, tdb};
    void *const out[] = {got_pooled, got_dw, got_db};
    const bool ran = run(&bed, tz, z, tensors, out, 3);
    for (int s = 0; s < B; s++)
        for (int c = 0; c < C; c++) {
            const int i = s * C + c;
            pooled[i] = dw[i] = 0;
            for (int t = 0; t < T; t++) {
                const double value = z[(s * T + t) * C + c];
                pooled[i] += ((1 + strength * (w[c] - 1.0)) * value + strength * b[c]) / T;
                dw[i] += strength * value * seed[i] / T;
            }
            db[i] = strength * seed[i];
        }
    bed_finish(&bed);
    if (ran)
        *error = fmax(compare(got_pooled, pooled, B * C),
                      fmax(compare(got_dw, dw, B * C), compare(got_db, db, B * C)));
    return ran && *error < 1e-5;
}

static bool sort_case(struct vks_gpu *gpu, uint32_t rows, uint32_t cols, double *error)
{
    const uint32_t shape[] = {rows, cols}, one = 1;
    const size_t count = (size_t)rows * cols;
    float *x = malloc(count * sizeof(*x)), *sorted = malloc(count * sizeof(*sorted));
    int32_t *order = malloc(count * sizeof(*order));
    struct vks_tensor *ts = NULL, *tp = NULL;
    struct bed bed;
    bed_init(&bed, gpu);
    bool ok = x && sorted && order;
    if (ok) {
        draw(&bed, x, count);
        for (size_t i = 0; i < count; i++)
            x[i] = roundf(20 * x[i]);  // many ties
        struct vks_tensor *tx = vks_graph_input(&bed.graph, "x", VKS_F32, 2, shape, false);
        ok = vks_sort_columns(&bed.graph, tx, state(&bed, VKS_I32, 1, &one, NULL), &ts, &tp);
        if (ok)
            ts->keep = tp->keep = true;
        struct vks_tensor *const tensors[] = {ts, tp};
        void *const out[] = {sorted, order};
        ok = ok && run(&bed, tx, x, tensors, out, 2);
    }
    // Ascending, each value from where the permutation says, ties in their old order.
    size_t wrong = 0;
    for (size_t i = 0; i < count && ok; i++) {
        const bool inside = order[i] >= 0 && (uint32_t)order[i] < rows;
        wrong += !inside || sorted[i] != x[(size_t)order[i] * cols + i % cols];
        if (i >= cols)
            wrong += sorted[i] < sorted[i - cols] || (sorted[i] == sorted[i - cols] && order[i] <= order[i - cols]);
    }
    bed_finish(&bed);
    free(x);
    free(sorted);
    free(order);
    if (ok)
        *error = (double)wrong;
    return ok && wrong == 0;
}

bool vks_selftest_sort(struct vks_gpu *gpu, double *error)
{
    double small = INFINITY, large = INFINITY;
    const bool short_ok = sort_case(gpu, 37, 50, &small), long_ok = sort_case(gpu, 1500, 3, &large);
    *error = fmax(small, large);
    return short_ok && long_ok;
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

bool vks_selftest_wasserstein(struct vks_gpu *gpu, double *error)
{
    enum { B = 8, N = 12, D = 9 };
    static float x[B * D], v[D * N], target[N * D], scale[D], loss[D], weights[B + N];
    static int32_t pairs[2 * (B + N)];
    static double wanted[D];
    const uint32_t dense[] = {B, D}, goal[] = {N, D}, flat[] = {D}, one = 1;
    const uint32_t count = vks_quantile_coupling(B, N, pairs, weights), pair_shape[] = {count, 2};
    struct vks_tensor *ts, *tp;
    struct bed bed;
    bed_init(&bed, gpu);
    draw(&bed, x, B * D);
    draw(&bed, v, D * N);
    for (int d = 0; d < D; d++) {
        float column[B];
        qsort(v + d * N, N, sizeof(*v), by_value);
        for (int j = 0; j < N; j++)
            target[j * D + d] = v[d * N + j];
        for (int i = 0; i < B; i++)
            column[i] = x[i * D + d];
        qsort(column, B, sizeof(*column), by_value);
        scale[d] = 1 + (float)d;
        wanted[d] = 0;
        for (uint32_t k = 0; k < count; k++) {
            const double gap = (double)column[pairs[2 * k]] - v[d * N + pairs[2 * k + 1]];
            wanted[d] += scale[d] * weights[k] * gap * gap;
        }
    }
    struct vks_tensor *tx = vks_graph_input(&bed.graph, "x", VKS_F32, 2, dense, false);
    vks_sort_columns(&bed.graph, tx, state(&bed, VKS_I32, 1, &one, NULL), &ts, &tp);
    struct vks_tensor *tl = vks_wasserstein(
        &bed.graph, ts, tp, state(&bed, VKS_F32, 2, goal, target), state(&bed, VKS_I32, 2, pair_shape, pairs),
        state(&bed, VKS_F32, 1, &count, weights), state(&bed, VKS_F32, 1, flat, scale),
        state(&bed, VKS_F32, 2, dense, NULL), 2);
    if (tl)
        tl->keep = true;
    void *const out[] = {loss};
    const bool ran = tl && run(&bed, tx, x, &tl, out, 1);
    bed_finish(&bed);
    if (ran)
        *error = compare(loss, wanted, D);
    return ran && *error < 1e-5;
}

enum { ROWS = 5, COLS = 150 };

struct optimiser_bed {
    struct bed bed;
    struct vks_tensor *param, *grad;
    float start[COLS], got[COLS];
    double sums[COLS];
};

static void optimiser_init(struct optimiser_bed *o, struct vks_gpu *gpu)
{
    static float rows[ROWS * COLS];
    const uint32_t shape[] = {ROWS, COLS}, flat[] = {COLS};
    bed_init(&o->bed, gpu);
    draw(&o->bed, rows, ROWS * COLS);
    draw(&o->bed, o->start, COLS);
    for (int c = 0; c < COLS; c++) {
        o->sums[c] = 0;
        for (int r = 0; r < ROWS; r++)
            o->sums[c] += rows[r * COLS + c];
    }
    o->param = state(&o->bed, VKS_F32, 1, flat, o->start);
    o->grad = state(&o->bed, VKS_F32, 1, flat, NULL);
    vks_sum_rows(&o->bed.graph, state(&o->bed, VKS_F32, 2, shape, rows), o->grad);
}

static bool optimiser_finish(struct optimiser_bed *o, const double *wanted, double *error)
{
    void *const out[] = {o->got};
    const bool ran = run(&o->bed, NULL, NULL, &o->param, out, 1);
    bed_finish(&o->bed);
    if (ran)
        *error = compare(o->got, wanted, COLS);
    return ran && *error < 1e-5;
}

static double soft(double x, double threshold)
{
    return x > threshold ? x - threshold : x < -threshold ? x + threshold : 0;
}

bool vks_selftest_adam(struct vks_gpu *gpu, double *error)
{
    static struct optimiser_bed o;
    const double lr = 0.03, tau = 0.2, bias = 1 - 0.9;
    double wanted[COLS];
    const uint32_t flat[] = {COLS}, bounds_shape[] = {2};
    const int32_t bounds[] = {0, COLS};
    optimiser_init(&o, gpu);
    step_float(&o.bed, VKS_STEP_LR, (float)lr);
    step_float(&o.bed, VKS_STEP_BIAS1, (float)bias);
    step_float(&o.bed, VKS_STEP_BIAS2, (float)bias);
    step_float(&o.bed, VKS_STEP_TAU, (float)tau);
    vks_adam(&o.bed.graph, o.param, o.grad, state(&o.bed, VKS_F32, 1, flat, NULL),
             state(&o.bed, VKS_F32, 1, flat, NULL), &(struct vks_adam){0.9f, 0.9f, 1e-8f});
    vks_prox(&o.bed.graph, o.param, state(&o.bed, VKS_I32, 1, bounds_shape, bounds),
             &(struct vks_prox){.center = 1, .lambda1 = 1});
    for (int c = 0; c < COLS; c++) {
        // After one step m / bias = g and v / bias = g g.
        const double moved = o.start[c] - lr * o.sums[c] / (fabs(o.sums[c]) + 1e-8);
        wanted[c] = 1 + soft(moved - 1, tau);
    }
    return optimiser_finish(&o, wanted, error);
}

bool vks_selftest_sgd(struct vks_gpu *gpu, double *error)
{
    static struct optimiser_bed o;
    const double lr = 0.1, tau = 0.02;
    double wanted[COLS];
    const uint32_t bounds_shape[] = {3};
    const int32_t bounds[] = {0, 40, COLS};
    optimiser_init(&o, gpu);
    step_float(&o.bed, VKS_STEP_LR, (float)lr);
    step_float(&o.bed, VKS_STEP_TAU, (float)tau);
    vks_sgd(&o.bed.graph, o.param, o.grad);
    vks_prox(&o.bed.graph, o.param, state(&o.bed, VKS_I32, 1, bounds_shape, bounds),
             &(struct vks_prox){.lambda1 = 1, .lambda_group = 1});
    for (int c = 0; c < COLS; c++)
        wanted[c] = soft(o.start[c] - lr * o.sums[c], tau);
    for (int group = 0; group < 2; group++) {
        double norm = 0;
        for (int c = bounds[group]; c < bounds[group + 1]; c++)
            norm += wanted[c] * wanted[c];
        const double shrink = fmax(1 - tau * sqrt(bounds[group + 1] - bounds[group]) / sqrt(norm), 0);
        for (int c = bounds[group]; c < bounds[group + 1]; c++)
            wanted[c] *= shrink;
    }
    return optimiser_finish(&o, wanted, error);
}

static bool cache_trial(struct vks_gpu *gpu, enum vks_dtype dtype, double *error)
{
    enum { B = 2, T = 3, KEPT = 9, AT = 4, HEADS = 4, KV_HEADS = 2, D = 8, C = KV_HEADS * D, Q = HEADS * D };
    const uint32_t shape_q[] = {B, T, Q}, shape_x[] = {B, T, C}, shape_cache[] = {B, KEPT, C};
    static const int32_t positions[B * T] = {[0] = AT, [T] = AT - 1};
    static float q[B * T * Q], x[B * T * C], cache[B * KEPT * C], got[B * T * Q];
    static uint16_t halves[B * KEPT * C];
    static double want[B * T * Q];
    struct bed bed;
    bed_init(&bed, gpu);
    draw(&bed, q, B * T * Q);
    draw(&bed, x, B * T * C);
    draw(&bed, cache, B * KEPT * C);
    vks_f16_from_f32_array(halves, cache, B * KEPT * C);
    struct vks_tensor *tq = vks_graph_input(&bed.graph, "q", VKS_F32, 3, shape_q, false);
    struct vks_tensor *at = state(&bed, VKS_I32, 2, shape_x, positions);
    struct vks_tensor *kv = vks_cache_rows(
        &bed.graph, state(&bed, dtype, 3, shape_cache, dtype == VKS_F16 ? (const void *)halves : cache),
        state(&bed, VKS_F32, 3, shape_x, x), at);
    struct vks_tensor *y = vks_attention_cached(&bed.graph, tq, kv, kv, at, &(struct vks_attention){
        .heads = HEADS, .kv_heads = KV_HEADS, .causal = true});
    if (y)
        y->keep = true;
    const bool ran = run(&bed, tq, q, &y, (void *[]){got}, 1);
    for (int i = 0; i < B * T * C && dtype == VKS_F16; i++)
        x[i] = vks_f32_from_f16(vks_f16_from_f32(x[i]));
    for (int i = 0; i < B * KEPT * C && dtype == VKS_F16; i++)
        cache[i] = vks_f32_from_f16(halves[i]);
    for (int i = 0; i < B * T * HEADS; i++) {
        const int b = i / (T * HEADS), t = i / HEADS % T, before = positions[b * T];
        const int first = i % HEADS / (HEADS / KV_HEADS) * D;
        double sum = 0, *out = &want[i * D];
        memset(out, 0, D * sizeof(*out));
        for (int j = 0; j <= before + t; j++) {
            const float *row = (j < before ? &cache[(b * KEPT + j) * C] : &x[(b * T + j - before) * C]) + first;
            double p = 0;
            for (int d = 0; d < D; d++)
                p += q[i * D + d] * row[d] / sqrt(D);
            sum += p = exp(p);
            for (int d = 0; d < D; d++)
                out[d] += p * row[d];
        }
        for (int d = 0; d < D; d++)
            out[d] /= sum;
    }
    *error = ran ? compare(got, want, B * T * Q) : INFINITY;
    bed_finish(&bed);
    return *error <= 1e-5;
}

bool vks_selftest_cache(struct vks_gpu *gpu, double *error)
{
    double halves = 0;
    const bool ok = cache_trial(gpu, VKS_F32, error) && cache_trial(gpu, VKS_F16, &halves);
    *error = fmax(*error, halves);
    return ok;
}
