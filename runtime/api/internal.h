// Private to runtime/api: what its files share.
#ifndef VKS_API_INTERNAL_H
#define VKS_API_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "api/vksteer.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/philox.h"
#include "exec/exec.h"
#include "gpu/gpu.h"
#include "io/safetensors.h"
#include "models/decoder.h"
#include "models/lora.h"
#include "models/pipeline.h"
#include "steer/methods.h"
#include "steer/steering.h"
#include "steer/subject.h"

// The user's log behind the library's. Points into itself: it may not be moved.
struct vks_api_log {
    struct vks_log log;
    struct vksteer_log user;
};
const struct vks_log *vks_api_log_init(struct vks_api_log *bridge, const struct vksteer_log *user);

struct vksteer_session {
    struct vks_api_log bridge;
    struct vks_gpu *gpu;
    struct vksteer_device_info device;
    char *model_path;
};

struct vksteer_model {
    vksteer_session *session;         // NULL: described only
    struct vks_api_log bridge;        // used without a session
    const struct vks_log *log;
    struct vks_pipeline *pipeline;    // of a diffusers folder, or
    struct vks_lora *loras[VKSTEER_MAX_LORAS];  // that the weights refer to
    struct vks_decoder *decoder;      // of a language model: one of the two is NULL
    struct vks_tokenizer *tokenizer;  // of the decoder, opened when it is first needed
    struct vksteer_model_info info;
    uint32_t apply_steps;             // defaults of pictures
    double apply_cfg;
    const char *place_sites[VKS_PLACES];  // where methods act when no sites are given; NULL: at info.train_sites
    char fingerprint[128];            // see vks_api_fingerprint
    uint64_t hash;                    // of the parameters
    char hash_text[17];
    struct vks_arena arena;           // strings of info
    struct vks_arena site_arena;      // what vksteer_model_sites gave last
};

// Whether there is a device to run on; says so if not.
bool vks_api_can_run(const vksteer_model *model);
// Where `name` ("emoji", "prompts/...") lies, heap; NULL when it is nowhere.
char *vks_api_find(const vksteer_session *session, const char *name);
// The snapshot of a repository id ("org/name" or "org/name@REVISION": a branch, a tag or a commit; main by default)
// in the local Hugging Face cache, heap; NULL when there is none. *other: the repository is there, but not that
// revision.
char *vks_api_find_repository(const char *id, bool *other);
// The folder that gives a single-file checkpoint configuration and tokenizer, heap; NULL after one message.
char *vks_api_base_of(const struct vks_log *log, const char *path);
// Count, mean and root mean square of the norm weights, of the UNet or the decoder: the same for every storage type
// of one model. With LoRAs, " lora " and a hash of them follow.
void vks_api_fingerprint(vksteer_model *model);
// Fingerprints are made of these sums.
struct vks_api_norms {
    uint64_t count;
    double sum, squares;
};
void vks_api_norms_add(struct vks_api_norms *norms, const float *weights, uint64_t count);
void vks_api_norms_text(const struct vks_api_norms *norms, char *text, size_t capacity);

// False after one message: `what` ("the picture is") the model makes is not finite, because of the weight that is
// named, or of something else.
bool vks_api_not_finite(const vksteer_model *model, const char *what);

// Adds the whole model with one sample, for lists of sites; uploads nothing.
bool vks_api_graph(vksteer_model *model, struct vks_graph *graph);
// Whether the model makes pictures; if not, says that `what` ("apply") is of such models.
bool vks_api_paints(const vksteer_model *model, const char *what);

// ---- language.c: language models ----------------------------------------------------------------------------------

// Opens the folder or file model->info.path and fills in decoder, info and defaults.
bool vks_api_language_open(vksteer_model *model);
void vks_api_language_close(vksteer_model *model);
// Tokens of the text that stands for any other where sites and plans are asked for.
uint32_t vks_api_text_length(const vksteer_model *model);
// NULL after one message.
const struct vks_tokenizer *vks_api_tokenizer(vksteer_model *model);
// What texts are padded to: lengths 8 apart up to 64, of those above four between neighbouring powers of two. So few
// graphs serve all texts, and little of them is padding.
uint32_t vks_api_padded(uint32_t tokens);

// ---- model.c, again: pictures -------------------------------------------------------------------------------------

// Whether a picture at this guidance scale takes two passes a step.
bool vks_api_guided(const vksteer_model *model, double cfg_scale);
// Picture size, in pixels, with the model's defaults filled in; refused unless both divide into latents.
bool vks_api_size(const vksteer_model *model, uint32_t *width, uint32_t *height);
// The schedule of a picture in so many steps; 0: as many as the model takes. Free it with vks_schedule_finish.
bool vks_api_schedule(const vksteer_model *model, uint32_t steps, struct vks_schedule *schedule);
// Noise of a picture, (h, w, C) channels-last, drawn in PyTorch's order (C, h, w).
bool vks_api_noise(const vksteer_model *model, const struct vks_noise *noise, uint32_t height, uint32_t width,
                   float *values);
// (C, h, w) to (h, w, C).
void vks_api_channels_last(const float *in, uint32_t channels, uint64_t pixels, float *out);

// ---- describe.c: what is on the device ----------------------------------------------------------------------------

// vks_weights_dry of the whole model.
bool vks_api_dry(vksteer_model *model, bool dry);
// Bytes that parameters which graphs asked for while it was dry are still going to take on the device, with what
// their storages may waste.
uint64_t vks_api_missing(const vksteer_model *model);
#define VKS_API_SLACK(bytes) ((bytes) + (bytes) / 32 + ((uint64_t)1 << 20))  // what planned bytes may become

// ---- train.c: what a training works with ---------------------------------------------------------------------------

// vks_exec_params.keep of a LinEAS training, as long as there is memory.
uint64_t vks_api_keep(const vksteer_model *model);

// ---- text.c: prompts to embeddings --------------------------------------------------------------------------------

#define VKS_API_TEXT_BATCH 8  // prompts that training reads at once

struct vks_api_text;
// `attachment` may be NULL. The batch is how many prompts one run takes. Holds the text encoders' weights.
struct vks_api_text *vks_api_text_create(vksteer_model *model, uint32_t batch, struct vks_attachment *attachment);
void vks_api_text_destroy(struct vks_api_text **text);
// What it would take, without uploading anything.
struct vks_api_text_size {
    uint32_t context[2], pooled;  // (T, C) of a prompt; width of its vector, 0 without
    struct vks_exec_plan plan;    // of one run
};
bool vks_api_text_measure(vksteer_model *model, uint32_t batch, struct vks_attachment *attachment,
                          struct vks_api_text_size *size);
// Any number of prompts; context (count, T, C), pooled (count, P) or NULL. `step` may be NULL.
bool vks_api_text_run(struct vks_api_text *text, const char *const prompts[], size_t count,
                      const uint32_t step[VKS_STEP_WORDS], float *context, float *pooled);

// ---- subject.c: the model as training sees it ---------------------------------------------------------------------

struct vks_api_subject_params {
    const char *const *prompts[VKS_SETS];  // by enum vks_prompt_set; must outlive the subject
    size_t counts[VKS_SETS];
    const char *sites, *loss_sites;   // either may be NULL; they decide whether the text encoder is in the graph,
    bool text;                        // or this does
    uint32_t width, height;           // pixels; 0: the model's
    uint32_t length;                  // tokens of a language model's texts; 0: what they need
    uint64_t seed;
    uint32_t sample_steps;            // of the schedule, whose first step is run; 0: the model's
    double cfg_scale;                 // read by models that embed it; 0: the model's
    bool dry;                         // graphs are measured and never run: no prompt is encoded
    bool cache;                       // activations of the targets are kept in the user's cache folder
};
struct vks_api_subject {
    struct vks_subject subject;
    char *cache;
    void (*destroy)(struct vks_api_subject *subject);  // frees the struct that begins with this one
};
struct vks_api_subject *vks_api_subject_create(vksteer_model *model, const struct vks_api_subject_params *params);
void vks_api_subject_destroy(struct vks_api_subject **subject);
const struct vks_subject *vks_api_subject(const struct vks_api_subject *subject);
// subject_image.c, subject_text.c: hash, build, feed and destroy filled in.
struct vks_api_subject *vks_api_subject_of_pictures(vksteer_model *model,
                                                    const struct vks_api_subject_params *params);
struct vks_api_subject *vks_api_subject_of_texts(vksteer_model *model, const struct vks_api_subject_params *params);
// Sets the subject's hashes: what its samples depend on beside prompts is in `hash`, the same and what the model
// reads of the target prompts in `targets`.
void vks_api_subject_hash(struct vks_api_subject *subject, const struct vks_hash *hash,
                          const struct vks_hash *targets, const struct vks_api_subject_params *params);

// ---- uses.c: steering files on a model ----------------------------------------------------------------------------

// Loaded, checked against the model's class and weights and, where asked for, inverted.
struct vks_api_steerings {
    const struct vksteer_use *uses;        // the caller's; must outlive this
    struct vks_steering items[VKSTEER_MAX_STEERINGS];
    float strengths[VKSTEER_MAX_STEERINGS];
    size_t count;
};
enum vks_api_care {
    VKS_API_QUIET = 1,                     // no warnings: somebody else gives them
    VKS_API_STRICT = 2,                    // refuse steerings of other weights
};
// `care`: a sum of the above. False: nothing to finish.
bool vks_api_steerings_load(const vksteer_model *model, const struct vksteer_use *uses, size_t count, unsigned care,
                            struct vks_api_steerings *out);
void vks_api_steerings_finish(struct vks_api_steerings *steerings);
// Whether all of their sites are in this graph of the whole model, with their widths.
bool vks_api_steerings_fit(const vksteer_model *model, const struct vks_api_steerings *steerings,
                           const struct vks_graph *graph);
// Whether no map of a language model sees tokens that come later, as the average of a text does; refused if one does.
bool vks_api_causal(const vksteer_model *model, const struct vks_api_steerings *steerings);
// Whether a site lies in a text encoder.
bool vks_api_steerings_in_text(const struct vks_api_steerings *steerings);
// Takes out maps in the decoder, which no activation of text encoder or UNet depends on.
#define VKS_API_DECODER "vae."  // what the names of its sites begin with
void vks_api_steerings_drop_decoder(struct vks_api_steerings *steerings);

// On the device.
struct vks_api_uses {
    struct vks_attachment *attachment;     // NULL without steerings
    float strengths[VKS_STEP_STRENGTHS];
    size_t count;
    bool text;                             // some site lies in a text encoder
};
// Uploads them; they may be finished afterwards.
bool vks_api_uses_open(vksteer_model *model, const struct vks_api_steerings *steerings, struct vks_api_uses *uses);
void vks_api_uses_close(struct vks_api_uses *uses);
// Whether these strengths, one a steering, make sense; NULL does.
bool vks_api_uses_check(const struct vks_api_uses *uses, const struct vks_log *log, const float *strengths);
// Step words with these strengths (NULL: those of the files' uses).
void vks_api_uses_step(const struct vks_api_uses *uses, const float *strengths, uint32_t step[VKS_STEP_WORDS]);

// ---- painter.c ----------------------------------------------------------------------------------------------------

// vksteer_painter_open with steerings that are loaded already, instead of those of the params.
vksteer_painter *vks_api_painter_open(vksteer_model *model, const struct vksteer_paint_params *params,
                                      const struct vks_api_steerings *steerings);
// What the stages of a picture take, and figures of what ran.
struct vks_api_stage {
    uint64_t weights, run;        // bytes on the device: parameters, and the graph's memory
    double flop;                  // of one run
    uint32_t dispatches;
    uint32_t runs;                // so far
    double run_seconds, load_seconds;   // of the last run, and of when it last came to the device, weights and all
    uint64_t device;              // bytes that it then took
};
const struct vks_api_stage *vks_api_painter_stages(const vksteer_painter *painter);
// The same before anything is painted, or checked for whether it fits the device.
bool vks_api_painter_plan(vksteer_model *model, const struct vksteer_paint_params *params,
                          struct vks_api_stage stages[VKS_STAGES]);

// ---- tiles.c: a picture in overlapping pieces ---------------------------------------------------------------------

// Along one axis: `count` tiles of `size`, the first at 0, the last ending at `extent`.
struct vks_api_tiles {
    uint32_t extent, size, count;
};
// Tiles that overlap by a quarter of their size at least.
struct vks_api_tiles vks_api_tiles_of(uint32_t extent, uint32_t size);
uint32_t vks_api_tile_first(const struct vks_api_tiles *tiles, uint32_t index);
// How much of pixel `at` comes from tile `index`, where a latent is `factor` pixels: over all tiles these make 1, and
// rise and fall in straight lines where two overlap.
float vks_api_tile_share(const struct vks_api_tiles *tiles, uint32_t factor, uint32_t index, uint32_t at);

// ---- fold.c: maps at fixed strengths, folded into parameters ------------------------------------------------------

struct vks_api_folding {
    const char *site;
    uint32_t part;                         // of the pipeline
    const char *weight, *bias;             // names in the part's files; bias NULL: the layer has none
    uint32_t channels;
    double *gain, *offset;                 // (channels): z' = gain z + offset, of all steerings in order
};
struct vks_api_foldings {
    struct vks_api_folding *items;         // without maps that change nothing
    size_t count, capacity;
    struct vks_arena arena;
};
// What the steerings do to the parameters. Needs no device. False: one message that names the first site that cannot
// be folded exactly, or that the model does not have.
bool vks_api_fold(vksteer_model *model, const struct vks_steering steerings[], const float strengths[], size_t count,
                  struct vks_api_foldings *out);
void vks_api_foldings_finish(struct vks_api_foldings *foldings);
// The folded tensor, heap: the weight (rows times gain) or the bias (times gain, plus offset). *dtype is the tensor's
// own, or F32 where rounding to it would overflow or lose more than 1/16 of the change (root mean squares).
// vks_api_fold_values: the same from values that are at hand, and overwritten; `tensor` says how it was stored. With
// `fold` NULL they are rounded alone, to F32 only where the type overflows.
void *vks_api_fold_values(const struct vks_log *log, const char *path, const struct vks_st_tensor *tensor,
                          float *values, const struct vks_api_folding *fold, bool bias, enum vks_st_dtype *dtype);
void *vks_api_fold_tensor(const struct vks_log *log, const struct vks_safetensors *file,
                          const struct vks_st_tensor *tensor, const struct vks_api_folding *fold, bool bias,
                          enum vks_st_dtype *dtype);

// ---- tune.c: the overrides of the kernel table that `bench --tune` wrote for this device --------------------------

// Where they are kept; heap, NULL without a cache folder.
char *vks_api_tuning_path(const vksteer_session *session, bool create);
// Reads them into the device's limits, if there are any; a file that makes no sense is warned about and ignored.
void vks_api_tuning_load(vksteer_session *session);
// By enum vks_matmul_use: 1 + the variant, or 0. All 0 removes the file.
bool vks_api_tuning_save(const vksteer_session *session, const char *path, const uint8_t matmul[3]);

#endif
