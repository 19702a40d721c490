// Expressions of tokenizer.json, which are Oniguruma's (Ruby's syntax), through PCRE2: what the two read differently
// is rewritten, and refused where that cannot be done.
#ifndef VKS_MODELS_EXPRESSION_H
#define VKS_MODELS_EXPRESSION_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>

struct pcre2_real_code_8;
struct vks_finder_data;

struct vks_expression {
    struct pcre2_real_code_8 *code;  // NULL: a plain text
    const char *literal;             // not copied
    size_t literal_size;
};

// Compiles a NUL-terminated expression; `path` begins the message.
bool vks_expression_compile(const struct vks_log *log, const char *path, const char *source,
                            struct vks_expression *expression);
void vks_expression_finish(struct vks_expression *expression);

// Finds the matches in a text from left to right.
struct vks_finder {
    const struct vks_expression *expression;
    struct vks_finder_data *data;  // scratch
    const char *text;                      // valid UTF-8
    size_t size;
    size_t from, last;  // private, zero
    bool any;
};

enum vks_found { VKS_FOUND_NONE, VKS_FOUND, VKS_FOUND_FAILED };

// The next match, text[begin, end), which may be empty, though not where the one before ended. FAILED: the search
// takes too many steps or too much memory.
enum vks_found vks_finder_next(struct vks_finder *finder, size_t *begin, size_t *end);

// Scratch that serves one search at a time. NULL: out of memory.
struct vks_finder_data *vks_finder_data_create(void);
// Accepts NULL; nulls it.
void vks_finder_data_destroy(struct vks_finder_data **data);

#endif
