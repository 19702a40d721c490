// Pictures: PNG files, grids with labels, latents of other programs.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/font.h"
#include "api/internal.h"
#include "base/os.h"
#include "base/text.h"
#include "io/png.h"
#include "io/safetensors.h"

#define GAP 2          // white pixels round every picture
#define LINE 11        // pixels of a line of a label
#define MOST_LINES 3

bool vksteer_image_write(const struct vksteer_log *log, const char *path, const struct vksteer_image *image,
                         const char *const *keys, const char *const *values, size_t count)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    struct vks_png_text *texts = malloc((count + 1) * sizeof(*texts));
    if (!texts)
        return vks_fail(inner, VKS_NO_MEMORY);
    for (size_t i = 0; i < count; i++)
        texts[i] = (struct vks_png_text){keys[i], values[i]};
    const bool ok = vks_png_write(inner, path, image->rgb, (int)image->width, (int)image->height, texts, count);
    free(texts);
    return ok;
}

static void draw_glyph(struct vksteer_image *image, uint32_t left, uint32_t top, char c)
{
    const unsigned index = (unsigned char)c >= 32 && (unsigned char)c < 127 ? (unsigned char)c - 32u : '?' - 32u;
    if (c && strchr(VKS_FONT_DESCENDERS, c))
        top += VKS_FONT_DESCENT;
    for (uint32_t y = 0; y < VKS_FONT_HEIGHT; y++)
        for (uint32_t x = 0; x < VKS_FONT_WIDTH; x++)
            if (vks_font[index][y] >> (VKS_FONT_WIDTH - 1 - x) & 1 && left + x < image->width &&
                top + y < image->height)
                memset(image->rgb + 3 * ((size_t)(top + y) * image->width + left + x), 32, 3);
}

// Bytes of the first line of `text` when a line holds `most`: broken at a space if there is one. *skip: bytes to
// pass.
static size_t first_line(const char *text, size_t most, size_t *skip)
{
    const size_t length = strlen(text), newline = strcspn(text, "\n");
    if (newline <= most && newline < length) {
        *skip = newline + 1;
        return newline;
    }
    if (length <= most) {
        *skip = length;
        return length;
    }
    for (size_t i = most; i > most / 2; i--)
        if (text[i] == ' ') {
            *skip = i + 1;
            return i;
        }
    *skip = most;
    return most;
}

static uint32_t count_lines(const char *label, size_t most)
{
    uint32_t lines = 0;
    for (size_t skip; *label && lines < MOST_LINES; label += skip, lines++)
        first_line(label, most, &skip);
    return lines;
}

static void draw_label(struct vksteer_image *image, uint32_t left, uint32_t top, uint32_t width, const char *label)
{
    const size_t most = width / (VKS_FONT_WIDTH + 1) ? width / (VKS_FONT_WIDTH + 1) : 1;
    for (uint32_t line = 0; *label && line < MOST_LINES; line++) {
        size_t skip;
        const size_t length = first_line(label, most, &skip);
        const uint32_t used = (uint32_t)length * (VKS_FONT_WIDTH + 1);
        const uint32_t start = left + (width > used ? (width - used) / 2 : 0);
        for (size_t i = 0; i < length; i++)
            draw_glyph(image, start + (uint32_t)i * (VKS_FONT_WIDTH + 1), top + line * LINE, label[i]);
        label += skip;
    }
}

bool vksteer_image_grid(const struct vksteer_log *log, const struct vksteer_image *images, size_t count,
                        uint32_t columns, const char *const *labels, struct vksteer_image *grid)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    *grid = (struct vksteer_image){0};
    if (count == 0)
        return vks_fail(inner, "a grid of no pictures: give at least one");
    columns = columns == 0 || columns > count ? (uint32_t)count : columns;
    const uint32_t zoom = images[0].width < 128 && images[0].height < 128 ? 2 : 1;
    const uint32_t width = images[0].width * zoom, height = images[0].height * zoom;
    const uint32_t rows = (uint32_t)((count + columns - 1) / columns);
    uint32_t lines = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t own = labels && labels[i] ? count_lines(labels[i], width / (VKS_FONT_WIDTH + 1)) : 0;
        lines = own > lines ? own : lines;
        if (images[i].width * zoom != width || images[i].height * zoom != height)
            return vks_fail(inner, "a grid takes pictures of one size: number %zu differs", i + 1);
    }
    const uint32_t cell_width = width + 2 * GAP, cell_height = height + 2 * GAP + (lines ? lines * LINE + 1 : 0);
    if ((uint64_t)cell_width * columns > 65535 || (uint64_t)cell_height * rows > 65535)
        return vks_fail(inner, "a grid of %u x %u pictures of %u x %u is too large: ask for fewer", columns, rows,
                        width, height);
    grid->width = cell_width * columns;
    grid->height = cell_height * rows;
    const size_t bytes = (size_t)grid->width * grid->height * 3;
    grid->rgb = malloc(bytes);
    if (!grid->rgb)
        return vks_fail(inner, VKS_NO_MEMORY);
    memset(grid->rgb, 255, bytes);
    for (size_t i = 0; i < count; i++) {
        const uint32_t left = (uint32_t)(i % columns) * cell_width + GAP;
        const uint32_t top = (uint32_t)(i / columns) * cell_height + GAP;
        for (uint32_t y = 0; y < height; y++)
            for (uint32_t x = 0; x < width; x++)
                memcpy(grid->rgb + 3 * ((size_t)(top + y) * grid->width + left + x),
                       images[i].rgb + 3 * ((size_t)(y / zoom) * images[i].width + x / zoom), 3);
        if (labels && labels[i])
            draw_label(grid, left, top + height + GAP + 1, width, labels[i]);
    }
    return true;
}

static bool finite_all(const struct vks_log *log, const char *path, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return vks_fail(log, "%s: value %zu is not finite: write the latents again", path, i);
    return true;
}

// The only tensor of a safetensors file.
static bool read_tensor(const struct vks_log *log, const char *path, float **values, size_t *count)
{
    struct vks_safetensors *file = vks_safetensors_open(log, path);
    if (!file)
        return false;
    bool ok = file->tensor_count == 1 || vks_fail(log, "%s holds %zu tensors: latents are one tensor (C, H, W)", path,
                                                  file->tensor_count);
    if (ok) {
        *count = (size_t)file->tensors[0].count;
        *values = malloc(*count * sizeof(**values) + 1);
        ok = *values ? vks_st_to_f32(log, file, &file->tensors[0], *values) : vks_fail(log, VKS_NO_MEMORY);
    }
    vks_safetensors_close(&file);
    return ok;
}

bool vksteer_latents_read(const struct vksteer_log *log, const char *path, float **values, size_t *count)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    struct vks_os_map map = {0};
    bool ok;
    *values = NULL;
    *count = 0;
    if (vks_ends_with(path, ".safetensors")) {
        ok = read_tensor(inner, path, values, count);
    } else if ((ok = vks_os_map_open(inner, path, &map))) {
        *count = map.size / sizeof(**values);
        ok = (map.size && map.size % sizeof(**values) == 0) ||
             vks_fail(inner, "%s: %zu bytes are no fp32 latents: give raw fp32 values or a .safetensors file", path,
                      map.size);
        if (ok && !(*values = malloc(map.size)))
            ok = vks_fail(inner, VKS_NO_MEMORY);
        if (ok)
            memcpy(*values, map.data, map.size);
        vks_os_map_close(&map);
    }
    ok = ok && finite_all(inner, path, *values, *count);
    if (!ok) {
        free(*values);
        *values = NULL;
        *count = 0;
    }
    return ok;
}
