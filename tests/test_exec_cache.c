// Recorded graphs that are kept: to each shape its own, how many stay, and what becomes of them in little memory.
#include "base/arena.h"
#include "exec/exec_cache.h"
#include "ops/ops.h"
#include "test_device.h"

#define WIDTH 1024  // channels: a row is 4 KiB

static struct vks_gpu *gpu;

// y = 2 x + 1, in (rows, columns, WIDTH); rows are three times as many at shapes of one row.
struct io {
    struct vks_tensor *x, *y;
};

static bool build(void *priv, struct vks_graph *graph, const uint32_t shape[2], void **out)
{
    const uint32_t full[] = {shape[0] == 1 ? 3 : shape[0], shape[1], WIDTH};
    struct io *io = *out = vks_arena_alloc(&graph->arena, sizeof(*io));
    (void)priv;
    io->x = vks_graph_input(graph, "x", VKS_F32, 3, full, false);
    io->y = vks_scale(graph, io->x, 2, 1);
    if (!io->y)
        return false;
    io->y->keep = true;
    return true;
}

static void open_cache(struct vks_exec_cache *cache, struct vks_gpu *of, const struct vks_log *log, size_t most,
                       bool share)
{
    vks_exec_cache_init(cache, &(struct vks_exec_cache_params){
        .exec = {.gpu = of}, .log = log, .build = build, .most = most, .share = share});
}

// Runs the graph of a shape on values that no run before had.
static bool runs(struct vks_exec_cache *cache, uint32_t rows, uint32_t columns)
{
    static uint32_t seed;
    const struct vks_exec_entry *entry = vks_exec_cache_get(cache, (const uint32_t[]){rows, columns});
    const struct io *io = entry ? entry->io : NULL;
    const size_t count = (rows == 1 ? 3 : rows) * (size_t)columns * WIDTH;
    float *x = malloc(2 * count * sizeof(*x)), *y = x + count;
    seed++;
    for (size_t i = 0; x && i < count; i++)
        x[i] = (float)(i % 97 + seed);
    bool ok = x && entry && vks_tensor_elements(io->x) == count &&
              vks_exec_write(entry->exec, io->x, x, count * sizeof(*x)) && vks_exec_run(entry->exec, NULL) &&
              vks_exec_read(entry->exec, io->y, y, count * sizeof(*y));
    for (size_t i = 0; i < count && ok; i++)
        ok = y[i] == 2 * x[i] + 1;
    free(x);
    return ok;
}

static void the_last_used_stay(struct test *t)
{
    for (int share = 0; share < 2; share++) {
        struct vks_exec_cache cache;
        open_cache(&cache, gpu, test_log(t), 3, share);
        CHECK(t, runs(&cache, 4, 4) && runs(&cache, 2, 4) && runs(&cache, 4, 2) && cache.made == 3);
        CHECK(t, runs(&cache, 2, 4) && runs(&cache, 4, 4) && cache.made == 3);
        CHECK(t, runs(&cache, 3, 2) && cache.made == 4 && cache.count == 3);
        CHECK(t, runs(&cache, 4, 4) && runs(&cache, 2, 4) && runs(&cache, 3, 2) && cache.made == 4);
        CHECK(t, runs(&cache, 4, 2) && cache.made == 5);
        // What lends its memory stays, though it was not used for longest.
        CHECK(t, runs(&cache, 3, 2) && runs(&cache, 2, 2) && cache.made == 6);
        CHECK(t, runs(&cache, 4, 4) && cache.made == (share ? 6 : 7));
        vks_exec_cache_drop(&cache);
        CHECK(t, cache.count == 0 && runs(&cache, 4, 4));
        vks_exec_cache_finish(&cache);
    }
}

static uint64_t allocated(const struct vks_gpu *of)
{
    uint64_t peak;
    return vks_gpu_allocated(of, &peak);
}

static void sharing_takes_the_memory_of_the_largest(struct test *t)
{
    struct vks_exec_cache cache;
    const uint64_t before = allocated(gpu);
    open_cache(&cache, gpu, test_log(t), 8, true);
    CHECK(t, runs(&cache, 4, 512));
    const uint64_t one = allocated(gpu);
    for (uint32_t columns = 511; columns > 505; columns--)
        CHECK(t, runs(&cache, 4, columns));
    EXPECT(t, cache.count == 7 && allocated(gpu) - one < 1 << 20, "%zu graphs take %llu bytes, one takes %llu",
           cache.count, (unsigned long long)(allocated(gpu) - before), (unsigned long long)(one - before));
    CHECK(t, runs(&cache, 4, 513) && cache.count == 1 && runs(&cache, 4, 512) && cache.count == 2);
    vks_exec_cache_finish(&cache);
}

// Each graph takes some 12 MiB of 32.
static void short_memory_makes_the_oldest_go(struct test *t)
{
    struct vks_gpu *small = vks_gpu_create(&(struct vks_gpu_params){.log = &test_device_log, .memory = 32 << 20});
    struct vks_exec_cache cache;
    uint64_t peak;
    CHECK(t, small);
    open_cache(&cache, small, test_log(t), 8, false);
    for (uint32_t i = 0; i < 5; i++)
        CHECK(t, runs(&cache, 2, 760 + i));
    CHECK(t, cache.count == 2 && cache.made == 5 && runs(&cache, 2, 763) && cache.made == 5);
    // One that does not fit alone is refused, in one line, and leaves nothing behind.
    CHECK_REFUSED(t, runs(&cache, 2, 4096), "--memory");
    CHECK(t, cache.count == 0 && runs(&cache, 2, 760));
    vks_exec_cache_finish(&cache);
    vks_gpu_allocated(small, &peak);
    EXPECT(t, peak <= 32 << 20, "%llu bytes were allocated", (unsigned long long)peak);
    vks_gpu_destroy(&small);
}

// A small shape's graph that is larger than what the large one lends, and does not fit beside it.
static void what_lends_goes_last(struct test *t)
{
    struct vks_gpu *small = vks_gpu_create(&(struct vks_gpu_params){.log = &test_device_log, .memory = 32 << 20});
    struct vks_exec_cache cache;
    CHECK(t, small);
    open_cache(&cache, small, test_log(t), 8, true);
    CHECK(t, runs(&cache, 2, 760) && runs(&cache, 2, 750) && cache.count == 2);
    CHECK(t, runs(&cache, 1, 1000) && cache.count == 1);
    CHECK(t, runs(&cache, 1, 900) && cache.count == 2 && runs(&cache, 1, 1000) && cache.made == 4);
    vks_exec_cache_finish(&cache);
    vks_gpu_destroy(&small);
}

int main(void)
{
    struct test t = {0};
    gpu = test_device_open();
    if (!gpu)
        return 1;
    TEST(&t, the_last_used_stay);
    TEST(&t, sharing_takes_the_memory_of_the_largest);
    TEST(&t, short_memory_makes_the_oldest_go);
    TEST(&t, what_lends_goes_last);
    return test_device_summary(&t, &gpu);
}
