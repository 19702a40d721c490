// Windows: files and folders.
#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0601
#endif

#include "base/os_files.h"
#include "base/os_windows.h"
#include "base/text.h"

#include <windows.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool vks_os_fail(const struct vks_log *log, const char *path, const char *what)
{
    const DWORD error = GetLastError();
    wchar_t text[256] = L"";
    FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, error, 0, text,
                   sizeof(text) / sizeof(text[0]), NULL);
    text[wcscspn(text, L"\r\n")] = 0;
    char *reason = vks_os_narrow(text);
    const char *advice = error == ERROR_DISK_FULL        ? "; free some space or write elsewhere"
                         : error == ERROR_ACCESS_DENIED  ? "; check the permissions"
                         : error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND ? "; check the path"
                                                                                          : "";
    vks_fail(log, "%s: %s: %s (error %lu)%s", path, what, reason ? reason : "", (unsigned long)error, advice);
    free(reason);
    return false;
}

// UTF-8 to UTF-16; free() it.
static wchar_t *wide(const char *text)
{
    const int count = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0);
    wchar_t *out = count > 0 ? malloc((size_t)count * sizeof(*out)) : NULL;
    if (out)
        MultiByteToWideChar(CP_UTF8, 0, text, -1, out, count);
    return out;
}

char *vks_os_narrow(const wchar_t *text)
{
    const int count = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *out = count > 0 ? malloc((size_t)count) : NULL;
    if (out)
        WideCharToMultiByte(CP_UTF8, 0, text, -1, out, count, NULL, NULL);
    return out;
}

static DWORD attributes(const char *path)
{
    wchar_t *name = wide(path);
    const DWORD result = name ? GetFileAttributesW(name) : INVALID_FILE_ATTRIBUTES;
    free(name);
    return result;
}

static HANDLE open_handle(const char *path, DWORD access, DWORD disposition)
{
    wchar_t *name = wide(path);
    if (!name)
        return INVALID_HANDLE_VALUE;
    HANDLE handle = CreateFileW(name, access, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, disposition,
                                FILE_ATTRIBUTE_NORMAL, NULL);
    const DWORD error = GetLastError();
    free(name);
    SetLastError(error);
    return handle;
}

// ---- reading

bool vks_os_map_open(const struct vks_log *log, const char *path, struct vks_os_map *map)
{
    *map = (struct vks_os_map){.data = (const unsigned char *)""};
    HANDLE file = open_handle(path, GENERIC_READ, OPEN_EXISTING);
    if (file == INVALID_HANDLE_VALUE)
        return vks_os_fail(log, path, "cannot open");
    LARGE_INTEGER size;
    bool done = GetFileSizeEx(file, &size) != 0;
    if (done && size.QuadPart > 0) {
        HANDLE mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
        void *data = mapping ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0) : NULL;
        if (mapping)
            CloseHandle(mapping);  // the view keeps it alive
        done = data != NULL;
        if (done)
            *map = (struct vks_os_map){.data = data, .size = (size_t)size.QuadPart, .handle = data};
    }
    if (!done)
        vks_os_fail(log, path, "cannot map");
    CloseHandle(file);
    return done;
}

void vks_os_map_close(struct vks_os_map *map)
{
    if (map->handle)
        UnmapViewOfFile(map->handle);
    *map = (struct vks_os_map){0};
}

char *vks_os_read_file(const struct vks_log *log, const char *path, size_t limit, size_t *size)
{
    HANDLE file = open_handle(path, GENERIC_READ, OPEN_EXISTING);
    *size = 0;
    if (file == INVALID_HANDLE_VALUE)
        return vks_os_fail(log, path, "cannot open"), NULL;
    struct vks_text text = {0};
    char *piece = malloc(1 << 16);
    bool done = piece && vks_text_add(&text, "", 0);
    while (done && text.length <= limit) {
        DWORD got = 0;
        if (!ReadFile(file, piece, 1 << 16, &got, NULL) && GetLastError() != ERROR_BROKEN_PIPE) {
            done = vks_os_fail(log, path, "cannot read");
            break;
        }
        if (!got)
            break;
        if (!vks_text_add(&text, piece, got))
            done = vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    }
    if (done && text.length > limit)
        done = vks_os_fail_large(log, path, limit);
    CloseHandle(file);
    free(piece);
    if (!done)
        vks_text_finish(&text);
    *size = text.length;
    return text.data;
}

// ---- writing

struct vks_os_writer {
    const struct vks_log *log;
    char *path, *temporary;
    HANDLE file;
    bool failed;
};

void vks_os_writer_free(struct vks_os_writer *writer)
{
    if (writer->file != INVALID_HANDLE_VALUE) {
        CloseHandle(writer->file);
        vks_os_remove(NULL, writer->temporary);
    }
    free(writer->temporary);
    free(writer->path);
    free(writer);
}

struct vks_os_writer *vks_os_writer_open(const struct vks_log *log, const char *path)
{
    struct vks_os_writer *writer = calloc(1, sizeof(*writer));
    if (!writer)
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, path);
    writer->log = log;
    writer->file = INVALID_HANDLE_VALUE;
    writer->path = _strdup(path);
    struct vks_text name = {0};
    vks_text_printf(&name, "%s.%lu.tmp", path, (unsigned long)GetCurrentProcessId());
    writer->temporary = name.data;
    bool done = writer->path && !name.failed;
    if (!done) {
        vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    } else if (vks_os_is_dir(path)) {
        done = vks_fail(log, "%s: is a folder; give the name of a file", path);
    } else {
        writer->file = open_handle(writer->temporary, GENERIC_WRITE, CREATE_ALWAYS);
        done = writer->file != INVALID_HANDLE_VALUE || vks_os_fail(log, path, "cannot write");
    }
    if (!done) {
        vks_os_writer_free(writer);
        return NULL;
    }
    return writer;
}

bool vks_os_write_all(vks_os_handle file, const char *data, size_t size)
{
    while (size) {
        DWORD written = 0;
        if (!WriteFile(file, data, size < (1u << 30) ? (DWORD)size : 1u << 30, &written, NULL) || !written)
            return false;
        data += written;
        size -= written;
    }
    return true;
}

bool vks_os_writer_write(struct vks_os_writer *writer, const void *data, size_t size)
{
    if (!writer || writer->failed)
        return false;
    if (!vks_os_write_all(writer->file, data, size)) {
        vks_os_fail(writer->log, writer->path, "cannot write");
        writer->failed = true;
    }
    return !writer->failed;
}

bool vks_os_writer_commit(struct vks_os_writer **handle)
{
    struct vks_os_writer *writer = *handle;
    *handle = NULL;
    if (!writer)
        return false;
    bool done = !writer->failed;
    if (done) {
        wchar_t *from = wide(writer->temporary), *to = wide(writer->path);
        done = from && to && FlushFileBuffers(writer->file);
        CloseHandle(writer->file);
        writer->file = INVALID_HANDLE_VALUE;
        done = done && MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH);
        if (!done) {
            vks_os_fail(writer->log, writer->path, "cannot write");
            vks_os_remove(NULL, writer->temporary);
        }
        free(from);
        free(to);
    }
    vks_os_writer_free(writer);
    return done;
}

// ---- appending

struct vks_os_appender *vks_os_appender_open(const struct vks_log *log, const char *path, uint64_t keep)
{
    struct vks_os_appender *appender = calloc(1, sizeof(*appender));
    if (!appender || !(appender->path = _strdup(path))) {
        free(appender);
        return vks_fail_null(log, "%s: " VKS_NO_MEMORY, path);
    }
    appender->log = log;
    appender->file = open_handle(path, GENERIC_READ | GENERIC_WRITE, OPEN_ALWAYS);
    LARGE_INTEGER size = {0}, at;
    bool done = false;
    if (appender->file == INVALID_HANDLE_VALUE || !GetFileSizeEx(appender->file, &size)) {
        vks_os_fail(log, path, "cannot append");
    } else if (keep != UINT64_MAX && (uint64_t)size.QuadPart < keep) {
        vks_os_fail_short(log, path, (uint64_t)size.QuadPart, keep);
    } else {
        at.QuadPart = keep != UINT64_MAX ? (LONGLONG)keep : size.QuadPart;
        done = SetFilePointerEx(appender->file, at, NULL, FILE_BEGIN) && SetEndOfFile(appender->file);
        if (!done)
            vks_os_fail(log, path, "cannot truncate");
        appender->size = (uint64_t)at.QuadPart;
    }
    if (!done)
        vks_os_appender_close(&appender);
    return appender;
}

bool vks_os_appender_sync(struct vks_os_appender *appender)
{
    return FlushFileBuffers(appender->file) || vks_os_fail(appender->log, appender->path, "cannot sync");
}

void vks_os_appender_close(struct vks_os_appender **appender)
{
    if (*appender) {
        if ((*appender)->file != INVALID_HANDLE_VALUE)
            CloseHandle((*appender)->file);
        free((*appender)->path);
        free(*appender);
    }
    *appender = NULL;
}

// ---- files and folders

bool vks_os_truncate(const struct vks_log *log, const char *path, uint64_t size)
{
    HANDLE file = open_handle(path, GENERIC_WRITE, OPEN_EXISTING);
    LARGE_INTEGER now, at = {.QuadPart = (LONGLONG)size};
    if (file == INVALID_HANDLE_VALUE)
        return vks_os_fail(log, path, "cannot truncate");
    bool done = GetFileSizeEx(file, &now) != 0;
    if (done && (uint64_t)now.QuadPart > size)
        done = SetFilePointerEx(file, at, NULL, FILE_BEGIN) && SetEndOfFile(file);
    if (!done)
        vks_os_fail(log, path, "cannot truncate");
    CloseHandle(file);
    return done;
}

bool vks_os_remove(const struct vks_log *log, const char *path)
{
    wchar_t *name = wide(path);
    const bool done = name && (DeleteFileW(name) || GetLastError() == ERROR_FILE_NOT_FOUND);
    free(name);
    return done || vks_os_fail(log, path, "cannot remove");
}

bool vks_os_remove_folder(const struct vks_log *log, const char *path)
{
    wchar_t *name = wide(path);
    const bool done = name && (RemoveDirectoryW(name) || GetLastError() == ERROR_FILE_NOT_FOUND);
    free(name);
    return done || vks_os_fail(log, path, "cannot remove");
}

bool vks_os_rename_folder(const struct vks_log *log, const char *from, const char *to)
{
    wchar_t *old = wide(from), *name = wide(to);
    const bool done = old && name && MoveFileW(old, name);
    free(old);
    free(name);
    return done || vks_os_fail(log, to, "cannot create the folder");
}

bool vks_os_make_dirs(const struct vks_log *log, const char *path)
{
    char *copy = _strdup(path);
    if (!copy)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    bool done = true;
    for (char *at = copy + 1; done && *copy; at++) {
        const char kept = *at;
        if ((kept && kept != '/' && kept != '\\') || at[-1] == ':')
            continue;
        *at = 0;
        wchar_t *name = wide(copy);
        done = (name && CreateDirectoryW(name, NULL)) || vks_os_is_dir(copy) ||
               vks_os_fail(log, copy, "cannot create the folder");
        free(name);
        *at = kept;
        if (!kept)
            break;
    }
    free(copy);
    return done;
}

bool vks_os_exists(const char *path)
{
    return attributes(path) != INVALID_FILE_ATTRIBUTES;
}

bool vks_os_is_file(const char *path)
{
    const DWORD found = attributes(path);
    return found != INVALID_FILE_ATTRIBUTES && !(found & FILE_ATTRIBUTE_DIRECTORY);
}

static bool file_identity(const char *path, BY_HANDLE_FILE_INFORMATION *info)
{
    wchar_t *name = wide(path);
    HANDLE handle = name ? CreateFileW(name, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                       OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL)
                         : INVALID_HANDLE_VALUE;
    const bool done = handle != INVALID_HANDLE_VALUE && GetFileInformationByHandle(handle, info);
    if (handle != INVALID_HANDLE_VALUE)
        CloseHandle(handle);
    free(name);
    return done;
}

bool vks_os_same_file(const char *a, const char *b)
{
    BY_HANDLE_FILE_INFORMATION first, second;
    return vks_os_is_file(a) && file_identity(a, &first) && file_identity(b, &second) &&
           first.dwVolumeSerialNumber == second.dwVolumeSerialNumber &&
           first.nFileIndexHigh == second.nFileIndexHigh && first.nFileIndexLow == second.nFileIndexLow;
}

bool vks_os_is_dir(const char *path)
{
    const DWORD found = attributes(path);
    return found != INVALID_FILE_ATTRIBUTES && (found & FILE_ATTRIBUTE_DIRECTORY);
}

uint64_t vks_os_file_size(const char *path)
{
    wchar_t *name = wide(path);
    WIN32_FILE_ATTRIBUTE_DATA data;
    const bool done = name && GetFileAttributesExW(name, GetFileExInfoStandard, &data) &&
                      !(data.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY);
    free(name);
    return done ? (uint64_t)data.nFileSizeHigh << 32 | data.nFileSizeLow : UINT64_MAX;
}

int64_t vks_os_file_time(const char *path)
{
    wchar_t *name = wide(path);
    WIN32_FILE_ATTRIBUTE_DATA data;
    const bool done = name && GetFileAttributesExW(name, GetFileExInfoStandard, &data);
    free(name);
    const uint64_t ticks = done ? (uint64_t)data.ftLastWriteTime.dwHighDateTime << 32 |
                                  data.ftLastWriteTime.dwLowDateTime : 0;
    return done ? (int64_t)(ticks / 10000000) : INT64_MAX;
}

bool vks_os_list(const struct vks_log *log, const char *path, struct vks_os_names *names)
{
    *names = (struct vks_os_names){0};
    char *pattern = vks_path_join(path, "*");
    wchar_t *name = pattern ? wide(pattern) : NULL;
    free(pattern);
    WIN32_FIND_DATAW found;
    HANDLE search = name ? FindFirstFileW(name, &found) : INVALID_HANDLE_VALUE;
    free(name);
    if (search == INVALID_HANDLE_VALUE)
        return vks_os_fail(log, path, "cannot list the folder");
    size_t capacity = 0;
    bool done = true;
    do {
        if (!wcscmp(found.cFileName, L".") || !wcscmp(found.cFileName, L".."))
            continue;
        done = vks_os_names_add(names, &capacity, vks_os_narrow(found.cFileName));
    } while (done && FindNextFileW(search, &found));
    FindClose(search);
    if (!done) {
        vks_os_names_finish(names);
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    }
    vks_os_names_sort(names);
    return true;
}

#else
typedef int vks_os_files_windows_is_empty;  // ISO C wants a declaration
#endif
