// LinEAS on tiny UNets and language models against an independent PyTorch program (golden/lineas.py): pooled
// activations, losses, the gradient of every w and b, parameters after one and after ten steps relative to how far
// they have moved.
#include <math.h>
#include <stdlib.h>

#include "base/os.h"
#include "golden_texts.h"
#include "io/safetensors.h"
#include "models/pipeline.h"
#include "steer/lineas.h"
#include "test_device.h"

#define TOLERANCE 1e-3
#define STEPS 10

static struct vks_gpu *gpu;
static const char *case_name;

struct golden {
    struct vks_safetensors *file;
    struct vks_pipeline *pipeline;
    struct vks_scheduler_step step;     // timestep of the fixture, input as it is
    float *samples[2], *contexts[2];    // by set
    float *pooled[2];                   // vectors of the texts, of SDXL
    uint32_t counts[2], height, width, channels, tokens, context_width, text_width;
    struct golden_texts texts;          // in place of the pipeline
};

struct golden_inputs {
    struct vks_tensor *sample;
    struct vks_pipeline_text text;
    struct vks_pipeline_unet unet;
};

static float *load(struct test *t, const struct golden *golden, const char *name, const struct vks_st_tensor **found)
{
    const struct vks_st_tensor *tensor = vks_safetensors_find(golden->file, name);
    float *values = tensor ? malloc(tensor->count * sizeof(*values)) : NULL;
    if (!values || !vks_st_to_f32(test_log(t), golden->file, tensor, values)) {
        test_fail(t, __FILE__, __LINE__, "%s: no tensor %s", case_name, name);
        free(values);
        return NULL;
    }
    if (found)
        *found = tensor;
    return values;
}

static bool golden_build(void *priv, struct vks_graph *g, uint32_t batch, uint32_t length, void **out)
{
    (void)length;
    const struct golden *golden = priv;
    struct golden_inputs *in = vks_arena_alloc(&g->arena, sizeof(*in));
    if (!in)
        return false;
    const uint32_t sample[] = {batch, golden->height, golden->width, golden->channels};
    const uint32_t context[] = {batch, golden->tokens, golden->context_width};
    in->sample = vks_graph_input(g, "sample", VKS_F32, 4, sample, false);
    in->text.context = vks_graph_input(g, "context", VKS_F32, 3, context, false);
    if (golden->text_width)
        in->text.pooled = vks_graph_input(g, "text", VKS_F32, 2, (uint32_t[]){batch, golden->text_width}, false);
    *out = in;
    return vks_pipeline_unet_build(golden->pipeline, g, &golden->step, in->sample, &in->text, &in->unet);
}

// Rows of a set, in the order of the samples.
static bool feed_rows(struct vks_exec *exec, const struct vks_tensor *tensor, float *const rows[2], uint64_t width,
                      const struct vks_sample samples[], uint32_t count)
{
    float *x = calloc(count * width, sizeof(*x));
    for (uint32_t i = 0; i < count; i++)
        memcpy(x + i * width, rows[samples[i].set] + samples[i].index * width, width * sizeof(*x));
    const bool ok = vks_exec_write(exec, tensor, x, count * width * sizeof(*x));
    free(x);
    return ok;
}

static bool golden_feed(void *priv, struct vks_exec *exec, const void *inputs, const struct vks_sample samples[],
                        uint32_t count)
{
    const struct golden *golden = priv;
    const struct golden_inputs *in = inputs;
    const uint64_t pixels = (uint64_t)golden->height * golden->width * golden->channels;
    const uint64_t words = (uint64_t)golden->tokens * golden->context_width;
    return feed_rows(exec, in->sample, golden->samples, pixels, samples, count) &&
           feed_rows(exec, in->text.context, golden->contexts, words, samples, count) &&
           (!in->text.pooled ||
            feed_rows(exec, in->text.pooled, golden->pooled, golden->text_width, samples, count)) &&
           vks_pipeline_unet_feed(golden->pipeline, exec, &in->unet, &golden->step, 0);
}

static bool open_golden(struct test *t, struct golden *golden)
{
    char path[1024];
    const struct vks_st_tensor *sample = NULL, *context = NULL, *text = NULL;
    *golden = (struct golden){0};
    snprintf(path, sizeof(path), VKS_TEST_DATA "/lineas/%s.safetensors", case_name);
    if (!(golden->file = vks_safetensors_open(test_log(t), path)))
        return false;
    snprintf(path, sizeof(path), VKS_TEST_DATA "/%s", vks_safetensors_metadata(golden->file, "model"));
    if (strstr(path, "/language/"))
        return golden_texts_open(test_log(t), gpu, golden->file, path, &golden->texts);
    if (!(golden->pipeline = vks_pipeline_open(test_log(t), gpu, path)))
        return false;
    for (int set = 0; set < 2; set++) {
        golden->samples[set] = load(t, golden, set ? "target.sample" : "source.sample", &sample);
        golden->contexts[set] = load(t, golden, set ? "target.context" : "source.context", &context);
        if (golden->pipeline->xl)
            golden->pooled[set] = load(t, golden, set ? "target.text" : "source.text", &text);
        if (!golden->samples[set] || !golden->contexts[set] || (golden->pipeline->xl && !golden->pooled[set]))
            return false;
        golden->counts[set] = (uint32_t)sample->shape[0];
    }
    golden->height = (uint32_t)sample->shape[1];
    golden->width = (uint32_t)sample->shape[2];
    golden->channels = (uint32_t)sample->shape[3];
    golden->tokens = (uint32_t)context->shape[1];
    golden->context_width = (uint32_t)context->shape[2];
    golden->text_width = text ? (uint32_t)text->shape[1] : 0;
    float *timestep = load(t, golden, "timestep", NULL);
    golden->step = (struct vks_scheduler_step){.timestep = timestep ? *timestep : 0, .input_scale = 1};
    free(timestep);
    return timestep != NULL;
}

static void close_golden(struct golden *golden)
{
    for (int set = 0; set < 2; set++) {
        free(golden->samples[set]);
        free(golden->contexts[set]);
        free(golden->pooled[set]);
    }
    golden_texts_close(&golden->texts);
    vks_pipeline_close(&golden->pipeline);
    vks_safetensors_close(&golden->file);
}

static double number(const struct golden *golden, const char *key)
{
    const char *text = vks_safetensors_metadata(golden->file, key);
    return text ? strtod(text, NULL) : 0;
}

// max|a - b| <= tolerance * max|b - origin| for the maps' halves at one site, and at least something moved.
static double compare(struct test *t, const struct golden *golden, const char *what, const char *half,
                      const struct vks_site_slot *slot, const float *got, double origin)
{
    char name[512];
    snprintf(name, sizeof(name), "%s.%s.%s", what, half, slot->name);
    float *want = load(t, golden, name, NULL);
    if (!want)
        return 0;
    double error = 0, scale = 0;
    for (uint32_t i = 0; i < slot->channels; i++) {
        error = fmax(error, fabs((double)got[i] - want[i]));
        scale = fmax(scale, fabs(want[i] - origin));
    }
    free(want);
    EXPECT(t, error <= TOLERANCE * scale || (error == 0 && scale == 0), "%s: %s is off by %.1e of %.3g", case_name,
           name, error / scale, scale);
    return scale;
}

static void compare_all(struct test *t, const struct golden *golden, const char *what, struct vks_lineas *lineas,
                        uint32_t array, const struct vks_site_list *sites, double origin)
{
    float *values = malloc(vks_lineas_size(lineas) * sizeof(*values));
    double scale = 0;
    if (values && vks_lineas_get(lineas, array, values))
        for (size_t s = 0; s < sites->count; s++) {
            const struct vks_site_slot *slot = &sites->slots[s];
            scale += compare(t, golden, what, "weight", slot, values + slot->first, origin);
            scale += compare(t, golden, what, "bias", slot, values + sites->channels + slot->first, 0);
        }
    EXPECT(t, scale > 0, "%s: %s is zero everywhere", case_name, what);
    free(values);
}

// Pooled activations of the targets, in the order of the flat arrays.
static float *targets_of(struct test *t, const struct golden *golden, const struct vks_subject *subject,
                         const struct vks_site_list *sites)
{
    float *ours = vks_collect(subject, sites, VKS_SET_TARGET, VKS_POOL_MEAN, golden->counts[1], 0, NULL, NULL);
    for (size_t s = 0; ours && s < sites->count; s++) {
        const struct vks_site_slot *slot = &sites->slots[s];
        char name[512];
        snprintf(name, sizeof(name), "target.pooled.%s", slot->name);
        float *want = load(t, golden, name, NULL);
        double error = 0, scale = 0;
        for (uint32_t j = 0; want && j < golden->counts[1]; j++)
            for (uint32_t c = 0; c < slot->channels; c++) {
                const double w = want[(size_t)j * slot->channels + c];
                error = fmax(error, fabs(ours[(size_t)j * sites->channels + slot->first + c] - w));
                scale = fmax(scale, fabs(w));
            }
        EXPECT(t, error <= TOLERANCE * scale, "%s: %s is off by %.1e", case_name, name, error / scale);
        free(want);
    }
    return ours;
}

static void run_steps(struct test *t, const struct golden *golden, const struct vks_subject *subject,
                      const struct vks_train_params *params, const struct vks_site_list *sites)
{
    float *target = targets_of(t, golden, subject, sites), *losses = load(t, golden, "loss", NULL);
    struct vks_lineas *lineas = target && losses ? vks_lineas_create(subject, params, sites, sites, target) : NULL;
    EXPECT(t, lineas, "%s: not built", case_name);
    for (uint32_t step = 0; lineas && step < STEPS; step++) {
        double loss = 0;
        if (!vks_lineas_step(lineas, step, &loss)) {
            test_fail(t, __FILE__, __LINE__, "%s: step %u failed", case_name, step);
            break;
        }
        EXPECT(t, fabs(loss - losses[step]) <= TOLERANCE * losses[step], "%s: loss %.7g at step %u, PyTorch %.7g",
               case_name, loss, step, losses[step]);
        if (step == 0) {
            compare_all(t, golden, "gradient", lineas, VKS_LINEAS_GRADIENT, sites, 0);
            compare_all(t, golden, "step1", lineas, 0, sites, 1);
        }
    }
    if (lineas)
        compare_all(t, golden, "step10", lineas, 0, sites, 1);
    EXPECT(t, losses && losses[STEPS] < 0.7f * losses[0], "%s: the fixture's loss does not fall by 30 %%", case_name);
    vks_lineas_destroy(&lineas);
    free(target);
    free(losses);
}

static void agrees_with_pytorch(struct test *t)
{
    struct golden golden;
    struct vks_site_list sites = {0};
    if (open_golden(t, &golden)) {
        struct vks_subject subject = {
            .priv = &golden,
            .gpu = gpu,
            .log = test_log(t),
            .model = "golden",
            .set_sizes = {golden.counts[0], golden.counts[1]},
            .build = golden_build,
            .feed = golden_feed,
        };
        if (golden.texts.decoder)
            subject = golden_texts_subject(test_log(t), gpu, &golden.texts);
        memcpy(golden.counts, subject.set_sizes, sizeof(golden.counts));
        const char *optimizer = vks_safetensors_metadata(golden.file, "optimizer");
        const struct vks_train_params params = {
            .sites = vks_safetensors_metadata(golden.file, "sites"),
            .steps = STEPS,
            .batch = golden.counts[VKS_SET_SOURCE],
            .lr = number(&golden, "lr"),
            .gamma = number(&golden, "gamma"),
            .sgd = optimizer && strcmp(optimizer, "sgd") == 0,
            .sparse_group = number(&golden, "lambda_group") > 0,
            .p = (uint32_t)number(&golden, "p"),
        };
        struct vks_graph g;
        void *inputs;
        vks_graph_init(&g, test_log(t));
        EXPECT(t, subject.build(subject.priv, &g, 1, 0, &inputs) && vks_site_list_select(&sites, &g, params.sites),
               "%s: no sites", case_name);
        vks_graph_finish(&g);
        run_steps(t, &golden, &subject, &params, &sites);
    } else {
        test_fail(t, __FILE__, __LINE__, "%s: fixture cannot be opened", case_name);
    }
    vks_site_list_finish(&sites);
    close_golden(&golden);
}

int main(void)
{
    struct test t = {0};
    gpu = test_device_open();
    if (!gpu)
        return 1;
    struct vks_os_names names = {0};
    if (!vks_os_list(&test_device_log, VKS_TEST_DATA "/lineas", &names))
        return 1;
    for (size_t i = 0; i < names.count; i++) {
        char name[256];
        const char *dot = strstr(names.items[i], ".safetensors");
        if (!dot)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(dot - names.items[i]), names.items[i]);
        case_name = name;
        test_run(&t, name, agrees_with_pytorch);
    }
    vks_os_names_finish(&names);
    return test_device_summary(&t, &gpu);
}
