// Messages, and the one error path of the library.
//
// A function that can fail returns false or NULL after it has said why in the log, in one line that ends in what
// to do next. No library call exits, aborts or writes to stderr on its own.
#ifndef VKS_BASE_LOG_H
#define VKS_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum vks_log_level {
    VKS_LOG_ERROR,  // the call failed; the message says what to do
    VKS_LOG_WARN,   // the call went on, but the result may not be what was meant
    VKS_LOG_INFO,   // what a user wants to know once: the device, the plan, the seed
    VKS_LOG_DEBUG,  // what a developer wants to know: shapes, dispatches, choices
};

struct vks_log {
    void (*print)(void *priv, enum vks_log_level level, const char *message);  // no newline in message
    void *priv;
    enum vks_log_level level;  // messages above this level are dropped before they are formatted
};

#if defined(__MINGW32__)  // standard formats: the build defines __USE_MINGW_ANSI_STDIO
#define VKS_PRINTF(string, first) __attribute__((format(gnu_printf, string, first)))
#elif defined(__GNUC__)
#define VKS_PRINTF(string, first) __attribute__((format(printf, string, first)))
#else
#define VKS_PRINTF(string, first)
#endif

// Prints one message; `log` may be NULL (silence).
void vks_log(const struct vks_log *log, enum vks_log_level level, const char *format, ...) VKS_PRINTF(3, 4);

// Prints at VKS_LOG_ERROR and returns false, so that `return vks_fail(log, ...)` is the whole error path.
bool vks_fail(const struct vks_log *log, const char *format, ...) VKS_PRINTF(2, 3);

// What to say when an allocation fails; a string literal, so that `"%s: " VKS_NO_MEMORY` names what for.
#define VKS_NO_MEMORY "out of memory: close other programs and try again"

// The same for functions that return a pointer.
#define vks_fail_null(...) ((void)vks_fail(__VA_ARGS__), (void *)0)

#define vks_warn(log, ...) vks_log(log, VKS_LOG_WARN, __VA_ARGS__)
#define vks_info(log, ...) vks_log(log, VKS_LOG_INFO, __VA_ARGS__)
#define vks_debug(log, ...) vks_log(log, VKS_LOG_DEBUG, __VA_ARGS__)

#endif
