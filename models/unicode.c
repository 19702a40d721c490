#include "models/unicode.h"

#include "base/arena.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// ---- classes

bool vks_unicode_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

// Letters (with the symbols that count as such: circled and squared ones), marks, digits, connectors, joiners.
bool vks_unicode_word(uint32_t c)
{
    if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
        (c >= 0x1f170 && c <= 0x1f189))
        return true;
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
           category == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d;
}

bool vks_unicode_mark(uint32_t c)
{
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool vks_unicode_number(uint32_t c)
{
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool vks_unicode_punctuation(uint32_t c)
{
    if (c < 0x80)
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

static bool add_code(struct vks_text *out, uint32_t c)
{
    char bytes[4];
    return vks_text_add(out, bytes, vks_utf8_encode(c, bytes));
}

bool vks_unicode_add_lower(struct vks_text *out, uint32_t c)
{
    if (c == 0x130)  // the one character whose lower case is two; simple mapping would lose the dot
        return vks_text_add_str(out, "i\xcc\x87");
    return add_code(out, c < 0x80 ? c + (c >= 'A' && c <= 'Z' ? 32 : 0)
                                  : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

bool vks_unicode_add_folded(struct vks_text *out, uint32_t c)
{
    utf8proc_int32_t some[16];
    int boundary = 0;
    const utf8proc_ssize_t made =
        utf8proc_decompose_char((utf8proc_int32_t)c, some, 16, UTF8PROC_CASEFOLD, &boundary);
    char bytes[4];
    for (utf8proc_ssize_t i = 0; i < made && i < 16; i++)
        vks_text_add(out, bytes, vks_utf8_encode((uint32_t)some[i], bytes));
    return !out->failed;
}

const char *vks_unicode_back(const char *from, const char *end, uint32_t *code)
{
    const char *at = end - 1;
    while (at > from && ((unsigned char)*at & 0xc0) == 0x80)
        at--;
    if (!vks_utf8_decode(at, end, code))
        *code = 0;
    return at;
}

// ---- normal forms

static int combining_class(utf8proc_int32_t code)
{
    return code < 0x300 ? 0 : (int)utf8proc_get_property(code)->combining_class;
}

// Sorts a run of marks by class, those of one class staying in order: by counting, for utf8proc's own way takes
// quadratic time.
static bool order_marks(utf8proc_int32_t *codes, size_t count)
{
    size_t starts[256] = {0}, sum = 0;
    bool ordered = true;
    for (size_t i = 1; i < count && ordered; i++)
        ordered = combining_class(codes[i - 1]) <= combining_class(codes[i]);
    if (ordered)
        return true;
    utf8proc_int32_t *sorted = malloc(count * sizeof(*sorted));
    if (!sorted)
        return false;
    for (size_t i = 0; i < count; i++)
        starts[combining_class(codes[i]) & 255]++;
    for (int c = 0; c < 256; c++) {
        const size_t here = starts[c];
        starts[c] = sum;
        sum += here;
    }
    for (size_t i = 0; i < count; i++)
        sorted[starts[combining_class(codes[i]) & 255]++] = codes[i];
    memcpy(codes, sorted, count * sizeof(*codes));
    free(sorted);
    return true;
}

// Decomposed code points, marks in canonical order. *codes is to be freed.
static bool decompose(bool compatible, const char *text, size_t size, utf8proc_int32_t **codes, size_t *count)
{
    const utf8proc_option_t options =
        UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : (utf8proc_option_t)0);
    size_t capacity = 0, used = 0;
    utf8proc_int32_t *list = NULL;
    for (const char *at = text, *end = text + size; at < end;) {
        utf8proc_int32_t some[64];
        uint32_t code = 0;
        const size_t step = vks_utf8_decode(at, end, &code);
        int boundary = 0;
        const utf8proc_ssize_t made =
            utf8proc_decompose_char((utf8proc_int32_t)code, some, 64, options, &boundary);
        at += step ? step : 1;
        for (utf8proc_ssize_t i = 0; i < made && i < 64; i++) {
            if (!vks_grow(&list, &capacity, used, sizeof(*list))) {
                free(list);
                return false;
            }
            list[used++] = some[i];
        }
    }
    bool done = true;
    for (size_t from = 0, to; from < used && done; from = to) {
        for (to = from; to < used && combining_class(list[to]) != 0; to++)
            ;
        if (to > from + 1)
            done = order_marks(list + from, to - from);
        to += to == from;
    }
    if (!done) {
        free(list);
        return false;
    }
    *codes = list;
    *count = used;
    return true;
}

bool vks_unicode_normalise(enum vks_normal_form form, const char *text, size_t size, struct vks_text *out)
{
    size_t ascii = 0;
    while (ascii < size && (unsigned char)text[ascii] < 0x80)
        ascii++;
    if (ascii == size)  // every form leaves ASCII alone
        return vks_text_add(out, text, size);
    utf8proc_int32_t *codes = NULL;
    size_t count = 0;
    if (!decompose(form == VKS_NFKC || form == VKS_NFKD, text, size, &codes, &count))
        return false;
    utf8proc_ssize_t left = (utf8proc_ssize_t)count;
    if (form == VKS_NFC || form == VKS_NFKC)
        left = utf8proc_normalize_utf32(codes, left, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < left; i++)
        add_code(out, (uint32_t)codes[i]);
    free(codes);
    return left >= 0 && !out->failed;
}

// ---- repair

// How many bytes a character has that begins so; 0: none does.
static size_t expected_bytes(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

// Whether `byte` may follow the first `count` bytes of a character.
static bool continues(const unsigned char *held, size_t count, unsigned char byte)
{
    unsigned char low = 0x80, high = 0xbf;
    if (count == 1) {
        low = held[0] == 0xe0 ? 0xa0 : held[0] == 0xf0 ? 0x90 : low;
        high = held[0] == 0xed ? 0x9f : held[0] == 0xf4 ? 0x8f : high;
    }
    return byte >= low && byte <= high;
}

bool vks_utf8_repair_end(struct vks_utf8_repair *repair, struct vks_text *out)
{
    if (repair->count)
        vks_text_add_str(out, "\xef\xbf\xbd");
    repair->count = 0;
    return !out->failed;
}

bool vks_utf8_repair_add(struct vks_utf8_repair *repair, const char *bytes, size_t size, struct vks_text *out)
{
    for (size_t i = 0; i < size; i++) {
        const unsigned char byte = (unsigned char)bytes[i];
        if (repair->count && !continues(repair->held, repair->count, byte))
            vks_utf8_repair_end(repair, out);
        if (!repair->count && byte < 0x80) {  // as many at once as there are
            size_t to = i + 1;
            while (to < size && (unsigned char)bytes[to] < 0x80)
                to++;
            vks_text_add(out, bytes + i, to - i);
            i = to - 1;
            continue;
        }
        repair->held[repair->count++] = byte;
        const size_t whole = expected_bytes(repair->held[0]);
        if (!whole) {
            vks_utf8_repair_end(repair, out);
        } else if (repair->count == whole) {
            vks_text_add(out, repair->held, whole);
            repair->count = 0;
        }
    }
    return !out->failed;
}

// ---- bytes as characters

uint32_t vks_byte_character(unsigned char byte)
{
    return byte <= 32                   ? 0x100u + byte
           : byte >= 127 && byte <= 160 ? 0x100u + 33 + byte - 127
           : byte == 173                ? 0x143u
                                        : byte;
}

int vks_character_byte(uint32_t c)
{
    if (c >= 0x100)
        return c < 0x100 + 33 ? (int)c - 0x100 : c < 0x143 ? (int)c - 0x100 - 33 + 127 : c == 0x143 ? 173 : -1;
    return (c >= '!' && c <= '~') || (c >= 0xa1 && c != 0xad) ? (int)c : -1;
}
