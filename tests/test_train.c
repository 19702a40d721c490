// LinEAS on a small network built by hand: the same bits whatever the micro-batch, the memory plan, the cuts and the
// interruptions; the loss falls; equal sets leave the maps alone; bad parameters are refused.
#include <math.h>
#include <stdlib.h>

#include "base/os.h"
#include "exec/backward.h"
#include "steer/statistics.h"
#include "steer/target_cache.h"
#include "steer/train.h"
#include "test_device.h"
#include "test_scratch.h"

#define TOKENS 6
#define WIDTH 8
#define SOURCES 16
#define TARGETS 12

static struct vks_gpu *gpu;

// ---- the network: pixels -> linear -> group norm -> SiLU -> linear (+ skip) -> layer norm -> linear ---------------

struct toy {
    struct vks_storage *weights[6];
    bool same_sets;   // targets follow the sources' law
};

static double noise(uint64_t key)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) {  // near enough to a normal law
        key += 0x9e3779b97f4a7c15u;
        uint64_t z = (key ^ key >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        sum += (double)((z ^ z >> 31) >> 11) * 0x1p-53;
    }
    return sum - 6;
}

static const uint32_t toy_shapes[6][2] = {{12, WIDTH}, {12, 0}, {12, 0}, {12, 12}, {12, 0}, {5, 12}};

static bool toy_init(struct toy *toy)
{
    *toy = (struct toy){0};
    for (int k = 0; k < 6; k++) {
        float values[256];
        const uint32_t count = toy_shapes[k][0] * (toy_shapes[k][1] ? toy_shapes[k][1] : 1);
        for (uint32_t i = 0; i < count; i++)
            values[i] = (float)(noise((uint64_t)(k + 1) << 32 | i) * (k == 1 || k == 4 ? 0.2 : 0.4) +
                                (k == 1 || k == 4));
        toy->weights[k] = vks_storage_create(gpu, count * sizeof(float));
        if (!toy->weights[k] || !vks_storage_write(toy->weights[k], 0, values, count * sizeof(float)))
            return false;
    }
    return true;
}

static void toy_finish(struct toy *toy)
{
    for (int k = 0; k < 6; k++)
        vks_storage_destroy(&toy->weights[k]);
}

static struct vks_tensor *weight(struct toy *toy, struct vks_graph *g, int k)
{
    return vks_graph_state(g, "weight", VKS_F32, toy_shapes[k][1] ? 2 : 1, toy_shapes[k], toy->weights[k], 0);
}

static bool toy_build(void *priv, struct vks_graph *g, uint32_t batch, uint32_t length, void **inputs)
{
    struct toy *toy = priv;
    (void)length;
    const uint32_t pixels[] = {batch, 2, 3, WIDTH}, tokens[] = {batch, TOKENS, 12};
    struct vks_tensor *x = vks_graph_input(g, "x", VKS_F32, 4, pixels, false);
    *inputs = x;
    g->segment = 1;
    struct vks_tensor *h = vks_linear(g, x, weight(toy, g, 0), NULL);
    h = vks_group_norm(g, h, weight(toy, g, 1), weight(toy, g, 2), 4, 1e-5f);
    h = vks_graph_site(g, "net.norm1", VKS_SITE_PIXELS, h, NULL);
    h = vks_unary(g, h, VKS_SILU);
    g->segment = 2;
    struct vks_tensor *skip = vks_reshape(g, h, 3, tokens);
    h = vks_add(g, vks_linear(g, skip, weight(toy, g, 3), NULL), skip);
    h = vks_layer_norm(g, h, weight(toy, g, 4), weight(toy, g, 2), 1e-5f);
    h = vks_graph_site(g, "net.norm2", VKS_SITE_TOKENS, h, NULL);
    h = vks_linear(g, h, weight(toy, g, 5), NULL);
    h = vks_graph_site(g, "net.out", VKS_SITE_TOKENS, h, NULL);
    vks_graph_site(g, "net.tail", VKS_SITE_TOKENS, vks_unary(g, h, VKS_TANH), NULL);
    return !g->failed;
}

static bool toy_feed(void *priv, struct vks_exec *exec, const void *inputs, const struct vks_sample samples[],
                     uint32_t count)
{
    const struct toy *toy = priv;
    const uint32_t size = TOKENS * WIDTH;
    float values[SOURCES * TOKENS * WIDTH];
    for (uint32_t s = 0; s < count; s++) {
        const bool shifted = samples[s].set == VKS_SET_TARGET && !toy->same_sets;
        const uint64_t key = ((uint64_t)samples[s].set << 60) ^ ((uint64_t)samples[s].index << 40) ^
                             ((uint64_t)samples[s].draw << 16);
        const double prompt = noise(key & ~(uint64_t)0xffff0000);
        for (uint32_t i = 0; i < size; i++)
            values[s * size + i] =
                (float)(0.7 * noise(key ^ i) + 0.5 * prompt + (shifted ? 0.8 * cos(i % WIDTH) : 0));
    }
    return vks_exec_write(exec, inputs, values, count * size * sizeof(float));
}

static struct vks_subject subject_of(struct test *t, struct toy *toy)
{
    return (struct vks_subject){
        .priv = toy,
        .gpu = gpu,
        .log = test_log(t),
        .model = "toy",
        .set_sizes = {SOURCES, TARGETS},
        .build = toy_build,
        .feed = toy_feed,
    };
}

static struct vks_train_params params_of(const char *name, char path[512])
{
    snprintf(path, 512, "%s/%s.safetensors", scratch, name);
    return (struct vks_train_params){
        .sites = "net\\.norm.*",
        .loss_sites = "net\\.(norm.*|out)",
        .steps = 24,
        .batch = 8,
        .lr = 0.03,
        .p = 2,
        .seed = 7,
        .output = path,
    };
}

// ---- tests -------------------------------------------------------------------------------------------------------

struct losses {
    double first, last;
    uint32_t stop_at;
    uint32_t seen;
};

static bool watch(void *priv, const struct vks_train_progress *progress)
{
    struct losses *losses = priv;
    if (progress->step == 1)
        losses->first = progress->loss;
    losses->last = progress->loss;
    losses->seen = progress->step;
    return progress->step != losses->stop_at;
}

static void same_bits(struct test *t)
{
    struct toy toy;
    char plain[512], path[512];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    struct vks_train_params base = params_of("plain", plain);
    base.gamma = 0.05;
    CHECK(t, vks_train(&subject, &base, NULL) == VKS_TRAIN_DONE);
    const struct {
        const char *name;
        uint32_t micro;
        bool recompute;
        struct vks_exec_params exec;
    } variants[] = {
        {"again", 0, false, {0}},
        {"micro-batch 1", 1, false, {0}},
        {"micro-batch 2", 2, false, {0}},
        {"micro-batch 4, recomputed", 4, true, {0}},
        {"recomputed", 0, true, {0}},
        {"no aliasing", 0, false, {.no_alias = true, .no_in_place = true, .poison = true}},
        {"not in place", 0, false, {.no_in_place = true}},
        {"every node by itself", 0, false, {.no_fuse = true}},
        {"every node by itself, recomputed", 0, true, {.no_fuse = true}},
        {"1 KiB bindings", 0, false, {.max_range = 1024}},
        {"cut by time", 0, false, {.dispatch_seconds = 1e-6}},
        {"kept values", 0, false, {.keep = 1 << 20}},
        {"kept values, no aliasing", 0, false,
         {.keep = 1 << 20, .no_alias = true, .no_in_place = true, .poison = true}},
    };
    for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
        struct vks_train_params p = base;
        snprintf(path, sizeof(path), "%s/variant.safetensors", scratch);
        p.output = path;
        p.micro_batch = variants[i].micro;
        p.recompute = variants[i].recompute;
        p.exec = variants[i].exec;
        EXPECT(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_DONE, "%s: not trained", variants[i].name);
        EXPECT(t, test_same_files(plain, path), "%s: other bits", variants[i].name);
    }
    // The comparison can fail: another seed gives another file.
    base.seed = 8;
    base.output = path;
    CHECK(t, vks_train(&subject, &base, NULL) == VKS_TRAIN_DONE);
    CHECK(t, !test_same_files(plain, path));
    toy_finish(&toy);
}

static void loss_falls(struct test *t)
{
    struct toy toy;
    char path[512];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    struct losses losses = {0};
    struct vks_train_params p = params_of("falls", path);
    p.steps = 150;
    p.progress = watch;
    p.progress_priv = &losses;
    struct vks_train_progress last;
    CHECK(t, vks_train(&subject, &p, &last) == VKS_TRAIN_DONE);
    EXPECT(t, losses.last - last.floor < 0.3 * (losses.first - last.floor), "loss %g to %g, floor %g", losses.first,
           losses.last, last.floor);
    EXPECT(t, last.max_w > 0.01 && last.path_share > 0 && last.path_share <= 1, "max |w - 1| %g, path %g", last.max_w,
           last.path_share);
    struct vks_steering steering;
    CHECK(t, vks_steering_load(&steering, test_log(t), path));
    CHECK(t, steering.sites.count == 2);
    CHECK_STR(t, vks_steering_metadata(&steering, "method"), "lineas");
    CHECK_STR(t, vks_steering_metadata(&steering, "loss_scale"), "sum");
    vks_steering_finish(&steering);
    toy_finish(&toy);
}

static void sparsity_grows_with_gamma(struct test *t)
{
    struct toy toy;
    char path[512];
    double support[3];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    for (int i = 0; i < 3; i++) {
        struct vks_train_params p = params_of("sparse", path);
        p.gamma = 0.4 * i;
        CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_DONE);
        struct vks_steering steering;
        CHECK(t, vks_steering_load(&steering, test_log(t), path));
        support[i] = vks_steering_support(&steering);
        vks_steering_finish(&steering);
    }
    EXPECT(t, support[0] == 1 && support[1] < 1 && support[2] < support[1], "support %g, %g, %g", support[0],
           support[1], support[2]);
    toy_finish(&toy);
}

static void finds_gamma_for_a_support(struct test *t)
{
    struct toy toy;
    char path[512];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    struct vks_train_params p = params_of("support", path);
    p.support = 0.5;
    CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_DONE);
    struct vks_steering steering;
    CHECK(t, vks_steering_load(&steering, test_log(t), path));
    const double support = vks_steering_support(&steering);
    EXPECT(t, support <= 0.5 && support > 0.3, "support %g, not just below 0.5", support);
    vks_steering_finish(&steering);
    toy_finish(&toy);
}

// The refit moves the channels that the threshold left, and no other.
static void refit_keeps_the_support(struct test *t)
{
    struct toy toy;
    char paths[2][512];
    struct vks_steering steerings[2];
    struct vks_train_progress last[2];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    for (int refit = 0; refit < 2; refit++) {
        struct vks_train_params p = params_of(refit ? "refitted" : "thresholded", paths[refit]);
        p.gamma = 0.8;
        p.refit = refit ? 24 : 0;
        CHECK(t, vks_train(&subject, &p, &last[refit]) == VKS_TRAIN_DONE);
        CHECK(t, vks_steering_load(&steerings[refit], test_log(t), paths[refit]));
    }
    const double support = vks_steering_support(&steerings[0]);
    CHECK(t, support > 0 && support < 1);
    uint32_t moved = 0;
    for (uint32_t i = 0; i < steerings[0].sites.channels; i++) {
        const bool on = steerings[0].w[i] != 1 || steerings[0].b[i] != 0;
        const bool now = steerings[1].w[i] != 1 || steerings[1].b[i] != 0;
        EXPECT(t, on == now, "channel %u went %s", i, now ? "on" : "off");
        moved += on && (steerings[0].w[i] != steerings[1].w[i] || steerings[0].b[i] != steerings[1].b[i]);
    }
    EXPECT(t, moved > 0 && last[1].loss < last[0].loss, "%u channels moved, loss %g after %g", moved, last[1].loss,
           last[0].loss);
    CHECK(t, last[1].step == 48 && last[1].steps == 48);
    CHECK_STR(t, vks_steering_metadata(&steerings[1], "refit"), "24");
    vks_steering_finish(&steerings[0]);
    vks_steering_finish(&steerings[1]);
    struct vks_train_params p = params_of("refit", paths[0]);
    p.refit = 5;
    CHECK_REFUSED(t, vks_train(&subject, &p, NULL) != VKS_TRAIN_FAILED, "--gamma or --support");
    toy_finish(&toy);
}

static void equal_laws_leave_the_maps_alone(struct test *t)
{
    struct toy toy;
    char path[512];
    CHECK(t, toy_init(&toy));
    toy.same_sets = true;
    struct vks_subject subject = subject_of(t, &toy);
    struct vks_train_params p = params_of("control", path);
    p.steps = 100;
    p.batch = 16;
    struct vks_train_progress last;
    CHECK(t, vks_train(&subject, &p, &last) == VKS_TRAIN_DONE);
    struct vks_steering steering;
    CHECK(t, vks_steering_load(&steering, test_log(t), path));
    double mean = 0;
    for (uint32_t i = 0; i < steering.sites.channels; i++)
        mean += (steering.w[i] - 1) / steering.sites.channels;
    // 12 targets of so small a model leave some chance; the program's own control on the emoji model is stricter.
    EXPECT(t, fabs(mean) < 0.1, "mean w - 1 = %g", mean);
    vks_steering_finish(&steering);
    toy_finish(&toy);
}

static void resume_with(struct test *t, double gamma, uint32_t refit)
{
    struct toy toy;
    char whole[512], parts[512], state[600], whole_log[512], parts_log[512];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    snprintf(whole_log, sizeof(whole_log), "%s/whole.jsonl", scratch);
    snprintf(parts_log, sizeof(parts_log), "%s/parts.jsonl", scratch);
    struct vks_train_params p = params_of("whole", whole);
    p.log_path = whole_log;
    p.gamma = gamma;
    p.refit = refit;
    CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_DONE);
    for (uint32_t stop = 3; stop < p.steps + p.refit; stop += 7) {
        struct losses losses = {.stop_at = stop};
        struct vks_train_params q = params_of("parts", parts);
        q.log_path = parts_log;
        q.gamma = gamma;
        q.refit = refit;
        q.progress = watch;
        q.progress_priv = &losses;
        CHECK(t, vks_train(&subject, &q, NULL) == VKS_TRAIN_STOPPED);
        CHECK(t, losses.seen == stop);
        snprintf(state, sizeof(state), "%s.state", parts);
        CHECK(t, vks_os_is_file(state));
        losses.stop_at = 0;
        q.resume = true;
        q.micro_batch = 4;  // may change on the way: the bits do not
        CHECK(t, vks_train(&subject, &q, NULL) == VKS_TRAIN_DONE);
        CHECK(t, !vks_os_exists(state));
        EXPECT(t, test_same_files(whole, parts), "stopped after step %u: other steering", stop);
        EXPECT(t, test_same_files(whole_log, parts_log), "stopped after step %u: other log", stop);
        vks_os_remove(NULL, parts);
    }
    toy_finish(&toy);
}

static void resumes_bit_for_bit(struct test *t)
{
    resume_with(t, 0, 0);
}

// Also between its last step and the refit's first, 24.
static void resumes_a_refit_bit_for_bit(struct test *t)
{
    resume_with(t, 0.6, 8);
}

static void state_of_another_training_is_refused(struct test *t)
{
    struct toy toy;
    char path[512];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    struct losses losses = {.stop_at = 3};
    struct vks_train_params p = params_of("other", path);
    p.progress = watch;
    p.progress_priv = &losses;
    CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_STOPPED);
    p.resume = true;
    p.lr = 0.031;
    CHECK_REFUSED(t, vks_train(&subject, &p, NULL) != VKS_TRAIN_FAILED, "belongs to another training");
    toy_finish(&toy);
}

static void closed_forms_move_the_law(struct test *t)
{
    struct toy toy;
    char path[512];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    const enum vks_method methods[] = {VKS_METHOD_MEAN_ACT, VKS_METHOD_GAUSSIAN_ACT, VKS_METHOD_LINEAR_ACT,
                                       VKS_METHOD_LINEAR_ACT_AT_ONCE};
    struct vks_site_list sites = {0};
    CHECK(t, vks_site_list_add(&sites, subject.log, "net.norm1", VKS_SITE_PIXELS, 12));
    float *target = vks_collect(&subject, &sites, VKS_SET_TARGET, VKS_POOL_MEAN, 4, 0, NULL, NULL);
    float *source = vks_collect(&subject, &sites, VKS_SET_SOURCE, VKS_POOL_MEAN, 4, 0, NULL, NULL);
    double before[12], after[12];
    CHECK(t, target && source && vks_wasserstein_host(source, SOURCES, target, TARGETS, 12, 2, before));
    for (int m = 0; m < 4; m++) {
        struct vks_train_params p = params_of("closed", path);
        p.method = methods[m];
        CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_DONE);
        struct vks_steering steering;
        CHECK(t, vks_steering_load(&steering, subject.log, path));
        const struct vks_steering *list[] = {&steering};
        struct vks_attachment *attachment = vks_attachment_create(gpu, list, 1);
        const float strengths[VKS_STEP_STRENGTHS] = {1};
        float *moved = vks_collect(&subject, &sites, VKS_SET_SOURCE, VKS_POOL_MEAN, 5, 0, attachment, strengths);
        float *off = vks_collect(&subject, &sites, VKS_SET_SOURCE, VKS_POOL_MEAN, 5, 0, attachment, NULL);
        CHECK(t, moved && off && vks_wasserstein_host(moved, SOURCES, target, TARGETS, 12, 2, after));
        double sum_before = 0, sum_after = 0;
        for (int c = 0; c < 12; c++) {
            sum_before += before[c];
            sum_after += after[c];
        }
        EXPECT(t, sum_after < (m == 0 ? 0.7 : 0.4) * sum_before, "method %d: %g to %g", m, sum_before, sum_after);
        EXPECT(t, memcmp(off, source, SOURCES * 12 * sizeof(float)) == 0, "method %d: strength 0 changes bits", m);
        free(moved);
        free(off);
        vks_attachment_destroy(&attachment);
        vks_steering_finish(&steering);
    }
    free(target);
    free(source);
    vks_site_list_finish(&sites);
    toy_finish(&toy);
}

static bool count_batches(void *priv, uint32_t done, uint32_t count)
{
    ++*(int *)priv;
    return done <= count;
}

// Collects the targets and compares them with `want`; returns how many batches of 4 ran.
static int collect_again(struct test *t, struct vks_subject *subject, const struct vks_site_list *sites,
                         const float *want)
{
    int batches = 0;
    subject->watch = count_batches;
    subject->watch_priv = &batches;
    float *rows = vks_collect(subject, sites, VKS_SET_TARGET, VKS_POOL_MEAN, 4, 0, NULL, NULL);
    EXPECT(t, rows && memcmp(rows, want, TARGETS * 12 * sizeof(*rows)) == 0, "other activations");
    free(rows);
    return batches;
}

static size_t files_in(const char *folder)
{
    struct vks_os_names names = {0};
    vks_os_list(NULL, folder, &names);
    const size_t count = names.count;
    vks_os_names_finish(&names);
    return count;
}

static void targets_are_kept(struct test *t)
{
    struct toy toy;
    char folder[600], large[700];
    CHECK(t, toy_init(&toy));
    struct vks_subject subject = subject_of(t, &toy);
    struct vks_site_list sites = {0};
    CHECK(t, vks_site_list_add(&sites, subject.log, "net.norm1", VKS_SITE_PIXELS, 12));
    float *want = vks_collect(&subject, &sites, VKS_SET_TARGET, VKS_POOL_MEAN, 4, 0, NULL, NULL), wrong[TARGETS * 12];
    CHECK(t, want);
    snprintf(folder, sizeof(folder), "%s/targets", scratch);
    subject.cache = folder;
    EXPECT(t, collect_again(t, &subject, &sites, want) == TARGETS / 4 && files_in(folder) == 1, "collected once");
    EXPECT(t, collect_again(t, &subject, &sites, want) == 1, "then read, and the first row looked at");
    memcpy(wrong, want, sizeof(wrong));
    wrong[3] += 1;
    vks_target_cache_write(&subject, &sites, VKS_POOL_MEAN, wrong);
    EXPECT(t, collect_again(t, &subject, &sites, want) == 1 + TARGETS / 4, "rows of another model are not taken");
    EXPECT(t, collect_again(t, &subject, &sites, want) == 1, "and replaced");
    subject.target_hash++;
    EXPECT(t, collect_again(t, &subject, &sites, want) == TARGETS / 4 && files_in(folder) == 2, "other prompts");
    // What is not of the cache stays: another program's file, and one that another process is writing.
    char foreign[2][700];
    for (int i = 0; i < 2; i++) {
        snprintf(foreign[i], sizeof(foreign[i]), "%s/%s", folder, i ? ".1.safetensors.7.0.tmp" : "notes.txt");
        CHECK(t, vks_os_write_file(NULL, foreign[i], "x", 1));
    }
    // A file that takes all the room there is, sparse.
    snprintf(large, sizeof(large), "%s/0.safetensors", folder);
    FILE *file = fopen(large, "wb");
    CHECK(t, file && fseek(file, (long)VKS_TARGET_CACHE_MOST - 1, SEEK_SET) == 0 && fputc(0, file) == 0 &&
                 fclose(file) == 0);
    subject.target_hash++;
    EXPECT(t, collect_again(t, &subject, &sites, want) == TARGETS / 4 && !vks_os_exists(large), "old files go");
    EXPECT(t, vks_os_is_file(foreign[0]) && vks_os_is_file(foreign[1]), "others stay");
    free(want);
    vks_site_list_finish(&sites);
    toy_finish(&toy);
}

// Layer by layer is at-once for each site on top of the maps before it.
static void linear_act_equals_one_site_after_another(struct test *t)
{
    struct toy toy;
    char path[512], first[512], second[512];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    struct vks_train_params p = params_of("layers", path);
    p.method = VKS_METHOD_LINEAR_ACT;
    CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_DONE);
    p.method = VKS_METHOD_LINEAR_ACT_AT_ONCE;
    p.sites = "net\\.norm1";
    snprintf(first, sizeof(first), "%s/layer1.safetensors", scratch);
    p.output = first;
    CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_DONE);
    struct vks_steering whole, parts[2];
    CHECK(t, vks_steering_load(&whole, test_log(t), path) && vks_steering_load(&parts[0], test_log(t), first));
    const struct vks_steering *base[] = {&parts[0]};
    p.base = base;
    p.base_strengths = (const float[]){1};
    p.base_count = 1;
    p.sites = "net\\.norm2";
    snprintf(second, sizeof(second), "%s/layer2.safetensors", scratch);
    p.output = second;
    CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_DONE && vks_steering_load(&parts[1], test_log(t), second));
    CHECK(t, whole.sites.count == 2);
    for (int k = 0; k < 2; k++) {
        const struct vks_site_slot *slot = vks_site_list_find(&whole.sites, k ? "net.norm2" : "net.norm1");
        CHECK(t, slot && slot->channels == parts[k].sites.channels);
        EXPECT(t, memcmp(whole.w + slot->first, parts[k].w, slot->channels * sizeof(float)) == 0 &&
                  memcmp(whole.b + slot->first, parts[k].b, slot->channels * sizeof(float)) == 0,
               "site %d: other bits", k + 1);
        vks_steering_finish(&parts[k]);
    }
    vks_steering_finish(&whole);
    struct losses losses = {.stop_at = 1};
    p = params_of("stopped", path);
    p.method = VKS_METHOD_LINEAR_ACT;
    p.progress = watch;
    p.progress_priv = &losses;
    CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_STOPPED && !vks_os_exists(path));
    toy_finish(&toy);
}

static void site_expressions(struct test *t)
{
    static const struct { const char *expression, *name; bool matches; } cases[] = {
        {"net.*norm", "net.3.norm", true},       {"norm", "net.norm", false},        {"net", "net.norm", false},
        {"net.*", "net.block:1", false},         {"net.*:1", "net.block:1", true},   {"net.*:1", "net.block", false},
        {"(?:a|b)\\.c", "b.c", true},            {"(?:a|b)\\.c", "b.c:0", false},    {"(?i:NET)\\.x", "net.x", true},
        {"(?i-s:NET)\\.x:0", "net.x:0", true},   {"[[:alpha:]]+", "net", true},     {"(?i)NET", "net", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vks_site_pattern *pattern = vks_site_pattern_create(test_log(t), cases[i].expression);
        CHECK(t, pattern);
        EXPECT(t, vks_site_pattern_matches(pattern, cases[i].name) == cases[i].matches, "%s %s %s",
               cases[i].expression, cases[i].matches ? "does not match" : "matches", cases[i].name);
        vks_site_pattern_destroy(&pattern);
    }
}

// What each step was fed.
struct recorder {
    struct toy *toy;
    uint32_t fed[64];
    uint32_t count;
};

static bool recorder_build(void *priv, struct vks_graph *g, uint32_t batch, uint32_t length, void **inputs)
{
    return toy_build(((struct recorder *)priv)->toy, g, batch, length, inputs);
}

static bool recorder_feed(void *priv, struct vks_exec *exec, const void *inputs, const struct vks_sample samples[],
                          uint32_t count)
{
    struct recorder *recorder = priv;
    for (uint32_t i = 0; i < count; i++)
        if (samples[i].set == VKS_SET_SOURCE && recorder->count < 64)
            recorder->fed[recorder->count++] = samples[i].index;
    return toy_feed(recorder->toy, exec, inputs, samples, count);
}

static void every_epoch_sees_every_source_once(struct test *t)
{
    struct toy toy;
    struct recorder recorder = {.toy = &toy};
    char path[512];
    CHECK(t, toy_init(&toy));
    struct vks_subject subject = subject_of(t, &toy);
    subject.priv = &recorder;
    subject.build = recorder_build;
    subject.feed = recorder_feed;
    struct vks_train_params p = params_of("epochs", path);
    p.steps = 8;
    p.batch = 8;
    p.sites = "net\\.norm1";
    CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_DONE && recorder.count == 64);
    for (uint32_t epoch = 0; epoch < 4; epoch++) {
        uint32_t seen = 0;
        for (uint32_t i = 0; i < SOURCES; i++)
            seen |= 1u << recorder.fed[epoch * SOURCES + i];
        EXPECT(t, seen == (1u << SOURCES) - 1, "epoch %u saw %x", epoch, seen);
        EXPECT(t, epoch == 0 || memcmp(recorder.fed, recorder.fed + epoch * SOURCES, SOURCES * 4) != 0,
               "epoch %u has the order of the first", epoch);
    }
    toy_finish(&toy);
}

static void the_floor_is_known(struct test *t)
{
    const double few = vks_wasserstein_floor(4, 32, 2), many = vks_wasserstein_floor(32, 32, 2);
    EXPECT(t, fabs(few - 0.63) < 0.05 && fabs(many - 0.16) < 0.02, "floors %g and %g of a variance", few, many);

    // Two sites, of one and of two channels, with deviations 2, 1 and 3.
    const float target[] = {2, 5, -3, -2, 7, 3};
    struct vks_site_slot slots[] = {{.channels = 1}, {.channels = 2, .first = 1}};
    const struct vks_site_list sites = {.slots = slots, .count = 2, .channels = 3};
    struct vks_loss_floor in = {.sites = &sites, .target = target, .target_rows = 2, .rows = 4, .p = 2};
    double sum, mean, first, unit = vks_wasserstein_floor(4, 2, 2);
    CHECK(t, vks_loss_floor(&in, &sum));
    in.mean_scale = true;
    CHECK(t, vks_loss_floor(&in, &mean));
    in.p = 1;
    CHECK(t, vks_loss_floor(&in, &first));
    EXPECT(t, fabs(sum - (4 + 1 + 9) / 2.0 * unit) < 1e-12 && fabs(mean - (4 + (1 + 9) / 2.0) / 2 * unit) < 1e-12,
           "floors %g and %g of the loss", sum, mean);
    EXPECT(t, fabs(first - (2 + (1 + 3) / 2.0) / 2 * vks_wasserstein_floor(4, 2, 1)) < 1e-12, "W_1: %g", first);
}

static void inverses_undo(struct test *t)
{
    float w[] = {2, -0.5f, 1, 0, 0.5e-3f, 1e-3f}, b[] = {3, 1, -4, 5, 0, 3e38f};
    const float w0[] = {2, -0.5f, 1}, b0[] = {3, 1, -4}, z = 7;
    struct vks_steering steering = {.sites.channels = 6, .w = w, .b = b};
    uint32_t skipped = 0;
    vks_steering_invert(&steering, &skipped);
    EXPECT(t, skipped == 3, "%u channels are skipped", skipped);
    for (int c = 0; c < 3; c++)
        EXPECT(t, fabsf(w[c] * (w0[c] * z + b0[c]) + b[c] - z) < 1e-5f, "channel %d: w %g, b %g", c, w[c], b[c]);
    for (int c = 3; c < 6; c++)
        EXPECT(t, w[c] == 1 && b[c] == 0, "channel %d: w %g, b %g", c, w[c], b[c]);
}

static void trains_on_top_of_another_steering(struct test *t)
{
    struct toy toy;
    char first[512], second[512];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    struct vks_train_params p = params_of("first", first);
    p.steps = 100;
    struct vks_train_progress alone, on_top;
    CHECK(t, vks_train(&subject, &p, &alone) == VKS_TRAIN_DONE);
    struct vks_steering steering;
    CHECK(t, vks_steering_load(&steering, test_log(t), first));
    const struct vks_steering *base[] = {&steering};
    p = params_of("second", second);
    p.steps = 20;
    p.base = base;
    p.base_strengths = (const float[]){1};
    p.base_count = 1;
    struct losses losses = {0};
    p.progress = watch;
    p.progress_priv = &losses;
    CHECK(t, vks_train(&subject, &p, &on_top) == VKS_TRAIN_DONE);
    // It begins where the first one ended, and has little left to do.
    EXPECT(t, losses.first < 1.3 * alone.loss, "the first loss is %g, the base ended at %g", losses.first,
           alone.loss);
    EXPECT(t, on_top.max_w < alone.max_w, "max |w - 1| %g on top of %g", on_top.max_w, alone.max_w);
    vks_steering_finish(&steering);
    toy_finish(&toy);
}

static void bad_parameters_are_refused(struct test *t)
{
    struct toy toy;
    char path[512];
    CHECK(t, toy_init(&toy));
    const struct vks_subject subject = subject_of(t, &toy);
    struct vks_train_params p = params_of("bad", path);
    p.batch = 3;
    CHECK_REFUSED(t, vks_train(&subject, &p, NULL) != VKS_TRAIN_FAILED, "at least 4");
    p.batch = SOURCES + 1;
    CHECK_REFUSED(t, vks_train(&subject, &p, NULL) != VKS_TRAIN_FAILED, "exceeds the 16 source prompts");
    p.batch = 8;
    p.micro_batch = 3;
    CHECK_REFUSED(t, vks_train(&subject, &p, NULL) != VKS_TRAIN_FAILED, "does not divide");
    p.micro_batch = 0;
    p.sites = "net.nothing";
    CHECK_REFUSED(t, vks_train(&subject, &p, NULL) != VKS_TRAIN_FAILED, "no site is called");
    p.sites = "net.(norm";
    CHECK_REFUSED(t, vks_train(&subject, &p, NULL) != VKS_TRAIN_FAILED, "not valid");
    CHECK(t, !vks_os_exists(path));
    toy_finish(&toy);
}

// Held-out prompts change no bit of the steering, see it work, and survive a resume.
static void validation_looks_on(struct test *t)
{
    struct toy toy;
    char plain[512], path[512], log[512], again[512];
    CHECK(t, toy_init(&toy));
    struct vks_subject subject = subject_of(t, &toy);
    struct vks_train_params p = params_of("unseen", plain);
    p.steps = 100;
    struct vks_train_progress last = {0};
    CHECK(t, vks_train(&subject, &p, &last) == VKS_TRAIN_DONE);
    CHECK(t, isnan(last.validation) && isnan(last.validation_first));
    subject.set_sizes[VKS_SET_VALIDATION] = 6;
    snprintf(log, sizeof(log), "%s/seen.jsonl", scratch);
    snprintf(again, sizeof(again), "%s/again.jsonl", scratch);
    p = params_of("seen", path);
    p.steps = 100;
    p.log_path = log;
    CHECK(t, vks_train(&subject, &p, &last) == VKS_TRAIN_DONE);
    CHECK(t, test_same_files(plain, path));
    EXPECT(t, last.validation - last.validation_floor < 0.7 * (last.validation_first - last.validation_floor),
           "validation %g to %g, floor %g", last.validation_first, last.validation, last.validation_floor);
    size_t size = 0, found = 0;
    char *text = vks_os_read_file(test_log(t), log, 1 << 20, &size);
    for (const char *at = text; at && (at = strstr(at, "\"validation\"")); at++)
        found++;
    EXPECT(t, found == 11, "%zu lines with a validation, not 11", found);
    free(text);
    struct losses losses = {.stop_at = 7};
    const struct vks_train_progress whole = last;
    p.log_path = again;
    p.progress = watch;
    p.progress_priv = &losses;
    CHECK(t, vks_train(&subject, &p, NULL) == VKS_TRAIN_STOPPED);
    losses.stop_at = 0;
    p.resume = true;
    CHECK(t, vks_train(&subject, &p, &last) == VKS_TRAIN_DONE);
    CHECK(t, test_same_files(log, again) && last.validation_first == whole.validation_first &&
             last.validation == whole.validation);
    toy_finish(&toy);
}

int main(void)
{
    struct test t = {0};
    gpu = test_device_open();
    if (!gpu)
        return 1;
    if (!test_scratch_open("train"))
        return 1;
    TEST(&t, same_bits);
    TEST(&t, loss_falls);
    TEST(&t, sparsity_grows_with_gamma);
    TEST(&t, finds_gamma_for_a_support);
    TEST(&t, refit_keeps_the_support);
    TEST(&t, equal_laws_leave_the_maps_alone);
    TEST(&t, resumes_bit_for_bit);
    TEST(&t, resumes_a_refit_bit_for_bit);
    TEST(&t, state_of_another_training_is_refused);
    TEST(&t, targets_are_kept);
    TEST(&t, closed_forms_move_the_law);
    TEST(&t, linear_act_equals_one_site_after_another);
    TEST(&t, site_expressions);
    TEST(&t, every_epoch_sees_every_source_once);
    TEST(&t, the_floor_is_known);
    TEST(&t, inverses_undo);
    TEST(&t, trains_on_top_of_another_steering);
    TEST(&t, validation_looks_on);
    TEST(&t, bad_parameters_are_refused);
    test_scratch_close();
    return test_device_summary(&t, &gpu);
}
