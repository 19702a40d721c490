// vksteer: activation steering on any Vulkan device. The C library (libvksteer).
//
// A session is a device and a log. A model is opened in a session; steerings are files. Errors: a call that fails
// returns false, NULL or VKSTEER_FAILED after it has sent one line to the log that says what to do. Nothing here
// exits, aborts or prints. Objects are freed by their own close function, which takes the address, accepts NULL and
// nulls it. A session and what belongs to it are used by one thread at a time, which may be another one for
// each session; devices are listed, sessions opened, closed and self-tested by one thread at a time.
#ifndef VKSTEER_H
#define VKSTEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)  // of the shared library's symbols, these alone are seen
#endif

#define VKSTEER_VERSION "0.1.0"
#define VKSTEER_MAX_STEERINGS 16
#define VKSTEER_MAX_LORAS 8
#define VKSTEER_MAX_TIMESTEPS 64

typedef struct vksteer_session vksteer_session;
typedef struct vksteer_model vksteer_model;

// ---- log and session ----------------------------------------------------------------------------------------------

enum vksteer_log_level {
    VKSTEER_LOG_ERROR,
    VKSTEER_LOG_WARN,
    VKSTEER_LOG_INFO,
    VKSTEER_LOG_DEBUG,
};

struct vksteer_log {
    void (*print)(void *priv, enum vksteer_log_level level, const char *message);
    void *priv;
    enum vksteer_log_level level;
};

struct vksteer_device_info {
    uint32_t index;
    char name[256], driver[256];
    const char *type;                   // "discrete", "integrated", "virtual", "cpu", "other"
    uint64_t memory;                    // bytes that may be used
    uint64_t max_range, max_alloc;      // bytes
    uint32_t api_version, subgroup_size, max_invocations, max_shared;
    bool fp16, int8, int64, storage16, storage8, cooperative_matrix;
    bool wide_loads;                    // kernels load 64 bits at a time: CPU drivers with int64
    bool texels;                        // or 128, from texel buffers
    bool addresses;                     // or take device addresses in place of descriptors
    bool chosen;                        // the one that a session without `device` takes
};

struct vksteer_session_params {
    struct vksteer_log log;
    const char *device;                 // number or part of a name; NULL: the best there is
    uint64_t memory_mib;                // 0: what the driver reports
    bool phone_limits, validate;
    bool own_process;                   // the library may set environment variables that drivers read, for speed; not
                                        // where other threads read the environment
    // Folder in which built-in models are looked for first. NULL: $VKSTEER_MODELS, ../assets and ../share/vksteer as
    // seen from the program, the folder that was given when the library was built, its source tree.
    const char *model_path;
};

// Fills at most `capacity` rows (the names stay valid for good); returns the number of devices, or -1 without a
// Vulkan loader. Of the parameters it reads `log` and `own_process`.
int vksteer_devices(const struct vksteer_session_params *params, struct vksteer_device_info *devices, int capacity);

// NULL without a usable device.
vksteer_session *vksteer_session_open(const struct vksteer_session_params *params);
void vksteer_session_close(vksteer_session **session);
const struct vksteer_device_info *vksteer_session_device(const vksteer_session *session);
// Bytes of device memory in use now; *peak (may be NULL): at most so far.
uint64_t vksteer_session_memory(const vksteer_session *session, uint64_t *peak);
unsigned vksteer_session_validation_messages(const vksteer_session *session);

// ---- models -------------------------------------------------------------------------------------------------------

// `model`: a diffusers folder; a single-file checkpoint of an image model whose base is in the local Hugging Face
// cache; a language model's Hugging Face folder or .gguf file; a repository id from that cache, with "@REVISION" (a
// branch, a tag or a commit) or at main; or the name of a built-in model ("emoji"; NULL is the same). `session` may
// be NULL: the model can then be described but not run, and messages go to `log` (which a session brings along
// itself).
vksteer_model *vksteer_model_open(vksteer_session *session, const struct vksteer_log *log, const char *model);
// The same with other parts (image models only), and with LoRAs merged into the weights when they are uploaded. Zero
// members: none.
struct vksteer_lora {
    const char *path;                   // .safetensors, .bin, .pt; in the names of diffusers, PEFT or kohya; or a
                                        // folder that PEFT saved
    float strength;                     // 1: as trained
};
struct vksteer_model_params {
    const char *model;                  // as above
    const char *checkpoint;             // a single file in the original layout (model.diffusion_model...), whose
                                        // weights take the place of the model's, part by part; the model gives the
                                        // rest
    const char *unet;                   // a file of UNet weights in place of the model's: .safetensors, .bin, .pt
    const char *vae;                    // a folder of an autoencoder in its place (config.json and weights)
    const char *variant;                // of the folder's weights, taken where there is one: "fp16"; NULL: the plain
                                        // ones before those of fp16
    const struct vksteer_lora *loras;   // at most VKSTEER_MAX_LORAS
    size_t lora_count;
    const char *scheduler;              // "euler", "euler-a", "lcm", "ddim", "pndm" in place of the model's, with the
                                        // settings in its folder
    const uint32_t *timesteps;          // falling, in place of the scheduler's own: a picture takes so many steps,
    size_t timestep_count;              // and training is at the first of them; at most VKSTEER_MAX_TIMESTEPS
};
vksteer_model *vksteer_model_open_with(vksteer_session *session, const struct vksteer_log *log,
                                       const struct vksteer_model_params *params);
// Lets a model that was opened without a session run in this one, which must outlive it; messages still go to the log
// it was opened with. So files are checked before a device is touched. False: it has a session.
bool vksteer_model_attach(vksteer_model *model, vksteer_session *session);
void vksteer_model_close(vksteer_model **model);

struct vksteer_model_info {
    const char *path, *pipeline;        // folder or file; "StableDiffusionPipeline", "LlamaForCausalLM"
    const char *architecture;           // what a steering file records
    const char *hash;                   // of the weights, what was put over them and LoRAs: 16 hexadecimal digits
    uint32_t width, height;             // default picture, in pixels; 0 of language models
    const char *scheduler;              // "euler", and so on; NULL of language models
    uint32_t steps;                     // of the default picture
    double cfg_scale;
    uint32_t timesteps[VKSTEER_MAX_TIMESTEPS];   // as in the params, timestep_count of them
    uint32_t timestep_count;
    uint32_t context, layers, channels, vocabulary;   // of language models: tokens, blocks, width, tokens known; or 0
    uint64_t parameters, bytes;
    uint32_t parts;                     // rows of part_names and so on
    const char *part_names[8], *part_classes[8];
    const char *part_files[8];          // what was put in its place, by the params, or NULL
    uint64_t part_parameters[8];
    uint32_t loras;                     // rows of lora_files and so on, as in the params
    const char *lora_files[VKSTEER_MAX_LORAS];
    float lora_strengths[VKSTEER_MAX_LORAS];
    uint32_t lora_layers[VKSTEER_MAX_LORAS];   // layers that each of them changes
    // Steering defaults of the model (vksteer.json in its folder; otherwise those of its class).
    const char *train_sites, *train_optimizer;
    double train_lr, train_gamma;
    uint32_t train_steps, train_refit, train_batch;
};
const struct vksteer_model_info *vksteer_model_info(const vksteer_model *model);

struct vksteer_site {
    const char *name;                   // the PyTorch module's
    const char *kind;                   // "tokens", "pixels", "vector"
    uint32_t channels, rows;            // D; tokens or pixels of one sample
};
// Sites that the regular expression matches (NULL: all) of a forward pass at the default size. *sites belongs to the
// model and lives until the next call.
bool vksteer_model_sites(vksteer_model *model, const char *expression, const struct vksteer_site **sites,
                         size_t *count);

// Memory and work, without running anything or loading a weight: of a picture with the model's own steps and guidance
// (of a language model: a text of 64 tokens), and of a LinEAS training step on 32 source and 32 target prompts. Needs
// a session: the plan depends on the device's limits. Bytes are those of device memory; what is allocated may be a
// few percent more.
struct vksteer_plan_params {
    const char *sites;                  // zero members: the model's
    uint32_t batch, micro_batch;        // of the training step; micro_batch 0: the batch
    uint32_t width, height;             // pixels
};
struct vksteer_plan_stage {
    const char *name;                   // "text encoders", "UNet", "decoder", "model"
    uint64_t weight_bytes, run_bytes;   // parameters; and values beside them while it runs
};
struct vksteer_plan {
    uint32_t width, height, batch, micro_batch;        // planned for
    uint64_t budget_bytes;                             // that may be used (memory_mib of the session)
    uint32_t stage_count;
    struct vksteer_plan_stage stages[3];
    uint64_t weight_bytes, apply_bytes;                // sums over the stages: all of them at once on the device,
    uint64_t apply_peak_bytes;                         // and the largest of them alone
    uint64_t train_weight_bytes;                       // of what a step runs,
    uint64_t train_bytes, train_recompute_bytes;       // and beside them, with and without recomputation
    uint64_t train_reading_bytes;                      // before, while the text encoders read the prompts, or 0
    double apply_flop, train_flop;
    uint32_t apply_dispatches, train_dispatches;
};
bool vksteer_model_plan(vksteer_model *model, const struct vksteer_plan_params *params, struct vksteer_plan *plan);

// The path of a file that comes with the program ("prompts/style.source.txt"), looked for where built-in models are.
// free() it; NULL when it is not there (no message).
char *vksteer_asset(const vksteer_session *session, const char *name);

// ---- language models in GGUF files --------------------------------------------------------------------------------
//
// What is in a file, also of architectures that vksteer_model_open refuses.

struct vksteer_gguf_type {
    const char *name;                   // "Q4_K"
    uint64_t tensors, parameters, bytes;
};
struct vksteer_gguf_tensor {
    const char *name, *type;
    const char *site;                   // the PyTorch module whose parameter it holds; NULL: not known
    const char *form;                   // how it differs from that parameter, "1 + weight"; NULL: not at all
    uint32_t rank;
    uint64_t shape[4];                  // in PyTorch's order
    uint64_t parameters, bytes;
};
// NULL and 0: the file does not say. Texts are fit to be printed: control and invalid bytes stand as \xNN, and what
// is longer than 200 bytes is cut.
struct vksteer_gguf {
    const char *path, *architecture, *name;
    const char *tokenizer, *pre_tokenizer;   // "gpt2", "smollm"
    uint32_t version;                   // of the format
    uint64_t parameters, bytes;
    uint64_t context, window;           // tokens: of the whole context, of local attention
    uint64_t width, layers;
    uint64_t heads, kv_heads, head_width, feed_forward;   // where layers differ, the largest
    uint64_t vocabulary;                // tokens
    double rope_base;
    const char *fingerprint;            // statistics of the norm weights: equal for every storage type of one model
    size_t type_count, tensor_count, metadata_count;
    const struct vksteer_gguf_type *types;
    const struct vksteer_gguf_tensor *tensors;   // in the order of the file, and so is the metadata
    const char *const *keys, *const *values;     // numbers and short arrays written out, long ones counted
    void *priv;
};
// Whether a path is to be taken for a GGUF file: it is there, and begins with "GGUF" or is named .gguf.
bool vksteer_is_gguf(const char *path);
bool vksteer_gguf_describe(const struct vksteer_log *log, const char *path, struct vksteer_gguf *gguf);
void vksteer_gguf_finish(struct vksteer_gguf *gguf);

// ---- steerings ----------------------------------------------------------------------------------------------------

struct vksteer_use {
    const char *path;                   // steering file
    float strength;                     // 1 = as trained, 0 = off (the unsteered bits exactly)
    bool inverse;                       // apply the inverse maps
};

// Whether the files are steerings that fit the model: its architecture, sites and widths. Needs no session. Says
// errors alone: warnings come where the steerings are used.
bool vksteer_model_fits(vksteer_model *model, const struct vksteer_use *steerings, size_t count, bool strict);

struct vksteer_map_info {
    const char *site;
    uint32_t channels, support;         // channels that the map changes
    double max_w, max_b;                // max |w - 1|, max |b|
    bool ranged;                        // values outside a range are left alone
};
struct vksteer_inspection {
    size_t metadata_count;
    const char *const *keys, *const *values;
    size_t map_count;
    const struct vksteer_map_info *maps;
    uint64_t channels, support;
    double max_w, max_b;
    // The strongest channels, by |w - 1| + |b|.
    struct { const char *site; uint32_t channel; float w, b; } strongest[16];
    size_t strongest_count;
    void *priv;
};
bool vksteer_inspect(const struct vksteer_log *log, const char *path, struct vksteer_inspection *inspection);
void vksteer_inspection_finish(struct vksteer_inspection *inspection);

struct vksteer_import_params {
    const char *folder;                 // of MODULE.statedict files, as the reference implementation of AcT saves
    const char *output;
    double quantiles[2];                // percentiles between which the maps act, saved with them; 0, 0: everywhere
    bool only_mean;                     // Gaussian states are of the method that moves means alone
};
struct vksteer_import_result {
    size_t sites;
    uint32_t channels;
};
// Writes a steering file of linear or Gaussian maps, or AurA's, for a model that has their modules. Needs no session.
// `result` may be NULL.
bool vksteer_import(vksteer_model *model, const struct vksteer_import_params *params,
                    struct vksteer_import_result *result);

// ---- train --------------------------------------------------------------------------------------------------------

struct vksteer_progress {
    // "prompts"; "targets", whose activations are collected: step of steps; "training"
    const char *stage;
    // Methods without gradients count sites or heads, or say 1 of 1; what vksteer_train leaves in `last` for them is
    // 0 of 0, and they have none of the figures up to path_share.
    uint32_t step, steps;
    // Of the first step, of this one, and what two samples of one law would show; training may end below that when
    // all sources are in every batch.
    double first_loss, loss, floor;
    double max_w, max_b, path_share, seconds;
    // Held-out prompts against the targets, in the loss's own measure: before training, now (at every tenth of the
    // steps), and between identical laws. NaN without such prompts.
    double validation_first, validation, validation_floor;
    // Of LinEAS: what a step works with, which may be more sparing than what was asked for (see `recompute` below).
    uint32_t micro_batch;
    bool recompute;
};

enum vksteer_result {
    VKSTEER_DONE,
    VKSTEER_FAILED,
    VKSTEER_STOPPED,
};

// Zero members take the model's defaults.
struct vksteer_train_params {
    const char *const *source, *const *target;   // prompts
    size_t source_count, target_count;
    const char *const *validation;      // source prompts that are looked at, never trained on; may be NULL
    size_t validation_count;
    const char *output;
    // "lineas", "linear-act", "linear-act-at-once", "mean-act", "gaussian-act"; "caa", "actadd", "repe" (pairs:
    // source i with target i), "iti", "aura", "detzero"
    const char *method;
    double alpha;                       // iti: how many standard deviations a head moves
    uint32_t top_heads;                 // iti: how many heads
    // linear-act: the maps leave values alone that lie outside these percentiles of the source; 0, 0: they move all
    double quantiles[2];
    double threshold;                   // detzero: the average precision above which a channel is an expert
    const char *sites, *loss_sites;
    const char *optimizer;              // "adam", "sgd"
    const char *position;               // "all", "last", "avg"
    const char *pool;                   // "mean", "last", "max"
    const char *loss_scale;             // "sum", "mean"
    const char *prox;                   // "l1", "sparse-group"
    uint32_t steps, batch, micro_batch, p;
    double lr;
    double gamma;                       // sparsity; below 0: none
    double support;                     // above 0: the share of channels wanted, for which gamma is found
    int32_t refit;                      // steps after these, for the channels that gamma left, without it; below 0:
                                        // none. 0: as many to a step as the model has, or half as many for a support
    uint32_t width, height;             // pixels; 0: the model's
    // The sampler while training: one step. 0: the first of the model's own steps.
    uint32_t sample_steps;
    // Guidance; only models that embed the scale see it, as the unguided half of one step reaches no loss. 0: the
    // model's.
    double cfg_scale;
    uint64_t seed;
    const char *log_path;               // one JSON object a step
    const struct vksteer_use *base;     // steerings that are on already, in order, when sources run
    size_t base_count;                  // at most VKSTEER_MAX_STEERINGS - 1
    bool resume, force;
    bool no_cache;                      // collect the targets' activations anew, and keep none in the cache folder
    // Compute activations again in backward. Where memory is short, LinEAS does so anyway, and lowers micro_batch:
    // neither changes a bit.
    bool recompute;
    bool (*progress)(void *priv, const struct vksteer_progress *progress);  // false: stop and keep OUT.state
    void *priv;
};
// Whether vksteer_train would take these params, as far as that can be told without a device; needs no session. Says
// errors alone.
bool vksteer_train_check(vksteer_model *model, const struct vksteer_train_params *params);
// *last (may be NULL): how far it came; zeros where it failed or was stopped before it began.
enum vksteer_result vksteer_train(vksteer_model *model, const struct vksteer_train_params *params,
                                  struct vksteer_progress *last);

// ---- apply --------------------------------------------------------------------------------------------------------

struct vksteer_image {
    uint32_t width, height;
    uint8_t *rgb;                       // (height, width, 3), heap: free()
};

// A pipeline made ready for one size and one list of steerings, whose strengths may change from picture to picture.
// Text encoders, UNet and decoder stay on the device if all of them fit, and take turns where they do not; a decoder
// that does not fit even by itself works in tiles, after a warning. No other bit depends on the memory.
typedef struct vksteer_painter vksteer_painter;
struct vksteer_paint_params {
    uint32_t width, height;             // 0: the model's
    uint32_t steps;                     // 0: the model's; no others where timesteps were given
    double cfg_scale;                   // 0: the model's; <= 1: one pass
    const struct vksteer_use *steerings;
    size_t steering_count;
    bool strict;                        // refuse a steering whose fingerprint does not fit
};
vksteer_painter *vksteer_painter_open(vksteer_model *model, const struct vksteer_paint_params *params);
void vksteer_painter_close(vksteer_painter **painter);
// `strengths`: one a steering, or NULL for those of the params. `latents`: initial noise (4 or so, H/8, W/8) in
// PyTorch's order, or NULL for Philox noise of `seed`.
// `negative_prompt` is read only with a guidance scale above 1; NULL stands for the empty prompt, or for zeros in
// place of the text where the model's files ask for it, as those of SDXL do.
bool vksteer_paint(vksteer_painter *painter, const char *prompt, const char *negative_prompt, uint64_t seed,
                   const float *strengths, const float *latents, size_t latent_count, struct vksteer_image *image);
// The same of many pictures. Where memory is short it loads less than one after the other: prompts are read together,
// and the UNet works on up to 64 pictures before the decoder does.
struct vksteer_picture {
    const char *prompt, *negative_prompt;
    uint64_t seed;
    const float *strengths, *latents;
    size_t latent_count;
};
// When one of these returns false the rest is left out (VKSTEER_STOPPED).
struct vksteer_paint_calls {
    // Gets the pictures in order, each as soon as it is there, and frees image->rgb.
    bool (*done)(void *priv, size_t index, struct vksteer_image *image);
    // Where memory is short: the UNet is through with picture `index`, which is to be decoded later. May be NULL.
    bool (*denoised)(void *priv, size_t index);
    void *priv;
    // Step `step` of `steps` of picture `index` is done. May be NULL.
    bool (*stepped)(void *priv, size_t index, uint32_t step, uint32_t steps);
};
// Where a picture fails, those before it are still handed over.
enum vksteer_result vksteer_paint_all(vksteer_painter *painter, const struct vksteer_picture *pictures, size_t count,
                                      const struct vksteer_paint_calls *calls);
// What zero members of the params became.
void vksteer_painter_size(const vksteer_painter *painter, uint32_t *width, uint32_t *height, uint32_t *steps,
                          double *cfg_scale);
// Whether the decoder works in tiles, and of how many pixels.
bool vksteer_painter_tiles(const vksteer_painter *painter, uint32_t *width, uint32_t *height);

// Writes a PNG with text chunks (key, value pairs).
bool vksteer_image_write(const struct vksteer_log *log, const char *path, const struct vksteer_image *image,
                         const char *const *keys, const char *const *values, size_t count);
// A strip or grid of equal pictures, `columns` wide, with `labels` (one a picture, or NULL) drawn under each.
// Pictures of less than 128 pixels are doubled.
bool vksteer_image_grid(const struct vksteer_log *log, const struct vksteer_image *images, size_t count,
                        uint32_t columns, const char *const *labels, struct vksteer_image *grid);
// Latents of another program: a safetensors file with one tensor, or the bare fp32 values. free() *values.
bool vksteer_latents_read(const struct vksteer_log *log, const char *path, float **values, size_t *count);

// ---- text ---------------------------------------------------------------------------------------------------------

// A language model made ready to write: its graphs for one list of steerings, whose strengths may change from text to
// text, and the caches of the texts that it writes at once.
typedef struct vksteer_writer vksteer_writer;
struct vksteer_writer_params {
    uint32_t batch;                     // texts at once; 0: 1. A text does not depend on it
    uint32_t context;                   // tokens of prompt and text together, at most; 0: the model's context
    bool half_cache;                    // keys and values in fp16: half the memory, and other bits than in fp32
    const struct vksteer_use *steerings;
    size_t steering_count;
    bool strict;                        // refuse a steering whose fingerprint does not fit
};
vksteer_writer *vksteer_writer_open(vksteer_model *model, const struct vksteer_writer_params *params);
void vksteer_writer_close(vksteer_writer **writer);

// Filters act in this order: repeat penalty, temperature, top-k, top-p, min-p. The random numbers of a text depend on
// the seed and its prompt alone, so a prompt gives the same text in any company.
struct vksteer_write_params {
    uint32_t max_tokens;                // of each text; 0: 128
    double temperature;                 // 0: always the most probable token
    uint32_t top_k;                     // 0: all
    double top_p, min_p;                // 0: all; 1 of top_p: all
    double repeat_penalty;              // 0 or 1: none
    uint32_t repeat_last;               // tokens that it looks back, prompt included; 0: 64; UINT32_MAX: all
    uint64_t seed;
    const uint64_t *seeds;              // one a prompt, in place of `seed`; may be NULL
    bool chat;                          // prompts are of vksteer_chat: they hold the tokens that begin a text
    bool ignore_end;                    // go on behind tokens that end a text, which are left out
    // Called with every token of text number `index`: what became certain of its text, UTF-8, often a word, perhaps
    // "". False ends everything; may be NULL.
    bool (*piece)(void *priv, size_t index, const char *text);
    void *priv;
};
struct vksteer_text {
    char *text;                         // what follows the prompt, UTF-8; heap
    uint32_t prompt_tokens, tokens;
    bool ended;                         // by a token that ends a text; otherwise by max_tokens, or the context's end
    double prompt_seconds, seconds;     // of the prompts, and of all tokens after the first, of the texts written at
                                        // once
};
// Writes `count` texts, a batch at a time, into texts[]. `strengths`: one a steering, or NULL for those of the
// params. Steerings act in prompt and text; maps at position `last` on the last token of the prompt and then on each
// new one. What was written before a stop or a failure is there; vksteer_texts_finish frees it in any case.
enum vksteer_result vksteer_write(vksteer_writer *writer, const char *const *prompts, size_t count,
                                  const struct vksteer_write_params *params, const float *strengths,
                                  struct vksteer_text *texts);
void vksteer_texts_finish(struct vksteer_text *texts, size_t count);

struct vksteer_message {
    const char *role;                   // "system", "user", "assistant"
    const char *content;
};
// *text (heap) is a conversation, and what its next answer begins with, in the words that the model was tuned on: as
// its chat template has it, of the families ChatML (SmolLM2, Qwen), Llama 2 and 3, Gemma 2 and 3. Needs no session.
// False after one message: the model has no template or one of another family, or the family has no such order of
// roles.
bool vksteer_chat(vksteer_model *model, const struct vksteer_message *messages, size_t count, char **text);

// ---- eval ---------------------------------------------------------------------------------------------------------

struct vksteer_eval_site {
    const char *site;
    double before, after;               // W_2^2 to the target, summed over channels, unsteered and steered
};
struct vksteer_eval {
    struct vksteer_eval_site *sites;
    size_t site_count;
    double before, after;               // mean over sites; pooled as the first steering was trained
    double psnr, mse;                   // steered against unsteered pictures, means over the prompts
    size_t pictures;
    void *priv;
};
struct vksteer_eval_params {
    const char *const *source, *const *target, *const *prompts;   // prompts: for the pictures; NULL: the source
    size_t source_count, target_count, prompt_count;
    const struct vksteer_use *steerings;
    size_t steering_count;
    uint64_t seed;
};
bool vksteer_evaluate(vksteer_model *model, const struct vksteer_eval_params *params, struct vksteer_eval *eval);
void vksteer_eval_finish(struct vksteer_eval *eval);

// A language model made ready to read texts: how well it foresees them, with one list of steerings, whose strengths
// may change from reading to reading. What it recorded for texts of some length it keeps.
typedef struct vksteer_reader vksteer_reader;
struct vksteer_reader_params {
    uint32_t context;                   // tokens of a window; 0: 512, or the model's whole context where that is less
    uint32_t stride;                    // tokens from one window to the next; 0: half a window
    const struct vksteer_use *steerings;
    size_t steering_count;
    bool strict;                        // refuse a steering whose fingerprint does not fit
};
vksteer_reader *vksteer_reader_open(vksteer_model *model, const struct vksteer_reader_params *params);
void vksteer_reader_close(vksteer_reader **reader);

struct vksteer_read_params {
    const char *const *texts;           // each is read for itself
    const char *const *prompts;         // what stands in front of each, and is seen but not counted; NULL: nothing
    bool chat;                          // prompts are of vksteer_chat
    size_t count;
    bool (*progress)(void *priv, size_t done, size_t windows);  // false: stop; may be NULL
    void *priv;
};
struct vksteer_perplexity {
    double perplexity, nll;             // exp(nll); -log p of a token, mean over all that count, natural
    uint64_t tokens, windows;           // that count; that were run
    uint32_t context, stride;           // what zero members of the params became
};
// Windows are those of transformers' guide to perplexity (each token counts once, and sees at least context - stride
// tokens), each with the token in front that the tokenizer begins texts with, if it does. `strengths`: one a
// steering, or NULL for those of the params. Values that are not finite give an infinite perplexity.
enum vksteer_result vksteer_read(vksteer_reader *reader, const struct vksteer_read_params *params,
                                 const float *strengths, struct vksteer_perplexity *out);

struct vksteer_sample {
    const char *prompt, *text;
    double strength;                    // at which the text was made; NaN: several, null in JSON
};
// Scores by another program: the system's shell runs `command`, which reads the samples from its standard input, each
// a line {"prompt": ..., "text": ..., "strength": ...}, and prints a number a line. VKSTEER_STOPPED after an
// interrupt.
enum vksteer_result vksteer_score(const struct vksteer_log *log, const char *command,
                                  const struct vksteer_sample *samples, size_t count, double *scores);

// Words and phrases, one a line of a file. Case does not matter, and words are found as a whole, by Unicode's classes
// of characters.
typedef struct vksteer_words vksteer_words;
vksteer_words *vksteer_words_open(const struct vksteer_log *log, const char *path);
void vksteer_words_close(vksteer_words **words);
struct vksteer_survey {
    uint64_t words;                     // in all texts
    double distinct2;                   // different pairs of neighbouring words over all pairs; NaN: no pair
    double empty;                       // share of texts without a word
    double listed, rate;                // share of texts with an entry of the list; entries in 100 words; NaN without
};
bool vksteer_survey(const struct vksteer_log *log, const vksteer_words *list, const char *const *texts, size_t count,
                    struct vksteer_survey *out);

// A picture of figures over strengths: a panel for each series, one above the other over one axis.
struct vksteer_series {
    const char *name;                   // ASCII, as all texts here
    const double *values;               // one a point; those that are not finite are left out
};
struct vksteer_plot_params {
    const char *title, *x_name;         // either may be NULL
    const double *x;
    size_t count;                       // points
    const struct vksteer_series *series;
    size_t series_count;
    uint32_t width, panel;              // pixels: the picture's width, a panel's height; 0: 960, 300
};
// False after one message: no point, no series, or too large. free() image->rgb.
bool vksteer_plot(const struct vksteer_log *log, const struct vksteer_plot_params *params,
                  struct vksteer_image *image);

// ---- bake ---------------------------------------------------------------------------------------------------------

struct vksteer_bake_params {
    const struct vksteer_use *steerings;   // folded in this order, each at its strength
    size_t steering_count;
    const char *output;                    // the new folder; must not be there yet
    bool strict;                           // refuse a steering whose fingerprint does not fit
    bool (*stop)(void *priv);              // asked after every file; may be NULL; true ends early, leaving nothing
    void *priv;
};
struct vksteer_bake_result {
    size_t sites, tensors;                 // folded, without maps that change nothing
    size_t widened;                        // of the tensors: F32 now, as their own type would have lost the steering
    size_t left_out;                       // files with weights in forms that are not folded (each was named)
};
// Writes a copy of the model's folder with the maps folded into the parameters of the modules at whose outputs they
// act. Exact up to rounding, or refused with the name of the site: maps at positions other than `all` or within
// ranges, modules without a weight of their own, offsets where there is no bias, timesteps. Parts whose weights are
// not the folder's own safetensors, or have LoRAs in them, are written anew; another scheduler's class and
// autoencoder take the place of the folder's. Needs no session. `result` may be NULL.
enum vksteer_result vksteer_bake(vksteer_model *model, const struct vksteer_bake_params *params,
                                 struct vksteer_bake_result *result);

// ---- prompts, self-test, bench ------------------------------------------------------------------------------------

struct vksteer_prompts {
    char **items;
    size_t count;
    void *priv;
};
// .txt one a line; .jsonl, .json, .csv with a named field (NULL: prompt, caption, text).
bool vksteer_prompts_read(const struct vksteer_log *log, const char *path, const char *field,
                          struct vksteer_prompts *prompts);
// Texts for vksteer_read: of .jsonl, .json and .csv files the same; of any other file one text, the whole.
bool vksteer_texts_read(const struct vksteer_log *log, const char *path, const char *field,
                        struct vksteer_prompts *texts);
void vksteer_prompts_finish(struct vksteer_prompts *prompts);

struct vksteer_bench_row {
    const char *name, *type;            // "matmul", "rows", "sort", "train", "apply"; "f32"
    const char *what;                   // where the shape comes from: "1024 cubed", "unet.conv_in"; may be NULL
    uint32_t m, n, k;                   // of a matrix product (m, k) x (k, n); or rows, columns, 0
    uint32_t count;                     // how often this shape is there in one forward pass of the model
    double ms, gflops;                  // median of several runs, the first discarded; gflops 0: not meaningful
    double gbytes;                      // of weights a second, where reading them is the work; 0: not meaningful
    // Of the stages of a picture: seconds until weights and graph were on the device, the bytes there as planned and
    // as allocated, and those of the process meanwhile, without mapped files (on a CPU driver they count the device's
    // too).
    double load_seconds;
    uint64_t planned_bytes, device_bytes, process_bytes;
};
struct vksteer_bench_params {
    const char *what;                   // "matmul", "rows", "sort", "attention", "train", "apply", "all" (NULL)
    void (*row)(void *priv, const struct vksteer_bench_row *row);
    bool (*stop)(void *priv);           // may be NULL; true ends early
    void *priv;
};
// `model` may be NULL: without the model's own shapes, training and picture.
bool vksteer_bench(vksteer_session *session, vksteer_model *model, const struct vksteer_bench_params *params);
// Times the variants of matrix products and convolutions on the model's own shapes (rows named "tune") and keeps the
// choice where one beats the built-in table's by a tenth: in a file for this device and driver, which sessions opened
// from then on read and whose hash goes into the state of trainings. *path (heap) is that file, *written whether it
// is there now; without a better choice it is removed. A stop leaves the file as it was, and *path NULL.
bool vksteer_tune(vksteer_session *session, vksteer_model *model, const struct vksteer_bench_params *params,
                  char **path, bool *written);
// Every kernel family against a reference on this device; calls `line` for each.
bool vksteer_selftest(vksteer_session *session, void (*line)(void *priv, const char *family, bool ok, double error),
                      void *priv);

// ---- what a program needs of the operating system -----------------------------------------------------------------

// From the call on, the first Ctrl-C (or SIGTERM) only sets a flag; a second one ends the process.
void vksteer_catch_interrupt(void);
bool vksteer_interrupted(void);
// stream: 0 standard input, 1 output, 2 error.
bool vksteer_is_terminal(int stream);
int vksteer_terminal_width(void);
// Makes standard output take bytes and UTF-8 as they are (Windows).
void vksteer_setup_streams(void);
// Creates a folder and the ones above it.
bool vksteer_make_folder(const struct vksteer_log *log, const char *path);
// Whether a file could be written at `path`: its folder is there and it is not a folder itself.
bool vksteer_can_write(const struct vksteer_log *log, const char *path);
// Whether both names are those of one regular file, or the same name of none that is there yet.
bool vksteer_same_file(const char *a, const char *b);
// Writes a file under a name of its own first, then in the place of what was at `path`: whole or not at all.
bool vksteer_file_write(const struct vksteer_log *log, const char *path, const void *data, size_t size);
// A hash of a file's content, for telling files apart: 16 hexadecimal digits.
bool vksteer_file_hash(const struct vksteer_log *log, const char *path, char hex[17]);
// Seconds from some fixed point.
double vksteer_seconds(void);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
