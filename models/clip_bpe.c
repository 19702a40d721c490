#include "models/clip_bpe.h"

#include "base/os.h"
#include "base/text.h"
#include "io/json.h"
#include "models/unicode.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)64 << 20)

// The ids of all bytes, inside of a word and at its end.
static void map_bytes(struct vks_clip_bpe *bpe)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        const size_t size = vks_utf8_encode(vks_byte_character((unsigned char)byte), text);
        bpe->bytes[0][byte] = vks_vocabulary_find(&bpe->vocabulary, text, size);
        memcpy(text + size, "</w>", 4);
        bpe->bytes[1][byte] = vks_vocabulary_find(&bpe->vocabulary, text, size + 4);
    }
}

// "left right" a line, after "#version".
static bool parse_merges(const struct vks_log *log, const char *path, const char *text, size_t size,
                         struct vks_clip_bpe *bpe)
{
    size_t lines = 1, number = 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    if (!vks_merges_start(log, path, lines, &bpe->merges))
        return false;
    const char *end = text + size;
    for (const char *at = text, *stop; at < end; at = stop + 1) {
        stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop)
            stop = end;
        size_t length = (size_t)(stop - at);
        if (length && at[length - 1] == '\r')
            length--;
        number++;
        if (!length || (length >= 8 && !memcmp(at, "#version", 8)))
            continue;
        const char *space = memchr(at, ' ', length);
        const size_t left = space ? (size_t)(space - at) : 0, right = space ? length - left - 1 : 0;
        if (!left || !right || memchr(space + 1, ' ', right))
            return vks_fail(log, "%s: line %llu: expected two tokens; fetch the file again", path,
                            (unsigned long long)number);
        if (!vks_merges_add(log, path, number, &bpe->vocabulary, at, left, space + 1, right, 0, &bpe->merges))
            return false;
    }
    return true;
}

// Every token is a byte, special, or made by a merge: a file that was cut short would give other tokens in silence.
static void count_merges(const struct vks_log *log, const char *path, const struct vks_clip_bpe *bpe)
{
    enum { MOST_SPECIAL = 64 };
    size_t known = bpe->merges.count + MOST_SPECIAL;
    for (int byte = 0; byte < 256; byte++)
        known += (size_t)(bpe->bytes[0][byte] >= 0) + (size_t)(bpe->bytes[1][byte] >= 0);
    if (known < bpe->vocabulary.count)
        vks_warn(log, "%s: its %zu merges make too few of the %zu tokens: if the file was cut short, fetch it again",
                 path, bpe->merges.count, bpe->vocabulary.count);
}

bool vks_clip_bpe_read(const struct vks_log *log, const char *vocab, const char *merges, struct vks_clip_bpe *bpe)
{
    *bpe = (struct vks_clip_bpe){.unknown = -1};
    size_t size = 0;
    struct vks_json *json = vks_json_open(log, vocab);
    char *text = json ? vks_os_read_file(log, merges, MAX_FILE, &size) : NULL;
    bool done = json && text && vks_vocabulary_read_json(log, vocab, json->root, &bpe->vocabulary);
    if (done) {
        map_bytes(bpe);
        done = parse_merges(log, merges, text, size, bpe);
        if (done)
            count_merges(log, merges, bpe);
    }
    vks_json_close(&json);
    free(text);
    if (!done)
        vks_clip_bpe_finish(bpe);
    return done;
}

bool vks_clip_bpe_read_json(const struct vks_log *log, const char *path, struct vks_clip_bpe *bpe)
{
    *bpe = (struct vks_clip_bpe){.unknown = -1};
    struct vks_json *json = vks_json_open(log, path);
    const struct cJSON *model = NULL;
    bool done = json && vks_json_object(log, json, NULL, "model", &model);
    if (done) {
        done = vks_vocabulary_read_json(log, path, vks_json_get(model, "vocab"), &bpe->vocabulary);
        if (done)
            map_bytes(bpe);
        done = done && vks_merges_read_json(log, path, &bpe->vocabulary, vks_json_get(model, "merges"), 0,
                                            &bpe->merges);
    }
    vks_json_close(&json);
    if (!done)
        vks_clip_bpe_finish(bpe);
    return done;
}

void vks_clip_bpe_finish(struct vks_clip_bpe *bpe)
{
    vks_merges_finish(&bpe->merges);
    vks_vocabulary_finish(&bpe->vocabulary);
    *bpe = (struct vks_clip_bpe){.unknown = -1};
}

bool vks_clip_bpe_word(const struct vks_clip_bpe *bpe, const char *word, size_t size, struct vks_bpe_work *work,
                       struct vks_ids *ids)
{
    work->count = 0;
    for (size_t i = 0; i < size; i++) {
        const int32_t known = bpe->bytes[i + 1 == size][(unsigned char)word[i]];
        const int32_t id = known >= 0 ? known : bpe->unknown;
        if (id >= 0 && !vks_bpe_add_symbol(work, id, i, 1))
            return false;
    }
    if (!vks_bpe_join(&(struct vks_bpe_rule){.merges = &bpe->merges}, word, work))
        return false;
    for (size_t i = 0; i < work->count; i++) {
        if (work->symbols[i].size && !vks_ids_add(ids, work->symbols[i].id))
            return false;
    }
    return true;
}
