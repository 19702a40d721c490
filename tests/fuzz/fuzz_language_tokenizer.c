// Tokenizers of language models. The first byte chooses what the rest is, up to a NUL behind which a text may stand:
// 0 a tokenizer.json, 1 what one has beside its model, 2 an expression, 3 a text alone, 4 a GGUF file (to the end).
#include "base/os.h"
#include "io/gguf.h"
#include "models/expression.h"
#include "models/tokenizer.h"
#include "tests/fuzz/standalone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT 200  // expressions may take exponential time in it, up to their limit

static const char usual[] = " The <a> quick\tbrown  fo\xc3\xb6 12345 's 'LL\n\n \xe2\x96\x81word"
                            " \xf0\x9f\x98\x80 \xff e\xcc\x81 <L> ";

// Byte fallback tokens, some words, merges, added tokens of all kinds.
static char *byte_model(const char *parts)
{
    struct vks_text json = {0};
    vks_text_add_str(&json, "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"<0x00>\",\"merges\":"
                            "[\"a a\",\"aa aa\",\"t h\",\"th e\"],\"vocab\":{\"a\":256,\"aa\":257,\"aaaa\":258,"
                            "\"t\":259,\"h\":260,\"th\":261,\"e\":262,\"the\":263,\"\xc4\xa0\":264");
    for (int i = 0; i < 256; i++)
        vks_text_printf(&json, ",\"<0x%02X>\":%d", i, i);
    vks_text_printf(&json, "}},%s", parts);
    return json.data;
}

static void use(const struct vks_tokenizer *tokenizer, const char *text, size_t size)
{
    struct vks_ids ids = {0};
    struct vks_text whole = {0}, pieces = {0};
    struct vks_tokenizer_stream *stream = vks_tokenizer_stream_open(NULL, tokenizer, false);
    bool done = stream && vks_tokenizer_encode(NULL, tokenizer, NULL, text, size, &ids) &&
                vks_tokenizer_decode(NULL, tokenizer, ids.items, ids.count, true, &whole);
    for (size_t i = 0; i < ids.count && done; i++) {
        if (ids.items[i] < 0 || ids.items[i] >= 1 << 22)
            abort();
        done = vks_tokenizer_stream_add(NULL, stream, ids.items[i], &pieces);
    }
    done = done && vks_tokenizer_stream_end(NULL, stream, &pieces);
    if (done && (vks_utf8_check(whole.data ? whole.data : "", whole.length) != whole.length ||
                 vks_utf8_check(pieces.data ? pieces.data : "", pieces.length) != pieces.length))
        abort();
    vks_tokenizer_stream_close(&stream);
    vks_text_finish(&whole);
    vks_text_finish(&pieces);
    free(ids.items);
}

static void use_and_close(struct vks_tokenizer *tokenizer, const char *text, size_t size)
{
    if (tokenizer) {
        use(tokenizer, usual, sizeof(usual) - 1);
        use(tokenizer, text, size < MAX_TEXT ? size : MAX_TEXT);
    }
    vks_tokenizer_close(&tokenizer);
}

static void search(const char *source, const char *text, size_t size)
{
    struct vks_expression expression;
    struct vks_finder_data *data = vks_finder_data_create();
    if (data && vks_expression_compile(NULL, "", source, &expression)) {
        struct vks_finder finder = {.expression = &expression, .data = data, .text = text, .size = size};
        size_t begin, end, last = 0;
        if (vks_utf8_check(text, size) != size) {
            finder.text = usual;
            finder.size = 12;
        }
        while (vks_finder_next(&finder, &begin, &end) == VKS_FOUND) {
            if (begin < last || end < begin || end > finder.size)
                abort();
            last = end;
        }
        vks_expression_finish(&expression);
    }
    vks_finder_data_destroy(&data);
}

static void read_gguf(const uint8_t *data, size_t size)
{
    static char path[500];
    const char *temporary = vks_os_env("TMPDIR");
    snprintf(path, sizeof(path), "%s/vks-fuzz-language-tokenizer.gguf", temporary ? temporary : "/tmp");
    FILE *file = fopen(path, "wb");
    if (!file)
        return;
    fwrite(data, 1, size, file);
    fclose(file);
    struct vks_gguf *gguf = vks_gguf_open(NULL, path);
    struct vks_tokenizer *tokenizer = gguf ? vks_tokenizer_from_gguf(NULL, gguf) : NULL;
    vks_gguf_close(&gguf);
    use_and_close(tokenizer, usual, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vks_tokenizer *good;  // reachable until the process ends
    if (!size)
        return 0;
    const int choice = data[0] % 5;
    data++;
    size--;
    if (choice == 4) {
        read_gguf(data, size);
        return 0;
    }
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const size_t length = nul ? (size_t)(nul - data) : size, rest = nul ? size - length - 1 : 0;
    char *head = malloc(length + 1), *text = malloc(rest + 1);
    memcpy(head, data, length);
    head[length] = 0;
    if (rest)
        memcpy(text, nul + 1, rest);
    if (choice == 0) {
        use_and_close(vks_tokenizer_parse(NULL, "", head, length), text, rest);
    } else if (choice == 1) {
        char *json = byte_model(head);
        use_and_close(vks_tokenizer_parse(NULL, "", json, strlen(json)), text, rest);
        free(json);
    } else if (choice == 2) {
        search(head, text, rest < MAX_TEXT ? rest : MAX_TEXT);
    } else {
        if (!good) {
            char *json = byte_model("\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
                                    "\"decoder\":{\"type\":\"ByteFallback\"}}");
            good = vks_tokenizer_parse(NULL, "", json, strlen(json));
            free(json);
        }
        if (!good)
            abort();
        use(good, (const char *)data, size);
    }
    free(head);
    free(text);
    return 0;
}
