// Models against diffusers and transformers: every module's output of the fixtures in tests/golden/data, which
// tests/golden/make_models.py wrote, or of any diffusers folder.
//
//     test_golden [--validate] [--phone] [--quick] [DATA]
//     test_golden --folder FOLDER EXPECTED    (python make_models.py --folder FOLDER EXPECTED)
//
// For each fixture and part: the sites must be PyTorch's modules, no more and no fewer, and every one must agree to
// TOLERANCE. Then every bias is zeroed, every norm weight set to one and every position code to zero, one at a time,
// on the device: each must move some compared output by at least 20 times the tolerance, or the fixture proves
// nothing about it (--quick leaves this out). The pipeline as one graph must give diffusers' picture, and the same
// bits whatever the memory plan and the cuts.
#include "golden.h"
#include "test_device.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/os.h"
#include "base/text.h"
#include "exec/exec.h"
#include "io/safetensors.h"
#include "models/pipeline.h"

#define BATCH 2

#ifndef VKS_TEST_DATA
#define VKS_TEST_DATA "tests/golden/data"
#endif

static const char *data = VKS_TEST_DATA;
static const char *given, *given_expected;
static bool quick;  // no mutations
static struct vks_gpu *gpu;
static void mutations(struct golden_part *part)
{
    if (!quick)
        golden_mutations(part);
}

// A change of the last token must not reach earlier rows: the causal mask is there.
static void causal(struct golden_part *part, const struct vks_tensor *last)
{
    const struct vks_st_tensor *ids = golden_need(part->t, part->expected, "input.ids");
    const uint64_t count = vks_tensor_elements(last), rows = last->shape[1], width = last->shape[2];
    float *before = malloc(count * sizeof(float)), *after = malloc(count * sizeof(float));
    int32_t *changed = malloc(ids->size);
    memcpy(changed, ids->data, ids->size);
    changed[rows - 1] = 7;
    const bool ran = vks_exec_run(part->exec, NULL) &&
                     vks_exec_read(part->exec, last, before, count * sizeof(float)) &&
                     vks_exec_write(part->exec, part->inputs[0], changed, ids->size) &&
                     vks_exec_run(part->exec, NULL) && vks_exec_read(part->exec, last, after, count * sizeof(float));
    const uint64_t prefix = (rows - 1) * width;
    EXPECT(part->t, ran, "the text encoder did not run");
    EXPECT(part->t, !memcmp(before, after, prefix * sizeof(float)), "the last token reaches earlier ones");
    EXPECT(part->t, golden_distance(after + prefix, before + prefix, width) > 20 * GOLDEN_TOLERANCE,
           "the last token does nothing");
    EXPECT(part->t, golden_write_like(part, part->inputs[0], "input.ids"), "cannot write the ids");
    free(before);
    free(after);
    free(changed);
}

static void check_text(struct test *t, struct vks_pipeline *p, struct vks_safetensors *expected, uint32_t index)
{
    static const char *const prefixes[] = {"text_encoder.", "text_encoder_2."};
    struct golden_part part;
    golden_begin(&part, t, gpu, expected, prefixes[index]);
    part.weights = p->parts[index].weights;
    const uint32_t batch = BATCH;
    part.inputs[0] = golden_input_like(&part, "input.ids", VKS_I32);
    part.inputs[1] = vks_graph_input(&part.graph, "end", VKS_I32, 1, &batch, false);
    struct vks_clip_text_outputs outputs;
    vks_clip_text_build(&part.graph, part.weights, &p->text[index],
                        &(struct vks_clip_text_inputs){
                            .component = p->parts[index].name, .ids = part.inputs[0], .end = part.inputs[1]},
                        &outputs);
    if (!outputs.embeds)
        golden_add_probe(&part, "output.text_encoder.pooled", outputs.pooled);
    if (golden_start(&part) && golden_write_like(&part, part.inputs[0], "input.ids")) {
        int32_t end[BATCH];
        const struct vks_st_tensor *ids = golden_need(t, expected, "input.ids");
        vks_clip_text_end_rows(&p->text[index], (const int32_t *)(const void *)ids->data, BATCH,
                               part.inputs[0]->shape[1], end);
        EXPECT(t, vks_exec_write(part.exec, part.inputs[1], end, sizeof(end)), "cannot write the end rows");
        golden_compare(&part);
        if (!t->bad)
            mutations(&part);
        if (!t->bad)
            causal(&part, outputs.last);
    }
    golden_finish(&part);
}

static float number(struct test *t, const struct vks_safetensors *expected, const char *name)
{
    const struct vks_st_tensor *tensor = golden_need(t, expected, name);
    float value = 0;
    if (tensor)
        memcpy(&value, tensor->data, sizeof(value));
    return value;
}

// Inputs that are dropped must show, as parameters must.
static void drop_inputs(struct golden_part *part, struct vks_pipeline *p, const struct vks_pipeline_unet *unet,
                        const struct vks_scheduler_step *step, double guidance)
{
    const struct vks_scheduler_step zero = {.input_scale = 1};
    if (!part->t->bad && vks_pipeline_unet_feed(p, part->exec, unet, &zero, guidance))
        golden_expect_moved(part, "timestep 0");
    if (!part->t->bad && unet->condition && vks_pipeline_unet_feed(p, part->exec, unet, step, 8))
        golden_expect_moved(part, "another guidance");
    struct vks_pipeline_unet other = *unet;
    other.width = other.height = 512;
    if (!part->t->bad && unet->time_ids && vks_pipeline_unet_feed(p, part->exec, &other, step, guidance))
        golden_expect_moved(part, "another size");
    const uint64_t size = vks_tensor_elements(part->inputs[1]) * sizeof(float);
    float *nothing = calloc(1, size);
    if (!part->t->bad && vks_pipeline_unet_feed(p, part->exec, unet, step, guidance) &&
        vks_exec_write(part->exec, part->inputs[1], nothing, size))
        golden_expect_moved(part, "no text");
    free(nothing);
}

static void check_unet(struct test *t, struct vks_pipeline *p, struct vks_safetensors *expected)
{
    struct golden_part part;
    golden_begin(&part, t, gpu, expected, "unet.");
    part.weights = p->parts[p->text_count].weights;
    part.inputs[0] = golden_input_like(&part, "input.sample", VKS_F32);
    part.inputs[1] = golden_input_like(&part, "input.context", VKS_F32);
    part.inputs[2] = p->xl ? golden_input_like(&part, "input.text_embeds", VKS_F32) : NULL;
    const struct vks_pipeline_text text = {.context = part.inputs[1], .pooled = part.inputs[2]};
    struct vks_pipeline_unet unet;
    const double guidance = number(t, expected, "input.guidance");
    const struct vks_scheduler_step step = {.timestep = number(t, expected, "input.timestep"), .input_scale = 1};
    vks_pipeline_unet_build(p, &part.graph, &step, part.inputs[0], &text, &unet);
    if (golden_start(&part) && golden_write_like(&part, part.inputs[0], "input.sample") &&
        golden_write_like(&part, part.inputs[1], "input.context") &&
        (!p->xl || golden_write_like(&part, part.inputs[2], "input.text_embeds")) &&
        vks_pipeline_unet_feed(p, part.exec, &unet, &step, guidance)) {
        golden_compare(&part);
        if (!t->bad)
            mutations(&part);
        drop_inputs(&part, p, &unet, &step, guidance);
    }
    golden_finish(&part);
}

static struct vks_tensor *vae_half(struct golden_part *part, const struct vks_pipeline *p, bool encoder)
{
    struct vks_tensor *x = part->inputs[0];
    if (p->has_kl && encoder)
        return vks_autoencoder_kl_encode(&part->graph, part->weights, &p->kl, "vae", x);
    if (p->has_kl)
        return vks_autoencoder_kl_decode(&part->graph, part->weights, &p->kl, "vae", x);
    return encoder ? vks_autoencoder_tiny_encode(&part->graph, part->weights, &p->tiny, "vae", x)
                   : vks_autoencoder_tiny_decode(&part->graph, part->weights, &p->tiny, "vae", x);
}

static void check_vae(struct test *t, struct vks_pipeline *p, struct vks_safetensors *expected, bool encoder)
{
    struct golden_part part;
    golden_begin(&part, t, gpu, expected, encoder ? "vae.encoder" : "vae.decoder");
    const char *input = encoder ? "input.encoder" : "input.decoder";
    if (p->has_kl)
        part.also = encoder ? "vae.quant_conv" : "vae.post_quant_conv";
    part.weights = p->parts[p->text_count + 1].weights;
    part.inputs[0] = golden_input_like(&part, input, VKS_F32);
    struct vks_tensor *output = vae_half(&part, p, encoder);
    if (encoder && p->has_kl)
        golden_add_probe(&part, "output.vae.mode", output);
    if (golden_start(&part) && golden_write_like(&part, part.inputs[0], input)) {
        golden_compare(&part);
        if (!t->bad)
            mutations(&part);
    }
    golden_finish(&part);
}

// The whole pipeline: its graph and what is fed to it.
struct picture {
    struct golden_part part;
    struct vks_pipeline *p;
    struct vks_schedule schedule;
    struct vks_pipeline_text text;
    struct vks_pipeline_unet unet;
    struct vks_tensor *image;
};

static bool feed_picture(struct picture *picture)
{
    struct golden_part *part = &picture->part;
    const struct vks_st_tensor *ids = golden_need(part->t, part->expected, "input.ids");
    bool done = ids != NULL;
    for (uint32_t i = 0; done && i < picture->p->text_count; i++) {
        int32_t end[BATCH];
        vks_clip_text_end_rows(&picture->p->text[i], (const int32_t *)(const void *)ids->data, BATCH,
                               picture->p->text_length, end);
        done = golden_write_like(part, picture->text.ids[i], "input.ids") &&
               (!picture->text.end[i] || vks_exec_write(part->exec, picture->text.end[i], end, sizeof(end)));
    }
    return done && golden_write_like(part, part->inputs[0], "input.noise") &&
           vks_pipeline_unet_feed(picture->p, part->exec, &picture->unet, picture->schedule.steps,
                                  number(part->t, part->expected, "input.guidance"));
}

// Runs the picture under several plans: the first is compared with diffusers, the others with the first, bit for bit.
static void run_plans(struct picture *picture, const struct vks_st_tensor *want)
{
    // Winograd's way is open where a whole weight can be bound, as on all devices: not to a large model's third plan.
    const struct vks_exec_params plans[] = {
        {.gpu = gpu, .direct = given},
        {.gpu = gpu, .direct = given, .no_alias = true, .no_in_place = true, .poison = true},
        {.gpu = gpu, .direct = given, .max_range = given ? 1 << 20 : 16 << 10, .poison = true},
        {.gpu = gpu, .direct = given, .dispatch_seconds = 1e-6},
    };
    struct golden_part *part = &picture->part;
    float *first = malloc(want->size), *got = malloc(want->size);
    for (size_t i = 0; i < sizeof(plans) / sizeof(*plans) && !part->t->bad; i++) {
        part->exec = vks_exec_create(&part->graph, &plans[i]);
        float *out = i ? got : first;
        EXPECT(part->t, part->exec && feed_picture(picture) && vks_exec_run(part->exec, NULL) &&
               vks_exec_read(part->exec, picture->image, out, want->size), "no picture under plan %zu", i);
        if (part->t->bad)
            break;
        const struct vks_exec_plan *plan = vks_exec_plan(part->exec);
        const double gap = golden_distance(out, (const float *)(const void *)want->data, want->count);
        printf("    picture: off by %.2g; %u dispatches in %u submissions, %.1f MFLOP, %.0f KiB planned\n", gap,
               plan->dispatches, plan->submissions, plan->flop / 1e6, (double)plan->bytes / 1024);
        EXPECT(part->t, gap <= GOLDEN_TOLERANCE, "the picture is off by %.3g", gap);
        EXPECT(part->t, !memcmp(first, out, want->size), "plan %zu gives other bits", i);
        vks_exec_destroy(&part->exec);
    }
    free(first);
    free(got);
}

// Text, UNet, step and decoder in one graph, with nothing kept: memory is shared as in real use.
static void check_picture(struct test *t, struct vks_pipeline *p, struct vks_safetensors *expected)
{
    struct picture picture = {.p = p};
    struct golden_part *part = &picture.part;
    golden_begin(part, t, gpu, expected, "picture");
    part->graph.hook = NULL;
    CHECK(t, vks_schedule_init(&t->log, &p->scheduler, 1, NULL, &picture.schedule));
    const struct vks_scheduler_step *step = picture.schedule.steps;
    vks_pipeline_text_build(p, &part->graph, BATCH, &picture.text);
    part->inputs[0] = golden_input_like(part, "input.noise", VKS_F32);
    vks_tensor *sample = vks_scale(&part->graph, part->inputs[0], (float)picture.schedule.init_noise_sigma, 0);
    vks_pipeline_unet_build(p, &part->graph, step, sample, &picture.text, &picture.unet);
    vks_tensor *next = vks_pipeline_step_build(&part->graph, step, sample, picture.unet.output, NULL);
    picture.image = vks_pipeline_decode_build(p, &part->graph, next);
    const struct vks_st_tensor *want = golden_need(t, expected, "output.image");
    EXPECT(t, picture.image && !part->graph.failed, "the graph of the pipeline failed");
    if (!t->bad) {
        picture.image->keep = true;
        run_plans(&picture, want);
    }
    vks_schedule_finish(&picture.schedule);
    golden_finish(part);
}

static void check_folder(struct test *t, const char *folder, const char *path)
{
    if (!gpu)
        SKIP(t, "no Vulkan device");
    struct vks_safetensors *expected = vks_safetensors_open(test_log(t), path);
    struct vks_pipeline *p = vks_pipeline_open(test_log(t), gpu, folder);
    printf("  %s\n", folder);
    EXPECT(t, expected && p && p->has_decoder, "%s cannot be opened", folder);
    for (uint32_t i = 0; !t->bad && i < p->text_count; i++)
        check_text(t, p, expected, i);
    if (!t->bad)
        check_unet(t, p, expected);
    if (!t->bad)
        check_vae(t, p, expected, false);
    if (!t->bad)
        check_vae(t, p, expected, true);
    if (!t->bad)
        check_picture(t, p, expected);
    vks_pipeline_close(&p);
    vks_safetensors_close(&expected);
}

static void given_folder(struct test *t)
{
    check_folder(t, given, given_expected);
}

static void check_fixture(struct test *t, const char *name)
{
    char folder[512], path[600];
    snprintf(folder, sizeof(folder), "%s/%s", data, name);
    snprintf(path, sizeof(path), "%s/expected.safetensors", folder);
    check_folder(t, folder, path);
}

static void sd1(struct test *t)
{
    check_fixture(t, "sd1");
}

static void sd2(struct test *t)
{
    check_fixture(t, "sd2");
}

static void turbo(struct test *t)
{
    check_fixture(t, "turbo");
}

static void half(struct test *t)
{
    check_fixture(t, "half");
}

static void kl(struct test *t)
{
    check_fixture(t, "kl");
}

static void xl(struct test *t)
{
    check_fixture(t, "xl");
}

static void lcm_xl(struct test *t)
{
    check_fixture(t, "lcm-xl");
}

static void check_sites(struct test *t, const char *name)
{
    char folder[512], path[600];
    snprintf(folder, sizeof(folder), "%s/%s", data, name);
    snprintf(path, sizeof(path), "%s/expected.safetensors", folder);
    struct vks_safetensors *expected = vks_safetensors_open(test_log(t), path);
    struct vks_pipeline *p = vks_pipeline_open(test_log(t), NULL, folder);
    CHECK(t, expected && p);
    struct vks_graph graph;
    vks_graph_init(&graph, test_log(t));
    EXPECT(t, vks_pipeline_describe(p, &graph), "the graph failed");
    size_t modules = 0;
    for (size_t i = 0; i < graph.site_count; i++)
        EXPECT(t, vks_safetensors_find(expected, graph.sites[i].name), "PyTorch has no module %s",
               graph.sites[i].name);
    for (size_t i = 0; i < expected->tensor_count; i++) {
        const char *module = expected->tensors[i].name;
        modules += strncmp(module, "input.", 6) && strncmp(module, "output.", 7) &&
                   strncmp(module, "mutation.", 9) && strncmp(module, "vae.encoder", 11) &&
                   strcmp(module, "vae.quant_conv");
    }
    EXPECT(t, modules == graph.site_count, "%zu sites, PyTorch has %zu", graph.site_count, modules);
    vks_graph_finish(&graph);
    vks_pipeline_close(&p);
    vks_safetensors_close(&expected);
}

// Without a device: the sites of a folder are PyTorch's modules.
static void sites_without_device(struct test *t)
{
    static const char *const names[] = {"sd1", "sd2", "turbo", "half", "kl", "xl", "lcm-xl"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!t->bad)
            check_sites(t, names[i]);
}

// ---- refusals ---------------------------------------------------------------------------------------------------

// Reads a configuration (PART/FILE) with `from` replaced by `to`, written into a folder of its own.
static char *altered(struct test *t, const char *part, const char *file, const char *from, const char *to)
{
    char path[600];
    size_t size;
    snprintf(path, sizeof(path), "%s/%s/%s", data, part, file);
    char *text = vks_os_read_file(test_log(t), path, 1 << 20, &size), *at = text ? strstr(text, from) : NULL;
    struct vks_text out = {0};
    static char folder[] = "golden-altered";
    EXPECT(t, at, "%s holds no %s", path, from);
    if (at) {
        vks_text_add(&out, text, (size_t)(at - text));
        vks_text_add_str(&out, to);
        vks_text_add_str(&out, at + strlen(from));
        snprintf(path, sizeof(path), "%s/%s", folder, file);
        EXPECT(t, vks_os_make_dirs(test_log(t), folder) && vks_os_write_file(test_log(t), path, out.data, out.length),
               "cannot write %s", path);
    }
    vks_text_finish(&out);
    free(text);
    return folder;
}

static void refuse_autoencoders(struct test *t)
{
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"\"AutoencoderKL\"", "\"AsymmetricAutoencoderKL\"", "AsymmetricAutoencoderKL"},
        {"\"UpDecoderBlock2D\"", "\"AttnUpDecoderBlock2D\"", "AttnUpDecoderBlock2D"},
        {"\"latents_mean\": null", "\"latents_mean\": [1, 2, 3]", "latents_mean"},
        {"\"norm_num_groups\": 3", "\"norm_num_groups\": 4", "norm_num_groups"},
        {"\"block_out_channels\": [", "\"block_out_channels\": [3,", "down_block_types"},
        {"\"layers_per_block\": 1", "\"layers_per_block\": 300", "layers_per_block"},
        {"\"act_fn\": \"gelu\"", "\"act_fn\": \"mish\"", "mish"},
    };
    struct vks_autoencoder_kl_config config;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *folder = altered(t, "kl/vae", "config.json", cases[i].from, cases[i].to);
        CHECK_REFUSED(t, vks_autoencoder_kl_config_read(test_log(t), folder, &config), cases[i].message);
    }
}

static void refusals(struct test *t)
{
    static const struct {
        const char *from, *to, *message;
    } unet[] = {
        {"\"UNet2DConditionModel\"", "\"UNet3D\"", "UNet3D"},
        {"\"class_embed_type\": null", "\"class_embed_type\": \"timestep\"", "class_embed_type"},
        {"\"dual_cross_attention\": false", "\"dual_cross_attention\": true", "dual_cross_attention"},
        {"\"resnet_time_scale_shift\": \"default\"", "\"resnet_time_scale_shift\": \"scale_shift\"", "scale_shift"},
        {"\"DownBlock2D\"", "\"AttnDownBlock2D\"", "AttnDownBlock2D"},
        {"\"norm_num_groups\": 4", "\"norm_num_groups\": 5", "norm_num_groups"},
        {"\"attention_head_dim\": 2", "\"attention_head_dim\": 7", "heads"},
        {"\"attention_head_dim\": 2", "\"attention_head_dim\": [2, 2]", "attention_head_dim"},
        {"\"layers_per_block\": 2", "\"layers_per_block\": 0", "layers_per_block"},
        {"\"block_out_channels\": [", "\"block_out_channels\": [-8,", "block_out_channels"},
        {"\"act_fn\": \"silu\"", "\"act_fn\": \"mish\"", "mish"},
    };
    struct vks_unet_config config;
    for (size_t i = 0; i < sizeof(unet) / sizeof(*unet); i++) {
        const char *folder = altered(t, "sd1/unet", "config.json", unet[i].from, unet[i].to);
        CHECK_REFUSED(t, vks_unet_config_read(test_log(t), folder, &config), unet[i].message);
    }
    struct vks_autoencoder_tiny_config vae;
    CHECK_REFUSED(t, vks_autoencoder_tiny_config_read(
                         test_log(t), altered(t, "sd1/vae", "config.json", "AutoencoderTiny", "AutoencoderKL"), &vae),
                  "AutoencoderKL");
    refuse_autoencoders(t);
    struct vks_scheduler_config scheduler;
    CHECK_REFUSED(t, vks_scheduler_config_read(test_log(t), altered(t, "sd1/scheduler", "scheduler_config.json",
                                                                    "EulerDiscrete", "Heun"), NULL, &scheduler),
                  "--scheduler");
    struct vks_clip_text_config text;
    CHECK_REFUSED(t, vks_clip_text_config_read(test_log(t), altered(t, "sd1/text_encoder", "config.json",
                                                                    "\"num_attention_heads\": 3",
                                                                    "\"num_attention_heads\": 5"), &text),
                  "num_attention_heads");
    vks_os_remove(test_log(t), "golden-altered/config.json");
    vks_os_remove(test_log(t), "golden-altered/scheduler_config.json");
    remove("golden-altered");
}

// A file whose tensors do not fit its config, and one that lacks some.
static void wrong_weights(struct test *t)
{
    char folder[512];
    snprintf(folder, sizeof(folder), "%s/sd1", data);
    struct vks_pipeline *p = vks_pipeline_open(test_log(t), NULL, folder);
    CHECK(t, p);
    struct vks_graph graph;
    const uint32_t inner = p->text[0].inner;
    p->text[0].inner = 41;
    vks_graph_init(&graph, test_log(t));
    CHECK_REFUSED(t, vks_pipeline_describe(p, &graph), "mlp.fc1.weight has the shape (40, 24)");
    vks_graph_finish(&graph);
    p->text[0].inner = inner;
    p->unet.layers[1] = 3;
    vks_graph_init(&graph, test_log(t));
    CHECK_REFUSED(t, vks_pipeline_describe(p, &graph), "down_blocks.1.resnets.2.norm1.weight is missing");
    vks_graph_finish(&graph);
    vks_pipeline_close(&p);
    CHECK_REFUSED(t, vks_pipeline_open(test_log(t), NULL, "no-such-folder") != NULL, "model_index.json");
}

int main(int argc, char **argv)
{
    struct test t = {0};
    struct vks_gpu_params params = {.log = test_log(&t)};
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--validate")) {
            params.validate = true;
        } else if (!strcmp(argv[i], "--phone")) {
            params.phone_limits = true;
        } else if (!strcmp(argv[i], "--quick")) {
            quick = true;
        } else if (!strcmp(argv[i], "--folder") && i + 2 < argc) {
            given = argv[++i];
            given_expected = argv[++i];
            quick = true;
        } else {
            data = argv[i];
        }
    gpu = vks_gpu_create(&params);
    if (given) {
        TEST(&t, given_folder);
    } else {
        TEST(&t, refusals);
        TEST(&t, sites_without_device);
        TEST(&t, wrong_weights);
        TEST(&t, sd1);
        TEST(&t, sd2);
        TEST(&t, turbo);
        TEST(&t, half);
        TEST(&t, kl);
        TEST(&t, xl);
        TEST(&t, lcm_xl);
    }
    return test_device_summary(&t, &gpu);
}
