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
