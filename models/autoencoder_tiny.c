#include "models/autoencoder_tiny.h"

#include <stdlib.h>
#include <string.h>

#include "models/build.h"

// The numbers of blocks may be zero, unlike other lists.
static bool read_blocks(const struct vks_log *log, const struct vks_json *json, const char *key, uint32_t levels,
                        const uint32_t missing[4], uint32_t blocks[VKS_MAX_LEVELS])
{
    int64_t numbers[VKS_MAX_LEVELS];
    size_t count;
    if (!vks_json_ints(log, json, NULL, key, 0, 256, numbers, VKS_MAX_LEVELS, &count, NULL))
        return false;
    const bool absent = !count && levels == 4;
    if (count != levels && !absent)
        return vks_fail(log, "%s: %s lists %zu numbers for %u blocks: correct the file", json->path, key, count,
                        levels);
    for (uint32_t i = 0; i < levels; i++)
        blocks[i] = absent ? missing[i] : (uint32_t)numbers[i];
    return true;
}

static bool read_channels(const struct vks_log *log, const struct vks_json *json, const char *key, uint32_t *levels,
                          uint32_t channels[VKS_MAX_LEVELS])
{
    int64_t numbers[VKS_MAX_LEVELS];
    size_t count;
    if (!vks_json_ints(log, json, NULL, key, 1, VKS_MAX_WIDTH, numbers, VKS_MAX_LEVELS, &count, NULL))
        return false;
    *levels = count ? (uint32_t)count : 4;
    for (uint32_t i = 0; i < *levels; i++)
        channels[i] = count ? (uint32_t)numbers[i] : 64;
    return true;
}

static bool read_config(const struct vks_log *log, const struct vks_json *json,
                        struct vks_autoencoder_tiny_config *config)
{
    static const struct vks_config_only only[] = {
        {"upsample_fn", "\"nearest\""},
        {"shift_factor", "0"},
        {NULL, NULL},
    };
    static const uint32_t encoder[] = {1, 3, 3, 3}, decoder[] = {3, 3, 3, 1};
    double scaling;
    const char *class;
    if (!vks_json_string(log, json, NULL, "_class_name", "AutoencoderTiny", &class))
        return false;
    if (strcmp(class, "AutoencoderTiny"))
        return vks_fail(log, "%s: the autoencoder %.60s is not supported: put an AutoencoderTiny (TAESD) for this "
                        "model in its place", json->path, class);
    if (!vks_config_check(log, json, only) || !vks_config_width_or(log, json, "in_channels", 3, &config->in) ||
        !vks_config_width_or(log, json, "out_channels", 3, &config->out) ||
        !vks_config_width_or(log, json, "latent_channels", 4, &config->latents) ||
        !vks_config_width_or(log, json, "upsampling_scaling_factor", 2, &config->upsampling) ||
        !vks_config_activation(log, json, "act_fn", "relu", &config->act) ||
        !vks_json_number(log, json, NULL, "scaling_factor", 1, 1e-6, 1e6, &scaling) ||
        !read_channels(log, json, "encoder_block_out_channels", &config->encoder_levels, config->encoder_channels) ||
        !read_channels(log, json, "decoder_block_out_channels", &config->decoder_levels, config->decoder_channels) ||
        !read_blocks(log, json, "num_encoder_blocks", config->encoder_levels, encoder, config->encoder_blocks) ||
        !read_blocks(log, json, "num_decoder_blocks", config->decoder_levels, decoder, config->decoder_blocks))
        return false;
    if (config->upsampling > 8 || vks_autoencoder_tiny_factor(config) > 128)
        return vks_fail(log, "%s: upsampling_scaling_factor %u at %u levels is beyond reason: correct the file",
                        json->path, config->upsampling, config->decoder_levels);
    config->scaling = (float)scaling;
    return true;
}

bool vks_autoencoder_tiny_config_read(const struct vks_log *log, const char *folder,
                                      struct vks_autoencoder_tiny_config *config)
{
    *config = (struct vks_autoencoder_tiny_config){0};
    struct vks_json *json = vks_config_open(log, folder, "config.json");
    if (!json)
        return false;
    const bool done = read_config(log, json, config);
    vks_json_close(&json);
    return done;
}

uint32_t vks_autoencoder_tiny_factor(const struct vks_autoencoder_tiny_config *config)
{
    uint32_t factor = 1;
    for (uint32_t i = 1; i < config->decoder_levels; i++)
        factor *= config->upsampling;
    return factor;
}

// relu(conv(x) + x), conv being three convolutions with activations between them. One activation module serves both
// places, so it is no site; the Identity on the other branch is one.
static vks_tensor *block(struct vks_build *b, const struct vks_autoencoder_tiny_config *config, const char *path,
                         vks_tensor *x)
{
    if (!x)
        return NULL;
    const uint32_t channels = vks_tensor_channels(x), outer = vks_build_segment(b);
    vks_tensor *h = vks_build_conv_same(b, vks_path(b, "%s.conv.0", path), x, channels, 3, true);
    h = vks_unary(b->graph, h, config->act);
    h = vks_build_conv_same(b, vks_path(b, "%s.conv.2", path), h, channels, 3, true);
    h = vks_unary(b->graph, h, config->act);
    h = vks_build_conv_same(b, vks_path(b, "%s.conv.4", path), h, channels, 3, true);
    h = vks_build_site(b, vks_path(b, "%s.conv", path), h);
    vks_tensor *skip = vks_build_site(b, vks_path(b, "%s.skip", path), x);
    h = vks_build_unary(b, vks_path(b, "%s.fuse", path), vks_add(b->graph, h, skip), VKS_RELU);
    h = vks_build_site(b, path, h);
    vks_build_segment_end(b, outer);
    return h;
}

static struct vks_build build_of(struct vks_graph *graph, struct vks_weights *weights, const char *component,
                                 const char *half)
{
    struct vks_build b = {.graph = graph, .weights = weights};
    b.site_prefix = vks_path(&b, "%s.%s", component, half);
    b.weight_prefix = half;
    return b;
}

// The outputs of `layers` (a Sequential) and of the half itself ("decoder"), which publish under bare names.
static vks_tensor *half_site(struct vks_build *b, const char *component, const char *half, vks_tensor *x)
{
    struct vks_build outer = *b;
    outer.site_prefix = "";
    return vks_build_site(&outer, vks_path(b, "%s.%s", component, half), x);
}

vks_tensor *vks_autoencoder_tiny_decode(struct vks_graph *graph, struct vks_weights *weights,
                                        const struct vks_autoencoder_tiny_config *config, const char *component,
                                        vks_tensor *latents)
{
    struct vks_build b = build_of(graph, weights, component, "decoder.");
    uint32_t n = 0;
    // 3 tanh(x / 3), the clamp of TAESD
    vks_tensor *x = vks_scale(graph, vks_unary(graph, vks_scale(graph, latents, 1.0f / 3, 0), VKS_TANH), 3, 0);
    x = vks_build_conv_same(&b, vks_path(&b, "layers.%u", n++), x, config->decoder_channels[0], 3, true);
    x = vks_build_unary(&b, vks_path(&b, "layers.%u", n++), x, config->act);
    for (uint32_t i = 0; i < config->decoder_levels; i++) {
        const bool last = i == config->decoder_levels - 1;
        for (uint32_t j = 0; j < config->decoder_blocks[i]; j++)
            x = block(&b, config, vks_path(&b, "layers.%u", n++), x);
        if (!last && x) {
            x = vks_upsample_nearest(graph, x, x->shape[1] * config->upsampling, x->shape[2] * config->upsampling);
            x = vks_build_site(&b, vks_path(&b, "layers.%u", n++), x);
        }
        const uint32_t out = last ? config->out : config->decoder_channels[i];
        x = vks_build_conv_same(&b, vks_path(&b, "layers.%u", n++), x, out, 3, last);
    }
    x = half_site(&b, component, "decoder.layers", x);
    return half_site(&b, component, "decoder", vks_scale(graph, x, 2, -1));  // [0, 1] to [-1, 1]
}

vks_tensor *vks_autoencoder_tiny_encode(struct vks_graph *graph, struct vks_weights *weights,
                                        const struct vks_autoencoder_tiny_config *config, const char *component,
                                        vks_tensor *pictures)
{
    static const struct vks_conv2d down = {.stride = 2, .pad_before = 1, .pad_after = 1};
    struct vks_build b = build_of(graph, weights, component, "encoder.");
    uint32_t n = 0;
    vks_tensor *x = vks_scale(graph, pictures, 0.5f, 0.5f);  // [-1, 1] to [0, 1]
    for (uint32_t i = 0; i < config->encoder_levels; i++) {
        const char *path = vks_path(&b, "layers.%u", n++);
        const uint32_t channels = config->encoder_channels[i];
        x = i ? vks_build_conv(&b, path, x, channels, 3, &down, false)
              : vks_build_conv_same(&b, path, x, channels, 3, true);
        for (uint32_t j = 0; j < config->encoder_blocks[i]; j++)
            x = block(&b, config, vks_path(&b, "layers.%u", n++), x);
    }
    x = vks_build_conv_same(&b, vks_path(&b, "layers.%u", n++), x, config->latents, 3, true);
    return half_site(&b, component, "encoder", half_site(&b, component, "encoder.layers", x));
}
