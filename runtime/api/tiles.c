// Tiles along an axis of a picture, and how neighbours blend.
#include "api/internal.h"

struct vks_api_tiles vks_api_tiles_of(uint32_t extent, uint32_t size)
{
    const uint32_t step = size - size / 4;
    if (size >= extent)
        return (struct vks_api_tiles){extent, extent, 1};
    return (struct vks_api_tiles){extent, size, (extent - size + step - 1) / step + 1};
}

uint32_t vks_api_tile_first(const struct vks_api_tiles *tiles, uint32_t index)
{
    return tiles->count < 2 ? 0 : (uint32_t)((uint64_t)index * (tiles->extent - tiles->size) / (tiles->count - 1));
}

// Rises over what the tile has in common with the one before it, falls over what it has in common with the next.
static float ramp(const struct vks_api_tiles *tiles, uint32_t factor, uint32_t index, uint32_t at)
{
    const uint32_t first = vks_api_tile_first(tiles, index) * factor, end = first + tiles->size * factor;
    if (at < first || at >= end)
        return 0;
    float share = 1;
    if (index > 0) {
        const uint32_t before = (vks_api_tile_first(tiles, index - 1) + tiles->size) * factor;
        if (at < before)
            share *= ((float)(at - first) + 0.5f) / (float)(before - first);
    }
    if (index + 1 < tiles->count) {
        const uint32_t next = vks_api_tile_first(tiles, index + 1) * factor;
        if (at >= next)
            share *= ((float)(end - at) - 0.5f) / (float)(end - next);
    }
    return share;
}

float vks_api_tile_share(const struct vks_api_tiles *tiles, uint32_t factor, uint32_t index, uint32_t at)
{
    float sum = 0;
    for (uint32_t i = 0; i < tiles->count; i++)
        sum += ramp(tiles, factor, i, at);
    return ramp(tiles, factor, index, at) / sum;
}
