#include "models/autoencoder_kl.h"

#include <stdlib.h>
#include <string.h>

#include "models/build.h"

#define EPS 1e-6f  // of every norm, whatever the config

static bool read_blocks(const struct vks_log *log, const struct vks_json *json, const char *key, const char *name,
                        uint32_t levels)
{
    const char *names[VKS_MAX_LEVELS];
    size_t count;
    if (!vks_json_strings(log, json, NULL, key, names, VKS_MAX_LEVELS, &count))
        return false;
    if (count != levels && (count || levels != 1))
        return vks_fail(log, "%s: %s lists %zu blocks, block_out_channels %u: correct the file", json->path, key,
                        count, levels);
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) != 0)
            return vks_fail(log, "%s: the block %.60s in %s is not supported (%s): use another model of this class",
                            json->path, names[i], key, name);
    return true;
}

static bool read_channels(const struct vks_log *log, const struct vks_json *json,
                          struct vks_autoencoder_kl_config *config)
{
    int64_t numbers[VKS_MAX_LEVELS];
    size_t count;
    if (!vks_json_ints(log, json, NULL, "block_out_channels", 1, VKS_MAX_WIDTH, numbers, VKS_MAX_LEVELS, &count,
                       NULL))
        return false;
    config->levels = count ? (uint32_t)count : 1;
    for (uint32_t i = 0; i < config->levels; i++) {
        config->channels[i] = count ? (uint32_t)numbers[i] : 64;
        if (config->channels[i] % config->groups)
            return vks_fail(log, "%s: block_out_channels %u is no multiple of norm_num_groups %u: correct the file",
                            json->path, config->channels[i], config->groups);
    }
    return true;
}

static bool read_config(const struct vks_log *log, const struct vks_json *json,
                        struct vks_autoencoder_kl_config *config)
{
    static const struct vks_config_only only[] = {
        {"latents_mean", ""},
        {"latents_std", ""},
        {NULL, NULL},
    };
    double scaling, shift;
    const char *class;
    if (!vks_json_string(log, json, NULL, "_class_name", "AutoencoderKL", &class))
        return false;
    if (strcmp(class, "AutoencoderKL") != 0)
        return vks_fail(log, "%s: the autoencoder %.60s is not an AutoencoderKL, as model_index.json says: download "
                        "the folder again", json->path, class);
    if (!vks_config_check(log, json, only) || !vks_config_width_or(log, json, "in_channels", 3, &config->in) ||
        !vks_config_width_or(log, json, "out_channels", 3, &config->out) ||
        !vks_config_width_or(log, json, "latent_channels", 4, &config->latents) ||
        !vks_config_width_or(log, json, "layers_per_block", 1, &config->layers) ||
        !vks_config_width_or(log, json, "norm_num_groups", 32, &config->groups) ||
        !vks_config_activation(log, json, "act_fn", "silu", &config->act) ||
        !vks_json_number(log, json, NULL, "scaling_factor", 0.18215, 1e-6, 1e6, &scaling) ||
        !vks_json_number(log, json, NULL, "shift_factor", 0, -1e6, 1e6, &shift) ||
        !vks_json_bool(log, json, NULL, "use_quant_conv", true, &config->quant) ||
        !vks_json_bool(log, json, NULL, "use_post_quant_conv", true, &config->post_quant) ||
        !vks_json_bool(log, json, NULL, "mid_block_add_attention", true, &config->middle_attention) ||
        !read_channels(log, json, config) ||
        !read_blocks(log, json, "down_block_types", "DownEncoderBlock2D", config->levels) ||
        !read_blocks(log, json, "up_block_types", "UpDecoderBlock2D", config->levels))
        return false;
    if (config->layers > 256)
        return vks_fail(log, "%s: layers_per_block %u is beyond reason: correct the file", json->path,
                        config->layers);
    config->scaling = (float)scaling;
    config->shift = (float)shift;
    return true;
}

bool vks_autoencoder_kl_config_read(const struct vks_log *log, const char *folder,
                                    struct vks_autoencoder_kl_config *config)
{
    *config = (struct vks_autoencoder_kl_config){0};
    struct vks_json *json = vks_config_open(log, folder, "config.json");
    if (!json)
        return false;
    const bool done = read_config(log, json, config);
    vks_json_close(&json);
    return done;
}

uint32_t vks_autoencoder_kl_factor(const struct vks_autoencoder_kl_config *config)
{
    return 1u << (config->levels - 1);
}

static vks_tensor *resnet(struct vks_build *b, const struct vks_autoencoder_kl_config *config, const char *path,
                          vks_tensor *x, uint32_t out)
{
    const struct vks_build_resnet attrs = {.out = out, .groups = config->groups, .eps = EPS, .act = config->act,
                                           .scale = 1};
    return vks_build_resnet(b, path, x, &attrs);
}

// A projection of the attention, which files older than diffusers 0.17 call by other names.
static vks_tensor *project(struct vks_build *b, const char *path, const char *name, const char *old, vks_tensor *x)
{
    const char *module = vks_path(b, "%s.%s", path, name), *before = vks_path(b, "%s.%s", path, old);
    const char *weight = vks_path(b, "%s%s.weight", b->weight_prefix, before);
    if (!x)
        return NULL;
    return vks_build_linear_named(b, module, vks_weights_find(b->weights, weight) ? before : module, x,
                                  vks_tensor_channels(x), true);
}

// x + attention(norm(x)) over the pixels as tokens, one head.
static vks_tensor *attention(struct vks_build *b, const struct vks_autoencoder_kl_config *config, const char *path,
                             vks_tensor *x)
{
    if (!x)
        return NULL;
    const uint32_t width = vks_tensor_channels(x), outer = vks_build_segment(b);
    const uint32_t tokens[] = {x->shape[0], x->shape[1] * x->shape[2], width};
    vks_tensor *h = vks_reshape(b->graph, x, 3, tokens);
    h = vks_build_group_norm(b, vks_path(b, "%s.group_norm", path), h, config->groups, EPS);
    vks_tensor *q = project(b, path, "to_q", "query", h);
    vks_tensor *k = project(b, path, "to_k", "key", h);
    vks_tensor *v = project(b, path, "to_v", "value", h);
    h = vks_attention(b->graph, q, k, v, NULL, &(struct vks_attention){.heads = 1});
    h = project(b, path, "to_out.0", "proj_attn", h);
    h = vks_build_site(b, vks_path(b, "%s.to_out.1", path), h);
    h = h ? vks_reshape(b->graph, h, 4, x->shape) : NULL;
    h = vks_build_site(b, path, vks_add(b->graph, x, h));
    vks_build_segment_end(b, outer);
    return h;
}

static vks_tensor *middle(struct vks_build *b, const struct vks_autoencoder_kl_config *config, vks_tensor *x)
{
    const uint32_t width = config->channels[config->levels - 1];
    x = resnet(b, config, "mid_block.resnets.0", x, width);
    if (config->middle_attention)
        x = attention(b, config, "mid_block.attentions.0", x);
    x = resnet(b, config, "mid_block.resnets.1", x, width);
    return vks_build_site(b, "mid_block", x);
}

// norm, SiLU whatever the config's act_fn, conv_out
static vks_tensor *tail(struct vks_build *b, const struct vks_autoencoder_kl_config *config, vks_tensor *x,
                        uint32_t out)
{
    x = vks_build_group_norm(b, "conv_norm_out", x, config->groups, EPS);
    x = vks_build_unary(b, "conv_act", x, VKS_SILU);
    return vks_build_conv_same(b, "conv_out", x, out, 3, true);
}

// Sites `component`.`half`... and parameters of the same names without the component.
static struct vks_build build_of(struct vks_graph *graph, struct vks_weights *weights, const char *component,
                                 const char *half)
{
    struct vks_build b = {.graph = graph, .weights = weights, .weight_prefix = half};
    b.site_prefix = vks_path(&b, "%s.%s", component, half);
    return b;
}

struct vks_tensor *vks_autoencoder_kl_decode(struct vks_graph *graph, struct vks_weights *weights,
                                             const struct vks_autoencoder_kl_config *config, const char *component,
                                             struct vks_tensor *latents)
{
    struct vks_build whole = build_of(graph, weights, component, "");
    struct vks_build b = build_of(graph, weights, component, "decoder.");
    vks_tensor *x = latents;
    if (config->post_quant)
        x = vks_build_conv_same(&whole, "post_quant_conv", x, config->latents, 1, true);
    x = vks_build_conv_same(&b, "conv_in", x, config->channels[config->levels - 1], 3, true);
    x = middle(&b, config, x);
    for (uint32_t i = 0; i < config->levels && x; i++) {
        const uint32_t level = config->levels - 1 - i, width = config->channels[level];
        const char *path = vks_path(&b, "up_blocks.%u", i);
        for (uint32_t j = 0; j <= config->layers; j++)
            x = resnet(&b, config, vks_path(&b, "%s.resnets.%u", path, j), x, width);
        if (level && x) {
            x = vks_upsample_nearest(graph, x, 2 * x->shape[1], 2 * x->shape[2]);
            x = vks_build_conv_same(&b, vks_path(&b, "%s.upsamplers.0.conv", path), x, width, 3, true);
            x = vks_build_site(&b, vks_path(&b, "%s.upsamplers.0", path), x);
        }
        x = vks_build_site(&b, path, x);
    }
    return vks_build_site(&whole, "decoder", tail(&b, config, x, config->out));
}

struct vks_tensor *vks_autoencoder_kl_encode(struct vks_graph *graph, struct vks_weights *weights,
                                             const struct vks_autoencoder_kl_config *config, const char *component,
                                             struct vks_tensor *pictures)
{
    static const struct vks_conv2d halve = {.stride = 2, .pad_after = 1};
    struct vks_build whole = build_of(graph, weights, component, "");
    struct vks_build b = build_of(graph, weights, component, "encoder.");
    vks_tensor *x = vks_build_conv_same(&b, "conv_in", pictures, config->channels[0], 3, true);
    for (uint32_t i = 0; i < config->levels; i++) {
        const char *path = vks_path(&b, "down_blocks.%u", i);
        for (uint32_t j = 0; j < config->layers; j++)
            x = resnet(&b, config, vks_path(&b, "%s.resnets.%u", path, j), x, config->channels[i]);
        if (i + 1 < config->levels) {
            x = vks_build_conv(&b, vks_path(&b, "%s.downsamplers.0.conv", path), x, config->channels[i], 3, &halve,
                               true);
            x = vks_build_site(&b, vks_path(&b, "%s.downsamplers.0", path), x);
        }
        x = vks_build_site(&b, path, x);
    }
    x = vks_build_site(&whole, "encoder", tail(&b, config, middle(&b, config, x), 2 * config->latents));
    if (config->quant)
        x = vks_build_conv_same(&whole, "quant_conv", x, 2 * config->latents, 1, true);
    return vks_slice(graph, x, 0, config->latents);
}
