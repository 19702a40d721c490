#include "models/gguf_names.h"

#include <stdio.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
    LLAMA = 1,
    QWEN2 = 2,
    QWEN3 = 4,
    GEMMA2 = 8,
    GEMMA3 = 16,
    GPT2 = 32,
    GEMMA = GEMMA2 | GEMMA3,
    PLAIN = LLAMA | QWEN2 | QWEN3,  // a norm before attention, one before the feed-forward part
    ROTARY = PLAIN | GEMMA,
};

static const struct {
    const char *name;
    unsigned bit;
} architectures[] = {
    {"llama", LLAMA}, {"qwen2", QWEN2}, {"qwen3", QWEN3}, {"gemma2", GEMMA2}, {"gemma3", GEMMA3}, {"gpt2", GPT2},
};

struct name {
    unsigned architectures;
    const char *file, *module;
};

static const struct name global_names[] = {
    {ROTARY, "token_embd", "model.embed_tokens"},
    {ROTARY, "output_norm", "model.norm"},
    {GPT2, "token_embd", "transformer.wte"},
    {GPT2, "position_embd", "transformer.wpe"},
    {GPT2, "output_norm", "transformer.ln_f"},
    {ROTARY | GPT2, "output", "lm_head"},
};

// Behind "blk.N." and "model.layers.N." or "transformer.h.N.".
static const struct name block_names[] = {
    {ROTARY, "attn_norm", "input_layernorm"},
    {ROTARY, "attn_q", "self_attn.q_proj"},
    {ROTARY, "attn_k", "self_attn.k_proj"},
    {ROTARY, "attn_v", "self_attn.v_proj"},
    {ROTARY, "attn_output", "self_attn.o_proj"},
    {QWEN3 | GEMMA3, "attn_q_norm", "self_attn.q_norm"},
    {QWEN3 | GEMMA3, "attn_k_norm", "self_attn.k_norm"},
    {PLAIN, "ffn_norm", "post_attention_layernorm"},
    {GEMMA, "post_attention_norm", "post_attention_layernorm"},
    {GEMMA, "ffn_norm", "pre_feedforward_layernorm"},
    {GEMMA, "post_ffw_norm", "post_feedforward_layernorm"},
    {ROTARY, "ffn_gate", "mlp.gate_proj"},
    {ROTARY, "ffn_up", "mlp.up_proj"},
    {ROTARY, "ffn_down", "mlp.down_proj"},
    {GPT2, "attn_norm", "ln_1"},
    {GPT2, "attn_qkv", "attn.c_attn"},
    {GPT2, "attn_output", "attn.c_proj"},
    {GPT2, "ffn_norm", "ln_2"},
    {GPT2, "ffn_up", "mlp.c_fc"},
    {GPT2, "ffn_down", "mlp.c_proj"},
};

static unsigned architecture_bit(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(architectures); i++)
        if (!strcmp(architectures[i].name, name))
            return architectures[i].bit;
    return 0;
}

static const char *look_up(const struct name *names, size_t count, unsigned architecture, const char *file,
                           size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].architectures & architecture && strlen(names[i].file) == length &&
            !memcmp(names[i].file, file, length))
            return names[i].module;
    return NULL;
}

// Digits of a block's number, at most six and without leading zeros; 0 when `text` begins with none.
static size_t number_length(const char *text)
{
    const size_t length = strspn(text, "0123456789");
    return length <= 6 && (length == 1 || *text != '0') ? length : 0;
}

bool vks_gguf_module(const char *architecture, const char *tensor, char *module, size_t capacity,
                     enum vks_gguf_form *form)
{
    const unsigned bit = architecture_bit(architecture);
    const bool block = !strncmp(tensor, "blk.", 4);
    const size_t digits = block ? number_length(tensor + 4) : 0;
    const char *number = tensor + 4, *piece = tensor;
    if (block) {
        if (!digits || number[digits] != '.')
            return false;
        piece = number + digits + 1;
    }
    const char *dot = strrchr(piece, '.');
    if (!dot || (strcmp(dot, ".weight") != 0 && strcmp(dot, ".bias") != 0))
        return false;
    const size_t length = (size_t)(dot - piece);
    const struct name *names = block ? block_names : global_names;
    const size_t count = block ? COUNT_OF(block_names) : COUNT_OF(global_names);
    const char *found = look_up(names, count, bit, piece, length);
    if (!found)
        return false;
    if (block)
        snprintf(module, capacity, "%s.%.*s.%s", bit == GPT2 ? "transformer.h" : "model.layers", (int)digits, number,
                 found);
    else
        snprintf(module, capacity, "%s", found);
    const bool query_or_key = length == 6 && (!memcmp(piece, "attn_q", 6) || !memcmp(piece, "attn_k", 6));
    const bool norm = length >= 4 && !memcmp(dot - 4, "norm", 4);
    *form = bit == LLAMA && query_or_key ? VKS_GGUF_PAIRED_ROWS
            : bit & GEMMA && norm        ? VKS_GGUF_PLUS_ONE
                                         : VKS_GGUF_AS_IS;
    return true;
}
