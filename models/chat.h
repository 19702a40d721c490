// Chat templates: conversations as the text that a model was tuned on.
//
// A template is a Jinja program. It is not run: its family is recognised by the literals in it, and the family's text
// is written here, character for character as transformers' apply_chat_template renders it without tools.
#ifndef VKS_MODELS_CHAT_H
#define VKS_MODELS_CHAT_H

#include "base/log.h"
#include "base/text.h"
#include "models/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>

enum vks_chat_family {
    VKS_CHAT_CHATML,  // SmolLM2, Qwen 2 and 2.5, and many tuned models
    VKS_CHAT_QWEN3,   // ChatML whose answers may begin with thoughts
    VKS_CHAT_LLAMA2,
    VKS_CHAT_LLAMA3,  // also 3.1 and 3.2
    VKS_CHAT_GEMMA,   // 2 and 3
};

struct vks_chat {
    enum vks_chat_family family;
    const char *bos, *eos;  // the tokenizer's, "" where it has none
    char *system;           // what stands for a missing system message; NULL: nothing
    bool begin;             // CHATML: the text begins with bos
    bool trim;              // CHATML, LLAMA3: white space round a message is left out
    bool system_turn;       // GEMMA: the system message goes in front of the first user's (otherwise: refused)
    bool dated;             // LLAMA3: a system message always, with the dates of 3.1
    bool thinks;            // QWEN3: the prompt for an answer begins its thoughts
    bool empty_thoughts;    // QWEN3: a last answer without thoughts is given empty ones
};

// Recognises the template of a tokenizer, whose strings must stay. `path` is a name for messages. False after one
// message: none, or one of another family.
bool vks_chat_open(const struct vks_log *log, const char *path, const struct vks_tokenizer *tokenizer,
                   struct vks_chat *chat);
// The same for a template's text; `bos` and `eos` must stay.
bool vks_chat_recognise(const struct vks_log *log, const char *path, const char *text, const char *bos,
                        const char *eos, struct vks_chat *chat);
// Accepts a zeroed one.
void vks_chat_finish(struct vks_chat *chat);

struct vks_chat_message {
    const char *role;       // "system", "user", "assistant"
    const char *content;    // UTF-8
};

// Appends a conversation and, with `prompt`, what an answer begins with. Special tokens stand in the text by their
// names, those that begin it included: encode it with vks_encode.bare and without vks_encode.literal. False after one
// message: no messages, roles that the family does not take in this order.
bool vks_chat_render(const struct vks_log *log, const struct vks_chat *chat, const struct vks_chat_message messages[],
                     size_t count, bool prompt, struct vks_text *out);

#endif
