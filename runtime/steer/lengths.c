#include "steer/lengths.h"

#include <stdlib.h>

#define GROUP_TOKENS 64u  // a group costs as much as so many tokens: its dispatches, and weights read once more

void vks_lengths_of(const struct vks_subject *subject, enum vks_prompt_set set, uint32_t lengths[])
{
    for (uint32_t i = 0; i < subject->set_sizes[set]; i++)
        lengths[i] = subject->length ? subject->length(subject->priv, &(struct vks_sample){set, i, 0}) : 0;
}

static int ascending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void vks_lengths_sort(const uint32_t lengths[], uint32_t count, uint64_t order[])
{
    for (uint32_t i = 0; i < count; i++)
        order[i] = (uint64_t)(UINT32_MAX - lengths[i]) << 32 | i;
    qsort(order, count, sizeof(*order), ascending);
}

// The least work of the first samples, and where the last group of that begins.
struct best {
    uint64_t work;
    uint32_t begin;
};

static void find_best(const uint32_t bounds[], uint32_t count, uint32_t most, struct best best[])
{
    for (uint32_t n = 1; n <= count; n++) {
        best[n].work = UINT64_MAX;
        for (uint32_t begin = n > most ? n - most : 0; begin < n; begin++) {
            const uint64_t work = best[begin].work + (uint64_t)(n - begin) * bounds[begin] + GROUP_TOKENS;
            if (work < best[n].work)
                best[n] = (struct best){work, begin};
        }
    }
}

uint32_t vks_lengths_group(const uint32_t bounds[], uint32_t count, uint32_t most, struct vks_length_group groups[])
{
    uint32_t used = 0, at = 0;
    if (bounds[0] == 0) {
        for (uint32_t first = 0; first < count; first += most)
            groups[used++] = (struct vks_length_group){.first = first, .count = most};
        return used;
    }
    struct best *best = calloc((size_t)count + 1, sizeof(*best));
    if (!best)
        return 0;
    find_best(bounds, count, most, best);
    for (uint32_t end = count; end > 0; end = best[end].begin)
        used++;
    for (uint32_t end = count; end > 0; end = best[end].begin) {
        const uint32_t begin = best[end].begin;
        groups[used - ++at] = (struct vks_length_group){begin, end - begin, bounds[begin]};
    }
    free(best);
    return used;
}

uint32_t vks_lengths_largest(const struct vks_length_group groups[], uint32_t count)
{
    uint32_t largest = 0;
    for (uint32_t i = 1; i < count; i++)
        if ((uint64_t)groups[i].count * groups[i].length > (uint64_t)groups[largest].count * groups[largest].length)
            largest = i;
    return largest;
}

bool vks_length_order_init(const struct vks_subject *subject, enum vks_prompt_set set, uint32_t count, uint32_t most,
                           struct vks_length_order *order)
{
    uint32_t *bounds = malloc(count * sizeof(*bounds));
    *order = (struct vks_length_order){
        .lengths = malloc(subject->set_sizes[set] * sizeof(*order->lengths)),
        .sorted = malloc(count * sizeof(*order->sorted)),
        .groups = malloc(count * sizeof(*order->groups)),
    };
    if (bounds && order->lengths && order->sorted && order->groups) {
        vks_lengths_of(subject, set, order->lengths);
        vks_lengths_sort(order->lengths, count, order->sorted);
        for (uint32_t i = 0; i < count; i++)
            bounds[i] = order->lengths[(uint32_t)order->sorted[i]];
        order->group_count = vks_lengths_group(bounds, count, most, order->groups);
    }
    free(bounds);
    return order->group_count || vks_fail(subject->log, VKS_NO_MEMORY);
}

void vks_length_order_finish(struct vks_length_order *order)
{
    free(order->lengths);
    free(order->sorted);
    free(order->groups);
}
