#include "models/prefixes.h"

#include <stdlib.h>
#include <string.h>

// By bytes, then by value.
static int compare(const void *a, const void *b)
{
    const struct vks_prefix *x = a, *y = b;
    const int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
    if (order)
        return order;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

void vks_prefixes_build(struct vks_prefix *items, size_t count, struct vks_prefixes *prefixes)
{
    *prefixes = (struct vks_prefixes){.sorted = items};
    if (count)
        qsort(items, count, sizeof(*items), compare);
    for (size_t i = 0; i < count; i++) {
        const struct vks_prefix *last = prefixes->count ? &items[prefixes->count - 1] : NULL;
        if (!last || last->size != items[i].size || memcmp(last->text, items[i].text, last->size) != 0)
            items[prefixes->count++] = items[i];
    }
    for (size_t i = 0, byte = 0; byte <= 256; byte++) {
        while (i < prefixes->count && (unsigned char)*items[i].text < byte)
            i++;
        prefixes->first[byte] = i;
    }
}

void vks_prefixes_finish(struct vks_prefixes *prefixes)
{
    free(prefixes->sorted);
    *prefixes = (struct vks_prefixes){0};
}

// The first of sorted[low, high), which agree before `depth` and are longer, whose byte there is `byte` or more.
static size_t lower_bound(const struct vks_prefixes *prefixes, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if ((unsigned char)prefixes->sorted[middle].text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct vks_prefix *vks_prefixes_next(const struct vks_prefixes *prefixes, const char *text, size_t size,
                                           struct vks_prefix_walk *walk)
{
    const unsigned char *bytes = (const unsigned char *)text;
    if (!walk->depth && size) {
        walk->low = prefixes->first[*bytes];
        walk->high = prefixes->first[*bytes + 1];
        walk->depth = 1;
    }
    while (walk->low < walk->high) {  // all of these agree with the text in `depth` bytes
        const size_t depth = walk->depth;
        if (prefixes->sorted[walk->low].size == depth)
            return &prefixes->sorted[walk->low++];
        if (depth >= size)
            break;
        walk->low = lower_bound(prefixes, walk->low, walk->high, depth, bytes[depth]);
        walk->high = lower_bound(prefixes, walk->low, walk->high, depth, bytes[depth] + 1u);
        walk->depth++;
    }
    return NULL;
}
