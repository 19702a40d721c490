// vksteer apply, with a language model: prompts to texts.
#include <stdlib.h>
#include <string.h>

#include "apply.h"

#define MOST_AT_ONCE 8  // texts

// Texts in the order in which they are shown: a prompt's seeds, each at every strength.
struct stack {
    struct job *job;
    uint32_t points;            // strengths
    size_t count;               // of prompts and seeds
    bool streams;               // to standard output, as they are made
    FILE *file;                 // what -o gets when it is whole
    uint64_t prompt_tokens, tokens;
    double prompt_seconds, seconds;
    size_t done;                // texts of those before the ones that are being written, in progress's count
};

static bool show_piece(void *priv, size_t index, const char *text)
{
    const struct stack *stack = priv;
    (void)index;
    if (stack->streams) {
        fputs(text, stdout);
        fflush(stdout);
    }
    return !vksteer_interrupted();
}

static void describe(const struct stack *stack, size_t text, uint32_t point, const struct vksteer_text *made)
{
    const struct job *job = stack->job;
    float strengths[VKSTEER_MAX_STEERINGS];
    json_open(NULL, '{');
    json_text("prompt", job->prompts[text / job->batch]);
    json_text("text", made->text);
    json_integer("seed", (uint64_t)job->seed + text % job->batch);
    if (job->sweep.count)
        json_number("strength", sweep_strength(&job->sweep, point, strengths));
    json_integer("prompt_tokens", made->prompt_tokens);
    json_integer("tokens", made->tokens);
    json_bool("ended", made->ended);
    json_close();
}

// What tells a text from the others.
static void print_head(const struct stack *stack, size_t text, uint32_t point)
{
    const struct job *job = stack->job;
    float strengths[VKSTEER_MAX_STEERINGS];
    printf("== %s", job->prompts[text / job->batch]);
    if (job->batch > 1)
        printf(", seed %lld", (long long)(job->seed + (int64_t)(text % job->batch)));
    if (job->sweep.count)
        printf(", strength %.4g", sweep_strength(&job->sweep, point, strengths));
    putchar('\n');
}

static bool show(struct stack *stack, size_t text, uint32_t point, const struct vksteer_text *made)
{
    if (stack->file) {
        json_to(stack->file);
        describe(stack, text, point, made);
        fputc('\n', stack->file);
        json_to(stdout);
    }
    if (stack->job->common.json)
        describe(stack, text, point, made);
    else if (!stack->file && !stack->streams) {
        print_head(stack, text, point);
        printf("%s\n\n", made->text);
    }
    return (!stack->file || !ferror(stack->file)) && !ferror(stdout);  // said at the end
}

// Where prompts become what the model is given, and what it was given becomes text: texts `first` to first + count.
static int write_some(struct stack *stack, size_t first, size_t count)
{
    struct job *job = stack->job;
    struct vksteer_text made[MOST_AT_ONCE * 64] = {0};
    const char *prompts[MOST_AT_ONCE];
    uint64_t seeds[MOST_AT_ONCE];
    enum vksteer_result result = VKSTEER_DONE;
    job->write.seeds = seeds;
    job->write.piece = show_piece;
    job->write.priv = stack;
    for (size_t i = 0; i < count; i++) {
        prompts[i] = job->chats ? job->chats[(first + i) / job->batch] : job->prompts[(first + i) / job->batch];
        seeds[i] = (uint64_t)job->seed + (first + i) % job->batch;
    }
    for (uint32_t point = 0; point < stack->points && result == VKSTEER_DONE; point++) {
        float strengths[VKSTEER_MAX_STEERINGS];
        struct vksteer_text *texts = made + point * count;
        if (job->sweep.count)
            sweep_strength(&job->sweep, point, strengths);
        if (stack->streams && stack->points > 1)
            print_head(stack, first, point);
        result = vksteer_write(job->writer, prompts, count, &job->write, job->sweep.count ? strengths : NULL, texts);
        if (stack->streams)
            fputs(point + 1 < stack->points ? "\n\n" : "\n", stdout);
        else if (result == VKSTEER_DONE)
            progress_show("writing", (uint32_t)(stack->done += count), (uint32_t)(stack->count * stack->points), "");
        for (size_t i = 0; i < count; i++) {
            stack->prompt_tokens += texts[i].prompt_tokens;
            stack->tokens += texts[i].tokens ? texts[i].tokens - 1 : 0;
        }
        stack->prompt_seconds += texts[0].prompt_seconds;
        stack->seconds += texts[0].seconds;
    }
    bool ok = result != VKSTEER_FAILED;
    for (size_t i = 0; i < count * stack->points && result == VKSTEER_DONE && ok; i++)
        ok = show(stack, first + i / stack->points, (uint32_t)(i % stack->points),
                  &made[i % stack->points * count + i / stack->points]);
    vksteer_texts_finish(made, count * stack->points);
    return result == VKSTEER_STOPPED ? EXIT_INTERRUPTED : ok ? EXIT_DONE : EXIT_FAILED;
}

// JSON lines are gathered in a file without a name, and come to OUT when all are in it.
static bool open_file(struct stack *stack)
{
    if (!stack->job->output)
        return true;
    stack->file = tmpfile();
    return stack->file || (say_error("no temporary file can be made: is the disk full?"), false);
}

static bool save_file(struct stack *stack)
{
    const long size = ferror(stack->file) ? -1 : ftell(stack->file);
    char *data = size < 0 ? NULL : malloc((size_t)size + 1);
    if (!data)
        return say_error("%s could not be written: is the disk full?", stack->job->output), false;
    rewind(stack->file);
    const bool whole = fread(data, 1, (size_t)size, stack->file) == (size_t)size;
    if (!whole)
        say_error("%s could not be written: the temporary file cannot be read", stack->job->output);
    const bool ok = whole && vksteer_file_write(cli_log(), stack->job->output, data, (size_t)size);
    free(data);
    return ok;
}

static int close_file(struct stack *stack, int code)
{
    if (!stack->file)
        return code;
    if ((code == EXIT_DONE || ferror(stack->file)) && !save_file(stack))
        code = EXIT_FAILED;
    else if (code == EXIT_DONE && !stack->job->common.json)
        print_line("%s", stack->job->output);
    fclose(stack->file);
    return code;
}

int check_cache(const char *cache)
{
    return !cache || strcmp(cache, "fp32") == 0 || strcmp(cache, "fp16") == 0
               ? EXIT_DONE : usage_error("--cache \"%s\": give fp32 or fp16", cache);
}

bool half_cache(const char *cache)
{
    return cache && strcmp(cache, "fp16") == 0;
}

const char *write_option(const struct vksteer_write_params *write)
{
    return write->max_tokens ? "max-tokens" : write->temperature >= 0 ? "temp" : write->top_k != UINT32_MAX ? "top-k"
           : write->top_p >= 0 ? "top-p" : write->min_p >= 0 ? "min-p"
           : write->repeat_penalty >= 0 ? "repeat-penalty" : NULL;
}

void fill_in_write(struct vksteer_write_params *write)
{
    write->temperature = write->temperature < 0 ? 0.8 : write->temperature;
    write->top_k = write->top_k == UINT32_MAX ? 0 : write->top_k;
    write->top_p = write->top_p < 0 ? 0.95 : write->top_p;
    write->min_p = write->min_p < 0 ? 0 : write->min_p;
    write->repeat_penalty = write->repeat_penalty < 0 ? 1 : write->repeat_penalty;
}

int apply_texts(struct job *job)
{
    struct stack stack = {.job = job, .points = job->sweep.count ? job->sweep.count : 1,
                          .count = job->prompt_count * job->batch};
    const size_t at_once = stack.count < MOST_AT_ONCE ? stack.count : MOST_AT_ONCE;
    fill_in_write(&job->write);
    job->write.chat = job->chat;
    job->writer = vksteer_writer_open(job->model, &(struct vksteer_writer_params){
        .batch = (uint32_t)at_once, .half_cache = half_cache(job->cache), .steerings = job->steer.uses,
        .steering_count = job->steer.count, .strict = job->strict});
    if (!job->writer || !open_file(&stack))
        return close_file(&stack, EXIT_FAILED);
    stack.streams = stack.count == 1 && !job->common.json && !job->output;
    if (job->write.temperature > 0)
        say_seeds(job);
    vksteer_catch_interrupt();
    int code = EXIT_DONE;
    if (job->common.json)
        json_open(NULL, '[');
    for (size_t first = 0; first < stack.count && code == EXIT_DONE; first += at_once)
        code = write_some(&stack, first, stack.count - first < at_once ? stack.count - first : at_once);
    progress_done();
    if (!(job->common.json ? json_finish() : output_is_good()))
        code = EXIT_FAILED;
    if (code == EXIT_DONE)
        say("prompts: %llu tokens, %.1f a second; texts: %.1f a second", (unsigned long long)stack.prompt_tokens,
            stack.prompt_seconds > 0 ? (double)stack.prompt_tokens / stack.prompt_seconds : 0,
            stack.seconds > 0 ? (double)stack.tokens / stack.seconds : 0);
    return close_file(&stack, code);
}
