// Words of a text, lists of words, and how varied texts are.
//
// A word is a run of letters, marks, digits and connectors (UTS 18's \w), with single apostrophes inside it. Words
// are compared with their case folded, in normal form C. Scripts that put no space between words give longer runs.
#ifndef VKS_MODELS_WORDS_H
#define VKS_MODELS_WORDS_H

#include "base/log.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Words as they are compared, one space between them; zero-initialise.
struct vks_words {
    struct vks_text text;
    size_t *ends;            // of each word in the text; it begins behind the space that follows the one before
    size_t count, capacity;
};

// Adds the words of a text (UTF-8). False: out of memory.
bool vks_words_add(struct vks_words *words, const char *text, size_t size);
void vks_words_finish(struct vks_words *words);

// Words and phrases that are looked for.
struct vks_word_list;

// Reads a file with one word or phrase a line; empty lines are passed. NULL after one message: it cannot be read, is
// not UTF-8, or has no words.
struct vks_word_list *vks_word_list_open(const struct vks_log *log, const char *path);
// Accepts NULL; nulls it.
void vks_word_list_close(struct vks_word_list **list);
// How many entries stand in the words; of those that begin at one word, the longest, and none inside another.
size_t vks_word_list_count(const struct vks_word_list *list, const struct vks_words *words);

// Pairs of neighbouring words, over many texts.
struct vks_word_pairs {
    uint64_t *hashes;
    size_t count, capacity;
};

// False: out of memory.
bool vks_word_pairs_add(struct vks_word_pairs *pairs, const struct vks_words *words);
// Distinct-2 (Li et al., arXiv 1510.03055): different pairs over all pairs; NaN without pairs. Sorts them.
double vks_word_pairs_distinct(struct vks_word_pairs *pairs);
void vks_word_pairs_finish(struct vks_word_pairs *pairs);

#endif
