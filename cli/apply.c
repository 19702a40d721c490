// vksteer apply: prompts to pictures, or by a language model to texts (apply_text.c).
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "apply.h"

#define MAX_RESULTS 4096

// The whole of standard input, without the newline at its end.
static char *read_input(void)
{
    enum { MOST = 1 << 20 };
    char *text = malloc(MOST + 1);
    const size_t size = text ? fread(text, 1, MOST, stdin) : 0;
    if (!text)
        return say_error(NO_MEMORY), NULL;
    text[size] = 0;
    if (size == MOST || strlen(text) != size) {
        say_error("standard input is no prompt: text without zero bytes, below 1 MiB, is one");
        free(text);
        return NULL;
    }
    for (size_t end = size; end > 0 && (text[end - 1] == '\n' || text[end - 1] == '\r'); end--)
        text[end - 1] = 0;
    return text;
}

static int read_prompts(struct job *job)
{
    if (job->prompts_path) {
        if (!vksteer_prompts_read(cli_log(), job->prompts_path, job->field, &job->list))
            return EXIT_FAILED;
        job->prompts = (const char *const *)job->list.items;
        job->prompt_count = job->list.count;
        return EXIT_DONE;
    }
    if (strcmp(job->prompt, "-") == 0) {
        job->typed = read_input();
        if (!job->typed)
            return EXIT_FAILED;
        if (!*job->typed) {
            say_error("standard input brought no prompt: write one to it, or use -p");
            return EXIT_FAILED;
        }
        job->prompt = job->typed;
    }
    job->prompts = &job->prompt;
    job->prompt_count = 1;
    return EXIT_DONE;
}

// `sheet`: all pictures are in this one.
static bool save(struct job *job, const char *prompt, int64_t seed, const char *sweep, uint32_t index, bool sheet,
                 const struct vksteer_image *image)
{
    const struct vksteer_device_info *device = vksteer_session_device(job->session);
    const bool many = !sheet && job->prompt_count * job->batch > 1;
    char ran_on[520];
    snprintf(ran_on, sizeof(ran_on), "%s, %s", device->name, device->driver);
    struct picture_facts facts = {
        .prompt = prompt,
        .negative = job->negative,
        .seed = seed,
        .uses = job->steer.uses,
        .use_count = job->steer.count,
        .sweep = sweep,
        .info = vksteer_model_info(job->model),
        .device = ran_on,
        .common = &job->common,
        .prompts_path = sheet ? job->prompts_path : NULL,
        .field = job->field,
        .latents_path = job->latents_path,
        .batch = sheet ? job->batch : 0,
        .grid = sheet ? job->grid : 0,
    };
    const char *path = facts.info->path, *slash = strrchr(path, '/');
    facts.model = slash ? slash + 1 : path;
    vksteer_painter_size(job->painter, &facts.width, &facts.height, &facts.steps, &facts.cfg);
    char tiles[32];
    facts.tiles = tiles_text(job->painter, tiles, sizeof(tiles));
    char *file = numbered_path(job->output, index, many);
    const bool ok = file && save_picture(file, image, &facts);
    progress_done();
    if (ok && !job->common.json)
        print_line("%s", file);
    if (ok && job->common.json) {
        json_open(NULL, '{');
        json_text("path", file);
        json_text("prompt", prompt);
        json_integer("seed", (uint64_t)seed);
        json_integer("width", image->width);
        json_integer("height", image->height);
        json_close();
    }
    if (ok && job->show)
        show_picture(file, image);
    free(file);
    return ok;
}

#define LABEL 192  // bytes

// Under each picture its strength, and under the first of a row what the row is: prompt and seed, where there are
// several. Without a sweep that under each, or the seed alone.
static void write_label(const struct job *job, size_t row, uint32_t point, double strength, char out[LABEL])
{
    const char *prompt = job->prompts[row / job->batch];
    const long long seed = (long long)(job->seed + (int64_t)(row % job->batch));
    char name[LABEL - 32] = "";
    if (job->batch > 1)
        snprintf(name, sizeof(name), job->prompt_count > 1 ? "seed %lld, %s" : "seed %lld", seed, prompt);
    else if (job->prompt_count > 1)
        snprintf(name, sizeof(name), "%s", prompt);
    else if (!job->sweep.count)
        snprintf(name, sizeof(name), "seed %lld", seed);
    if (!job->sweep.count)
        snprintf(out, LABEL, "%s", name);
    else
        snprintf(out, LABEL, point == 0 && *name ? "%.4g\n%s" : "%.4g", strength, name);
}

// What is asked for: a row a prompt and seed, a column a point of the sweep.
struct order {
    struct job *job;
    size_t count;
    uint32_t points;
    struct vksteer_picture *pictures;            // (rows, points)
    float (*strengths)[VKSTEER_MAX_STEERINGS];   // (points)
    double *points_at;                           // (points): what the labels say
    struct vksteer_image *images;                // of a sheet
    bool failed;
};

static void finish_order(struct order *order)
{
    for (size_t i = 0; order->images && i < order->count; i++)
        free(order->images[i].rgb);
    free(order->images);
    free(order->pictures);
    free(order->strengths);
    free(order->points_at);
}

static bool make_order(struct job *job, struct order *order)
{
    const uint32_t points = job->sweep.count ? job->sweep.count : 1;
    const size_t count = job->prompt_count * job->batch * points;
    *order = (struct order){
        .job = job,
        .count = count,
        .points = points,
        .pictures = calloc(count, sizeof(*order->pictures)),
        .strengths = calloc(points, sizeof(*order->strengths)),
        .points_at = calloc(points, sizeof(*order->points_at)),
        .images = calloc(count, sizeof(*order->images)),
    };
    if (!order->pictures || !order->strengths || !order->points_at || !order->images)
        return say_error(NO_MEMORY), false;
    for (uint32_t i = 0; i < points; i++)
        order->points_at[i] = sweep_strength(&job->sweep, i, order->strengths[i]);
    for (size_t i = 0; i < count; i++)
        order->pictures[i] = (struct vksteer_picture){
            .prompt = job->prompts[i / points / job->batch],
            .negative_prompt = job->negative,
            .seed = (uint64_t)(job->seed + (int64_t)(i / points % job->batch)),
            .strengths = job->sweep.count ? order->strengths[i % points] : NULL,
            .latents = job->latents,
            .latent_count = job->latent_count,
        };
    return true;
}

static bool keep_picture(void *priv, size_t index, struct vksteer_image *image)
{
    struct order *order = priv;
    order->images[index] = *image;
    progress_show("painting", (uint32_t)index + 1, (uint32_t)order->count, "");
    return !vksteer_interrupted();
}

static bool save_sheet(struct order *order)
{
    struct job *job = order->job;
    struct vksteer_image sheet = {0};
    const char **labels = calloc(order->count, sizeof(*labels));
    char (*texts)[LABEL] = calloc(order->count, sizeof(*texts)), sweep[96] = "";
    bool ok = (labels && texts) || (say_error(NO_MEMORY), false);
    for (size_t i = 0; i < order->count && ok; i++) {
        const uint32_t point = (uint32_t)(i % order->points);
        write_label(job, i / order->points, point, order->points_at[point], texts[i]);
        labels[i] = texts[i];
    }
    if (job->sweep.count)
        snprintf(sweep, sizeof(sweep), "%.9g:%.9g:%u", job->sweep.from, job->sweep.to, order->points);
    const uint32_t columns = job->grid ? job->grid : order->points > 1 ? order->points : (uint32_t)order->count;
    ok = ok && vksteer_image_grid(cli_log(), order->images, order->count, columns, labels, &sheet) &&
         save(job, job->prompts[0], job->seed, *sweep ? sweep : NULL, 0, true, &sheet);
    free(sheet.rgb);
    free(labels);
    free(texts);
    return ok;
}

static bool save_picture_of(void *priv, size_t index, struct vksteer_image *image)
{
    struct order *order = priv;
    const struct vksteer_picture *picture = &order->pictures[index];
    order->failed = !save(order->job, picture->prompt, (int64_t)picture->seed, NULL, (uint32_t)index, false, image);
    free(image->rgb);
    if (order->count > 1)
        progress_show("painting", (uint32_t)index + 1, (uint32_t)order->count, "");
    return !order->failed && !vksteer_interrupted();
}

static bool on_denoised(void *priv, size_t index)
{
    const struct order *order = priv;
    progress_show("denoising", (uint32_t)index + 1, (uint32_t)order->count, "");
    return !vksteer_interrupted();
}

static bool on_step(void *priv, size_t index, uint32_t step, uint32_t steps)
{
    const struct order *order = priv;
    (void)index;
    if (order->count == 1 && steps > 1)
        progress_show("step", step, steps, "");
    return !vksteer_interrupted();
}

// A strip or grid, or a file a picture.
static int paint(struct job *job)
{
    struct order order;
    const bool sheet = job->sweep.count || job->has_grid;
    const struct vksteer_paint_calls calls = {
        .done = sheet ? keep_picture : save_picture_of,
        .denoised = on_denoised,
        .stepped = on_step,
        .priv = &order,
    };
    bool ok = make_order(job, &order) &&
              vksteer_paint_all(job->painter, order.pictures, order.count, &calls) != VKSTEER_FAILED && !order.failed;
    progress_done();
    const bool stopped = ok && vksteer_interrupted();
    if (ok && !stopped && sheet)
        ok = save_sheet(&order);
    finish_order(&order);
    return !ok ? EXIT_FAILED : stopped ? EXIT_INTERRUPTED : EXIT_DONE;
}

// An option that was given and is for the other kind of model; NULL: none.
static const char *picture_option(const struct job *job)
{
    return job->negative ? "negative-prompt" : job->latents_path ? "latents" : job->grid ? "grid"
           : job->paint.width ? "width" : job->paint.height ? "height" : job->paint.steps ? "steps"
           : job->paint.cfg_scale > 0 ? "cfg-scale" : job->show ? "show" : NULL;
}

static bool check_model(vksteer_model *model, void *priv)
{
    struct job *job = priv;
    const struct vksteer_model_info *info = vksteer_model_info(model);
    const bool writes = info->vocabulary > 0;
    const char *foreign = writes ? picture_option(job) : job->chat ? "chat"
                          : job->cache ? "cache" : write_option(&job->write);
    job->misused = foreign != NULL;
    if (foreign)
        return say_error("%s makes %s: --%s is for %s, leave it out", info->path, writes ? "texts" : "pictures",
                         foreign, writes ? "pictures" : "texts"), false;
    if (!writes && !job->output)
        job->output = "out.png";
    return (writes || vksteer_can_write(cli_log(), job->output)) &&
           vksteer_model_fits(model, job->steer.uses, job->steer.count, job->strict) &&
           (!job->chat || make_chats(model, job->system, job->prompts, job->prompt_count, &job->chats));
}

void say_seeds(const struct job *job)
{
    if (job->batch > 1)
        say("seeds %lld to %lld", (long long)job->seed, (long long)(job->seed + job->batch - 1));
    else
        say("seed %lld", (long long)job->seed);
}

static int apply_pictures(struct job *job)
{
    job->paint.steerings = job->steer.uses;
    job->paint.steering_count = job->steer.count;
    job->painter = vksteer_painter_open(job->model, &job->paint);
    if (!job->painter)
        return EXIT_FAILED;
    say_seeds(job);
    vksteer_catch_interrupt();
    if (job->common.json)
        json_open(NULL, '[');
    int code = paint(job);
    if (job->common.json && !json_finish())
        code = EXIT_FAILED;
    return code;
}

static int run(struct job *job)
{
    int code = read_prompts(job);
    if (code != EXIT_DONE)
        return code;
    if (job->prompt_count * job->batch * (job->sweep.count ? job->sweep.count : 1) > MAX_RESULTS)
        return usage_error("more than %d pictures or texts at once: ask for fewer", MAX_RESULTS);
    if ((job->output && !vksteer_can_write(cli_log(), job->output)) ||
        (job->latents_path && !vksteer_latents_read(cli_log(), job->latents_path, &job->latents, &job->latent_count)))
        return EXIT_FAILED;
    code = open_both(&job->common, check_model, job, &job->session, &job->model);
    if (code != EXIT_DONE)
        return job->misused ? EXIT_USAGE : code;
    return vksteer_model_info(job->model)->vocabulary ? apply_texts(job) : apply_pictures(job);
}

// The ending of another format of pictures, or NULL.
static const char *other_format(const char *path)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"};
    const char *point = strrchr(path, '.');
    char ending[8] = "";
    for (size_t i = 0; point && point[i] && i + 1 < sizeof(ending); i++)
        ending[i] = (char)tolower((unsigned char)point[i]);
    for (size_t i = 0; i < COUNT_OF(endings); i++)
        if (strcmp(ending, endings[i]) == 0)
            return endings[i];
    return NULL;
}

static int check(struct job *job, const double *strength)
{
    if (!job->prompt == !job->prompts_path)
        return usage_error("apply needs -p PROMPT or --prompts FILE (one of them): see `vksteer apply --help`");
    if (job->output && !pattern_is_good(job->output))
        return usage_error("-o %s: one %%d or %%03d is the most", job->output);
    const char *format = job->output ? other_format(job->output) : NULL;
    if (format)
        return usage_error("-o %s: pictures are written as PNG: name it so, not %s", job->output, format);
    if (job->latents_path && job->batch > 1)
        say("warning: all pictures of -b begin from the noise of --latents, so they differ only where the scheduler "
            "adds more");
    if (job->system && !job->chat)
        return usage_error("--system is a message of --chat: give both");
    if (check_cache(job->cache) || !sweep_is_good(&job->sweep, &job->steer))
        return EXIT_USAGE;
    if (*strength <= 100 && job->steer.count == 0)
        return usage_error("--steer-strength is for steerings: give one with --steer");
    for (size_t i = 0; i < job->steer.count && *strength <= 100; i++)
        if (!job->steer.numbered[i])
            job->steer.uses[i].strength = (float)*strength;
    if (job->seed < 0)  // a new picture every time, and the seed is printed
        job->seed = (int64_t)(((uint64_t)time(NULL) * 2654435761 ^ (uint64_t)(vksteer_seconds() * 1e6)) & 0x7fffffff);
    if (job->seed > INT64_MAX - job->batch)
        return usage_error("-s %lld -b %u: seeds count up, and end below 2^63: give a smaller one",
                           (long long)job->seed, job->batch);
    job->paint.strict = job->strict;
    job->has_grid = job->grid != 0;
    return EXIT_DONE;
}

int command_apply(int argc, char **argv)
{
    double strength = 1000;
    struct job job = {.batch = 1, .seed = 42, .write = WRITE_NOT_GIVEN};
    struct arguments arguments;
    const struct option options[] = {
        {'p', "prompt", OPT_TEXT, &job.prompt, 0, 0, "PROMPT", "what to paint, or to go on from; - reads standard "
         "input"},
        {0, "prompts", OPT_TEXT, &job.prompts_path, 0, 0, "FILE", "many prompts: a picture, a row of the sheet, or a "
         "text each"},
        {0, "field", OPT_TEXT, &job.field, 0, 0, "NAME", "field of .jsonl, .json and .csv prompts"},
        {'n', "negative-prompt", OPT_TEXT, &job.negative, 0, 0, "PROMPT", "what not to paint (guidance scale above "
         "1)"},
        {0, "steer", OPT_STEER, &job.steer, 0, 0, "FILE[:S|:inv]", "steer, at strength S (default 1) or by the "
         "inverse maps; may be repeated"},
        {0, "steer-strength", OPT_NUMBER, &strength, -100, 100, "F", "strength of steerings without one"},
        MODEL_OPTIONS(job.common),
        {'o', "output", OPT_OUT, &job.output, 0, 0, "OUT", "the picture, out.png; %03d is replaced by its number. "
         "Texts: into a file of JSON lines"},
        {0, "sweep", OPT_SWEEP, &job.sweep, 0, 0, "FROM:TO:COUNT", "a strip over strengths, with labels; or a text "
         "at each"},
        {0, "grid", OPT_COUNT, &job.grid, 1, 64, "COLS", "all pictures in one file, so many to a row"},
        {'b', "batch-count", OPT_COUNT, &job.batch, 1, 1024, "COUNT", "so many seeds, counting up"},
        {'s', "seed", OPT_SEED, &job.seed, 0, 0, "SEED", "default 42; negative: random"},
        {'W', "width", OPT_COUNT, &job.paint.width, 1, 8192, "PX", "picture width"},
        {'H', "height", OPT_COUNT, &job.paint.height, 1, 8192, "PX", "picture height"},
        {0, "steps", OPT_COUNT, &job.paint.steps, 1, 1000, "N", "steps of the scheduler"},
        {0, "cfg-scale", OPT_NUMBER, &job.paint.cfg_scale, 0, 100, "F", "guidance scale; up to 1: none"},
        {0, "latents", OPT_TEXT, &job.latents_path, 0, 0, "FILE", "noise of another program: .safetensors or raw "
         "fp32"},
        {0, "show", OPT_FLAG, &job.show, 0, 0, NULL, "show the picture in the terminal"},
        WRITE_OPTIONS(job.write, job.chat, job.system, job.cache),
        {0, "strict", OPT_FLAG, &job.strict, 0, 0, NULL, "refuse steerings of other weights"},
    };
    const struct command command = {"apply", "-p PROMPT [--steer FILE[:STRENGTH]]... [-o OUT] [OPTIONS]",
                                    "Makes pictures from prompts, or texts, steered or not.", options,
                                    COUNT_OF(options), 0, 0, NULL};
    int code = parse_arguments(&command, &job.common, argc, argv, &arguments);
    if (code == EXIT_DONE && !job.common.help)
        code = check(&job, &strength);
    if (code == EXIT_DONE && !job.common.help)
        code = run(&job);
    vksteer_painter_close(&job.painter);
    vksteer_writer_close(&job.writer);
    vksteer_model_close(&job.model);
    vksteer_session_close(&job.session);
    free_chats(&job.chats, job.prompt_count);
    vksteer_prompts_finish(&job.list);
    steer_list_finish(&job.steer);
    common_finish(&job.common);
    free(job.latents);
    free(job.typed);
    return code;
}
