// Windows: other programs.
#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0601
#endif

#include "base/os.h"

#include "base/text.h"

#include <windows.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void close_end(HANDLE *handle)
{
    if (*handle)
        CloseHandle(*handle);
    *handle = NULL;
}

// `inherited`: the end that the program gets.
static bool make_pipe(HANDLE ends[2], int inherited)
{
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof(attributes), .bInheritHandle = TRUE};
    return CreatePipe(&ends[0], &ends[1], &attributes, 0) &&
           SetHandleInformation(ends[!inherited], HANDLE_FLAG_INHERIT, 0);
}

static bool spawn(const char *command, HANDLE in, HANDLE out, HANDLE *process)
{
    static const char shell[] = "cmd.exe /d /s /c \"";
    const size_t room = strlen(command) + sizeof(shell) + 2;
    char *line = malloc(room);
    wchar_t *wide = malloc(room * sizeof(*wide));
    PROCESS_INFORMATION made = {0};
    STARTUPINFOW start = {.cb = sizeof(start), .dwFlags = STARTF_USESTDHANDLES, .hStdInput = in, .hStdOutput = out,
                          .hStdError = GetStdHandle(STD_ERROR_HANDLE)};
    bool done = line && wide;
    if (done) {
        snprintf(line, room, "%s%s\"", shell, command);
        done = MultiByteToWideChar(CP_UTF8, 0, line, -1, wide, (int)room) > 0 &&
               CreateProcessW(NULL, wide, NULL, NULL, TRUE, 0, NULL, NULL, &start, &made);
    }
    free(line);
    free(wide);
    if (done)
        CloseHandle(made.hThread);
    *process = made.hProcess;
    return done;
}

// Pipes here have no waiting for two at once: one thread writes, the other reads.
struct feed {
    HANDLE end;
    const char *input;
    size_t size;
};

static DWORD WINAPI feed(void *priv)
{
    struct feed *f = priv;
    DWORD count;
    for (size_t at = 0; at < f->size; at += count) {
        const DWORD piece = f->size - at < 65536 ? (DWORD)(f->size - at) : 65536;
        if (!WriteFile(f->end, f->input + at, piece, &count, NULL))
            break;
    }
    close_end(&f->end);
    return 0;
}

static void take_all(HANDLE end, size_t limit, struct vks_text *text)
{
    char piece[4096];
    DWORD count;
    while (!vks_os_interrupted() && text->length <= limit && !text->failed &&
           ReadFile(end, piece, sizeof(piece), &count, NULL) && count)
        vks_text_add(text, piece, count);
}

static bool reap(const struct vks_log *log, const char *command, HANDLE process, bool end)
{
    DWORD code = 1;
    if (end)
        TerminateProcess(process, 1);
    WaitForSingleObject(process, INFINITE);
    GetExitCodeProcess(process, &code);
    CloseHandle(process);
    return !end && (code == 0 ||
                    vks_fail(log, "\"%s\" failed with exit code %lu: what it wrote to standard error says why",
                             command, (unsigned long)code));
}

char *vks_os_filter(const struct vks_log *log, const char *command, const char *input, size_t size, size_t limit,
                    size_t *got)
{
    HANDLE in[2] = {NULL, NULL}, out[2] = {NULL, NULL}, process = NULL, thread = NULL;
    struct vks_text text = {0};
    bool done = make_pipe(in, 0) && make_pipe(out, 1);
    *got = 0;
    fflush(NULL);
    done = done && spawn(command, in[0], out[1], &process);
    close_end(&in[0]);
    close_end(&out[1]);
    struct feed work = {in[1], input, size};
    if (done && !(thread = CreateThread(NULL, 0, feed, &work, 0, NULL))) {
        reap(NULL, command, process, true);
        done = false;
    }
    if (!done) {
        close_end(&in[1]);
        vks_fail(log, "\"%s\" cannot be run (error %lu)", command, (unsigned long)GetLastError());
    } else {
        take_all(out[0], limit, &text);
        const bool much = text.length > limit;
        done = reap(log, command, process, vks_os_interrupted() || much || text.failed);
        WaitForSingleObject(thread, INFINITE);
        CloseHandle(thread);
        if (much)
            vks_fail(log, "\"%s\" wrote more than %zu bytes: that is not what it was asked for", command, limit);
        else if (text.failed)
            vks_fail(log, VKS_NO_MEMORY);
    }
    close_end(&out[0]);
    if (done && !vks_text_add(&text, "", 0))
        done = vks_fail(log, VKS_NO_MEMORY);
    if (!done)
        vks_text_finish(&text);
    *got = text.length;
    return text.data;
}

#endif
