#include "models/decoder_config.h"

#include <math.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "models/config.h"

#define MAX_CONTEXT ((int64_t)1 << 26)
#define MAX_LAYERS 1024u

// Sources: transformers' configuration_*.py, whose defaults these are.
static const struct {
    const char *type, *model_type;
    bool tied;
    uint32_t window;         // default of sliding_window
    uint32_t pattern;        // every so many layers one is global; 0: all are
} families[VKS_DECODER_FAMILIES] = {
    [VKS_DECODER_LLAMA] = {"LlamaForCausalLM", "llama", false, 0, 0},
    [VKS_DECODER_QWEN2] = {"Qwen2ForCausalLM", "qwen2", false, 4096, 0},
    [VKS_DECODER_QWEN3] = {"Qwen3ForCausalLM", "qwen3", false, 4096, 0},
    [VKS_DECODER_GEMMA2] = {"Gemma2ForCausalLM", "gemma2", true, 4096, 2},
    [VKS_DECODER_GEMMA3] = {"Gemma3ForCausalLM", "gemma3_text", true, 4096, 6},
    [VKS_DECODER_GPT2] = {"GPT2LMHeadModel", "gpt2", true, 0, 0},
};

bool vks_decoder_is_gemma(const struct vks_decoder_config *config)
{
    return config->family == VKS_DECODER_GEMMA2 || config->family == VKS_DECODER_GEMMA3;
}

bool vks_decoder_has_head_norms(const struct vks_decoder_config *config)
{
    return config->family == VKS_DECODER_QWEN3 || config->family == VKS_DECODER_GEMMA3;
}

bool vks_decoder_config_check(const struct vks_log *log, const char *path, const struct vks_decoder_config *c)
{
    if (c->layers > MAX_LAYERS)
        return vks_fail(log, "%s: %u layers are beyond reason: correct the file", path, c->layers);
    if (c->heads % c->kv_heads)
        return vks_fail(log, "%s: %u heads cannot share %u heads of keys evenly: correct the file", path, c->heads,
                        c->kv_heads);
    if ((uint64_t)c->heads * c->head_width > VKS_MAX_WIDTH)
        return vks_fail(log, "%s: %u heads of %u channels are beyond reason: correct the file", path, c->heads,
                        c->head_width);
    if (c->family == VKS_DECODER_GPT2 && c->heads * c->head_width != c->width)
        return vks_fail(log, "%s: the width %u is no multiple of the %u heads: correct the file", path, c->width,
                        c->heads);
    if (c->family != VKS_DECODER_GPT2 && c->head_width % 2)
        return vks_fail(log, "%s: heads of %u channels cannot turn in pairs: correct the file", path, c->head_width);
    for (uint32_t i = 0; i < c->layers; i++)
        if (c->local[i] && !c->window)
            return vks_fail(log, "%s: a layer has sliding attention, but the file gives no window: correct the file",
                            path);
    return true;
}

// ---- config.json --------------------------------------------------------------------------------------------------

// What one attempt to read a file shares.
struct source {
    const struct vks_log *log;
    const struct vks_json *json;
    struct vks_arena *arena;
    struct vks_decoder_config *config;
};

static bool read_family(const struct source *s)
{
    const char *class = NULL, *model_type;
    size_t count = 0;
    if (!vks_json_strings(s->log, s->json, NULL, "architectures", &class, 1, &count) ||
        !vks_json_string(s->log, s->json, NULL, "model_type", "", &model_type))
        return false;
    for (int i = 0; i < VKS_DECODER_FAMILIES; i++)
        if (count ? !strcmp(class, families[i].type) : !strcmp(model_type, families[i].model_type)) {
            s->config->family = (enum vks_decoder_family)i;
            s->config->type = families[i].type;
            return true;
        }
    return vks_fail(s->log, "%s: the architecture %.60s is not supported: use a language model of the classes "
                    "LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM or "
                    "GPT2LMHeadModel", s->json->path, count ? class : *model_type ? model_type : "(none)");
}

static bool read_count(const struct source *s, const char *key, int64_t missing, int64_t most, uint32_t *value)
{
    int64_t number;
    if (!missing && !vks_json_require(s->log, s->json, NULL, key))
        return false;
    if (!vks_json_int(s->log, s->json, NULL, key, missing, 1, most, &number))
        return false;
    *value = (uint32_t)number;
    return true;
}

static bool read_real(const struct source *s, const struct cJSON *object, const char *key, double missing, double low,
                      double high, double *value)
{
    return vks_json_number(s->log, s->json, object, key, missing, low, high, value);
}

// One set of rotary parameters; `object` may be NULL.
static bool read_rope(const struct source *s, const struct cJSON *object, double theta, struct vks_rope *rope)
{
    const struct vks_json *json = s->json;
    const char *kind;
    double part;
    rope->theta = theta;
    if (!object)
        return true;
    if (!vks_json_string(s->log, json, object, "rope_type", NULL, &kind) ||
        (!kind && !vks_json_string(s->log, json, object, "type", "default", &kind)) ||
        !read_real(s, object, "rope_theta", theta, 1e-3, 1e30, &rope->theta) ||
        !read_real(s, object, "partial_rotary_factor", 1, 0, 1, &part))
        return false;
    if (part != 1)
        return vks_fail(s->log, "%s: partial_rotary_factor %g is not supported (only 1): use another model of this "
                        "class", json->path, part);
    if (!strcmp(kind, "default"))
        return true;
    const bool llama3 = !strcmp(kind, "llama3");
    if (!llama3 && strcmp(kind, "linear") != 0)
        return vks_fail(s->log, "%s: the rotary scaling \"%.40s\" is not supported (default, linear, llama3): use "
                        "another model of this class", json->path, kind);
    rope->kind = llama3 ? VKS_ROPE_LLAMA3 : VKS_ROPE_LINEAR;
    if (!vks_json_require(s->log, json, object, "factor") ||
        !read_real(s, object, "factor", 1, 1e-6, 1e6, &rope->factor))
        return false;
    if (!llama3)
        return true;
    if (!read_real(s, object, "low_freq_factor", 1, 1e-6, 1e6, &rope->low) ||
        !read_real(s, object, "high_freq_factor", 4, 1e-6, 1e6, &rope->high) ||
        !read_real(s, object, "original_max_position_embeddings", s->config->context, 1, 1e9, &rope->original))
        return false;
    return rope->high > rope->low || vks_fail(s->log, "%s: high_freq_factor %g is not above low_freq_factor %g: "
                                              "correct the file", json->path, rope->high, rope->low);
}

static bool read_ropes(const struct source *s)
{
    const struct cJSON *scaling = NULL, *parameters = NULL, *global = NULL, *local = NULL;
    const bool gemma3 = s->config->family == VKS_DECODER_GEMMA3;
    double theta, local_theta;
    if (!vks_json_object(s->log, s->json, NULL, "rope_scaling", &scaling) ||
        !vks_json_object(s->log, s->json, NULL, "rope_parameters", &parameters) ||
        !read_real(s, NULL, "rope_theta", gemma3 ? 1e6 : 1e4, 1e-3, 1e30, &theta) ||
        !read_real(s, NULL, "rope_local_base_freq", 1e4, 1e-3, 1e30, &local_theta))
        return false;
    if (parameters && (!vks_json_object(s->log, s->json, parameters, "full_attention", &global) ||
                       !vks_json_object(s->log, s->json, parameters, "sliding_attention", &local)))
        return false;
    if (!global)
        global = scaling ? scaling : local ? NULL : parameters;
    struct vks_rope *ropes = s->config->rope;
    if (!read_rope(s, global, theta, &ropes[0]))
        return false;
    if (!gemma3 && !local) {  // the same for all layers
        ropes[1] = ropes[0];
        return true;
    }
    return read_rope(s, local, local_theta, &ropes[1]);
}

// Which layers see a window only.
static bool read_layer_types(const struct source *s)
{
    struct vks_decoder_config *config = s->config;
    const struct cJSON *types = NULL, *type;
    bool *local = vks_arena_alloc(s->arena, config->layers);
    bool use = true;
    uint32_t first = config->layers, pattern = families[config->family].pattern, i = 0;
    const bool qwen = config->family == VKS_DECODER_QWEN2 || config->family == VKS_DECODER_QWEN3;
    if (!local)
        return vks_fail(s->log, VKS_NO_MEMORY);
    config->local = local;
    if (!families[config->family].window)
        return true;
    int64_t window = 0, full = 0;
    if (!vks_json_array(s->log, s->json, NULL, "layer_types", &types) ||
        (qwen && !vks_json_bool(s->log, s->json, NULL, "use_sliding_window", false, &use)) ||
        !vks_json_int(s->log, s->json, NULL, "max_window_layers", 28, 0, INT32_MAX, &full) ||
        (pattern && !read_count(s, "sliding_window_pattern", pattern, INT32_MAX, &pattern)) ||
        !vks_json_int(s->log, s->json, NULL, "sliding_window", families[config->family].window, 1, INT32_MAX,
                      &window))
        return false;
    config->window = !use || vks_config_is_null(s->json, "sliding_window") ? 0 : (uint32_t)window;
    first = qwen && full < config->layers ? (uint32_t)full : first;
    for (i = 0; i < config->layers && !types; i++)
        local[i] = config->window && (pattern ? (i + 1) % pattern != 0 : i >= first);
    if (types && cJSON_GetArraySize(types) < (int)config->layers)
        return vks_fail(s->log, "%s: layer_types lists %d layers of %u: correct the file", s->json->path,
                        cJSON_GetArraySize(types), config->layers);
    i = 0;
    cJSON_ArrayForEach(type, types)
    {
        const bool sliding = cJSON_IsString(type) && !strcmp(type->valuestring, "sliding_attention");
        if (!sliding && !(cJSON_IsString(type) && !strcmp(type->valuestring, "full_attention")))
            return vks_fail(s->log, "%s: layer_types names something else than full_attention and sliding_attention: "
                            "use another model of this class", s->json->path);
        if (i < config->layers)
            local[i++] = sliding;
    }
    return true;
}

static bool read_caps(const struct source *s)
{
    struct vks_decoder_config *config = s->config;
    const bool gemma2 = config->family == VKS_DECODER_GEMMA2;
    double scalar = config->head_width, attention = gemma2 ? 50 : 0, logits = gemma2 ? 30 : 0;
    if (vks_decoder_is_gemma(config) && !read_real(s, NULL, "query_pre_attn_scalar", 256, 1e-6, 1e9, &scalar))
        return false;
    if (gemma2 && !read_real(s, NULL, "attn_logit_softcapping", attention, 1e-6, 1e9, &attention))
        return false;
    if (vks_decoder_is_gemma(config) && !read_real(s, NULL, "final_logit_softcapping", logits, 0, 1e9, &logits))
        return false;
    config->score_scale = (float)(1 / sqrt(scalar));
    config->attention_cap = vks_config_is_null(s->json, "attn_logit_softcapping") ? 0 : (float)attention;
    config->logit_cap = vks_config_is_null(s->json, "final_logit_softcapping") ? 0 : (float)logits;
    return true;
}

static bool read_biases(const struct source *s)
{
    struct vks_decoder_config *config = s->config;
    bool attention = false;
    if (config->family == VKS_DECODER_QWEN2) {
        config->qkv_bias = true;
        return true;
    }
    if (!vks_json_bool(s->log, s->json, NULL, "attention_bias", false, &attention) ||
        (config->family == VKS_DECODER_LLAMA &&
         !vks_json_bool(s->log, s->json, NULL, "mlp_bias", false, &config->mlp_bias)))
        return false;
    config->qkv_bias = config->out_bias = attention;
    return true;
}

static bool read_rotary(const struct source *s)
{
    struct vks_decoder_config *config = s->config;
    const struct vks_config_only only[] = {
        {"use_bidirectional_attention", "false"}, {"partial_rotary_factor", "1"}, {"quantization_config", ""},
        {NULL, NULL}};
    const bool gemma = vks_decoder_is_gemma(config);
    double eps;
    if (!vks_config_check(s->log, s->json, only) ||
        !read_count(s, "max_position_embeddings", 2048, MAX_CONTEXT, &config->context) ||
        !vks_config_width(s->log, s->json, "hidden_size", &config->width) ||
        !vks_config_width(s->log, s->json, "intermediate_size", &config->inner) ||
        !read_count(s, "num_hidden_layers", 0, MAX_LAYERS, &config->layers) ||
        !vks_config_width(s->log, s->json, "num_attention_heads", &config->heads) ||
        !vks_config_width_or(s->log, s->json, "num_key_value_heads", config->heads, &config->kv_heads))
        return false;
    const uint32_t head = config->family == VKS_DECODER_QWEN3 ? 128 : gemma ? 256 : config->width / config->heads;
    if (!head)
        return vks_fail(s->log, "%s: hidden_size %u is less than num_attention_heads %u: correct the file",
                        s->json->path, config->width, config->heads);
    if (!vks_config_width_or(s->log, s->json, "head_dim", head, &config->head_width) ||
        !read_real(s, NULL, "rms_norm_eps", 1e-6, 0, 1, &eps) ||
        !vks_config_activation(s->log, s->json, gemma ? "hidden_activation" : "hidden_act",
                               gemma ? "gelu_pytorch_tanh" : "silu", &config->act))
        return false;
    config->eps = (float)eps;
    return read_caps(s) && read_biases(s) && read_ropes(s);
}

static bool read_gpt2(const struct source *s)
{
    static const struct vks_config_only only[] = {
        {"scale_attn_weights", "true"}, {"scale_attn_by_inverse_layer_idx", "false"},
        {"add_cross_attention", "false"}, {"quantization_config", ""}, {NULL, NULL}};
    struct vks_decoder_config *config = s->config;
    double eps;
    if (!vks_config_check(s->log, s->json, only) ||
        !read_count(s, "n_positions", 1024, MAX_CONTEXT, &config->context) ||
        !vks_config_width_or(s->log, s->json, "n_embd", 768, &config->width) ||
        !read_count(s, "n_layer", 12, MAX_LAYERS, &config->layers) ||
        !vks_config_width_or(s->log, s->json, "n_head", 12, &config->heads) ||
        !vks_config_width_or(s->log, s->json, "n_inner", 4 * config->width, &config->inner) ||
        !read_real(s, NULL, "layer_norm_epsilon", 1e-5, 0, 1, &eps) ||
        !vks_config_activation(s->log, s->json, "activation_function", "gelu_new", &config->act))
        return false;
    config->kv_heads = config->heads;
    config->head_width = config->width / config->heads;
    config->score_scale = config->head_width ? (float)(1 / sqrt(config->head_width)) : 0;
    config->eps = (float)eps;
    config->qkv_bias = config->out_bias = config->mlp_bias = true;
    return true;
}

bool vks_decoder_config_read(const struct vks_log *log, const char *folder, struct vks_arena *arena,
                             struct vks_decoder_config *config)
{
    *config = (struct vks_decoder_config){0};
    struct vks_json *json = vks_config_open(log, folder, "config.json");
    if (!json)
        return false;
    const struct source s = {log, json, arena, config};
    bool done = read_family(&s);
    const bool gpt2 = config->family == VKS_DECODER_GPT2, tied = families[config->family].tied;
    done = done && vks_json_bool(log, json, NULL, "tie_word_embeddings", tied, &config->tied) &&
           read_count(&s, "vocab_size", gpt2 ? 50257 : 0, 1 << 24, &config->vocabulary) &&
           (gpt2 ? read_gpt2(&s) : read_rotary(&s)) && read_layer_types(&s) &&
           vks_decoder_config_check(log, json->path, config);
    vks_json_close(&json);
    return done;
}

// ---- rotary tables ------------------------------------------------------------------------------------------------

// The frequency of pair i.
static double frequency(const struct vks_rope *rope, uint32_t head_width, uint32_t i)
{
    const double plain = pow(rope->theta, -2.0 * i / head_width);
    if (rope->kind == VKS_ROPE_LINEAR)
        return plain / rope->factor;
    if (rope->kind == VKS_ROPE_DIVISORS)
        return plain / rope->divisors[i];
    if (rope->kind == VKS_ROPE_PLAIN)
        return plain;
    // Llama 3: turns made in the context that it was trained on
    const double turns = rope->original * plain / (2 * 3.14159265358979323846);
    const double keep = fmin(fmax((turns - rope->low) / (rope->high - rope->low), 0), 1);
    return (1 - keep) * plain / rope->factor + keep * plain;
}

void vks_rope_table(const struct vks_rope *rope, uint32_t head_width, uint32_t first, uint32_t count, float *out)
{
    const uint32_t half = head_width / 2;
    for (uint32_t i = 0; i < half; i++) {
        const double step = frequency(rope, head_width, i);
        for (uint32_t t = 0; t < count; t++) {
            const double angle = (first + (double)t) * step;
            out[(size_t)t * head_width + i] = (float)cos(angle);
            out[(size_t)t * head_width + half + i] = (float)sin(angle);
        }
    }
}
