// How fast a whole model is: a training step, a picture.
#include "api/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/text.h"

struct steps {
    const struct vks_bench *bench;
    double times[8], last;
    size_t count;
};

static bool on_step(void *priv, const struct vksteer_progress *progress)
{
    struct steps *steps = priv;
    const double now = vks_os_seconds();
    if (strcmp(progress->stage, "training") != 0)
        return !vks_bench_stopped(steps->bench);
    // The first step compiles.
    if (progress->step > 1 && steps->count < 8)
        steps->times[steps->count++] = now - steps->last;
    steps->last = now;
    return !vks_bench_stopped(steps->bench);
}

// Pictures at the model's batch; for a language model 8 texts of 64 tokens, or of about as many as its context has.
bool vks_bench_train(const struct vks_bench *bench)
{
    enum { PROMPTS = 32, STEPS = 6 };
    char texts[PROMPTS][32 + 4 * 64];
    const char *prompts[PROMPTS];
    struct vksteer_plan plan;
    struct vksteer_progress last = {0};
    struct steps steps = {.bench = bench};
    const struct vks_decoder *decoder = bench->model->decoder;
    const uint32_t most = decoder ? 8 : PROMPTS, length = decoder ? vks_api_text_length(bench->model) : 1;
    const uint32_t batch = bench->model->info.train_batch < most ? bench->model->info.train_batch : most;
    for (int i = 0; i < PROMPTS; i++) {
        // Six tokens or a few more, rounded up to a multiple of 8 by training.
        int end = snprintf(texts[i], sizeof(texts[i]), "a thing with %d parts", i);
        for (uint32_t word = 8; word + 1 < length; word++)
            end += snprintf(texts[i] + end, sizeof(texts[i]) - (size_t)end, " the");
        prompts[i] = texts[i];
    }
    char *folder = vks_os_cache_dir(bench->log, "vksteer", true);
    char *output = folder ? vks_path_join(folder, "bench.safetensors") : NULL;
    char *state = folder ? vks_path_join(folder, "bench.safetensors.state") : NULL;
    const struct vksteer_train_params params = {
        .source = prompts, .target = prompts, .source_count = PROMPTS, .target_count = PROMPTS, .output = output,
        .steps = STEPS, .batch = batch, .lr = 1e-6, .no_cache = true, .progress = on_step, .priv = &steps};
    bool ok = output && state && vksteer_train(bench->model, &params, &last) != VKSTEER_FAILED;
    if (output && state) {
        vks_os_remove(NULL, output);
        vks_os_remove(NULL, state);
    }
    free(folder);
    free(output);
    free(state);
    // Where memory is short it was not trained as asked. What recomputing adds is in no plan: no GFLOP/s then.
    const struct vksteer_plan_params planned = {.batch = batch, .micro_batch = last.micro_batch};
    ok = ok && (!steps.count || vksteer_model_plan(bench->model, &planned, &plan));
    if (ok && steps.count)
        vks_bench_report(bench, (struct vksteer_bench_row){.name = "train", .type = "f32", .m = batch, .n = length,
               .what = decoder ? "a training step: texts x tokens" : "a training step: batch"},
               vks_bench_median(steps.times, steps.count), last.recompute ? 0 : plan.train_flop);
    return ok;
}

// A row a stage: its last run, and what it takes.
static void report_stages(const struct vks_bench *bench, const vksteer_painter *painter)
{
    static const char *const names[VKS_STAGES] = {
        "the text encoders, a run", "the UNet, a run", "the decoder, a run"};
    const struct vks_api_stage *stages = vks_api_painter_stages(painter);
    for (int i = 0; i < VKS_STAGES; i++)
        vks_bench_report(bench, (struct vksteer_bench_row){.name = "apply", .type = "f32", .what = names[i],
               .load_seconds = stages[i].load_seconds, .planned_bytes = stages[i].weights + stages[i].run,
               .device_bytes = stages[i].device, .process_bytes = vks_os_process_memory()},
               stages[i].run_seconds, stages[i].flop);
}

bool vks_bench_apply(const struct vks_bench *bench)
{
    enum { PICTURES = 6 };
    double times[PICTURES];
    size_t count = 0;
    struct vksteer_plan plan;
    uint32_t width, height, steps;
    double cfg;
    vksteer_painter *painter = vksteer_painter_open(bench->model, NULL);
    bool ok = painter && vksteer_model_plan(bench->model, NULL, &plan);
    const double start = vks_os_seconds();
    for (uint64_t seed = 0; ok && seed < PICTURES && !vks_bench_stopped(bench); seed++) {
        struct vksteer_image image;
        const double from = vks_os_seconds();
        // One is enough of a large model: beside minutes, what drivers compile in the first counts little.
        if (seed == 1 && from - start > 60)
            times[count++] = from - start;
        if (seed > 0 && from - start > 60)
            break;
        // Another prompt each time: the text encoder belongs to it.
        ok = vksteer_paint(painter, seed & 1 ? "a cat" : "a dog", NULL, seed, NULL, NULL, 0, &image);
        if (ok && seed)
            times[count++] = vks_os_seconds() - from;
        free(image.rgb);
    }
    if (ok && count) {
        vksteer_painter_size(painter, &width, &height, &steps, &cfg);
        vks_bench_report(bench, (struct vksteer_bench_row){.name = "apply", .type = "f32", .m = width, .n = height,
               .what = "a picture"}, vks_bench_median(times, count), plan.apply_flop);
        report_stages(bench, painter);
    }
    vksteer_painter_close(&painter);
    return ok;
}
