// Pictures of the whole program, through the public library, against diffusers' own pipelines on the same noise:
// every fixture of tests/golden/data that has a pictures.json (tests/golden/pictures.py).
//
//     test_pictures [--phone] [--quick] [DATA]
//
// 8/255 anywhere and 40 dB, for one and for several steps, with and without guidance; the same for the built-in
// model, whose weights are trained, from noise in files (tests/golden/emoji.py). And pictures in little memory: the
// same bits where the stages take turns, nearly the same where the decoder works in tiles, and what diffusers
// makes of these (tests/golden/tiles.py).
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "api/vksteer.h"
#include "base/os.h"
#include "io/json.h"
#include "io/safetensors.h"

#define MOST_OFF 8       // steps of 1/255
#define LEAST_PSNR 40.0  // dB

#ifndef VKS_TEST_DATA
#define VKS_TEST_DATA "tests/golden/data"
#endif

static const char *data = VKS_TEST_DATA;
static vksteer_session *session;
static char last_error[1024];

static void print(void *priv, enum vksteer_log_level level, const char *message)
{
    (void)priv;
    if (level == VKSTEER_LOG_ERROR)
        snprintf(last_error, sizeof(last_error), "%s", message);
}

static double psnr(const unsigned char *a, const unsigned char *b, size_t count, int *off)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const int gap = abs(a[i] - b[i]);
        *off = gap > *off ? gap : *off;
        sum += (double)gap * gap;
    }
    return sum > 0 ? 10 * log10(255.0 * 255.0 * (double)count / sum) : INFINITY;
}

struct fixture {
    char path[600];
    struct vksteer_model_params own;
    uint32_t timesteps[8];
    struct vks_json *json;
    struct vks_safetensors *want;
    const char *prompt;
    int64_t seed;
    struct vksteer_paint_params params;
};

// The model with the scheduler and the timesteps of a case.
static vksteer_model *open_case(struct test *t, struct fixture *f, const struct cJSON *one)
{
    const struct cJSON *list = vks_json_get(one, "timesteps"), *item;
    f->own = (struct vksteer_model_params){.model = f->path, .timesteps = f->timesteps};
    if (!vks_json_string(test_log(t), f->json, one, "scheduler", NULL, &f->own.scheduler))
        return NULL;
    cJSON_ArrayForEach(item, list)
        f->timesteps[f->own.timestep_count++] = (uint32_t)item->valueint;
    return vksteer_model_open_with(session, NULL, &f->own);
}

static void check_case(struct test *t, struct fixture *f, const struct cJSON *one, const struct vks_st_tensor *want)
{
    const char *negative = NULL;
    int64_t steps = 0;
    struct vksteer_image image = {0};
    vksteer_model *model = open_case(t, f, one);
    EXPECT(t, model, "the model cannot be opened: %s", last_error);
    if (t->bad)
        return;
    CHECK(t, vks_json_int(test_log(t), f->json, one, "steps", 0, 1, 1000, &steps) &&
             vks_json_number(test_log(t), f->json, one, "cfg_scale", 0, 0, 100, &f->params.cfg_scale) &&
             vks_json_string(test_log(t), f->json, one, "negative", NULL, &negative));
    f->params.steps = (uint32_t)steps;
    vksteer_painter *painter = vksteer_painter_open(model, &f->params);
    EXPECT(t, painter && vksteer_paint(painter, f->prompt, negative, (uint64_t)f->seed, NULL, NULL, 0, &image),
           "no picture: %s", last_error);
    vksteer_painter_close(&painter);
    vksteer_model_close(&model);
    const size_t count = (size_t)image.width * image.height * 3;
    EXPECT(t, t->bad || count == want->size, "%zu values, diffusers has %zu", count, want->size);
    if (t->bad)
        return;
    int off = 0;
    const double ratio = psnr(image.rgb, want->data, count, &off);
    printf("    %d steps%s%s%s, guidance %g, %s%s: off by %d / 255 at most, %.1f dB\n", (int)steps,
           f->own.scheduler ? " of " : "", f->own.scheduler ? f->own.scheduler : "",
           f->own.timestep_count ? " at given timesteps" : "", f->params.cfg_scale,
           negative ? "negative prompt " : "no negative prompt", negative ? negative : "", off, ratio);
    EXPECT(t, off <= MOST_OFF && ratio >= LEAST_PSNR, "%d steps, guidance %g: off by %d / 255, %.1f dB", (int)steps,
           f->params.cfg_scale, off, ratio);
    free(image.rgb);
}

static void check_cases(struct test *t, struct fixture *f)
{
    const struct cJSON *cases = NULL, *one;
    int64_t width = 0, height = 0;
    size_t count = 0;
    CHECK(t, vks_json_string(test_log(t), f->json, NULL, "prompt", NULL, &f->prompt) && f->prompt &&
             vks_json_int(test_log(t), f->json, NULL, "seed", 0, 0, INT32_MAX, &f->seed) &&
             vks_json_int(test_log(t), f->json, NULL, "width", 0, 1, 8192, &width) &&
             vks_json_int(test_log(t), f->json, NULL, "height", 0, 1, 8192, &height) &&
             vks_json_array(test_log(t), f->json, NULL, "cases", &cases));
    f->params.width = (uint32_t)width;
    f->params.height = (uint32_t)height;
    cJSON_ArrayForEach(one, cases) {
        char name[16];
        snprintf(name, sizeof(name), "%zu", count++);
        const struct vks_st_tensor *want = vks_safetensors_find(f->want, name);
        CHECK(t, want && want->dtype == VKS_ST_U8);
        check_case(t, f, one, want);
    }
    EXPECT(t, count >= 2 && count == f->want->tensor_count, "%zu cases, %zu pictures", count, f->want->tensor_count);
}

// A plan takes no device memory and leaves the model fit to run.
static void check_plan(struct test *t, vksteer_model *model)
{
    struct vksteer_plan plan;
    const uint64_t before = vksteer_session_memory(session, NULL);
    CHECK(t, vksteer_model_plan(model, &(struct vksteer_plan_params){.batch = 2, .micro_batch = 1}, &plan));
    const uint64_t after = vksteer_session_memory(session, NULL);
    EXPECT(t, after == before, "the plan took %llu bytes", (unsigned long long)(after - before));
    EXPECT(t, plan.apply_bytes && plan.train_bytes && plan.apply_flop > 0 && plan.train_flop > 0, "an empty plan");
}

static void check_fixture(struct test *t, const char *name)
{
    char path[600];
    struct fixture f = {0};
    printf("  %s\n", name);
    snprintf(path, sizeof(path), "%s/%s/pictures.json", data, name);
    f.json = vks_json_open(test_log(t), path);
    snprintf(path, sizeof(path), "%s/%s/pictures.safetensors", data, name);
    f.want = vks_safetensors_open(test_log(t), path);
    snprintf(path, sizeof(path), "%s/%s", data, name);
    snprintf(f.path, sizeof(f.path), "%s", path);
    vksteer_model *model = vksteer_model_open(session, NULL, path);
    EXPECT(t, f.json && f.want && model, "%s cannot be opened: %s", path, last_error);
    if (!t->bad)
        check_plan(t, model);
    vksteer_model_close(&model);
    if (!t->bad)
        check_cases(t, &f);
    vks_safetensors_close(&f.want);
    vks_json_close(&f.json);
}

static void pictures(struct test *t)
{
    struct vks_os_names names;
    size_t count = 0;
    if (!session)
        SKIP(t, "no Vulkan device");
    CHECK(t, vks_os_list(test_log(t), data, &names));
    for (size_t i = 0; i < names.count && !t->bad; i++) {
        char path[600];
        snprintf(path, sizeof(path), "%s/%s/pictures.json", data, names.items[i]);
        if (vks_os_is_file(path)) {
            check_fixture(t, names.items[i]);
            count++;
        }
    }
    vks_os_names_finish(&names);
    EXPECT(t, t->bad || count >= 7, "only %zu fixtures with pictures", count);
}

// Picture `index` of tests/golden/emoji.py, from the noise in its file.
static void check_emoji(struct test *t, vksteer_painter *painter, const struct vks_safetensors *file, int index)
{
    char path[600], name[16];
    float *latents = NULL;
    size_t latent_count = 0;
    struct vksteer_image image = {0};
    const struct vksteer_log log = {.print = print, .level = VKSTEER_LOG_WARN};
    snprintf(name, sizeof(name), "%d", index);
    snprintf(path, sizeof(path), "%s/emoji/%d.latents.safetensors", data, index);
    const char *prompt = vks_safetensors_metadata(file, name);
    const struct vks_st_tensor *want = vks_safetensors_find(file, name);
    CHECK(t, prompt && want && want->dtype == VKS_ST_U8);
    EXPECT(t, vksteer_latents_read(&log, path, &latents, &latent_count) &&
                  vksteer_paint(painter, prompt, NULL, 0, NULL, latents, latent_count, &image),
           "no picture of %s: %s", prompt, last_error);
    const size_t count = (size_t)image.width * image.height * 3;
    EXPECT(t, t->bad || count == want->size, "%zu values, diffusers has %zu", count, want->size);
    if (!t->bad) {
        int off = 0;
        const double ratio = psnr(image.rgb, want->data, count, &off);
        printf("    %s: off by %d / 255 at most, %.1f dB\n", prompt, off, ratio);
        EXPECT(t, off <= MOST_OFF && ratio >= LEAST_PSNR, "%s: off by %d / 255, %.1f dB", prompt, off, ratio);
    }
    free(image.rgb);
    free(latents);
}

static void emoji(struct test *t)
{
    char path[600];
    const struct vksteer_paint_params paint = {.width = 64, .height = 64, .steps = 1};
    if (!session)
        SKIP(t, "no Vulkan device");
    snprintf(path, sizeof(path), "%s/emoji/pictures.safetensors", data);
    struct vks_safetensors *file = vks_safetensors_open(test_log(t), path);
    vksteer_model *model = vksteer_model_open(session, NULL, "emoji");
    vksteer_painter *painter = model ? vksteer_painter_open(model, &paint) : NULL;
    EXPECT(t, file && painter, "%s or the model cannot be opened: %s", path, last_error);
    EXPECT(t, t->bad || file->tensor_count == 2, "%zu pictures", file->tensor_count);
    for (int i = 0; i < 2 && !t->bad; i++)
        check_emoji(t, painter, file, i);
    vksteer_painter_close(&painter);
    vksteer_model_close(&model);
    vks_safetensors_close(&file);
}

// ---- little memory ------------------------------------------------------------------------------------------------

static bool phone;
static int warnings, errors;

static void print_and_count(void *priv, enum vksteer_log_level level, const char *message)
{
    warnings += level == VKSTEER_LOG_WARN;
    errors += level == VKSTEER_LOG_ERROR;
    print(priv, level, message);
}

static bool keep(void *priv, size_t index, struct vksteer_image *image)
{
    ((struct vksteer_image *)priv)[index] = *image;
    return true;
}

// Two prompts, in the memory of a session; `peak`: bytes that were on the device at once.
static void paint_in(struct test *t, uint64_t memory_mib, const char *name, uint32_t size,
                     struct vksteer_image images[2], uint64_t *peak)
{
    static const char *const prompts[] = {"a red apple", "a blue cat"};
    const struct vksteer_session_params params = {.log = {.print = print_and_count, .level = VKSTEER_LOG_WARN},
                                                  .memory_mib = memory_mib, .phone_limits = phone};
    const struct vksteer_paint_params paint = {.width = size, .height = size};
    vksteer_session *own = vksteer_session_open(&params);
    vksteer_model *model = own ? vksteer_model_open(own, NULL, name) : NULL;
    vksteer_painter *painter = model ? vksteer_painter_open(model, &paint) : NULL;
    const struct vksteer_picture pictures[] = {{.prompt = prompts[0], .seed = 7}, {.prompt = prompts[1], .seed = 7}};
    const struct vksteer_paint_calls calls = {.done = keep, .priv = images};
    EXPECT(t, painter && vksteer_paint_all(painter, pictures, 2, &calls) == VKSTEER_DONE, "%s in %u MiB: %s", name,
           (unsigned)memory_mib, last_error);
    vksteer_painter_close(&painter);
    if (own) {
        const uint64_t left = vksteer_session_memory(own, peak);
        EXPECT(t, left == 0, "%s leaves %llu bytes on the device", name, (unsigned long long)left);
    }
    vksteer_model_close(&model);
    vksteer_session_close(&own);
}

// Whether two pictures, or what `least` dB leaves of them, are the same.
static void compare(struct test *t, uint64_t memory_mib, const char *name, uint32_t size, double least)
{
    struct vksteer_image whole[2] = {{0}}, little[2] = {{0}};
    uint64_t peak = 0, small = 0;
    paint_in(t, 0, name, size, whole, &peak);
    warnings = 0;
    paint_in(t, memory_mib, name, size, little, &small);
    EXPECT(t, t->bad || warnings == (least < INFINITY), "%s in %u MiB: %d warnings", name, (unsigned)memory_mib,
           warnings);
    EXPECT(t, t->bad || (peak > memory_mib << 20 && small <= memory_mib << 20),
           "%s: %llu bytes at once, %llu in %u MiB", name, (unsigned long long)peak, (unsigned long long)small,
           (unsigned)memory_mib);
    for (int i = 0; i < 2 && !t->bad; i++) {
        int off = 0;
        const double ratio = psnr(whole[i].rgb, little[i].rgb, (size_t)size * size * 3, &off);
        printf("    %s, %u pixels, in %u of %.1f MiB: off by %d / 255 at most, %.1f dB\n", name, size,
               (unsigned)memory_mib, (double)peak / (1 << 20), off, ratio);
        EXPECT(t, ratio >= least, "%s in %u MiB: off by %d / 255, %.1f dB", name, (unsigned)memory_mib, off, ratio);
    }
    for (int i = 0; i < 2; i++) {
        free(whole[i].rgb);
        free(little[i].rgb);
    }
}

static void stages_take_turns(struct test *t)
{
    char path[600];
    if (!session)
        SKIP(t, "no Vulkan device");
    snprintf(path, sizeof(path), "%s/xl", data);
    compare(t, 12, path, 128, INFINITY);     // graphs take turns
    compare(t, 11, "emoji", 64, INFINITY);   // weights too
}

struct told {
    int denoised, done, stop_at, steps, stop_step;
};

static bool count_denoised(void *priv, size_t index)
{
    struct told *told = priv;
    (void)index;
    return ++told->denoised != told->stop_at;
}

static bool count_step(void *priv, size_t index, uint32_t step, uint32_t steps)
{
    struct told *told = priv;
    told->steps += index == 0 && steps == 3 && (int)step == told->steps + 1;
    return told->steps != told->stop_step;
}

static bool count_done(void *priv, size_t index, struct vksteer_image *image)
{
    struct told *told = priv;
    told->done += image->rgb && index == (size_t)told->done;
    free(image->rgb);
    return true;
}

// Where the UNet works on all pictures before the decoder does: it can be stopped between, and a picture that fails
// takes none with it that was there before.
static void rounds_end_early(struct test *t)
{
    const float noise = 0;
    const struct vksteer_session_params params = {.log = {.print = print_and_count, .level = VKSTEER_LOG_WARN},
                                                  .memory_mib = 11, .phone_limits = phone};
    const struct vksteer_paint_params paint = {.width = 64, .height = 64};
    const struct vksteer_picture pictures[] = {{.prompt = "a red apple"}, {.prompt = "a blue cat"},
                                               {.prompt = "a fish", .latents = &noise, .latent_count = 1}};
    struct told failed = {0}, stopped = {.stop_at = 1};
    const struct vksteer_paint_calls fail = {.done = count_done, .denoised = count_denoised, .priv = &failed};
    const struct vksteer_paint_calls stop = {.done = count_done, .denoised = count_denoised, .priv = &stopped};
    if (!session)
        SKIP(t, "no Vulkan device");
    vksteer_session *own = vksteer_session_open(&params);
    vksteer_model *model = own ? vksteer_model_open(own, NULL, "emoji") : NULL;
    vksteer_painter *painter = model ? vksteer_painter_open(model, &paint) : NULL;
    errors = 0;
    EXPECT(t, painter && vksteer_paint_all(painter, pictures, 3, &fail) == VKSTEER_FAILED && errors == 1 &&
                  failed.denoised == 2 && failed.done == 2,
           "%d denoised, %d done, %d errors: %s", failed.denoised, failed.done, errors, last_error);
    EXPECT(t, t->bad || (vksteer_paint_all(painter, pictures, 2, &stop) == VKSTEER_STOPPED &&
                         stopped.denoised == 1 && stopped.done == 0),
           "%d denoised, %d done: %s", stopped.denoised, stopped.done, last_error);
    vksteer_painter_close(&painter);
    vksteer_model_close(&model);
    vksteer_session_close(&own);
}

// A picture can be left between its steps.
static void pictures_end_early(struct test *t)
{
    const struct vksteer_paint_params paint = {.steps = 3};
    const struct vksteer_picture picture = {.prompt = "a red apple"};
    struct told stopped = {.stop_step = 2}, whole = {0};
    const struct vksteer_paint_calls stop = {.done = count_done, .stepped = count_step, .priv = &stopped};
    const struct vksteer_paint_calls go_on = {.done = count_done, .stepped = count_step, .priv = &whole};
    if (!session)
        SKIP(t, "no Vulkan device");
    vksteer_model *model = vksteer_model_open(session, NULL, "emoji");
    vksteer_painter *painter = model ? vksteer_painter_open(model, &paint) : NULL;
    EXPECT(t, painter && vksteer_paint_all(painter, &picture, 1, &stop) == VKSTEER_STOPPED && stopped.steps == 2 &&
                  stopped.done == 0,
           "%d steps, %d done: %s", stopped.steps, stopped.done, last_error);
    whole.stop_step = 4;
    EXPECT(t, painter && vksteer_paint_all(painter, &picture, 1, &go_on) == VKSTEER_DONE && whole.steps == 3 &&
                  whole.done == 1,
           "%d steps, %d done: %s", whole.steps, whole.done, last_error);
    vksteer_painter_close(&painter);
    vksteer_model_close(&model);
}

static void tiles_blend(struct test *t)
{
    if (!session)
        SKIP(t, "no Vulkan device");
    compare(t, 25, "emoji", 320, 40);
}

// What tests/golden/tiles.py keeps of a picture against that of this one.
static void is_near(struct test *t, const struct vksteer_image *image, const struct vks_safetensors *file,
                    const char *name, double least)
{
    const size_t stride = 13;  // tiles.py
    const struct vks_st_tensor *want = vks_safetensors_find(file, name);
    const size_t count = ((size_t)image->width * image->height * 3 + stride - 1) / stride;
    CHECK(t, want && want->dtype == VKS_ST_U8 && want->size == count);
    unsigned char *got = malloc(count);
    for (size_t i = 0; i < count; i++)
        got[i] = image->rgb[i * stride];
    int off = 0;
    const double ratio = psnr(got, want->data, count, &off);
    printf("    %s: off by %d / 255 at most, %.1f dB\n", name, off, ratio);
    EXPECT(t, off <= MOST_OFF && ratio >= LEAST_PSNR && ratio >= least, "%s: off by %d / 255, %.1f dB", name, off,
           ratio);
    free(got);
}

// An AutoencoderKL in tiles: what diffusers makes of the same tiles, and nearer to what it makes of the one piece
// than its own tiles are.
static void tiles_equal(struct test *t)
{
    char path[600], vae[600], file[600];
    const struct vksteer_session_params params = {.log = {.print = print, .level = VKSTEER_LOG_WARN},
                                                  .memory_mib = 13, .phone_limits = phone};
    const struct vksteer_paint_params paint = {.width = 384, .height = 384, .steps = 1, .cfg_scale = 2.5};
    struct vksteer_image image = {0};
    uint32_t width = 0, height = 0;
    if (!session)
        SKIP(t, "no Vulkan device");
    snprintf(path, sizeof(path), "%s/turbo", data);
    snprintf(vae, sizeof(vae), "%s/kl/vae", data);
    snprintf(file, sizeof(file), "%s/tiles.safetensors", data);
    struct vks_safetensors *want = vks_safetensors_open(test_log(t), file);
    vksteer_session *own = vksteer_session_open(&params);
    vksteer_model *model =
        own ? vksteer_model_open_with(own, NULL, &(struct vksteer_model_params){.model = path, .vae = vae}) : NULL;
    vksteer_painter *painter = model ? vksteer_painter_open(model, &paint) : NULL;
    EXPECT(t, want && painter && vksteer_painter_tiles(painter, &width, &height) && width == 256 && height == 256,
           "no tiles of 256, but %u x %u: %s", width, height, last_error);
    EXPECT(t, t->bad || vksteer_paint(painter, "a red apple", NULL, 11, NULL, NULL, 0, &image), "no picture: %s",
           last_error);
    if (!t->bad)
        is_near(t, &image, want, "tiles", 0);
    const char *theirs = want ? vks_safetensors_metadata(want, "psnr") : NULL;
    if (!t->bad)
        is_near(t, &image, want, "whole", theirs ? strtod(theirs, NULL) : INFINITY);
    free(image.rgb);
    vksteer_painter_close(&painter);
    vksteer_model_close(&model);
    vksteer_session_close(&own);
    vks_safetensors_close(&want);
}

// Memory that is gone when a picture is painted is one line, and the painter goes on once it is back. It is the least
// in which a picture can be painted at all, so that a second painter finds none.
static void memory_runs_out(struct test *t)
{
    char path[600];
    struct vksteer_session_params params = {.log = {.print = print_and_count, .level = VKSTEER_LOG_WARN},
                                            .phone_limits = phone};
    const struct vksteer_paint_params paint = {.width = 128, .height = 128};
    struct vksteer_image first = {0}, again = {0}, other = {0};
    vksteer_session *own = NULL;
    vksteer_model *model = NULL;
    vksteer_painter *a = NULL, *b = NULL;
    if (!session)
        SKIP(t, "no Vulkan device");
    snprintf(path, sizeof(path), "%s/xl", data);
    for (params.memory_mib = 2; !first.rgb && params.memory_mib <= 32; params.memory_mib++) {
        vksteer_painter_close(&b);
        vksteer_painter_close(&a);
        vksteer_model_close(&model);
        vksteer_session_close(&own);
        own = vksteer_session_open(&params);
        model = own ? vksteer_model_open(own, NULL, path) : NULL;
        a = model ? vksteer_painter_open(model, &paint) : NULL;
        b = a ? vksteer_painter_open(model, &paint) : NULL;
        if (b)
            vksteer_paint(b, "x", NULL, 1, NULL, NULL, 0, &first);
    }
    EXPECT(t, first.rgb, "%s", last_error);
    errors = 0;
    EXPECT(t, t->bad || (!vksteer_paint(a, "x", NULL, 1, NULL, NULL, 0, &other) && !other.rgb && errors == 1 &&
                         strstr(last_error, "--memory")), "%d errors, the last: %s", errors, last_error);
    EXPECT(t, t->bad || vksteer_paint(b, "x", NULL, 2, NULL, NULL, 0, &other), "%s", last_error);
    vksteer_painter_close(&b);
    EXPECT(t, t->bad || (vksteer_paint(a, "x", NULL, 1, NULL, NULL, 0, &again) &&
                         memcmp(first.rgb, again.rgb, 128 * 128 * 3) == 0), "another picture, or none: %s",
           last_error);
    vksteer_painter_close(&a);
    vksteer_model_close(&model);
    vksteer_session_close(&own);
    free(first.rgb);
    free(again.rgb);
    free(other.rgb);
}

int main(int argc, char **argv)
{
    struct test t = {0};
    bool quick = false;  // the pictures alone: what memory does is the same on every driver
    struct vksteer_session_params params = {.log = {.print = print, .level = VKSTEER_LOG_WARN}};
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--phone"))
            params.phone_limits = phone = true;
        else if (!strcmp(argv[i], "--quick"))
            quick = true;
        else
            data = argv[i];
    session = vksteer_session_open(&params);
    TEST(&t, pictures);
    TEST(&t, emoji);
    if (!quick) {
        TEST(&t, stages_take_turns);
        TEST(&t, rounds_end_early);
        TEST(&t, pictures_end_early);
        TEST(&t, tiles_blend);
        TEST(&t, tiles_equal);
        TEST(&t, memory_runs_out);
    }
    vksteer_session_close(&session);
    return test_summary(&t);
}
