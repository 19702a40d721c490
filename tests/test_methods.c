// Methods without gradients against independent programs (golden/methods.py): ranks, first directions and probes of
// random numbers by NumPy and scikit-learn; whole trainings on tiny language models by PyTorch hooks.
#include <math.h>
#include <stdlib.h>

#include "base/os.h"
#include "golden_texts.h"
#include "steer/experts.h"
#include "steer/methods.h"
#include "steer/probe.h"
#include "steer/vectors.h"
#include "test_device.h"
#include "test_scratch.h"

#define TOLERANCE 1e-3

static struct vks_gpu *gpu;
static const char *case_name;

static float *load(struct test *t, const struct vks_safetensors *file, const char *name,
                   const struct vks_st_tensor **found)
{
    const struct vks_st_tensor *tensor = vks_safetensors_find(file, name);
    float *values = tensor ? malloc(tensor->count * sizeof(*values)) : NULL;
    if (!values || !vks_st_to_f32(test_log(t), file, tensor, values)) {
        test_fail(t, __FILE__, __LINE__, "%s: no tensor %s", case_name, name);
        free(values);
        return NULL;
    }
    if (found)
        *found = tensor;
    return values;
}

static struct vks_safetensors *open_case(struct test *t)
{
    char path[1024];
    snprintf(path, sizeof(path), VKS_TEST_DATA "/methods/%s.safetensors", case_name);
    return vks_safetensors_open(test_log(t), path);
}

// max|a - b| <= tolerance * max|b - origin|
static void compare(struct test *t, const struct vks_safetensors *file, const char *name, const float *got,
                    double origin, double tolerance)
{
    const struct vks_st_tensor *tensor = NULL;
    float *want = load(t, file, name, &tensor);
    double error = 0, scale = 0;
    for (uint64_t i = 0; want && i < tensor->count; i++) {
        error = fmax(error, fabs((double)got[i] - want[i]));
        scale = fmax(scale, fabs(want[i] - origin));
    }
    EXPECT(t, want && error <= tolerance * scale, "%s: %s is off by %.1e of %.3g", case_name, name, error, scale);
    free(want);
}

// ---- numbers -----------------------------------------------------------------------------------------------------

struct laws {
    float *source, *target;
    uint32_t a, b, channels;
};

static void ranks(struct test *t, const struct vks_safetensors *file, const struct laws *l)
{
    const uint32_t count = l->a + l->b;
    float *auroc = malloc(l->channels * sizeof(*auroc)), *precision = malloc(l->channels * sizeof(*precision));
    struct vks_ranked *items = malloc(count * sizeof(*items));
    for (uint32_t c = 0; c < l->channels; c++) {
        for (uint32_t i = 0; i < count; i++)  // an order that says nothing
            items[(i * 13 + 3) % count] = (struct vks_ranked){
                i < l->a ? l->source[i * l->channels + c] : l->target[(i - l->a) * l->channels + c], i < l->a};
        vks_rank(items, count);
        auroc[c] = (float)vks_auroc(items, count);
        precision[c] = (float)vks_average_precision(items, count);
    }
    compare(t, file, "auroc", auroc, 0, 1e-7);
    compare(t, file, "average_precision", precision, 0, 1e-7);
    EXPECT(t, auroc[2] == 0.5f, "%s: a constant column has an AUROC of %g", case_name, auroc[2]);
    free(auroc);
    free(precision);
    free(items);
}

static void directions(struct test *t, const struct vks_safetensors *file, const struct laws *l)
{
    const uint32_t pairs = l->a < l->b ? l->a : l->b;
    double *x = malloc((size_t)pairs * l->channels * sizeof(*x)), *v = malloc(l->channels * sizeof(*v)), sum = 0;
    float *out = malloc(l->channels * sizeof(*out));
    for (uint32_t i = 0; i < pairs * l->channels; i++)
        x[i] = (double)l->source[i] - l->target[i];
    EXPECT(t, vks_first_direction(x, pairs, l->channels, v), "no memory");
    for (uint32_t i = 0; i < pairs * l->channels; i++)
        sum += x[i] * v[i % l->channels];
    for (uint32_t c = 0; c < l->channels; c++)
        out[c] = (float)(sum > 0 ? v[c] : -v[c]);
    compare(t, file, "direction", out, 0, 1e-6);
    memset(x, 0, (size_t)pairs * l->channels * sizeof(*x));
    EXPECT(t, vks_first_direction(x, pairs, l->channels, v) && v[0] == 0, "%s: zeros have a direction", case_name);
    free(x);
    free(v);
    free(out);
}

static void probes(struct test *t, const struct vks_safetensors *file, const struct laws *l)
{
    const uint32_t count = l->a + l->b, d = l->channels;
    double *x = malloc((size_t)count * d * sizeof(*x)), *w = malloc((d + 1) * sizeof(*w));
    bool *labels = malloc(count * sizeof(*labels));
    float *out = malloc((d + 1) * sizeof(*out));
    for (uint32_t i = 0; i < count * d; i++)
        x[i] = i < l->a * d ? l->source[i] : l->target[i - l->a * d];
    for (uint32_t i = 0; i < count; i++)
        labels[i] = i >= l->a;
    EXPECT(t, vks_probe_fit(x, labels, count, d, w), "no memory");
    for (uint32_t c = 0; c <= d; c++)
        out[c] = (float)w[c];
    compare(t, file, "probe", out, 0, 1e-5);
    free(x);
    free(w);
    free(labels);
    free(out);
}

static void laws_agree(struct test *t)
{
    struct vks_safetensors *file = open_case(t);
    const struct vks_st_tensor *source = NULL, *target = NULL;
    CHECK(t, file);
    struct laws laws = {.source = load(t, file, "source", &source), .target = load(t, file, "target", &target)};
    if (laws.source && laws.target) {
        laws.a = (uint32_t)source->shape[0];
        laws.b = (uint32_t)target->shape[0];
        laws.channels = (uint32_t)source->shape[1];
        ranks(t, file, &laws);
        directions(t, file, &laws);
        probes(t, file, &laws);
    }
    free(laws.source);
    free(laws.target);
    vks_safetensors_close(&file);
}

// ---- models ------------------------------------------------------------------------------------------------------

static double number(const struct vks_safetensors *file, const char *key)
{
    const char *text = vks_safetensors_metadata(file, key);
    return text ? strtod(text, NULL) : 0;
}

static enum vks_method method_of(const struct vks_safetensors *file)
{
    const char *name = vks_safetensors_metadata(file, "method");
    int method = 0;
    while (method < VKS_METHODS && strcmp(vks_method_names()[method], name) != 0)
        method++;
    return (enum vks_method)method;
}

static void compare_maps(struct test *t, const struct vks_safetensors *file, const struct vks_steering *steering)
{
    size_t maps = 0;
    for (size_t i = 0; i < file->tensor_count; i++)
        maps += strncmp(file->tensors[i].name, "weight.", 7) == 0;
    EXPECT(t, maps == steering->sites.count, "%s: %zu maps, not %zu", case_name, steering->sites.count, maps);
    for (size_t i = 0; i < steering->sites.count; i++) {
        const struct vks_site_slot *slot = &steering->sites.slots[i];
        char name[512];
        snprintf(name, sizeof(name), "weight.%s", slot->name);
        compare(t, file, name, steering->w + slot->first, 1, TOLERANCE);
        snprintf(name, sizeof(name), "bias.%s", slot->name);
        compare(t, file, name, steering->b + slot->first, 0, TOLERANCE);
    }
}

static void compare_ranges(struct test *t, const struct vks_safetensors *file, const struct vks_steering *steering)
{
    for (size_t i = 0; i < steering->sites.count; i++) {
        const struct vks_site_slot *slot = &steering->sites.slots[i];
        float *ends = malloc(slot->channels * sizeof(*ends));
        for (int end = 0; end < 2; end++) {
            char name[512];
            for (uint32_t c = 0; c < slot->channels; c++)
                ends[c] = steering->range[2 * (slot->first + c) + end];
            snprintf(name, sizeof(name), "%s.%s", end ? "high" : "low", slot->name);
            compare(t, file, name, ends, 0, 1e-5);
        }
        free(ends);
    }
}

// What the sources pool to under the maps, which act within their ranges.
static void compare_steered(struct test *t, const struct vks_safetensors *file, const struct vks_subject *subject,
                            const struct vks_steering *steering)
{
    const struct vks_site_list *sites = &steering->sites;
    const uint32_t rows = subject->set_sizes[VKS_SET_SOURCE];
    const float strengths[VKS_STEP_STRENGTHS] = {1};
    struct vks_attachment *attachment = vks_attachment_create(gpu, &steering, 1);
    float *all = vks_collect(subject, sites, VKS_SET_SOURCE, VKS_POOL_MEAN, 3, 0, attachment, strengths);
    for (size_t i = 0; i < sites->count && all; i++) {
        const struct vks_site_slot *slot = &sites->slots[i];
        float *pooled = malloc((size_t)rows * slot->channels * sizeof(*pooled));
        char name[512];
        for (uint32_t r = 0; r < rows; r++)
            memcpy(pooled + (size_t)r * slot->channels, all + (size_t)r * sites->channels + slot->first,
                   slot->channels * sizeof(*pooled));
        snprintf(name, sizeof(name), "steered.pooled.%s", slot->name);
        compare(t, file, name, pooled, 0, TOLERANCE);
        free(pooled);
    }
    EXPECT(t, all, "%s: the steered texts did not run", case_name);
    free(all);
    vks_attachment_destroy(&attachment);
}

static void train(struct test *t, const struct vks_safetensors *file, struct golden_texts *texts)
{
    const struct vks_subject subject = golden_texts_subject(test_log(t), gpu, texts);
    const enum vks_method method = method_of(file);
    struct vks_steering steering;
    CHECK(t, method < VKS_METHODS);
    const struct vks_train_params params = {
        .method = method,
        .sites = vks_safetensors_metadata(file, "sites"),
        .batch = 4,  // the last one is not full
        .pool = vks_method_info(method)->pool,
        .alpha = number(file, "alpha"),
        .top_heads = (uint32_t)number(file, "top_heads"),
        .threshold = number(file, "threshold"),
        .quantiles = {number(file, "low"), number(file, "high")},
        .p = 2,
        .output = in_scratch("maps.safetensors"),
    };
    CHECK(t, vks_train(&subject, &params, NULL) == VKS_TRAIN_DONE);
    CHECK(t, vks_steering_load(&steering, test_log(t), params.output));
    CHECK_STR(t, vks_steering_metadata(&steering, "method"), vks_safetensors_metadata(file, "method"));
    compare_maps(t, file, &steering);
    EXPECT(t, !steering.range == !(params.quantiles[1] > 0), "%s: ranges", case_name);
    if (steering.range) {
        compare_ranges(t, file, &steering);
        compare_steered(t, file, &subject, &steering);
    }
    vks_steering_finish(&steering);
}

// From the folder, and from the GGUF file beside it, GPT-2's of which is quantised.
static void agrees_with_pytorch(struct test *t)
{
    static const char *const forms[] = {"", "/model.gguf"};
    struct vks_safetensors *file = open_case(t);
    CHECK(t, file);
    for (int form = 0; form < 2; form++) {
        char path[1024];
        struct golden_texts texts;
        snprintf(path, sizeof(path), VKS_TEST_DATA "/%s%s", vks_safetensors_metadata(file, "model"), forms[form]);
        if (golden_texts_open(test_log(t), gpu, file, path, &texts))
            train(t, file, &texts);
        else
            test_fail(t, __FILE__, __LINE__, "%s: %s cannot be opened", case_name, path);
        golden_texts_close(&texts);
    }
    vks_safetensors_close(&file);
}

// ---- refusals ----------------------------------------------------------------------------------------------------

static bool refused(struct test *t, const struct vks_train_params *params, uint32_t sources, uint32_t targets)
{
    const struct vks_subject subject = {.log = test_log(t), .set_sizes = {sources, targets}};
    struct vks_train_params full = *params;
    full.batch = 4;
    return vks_train_check(&subject, &full);
}

static void bad_options_are_refused(struct test *t)
{
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_CAA}, 7, 8), "7 and 8");
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_REPE}, 8, 7), "pairs");
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_ACTADD}, 2, 2), "one pair");
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_ITI}, 4, 9), "at least 5");
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_CAA, .alpha = 2}, 7, 7), "--alpha");
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_AURA, .top_heads = 2}, 7, 7),
                  "--top-heads");
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_AURA, .threshold = 0.5}, 7, 7),
                  "--threshold");
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_DETZERO, .threshold = 0.6}, 70, 30),
                  "source prompts");
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_DETZERO, .threshold = 1}, 7, 7),
                  "below 1");
    CHECK_REFUSED(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_CAA, .quantiles = {0, 100}}, 7, 7),
                  "--quantiles");
    const struct vks_train_params falling = {.method = VKS_METHOD_LINEAR_ACT, .quantiles = {50, 40}};
    CHECK_REFUSED(t, refused(t, &falling, 7, 7), "lower one first");
    const struct vks_steering ranged = {.range = (float[]){0, 1}}, *base = &ranged;
    const struct vks_train_params lineas = {.steps = 1, .lr = 0.1, .p = 2, .base = &base, .base_count = 1};
    CHECK_REFUSED(t, refused(t, &lineas, 7, 7), "no gradient");
    CHECK(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_DETZERO}, 7, 7));
    CHECK(t, refused(t, &(struct vks_train_params){.method = VKS_METHOD_ITI}, 5, 9));
}

// A training on the texts of a case that is refused while it runs.
static void train_refused(struct test *t, const char *name, const struct vks_train_params *asked, const char *why)
{
    struct golden_texts texts;
    char path[1024];
    case_name = name;
    struct vks_safetensors *file = open_case(t);
    CHECK(t, file);
    snprintf(path, sizeof(path), VKS_TEST_DATA "/%s", vks_safetensors_metadata(file, "model"));
    if (golden_texts_open(test_log(t), gpu, file, path, &texts)) {
        const struct vks_subject subject = golden_texts_subject(test_log(t), gpu, &texts);
        struct vks_train_params params = *asked;
        params.batch = 4;
        params.output = in_scratch("never.safetensors");
        if (vks_train(&subject, &params, NULL) != VKS_TRAIN_FAILED || !strstr(t->message, why) || t->messages != 1 ||
            vks_os_exists(params.output))
            test_fail(t, __FILE__, __LINE__, "%s: not refused with \"%s\"", name, why);
        t->message[0] = 0;
    } else {
        test_fail(t, __FILE__, __LINE__, "%s: the texts cannot be opened", name);
    }
    golden_texts_close(&texts);
    vks_safetensors_close(&file);
}

static void iti_needs_heads(struct test *t)
{
    train_refused(t, "llama-iti", &(struct vks_train_params){.method = VKS_METHOD_ITI, .sites = ".*down_proj"},
                  "heads");
}

static void iti_has_so_many_heads(struct test *t)
{
    train_refused(t, "llama-iti",
                  &(struct vks_train_params){.method = VKS_METHOD_ITI, .sites = ".*o_proj", .top_heads = 9},
                  "8 heads");
}

// ---- a network that is one site, whose values are what the test says ---------------------------------------------

#define TOY_PROMPTS 6
#define TOY_CHANNELS 3

static bool toy_build(void *priv, struct vks_graph *g, uint32_t batch, uint32_t length, void **inputs)
{
    (void)priv;
    (void)length;
    const uint32_t shape[] = {batch, 1, TOY_CHANNELS};
    struct vks_tensor *x = vks_graph_input(g, "x", VKS_F32, 3, shape, false);
    *inputs = x;
    vks_graph_site(g, "net", VKS_SITE_TOKENS, vks_scale(g, x, 1, 0), NULL);
    return !g->failed;
}

// priv: (2, TOY_PROMPTS, TOY_CHANNELS)
static bool toy_feed(void *priv, struct vks_exec *exec, const void *inputs, const struct vks_sample samples[],
                     uint32_t count)
{
    const float (*values)[TOY_PROMPTS][TOY_CHANNELS] = priv;
    float x[TOY_PROMPTS][TOY_CHANNELS];
    for (uint32_t s = 0; s < count; s++)
        memcpy(x[s], values[samples[s].set][samples[s].index], sizeof(x[s]));
    return vks_exec_write(exec, inputs, x, count * sizeof(x[0]));
}

static bool train_toy(struct test *t, float (*values)[TOY_PROMPTS][TOY_CHANNELS], enum vks_method method)
{
    const struct vks_subject subject = {
        .priv = values,
        .gpu = gpu,
        .log = test_log(t),
        .model = "toy",
        .set_sizes = {TOY_PROMPTS, TOY_PROMPTS},
        .build = toy_build,
        .feed = toy_feed,
    };
    const struct vks_train_params params = {
        .method = method,
        .sites = "net",
        .batch = TOY_PROMPTS,
        .threshold = method == VKS_METHOD_DETZERO ? 0.9 : 0,
        .output = in_scratch("toy.safetensors"),
    };
    return vks_train(&subject, &params, NULL) == VKS_TRAIN_DONE;
}

// A channel that never changes, one that cannot be told apart for ties, one that detects the sources perfectly.
static void constant_channels_stay(struct test *t)
{
    static const enum vks_method methods[] = {VKS_METHOD_AURA, VKS_METHOD_DETZERO, VKS_METHOD_REPE,
                                              VKS_METHOD_LINEAR_ACT};
    float values[2][TOY_PROMPTS][TOY_CHANNELS];
    for (int set = 0; set < 2; set++)
        for (int i = 0; i < TOY_PROMPTS; i++) {
            values[set][i][0] = 0.75f;
            values[set][i][1] = (float)(i % 2);
            values[set][i][2] = (float)(i - 10 * set);
        }
    for (size_t m = 0; m < sizeof(methods) / sizeof(*methods); m++) {
        struct vks_steering s;
        CHECK(t, train_toy(t, values, methods[m]) &&
                     vks_steering_load(&s, test_log(t), in_scratch("toy.safetensors")));
        const char *name = vks_method_names()[methods[m]];
        EXPECT(t, s.w[0] == 1 && s.b[0] == 0, "%s moves a constant channel", name);
        EXPECT(t, fabsf(s.w[1] - 1) < 1e-6f && fabsf(s.b[1]) < 1e-6f, "%s moves a channel that is alike", name);
        const float w = m == 0 || m == 1 ? 0 : 1, b = m == 0 ? 0 : m == 1 ? -7.5f : -10;
        EXPECT(t, fabsf(s.w[2] - w) < 1e-6f && fabsf(s.b[2] - b) < 1e-5f, "%s: %g z + %g", name, s.w[2], s.b[2]);
        vks_steering_finish(&s);
    }
}

static void values_that_are_no_numbers_are_refused(struct test *t)
{
    float values[2][TOY_PROMPTS][TOY_CHANNELS] = {{{0}}};
    for (int k = 0; k < 2; k++)
        for (int method = VKS_METHOD_LINEAR_ACT; method < VKS_METHODS; method++) {
            if (method == VKS_METHOD_ITI || method == VKS_METHOD_ACTADD)  // no heads, more than a pair
                continue;
            vks_os_remove(NULL, in_scratch("toy.safetensors"));
            values[k][4][1] = method % 2 ? NAN : INFINITY;
            CHECK_REFUSED(t, train_toy(t, values, (enum vks_method)method), "net are not finite for prompt 5");
            CHECK(t, !vks_os_exists(in_scratch("toy.safetensors")));
            values[k][4][1] = 0;
        }
}

// ---- files -------------------------------------------------------------------------------------------------------

static bool load_file(struct test *t, const char *const names[], float values[][2], size_t count)
{
    struct vks_st_item items[6];
    const struct vks_st_pair format = {"format", "vksteer-1"};
    struct vks_steering s;
    for (size_t i = 0; i < count; i++)
        items[i] = (struct vks_st_item){.name = names[i], .dtype = VKS_ST_F32, .rank = 1, .shape = {2},
                                        .data = values[i]};
    const bool ok = vks_safetensors_write(test_log(t), in_scratch("ranges.safetensors"), items, count, &format, 1) &&
                    vks_steering_load(&s, test_log(t), in_scratch("ranges.safetensors"));
    if (ok)
        vks_steering_finish(&s);
    return ok;
}

static void broken_ranges_are_refused(struct test *t)
{
    const char *const names[] = {"a.weight", "a.bias", "a.low", "a.high"};
    const char *const high[] = {"a.weight", "a.bias", "a.high"};
    const char *const other[] = {"a.weight", "a.bias", "b.low", "b.high"};
    const char *const gate[] = {"a.weight", "a.bias", "a.gate"};
    float values[][2] = {{1, 2}, {0, 1}, {-1, 0}, {1, 0}};
    CHECK(t, load_file(t, names, values, 4));
    CHECK_REFUSED(t, load_file(t, names, values, 3), "a.high");
    CHECK_REFUSED(t, load_file(t, high, values, 3), "half a range");
    CHECK_REFUSED(t, load_file(t, other, values, 4), "half a range");
    CHECK_REFUSED(t, load_file(t, gate, values, 3), "update");
    values[3][1] = -0.5f;
    CHECK_REFUSED(t, load_file(t, names, values, 4), "makes no sense");
    values[3][1] = NAN;
    CHECK_REFUSED(t, load_file(t, names, values, 4), "makes no sense");
}

int main(void)
{
    struct test t = {0};
    struct vks_os_names names = {0};
    gpu = test_device_open();
    if (!gpu || !test_scratch_open("methods") || !vks_os_list(&test_device_log, VKS_TEST_DATA "/methods", &names))
        return 1;
    for (size_t i = 0; i < names.count; i++) {
        char name[256];
        const char *dot = strstr(names.items[i], ".safetensors");
        if (!dot)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(dot - names.items[i]), names.items[i]);
        case_name = name;
        test_run(&t, name, strncmp(name, "laws-", 5) == 0 ? laws_agree : agrees_with_pytorch);
    }
    vks_os_names_finish(&names);
    TEST(&t, bad_options_are_refused);
    TEST(&t, constant_channels_stay);
    TEST(&t, values_that_are_no_numbers_are_refused);
    TEST(&t, broken_ranges_are_refused);
    TEST(&t, iti_needs_heads);
    TEST(&t, iti_has_so_many_heads);
    test_scratch_close();
    return test_device_summary(&t, &gpu);
}
