#include "models/unet.h"

#include "models/build.h"

#define MAX_SIDE 4096  // latents
#define MAX_SKIPS (VKS_MAX_LEVELS * 66 + 1)

// What the blocks share.
struct net {
    struct vks_build b;
    const struct vks_unet_config *config;
    const struct vks_unet_inputs *inputs;
    vks_tensor *time;                // act(time embedding) (B, config->time): every resnet begins with it
    vks_tensor *skips[MAX_SKIPS];
    uint32_t skip_count;
};

static vks_tensor *resnet(struct net *net, const char *path, vks_tensor *x, uint32_t out, float scale)
{
    const struct vks_unet_config *config = net->config;
    const struct vks_build_resnet attrs = {.out = out, .groups = config->groups, .eps = config->eps, .scale = scale,
                                           .act = config->act, .time = net->time};
    return vks_build_resnet(&net->b, path, x, &attrs);
}

static vks_tensor *attention(struct net *net, const char *path, vks_tensor *x, vks_tensor *keys, vks_tensor *mask,
                             uint32_t heads)
{
    struct vks_build *b = &net->b;
    if (!x)
        return NULL;
    const uint32_t width = vks_tensor_channels(x);
    vks_tensor *q = vks_build_linear(b, vks_path(b, "%s.to_q", path), x, width, false);
    vks_tensor *k = vks_build_linear(b, vks_path(b, "%s.to_k", path), keys, width, false);
    vks_tensor *v = vks_build_linear(b, vks_path(b, "%s.to_v", path), keys, width, false);
    vks_tensor *y = vks_attention(b->graph, q, k, v, mask, &(struct vks_attention){.heads = heads});
    y = vks_build_linear(b, vks_path(b, "%s.to_out.0", path), y, width, true);
    y = vks_build_site(b, vks_path(b, "%s.to_out.1", path), y);
    return vks_build_site(b, path, y);
}

// x += attn1(norm1(x)); x += attn2(norm2(x), text); x += ff(norm3(x)), x (B, H W, C)
static vks_tensor *transformer_block(struct net *net, const char *path, vks_tensor *x, uint32_t heads)
{
    struct vks_build *b = &net->b;
    const float eps = 1e-5f;  // of BasicTransformerBlock, not of the config
    if (!x)
        return NULL;
    const uint32_t width = vks_tensor_channels(x), outer = vks_build_segment(b);
    vks_tensor *h = vks_build_layer_norm(b, vks_path(b, "%s.norm1", path), x, eps);
    x = vks_add(b->graph, x, attention(net, vks_path(b, "%s.attn1", path), h, h, NULL, heads));
    h = vks_build_layer_norm(b, vks_path(b, "%s.norm2", path), x, eps);
    h = attention(net, vks_path(b, "%s.attn2", path), h, net->inputs->context, net->inputs->context_mask, heads);
    x = vks_add(b->graph, x, h);
    h = vks_build_layer_norm(b, vks_path(b, "%s.norm3", path), x, eps);
    h = vks_build_linear(b, vks_path(b, "%s.ff.net.0.proj", path), h, 8 * width, true);
    h = vks_build_site(b, vks_path(b, "%s.ff.net.0", path), vks_geglu(b->graph, h));
    h = vks_build_site(b, vks_path(b, "%s.ff.net.1", path), h);
    h = vks_build_linear(b, vks_path(b, "%s.ff.net.2", path), h, width, true);
    h = vks_build_site(b, vks_path(b, "%s.ff", path), h);
    h = vks_build_site(b, path, vks_add(b->graph, x, h));
    vks_build_segment_end(b, outer);
    return h;
}

// Transformer2DModel: norm, projection, blocks over the pixels as tokens, projection, residual. Channels-last pixels
// are tokens already, so a 1x1 convolution and a linear projection differ only in the shape their sites see.
static vks_tensor *transformer(struct net *net, const char *path, vks_tensor *x, uint32_t level, uint32_t count)
{
    struct vks_build *b = &net->b;
    if (!x)
        return NULL;
    const bool linear = net->config->linear_projection;
    const uint32_t width = vks_tensor_channels(x), outer = vks_build_segment(b);
    const uint32_t pixels[] = {x->shape[0], x->shape[1], x->shape[2], width};
    const uint32_t tokens[] = {x->shape[0], x->shape[1] * x->shape[2], width};
    const char *in = vks_path(b, "%s.proj_in", path), *out = vks_path(b, "%s.proj_out", path);
    vks_tensor *h = vks_build_group_norm(b, vks_path(b, "%s.norm", path), x, net->config->groups, 1e-6f);
    if (linear)
        h = vks_build_linear(b, in, vks_reshape(b->graph, h, 3, tokens), width, true);
    else
        h = vks_reshape(b->graph, vks_build_conv_same(b, in, h, width, 1, true), 3, tokens);
    for (uint32_t i = 0; i < count; i++)
        h = transformer_block(net, vks_path(b, "%s.transformer_blocks.%u", path, i), h, net->config->heads[level]);
    if (linear)
        h = vks_reshape(b->graph, vks_build_linear(b, out, h, width, true), 4, pixels);
    else
        h = vks_build_conv_same(b, out, vks_reshape(b->graph, h, 4, pixels), width, 1, true);
    h = vks_build_site(b, vks_path(b, "%s:0", path), vks_add(b->graph, h, x));
    vks_build_segment_end(b, outer);
    return h;
}

static void push(struct net *net, vks_tensor *x)
{
    if (net->skip_count == MAX_SKIPS)
        vks_graph_fail(net->b.graph, "the network has too many layers: use another model");
    else
        net->skips[net->skip_count++] = x;
}

static vks_tensor *down_block(struct net *net, uint32_t level, vks_tensor *x)
{
    struct vks_build *b = &net->b;
    const struct vks_unet_config *config = net->config;
    const uint32_t width = config->channels[level];
    const char *path = vks_path(b, "down_blocks.%u", level);
    for (uint32_t i = 0; i < config->layers[level]; i++) {
        x = resnet(net, vks_path(b, "%s.resnets.%u", path, i), x, width, 1);
        if (config->down_cross[level])
            x = transformer(net, vks_path(b, "%s.attentions.%u", path, i), x, level, config->transformers[level]);
        push(net, x);
    }
    if (level + 1 < config->levels) {
        // Padding 0 means one row and column behind, none before.
        const struct vks_conv2d halve = {.stride = 2, .pad_before = config->downsample_padding, .pad_after = 1};
        x = vks_build_conv(b, vks_path(b, "%s.downsamplers.0.conv", path), x, width, 3, &halve, true);
        x = vks_build_site(b, vks_path(b, "%s.downsamplers.0", path), x);
        push(net, x);
    }
    return vks_build_site(b, vks_path(b, "%s:0", path), x);
}

static vks_tensor *middle(struct net *net, vks_tensor *x)
{
    struct vks_build *b = &net->b;
    const uint32_t level = net->config->levels - 1, width = net->config->channels[level];
    const float scale = net->config->middle_scale;
    x = resnet(net, "mid_block.resnets.0", x, width, scale);
    x = transformer(net, "mid_block.attentions.0", x, level, net->config->transformers[level]);
    x = resnet(net, "mid_block.resnets.1", x, width, scale);
    return vks_build_site(b, "mid_block", x);
}

static vks_tensor *up_block(struct net *net, uint32_t index, vks_tensor *x)
{
    struct vks_build *b = &net->b;
    const struct vks_unet_config *config = net->config;
    const uint32_t level = config->levels - 1 - index, width = config->channels[level];
    const char *path = vks_path(b, "up_blocks.%u", index);
    for (uint32_t i = 0; i < config->layers[level] + 1; i++) {
        if (!net->skip_count) {
            vks_graph_fail(b->graph, "layers_per_block leaves no skip for unet.%s: correct config.json", path);
            return NULL;
        }
        x = vks_concat(b->graph, x, net->skips[--net->skip_count]);
        x = resnet(net, vks_path(b, "%s.resnets.%u", path, i), x, width, 1);
        if (config->up_cross[index])
            x = transformer(net, vks_path(b, "%s.attentions.%u", path, i), x, level, config->transformers[level]);
    }
    if (level && net->skip_count) {
        // The size is that of the next skip: the double, or one less where the way down met an odd size.
        const vks_tensor *next = net->skips[net->skip_count - 1];
        if (x && next)
            x = vks_upsample_nearest(b->graph, x, next->shape[1], next->shape[2]);
        x = vks_build_conv_same(b, vks_path(b, "%s.upsamplers.0.conv", path), x, width, 3, true);
        x = vks_build_site(b, vks_path(b, "%s.upsamplers.0", path), x);
    }
    return vks_build_site(b, path, x);
}

// linear_2(act(linear_1(x))); both embeddings have this form.
static vks_tensor *embedding(struct net *net, const char *path, vks_tensor *x, enum vks_unary act)
{
    struct vks_build *b = &net->b;
    x = vks_build_linear(b, vks_path(b, "%s.linear_1", path), x, net->config->time, true);
    x = vks_build_unary(b, vks_path(b, "%s.act", path), x, act);
    x = vks_build_linear(b, vks_path(b, "%s.linear_2", path), x, net->config->time, true);
    return vks_build_site(b, path, x);
}

// The text's vector and the time ids of SDXL, as an embedding added to that of the time.
static vks_tensor *added_embedding(struct net *net)
{
    struct vks_build *b = &net->b;
    const struct vks_unet_config *config = net->config;
    vks_tensor *text = net->inputs->text_embeds, *ids = net->inputs->time_ids;
    if (b->graph->failed)
        return NULL;
    if (!text || !ids)
        return vks_graph_fail(b->graph, "this UNet needs the pooled text and the time ids of SDXL: use it in a "
                              "StableDiffusionXLPipeline folder");
    ids = vks_build_site(b, "add_time_proj", ids);
    if (ids)
        ids = vks_reshape(b->graph, ids, 2, (uint32_t[]){ids->shape[0], ids->shape[1] * ids->shape[2]});
    vks_tensor *x = vks_concat(b->graph, text, ids);
    if (x && vks_tensor_channels(x) != config->added)
        return vks_graph_fail(b->graph, "%s does not fit projection_class_embeddings_input_dim = %u: text encoder "
                              "and UNet are of different models", vks_tensor_text(b->graph, x), config->added);
    return embedding(net, "add_embedding", x, VKS_SILU);
}

static void time_embedding(struct net *net)
{
    struct vks_build *b = &net->b;
    vks_tensor *x = vks_build_site(b, "time_proj", net->inputs->time);
    if (net->config->condition && net->inputs->condition)
        x = vks_add(b->graph, x, vks_build_linear(b, "time_embedding.cond_proj", net->inputs->condition,
                                                  net->config->channels[0], false));
    x = embedding(net, "time_embedding", x, net->config->act);
    if (net->config->added)
        x = vks_add(b->graph, x, added_embedding(net));
    net->time = vks_unary(b->graph, x, net->config->act);
}

static bool check_inputs(struct vks_graph *graph, const struct vks_unet_config *config,
                         const struct vks_unet_inputs *inputs)
{
    const vks_tensor *sample = inputs->sample, *time = inputs->time, *context = inputs->context;
    if (graph->failed || !sample || !time || !context)
        return false;
    if (sample->rank != 4 || vks_tensor_channels(sample) != config->in)
        vks_graph_fail(graph, "%s: the latents %s do not fit in_channels = %u", inputs->component,
                       vks_tensor_text(graph, sample), config->in);
    else if (sample->shape[1] > MAX_SIDE || sample->shape[2] > MAX_SIDE)
        vks_graph_fail(graph, "%s: latents of %u x %u are too large: choose a smaller picture", inputs->component,
                       sample->shape[2], sample->shape[1]);
    for (uint32_t i = 0; i < config->levels; i++)
        if (vks_tensor_channels(context) != config->context[i])
            vks_graph_fail(graph, "%s: the text %s does not fit cross_attention_dim = %u: text encoder and UNet are "
                           "of different models", inputs->component, vks_tensor_text(graph, context),
                           config->context[i]);
    if (time->rank != 2 || time->shape[0] != sample->shape[0] || time->shape[1] != config->channels[0])
        vks_graph_fail(graph, "%s: the time table %s should be (%u, %u)", inputs->component,
                       vks_tensor_text(graph, time), sample->shape[0], config->channels[0]);
    return !graph->failed;
}

struct vks_tensor *vks_unet_build(struct vks_graph *graph, struct vks_weights *weights,
                                  const struct vks_unet_config *config, const struct vks_unet_inputs *inputs)
{
    if (!check_inputs(graph, config, inputs))
        return NULL;
    struct net net = {.b = {.graph = graph, .weights = weights, .weight_prefix = ""}, .config = config,
                      .inputs = inputs};
    struct vks_build *b = &net.b;
    b->site_prefix = vks_path(b, "%s.", inputs->component);
    time_embedding(&net);
    vks_tensor *x = inputs->sample;
    if (config->center)
        x = vks_scale(graph, x, 2, -1);
    x = vks_build_conv_same(b, "conv_in", x, config->channels[0], config->conv_in_kernel, true);
    push(&net, x);
    for (uint32_t i = 0; i < config->levels; i++)
        x = down_block(&net, i, x);
    if (config->middle)
        x = middle(&net, x);
    for (uint32_t i = 0; i < config->levels; i++)
        x = up_block(&net, i, x);
    x = vks_build_group_norm(b, "conv_norm_out", x, config->groups, config->eps);
    x = vks_build_unary(b, "conv_act", x, config->act);
    return vks_build_conv_same(b, "conv_out", x, config->out, config->conv_out_kernel, true);
}
