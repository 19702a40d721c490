// Column sort: short columns by rank, one an invocation; long ones bitonic, in shared memory and over whole columns.
#include "ops/columns.h"
#include "ops/ops.h"
#include "shaders/push.h"

#define SHORT_ROWS 64   // longest column of the rank kernel, whose work grows with the square
#define CHUNK 1024      // rows that sort_local.comp holds in shared memory

// Two arrays (rows, cols), dense, that are sorted in place together.
struct sort {
    struct vks_emitter *emitter;
    const struct vks_tensor *value, *permutation;
    uint32_t rows, cols;
    uint64_t fit;  // rows that one binding holds
};

static struct vks_operand sort_rows(const struct sort *sort, const struct vks_tensor *tensor, uint64_t row,
                                    uint64_t end)
{
    return vks_block_operand(tensor, VKS_READ_WRITE, sort->cols, row, end - row, 0, sort->cols);
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool emit_local(const struct sort *sort, uint32_t merge)
{
    const uint64_t fit = sort->rows <= sort->fit ? sort->rows : sort->fit / CHUNK * CHUNK;
    for (uint64_t row = 0; row < sort->rows; row += fit) {
        const uint64_t end = at_most(row + fit, sort->rows);
        const struct vks_operand operands[] = {
            sort_rows(sort, sort->value, row, end),
            sort_rows(sort, sort->permutation, row, end),
        };
        const struct vks_push_sort push = {
            .rows = (uint32_t)(end - row),
            .cols = sort->cols,
            .stride = sort->cols,
        };
        if (!vks_emit_special(sort->emitter, VKS_K_sort_local, &merge, 1, operands, 2, &push, sizeof(push),
                              vks_groups_1d((end - row + CHUNK - 1) / CHUNK * sort->cols, 1)))
            return false;
    }
    return true;
}

// Pairs [first, first + pairs) of a step, lower rows bound from `lo`, upper rows from `hi`.
static bool emit_pairs(const struct sort *sort, uint64_t distance, bool flip, uint64_t first, uint64_t pairs,
                       const uint64_t lo[2], const uint64_t hi[2])
{
    if (hi[0] >= sort->rows)
        return true;
    const uint64_t lo_end = at_most(lo[1], sort->rows), hi_end = at_most(hi[1], sort->rows);
    const struct vks_operand operands[] = {
        sort_rows(sort, sort->value, lo[0], lo_end),
        sort_rows(sort, sort->permutation, lo[0], lo_end),
        sort_rows(sort, sort->value, hi[0], hi_end),
        sort_rows(sort, sort->permutation, hi[0], hi_end),
    };
    const struct vks_push_sort_step push = {
        .pairs = (uint32_t)pairs,
        .cols = sort->cols,
        .stride = sort->cols,
        .distance = (uint32_t)distance,
        .flip = flip,
        .rows = sort->rows,
        .first = (uint32_t)first,
        .lo = (uint32_t)lo[0],
        .hi = (uint32_t)hi[0],
    };
    return vks_emit(sort->emitter, VKS_K_sort_step, operands, 4, &push, sizeof(push),
                    vks_groups_1d(pairs * sort->cols, 64));
}

static bool emit_step(const struct sort *sort, uint64_t distance, bool flip)
{
    const uint64_t block = 2 * distance, blocks = (sort->rows + block - 1) / block;
    // Whole blocks at once, as many as fit.
    uint64_t batch = sort->rows <= sort->fit ? blocks : sort->fit / block;
    if (batch > 0) {
        for (uint64_t b = 0; b < blocks; b += batch) {
            const uint64_t n = at_most(batch, blocks - b), rows[2] = {b * block, (b + n) * block};
            if (!emit_pairs(sort, distance, flip, b * distance, n * distance, rows, rows))
                return false;
        }
        return true;
    }
    // A block does not fit: parts of its lower half, each with its counterpart.
    for (uint64_t base = 0; base < sort->rows; base += block) {
        for (uint64_t t = 0; t < distance; t += sort->fit) {
            const uint64_t n = at_most(sort->fit, distance - t), upper = base + (flip ? block - t - n : distance + t);
            const uint64_t lo[2] = {base + t, base + t + n}, hi[2] = {upper, upper + n};
            if (lo[0] < sort->rows && !emit_pairs(sort, distance, flip, base / 2 + t, n, lo, hi))
                return false;
        }
    }
    return true;
}

static bool emit_bitonic(const struct sort *sort)
{
    const bool local = sort->rows <= sort->fit || sort->fit >= CHUNK;
    if (local && !emit_local(sort, 0))
        return false;
    for (uint64_t k = local ? 2 * CHUNK : 2; k / 2 < sort->rows; k *= 2) {
        if (!emit_step(sort, k / 2, true))
            return false;
        for (uint64_t j = k / 4; j > 0; j /= 2) {
            if (local && j < CHUNK) {
                if (!emit_local(sort, 1))
                    return false;
                break;
            }
            if (!emit_step(sort, j, false))
                return false;
        }
    }
    return true;
}

// Columns [column, column + cols) of x into the arrays of `sort`, and row numbers.
static bool emit_start(const struct sort *sort, const struct vks_tensor *x, const struct vks_tensor *flag,
                       uint64_t column)
{
    const uint64_t stride = vks_row_stride(x), fit = vks_rows_per_binding(sort->emitter, sort->cols, stride);
    for (uint64_t row = 0; row < sort->rows; row += fit) {
        const uint64_t end = at_most(row + fit, sort->rows);
        const struct vks_operand operands[] = {
            vks_block_operand(x, VKS_READ, stride, row, end - row, column, sort->cols),
            sort_rows(sort, sort->value, row, end),
            sort_rows(sort, sort->permutation, row, end),
            {flag, VKS_READ_WRITE, 0, 1},
        };
        const struct vks_push_sort push = {
            .rows = (uint32_t)(end - row),
            .cols = sort->cols,
            .x_stride = (uint32_t)stride,
            .stride = sort->cols,
            .first = (uint32_t)row,
        };
        if (!vks_emit(sort->emitter, VKS_K_sort_start, operands, 4, &push, sizeof(push),
                      vks_groups_1d((end - row) * sort->cols, 64)))
            return false;
    }
    return true;
}

static bool emit_short(const struct sort *sort, const struct vks_tensor *x, uint64_t stride,
                       const struct vks_tensor *flag)
{
    const struct vks_operand operands[] = {
        vks_block_operand(x, VKS_READ, stride, 0, sort->rows, 0, sort->cols),
        sort_rows(sort, sort->value, 0, sort->rows),
        sort_rows(sort, sort->permutation, 0, sort->rows),
        {flag, VKS_READ_WRITE, 0, 1},
    };
    const struct vks_push_sort push = {
        .rows = sort->rows,
        .cols = sort->cols,
        .x_stride = (uint32_t)stride,
        .stride = sort->cols,
    };
    return vks_emit(sort->emitter, VKS_K_sort_small, operands, 4, &push, sizeof(push), vks_groups_1d(sort->cols, 64));
}

// Does not fit one binding: columns go through dense scratch arrays, as many at a time as fit.
static bool emit_cut(struct vks_emitter *emitter, const struct vks_tensor *x, const struct vks_tensor *sorted,
                     const struct vks_tensor *permutation, const struct vks_tensor *flag)
{
    const uint64_t cols = sorted->shape[1], words = vks_binding_words(emitter);
    struct sort sort = {.emitter = emitter, .rows = sorted->shape[0]};
    const uint64_t chunk = sort.rows > words ? 1 : at_most(words / sort.rows, cols);
    const bool is_short = sort.rows <= SHORT_ROWS;
    const struct vks_tensor *dense = is_short ? vks_emit_scratch(emitter, chunk * sort.rows) : NULL;
    sort.value = vks_emit_scratch(emitter, chunk * sort.rows);
    sort.permutation = vks_emit_scratch(emitter, chunk * sort.rows);
    for (uint64_t column = 0; column < cols; column += chunk) {
        sort.cols = (uint32_t)at_most(chunk, cols - column);
        sort.fit = words / sort.cols;
        const struct vks_block_copy in = {
            .from = x,
            .to = dense,
            .from_stride = vks_row_stride(x),
            .from_column = column,
            .to_stride = sort.cols,
            .rows = sort.rows,
            .columns = sort.cols,
        };
        struct vks_block_copy out = {
            .from = sort.value,
            .to = sorted,
            .from_stride = sort.cols,
            .to_stride = cols,
            .to_column = column,
            .rows = sort.rows,
            .columns = sort.cols,
        };
        if (emitter->graph->failed)
            return false;
        if (is_short ? !vks_emit_copy(emitter, &in) || !emit_short(&sort, dense, sort.cols, flag)
                     : !emit_start(&sort, x, flag, column) || !emit_bitonic(&sort))
            return false;
        if (!vks_emit_copy(emitter, &out))
            return false;
        out.from = sort.permutation;
        out.to = permutation;
        if (!vks_emit_copy(emitter, &out))
            return false;
    }
    return true;
}

static bool sort_emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *flag = node->outputs[2];
    const struct sort sort = {
        .emitter = emitter,
        .value = node->outputs[0],
        .permutation = node->outputs[1],
        .rows = node->outputs[0]->shape[0],
        .cols = node->outputs[0]->shape[1],
        .fit = vks_rows_per_binding(emitter, node->outputs[0]->shape[1], node->outputs[0]->shape[1]),
    };
    if (sort.rows > sort.fit || sort.rows > vks_rows_per_binding(emitter, sort.cols, vks_row_stride(x)))
        return emit_cut(emitter, x, sort.value, sort.permutation, flag);
    if (sort.rows <= SHORT_ROWS)
        return emit_short(&sort, x, vks_row_stride(x), flag);
    return emit_start(&sort, x, flag, 0) && emit_bitonic(&sort);
}

static bool sort_infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0];
    struct vks_tensor *flag = *(struct vks_tensor *const *)node->attrs;
    if (x->rank != 2 || x->dtype != VKS_F32 || flag->kind != VKS_TENSOR_STATE || flag->dtype != VKS_I32)
        return vks_graph_fail(graph, "sort needs (rows, columns) floats and an int32 flag, not %s and %s",
                              vks_tensor_text(graph, x), vks_tensor_text(graph, flag)) != NULL;
    if (x->shape[0] > 1u << 30)
        return vks_graph_fail(graph, "sort: %u rows are too many: use at most 2^30", x->shape[0]) != NULL;
    if (!vks_graph_output(graph, node, VKS_F32, 2, x->shape) || !vks_graph_output(graph, node, VKS_I32, 2, x->shape))
        return false;
    node->outputs[node->output_count++] = flag;
    return true;
}

static double sort_flop(const struct vks_node *node)
{
    const double rows = node->outputs[0]->shape[0], cols = node->outputs[0]->shape[1];
    double steps = 0;
    if (rows <= SHORT_ROWS)
        return 2 * rows * rows * cols;
    for (double k = 1; k < rows; k *= 2)
        steps++;
    return 4 * rows * cols * steps * (steps + 1) / 2;
}

static const struct vks_op op_sort_columns = {
    .name = "sort_columns",
    .infer = sort_infer,
    .emit = sort_emit,
    .flop = sort_flop,
    .strided = 1,
};

bool vks_sort_columns(struct vks_graph *g, vks_tensor *x, vks_tensor *flag, vks_tensor **sorted,
                      vks_tensor **permutation)
{
    *sorted = *permutation = NULL;
    if (!x || !flag)
        return false;
    *sorted = vks_graph_add(g, &op_sort_columns, &x, 1, &flag, sizeof(flag));
    *permutation = vks_tensor_sibling(*sorted, 1);
    return *sorted != NULL;
}
