// vksteer demo: the main job on the built-in model. Two steerings are trained and shown as strips of strengths.
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct steering_demo {
    const char *name, *title, *look;
    const char *source, *target, *held_out;  // prompt sets that come with the program
    float strengths[8];
    uint32_t points;
};

static const struct steering_demo demos[] = {
    {"style", "plain pictures towards ink drawings (a style is induced)",
     "from left to right colours go and pen strokes come, while every row keeps its own subject; 0 is the model as "
     "it was, 1 the steering as trained",
     "prompts/style.source.txt", "prompts/style.target.txt", "prompts/test.txt",
     {0, 0.25f, 0.5f, 0.75f, 1, 1.25f}, 6},
    {"pizza", "\"X with a pizza\" towards \"X\" (a thing is removed)",
     "from left to right the pizza in the corner goes, while the subject stays", "prompts/pizza.source.txt",
     "prompts/pizza.target.txt", "prompts/pizza.test.txt", {0, 0.25f, 0.5f, 0.75f, 1, 1.25f}, 6},
};

#define ROWS 6

struct demo {
    struct common common;
    const char *folder;
    uint32_t steps;
    int64_t seed;
    vksteer_session *session;
    vksteer_model *model;
    double started;
};

static bool read_set(struct demo *demo, const char *name, struct vksteer_prompts *prompts)
{
    char *path = vksteer_asset(demo->session, name);
    if (!path)
        say_error("%s is missing: install vksteer again, or set VKSTEER_MODELS to its assets", name);
    const bool ok = path && vksteer_prompts_read(cli_log(), path, NULL, prompts);
    free(path);
    return ok;
}

static bool on_progress(void *priv, const struct vksteer_progress *p)
{
    const bool training = strcmp(p->stage, "training") == 0;
    char note[96] = "";
    if (training)
        snprintf(note, sizeof(note), "loss %.4g (floor %.3g)", p->loss, p->floor);
    progress_show(training ? (const char *)priv : p->stage, p->step, p->steps, note);
    return !vksteer_interrupted();
}

static int train(struct demo *demo, const struct steering_demo *which, const char *path)
{
    char stage[32];
    struct vksteer_prompts source = {0}, target = {0};
    struct vksteer_progress last = {0};
    int code = EXIT_FAILED;
    snprintf(stage, sizeof(stage), "training %s", which->name);
    if (read_set(demo, which->source, &source) && read_set(demo, which->target, &target)) {
        const struct vksteer_train_params params = {
            .source = (const char *const *)source.items,
            .target = (const char *const *)target.items,
            .source_count = source.count,
            .target_count = target.count,
            .output = path,
            .steps = demo->steps,
            .seed = (uint64_t)demo->seed,
            .progress = on_progress,
            .priv = stage,
        };
        const enum vksteer_result result = vksteer_train(demo->model, &params, &last);
        progress_done();
        code = exit_code_of(result);
    }
    if (code == EXIT_DONE)
        say("%s: %u steps in %.1f s, loss %.4g to %.4g (two samples of one law would show %.3g), max|w-1| %.3g, "
            "max|b| %.3g", which->name, last.step, last.seconds, last.first_loss, last.loss, last.floor, last.max_w,
            last.max_b);
    vksteer_prompts_finish(&source);
    vksteer_prompts_finish(&target);
    return code;
}

// One row: a prompt at every strength.
static bool paint_row(struct demo *demo, const struct steering_demo *which, vksteer_painter *painter,
                      const char *prompt, struct vksteer_image *images)
{
    for (uint32_t i = 0; i < which->points; i++)
        if (!vksteer_paint(painter, prompt, NULL, (uint64_t)demo->seed, &which->strengths[i], NULL, 0, &images[i]))
            return false;
    return true;
}

static int paint(struct demo *demo, const struct steering_demo *which, const char *steering, const char *path)
{
    struct vksteer_prompts prompts = {0};
    struct vksteer_image images[ROWS * 8] = {{0}}, sheet = {0};
    char texts[ROWS * 8][160];
    const char *labels[ROWS * 8];
    const struct vksteer_use use = {.path = steering, .strength = 1};
    vksteer_painter *painter = NULL;
    size_t rows = 0;
    bool ok = read_set(demo, which->held_out, &prompts) &&
              (painter = vksteer_painter_open(demo->model, &(struct vksteer_paint_params){
                   .steerings = &use, .steering_count = 1}));
    for (; ok && rows < ROWS && rows < prompts.count && !vksteer_interrupted(); rows++) {
        const char *prompt = prompts.items[rows];
        ok = paint_row(demo, which, painter, prompt, images + rows * which->points);
        for (uint32_t i = 0; i < which->points; i++) {
            char *text = texts[rows * which->points + i];
            snprintf(text, sizeof(texts[0]), i ? "%.2f" : "%.2f\n%s", (double)which->strengths[i], prompt);
            labels[rows * which->points + i] = text;
        }
        progress_show("painting", (uint32_t)rows + 1, ROWS, "");
    }
    progress_done();
    if (ok && !vksteer_interrupted()) {
        struct picture_facts facts = {
            .prompt = prompts.items[0],
            .model = demo->common.model ? demo->common.model : "emoji",
            .seed = demo->seed,
            .uses = &use,
            .use_count = 1,
            .sweep = "0:1.25:6",
        };
        vksteer_painter_size(painter, &facts.width, &facts.height, &facts.steps, &facts.cfg);
        char tiles[32];
        facts.tiles = tiles_text(painter, tiles, sizeof(tiles));
        ok = vksteer_image_grid(cli_log(), images, rows * which->points, which->points, labels, &sheet) &&
             save_picture(path, &sheet, &facts);
    }
    for (size_t i = 0; i < COUNT_OF(images); i++)
        free(images[i].rgb);
    free(sheet.rgb);
    vksteer_painter_close(&painter);
    vksteer_prompts_finish(&prompts);
    return vksteer_interrupted() ? EXIT_INTERRUPTED : ok ? EXIT_DONE : EXIT_FAILED;
}

static int show(struct demo *demo, const struct steering_demo *which)
{
    char steering[1024], picture[1024];
    snprintf(steering, sizeof(steering), "%s/%s.safetensors", demo->folder, which->name);
    snprintf(picture, sizeof(picture), "%s/%s.png", demo->folder, which->name);
    say("%s", which->title);
    int code = train(demo, which, steering);
    if (code == EXIT_DONE)
        code = paint(demo, which, steering, picture);
    if (code != EXIT_DONE)
        return code;
    print_line("%s", steering);
    print_line("%s", picture);
    print_line("  look at %s: %s", picture, which->look);
    return EXIT_DONE;
}

static bool check_model(vksteer_model *model, void *priv)
{
    (void)priv;
    if (!vksteer_model_info(model)->vocabulary)
        return true;
    say_error("the demo is of pictures: give it an image model, or none for the built-in one");
    return false;
}

int command_demo(int argc, char **argv)
{
    struct demo demo = {.folder = "vksteer-demo", .seed = 42};
    struct arguments arguments;
    const struct option options[] = {
        {'o', "output", OPT_TEXT, &demo.folder, 0, 0, "DIR", "folder for the results (default vksteer-demo)"},
        {0, "steps", OPT_COUNT, &demo.steps, 1, 1000000, "N", "training steps (default: the model's)"},
        {'s', "seed", OPT_SEED, &demo.seed, 0, 0, "SEED", "default 42"},
    };
    const struct command command = {"demo", "[-o DIR]", "Trains two steerings on the built-in model and shows them.",
                                    options, COUNT_OF(options), 0, 0, NULL};
    int code = parse_arguments(&command, &demo.common, argc, argv, &arguments);
    if (code != EXIT_DONE || demo.common.help)
        return code;
    if (demo.seed < 0 || strlen(demo.folder) > 900)
        return usage_error("demo: the seed must not be negative, and the folder's name at most 900 bytes");
    demo.started = vksteer_seconds();
    code = open_both(&demo.common, check_model, NULL, &demo.session, &demo.model);
    if (code == EXIT_DONE && !vksteer_make_folder(cli_log(), demo.folder))
        code = EXIT_FAILED;
    if (code == EXIT_DONE) {
        vksteer_catch_interrupt();
        say("on %s (%s)", vksteer_session_device(demo.session)->name, vksteer_session_device(demo.session)->driver);
    }
    for (size_t i = 0; i < COUNT_OF(demos) && code == EXIT_DONE; i++)
        code = show(&demo, &demos[i]);
    if (code == EXIT_DONE) {
        say("done in %.0f s", vksteer_seconds() - demo.started);
        print_line("  more: vksteer apply -p \"a shark\" --steer %s/style.safetensors:0.8 -o shark.png", demo.folder);
    }
    vksteer_model_close(&demo.model);
    vksteer_session_close(&demo.session);
    return code;
}
