// The methods by name: what each needs, and what it takes where nothing is said.
#ifndef VKS_STEER_METHODS_H
#define VKS_STEER_METHODS_H

#include "steer/train.h"

// Which sites a method takes when none are given; the model knows their names.
enum vks_place {
    VKS_PLACE_MODEL,         // the model's own choice for training
    VKS_PLACE_TRANSPORT,     // where laws are carried over one site after another
    VKS_PLACE_RESIDUAL,      // the residual stream behind one block of the middle
    VKS_PLACE_HEADS,         // the layers that read the heads of attention
    VKS_PLACE_FEED_FORWARD,  // the linear layers of the feed-forward parts
    VKS_PLACES,
};

struct vks_method_info {
    bool pairs;              // source prompt i and target prompt i differ in the one thing wanted
    bool transport;          // AcT: one law of pooled means moved onto another
    enum vks_pool pool;      // of texts; LAST is for them alone
    enum vks_place place;
};
// By enum vks_method.
const struct vks_method_info *vks_method_info(enum vks_method method);
// As --method and steering files have them: NULL-terminated, by enum vks_method.
const char *const *vks_method_names(void);

// Whether the options make sense together, for sets of these sizes; one message otherwise.
bool vks_method_check(const struct vks_subject *subject, const struct vks_train_params *params);
// What the papers take where an option is 0.
void vks_method_defaults(struct vks_train_params *params);
// Notes the method's options in the steering's metadata.
bool vks_method_describe(const struct vks_train_params *params, struct vks_steering *steering);

#endif
