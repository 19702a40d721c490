// POSIX: files and folders.
#ifndef _WIN32

#ifndef _GNU_SOURCE
#define _GNU_SOURCE  // O_TMPFILE
#endif

#include "base/os_files.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// What to do about a failed call, for the end of a message.
static const char *advice(int error)
{
    switch (error) {
    case ENOSPC:
#ifdef EDQUOT
    case EDQUOT:
#endif
        return "; free some space or write elsewhere";
    case ENOENT:
        return "; check the path";
    case EACCES:
    case EPERM:
        return "; check the permissions";
    case EROFS:
        return "; write to another folder";
    default:
        return "";
    }
}

bool vks_os_fail(const struct vks_log *log, const char *path, const char *what)
{
    const int error = errno;
    return vks_fail(log, "%s: %s: %s%s", path, what, strerror(error), advice(error));
}

// ---- reading

// Opens for reading and looks at what it is; -1 after a message.
static int open_readable(const struct vks_log *log, const char *path, struct stat *info)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        vks_os_fail(log, path, "cannot open");
        return -1;
    }
    if (fstat(fd, info) != 0) {
        vks_os_fail(log, path, "cannot open");
    } else if (S_ISDIR(info->st_mode)) {
        vks_fail(log, "%s: is a folder; give a file", path);
    } else {
        return fd;
    }
    close(fd);
    return -1;
}

bool vks_os_map_open(const struct vks_log *log, const char *path, struct vks_os_map *map)
{
    static const char not_regular[] = "%s: is not a regular file; give a file that can be mapped";
    *map = (struct vks_os_map){.data = (const unsigned char *)""};
    struct stat info;
    // Before it is opened: that would wait for a pipe's writer.
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return vks_fail(log, not_regular, path);
    const int fd = open_readable(log, path, &info);
    if (fd < 0)
        return false;
    bool done = false;
    if (!S_ISREG(info.st_mode)) {
        vks_fail(log, not_regular, path);
    } else if ((uintmax_t)info.st_size > SIZE_MAX) {
        vks_fail(log, "%s: is too large for this machine", path);
    } else if (info.st_size == 0) {
        done = true;
    } else {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            vks_os_fail(log, path, "cannot map");
        } else {
            *map = (struct vks_os_map){.data = data, .size = (size_t)info.st_size, .handle = data};
            done = true;
        }
    }
    close(fd);
    return done;
}

void vks_os_map_close(struct vks_os_map *map)
{
    if (map->handle)
        munmap(map->handle, map->size);
    *map = (struct vks_os_map){0};
}

// Reads until the end of the file or just past `limit`; false with errno set.
static bool read_all(int fd, size_t limit, size_t guess, struct vks_text *text)
{
    size_t piece = guess < 65536 ? 65536 : guess;
    while (text->length <= limit) {
        if (text->capacity - text->length < 2) {
            const size_t at = text->length;
            char *data = realloc(text->data, at + piece + 1);
            if (!data)
                return false;
            text->data = data;
            text->capacity = at + piece + 1;
            if (piece < (size_t)1 << 28)
                piece *= 2;
        }
        const ssize_t got = read(fd, text->data + text->length, text->capacity - text->length - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0)
            break;
        text->length += (size_t)got;
    }
    text->data[text->length] = 0;
    return true;
}

char *vks_os_read_file(const struct vks_log *log, const char *path, size_t limit, size_t *size)
{
    struct stat info;
    const int fd = open_readable(log, path, &info);
    if (fd < 0)
        return NULL;
    struct vks_text text = {0};
    if (S_ISREG(info.st_mode) && (uintmax_t)info.st_size > limit) {
        vks_os_fail_large(log, path, limit);
    } else if (!read_all(fd, limit, S_ISREG(info.st_mode) ? (size_t)info.st_size + 1 : 0, &text)) {
        vks_os_fail(log, path, "cannot read");
        vks_text_finish(&text);
    } else if (text.length > limit) {
        vks_os_fail_large(log, path, limit);
        vks_text_finish(&text);
    }
    close(fd);
    *size = text.length;
    return text.data;
}

// ---- writing

struct vks_os_writer {
    const struct vks_log *log;
    char *path;       // the target, links resolved
    char *folder;     // of the target
    char *temporary;  // its name once it has one, or NULL
    int fd;
    bool direct;  // a device or pipe: nothing to rename
    bool failed;
    size_t used;
    char buffer[1 << 16];
};

void vks_os_writer_free(struct vks_os_writer *writer)
{
    if (writer->fd >= 0)
        close(writer->fd);
    if (writer->temporary)
        unlink(writer->temporary);
    free(writer->temporary);
    free(writer->folder);
    free(writer->path);
    free(writer);
}

// A name for the temporary that no other process uses: FOLDER/.NAME.PID.COUNT.tmp.
static bool name_temporary(struct vks_os_writer *writer, unsigned count)
{
    struct vks_text text = {0};
    vks_text_printf(&text, "%s/.%.200s.%ld.%u.tmp", writer->folder, vks_path_name(writer->path), (long)getpid(),
                    count);
    if (text.failed)
        vks_text_finish(&text);
    free(writer->temporary);
    writer->temporary = text.data;
    return text.data != NULL;
}

// Without a name where the system can (then even SIGKILL leaves nothing behind), else under a name of its own.
static bool open_temporary(struct vks_os_writer *writer)
{
#if defined(O_TMPFILE) && !defined(__ANDROID__)  // Android's policy forbids linkat()
    if (access("/proc/self/fd", X_OK) == 0) {
        writer->fd = open(writer->folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
        if (writer->fd >= 0)
            return true;
        if (errno == ENOENT || errno == EACCES || errno == EROFS || errno == ENOSPC)
            return vks_os_fail(writer->log, writer->path, "cannot write");
    }
#endif
    for (unsigned i = 0; i < 100; i++) {
        if (!name_temporary(writer, i))
            return vks_fail(writer->log, "%s: " VKS_NO_MEMORY, writer->path);
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->fd >= 0)
            return true;
        if (errno != EEXIST)
            break;
    }
    const int error = errno;
    free(writer->temporary);  // not ours: do not remove it
    writer->temporary = NULL;
    errno = error;
    return vks_os_fail(writer->log, writer->path, "cannot write");
}

// Where a chain of links ends, so that a link stays a link; what does not exist yet is itself.
static char *resolve(const char *path)
{
    char *resolved = realpath(path, NULL);
    return resolved ? resolved : strdup(path);
}

struct vks_os_writer *vks_os_writer_open(const struct vks_log *log, const char *path)
{
    struct vks_os_writer *writer = calloc(1, sizeof(*writer));
    if (!writer)
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, path);
    writer->log = log;
    writer->fd = -1;
    writer->path = resolve(path);
    writer->folder = writer->path ? vks_path_folder(writer->path) : NULL;
    struct stat info;
    bool done = false;
    if (!writer->folder) {
        vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    } else if (stat(writer->path, &info) == 0 && S_ISDIR(info.st_mode)) {
        vks_fail(log, "%s: is a folder; give the name of a file", path);
    } else if (stat(writer->path, &info) == 0 && !S_ISREG(info.st_mode)) {
        writer->direct = true;
        writer->fd = open(writer->path, O_WRONLY | O_CLOEXEC);
        done = writer->fd >= 0 || vks_os_fail(log, path, "cannot write");
    } else if (!*vks_path_name(path)) {
        vks_fail(log, "\"%s\" is not the name of a file; give one", path);
    } else {
        done = open_temporary(writer);
    }
    if (!done) {
        vks_os_writer_free(writer);
        return NULL;
    }
    return writer;
}

// Writes all bytes; false with errno set.
bool vks_os_write_all(vks_os_handle file, const char *data, size_t size)
{
    while (size) {
        const ssize_t written = write(file, data, size < (size_t)1 << 30 ? size : (size_t)1 << 30);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            if (!written)
                errno = ENOSPC;
            return false;
        }
        data += written;
        size -= (size_t)written;
    }
    return true;
}

static bool writer_flush(struct vks_os_writer *writer)
{
    if (!writer->failed && !vks_os_write_all(writer->fd, writer->buffer, writer->used)) {
        vks_os_fail(writer->log, writer->path, "cannot write");
        writer->failed = true;
    }
    writer->used = 0;
    return !writer->failed;
}

bool vks_os_writer_write(struct vks_os_writer *writer, const void *data, size_t size)
{
    if (!writer || writer->failed)
        return false;
    if (size > sizeof(writer->buffer) - writer->used && !writer_flush(writer))
        return false;
    if (size <= sizeof(writer->buffer)) {
        if (size)
            memcpy(writer->buffer + writer->used, data, size);
        writer->used += size;
        return true;
    }
    if (!vks_os_write_all(writer->fd, data, size)) {
        vks_os_fail(writer->log, writer->path, "cannot write");
        writer->failed = true;
    }
    return !writer->failed;
}

// Gives a nameless temporary a name: link() cannot replace, so it needs one before the rename.
static bool link_temporary(struct vks_os_writer *writer)
{
    char source[64];
    snprintf(source, sizeof(source), "/proc/self/fd/%d", writer->fd);
    for (unsigned i = 0; i < 100; i++) {
        if (!name_temporary(writer, i)) {
            errno = ENOMEM;
            return false;
        }
        if (linkat(AT_FDCWD, source, AT_FDCWD, writer->temporary, AT_SYMLINK_FOLLOW) == 0)
            return true;
        if (errno != EEXIST)
            break;
    }
    const int error = errno;
    free(writer->temporary);
    writer->temporary = NULL;
    errno = error;
    return false;
}

static bool sync_folder(const char *folder)
{
    const int fd = open(folder, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    // Some file systems cannot sync a folder and say so; their renames are as safe as they get.
    const bool done = fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EROFS;
    close(fd);
    return done;
}

static bool commit_file(struct vks_os_writer *writer)
{
    struct stat info;
    if (stat(writer->path, &info) == 0)
        (void)!fchmod(writer->fd, info.st_mode & 07777);  // keep the permissions of the file replaced
    if (fsync(writer->fd) != 0)
        return false;
    if (!writer->temporary && !link_temporary(writer))
        return false;
    if (rename(writer->temporary, writer->path) != 0)
        return false;
    free(writer->temporary);
    writer->temporary = NULL;
    return sync_folder(writer->folder);
}

bool vks_os_writer_commit(struct vks_os_writer **handle)
{
    struct vks_os_writer *writer = *handle;
    *handle = NULL;
    if (!writer)
        return false;
    bool done = writer_flush(writer);
    if (done && !writer->direct && !commit_file(writer)) {
        vks_os_fail(writer->log, writer->path, "cannot write");
        done = false;
    }
    vks_os_writer_free(writer);
    return done;
}

// ---- appending

struct vks_os_appender *vks_os_appender_open(const struct vks_log *log, const char *path, uint64_t keep)
{
    struct vks_os_appender *appender = calloc(1, sizeof(*appender));
    if (!appender || !(appender->path = strdup(path))) {
        free(appender);
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, path);
    }
    appender->log = log;
    appender->file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    struct stat info;
    bool done = false;
    if (appender->file < 0 || fstat(appender->file, &info) != 0) {
        vks_os_fail(log, path, "cannot append");
    } else if (!S_ISREG(info.st_mode)) {
        done = true;  // a device or pipe takes what comes and has no past
    } else if (keep != UINT64_MAX && (uint64_t)info.st_size < keep) {
        vks_os_fail_short(log, path, (uint64_t)info.st_size, keep);
    } else if (keep != UINT64_MAX && ftruncate(appender->file, (off_t)keep) != 0) {
        vks_os_fail(log, path, "cannot truncate");
    } else {
        appender->size = keep != UINT64_MAX ? keep : (uint64_t)info.st_size;
        done = true;
    }
    if (!done)
        vks_os_appender_close(&appender);
    return appender;
}

bool vks_os_appender_sync(struct vks_os_appender *appender)
{
    if (fsync(appender->file) != 0 && errno != EINVAL && errno != EROFS)
        return vks_os_fail(appender->log, appender->path, "cannot sync");
    return true;
}

void vks_os_appender_close(struct vks_os_appender **appender)
{
    if (*appender) {
        if ((*appender)->file >= 0)
            close((*appender)->file);
        free((*appender)->path);
        free(*appender);
    }
    *appender = NULL;
}

// ---- files and folders

bool vks_os_truncate(const struct vks_log *log, const char *path, uint64_t size)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return vks_os_fail(log, path, "cannot truncate");
    if (!S_ISREG(info.st_mode))
        return vks_fail(log, "%s: is not a regular file; it cannot be truncated", path);
    if ((uint64_t)info.st_size > size && truncate(path, (off_t)size) != 0)
        return vks_os_fail(log, path, "cannot truncate");
    return true;
}

bool vks_os_remove(const struct vks_log *log, const char *path)
{
    return unlink(path) == 0 || errno == ENOENT || vks_os_fail(log, path, "cannot remove");
}

bool vks_os_remove_folder(const struct vks_log *log, const char *path)
{
    return rmdir(path) == 0 || errno == ENOENT || vks_os_fail(log, path, "cannot remove");
}

bool vks_os_rename_folder(const struct vks_log *log, const char *from, const char *to)
{
    return rename(from, to) == 0 || vks_os_fail(log, to, "cannot create the folder");
}

bool vks_os_make_dirs(const struct vks_log *log, const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    bool done = true;
    for (char *at = copy + 1; done && *copy; at++) {
        const char kept = *at;
        if (kept && kept != '/')
            continue;
        *at = 0;
        done = mkdir(copy, 0777) == 0 || vks_os_is_dir(copy) || vks_os_fail(log, copy, "cannot create the folder");
        *at = kept;
        if (!kept)
            break;
    }
    free(copy);
    return done;
}

bool vks_os_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool vks_os_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool vks_os_same_file(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && S_ISREG(first.st_mode) &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool vks_os_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

uint64_t vks_os_file_size(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : UINT64_MAX;
}

int64_t vks_os_file_time(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_mtime : INT64_MAX;
}

bool vks_os_list(const struct vks_log *log, const char *path, struct vks_os_names *names)
{
    *names = (struct vks_os_names){0};
    DIR *dir = opendir(path);
    if (!dir)
        return vks_os_fail(log, path, "cannot list the folder");
    size_t capacity = 0;
    bool done = true;
    for (struct dirent *entry; done && (entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        done = vks_os_names_add(names, &capacity, strdup(entry->d_name));
    }
    closedir(dir);
    if (!done) {
        vks_os_names_finish(names);
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    }
    vks_os_names_sort(names);
    return true;
}

#else
typedef int vks_os_files_posix_is_empty;  // ISO C wants a declaration
#endif
