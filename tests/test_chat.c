// Chat templates against what transformers renders (tests/golden/chat.py), templates that are refused, and the ids of
// what is rendered.
//
//     test_chat [TEMPLATES]    (a folder of whole templates, as for chat.py: recognised in place of the excerpts)
#include "models/chat.h"
#include "tests/test_scratch.h"

#include <cjson/cJSON.h>

static const char *templates;

#define MOST 16

struct talk {
    struct vks_chat_message messages[MOST];
    size_t count;
};

static const char *text_of(const struct cJSON *object, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static void read_talk(const struct cJSON *list, struct talk *talk)
{
    talk->count = 0;
    for (const struct cJSON *item = list->child; item && talk->count < MOST; item = item->next)
        talk->messages[talk->count++] = (struct vks_chat_message){text_of(item, "role"), text_of(item, "content")};
}

// What is rendered of each conversation, or that it is refused.
static void check_rows(struct test *t, const struct vks_chat *chat, const struct cJSON *talks,
                       const struct cJSON *want, const char *name, bool prompt)
{
    size_t at = 0;
    const struct cJSON *text = want->child, *item = talks->child;
    for (; item && text && !t->bad; item = item->next, text = text->next, at++) {
        struct talk talk;
        struct vks_text out = {0};
        read_talk(item, &talk);
        t->messages = 0;
        const bool done = vks_chat_render(test_log(t), chat, talk.messages, talk.count, prompt, &out);
        const char *expected = cJSON_GetStringValue(text);
        if (!expected && (done || t->messages != 1))
            test_fail(t, __FILE__, __LINE__, "%s, conversation %zu: rendered, or refused without a line", name, at);
        else if (expected && (!done || strcmp(out.data, expected) != 0))
            test_fail(t, __FILE__, __LINE__, "%s, conversation %zu: \"%s\", not \"%s\"", name, at,
                      done ? out.data : "(refused)", expected);
        t->message[0] = 0;
        vks_text_finish(&out);
    }
    CHECK(t, t->bad || (at >= 10 && !text));
}

static void check_template(struct test *t, const struct cJSON *row, const struct cJSON *talks)
{
    const char *name = text_of(row, "name"), *excerpt = text_of(row, "template");
    const struct cJSON *prompts = cJSON_GetObjectItemCaseSensitive(row, "prompts");
    struct vks_chat chat = {0};
    char path[600], *whole = NULL;
    size_t size;
    if (templates) {
        snprintf(path, sizeof(path), "%s/%s.jinja", templates, name);
        whole = vks_os_read_file(test_log(t), path, 1 << 20, &size);
        CHECK(t, whole);
    }
    const char *bos = text_of(row, "bos"), *eos = text_of(row, "eos");
    t->messages = 0;
    const bool known = vks_chat_recognise(test_log(t), name, whole ? whole : excerpt, bos ? bos : "", eos ? eos : "",
                                          &chat);
    if (known != (prompts != NULL) || t->messages != !known)
        test_fail(t, __FILE__, __LINE__, "%s is %s", name, known ? "recognised" : "refused");
    t->message[0] = 0;
    if (known && prompts) {
        check_rows(t, &chat, talks, prompts, name, true);
        check_rows(t, &chat, talks, cJSON_GetObjectItemCaseSensitive(row, "bare"), name, false);
    }
    vks_chat_finish(&chat);
    free(whole);
}

static void golden(struct test *t)
{
    size_t size, rows = 0;
    char *text = vks_os_read_file(test_log(t), VKS_TEST_DATA "/../chat.jsonl", 1 << 24, &size);
    CHECK(t, text);
    struct cJSON *first = NULL;
    for (char *at = text, *next; !t->bad && (next = strchr(at, '\n')); at = next + 1) {
        struct cJSON *row = cJSON_ParseWithLength(at, (size_t)(next - at));
        if (!first) {
            first = row;
            continue;
        }
        check_template(t, row, cJSON_GetObjectItemCaseSensitive(first, "conversations"));
        rows++;
        cJSON_Delete(row);
    }
    cJSON_Delete(first);
    free(text);
    CHECK(t, rows >= 15);
}

static void refused(struct test *t)
{
    struct vks_chat chat;
    struct vks_text out = {0};
    const struct vks_chat_message tool = {"tool", "x"};
    CHECK_REFUSED(t, vks_chat_recognise(test_log(t), "x", "{{ messages }}", "", "", &chat), "x: its chat template");
    CHECK_REFUSED(t, vks_chat_recognise(test_log(t), "x", "", "", "", &chat), "x: its chat template");
    CHECK(t, vks_chat_recognise(test_log(t), "x", "'<|im_start|>' '<|im_end|>'", "", "", &chat));
    CHECK_REFUSED(t, vks_chat_render(test_log(t), &chat, &tool, 1, true, &out), "\"tool\"");
    CHECK_REFUSED(t, vks_chat_render(test_log(t), &chat, &tool, 0, true, &out), "no messages");
    vks_chat_finish(&chat);
    vks_text_finish(&out);
}

// System messages that stand in templates, and what only looks like one.
static void systems(struct test *t)
{
    static const struct {
        const char *text, *system;
    } cases[] = {
        {"'<|im_start|>system\\nUse \\\\boxed{}.\\nIt\\'s all.<|im_end|>\\n'", "Use \\boxed{}.\nIt's all."},
        {"\"<|im_start|>system\nBe 'kind'.<|im_end|>\n\"", "Be 'kind'."},
        {"'<|im_start|>system\\n' + x + '<|im_end|>' '<|im_start|>system\\nB<|im_end|>'", "B"},
        {"'<|im_start|>system\\n<|im_end|>'", NULL},
        {"'<|im_start|>system\\nB' + x", NULL},
        {"'<|im_start|>' '<|im_end|>'", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vks_chat chat;
        char text[300];
        snprintf(text, sizeof(text), "%s <|im_end|>", cases[i].text);
        CHECK(t, vks_chat_recognise(test_log(t), "x", text, "", "", &chat));
        CHECK(t, !chat.system == !cases[i].system);
        if (chat.system)
            CHECK_STR(t, chat.system, cases[i].system);
        vks_chat_finish(&chat);
    }
}

// Special tokens by their names become their ids, and the one that begins a text is there once.
static void ids(struct test *t)
{
    static const char config[] = "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}, "
                                 "\"chat_template\": [{\"name\": \"default\", "
                                 "\"template\": \"'[INST] ' '<<SYS>>\"}]}";
    static const struct vks_chat_message messages[] = {{"user", "the"}, {"assistant", "on"}, {"user", "a"}};
    struct vks_chat chat;
    struct vks_text out = {0};
    struct vks_ids got = {0};
    size_t size;
    char *json = vks_os_read_file(test_log(t), VKS_TEST_DATA "/language/llama/tokenizer.json", 1 << 20, &size);
    CHECK(t, json && vks_os_write_file(test_log(t), in_scratch("tokenizer.json"), json, size));
    free(json);
    struct vks_tokenizer *plain = vks_tokenizer_open(test_log(t), scratch);
    CHECK(t, plain);
    CHECK_REFUSED(t, vks_chat_open(test_log(t), "x", plain, &chat), "x: has no chat template");
    vks_tokenizer_close(&plain);
    CHECK(t, vks_os_write_file(test_log(t), in_scratch("tokenizer_config.json"), config, strlen(config)));
    struct vks_tokenizer *tokenizer = vks_tokenizer_open(test_log(t), scratch);
    CHECK(t, tokenizer && vks_chat_open(test_log(t), "x", tokenizer, &chat));
    CHECK(t, vks_chat_render(test_log(t), &chat, messages, 3, true, &out));
    CHECK_STR(t, out.data, "<s>[INST] the [/INST] on </s><s>[INST] a [/INST]");
    const struct vks_encode bare = {.bare = true};
    CHECK(t, vks_tokenizer_encode(test_log(t), tokenizer, &bare, out.data, out.length, &got));
    size_t begins = 0, ends = 0;
    for (size_t i = 0; i < got.count; i++) {
        begins += got.items[i] == vks_tokenizer_find(tokenizer, "<s>");
        ends += got.items[i] == vks_tokenizer_find(tokenizer, "</s>");
    }
    CHECK(t, got.count > 4 && got.items[0] == vks_tokenizer_find(tokenizer, "<s>") && begins == 2 && ends == 1);
    free(got.items);
    vks_text_finish(&out);
    vks_chat_finish(&chat);
    vks_tokenizer_close(&tokenizer);
}

int main(int argc, char **argv)
{
    struct test t = {0};
    templates = argc > 1 ? argv[1] : NULL;
    if (!test_scratch_open("chat"))
        return 1;
    TEST(&t, golden);
    TEST(&t, refused);
    TEST(&t, systems);
    TEST(&t, ids);
    test_scratch_close();
    return test_summary(&t);
}
