// LoRA files, and other files put over a model: against what diffusers and PEFT make of the weights
// (tests/golden/lora.py), on the host and as uploaded; and files that must be refused.
#include "base/half.h"
#include "models/decoder.h"
#include "models/lora.h"
#include "models/original_names.h"
#include "models/pipeline.h"
#include "tests/test_device.h"
#include "tests/test_scratch.h"

#include <math.h>
#include <stdlib.h>

#define STRENGTH 0.7f  // of lora.py, as the stride
#define STRIDE 5

static struct vks_gpu *gpu;

struct model {
    struct vks_pipeline *pipeline;  // one of the two
    struct vks_decoder *decoder;
    struct vks_lora_part parts[VKS_PIPELINE_PARTS];
    size_t count;
};

static bool model_open(struct test *t, struct vks_gpu *device, const char *name, struct model *m)
{
    char path[600];
    snprintf(path, sizeof(path), VKS_TEST_DATA "/%s", name);
    *m = (struct model){0};
    if (!strncmp(name, "language/", 9)) {
        m->decoder = vks_decoder_open(test_log(t), device, path);
        if (m->decoder)
            m->parts[m->count++] = (struct vks_lora_part){"model", m->decoder->weights, 0,
                                                          vks_decoder_has_conv1d(m->decoder)};
        return m->decoder != NULL;
    }
    m->pipeline = vks_pipeline_open(test_log(t), device, path);
    for (uint32_t i = 0; m->pipeline && i < m->pipeline->part_count; i++) {
        const struct vks_pipeline_part *part = &m->pipeline->parts[i];
        if (strcmp(part->name, "vae") != 0)
            m->parts[m->count++] = (struct vks_lora_part){
                part->name, part->weights, i == m->pipeline->text_count ? m->pipeline->unet.layers[0] : 0, false};
    }
    return m->pipeline != NULL;
}

static void model_close(struct model *m)
{
    vks_pipeline_close(&m->pipeline);
    vks_decoder_close(&m->decoder);
}

// The values that diffusers gives a weight, NULL where it leaves it alone. Only some files have "text_model.".
static const struct vks_st_tensor *fused_find(const struct vks_tensor_file *fused, const char *part, const char *name)
{
    char key[300];
    static const char text[] = "text_model.";
    snprintf(key, sizeof(key), "%s.%s", part, name);
    const struct vks_st_tensor *found = vks_tensor_file_find(fused, key);
    if (!found && !strncmp(name, text, strlen(text)))
        snprintf(key, sizeof(key), "%s.%s", part, name + strlen(text));
    else
        snprintf(key, sizeof(key), "%s.%s%s", part, text, name);
    return found ? found : vks_tensor_file_find(fused, key);
}

// Where a value of the file that PEFT changed stands in this one: in GGUF files GPT-2's matrices lie the other way
// round.
static size_t place_of(const struct vks_lora_part *part, const struct vks_weight *weight, size_t at)
{
    const struct vks_gguf *gguf = vks_weights_gguf(part->weights);
    if (!gguf || weight->rank != 2 || !strstr(weight->name, ".c_"))
        return at;
    const size_t out = weight->shape[0], in = weight->shape[1];
    return at % out * in + at / out;
}

// Every weight of a part, of this model and of one without the LoRA.
static void compare(struct test *t, const struct vks_lora_part *part, const struct vks_lora_part *plain,
                    const struct vks_tensor_file *fused, size_t *changed)
{
    for (size_t i = 0; i < vks_weights_count(part->weights) && !t->bad; i++) {
        const struct vks_weight *weight = vks_weights_at(part->weights, i);
        const struct vks_st_tensor *want = fused_find(fused, part->name, weight->name);
        if (!vks_weights_readable(part->weights, i))
            continue;
        float *values = malloc(2 * weight->count * sizeof(float) + 1), *before = values + weight->count;
        EXPECT(t, vks_weights_read(part->weights, i, values) && vks_weights_read(plain->weights, i, before),
               "%s: not read", weight->name);
        const float *expected = want ? (const void *)want->data : before;
        float most = 0, worst = 0;
        for (size_t k = 0; k < weight->count; k += want ? STRIDE : 1) {
            const float one = expected[want ? k / STRIDE : k];
            worst = fmaxf(worst, fabsf(values[want ? place_of(part, weight, k) : k] - one));
            most = fmaxf(most, fabsf(one));
        }
        EXPECT(t, worst <= (want ? 1e-6f * most : 0), "%s.%s differs by %g of %g", part->name, weight->name, worst,
               most);
        *changed += want != NULL;
        free(values);
    }
}

static void equals(struct test *t, const char *model, const char *file)
{
    struct model m, plain;
    struct vks_tensor_file fused;
    char path[600];
    size_t changed = 0;
    CHECK(t, model_open(t, NULL, model, &m) && model_open(t, NULL, model, &plain));
    snprintf(path, sizeof(path), VKS_TEST_DATA "/lora/%s", file);
    struct vks_lora *lora = vks_lora_open(test_log(t), path, STRENGTH, m.parts, m.count);
    CHECK(t, lora);
    snprintf(path, sizeof(path), VKS_TEST_DATA "/lora/%.*s.fused.safetensors", (int)strcspn(file, "."), file);
    CHECK(t, vks_tensor_file_open(test_log(t), path, &fused));
    for (size_t i = 0; i < m.count; i++)
        compare(t, &m.parts[i], &plain.parts[i], &fused, &changed);
    EXPECT(t, changed == fused.tensor_count && changed == lora->layers && !lora->strays,
           "%s: %zu of %zu weights, %zu layers, %zu strays", file, changed, fused.tensor_count, lora->layers,
           lora->strays);
    vks_tensor_file_close(&fused);
    model_close(&m);
    model_close(&plain);
    vks_lora_close(&lora);
    vks_lora_close(&lora);
}

static void layouts(struct test *t)
{
    equals(t, "sd1", "sd1-diffusers.safetensors");
    equals(t, "sd1", "sd1-old.bin");
    equals(t, "half", "half-kohya.safetensors");
    equals(t, "xl", "xl-kohya.safetensors");
    equals(t, "language/llama", "llama-peft");
    equals(t, "language/llama/model.gguf", "llama-peft");
    equals(t, "language/linear", "linear-peft");
    equals(t, "language/linear/model.gguf", "linear-peft");
    equals(t, "language/gpt2", "gpt2-peft");
    equals(t, "language/gpt2/model.gguf", "gpt2-peft");
}

// GPT-2 as it was first published, without "transformer.".
static void without_base(struct test *t)
{
    const char *path = in_scratch("model.safetensors"), *config = in_scratch("config.json");
    struct vks_st_item items[64] = {{0}};
    struct model m = {0};
    struct vks_os_map map;
    CHECK(t, vks_os_map_open(test_log(t), VKS_TEST_DATA "/language/gpt2/config.json", &map));
    CHECK(t, vks_os_write_file(test_log(t), config, map.data, map.size) &&
          model_open(t, NULL, "language/gpt2", &m));
    vks_os_map_close(&map);
    const size_t count = vks_weights_count(m.decoder->weights);
    CHECK(t, count <= 64);
    for (size_t i = 0; i < count; i++) {
        const struct vks_weight *weight = vks_weights_at(m.decoder->weights, i);
        items[i] = (struct vks_st_item){weight->name + strlen("transformer."), VKS_ST_F32, weight->rank, {0},
                                        weight->data};
        memcpy(items[i].shape, weight->shape, sizeof(weight->shape));
    }
    CHECK(t, vks_safetensors_write(test_log(t), path, items, count, NULL, 0));
    model_close(&m);
    m.decoder = vks_decoder_open(test_log(t), NULL, scratch);
    CHECK(t, m.decoder);
    m.parts[0] = (struct vks_lora_part){"model", m.decoder->weights, 0, vks_decoder_has_conv1d(m.decoder)};
    struct vks_lora *lora = vks_lora_open(test_log(t), VKS_TEST_DATA "/lora/gpt2-peft", 1, m.parts, 1);
    EXPECT(t, lora && lora->layers == 6 && !lora->strays, "modules are not found");
    model_close(&m);
    vks_lora_close(&lora);
}

// ---- on the device

static float element(const void *bytes, enum vks_dtype dtype, size_t i)
{
    uint16_t half;
    float value;
    if (dtype == VKS_F32) {
        memcpy(&value, (const char *)bytes + 4 * i, 4);
        return value;
    }
    memcpy(&half, (const char *)bytes + 2 * i, 2);
    return vks_f32_from_f16(half);
}

// An uploaded weight is the changed one, rounded to its type, kernels with their channels last, GPT-2's turned round.
static void check_upload(struct test *t, const struct vks_lora_part *part, size_t index)
{
    struct vks_weights *weights = part->weights;
    const struct vks_weight *weight = vks_weights_at(weights, index);
    struct vks_weight_place place;
    if (!vks_weights_place(weights, weight->name, &place) || place.dtype == VKS_I32)  // in blocks
        return;
    float *values = malloc(weight->count * sizeof(*values));
    void *bytes = malloc(place.size);
    EXPECT(t, vks_weights_read(weights, index, values) &&
           vks_storage_read(place.storage, place.offset, bytes, place.size), "%s: not read", weight->name);
    const bool kernel = weight->rank == 4, turned = part->conv1d && strstr(weight->name, ".c_") && weight->rank == 2;
    const size_t plane = kernel ? weight->shape[2] * weight->shape[3] : 1;
    const size_t channels = kernel ? weight->shape[1] : turned ? weight->shape[0] : 1;
    for (size_t i = 0; i < weight->count && !t->bad; i++) {
        const size_t out = i / (channels * plane), channel = i / plane % channels, p = i % plane;
        const size_t columns = weight->count / channels;
        const size_t at = kernel   ? (out * plane + p) * channels + channel
                          : turned ? i % columns * channels + i / columns
                                   : i;
        const float want = place.dtype == VKS_F16 ? vks_f32_from_f16(vks_f16_from_f32(values[i])) : values[i];
        EXPECT(t, element(bytes, place.dtype, at) == want, "%s: %zu is %g, not %g", weight->name, i,
               element(bytes, place.dtype, at), want);
    }
    free(values);
    free(bytes);
}

static bool describe(struct model *m, struct vks_graph *graph)
{
    const struct vks_decoder_params params = {.batch = 1, .length = 4, .head = VKS_HEAD_ALL};
    struct vks_decoder_io io;
    if (m->pipeline) {
        vks_pipeline_attach(m->pipeline, gpu);
        return vks_pipeline_describe(m->pipeline, graph);
    }
    vks_decoder_attach(m->decoder, gpu);
    return vks_decoder_build(m->decoder, graph, &params, &io);
}

static void uploaded(struct test *t)
{
    static const char *const files[][2] = {
        {"sd1", "sd1-diffusers.safetensors"}, {"half", "half-kohya.safetensors"}, {"language/gpt2", "gpt2-peft"},
        {"language/linear/model.gguf", "linear-peft"}, {"language/gpt2/model.gguf", "gpt2-peft"}};
    if (!gpu)
        SKIP(t, "no device");
    for (size_t f = 0; f < sizeof(files) / sizeof(*files) && !t->bad; f++) {
        struct model m;
        struct vks_graph graph;
        char path[600];
        CHECK(t, model_open(t, NULL, files[f][0], &m));
        snprintf(path, sizeof(path), VKS_TEST_DATA "/lora/%s", files[f][1]);
        struct vks_lora *lora = vks_lora_open(test_log(t), path, STRENGTH, m.parts, m.count);
        CHECK(t, lora);
        vks_graph_init(&graph, test_log(t));
        CHECK(t, describe(&m, &graph));
        for (size_t p = 0; p < m.count; p++)
            for (size_t i = 0; i < vks_weights_count(m.parts[p].weights); i++) {
                struct vks_weight_place place;
                const struct vks_weight *weight = vks_weights_at(m.parts[p].weights, i);
                check_upload(t, &m.parts[p], i);
                EXPECT(t, !vks_weight_changed(m.parts[p].weights, i) ||
                       (vks_weights_place(m.parts[p].weights, weight->name, &place) && place.dtype != VKS_I32),
                       "%s: changed, and still in blocks", weight->name);
            }
        vks_graph_finish(&graph);
        model_close(&m);
        vks_lora_close(&lora);
    }
}

// ---- other files

static const float values[4096] = {1, 2, 3};

// Puts a file of these tensors over the tiny SD 1 model. `type`: of all of them.
static struct vks_lora *put_over(struct test *t, struct model *m, const struct vks_st_item *items, size_t count)
{
    const char *path = in_scratch("x.safetensors");
    if (!vks_safetensors_write(NULL, path, items, count, NULL, 0) || !model_open(t, NULL, "sd1", m))
        return NULL;
    return vks_lora_open(test_log(t), path, 2, m->parts, m->count);
}

static bool opens(struct test *t, const struct vks_st_item *items, size_t count)
{
    struct model m = {0};
    struct vks_lora *lora = put_over(t, &m, items, count);
    const bool done = lora != NULL;
    vks_pipeline_close(&m.pipeline);
    vks_lora_close(&lora);
    return done;
}

#define ITEM(name, rank, ...) {name, VKS_ST_F32, rank, {__VA_ARGS__}, values}
#define QUERY_NAME "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"  // (20, 20)
#define QUERY "unet." QUERY_NAME

static void refused(struct test *t)
{
    static const struct {
        const char *message;
        struct vks_st_item items[3];
        size_t count;
    } cases[] = {
        {NULL, {ITEM(QUERY ".lora_A.weight", 2, 2, 20), ITEM(QUERY ".lora_B.weight", 2, 20, 2)}, 2},
        {"does not fit the model's mid_block", {ITEM(QUERY ".lora_A.weight", 2, 2, 20)}, 1},
        {"does not fit", {ITEM(QUERY ".lora_A.weight", 2, 2, 21), ITEM(QUERY ".lora_B.weight", 2, 20, 2)}, 2},
        {"does not fit", {ITEM(QUERY ".lora_A.weight", 2, 2, 20), ITEM(QUERY ".lora_B.weight", 2, 20, 3)}, 2},
        {"does not fit", {ITEM(QUERY ".lora_A.weight", 2, 2, 20), ITEM(QUERY ".lora_B.weight", 2, 10, 2)}, 2},
        {"does not fit", {ITEM(QUERY ".lora_A.weight", 2, 0, 20), ITEM(QUERY ".lora_B.weight", 2, 20, 0)}, 2},
        {"does not fit", {ITEM(QUERY ".lora_A.weight", 0), ITEM(QUERY ".lora_B.weight", 2, 20, 1)}, 2},
        {"is not one number", {ITEM(QUERY ".lora_A.weight", 2, 2, 20), ITEM(QUERY ".lora_B.weight", 2, 20, 2),
                               ITEM(QUERY ".alpha", 1, 2)}, 3},
        {"are for the same layer", {ITEM(QUERY ".lora_A.weight", 2, 2, 20),
                                    ITEM(QUERY ".lora_down.weight", 2, 2, 20)}, 2},
        {"nothing in it fits this model, neither lora_unet_x.alpha", {ITEM("lora_unet_x.alpha", 0)}, 1},
        {"nothing in it fits", {ITEM(QUERY ".alpha", 0)}, 1},
        {"nothing in it fits", {ITEM(QUERY ".lora_B.weight", 2, 20, 2)}, 1},
        {"nothing in it fits", {ITEM("transformer.x.lora_A.weight", 2, 2, 20)}, 1},
        {"nothing in it fits", {ITEM("lora_te2_encoder_layers_0_mlp_fc1.diff", 2, 40, 24)}, 1},
        {"nothing in it fits", {ITEM("", 0)}, 1},
        {"form of adapter that is not supported", {ITEM(QUERY ".dora_scale", 2, 20, 1)}, 1},
        {"form of adapter that is not supported", {ITEM(QUERY ".hada_w1_a", 2, 20, 1)}, 1},
        {"has type I64", {{QUERY ".alpha", VKS_ST_I64, 0, {0}, values}}, 1},
        {"of another size", {ITEM(QUERY ".diff", 2, 20, 19)}, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases) && !t->bad; i++) {
        if (cases[i].message)
            CHECK_REFUSED(t, opens(t, cases[i].items, cases[i].count), cases[i].message);
        else
            EXPECT(t, opens(t, cases[i].items, cases[i].count), "case %zu is refused", i);
    }
    CHECK_REFUSED(t, vks_lora_open(test_log(t), in_scratch("none.safetensors"), 1, NULL, 0), "cannot open");
}

// Differences of weights, and tensors that fit nothing beside some that do.
static void differences(struct test *t)
{
    static const struct vks_st_item items[] = {
        ITEM("lora_unet_conv_norm_out.diff", 1, 8), ITEM("unet.conv_in.diff_b", 1, 8), ITEM(QUERY ".diff_b", 1, 20),
        ITEM("lora_unet_nowhere.diff", 1, 8),
    };
    struct model m = {0}, plain;
    struct vks_lora *lora = put_over(t, &m, items, 4);
    CHECK(t, lora && model_open(t, NULL, "sd1", &plain));
    EXPECT(t, lora->strays == 2 && lora->layers == 3, "%zu strays, %zu layers", lora->strays, lora->layers);
    for (size_t i = 0; i < vks_weights_count(m.parts[1].weights) && !t->bad; i++) {
        const struct vks_weight *weight = vks_weights_at(m.parts[1].weights, i);
        const bool changed = !strcmp(weight->name, "conv_norm_out.weight") || !strcmp(weight->name, "conv_in.bias");
        float *got = malloc(2 * weight->count * sizeof(float)), *old = got + weight->count;
        CHECK(t, vks_weights_read(m.parts[1].weights, i, got) && vks_weights_read(plain.parts[1].weights, i, old));
        for (size_t k = 0; k < weight->count; k++)
            EXPECT(t, got[k] == old[k] + (changed ? 2 * values[k] : 0), "%s: %zu", weight->name, k);
        free(got);
    }
    struct vks_hash with, without;
    vks_hash_init(&with, 1);
    vks_hash_init(&without, 1);
    vks_weights_hash_changes(plain.parts[1].weights, &with);
    EXPECT(t, vks_hash_value(&with) == vks_hash_value(&without), "a hash of no changes");
    vks_weights_hash_changes(m.parts[1].weights, &with);
    EXPECT(t, vks_hash_value(&with) != vks_hash_value(&without), "the same hash with changes");
    vks_pipeline_close(&m.pipeline);
    vks_pipeline_close(&plain.pipeline);
    vks_lora_close(&lora);
}

// strength alpha / rank = 2 * 3 / 2 of a layer in kohya's names.
static void alphas(struct test *t)
{
#define STEM "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    static const float three = 3;
    static const struct vks_st_item items[] = {
        ITEM(STEM ".lora_down.weight", 2, 2, 20), ITEM(STEM ".lora_up.weight", 2, 20, 2),
        {STEM ".alpha", VKS_ST_F32, 0, {0}, &three},
    };
#undef STEM
    struct model m = {0}, plain;
    struct vks_lora *lora = put_over(t, &m, items, 3);
    float got[400], old[400];
    CHECK(t, lora && model_open(t, NULL, "sd1", &plain));
    for (size_t i = 0; i < vks_weights_count(m.parts[1].weights); i++)
        if (!strcmp(vks_weights_at(m.parts[1].weights, i)->name, QUERY_NAME ".weight"))
            CHECK(t, vks_weights_read(m.parts[1].weights, i, got) &&
                  vks_weights_read(plain.parts[1].weights, i, old));
    for (size_t row = 0; row < 20; row++)
        for (size_t c = 0; c < 20; c++) {
            const float want = values[2 * row] * values[c] + values[2 * row + 1] * values[20 + c];
            EXPECT(t, got[row * 20 + c] == old[row * 20 + c] + 3 * want, "(%zu, %zu)", row, c);
        }
    vks_pipeline_close(&m.pipeline);
    vks_pipeline_close(&plain.pipeline);
    vks_lora_close(&lora);
}

static void names(struct test *t)
{
    static const char *const good[][2] = {
        {"input_blocks.0.0.weight", "conv_in.weight"},
        {"time_embed.2", "time_embedding.linear_2"},
        {"input_blocks.3.0.op.bias", "down_blocks.0.downsamplers.0.conv.bias"},
        {"input_blocks.4.0.in_layers.2", "down_blocks.1.resnets.0.conv1"},
        {"input_blocks.5.1.transformer_blocks.0.attn1", "down_blocks.1.attentions.1.transformer_blocks.0.attn1"},
        {"middle_block.2.emb_layers.1", "mid_block.resnets.1.time_emb_proj"},
        {"output_blocks.2.1.conv", "up_blocks.0.upsamplers.0.conv"},
        {"output_blocks.5.2.conv", "up_blocks.1.upsamplers.0.conv"},
        {"output_blocks.11.0.skip_connection", "up_blocks.3.resnets.2.conv_shortcut"},
        {"out.0", "conv_norm_out"},
    };
    static const char *const bad[] = {"", "input_blocks", "input_blocks.x", "input_blocks.4", "input_blocks.4.2.x",
                                      "input_blocks.3.1.x", "middle_block.3.x", "outer", "output_blocks.0.3",
                                      "input_blocks.99999.0.x", "in.0"};
    char out[100], small[8];
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        CHECK(t, vks_original_unet(good[i][0], '.', 2, out, sizeof(out)));
        CHECK_STR(t, out, good[i][1]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        EXPECT(t, !vks_original_unet(bad[i], '.', 2, out, sizeof(out)), "%s is %s", bad[i], out);
    static const char *const others[][2] = {
        {"decoder.up.3.block.2.nin_shortcut.bias", "decoder.up_blocks.0.resnets.2.conv_shortcut.bias"},
        {"decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight"},
        {"encoder.down.0.downsample.conv.weight", "encoder.down_blocks.0.downsamplers.0.conv.weight"},
        {"encoder.down.3.block.0.norm1.weight", "encoder.down_blocks.3.resnets.0.norm1.weight"},
        {"encoder.mid.block_2.conv1.weight", "encoder.mid_block.resnets.1.conv1.weight"},
        {"decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.to_out.0.weight"},
        {"decoder.mid.attn_1.norm.weight", "decoder.mid_block.attentions.0.group_norm.weight"},
        {"decoder.norm_out.bias", "decoder.conv_norm_out.bias"},
        {"encoder.conv_in.weight", "encoder.conv_in.weight"},
        {"post_quant_conv.weight", "post_quant_conv.weight"},
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        CHECK(t, vks_original_vae(others[i][0], 4, out, sizeof(out)));
        CHECK_STR(t, out, others[i][1]);
    }
    EXPECT(t, !vks_original_vae("decoder.up.4.block.0.norm1", 4, out, sizeof(out)), "a level too many");
    EXPECT(t, !vks_original_open_clip("transformer.resblocks.0.attn.other", out, sizeof(out)), "an unknown module");
    EXPECT(t, vks_original_unet("out_0", '_', 2, out, sizeof(out)), "with underscores");
    EXPECT(t, !vks_original_unet("out.0", '.', 2, small, sizeof(small)), "more than fits");
}

// The weight of a text encoder with or without "text_model." before its name.
static const struct vks_weight *either(const struct vks_weights *weights, const char *name)
{
    char prefixed[300];
    snprintf(prefixed, sizeof(prefixed), "text_model.%s", name);
    const struct vks_weight *found = vks_weights_find(weights, name);
    return found ? found : vks_weights_find(weights, prefixed);
}

// Every weight of a checkpoint's part is twice the folder's, in fp16.
static void check_doubled(struct test *t, const struct vks_weights *weights, const struct vks_weights *folder)
{
    for (size_t k = 0; k < vks_weights_count(folder) && !t->bad; k++) {
        const struct vks_weight *want = vks_weights_at(folder, k), *got = either(weights, want->name);
        EXPECT(t, got && got->rank == want->rank && !memcmp(got->shape, want->shape, sizeof(want->shape)),
               "%s: missing, or of another shape", want->name);
        for (size_t n = 0; n < want->count && !t->bad; n++)
            EXPECT(t, element(got->data, VKS_F16, n) ==
                   vks_f32_from_f16(vks_f16_from_f32(2 * element(want->data, VKS_F32, n))), "%s: %zu differs",
                   want->name, n);
    }
}

// Single files in the original layout.
static void checkpoints(struct test *t)
{
    static const char *const files[][2] = {{"sd1", "sd1.ckpt"}, {"xl", "xl.safetensors"}};
    for (size_t f = 0; f < 2 && !t->bad; f++) {
        char path[600], folder[600];
        struct model m;
        snprintf(folder, sizeof(folder), VKS_TEST_DATA "/%s", files[f][0]);
        snprintf(path, sizeof(path), VKS_TEST_DATA "/checkpoints/%s", files[f][1]);
        struct vks_pipeline *p =
            vks_pipeline_open_over(test_log(t), NULL, folder, &(struct vks_pipeline_over){.checkpoint = path});
        CHECK(t, p && model_open(t, NULL, files[f][0], &m));
        for (size_t i = 0; i < p->part_count; i++) {
            if (!strcmp(p->parts[i].type, "AutoencoderTiny")) {  // which is in no such file
                EXPECT(t, !p->parts[i].over, "of a file");
                continue;
            }
            CHECK_STR(t, p->parts[i].over, path);
            check_doubled(t, p->parts[i].weights, m.pipeline->parts[i].weights);
        }
        struct vks_graph graph;
        vks_graph_init(&graph, test_log(t));
        EXPECT(t, vks_pipeline_describe(p, &graph), "no graph");
        vks_graph_finish(&graph);
        vks_pipeline_close(&p);
        p = vks_pipeline_open_over(test_log(t), NULL, folder, &(struct vks_pipeline_over){.unet = path});
        CHECK(t, p && p->parts[p->text_count].over && !p->parts[0].over);
        check_doubled(t, p->parts[p->text_count].weights, m.pipeline->parts[p->text_count].weights);
        vks_pipeline_close(&p);
        vks_pipeline_close(&m.pipeline);
    }
    const struct vks_pipeline_over none = {.checkpoint = VKS_TEST_DATA "/torch/module.bin"};
    CHECK_REFUSED(t, vks_pipeline_open_over(test_log(t), NULL, VKS_TEST_DATA "/sd1", &none),
                  "has no model.diffusion_model");
}

// Weights in PyTorch's format, an autoencoder beside the folder, a UNet that is none.
static void over(struct test *t)
{
    struct vks_pipeline_over parts = {.vae = VKS_TEST_DATA "/torch/vae"};
    struct model plain;
    CHECK(t, model_open(t, NULL, "sd1", &plain));
    struct vks_pipeline *p = vks_pipeline_open_over(test_log(t), NULL, VKS_TEST_DATA "/sd1", &parts);
    CHECK(t, p && p->part_count == plain.pipeline->part_count && !p->parts[0].over);
    CHECK_STR(t, p->parts[p->part_count - 1].over, parts.vae);
    const struct vks_weights *a = p->parts[p->part_count - 1].weights;
    const struct vks_weights *b = plain.pipeline->parts[p->part_count - 1].weights;
    CHECK(t, vks_weights_count(a) == vks_weights_count(b) && vks_weights_count(a));
    for (size_t i = 0; i < vks_weights_count(a); i++) {
        const struct vks_weight *x = vks_weights_at(a, i), *y = vks_weights_at(b, i);
        EXPECT(t, !strcmp(x->name, y->name) && x->size == y->size && !memcmp(x->data, y->data, x->size), "%s differs",
               x->name);
    }
    vks_pipeline_close(&p);
    vks_pipeline_close(&plain.pipeline);
    parts = (struct vks_pipeline_over){.unet = VKS_TEST_DATA "/torch/module.bin"};
    CHECK_REFUSED(t, vks_pipeline_open_over(test_log(t), NULL, VKS_TEST_DATA "/sd1", &parts),
                  "has no conv_in.weight");
    parts = (struct vks_pipeline_over){.vae = VKS_TEST_DATA "/torch"};
    CHECK_REFUSED(t, vks_pipeline_open_over(test_log(t), NULL, VKS_TEST_DATA "/sd1", &parts), "config.json");
}

int main(void)
{
    struct test t = {0};
    if (!test_scratch_open("lora"))
        return 1;
    gpu = test_device_open();
    TEST(&t, layouts);
    TEST(&t, without_base);
    TEST(&t, uploaded);
    TEST(&t, refused);
    TEST(&t, differences);
    TEST(&t, alphas);
    TEST(&t, names);
    TEST(&t, over);
    TEST(&t, checkpoints);
    test_scratch_close();
    return test_device_summary(&t, &gpu);
}
