// What generated texts are worth: scores by another program, lists of words, and how varied they are.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/os.h"
#include "base/text.h"
#include "io/lines.h"
#include "models/words.h"

#define MAX_ANSWER ((size_t)64 << 20)  // bytes

// ---- texts from files

bool vksteer_texts_read(const struct vksteer_log *log, const char *path, const char *field,
                        struct vksteer_prompts *texts)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    if (vks_ends_with(path, ".jsonl") || vks_ends_with(path, ".json") || vks_ends_with(path, ".csv"))
        return vksteer_prompts_read(log, path, field, texts);
    size_t size;
    *texts = (struct vksteer_prompts){0};
    char *text = vks_os_read_file(inner, path, (size_t)1 << 30, &size);
    if (!text)
        return false;
    struct vks_lines *lines = calloc(1, sizeof(*lines));
    bool ok = lines || vks_fail(inner, VKS_NO_MEMORY);
    if (ok && (strlen(text) != size || vks_utf8_check(text, size) != size))
        ok = vks_fail(inner, "%s is no UTF-8 text: save it as one", path);
    if (ok && !size)
        ok = vks_fail(inner, "%s is empty: give a text to read", path);
    if (ok) {
        lines->items = malloc(sizeof(*lines->items));
        char *copy = vks_arena_strdup(&lines->arena, text);
        ok = (lines->items && copy) || vks_fail(inner, VKS_NO_MEMORY);
        if (ok)
            lines->items[lines->count++] = copy;
        *texts = (struct vksteer_prompts){.items = lines->items, .count = lines->count, .priv = lines};
    }
    free(text);
    if (!ok && lines) {
        vks_lines_finish(lines);
        free(lines);
        *texts = (struct vksteer_prompts){0};
    }
    return ok;
}

// ---- another program

// One number a line; empty lines at the end are passed.
static bool read_scores(const struct vks_log *log, const char *command, char *answer, size_t size, double *scores,
                        size_t count)
{
    size_t line = 0;
    char quoted[60];
    for (char *at = answer, *end = answer + size; at < end; line++) {
        char *stop = memchr(at, '\n', (size_t)(end - at)), *last = stop ? stop : end;
        char *const next = last + 1;
        while (last > at && strchr(" \t\r", last[-1]))
            last--;
        while (at < last && (*at == ' ' || *at == '\t'))
            at++;
        if (at == last && strspn(last, " \t\r\n") == (size_t)(end - last))
            break;
        *last = 0;
        double value;
        if (line >= count)
            return vks_fail(log, "\"%s\" prints more than %zu lines for as many texts: it must print one number for "
                            "each line that it reads, and nothing else", command, count);
        if (!vks_parse_double(at, &value))
            return vks_fail(log, "\"%s\" prints \"%s\" in line %zu: it must print one number for each line that it "
                            "reads", command, vks_text_quote(at, strlen(at), quoted, sizeof(quoted)), line + 1);
        scores[line] = value;
        at = next;
    }
    return line == count || vks_fail(log, "\"%s\" prints %zu numbers for %zu texts: it must print one for each line "
                                     "that it reads", command, line, count);
}

enum vksteer_result vksteer_score(const struct vksteer_log *log, const char *command,
                                  const struct vksteer_sample *samples, size_t count, double *scores)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    struct vks_text input = {0};
    size_t size;
    for (size_t i = 0; i < count; i++) {
        vks_text_add_str(&input, "{\"prompt\": ");
        vks_text_add_json(&input, samples[i].prompt);
        vks_text_add_str(&input, ", \"text\": ");
        vks_text_add_json(&input, samples[i].text);
        vks_text_printf(&input, ", \"strength\": %s}\n",
                        isfinite(samples[i].strength) ? VKS_NUMBER("%.9g", samples[i].strength) : "null");
    }
    if (input.failed || !count) {
        vks_text_finish(&input);
        return !count ? VKSTEER_DONE : (vks_fail(inner, VKS_NO_MEMORY), VKSTEER_FAILED);
    }
    char *answer = vks_os_filter(inner, command, input.data, input.length, MAX_ANSWER, &size);
    vks_text_finish(&input);
    if (!answer)
        return vks_os_interrupted() ? VKSTEER_STOPPED : VKSTEER_FAILED;
    const bool ok = read_scores(inner, command, answer, size, scores, count);
    free(answer);
    return ok ? VKSTEER_DONE : VKSTEER_FAILED;
}

// ---- words

struct vksteer_words {
    struct vks_api_log bridge;
    struct vks_word_list *list;
};

vksteer_words *vksteer_words_open(const struct vksteer_log *log, const char *path)
{
    vksteer_words *words = calloc(1, sizeof(*words));
    if (!words) {
        struct vks_api_log bridge;
        return vks_fail_null(vks_api_log_init(&bridge, log), VKS_NO_MEMORY);
    }
    words->list = vks_word_list_open(vks_api_log_init(&words->bridge, log), path);
    if (!words->list)
        vksteer_words_close(&words);
    return words;
}

void vksteer_words_close(vksteer_words **address)
{
    if (*address)
        vks_word_list_close(&(*address)->list);
    free(*address);
    *address = NULL;
}

bool vksteer_survey(const struct vksteer_log *log, const vksteer_words *list, const char *const *texts, size_t count,
                    struct vksteer_survey *out)
{
    struct vks_api_log bridge;
    struct vks_word_pairs pairs = {0};
    uint64_t words = 0, listed = 0, with = 0, empty = 0;
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        struct vks_words own = {0};
        ok = vks_words_add(&own, texts[i], strlen(texts[i])) && vks_word_pairs_add(&pairs, &own);
        const size_t found = ok && list ? vks_word_list_count(list->list, &own) : 0;
        words += own.count;
        empty += own.count == 0;
        listed += found;
        with += found > 0;
        vks_words_finish(&own);
    }
    *out = (struct vksteer_survey){
        .words = words,
        .distinct2 = vks_word_pairs_distinct(&pairs),
        .empty = count ? (double)empty / (double)count : NAN,
        .listed = list && count ? (double)with / (double)count : NAN,
        .rate = list && words ? 100 * (double)listed / (double)words : NAN,
    };
    vks_word_pairs_finish(&pairs);
    return ok || vks_fail(vks_api_log_init(&bridge, log), VKS_NO_MEMORY);
}
