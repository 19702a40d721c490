// The device layer: which memory is taken on cards that are not here, storages in blocks, copies by both routes (run
// it with VKSTEER_DISABLE=hostmap for that of graphics cards), workgroups that take tickets, a lost device.
#include <math.h>
#include <stdlib.h>

#include "exec/exec.h"
#include "gpu/internal.h"
#include "ops/matmul.h"
#include "ops/ops.h"
#include "test_device.h"

static struct vks_gpu *gpu;

#define DL VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define HV VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT
#define HC VK_MEMORY_PROPERTY_HOST_COHERENT_BIT
#define CA VK_MEMORY_PROPERTY_HOST_CACHED_BIT
#define MIB ((uint64_t)1 << 20)

struct card {
    const char *name;
    uint64_t heaps[3];
    struct { uint32_t flags, heap; } types[8];
    uint32_t allowed;                    // what buffers may use
    uint32_t device, mapped, staging;    // expected types; 99: none
};

static void memory_types_of_cards_not_here(struct test *t)
{
    static const struct card cards[] = {
        // Images alone may use type 1; type 4 is the window through which the host sees the card.
        {"discrete, small window", {8192 * MIB, 32768 * MIB, 256 * MIB},
         {{0, 1}, {DL, 0}, {DL, 0}, {HV | HC, 1}, {HV | HC | CA, 1}, {DL | HV | HC, 2}}, 0x3d, 2, 5, 4},
        {"discrete, whole card visible", {24576 * MIB, 65536 * MIB},
         {{DL, 0}, {HV | HC, 1}, {DL | HV | HC, 0}, {HV | HC | CA, 1}}, 0xf, 0, 2, 3},
        // Device-coherent memory (0x40) needs a feature; the carve-out is smaller than what it shares with the host.
        {"integrated, two heaps", {512 * MIB, 8192 * MIB},
         {{DL | HV | HC | 0x40, 1}, {DL | HV | HC, 0}, {DL | HV | HC, 1}, {DL | HV | HC | CA, 1}}, 0xf, 2, 3, 3},
        {"phone, cached memory not coherent", {4096 * MIB},
         {{DL, 0}, {DL | HV | CA, 0}, {DL | HV | HC, 0}, {DL | 0x10, 0}, {DL | 0x20, 0}}, 0x1f, 0, 2, 2},
        {"nothing the host can write", {1024 * MIB}, {{DL, 0}}, 1, 0, 99, 99},
    };
    for (size_t i = 0; i < sizeof(cards) / sizeof(cards[0]); i++) {
        const struct card *card = &cards[i];
        VkPhysicalDeviceMemoryProperties memory = {.memoryHeapCount = 3};
        for (uint32_t h = 0; h < 3; h++)
            memory.memoryHeaps[h].size = card->heaps[h];
        while (memory.memoryTypeCount < 8 && card->allowed >> memory.memoryTypeCount) {
            memory.memoryTypes[memory.memoryTypeCount].propertyFlags = card->types[memory.memoryTypeCount].flags;
            memory.memoryTypes[memory.memoryTypeCount].heapIndex = card->types[memory.memoryTypeCount].heap;
            memory.memoryTypeCount++;
        }
        const struct vks_memory_wish wishes[] = {
            VKS_MEMORY_DEVICE(card->allowed), VKS_MEMORY_MAPPED(card->allowed), VKS_MEMORY_STAGING(card->allowed)};
        const uint32_t expected[] = {card->device, card->mapped, card->staging};
        for (int w = 0; w < 3; w++) {
            uint32_t type = 99;
            const bool found = vks_memory_choose(&memory, &wishes[w], &type);
            EXPECT(t, found == (expected[w] != 99) && type == expected[w], "%s, wish %d: type %u, not %u", card->name,
                   w, type, expected[w]);
        }
    }
}

static void budgets_of_cards_not_here(struct test *t)
{
    static const struct {
        const char *name;
        uint64_t heap, grant, host;
        bool is_cpu;
        uint64_t budget;
    } cards[] = {
        {"discrete, silent driver", 8000, UINT64_MAX, 0, false, 7200},
        {"discrete, half taken", 8000, 4000, 0, false, 4000},
        {"discrete, all taken", 8000, 0, 0, false, 0},
        {"integrated, little free", 8000, 6000, 5000, false, 4000},
        {"integrated, much free", 2000, UINT64_MAX, 9000, false, 1800},
        {"CPU driver whose heap is small", 2000, 1000, 9000, true, 7200},
        {"CPU driver, system that does not tell", 2000, UINT64_MAX, 0, true, 1800},
    };
    for (size_t i = 0; i < sizeof(cards) / sizeof(cards[0]); i++) {
        const uint64_t bytes = vks_memory_budget(cards[i].heap, cards[i].grant, cards[i].host, cards[i].is_cpu);
        EXPECT(t, bytes == cards[i].budget, "%s: %llu bytes, not %llu", cards[i].name, (unsigned long long)bytes,
               (unsigned long long)cards[i].budget);
    }
}

static void copies_and_fills(struct test *t)
{
    enum { SIZE = 9 << 20 };  // three stages
    struct vks_storage *storage = vks_storage_create(gpu, SIZE);
    unsigned char *in = malloc(SIZE), *out = malloc(SIZE);
    CHECK(t, storage && in && out);
    for (uint32_t i = 0; i < SIZE; i++)
        in[i] = (unsigned char)(i * 2654435761u >> 24);
    CHECK(t, vks_storage_write(storage, 0, in, SIZE) && vks_storage_read(storage, 0, out, SIZE));
    CHECK(t, memcmp(in, out, SIZE) == 0);
    CHECK(t, vks_storage_write(storage, 4321, in, 77) && vks_storage_read(storage, 4320, out, 79));
    CHECK(t, out[0] == in[4320] && memcmp(out + 1, in, 77) == 0 && out[78] == in[4398]);
    CHECK(t, vks_storage_fill(storage, 64, 40, 0x01020304) && vks_storage_fill(storage, 64, 0, 9));
    CHECK(t, vks_storage_read(storage, 60, out, 48));
    EXPECT(t, memcmp(out, in + 60, 4) == 0 && out[4] == 4 && out[43] == 1 && out[44] == in[104], "a fill missed");
    CHECK(t, !vks_storage_write(storage, SIZE - 4, in, 8) && !vks_storage_read(storage, SIZE + 1, out, 0));
    vks_storage_destroy(&storage);
    free(in);
    free(out);
}

static void small_storages_share_a_block(struct test *t)
{
    struct vks_storage *storages[64];
    const uint64_t before = vks_gpu_allocated(gpu, NULL);
    for (int i = 0; i < 64; i++)
        CHECK(t, (storages[i] = vks_storage_create(gpu, 1000 + 4 * i)));
    const uint64_t after = vks_gpu_allocated(gpu, NULL);
    EXPECT(t, after - before <= 16 * MIB, "%llu MiB for 64 KiB", (unsigned long long)((after - before) / MIB));
    for (int i = 0; i < 64; i++)
        for (int k = 0; k < i; k++)
            EXPECT(t, storages[i]->block != storages[k]->block ||
                      storages[i]->offset >= storages[k]->offset + storages[k]->size ||
                      storages[k]->offset >= storages[i]->offset + storages[i]->size, "%d and %d overlap", i, k);
    for (int i = 0; i < 64; i++)
        vks_storage_destroy(&storages[i]);
    EXPECT(t, vks_gpu_allocated(gpu, NULL) == before, "memory is kept");
}

// Seven storages of which five fill a block, and what was looked at there is no place in the next.
static void storages_lie_within_their_blocks(struct test *t)
{
    struct vks_storage *storages[7];
    for (int i = 0; i < 7; i++) {
        CHECK(t, (storages[i] = vks_storage_create(gpu, 3 * MIB)));
        EXPECT(t, storages[i]->offset + storages[i]->size <= storages[i]->block->size, "storage %d ends %llu MiB "
               "behind its block's begin, which has %llu", i,
               (unsigned long long)((storages[i]->offset + storages[i]->size) / MIB),
               (unsigned long long)(storages[i]->block->size / MIB));
    }
    for (int i = 0; i < 7; i++)
        vks_storage_destroy(&storages[i]);
}

static void the_last_allocation_is_refused_in_one_line(struct test *t)
{
    struct test inner = {0};
    struct vks_gpu *own = vks_gpu_create(&(struct vks_gpu_params){.log = test_log(&inner)});
    CHECK(t, own);
    const uint32_t before = own->allocations;
    struct vks_storage *large = vks_storage_create(own, 20 * MIB), *small = vks_storage_create(own, 64);
    EXPECT(t, large && small && own->allocations == before + 2, "%u allocations, not %u", own->allocations,
           before + 2);
    own->most_allocations = own->allocations;
    inner.messages = 0;
    EXPECT(t, !vks_storage_create(own, 20 * MIB) && inner.messages == 1 && strstr(inner.message, "allocations"),
           "%d messages: %s", inner.messages, inner.message);
    struct vks_storage *shared = vks_storage_create(own, 64);
    EXPECT(t, shared, "a storage that needs no allocation is refused");
    vks_storage_destroy(&large);
    EXPECT(t, own->allocations == before + 1 && (large = vks_storage_create(own, 20 * MIB)), "none came free");
    vks_storage_destroy(&large);
    vks_storage_destroy(&small);
    vks_storage_destroy(&shared);
    EXPECT(t, own->allocations == before, "%u allocations are left", own->allocations);
    vks_gpu_destroy(&own);
}

// More products than there are counters, of several tiles each, that do not wait for one another: three runs, each of
// which must make all of them anew, with the bits of the first.
#define PRODUCTS (VKS_COUNTERS + 6)
#define ROWS 50
#define INNER 12
#define COLS 68

static bool products(struct test *t, struct vks_gpu *own, double dispatch_seconds, float out[ROWS * COLS])
{
    float in[ROWS * INNER], weights[COLS * INNER], y[ROWS * COLS];
    struct vks_storage *storage = vks_storage_create(own, sizeof(weights));
    for (uint32_t i = 0; i < ROWS * INNER; i++)
        in[i] = (float)sin(1.7 * i + 0.3);
    for (uint32_t i = 0; i < COLS * INNER; i++)
        weights[i] = (float)cos(2.3 * i);
    struct vks_graph g;
    vks_graph_init(&g, test_log(t));
    struct vks_tensor *x = vks_graph_input(&g, "x", VKS_F32, 2, (const uint32_t[]){ROWS, INNER}, false);
    struct vks_tensor *w = vks_graph_state(&g, "w", VKS_F32, 2, (const uint32_t[]){COLS, INNER}, storage, 0);
    struct vks_tensor *each[PRODUCTS];
    for (uint32_t i = 0; i < PRODUCTS; i++) {
        each[i] = vks_linear(&g, x, w, NULL);
        each[i]->keep = true;
    }
    struct vks_exec *exec = vks_exec_create(&g, &(struct vks_exec_params){
        .gpu = own, .no_alias = true, .no_fuse = true, .poison = true, .dispatch_seconds = dispatch_seconds});
    bool ok = exec && vks_storage_write(storage, 0, weights, sizeof(weights)) &&
              vks_exec_write(exec, x, in, sizeof(in));
    for (int run = 0; run < 3 && ok; run++) {
        ok = vks_exec_run(exec, NULL);
        for (uint32_t i = 0; i < PRODUCTS && ok; i++) {
            ok = vks_exec_read(exec, each[i], run == 0 && i == 0 ? out : y, sizeof(y));
            if (run > 0 || i > 0)
                EXPECT(t, memcmp(out, y, sizeof(y)) == 0, "run %d: product %u differs from the first", run, i);
        }
    }
    vks_exec_destroy(&exec);
    vks_graph_finish(&g);
    vks_storage_destroy(&storage);
    return ok;
}

static void workgroups_take_tickets(struct test *t)
{
    static float with[ROWS * COLS], without[ROWS * COLS], cut[ROWS * COLS];
    struct vks_gpu *own = vks_gpu_create(&(struct vks_gpu_params){.log = &test_device_log, .validate = true});
    CHECK(t, own);
    const struct vks_matmul_kernel *kernel =
        vks_matmul_kernel(vks_matmul_choose(&own->limits, VKS_MATMUL_NT, ROWS, COLS));
    if (vks_kernels[kernel->matmul].tickets) {
        own->takes_tickets = own->always_tickets = false;
        CHECK(t, products(t, own, 0, without));
        own->takes_tickets = own->always_tickets = true;
        CHECK(t, products(t, own, 0, with) && products(t, own, 1e-9, cut));
        EXPECT(t, memcmp(with, without, sizeof(with)) == 0, "products that take tickets have other bits");
        EXPECT(t, memcmp(cut, without, sizeof(cut)) == 0, "cut by time, they have other bits");
        bool taken = false, zero = true;
        for (size_t i = 0; i < own->pipeline_count; i++)
            taken |= own->pipelines[i].tickets;
        for (uint32_t i = 0; i < VKS_COUNTERS; i++) {
            uint32_t counter;
            memcpy(&counter, (char *)own->staging_data + own->counters_at + i * VKS_COUNTER_STRIDE, sizeof(counter));
            zero &= counter == 0;
        }
        EXPECT(t, taken, "no pipeline takes tickets");
        EXPECT(t, zero, "a counter was not set back");
        EXPECT(t, vks_gpu_validation_messages(own) == 0, "%u messages", vks_gpu_validation_messages(own));
    }
    vks_gpu_destroy(&own);
}

static void a_lost_device_is_refused_everywhere(struct test *t)
{
    struct test inner = {0};
    struct vks_gpu *lost = vks_gpu_create(&(struct vks_gpu_params){.log = test_log(&inner)});
    CHECK(t, lost);
    struct vks_storage *storage = vks_storage_create(lost, 64);
    CHECK(t, storage);
    uint32_t word = 0;
    vks_vk_fail(lost, VK_ERROR_DEVICE_LOST, "a test");
    inner.messages = 0;
    CHECK(t, !vks_storage_write(storage, 0, &word, 4) && !vks_storage_read(storage, 0, &word, 4));
    CHECK(t, !vks_storage_fill(storage, 0, 4, 0) && inner.messages == 3);
    EXPECT(t, strstr(inner.message, "lost earlier"), "it says: %s", inner.message);
    vks_storage_destroy(&storage);
    vks_gpu_destroy(&lost);
}

int main(void)
{
    struct test t = {0};
    gpu = test_device_open();
    if (!gpu)
        return 1;
    TEST(&t, memory_types_of_cards_not_here);
    TEST(&t, budgets_of_cards_not_here);
    TEST(&t, copies_and_fills);
    TEST(&t, small_storages_share_a_block);
    TEST(&t, storages_lie_within_their_blocks);
    TEST(&t, the_last_allocation_is_refused_in_one_line);
    TEST(&t, workgroups_take_tickets);
    TEST(&t, a_lost_device_is_refused_everywhere);
    return test_device_summary(&t, &gpu);
}
