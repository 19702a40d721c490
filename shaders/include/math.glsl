// Elementary functions that give the same values on every driver.
//
// Drivers' own tanh is NaN at 100 (SwiftShader) and wrong in the fourth digit near 0 (both CPU drivers); GLSL has no
// erf. What stands here uses +, *, fma, / and bit casts only, keeps every intermediate finite, and needs no
// denormals. Polynomials are minimax fits made for this file (weighted least squares with Lawson's iteration).
// Results are `precise`, and so is all that they are made of: compilers would regroup products in one variant of a
// kernel and not in another, and the bits would differ.
#ifndef VKS_MATH_GLSL
#define VKS_MATH_GLSL

// exp(x), relative error 2e-7; 0 below -87, clamped at 88. x = k ln 2 + r, exp(r) by polynomial, 2^k by bits.
float vks_exp(float x)
{
    const bool tiny = x < -87.0;
    x = clamp(x, -87.0, 88.0);
    const float k = floor(fma(x, 1.44269504, 0.5));
    float r = fma(k, -0.693359375, x);         // k times this part of ln 2 is exact
    r = fma(k, 2.12194440e-4, r);
    float p = fma(r, 0.00139506, 0.008368954);
    p = fma(p, r, 0.041666206);
    p = fma(p, r, 0.16666518);
    p = fma(p, r, 0.5);
    const float e = fma(p * r, r, r) + 1.0;
    // k + 127 in the low bits of 1.5 2^23 + k + 127. Conversions to integers are a call for each lane on CPU drivers.
    precise const float biased = k + 12583039.0;
    precise const float y = tiny ? 0.0 : e * uintBitsToFloat(floatBitsToUint(biased) << 23);
    return y;
}

// 2^x for x below 127, relative error 2e-7; 0 below -126.
float vks_exp2(float x)
{
    const float k = roundEven(x), r = x - k;
    float p = fma(r, 0.0013217283, 0.00966989);
    p = fma(p, r, 0.055508327);
    p = fma(p, r, 0.24022269);
    p = fma(p, r, 0.69314694);
    p = fma(p, r, 1.0);
    precise const float biased = k + 12583039.0;  // as in vks_exp
    precise const float y = x < -126.0 ? 0.0 : p * uintBitsToFloat(floatBitsToUint(biased) << 23);
    return y;
}

// 1 / (1 + exp(-x))
float vks_sigmoid(float x)
{
    precise const float y = 1.0 / (1.0 + vks_exp(-x));
    return y;
}

// A polynomial near 0, where 1 - 2 / (exp(2 x) + 1) would cancel.
float vks_tanh(float x)
{
    const float a = abs(x), z = x * x;
    float p = fma(z, -0.005717037, 0.020650579);
    p = fma(p, z, -0.053743497);
    p = fma(p, z, 0.13331491);
    p = fma(p, z, -0.33333284);
    const float far = 1.0 - 2.0 / (vks_exp(2.0 * min(a, 10.0)) + 1.0);
    precise const float y = a < 0.625 ? fma(x * z, p, x) : x < 0.0 ? -far : far;
    return y;
}

// Standard normal distribution function, absolute error 1e-7. With u = |x| / sqrt(2): u < 1: erf(u) = u P(u²);
// else erfc(u) = exp(-u²) t Q(t), t = 1 / (1 + u / 2), so that the lower tail does not cancel.
float vks_normal_cdf(float x)
{
    const float v = x * 0.70710678, u = min(abs(v), 9.0), z = min(v * v, 81.0);
    float p = fma(z, 7.889119e-05, -0.0008020841);
    p = fma(p, z, 0.005189535);
    p = fma(p, z, -0.026854444);
    p = fma(p, z, 0.112836);
    p = fma(p, z, -0.37612626);
    p = fma(p, z, 1.1283791);
    const float t = 1.0 / fma(u, 0.5, 1.0);
    float q = fma(t, 0.08979726, -0.21514314);
    q = fma(q, t, 0.0684913);
    q = fma(q, t, 0.0704745);
    q = fma(q, t, 0.17504631);
    q = fma(q, t, 0.24781801);
    q = fma(q, t, 0.2819348);
    q = fma(q, t, 0.28210372);
    const float tail = 0.5 * t * q * vks_exp(-z);
    precise const float cdf = u < 1.0 ? fma(0.5 * v, p, 0.5) : x < 0.0 ? tail : 1.0 - tail;
    return cdf;
}

// Standard normal density. Its exponential is that of the distribution function, so compilers take it once for both.
float vks_normal_pdf(float x)
{
    const float v = x * 0.70710678, z = min(v * v, 81.0);
    precise const float pdf = 0.39894228 * vks_exp(-z);
    return pdf;
}

// x Φ(x) and its derivative Φ(x) + x φ(x)
float vks_gelu(float x)
{
    precise const float y = x * vks_normal_cdf(x);
    return y;
}

float vks_gelu_slope(float x)
{
    precise const float slope = fma(x, vks_normal_pdf(x), vks_normal_cdf(x));
    return slope;
}

#endif
