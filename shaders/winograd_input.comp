// Tiles of a picture as Winograd's products take them: v[6 i + j, t, c] = (B' d B)[i, j]
//
// d: the 6 x 6 pixels of x (B, H, W, C) under tile t, that is its 4 x 4 and one round them, 0 outside. Tiles are
// numbered (sample, row, column); v (36, tiles, C), with PANEL in panels of so many tiles, the last one whole. One
// invocation makes four channels of a tile.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/wide.glsl"
#include "include/winograd.glsl"

layout(constant_id = 1) const uint PANEL = 0;

VKS_BUF_QUADS(0, float, v);
VKS_BUF_QUADS_IN(1, float, x);
VKS_PUSH(2, winograd);

void main()
{
    const uint rows = PANEL == 0 ? 1 : PANEL, each = p.cols / 4;
    const uint among = vks_item() / rows, slot = vks_item() % rows;
    const uvec2 item = vks_divide(among, each);
    const uint number = item.x * rows + slot;
    if (number >= p.tiles)
        return;
    const uvec2 line = vks_divide(number, p.across), tile = vks_divide(line.x, p.down);
    const uint top = 4 * (p.first + tile.y) - 1, left = 4 * line.y - 1;  // above 2^31: outside
    const uint base = tile.x * p.h - p.line, c = 4 * item.y;
    vec4 t[6][6];
    [[unroll]] for (int j = 0; j < 6; j++) {
        const uint column = left + j;
        vec4 d[6], turned[6];
        [[unroll]] for (int i = 0; i < 6; i++) {
            const uint row = top + i;
            const bool inside = row < p.h && column < p.w;
            const vec4 pixel = VKS_LOAD4(1, x, inside ? ((base + row) * p.w + column) * p.stride + c : c);
            d[i] = inside ? pixel : vec4(0.0);
        }
        vks_winograd_input(d, turned);
        [[unroll]] for (int i = 0; i < 6; i++)
            t[i][j] = turned[i];
    }
    const uint to = rows * (item.x * p.cols + c) + 4 * slot, point = (p.tiles + rows - 1) / rows * rows * p.cols;
    [[unroll]] for (int i = 0; i < 6; i++) {
        vec4 row[6];
        vks_winograd_input(t[i], row);
        [[unroll]] for (int j = 0; j < 6; j++)
            VKS_STORE4(0, v, to + (6 * i + j) * point, row[j]);
    }
}
