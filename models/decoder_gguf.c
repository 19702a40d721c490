// Decoder configurations from GGUF files: metadata, and which tensors there are.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/config.h"
#include "models/decoder_config.h"
#include "models/language.h"

struct source {
    const struct vks_log *log;
    const struct vks_gguf *file;
    struct vks_arena *arena;
    const struct vks_language *language;
    struct vks_decoder_config *config;
};

// The value of a key that begins with the architecture's name; NULL when it is absent.
static const struct vks_gguf_value *own(const struct source *s, const char *key)
{
    char full[128];
    snprintf(full, sizeof(full), "%s.%s", s->language->architecture, key);
    return vks_gguf_get(s->file, full);
}

static bool number(const struct source *s, const char *key, double missing, double low, double high, double *value)
{
    const struct vks_gguf_value *found = own(s, key);
    *value = missing;
    return !found || (vks_gguf_number(found, value) && *value >= low && *value <= high) ||
           vks_fail(s->log, "%s: metadata \"%s.%s\" is no number from %g to %g; the file is damaged, fetch it again",
                    s->file->path, s->language->architecture, key, low, high);
}

// A size that the file gave (0: it did not).
static bool size_of(const struct source *s, const char *key, uint64_t size, uint64_t most, uint32_t *value)
{
    if (!size || size > most)
        return vks_fail(s->log, "%s: metadata \"%s.%s\" is %s; the file is damaged, fetch it again", s->file->path,
                        s->language->architecture, key, size ? "beyond reason" : "missing");
    *value = (uint32_t)size;
    return true;
}

static bool has(const struct source *s, const char *tensor)
{
    return vks_gguf_find(s->file, tensor) != NULL;
}

static bool take_family(const struct source *s)
{
    static const struct {
        const char *architecture, *type;
        enum vks_unary act;
    } families[VKS_DECODER_FAMILIES] = {
        [VKS_DECODER_LLAMA] = {"llama", "LlamaForCausalLM", VKS_SILU},
        [VKS_DECODER_QWEN2] = {"qwen2", "Qwen2ForCausalLM", VKS_SILU},
        [VKS_DECODER_QWEN3] = {"qwen3", "Qwen3ForCausalLM", VKS_SILU},
        [VKS_DECODER_GEMMA2] = {"gemma2", "Gemma2ForCausalLM", VKS_GELU_TANH},
        [VKS_DECODER_GEMMA3] = {"gemma3", "Gemma3ForCausalLM", VKS_GELU_TANH},
        [VKS_DECODER_GPT2] = {"gpt2", "GPT2LMHeadModel", VKS_GELU_TANH},
    };
    for (int i = 0; i < VKS_DECODER_FAMILIES; i++)
        if (!strcmp(s->language->architecture, families[i].architecture)) {
            s->config->family = (enum vks_decoder_family)i;
            s->config->type = families[i].type;
            s->config->act = families[i].act;
            return true;
        }
    return vks_fail(s->log, "%s: the architecture %s is not supported (llama, qwen2, qwen3, gemma2, gemma3, gpt2): "
                    "use a model of one of these", s->file->path, s->language->architecture);
}

static bool take_sizes(const struct source *s)
{
    const struct vks_language *language = s->language;
    struct vks_decoder_config *c = s->config;
    const struct vks_gguf_tensor *table = vks_gguf_find(s->file, "token_embd.weight");
    const struct vks_gguf_value *heads = own(s, "attention.head_count"), *values = own(s, "attention.value_length");
    uint64_t experts = 0, value_width = 0;
    if (!table || table->rank != 2)
        return vks_fail(s->log, "%s: the tensor token_embd.weight is missing: this is no whole model; fetch the file "
                        "again", s->file->path);
    if ((own(s, "expert_count") && vks_gguf_uint(own(s, "expert_count"), &experts) && experts) ||
        (heads && heads->kind == VKS_GGUF_ARRAY))
        return vks_fail(s->log, "%s: mixtures of experts and layers of different widths are not supported: use "
                        "another model of this architecture", s->file->path);
    if (values && (!vks_gguf_uint(values, &value_width) || value_width != language->head_width))
        return vks_fail(s->log, "%s: values of another width than keys are not supported: use another model of this "
                        "architecture", s->file->path);
    return size_of(s, "vocab_size", table->shape[0], 1 << 24, &c->vocabulary) &&
           size_of(s, "context_length", language->context, 1 << 26, &c->context) &&
           size_of(s, "embedding_length", language->width, VKS_MAX_WIDTH, &c->width) &&
           size_of(s, "feed_forward_length", language->feed_forward, VKS_MAX_WIDTH, &c->inner) &&
           size_of(s, "block_count", language->layers, VKS_MAX_WIDTH, &c->layers) &&
           size_of(s, "attention.head_count", language->heads, VKS_MAX_WIDTH, &c->heads) &&
           size_of(s, "attention.head_count_kv", language->kv_heads, VKS_MAX_WIDTH, &c->kv_heads) &&
           size_of(s, "attention.key_length", language->head_width, VKS_MAX_WIDTH, &c->head_width);
}

// Rotary bases and scaling. Gemma 3's local layers turn by a base of their own, unscaled.
static bool take_ropes(const struct source *s)
{
    struct vks_rope *ropes = s->config->rope;
    const struct vks_gguf_value *kind = own(s, "rope.scaling.type");
    const struct vks_gguf_tensor *divisors = vks_gguf_find(s->file, "rope_freqs.weight");
    const bool gemma3 = s->config->family == VKS_DECODER_GEMMA3;
    const uint32_t half = s->config->head_width / 2;
    double turning, local;
    ropes[0].theta = s->language->rope_base > 0 ? s->language->rope_base : gemma3 ? 1e6 : 1e4;
    if (!number(s, "rope.dimension_count", s->config->head_width, 0, 1e9, &turning) ||
        !number(s, "rope.freq_base_swa", 1e4, 1e-3, 1e30, &local) ||
        !number(s, "rope.scaling.factor", 1, 1e-6, 1e6, &ropes[0].factor))
        return false;
    if (turning != s->config->head_width)
        return vks_fail(s->log, "%s: heads of %u channels of which %.0f turn are not supported: use another model of "
                        "this architecture", s->file->path, s->config->head_width, turning);
    const bool linear = kind && kind->kind == VKS_GGUF_STRING && kind->size == 6 && !memcmp(kind->data, "linear", 6);
    const bool none = !kind || (kind->kind == VKS_GGUF_STRING && kind->size == 4 && !memcmp(kind->data, "none", 4));
    if (!linear && !none)
        return vks_fail(s->log, "%s: this kind of rotary scaling is not supported (linear, and llama 3's): use "
                        "another model of this architecture", s->file->path);
    ropes[0].kind = linear ? VKS_ROPE_LINEAR : VKS_ROPE_PLAIN;
    if (divisors) {
        float *values = vks_arena_alloc(s->arena, half * sizeof(*values));
        if (!values)
            return vks_fail(s->log, VKS_NO_MEMORY);
        bool fits = divisors->type == VKS_QUANT_F32 && divisors->count == half && !linear;
        if (fits)
            vks_quant_unpack(divisors->type, divisors->data, half, values);
        for (uint32_t i = 0; i < half && fits; i++)
            fits = values[i] >= 1e-6f && values[i] <= 1e6f;
        if (!fits)
            return vks_fail(s->log, "%s: the tensor rope_freqs.weight does not hold %u divisors: the file is "
                            "damaged, fetch it again", s->file->path, half);
        ropes[0].divisors = values;
        ropes[0].kind = VKS_ROPE_DIVISORS;
    }
    ropes[1] = gemma3 ? (struct vks_rope){.theta = local} : ropes[0];
    return true;
}

// Windows: every second layer of Gemma 2, five of six of Gemma 3, unless the file says otherwise.
static bool take_windows(const struct source *s)
{
    struct vks_decoder_config *c = s->config;
    const struct vks_gguf_value *pattern = own(s, "attention.sliding_window_pattern");
    struct vks_gguf_value item;
    bool *local = vks_arena_alloc(s->arena, c->layers);
    uint64_t every = c->family == VKS_DECODER_GEMMA2 ? 2 : 6;
    double flag;
    if (!local)
        return vks_fail(s->log, VKS_NO_MEMORY);
    c->local = local;
    if (!vks_decoder_is_gemma(c))
        return true;
    if (s->language->window > INT32_MAX)
        return size_of(s, "attention.sliding_window", s->language->window, INT32_MAX, &c->window);
    c->window = (uint32_t)s->language->window;
    if (pattern && pattern->kind == VKS_GGUF_ARRAY && pattern->count == c->layers) {
        uint32_t i = 0;
        for (size_t at = 0; vks_gguf_next(pattern, &at, &item) && vks_gguf_number(&item, &flag);)
            local[i++] = flag != 0;
        return true;
    }
    if (pattern && (!vks_gguf_uint(pattern, &every) || !every))
        return vks_fail(s->log, "%s: metadata \"%s.attention.sliding_window_pattern\" fits no %u layers; the file is "
                        "damaged, fetch it again", s->file->path, s->language->architecture, c->layers);
    for (uint32_t i = 0; i < c->layers; i++)
        local[i] = (i + 1) % every != 0;
    return true;
}

static bool take_scores(const struct source *s)
{
    struct vks_decoder_config *c = s->config;
    const bool gemma2 = c->family == VKS_DECODER_GEMMA2, gpt2 = c->family == VKS_DECODER_GPT2;
    double attention, logits, eps;
    if (!number(s, "attn_logit_softcapping", gemma2 ? 50 : 0, 0, 1e9, &attention) ||
        !number(s, "final_logit_softcapping", gemma2 ? 30 : 0, 0, 1e9, &logits) ||
        !number(s, gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", gpt2 ? 1e-5 : 1e-6, 0,
                1, &eps))
        return false;
    // The file does not have query_pre_attn_scalar: it is the head's width, but for the 27B models of the two Gemmas,
    // which are known by their layers.
    const bool by_width = (gemma2 && c->layers == 46) || (c->family == VKS_DECODER_GEMMA3 && c->layers == 62);
    c->score_scale = (float)(1 / sqrt(by_width ? (double)c->width / c->heads : c->head_width));
    c->attention_cap = gemma2 ? (float)attention : 0;
    c->logit_cap = vks_decoder_is_gemma(c) ? (float)logits : 0;
    c->eps = (float)eps;
    return true;
}

bool vks_decoder_config_from_gguf(const struct vks_log *log, const struct vks_gguf *file, struct vks_arena *arena,
                                  struct vks_decoder_config *config)
{
    struct vks_language language;
    const struct source s = {log, file, arena, &language, config};
    *config = (struct vks_decoder_config){0};
    if (!vks_language_from_gguf(log, file, arena, &language) || !take_family(&s) || !take_sizes(&s) ||
        !take_windows(&s) || !take_scores(&s) || (config->family != VKS_DECODER_GPT2 && !take_ropes(&s)))
        return false;
    config->tied = !has(&s, "output.weight");
    config->qkv_bias = has(&s, "blk.0.attn_q.bias") || has(&s, "blk.0.attn_qkv.bias");
    config->out_bias = has(&s, "blk.0.attn_output.bias");
    config->mlp_bias = has(&s, "blk.0.ffn_up.bias");
    return vks_decoder_config_check(log, file->path, config);
}
