// The model as training sees it: what pictures and texts share.
#include <stdlib.h>

#include "api/internal.h"
#include "base/hash.h"

void vks_api_subject_hash(struct vks_hash *hash, const struct vks_api_subject_params *params)
{
    for (int set = 0; set <= VKS_SET_TARGET; set++) {  // validation leaves no trace in a training
        vks_hash_add_u64(hash, params->counts[set]);
        for (size_t i = 0; i < params->counts[set]; i++)
            vks_hash_add_text(hash, params->prompts[set][i]);
    }
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
    for (int set = 0; set < VKS_SETS; set++)
        s->subject.set_sizes[set] = (uint32_t)params->counts[set];
    return s;
}

void vks_api_subject_destroy(struct vks_api_subject **address)
{
    struct vks_api_subject *s = *address;
    *address = NULL;
    if (s)
        s->destroy(s);
}

const struct vks_subject *vks_api_subject(const struct vks_api_subject *subject)
{
    return &subject->subject;
}
