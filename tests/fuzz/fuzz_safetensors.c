// The safetensors reader. The first byte chooses: the rest is a whole file, or a header whose length is put in front
// (so that mutations need not keep it right), or an index beside one good shard.
#include "base/os.h"
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

static char path[450], index_path[450];

// Chooses where the files lie, and writes the shard that an index may name.
static void prepare(void)
{
    const char *temporary = vks_os_env("TMPDIR");
    char folder[400], shard[450];
    const float one = 1;
    const struct vks_st_item item = {.name = "a", .dtype = VKS_ST_F32, .rank = 1, .shape = {1}, .data = &one};
    snprintf(folder, sizeof(folder), "%s/vks-fuzz-safetensors", temporary ? temporary : "/tmp");
    snprintf(path, sizeof(path), "%s/x.safetensors", folder);
    snprintf(index_path, sizeof(index_path), "%s/x.json", folder);
    snprintf(shard, sizeof(shard), "%s/s.safetensors", folder);
    if (!vks_os_make_dirs(NULL, folder) || !vks_safetensors_write(NULL, shard, &item, 1, NULL, 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*path)
        prepare();
    if (!size)
        return 0;
    const int kind = data[0] % 3;
    const char *target = kind == 2 ? index_path : path;
    // A plain FILE: syncing every input would leave no time for the reader.
    FILE *file = fopen(target, "wb");
    if (!file)
        abort();
    for (int i = 0; kind == 1 && i < 8; i++)  // everything up to the last 16 bytes is the header
        fputc((int)((uint64_t)(size - 1 > 16 ? size - 17 : size - 1) >> (8 * i) & 255), file);
    fwrite(data + 1, 1, size - 1, file);
    fclose(file);
    struct vks_safetensors *opened = vks_safetensors_open(NULL, target);
    if (opened)
        touch(opened);
    vks_safetensors_close(&opened);
    return 0;
}
