#include "models/original_names.h"

#include <stdio.h>
#include <string.h>

// What is being read: the parts of a name, and those of its other name.
struct names {
    const char *at;
    char mark, *out;
    size_t used, capacity;
};

// Takes "word" with a mark or the end behind it.
static bool take(struct names *n, const char *word)
{
    size_t i = 0;
    for (; word[i]; i++)
        if (n->at[i] != (word[i] == '.' ? n->mark : word[i]))
            return false;
    if (n->at[i] && n->at[i] != n->mark)
        return false;
    n->at += i + (n->at[i] != 0);
    return true;
}

static bool take_number(struct names *n, uint32_t *value)
{
    size_t i = 0;
    *value = 0;
    for (; n->at[i] >= '0' && n->at[i] <= '9' && i < 4; i++)
        *value = 10 * *value + (uint32_t)(n->at[i] - '0');
    if (!i || (n->at[i] && n->at[i] != n->mark))
        return false;
    n->at += i + (n->at[i] != 0);
    return true;
}

// Adds a name with points between its parts.
static bool give(struct names *n, const char *text)
{
    if (n->used && *text && n->used + 1 < n->capacity)
        n->out[n->used++] = n->mark;
    for (; *text && n->used + 1 < n->capacity; text++)
        n->out[n->used++] = *text == '.' ? n->mark : *text;
    if (n->used + 1 > n->capacity)
        return false;
    n->out[n->used] = 0;
    return !*text;
}

static bool give_number(struct names *n, uint32_t value)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", value);
    return give(n, text);
}

struct pair {
    const char *from, *to;
};

// The rest of the name, its beginning by a list if it is there.
static bool rename_rest(struct names *n, const struct pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (take(n, pairs[i].from))
            return give(n, pairs[i].to) && give(n, n->at);
    return give(n, n->at);
}

static bool resnet(struct names *n)
{
    static const struct pair pairs[] = {
        {"in_layers.0", "norm1"},  {"in_layers.2", "conv1"}, {"emb_layers.1", "time_emb_proj"},
        {"out_layers.0", "norm2"}, {"out_layers.3", "conv2"}, {"skip_connection", "conv_shortcut"},
    };
    return rename_rest(n, pairs, sizeof(pairs) / sizeof(*pairs));
}

// A layer inside of a block: a resnet, an attention, or what changes the size.
static bool layer(struct names *n, uint32_t index)
{
    uint32_t inner;
    if (!take_number(n, &inner))
        return false;
    if (inner == 0)
        return give(n, "resnets") && give_number(n, index) && resnet(n);
    if (take(n, "conv"))
        return give(n, "upsamplers.0.conv") && give(n, n->at);
    return inner == 1 && give(n, "attentions") && give_number(n, index) && give(n, n->at);
}

static bool block(struct names *n, uint32_t layers)
{
    uint32_t index, inner;
    if (take(n, "input_blocks")) {
        if (!take_number(n, &index) || index == 0)
            return false;
        if (!give(n, "down_blocks") || !give_number(n, (index - 1) / (layers + 1)))
            return false;
        if ((index - 1) % (layers + 1) == layers)
            return take(n, "0.op") && give(n, "downsamplers.0.conv") && give(n, n->at);
        return layer(n, (index - 1) % (layers + 1));
    }
    if (take(n, "output_blocks"))
        return take_number(n, &index) && give(n, "up_blocks") && give_number(n, index / (layers + 1)) &&
               layer(n, index % (layers + 1));
    if (!take(n, "middle_block") || !take_number(n, &inner) || inner > 2)
        return false;
    if (inner == 1)
        return give(n, "mid_block.attentions.0") && give(n, n->at);
    return give(n, inner ? "mid_block.resnets.1" : "mid_block.resnets.0") && resnet(n);
}

bool vks_original_unet(const char *name, char mark, uint32_t layers, char *out, size_t capacity)
{
    static const struct pair pairs[] = {
        {"input_blocks.0.0", "conv_in"},          {"out.0", "conv_norm_out"},
        {"out.2", "conv_out"},                    {"time_embed.0", "time_embedding.linear_1"},
        {"time_embed.2", "time_embedding.linear_2"}, {"label_emb.0.0", "add_embedding.linear_1"},
        {"label_emb.0.2", "add_embedding.linear_2"},
    };
    struct names n = {name, mark, out, 0, capacity};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
        if (take(&n, pairs[i].from))
            return give(&n, pairs[i].to) && give(&n, n.at);
    return block(&n, layers);
}

static bool vae_resnet(struct names *n)
{
    static const struct pair pairs[] = {{"nin_shortcut", "conv_shortcut"}};
    return rename_rest(n, pairs, 1);
}

static bool vae_middle(struct names *n)
{
    static const struct pair attention[] = {
        {"norm", "group_norm"}, {"q", "to_q"}, {"k", "to_k"}, {"v", "to_v"}, {"proj_out", "to_out.0"},
    };
    if (take(n, "attn_1"))
        return give(n, "mid_block.attentions.0") && rename_rest(n, attention, sizeof(attention) / sizeof(*attention));
    if (take(n, "block_1"))
        return give(n, "mid_block.resnets.0") && vae_resnet(n);
    return take(n, "block_2") && give(n, "mid_block.resnets.1") && vae_resnet(n);
}

bool vks_original_vae(const char *name, uint32_t levels, char *out, size_t capacity)
{
    struct names n = {name, '.', out, 0, capacity};
    uint32_t level, index;
    const bool up = take(&n, "decoder");
    if (!up && !take(&n, "encoder"))
        return give(&n, n.at) && n.used;  // quant_conv, post_quant_conv
    if (!give(&n, up ? "decoder" : "encoder"))
        return false;
    if (take(&n, "norm_out"))
        return give(&n, "conv_norm_out") && give(&n, n.at);
    if (take(&n, "mid"))
        return vae_middle(&n);
    if (!take(&n, up ? "up" : "down"))
        return give(&n, n.at);
    if (!take_number(&n, &level) || level >= levels || !give(&n, up ? "up_blocks" : "down_blocks") ||
        !give_number(&n, up ? levels - 1 - level : level))
        return false;
    if (take(&n, "block"))
        return take_number(&n, &index) && give(&n, "resnets") && give_number(&n, index) && vae_resnet(&n);
    return take(&n, up ? "upsample" : "downsample") && give(&n, up ? "upsamplers.0" : "downsamplers.0") &&
           give(&n, n.at);
}

bool vks_original_open_clip(const char *name, char *out, size_t capacity)
{
    static const struct pair whole[] = {
        {"token_embedding", "text_model.embeddings.token_embedding"},
        {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
        {"ln_final", "text_model.final_layer_norm"},
        {"text_projection", "text_projection.weight"},
    };
    static const struct pair layers[] = {
        {"ln_1", "layer_norm1"}, {"ln_2", "layer_norm2"}, {"mlp.c_fc", "mlp.fc1"}, {"mlp.c_proj", "mlp.fc2"},
        {"attn.out_proj", "self_attn.out_proj"}, {"attn.in_proj_weight", "self_attn.*_proj.weight"},
        {"attn.in_proj_bias", "self_attn.*_proj.bias"},
    };
    struct names n = {name, '.', out, 0, capacity};
    uint32_t index;
    for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++)
        if (take(&n, whole[i].from))
            return give(&n, whole[i].to) && give(&n, n.at);
    if (!take(&n, "transformer.resblocks") || !take_number(&n, &index) || !give(&n, "text_model.encoder.layers") ||
        !give_number(&n, index))
        return false;
    for (size_t i = 0; i < sizeof(layers) / sizeof(*layers); i++)
        if (take(&n, layers[i].from))
            return give(&n, layers[i].to) && give(&n, n.at);
    return false;
}
