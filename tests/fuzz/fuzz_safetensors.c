// The safetensors reader. The first byte chooses: the rest is a whole file, or a header whose length is put in front
// (so that mutations need not keep it right), or an index beside one good shard.
#include "base/half.h"
#include "base/os.h"
#include "base/text.h"
#include "io/safetensors.h"
#include "tests/fuzz/standalone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Reads every byte that the reader vouches for.
static void touch(const struct vks_safetensors *file)
{
    unsigned sum = 0;
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct vks_st_tensor *tensor = &file->tensors[i];
        if (vks_safetensors_find(file, tensor->name) != tensor ||
            tensor->count * vks_st_dtype_size(tensor->dtype) != tensor->size)
            abort();
        for (size_t k = 0; k < tensor->size; k++)
            sum += tensor->data[k];
        float *copy = tensor->count < 1 << 20 ? malloc((size_t)tensor->count * sizeof(*copy) + 1) : NULL;
        if (copy)
            vks_st_to_f32(NULL, file, tensor, copy);
        free(copy);
    }
    for (size_t i = 0; i < file->metadata_count; i++)
        sum += (unsigned)strlen(file->metadata[i].key) + (unsigned)strlen(file->metadata[i].value);
    if (sum == 0x12345678)
        puts("");  // so that the reads are not left out
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char folder[400], path[450], index[450];
    const int number = data && size ? data[0] % 3 : 0;
    if (!size)
        return 0;
    if (!*folder) {
        const char *temporary = vks_os_env("TMPDIR");
        snprintf(folder, sizeof(folder), "%s/vks-fuzz-safetensors", temporary ? temporary : "/tmp");
        if (!vks_os_make_dirs(NULL, folder))
            abort();
        snprintf(path, sizeof(path), "%s/x.safetensors", folder);
        snprintf(index, sizeof(index), "%s/x.json", folder);
    }
    const float one = 1;
    const struct vks_st_item item = {.name = "a", .dtype = VKS_ST_F32, .rank = 1, .shape = {1}, .data = &one};
    struct vks_text text = {0};
    for (int i = 0; number == 1 && i < 8; i++) {  // everything up to the last 16 bytes is the header
        const char byte = (char)((uint64_t)(size - 1 > 16 ? size - 17 : size - 1) >> (8 * i));
        vks_text_add(&text, &byte, 1);
    }
    vks_text_add(&text, data + 1, size - 1);
    // A plain FILE: syncing every input would leave no time for the reader.
    FILE *file = fopen(number == 2 ? index : path, "wb");
    if (file) {
        fwrite(text.data, 1, text.length, file);
        fclose(file);
    }
    vks_text_finish(&text);
    static bool shard;
    if (number == 2 && (!shard || !vks_os_exists(path)))
        shard = vks_safetensors_write(NULL, path, &item, 1, NULL, 0);
    if (number != 2)
        shard = false;
    struct vks_safetensors *opened = vks_safetensors_open(NULL, number == 2 ? index : path);
    if (opened)
        touch(opened);
    vks_safetensors_close(&opened);
    return 0;
}
