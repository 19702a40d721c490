// What tokenizers ask of Unicode: classes of characters, normal forms, repair of broken UTF-8, and the map between
// bytes and printable characters of byte-level BPE. Tables are those of utf8proc.
#ifndef VKS_MODELS_UNICODE_H
#define VKS_MODELS_UNICODE_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool vks_unicode_space(uint32_t c);        // White_Space
bool vks_unicode_word(uint32_t c);         // UTS 18's \w: Alphabetic, M, Nd, Pc, Join_Control
bool vks_unicode_mark(uint32_t c);         // general category M
bool vks_unicode_number(uint32_t c);       // N
bool vks_unicode_punctuation(uint32_t c);  // P, and what C's ispunct() has of ASCII

// Appends the lower case of one character: simple mapping, but U+0130 to two.
bool vks_unicode_add_lower(struct vks_text *out, uint32_t c);

// Appends one character with its case folded, in full (U+00DF gives "ss").
bool vks_unicode_add_folded(struct vks_text *out, uint32_t c);

enum vks_normal_form { VKS_NFC, VKS_NFD, VKS_NFKC, VKS_NFKD };

// Appends the normal form of valid UTF-8, in linear time (UAX 15). False: out of memory.
bool vks_unicode_normalise(enum vks_normal_form form, const char *text, size_t size, struct vks_text *out);

// The code point that ends at `end` in valid UTF-8, and where it begins.
const char *vks_unicode_back(const char *from, const char *end, uint32_t *code);

// Bytes of any kind to valid UTF-8, piece by piece: every maximal part that begins no character becomes U+FFFD, and
// an incomplete end is held back (Unicode 15, section 3.9, "U+FFFD substitution of maximal subparts").
struct vks_utf8_repair {
    unsigned char held[4];
    size_t count;
};

// Appends to `out`; zero-initialise `repair`. False: out of memory.
bool vks_utf8_repair_add(struct vks_utf8_repair *repair, const char *bytes, size_t size, struct vks_text *out);
// What is held back is incomplete for good.
bool vks_utf8_repair_end(struct vks_utf8_repair *repair, struct vks_text *out);

// The printable character that stands for a byte: '!' to '~', U+00A1 to U+00AC and U+00AE to U+00FF for themselves,
// the others in order from U+0100 on (Radford et al. 2019).
uint32_t vks_byte_character(unsigned char byte);
// The byte that a character stands for, or -1.
int vks_character_byte(uint32_t c);

#endif
