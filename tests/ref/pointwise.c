#include "ref/pointwise.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x / sqrt(2));
}

static double normal_pdf(double x)
{
    return exp(-x * x / 2) / sqrt(2 * pi);
}

static double unary(double x, enum vks_unary kind)
{
    switch (kind) {
    case VKS_SILU:
        return x * sigmoid(x);
    case VKS_GELU:
        return x * normal_cdf(x);
    case VKS_GELU_TANH:
        return x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x))) / 2;
    case VKS_QUICK_GELU:
        return x * sigmoid(1.702 * x);
    case VKS_RELU:
        return x > 0 ? x : 0;
    case VKS_TANH:
        return tanh(x);
    case VKS_SIGMOID:
        return sigmoid(x);
    }
    return NAN;
}

static double slope(double x, enum vks_unary kind)
{
    double t, s;
    switch (kind) {
    case VKS_SILU:
        s = sigmoid(x);
        return s * (1 + x * (1 - s));
    case VKS_GELU:
        return normal_cdf(x) + x * normal_pdf(x);
    case VKS_GELU_TANH:
        t = tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x));
        return (1 + t) / 2 + x * (1 - t * t) * sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x) / 2;
    case VKS_QUICK_GELU:
        s = sigmoid(1.702 * x);
        return s * (1 + 1.702 * x * (1 - s));
    case VKS_RELU:
        return x > 0 ? 1 : 0;
    case VKS_TANH:
        t = tanh(x);
        return 1 - t * t;
    case VKS_SIGMOID:
        s = sigmoid(x);
        return s * (1 - s);
    }
    return NAN;
}

void ref_unary(double *y, const double *x, uint64_t n, enum vks_unary kind)
{
    for (uint64_t i = 0; i < n; i++)
        y[i] = unary(x[i], kind);
}

void ref_unary_backward(double *dx, const double *x, const double *dy, uint64_t n, enum vks_unary kind)
{
    for (uint64_t i = 0; i < n; i++)
        dx[i] = dy[i] * slope(x[i], kind);
}

void ref_geglu(double *y, const double *x, uint64_t rows, uint32_t cols)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < cols; c++)
            y[r * cols + c] = x[2 * r * cols + c] * unary(x[(2 * r + 1) * cols + c], VKS_GELU);
}

void ref_geglu_backward(double *dx, const double *x, const double *dy, uint64_t rows, uint32_t cols)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < cols; c++) {
            const uint64_t a = 2 * r * cols + c, g = a + cols;
            dx[a] = dy[r * cols + c] * unary(x[g], VKS_GELU);
            dx[g] = dy[r * cols + c] * x[a] * slope(x[g], VKS_GELU);
        }
}

void ref_add(double *y, const double *x, const double *z, uint64_t rows, uint32_t cols, uint64_t divide,
             uint64_t modulo)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < cols; c++)
            y[r * cols + c] = x[r * cols + c] + z[r / divide % modulo * cols + c];
}

void ref_add_backward(double *dz, const double *dy, uint64_t rows, uint32_t cols, uint64_t divide, uint64_t modulo)
{
    for (uint64_t i = 0; i < modulo * cols; i++)
        dz[i] = 0;
    for (uint64_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < cols; c++)
            dz[r / divide % modulo * cols + c] += dy[r * cols + c];
}

void ref_multiply(double *y, const double *x, const double *z, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        y[i] = x[i] * z[i];
}

void ref_scale(double *y, const double *x, uint64_t n, double gain, double offset)
{
    for (uint64_t i = 0; i < n; i++)
        y[i] = gain * x[i] + offset;
}

void ref_softmax(double *y, const double *x, uint64_t rows, uint32_t cols)
{
    for (uint64_t r = 0; r < rows; r++, x += cols, y += cols) {
        double top = x[0], sum = 0;
        for (uint32_t c = 1; c < cols; c++)
            top = fmax(top, x[c]);
        for (uint32_t c = 0; c < cols; c++)
            sum += y[c] = exp(x[c] - top);
        for (uint32_t c = 0; c < cols; c++)
            y[c] /= sum;
    }
}

void ref_softmax_backward(double *dx, const double *y, const double *dy, uint64_t rows, uint32_t cols)
{
    for (uint64_t r = 0; r < rows; r++, dx += cols, y += cols, dy += cols) {
        double sum = 0;
        for (uint32_t c = 0; c < cols; c++)
            sum += y[c] * dy[c];
        for (uint32_t c = 0; c < cols; c++)
            dx[c] = y[c] * (dy[c] - sum);
    }
}
