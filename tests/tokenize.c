// Tokenizes what standard input holds, for comparisons by hand and by tests/compare/tokenizer_ids.py.
//     tokenize TOKENIZER [bare] [literal] [skip]    TOKENIZER: a tokenizer.json, a folder with one, or a GGUF file
// Input: texts of any bytes, each with its length in front (4 bytes, little endian). Output, a line a text: its ids,
// a tab, the text of these ids in hex, a tab, "same" when the same comes out token by token, else "other".
#include "base/os.h"
#include "models/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(void *priv, enum vks_log_level level, const char *message)
{
    (void)priv;
    if (level == VKS_LOG_ERROR)
        fprintf(stderr, "tokenize: %s\n", message);
}

static const struct vks_log errors = {.print = print, .level = VKS_LOG_WARN};

static struct vks_tokenizer *open_any(const char *path)
{
    if (!vks_gguf_is(path))
        return vks_tokenizer_open(&errors, path);
    struct vks_gguf *file = vks_gguf_open(&errors, path);
    struct vks_tokenizer *tokenizer = file ? vks_tokenizer_from_gguf(&errors, file) : NULL;
    vks_gguf_close(&file);
    return tokenizer;
}

// Reads standard input to its end.
static char *read_all(size_t *size)
{
    size_t capacity = (size_t)1 << 20;
    char *data = malloc(capacity);
    for (*size = 0; data;) {
        const size_t got = fread(data + *size, 1, capacity - *size, stdin);
        *size += got;
        if (!got)
            break;
        if (*size == capacity) {
            char *grown = realloc(data, capacity *= 2);
            if (!grown)
                free(data);
            data = grown;
        }
    }
    return data;
}

static bool stream(const struct vks_tokenizer *tokenizer, const struct vks_ids *ids, bool skip, struct vks_text *out)
{
    struct vks_tokenizer_stream *s = vks_tokenizer_stream_open(&errors, tokenizer, skip);
    bool done = s != NULL;
    for (size_t i = 0; i < ids->count && done; i++)
        done = vks_tokenizer_stream_add(&errors, s, ids->items[i], out);
    done = done && vks_tokenizer_stream_end(&errors, s, out);
    vks_tokenizer_stream_close(&s);
    return done;
}

static bool one(const struct vks_tokenizer *tokenizer, const struct vks_encode *how, bool skip, const char *text,
                size_t size)
{
    struct vks_ids ids = {0};
    struct vks_text whole = {0}, pieces = {0};
    const bool done = vks_tokenizer_encode(&errors, tokenizer, how, text, size, &ids) &&
                      vks_tokenizer_decode(&errors, tokenizer, ids.items, ids.count, skip, &whole) &&
                      stream(tokenizer, &ids, skip, &pieces);
    for (size_t i = 0; i < ids.count && done; i++)
        printf("%s%" PRId32, i ? " " : "", ids.items[i]);
    printf("\t");
    for (size_t i = 0; i < whole.length && done; i++)
        printf("%02x", (unsigned char)whole.data[i]);
    const bool same = whole.length == pieces.length &&
                      (!whole.length || !memcmp(whole.data, pieces.data, whole.length));
    printf("\t%s\n", same ? "same" : "other");
    free(ids.items);
    vks_text_finish(&whole);
    vks_text_finish(&pieces);
    return done;
}

int main(int argc, char **argv)
{
    struct vks_encode how = {0};
    bool skip = false, done = true;
    for (int i = 2; i < argc; i++) {
        how.bare = how.bare || !strcmp(argv[i], "bare");
        how.literal = how.literal || !strcmp(argv[i], "literal");
        skip = skip || !strcmp(argv[i], "skip");
    }
    if (argc < 2) {
        fprintf(stderr, "usage: tokenize TOKENIZER [bare] [literal] [skip] <TEXTS\n");
        return 2;
    }
    size_t size = 0;
    struct vks_tokenizer *tokenizer = open_any(argv[1]);
    char *data = tokenizer ? read_all(&size) : NULL;
    for (size_t at = 0, length; data && size - at >= 4 && done; at += length) {
        const unsigned char *head = (const unsigned char *)data + at;
        length = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        at += 4;
        done = length <= size - at && one(tokenizer, &how, skip, data + at, length);
    }
    const bool opened = data != NULL;
    free(data);
    vks_tokenizer_close(&tokenizer);
    return opened && done ? 0 : 1;
}
