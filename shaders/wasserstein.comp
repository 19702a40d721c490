// One-dimensional Wasserstein distance per column by the quantile coupling, and its gradient, one column an
// invocation.
//
//     term = cw sum_k weight_k |u_i - v_j|^p            (i, j) = pairs[k], u and v sorted
//     grad[permutation[i]] = cw sum over the pairs of i of weight_k p |u_i - v_j|^(p - 1) sign(u_i - v_j)
//
//     u, permutation (B, D), v (N, D), pairs (P, 2), weight (P), cw (D) -> term (D), grad (B, D)
//
// The pairs ascend in both indices, so every value is read once and every gradient written once. p = 1 has the
// subgradient 0 at equality. Sums are sequential.
// Source: Rodriguez et al. (LinEAS), equation 3; Peyre and Cuturi, Computational optimal transport, section 2.6.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

layout(constant_id = 1) const uint P = 2;

VKS_BUF_IN(0, float, u);
VKS_BUF_IN(1, uint, permutation);
VKS_BUF_IN(2, float, v);
VKS_BUF_IN(3, uint, pairs);
VKS_BUF_IN(4, float, weight);
VKS_BUF_IN(5, float, column_weight);
VKS_BUF(6, float, term);
VKS_BUF(7, float, grad);
VKS_PUSH(8, wasserstein);

void main()
{
    const uint c = vks_item();
    if (c >= p.cols)
        return;
    const float cw = VKS_AT(5, column_weight, c);
    uint i = 0, j = 0;
    float ui = VKS_AT(0, u, c), vj = VKS_AT(2, v, c), sum = 0.0, slope = 0.0;
    for (uint k = 0; k < p.pairs; k++) {
        const uint ik = VKS_AT(3, pairs, 2 * k), jk = VKS_AT(3, pairs, 2 * k + 1);
        if (ik != i) {
            VKS_AT(7, grad, VKS_AT(1, permutation, i * p.stride + c) * p.grad_stride + c) = cw * slope;
            slope = 0.0;
            i = ik;
            ui = VKS_AT(0, u, i * p.stride + c);
        }
        if (jk != j) {
            j = jk;
            vj = VKS_AT(2, v, j * p.target_stride + c);
        }
        const float d = ui - vj, wk = VKS_AT(4, weight, k);
        if (P == 1) {
            sum = fma(wk, abs(d), sum);
            slope += d > 0.0 ? wk : d < 0.0 ? -wk : 0.0;
        } else {
            sum = fma(wk * d, d, sum);
            slope = fma(2.0 * wk, d, slope);
        }
    }
    VKS_AT(7, grad, VKS_AT(1, permutation, i * p.stride + c) * p.grad_stride + c) = cw * slope;
    VKS_AT(6, term, c) = cw * sum;
}
