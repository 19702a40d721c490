// The weights of a 3 x 3 convolution as Winograd's products take them: u[6 i + j, o, c] = (G w[o, :, :, c] G')[i, j]
//
// w (Cout, 3, 3, Cin), any slice of its rows and columns, fp32, fp16 or bf16; u (36, rows, cols). FLIP turns w by half
// a turn, for the gradient of the input: dx = conv(dy, turned w). One invocation makes four channels of one o.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/half.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"
#include "include/winograd.glsl"

layout(constant_id = 1) const uint DTYPE = 0;
layout(constant_id = 2) const uint FLIP = 0;

VKS_BUF_QUADS(0, float, u);
VKS_BUF_QUADS_IN(1, uint, w);
VKS_BUF_HALVES_IN(1, w);
VKS_PUSH(2, winograd_weight);

vec4 tap(uint at, uint i)
{
    return VKS_LOAD4_AS(1, w, DTYPE, at + (FLIP != 0 ? 8 - i : i) * p.tap);
}

void main()
{
    const uvec2 item = vks_divide(vks_item(), p.cols / 4);
    if (item.x >= p.rows)
        return;
    const uint from = item.x * p.row + 4 * item.y, to = item.x * p.cols + 4 * item.y;
    vec4 t[6][3];
    [[unroll]] for (int j = 0; j < 3; j++) {
        vec4 column[6];
        vks_winograd_weight(tap(from, j), tap(from, 3 + j), tap(from, 6 + j), column);
        [[unroll]] for (int i = 0; i < 6; i++)
            t[i][j] = column[i];
    }
    [[unroll]] for (int i = 0; i < 6; i++) {
        vec4 row[6];
        vks_winograd_weight(t[i][0], t[i][1], t[i][2], row);
        [[unroll]] for (int j = 0; j < 6; j++)
            VKS_STORE4(0, u, to + (6 * i + j) * p.rows * p.cols, row[j]);
    }
}
