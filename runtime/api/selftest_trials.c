// The operators of the self-test, each with its reference. Shapes are odd on purpose, where a kernel has a tail.
#include <math.h>

#include "api/selftest.h"

typedef struct vks_graph graph;

// ---- linear (M, K) x (N, K) ---------------------------------------------------------------------------------------

static void linear_reference(const double *x, const double *w, const double *b, double *y, int m, int n, int k)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = b ? b[j] : 0;
            for (int l = 0; l < k; l++)
                sum += x[i * k + l] * w[j * k + l];
            y[i * n + j] = sum;
        }
}

static vks_tensor *linear(graph *g, vks_tensor *const in[])
{
    return vks_linear(g, in[0], in[1], in[2]);
}

static void linear_even(double *const in[], double *y)
{
    linear_reference(in[0], in[1], in[2], y, 64, 96, 128);
}

static void linear_odd(double *const in[], double *y)
{
    linear_reference(in[0], in[1], in[2], y, 37, 29, 53);
}

static void linear_five(double *const in[], double *y)
{
    linear_reference(in[0], in[1], in[2], y, 5, 29, 53);
}

static vks_tensor *transposed(graph *g, vks_tensor *const in[])
{
    return vks_linear_transposed(g, in[0], in[1]);
}

static void transposed_reference(double *const in[], double *y)
{
    for (int i = 0; i < 37; i++)
        for (int k = 0; k < 53; k++) {
            y[i * 53 + k] = 0;
            for (int n = 0; n < 29; n++)
                y[i * 53 + k] += in[0][i * 29 + n] * in[1][n * 53 + k];
        }
}

// A matrix (7, 256) in blocks of Q4_K, whose words are any numbers: small ones, so that no scale is infinite.
static const struct vks_packed blocks = {VKS_QUANT_Q4_K, 256};

static vks_tensor *packed(graph *g, vks_tensor *const in[])
{
    return vks_linear_packed(g, in[0], in[1], &blocks);
}

static void packed_rows(double *const in[], double *y, int rows)
{
    uint32_t words[36];
    float row[256];
    for (int n = 0; n < 7; n++) {
        for (int i = 0; i < 36; i++)
            words[i] = (uint32_t)in[1][n * 36 + i];
        vks_quant_unpack(blocks.type, words, 256, row);
        for (int m = 0; m < rows; m++) {
            y[m * 7 + n] = 0;
            for (int k = 0; k < 256; k++)
                y[m * 7 + n] += in[0][m * 256 + k] * row[k];
        }
    }
}

static void packed_few(double *const in[], double *y)
{
    packed_rows(in, y, 5);
}

static void packed_many(double *const in[], double *y)
{
    packed_rows(in, y, 9);
}

// ---- conv2d: x (2, 9, 7, 12), weight (20, KH, KW, 12) -------------------------------------------------------------

static void conv_reference(double *const in[], double *y, int kernel, int stride, int pad, int oh, int ow)
{
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < oh; i++)
            for (int j = 0; j < ow; j++)
                for (int o = 0; o < 20; o++) {
                    double sum = in[2][o];
                    for (int u = 0; u < kernel; u++)
                        for (int v = 0; v < kernel; v++) {
                            const int r = i * stride + u - pad, c = j * stride + v - pad;
                            if (r < 0 || r >= 9 || c < 0 || c >= 7)
                                continue;
                            for (int k = 0; k < 12; k++)
                                sum += in[0][((b * 9 + r) * 7 + c) * 12 + k] *
                                       in[1][((o * kernel + u) * kernel + v) * 12 + k];
                        }
                    y[((b * oh + i) * ow + j) * 20 + o] = sum;
                }
}

static vks_tensor *conv_same(graph *g, vks_tensor *const in[])
{
    return vks_conv2d(g, in[0], in[1], in[2], &(struct vks_conv2d){1, 1, 1});
}

static void conv_same_reference(double *const in[], double *y)
{
    conv_reference(in, y, 3, 1, 1, 9, 7);
}

static vks_tensor *conv_half(graph *g, vks_tensor *const in[])
{
    return vks_conv2d(g, in[0], in[1], in[2], &(struct vks_conv2d){2, 1, 1});
}

static void conv_half_reference(double *const in[], double *y)
{
    conv_reference(in, y, 3, 2, 1, 5, 4);
}

// ---- norms: x (2, 7, 5, 12) in three groups; x (11, 40) -----------------------------------------------------------

static vks_tensor *group_norm(graph *g, vks_tensor *const in[])
{
    return vks_group_norm(g, in[0], in[1], in[2], 3, 1e-5f);
}

// Normalises `rows` rows of `count` channels, `stride` apart.
static void normalise(const double *x, double *y, const double *w, const double *b, int rows, int count, int stride)
{
    double mean = 0, variance = 0;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < count; c++)
            mean += x[r * stride + c] / (rows * count);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < count; c++)
            variance += (x[r * stride + c] - mean) * (x[r * stride + c] - mean) / (rows * count);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < count; c++)
            y[r * stride + c] = (x[r * stride + c] - mean) / sqrt(variance + 1e-5) * w[c] + b[c];
}

static void group_norm_reference(double *const in[], double *y)
{
    for (int s = 0; s < 2; s++)
        for (int k = 0; k < 3; k++)
            normalise(in[0] + s * 35 * 12 + 4 * k, y + s * 35 * 12 + 4 * k, in[1] + 4 * k, in[2] + 4 * k, 35, 4, 12);
}

static vks_tensor *layer_norm(graph *g, vks_tensor *const in[])
{
    return vks_layer_norm(g, in[0], in[1], in[2], 1e-5f);
}

static void layer_norm_reference(double *const in[], double *y)
{
    for (int r = 0; r < 11; r++)
        normalise(in[0] + r * 40, y + r * 40, in[1], in[2], 1, 40, 40);
}

static vks_tensor *rms_norm(graph *g, vks_tensor *const in[])
{
    return vks_rms_norm(g, in[0], in[1], 1, 1e-5f);
}

static void rms_norm_reference(double *const in[], double *y)
{
    for (int r = 0; r < 11; r++) {
        double square = 0;
        for (int c = 0; c < 40; c++)
            square += in[0][r * 40 + c] * in[0][r * 40 + c] / 40;
        for (int c = 0; c < 40; c++)
            y[r * 40 + c] = in[0][r * 40 + c] / sqrt(square + 1e-5) * (1 + in[1][c]);
    }
}

// ---- attention: q (2, 13, 24), k and v (2, 17, 24), 3 heads; causal: q, k, v (2, 13, 24) --------------------------

static void attention_reference(double *const in[], double *y, int keys, bool causal)
{
    enum { Q = 13, C = 24, HEADS = 3, D = C / HEADS };
    for (int b = 0; b < 2; b++)
        for (int h = 0; h < HEADS; h++)
            for (int i = 0; i < Q; i++) {
                double p[32], sum = 0, top = -1e300;
                const int seen = causal ? i + 1 : keys;
                for (int j = 0; j < seen; j++) {
                    p[j] = 0;
                    for (int d = 0; d < D; d++)
                        p[j] += in[0][(b * Q + i) * C + h * D + d] * in[1][(b * keys + j) * C + h * D + d] / sqrt(D);
                    top = fmax(top, p[j]);
                }
                for (int j = 0; j < seen; j++)
                    sum += p[j] = exp(p[j] - top);
                for (int d = 0; d < D; d++) {
                    double *out = &y[(b * Q + i) * C + h * D + d];
                    *out = 0;
                    for (int j = 0; j < seen; j++)
                        *out += p[j] / sum * in[2][(b * keys + j) * C + h * D + d];
                }
            }
}

static vks_tensor *attention(graph *g, vks_tensor *const in[])
{
    return vks_attention(g, in[0], in[1], in[2], NULL, &(struct vks_attention){.heads = 3});
}

static void attention_cross(double *const in[], double *y)
{
    attention_reference(in, y, 17, false);
}

static vks_tensor *causal(graph *g, vks_tensor *const in[])
{
    return vks_attention(g, in[0], in[1], in[2], NULL, &(struct vks_attention){.heads = 3, .causal = true});
}

static void attention_causal(double *const in[], double *y)
{
    attention_reference(in, y, 13, true);
}

// q (2, 5, 4 * 6), k and v (2, 9, 2 * 6): causal behind four keys, a window of 6, scores capped at 1.5
static vks_tensor *grouped(graph *g, vks_tensor *const in[])
{
    return vks_attention(g, in[0], in[1], in[2], NULL, &(struct vks_attention){
        .heads = 4, .kv_heads = 2, .causal = true, .window = 6, .softcap = 1.5f});
}

static void attention_grouped(double *const in[], double *y)
{
    for (int row = 0; row < 2 * 5 * 4; row++) {
        const int head = row % 4, i = row / 4 % 5, b = row / 20;
        double p[9], sum = 0;
        for (int j = i + 4 - 5; j <= i + 4; j++) {
            if (j < 0)
                continue;
            p[j] = 0;
            for (int d = 0; d < 6; d++)
                p[j] += in[0][row * 6 + d] * in[1][((b * 9 + j) * 2 + head / 2) * 6 + d] / sqrt(6);
            sum += p[j] = exp(1.5 * tanh(p[j] / 1.5));
        }
        for (int d = 0; d < 6; d++) {
            y[row * 6 + d] = 0;
            for (int j = i < 1 ? 0 : i - 1; j <= i + 4; j++)
                y[row * 6 + d] += p[j] / sum * in[2][((b * 9 + j) * 2 + head / 2) * 6 + d];
        }
    }
}

// x (2, 5, 3 * 14), of whose heads 12 channels turn by rows of a table (7, 12)
static vks_tensor *rope(graph *g, vks_tensor *const in[])
{
    return vks_rope(g, in[0], vks_embedding(g, in[1], in[2]), 3);
}

static void rope_reference(double *const in[], double *y)
{
    for (int row = 0; row < 10; row++)
        for (int h = 0; h < 3; h++) {
            const double *x = in[0] + row * 42 + h * 14, *angle = in[2] + 12 * (int)in[1][row];
            double *out = y + row * 42 + h * 14;
            for (int i = 0; i < 6; i++) {
                out[i] = angle[i] * x[i] - angle[6 + i] * x[6 + i];
                out[6 + i] = angle[i] * x[6 + i] + angle[6 + i] * x[i];
            }
            out[12] = x[12];
            out[13] = x[13];
        }
}

static vks_tensor *softmax(graph *g, vks_tensor *const in[])
{
    return vks_softmax(g, in[0]);
}

static void softmax_reference(double *const in[], double *y)
{
    for (int r = 0; r < 9; r++) {
        double sum = 0;
        for (int c = 0; c < 70; c++)
            sum += exp(in[0][r * 70 + c]);
        for (int c = 0; c < 70; c++)
            y[r * 70 + c] = exp(in[0][r * 70 + c]) / sum;
    }
}

// ---- elementwise: 999 values of -4 to 4 ---------------------------------------------------------------------------

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double gelu(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}

static double unary_value(enum vks_unary kind, double x)
{
    switch (kind) {
    case VKS_SILU:
        return x * sigmoid(x);
    case VKS_GELU:
        return gelu(x);
    case VKS_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case VKS_QUICK_GELU:
        return x * sigmoid(1.702 * x);
    case VKS_RELU:
        return fmax(x, 0);
    case VKS_TANH:
        return tanh(x);
    case VKS_SIGMOID:
        return sigmoid(x);
    }
    return x;
}

#define UNARY(name, kind)                                          \
    static vks_tensor *name(graph *g, vks_tensor *const in[])      \
    {                                                              \
        return vks_unary(g, vks_scale(g, in[0], 4, 0), kind);      \
    }                                                              \
    static void name##_reference(double *const in[], double *y)    \
    {                                                              \
        for (int i = 0; i < 999; i++)                              \
            y[i] = unary_value(kind, 4 * in[0][i]);                \
    }
UNARY(silu, VKS_SILU)
UNARY(gelu_exact, VKS_GELU)
UNARY(gelu_tanh, VKS_GELU_TANH)
UNARY(quick_gelu, VKS_QUICK_GELU)
UNARY(tanh_op, VKS_TANH)
UNARY(sigmoid_op, VKS_SIGMOID)

static vks_tensor *geglu(graph *g, vks_tensor *const in[])
{
    return vks_geglu(g, in[0]);
}

static void geglu_reference(double *const in[], double *y)
{
    for (int r = 0; r < 11; r++)
        for (int c = 0; c < 21; c++)
            y[r * 21 + c] = in[0][r * 42 + c] * gelu(in[0][r * 42 + 21 + c]);
}

// y = (x + per-channel) * z, per sample
static vks_tensor *arithmetic(graph *g, vks_tensor *const in[])
{
    return vks_multiply(g, vks_add(g, vks_add(g, in[0], in[1]), in[3]), in[2]);
}

static void arithmetic_reference(double *const in[], double *y)
{
    for (int b = 0; b < 3; b++)
        for (int r = 0; r < 7; r++)
            for (int c = 0; c < 10; c++) {
                const int i = (b * 7 + r) * 10 + c;
                y[i] = (in[0][i] + in[1][c] + in[3][b * 10 + c]) * in[2][i];
            }
}

// ---- shapes -------------------------------------------------------------------------------------------------------

static vks_tensor *shapes(graph *g, vks_tensor *const in[])
{
    return vks_slice(g, vks_upsample_nearest(g, vks_concat(g, in[0], in[1]), 6, 10), 2, 9);
}

static void shapes_reference(double *const in[], double *y)
{
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 10; j++)
                for (int c = 0; c < 9; c++) {
                    const int row = (b * 3 + i / 2) * 5 + j / 2, channel = c + 2;
                    y[((b * 6 + i) * 10 + j) * 9 + c] =
                        channel < 5 ? in[0][row * 5 + channel] : in[1][row * 8 + channel - 5];
                }
}

static vks_tensor *embedding(graph *g, vks_tensor *const in[])
{
    return vks_gather_row(g, vks_embedding(g, in[0], in[1]), in[2]);
}

static void embedding_reference(double *const in[], double *y)
{
    for (int b = 0; b < 4; b++)
        for (int c = 0; c < 18; c++)
            y[b * 18 + c] = in[1][(int)in[0][b * 6 + (int)in[2][b]] * 18 + c];
}

#define F32(...) {.rank = sizeof((uint32_t[]){__VA_ARGS__}) / 4, .shape = {__VA_ARGS__}}
#define GAIN(...) {.rank = sizeof((uint32_t[]){__VA_ARGS__}) / 4, .shape = {__VA_ARGS__}, .positive = true}
#define HALF(type, ...) {.rank = sizeof((uint32_t[]){__VA_ARGS__}) / 4, .shape = {__VA_ARGS__}, .dtype = type}
#define INDEX(most, ...) {.rank = sizeof((uint32_t[]){__VA_ARGS__}) / 4, .shape = {__VA_ARGS__}, .dtype = VKS_I32, \
                          .below = most}

const struct vks_trial vks_trials[] = {
    {"linear", {F32(64, 128), F32(96, 128), F32(96)}, linear, linear_even, 1, 2e-6},
    {"linear (odd)", {F32(37, 53), F32(29, 53), F32(29)}, linear, linear_odd, 1, 2e-6},
    {"linear fp16", {F32(64, 128), HALF(VKS_F16, 96, 128), F32(96)}, linear, linear_even, 1, 2e-6},
    {"linear bf16", {F32(37, 53), HALF(VKS_BF16, 29, 53), F32(29)}, linear, linear_odd, 1, 2e-6},
    {"linear_transposed", {F32(37, 29), F32(29, 53)}, transposed, transposed_reference, 1, 2e-6},
    {"linear few rows", {F32(5, 53), F32(29, 53), F32(29)}, linear, linear_five, 1, 2e-6},
    {"linear_packed", {F32(9, 256), INDEX(12288, 7, 36)}, packed, packed_many, 1, 1e-5},
    {"linear_packed few rows", {F32(5, 256), INDEX(12288, 7, 36)}, packed, packed_few, 1, 1e-5},
    {"conv2d", {F32(2, 9, 7, 12), F32(20, 3, 3, 12), F32(20)}, conv_same, conv_same_reference, 1, 2e-6},
    {"conv2d fp16", {F32(2, 9, 7, 12), HALF(VKS_F16, 20, 3, 3, 12), F32(20)}, conv_same, conv_same_reference, 1,
     2e-6},
    {"conv2d stride 2", {F32(2, 9, 7, 12), F32(20, 3, 3, 12), F32(20)}, conv_half, conv_half_reference, 1, 2e-6},
    {"group_norm", {F32(2, 7, 5, 12), GAIN(12), F32(12)}, group_norm, group_norm_reference, 1, 1e-5},
    {"layer_norm", {F32(11, 40), GAIN(40), F32(40)}, layer_norm, layer_norm_reference, 1, 1e-5},
    {"rms_norm", {F32(11, 40), GAIN(40)}, rms_norm, rms_norm_reference, 1, 1e-5},
    {"attention", {F32(2, 13, 24), F32(2, 17, 24), F32(2, 17, 24)}, attention, attention_cross, 7, 1e-5},
    {"attention causal", {F32(2, 13, 24), F32(2, 13, 24), F32(2, 13, 24)}, causal, attention_causal, 7, 1e-5},
    {"attention grouped", {F32(2, 5, 24), F32(2, 9, 12), F32(2, 9, 12)}, grouped, attention_grouped, 7, 1e-5},
    {"rope", {F32(2, 5, 42), INDEX(7, 2, 5), F32(7, 12)}, rope, rope_reference, 1, 1e-6},
    {"softmax", {F32(9, 70)}, softmax, softmax_reference, 1, 1e-5},
    {"silu", {F32(999)}, silu, silu_reference, 1, 1e-5},
    {"gelu", {F32(999)}, gelu_exact, gelu_exact_reference, 1, 1e-5},
    {"gelu_tanh", {F32(999)}, gelu_tanh, gelu_tanh_reference, 1, 1e-5},
    {"quick_gelu", {F32(999)}, quick_gelu, quick_gelu_reference, 1, 1e-5},
    {"tanh", {F32(999)}, tanh_op, tanh_op_reference, 1, 1e-5},
    {"sigmoid", {F32(999)}, sigmoid_op, sigmoid_op_reference, 1, 1e-5},
    {"geglu", {F32(11, 42)}, geglu, geglu_reference, 1, 1e-5},
    {"add, multiply, scale", {F32(3, 7, 10), F32(10), F32(3, 7, 10), F32(3, 10)}, arithmetic, arithmetic_reference, 1,
     1e-6},
    {"concat, slice, upsample", {F32(2, 3, 5, 5), F32(2, 3, 5, 8)}, shapes, shapes_reference, 3, 1e-6},
    {"embedding, gather_row", {INDEX(13, 4, 6), F32(13, 18), INDEX(6, 4)}, embedding, embedding_reference, 0, 1e-6},
};
const size_t vks_trial_count = sizeof(vks_trials) / sizeof(*vks_trials);
