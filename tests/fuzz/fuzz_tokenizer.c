// The CLIP tokenizer. The first byte chooses: text for a small built-in vocabulary, or a file of the tokenizer
// (vocabulary, merges, configuration, whole tokenizer.json) beside good ones.
#include "base/os.h"
#include "base/text.h"
#include "models/clip_tokenizer.h"
#include "tests/fuzz/standalone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[450];

static void put(const char *name, const void *data, size_t size)
{
    char path[500];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (file) {
        fwrite(data, 1, size, file);
        fclose(file);
    }
}

// Letters, their ends, some merges; special tokens with all kinds of flags.
static void put_all(void)
{
    struct vks_text vocab = {0};
    int id = 0;
    vks_text_add_str(&vocab, "{");
    for (char c = '!'; c < '~'; c++) {
        const char *escape = c == '"' || c == '\\' ? "\\" : "";
        vks_text_printf(&vocab, "%s\"%s%c\":%d,\"%s%c</w>\":%d", id ? "," : "", escape, c, id, escape, c, id + 1);
        id += 2;
    }
    vks_text_printf(&vocab, ",\"th\":%d,\"the</w>\":%d,\"aa\":%d,\"aaaa\":%d,\"<|startoftext|>\":%d,"
                            "\"<|endoftext|>\":%d}", id, id + 1, id + 2, id + 3, id + 4, id + 5);
    put("vocab.json", vocab.data, vocab.length);
    vks_text_finish(&vocab);
    static const char merges[] = "#version: 0.2\na a\naa aa\nt h\nth e</w>\n";
    put("merges.txt", merges, sizeof(merges) - 1);
    static const char config[] =
        "{\"added_tokens_decoder\":{\"0\":{\"content\":\"<l>\",\"lstrip\":true,\"normalized\":false},"
        "\"1\":{\"content\":\"<R>\",\"rstrip\":true,\"normalized\":true},"
        "\"2\":{\"content\":\"w\",\"single_word\":true,\"normalized\":false}},"
        "\"bos_token\":\"<|startoftext|>\",\"eos_token\":\"<|endoftext|>\",\"pad_token\":\"!\","
        "\"unk_token\":\"<|endoftext|>\",\"model_max_length\":77}";
    put("tokenizer_config.json", config, sizeof(config) - 1);
}

static void encode(const struct vks_clip_tokenizer *tokenizer, const char *text, size_t size)
{
    int32_t ids[77];
    size_t used = 0, total = 0;
    if (!vks_clip_tokenizer_encode(NULL, tokenizer, text, size, ids, 77, &used, &total))
        return;
    for (size_t i = 0; i < 77; i++) {
        if (ids[i] < 0 || ids[i] >= vks_clip_tokenizer_size(tokenizer) || used > 77 || used > total || used < 2)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const files[] = {"vocab.json", "merges.txt", "tokenizer_config.json",
                                        "special_tokens_map.json", "tokenizer.json", "added_tokens.json"};
    static struct vks_clip_tokenizer *good;  // reachable until the process ends
    if (!*folder) {
        const char *temporary = vks_os_env("TMPDIR");
        snprintf(folder, sizeof(folder), "%s/vks-fuzz-tokenizer", temporary ? temporary : "/tmp");
        if (!vks_os_make_dirs(NULL, folder))
            abort();
        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
            char path[500];
            snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
            vks_os_remove(NULL, path);
        }
        put_all();
        good = vks_clip_tokenizer_open(NULL, folder);
        if (!good)
            abort();
    }
    if (!size)
        return 0;
    const size_t choice = data[0] % 16;
    if (choice >= sizeof(files) / sizeof(files[0])) {
        encode(good, (const char *)data + 1, size - 1);
        return 0;
    }
    put(files[choice], data + 1, size - 1);
    char hidden[500], path[500];
    if (choice >= 3) {  // what special_tokens_map.json and the others say counts only without added_tokens_decoder
        put("tokenizer_config.json", "{}", 2);
        snprintf(path, sizeof(path), "%s/vocab.json", folder);
        if (choice == 4)
            vks_os_remove(NULL, path);
    }
    struct vks_clip_tokenizer *tokenizer = vks_clip_tokenizer_open(NULL, folder);
    static const char text[] = "The <l> aaaaaaa <R>  w, w1! \xc3\x89 <|ENDOFTEXT|> x<|endoftext|>";
    if (tokenizer)
        encode(tokenizer, text, sizeof(text) - 1);
    vks_clip_tokenizer_close(&tokenizer);
    snprintf(hidden, sizeof(hidden), "%s/%s", folder, files[choice]);
    vks_os_remove(NULL, hidden);
    put_all();
    return 0;
}
