// Noise schedules and the steps over them: EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, LCMScheduler,
// DDIMScheduler (eta 0) and PNDMScheduler (linear multistep alone, as Stable Diffusion 1.5 has it) of diffusers, in
// double.
//
// Every step is linear in what the model reads and writes, so a step is a handful of coefficients.
// Karras et al. 2022 (Euler, and sigmas by equation 5), Luo et al. 2023 (LCM), Song et al. 2021 (DDIM), Liu et al.
// 2022 (PNDM), Lin et al. 2023 (spacing, zero terminal SNR).
#ifndef VKS_MODELS_SCHEDULER_H
#define VKS_MODELS_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

#define VKS_SCHEDULER_MAX_STEPS 1000
#define VKS_SCHEDULER_OUTPUTS 5  // of the model that a step may read: its own, and those of the four before

enum vks_scheduler_class {
    VKS_SCHEDULER_EULER,
    VKS_SCHEDULER_EULER_ANCESTRAL,      // one step of it is one step of Euler
    VKS_SCHEDULER_LCM,
    VKS_SCHEDULER_DDIM,
    VKS_SCHEDULER_PNDM,
};
// "euler", "euler-a", "lcm", "ddim", "pndm".
const char *vks_scheduler_name(enum vks_scheduler_class kind);
// "EulerDiscreteScheduler" and so on.
const char *vks_scheduler_class_name(enum vks_scheduler_class kind);

enum vks_prediction {
    VKS_PREDICT_EPSILON,
    VKS_PREDICT_V,
    VKS_PREDICT_SAMPLE,
};

enum vks_spacing {
    VKS_SPACING_LINSPACE,
    VKS_SPACING_LEADING,
    VKS_SPACING_TRAILING,
};

// How Euler's sigmas go from that of the spacing's first timestep to that of its last.
enum vks_sigmas {
    VKS_SIGMAS_SPACED,                  // as the spacing has them
    VKS_SIGMAS_KARRAS,                  // even in their seventh roots
    VKS_SIGMAS_EXPONENTIAL,             // even in their logarithms
};

struct vks_scheduler_config {
    enum vks_scheduler_class kind;
    enum vks_prediction prediction;
    enum vks_spacing spacing;           // all but LCM
    uint32_t train_steps;
    double beta_start, beta_end;
    bool scaled_linear, zero_snr;
    enum vks_sigmas sigmas;             // Euler; with KARRAS and EXPONENTIAL timesteps lie between whole ones, and
    double sigma_min, sigma_max;        // these stand for the ends of the spacing, unless they are 0
    bool last_sigma_min;                // Euler: the last step ends at the smallest sigma and not at 0
    uint32_t steps_offset;              // leading
    bool last_first_alpha;              // DDIM, PNDM: the last step ends at the first training step's noise, not at 0
    bool clip;                          // DDIM and LCM: clip_sample, which vks_schedule_init refuses
    uint32_t original_steps;            // LCM
    double timestep_scaling;            // LCM
};

// Reads FOLDER/scheduler_config.json: for the class that it names, or for that of `name` (may be NULL) in its place,
// which takes the settings of both and its own defaults for the rest, as diffusers' from_config does; but
// skip_prk_steps, without which PNDM is refused, is then true by default, and in diffusers false.
bool vks_scheduler_config_read(const struct vks_log *log, const char *folder, const char *name,
                               struct vks_scheduler_config *config);

// The text of a scheduler_config.json in which `kind` takes the place of the class that it names; heap, free(). NULL
// after one message.
char *vks_scheduler_rewrite(const struct vks_log *log, const char *path, enum vks_scheduler_class kind);

// One step from `sample` with the model's `output`, where
//     input of the model = input_scale * sample
//     x0   = x0_sample * sample + x0_output * output            (the picture as the model sees it now)
//     next = next_sample * sample + next_output * output + next_noise * noise, noise ~ N(0, 1)
// After the last step `next` goes to the decoder. The last step (and so a single one) reads no noise. In PNDM `next`
// also has next_earlier[k] * the output of the step k + 1 before this one, and with `again` its sample is that of the
// step before: the way is gone once more. The first step of any schedule reads neither.
struct vks_scheduler_step {
    double timestep;
    double input_scale;
    double x0_sample, x0_output;
    double next_sample, next_output, next_noise;
    double next_earlier[VKS_SCHEDULER_OUTPUTS - 1];
    bool again;
};

struct vks_schedule {
    uint32_t count;                     // with PNDM's second step one more than asked for
    double init_noise_sigma;            // first sample = init_noise_sigma * noise
    struct vks_scheduler_step *steps;
};

// The schedule of `count` steps; with `timesteps` (falling integers) those in place of the spacing's own (DMD2 starts
// at 399). False after one message. Free with vks_schedule_finish.
bool vks_schedule_init(const struct vks_log *log, const struct vks_scheduler_config *config, uint32_t count,
                       const uint32_t timesteps[], struct vks_schedule *schedule);
void vks_schedule_finish(struct vks_schedule *schedule);

// Makes `sample` the next one, and `before` what it was. outputs[k]: what the model said k steps ago. `noise` is read
// only where next_noise is not 0.
void vks_scheduler_advance(const struct vks_scheduler_step *step, size_t count, float *sample, float *before,
                           const float *const outputs[VKS_SCHEDULER_OUTPUTS], const float *noise);

#endif
