// The reader of PyTorch's files. The first byte chooses: the rest is a whole file, or the pickle of an archive that
// is put round it, with the bytes of a few storages.
#include "base/os.h"
#include "io/torch_zip.h"
#include "tests/fuzz/standalone.h"
#include "tests/zip_pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char path[450];

// Reads every byte that the reader vouches for.
static void touch(const struct vks_torch_zip *file)
{
    unsigned sum = (unsigned)strlen(file->prefix);
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct vks_st_tensor *tensor = &file->tensors[i];
        if (tensor->count * vks_st_dtype_size(tensor->dtype) != tensor->size ||
            (i && strcmp(file->tensors[i - 1].name, tensor->name) >= 0))
            abort();
        for (size_t k = 0; k < tensor->size; k++)
            sum += tensor->data[k];
    }
    if (sum == 0x12345678)
        puts("");  // so that the reads are not left out
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct zip_archive archive;
    static const unsigned char bytes[256];
    if (!*path) {
        const char *temporary = vks_os_env("TMPDIR");
        char folder[400];
        snprintf(folder, sizeof(folder), "%s/vks-fuzz-torch", temporary ? temporary : "/tmp");
        snprintf(path, sizeof(path), "%s/x.bin", folder);
        if (!vks_os_make_dirs(NULL, folder))
            abort();
    }
    if (!size || size > sizeof(archive.bytes) / 2)
        return 0;
    if (data[0] % 2) {
        zip_pack(&archive, (struct zip_part[]){{"x/data.pkl", data + 1, size - 1}, {"x/data/0", bytes, sizeof(bytes)},
                                               {"x/data/1", bytes, 24}, {"x/data/2", bytes, 8}}, 4);
    } else {
        archive.size = 0;
        zip_put(&archive, data + 1, size - 1);
    }
    FILE *file = fopen(path, "wb");  // a plain FILE: syncing every input would leave no time for the reader
    if (!file)
        abort();
    fwrite(archive.bytes, 1, archive.size, file);
    fclose(file);
    struct vks_torch_zip *opened = vks_torch_zip_open(NULL, path);
    if (opened)
        touch(opened);
    vks_torch_zip_close(&opened);
    return 0;
}
