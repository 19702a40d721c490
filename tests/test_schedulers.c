// Schedulers against diffusers: whole trajectories of every configuration in tests/golden/data/schedulers, which
// tests/golden/schedulers.py wrote, and what is refused.
//
//     test_schedulers [DATA]
#include "golden.h"

#include <math.h>

#include "base/os.h"
#include "base/philox.h"
#include "io/safetensors.h"
#include "models/scheduler.h"

#define SIZE 4     // schedulers.py
#define SEED 3
#define CLASSES 5

#ifndef VKS_TEST_DATA
#define VKS_TEST_DATA "tests/golden/data"
#endif

static const char *data = VKS_TEST_DATA;

struct trajectory {
    const char *name;
    const struct vks_safetensors *file;
    uint32_t asked;     // steps
    double exact;       // how far timesteps may be off, relatively
    struct vks_schedule schedule;
    const float *want;  // (count, 3, SIZE)
    double worst;
};

static void noise(uint32_t draw, float values[SIZE])
{
    vks_noise_normal(&(struct vks_noise){.seed = SEED, .offset = draw}, values, SIZE);
}

// Goes down the schedule in double; schedulers.py is the same in diffusers' floats.
static void follow(struct test *t, struct trajectory *r)
{
    float drawn[SIZE], got[3][SIZE];
    double x[SIZE], before[SIZE] = {0}, said[VKS_SCHEDULER_OUTPUTS][SIZE] = {{0}};  // said: this step's first
    noise(0, drawn);
    for (int i = 0; i < SIZE; i++)
        x[i] = drawn[i] * r->schedule.init_noise_sigma;
    for (uint32_t s = 0; s < r->schedule.count && !t->bad; s++) {
        const struct vks_scheduler_step *step = &r->schedule.steps[s];
        noise(s + 1, drawn);
        memmove(said[1], said[0], sizeof(said) - sizeof(*said));
        for (int i = 0; i < SIZE; i++) {
            const double input = step->input_scale * x[i];
            const double output = tanh(0.9 * input + 0.7 * sin(step->timestep / 120));
            got[0][i] = (float)input;
            got[1][i] = (float)(step->x0_sample * x[i] + step->x0_output * output);
            const double from = step->again ? before[i] : x[i];
            said[0][i] = output;
            before[i] = x[i];
            x[i] = step->next_sample * from + step->next_output * output + step->next_noise * drawn[i];
            for (int k = 1; k < VKS_SCHEDULER_OUTPUTS; k++)
                x[i] += step->next_earlier[k - 1] * said[k][i];
            got[2][i] = (float)x[i];
        }
        for (int i = 0; i < 3; i++) {
            const double gap = golden_distance(got[i], r->want + ((size_t)s * 3 + (size_t)i) * SIZE, SIZE);
            r->worst = gap > r->worst ? gap : r->worst;
            EXPECT(t, gap <= GOLDEN_TOLERANCE, "%s: step %u of %u: %s is off by %.3g", r->name, s, r->schedule.count,
                   (const char *[]){"input", "x0", "next"}[i], gap);
        }
    }
}

static const struct vks_st_tensor *need(struct test *t, const struct trajectory *r, const char *what, uint64_t count)
{
    char name[64];
    snprintf(name, sizeof(name), "%u.%s", r->asked, what);
    const struct vks_st_tensor *tensor = golden_need(t, r->file, name);
    EXPECT(t, !tensor || tensor->count == count, "%s: %s has %llu values", r->name, name,
           (unsigned long long)tensor->count);
    return t->bad ? NULL : tensor;
}

// `more`: one step more than asked for.
static void check_steps(struct test *t, struct trajectory *r, bool more)
{
    const uint32_t count = r->asked + more;
    EXPECT(t, r->schedule.count == count, "%s: %u steps, not %u", r->name, r->schedule.count, count);
    if (t->bad)
        return;
    const struct vks_st_tensor *times = need(t, r, "timesteps", count), *sigma = need(t, r, "init_noise_sigma", 1);
    const struct vks_st_tensor *steps = need(t, r, "steps", (uint64_t)count * 3 * SIZE);
    if (t->bad)
        return;
    const float *time = (const float *)(const void *)times->data, first = *(const float *)(const void *)sigma->data;
    EXPECT(t, fabs(r->schedule.init_noise_sigma / first - 1) <= GOLDEN_TOLERANCE, "%s: init_noise_sigma %g, not %g",
           r->name, r->schedule.init_noise_sigma, first);
    for (uint32_t i = 0; i < count; i++)
        EXPECT(t, fabs(r->schedule.steps[i].timestep - time[i]) <= r->exact * (1 + time[i]),
               "%s: timestep %u of %u is %.9g, not %.9g", r->name, i, count, r->schedule.steps[i].timestep, time[i]);
    r->want = (const float *)(const void *)steps->data;
    follow(t, r);
}

static uint32_t check_scheduler(struct test *t, const char *name, bool classes[CLASSES])
{
    static const uint32_t counts[] = {1, 2, 4, 7, 50};
    char folder[512], path[600];
    snprintf(folder, sizeof(folder), "%s/schedulers/%s", data, name);
    snprintf(path, sizeof(path), "%s/expected.safetensors", folder);
    struct vks_safetensors *file = vks_safetensors_open(test_log(t), path);
    struct vks_scheduler_config config;
    struct trajectory r = {.name = name, .file = file};
    uint32_t ran = 0;
    EXPECT(t, file && vks_scheduler_config_read(test_log(t), folder, NULL, &config), "%s cannot be opened", folder);
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts) && !t->bad; i++) {
        if (config.kind == VKS_SCHEDULER_LCM && counts[i] > config.original_steps)
            continue;
        r.asked = counts[i];
        r.exact = config.sigmas == VKS_SIGMAS_SPACED ? 1e-6 : 1e-4;  // logarithms of floats
        EXPECT(t, vks_schedule_init(test_log(t), &config, counts[i], NULL, &r.schedule), "%s: no schedule", name);
        if (!t->bad)
            check_steps(t, &r, config.kind == VKS_SCHEDULER_PNDM && counts[i] > 1);
        vks_schedule_finish(&r.schedule);
        ran++;
    }
    if (!t->bad)
        classes[config.kind] = true;
    printf("    %s: off by %.2g\n", name, r.worst);
    vks_safetensors_close(&file);
    return ran;
}

static void trajectories(struct test *t)
{
    char folder[512];
    struct vks_os_names names;
    bool classes[CLASSES] = {false};
    uint32_t ran = 0;
    snprintf(folder, sizeof(folder), "%s/schedulers", data);
    CHECK(t, vks_os_list(test_log(t), folder, &names));
    for (size_t i = 0; i < names.count && !t->bad; i++)
        ran += check_scheduler(t, names.items[i], classes);
    vks_os_names_finish(&names);
    for (int i = 0; i < CLASSES; i++)
        EXPECT(t, t->bad || classes[i], "no configuration of class %d", i);
    EXPECT(t, t->bad || ran >= 180, "only %u trajectories", ran);
}

// diffusers' step down by a stride is not the way to the next timestep; given timesteps are followed one by one.
static void given_timesteps(struct test *t)
{
    struct vks_scheduler_config config = {.kind = VKS_SCHEDULER_LCM, .train_steps = 1000, .beta_start = 1e-3,
                                          .beta_end = 1e-2, .original_steps = 50, .timestep_scaling = 10};
    struct vks_schedule schedule;
    CHECK(t, vks_schedule_init(test_log(t), &config, 1, (uint32_t[]){399}, &schedule));
    EXPECT(t, schedule.steps[0].timestep == 399 && schedule.steps[0].next_noise == 0, "DMD2's step");
    vks_schedule_finish(&schedule);
    config.kind = VKS_SCHEDULER_DDIM;
    CHECK(t, vks_schedule_init(test_log(t), &config, 2, (uint32_t[]){900, 100}, &schedule));
    // A model that knows the noise exactly takes x0 + noise down to the same mixture at the next timestep.
    const double bar = 1 / (schedule.steps[1].x0_sample * schedule.steps[1].x0_sample);
    const double first = 1 / (schedule.steps[0].x0_sample * schedule.steps[0].x0_sample);
    const double x0 = 0.7, noise_value = -1.3;
    const double x = sqrt(first) * x0 + sqrt(1 - first) * noise_value;
    const double next = schedule.steps[0].next_sample * x + schedule.steps[0].next_output * noise_value;
    EXPECT(t, fabs(next - (sqrt(bar) * x0 + sqrt(1 - bar) * noise_value)) < 1e-9, "the step from 900 to 100 gives %g",
           next);
    const double end = schedule.steps[1].next_sample * next + schedule.steps[1].next_output * noise_value;
    EXPECT(t, fabs(end - x0) < 1e-9, "the last step gives %g, not %g", end, x0);
    vks_schedule_finish(&schedule);
}

// Floats and a ring of outputs, as painters have them, against the double of follow().
static void advance(struct test *t)
{
    const struct vks_scheduler_config config = {.kind = VKS_SCHEDULER_PNDM, .train_steps = 1000, .beta_start = 1e-3,
                                                .beta_end = 1e-2, .spacing = VKS_SPACING_LEADING, .steps_offset = 1};
    struct vks_schedule schedule;
    float sample = 0.8f, before = 0, said[VKS_SCHEDULER_OUTPUTS] = {0};
    double x = sample, last = 0, history[16] = {0};
    CHECK(t, vks_schedule_init(test_log(t), &config, 8, NULL, &schedule) && schedule.count == 9);
    for (uint32_t s = 0; s < schedule.count; s++) {
        const struct vks_scheduler_step *step = &schedule.steps[s];
        const float *outputs[VKS_SCHEDULER_OUTPUTS];
        const double from = step->again ? last : x;
        history[s] = tanh(x + s);
        said[s % VKS_SCHEDULER_OUTPUTS] = (float)tanh(sample + s);
        for (uint32_t k = 0; k < VKS_SCHEDULER_OUTPUTS; k++)
            outputs[k] = &said[(s + VKS_SCHEDULER_OUTPUTS - k) % VKS_SCHEDULER_OUTPUTS];
        last = x;
        x = step->next_sample * from + step->next_output * history[s];
        for (uint32_t k = 1; k < VKS_SCHEDULER_OUTPUTS && k <= s; k++)
            x += step->next_earlier[k - 1] * history[s - k];
        vks_scheduler_advance(step, 1, &sample, &before, outputs, NULL);
        EXPECT(t, fabs(sample - x) < 1e-5 && fabs(before - last) < 1e-5, "step %u gives %g, not %g", s, sample, x);
    }
    vks_schedule_finish(&schedule);
}

// Another class by the settings of a folder.
static void chosen(struct test *t)
{
    char folder[512];
    struct vks_scheduler_config config;
    snprintf(folder, sizeof(folder), "%s/schedulers/euler-leading-v", data);
    CHECK(t, vks_scheduler_config_read(test_log(t), folder, "ddim", &config));
    EXPECT(t, config.kind == VKS_SCHEDULER_DDIM && config.prediction == VKS_PREDICT_V && config.steps_offset == 1 &&
                  config.spacing == VKS_SPACING_LEADING && config.scaled_linear && config.clip &&
                  !config.last_first_alpha,
           "DDIM by the settings of Euler");
    CHECK(t, vks_scheduler_config_read(test_log(t), folder, "pndm", &config));
    EXPECT(t, config.kind == VKS_SCHEDULER_PNDM && config.last_first_alpha, "PNDM by the settings of Euler");
    CHECK_REFUSED(t, vks_scheduler_config_read(test_log(t), folder, "dpm++", &config), "use euler");
    snprintf(folder, sizeof(folder), "%s/schedulers/euler-karras-ends", data);
    CHECK(t, vks_scheduler_config_read(test_log(t), folder, NULL, &config));
    EXPECT(t, config.sigmas == VKS_SIGMAS_KARRAS && config.sigma_min == 0.1 && config.sigma_max == 10,
           "Karras' ends");
    struct vks_schedule schedule;
    CHECK_REFUSED(t, vks_schedule_init(test_log(t), &config, 1, (uint32_t[]){399}, &schedule), "--timesteps out");
    CHECK(t, vks_scheduler_config_read(test_log(t), folder, "euler-a", &config));
    EXPECT(t, config.sigmas == VKS_SIGMAS_SPACED, "Karras' sigmas in a class without them");
    snprintf(folder, sizeof(folder), "%s/schedulers/euler-leading-x0", data);
    CHECK_REFUSED(t, vks_scheduler_config_read(test_log(t), folder, "pndm", &config), "--scheduler ddim");
}

static void refusals(struct test *t)
{
    struct vks_scheduler_config config = {.kind = VKS_SCHEDULER_LCM, .train_steps = 1000, .beta_start = 1e-3,
                                          .beta_end = 1e-2, .original_steps = 50, .timestep_scaling = 10};
    struct vks_schedule schedule;
    CHECK_REFUSED(t, vks_schedule_init(test_log(t), &config, 0, NULL, &schedule), "0 steps");
    CHECK_REFUSED(t, vks_schedule_init(test_log(t), &config, 51, NULL, &schedule), "choose 1 to 50");
    CHECK_REFUSED(t, vks_schedule_init(test_log(t), &config, 2, (uint32_t[]){399, 399}, &schedule), "falling");
    CHECK_REFUSED(t, vks_schedule_init(test_log(t), &config, 1, (uint32_t[]){1000}, &schedule), "below 1000");
    config.kind = VKS_SCHEDULER_PNDM;
    CHECK_REFUSED(t, vks_schedule_init(test_log(t), &config, 1, (uint32_t[]){399}, &schedule), "--timesteps");
    config.kind = VKS_SCHEDULER_LCM;
    config.clip = true;
    CHECK_REFUSED(t, vks_schedule_init(test_log(t), &config, 1, NULL, &schedule), "clip_sample");
    config = (struct vks_scheduler_config){.kind = VKS_SCHEDULER_DDIM, .train_steps = 1000, .beta_start = 1e-3,
                                           .beta_end = 1e-2, .spacing = VKS_SPACING_LEADING, .steps_offset = 1};
    CHECK_REFUSED(t, vks_schedule_init(test_log(t), &config, 1000, NULL, &schedule), "steps_offset 1");
    config.spacing = VKS_SPACING_TRAILING;
    config.zero_snr = true;  // the noise alone says nothing of the picture where nothing of it is left
    CHECK_REFUSED(t, vks_schedule_init(test_log(t), &config, 1, NULL, &schedule), "not finite");
}

int main(int argc, char **argv)
{
    struct test t = {0};
    if (argc > 1)
        data = argv[1];
    TEST(&t, trajectories);
    TEST(&t, given_timesteps);
    TEST(&t, advance);
    TEST(&t, chosen);
    TEST(&t, refusals);
    return test_summary(&t);
}
