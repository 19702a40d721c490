// Language models against transformers: every module's output of the fixtures in tests/golden/data/language, which
// tests/golden/make_language_models.py wrote, from the Hugging Face folder and from the GGUF file.
//
//     test_golden_language [--validate] [--phone] [--quick] [DATA]
//     test_golden_language --folder FOLDER EXPECTED    (python make_language_models.py --folder FOLDER EXPECTED)
//
// Of a fixture's three texts one is padded on the left, one on the right, one is whole. The sites must be PyTorch's
// modules, no more and no fewer, and every one must agree to GOLDEN_TOLERANCE in the rows that hold tokens. Every
// bias, norm weight, position code, the positions and the mask are then dropped, one at a time, and each must show
// (--quick leaves this out). Folder and GGUF file must agree in every channel of every site. Bad files are refused.
#include "golden.h"

#include <stdlib.h>

#include "base/os.h"
#include "base/text.h"
#include "models/decoder.h"
#include "test_device.h"

#define BATCH 3
#define LENGTH 11

#ifndef VKS_TEST_DATA
#define VKS_TEST_DATA "tests/golden/data"
#endif

static const char *data = VKS_TEST_DATA;
static const char *given, *given_expected, *fixture;
static bool quick;  // no mutations
static struct vks_gpu *gpu;

// A model whose graph is ready to run.
struct model {
    struct golden_part part;
    struct vks_safetensors *expected;
    struct vks_decoder *decoder;
    struct vks_decoder_io io;
    char path[600], name[80];
};

static bool write_inputs(struct model *m)
{
    return golden_write_like(&m->part, m->io.ids, "input.ids") &&
           golden_write_like(&m->part, m->io.positions, "input.positions") &&
           golden_write_like(&m->part, m->io.mask, "input.mask");
}

// Opens the folder, or the file in it, and builds the graph. False: the test has failed.
static bool start(struct test *t, struct model *m, const char *folder, const char *file, const char *expected)
{
    memset(m, 0, sizeof(*m));
    snprintf(m->path, sizeof(m->path), "%s%s%s", folder, file ? "/" : "", file ? file : "");
    snprintf(m->name, sizeof(m->name), "%.40s%s%s", vks_path_name(folder), file ? "/" : "", file ? file : "");
    m->expected = vks_safetensors_open(test_log(t), expected);
    m->decoder = vks_decoder_open(test_log(t), gpu, m->path);
    EXPECT(t, m->expected && m->decoder, "%s cannot be opened", m->path);
    if (t->bad)
        return false;
    golden_begin(&m->part, t, gpu, m->expected, "");
    m->part.name = m->name;
    m->part.weights = m->decoder->weights;
    m->part.plus_one = vks_decoder_is_gemma(&m->decoder->config);
    const struct vks_st_tensor *mask = golden_need(t, m->expected, "input.mask");
    m->part.mask = mask ? (const float *)(const void *)mask->data : NULL;
    const struct vks_decoder_params params = {.batch = BATCH, .length = LENGTH, .head = VKS_HEAD_ALL};
    vks_decoder_build(m->decoder, &m->part.graph, &params, &m->io);
    golden_add_probe(&m->part, "output.logits", m->io.logits);
    return golden_start(&m->part) && write_inputs(m);
}

static void stop(struct model *m)
{
    golden_finish(&m->part);
    vks_decoder_close(&m->decoder);
    vks_safetensors_close(&m->expected);
}

// Positions and mask must show, as parameters must.
static void drop_inputs(struct model *m)
{
    const int32_t zeros[BATCH * LENGTH] = {0};
    float ones[BATCH * LENGTH];
    for (size_t i = 0; i < BATCH * LENGTH; i++)
        ones[i] = 1;
    if (vks_exec_write(m->part.exec, m->io.positions, zeros, sizeof(zeros)))
        golden_expect_moved(&m->part, "dropping the positions");
    if (write_inputs(m) && vks_exec_write(m->part.exec, m->io.mask, ones, sizeof(ones)))
        golden_expect_moved(&m->part, "dropping the mask");
    EXPECT(m->part.t, write_inputs(m), "%s: cannot write the inputs", m->name);
}

static float *run_logits(struct model *m)
{
    const uint64_t size = vks_tensor_elements(m->io.logits) * sizeof(float);
    float *logits = malloc(size);
    EXPECT(m->part.t, logits && vks_exec_run(m->part.exec, NULL) &&
                          vks_exec_read(m->part.exec, m->io.logits, logits, size), "%s did not run", m->name);
    return logits;
}

// The same texts by vks_decoder_feed, all padded on the right; then without the last token of the whole one, which
// must not reach the rows before it.
static void feed_texts(struct model *m)
{
    struct test *t = m->part.t;
    const int32_t *rows = (const int32_t *)(const void *)golden_need(t, m->expected, "input.ids")->data;
    const int32_t *ids[BATCH];
    uint32_t counts[BATCH], first[BATCH];
    for (uint32_t b = 0; b < BATCH; b++) {
        counts[b] = first[b] = 0;
        for (uint32_t i = 0; i < LENGTH; i++)
            if (m->part.mask[b * LENGTH + i])
                first[b] = counts[b]++ ? first[b] : i;
        ids[b] = rows + b * LENGTH + first[b];
    }
    const uint64_t vocabulary = m->decoder->config.vocabulary;
    float *before = run_logits(m);
    EXPECT(t, vks_decoder_feed(m->decoder, m->part.exec, &m->io, ids, counts), "%s: cannot feed", m->name);
    float *after = run_logits(m);
    for (uint32_t b = 0; b < BATCH && !t->bad; b++) {
        const float *a = after + b * LENGTH * vocabulary, *w = before + (b * LENGTH + first[b]) * vocabulary;
        const double gap = golden_distance(a, w, counts[b] * vocabulary);
        EXPECT(t, gap < 1e-4, "%s: the side of the padding moves text %u by %.2g", m->name, b, gap);
    }
    counts[2] = LENGTH - 1;
    EXPECT(t, vks_decoder_feed(m->decoder, m->part.exec, &m->io, ids, counts), "%s: cannot feed", m->name);
    float *less = run_logits(m);
    EXPECT(t, !memcmp(after + 2 * LENGTH * vocabulary, less + 2 * LENGTH * vocabulary,
                      (LENGTH - 1) * vocabulary * sizeof(float)), "%s: the last token reaches earlier ones", m->name);
    EXPECT(t, write_inputs(m), "%s: cannot write the inputs", m->name);
    free(before);
    free(after);
    free(less);
}

// Every channel of every site of two models.
static void agree(struct model *a, struct model *b)
{
    struct test *t = a->part.t;
    double worst = 0;
    EXPECT(t, a->part.probe_count == b->part.probe_count, "%s has %zu sites, %s %zu", a->name, a->part.probe_count,
           b->name, b->part.probe_count);
    EXPECT(t, vks_exec_run(a->part.exec, NULL) && vks_exec_run(b->part.exec, NULL), "%s: no run", a->name);
    for (size_t i = 0; i < a->part.probe_count && !t->bad; i++) {
        const struct golden_probe *x = &a->part.probes[i], *y = &b->part.probes[i];
        const uint64_t count = vks_tensor_elements(x->tensor), size = count * sizeof(float);
        EXPECT(t, !strcmp(x->name, y->name) && vks_tensor_elements(y->tensor) == count, "%s stands for %s", y->name,
               x->name);
        if (t->bad || !vks_exec_read(a->part.exec, x->tensor, a->part.scratch, size) ||
            !vks_exec_read(b->part.exec, y->tensor, b->part.scratch, size))
            return;
        const double gap = golden_distance(a->part.scratch, b->part.scratch, count);
        worst = gap > worst ? gap : worst;
        EXPECT(t, gap < 1e-5, "%s: %s is off by %.2g from the folder's", b->name, x->name, gap);
    }
    printf("    %s: off by %.2g from the folder\n", b->name, worst);
}

static void check_folder(struct test *t, const char *folder, const char *expected)
{
    struct model a, b;
    char path[600];
    if (start(t, &a, folder, NULL, expected)) {
        golden_compare(&a.part);
        if (!quick && !t->bad) {
            golden_mutations(&a.part);
            drop_inputs(&a);
            feed_texts(&a);
        }
        snprintf(path, sizeof(path), "%s/model.gguf", folder);
        if (!t->bad && vks_os_is_file(path)) {
            if (start(t, &b, folder, "model.gguf", expected)) {
                golden_compare(&b.part);
                agree(&a, &b);
            }
            stop(&b);
        }
    }
    stop(&a);
}

static void given_folder(struct test *t)
{
    check_folder(t, given, given_expected);
}

static void check_fixture(struct test *t)
{
    char folder[512], expected[600];
    snprintf(folder, sizeof(folder), "%s/language/%s", data, fixture);
    snprintf(expected, sizeof(expected), "%s/expected.safetensors", folder);
    check_folder(t, folder, expected);
}

int main(int argc, char **argv)
{
    static const char *const fixtures[] = {"llama", "llama3", "linear", "qwen2", "window",
                                           "qwen3", "gemma2", "gemma3", "gpt2"};
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
    if (given)
        TEST(&t, given_folder);
    for (size_t i = 0; i < sizeof(fixtures) / sizeof(*fixtures) && !given; i++) {
        fixture = fixtures[i];
        test_run(&t, fixture, check_fixture);
    }
    return test_device_summary(&t, &gpu);
}
