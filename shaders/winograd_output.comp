// Winograd's products as pixels: y under tile t = A' m[:, t, c] A [+ bias] [+ plus]
//
// m (36, tiles, C), C columns of y (B, H, W, stride); tiles as in winograd_input.comp. Pixels of a tile that lie
// outside are dropped. One invocation makes four channels of a tile.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"
#include "include/winograd.glsl"

#define BIAS 1u
#define PLUS 2u
layout(constant_id = 1) const uint FLAGS = 0;

VKS_BUF_QUADS(0, float, y);
VKS_BUF_QUADS_IN(1, float, m);
VKS_BUF_IN(2, float, bias);
VKS_BUF_QUADS_IN(3, float, plus);
VKS_PUSH(4, winograd);

void main()
{
    const uvec2 item = vks_divide(vks_item(), p.cols / 4);
    if (item.x >= p.tiles)
        return;
    const uvec2 line = vks_divide(item.x, p.across), tile = vks_divide(line.x, p.down);
    const uint top = 4 * (p.first + tile.y), left = 4 * line.y, base = tile.x * p.h - p.line, c = 4 * item.y;
    const uint from = item.x * p.cols + c;
    vec4 t[4][6];
    [[unroll]] for (int j = 0; j < 6; j++) {
        vec4 column[6], turned[4];
        [[unroll]] for (int i = 0; i < 6; i++)
            column[i] = VKS_LOAD4(1, m, from + (6 * i + j) * p.tiles * p.cols);
        vks_winograd_output(column, turned);
        [[unroll]] for (int i = 0; i < 4; i++)
            t[i][j] = turned[i];
    }
    vec4 start = vec4(0.0);
    if ((FLAGS & BIAS) != 0)
        start = vec4(VKS_AT(2, bias, c), VKS_AT(2, bias, c + 1), VKS_AT(2, bias, c + 2), VKS_AT(2, bias, c + 3));
    [[unroll]] for (int i = 0; i < 4; i++) {
        vec4 row[4];
        vks_winograd_output(t[i], row);
        [[unroll]] for (int j = 0; j < 4; j++)
            if (top + i < p.h && left + j < p.w) {
                const uint to = ((base + top + i) * p.w + left + j) * p.stride + c;
                precise vec4 value = row[j];
                if ((FLAGS & BIAS) != 0)
                    value += start;
                if ((FLAGS & PLUS) != 0)
                    value += VKS_LOAD4(3, plus, to);
                VKS_STORE4(0, y, to, value);
            }
    }
}
