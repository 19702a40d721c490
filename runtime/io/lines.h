// Prompt files: .txt one prompt a line; .jsonl, .json (an array of objects or strings) and .csv (RFC 4180, the first
// record names the columns) with a named field; any other ending is read as .txt. Errors name file and line (or
// item). An empty set is refused.
#ifndef VKS_IO_LINES_H
#define VKS_IO_LINES_H

#include "base/arena.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>

struct vks_lines {
    char **items;  // UTF-8, never empty
    size_t count;
    struct vks_arena arena;  // private
};

// `field` names the member or column of .jsonl, .json and .csv; NULL means "prompt", then "caption", then "text",
// and for a .csv of one column that column. Empty lines are skipped, a byte order mark and CR at line ends
// dropped; a field that is absent or empty is an error.
// False after one message; `lines` is then finished.
bool vks_lines_read(const struct vks_log *log, const char *path, const char *field, struct vks_lines *lines);
// The same from memory; the kind follows from the ending of `path`, which is only a name.
bool vks_lines_parse(const struct vks_log *log, const char *path, const char *field, const char *text, size_t size,
                     struct vks_lines *lines);
void vks_lines_finish(struct vks_lines *lines);

#endif
