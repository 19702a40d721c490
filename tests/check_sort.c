// Column sort against qsort, at lengths on both sides of every change of method.
#include "check.h"
#include "ref/sort.h"

static void sort_case(struct check *c, uint32_t rows, uint32_t cols, enum check_fill fill, uint32_t extra)
{
    const uint64_t n = (uint64_t)rows * cols;
    const uint32_t shape[] = {rows, cols}, wide[] = {rows, cols + extra}, one = 1;
    double *all = check_values(c, (uint64_t)rows * (cols + extra), fill);
    double *x = check_alloc(c, n, sizeof(*x)), *sorted = check_alloc(c, n, sizeof(*sorted));
    int32_t *permutation = check_alloc(c, n, sizeof(*permutation));
    const int32_t zero = 0;
    const uint32_t first = extra ? check_random(c, extra) : 0;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t k = 0; k < cols; k++)
            x[(uint64_t)r * cols + k] = all[(uint64_t)r * (cols + extra) + first + k];
    struct vks_graph *g = check_begin(c, "sort (%u, %u) fill %d, %u more columns", rows, cols, fill, extra);
    struct vks_tensor *flag = check_state_i32(c, "flag", &zero, 1, &one), *ts, *tp;
    struct vks_tensor *tx = extra ? vks_graph_columns(g, check_state(c, "x", all, VKS_F32, 2, wide), first, cols)
                                  : check_input(c, "x", x, 2, shape);
    vks_sort_columns(g, tx, flag, &ts, &tp);
    ref_sort_columns(sorted, permutation, x, rows, cols);
    check_expect(c, ts, sorted, 0);
    check_expect_i32(c, tp, permutation);
    check_expect_i32(c, flag, &zero);
    check_run(c);
}

static void nan_case(struct check *c, uint32_t rows, uint32_t cols)
{
    const uint32_t shape[] = {rows, cols}, one = 1;
    double *x = check_values(c, (uint64_t)rows * cols, CHECK_NORMAL);
    const int32_t zero = 0, set = 1;
    x[check_random(c, rows * cols)] = 0.0 / 0.0 * (check_random(c, 2) ? 1 : -1);
    struct vks_graph *g = check_begin(c, "sort (%u, %u) with a NaN", rows, cols);
    struct vks_tensor *flag = check_state_i32(c, "flag", &zero, 1, &one), *ts, *tp;
    vks_sort_columns(g, check_input(c, "x", x, 2, shape), flag, &ts, &tp);
    check_expect_i32(c, flag, &set);
    check_run(c);
}

void check_sort(struct check *c)
{
    static const uint32_t lengths[] = {1, 2, 3, 4, 7, 16, 17, 31, 32, 33, 48, 63, 64};
    for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        for (int fill = 0; fill < 2; fill++)
            sort_case(c, lengths[i], 1 + check_random(c, 150), fill ? CHECK_HOSTILE : CHECK_NORMAL,
                      i % 3 == 0 ? 1 + check_random(c, 40) : 0);
    sort_case(c, 16, 6000, CHECK_NORMAL, 0);
    sort_case(c, 20, 1500, CHECK_HOSTILE, 77);
    sort_case(c, 65, 9, CHECK_HOSTILE, 0);
    sort_case(c, 130, 70, CHECK_NORMAL, 5);
    sort_case(c, 1024, 3, CHECK_HOSTILE, 0);
    sort_case(c, 1025, 2, CHECK_NORMAL, 3);
    sort_case(c, 5000, 5, CHECK_HOSTILE, 0);
    sort_case(c, 40000, 1, CHECK_NORMAL, 0);
    sort_case(c, 65536, 1, CHECK_HOSTILE, 0);
    sort_case(c, 65537, 2, CHECK_NORMAL, 0);
    nan_case(c, 4, 100);
    nan_case(c, 33, 20);
    nan_case(c, 2000, 2);
}
