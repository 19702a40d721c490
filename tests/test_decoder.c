// Configurations and files of language models: both spellings, rotary tables, and every kind of bad file.
#include <math.h>
#include <stdlib.h>

#include "models/decoder.h"
#include "tests/test_scratch.h"

// ---- config.json

static const char llama[] =
    "\"architectures\":[\"LlamaForCausalLM\"],\"vocab_size\":40,\"hidden_size\":24,\"intermediate_size\":30,"
    "\"num_hidden_layers\":3,\"num_attention_heads\":4,\"max_position_embeddings\":64";

// Reads {llama's settings, more}; later keys win.
static bool reads(struct test *t, const char *more, struct vks_decoder_config *config, struct vks_arena *arena)
{
    char text[2000];
    const int size = snprintf(text, sizeof(text), "{%s%s%s}", llama, *more ? "," : "", more);
    if (!vks_os_write_file(test_log(t), in_scratch("config.json"), text, (size_t)size)) {
        test_fail(t, __FILE__, __LINE__, "cannot write %s", in_scratch("config.json"));
        return true;
    }
    return vks_decoder_config_read(test_log(t), scratch, arena, config);
}

static void defaults(struct test *t)
{
    struct vks_decoder_config c;
    struct vks_arena arena = {0};
    CHECK(t, reads(t, "", &c, &arena));
    CHECK(t, c.family == VKS_DECODER_LLAMA && c.vocabulary == 40 && c.width == 24 && c.inner == 30 && c.layers == 3);
    CHECK(t, c.heads == 4 && c.kv_heads == 4 && c.head_width == 6 && c.context == 64 && c.act == VKS_SILU);
    CHECK(t, !c.tied && !c.qkv_bias && !c.out_bias && !c.mlp_bias && !c.window && c.eps == 1e-6f);
    CHECK(t, c.score_scale == (float)(1 / sqrt(6)) && c.rope[0].theta == 1e4 && c.rope[0].kind == VKS_ROPE_PLAIN);
    CHECK(t, reads(t, "\"architectures\":[\"Qwen2ForCausalLM\"]", &c, &arena) && c.qkv_bias && !c.out_bias);
    CHECK(t, !c.window && !c.local[2]);
    CHECK(t, reads(t, "\"architectures\":[\"Qwen3ForCausalLM\"]", &c, &arena) && c.head_width == 128);
    CHECK(t, reads(t, "\"architectures\":null,\"model_type\":\"gemma2\"", &c, &arena));
    CHECK(t, c.family == VKS_DECODER_GEMMA2 && c.tied && c.head_width == 256 && c.act == VKS_GELU_TANH);
    CHECK(t, c.attention_cap == 50 && c.logit_cap == 30 && c.window == 4096);
    CHECK(t, c.local[0] && !c.local[1] && c.local[2] && c.score_scale == 1.0f / 16);
    CHECK(t, reads(t, "\"model_type\":\"gemma2\",\"architectures\":[\"Gemma2ForCausalLM\"],\"head_dim\":6,"
                      "\"query_pre_attn_scalar\":9,\"attn_logit_softcapping\":null,"
                      "\"final_logit_softcapping\":null", &c, &arena));
    CHECK(t, c.score_scale == (float)(1 / 3.0) && !c.attention_cap && !c.logit_cap);
    CHECK(t, reads(t, "\"architectures\":[\"GPT2LMHeadModel\"],\"n_embd\":20,\"n_head\":5,\"n_layer\":2", &c,
                   &arena));
    CHECK(t, c.width == 20 && c.inner == 80 && c.heads == 5 && c.layers == 2 && c.context == 1024 && c.qkv_bias);
    vks_arena_finish(&arena);
}

static void rope_spellings(struct test *t)
{
    static const char *const llama3[] = {
        "\"rope_theta\":5e5,\"rope_scaling\":{\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
        "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}",
        "\"rope_parameters\":{\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"rope_theta\":5e5,"
        "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}"};
    static const char *const gemma3[] = {
        "\"architectures\":[\"Gemma3ForCausalLM\"],\"rope_theta\":2e5,\"rope_local_base_freq\":300,"
        "\"sliding_window_pattern\":3,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}",
        "\"architectures\":[\"Gemma3ForCausalLM\"],\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\","
        "\"factor\":8,\"rope_theta\":2e5},\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":300}},"
        "\"layer_types\":[\"sliding_attention\",\"sliding_attention\",\"full_attention\"]"};
    struct vks_decoder_config c;
    struct vks_arena arena = {0};
    for (int i = 0; i < 2; i++) {
        CHECK(t, reads(t, llama3[i], &c, &arena));
        const struct vks_rope *rope = &c.rope[i];
        CHECK(t, rope->kind == VKS_ROPE_LLAMA3 && rope->theta == 5e5 && rope->factor == 8 && rope->low == 1);
        CHECK(t, rope->high == 4 && rope->original == 8192);
        CHECK(t, reads(t, gemma3[i], &c, &arena));
        CHECK(t, c.rope[0].kind == VKS_ROPE_LINEAR && c.rope[0].theta == 2e5 && c.rope[0].factor == 8);
        CHECK(t, c.rope[1].kind == VKS_ROPE_PLAIN && c.rope[1].theta == 300);
        CHECK(t, c.local[0] && c.local[1] && !c.local[2]);
    }
    CHECK(t, reads(t, "\"architectures\":[\"Gemma3ForCausalLM\"]", &c, &arena));
    CHECK(t, c.rope[0].theta == 1e6 && c.rope[1].theta == 1e4);
    vks_arena_finish(&arena);
}

static void rope_values(struct test *t)
{
    float table[3 * 4];
    const struct vks_rope rope = {.kind = VKS_ROPE_LINEAR, .theta = 100, .factor = 2};
    vks_rope_table(&rope, 4, 5, 3, table);
    for (int i = 0; i < 3; i++) {
        const double slow = (5 + i) * 0.1 / 2, fast = (5 + i) / 2.0;
        CHECK(t, table[4 * i] == (float)cos(fast) && table[4 * i + 1] == (float)cos(slow));
        CHECK(t, table[4 * i + 2] == (float)sin(fast) && table[4 * i + 3] == (float)sin(slow));
    }
}

static void bad_configs(struct test *t)
{
    static const struct {
        const char *more, *message;
    } cases[] = {
        {"\"architectures\":[\"MambaForCausalLM\"]", "MambaForCausalLM is not supported"},
        {"\"architectures\":[\"LlamaForCausalLM\",\"X\"]", "architectures"},
        {"\"architectures\":[]", "(none) is not supported"},
        {"\"vocab_size\":0", "vocab_size"},
        {"\"vocab_size\":null", "vocab_size is missing"},
        {"\"hidden_size\":-1", "hidden_size"},
        {"\"hidden_size\":1e9", "hidden_size"},
        {"\"hidden_size\":3", "less than num_attention_heads"},
        {"\"hidden_size\":20", "cannot turn in pairs"},
        {"\"num_hidden_layers\":1025", "num_hidden_layers"},
        {"\"num_key_value_heads\":3", "cannot share"},
        {"\"num_attention_heads\":60000,\"head_dim\":64,\"hidden_size\":60000", "beyond reason"},
        {"\"rms_norm_eps\":\"x\"", "rms_norm_eps"},
        {"\"hidden_act\":\"mish\"", "mish"},
        {"\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}", "\"yarn\" is not supported"},
        {"\"rope_scaling\":{\"type\":\"linear\"}", "factor is missing"},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", "factor"},
        {"\"rope_scaling\":7", "rope_scaling"},
        {"\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,\"high_freq_factor\":1}", "is not above"},
        {"\"rope_parameters\":{\"partial_rotary_factor\":0.5}", "partial_rotary_factor"},
        {"\"partial_rotary_factor\":0.5", "partial_rotary_factor"},
        {"\"rope_theta\":0", "rope_theta"},
        {"\"quantization_config\":{}", "quantization_config"},
        {"\"model_type\":3", "model_type"},
        {"\"architectures\":[\"Gemma2ForCausalLM\"],\"layer_types\":[\"full_attention\"]", "lists 1 layers of 3"},
        {"\"architectures\":[\"Gemma2ForCausalLM\"],\"layer_types\":[\"full_attention\",3,\"full_attention\"]",
         "something else"},
        {"\"architectures\":[\"Gemma2ForCausalLM\"],\"sliding_window\":null,\"layer_types\":[\"sliding_attention\","
         "\"full_attention\",\"full_attention\"]", "gives no window"},
        {"\"architectures\":[\"Gemma3ForCausalLM\"],\"use_bidirectional_attention\":true", "use_bidirectional"},
        {"\"architectures\":[\"GPT2LMHeadModel\"],\"n_embd\":20,\"n_head\":3", "no multiple of the 3 heads"},
        {"\"architectures\":[\"GPT2LMHeadModel\"],\"scale_attn_by_inverse_layer_idx\":true", "scale_attn_by_inverse"},
    };
    struct vks_decoder_config c;
    struct vks_arena arena = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_REFUSED(t, reads(t, cases[i].more, &c, &arena), cases[i].message);
    vks_arena_finish(&arena);
}

// ---- files of weights

// The tiny model NAME's GGUF file with the first `from` behind `behind` replaced by as many bytes of `to`; then
// whether its graph can be described.
static bool describes(struct test *t, const char *name, const char *behind, const char *from, const char *to,
                      size_t size)
{
    char path[600];
    size_t total;
    snprintf(path, sizeof(path), VKS_TEST_DATA "/language/%s/model.gguf", name);
    char *bytes = vks_os_read_file(test_log(t), path, 1 << 24, &total);
    const char *file = in_scratch("model.gguf");
    size_t at = 0, past = strlen(behind);
    while (bytes && at + past < total && memcmp(bytes + at, behind, past) != 0)
        at++;
    for (at += past; bytes && at + size < total && memcmp(bytes + at, from, size) != 0;)
        at++;
    if (!bytes || at + size >= total) {
        test_fail(t, __FILE__, __LINE__, "%s holds no %s %s", path, behind, from);
        free(bytes);
        return true;
    }
    memcpy(bytes + at, to, size);
    const bool written = vks_os_write_file(test_log(t), file, bytes, total);
    free(bytes);
    struct vks_decoder *decoder = written ? vks_decoder_open(test_log(t), NULL, file) : NULL;
    struct vks_decoder_io io;
    struct vks_graph graph;
    vks_graph_init(&graph, &t->log);
    const struct vks_decoder_params params = {.batch = 1, .length = 8, .head = VKS_HEAD_ALL};
    const bool done = decoder && vks_decoder_build(decoder, &graph, &params, &io);
    vks_graph_finish(&graph);
    vks_decoder_close(&decoder);
    return done;
}

static void bad_gguf(struct test *t)
{
#define WORD(n) ((const char[4]){(char)(n), 0, 0, 0})
    static const struct {
        const char *name, *behind, *from, *to;
        size_t size;
        const char *message;
    } texts[] = {
        {"llama", "general.architecture", "llama", "mamba", 5, "mamba is not supported"},
        {"llama", "", "llama.context_length", "llama.context_lengtX", 20, "context_length\" is missing"},
        {"llama", "", "token_embd.weight", "token_embX.weight", 17, "token_embd.weight is missing"},
        {"llama", "", "blk.1.ffn_up.weight", "blk.1.ffn_uX.weight", 19, "layers.1.mlp.up_proj.weight is missing"},
        {"llama", "", "blk.1.ffn_up.bias", "blk.1.ffn_uX.bias", 17, "layers.1.mlp.up_proj.bias is missing"},
        {"llama", "", "blk.1.ffn_up.weight", "blk.3.ffn_up.weight", 19, "layers.1.mlp.up_proj.weight is missing"},
        {"linear", "rope.scaling.type", "linear", "yarnxx", 6, "kind of rotary scaling"},
        {"llama3", "", "rope_freqs.weight", "rope_freqX.weight", 17, NULL},
    };
    const struct {
        const char *name, *key;
        uint32_t from, to;
        const char *message;
    } numbers[] = {
        {"llama", "llama.attention.head_count\4", 4, 5, "cannot share"},
        {"llama", "llama.attention.head_count_kv", 2, 4, "has the shape (12, 20)"},
        {"llama", "llama.attention.key_length", 6, 8, "values of another width"},
        {"llama", "llama.block_count", 2, 3, "model.layers.2.input_layernorm.weight is missing"},
        {"llama", "llama.block_count", 2, 0, "block_count\" is missing"},
        {"llama", "llama.embedding_length", 20, 21, "has the shape (40, 20)"},
        {"llama", "llama.context_length", 64, 4, "8 tokens do not fit"},
        {"gemma2", "gemma2.attention.sliding_window\4", 4, 0, "gives no window"},
        {"gpt2", "gpt2.attention.head_count\4", 4, 3, "no multiple of the 3 heads"},
        {"qwen2", "qwen2.attention.head_count_kv", 2, 0, "has the shape"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].message)
            CHECK_REFUSED(t, describes(t, texts[i].name, texts[i].behind, texts[i].from, texts[i].to, texts[i].size),
                          texts[i].message);
        else
            CHECK(t, describes(t, texts[i].name, texts[i].behind, texts[i].from, texts[i].to, texts[i].size));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        CHECK_REFUSED(t, describes(t, numbers[i].name, numbers[i].key, WORD(numbers[i].from), WORD(numbers[i].to), 4),
                      numbers[i].message);
}

static void missing_files(struct test *t)
{
    struct vks_decoder_config c;
    struct vks_arena arena = {0};
    CHECK_REFUSED(t, vks_decoder_open(test_log(t), NULL, "no-such-folder") != NULL, "config.json");
    CHECK(t, reads(t, "", &c, &arena));
    vks_arena_finish(&arena);
    CHECK_REFUSED(t, vks_decoder_open(test_log(t), NULL, scratch) != NULL, "model.safetensors");
}

int main(void)
{
    struct test t = {0};
    if (!test_scratch_open("decoder"))
        return 1;
    TEST(&t, defaults);
    TEST(&t, rope_spellings);
    TEST(&t, rope_values);
    TEST(&t, bad_configs);
    TEST(&t, bad_gguf);
    TEST(&t, missing_files);
    test_scratch_close();
    return test_summary(&t);
}
