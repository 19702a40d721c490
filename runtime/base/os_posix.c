// POSIX: time, signals, the terminal, memory, the user's places.
#ifndef _WIN32

#ifndef _GNU_SOURCE
#define _GNU_SOURCE  // sched_getaffinity
#endif

#include "base/os.h"

#include "base/text.h"

#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif
#ifdef __APPLE__
#include <mach-o/dyld.h>
#include <sys/sysctl.h>
#endif

// ---- time, signals, terminal

double vks_os_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void vks_os_sleep(double seconds)
{
    if (!(seconds > 0))
        return;
    struct timespec left = {.tv_sec = (time_t)seconds};
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    nanosleep(&left, NULL);  // a signal may end it early: the caller looks at the flag
}

// A signal handler can reach nothing but such a flag.
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = 1;
    signal(number, SIG_DFL);
}

void vks_os_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool vks_os_interrupted(void)
{
    return interrupted != 0;
}

bool vks_os_is_terminal(int stream)
{
    return isatty(stream) == 1;
}

int vks_os_terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

void vks_os_setup_streams(void)
{
    signal(SIGPIPE, SIG_IGN);  // `vksteer info | head` ends with a failed write, not a kill
}

// ---- memory and processors

#ifdef __linux__
// The number in a small file, UINT64_MAX when there is none ("max").
static uint64_t read_number(const char *path)
{
    FILE *file = fopen(path, "re");
    unsigned long long value = UINT64_MAX;
    if (file) {
        if (fscanf(file, "%llu", &value) != 1)
            value = UINT64_MAX;
        fclose(file);
    }
    return value;
}

// The number of a "name value" line in a file; UINT64_MAX when absent.
static uint64_t read_field(const char *path, const char *name)
{
    FILE *file = fopen(path, "re");
    uint64_t value = UINT64_MAX;
    char line[256];
    const size_t length = strlen(name);
    while (file && fgets(line, sizeof(line), file)) {
        unsigned long long number;
        if (!strncmp(line, name, length) && sscanf(line + length, "%*[ :\t]%llu", &number) == 1) {
            value = number;
            break;
        }
    }
    if (file)
        fclose(file);
    return value;
}

// What one control group leaves: limit - (usage - cache that can be dropped).
static uint64_t group_free(const char *folder, const char *limit_name, const char *usage_name)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof(path), "%s/%s", folder, limit_name);
    const uint64_t limit = read_number(path);
    snprintf(path, sizeof(path), "%s/%s", folder, usage_name);
    uint64_t usage = read_number(path);
    if (limit == UINT64_MAX || usage == UINT64_MAX)
        return UINT64_MAX;
    snprintf(path, sizeof(path), "%s/memory.stat", folder);
    const uint64_t cache = read_field(path, "inactive_file");
    if (cache != UINT64_MAX)
        usage -= cache < usage ? cache : usage;
    return limit > usage ? limit - usage : 0;
}

// The folder of this process's control group (version 2).
static void own_group(char *folder, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[PATH_MAX];
    snprintf(folder, size, "/sys/fs/cgroup");
    while (file && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "0::", 3))
            snprintf(folder, size, "/sys/fs/cgroup%s", line + 3);
    }
    if (file)
        fclose(file);
}

// Makes a group's folder that of the group above it; false: it was the root.
static bool to_parent(char *folder)
{
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    return slash && strlen(folder) >= strlen("/sys/fs/cgroup");
}

// The tightest limit from this process's control group (version 2) up to the root, and version 1's.
static uint64_t groups_free(void)
{
    uint64_t least = group_free("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes");
    char folder[PATH_MAX + 32];
    own_group(folder, sizeof(folder));
    do {
        const uint64_t left = group_free(folder, "memory.max", "memory.current");
        least = left < least ? left : least;
    } while (to_parent(folder));
    return least;
}

bool vks_os_is_rationed(void)
{
    char folder[PATH_MAX + 32], path[PATH_MAX + 64];
    if (read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") != UINT64_MAX)  // version 1; -1: none
        return true;
    own_group(folder, sizeof(folder));
    do {
        snprintf(path, sizeof(path), "%s/cpu.max", folder);
        if (read_number(path) != UINT64_MAX)
            return true;
    } while (to_parent(folder));
    return false;
}
#else
bool vks_os_is_rationed(void)
{
    return false;
}
#endif

uint64_t vks_os_available_memory(void)
{
#ifdef __linux__
    const uint64_t kib = read_field("/proc/meminfo", "MemAvailable");
    const uint64_t system = kib == UINT64_MAX ? UINT64_MAX : kib * 1024, group = groups_free();
    const uint64_t least = system < group ? system : group;
    return least == UINT64_MAX ? 0 : least;
#elif defined(__APPLE__)
    uint64_t total = 0;
    size_t size = sizeof(total);
    return sysctlbyname("hw.memsize", &total, &size, NULL, 0) == 0 ? total / 2 : 0;
#else
    return 0;
#endif
}

uint64_t vks_os_process_memory(void)
{
#ifdef __linux__
    const uint64_t own = read_field("/proc/self/status", "RssAnon");
    const uint64_t shared = read_field("/proc/self/status", "RssShmem");
    return own == UINT64_MAX || shared == UINT64_MAX ? 0 : (own + shared) * 1024;
#else
    return 0;
#endif
}

bool vks_os_set_env(const char *name, const char *value)
{
    return setenv(name, value, 1) == 0;
}

int vks_os_processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
#endif
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 && count < 65536 ? (int)count : 1;
}

// ---- the user's places

char *vks_os_cache_dir(const struct vks_log *log, const char *name, bool create)
{
    const char *cache = vks_os_env("XDG_CACHE_HOME"), *home = vks_os_env("HOME");
    char *base = NULL;
    if (!home) {
        const struct passwd *user = getpwuid(getuid());
        home = user ? user->pw_dir : NULL;
    }
    if (cache && *cache == '/')  // the XDG specification says to ignore relative ones
        base = strdup(cache);
    else if (home)
        base = vks_path_join(home, ".cache");
    else
        return vks_fail_null(log, "no home folder for the cache; set HOME or XDG_CACHE_HOME");
    char *path = base ? vks_path_join(base, name) : NULL;
    free(base);
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
#ifdef __linux__
    return realpath("/proc/self/exe", NULL);
#elif defined(__APPLE__)
    char path[PATH_MAX];
    uint32_t size = sizeof(path);
    return _NSGetExecutablePath(path, &size) == 0 ? realpath(path, NULL) : NULL;
#else
    return NULL;
#endif
}

#else
typedef int vks_os_posix_is_empty;  // ISO C wants a declaration
#endif
