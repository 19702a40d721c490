// Optional settings of model folders: what diffusers and transformers write as null is as good as absent, and what is
// read as a number changes what is read.
#include <math.h>

#include <cjson/cJSON.h>

#include "base/arena.h"
#include "models/autoencoder_kl.h"
#include "models/autoencoder_tiny.h"
#include "models/clip_text.h"
#include "models/decoder_config.h"
#include "models/scheduler.h"
#include "models/unet.h"
#include "test_scratch.h"

// All that is read of a folder; zeroed before.
union config {
    struct vks_scheduler_config scheduler;
    struct vks_unet_config unet;
    struct vks_autoencoder_kl_config kl;
    struct vks_autoencoder_tiny_config tiny;
    struct vks_clip_text_config text;
    struct { uint32_t heads, width; } decoder;
};

static bool read_scheduler(const struct vks_log *log, const char *folder, union config *config)
{
    return vks_scheduler_config_read(log, folder, NULL, &config->scheduler);
}

static bool read_unet(const struct vks_log *log, const char *folder, union config *config)
{
    return vks_unet_config_read(log, folder, &config->unet);
}

static bool read_kl(const struct vks_log *log, const char *folder, union config *config)
{
    return vks_autoencoder_kl_config_read(log, folder, &config->kl);
}

static bool read_tiny(const struct vks_log *log, const char *folder, union config *config)
{
    return vks_autoencoder_tiny_config_read(log, folder, &config->tiny);
}

static bool read_text(const struct vks_log *log, const char *folder, union config *config)
{
    return vks_clip_text_config_read(log, folder, &config->text);
}

static bool read_decoder(const struct vks_log *log, const char *folder, union config *config)
{
    struct vks_arena arena = {0};
    struct vks_decoder_config read;
    const bool ok = vks_decoder_config_read(log, folder, &arena, &read);
    if (ok) {
        config->decoder.heads = read.kv_heads;
        config->decoder.width = read.head_width;
    }
    vks_arena_finish(&arena);
    return ok;
}

// A number that may be null, and one that is not its default.
struct optional {
    const char *key;
    double other;
};

enum change { TO_NULL, AWAY, TO_NUMBER };

// The file with one key changed, into the scratch folder.
static bool write_changed(struct test *t, const char *path, const char *name, const struct optional *optional,
                          enum change change)
{
    size_t size;
    char *text = vks_os_read_file(test_log(t), path, 1 << 20, &size);
    struct cJSON *root = text ? cJSON_ParseWithLength(text, size) : NULL;
    cJSON_DeleteItemFromObjectCaseSensitive(root, optional->key);
    if (change == TO_NULL)
        cJSON_AddNullToObject(root, optional->key);
    if (change == TO_NUMBER)
        cJSON_AddNumberToObject(root, optional->key, optional->other);
    char *changed = root ? cJSON_Print(root) : NULL;
    const bool ok = changed && vks_os_write_file(test_log(t), in_scratch(name), changed, strlen(changed));
    cJSON_free(changed);
    cJSON_Delete(root);
    free(text);
    return ok;
}

struct folder {
    const char *path, *file;
    bool (*read)(const struct vks_log *log, const char *folder, union config *config);
    struct optional keys[8];  // up to one without a name
};

static void check(struct test *t, const struct folder *folder)
{
    static union config configs[3];
    char path[700];
    snprintf(path, sizeof(path), "%s/%s", folder->path, folder->file);
    for (const struct optional *key = folder->keys; key->key && !t->bad; key++) {
        memset(configs, 0, sizeof(configs));
        for (int i = TO_NULL; i <= TO_NUMBER; i++)
            EXPECT(t, write_changed(t, path, folder->file, key, (enum change)i) &&
                          folder->read(test_log(t), scratch, &configs[i]), "%s: %s cannot be read", path, key->key);
        EXPECT(t, !memcmp(&configs[TO_NULL], &configs[AWAY], sizeof(*configs)), "%s: %s null is not as without it",
               path, key->key);
        EXPECT(t, memcmp(&configs[TO_NUMBER], &configs[AWAY], sizeof(*configs)), "%s: %s %g is as without it", path,
               key->key, key->other);
    }
}

static void null_is_absent(struct test *t)
{
    static const struct folder folders[] = {
        {VKS_TEST_DATA "/schedulers/euler-karras-ends", "scheduler_config.json", read_scheduler,
         {{"sigma_min", 0.2}, {"sigma_max", 20}, {"steps_offset", 3}, {"beta_start", 0.002}, {"beta_end", 0.05},
          {"num_train_timesteps", 500}}},
        {VKS_TEST_DATA "/schedulers/euler-exponential", "scheduler_config.json", read_scheduler,
         {{"sigma_min", 0.2}, {"sigma_max", 20}}},
        {VKS_TEST_DATA "/schedulers/lcm-40", "scheduler_config.json", read_scheduler,
         {{"original_inference_steps", 20}, {"timestep_scaling", 5}}},
        {VKS_TEST_DATA "/kl/unet", "config.json", read_unet,
         {{"time_embedding_dim", 48}, {"time_cond_proj_dim", 12}, {"sample_size", 7}, {"freq_shift", 1},
          {"mid_block_scale_factor", 2}, {"norm_eps", 1e-3}, {"downsample_padding", 0}}},
        {VKS_TEST_DATA "/kl/vae", "config.json", read_kl, {{"shift_factor", 0.25}, {"scaling_factor", 2}}},
        {VKS_TEST_DATA "/half/vae", "config.json", read_tiny, {{"scaling_factor", 2}}},
        {VKS_TEST_DATA "/kl/text_encoder", "config.json", read_text,
         {{"projection_dim", 7}, {"eos_token_id", 5}, {"layer_norm_eps", 1e-3}}},
        {VKS_TEST_DATA "/language/llama", "config.json", read_decoder, {{"num_key_value_heads", 1}}},
        {VKS_TEST_DATA "/language/qwen3", "config.json", read_decoder,
         {{"num_key_value_heads", 1}, {"head_dim", 20}}},
    };
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders) && !t->bad; i++)
        check(t, &folders[i]);
}

// Without ends Karras' sigmas go from the largest to the smallest of training; 0 would be no end.
static void null_ends_are_those_of_training(struct test *t)
{
    struct vks_scheduler_config config;
    struct vks_schedule schedule;
    static const struct optional none = {"sigma_min", 0};
    CHECK(t, write_changed(t, VKS_TEST_DATA "/schedulers/euler-karras-ends/scheduler_config.json",
                           "scheduler_config.json", &none, TO_NULL));
    CHECK(t, vks_scheduler_config_read(test_log(t), scratch, NULL, &config));
    EXPECT(t, config.sigma_min == 0 && config.sigma_max == 10, "%g to %g", config.sigma_max, config.sigma_min);
    CHECK(t, vks_schedule_init(test_log(t), &config, 5, NULL, &schedule));
    // input_scale is 1 / sqrt(sigma^2 + 1); the smallest sigma of these betas is that of timestep 0, 0.0292.
    const double scale = schedule.steps[4].input_scale, sigma = sqrt(1 / (scale * scale) - 1);
    EXPECT(t, fabs(sigma - 0.0292) < 1e-4, "the last sigma is %g", sigma);
    vks_schedule_finish(&schedule);
    CHECK(t, write_changed(t, VKS_TEST_DATA "/schedulers/euler-karras-ends/scheduler_config.json",
                           "scheduler_config.json", &none, TO_NUMBER));
    CHECK_REFUSED(t, vks_scheduler_config_read(test_log(t), scratch, NULL, &config), "sigma_min");
}

int main(void)
{
    struct test t = {0};
    if (!test_scratch_open("nulls"))
        return 1;
    TEST(&t, null_is_absent);
    TEST(&t, null_ends_are_those_of_training);
    test_scratch_close();
    return test_summary(&t);
}
