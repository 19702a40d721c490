// With -DVKS_FUZZ_STANDALONE a fuzz target gets a main() that replays the files (or folders of files) it is given, so
// that seeds and past findings run with any compiler.
#ifndef VKS_TESTS_FUZZ_STANDALONE_H
#define VKS_TESTS_FUZZ_STANDALONE_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef VKS_FUZZ_STANDALONE

#include "base/os.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

static int fuzz_replay(const char *path)
{
    struct vks_os_names names = {0};
    int count = 0;
    if (vks_os_is_dir(path) && vks_os_list(NULL, path, &names)) {
        for (size_t i = 0; i < names.count; i++) {
            char *inner = vks_path_join(path, names.items[i]);
            count += inner ? fuzz_replay(inner) : 0;
            free(inner);
        }
        vks_os_names_finish(&names);
        return count;
    }
    size_t size;
    char *data = vks_os_read_file(NULL, path, (size_t)1 << 26, &size);
    if (!data) {
        printf("cannot read %s\n", path);
        return 0;
    }
    uint8_t *exact = malloc(size + !size);  // of the very size, so that a read past the end is seen
    for (size_t i = 0; exact && i < size; i++)
        exact[i] = (uint8_t)data[i];
    if (exact)
        LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++)
        count += fuzz_replay(argv[i]);
    printf("%d inputs replayed\n", count);
    return count ? 0 : 1;
}

#endif
#endif
