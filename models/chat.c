#include "models/chat.h"

#include "models/unicode.h"

#include <stdlib.h>
#include <string.h>

// ---- recognising a template

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

// Passes a line break as it stands in a template: itself, or escaped; NULL when there is none.
static const char *pass_newline(const char *at)
{
    return *at == '\n' ? at + 1 : at[0] == '\\' && at[1] == 'n' ? at + 2 : NULL;
}

// Whether `word` stands in the text with a line break and `rest` behind it.
static bool has_lines(const char *text, const char *word, const char *rest)
{
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) {
        const char *behind = pass_newline(at + strlen(word));
        if (behind && !strncmp(behind, rest, strlen(rest)))
            return true;
    }
    return false;
}

// The system message that a ChatML template gives when there is none: what stands between the marks in one literal.
// *system (heap) is NULL when there is nothing. False: out of memory.
static bool find_system(const char *text, char **system)
{
    static const char open[] = "<|im_start|>system", close[] = "<|im_end|>";
    *system = NULL;
    for (const char *at = strstr(text, open); at; at = strstr(at + 1, open)) {
        const char quote = at > text ? at[-1] : 0, *from = pass_newline(at + sizeof(open) - 1);
        const char *to = from ? strstr(from, close) : NULL;
        if (!to || to == from || (quote != '\'' && quote != '"'))
            continue;
        char *copy = malloc((size_t)(to - from) + 1), *end = copy;
        if (!copy)
            return false;
        for (; from < to && *from != quote; from++) {
            const bool escaped = *from == '\\' && from + 1 < to;
            from += escaped;
            *end++ = escaped && *from == 'n' ? '\n' : *from;
        }
        *end = 0;
        if (from == to) {
            *system = copy;
            return true;
        }
        free(copy);
    }
    return true;
}

// Templates of other families that share marks with ours.
static bool is_foreign(const char *text)
{
    return has(text, "<|im_sep|>") || has(text, "[TOOL_CALLS]") || has(text, "[SYSTEM_PROMPT]") ||
           has(text, "custom_instructions");
}

static bool recognise(const char *text, struct vks_chat *chat)
{
    if (is_foreign(text))
        return false;
    if (has(text, "[INST]")) {
        chat->family = VKS_CHAT_LLAMA2;
        // Some have a system message of their own, and some put it elsewhere.
        return has(text, "'<<SYS>>") && !has(text, "[INST] <<SYS>>") && !has(text, "system_message = 'You");
    }
    if (has(text, "<|start_header_id|>")) {
        chat->family = VKS_CHAT_LLAMA3;
        chat->dated = has(text, "Cutting Knowledge Date");
        return has(text, "<|eot_id|>") && (!chat->dated || has(text, "Cutting Knowledge Date: December 2023"));
    }
    if (has(text, "<start_of_turn>")) {
        chat->family = VKS_CHAT_GEMMA;
        chat->system_turn = has(text, "first_user_prefix");
        return chat->system_turn || has(text, "System role not supported");
    }
    if (!has(text, "<|im_start|>") || !has(text, "<|im_end|>"))
        return false;
    chat->begin = has(text, "bos_token");
    chat->family = has(text, "last_query_index") ? VKS_CHAT_QWEN3 : VKS_CHAT_CHATML;
    chat->thinks = has_lines(text, "assistant", "<think>");
    chat->empty_thoughts = has(text, "loop.last or (not loop.last");
    return chat->family == VKS_CHAT_QWEN3 || !has(text, "think>");
}

bool vks_chat_recognise(const struct vks_log *log, const char *path, const char *text, const char *bos,
                        const char *eos, struct vks_chat *chat)
{
    *chat = (struct vks_chat){.bos = bos, .eos = eos};
    if (!recognise(text, chat))
        return vks_fail(log, "%s: its chat template is of no family that is known here (ChatML, Qwen 3, Llama 2 and "
                        "3, Gemma 2 and 3): write the whole prompt yourself, without --chat", path);
    chat->trim = has(text, "trim");
    if (chat->family == VKS_CHAT_CHATML && !find_system(text, &chat->system))
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    return true;
}

bool vks_chat_open(const struct vks_log *log, const char *path, const struct vks_tokenizer *tokenizer,
                   struct vks_chat *chat)
{
    const struct vks_tokenizer_names *names = vks_tokenizer_names(tokenizer);
    const char *bos = vks_tokenizer_text(tokenizer, names->bos), *eos = vks_tokenizer_text(tokenizer, names->eos);
    *chat = (struct vks_chat){0};
    if (!names->chat_template)
        return vks_fail(log, "%s: has no chat template, so the model may not be tuned for chats: leave --chat out",
                        path);
    return vks_chat_recognise(log, path, names->chat_template, bos ? bos : "", eos ? eos : "", chat);
}

void vks_chat_finish(struct vks_chat *chat)
{
    free(chat->system);
    *chat = (struct vks_chat){0};
}

// ---- text

struct span {
    const char *text;
    size_t size;
};

// What Python's str.strip() takes off.
static bool is_space(uint32_t c)
{
    return vks_unicode_space(c) || (c >= 0x1c && c <= 0x1f);
}

static struct span trimmed(struct span s)
{
    const char *from = s.text, *end = from + s.size;
    uint32_t c;
    for (size_t step; from < end && (step = vks_utf8_decode(from, end, &c)) && is_space(c);)
        from += step;
    while (end > from) {
        const char *before = vks_unicode_back(from, end, &c);
        if (!is_space(c))
            break;
        end = before;
    }
    return (struct span){from, (size_t)(end - from)};
}

static struct span without_newlines(struct span s, bool left, bool right)
{
    while (left && s.size && *s.text == '\n') {
        s.text++;
        s.size--;
    }
    while (right && s.size && s.text[s.size - 1] == '\n')
        s.size--;
    return s;
}

static struct span content_of(const struct vks_chat_message *message, bool trim)
{
    const struct span whole = {message->content, strlen(message->content)};
    return trim ? trimmed(whole) : whole;
}

static bool is(const struct vks_chat_message *message, const char *role)
{
    return !strcmp(message->role, role);
}

static void add_span(struct vks_text *out, struct span s)
{
    vks_text_add(out, s.text, s.size);
}

// ---- ChatML: Qwen 2, SmolLM2

static void add_turn(struct vks_text *out, const char *role, struct span content)
{
    vks_text_printf(out, "<|im_start|>%s\n", role);
    add_span(out, content);
    vks_text_add_str(out, "<|im_end|>\n");
}

static void render_chatml(const struct vks_chat *chat, const struct vks_chat_message messages[], size_t count,
                          struct vks_text *out)
{
    if (chat->begin)
        vks_text_add_str(out, chat->bos);
    if (chat->system && !is(&messages[0], "system"))
        add_turn(out, "system", (struct span){chat->system, strlen(chat->system)});
    for (size_t i = 0; i < count; i++)
        add_turn(out, messages[i].role, content_of(&messages[i], chat->trim));
}

// ---- Qwen 3

// Parts what an assistant said into its thoughts and the rest; false: it has no thoughts.
static bool part_thoughts(struct span all, struct span *thoughts, struct span *rest)
{
    static const char open[] = "<think>", close[] = "</think>";
    const char *first = strstr(all.text, close), *last = first, *from = all.text;
    if (!first)
        return false;
    for (const char *at = first; (at = strstr(at, close)); at += sizeof(close) - 1)
        last = at;
    for (const char *at = from; (at = strstr(at, open)) && at < first; at += sizeof(open) - 1)
        from = at + sizeof(open) - 1;
    const char *behind = last + sizeof(close) - 1;
    *thoughts = without_newlines((struct span){from, (size_t)(first - from)}, true, true);
    *rest = without_newlines((struct span){behind, strlen(behind)}, true, false);
    return true;
}

// Thoughts are shown only in answers behind the last question.
static void render_qwen3(const struct vks_chat *chat, const struct vks_chat_message messages[], size_t count,
                         struct vks_text *out)
{
    size_t question = count - 1;
    for (size_t i = count; i-- > 0;) {
        const char *content = messages[i].content, end[] = "</tool_response>";
        const size_t size = strlen(content), end_size = sizeof(end) - 1;
        const bool reply = !strncmp(content, "<tool_response>", strlen("<tool_response>")) && size >= end_size &&
                           !strcmp(content + size - end_size, end);
        if (is(&messages[i], "user") && !reply) {
            question = i;
            break;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct span content = content_of(&messages[i], false), thoughts = {"", 0};
        if (!is(&messages[i], "assistant")) {
            add_turn(out, messages[i].role, content);
            continue;
        }
        part_thoughts(content, &thoughts, &content);
        vks_text_add_str(out, "<|im_start|>assistant\n");
        if (i > question && (thoughts.size || (chat->empty_thoughts && i == count - 1))) {
            vks_text_add_str(out, "<think>\n");
            add_span(out, thoughts);
            vks_text_add_str(out, "\n</think>\n\n");
            content = without_newlines(content, true, false);
        }
        add_span(out, content);
        vks_text_add_str(out, "<|im_end|>\n");
    }
}

// ---- Llama

static void render_llama2(const struct vks_chat *chat, const struct vks_chat_message messages[], size_t count,
                          struct vks_text *out)
{
    struct vks_text first = {0};
    const size_t system = is(&messages[0], "system");
    for (size_t i = system; i < count; i++) {
        struct span content = content_of(&messages[i], true);
        if (i == system && system) {
            vks_text_printf(&first, "<<SYS>>\n%s\n<</SYS>>\n\n%s", messages[0].content, messages[i].content);
            content = trimmed((struct span){first.data ? first.data : "", first.length});
        }
        if (is(&messages[i], "user")) {
            vks_text_printf(out, "%s[INST] ", chat->bos);
            add_span(out, content);
            vks_text_add_str(out, " [/INST]");
        } else {
            vks_text_add_str(out, " ");
            add_span(out, content);
            vks_text_printf(out, " %s", chat->eos);
        }
    }
    out->failed |= first.failed;
    vks_text_finish(&first);
}

static void render_llama3(const struct vks_chat *chat, const struct vks_chat_message messages[], size_t count,
                          struct vks_text *out)
{
    vks_text_add_str(out, chat->bos);
    const size_t first = chat->dated && is(&messages[0], "system");
    if (chat->dated) {
        // The template may ask for today's date; equal prompts give equal texts, so it gets the one of its own.
        vks_text_add_str(out, "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
                              "Today Date: 26 Jul 2024\n\n");
        if (first)
            add_span(out, content_of(&messages[0], chat->trim));
        vks_text_add_str(out, "<|eot_id|>");
    }
    for (size_t i = first; i < count; i++) {
        vks_text_printf(out, "<|start_header_id|>%s<|end_header_id|>\n\n", messages[i].role);
        add_span(out, content_of(&messages[i], chat->trim));
        vks_text_add_str(out, "<|eot_id|>");
    }
}

// ---- Gemma

static void render_gemma(const struct vks_chat *chat, const struct vks_chat_message messages[], size_t count,
                         struct vks_text *out)
{
    const size_t system = is(&messages[0], "system");
    vks_text_add_str(out, chat->bos);
    for (size_t i = system; i < count; i++) {
        vks_text_printf(out, "<start_of_turn>%s\n", is(&messages[i], "assistant") ? "model" : "user");
        if (i == system && system)
            vks_text_printf(out, "%s\n\n", messages[0].content);
        add_span(out, content_of(&messages[i], true));
        vks_text_add_str(out, "<end_of_turn>\n");
    }
}

// ---- all

static bool check_roles(const struct vks_log *log, const struct vks_chat *chat,
                        const struct vks_chat_message messages[], size_t count)
{
    const bool strict = chat->family == VKS_CHAT_LLAMA2 || chat->family == VKS_CHAT_GEMMA;
    if (!count)
        return vks_fail(log, "a conversation of no messages: give at least one");
    for (size_t i = 0; i < count; i++)
        if (!is(&messages[i], "system") && !is(&messages[i], "user") && !is(&messages[i], "assistant"))
            return vks_fail(log, "message %zu has the role \"%s\": system, user and assistant are known", i + 1,
                            messages[i].role);
    const size_t first = is(&messages[0], "system");
    if (chat->family == VKS_CHAT_GEMMA && first && !chat->system_turn)
        return vks_fail(log, "this model takes no system message: put it into the user's");
    for (size_t i = first; i < count && strict; i++)
        if (!is(&messages[i], (i - first) % 2 ? "assistant" : "user"))
            return vks_fail(log, "message %zu is the %s's: with this model user and assistant take turns, and the "
                            "user begins", i + 1, messages[i].role);
    if (strict && first == count)
        return vks_fail(log, "a system message alone is no conversation with this model: add a user's");
    return true;
}

bool vks_chat_render(const struct vks_log *log, const struct vks_chat *chat, const struct vks_chat_message messages[],
                     size_t count, bool prompt, struct vks_text *out)
{
    static const char *const prompts[] = {
        [VKS_CHAT_CHATML] = "<|im_start|>assistant\n",
        [VKS_CHAT_QWEN3] = "<|im_start|>assistant\n",
        [VKS_CHAT_LLAMA2] = "",
        [VKS_CHAT_LLAMA3] = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        [VKS_CHAT_GEMMA] = "<start_of_turn>model\n",
    };
    static void (*const renderers[])(const struct vks_chat *, const struct vks_chat_message[], size_t,
                                     struct vks_text *) = {
        [VKS_CHAT_CHATML] = render_chatml,
        [VKS_CHAT_QWEN3] = render_qwen3,
        [VKS_CHAT_LLAMA2] = render_llama2,
        [VKS_CHAT_LLAMA3] = render_llama3,
        [VKS_CHAT_GEMMA] = render_gemma,
    };
    if (!check_roles(log, chat, messages, count))
        return false;
    renderers[chat->family](chat, messages, count, out);
    if (prompt)
        vks_text_add_str(out, prompts[chat->family]);
    if (prompt && chat->thinks)
        vks_text_add_str(out, "<think>\n");
    return !out->failed || vks_fail(log, VKS_NO_MEMORY);
}
