#include "ops/common.h"
#include "ops/matmul.h"
#include "ops/ops.h"

// Elements of the panel that rows are unpacked into: 16 MiB.
#define PANEL ((uint64_t)4 << 20)

uint32_t vks_packed_words(enum vks_quant_type type, uint32_t columns)
{
    const struct vks_quant *quant = vks_quant(type);
    return (uint32_t)(((uint64_t)columns / quant->elements * quant->bytes + 15) / 16 * 4);
}

bool vks_packed_can(enum vks_quant_type type, uint32_t columns)
{
    const struct vks_quant *quant = vks_quant(type);
    return quant && quant->elements > 1 && columns && columns % quant->elements == 0;
}

// Whether input `index` holds `rows` rows (0: any number) of what the attributes say.
static bool want_packed(struct vks_graph *graph, const struct vks_node *node, uint32_t index, uint32_t rows)
{
    const struct vks_packed *attrs = node->attrs;
    const struct vks_tensor *packed = node->inputs[index];
    return (vks_packed_can(attrs->type, attrs->columns) && packed->rank == 2 && packed->dtype == VKS_I32 &&
            packed->shape[1] == vks_packed_words(attrs->type, attrs->columns) &&
            (!rows || packed->shape[0] == rows)) ||
           vks_graph_fail(graph, "%s: %s does not hold rows of %u elements in blocks", node->op->name,
                          vks_tensor_text(graph, packed), attrs->columns);
}

// ---- products -----------------------------------------------------------------------------------------------------

static bool infer_linear(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_packed *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0];
    if (!vks_want_f32(graph, node, 0) || !want_packed(graph, node, 1, 0))
        return false;
    if (vks_tensor_channels(x) != attrs->columns)
        return vks_graph_fail(graph, "linear_packed: a weight of %u columns does not fit %s", attrs->columns,
                              vks_tensor_text(graph, x)) != NULL;
    return vks_output_channels(graph, node, x, node->inputs[1]->shape[0]) != NULL;
}

static bool infer_transposed(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_packed *attrs = node->attrs;
    return vks_want_f32(graph, node, 0) && want_packed(graph, node, 1, vks_tensor_channels(node->inputs[0])) &&
           vks_output_channels(graph, node, node->inputs[0], attrs->columns) != NULL;
}

// Elements that an invocation of unpack_blocks makes: on CPU drivers what shares its words, see blocks.glsl.
static uint32_t width_of(const struct vks_emitter *emitter, enum vks_quant_type type, const struct vks_tensor *packed)
{
    return !emitter->limits.wide_loads || !vks_aligned(packed, 0) ? 4
           : vks_quant(type)->elements < 256                    ? 32
           : type == VKS_QUANT_Q4_K || type == VKS_QUANT_Q5_K ? 64
                                                                : 128;
}

// Rows [first, first + count) into the panel.
static bool unpack_rows(struct vks_emitter *emitter, const struct vks_node *node, const struct vks_tensor *panel,
                        uint32_t first, uint32_t count)
{
    const struct vks_packed *attrs = node->attrs;
    const struct vks_tensor *packed = node->inputs[1];
    const uint32_t words = packed->shape[1], width = width_of(emitter, attrs->type, packed);
    const uint32_t spec[] = {attrs->type, 0, width > 4};
    const uint64_t most = vks_rows_per_slice(emitter, count, 4 * (uint64_t)attrs->columns);
    if (most == 0)
        return vks_fail_row(emitter, packed);
    for (uint64_t at = 0; at < count; at += most) {
        const uint64_t n = vks_min_u64(most, count - at);
        const struct vks_operand operands[] = {
            vks_write(panel, at * attrs->columns, n * attrs->columns),
            vks_read(packed, (first + at) * words, n * words),
            vks_unused(),
        };
        const struct vks_push_unpack_blocks push = {
            .count = (uint32_t)n, .cols = attrs->columns, .words = words, .rows = (uint32_t)n};
        if (!vks_emit_special(emitter, VKS_K_unpack_blocks, spec, 3, operands, 3, &push, sizeof(push),
                              vks_groups_1d(n * attrs->columns / width, VKS_GROUP)))
            return false;
    }
    return true;
}

// Inputs of a product: x, the matrix, and what is added to the output, or NULL.
#define INPUTS 3

// Some rows of W are unpacked, multiplied, and the next take their place: columns of y, or terms of dx.
static bool emit_product(struct vks_emitter *emitter, const struct vks_node *node, enum vks_matmul_form form)
{
    const struct vks_packed *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0], *y = node->outputs[0];
    const uint32_t all = node->inputs[1]->shape[0], columns = attrs->columns;
    const uint64_t most = PANEL / columns ? PANEL / columns : 1;
    const uint32_t piece = (uint32_t)vks_min_u64(most > 32 ? most / 32 * 32 : most, all);
    const struct vks_tensor *panel = vks_emit_scratch(emitter, (uint64_t)piece * columns);
    if (!panel)
        return false;
    for (uint32_t at = 0; at < all; at += piece) {
        const uint32_t n = all - at < piece ? all - at : piece;
        const bool nt = form == VKS_MATMUL_NT;
        if (!unpack_rows(emitter, node, panel, at, n) ||
            !vks_emit_matmul(emitter, &(struct vks_matmul){
                .form = form,
                .m = (uint32_t)vks_tensor_rows(x), .n = nt ? n : columns, .k = nt ? columns : n,
                .a = {.tensor = x, .first = nt ? 0 : at, .stride = vks_tensor_channels(x)},
                .b = {.tensor = panel, .stride = columns},
                .c = {.tensor = y, .first = nt ? at : 0, .stride = vks_tensor_channels(y)},
                .accumulate = !nt && at > 0,
                .plus = nt || at + n == all ? node->inputs[2] : NULL,
                .rows = y,
            }))
            return false;
    }
    return true;
}

// Few rows: the blocks are unpacked in the kernel that multiplies.
static bool emit_few(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_packed *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0], *packed = node->inputs[1], *y = node->outputs[0];
    return vks_emit_matmul(emitter, &(struct vks_matmul){
        .form = VKS_MATMUL_NT,
        .m = (uint32_t)vks_tensor_rows(x), .n = packed->shape[0], .k = attrs->columns,
        .a = {.tensor = x, .stride = attrs->columns},
        .b = {.tensor = packed, .stride = packed->shape[1]},
        .c = {.tensor = y, .stride = packed->shape[0]},
        .blocks = attrs->type,
        .plus = node->inputs[2],
        .rows = y,
    });
}

static bool emit_linear(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_packed *attrs = node->attrs;
    const struct vks_tensor *x = node->inputs[0], *packed = node->inputs[1];
    const uint64_t rows = vks_tensor_rows(x);
    if (rows <= UINT32_MAX &&
        vks_matmul_takes_blocks(&emitter->limits, (uint32_t)rows, attrs->columns, packed))
        return emit_few(emitter, node);
    return emit_product(emitter, node, VKS_MATMUL_NT);
}

static bool emit_transposed(struct vks_emitter *emitter, const struct vks_node *node)
{
    return emit_product(emitter, node, VKS_MATMUL_NN);
}

static double flop_product(const struct vks_node *node)
{
    return 2.0 * (double)vks_tensor_elements(node->outputs[0]) * (double)vks_tensor_channels(node->inputs[0]);
}

// dx = dy W
static bool backward_linear(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                            const bool want[], struct vks_tensor *dx[])
{
    dx[2] = want[2] ? dy[0] : NULL;
    if (want[0])
        dx[0] = vks_linear_packed_transposed(graph, dy[0], node->inputs[1], node->attrs);
    return !want[0] || dx[0];
}

// dx = dy Wᵀ
static bool backward_transposed(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                                const bool want[], struct vks_tensor *dx[])
{
    dx[2] = want[2] ? dy[0] : NULL;
    if (want[0])
        dx[0] = vks_linear_packed(graph, dy[0], node->inputs[1], node->attrs);
    return !want[0] || dx[0];
}

static struct vks_tensor *fuse(struct vks_graph *graph, const struct vks_node *node, const struct vks_node *next)
{
    return vks_fuse_plus(graph, node, next, 2);
}

static const struct vks_op linear_op = {
    .name = "linear_packed",
    .infer = infer_linear,
    .emit = emit_linear,
    .backward = backward_linear,
    .differentiable = 1 | 4,
    .fuse = fuse,
    .flop = flop_product,
};

static const struct vks_op transposed_op = {
    .name = "linear_packed_transposed",
    .infer = infer_transposed,
    .emit = emit_transposed,
    .backward = backward_transposed,
    .differentiable = 1 | 4,
    .fuse = fuse,
    .flop = flop_product,
};

vks_tensor *vks_linear_packed(struct vks_graph *g, vks_tensor *x, vks_tensor *packed, const struct vks_packed *attrs)
{
    vks_tensor *const inputs[INPUTS] = {x, packed};
    return x && packed ? vks_graph_add(g, &linear_op, inputs, INPUTS, attrs, sizeof(*attrs)) : NULL;
}

vks_tensor *vks_linear_packed_transposed(struct vks_graph *g, vks_tensor *x, vks_tensor *packed,
                                         const struct vks_packed *attrs)
{
    vks_tensor *const inputs[INPUTS] = {x, packed};
    return x && packed ? vks_graph_add(g, &transposed_op, inputs, INPUTS, attrs, sizeof(*attrs)) : NULL;
}

// ---- embedding ----------------------------------------------------------------------------------------------------

static bool infer_embedding(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_packed *attrs = node->attrs;
    const struct vks_tensor *ids = node->inputs[0];
    uint32_t shape[VKS_MAX_RANK];
    if (ids->dtype != VKS_I32 || ids->rank == VKS_MAX_RANK)
        return vks_graph_fail(graph, "embedding_packed: %s must be int32", vks_tensor_text(graph, ids)) != NULL;
    if (!want_packed(graph, node, 1, 0))
        return false;
    memcpy(shape, ids->shape, sizeof(shape));
    shape[ids->rank] = attrs->columns;
    struct vks_tensor *y = vks_graph_output(graph, node, VKS_F32, ids->rank + 1, shape);
    if (y)
        vks_follow(y, ids);
    return y != NULL;
}

static bool emit_embedding(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_packed *attrs = node->attrs;
    const struct vks_tensor *y = node->outputs[0], *ids = node->inputs[0], *packed = node->inputs[1];
    const uint64_t cols = attrs->columns, words = packed->shape[1], table = packed->shape[0];
    const uint64_t rows = vks_tensor_rows(y);
    const uint32_t width = width_of(emitter, attrs->type, packed), spec[] = {attrs->type, 1, width > 4};
    const uint64_t most = vks_rows_per_slice(emitter, rows, 4 * cols);
    const uint64_t most_table = vks_rows_per_slice(emitter, table, 4 * words);
    if (most == 0 || most_table == 0)
        return vks_fail_row(emitter, packed);
    for (uint64_t row = 0; row < rows; row += most)
        for (uint64_t first = 0; first < table; first += most_table) {
            const uint64_t n = vks_min_u64(most, rows - row), seen = vks_min_u64(most_table, table - first);
            const struct vks_operand operands[] = {
                // Rows that other stretches of the table give stay as they are.
                table > most_table ? vks_update(y, row * cols, n * cols) : vks_write(y, row * cols, n * cols),
                vks_read(packed, first * words, seen * words),
                vks_read(ids, row, n),
            };
            const struct vks_push_unpack_blocks push = {
                .count = (uint32_t)n, .cols = (uint32_t)cols, .words = (uint32_t)words, .rows = (uint32_t)table,
                .row_first = (uint32_t)first, .row_count = (uint32_t)seen};
            if (!vks_emit_special(emitter, VKS_K_unpack_blocks, spec, 3, operands, 3, &push, sizeof(push),
                                  vks_groups_rows(y, row, n, cols / width, VKS_GROUP)))
                return false;
        }
    return true;
}

static double flop_embedding(const struct vks_node *node)
{
    return 4.0 * (double)vks_tensor_elements(node->outputs[0]);
}

static const struct vks_op embedding_op = {
    .name = "embedding_packed",
    .infer = infer_embedding,
    .emit = emit_embedding,
    .flop = flop_embedding,
};

vks_tensor *vks_embedding_packed(struct vks_graph *g, vks_tensor *ids, vks_tensor *packed,
                                 const struct vks_packed *attrs)
{
    vks_tensor *const inputs[] = {ids, packed};
    return ids && packed ? vks_graph_add(g, &embedding_op, inputs, 2, attrs, sizeof(*attrs)) : NULL;
}
