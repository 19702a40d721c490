// The command line: what its files share.
#ifndef VKSTEER_CLI_H
#define VKSTEER_CLI_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vksteer.h"

#if defined(__MINGW32__)
#define FORMAT(text, first) __attribute__((format(gnu_printf, text, first)))
#elif defined(__GNUC__)
#define FORMAT(text, first) __attribute__((format(printf, text, first)))
#else
#define FORMAT(text, first)
#endif

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_DEVICE = 3,
    EXIT_INTERRUPTED = 130,
};

// ---- args.c -------------------------------------------------------------------------------------------------------

enum option_kind {
    OPT_FLAG,      // bool
    OPT_TEXT,      // const char *; with the meta FILE the name of a file that is read
    OPT_OUT,       // const char *, the name of a file that is written: never one that is read
    OPT_NUMBER,    // double
    OPT_COUNT,     // uint32_t
    OPT_SEED,      // int64_t
    OPT_STEER,     // struct steer_list
    OPT_SWEEP,     // struct sweep
    OPT_LORA,      // struct lora_list
    OPT_TIMESTEPS, // struct timestep_list
};

struct option {
    char letter;             // 0: none
    const char *name;        // without the dashes
    enum option_kind kind;
    void *value;
    double low, high;        // of numbers; both 0: any
    const char *meta, *help;
};

struct steer_list {
    struct vksteer_use uses[VKSTEER_MAX_STEERINGS];
    size_t count;
    bool numbered[VKSTEER_MAX_STEERINGS];  // a strength was given
    char *copies[VKSTEER_MAX_STEERINGS];   // file names without what follows the colon
};
void steer_list_finish(struct steer_list *list);

struct lora_list {
    struct vksteer_lora items[VKSTEER_MAX_LORAS];
    size_t count;
    char *copies[VKSTEER_MAX_LORAS];       // file names without what follows the colon
};

struct timestep_list {
    uint32_t items[VKSTEER_MAX_TIMESTEPS];
    size_t count;
};

struct sweep {
    double from, to;
    uint32_t count;          // 0: none
};
// Whether there is a steering to sweep over, if there is a sweep (otherwise says so).
bool sweep_is_good(const struct sweep *sweep, const struct steer_list *steer);
// Point `index`: the strength, also of every steering.
double sweep_strength(const struct sweep *sweep, uint32_t index, float strengths[VKSTEER_MAX_STEERINGS]);

// What every command takes; `parts` by those that have MODEL_OPTIONS.
struct common {
    const char *model, *device, *precision, *limits;
    struct vksteer_model_params parts;
    struct lora_list loras;
    struct timestep_list timesteps;
    uint32_t memory;
    bool verbose, quiet, json, help, validate;
};

// Options about the parts of the model, rows of a command's table.
#define MODEL_OPTIONS(common) \
    {0, "checkpoint", OPT_TEXT, &(common).parts.checkpoint, 0, 0, "FILE", "a single-file checkpoint whose weights " \
     "take the place of the model's"}, \
    {0, "unet", OPT_TEXT, &(common).parts.unet, 0, 0, "FILE", "UNet weights in place of the model's (.safetensors, " \
     ".bin)"}, \
    {0, "vae", OPT_TEXT, &(common).parts.vae, 0, 0, "FOLDER", "an autoencoder in place of the model's"}, \
    {0, "variant", OPT_TEXT, &(common).parts.variant, 0, 0, "NAME", "take the model's weights of this name where " \
     "they are there: fp16"}, \
    {0, "lora", OPT_LORA, &(common).loras, 0, 0, "FILE[:S]", "a LoRA, at strength S (default 1); may be repeated"}, \
    {0, "scheduler", OPT_TEXT, &(common).parts.scheduler, 0, 0, "NAME", "euler, euler-a, lcm, ddim or pndm, with " \
     "the settings of the model's own"}, \
    {0, "timesteps", OPT_TIMESTEPS, &(common).timesteps, 0, 0, "T,...", "timesteps in place of the scheduler's " \
     "own, falling (DMD2: 399)"}

// Whether anything of them is given.
bool has_parts(const struct common *common);

void common_finish(struct common *common);

struct command {
    const char *name, *usage, *summary;
    const struct option *options;
    size_t option_count;
    size_t positionals_low, positionals_high;
    const char *positional_name;
};

#define MAX_POSITIONALS 64
struct arguments {
    const char *positionals[MAX_POSITIONALS];
    size_t count;
};

// Fills the values that the options point at, those of `common` too. EXIT_DONE: go on; anything else: return it.
// After --help (printed here) it is EXIT_DONE and common->help is set.
int parse_arguments(const struct command *command, struct common *common, int argc, char **argv,
                    struct arguments *arguments);
// Prints "vksteer: ..." and a hint to standard error; returns EXIT_USAGE.
int usage_error(const char *format, ...) FORMAT(1, 2);
// A whole number or a real one, all of `text`; false when it is none.
bool parse_number(const char *text, double *value);
// Exactly `count` of them, with colons between.
bool parse_numbers(const char *text, double values[], size_t count);
// The nearest of `names` to `text`, or NULL when none is near.
const char *nearest_name(const char *text, const char *const *names, size_t count);

// ---- progress.c ---------------------------------------------------------------------------------------------------

// The log that library calls get; set up once by parse_arguments' caller.
const struct vksteer_log *cli_log(void);
void cli_log_setup(const struct common *common);
// One line that is rewritten on a terminal, a line now and then elsewhere. `note` may be "".
void progress_show(const char *stage, uint32_t step, uint32_t steps, const char *note);
void progress_done(void);
// A message to standard error that a progress line does not get mixed up with; silent with -q.
void say(const char *format, ...) FORMAT(1, 2);
void say_error(const char *format, ...) FORMAT(1, 2);

// ---- json.c -------------------------------------------------------------------------------------------------------

// Writes JSON to standard output. A key is NULL inside arrays and at the top.
void json_open(const char *key, char bracket);  // '{' or '['
void json_close(void);
void json_text(const char *key, const char *value);    // NULL gives null
void json_number(const char *key, double value);       // null unless finite
void json_integer(const char *key, uint64_t value);
void json_bool(const char *key, bool value);
// A newline at the end; false (said) when standard output could not take it all.
bool json_finish(void);
// From here on to another file, beginning there anew; or again to `stdout`, going on where it was left.
void json_to(FILE *file);

// ---- text.c -------------------------------------------------------------------------------------------------------

// A text that grows; zero is empty. `failed`: memory ran out.
struct text {
    char *data;              // heap; NULL until something is added
    size_t length, capacity;
    bool failed;
};
void text_add(struct text *text, const char *format, ...) FORMAT(2, 3);
// In the fewest digits that are read as the same number, or as the same float.
void text_add_number(struct text *text, double value, bool single);
// As vfprintf, with control characters as \xNN: names and values come from files.
void print_plain(FILE *file, const char *format, va_list args);
// With a space before it, quoted so that a shell takes it for one word.
void text_add_word(struct text *text, const char *word);

// ---- picture.c ----------------------------------------------------------------------------------------------------

// `pattern` with a %d or %03d replaced by `index`, or with _000 before its ending when there is none and `many`;
// heap. NULL after a message.
char *numbered_path(const char *pattern, uint32_t index, bool many);
bool pattern_is_good(const char *pattern);
// Shows it in the terminal if that can; says so if not.
void show_picture(const char *path, const struct vksteer_image *image);

// ---- facts.c ------------------------------------------------------------------------------------------------------

struct picture_facts {
    const char *prompt, *negative, *model;
    int64_t seed;
    uint32_t width, height, steps;
    double cfg;
    const struct vksteer_use *uses;
    size_t use_count;
    const char *sweep;        // NULL: none
    const char *tiles;        // of the decoder, "512 x 512"; NULL: it worked in one piece
    const struct vksteer_model_info *info;  // NULL: the model is as it is in its folder
    const char *device;       // that it was made on; may be NULL
    // For the command that makes it again; NULL: there is none.
    const struct common *common;
    const char *prompts_path, *field;       // of a sheet; NULL: the prompt alone
    const char *latents_path;
    uint32_t batch, grid;     // 0: not given
};
// Writes a PNG with its parameters, and the command that makes it again, as text.
bool save_picture(const char *path, const struct vksteer_image *image, const struct picture_facts *facts);
// For facts.tiles.
const char *tiles_text(const vksteer_painter *painter, char *text, size_t capacity);

// ---- chat.c -------------------------------------------------------------------------------------------------------

// Each prompt as the user's message of a conversation of the model's own form, behind a system message (NULL: what
// the form has). *chats is heap, and so are its items: free_chats. False after one message.
bool make_chats(vksteer_model *model, const char *system, const char *const *prompts, size_t count, char ***chats);
// Accepts NULL; nulls it.
void free_chats(char ***chats, size_t count);

// ---- apply_text.c -------------------------------------------------------------------------------------------------

// How texts are written, as options of apply and eval. Negative numbers, and UINT32_MAX of top_k, are not given.
#define WRITE_NOT_GIVEN {.temperature = -1, .top_k = UINT32_MAX, .top_p = -1, .min_p = -1, .repeat_penalty = -1}
#define WRITE_OPTIONS(write, chat, system, cache) \
    {0, "max-tokens", OPT_COUNT, &(write).max_tokens, 1, 1 << 24, "N", "tokens of a text; default 128"}, \
    {0, "chat", OPT_FLAG, &(chat), 0, 0, NULL, "a prompt is what a user says in a chat of the model's own form"}, \
    {0, "system", OPT_TEXT, &(system), 0, 0, "TEXT", "the system message of --chat"}, \
    {0, "temp", OPT_NUMBER, &(write).temperature, 0, 1000, "F", "temperature, default 0.8; 0: always the most " \
     "probable token"}, \
    {0, "top-k", OPT_COUNT, &(write).top_k, 0, 1 << 24, "N", "draw from the N most probable tokens; 0: all"}, \
    {0, "top-p", OPT_NUMBER, &(write).top_p, 0, 1, "F", "from the most probable ones that hold this share, default " \
     "0.95"}, \
    {0, "min-p", OPT_NUMBER, &(write).min_p, 0, 1, "F", "from those at least so probable beside the first"}, \
    {0, "repeat-penalty", OPT_NUMBER, &(write).repeat_penalty, 0.01, 1000, "F", "of the last 64 tokens; 1: none"}, \
    {0, "cache", OPT_TEXT, &(cache), 0, 0, "TYPE", "of keys and values: fp32 (default), or fp16, in half the memory"}
// Whether `cache` names a type of caches (NULL does); EXIT_DONE or what to return. half_cache: which one.
int check_cache(const char *cache);
bool half_cache(const char *cache);
// One that was given; NULL: none.
const char *write_option(const struct vksteer_write_params *write);
// Defaults of what was not given.
void fill_in_write(struct vksteer_write_params *write);

// ---- eval_text.c --------------------------------------------------------------------------------------------------

// What `eval` measures of a language model by texts.
struct eval_text {
    const char *text_path, *field;  // read; of records
    const char *scorer, *words_path, *plot_path, *system, *cache;
    uint32_t context, stride, batch;
    bool chat;
    struct sweep sweep;
    struct vksteer_write_params write;  // of WRITE_OPTIONS, filled in by eval_text_run
    const char *const *prompts;     // what texts are written from
    size_t prompt_count;
    // made from these
    struct vksteer_prompts texts;
    vksteer_words *words;
    char **chats;
    struct eval_results *results;
};
// Whether anything of it is asked for.
bool eval_text_wanted(const struct eval_text *text);
// Checks what can be checked without files, `prompts` being those of the texts; EXIT_DONE or what to return.
int eval_text_check(const struct eval_text *text, const struct steer_list *steer, bool prompts);
// Reads the files.
int eval_text_read(struct eval_text *text);
// Checks that the model can do it; false after one message.
bool eval_text_fits(struct eval_text *text, vksteer_model *model);
int eval_text_run(struct eval_text *text, const struct steer_list *steer, vksteer_model *model);
// The table, or the member "text" of a JSON object; and the plot.
int eval_text_print(const struct eval_text *text, bool json);
void eval_text_finish(struct eval_text *text);

// ---- info_gguf.c --------------------------------------------------------------------------------------------------

// `vksteer info` when the model is a GGUF file.
int info_gguf(const struct common *common);

// ---- main.c -------------------------------------------------------------------------------------------------------

// Session and model of a command; EXIT_DONE or what to return. A model alone can be described, not run.
int open_session(const struct common *common, vksteer_session **session);
int open_model(const struct common *common, vksteer_model **model);
// Both. Before a device is looked for, the model is opened and handed to `check` (may be NULL), so that what is wrong
// with files and arguments is said on any machine. What was opened before a failure is for the caller to close.
int open_both(const struct common *common, bool (*check)(vksteer_model *model, void *priv), void *priv,
              vksteer_session **session, vksteer_model **model);
// What the program ends with after this.
int exit_code_of(enum vksteer_result result);
// A result line on standard output; flushed, so that nothing is lost when a later step fails.
void print_line(const char *format, ...) FORMAT(1, 2);
// Whether everything written to standard output arrived.
bool output_is_good(void);

int command_devices(int argc, char **argv);
int command_info(int argc, char **argv);
int command_train(int argc, char **argv);
int command_apply(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_bake(int argc, char **argv);
int command_import(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_demo(int argc, char **argv);

#define NO_MEMORY "out of memory: close other programs and try again"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
