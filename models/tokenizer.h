// The tokenizer of a language model, id for id as Hugging Face's `tokenizers` reads the same tokenizer.json, or from
// the metadata of a GGUF file.
//
// Text -> added tokens cut out -> normalizer -> pre-tokenizer -> model (BPE, Unigram) -> ids -> tokens that the
// post-processor adds. What is not valid UTF-8 becomes U+FFFD first, as when Python decodes with errors="replace".
// Characters that are younger than PCRE2's and utf8proc's Unicode may be taken otherwise.
#ifndef VKS_MODELS_TOKENIZER_H
#define VKS_MODELS_TOKENIZER_H

#include "base/log.h"
#include "base/text.h"
#include "io/gguf.h"
#include "models/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VKS_TOKENIZER_MAX_TEXT ((size_t)256 << 20)  // bytes

struct vks_tokenizer;

// Reads tokenizer.json: `path` is that file or a folder with it. Of a folder, tokenizer_config.json says which tokens
// begin, end and pad a text, and the chat template; generation_config.json which other tokens end one. NULL after
// one message.
struct vks_tokenizer *vks_tokenizer_open(const struct vks_log *log, const char *path);
// The same from memory, tokenizer.json alone; `path` is only a name for messages.
struct vks_tokenizer *vks_tokenizer_parse(const struct vks_log *log, const char *path, const char *text, size_t size);
// From tokenizer.ggml.*: models "gpt2", with the pre-tokenizers that are known by name, and "llama". The file may be
// closed afterwards.
struct vks_tokenizer *vks_tokenizer_from_gguf(const struct vks_log *log, const struct vks_gguf *file);
// Accepts NULL; nulls it.
void vks_tokenizer_close(struct vks_tokenizer **tokenizer);

struct vks_encode {
    bool bare;     // nothing is added: no token that begins or ends a text
    bool literal;  // what looks like a special token in the text is only text
};

// Appends the ids of a text to `ids`. `how` may be NULL. The tokenizer is not changed: several threads may use one.
// False after one message.
bool vks_tokenizer_encode(const struct vks_log *log, const struct vks_tokenizer *tokenizer,
                          const struct vks_encode *how, const char *text, size_t size, struct vks_ids *ids);

// Appends the text of ids (always valid UTF-8). Ids that are no token count for nothing; `skip_special` leaves
// special tokens out. False after one message.
bool vks_tokenizer_decode(const struct vks_log *log, const struct vks_tokenizer *tokenizer, const int32_t *ids,
                          size_t count, bool skip_special, struct vks_text *out);

// Decoding one token at a time, while they are made. What comes out in pieces is what decode gives at once, but that
// bytes of fallback tokens are characters as soon as they can be.
struct vks_tokenizer_stream;

// NULL after one message. The tokenizer must stay.
struct vks_tokenizer_stream *vks_tokenizer_stream_open(const struct vks_log *log,
                                                       const struct vks_tokenizer *tokenizer, bool skip_special);
// Appends the text that has become certain; an incomplete character is held back.
bool vks_tokenizer_stream_add(const struct vks_log *log, struct vks_tokenizer_stream *stream, int32_t id,
                              struct vks_text *out);
// Appends what is held back; nothing may follow.
bool vks_tokenizer_stream_end(const struct vks_log *log, struct vks_tokenizer_stream *stream, struct vks_text *out);
// Accepts NULL; nulls it.
void vks_tokenizer_stream_close(struct vks_tokenizer_stream **stream);

// Largest id + 1.
int32_t vks_tokenizer_size(const struct vks_tokenizer *tokenizer);
// The id of a token's text as it stands in the file, -1: none.
int32_t vks_tokenizer_find(const struct vks_tokenizer *tokenizer, const char *text);
// The text of a token as it stands in the file, NUL-terminated; NULL: none of that id. It belongs to the tokenizer.
const char *vks_tokenizer_text(const struct vks_tokenizer *tokenizer, int32_t id);
bool vks_tokenizer_is_special(const struct vks_tokenizer *tokenizer, int32_t id);

// What the files say beside it; ids are -1 and the template NULL where they do not.
struct vks_tokenizer_names {
    int32_t bos, eos, pad, unknown;
    const char *chat_template;  // Jinja
};

const struct vks_tokenizer_names *vks_tokenizer_names(const struct vks_tokenizer *tokenizer);
// Whether a text that is being made ends with this token: eos, those that generation_config.json or the GGUF file
// names beside it, and of a GGUF file the control tokens that end a turn by their names.
bool vks_tokenizer_ends(const struct vks_tokenizer *tokenizer, int32_t id);

#endif
