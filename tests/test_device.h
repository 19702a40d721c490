// The device of a test program: under the validation layers, whose messages count as a failure.
#ifndef VKS_TESTS_TEST_DEVICE_H
#define VKS_TESTS_TEST_DEVICE_H

#include "gpu/gpu.h"
#include "test.h"

static inline void test_device_print(void *priv, enum vks_log_level level, const char *message)
{
    (void)priv;
    (void)level;
    fprintf(stderr, "%s\n", message);
}

static const struct vks_log test_device_log = {.print = test_device_print, .level = VKS_LOG_WARN};

// NULL without a usable device (said on stderr).
static inline struct vks_gpu *test_device_open(void)
{
    return vks_gpu_create(&(struct vks_gpu_params){.log = &test_device_log, .validate = true});
}

// Closes the device (NULL: none) and prints the summary; returns the exit status of the program.
static inline int test_device_summary(struct test *t, struct vks_gpu **gpu)
{
    const unsigned messages = *gpu ? vks_gpu_validation_messages(*gpu) : 0;
    if (messages) {
        printf("FAIL validation: %u messages\n", messages);
        t->failed++;
    }
    vks_gpu_destroy(gpu);
    return test_summary(t);
}

#endif
