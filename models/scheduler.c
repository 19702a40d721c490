#include "models/scheduler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "models/config.h"

static const char *const class_names[] = {"EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
                                          "LCMScheduler", "DDIMScheduler", "PNDMScheduler", NULL};
static const char *const names[] = {"euler", "euler-a", "lcm", "ddim", "pndm", NULL};
static const char *const prediction_names[] = {"epsilon", "v_prediction", "sample", NULL};
static const char *const spacing_names[] = {"linspace", "leading", "trailing", NULL};
static const char *const beta_names[] = {"linear", "scaled_linear", NULL};
static const char *const last_names[] = {"zero", "sigma_min", NULL};

// Settings that are supported with one value only, by the classes that read them.
static const struct vks_config_only only[] = {{"trained_betas", ""}, {NULL, NULL}};
static const struct vks_config_only only_euler[] = {
    {"use_beta_sigmas", "false"},
    {"interpolation_type", "\"linear\""},
    {"timestep_type", "\"discrete\""},
    {NULL, NULL},
};
static const struct vks_config_only only_clipping[] = {{"thresholding", "false"}, {NULL, NULL}};

const char *vks_scheduler_name(enum vks_scheduler_class kind)
{
    return names[kind];
}

const char *vks_scheduler_class_name(enum vks_scheduler_class kind)
{
    return class_names[kind];
}

static bool check_settings(const struct vks_log *log, const struct vks_json *json, int kind)
{
    const bool clipping = kind == VKS_SCHEDULER_DDIM || kind == VKS_SCHEDULER_LCM;
    if (kind == VKS_SCHEDULER_EULER && cJSON_IsTrue(vks_json_get(json->root, "use_beta_sigmas")))
        return vks_fail(log, "%s: use_beta_sigmas is not supported: give --scheduler ddim or euler-a, which go by "
                        "timesteps, or set it to false", json->path);
    return vks_config_check(log, json, only) &&
           (kind != VKS_SCHEDULER_EULER || vks_config_check(log, json, only_euler)) &&
           (!clipping || vks_config_check(log, json, only_clipping));
}

static bool read_sigmas(const struct vks_log *log, const struct vks_json *json, struct vks_scheduler_config *config)
{
    bool karras, exponential;
    if (!vks_json_bool(log, json, NULL, "use_karras_sigmas", false, &karras) ||
        !vks_json_bool(log, json, NULL, "use_exponential_sigmas", false, &exponential) ||
        !vks_json_number(log, json, NULL, "sigma_min", 0, 1e-6, 1e6, &config->sigma_min) ||
        !vks_json_number(log, json, NULL, "sigma_max", 0, 1e-6, 1e6, &config->sigma_max))
        return false;
    if (karras && exponential)
        return vks_fail(log, "%s: use_karras_sigmas and use_exponential_sigmas are both true: set one of them to "
                        "false", json->path);
    config->sigmas = karras ? VKS_SIGMAS_KARRAS : exponential ? VKS_SIGMAS_EXPONENTIAL : VKS_SIGMAS_SPACED;
    return true;
}

// What the classes do not share. `chosen`: the class is not the file's own.
static bool read_class(const struct vks_log *log, const struct vks_json *json, bool chosen,
                       struct vks_scheduler_config *config)
{
    const bool ddim = config->kind == VKS_SCHEDULER_DDIM, lcm = config->kind == VKS_SCHEDULER_LCM;
    const bool pndm = config->kind == VKS_SCHEDULER_PNDM;
    int64_t original;
    int last;
    bool one, skip;
    if (!vks_json_choice(log, json, NULL, "final_sigmas_type", last_names, 0, &last) ||
        !vks_json_int(log, json, NULL, "original_inference_steps", 50, 1, 100000, &original) ||
        !vks_json_number(log, json, NULL, "timestep_scaling", 10, 1e-6, 1e6, &config->timestep_scaling) ||
        !vks_json_bool(log, json, NULL, "set_alpha_to_one", !pndm, &one) ||
        !vks_json_bool(log, json, NULL, "skip_prk_steps", chosen, &skip) ||
        !vks_json_bool(log, json, NULL, "clip_sample", ddim, &config->clip))
        return false;
    if (pndm && !skip)
        return vks_fail(log, "%s: skip_prk_steps false is not supported: set it to true, or give --scheduler ddim",
                        json->path);
    if (pndm && config->prediction == VKS_PREDICT_SAMPLE)
        return vks_fail(log, "%s: PNDM predicts noise or velocity, not prediction_type sample: give --scheduler ddim",
                        json->path);
    if (lcm && original > config->train_steps)
        return vks_fail(log, "%s: original_inference_steps is above num_train_timesteps: correct the file",
                        json->path);
    config->original_steps = (uint32_t)original;
    config->last_sigma_min = last == 1 && config->kind == VKS_SCHEDULER_EULER;
    config->last_first_alpha = !one && (ddim || pndm);
    config->clip = config->clip && (ddim || lcm);
    return true;
}

// The class, by its number: that of `name`, or the file's own. Those of diffusers read each other's settings, so
// another one can take the place of one that is not here.
static bool read_kind(const struct vks_log *log, const struct vks_json *json, const char *name, int *kind)
{
    const char *own;
    const char *const *known = name ? names : class_names;
    if (!vks_json_require(log, json, NULL, "_class_name") ||
        !vks_json_string(log, json, NULL, "_class_name", NULL, &own))
        return false;
    for (*kind = 0; known[*kind]; ++*kind)
        if (!strcmp(name ? name : own, known[*kind]))
            return true;
    if (name)
        return vks_fail(log, "the scheduler %.60s is not known: use euler, euler-a, lcm, ddim or pndm", name);
    return vks_fail(log, "%s: the scheduler %.60s is not supported: give --scheduler euler or --scheduler ddim, "
                    "which take the same settings", json->path, own);
}

static bool read_config(const struct vks_log *log, const struct vks_json *json, const char *name,
                        struct vks_scheduler_config *config)
{
    int kind, prediction, spacing, beta;
    int64_t train, offset;
    if (!read_kind(log, json, name, &kind) || !check_settings(log, json, kind))
        return false;
    // The classes differ in their defaults.
    const bool lcm = kind == VKS_SCHEDULER_LCM, euler = kind <= VKS_SCHEDULER_EULER_ANCESTRAL;
    if (!vks_json_choice(log, json, NULL, "prediction_type", prediction_names, 0, &prediction) ||
        !vks_json_choice(log, json, NULL, "timestep_spacing", spacing_names, euler ? 0 : 1, &spacing) ||
        !vks_json_choice(log, json, NULL, "beta_schedule", beta_names, lcm ? 1 : 0, &beta) ||
        !vks_json_int(log, json, NULL, "num_train_timesteps", 1000, 1, 100000, &train) ||
        !vks_json_int(log, json, NULL, "steps_offset", 0, 0, 1000, &offset) ||
        !vks_json_number(log, json, NULL, "beta_start", lcm ? 0.00085 : 0.0001, 1e-9, 0.999, &config->beta_start) ||
        !vks_json_number(log, json, NULL, "beta_end", lcm ? 0.012 : 0.02, 1e-9, 0.999, &config->beta_end) ||
        !vks_json_bool(log, json, NULL, "rescale_betas_zero_snr", false, &config->zero_snr))
        return false;
    config->zero_snr = config->zero_snr && kind != VKS_SCHEDULER_PNDM;  // which does not read it
    config->kind = (enum vks_scheduler_class)kind;
    if (kind == VKS_SCHEDULER_EULER && !read_sigmas(log, json, config))
        return false;
    config->prediction = (enum vks_prediction)prediction;
    config->spacing = (enum vks_spacing)spacing;
    config->scaled_linear = beta == 1;
    config->train_steps = (uint32_t)train;
    config->steps_offset = (uint32_t)offset;
    return read_class(log, json, name != NULL, config);
}

bool vks_scheduler_config_read(const struct vks_log *log, const char *folder, const char *name,
                               struct vks_scheduler_config *config)
{
    *config = (struct vks_scheduler_config){0};
    struct vks_json *json = vks_config_open(log, folder, "scheduler_config.json");
    if (!json)
        return false;
    const bool done = read_config(log, json, name, config);
    vks_json_close(&json);
    return done;
}

char *vks_scheduler_rewrite(const struct vks_log *log, const char *path, enum vks_scheduler_class kind)
{
    struct vks_json *json = vks_json_open(log, path);
    if (!json)
        return NULL;
    cJSON *name = (cJSON *)vks_json_get(json->root, "_class_name");
    char *text = NULL;
    // What is read as PNDM skips these steps, which diffusers must be told.
    const bool skip = kind == VKS_SCHEDULER_PNDM && !vks_json_get(json->root, "skip_prk_steps");
    if (!cJSON_IsString(name))
        vks_fail(log, "%s: names no class of the scheduler: correct the file", path);
    else if (!cJSON_SetValuestring(name, class_names[kind]) ||
             (skip && !cJSON_AddTrueToObject(json->root, "skip_prk_steps")) || !(text = cJSON_Print(json->root)))
        vks_fail(log, VKS_NO_MEMORY);
    vks_json_close(&json);
    return text;
}

// alpha-bar of every training step: the product of 1 - beta.
static void alphas(const struct vks_scheduler_config *config, double bar[])
{
    const uint32_t n = config->train_steps;
    const double a = config->scaled_linear ? sqrt(config->beta_start) : config->beta_start;
    const double z = config->scaled_linear ? sqrt(config->beta_end) : config->beta_end;
    double product = 1;
    for (uint32_t i = 0; i < n; i++) {
        const double at = n > 1 ? a + (z - a) * i / (n - 1) : a;
        product *= 1 - (config->scaled_linear ? at * at : at);
        bar[i] = product;
    }
    if (!config->zero_snr)
        return;
    // Lin et al. 2023, algorithm 1: sqrt(alpha-bar) shifted and scaled so that it ends at 0.
    const double first = sqrt(bar[0]), last = sqrt(bar[n - 1]);
    for (uint32_t i = 0; i < n; i++) {
        const double root = (sqrt(bar[i]) - last) * first / (first - last);
        bar[i] = root * root;
    }
    if (config->kind == VKS_SCHEDULER_EULER || config->kind == VKS_SCHEDULER_EULER_ANCESTRAL)
        bar[n - 1] = 0x1p-24;  // diffusers: close to 0, so that the first sigma is finite
}

// Half to even, as numpy rounds.
static double round_even(double x)
{
    const double down = floor(x), rest = x - down;
    if (rest != 0.5)
        return floor(x + 0.5);
    return fmod(down, 2) == 0 ? down : down + 1;
}

// Whole numbers but for linspace, which DDIM and PNDM round.
static double spaced(const struct vks_scheduler_config *config, uint32_t count, uint32_t i)
{
    const double n = config->train_steps;
    switch (config->spacing) {
    case VKS_SPACING_LINSPACE:
        return count > 1 ? (n - 1) / (count - 1) * (count - 1 - i) : 0;
    case VKS_SPACING_LEADING:
        return (double)(config->train_steps / count) * (count - 1 - i) + config->steps_offset;
    default:
        return round_even(n - i * (n / count)) - 1;
    }
}

static double training_sigma(const double bar[], uint32_t t)
{
    return sqrt((1 - bar[t]) / bar[t]);
}

// Sigma at a timestep that may lie between two training steps.
static double sigma_at(const struct vks_scheduler_config *config, const double bar[], double t)
{
    const uint32_t last = config->train_steps - 1;
    t = t < 0 ? 0 : t > last ? last : t;
    const uint32_t low = (uint32_t)t, high = low < last ? low + 1 : low;
    const double a = training_sigma(bar, low), b = training_sigma(bar, high);
    return a + (b - a) * (t - low);
}

// The timestep of a sigma: between two training steps by the logarithms of theirs.
static double timestep_at(const struct vks_scheduler_config *config, const double bar[], double sigma)
{
    uint32_t low = 0, high = config->train_steps - 1;
    if (sigma <= training_sigma(bar, low) || sigma >= training_sigma(bar, high))
        return sigma <= training_sigma(bar, low) ? low : high;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        *(training_sigma(bar, middle) <= sigma ? &low : &high) = middle;
    }
    const double from = log(training_sigma(bar, low)), to = log(training_sigma(bar, high));
    return low + (log(sigma) - from) / (to - from);
}

// Sigma of step `i`.
static double euler_sigma(const struct vks_scheduler_config *config, const double bar[], const uint32_t timesteps[],
                          uint32_t count, uint32_t i)
{
    const double rho = 7;
    if (config->sigmas == VKS_SIGMAS_SPACED)
        return sigma_at(config, bar, timesteps ? timesteps[i] : spaced(config, count, i));
    const double most = config->sigma_max > 0 ? config->sigma_max : sigma_at(config, bar, spaced(config, count, 0));
    const double least = config->sigma_min > 0 ? config->sigma_min
                                               : sigma_at(config, bar, spaced(config, count, count - 1));
    const double way = count > 1 ? (double)i / (count - 1) : 0;
    if (config->sigmas == VKS_SIGMAS_EXPONENTIAL)
        return exp(log(most) + way * (log(least) - log(most)));
    const double root = pow(most, 1 / rho);
    return pow(root + way * (pow(least, 1 / rho) - root), rho);
}

static void euler(const struct vks_scheduler_config *config, const double bar[], const uint32_t timesteps[],
                  struct vks_schedule *schedule)
{
    double largest = 0;
    for (uint32_t i = 0; i < schedule->count; i++) {
        struct vks_scheduler_step *step = &schedule->steps[i];
        const double sigma = euler_sigma(config, bar, timesteps, schedule->count, i), square = sigma * sigma + 1;
        double next = config->last_sigma_min ? training_sigma(bar, 0) : 0;
        if (i + 1 < schedule->count)
            next = euler_sigma(config, bar, timesteps, schedule->count, i + 1);
        step->timestep = config->sigmas != VKS_SIGMAS_SPACED ? timestep_at(config, bar, sigma)
                         : timesteps                         ? timesteps[i]
                                                             : spaced(config, schedule->count, i);
        largest = sigma > largest ? sigma : largest;
        step->input_scale = 1 / sqrt(square);
        step->x0_sample = config->prediction == VKS_PREDICT_EPSILON ? 1
                          : config->prediction == VKS_PREDICT_V     ? 1 / square
                                                                    : 0;
        step->x0_output = config->prediction == VKS_PREDICT_EPSILON ? -sigma
                          : config->prediction == VKS_PREDICT_V     ? -sigma / sqrt(square)
                                                                    : 1;
        double down = next;  // ancestral: part of the way is fresh noise
        if (config->kind == VKS_SCHEDULER_EULER_ANCESTRAL && next > 0) {
            step->next_noise = next * sqrt(fmax(sigma * sigma - next * next, 0)) / sigma;
            down = next * next / sigma;
        }
        // next = sample + (sample - x0) / sigma * (down - sigma) + next_noise * noise
        const double rate = (down - sigma) / sigma;
        step->next_sample = 1 + rate * (1 - step->x0_sample);
        step->next_output = -rate * step->x0_output;
    }
    if (config->last_sigma_min) {
        const double end = training_sigma(bar, 0);
        largest = end > largest ? end : largest;
    }
    schedule->init_noise_sigma =
        config->spacing == VKS_SPACING_LEADING ? sqrt(largest * largest + 1) : largest;
}

// x0 = a sample + c output, where sample = sqrt(bar) x0 + sqrt(1 - bar) noise
static void x0_of(enum vks_prediction prediction, double bar, double *a, double *c)
{
    const double alpha = sqrt(bar), sigma = sqrt(1 - bar);
    *a = prediction == VKS_PREDICT_EPSILON ? 1 / alpha : prediction == VKS_PREDICT_V ? alpha : 0;
    *c = prediction == VKS_PREDICT_EPSILON ? -sigma / alpha : prediction == VKS_PREDICT_V ? -sigma : 1;
}

static void ddim(const struct vks_scheduler_config *config, const double bar[], const uint32_t timesteps[],
                 struct vks_schedule *schedule)
{
    schedule->init_noise_sigma = 1;
    for (uint32_t i = 0; i < schedule->count; i++) {
        struct vks_scheduler_step *step = &schedule->steps[i];
        const bool last = i + 1 == schedule->count;
        const int64_t t = timesteps ? timesteps[i] : (int64_t)round_even(spaced(config, schedule->count, i));
        // diffusers goes down by the same stride from every step, not to the next one of the spacing.
        const int64_t then = !timesteps ? t - (int64_t)(config->train_steps / schedule->count)
                             : last     ? -1
                                        : (int64_t)timesteps[i + 1];
        const double to = then >= 0 ? bar[then] : config->last_first_alpha ? bar[0] : 1;
        const double alpha = sqrt(bar[t]), sigma = sqrt(1 - bar[t]);
        step->timestep = (double)t;
        step->input_scale = 1;
        x0_of(config->prediction, bar[t], &step->x0_sample, &step->x0_output);
        // next = sqrt(to) x0 + sqrt(1 - to) (sample - alpha x0) / sigma
        const double keep = sqrt(to), rest = sqrt(1 - to) / sigma;
        step->next_sample = keep * step->x0_sample + rest * (1 - alpha * step->x0_sample);
        step->next_output = (keep - rest * alpha) * step->x0_output;
    }
}

// Linear multistep (Liu et al. 2022, section 3.3, as PNDMScheduler with skip_prk_steps has it): the outputs of up to
// four steps make one direction. As the second step knows only one before it, it goes the way of the first again, by
// the mean of the outputs at both its ends; that at the far end is not used afterwards.
static void pndm(const struct vks_scheduler_config *config, const double bar[], const uint32_t timesteps[],
                 struct vks_schedule *schedule)
{
    static const double weights[][VKS_SCHEDULER_OUTPUTS] = {  // of this step's output, of the one before, ...
        {1},
        {1. / 2, 1. / 2},
        {3. / 2, 0, -1. / 2},
        {23. / 12, -16. / 12, 0, 5. / 12},
        {55. / 24, -59. / 24, 37. / 24, 0, -9. / 24},
        {55. / 24, -59. / 24, 37. / 24, -9. / 24},
    };
    const uint32_t asked = schedule->count > 1 ? schedule->count - 1 : 1;
    const int64_t stride = config->train_steps / asked;
    const bool velocity = config->prediction == VKS_PREDICT_V;
    (void)timesteps;  // refused
    schedule->init_noise_sigma = 1;
    for (uint32_t i = 0; i < schedule->count; i++) {
        struct vks_scheduler_step *step = &schedule->steps[i];
        const double *weight = weights[i < 5 ? i : 5];
        const int64_t t = (int64_t)round_even(spaced(config, asked, i > 1 ? i - 1 : i));
        const int64_t from = i == 1 ? t + stride : t, then = i == 1 ? t : t - stride;
        const double at = bar[from], to = then >= 0 ? bar[then] : config->last_first_alpha ? bar[0] : 1;
        step->timestep = (double)t;
        step->input_scale = 1;
        step->again = i == 1;
        x0_of(config->prediction, bar[t], &step->x0_sample, &step->x0_output);
        // next = sqrt(to / at) sample - rate noise, where velocity gives noise = sqrt(at) output +
        // sqrt(1 - at) sample
        const double rate = (to - at) / (at * sqrt(1 - to) + sqrt(at * (1 - at) * to));
        const double noise = velocity ? sqrt(at) : 1;
        step->next_sample = sqrt(to / at) - (velocity ? rate * sqrt(1 - at) : 0);
        step->next_output = -rate * noise * weight[0];
        for (int k = 1; k < VKS_SCHEDULER_OUTPUTS; k++)
            step->next_earlier[k - 1] = -rate * noise * weight[k];
    }
}

static uint32_t lcm_timestep(const struct vks_scheduler_config *config, uint32_t count, uint32_t i)
{
    const uint32_t k = config->train_steps / config->original_steps;
    const uint32_t at = (uint32_t)floor((double)config->original_steps * i / count);
    return (config->original_steps - at) * k - 1;
}

static void lcm(const struct vks_scheduler_config *config, const double bar[], const uint32_t timesteps[],
                struct vks_schedule *schedule)
{
    const double data = 0.5;  // sigma_data
    schedule->init_noise_sigma = 1;
    for (uint32_t i = 0; i < schedule->count; i++) {
        struct vks_scheduler_step *step = &schedule->steps[i];
        const uint32_t t = timesteps ? timesteps[i] : lcm_timestep(config, schedule->count, i);
        const double scaled = t * config->timestep_scaling;
        const double skip = data * data / (scaled * scaled + data * data);
        const double out = scaled / sqrt(scaled * scaled + data * data);
        double a, c;
        x0_of(config->prediction, bar[t], &a, &c);
        step->timestep = t;
        step->input_scale = 1;
        step->x0_sample = out * a + skip;  // the boundary condition is part of what the model predicts
        step->x0_output = out * c;
        const bool last = i + 1 == schedule->count;
        const uint32_t then = last ? t : timesteps ? timesteps[i + 1] : lcm_timestep(config, schedule->count, i + 1);
        const double keep = last ? 1 : sqrt(bar[then]);
        step->next_sample = keep * step->x0_sample;
        step->next_output = keep * step->x0_output;
        step->next_noise = last ? 0 : sqrt(1 - bar[then]);
    }
}

static bool check(const struct vks_log *log, const struct vks_scheduler_config *config, uint32_t count,
                  const uint32_t timesteps[])
{
    const uint32_t most = config->kind == VKS_SCHEDULER_LCM && !timesteps ? config->original_steps
                                                                          : config->train_steps;
    if (count < 1 || count > most || count > VKS_SCHEDULER_MAX_STEPS)
        return vks_fail(log, "%u steps are not possible with this scheduler: choose 1 to %u", count,
                        most < VKS_SCHEDULER_MAX_STEPS ? most : VKS_SCHEDULER_MAX_STEPS);
    if (config->clip)
        return vks_fail(log, "this scheduler clips what it predicts (clip_sample), which is not supported: set "
                        "clip_sample to false in scheduler_config.json");
    if (timesteps && config->kind == VKS_SCHEDULER_PNDM)
        return vks_fail(log, "pndm goes by its own timesteps: give another --scheduler, or leave --timesteps out");
    if (timesteps && config->sigmas != VKS_SIGMAS_SPACED)
        return vks_fail(log, "sigmas by use_karras_sigmas or use_exponential_sigmas make their own timesteps: leave "
                        "--timesteps out, or give another --scheduler");
    const bool bounded = (config->kind == VKS_SCHEDULER_DDIM || config->kind == VKS_SCHEDULER_PNDM) && !timesteps;
    if (bounded && round_even(spaced(config, count, 0)) >= config->train_steps)
        return vks_fail(log, "%u steps with steps_offset %u begin above the last timestep: choose fewer steps", count,
                        config->steps_offset);
    for (uint32_t i = 0; timesteps && i < count; i++)
        if (timesteps[i] >= config->train_steps || (i && timesteps[i] >= timesteps[i - 1]))
            return vks_fail(log, "timestep %u is out of order: give falling numbers below %u", timesteps[i],
                            config->train_steps);
    return true;
}

bool vks_schedule_init(const struct vks_log *log, const struct vks_scheduler_config *config, uint32_t count,
                       const uint32_t timesteps[], struct vks_schedule *schedule)
{
    *schedule = (struct vks_schedule){0};
    if (!check(log, config, count, timesteps))
        return false;
    count += config->kind == VKS_SCHEDULER_PNDM && count > 1;
    double *bar = malloc(config->train_steps * sizeof(*bar));
    schedule->steps = calloc(count, sizeof(*schedule->steps));
    schedule->count = count;
    if (!bar || !schedule->steps) {
        free(bar);
        vks_schedule_finish(schedule);
        return vks_fail(log, VKS_NO_MEMORY);
    }
    alphas(config, bar);
    (config->kind == VKS_SCHEDULER_LCM    ? lcm
     : config->kind == VKS_SCHEDULER_DDIM ? ddim
     : config->kind == VKS_SCHEDULER_PNDM ? pndm
                                          : euler)(config, bar, timesteps, schedule);
    free(bar);
    bool finite = isfinite(schedule->init_noise_sigma);
    for (uint32_t i = 0; i < count; i++)
        finite = finite && isfinite(schedule->steps[i].next_sample) && isfinite(schedule->steps[i].next_output);
    if (!finite) {
        vks_schedule_finish(schedule);
        return vks_fail(log, "the noise schedule is not finite at these steps: choose another number of steps");
    }
    return true;
}

void vks_schedule_finish(struct vks_schedule *schedule)
{
    free(schedule->steps);
    *schedule = (struct vks_schedule){0};
}

void vks_scheduler_advance(const struct vks_scheduler_step *step, size_t count, float *sample, float *before,
                           const float *const outputs[VKS_SCHEDULER_OUTPUTS], const float *noise)
{
    const float from = (float)step->next_sample, output = (float)step->next_output, fresh = (float)step->next_noise;
    for (size_t i = 0; i < count; i++) {
        const float now = sample[i];
        sample[i] = from * (step->again ? before[i] : now) + output * outputs[0][i];
        before[i] = now;
    }
    for (int k = 1; k < VKS_SCHEDULER_OUTPUTS; k++)
        for (size_t i = 0; step->next_earlier[k - 1] != 0 && i < count; i++)
            sample[i] += (float)step->next_earlier[k - 1] * outputs[k][i];
    for (size_t i = 0; step->next_noise != 0 && i < count; i++)
        sample[i] += fresh * noise[i];
}
