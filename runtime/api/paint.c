// Text to picture: text encoders, UNet step by step, decoder. Between steps the latents are on the host, where the
// scheduler's arithmetic is a line a value. The prompts of pictures to come are read together, so that the text
// encoders come to the device once.
#include "api/painter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

#define MOST_ROUND 64  // pictures that are denoised before they are decoded, where memory is short

// ---- prompts ------------------------------------------------------------------------------------------------------

static bool embed(struct vksteer_painter *p, struct vks_painter_prompt *embedding, const char *prompt,
                  const uint32_t *step)
{
    vks_painter_forget(embedding);
    embedding->context = malloc(p->context * sizeof(float) + 1);
    embedding->pooled = malloc(p->pooled * sizeof(float) + 1);
    char *copy = malloc(strlen(prompt) + 1);
    bool ok = (embedding->context && embedding->pooled && copy) || vks_fail(p->model->log, VKS_NO_MEMORY);
    ok = ok && vks_painter_enter(p, VKS_STAGE_TEXT);
    const double start = vks_os_seconds();
    ok = ok && vks_api_text_run(p->text, &prompt, 1, step, embedding->context, embedding->pooled);
    if (!ok) {
        free(copy);
        return false;
    }
    vks_painter_count_run(p, VKS_STAGE_TEXT, start);
    embedding->prompt = strcpy(copy, prompt);
    return true;
}

static struct vks_painter_prompt *find_embedding(struct vksteer_painter *p, const char *prompt)
{
    for (size_t i = 0; i < p->prompt_count; i++)
        if (strcmp(p->prompts[i].prompt, prompt) == 0)
            return &p->prompts[i];
    return NULL;
}

static bool add_embedding(struct vksteer_painter *p, const char *prompt, const uint32_t *step)
{
    const bool ok = embed(p, &p->prompts[p->prompt_count], prompt, step);
    p->prompt_count += ok;
    return ok;
}

// The embedding of a prompt, read together with those that are to come; kept unless strengths change them. NULL:
// failed.
static const struct vks_painter_prompt *read_prompt(struct vksteer_painter *p, const char *prompt,
                                                    const uint32_t *step)
{
    const bool keeps = !p->uses.text;
    const struct vks_painter_prompt *found = keeps ? find_embedding(p, prompt) : NULL;
    size_t at = 0;
    if (found)
        return found;
    if (!keeps || p->prompt_count == VKS_PAINTER_PROMPTS)
        p->prompt_count = 0;
    if (!add_embedding(p, prompt, step))
        return NULL;
    while (at < p->coming_count && p->coming[at].prompt != prompt)
        at++;
    for (; keeps && at < p->coming_count && p->prompt_count < VKS_PAINTER_PROMPTS; at++)
        if (!find_embedding(p, p->coming[at].prompt) && !add_embedding(p, p->coming[at].prompt, step))
            return NULL;
    return find_embedding(p, prompt);
}

// What guidance leads away from.
static bool read_negative(struct vksteer_painter *p, const char *prompt, const uint32_t *step)
{
    struct vks_painter_prompt *embedding = &p->negative;
    prompt = prompt || p->model->pipeline->zero_negative ? prompt : "";
    if (prompt)
        return (embedding->prompt && !p->uses.text && strcmp(embedding->prompt, prompt) == 0) ||
               embed(p, embedding, prompt, step);
    vks_painter_forget(embedding);
    embedding->context = calloc(p->context + 1, sizeof(float));
    embedding->pooled = calloc(p->pooled + 1, sizeof(float));
    return (embedding->context && embedding->pooled) || vks_fail(p->model->log, VKS_NO_MEMORY);
}

// ---- latents ------------------------------------------------------------------------------------------------------

static size_t latent_values(const struct vksteer_painter *p)
{
    return (size_t)p->rows * p->columns * p->channels;
}

// One pass of the UNet.
static bool pass(struct vksteer_painter *p, const struct vks_painter_prompt *embedding, const float *input,
                 const struct vks_scheduler_step *at, const uint32_t *step, float *output)
{
    const uint64_t bytes = latent_values(p) * sizeof(float);
    const double start = vks_os_seconds();
    const bool ok =
           vks_exec_write(p->unet_exec, p->sample, input, bytes) &&
           vks_exec_write(p->unet_exec, p->unet_text.context, embedding->context, p->context * sizeof(float)) &&
           (!p->pooled ||
            vks_exec_write(p->unet_exec, p->unet_text.pooled, embedding->pooled, p->pooled * sizeof(float))) &&
           vks_pipeline_unet_feed(p->model->pipeline, p->unet_exec, &p->unet, at, p->cfg) &&
           vks_exec_run(p->unet_exec, step) && vks_exec_read(p->unet_exec, p->unet.output, output, bytes);
    vks_painter_count_run(p, VKS_STAGE_UNET, start);
    return ok;
}

// The schedule, from noise to latents of picture `index`, in place. `work`: WORK more arrays of latents. False after a
// message, or with p->stopped.
#define WORK (VKS_SCHEDULER_OUTPUTS + 3)
static bool denoise(struct vksteer_painter *p, size_t index, const struct vks_painter_prompt *prompt,
                    const uint32_t *step, float *latents, float *work)
{
    const size_t count = latent_values(p);
    float *input = work, *other = work + count, *before = work + 2 * count, *said = work + 3 * count;
    const float *outputs[VKS_SCHEDULER_OUTPUTS];
    const struct vksteer_paint_calls *calls = p->calls;
    for (size_t i = 0; i < count; i++)
        latents[i] *= (float)p->schedule.init_noise_sigma;
    for (uint32_t s = 0; s < p->schedule.count; s++) {
        const struct vks_scheduler_step *at = &p->schedule.steps[s];
        float *output = said + s % VKS_SCHEDULER_OUTPUTS * count;
        for (size_t i = 0; i < count; i++)
            input[i] = (float)at->input_scale * latents[i];
        if (!pass(p, prompt, input, at, step, output))
            return false;
        if (p->guided) {
            if (!pass(p, &p->negative, input, at, step, other))
                return false;
            for (size_t i = 0; i < count; i++)
                output[i] = other[i] + (float)p->cfg * (output[i] - other[i]);
        }
        const struct vks_noise noise = {.seed = p->coming[index].seed, .offset = s + 1, .domain = VKS_NOISE_IMAGE};
        if (at->next_noise != 0 && !vks_api_noise(p->model, &noise, p->rows, p->columns, other))
            return false;
        for (uint32_t k = 0; k < VKS_SCHEDULER_OUTPUTS; k++)
            outputs[k] = said + (s + VKS_SCHEDULER_OUTPUTS - k) % VKS_SCHEDULER_OUTPUTS * count;
        vks_scheduler_advance(at, count, latents, before, outputs, other);
        p->stopped = calls->stepped && !calls->stepped(calls->priv, index, s + 1, p->schedule.count);
        if (p->stopped)
            return false;
    }
    return true;
}

// `what`: "the latents are"
static bool are_numbers(const struct vksteer_painter *p, const char *what, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return vks_api_not_finite(p->model, what);
    return true;
}

// (-1 to 1) to bytes, rounded to nearest as diffusers does.
static bool to_bytes(const struct vksteer_painter *p, const float *values, struct vksteer_image *image)
{
    const size_t count = (size_t)p->width * p->height * 3;
    if (!are_numbers(p, "the picture is", values, count))
        return false;
    image->width = p->width;
    image->height = p->height;
    image->rgb = malloc(count);
    if (!image->rgb)
        return vks_fail(p->model->log, VKS_NO_MEMORY);
    for (size_t i = 0; i < count; i++) {
        const float x = values[i] * 0.5f + 0.5f;
        image->rgb[i] = (uint8_t)lrintf(255 * (x < 0 ? 0 : x > 1 ? 1 : x));
    }
    return true;
}

static bool start(struct vksteer_painter *p, uint64_t seed, const float *latents, size_t latent_count, float *values)
{
    const size_t count = latent_values(p);
    const struct vks_noise noise = {.seed = seed, .domain = VKS_NOISE_IMAGE};
    if (!latents)
        return vks_api_noise(p->model, &noise, p->rows, p->columns, values);
    if (latent_count != count)
        return vks_fail(p->model->log, "the latents have %zu values; a picture of %u x %u takes %zu (%u, %u, %u): "
                        "make them for this size", latent_count, p->width, p->height, count, p->channels, p->rows,
                        p->columns);
    vks_api_channels_last(latents, p->channels, (uint64_t)p->rows * p->columns, values);
    return true;
}

static bool decode_piece(struct vksteer_painter *p, const float *latents, const uint32_t *step, float *pixels)
{
    const uint32_t factor = p->model->pipeline->factor;
    const uint64_t piece = (uint64_t)p->down.size * p->across.size;
    const double start = vks_os_seconds();
    const bool ok = vks_exec_write(p->decoder_exec, p->latents, latents, piece * p->channels * sizeof(float)) &&
                    vks_exec_run(p->decoder_exec, step) &&
                    vks_exec_read(p->decoder_exec, p->picture, pixels, piece * factor * factor * 3 * sizeof(float));
    vks_painter_count_run(p, VKS_STAGE_DECODER, start);
    return ok;
}

// Tile (i, j) of the latents into `pixels`, zeros at first, by its share of each.
static bool decode_tile(struct vksteer_painter *p, uint32_t i, uint32_t j, const float *latents, const uint32_t *step,
                        float *work, float *pixels)
{
    const uint32_t factor = p->model->pipeline->factor, rows = p->down.size, columns = p->across.size;
    const uint32_t top = vks_api_tile_first(&p->down, i), left = vks_api_tile_first(&p->across, j);
    const size_t line = (size_t)columns * p->channels;
    float *tile = work, *out = work + rows * line;
    for (uint32_t y = 0; y < rows; y++)
        memcpy(tile + y * line, latents + ((size_t)(top + y) * p->columns + left) * p->channels,
               line * sizeof(*tile));
    if (!decode_piece(p, tile, step, out))
        return false;
    for (uint32_t y = top * factor; y < (top + rows) * factor; y++) {
        const float share = vks_api_tile_share(&p->down, factor, i, y);
        for (uint32_t x = left * factor; x < (left + columns) * factor; x++) {
            const float part = share * vks_api_tile_share(&p->across, factor, j, x);
            for (int c = 0; c < 3; c++)
                pixels[3 * ((size_t)y * p->width + x) + c] += part * *out++;
        }
    }
    return true;
}

static bool decode(struct vksteer_painter *p, const float *latents, const uint32_t *step, float *pixels)
{
    const uint32_t factor = p->model->pipeline->factor;
    const size_t piece = (size_t)p->down.size * p->across.size;
    if (!vks_painter_enter(p, VKS_STAGE_DECODER))
        return false;
    if (p->down.count * p->across.count == 1)
        return decode_piece(p, latents, step, pixels);
    float *work = malloc(piece * (p->channels + 3 * factor * factor) * sizeof(*work));
    bool ok = work != NULL || vks_fail(p->model->log, VKS_NO_MEMORY);
    memset(pixels, 0, (size_t)p->width * p->height * 3 * sizeof(*pixels));
    for (uint32_t i = 0; i < p->down.count; i++)
        for (uint32_t j = 0; j < p->across.count && ok; j++)
            ok = decode_tile(p, i, j, latents, step, work, pixels);
    free(work);
    return ok;
}

// False after a message, or with p->stopped.
static bool make_latents(struct vksteer_painter *p, size_t index, float *values)
{
    const struct vksteer_picture *picture = &p->coming[index];
    const size_t count = latent_values(p);
    uint32_t step[VKS_STEP_WORDS];
    const struct vks_painter_prompt *read = NULL;
    if (!vks_api_uses_check(&p->uses, p->model->log, picture->strengths))
        return false;
    vks_api_uses_step(&p->uses, picture->strengths, step);
    float *work = malloc(WORK * count * sizeof(*work));
    bool ok = work != NULL || vks_fail(p->model->log, VKS_NO_MEMORY);
    ok = ok && start(p, picture->seed, picture->latents, picture->latent_count, values) &&
         (read = read_prompt(p, picture->prompt, step)) != NULL &&
         (!p->guided || read_negative(p, picture->negative_prompt, step)) && vks_painter_enter(p, VKS_STAGE_UNET) &&
         denoise(p, index, read, step, values, work) &&
         are_numbers(p, "the latents are", values, count);  // a decoder may make a picture of anything
    free(work);
    return ok;
}

static bool make_image(struct vksteer_painter *p, const struct vksteer_picture *picture, const float *latents,
                       struct vksteer_image *image)
{
    uint32_t step[VKS_STEP_WORDS];
    *image = (struct vksteer_image){0};
    vks_api_uses_step(&p->uses, picture->strengths, step);
    float *pixels = malloc((size_t)p->width * p->height * 3 * sizeof(*pixels));
    const bool ok = (pixels || vks_fail(p->model->log, VKS_NO_MEMORY)) && decode(p, latents, step, pixels) &&
                    to_bytes(p, pixels, image);
    free(pixels);
    return ok;
}

// Pictures [first, first + count): the latents of all, then what the decoder makes of those that are there.
static enum vksteer_result paint_round(struct vksteer_painter *p, size_t first, size_t count, float *latents)
{
    const struct vksteer_paint_calls *calls = p->calls;
    const size_t size = latent_values(p);
    size_t there = 0;
    bool ok = true, go_on = true;
    while (there < count && ok && go_on) {
        const bool made = make_latents(p, first + there, latents + there * size);
        ok = made || p->stopped;
        go_on = !p->stopped;
        if (made && count > 1 && calls->denoised)
            go_on = calls->denoised(calls->priv, first + there);
        there += made;
    }
    for (size_t i = 0; i < there && go_on; i++) {
        struct vksteer_image image;
        if (!make_image(p, &p->coming[first + i], latents + i * size, &image))
            return VKSTEER_FAILED;
        go_on = calls->done(calls->priv, first + i, &image);
    }
    return !ok ? VKSTEER_FAILED : go_on ? VKSTEER_DONE : VKSTEER_STOPPED;
}

enum vksteer_result vksteer_paint_all(vksteer_painter *p, const struct vksteer_picture *pictures, size_t count,
                                      const struct vksteer_paint_calls *calls)
{
    // Where the UNet must leave for the decoder, it makes the latents of many pictures before.
    const size_t round = vks_painter_both_fit(p) ? 1 : count < MOST_ROUND ? count : MOST_ROUND;
    float *latents = malloc((round ? round : 1) * latent_values(p) * sizeof(*latents));
    enum vksteer_result result = VKSTEER_DONE;
    if (!latents)
        return vks_fail(p->model->log, VKS_NO_MEMORY), VKSTEER_FAILED;
    p->coming = pictures;
    p->coming_count = count;
    p->calls = calls;
    p->stopped = false;
    for (size_t first = 0; first < count && result == VKSTEER_DONE; first += round)
        result = paint_round(p, first, count - first < round ? count - first : round, latents);
    p->coming_count = 0;
    free(latents);
    return result;
}

static bool take(void *priv, size_t index, struct vksteer_image *image)
{
    (void)index;
    *(struct vksteer_image *)priv = *image;
    return true;
}

bool vksteer_paint(vksteer_painter *p, const char *prompt, const char *negative_prompt, uint64_t seed,
                   const float *strengths, const float *latents, size_t latent_count, struct vksteer_image *image)
{
    const struct vksteer_picture picture = {prompt, negative_prompt, seed, strengths, latents, latent_count};
    *image = (struct vksteer_image){0};
    const struct vksteer_paint_calls calls = {.done = take, .priv = image};
    return vksteer_paint_all(p, &picture, 1, &calls) == VKSTEER_DONE;
}
