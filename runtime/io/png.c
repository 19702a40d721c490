// Layout of a PNG: 8 bytes signature, then chunks (length, kind, data, CRC-32 of kind and data), big endian. stb
// makes signature, IHDR, IDAT and IEND; the text goes between IHDR and IDAT.
#include "io/png.h"

#include "base/os.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-compare"
#endif
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb/stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#define HEADER_SIZE 33  // signature and IHDR

static uint32_t crc32_of(const char *data, size_t size)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < size; i++) {
        crc ^= (unsigned char)data[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void add_u32(struct vks_text *out, uint32_t value)
{
    const unsigned char bytes[4] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16),
                                    (unsigned char)(value >> 8), (unsigned char)value};
    vks_text_add(out, bytes, sizeof(bytes));
}

static bool is_ascii(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text >= 0x80)
            return false;
    }
    return true;
}

static bool is_key(const char *key)
{
    const size_t length = strlen(key);
    for (const char *at = key; *at; at++) {
        if (*at < 0x20 || *at > 0x7e)
            return false;
    }
    return length >= 1 && length <= 79 && key[0] != ' ' && key[length - 1] != ' ' && !strstr(key, "  ");
}

static bool add_text(const struct vks_log *log, const char *path, struct vks_text *out,
                     const struct vks_png_text *text)
{
    const size_t size = strlen(text->value), key_size = strlen(text->key);
    const bool plain = is_ascii(text->value);
    if (!is_key(text->key))
        return vks_fail(log, "%s: \"%s\" cannot be the key of a PNG text; use 1 to 79 plain characters", path,
                        text->key);
    if (vks_utf8_check(text->value, size) != size)
        return vks_fail(log, "%s: the text for %s is not UTF-8; correct it", path, text->key);
    if (size > (size_t)1 << 30)
        return vks_fail(log, "%s: the text for %s is too long; shorten it", path, text->key);
    const size_t body = key_size + 1 + (plain ? 0 : 4) + size;
    add_u32(out, (uint32_t)body);
    const size_t from = out->length;
    vks_text_add_str(out, plain ? "tEXt" : "iTXt");
    vks_text_add(out, text->key, key_size + 1);
    if (!plain)
        vks_text_add(out, "\0\0\0", 4);  // not compressed, no language, no translated key
    vks_text_add(out, text->value, size);
    if (out->failed)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    add_u32(out, crc32_of(out->data + from, out->length - from));
    return true;
}

bool vks_png_write(const struct vks_log *log, const char *path, const uint8_t *rgb, int width, int height,
                   const struct vks_png_text *texts, size_t text_count)
{
    if (width < 1 || height < 1 || (int64_t)width * height > (int64_t)1 << 27)
        return vks_fail(log, "%s: a picture of %d x %d cannot be written; choose another size", path, width, height);
    struct vks_text chunks = {0};
    for (size_t i = 0; i < text_count; i++) {
        if (!add_text(log, path, &chunks, &texts[i])) {
            vks_text_finish(&chunks);
            return false;
        }
    }
    int size = 0;
    unsigned char *png = chunks.failed ? NULL : stbi_write_png_to_mem(rgb, width * 3, width, height, 3, &size);
    if (!png || size < HEADER_SIZE) {
        free(png);
        vks_text_finish(&chunks);
        return vks_fail(log, "%s, %d x %d: " VKS_NO_MEMORY, path, width, height);
    }
    struct vks_os_writer *writer = vks_os_writer_open(log, path);
    vks_os_writer_write(writer, png, HEADER_SIZE);
    vks_os_writer_write(writer, chunks.data, chunks.length);
    vks_os_writer_write(writer, png + HEADER_SIZE, (size_t)size - HEADER_SIZE);
    free(png);
    vks_text_finish(&chunks);
    return vks_os_writer_commit(&writer);
}
