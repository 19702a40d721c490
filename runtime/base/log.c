#include "base/log.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void print(const struct vks_log *log, enum vks_log_level level, const char *format, va_list args)
{
    if (!log || !log->print || level > log->level)
        return;
    char message[1024], plain[sizeof(message) + 256];
    vsnprintf(message, sizeof(message), format, args);
    // Names come from files: what they hold must neither move a terminal's cursor nor begin a line.
    log->print(log->priv, level, vks_text_quote(message, strlen(message), plain, sizeof(plain)));
}

void vks_log(const struct vks_log *log, enum vks_log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print(log, level, format, args);
    va_end(args);
}

bool vks_fail(const struct vks_log *log, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print(log, VKS_LOG_ERROR, format, args);
    va_end(args);
    return false;
}
