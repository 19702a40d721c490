// Functions of one variable, f(x) and f'(x), by the constant KIND (enum vks_unary of runtime/ops/ops.h):
//
//     silu        x s(x)                  s(x) (1 + x (1 - s(x))),  s(x) = 1 / (1 + exp(-x))
//     gelu        x Φ(x)                  Φ(x) + x φ(x)                             (arXiv 1606.08415)
//     gelu_tanh   x (1 + tanh u) / 2      (1 + tanh u) / 2 + x (1 - tanh² u) u' / 2,  u = sqrt(2/π) (x + 0.044715 x³)
//     quick_gelu  x s(1.702 x)            s(v) (1 + v (1 - s(v))),  v = 1.702 x
//     relu        max(x, 0)               1 where x > 0, else 0
//     tanh        tanh x                  1 - tanh² x
//     sigmoid     s(x)                    s(x) (1 - s(x))
#ifndef VKS_UNARY_GLSL
#define VKS_UNARY_GLSL

#include "math.glsl"

// `precise`, as in math.glsl: the same bits in every kernel.
float vks_silu_slope(float v)
{
    const float s = vks_sigmoid(v);
    precise const float y = s * fma(v, 1.0 - s, 1.0);
    return y;
}

float vks_gelu_tanh(float x, bool slope)
{
    const float v = clamp(x, -20.0, 20.0);         // tanh is ±1 long before; keeps the cube finite
    precise const float u = 0.79788456 * fma(0.044715 * v * v, v, v);
    const float t = vks_tanh(u);
    const float half_sum = fma(0.5, t, 0.5);
    precise float y = x * half_sum;
    if (slope) {
        const float du = 0.79788456 * fma(3.0 * 0.044715 * v, v, 1.0);
        y = fma(0.5 * v * du, fma(-t, t, 1.0), half_sum);
    }
    return y;
}

float vks_unary(float x)
{
    precise float y;
    switch (KIND) {
    case 0: y = x * vks_sigmoid(x); break;
    case 1: y = vks_gelu(x); break;
    case 2: y = vks_gelu_tanh(x, false); break;
    case 3: y = x * vks_sigmoid(1.702 * x); break;
    case 4: y = max(x, 0.0); break;
    case 5: y = vks_tanh(x); break;
    default: y = vks_sigmoid(x);
    }
    return y;
}

float vks_unary_slope(float x)
{
    precise float y;
    float t;
    switch (KIND) {
    case 0: y = vks_silu_slope(x); break;
    case 1: y = vks_gelu_slope(x); break;
    case 2: y = vks_gelu_tanh(x, true); break;
    case 3: y = vks_silu_slope(1.702 * x); break;
    case 4: y = x > 0.0 ? 1.0 : 0.0; break;
    case 5: t = vks_tanh(x); y = fma(-t, t, 1.0); break;
    default: t = vks_sigmoid(x); y = t * (1.0 - t);
    }
    return y;
}

#endif
