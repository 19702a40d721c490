// The GGUF reader, unpacking of weights, and what a language model says of itself. The first byte chooses: the rest
// is a whole file, or so many pairs of metadata, or so many tensors of the table, and the header and data that belong
// to them are put round them, so that mutations need not keep these right.
#include "base/os.h"
#include "io/gguf.h"
#include "models/decoder_config.h"
#include "models/language.h"
#include "tests/fuzz/standalone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char path[450];
static unsigned sum;

static void touch_value(const struct vks_gguf_value *value)
{
    struct vks_gguf_value item;
    uint64_t whole, items = 0;
    double number;
    size_t at = 0;
    for (size_t i = 0; i < value->size; i++)
        sum += value->data[i];
    const bool is_number = vks_gguf_number(value, &number);
    if (vks_gguf_uint(value, &whole) && (!is_number || number != (double)whole))
        abort();
    for (; vks_gguf_next(value, &at, &item); items++)
        touch_value(&item);
    if (value->kind == VKS_GGUF_ARRAY && (items != value->count || at != value->size))
        abort();
}

// Reads every byte that the reader vouches for.
static void touch(const struct vks_gguf *file)
{
    for (size_t i = 0; i < file->metadata_count; i++) {
        if (vks_gguf_get(file, file->metadata[i].key) != &file->metadata[i].value)
            abort();
        touch_value(&file->metadata[i].value);
    }
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct vks_gguf_tensor *tensor = &file->tensors[i];
        const struct vks_quant *quant = vks_quant(tensor->type);
        if (vks_gguf_find(file, tensor->name) != tensor ||
            tensor->count / quant->elements * quant->bytes != tensor->size)
            abort();
        float *values = tensor->count < 1 << 20 ? malloc((size_t)tensor->count * sizeof(*values) + 1) : NULL;
        if (values)
            vks_quant_unpack(tensor->type, tensor->data, (size_t)tensor->count, values);
        free(values);
    }
}

static void put_number(FILE *file, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        fputc((int)(value >> (8 * i) & 255), file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*path) {
        const char *temporary = vks_os_env("TMPDIR");
        char folder[400];
        snprintf(folder, sizeof(folder), "%s/vks-fuzz-gguf", temporary ? temporary : "/tmp");
        snprintf(path, sizeof(path), "%s/x.gguf", folder);
        if (!vks_os_make_dirs(NULL, folder))
            abort();
    }
    if (!size)
        return 0;
    const int kind = data[0] % 3;
    const uint64_t count = data[0] / 3;
    FILE *out = fopen(path, "wb");  // a plain FILE: syncing every input would leave no time for the reader
    if (!out)
        abort();
    if (kind) {
        fputs("GGUF", out);
        put_number(out, 3, 4);
        put_number(out, kind == 2 ? count : 0, 8);
        put_number(out, kind == 1 ? count : 0, 8);
    }
    fwrite(data + 1, 1, size - 1, out);
    for (int i = 0; i < 1024 && kind == 2; i++)
        fputc(i & 255, out);
    fclose(out);
    struct vks_gguf *file = vks_gguf_open(NULL, path);
    struct vks_arena arena = {0};
    struct vks_language language;
    if (file)
        touch(file);
    struct vks_decoder_config config;
    if (file && vks_language_from_gguf(NULL, file, &arena, &language) && language.name)
        sum += (unsigned)strlen(language.name);
    if (file && vks_decoder_config_from_gguf(NULL, file, &arena, &config))
        sum += config.local[config.layers - 1] + config.heads / config.kv_heads;
    vks_arena_finish(&arena);
    vks_gguf_close(&file);
    if (sum == 0x12345678)
        puts("");  // so that the reads are not left out
    return 0;
}
