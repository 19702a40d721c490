// Shared by the files of base/os for Windows.
#ifndef VKS_BASE_OS_WINDOWS_H
#define VKS_BASE_OS_WINDOWS_H

#include <stddef.h>

// UTF-16 to UTF-8; free() it. NULL: out of memory.
char *vks_os_narrow(const wchar_t *text);

#endif
