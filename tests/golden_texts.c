#include "golden_texts.h"

#include <stdlib.h>
#include <string.h>

bool golden_texts_open(const struct vks_log *log, struct vks_gpu *gpu, const struct vks_safetensors *file,
                       const char *path, struct golden_texts *texts)
{
    *texts = (struct golden_texts){.decoder = vks_decoder_open(log, gpu, path)};
    for (int set = 0; set < 2 && texts->decoder; set++) {
        const struct vks_st_tensor *mask = vks_safetensors_find(file, set ? "target.mask" : "source.mask");
        const struct vks_st_tensor *ids = vks_safetensors_find(file, set ? "target.ids" : "source.ids");
        if (!ids || ids->dtype != VKS_ST_I32 || !mask || mask->rank != 2 || mask->count != ids->count)
            return vks_fail(log, "%s holds no texts", file->path);
        texts->counts[set] = (uint32_t)mask->shape[0];
        texts->tokens = (uint32_t)mask->shape[1];
        texts->ids[set] = malloc(ids->size);
        texts->positions[set] = malloc(ids->size);
        texts->masks[set] = malloc(ids->size);
        if (!texts->ids[set] || !texts->positions[set] || !texts->masks[set] ||
            !vks_st_to_f32(log, file, mask, texts->masks[set]))
            return vks_fail(log, VKS_NO_MEMORY);
        memcpy(texts->ids[set], ids->data, ids->size);
        for (uint32_t i = 0, at = 0; i < mask->count; i++) {
            at = i % texts->tokens ? at : 0;
            texts->positions[set][i] = texts->masks[set][i] > 0 ? (int32_t)at++ : 0;
        }
    }
    return texts->decoder != NULL;
}

void golden_texts_close(struct golden_texts *texts)
{
    for (int set = 0; set < 2; set++) {
        free(texts->ids[set]);
        free(texts->positions[set]);
        free(texts->masks[set]);
    }
    vks_decoder_close(&texts->decoder);
}

static bool build(void *priv, struct vks_graph *g, uint32_t batch, uint32_t length, void **out)
{
    const struct golden_texts *texts = priv;
    struct vks_decoder_io *io = vks_arena_alloc(&g->arena, sizeof(*io));
    *out = io;
    const struct vks_decoder_params params = {.batch = batch, .length = length ? length : texts->tokens};
    return io && vks_decoder_build(texts->decoder, g, &params, io);
}

static bool feed(void *priv, struct vks_exec *exec, const void *inputs, const struct vks_sample samples[],
                 uint32_t count)
{
    const struct golden_texts *texts = priv;
    const struct vks_decoder_io *io = inputs;
    const size_t row = texts->tokens * sizeof(int32_t);
    char *words = malloc(3 * count * row), *positions = words + count * row, *mask = positions + count * row;
    for (uint32_t i = 0; words && i < count; i++) {
        const enum vks_prompt_set set = samples[i].set;
        const size_t from = (size_t)samples[i].index * texts->tokens;
        memcpy(words + i * row, texts->ids[set] + from, row);
        memcpy(positions + i * row, texts->positions[set] + from, row);
        memcpy(mask + i * row, texts->masks[set] + from, row);
    }
    const bool ok = words && vks_exec_write(exec, io->ids, words, count * row) &&
                    vks_exec_write(exec, io->positions, positions, count * row) &&
                    vks_exec_write(exec, io->mask, mask, count * row);
    free(words);
    return ok;
}

struct vks_subject golden_texts_subject(const struct vks_log *log, struct vks_gpu *gpu, struct golden_texts *texts)
{
    return (struct vks_subject){
        .priv = texts,
        .gpu = gpu,
        .log = log,
        .model = "golden",
        .set_sizes = {texts->counts[0], texts->counts[1]},
        .build = build,
        .feed = feed,
    };
}
