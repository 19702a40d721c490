// LinEAS on tiny UNets and language models against an independent PyTorch program (golden/lineas.py): pooled
// activations, losses, the gradient of every w and b, parameters after one and after ten steps relative to how far
// they have moved. And with one option wrong at a time the comparison must fail by 20 tolerances.
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

static const char *const cases[] = {"gemma2-sparse", "gpt2-equal", "half-fewer", "half-p1", "half-sparse-group",
                                    "half-ties-p1", "llama-unequal", "sd1-equal", "sd1-sparse", "sd1-ties",
                                    "sd2-unequal", "xl-unequal"};
#define CASES (sizeof(cases) / sizeof(*cases))

static struct vks_gpu *gpu;
static const char *case_name;
static bool mutant;      // an option is wrong: what is off is counted in place of a failure
static double most_off;  // of a mutant, relative

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

// The larger one, or the one that is no number.
static double larger(double a, double b)
{
    return a >= b || isnan(a) ? a : b;
}

static void judge(struct test *t, const char *what, double error, double scale)
{
    const double off = error == 0 ? 0 : error / scale;
    if (mutant)
        most_off = larger(most_off, off);
    else
        EXPECT(t, off <= TOLERANCE, "%s: %s is off by %.1e of %.3g", case_name, what, off, scale);
}

// max|a - b| <= tolerance * max|b - origin| for the maps' halves at one site; returns the latter.
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
        error = larger(error, fabs((double)got[i] - want[i]));
        scale = fmax(scale, fabs(want[i] - origin));
    }
    free(want);
    judge(t, name, error, scale);
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
                error = larger(error, fabs(ours[(size_t)j * sites->channels + slot->first + c] - w));
                scale = fmax(scale, fabs(w));
            }
        EXPECT(t, error <= TOLERANCE * scale, "%s: %s is off by %.1e", case_name, name, error / scale);
        free(want);
    }
    return ours;
}

// A mutant runs until it is seen.
static bool goes_on(const struct test *t)
{
    return mutant ? most_off < 20 * TOLERANCE : !t->bad;
}

static void run_steps(struct test *t, const struct golden *golden, const struct vks_subject *subject,
                      const struct vks_train_params *params, const struct vks_site_list *sites,
                      const struct vks_site_list *loss_sites, const float *target, const float *losses)
{
    struct vks_lineas *lineas = vks_lineas_create(subject, params, sites, loss_sites, target);
    EXPECT(t, lineas, "%s: not built", case_name);
    for (uint32_t step = 0; lineas && step < STEPS && goes_on(t); step++) {
        double loss = 0;
        if (!vks_lineas_step(lineas, step, &loss)) {
            test_fail(t, __FILE__, __LINE__, "%s: step %u failed", case_name, step);
            break;
        }
        judge(t, "the loss", fabs(loss - losses[step]), losses[step]);
        if (step == 0) {
            compare_all(t, golden, "gradient", lineas, VKS_LINEAS_GRADIENT, sites, 0);
            compare_all(t, golden, "step1", lineas, 0, sites, 1);
        }
    }
    if (lineas && goes_on(t))
        compare_all(t, golden, "step10", lineas, 0, sites, 1);
    vks_lineas_destroy(&lineas);
}

#define MUTANTS 7

// Makes one option wrong; false where that is no other training.
static bool make_wrong(uint32_t which, bool texts, struct vks_train_params *params)
{
    const bool sparse = params->gamma > 0, adam = !params->sgd;
    switch (which) {
    case 0:
        params->p = 3 - params->p;
        return true;
    case 1:
        params->mean_scale = true;
        return true;
    case 2:
        params->sgd = !params->sgd;
        return true;
    case 3:
        params->steps = 1000;
        return true;
    case 4:
        params->gamma = 0;
        return sparse;
    case 5:
        params->sparse_group = !params->sparse_group;
        return sparse && adam;  // SGD always shrinks groups
    default:
        params->pool = VKS_POOL_LAST;
        return texts;
    }
}

static void expect_seen(struct test *t, const char *what)
{
    EXPECT(t, !(most_off < 20 * TOLERANCE), "%s: %s moves what is compared by %.1e only", case_name, what, most_off);
}

// The loss without the last site; its targets are the leading columns of the others'.
static void leave_site_out(struct test *t, const struct golden *golden, const struct vks_subject *subject,
                           const struct vks_train_params *params, const struct vks_site_list *sites,
                           const float *target, const float *losses)
{
    struct vks_site_list fewer = *sites;
    fewer.channels = sites->slots[--fewer.count].first;
    float *left = malloc((size_t)golden->counts[1] * fewer.channels * sizeof(*left));
    for (uint32_t j = 0; left && j < golden->counts[1]; j++)
        memcpy(left + (size_t)j * fewer.channels, target + (size_t)j * sites->channels,
               fewer.channels * sizeof(*left));
    most_off = 0;
    if (left)
        run_steps(t, golden, subject, params, sites, &fewer, left, losses);
    expect_seen(t, "a site less");
    free(left);
}

// Every comparison, and what options do that are wrong.
static void run_all(struct test *t, const struct golden *golden, const struct vks_subject *subject,
                    const struct vks_train_params *params, const struct vks_site_list *sites)
{
    static const char *const names[MUTANTS] = {"the other p", "the mean over channels", "the other optimizer",
                                               "a rate that hardly falls", "no proximal step",
                                               "the other shrinkage", "the last token"};
    uint32_t count = 0;
    float *target = targets_of(t, golden, subject, sites), *losses = load(t, golden, "loss", NULL);
    EXPECT(t, target && losses, "%s: no targets", case_name);
    if (target && losses) {
        EXPECT(t, losses[STEPS] < 0.7f * losses[0], "%s: the fixture's loss does not fall by 30 %%", case_name);
        run_steps(t, golden, subject, params, sites, sites, target, losses);
        mutant = true;
        for (uint32_t i = 0; i < MUTANTS && !t->bad; i++) {
            struct vks_train_params wrong = *params;
            if (!make_wrong(i, golden->texts.decoder, &wrong))
                continue;
            most_off = 0;
            run_steps(t, golden, subject, &wrong, sites, sites, target, losses);
            expect_seen(t, names[i]);
            count++;
        }
        if (!t->bad && sites->count > 1) {
            leave_site_out(t, golden, subject, params, sites, target, losses);
            count++;
        }
        mutant = false;
        printf("    %s: %u mutations\n", case_name, count);
    }
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
        run_all(t, &golden, &subject, &params, &sites);
    } else {
        test_fail(t, __FILE__, __LINE__, "%s: fixture cannot be opened", case_name);
    }
    vks_site_list_finish(&sites);
    close_golden(&golden);
}

// A file that nobody opens proves nothing, and one that is gone would not be missed.
static void files_are_the_cases(struct test *t)
{
    struct vks_os_names names = {0};
    size_t count = 0;
    CHECK(t, vks_os_list(test_log(t), VKS_TEST_DATA "/lineas", &names));
    for (size_t i = 0; i < names.count; i++)
        count += strstr(names.items[i], ".safetensors") != NULL;
    vks_os_names_finish(&names);
    EXPECT(t, count == CASES, "%zu files for %zu cases", count, CASES);
}

int main(void)
{
    struct test t = {0};
    gpu = test_device_open();
    if (!gpu)
        return 1;
    TEST(&t, files_are_the_cases);
    for (size_t i = 0; i < CASES; i++) {
        case_name = cases[i];
        test_run(&t, case_name, agrees_with_pytorch);
    }
    return test_device_summary(&t, &gpu);
}
