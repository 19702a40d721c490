// Maps at fixed strengths as part of the parameters that make the activations they act on.
//
// A module that ends in its own affine part, y_c = γ_c x_c + β_c (norms) or y_c = Σ W_ck x_k + β_c (linear layers and
// convolutions), takes a map z' = g z + o exactly: row c of γ or W times g_c, and β' = g β + o. With g = 1 + λ(w - 1)
// and o = λ b (LinEAS, arXiv 2503.10679); steerings at one site follow each other, z' = T_k(... T_1(z)).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/half.h"
#include "graph/op.h"

// A folded parameter keeps its type as long as rounding moves it by at most this share of what folding does (root
// mean squares over the tensor): otherwise the steering would drown in the rounding.
#define MOST_LOST 0.0625

struct collector {
    vksteer_model *model;
    const struct vks_steering *steerings;
    const float *strengths;
    size_t count;
    struct vks_api_foldings *out;
    bool **met;                    // by steering and site
};

// Whether position `avg` does the same as `all`: z + T(m) - m = z + λ b where every gain is 1.
static bool only_offsets(const struct vks_steering *steering, const struct vks_site_slot *slot)
{
    for (uint32_t c = 0; c < slot->channels; c++)
        if (steering->w[slot->first + c] != 1)
            return false;
    return true;
}

static bool identity(const struct vks_api_folding *fold)
{
    for (uint32_t c = 0; c < fold->channels; c++)
        if (fold->gain[c] != 1 || fold->offset[c] != 0)
            return false;
    return true;
}

static bool has_offset(const struct vks_api_folding *fold)
{
    for (uint32_t c = 0; c < fold->channels; c++)
        if (fold->offset[c] != 0)
            return true;
    return false;
}

// The maps of a site, one after the other. False: refused.
static bool compose(struct collector *c, struct vks_graph *graph, const struct vks_site *site,
                    struct vks_api_folding *fold)
{
    for (size_t k = 0; k < c->count; k++) {
        const struct vks_steering *steering = &c->steerings[k];
        const struct vks_site_slot *slot = vks_site_list_find(&steering->sites, site->name);
        if (!slot)
            continue;
        c->met[k][slot - steering->sites.slots] = true;
        if (slot->channels != site->channels)
            return vks_graph_fail(graph, "the steering has %u channels at %s, the model %u: it was trained for "
                                  "another model", slot->channels, site->name, site->channels);
        const enum vks_position position = vks_steering_position(steering, site->kind);
        const double strength = (double)c->strengths[k];
        if (strength != 0 && vks_steering_has_range(steering, slot))
            return vks_graph_fail(graph, "%s cannot be folded in: its map leaves values outside a range alone, and a "
                                  "parameter acts on all of them: train without --quantiles, or use it with `apply "
                                  "--steer`", site->name);
        if (strength != 0 && position != VKS_POSITION_ALL &&
            !(position == VKS_POSITION_AVG && only_offsets(steering, slot)))
            return vks_graph_fail(graph, "%s cannot be folded in: its map acts at position %s, and a parameter acts "
                                  "at all of them: train with --position all, or use it with `apply --steer`",
                                  site->name, position == VKS_POSITION_AVG ? "avg" : "last");
        for (uint32_t i = 0; i < slot->channels; i++) {
            const double gain = 1 + strength * ((double)steering->w[slot->first + i] - 1);
            fold->offset[i] = gain * fold->offset[i] + strength * (double)steering->b[slot->first + i];
            fold->gain[i] *= gain;
        }
    }
    return true;
}

// The part whose module `site` is, and the module's path in it; NULL when there is none of that name.
static const char *path_in_part(const struct vks_pipeline *pipeline, const char *site, uint32_t *part)
{
    for (uint32_t i = 0; i < pipeline->part_count; i++) {
        const size_t length = strlen(pipeline->parts[i].name);
        if (strncmp(site, pipeline->parts[i].name, length) == 0 && site[length] == '.') {
            *part = i;
            return site + length + 1;
        }
    }
    return NULL;
}

// Whether `parameter` ("text_model.encoder.layers.0.mlp.fc1.weight") belongs to the module `path`, which may lack a
// prefix that parameters have, or have one that they lack.
static bool belongs(const char *parameter, const char *path)
{
    const size_t all = strlen(parameter), end = strlen(".weight");
    if (all <= end || strcmp(parameter + all - end, ".weight") != 0)
        return false;
    const size_t module = all - end, wanted = strlen(path);
    const size_t shorter = module < wanted ? module : wanted;
    if (memcmp(parameter + module - shorter, path + wanted - shorter, shorter) != 0)
        return false;
    return module == wanted || (module > wanted ? parameter[module - wanted - 1] : path[wanted - module - 1]) == '.';
}

static struct vks_tensor *on_site(void *priv, struct vks_graph *graph, const struct vks_site *site,
                                  struct vks_tensor *value)
{
    static const char *const kinds[] = {"linear", "conv2d", "group_norm", "layer_norm"};
    struct collector *c = priv;
    bool wanted = false, foldable = false;
    for (size_t k = 0; k < c->count; k++)
        wanted |= vks_site_list_find(&c->steerings[k].sites, site->name) != NULL;
    if (!wanted)
        return value;
    struct vks_arena *arena = &c->out->arena;
    struct vks_api_folding fold = {.site = vks_arena_strdup(arena, site->name), .channels = site->channels};
    fold.gain = vks_arena_alloc(arena, site->channels * sizeof(*fold.gain));
    fold.offset = vks_arena_alloc(arena, site->channels * sizeof(*fold.offset));
    if (!fold.site || !fold.gain || !fold.offset ||
        !vks_grow(&c->out->items, &c->out->capacity, c->out->count, sizeof(fold)))
        return vks_graph_fail(graph, VKS_NO_MEMORY);
    for (uint32_t i = 0; i < site->channels; i++)
        fold.gain[i] = 1;
    if (!compose(c, graph, site, &fold))
        return NULL;
    if (identity(&fold))
        return value;
    const struct vks_node *node = value->node;
    for (size_t i = 0; node && i < sizeof(kinds) / sizeof(*kinds); i++)
        foldable |= strcmp(node->op->name, kinds[i]) == 0;
    const char *path = path_in_part(c->model->pipeline, site->name, &fold.part);
    const char *weight = foldable && node->inputs[1] ? node->inputs[1]->name : NULL;
    if (!path || !weight || !belongs(weight, path))
        return vks_graph_fail(graph, "%s cannot be folded in: the module has no weight of its own that makes its "
                              "output (norms, linear layers and convolutions have one): train with other --sites, or "
                              "use the steering with `apply --steer`", site->name);
    fold.weight = vks_arena_strdup(arena, weight);
    fold.bias = node->inputs[2] && node->inputs[2]->name ? vks_arena_strdup(arena, node->inputs[2]->name) : NULL;
    if (!fold.weight || (node->inputs[2] && !fold.bias))
        return vks_graph_fail(graph, VKS_NO_MEMORY);
    if (!fold.bias && has_offset(&fold))
        return vks_graph_fail(graph, "%s cannot be folded in: its map has an offset and the layer no bias to take "
                              "it: train with other --sites, or use the steering with `apply --steer`", site->name);
    c->out->items[c->out->count++] = fold;
    return value;
}

static bool all_met(const struct collector *c)
{
    for (size_t k = 0; k < c->count; k++)
        for (size_t i = 0; i < c->steerings[k].sites.count; i++)
            if (!c->met[k][i])
                return vks_fail(c->model->log, "the steering acts at %s, which this model does not have: it was "
                                "trained for another model", c->steerings[k].sites.slots[i].name);
    return true;
}

bool vks_api_fold(vksteer_model *model, const struct vks_steering steerings[], const float strengths[], size_t count,
                  struct vks_api_foldings *out)
{
    struct vks_graph graph;
    struct vks_arena arena = {0};
    struct collector c = {.model = model, .steerings = steerings, .strengths = strengths, .count = count, .out = out};
    *out = (struct vks_api_foldings){0};
    c.met = vks_arena_alloc(&arena, (count + 1) * sizeof(*c.met));
    bool ok = c.met != NULL;
    for (size_t k = 0; k < count && ok; k++)
        ok = (c.met[k] = vks_arena_alloc(&arena, steerings[k].sites.count + 1)) != NULL;
    if (!ok)
        vks_fail(model->log, VKS_NO_MEMORY);
    vks_graph_init(&graph, model->log);
    graph.hook = on_site;
    graph.hook_priv = &c;
    ok = ok && vks_pipeline_describe(model->pipeline, &graph) && !graph.failed && all_met(&c);
    vks_graph_finish(&graph);
    vks_arena_finish(&arena);
    if (!ok)
        vks_api_foldings_finish(out);
    return ok;
}

void vks_api_foldings_finish(struct vks_api_foldings *foldings)
{
    free(foldings->items);
    vks_arena_finish(&foldings->arena);
    *foldings = (struct vks_api_foldings){0};
}

// `values` in the type `dtype`; heap. *error: the sum of squared differences, infinite on overflow.
static void *round_to(enum vks_st_dtype dtype, const float *values, size_t count, double *error)
{
    unsigned char *out = malloc(count * vks_st_dtype_size(dtype) + 1);
    float *back = malloc(count * sizeof(*back) + 1);
    *error = 0;
    if (out && back && dtype == VKS_ST_F16) {
        vks_f16_from_f32_array(out, values, count);
        vks_f32_from_f16_array(back, out, count);
    } else if (out && back && dtype == VKS_ST_BF16) {
        vks_bf16_from_f32_array(out, values, count);
        vks_f32_from_bf16_array(back, out, count);
    } else if (out && back) {
        memcpy(out, values, count * sizeof(*values));
        memcpy(back, values, count * sizeof(*values));
    }
    for (size_t i = 0; out && back && i < count; i++)
        *error += isfinite(back[i]) ? ((double)back[i] - values[i]) * ((double)back[i] - values[i]) : INFINITY;
    if (!back) {
        free(out);
        out = NULL;
    }
    free(back);
    return out;
}

void *vks_api_fold_values(const struct vks_log *log, const char *path, const struct vks_st_tensor *tensor,
                          float *values, const struct vks_api_folding *fold, bool bias, enum vks_st_dtype *dtype)
{
    const size_t count = (size_t)tensor->count;
    if (fold && (tensor->rank < 1 || tensor->shape[0] != fold->channels || (bias && tensor->rank != 1)))
        return vks_fail_null(log, "%s: %s does not have the shape of the model's other files: download the folder "
                             "again", path, tensor->name);
    double change = 0, lost = 0;
    bool finite = true;
    for (size_t i = 0; i < count; i++) {
        const size_t c = fold ? i / (count / fold->channels) : 0;
        const double old = values[i], now = fold ? fold->gain[c] * old + (bias ? fold->offset[c] : 0) : old;
        values[i] = (float)now;
        finite &= isfinite(values[i]) != 0;
        change += (now - old) * (now - old);
    }
    if (!finite)
        return vks_fail_null(log, "%s: %s would not be finite: lower the strength", path, tensor->name);
    *dtype = tensor->dtype;
    void *out = round_to(*dtype, values, count, &lost);
    if (out && (fold ? lost > MOST_LOST * MOST_LOST * change : isinf(lost))) {
        free(out);
        *dtype = VKS_ST_F32;
        out = round_to(*dtype, values, count, &lost);
    }
    return out ? out : vks_fail_null(log, VKS_NO_MEMORY);
}

void *vks_api_fold_tensor(const struct vks_log *log, const struct vks_safetensors *file,
                          const struct vks_st_tensor *tensor, const struct vks_api_folding *fold, bool bias,
                          enum vks_st_dtype *dtype)
{
    float *values = malloc((size_t)tensor->count * sizeof(*values) + 1);
    if (!values)
        return vks_fail_null(log, VKS_NO_MEMORY);
    void *out = vks_st_to_f32(log, file, tensor, values)
                    ? vks_api_fold_values(log, file->path, tensor, values, fold, bias, dtype) : NULL;
    free(values);
    return out;
}
