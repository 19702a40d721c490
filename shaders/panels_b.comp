// The columns B of a product in panels, as the kernels of CPU drivers load them (include/matmul_cpu.glsl), in fp32:
//
//     panels[(j / P) P K + k P + j mod P] = b[k, j], or with TURNED b[j, k]      P = PANEL
//
// b (K, N) or (N, K), fp32, fp16 or bf16; N and K multiples of four; what fills the last panel is left as it is. An
// invocation moves four columns of sixteen k: of a turned matrix, a row's line of the cache. Its neighbours move the
// panel's other columns, and so write side by side.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/half.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint DTYPE = 0;
layout(constant_id = 2) const uint TURNED = 0;
layout(constant_id = 3) const uint PANEL = 32;

VKS_BUF_QUADS(0, float, panels);
VKS_BUF_QUADS_IN(1, uint, b);
VKS_BUF_HALVES_IN(1, b);
VKS_PUSH(2, panels_b);

void main()
{
    const uvec2 item = vks_divide(vks_item(), p.n / 4);
    const uint j = 4 * item.y, to = j / PANEL * PANEL * p.k + j % PANEL;
    for (uint k = 16 * item.x; k < min(16 * item.x + 16, p.k); k += 4) {
        vec4 v[4];
        [[unroll]] for (uint i = 0; i < 4; i++)
            v[i] = VKS_LOAD4_AS(1, b, DTYPE, TURNED != 0 ? (j + i) * p.stride + k : (k + i) * p.stride + j);
        [[unroll]] for (uint i = 0; i < 4; i++)
            VKS_STORE4(0, panels, to + (k + i) * PANEL,
                       TURNED != 0 ? vec4(v[0][i], v[1][i], v[2][i], v[3][i]) : v[i]);
    }
}
