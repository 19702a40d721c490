#include "ref/sort.h"

#include <stdlib.h>

struct entry {
    double value;
    int32_t row;
};

static int by_value(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->row < y->row ? -1 : 1;
}

void ref_sort_columns(double *sorted, int32_t *permutation, const double *x, uint32_t rows, uint32_t cols)
{
    struct entry *entries = malloc(rows * sizeof(*entries));
    for (uint32_t c = 0; c < cols && entries; c++) {
        for (uint32_t r = 0; r < rows; r++)
            entries[r] = (struct entry){x[(uint64_t)r * cols + c], (int32_t)r};
        qsort(entries, rows, sizeof(*entries), by_value);
        for (uint32_t r = 0; r < rows; r++) {
            sorted[(uint64_t)r * cols + c] = entries[r].value;
            permutation[(uint64_t)r * cols + c] = entries[r].row;
        }
    }
    free(entries);
}
