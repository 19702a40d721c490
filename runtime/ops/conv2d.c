// Convolution as a matrix product over pixels: the same kernels as runtime/ops/matmul.c, with rows of A that move
// from tap to tap. No im2col; the order of a sum is (kh, kw, channel), the same for every cut. Where loads and products
// cost the same everywhere, 3 x 3 taps go another way: runtime/ops/winograd.c.
#include "ops/common.h"
#include "ops/matmul.h"
#include "ops/ops.h"
#include "ops/winograd.h"

// As in shaders/include/matmul.glsl with CONV.
enum { VEC_A = 1, VEC_B = 2, VEC_C = 4, TAIL = 32, PLUS = 64, START_BIAS = 128 };

// Inputs: x or dy, weight, bias or NULL, and what is added to the output, or NULL.
#define INPUTS 4

struct conv2d {
    struct vks_conv2d conv;
    uint32_t h, w;  // of x: the gradient of the input cannot tell them from dy
};

// x (B, H, W, Cin), y (B, H', W', Cout), weight (Cout, KH, KW, Cin)
struct shape {
    uint32_t samples, h, w, cin, oh, ow, cout, kh, kw, stride, before;
};

static struct shape shape_of(const struct vks_tensor *x, const struct vks_tensor *y, const struct vks_tensor *weight,
                             const struct vks_conv2d *conv)
{
    return (struct shape){
        .samples = x->shape[0], .h = x->shape[1], .w = x->shape[2], .cin = x->shape[3],
        .oh = y->shape[1], .ow = y->shape[2], .cout = y->shape[3],
        .kh = weight->shape[1], .kw = weight->shape[2], .stride = conv->stride, .before = conv->pad_before,
    };
}

static uint32_t output_extent(uint32_t extent, uint32_t kernel, const struct vks_conv2d *conv)
{
    const uint64_t padded = (uint64_t)extent + conv->pad_before + conv->pad_after;
    return padded < kernel ? 0 : (uint32_t)((padded - kernel) / conv->stride + 1);
}

static bool want_shapes(struct vks_graph *graph, const struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *w = node->inputs[1];
    const struct vks_conv2d *conv = &((const struct conv2d *)node->attrs)->conv;
    if (x->rank != 4 || w->rank != 4 || w->dtype == VKS_I32 || x->dynamic)
        return vks_graph_fail(graph, "%s: %s and the weight %s are no pictures (B, H, W, C) and kernels "
                              "(Cout, KH, KW, Cin)", node->op->name, vks_tensor_text(graph, x),
                              vks_tensor_text(graph, w)) != NULL;
    if (conv->stride < 1 || conv->stride > 2)
        return vks_graph_fail(graph, "%s: stride %u: 1 and 2 are supported", node->op->name, conv->stride) != NULL;
    return vks_want_f32(graph, node, 0) && vks_want_f32(graph, node, 2);
}

static bool infer(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *w = node->inputs[1], *bias = node->inputs[2];
    const struct conv2d *attrs = node->attrs;
    if (!want_shapes(graph, node))
        return false;
    const uint32_t oh = output_extent(x->shape[1], w->shape[1], &attrs->conv);
    const uint32_t ow = output_extent(x->shape[2], w->shape[2], &attrs->conv);
    if (x->shape[3] != w->shape[3] || (bias && vks_tensor_elements(bias) != w->shape[0]) || oh == 0 || ow == 0)
        return vks_graph_fail(graph, "conv2d: the weight %s%s does not fit %s", vks_tensor_text(graph, w),
                              bias ? " or its bias" : "", vks_tensor_text(graph, x)) != NULL;
    return vks_graph_output(graph, node, VKS_F32, 4, (const uint32_t[]){x->shape[0], oh, ow, w->shape[0]}) != NULL;
}

static bool infer_input(struct vks_graph *graph, struct vks_node *node)
{
    const struct vks_tensor *dy = node->inputs[0], *w = node->inputs[1];
    const struct conv2d *attrs = node->attrs;
    if (!want_shapes(graph, node))
        return false;
    if (dy->shape[3] != w->shape[0] || dy->shape[1] != output_extent(attrs->h, w->shape[1], &attrs->conv) ||
        dy->shape[2] != output_extent(attrs->w, w->shape[2], &attrs->conv))
        return vks_graph_fail(graph, "conv2d_input: the weight %s does not fit %s", vks_tensor_text(graph, w),
                              vks_tensor_text(graph, dy)) != NULL;
    const uint32_t shape[] = {dy->shape[0], attrs->h, attrs->w, w->shape[3]};
    return vks_graph_output(graph, node, VKS_F32, 4, shape) != NULL;
}

// One family of dispatches: all pixels of a grid, cut into samples, grid rows and columns of B.
struct product {
    const struct vks_tensor *source, *target, *bias, *plus;
    struct vks_matrix b;              // its first row, in form `form`
    enum vks_matmul_form form;
    struct vks_push_conv2d push;      // without m, n, row0, a0, c0, flags
    uint32_t samples, grid_rows, n;
    uint32_t ty, tx;                  // taps
    uint32_t n_first;                 // column of C at which B begins
    uint64_t c_first;                 // element of C of grid pixel (0, 0, 0), column 0
    uint64_t b_tail;                  // elements of B from the first one of its last row to its end
};

struct window {
    uint32_t sample, samples, row, rows;  // grid rows [row, row + rows) of each of the samples
};

// Source rows that grid rows [row, row + rows) read, as a range clipped to the picture.
static void source_rows(const struct product *product, const struct window *window, uint32_t *first, uint32_t *count)
{
    const struct vks_push_conv2d *p = &product->push;
    const int64_t a = (int64_t)window->row * p->step + (int32_t)p->add_y;
    const int64_t b = ((int64_t)window->row + window->rows - 1) * p->step + (int32_t)p->add_y;
    const int64_t reach = (int64_t)(int32_t)p->tap * ((int64_t)product->ty - 1);
    int64_t low = reach < 0 && product->ty ? a + reach : a, high = reach > 0 ? b + reach : b;
    low = low < 0 ? 0 : low > (int64_t)p->sh - 1 ? (int64_t)p->sh - 1 : low;
    high = high < low ? low : high > (int64_t)p->sh - 1 ? (int64_t)p->sh - 1 : high;
    *first = (uint32_t)low;
    *count = (uint32_t)(high - low + 1);
}

static uint64_t source_span(const struct product *product, const struct window *window, uint64_t *first)
{
    const struct vks_push_conv2d *p = &product->push;
    uint32_t row, rows;
    source_rows(product, window, &row, &rows);
    const uint64_t line = (uint64_t)p->sw * p->lda;
    *first = ((uint64_t)window->sample * p->sh + row) * line;
    return ((uint64_t)(window->samples - 1) * p->sh + rows) * line;
}

static uint64_t target_span(const struct product *product, const struct window *window, uint32_t n)
{
    const struct vks_push_conv2d *p = &product->push;
    return (uint64_t)(window->samples - 1) * p->c_b + (uint64_t)(window->rows - 1) * p->c_y +
           (uint64_t)(p->gw - 1) * p->c_x + n;
}

static uint64_t b_span(const struct product *product, uint32_t n)
{
    const uint64_t rows = product->form == VKS_MATMUL_NT ? n : product->push.k;
    return (rows - 1) * product->push.ldb + product->b_tail;
}

static bool emit_window(struct vks_emitter *emitter, const struct product *product, const struct window *window,
                        uint32_t j, uint32_t n)
{
    const bool nt = product->form == VKS_MATMUL_NT;
    struct vks_push_conv2d push = product->push;
    uint64_t source_first;
    uint32_t source_row, source_count;
    source_rows(product, window, &source_row, &source_count);
    const uint64_t source_count_all = source_span(product, window, &source_first);
    push.m = window->samples * window->rows * push.gw;
    push.n = n;
    push.row0 = window->row * push.gw;
    push.a0 = source_row * push.sw * push.lda;
    push.c0 = window->row * push.c_y;
    push.taps = product->ty << 16 | product->tx;
    const struct vks_matrix b = {.tensor = product->b.tensor, .stride = push.ldb,
                                 .first = product->b.first + (nt ? (uint64_t)j * push.ldb : j),
                                 .batch = {push.wx, push.wy}};
    const uint64_t c_first = product->c_first + (uint64_t)window->sample * push.c_b +
                             (uint64_t)window->row * push.c_y + product->n_first + j;
    const struct vks_matrix a = {.tensor = product->source, .first = source_first, .stride = push.lda};
    const struct vks_matrix c = {.tensor = product->target, .first = c_first, .stride = push.c_x};
    const struct vks_matmul_kernel *kernel =
        vks_matmul_kernel(vks_matmul_choose(&emitter->limits, product->form, UINT32_MAX, product->n));
    const uint32_t flags = (vks_matmul_aligned(&a) ? VEC_A : 0) |
                           (vks_matmul_aligned(&b) && (nt || n % 4 == 0) ? VEC_B : 0) |
                           (vks_matmul_aligned(&c) && n % 4 == 0 && (!product->plus || vks_aligned(product->plus, 0))
                                ? VEC_C : 0) |
                           (product->bias ? START_BIAS : 0) | (product->plus ? PLUS : 0) | (push.k % 4 ? TAIL : 0) |
                           vks_matmul_device_flags(&emitter->limits, kernel);
    const struct vks_operand operands[] = {
        vks_read(product->source, source_first, source_count_all),
        vks_read(b.tensor, b.first, nt ? b_span(product, n) : b_span(product, n) - j),
        vks_write(product->target, c_first, target_span(product, window, n)),
        product->bias ? vks_read(product->bias, product->n_first + j, n) : vks_unused(),
        product->plus ? vks_read(product->plus, c_first, target_span(product, window, n)) : vks_unused(),
    };
    struct vks_groups groups = vks_groups_1d(push.m, kernel->rows);
    groups.z = vks_ceil_div(n, kernel->cols);
    return vks_emit_special(emitter, kernel->conv2d, (const uint32_t[]){product->form, b.tensor->dtype, flags}, 3,
                            operands, 5, &push, sizeof(push), groups);
}

// Cuts to the limits: samples first, then grid rows with their halo, then columns (form NT only).
static bool emit_product(struct vks_emitter *emitter, const struct product *product)
{
    const uint64_t most = emitter->limits.max_range / sizeof(float);
    const uint64_t most_b = emitter->limits.max_range / vks_dtype_size(product->b.tensor->dtype);
    struct window all = {.samples = product->samples, .rows = product->grid_rows};
    uint32_t n = product->n;
    uint64_t first;
    while (product->form == VKS_MATMUL_NT && n > 1 && b_span(product, n) > most_b)
        n = n > 64 ? vks_ceil_div(n, 64) * 32 : n > 4 ? vks_ceil_div(n, 8) * 4 : n / 2;
    // The widest halo is that of a window inside the picture.
    while (source_span(product, &all, &first) + (all.rows < product->grid_rows ? (uint64_t)product->ty *
           product->push.sw * product->push.lda : 0) > most || target_span(product, &all, n) > most) {
        if (all.samples > 1)
            all.samples = (all.samples + 1) / 2;
        else if (all.rows > 1)
            all.rows = (all.rows + 1) / 2;
        else
            return vks_fail_row(emitter, product->source);
    }
    if (b_span(product, n) > most_b)
        return vks_fail_row(emitter, product->b.tensor);
    struct window window;
    for (window.sample = 0; window.sample < product->samples; window.sample += all.samples)
        for (window.row = 0; window.row < product->grid_rows; window.row += all.rows)
            for (uint32_t j = 0; j < product->n; j += n) {
                window.samples = (uint32_t)vks_min_u64(all.samples, product->samples - window.sample);
                window.rows = (uint32_t)vks_min_u64(all.rows, product->grid_rows - window.row);
                if (!emit_window(emitter, product, &window, j, (uint32_t)vks_min_u64(n, product->n - j)))
                    return false;
            }
    return true;
}

// A convolution of single pixels is a plain matrix product.
static bool emit_pointwise(struct vks_emitter *emitter, const struct vks_node *node, enum vks_matmul_form form)
{
    const struct vks_tensor *x = node->inputs[0], *y = node->outputs[0], *w = node->inputs[1];
    const uint32_t k = vks_tensor_channels(x), n = vks_tensor_channels(y);
    return vks_emit_matmul(emitter, &(struct vks_matmul){
        .form = form,
        .m = (uint32_t)vks_tensor_rows(x), .n = n, .k = k,
        .a = {.tensor = x, .stride = k},
        .b = {.tensor = w, .stride = w->shape[3]},
        .c = {.tensor = y, .stride = n},
        .bias = node->inputs[2],
        .plus = node->inputs[3],
    });
}

static bool is_pointwise(const struct shape *s, const struct vks_conv2d *conv)
{
    return s->kh == 1 && s->kw == 1 && s->stride == 1 && conv->pad_before == 0 && conv->pad_after == 0;
}

static bool is_bordered(const struct shape *s, const struct vks_conv2d *conv)
{
    return s->kh == 3 && s->kw == 3 && s->stride == 1 && conv->pad_before == 1 && conv->pad_after == 1;
}

static bool emit(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *w = node->inputs[1], *y = node->outputs[0];
    const struct vks_conv2d *conv = &((const struct conv2d *)node->attrs)->conv;
    const struct shape s = shape_of(x, y, w, conv);
    if (is_pointwise(&s, conv))
        return emit_pointwise(emitter, node, VKS_MATMUL_NT);
    const struct vks_winograd winograd = {
        .source = x, .target = y, .weight = w, .bias = node->inputs[2], .plus = node->inputs[3]};
    if (is_bordered(&s, conv) && vks_winograd_takes(emitter, &winograd))
        return vks_emit_winograd(emitter, &winograd);
    return emit_product(emitter, &(struct product){
        .source = x, .target = y, .bias = node->inputs[2], .plus = node->inputs[3],
        .b = {.tensor = w}, .form = VKS_MATMUL_NT,
        .push = {
            .k = s.cin, .lda = s.cin, .ldb = s.kh * s.kw * s.cin,
            .gh = s.oh, .gw = s.ow, .sh = s.h, .sw = s.w,
            .step = s.stride, .add_y = 0u - s.before, .add_x = 0u - s.before, .tap = 1,
            .wy = s.kw * s.cin, .wx = s.cin,
            .c_b = s.oh * s.ow * s.cout, .c_y = s.ow * s.cout, .c_x = s.cout,
        },
        .ty = s.kh, .tx = s.kw, .samples = s.samples, .grid_rows = s.oh, .n = s.cout,
        .b_tail = (uint64_t)s.kh * s.kw * s.cin,
    });
}

// ---- input gradient -----------------------------------------------------------------------------------------------

// Weights that no binding holds whole: columns [first, first + count) as fp32 rows (column, KH, KW, Cout).
static struct vks_tensor *unpack_columns(struct vks_emitter *emitter, const struct vks_tensor *weight, uint32_t first,
                                         uint32_t count)
{
    const uint32_t cout = weight->shape[0], taps = weight->shape[1] * weight->shape[2], cin = weight->shape[3];
    const uint64_t row = (uint64_t)taps * cin * vks_dtype_size(weight->dtype);
    const uint64_t rows = vks_rows_per_slice(emitter, cout, row);
    struct vks_tensor *panel = vks_emit_scratch(emitter, (uint64_t)count * taps * cout);
    if (!panel || rows == 0)
        return rows ? NULL : (vks_fail_row(emitter, weight), NULL);
    for (uint64_t o = 0; o < cout; o += rows) {
        const uint32_t n = (uint32_t)vks_min_u64(rows, cout - o);
        const struct vks_push_unpack push = {
            .ni = n, .nj = taps, .nl = count,
            .si = taps * cin, .sj = cin, .sl = 1,
            .di = 1, .dj = cout, .dl = taps * cout,
        };
        const struct vks_operand operands[] = {
            vks_write(panel, o, (uint64_t)(count * taps - 1) * cout + n),
            vks_read(weight, o * taps * cin + first, (uint64_t)(n - 1) * taps * cin + (taps - 1) * cin + count),
        };
        if (!vks_emit_special(emitter, VKS_K_unpack, (const uint32_t[]){weight->dtype}, 1, operands, 2, &push,
                              sizeof(push), vks_groups_1d((uint64_t)n * taps * count, VKS_GROUP)))
            return NULL;
    }
    return panel;
}

// The pixels of dx with row and column of parity (py, px) modulo the stride: one product, for they see the same taps.
static struct product parity(const struct vks_node *node, const struct shape *s, uint32_t py, uint32_t px)
{
    const uint32_t kh0 = (py + s->before) % s->stride, kw0 = (px + s->before) % s->stride;
    return (struct product){
        .source = node->inputs[0], .target = node->outputs[0], .plus = node->inputs[3],
        .b = {.tensor = node->inputs[1], .first = ((uint64_t)kh0 * s->kw + kw0) * s->cin}, .form = VKS_MATMUL_NN,
        .push = {
            .k = s->cout, .lda = s->cout, .ldb = s->kh * s->kw * s->cin,
            .gh = vks_ceil_div(s->h - py, s->stride), .gw = vks_ceil_div(s->w - px, s->stride),
            .sh = s->oh, .sw = s->ow,
            .step = 1, .add_y = (py + s->before - kh0) / s->stride, .add_x = (px + s->before - kw0) / s->stride,
            .tap = UINT32_MAX,
            .wy = s->stride * s->kw * s->cin, .wx = s->stride * s->cin,
            .c_b = s->h * s->w * s->cin, .c_y = s->stride * s->w * s->cin, .c_x = s->stride * s->cin,
        },
        .ty = kh0 < s->kh ? vks_ceil_div(s->kh - kh0, s->stride) : 0,
        .tx = kw0 < s->kw ? vks_ceil_div(s->kw - kw0, s->stride) : 0,
        .samples = s->samples, .grid_rows = vks_ceil_div(s->h - py, s->stride), .n = s->cin,
        .c_first = ((uint64_t)py * s->w + px) * s->cin,
        .b_tail = (uint64_t)s->kh * s->kw * s->cin - ((uint64_t)kh0 * s->kw + kw0) * s->cin,
    };
}

// The same with a panel of columns in place of the weight.
static void use_panel(struct product *product, const struct shape *s, const struct vks_tensor *panel, uint32_t first,
                      uint32_t count, uint32_t tap)
{
    product->form = VKS_MATMUL_NT;
    product->b = (struct vks_matrix){.tensor = panel, .first = (uint64_t)tap * s->cout};
    product->b_tail = ((uint64_t)s->kh * s->kw - tap) * s->cout;
    product->push.ldb = s->kh * s->kw * s->cout;
    product->push.wy = s->stride * s->kw * s->cout;
    product->push.wx = s->stride * s->cout;
    product->n_first = first;
    product->n = count;
}

static bool emit_parities(struct vks_emitter *emitter, const struct vks_node *node, const struct shape *s,
                          const struct vks_tensor *panel, uint32_t first, uint32_t count)
{
    for (uint32_t py = 0; py < s->stride && py < s->h; py++)
        for (uint32_t px = 0; px < s->stride && px < s->w; px++) {
            struct product product = parity(node, s, py, px);
            const uint32_t kh0 = (py + s->before) % s->stride, kw0 = (px + s->before) % s->stride;
            const bool taps = product.ty && product.tx;
            if (!taps) {  // zeros: B is bound but not read
                product.ty = 0;
                product.b.first = 0;
                product.b_tail = (uint64_t)s->kh * s->kw * s->cin;
            }
            if (panel)
                use_panel(&product, s, panel, first, count, taps ? kh0 * s->kw + kw0 : 0);
            if (!emit_product(emitter, &product))
                return false;
        }
    return true;
}

static bool emit_input(struct vks_emitter *emitter, const struct vks_node *node)
{
    const struct vks_tensor *dy = node->inputs[0], *weight = node->inputs[1], *dx = node->outputs[0];
    const struct vks_conv2d *conv = &((const struct conv2d *)node->attrs)->conv;
    const struct shape s = shape_of(dx, dy, weight, conv);
    if (is_pointwise(&s, conv))
        return emit_pointwise(emitter, node, VKS_MATMUL_NN);
    const struct vks_winograd winograd = {
        .source = dy, .target = dx, .weight = weight, .plus = node->inputs[3], .turned = true};
    if (is_bordered(&s, conv) && vks_winograd_takes(emitter, &winograd))
        return vks_emit_winograd(emitter, &winograd);
    if (vks_tensor_elements(weight) * vks_dtype_size(weight->dtype) <= emitter->limits.max_range)
        return emit_parities(emitter, node, &s, NULL, 0, 0);
    uint64_t count = vks_rows_per_slice(emitter, s.cin, (uint64_t)s.kh * s.kw * s.cout * sizeof(float));
    if (count == 0)
        return vks_fail_row(emitter, weight);
    if (count > 4 && count < s.cin)
        count = count / 4 * 4;
    for (uint32_t j = 0; j < s.cin; j += (uint32_t)count) {
        const uint32_t n = (uint32_t)vks_min_u64(count, s.cin - j);
        const struct vks_tensor *panel = unpack_columns(emitter, weight, j, n);
        if (!panel || !emit_parities(emitter, node, &s, panel, j, n))
            return false;
    }
    return true;
}

static double flop(const struct vks_node *node)
{
    const struct vks_tensor *x = node->inputs[0], *y = node->outputs[0], *w = node->inputs[1];
    const double rows = (double)(vks_tensor_rows(x) < vks_tensor_rows(y) ? vks_tensor_rows(x) : vks_tensor_rows(y));
    return 2 * rows * (double)vks_tensor_elements(w);
}

static struct vks_tensor *fuse(struct vks_graph *graph, const struct vks_node *node, const struct vks_node *next)
{
    return vks_fuse_plus(graph, node, next, 3);
}

static const struct vks_op conv2d_input = {
    .name = "conv2d_input",
    .infer = infer_input,
    .emit = emit_input,
    .fuse = fuse,
    .flop = flop,
};

// dx = conv2d_input(dy)
static bool backward(struct vks_graph *graph, const struct vks_node *node, struct vks_tensor *const dy[],
                     const bool want[], struct vks_tensor *dx[])
{
    dx[3] = want[3] ? dy[0] : NULL;
    if (!want[0])
        return true;
    dx[0] = vks_graph_add(graph, &conv2d_input, (vks_tensor *[]){dy[0], node->inputs[1], NULL, NULL}, INPUTS,
                          node->attrs, sizeof(struct conv2d));
    return dx[0] != NULL;
}

static const struct vks_op conv2d = {
    .name = "conv2d",
    .infer = infer,
    .emit = emit,
    .backward = backward,
    .differentiable = 1 | 8,
    .fuse = fuse,
    .flop = flop,
};

vks_tensor *vks_conv2d(struct vks_graph *g, vks_tensor *x, vks_tensor *weight, vks_tensor *bias,
                       const struct vks_conv2d *attrs)
{
    if (!x || !weight)
        return NULL;
    const bool picture = x->rank == 4;
    const struct conv2d own = {.conv = *attrs, .h = picture ? x->shape[1] : 0, .w = picture ? x->shape[2] : 0};
    return vks_graph_add(g, &conv2d, (vks_tensor *[]){x, weight, bias, NULL}, INPUTS, &own, sizeof(own));
}
