// Files of a test program: in a folder of its own, so that several may run at a time, removed at the end.
#ifndef VKS_TESTS_TEST_SCRATCH_H
#define VKS_TESTS_TEST_SCRATCH_H

#include <stdlib.h>

#include "base/os.h"
#include "base/text.h"
#include "test.h"

static char scratch[256];  // the folder

// False (said) when it cannot be made.
static inline bool test_scratch_open(const char *name)
{
    const char *temporary = vks_os_env("TMPDIR");
    struct test t = {0};
    do
        snprintf(scratch, sizeof(scratch), "%s/vks-test-%s-%06u", temporary ? temporary : "/tmp", name,
                 (unsigned)((uint64_t)(vks_os_seconds() * 1e6) % 1000000));
    while (vks_os_exists(scratch));
    if (!vks_os_make_dirs(test_log(&t), scratch))
        printf("FAIL scratch: %s\n", t.message);
    return vks_os_is_dir(scratch);
}

// Where a file of that name lies in scratch space; valid until the fourth call from now.
static inline const char *in_scratch(const char *name)
{
    static char paths[4][700];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof(paths[next]), "%s/%s", scratch, name);
    return paths[next];
}

static inline void test_scratch_empty(const char *folder)
{
    struct vks_os_names names = {0};
    vks_os_list(NULL, folder, &names);
    for (size_t i = 0; i < names.count; i++) {
        char *path = vks_path_join(folder, names.items[i]);
        if (path && !vks_os_remove(NULL, path)) {  // a folder
            test_scratch_empty(path);
            vks_os_remove_folder(NULL, path);
        }
        free(path);
    }
    vks_os_names_finish(&names);
}

static inline void test_scratch_close(void)
{
    test_scratch_empty(scratch);
    vks_os_remove_folder(NULL, scratch);
}

#endif
