#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/hash.h"
#include "exec/backward.h"
#include "exec/exec.h"

#define GUARD 64          // elements before and after every state
#define MAX_ITEMS 32
#define MAX_CASES 4096
#define GUARD_WORD 0x7fc0babeu

// Settings under which the same seed must give the same bits.
static const struct setting {
    const char *name;
    struct vks_exec_params params;
} settings[] = {
    {"plain", {0}},
    {"apart", {.no_alias = true, .no_in_place = true, .no_fuse = true, .poison = true}},
    {"64 KiB bindings", {.max_range = 64 << 10, .poison = true}},
    {"1 ms submissions", {.dispatch_seconds = 1e-3}},
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

struct state {
    struct vks_tensor *tensor;
    struct vks_storage *storage;
    uint32_t lead;        // guard elements before
    uint64_t elements;
    void *data;           // in the tensor's dtype
};

struct item {             // an input to write, or a tensor to compare
    struct vks_tensor *tensor;
    const void *data;
    const double *expected;
    const int32_t *expected_i32;
    double tolerance;
    bool gradient;
};

struct check {
    struct vks_gpu *gpu;
    const char *family;
    uint64_t seed, random;
    const struct setting *setting;
    struct vks_arena arena;
    struct vks_graph graph;
    char name[256];
    bool running;         // a case is being built
    struct state states[MAX_ITEMS];
    struct item inputs[MAX_ITEMS], expects[MAX_ITEMS];
    struct vks_tensor *outputs[4], *output_gradients[4];
    uint32_t state_count, input_count, expect_count, output_count;
    uint32_t step[VKS_STEP_WORDS];
    uint32_t case_index;
    uint64_t hashes[MAX_CASES];
    int passed, failed;
    bool case_failed;
};

static void complain(struct check *c, const char *format, ...) VKS_PRINTF(2, 3);
static void complain(struct check *c, const char *format, ...)
{
    char why[512];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    if (!c->case_failed)
        printf("FAIL %s: %s (%s): %s  [--only %s --seed %llu]\n", c->family, c->name, c->setting->name, why,
               c->family, (unsigned long long)c->seed);
    c->case_failed = true;
}

static void print_log(void *priv, enum vks_log_level level, const char *message)
{
    (void)priv;
    fprintf(stderr, "%s%s\n", level == VKS_LOG_ERROR ? "error: " : level == VKS_LOG_WARN ? "warning: " : "", message);
}

static const struct vks_log test_log = {.print = print_log, .level = VKS_LOG_INFO};

// ---- values ------------------------------------------------------------------------------------------------------

static uint64_t next(struct check *c)  // splitmix64
{
    uint64_t z = c->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t check_random(struct check *c, uint32_t below)
{
    return (uint32_t)((next(c) >> 32) * below >> 32);
}

static double uniform(struct check *c)
{
    return (double)(next(c) >> 11) * 0x1p-53 + 0x1p-54;
}

void *check_alloc(struct check *c, uint64_t count, uint64_t size)
{
    void *memory = vks_arena_alloc(&c->arena, count * size + 1);
    if (!memory)
        exit((fprintf(stderr, "out of memory\n"), 1));
    return memory;
}

double *check_values(struct check *c, uint64_t count, enum check_fill fill)
{
    static const float hostile[] = {0, -0.0f, 1e3f, -1e3f, 1e-6f, -1e-6f, 1, -1, 1, 0.5f, 1e-3f, -7};
    double *values = check_alloc(c, count, sizeof(*values));
    for (uint64_t i = 0; i < count; i++)
        switch (fill) {
        case CHECK_NORMAL:
            values[i] = (float)(sqrt(-2 * log(uniform(c))) * cos(6.283185307179586 * uniform(c)));
            break;
        case CHECK_UNIFORM:
            values[i] = (float)(0.5 + uniform(c));
            break;
        case CHECK_HOSTILE:
            values[i] = hostile[check_random(c, sizeof(hostile) / sizeof(hostile[0]))];
            break;
        }
    return values;
}

// ---- building a case ---------------------------------------------------------------------------------------------

static void finish_case(struct check *c)
{
    for (uint32_t i = 0; i < c->state_count; i++)
        vks_storage_destroy(&c->states[i].storage);
    c->state_count = c->input_count = c->expect_count = c->output_count = 0;
    vks_graph_finish(&c->graph);
    c->running = false;
}

struct vks_graph *check_begin(struct check *c, const char *format, ...)
{
    if (c->running) {
        complain(c, "the case before this one was built but never run");
        finish_case(c);
    }
    va_list args;
    va_start(args, format);
    vsnprintf(c->name, sizeof(c->name), format, args);
    va_end(args);
    c->case_failed = false;
    c->running = true;
    memset(c->step, 0, sizeof(c->step));
    vks_graph_init(&c->graph, &test_log);
    return &c->graph;
}

static struct item *add_item(struct check *c, struct item *items, uint32_t *count)
{
    if (*count == MAX_ITEMS)
        exit((fprintf(stderr, "%s: more than %d tensors in a case\n", c->name, MAX_ITEMS), 1));
    return &items[(*count)++];
}

static float *to_float(struct check *c, const double *data, uint64_t count)
{
    float *floats = check_alloc(c, count, sizeof(*floats));
    for (uint64_t i = 0; i < count; i++)
        floats[i] = (float)data[i];
    return floats;
}

static uint64_t elements_of(uint32_t rank, const uint32_t shape[])
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < rank; i++)
        count *= shape[i];
    return count;
}

struct vks_tensor *check_input(struct check *c, const char *name, const double *data, uint32_t rank,
                               const uint32_t shape[])
{
    struct vks_tensor *tensor = vks_graph_input(&c->graph, name, VKS_F32, rank, shape, false);
    *add_item(c, c->inputs, &c->input_count) =
        (struct item){.tensor = tensor, .data = to_float(c, data, elements_of(rank, shape))};
    return tensor;
}

struct vks_tensor *check_input_i32(struct check *c, const char *name, const int32_t *data, uint32_t rank,
                                   const uint32_t shape[])
{
    struct vks_tensor *tensor = vks_graph_input(&c->graph, name, VKS_I32, rank, shape, false);
    *add_item(c, c->inputs, &c->input_count) = (struct item){.tensor = tensor, .data = data};
    return tensor;
}

static struct vks_tensor *add_state(struct check *c, const char *name, void *data, enum vks_dtype dtype,
                                    uint32_t rank, const uint32_t shape[])
{
    if (c->state_count == MAX_ITEMS)
        exit((fprintf(stderr, "%s: more than %d states in a case\n", c->name, MAX_ITEMS), 1));
    struct state *state = &c->states[c->state_count++];
    const size_t size = vks_dtype_size(dtype);
    // States of one axis start anywhere, as columns of flat arrays do; packed halves at whole words.
    *state = (struct state){
        .lead = GUARD + (rank == 1 && size == 4 ? check_random(c, 8) : 0),
        .elements = elements_of(rank, shape),
        .data = data,
    };
    const uint64_t bytes = (state->lead + state->elements + GUARD) * size;
    state->storage = vks_storage_create(c->gpu, bytes);
    if (!state->storage || !vks_storage_fill(state->storage, 0, vks_storage_size(state->storage), GUARD_WORD) ||
        !vks_storage_write(state->storage, state->lead * size, data, state->elements * size))
        complain(c, "no storage for %s", name);
    state->tensor = vks_graph_state(&c->graph, name, dtype, rank, shape, state->storage, state->lead);
    return state->tensor;
}

struct vks_tensor *check_state(struct check *c, const char *name, double *data, enum vks_dtype dtype, uint32_t rank,
                               const uint32_t shape[])
{
    const uint64_t count = elements_of(rank, shape);
    if (dtype == VKS_F32)
        return add_state(c, name, to_float(c, data, count), dtype, rank, shape);
    uint16_t *halves = check_alloc(c, count, sizeof(*halves));
    for (uint64_t i = 0; i < count; i++) {
        halves[i] = dtype == VKS_F16 ? vks_f16_from_f32((float)data[i]) : vks_bf16_from_f32((float)data[i]);
        data[i] = dtype == VKS_F16 ? vks_f32_from_f16(halves[i]) : vks_f32_from_bf16(halves[i]);
    }
    return add_state(c, name, halves, dtype, rank, shape);
}

struct vks_tensor *check_state_i32(struct check *c, const char *name, const int32_t *data, uint32_t rank,
                                   const uint32_t shape[])
{
    const uint64_t count = elements_of(rank, shape);
    int32_t *copy = check_alloc(c, count, sizeof(*copy));
    memcpy(copy, data, count * sizeof(*copy));
    return add_state(c, name, copy, VKS_I32, rank, shape);
}

void check_step_float(struct check *c, uint32_t word, float value)
{
    memcpy(&c->step[word], &value, sizeof(value));
}

void check_step_uint(struct check *c, uint32_t word, uint32_t value)
{
    c->step[word] = value;
}

void check_expect(struct check *c, struct vks_tensor *tensor, const double *expected, double tolerance)
{
    if (tensor)
        tensor->keep = true;
    *add_item(c, c->expects, &c->expect_count) =
        (struct item){.tensor = tensor, .expected = expected, .tolerance = tolerance};
}

void check_expect_i32(struct check *c, struct vks_tensor *tensor, const int32_t *expected)
{
    if (tensor)
        tensor->keep = true;
    *add_item(c, c->expects, &c->expect_count) = (struct item){.tensor = tensor, .expected_i32 = expected};
}

void check_backward(struct check *c, struct vks_tensor *y, const double *dy)
{
    if (!y || c->output_count == 4)
        return;
    c->outputs[c->output_count] = y;
    c->output_gradients[c->output_count++] = check_input(c, "dy", dy, y->rank, y->shape);
}

void check_expect_gradient(struct check *c, struct vks_tensor *x, const double *expected, double tolerance)
{
    *add_item(c, c->expects, &c->expect_count) =
        (struct item){.tensor = x, .expected = expected, .tolerance = tolerance, .gradient = true};
}

struct vks_tensor *check_plus(struct check *c, struct vks_tensor *y, double *expected)
{
    const uint64_t before = c->random, count = y ? vks_tensor_elements(y) : 0;
    const uint32_t kind = check_random(c, 4);
    const double *values = check_values(c, count, CHECK_NORMAL);
    c->random = before;  // the rest of the check sees the same numbers with and without
    if (!y || kind < 2)
        return y;
    struct vks_tensor *other = check_input(c, "summand", values, y->rank, y->shape);
    for (uint64_t i = 0; i < count; i++)
        expected[i] += values[i];
    return kind == 2 ? vks_add(&c->graph, y, other) : vks_add(&c->graph, other, y);
}

void check_branch(struct check *c, struct vks_tensor *x, double *dx)
{
    const uint64_t before = c->random, count = x ? vks_tensor_elements(x) : 0;
    const bool wanted = check_random(c, 2);
    const double *values = check_values(c, count, CHECK_NORMAL);
    c->random = before;
    if (!x || !wanted)
        return;
    check_backward(c, vks_scale(&c->graph, x, 1, 0), values);
    for (uint64_t i = 0; i < count; i++)
        dx[i] += values[i];
}

// ---- running a case ----------------------------------------------------------------------------------------------

static bool differentiate(struct check *c)
{
    struct vks_tensor *wanted[MAX_ITEMS], *gradients[MAX_ITEMS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->expect_count; i++)
        if (c->expects[i].gradient)
            wanted[count++] = c->expects[i].tensor;
    const struct vks_backward params = {
        .outputs = c->outputs,
        .output_gradients = c->output_gradients,
        .output_count = c->output_count,
        .wanted = wanted,
        .gradients = gradients,
        .wanted_count = count,
    };
    // As LinEAS does it: nodes are joined before gradients are built; the tensors that the case names stay.
    for (uint32_t i = 0; i < count; i++)
        wanted[i]->keep = true;
    for (uint32_t i = 0; i < c->output_count; i++)
        c->outputs[i]->keep = true;
    if ((!c->setting->params.no_fuse && !vks_graph_fuse(&c->graph)) || !vks_graph_backward(&c->graph, &params))
        return false;
    count = 0;
    for (uint32_t i = 0; i < c->expect_count; i++)
        if (c->expects[i].gradient) {
            struct vks_tensor *gradient = gradients[count++];
            if (!gradient) {
                complain(c, "no gradient reaches %s", vks_tensor_text(&c->graph, c->expects[i].tensor));
                return false;
            }
            gradient->keep = true;
            c->expects[i].tensor = gradient;
        }
    return true;
}

static void compare(struct check *c, const struct item *item, const void *data)
{
    const uint64_t count = vks_tensor_elements(item->tensor);
    const char *name = vks_tensor_text(&c->graph, item->tensor);
    if (item->expected_i32) {
        const int32_t *got = data;
        for (uint64_t i = 0; i < count; i++)
            if (got[i] != item->expected_i32[i]) {
                complain(c, "%s[%llu] = %d, not %d", name, (unsigned long long)i, got[i], item->expected_i32[i]);
                return;
            }
        return;
    }
    const float *got = data;
    double largest = 0, worst = 0;
    uint64_t at = 0;
    bool nan = false;
    for (uint64_t i = 0; i < count; i++) {
        const double error = fabs(got[i] - item->expected[i]);
        if (fabs(item->expected[i]) > largest)
            largest = fabs(item->expected[i]);
        if (!(error <= worst)) {
            worst = error;
            at = i;
            nan |= isnan(error);
        }
        if (nan)
            break;
    }
    if (nan || worst > item->tolerance * (largest > 0 ? largest : 1))
        complain(c, "%s%s[%llu] = %.9g, not %.9g (error %.2e of %.2e)", item->gradient ? "gradient " : "", name,
                 (unsigned long long)at, got[at], item->expected[at], worst / (largest > 0 ? largest : 1),
                 item->tolerance);
}

static bool guards_hold(const struct state *state)
{
    const size_t size = vks_dtype_size(state->tensor->dtype);
    uint32_t words[GUARD + 8];
    const uint64_t before = state->lead * size / 4 * 4, behind = (state->lead + state->elements) * size;
    vks_storage_read(state->storage, 0, words, before);
    for (uint64_t i = 0; i < before / 4; i++)
        if (words[i] != GUARD_WORD)
            return false;
    const uint64_t from = (behind + 3) / 4 * 4;
    vks_storage_read(state->storage, from, words, GUARD * size / 4 * 4 - (from - behind) / 4 * 4 - 4);
    for (uint64_t i = 0; i < (GUARD * size - 4) / 4; i++)
        if (words[i] != GUARD_WORD)
            return false;
    return true;
}

static void run_case(struct check *c)
{
    if (c->output_count && !differentiate(c)) {
        complain(c, "backward could not be built");
        return;
    }
    struct vks_exec_params params = c->setting->params;
    params.gpu = c->gpu;
    const unsigned messages = vks_gpu_validation_messages(c->gpu);
    struct vks_exec *exec = vks_exec_create(&c->graph, &params);
    bool ok = exec != NULL;
    for (uint32_t i = 0; i < c->input_count && ok; i++)
        ok = vks_exec_write(exec, c->inputs[i].tensor, c->inputs[i].data,
                            vks_tensor_elements(c->inputs[i].tensor) * 4);
    ok = ok && vks_exec_run(exec, c->step);
    struct vks_hash hash;
    vks_hash_init(&hash, 0);
    for (uint32_t i = 0; i < c->expect_count && ok; i++) {
        const bool halves = c->expects[i].tensor->dtype == VKS_F16;
        const uint64_t count = vks_tensor_elements(c->expects[i].tensor), size = count * (halves ? 2 : 4);
        void *data = check_alloc(c, size, 1);
        float *floats = halves ? check_alloc(c, count, sizeof(*floats)) : data;
        ok = vks_exec_read(exec, c->expects[i].tensor, data, size);
        if (ok && halves)
            vks_f32_from_f16_array(floats, data, count);
        if (ok) {
            compare(c, &c->expects[i], floats);
            vks_hash_add(&hash, data, size);
        }
    }
    if (!ok)
        complain(c, "could not be run");
    for (uint32_t i = 0; i < c->state_count && ok; i++)
        if (!guards_hold(&c->states[i]))
            complain(c, "a guard band of %s was written", vks_tensor_text(&c->graph, c->states[i].tensor));
    const uint64_t value = vks_hash_value(&hash);
    if (ok && c->case_index < MAX_CASES) {
        if (c->setting == settings)
            c->hashes[c->case_index] = value;
        else if (c->hashes[c->case_index] != value)
            complain(c, "other bits than in the plain run");
    }
    vks_exec_destroy(&exec);
    if (vks_gpu_validation_messages(c->gpu) > messages)
        complain(c, "the validation layers object");
}

bool check_run(struct check *c)
{
    if (!c->case_failed)
        run_case(c);
    c->case_index++;
    c->case_failed ? c->failed++ : c->passed++;
    const bool ok = !c->case_failed;
    finish_case(c);
    return ok;
}

void check_true(struct check *c, bool ok, const char *format, ...)
{
    if (c->setting != settings)
        return;
    char name[256];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    if (ok) {
        c->passed++;
        return;
    }
    c->failed++;
    printf("FAIL %s: %s  [--only %s --seed %llu]\n", c->family, name, c->family, (unsigned long long)c->seed);
}

void check_differences(struct check *c, const char *name, check_function f, void *priv, const double *x,
                       uint64_t n_in, const double *dy, uint64_t n_out, const double *dx)
{
    if (c->setting != settings)
        return;
    double *moved = check_alloc(c, n_in, sizeof(double)), *y = check_alloc(c, n_out, sizeof(double));
    double largest = 1e-12, worst = 0;
    memcpy(moved, x, n_in * sizeof(*x));
    for (uint64_t i = 0; i < n_in; i++) {
        const double h = 1e-5 * (1 + fabs(x[i]));
        double slope = 0;
        for (int side = -1; side <= 1; side += 2) {
            moved[i] = x[i] + side * h;
            f(priv, moved, y);
            for (uint64_t j = 0; j < n_out; j++)
                slope += side * dy[j] * y[j] / (2 * h);
        }
        moved[i] = x[i];
        largest = fmax(largest, fabs(dx[i]));
        worst = fmax(worst, fabs(slope - dx[i]));
    }
    check_true(c, worst <= 1e-6 * largest, "%s: backward differs from central differences by %.2e of the largest",
               name, worst / largest);
}

// ---- main --------------------------------------------------------------------------------------------------------

static const struct family {
    const char *name;
    void (*run)(struct check *c);
} families[] = {
#define CHECK(name) {#name, check_##name},
#include "check_table.h"
#undef CHECK
};

static void run_family(struct check *c, const struct family *family)
{
    const int passed = c->passed, failed = c->failed;
    for (size_t s = 0; s < SETTINGS; s++) {
        c->family = family->name;
        c->setting = &settings[s];
        c->random = c->seed;
        c->case_index = 0;
        family->run(c);
        if (c->running)
            check_run(c);
        vks_arena_finish(&c->arena);
    }
    printf("%s %s: %d cases\n", c->failed > failed ? "FAIL" : "ok", family->name, c->passed - passed);
    fflush(stdout);
}

// Whether a family is among those that --only names, or none are named.
static bool is_wanted(const char *name, int argc, char **argv)
{
    bool any = false;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--only") == 0) {
            any = true;
            if (strcmp(argv[i + 1], name) == 0)
                return true;
        }
    return !any;
}

int main(int argc, char **argv)
{
    struct check *c = calloc(1, sizeof(*c));
    struct vks_gpu_params params = {.log = &test_log, .validate = true};
    c->seed = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            c->seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            i++;  // is_wanted
        else if (strcmp(argv[i], "--phone") == 0)
            params.phone_limits = true;
        else if (strcmp(argv[i], "--no-validation") == 0)
            params.validate = false;
        else
            exit((fprintf(stderr, "usage: checkops [--seed N] [--only FAMILY]... [--phone] [--no-validation]\n"), 2));
    }
    c->gpu = vks_gpu_create(&params);
    if (!c->gpu)
        return 1;
    printf("checkops on %s, %s, seed %llu\n", vks_gpu_info(c->gpu)->name, vks_gpu_info(c->gpu)->driver,
           (unsigned long long)c->seed);
    for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++)
        if (is_wanted(families[f].name, argc, argv))
            run_family(c, &families[f]);
    const unsigned messages = vks_gpu_validation_messages(c->gpu);
    if (messages) {
        printf("FAIL validation: %u messages\n", messages);
        c->failed++;
    }
    vks_gpu_destroy(&c->gpu);
    printf("%d passed, %d failed, 0 skipped\n", c->passed, c->failed);
    const int failed = c->failed;
    free(c);
    return failed ? 1 : 0;
}
