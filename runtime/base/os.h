// The operating system: files, time, signals, terminal, memory. Nothing else in the project calls POSIX or Windows.
//
// Paths are UTF-8. Functions that take a log return false or NULL after one message that names the file; the others
// answer a question and cannot fail. Memory handed out is the caller's to free() unless a `close` is named.
#ifndef VKS_BASE_OS_H
#define VKS_BASE_OS_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A whole file, mapped read-only. An empty file has data = "" and size = 0.
// If another program shortens the file while it is mapped, reading the lost pages kills the process, as with any
// mapping; model files are replaced by rename, which is safe.
struct vks_os_map {
    const unsigned char *data;
    size_t size;
    void *handle;  // private
};

bool vks_os_map_open(const struct vks_log *log, const char *path, struct vks_os_map *map);
// Accepts a zeroed map; zeroes it.
void vks_os_map_close(struct vks_os_map *map);

// Reads a whole file of at most `limit` bytes into memory, pipes included; a NUL follows the last byte.
char *vks_os_read_file(const struct vks_log *log, const char *path, size_t limit, size_t *size);

// Atomic replacement: what is written goes to a temporary in the folder of `path`; commit syncs it, renames it over
// `path` and syncs the folder. Whatever happens before, `path` keeps its old content (or stays absent), and the
// temporary goes. Links are followed; a device or pipe is written in place. Missing folders are an error.
struct vks_os_writer;

struct vks_os_writer *vks_os_writer_open(const struct vks_log *log, const char *path);
// After a failure (logged once) all further calls fail silently, so only commit's result needs a check.
bool vks_os_writer_write(struct vks_os_writer *writer, const void *data, size_t size);
// Destroys the writer in both cases. Accepts NULL, which fails (its open has said why).
bool vks_os_writer_commit(struct vks_os_writer **writer);
// Drops what was written. Accepts NULL.
void vks_os_writer_abandon(struct vks_os_writer **writer);

// The three in one.
bool vks_os_write_file(const struct vks_log *log, const char *path, const void *data, size_t size);

// A log file that only grows. Every append is one write, handed to the system at once (it survives a kill of this
// process); sync makes it survive a power cut too.
struct vks_os_appender;

// Opens or creates; keeps the first `keep` bytes of what is there (UINT64_MAX: all) and appends after them.
// A file shorter than a finite `keep` is an error.
struct vks_os_appender *vks_os_appender_open(const struct vks_log *log, const char *path, uint64_t keep);
bool vks_os_appender_write(struct vks_os_appender *appender, const void *data, size_t size);
bool vks_os_appender_sync(struct vks_os_appender *appender);
// Bytes in the file now.
uint64_t vks_os_appender_size(const struct vks_os_appender *appender);
// Accepts NULL; nulls it.
void vks_os_appender_close(struct vks_os_appender **appender);

// Cuts a file to `size` bytes (never lengthens it).
bool vks_os_truncate(const struct vks_log *log, const char *path, uint64_t size);
// Removes a file; one that is not there is fine.
bool vks_os_remove(const struct vks_log *log, const char *path);
// Creates a folder and the ones above it; one that is there is fine.
bool vks_os_make_dirs(const struct vks_log *log, const char *path);

// Removes an empty folder; one that is not there is fine.
bool vks_os_remove_folder(const struct vks_log *log, const char *path);
// Gives a folder the name `to`, at which nothing (or an empty folder) may be, in the same file system.
bool vks_os_rename_folder(const struct vks_log *log, const char *from, const char *to);

bool vks_os_exists(const char *path);
bool vks_os_is_file(const char *path);  // a regular file, or a link to one
bool vks_os_is_dir(const char *path);
// Whether both are there and one regular file, by whatever names.
bool vks_os_same_file(const char *a, const char *b);
// Bytes of a file, or UINT64_MAX when it is not there.
uint64_t vks_os_file_size(const char *path);
// When a file was changed last, in seconds from some fixed point; INT64_MAX when it is not there.
int64_t vks_os_file_time(const char *path);

// The names in a folder, without "." and "..", sorted by byte.
struct vks_os_names {
    char **items;
    size_t count;
};

bool vks_os_list(const struct vks_log *log, const char *path, struct vks_os_names *names);
void vks_os_names_finish(struct vks_os_names *names);

// Seconds from some fixed point, never going backwards.
double vks_os_seconds(void);
void vks_os_sleep(double seconds);

// From the call on, the first Ctrl-C (or SIGTERM) only sets a flag; a second one ends the process.
void vks_os_catch_interrupt(void);
bool vks_os_interrupted(void);

// stream: 0 standard input, 1 output, 2 error.
bool vks_os_is_terminal(int stream);
// Columns of the terminal on standard error (80 when unknown).
int vks_os_terminal_width(void);
// Makes standard output take bytes and UTF-8 as they are (Windows); nothing elsewhere.
void vks_os_setup_streams(void);

// Runs a command line by the system's shell, hands it `input` as its standard input, and returns what it writes to
// its standard output (heap, NUL behind it; *got bytes). It shares our standard error. What it leaves unread is
// dropped. NULL after one message when it cannot be started, ends with another exit code than 0 or writes more than
// `limit` bytes; after an interrupt (vks_os_interrupted) it is ended, and nothing is said.
char *vks_os_filter(const struct vks_log *log, const char *command, const char *input, size_t size, size_t limit,
                    size_t *got);

// Bytes that can be allocated now without swapping or being killed: what the system reports, bounded by the control
// group's limit. 0 when unknown.
uint64_t vks_os_available_memory(void);
// Bytes of memory that this process holds, without the pages of files that it has mapped. 0 when unknown.
uint64_t vks_os_process_memory(void);
// Processors this process may use, at least 1.
int vks_os_processors(void);

// Whether a control group rations this process's processor time (Linux), so that none should be spent for nothing.
bool vks_os_is_rationed(void);

// Keeps processors awake while a driver that runs on them hands work from thread to thread: one thread for each, which
// spins at the lowest priority there is (Linux's SCHED_IDLE: it gets what nobody else wants), so that a wake-up need not
// wait for a processor to leave its sleep. Runtimes of OpenMP spin for the same reason.
struct vks_os_awake;

// NULL where it cannot be had, where processor time is rationed, and in a process of low priority (nice 10 and above),
// from which the threads would take a share; the others accept it.
struct vks_os_awake *vks_os_awake_open(void);
// From here on, or no longer; not from several threads at once.
void vks_os_awake_hold(struct vks_os_awake *awake, bool on);
// Ends the threads; nulls it.
void vks_os_awake_close(struct vks_os_awake **awake);

// The value of an environment variable, or NULL when unset or empty. Not to be freed.
const char *vks_os_env(const char *name);
// Sets it for this process, for libraries that read it; not safe while other threads read the environment.
bool vks_os_set_env(const char *name, const char *value);
// Whether the processor has vectors of 512 bits and keeps its clock when it uses them.
bool vks_os_wide_vectors(void);
// The user's cache folder with `name` in it ($XDG_CACHE_HOME/name, ~/.cache/name, %LOCALAPPDATA%\name), created when
// `create` is set. NULL when there is no home.
char *vks_os_cache_dir(const struct vks_log *log, const char *name, bool create);
// The path of the running program, or NULL.
char *vks_os_program_path(void);

#endif
