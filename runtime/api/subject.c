// The model as training sees it: what pictures and texts share.
#include <stdlib.h>

#include "api/internal.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/text.h"

static void add_prompts(struct vks_hash *hash, const struct vks_api_subject_params *params, enum vks_prompt_set set)
{
    vks_hash_add_u64(hash, params->counts[set]);
    for (size_t i = 0; i < params->counts[set]; i++)
        vks_hash_add_text(hash, params->prompts[set][i]);
}

void vks_api_subject_hash(struct vks_api_subject *subject, const struct vks_hash *hash,
                          const struct vks_hash *targets, const struct vks_api_subject_params *params)
{
    struct vks_hash all = *hash;
    add_prompts(&all, params, VKS_SET_SOURCE);  // validation leaves no trace in a training
    add_prompts(&all, params, VKS_SET_TARGET);
    subject->subject.hash = vks_hash_value(&all);
    subject->subject.target_hash = vks_hash_value(targets);
}

struct vks_api_subject *vks_api_subject_create(vksteer_model *model, const struct vks_api_subject_params *params)
{
    struct vks_api_subject *s = model->decoder ? vks_api_subject_of_texts(model, params)
                                               : vks_api_subject_of_pictures(model, params);
    if (!s)
        return NULL;
    s->subject.gpu = model->session->gpu;
    s->subject.log = model->log;
    s->subject.model = model->info.architecture;
    s->subject.fingerprint = model->fingerprint;
    char *folder = params->cache ? vks_os_cache_dir(NULL, "vksteer", false) : NULL;
    s->cache = folder ? vks_path_join(folder, "targets") : NULL;
    s->subject.cache = s->cache;
    free(folder);
    for (int set = 0; set < VKS_SETS; set++)
        s->subject.set_sizes[set] = (uint32_t)params->counts[set];
    return s;
}

void vks_api_subject_destroy(struct vks_api_subject **address)
{
    struct vks_api_subject *s = *address;
    *address = NULL;
    if (!s)
        return;
    free(s->cache);
    s->destroy(s);
}

const struct vks_subject *vks_api_subject(const struct vks_api_subject *subject)
{
    return &subject->subject;
}
