// The planner, the recorder and the reverse walk: one graph at several lengths, shared bytes, pruning, recomputation,
// failures that are reported once.
#include <math.h>
#include <stdlib.h>

#include "exec/backward.h"
#include "exec/exec.h"
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
    struct vks_exec *exec = vks_exec_create(&g, &(struct vks_exec_params){.gpu = gpu, .no_alias = true, .no_in_place = true,
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
    EXPECT(t, inner.messages == 1 && strstr(inner.message, "--memory"), "%d messages: %s", inner.messages,
           inner.message);
    vks_graph_finish(&g);
    vks_gpu_destroy(&small);
}

int main(void)
{
    struct test t = {0};
    gpu = test_device_open();
    if (!gpu)
        return 1;
    TEST(&t, one_graph_at_several_lengths);
    TEST(&t, dead_values_share_bytes);
    TEST(&t, what_nobody_reads_is_left_out);
    TEST(&t, independent_work_needs_no_barrier);
    TEST(&t, recomputation_keeps_the_bits);
    TEST(&t, a_failed_graph_says_so_once);
    TEST(&t, too_little_memory_is_one_line);
    return test_device_summary(&t, &gpu);
}
