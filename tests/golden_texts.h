// Texts of a golden file, as tokens and padded on either side, on a language model: what steering is tested on.
#ifndef VKS_TESTS_GOLDEN_TEXTS_H
#define VKS_TESTS_GOLDEN_TEXTS_H

#include "io/safetensors.h"
#include "models/decoder.h"
#include "steer/subject.h"

struct golden_texts {
    struct vks_decoder *decoder;
    uint32_t counts[2], tokens;      // texts by set, tokens of a row
    int32_t *ids[2], *positions[2];  // (count, tokens)
    float *masks[2];
};

// source.ids, source.mask, target.ids and target.mask of `file`, for the model at `path`. False after
// one message; the texts are to be closed anyhow.
bool golden_texts_open(const struct vks_log *log, struct vks_gpu *gpu, const struct vks_safetensors *file,
                       const char *path, struct golden_texts *texts);
void golden_texts_close(struct golden_texts *texts);
struct vks_subject golden_texts_subject(const struct vks_log *log, struct vks_gpu *gpu, struct golden_texts *texts);

#endif
