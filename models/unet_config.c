#include <math.h>
#include <string.h>

#include "models/unet.h"

// Keys of the class that change the network and are implemented for these values only.
static const struct vks_config_only only[] = {
    {"num_attention_heads", ""},  // diffusers refuses it too
    {"only_cross_attention", "false"},
    {"mid_block_only_cross_attention", "false"},
    {"dual_cross_attention", "false"},
    {"attention_type", "\"default\""},
    {"cross_attention_norm", ""},
    {"encoder_hid_dim", ""},
    {"encoder_hid_dim_type", ""},
    {"class_embed_type", ""},
    {"num_class_embeds", ""},
    {"class_embeddings_concat", "false"},
    {"addition_embed_type", "\"text_time\""},
    {"resnet_time_scale_shift", "\"default\""},
    {"resnet_skip_time_act", "false"},
    {"time_embedding_type", "\"positional\""},
    {"time_embedding_act_fn", ""},
    {"timestep_post_act", ""},
    {"mid_block_type", "\"UNetMidBlock2DCrossAttn\""},
    {"reverse_transformer_layers_per_block", ""},
    {NULL, NULL},
};

// The names of the blocks, into cross[i].
static bool read_blocks(const struct vks_log *log, const struct vks_json *json, const char *key, const char *plain,
                        const char *crossed, uint32_t levels, bool cross[VKS_MAX_LEVELS])
{
    const char *names[VKS_MAX_LEVELS];
    size_t count;
    if (!vks_json_require(log, json, NULL, key) ||
        !vks_json_strings(log, json, NULL, key, names, VKS_MAX_LEVELS, &count))
        return false;
    if (count != levels)
        return vks_fail(log, "%s: %s lists %zu blocks, block_out_channels %u: correct the file", json->path, key,
                        count, levels);
    for (uint32_t i = 0; i < levels; i++) {
        cross[i] = !strcmp(names[i], crossed);
        if (!cross[i] && strcmp(names[i], plain))
            return vks_fail(log, "%s: the block %.60s in %s is not supported (%s, %s): use another model of this "
                            "class",
                            json->path, names[i], key, plain, crossed);
    }
    return true;
}

static bool read_levels(const struct vks_log *log, const struct vks_json *json, struct vks_unet_config *config)
{
    int64_t channels[VKS_MAX_LEVELS];
    size_t count;
    if (!vks_json_require(log, json, NULL, "block_out_channels") ||
        !vks_json_ints(log, json, NULL, "block_out_channels", 1, VKS_MAX_WIDTH, channels, VKS_MAX_LEVELS, &count,
                       NULL))
        return false;
    if (!count)
        return vks_fail(log, "%s: block_out_channels is empty: correct the file", json->path);
    config->levels = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        config->channels[i] = (uint32_t)channels[i];
    const uint32_t levels = config->levels;
    return read_blocks(log, json, "down_block_types", "DownBlock2D", "CrossAttnDownBlock2D", levels,
                       config->down_cross) &&
           read_blocks(log, json, "up_block_types", "UpBlock2D", "CrossAttnUpBlock2D", levels, config->up_cross) &&
           vks_config_levels(log, json, "layers_per_block", levels, 2, config->layers) &&
           vks_config_levels(log, json, "transformer_layers_per_block", levels, 1, config->transformers) &&
           vks_config_levels(log, json, "attention_head_dim", levels, 8, config->heads) &&
           vks_config_levels(log, json, "cross_attention_dim", levels, 1280, config->context);
}

static bool read_scalars(const struct vks_log *log, const struct vks_json *json, struct vks_unet_config *config)
{
    double eps, scale;
    int64_t padding, sample = 0;
    // sample_size may be one number or two; it is advice, not structure.
    int64_t sizes[2];
    size_t count;
    if (!vks_json_ints(log, json, NULL, "sample_size", 1, 4096, sizes, 2, &count, NULL))
        return false;
    sample = count ? sizes[0] : 0;
    if (!vks_config_width_or(log, json, "in_channels", 4, &config->in) ||
        !vks_config_width_or(log, json, "out_channels", 4, &config->out) ||
        !vks_config_width_or(log, json, "norm_num_groups", 32, &config->groups) ||
        !vks_config_width_or(log, json, "conv_in_kernel", 3, &config->conv_in_kernel) ||
        !vks_config_width_or(log, json, "conv_out_kernel", 3, &config->conv_out_kernel) ||
        !vks_config_width_or(log, json, "time_embedding_dim", 4 * config->channels[0], &config->time) ||
        !vks_json_int(log, json, NULL, "downsample_padding", 1, 0, 1, &padding) ||
        !vks_json_number(log, json, NULL, "norm_eps", 1e-5, 0, 1, &eps) ||
        !vks_json_number(log, json, NULL, "mid_block_scale_factor", 1, 1e-6, 1e6, &scale) ||
        !vks_json_number(log, json, NULL, "freq_shift", 0, -1e3, 1e3, &config->frequency_shift) ||
        !vks_json_bool(log, json, NULL, "flip_sin_to_cos", true, &config->flip) ||
        !vks_json_bool(log, json, NULL, "center_input_sample", false, &config->center) ||
        !vks_json_bool(log, json, NULL, "use_linear_projection", false, &config->linear_projection) ||
        !vks_config_activation(log, json, "act_fn", "silu", &config->act))
        return false;
    config->sample_size = (uint32_t)sample;
    config->downsample_padding = (uint32_t)padding;
    config->eps = (float)eps;
    config->middle_scale = (float)scale;
    return true;
}

// The optional embeddings: guidance (LCM), text and sizes (SDXL).
static bool read_added(const struct vks_log *log, const struct vks_json *json, struct vks_unet_config *config)
{
    if (vks_json_get(json->root, "time_cond_proj_dim") &&
        !vks_config_width(log, json, "time_cond_proj_dim", &config->condition))
        return false;
    if (!vks_json_get(json->root, "addition_embed_type"))
        return true;
    if (!vks_config_width(log, json, "addition_time_embed_dim", &config->added_time) ||
        !vks_config_width(log, json, "projection_class_embeddings_input_dim", &config->added))
        return false;
    return config->added > config->added_time ||
           vks_fail(log, "%s: projection_class_embeddings_input_dim %u leaves no room for the text: correct the file",
                    json->path, config->added);
}

// What would otherwise fail inside an operator, without the file's name.
static bool check_shapes(const struct vks_log *log, const struct vks_json *json, const struct vks_unet_config *config)
{
    const uint32_t levels = config->levels;
    for (uint32_t i = 0; i < levels; i++) {
        const bool attends = config->down_cross[i] || config->up_cross[levels - 1 - i] ||
                             (config->middle && i == levels - 1);
        if (config->channels[i] % config->groups)
            return vks_fail(log, "%s: %u channels cannot be split into norm_num_groups = %u: correct the file",
                            json->path, config->channels[i], config->groups);
        if (attends && config->channels[i] % config->heads[i])
            return vks_fail(log, "%s: %u channels cannot be split into %u heads (attention_head_dim counts heads): "
                            "correct the file", json->path, config->channels[i], config->heads[i]);
        if (config->layers[i] > 64 || config->transformers[i] > 256)
            return vks_fail(log, "%s: %u layers of %u transformer blocks are beyond reason: correct the file",
                            json->path, config->layers[i], config->transformers[i]);
    }
    if (config->channels[0] / 2 <= config->frequency_shift || (config->condition && config->condition < 4))
        return vks_fail(log, "%s: %u channels are too few for the sinusoids of the time: correct the file",
                        json->path, config->condition ? config->condition : config->channels[0]);
    if (!(config->conv_in_kernel & 1) || !(config->conv_out_kernel & 1) || config->conv_in_kernel > 15 ||
        config->conv_out_kernel > 15)
        return vks_fail(log, "%s: conv_in_kernel and conv_out_kernel must be odd and at most 15: correct the file",
                        json->path);
    return true;
}

bool vks_unet_config_read(const struct vks_log *log, const char *folder, struct vks_unet_config *config)
{
    *config = (struct vks_unet_config){0};
    struct vks_json *json = vks_config_open(log, folder, "config.json");
    if (!json)
        return false;
    const char *class;
    bool done = vks_json_string(log, json, NULL, "_class_name", "UNet2DConditionModel", &class);
    if (done && strcmp(class, "UNet2DConditionModel"))
        done = vks_fail(log, "%s: the class %.60s is not supported: use a model with a UNet2DConditionModel",
                        json->path, class);
    // An absent key is diffusers' default; a null says that there is no middle block.
    config->middle = !vks_config_is_null(json, "mid_block_type");
    done = done && vks_config_check(log, json, only) && read_levels(log, json, config) &&
           read_scalars(log, json, config) && read_added(log, json, config) && check_shapes(log, json, config);
    vks_json_close(&json);
    return done;
}

// Vaswani et al. 2017 as diffusers writes it: frequencies 10000^(-i / (half - shift)), sines and cosines side by
// side, a zero at the end of an odd width.
static void sinusoid(double x, uint32_t width, double shift, bool flip, float out[])
{
    const uint32_t half = width / 2;
    for (uint32_t i = 0; i < half; i++) {
        const double angle = x * exp(-log(10000) * i / (half - shift));
        out[flip ? half + i : i] = (float)sin(angle);
        out[flip ? i : half + i] = (float)cos(angle);
    }
    if (width & 1)
        out[width - 1] = 0;
}

void vks_unet_time_table(const struct vks_unet_config *config, double timestep, float out[])
{
    sinusoid(timestep, config->channels[0], config->frequency_shift, config->flip, out);
}

void vks_unet_time_id_table(const struct vks_unet_config *config, double id, float out[])
{
    sinusoid(id, config->added_time, config->frequency_shift, config->flip, out);
}

void vks_unet_guidance_table(const struct vks_unet_config *config, double guidance_scale, float out[])
{
    sinusoid((guidance_scale - 1) * 1000, config->condition, 1, false, out);
}
