// The rows A of a product in panels, as the kernels of CPU drivers load them (include/matmul_cpu.glsl):
//
//     panels[(r / P) P K + (k / 4) 4 P + (r mod P) 4 + k mod 4] = a[r, k]      P = PANEL
//
// a (R, K), K a multiple of four; what fills the last panel is left as it is. An invocation moves sixteen elements of
// a row, a cache line; its neighbours move those of the panel's other rows, and so write side by side.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"

layout(constant_id = 1) const uint PANEL = 8;

VKS_BUF_QUADS(0, float, panels);
VKS_BUF_QUADS_IN(1, float, a);
VKS_PUSH(2, panels_a);

void main()
{
    const uint slot = vks_item() % PANEL;
    const uvec2 item = vks_divide(vks_item() / PANEL, (p.cols + 15) / 16);
    const uint row = item.x * PANEL + slot, first = 16 * item.y;
    if (row >= p.rows)
        return;
    vec4 v[4];
    [[unroll]] for (uint i = 0; i < 4; i++)
        v[i] = VKS_LOAD4(1, a, row * p.stride + min(first + 4 * i, p.cols - 4));
    const uint to = (item.x * p.cols + first) * PANEL + 4 * slot;
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (first + 4 * i < p.cols)
            VKS_STORE4(0, panels, to + 4 * i * PANEL, v[i]);
}
