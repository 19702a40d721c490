// How fast a device is at single operators: matrix products of fixed and of the model's own shapes, sort, attention.
#include "api/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "exec/backward.h"

#define MOST_RUNS 15
#define MOST_SHAPES 96
#define BUDGET 0.4  // seconds of runs of one graph, at least three

static bool wants(const struct vks_bench *bench, const char *name)
{
    const char *what = bench->params->what;
    return !what || strcmp(what, "all") == 0 || strcmp(what, name) == 0;
}

bool vks_bench_stopped(const struct vks_bench *bench)
{
    return bench->params->stop && bench->params->stop(bench->params->priv);
}

void vks_bench_report(const struct vks_bench *bench, struct vksteer_bench_row row, double seconds, double flop)
{
    row.ms = 1e3 * seconds;
    row.gflops = flop > 0 && seconds > 0 ? flop / seconds / 1e9 : 0;
    row.count = row.count ? row.count : 1;
    bench->params->row(bench->params->priv, &row);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double vks_bench_median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return count ? values[count / 2] : 0;
}

// Median seconds of a run of the graph, without the first, at which drivers compile; `batch` as in vks_exec_params.
// Negative: failed.
static double time_graph(const struct vks_bench *bench, struct vks_graph *graph, uint32_t batch)
{
    double times[MOST_RUNS];
    size_t count = 0;
    struct vks_exec *exec = vks_exec_create(graph, &(struct vks_exec_params){
        .gpu = bench->session->gpu, .batch = batch, .direct = bench->tuning});
    bool ok = exec && vks_exec_run(exec, NULL);
    const double start = vks_os_seconds();
    const double budget = bench->tuning ? BUDGET / 4 : BUDGET;
    while (ok && count < MOST_RUNS && (count < 3 || vks_os_seconds() - start < budget) && !vks_bench_stopped(bench)) {
        const double from = vks_os_seconds();
        ok = vks_exec_run(exec, NULL);
        times[count++] = vks_os_seconds() - from;
    }
    vks_exec_destroy(&exec);
    const double middle = vks_bench_median(times, count);  // sorts
    return !ok || !count ? -1 : bench->tuning ? times[0] : middle;
}

// Storage of `elements` elements of small numbers that are none of fp16's or bf16's special cases.
static struct vks_storage *numbers(const struct vks_bench *bench, enum vks_dtype dtype, uint64_t elements)
{
    const uint32_t word = dtype == VKS_F32 ? 0x3e99999a : dtype == VKS_F16 ? 0x34cd34cd : 0x3e9a3e9a;  // about 0.3
    const uint64_t size = (elements * vks_dtype_size(dtype) + 15) / 16 * 16;
    struct vks_storage *storage = vks_storage_create(bench->session->gpu, size);
    if (storage && !vks_storage_fill(storage, 0, size, word))
        vks_storage_destroy(&storage);
    return storage;
}

// ---- matrix products and convolutions -----------------------------------------------------------------------------

// y from x, or dx from dy, of one layer. False: does not fit or the graph failed.
static bool build_layer(struct vks_graph *graph, const struct vks_bench_layer *s, struct vks_storage *weights,
                        bool gradient, double *flop, struct vksteer_bench_row *row)
{
    uint64_t elements = 1;
    for (uint32_t i = 0; i < s->w_rank; i++)
        elements *= s->w[i];
    struct vks_tensor *x = vks_graph_input(graph, "x", VKS_F32, s->x_rank, s->x, false);
    struct vks_tensor *w = vks_graph_state(graph, "w", s->dtype, s->w_rank, s->w, weights, 0);
    struct vks_tensor *y = s->w_rank == 2 ? vks_linear(graph, x, w, NULL) : vks_conv2d(graph, x, w, NULL, &s->conv);
    if (!y)
        return false;
    row->m = (uint32_t)vks_tensor_rows(y);
    row->n = s->w[0];
    row->k = (uint32_t)(elements / s->w[0]);
    *flop = 2.0 * row->m * row->n * row->k;
    if (!gradient) {
        y->keep = true;
        return true;
    }
    struct vks_tensor *dy = vks_graph_input(graph, "dy", VKS_F32, y->rank, y->shape, false), *dx = NULL;
    const struct vks_backward backward = {
        .outputs = &y, .output_gradients = &dy, .output_count = 1, .wanted = &x, .gradients = &dx, .wanted_count = 1};
    if (!dy || !vks_graph_backward(graph, &backward) || !dx)
        return false;
    dx->keep = true;
    return true;
}

double vks_bench_time_layer(const struct vks_bench *bench, const struct vks_bench_layer *s, bool gradient,
                            double *flop, struct vksteer_bench_row *row)
{
    struct vks_graph graph;
    uint64_t elements = 1;
    for (uint32_t i = 0; i < s->w_rank; i++)
        elements *= s->w[i];
    struct vks_storage *weights = numbers(bench, s->dtype, elements);
    vks_graph_init(&graph, bench->log);
    const bool built = weights && build_layer(&graph, s, weights, gradient, flop, row);
    const double seconds = built ? time_graph(bench, &graph, s->x[0]) : -1;
    vks_graph_finish(&graph);
    vks_storage_destroy(&weights);
    return seconds;
}

static bool time_layer(const struct vks_bench *bench, const struct vks_bench_layer *s, const char *name,
                       bool gradient)
{
    static const char *const types[] = {"f32", "f16", "bf16", "i32"};
    struct vksteer_bench_row row = {.type = types[s->dtype], .what = s->name, .count = s->count, .name = name};
    double flop = 0;
    const double seconds = vks_bench_time_layer(bench, s, gradient, &flop, &row);
    if (seconds >= 0)
        vks_bench_report(bench, row, seconds, flop);
    return seconds >= 0;
}

static bool same_shape(const struct vks_bench_layer *a, const struct vks_bench_layer *b)
{
    return strcmp(a->op, b->op) == 0 && memcmp(a->x, b->x, sizeof(a->x)) == 0 &&
           memcmp(a->w, b->w, sizeof(a->w)) == 0 && memcmp(&a->conv, &b->conv, sizeof(a->conv)) == 0;
}

// The distinct layers of a graph, with how often each is there.
static size_t collect_shapes(const struct vks_graph *graph, struct vks_bench_layer *shapes, size_t capacity)
{
    size_t count = 0;
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct vks_node *node = graph->nodes[i];
        const bool linear = strcmp(node->op->name, "linear") == 0, conv = strcmp(node->op->name, "conv2d") == 0;
        if (!linear && !conv)
            continue;
        const struct vks_tensor *x = node->inputs[0], *w = node->inputs[1];
        struct vks_bench_layer s = {.op = node->op->name, .name = w->name, .dtype = w->dtype, .x_rank = x->rank,
                                    .w_rank = w->rank, .count = 1};
        memcpy(s.x, x->shape, sizeof(s.x));
        memcpy(s.w, w->shape, sizeof(s.w));
        memset(s.x + x->rank, 0, (VKS_MAX_RANK - x->rank) * sizeof(*s.x));
        memset(s.w + w->rank, 0, (VKS_MAX_RANK - w->rank) * sizeof(*s.w));
        if (conv && node->attrs_size >= sizeof(s.conv))
            memcpy(&s.conv, node->attrs, sizeof(s.conv));
        size_t at = 0;
        while (at < count && !same_shape(&shapes[at], &s))
            at++;
        if (at < count)
            shapes[at].count++;
        else if (count < capacity)
            shapes[count++] = s;
    }
    return count;
}

// The name of a parameter as its file keeps it.
static const char *weight_name(const vksteer_model *model, const char *name)
{
    const struct vks_pipeline *pipeline = model->pipeline;
    const struct vks_weight *weight = pipeline ? NULL : vks_weights_find(model->decoder->weights, name);
    for (uint32_t i = 0; pipeline && !weight && i < pipeline->part_count; i++)
        weight = vks_weights_find(pipeline->parts[i].weights, name);
    return weight ? weight->name : NULL;
}

// The UNet of a training step, and the sites of the model.
static struct vks_api_subject *trial_subject(const struct vks_bench *bench)
{
    static const char *const prompt = "a cat";
    const struct vks_api_subject_params params = {
        .prompts = {&prompt, &prompt},
        .counts = {1, 1},
        .length = bench->model->decoder ? vks_api_text_length(bench->model) : 0,
    };
    return vks_api_subject_create(bench->model, &params);
}

struct vks_bench_layer *vks_bench_layers(const struct vks_bench *bench, size_t *count)
{
    struct vks_graph graph;
    void *inputs;
    struct vks_bench_layer *shapes = calloc(MOST_SHAPES, sizeof(*shapes));
    if (!shapes)
        return vks_fail_null(bench->log, VKS_NO_MEMORY);
    struct vks_api_subject *subject = trial_subject(bench);
    vks_graph_init(&graph, bench->log);
    const struct vks_subject *s = subject ? vks_api_subject(subject) : NULL;
    if (s && s->build(s->priv, &graph, bench->model->info.train_batch, 0, &inputs)) {
        *count = collect_shapes(&graph, shapes, MOST_SHAPES);
        // Names and shapes outlive the graph: they are the weights' and the arrays' own.
        for (size_t i = 0; i < *count; i++)
            shapes[i].name = weight_name(bench->model, shapes[i].name);
    } else {
        free(shapes);
        shapes = NULL;
    }
    vks_graph_finish(&graph);
    vks_api_subject_destroy(&subject);
    return shapes;
}

static bool bench_model_layers(const struct vks_bench *bench)
{
    size_t count = 0;
    struct vks_bench_layer *shapes = vks_bench_layers(bench, &count);
    bool ok = shapes != NULL;
    for (size_t i = 0; i < count && ok && !vks_bench_stopped(bench); i++) {
        char name[32];
        snprintf(name, sizeof(name), "%s_dx", shapes[i].op);
        ok = time_layer(bench, &shapes[i], shapes[i].op, false) && time_layer(bench, &shapes[i], name, true);
    }
    free(shapes);
    return ok;
}

static bool bench_matmul(const struct vks_bench *bench)
{
    static const uint32_t sizes[] = {256, 512, 1024};
    bool ok = true;
    for (size_t i = 0; i < 3 && ok && !vks_bench_stopped(bench); i++) {
        const uint32_t n = sizes[i];
        char what[32];
        snprintf(what, sizeof(what), "%u cubed", n);
        const struct vks_bench_layer s = {
            .op = "linear", .name = what, .x = {n, n}, .w = {n, n}, .x_rank = 2, .w_rank = 2};
        ok = time_layer(bench, &s, "matmul", false) && time_layer(bench, &s, "matmul_dx", true);
    }
    return ok && (!bench->model || vks_bench_stopped(bench) || bench_model_layers(bench));
}

// ---- few rows: the products of a language model that generates ----------------------------------------------------

#define ROWS_BYTES ((uint64_t)32 << 20)  // of weights that a graph reads, so that they come from memory
#define ROWS_COPIES 32

// `copies` products of m rows, each with weights of its own.
static bool build_rows(struct vks_graph *graph, enum vks_quant_type type, uint32_t m, uint32_t n, uint32_t k,
                       struct vks_storage *weights, uint32_t copies)
{
    const bool dense = type == VKS_QUANT_F16;
    const uint32_t x_shape[] = {m, k}, w_shape[] = {n, dense ? k : vks_packed_words(type, k)};
    struct vks_tensor *x = vks_graph_input(graph, "x", VKS_F32, 2, x_shape, false);
    for (uint32_t i = 0; i < copies; i++) {
        struct vks_tensor *w = vks_graph_state(graph, "w", dense ? VKS_F16 : VKS_I32, 2, w_shape, weights,
                                               (uint64_t)i * n * w_shape[1]);
        struct vks_tensor *y = dense ? vks_linear(graph, x, w, NULL)
                                     : vks_linear_packed(graph, x, w, &(struct vks_packed){type, k});
        if (!y)
            return false;
        y->keep = true;
    }
    return true;
}

static bool time_rows(const struct vks_bench *bench, enum vks_quant_type type, uint32_t m, uint32_t n, uint32_t k)
{
    struct vks_graph graph;
    const uint64_t bytes = type == VKS_QUANT_F16 ? 2 * (uint64_t)n * k : 4 * (uint64_t)n * vks_packed_words(type, k);
    const uint64_t most = ROWS_BYTES / bytes;
    const uint32_t copies = most < 1 ? 1 : most > ROWS_COPIES ? ROWS_COPIES : (uint32_t)most;
    // Halves of 0.00024, also where blocks have their scales.
    struct vks_storage *weights = vks_storage_create(bench->session->gpu, copies * bytes);
    vks_graph_init(&graph, bench->log);
    const bool built = weights && vks_storage_fill(weights, 0, copies * bytes, 0x0c000c00) &&
                       build_rows(&graph, type, m, n, k, weights, copies);
    const double seconds = built ? time_graph(bench, &graph, 1) : -1;
    vks_graph_finish(&graph);
    vks_storage_destroy(&weights);
    if (seconds < 0)
        return false;
    vks_bench_report(bench, (struct vksteer_bench_row){
        .name = "rows", .type = type == VKS_QUANT_F16 ? "f16" : vks_quant(type)->name, .m = m, .n = n, .k = k,
        .gbytes = (double)bytes * copies / seconds / 1e9}, seconds / copies, 2.0 * m * n * k);
    return true;
}

// The matrices of SmolLM2 135M, for one token and for one of each of 8 texts.
static bool bench_rows(const struct vks_bench *bench)
{
    static const uint32_t shapes[][2] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {49152, 576}};
    static const enum vks_quant_type types[] = {VKS_QUANT_Q4_1, VKS_QUANT_Q8_0, VKS_QUANT_F16};
    bool ok = true;
    for (size_t t = 0; t < sizeof(types) / sizeof(*types); t++)
        for (uint32_t m = 1; m <= 8; m *= 8)
            for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes) && ok && !vks_bench_stopped(bench); i++)
                ok = time_rows(bench, types[t], m, shapes[i][0], shapes[i][1]);
    return ok;
}

// ---- sort and attention -------------------------------------------------------------------------------------------

static bool bench_sort(const struct vks_bench *bench)
{
    static const uint32_t shapes[][2] = {{4, 294080}, {16, 65536}, {32, 65536}, {64, 65536}, {65536, 16}};
    bool ok = true;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes) && ok && !vks_bench_stopped(bench); i++) {
        struct vks_graph graph;
        struct vks_tensor *sorted, *permutation;
        const uint32_t one = 1;
        struct vks_storage *storage = numbers(bench, VKS_F32, 16);
        vks_graph_init(&graph, bench->log);
        struct vks_tensor *x = vks_graph_input(&graph, "x", VKS_F32, 2, shapes[i], false);
        struct vks_tensor *flag = storage ? vks_graph_state(&graph, "flag", VKS_I32, 1, &one, storage, 0) : NULL;
        ok = vks_sort_columns(&graph, x, flag, &sorted, &permutation);
        if (ok)
            sorted->keep = permutation->keep = true;
        const double seconds = ok ? time_graph(bench, &graph, 1) : -1;
        vks_graph_finish(&graph);
        vks_storage_destroy(&storage);
        ok = seconds >= 0;
        if (ok)
            vks_bench_report(bench, (struct vksteer_bench_row){.name = "sort", .type = "f32", .m = shapes[i][0],
                   .n = shapes[i][1]}, seconds, 0);
    }
    return ok;
}

static bool bench_attention(const struct vks_bench *bench)
{
    // Queries, keys, channels.
    static const uint32_t shapes[][3] = {{256, 256, 96}, {256, 32, 96}, {1024, 1024, 320}};
    bool ok = true;
    for (size_t i = 0; i < 3 && ok && !vks_bench_stopped(bench); i++) {
        struct vks_graph graph;
        const uint32_t q[] = {1, shapes[i][0], shapes[i][2]}, k[] = {1, shapes[i][1], shapes[i][2]};
        vks_graph_init(&graph, bench->log);
        struct vks_tensor *y = vks_attention(&graph, vks_graph_input(&graph, "q", VKS_F32, 3, q, false),
                                             vks_graph_input(&graph, "k", VKS_F32, 3, k, false),
                                             vks_graph_input(&graph, "v", VKS_F32, 3, k, false), NULL,
                                             &(struct vks_attention){.heads = 8});
        if (y)
            y->keep = true;
        const double seconds = y ? time_graph(bench, &graph, 1) : -1;
        vks_graph_finish(&graph);
        ok = seconds >= 0;
        if (ok)
            vks_bench_report(bench, (struct vksteer_bench_row){
                .name = "attention", .type = "f32", .m = q[1], .n = k[1], .k = q[2],
                .what = "queries x keys x channels, 8 heads"}, seconds, 4.0 * q[1] * k[1] * q[2]);
    }
    return ok;
}

// ---- all of it ----------------------------------------------------------------------------------------------------

bool vksteer_bench(vksteer_session *session, vksteer_model *model, const struct vksteer_bench_params *params)
{
    const struct vks_bench bench = {session, model, &session->bridge.log, params, false};
    if (wants(&bench, "matmul") && !bench_matmul(&bench))
        return false;
    if (wants(&bench, "rows") && !bench_rows(&bench))
        return false;
    if (wants(&bench, "sort") && !vks_bench_stopped(&bench) && !bench_sort(&bench))
        return false;
    if (wants(&bench, "attention") && !vks_bench_stopped(&bench) && !bench_attention(&bench))
        return false;
    if (model && wants(&bench, "train") && !vks_bench_stopped(&bench) && !vks_bench_train(&bench))
        return false;
    return !model || !wants(&bench, "apply") || vks_bench_stopped(&bench) || !model->pipeline ||
           !model->pipeline->has_decoder ||
           vks_bench_apply(&bench);
}
