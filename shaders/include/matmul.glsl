// What the kernels of the matmul family share: operands, constants, addresses.
//
//     C[i, j] = start + sum_k A[i, k] (alpha B[k, j]) [+ plus[i, j]]    one accumulator an element, k increasing, fma
//
// NT: B is stored (n, k); NN: B (k, n); TN: A (k, m), B (k, n). B may be fp32, fp16 or bf16; A and C are fp32.
//
// With CONV the rows are pixels of a grid (samples, gh, gw), and k runs over taps and then channels, k = (ty, tx, c):
//
//     A[(b, y, x), (ty, tx, c)] = source[b, step y + add_y + tap ty, step x + add_x + tap tx, c], 0 outside
//
//   forward          source x, step = stride, add = -pad_before, tap = 1, B = weight as NT: (Cout, KH, KW, Cin)
//   input gradient   source dy; pixels of dx of one parity (py, px) a dispatch, so that their taps are the same ones:
//                    kh = kh0 + stride ty with kh0 = (py + pad_before) mod stride, step = 1, tap = -1,
//                    add_y = (py + pad_before - kh0) / stride; B = weight as NN: row c = output channel
//
// Source: dx[i] = sum over o, k with o stride + k - pad = i of dy[o] w[k], the definition of the gradient.
#include "vks.glsl"
#include "half.glsl"
#include "wide.glsl"

#define NT 0u
#define NN 1u
#define TN 2u
#define VEC_A 1u  // rows of A begin at multiples of 4 elements: 16-byte loads
#define VEC_B 2u
#define VEC_C 4u
#define ALPHA 8u
#define START_C 16u  // accumulate: start from what C holds
#define TAIL 32u     // k is no multiple of 4
#define PLUS 64u     // the result is C + plus, which lies as C does
#define ALIKE 256u   // texels of A are loaded by all lanes alike, in kernels that are made for both (matmul_cpu.glsl)
#define PANELS_A 512u  // in panels (matmul_cpu.glsl)
#define PANELS_B 1024u

layout(constant_id = 1) const uint FORM = 0;
layout(constant_id = 2) const uint DTYPE = 0;  // of B
layout(constant_id = 3) const uint FLAGS = 0;

VKS_BUF_QUADS_IN(0, float, a);
VKS_BUF_PAIRS(0, a);
VKS_BUF_QUADS_IN(1, uint, b);
VKS_BUF_PAIRS(1, b);
VKS_BUF_HALVES_IN(1, b);
VKS_BUF_QUADS(2, float, c);
VKS_BUF_PAIRS(2, c);
VKS_BUF_IN(3, float, bias);
VKS_BUF_QUADS_IN(4, float, plus);
VKS_BUF_PAIRS(4, plus);
#ifdef CONV
VKS_PUSH(5, conv2d);
#define TAPS_Y (p.taps >> 16)
#define TAPS_X (p.taps & 0xffffu)
#else
VKS_PUSH(5, matmul);
#endif

// Start from the bias.
#ifdef CONV
#define START_BIAS 128u  // of FLAGS
#define STARTS_BIASED ((FLAGS & START_BIAS) != 0)
#else
#define START_BIAS 1u    // of p.flags
#define STARTS_BIASED ((p.flags & START_BIAS) != 0)
#endif

// What is stored at element i of C for its accumulator.
float result(float acc, uint i) { return (FLAGS & PLUS) != 0 ? acc + VKS_AT(4, plus, i) : acc; }

// Elements i .. i + 3 of A, or element i.
vec4 load_a4(uint i)
{
    if ((FLAGS & VEC_A) != 0)
        return VKS_LOAD4(0, a, i);
    return vec4(VKS_AT(0, a, i), VKS_AT(0, a, i + 1), VKS_AT(0, a, i + 2), VKS_AT(0, a, i + 3));
}

vec2 load_a2(uint i)
{
    if ((FLAGS & VEC_A) != 0)
        return VKS_LOAD2(0, a, i);
    return vec2(VKS_AT(0, a, i), VKS_AT(0, a, i + 1));
}

float load_a(uint i) { return VKS_AT(0, a, i); }

float load_b(uint i) { return VKS_ELEMENT(1, b, DTYPE, i); }

vec4 load_b4(uint i)
{
    if ((FLAGS & VEC_B) == 0)
        return vec4(load_b(i), load_b(i + 1), load_b(i + 2), load_b(i + 3));
    return VKS_LOAD4_AS(1, b, DTYPE, i);
}

vec2 load_b2(uint i)
{
    if ((FLAGS & VEC_B) == 0)
        return vec2(load_b(i), load_b(i + 1));
    if (DTYPE == VKS_DTYPE_F32)
        return VKS_LOAD2(1, b, i);
    const uint w = VKS_WORD_OF_HALVES(1, b, i);
    return DTYPE == VKS_DTYPE_F16 ? unpackHalf2x16(w) : uintBitsToFloat(uvec2(w << 16, w & 0xffff0000u));
}

// An element of B, or several, as the product takes it.
#ifdef CONV
#define SCALED(v) (v)
#else
#define SCALED(v) ((FLAGS & ALPHA) != 0 ? p.alpha * (v) : (v))
#endif

// The workgroup's tile of C: rows by x and y, tiles of columns and matrices of the batch by z.
uint tile_row() { return vks_group(); }
uint tile_col(uint width) { return vks_workgroup.z % ((p.n + width - 1) / width); }

// First elements of the workgroup's matrices.
uvec3 batch(uint width)
{
#ifdef CONV
    return uvec3(0);
#else
    const uint z = vks_workgroup.z / ((p.n + width - 1) / width), outer = z / p.inner, inner = z - outer * p.inner;
    return uvec3(outer * p.a0 + inner * p.a1, outer * p.b0 + inner * p.b1, outer * p.c0 + inner * p.c1);
#endif
}

#ifdef CONV
// Grid pixel of a row: (sample, y, x).
uvec3 pixel(uint row)
{
    const uint g = row + p.row0, line = g / p.gw;
    return uvec3(line / p.gh, line % p.gh, g - line * p.gw);
}

// First element of C of a row.
uint row_of_c(uint row)
{
    const uvec3 q = pixel(row);
    return q.x * p.c_b + q.y * p.c_y + q.z * p.c_x - p.c0;
}

// First element of the source pixel under a tap, and whether it is inside.
uint row_of_a(uvec3 q, uint ty, uint tx, out bool inside)
{
    const uint y = q.y * p.step + p.add_y + p.tap * ty, x = q.z * p.step + p.add_x + p.tap * tx;
    inside = y < p.sh && x < p.sw;  // below zero is above as well
    return inside ? ((q.x * p.sh + y) * p.sw + x) * p.lda - p.a0 : 0;
}
#else
uint row_of_c(uint row) { return row * p.ldc; }
#endif
