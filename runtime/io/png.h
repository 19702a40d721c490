// PNG pictures: RGB, 8 bits a channel, with text chunks; the same input gives the same bytes.
#ifndef VKS_IO_PNG_H
#define VKS_IO_PNG_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A text chunk. `key`: 1 to 79 printable ASCII characters. `value`: UTF-8; plain ASCII becomes tEXt, the rest iTXt
// (uncompressed).
struct vks_png_text {
    const char *key, *value;
};

// Writes `rgb`, (height, width, 3) bytes from the top left corner, atomically.
bool vks_png_write(const struct vks_log *log, const char *path, const uint8_t *rgb, int width, int height,
                   const struct vks_png_text *texts, size_t text_count);

#endif
