// Functions of one variable.
//
//     y = f(x);  dx = dy f'(x)        x, dy, y, dx of any shape; nothing is saved but x
//
//     silu        x s(x)                  s(x) (1 + x (1 - s(x))),  s(x) = 1 / (1 + exp(-x))
//     gelu        x Φ(x)                  Φ(x) + x φ(x)                             (arXiv 1606.08415)
//     gelu_tanh   x (1 + tanh u) / 2      (1 + tanh u) / 2 + x (1 - tanh² u) u' / 2,  u = sqrt(2/π) (x + 0.044715 x³)
//     quick_gelu  x s(1.702 x)            s(v) (1 + v (1 - s(v))),  v = 1.702 x
//     relu        max(x, 0)               1 where x > 0, else 0
//     tanh        tanh x                  1 - tanh² x
//     sigmoid     s(x)                    s(x) (1 - s(x))
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/math.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint KIND = 0;      // enum vks_unary of runtime/ops/ops.h
layout(constant_id = 2) const uint BACKWARD = 0;
layout(constant_id = 3) const uint QUADS = 0;

VKS_BUF_QUADS(0, float, y);   // y, or dx
VKS_BUF_QUADS(1, float, x);
VKS_BUF_QUADS(2, float, dy);  // backward only
VKS_PUSH(3, flat);

float silu_slope(float v)
{
    const float s = vks_sigmoid(v);
    return s * fma(v, 1.0 - s, 1.0);
}

float gelu_tanh(float x, bool slope)
{
    const float v = clamp(x, -20.0, 20.0);         // tanh is ±1 long before; keeps the cube finite
    const float t = vks_tanh(0.79788456 * fma(0.044715 * v * v, v, v));
    const float half_sum = fma(0.5, t, 0.5);
    if (!slope)
        return x * half_sum;
    const float du = 0.79788456 * fma(3.0 * 0.044715 * v, v, 1.0);
    return fma(0.5 * v * du, fma(-t, t, 1.0), half_sum);
}

float value(float x)
{
    switch (KIND) {
    case 0: return x * vks_sigmoid(x);
    case 1: return vks_gelu(x);
    case 2: return gelu_tanh(x, false);
    case 3: return x * vks_sigmoid(1.702 * x);
    case 4: return max(x, 0.0);
    case 5: return vks_tanh(x);
    default: return vks_sigmoid(x);
    }
}

float slope(float x)
{
    float t;
    switch (KIND) {
    case 0: return silu_slope(x);
    case 1: return vks_gelu_slope(x);
    case 2: return gelu_tanh(x, true);
    case 3: return silu_slope(1.702 * x);
    case 4: return x > 0.0 ? 1.0 : 0.0;
    case 5: t = vks_tanh(x); return fma(-t, t, 1.0);
    default: t = vks_sigmoid(x); return t * (1.0 - t);
    }
}

// Element i, or with QUADS elements i .. i + 3.
void visit(uint i)
{
    if (QUADS != 0) {
        const vec4 v = VKS_LOAD4(1, x, i);
        if (BACKWARD == 0)
            VKS_STORE4(0, y, i, VKS_EACH4(value, v));
        else
            VKS_STORE4(0, y, i, VKS_LOAD4(2, dy, i) * VKS_EACH4(slope, v));
        return;
    }
    const float v = VKS_AT(1, x, i);
    VKS_AT(0, y, i) = BACKWARD == 0 ? value(v) : VKS_AT(2, dy, i) * slope(v);
}

void main()
{
    const uint width = QUADS != 0 ? 4 : 1;
    const uint base = vks_group() * gl_WorkGroupSize.x * VKS_ELEMENTS + width * gl_LocalInvocationID.x;
    for (uint e = 0; e < VKS_ELEMENTS; e += width) {
        const uint i = base + e * gl_WorkGroupSize.x;
        if (i < p.count)
            visit(i);
    }
}
