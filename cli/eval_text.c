// vksteer eval of language models: figures of texts over strengths, as a table, JSON and a plot.
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

// What is measured at one setting of the strengths; NaN: not asked for.
struct point {
    char name[32];
    double strength;                    // NaN: the steerings have several
    float strengths[VKSTEER_MAX_STEERINGS];
    double perplexity, score, listed, rate, distinct2, empty, written;
    struct vksteer_text *texts;         // a prompt's seeds one after the other
};

struct column {
    const char *key, *head, *plot;      // in JSON, over the column, over a panel of the plot
    int width, digits;
    size_t offset;                      // in struct point
};
static const struct column columns[] = {
    {"perplexity", "perplexity", "perplexity of the text", 12, 3, offsetof(struct point, perplexity)},
    {"score", "score", "score", 10, 4, offsetof(struct point, score)},
    {"listed", "listed", "share of texts with a listed word", 9, 4, offsetof(struct point, listed)},
    {"rate", "per 100", NULL, 9, 3, offsetof(struct point, rate)},
    {"distinct2", "distinct-2", "distinct-2 of what is written", 12, 4, offsetof(struct point, distinct2)},
    {"empty", "empty", NULL, 8, 4, offsetof(struct point, empty)},
    {"written", "of written", "perplexity of what is written, unsteered", 12, 3, offsetof(struct point, written)},
};

struct eval_results {
    struct point *points;
    size_t count, texts;                // texts written at each
    struct vksteer_perplexity text;     // of the last point
    size_t point;                       // being measured
};

static double value_of(const struct point *point, const struct column *column)
{
    double value;
    memcpy(&value, (const char *)point + column->offset, sizeof(value));
    return value;
}

static bool has_column(const struct eval_results *r, const struct column *column)
{
    for (size_t i = 0; i < r->count; i++)
        if (!isnan(value_of(&r->points[i], column)))
            return true;
    return false;
}

// ---- before

bool eval_text_wanted(const struct eval_text *text)
{
    return text->text_path || text->prompts;
}

// An option that was given and is for texts that are written; NULL: none.
static const char *writing_option(const struct eval_text *text)
{
    return text->scorer ? "scorer" : text->words_path ? "words" : text->chat ? "chat"
           : text->cache ? "cache" : text->batch > 1 ? "batch-count" : write_option(&text->write);
}

static int check_options(const struct eval_text *text, bool prompts)
{
    const char *const writes = writing_option(text);
    if (writes && !prompts)
        return usage_error("--%s is for texts that the model writes: give it --prompts FILE", writes);
    if (text->system && !text->chat)
        return usage_error("--system is a message of --chat: give both");
    if (!text->text_path && (text->context || text->stride))
        return usage_error("--context and --stride are for a text that is read: give one with --text");
    if (!text->text_path && !prompts && (text->sweep.count || text->plot_path))
        return usage_error("--sweep and --plot are for figures of texts: give --text or --prompts");
    return check_cache(text->cache);
}

int eval_text_check(const struct eval_text *text, const struct steer_list *steer, bool prompts)
{
    const int code = check_options(text, prompts);
    if (code != EXIT_DONE)
        return code;
    if (text->plot_path && !text->sweep.count)
        return usage_error("--plot draws figures over strengths: give these with --sweep FROM:TO:COUNT");
    return sweep_is_good(&text->sweep, steer) ? EXIT_DONE : EXIT_USAGE;
}

int eval_text_read(struct eval_text *text)
{
    if ((text->plot_path && !vksteer_can_write(cli_log(), text->plot_path)) ||
        (text->text_path && !vksteer_texts_read(cli_log(), text->text_path, text->field, &text->texts)) ||
        (text->words_path && !(text->words = vksteer_words_open(cli_log(), text->words_path))))
        return EXIT_FAILED;
    return EXIT_DONE;
}

bool eval_text_fits(struct eval_text *text, vksteer_model *model)
{
    const struct vksteer_model_info *info = vksteer_model_info(model);
    const char *const option = text->text_path ? "text" : text->sweep.count ? "sweep" : writing_option(text);
    if (!info->vocabulary && option)
        return say_error("%s makes pictures: --%s is for language models, leave it out", info->path, option), false;
    return !text->chat || make_chats(model, text->system, text->prompts, text->prompt_count, &text->chats);
}

// ---- the points

// A sweep; without one the model unsteered, and steered as the files are given.
static bool make_points(struct eval_results *r, const struct sweep *sweep, const struct steer_list *steer)
{
    r->count = sweep->count ? sweep->count : steer->count ? 2 : 1;
    r->points = calloc(r->count, sizeof(*r->points));
    if (!r->points) {
        say_error(NO_MEMORY);
        return false;
    }
    for (size_t i = 0; i < r->count; i++) {
        struct point *point = &r->points[i];
        point->strength = sweep_strength(sweep, (uint32_t)i, point->strengths);
        if (!sweep->count && i == 1) {
            point->strength = steer->uses[0].strength;
            for (size_t k = 0; k < steer->count; k++) {
                point->strengths[k] = steer->uses[k].strength;
                if (point->strengths[k] != point->strengths[0])
                    point->strength = NAN;
            }
        }
        if (isnan(point->strength))
            snprintf(point->name, sizeof(point->name), "as given");
        else
            snprintf(point->name, sizeof(point->name), "%.4g", point->strength);
        for (size_t c = 0; c < COUNT_OF(columns); c++)
            memcpy((char *)point + columns[c].offset, &(double){NAN}, sizeof(double));
    }
    return true;
}

// ---- perplexity

static bool on_window(void *priv, size_t done, size_t windows)
{
    const struct eval_results *r = priv;
    progress_show("reading", (uint32_t)(r->point * windows + done), (uint32_t)(r->count * windows), "");
    return !vksteer_interrupted();
}

static int read_texts(struct eval_results *r, const struct eval_text *text, const struct steer_list *steer,
                      vksteer_model *model)
{
    const struct vksteer_reader_params params = {
        .context = text->context, .stride = text->stride, .steerings = steer->uses, .steering_count = steer->count};
    const struct vksteer_read_params read = {
        .texts = (const char *const *)text->texts.items,
        .count = text->texts.count,
        .progress = on_window,
        .priv = r,
    };
    vksteer_reader *reader = vksteer_reader_open(model, &params);
    enum vksteer_result result = reader ? VKSTEER_DONE : VKSTEER_FAILED;
    for (r->point = 0; r->point < r->count && result == VKSTEER_DONE; r->point++) {
        struct point *point = &r->points[r->point];
        result = vksteer_read(reader, &read, point->strengths, &r->text);
        point->perplexity = r->text.perplexity;
    }
    progress_done();
    vksteer_reader_close(&reader);
    return exit_code_of(result);
}

// ---- texts that the model writes

static bool on_piece(void *priv, size_t index, const char *piece)
{
    const struct eval_results *r = priv;
    (void)piece;
    progress_show("writing", (uint32_t)(r->point * r->texts + index), (uint32_t)(r->count * r->texts), "");
    return !vksteer_interrupted();
}

// Every prompt with every seed, at every point.
static int write_texts(struct eval_results *r, struct eval_text *text, const struct steer_list *steer,
                       vksteer_model *model)
{
    enum { AT_ONCE = 8 };
    const char *const *sources = text->chats ? (const char *const *)text->chats : text->prompts;
    struct vksteer_write_params write = text->write;
    const char **prompts = malloc(r->texts * sizeof(*prompts));
    uint64_t *seeds = malloc(r->texts * sizeof(*seeds));
    const struct vksteer_writer_params params = {
        .batch = r->texts < AT_ONCE ? (uint32_t)r->texts : AT_ONCE,
        .half_cache = half_cache(text->cache),
        .steerings = steer->uses,
        .steering_count = steer->count,
    };
    if (!prompts || !seeds)
        say_error(NO_MEMORY);
    vksteer_writer *writer = prompts && seeds ? vksteer_writer_open(model, &params) : NULL;
    enum vksteer_result result = writer ? VKSTEER_DONE : VKSTEER_FAILED;
    for (size_t i = 0; i < r->texts && writer; i++) {
        prompts[i] = sources[i / text->batch];
        seeds[i] = write.seed + i % text->batch;
    }
    write.seeds = seeds;
    write.chat = text->chat;
    write.piece = on_piece;
    write.priv = r;
    for (r->point = 0; r->point < r->count && result == VKSTEER_DONE; r->point++) {
        struct point *point = &r->points[r->point];
        point->texts = calloc(r->texts, sizeof(*point->texts));
        result = point->texts ? vksteer_write(writer, prompts, r->texts, &write, point->strengths, point->texts)
                              : (say_error(NO_MEMORY), VKSTEER_FAILED);
    }
    progress_done();
    vksteer_writer_close(&writer);
    free(prompts);
    free(seeds);
    return exit_code_of(result);
}

// How varied they are, and what is in them of the list; then how well the unsteered model foresees them.
static int survey_texts(struct eval_results *r, const struct eval_text *text, vksteer_model *model)
{
    const char *const *sources = text->chats ? (const char *const *)text->chats : text->prompts;
    const char **texts = malloc(2 * r->texts * sizeof(*texts));
    if (!texts)
        return say_error(NO_MEMORY), EXIT_FAILED;
    const char **const prompts = texts + r->texts;
    vksteer_reader *reader = vksteer_reader_open(model, &(struct vksteer_reader_params){.context = text->context});
    enum vksteer_result result = reader ? VKSTEER_DONE : VKSTEER_FAILED;
    for (size_t p = 0; p < r->count && result == VKSTEER_DONE; p++) {
        struct point *point = &r->points[p];
        struct vksteer_survey survey;
        struct vksteer_perplexity written;
        bool some = false;
        for (size_t i = 0; i < r->texts; i++) {
            texts[i] = point->texts[i].text;
            prompts[i] = sources[i / text->batch];
            some |= *texts[i] != 0;
        }
        if (!vksteer_survey(cli_log(), text->words, texts, r->texts, &survey)) {
            result = VKSTEER_FAILED;
            break;
        }
        point->distinct2 = survey.distinct2;
        point->empty = survey.empty;
        point->listed = survey.listed;
        point->rate = survey.rate;
        r->point = p;
        if (some)
            result = vksteer_read(reader, &(struct vksteer_read_params){
                .texts = texts, .prompts = prompts, .chat = text->chat, .count = r->texts, .progress = on_window,
                .priv = r}, NULL, &written);
        point->written = some && result == VKSTEER_DONE ? written.perplexity : NAN;
    }
    progress_done();
    vksteer_reader_close(&reader);
    free(texts);
    return exit_code_of(result);
}

// One run of the scorer for all of them, as it may take long to start.
static int score_texts(struct eval_results *r, const struct eval_text *text)
{
    const size_t count = r->count * r->texts;
    struct vksteer_sample *samples = malloc(count * sizeof(*samples));
    double *scores = malloc(count * sizeof(*scores));
    enum vksteer_result result = samples && scores ? VKSTEER_DONE : (say_error(NO_MEMORY), VKSTEER_FAILED);
    for (size_t i = 0; i < count && result == VKSTEER_DONE; i++) {
        const struct point *point = &r->points[i / r->texts];
        const size_t at = i % r->texts;
        samples[i] = (struct vksteer_sample){text->prompts[at / text->batch], point->texts[at].text, point->strength};
    }
    if (result == VKSTEER_DONE)
        say("scoring %zu texts", count);
    if (result == VKSTEER_DONE)
        result = vksteer_score(cli_log(), text->scorer, samples, count, scores);
    for (size_t i = 0; i < count && result == VKSTEER_DONE; i++) {
        struct point *point = &r->points[i / r->texts];
        point->score = (i % r->texts ? point->score : 0) + scores[i] / (double)r->texts;
    }
    free(samples);
    free(scores);
    return exit_code_of(result);
}

// ---- results

static void print_results(const struct eval_results *r)
{
    char line[256];
    int used = snprintf(line, sizeof(line), "%8s", "strength");
    if (r->texts)
        print_line("%zu texts at each strength", r->texts);
    if (r->text.tokens)
        print_line("%llu tokens in %llu windows of %u, stride %u", (unsigned long long)r->text.tokens,
                   (unsigned long long)r->text.windows, r->text.context, r->text.stride);
    for (size_t c = 0; c < COUNT_OF(columns); c++)
        if (has_column(r, &columns[c]))
            used += snprintf(line + used, sizeof(line) - (size_t)used, "%*s", columns[c].width, columns[c].head);
    print_line("%s", line);
    for (size_t i = 0; i < r->count; i++) {
        used = snprintf(line, sizeof(line), "%8s", r->points[i].name);
        for (size_t c = 0; c < COUNT_OF(columns); c++) {
            const double value = value_of(&r->points[i], &columns[c]);
            if (has_column(r, &columns[c]))
                used += snprintf(line + used, sizeof(line) - (size_t)used, fabs(value) < 1e7 ? "%*.*f" : "%*.*g",
                                 columns[c].width, columns[c].digits, value);
        }
        print_line("%s", line);
    }
}

static void json_results(const struct eval_results *r)
{
    json_open("text", '{');
    if (r->text.tokens) {
        json_integer("context", r->text.context);
        json_integer("stride", r->text.stride);
        json_integer("tokens", r->text.tokens);
        json_integer("windows", r->text.windows);
    }
    if (r->texts)
        json_integer("texts", r->texts);
    json_open("points", '[');
    for (size_t i = 0; i < r->count; i++) {
        json_open(NULL, '{');
        json_number("strength", r->points[i].strength);
        for (size_t c = 0; c < COUNT_OF(columns); c++)
            if (has_column(r, &columns[c]))
                json_number(columns[c].key, value_of(&r->points[i], &columns[c]));
        json_close();
    }
    json_close();
    json_close();
}

static bool plot(const struct eval_results *r, const char *path)
{
    double *values = malloc((COUNT_OF(columns) + 1) * r->count * sizeof(*values));
    struct vksteer_series series[COUNT_OF(columns)];
    struct vksteer_image image = {0};
    size_t count = 0;
    if (!values) {
        say_error(NO_MEMORY);
        return false;
    }
    double *const x = values + COUNT_OF(columns) * r->count;
    for (size_t i = 0; i < r->count; i++)
        x[i] = r->points[i].strength;
    for (size_t c = 0; c < COUNT_OF(columns); c++) {
        if (!columns[c].plot || !has_column(r, &columns[c]))
            continue;
        for (size_t i = 0; i < r->count; i++)
            values[count * r->count + i] = value_of(&r->points[i], &columns[c]);
        series[count] = (struct vksteer_series){columns[c].plot, values + count * r->count};
        count++;
    }
    const struct vksteer_plot_params params = {
        .x_name = "strength", .x = x, .count = r->count, .series = series, .series_count = count};
    const bool ok = vksteer_plot(cli_log(), &params, &image) &&
                    vksteer_image_write(cli_log(), path, &image, NULL, NULL, 0);
    free(image.rgb);
    free(values);
    return ok;
}

int eval_text_run(struct eval_text *text, const struct steer_list *steer, vksteer_model *model)
{
    struct eval_results *r = text->results = calloc(1, sizeof(*r));
    if (!r) {
        say_error(NO_MEMORY);
        return EXIT_FAILED;
    }
    int code = make_points(r, &text->sweep, steer) ? EXIT_DONE : EXIT_FAILED;
    fill_in_write(&text->write);
    vksteer_catch_interrupt();
    if (code == EXIT_DONE && text->text_path)
        code = read_texts(r, text, steer, model);
    r->texts = text->prompts ? text->prompt_count * text->batch : 0;
    if (code == EXIT_DONE && r->texts)
        code = write_texts(r, text, steer, model);
    if (code == EXIT_DONE && r->texts)
        code = survey_texts(r, text, model);
    if (code == EXIT_DONE && r->texts && text->scorer)
        code = score_texts(r, text);
    return code;
}

int eval_text_print(const struct eval_text *text, bool json)
{
    if (json)
        json_results(text->results);
    else
        print_results(text->results);
    if (text->plot_path && !plot(text->results, text->plot_path))
        return EXIT_FAILED;
    if (text->plot_path && !json)
        print_line("%s", text->plot_path);
    return EXIT_DONE;
}

void eval_text_finish(struct eval_text *text)
{
    struct eval_results *r = text->results;
    for (size_t i = 0; r && r->points && i < r->count; i++) {
        if (r->points[i].texts)
            vksteer_texts_finish(r->points[i].texts, r->texts);
        free(r->points[i].texts);
    }
    if (r)
        free(r->points);
    free(r);
    vksteer_prompts_finish(&text->texts);
    vksteer_words_close(&text->words);
    free_chats(&text->chats, text->prompt_count);
}
