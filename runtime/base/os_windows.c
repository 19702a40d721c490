// Windows: time, signals, the terminal, memory, the user's places.
#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0601
#endif

#include "base/os.h"

#include "base/os_windows.h"
#include "base/text.h"

#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>

// ---- time, signals, terminal

double vks_os_seconds(void)
{
    LARGE_INTEGER now, rate;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&rate);
    return (double)now.QuadPart / (double)rate.QuadPart;
}

void vks_os_sleep(double seconds)
{
    if (seconds > 0)
        Sleep((DWORD)(seconds * 1e3));
}

// A console handler can reach nothing but such a flag.
static volatile LONG interrupted;

static BOOL WINAPI on_interrupt(DWORD event)
{
    (void)event;
    return InterlockedExchange(&interrupted, 1) == 0;  // the second time the default handler ends the process
}

void vks_os_catch_interrupt(void)
{
    SetConsoleCtrlHandler(on_interrupt, TRUE);
}

bool vks_os_interrupted(void)
{
    return interrupted != 0;
}

bool vks_os_is_terminal(int stream)
{
    return _isatty(stream) != 0;
}

int vks_os_terminal_width(void)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    if (GetConsoleScreenBufferInfo(GetStdHandle(STD_ERROR_HANDLE), &info))
        return info.srWindow.Right - info.srWindow.Left + 1;
    return 80;
}

void vks_os_setup_streams(void)
{
    SetConsoleOutputCP(CP_UTF8);
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
}

// ---- memory, processors, the user's places

uint64_t vks_os_available_memory(void)
{
    MEMORYSTATUSEX status = {.dwLength = sizeof(status)};
    return GlobalMemoryStatusEx(&status) ? status.ullAvailPhys : 0;
}

uint64_t vks_os_process_memory(void)
{
    return 0;
}

bool vks_os_set_env(const char *name, const char *value)
{
    return _putenv_s(name, value) == 0;
}

bool vks_os_is_rationed(void)
{
    return false;
}

int vks_os_processors(void)
{
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwNumberOfProcessors > 0 ? (int)info.dwNumberOfProcessors : 1;
}

char *vks_os_cache_dir(const struct vks_log *log, const char *name, bool create)
{
    const char *base = vks_os_env("LOCALAPPDATA");
    if (!base)
        return vks_fail_null(log, "no folder for the cache; set LOCALAPPDATA");
    char *path = vks_path_join(base, name);
    if (!path)
        return vks_fail_null(log, VKS_NO_MEMORY);
    if (create && !vks_os_make_dirs(log, path)) {
        free(path);
        return NULL;
    }
    return path;
}

char *vks_os_program_path(void)
{
    wchar_t path[4096];
    const DWORD length = GetModuleFileNameW(NULL, path, 4096);
    return length > 0 && length < 4096 ? vks_os_narrow(path) : NULL;
}

#else
typedef int vks_os_windows_is_empty;  // ISO C wants a declaration
#endif
