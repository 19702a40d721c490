// POSIX: other programs.
#ifndef _WIN32

#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE

#include "base/os.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool fail(const struct vks_log *log, const char *command, int error)
{
    return vks_fail(log, "\"%s\" cannot be run: %s", command, strerror(error));
}

// ---- starting

static bool make_pipe(int ends[2])
{
    ends[0] = ends[1] = -1;
    return pipe(ends) == 0 && fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0;
}

// A group of its own, so that all of it can be ended, with SIGPIPE as programs expect it. 0, or what went wrong.
static int spawn(pid_t *child, const char *command, int in, int out, const sigset_t *mask)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t usual;
    char shell[] = "sh", option[] = "-c", *line = strdup(command);
    char *const arguments[] = {shell, option, line, NULL};
    int error = line ? posix_spawn_file_actions_init(&actions) : ENOMEM;
    if (!error) {
        error = posix_spawnattr_init(&attributes);
        if (!error) {
            sigemptyset(&usual);
            sigaddset(&usual, SIGPIPE);
            posix_spawnattr_setflags(&attributes,
                                     POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
            posix_spawnattr_setpgroup(&attributes, 0);
            posix_spawnattr_setsigdefault(&attributes, &usual);
            posix_spawnattr_setsigmask(&attributes, mask);
            error = posix_spawn_file_actions_adddup2(&actions, in, 0);
            error = error ? error : posix_spawn_file_actions_adddup2(&actions, out, 1);
            error = error ? error : posix_spawn(child, "/bin/sh", &actions, &attributes, arguments, environ);
            posix_spawnattr_destroy(&attributes);
        }
        posix_spawn_file_actions_destroy(&actions);
    }
    free(line);
    return error;
}

// ---- while it runs

// Hands over what the pipe takes; closes it at the end, or when nobody reads.
static void feed(int *fd, const char *input, size_t size, size_t *sent)
{
    const ssize_t count = *sent < size ? write(*fd, input + *sent, size - *sent) : 0;
    if (count > 0)
        *sent += (size_t)count;
    if (*sent == size || (count < 0 && errno != EAGAIN && errno != EINTR))
        close_end(fd);
}

// False at the end of what it writes.
static bool take(int fd, struct vks_text *text)
{
    char piece[65536];
    const ssize_t count = read(fd, piece, sizeof(piece));
    if (count > 0)
        vks_text_add(text, piece, (size_t)count);
    return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

// Both directions until it closes its output, an interrupt, or too much of it.
static void exchange(int *in, int out, const char *input, size_t size, size_t limit, struct vks_text *text)
{
    size_t sent = 0;
    bool more = true;
    while (more && !vks_os_interrupted() && !text->failed && text->length <= limit) {
        struct pollfd ends[] = {{.fd = out, .events = POLLIN}, {.fd = *in, .events = POLLOUT}};
        const int ready = poll(ends, *in >= 0 ? 2 : 1, 200);  // an interrupt may come between the look and the wait
        if (ready < 0 && errno != EINTR)
            break;
        if (ready > 0 && ends[1].revents && *in >= 0)
            feed(in, input, size, &sent);
        if (ready > 0 && ends[0].revents)
            more = take(out, text);
    }
}

// Waits for its end, or brings it about: kindly at first. Whether it ended as it should; says so if not.
static bool reap(const struct vks_log *log, const char *command, pid_t child, bool end)
{
    const int slice = 20, grace = 2000;  // milliseconds
    int status = 0, asked = 0;
    for (;;) {
        if (end && (asked == 0 || asked >= grace))
            kill(-child, asked ? SIGKILL : SIGTERM);
        asked += end ? slice : 0;
        const pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child)
            break;
        if (ended < 0 && errno != EINTR)
            return fail(log, command, errno);
        poll(NULL, 0, slice);  // an interrupt may come at any time, and between the look and a wait
        end |= vks_os_interrupted();
    }
    if (end)
        return false;
    if (WIFSIGNALED(status))
        return vks_fail(log, "\"%s\" was ended by signal %d: run it by hand to see why", command, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return vks_fail(log, "\"%s\" failed with exit code %d: what it wrote to standard error says why", command,
                        WEXITSTATUS(status));
    return true;
}

// A pipe that nobody reads raises SIGPIPE, which ends a program: it is kept away from this thread, and what has come
// of it is dropped.
static void drop_signal(const sigset_t *before)
{
    sigset_t waiting, only;
    int number;
    sigemptyset(&only);
    sigaddset(&only, SIGPIPE);
    if (!sigismember(before, SIGPIPE) && sigpending(&waiting) == 0 && sigismember(&waiting, SIGPIPE))
        sigwait(&only, &number);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

char *vks_os_filter(const struct vks_log *log, const char *command, const char *input, size_t size, size_t limit,
                    size_t *got)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, error = 0;
    struct vks_text text = {0};
    sigset_t block, before;
    pid_t child = 0;
    bool done = false;
    *got = 0;
    fflush(NULL);  // what the program writes comes after what we have said
    sigemptyset(&block);
    sigaddset(&block, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &block, &before);
    if (!make_pipe(in) || !make_pipe(out) || fcntl(in[1], F_SETFL, O_NONBLOCK) != 0)
        error = errno;
    error = error ? error : spawn(&child, command, in[0], out[1], &before);
    close_end(&in[0]);
    close_end(&out[1]);
    if (error) {
        fail(log, command, error);
    } else {
        exchange(&in[1], out[0], input, size, limit, &text);
        const bool much = text.length > limit, end = vks_os_interrupted() || much || text.failed;
        close_end(&in[1]);
        close_end(&out[0]);
        done = reap(log, command, child, end);
        if (much)
            vks_fail(log, "\"%s\" wrote more than %zu bytes: that is not what it was asked for", command, limit);
        else if (text.failed)
            vks_fail(log, VKS_NO_MEMORY);
    }
    close_end(&in[1]);
    close_end(&out[0]);
    drop_signal(&before);
    if (done && !vks_text_add(&text, "", 0))
        done = vks_fail(log, VKS_NO_MEMORY);
    if (!done)
        vks_text_finish(&text);
    *got = text.length;
    return text.data;
}

#endif
