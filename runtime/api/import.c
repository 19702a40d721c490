// Steerings of the reference implementation of AcT (Rodriguez et al., arXiv 2410.23054) as steering files.
//
// It saves a folder with one PyTorch file a module, MODULE.statedict or MODULE:0.statedict, a dictionary of tensors:
//   linear maps      net.w1, net.b1 (1, D): z' = w1 z + b1, on pictures of the mean over the pixels
//   Gaussian maps    mu1, std1 (source), mu2, std2 (target), (D): z' = std2 / std1 (z - mu1) + mu2 where both spreads
//                    are above 1e-4, on pictures of each pixel; the method that moves the mean alone saves the same
//   AurA             auroc (D): z' = (1 - 2 (auroc - 0.5)) z where that is above 0.5
// and, of the first two, quantiles_dict_src.q_LOW_HIGH.0 and .1 (D) for the support within which a map acts.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/os.h"
#include "base/text.h"
#include "io/tensor_file.h"

#define END ".statedict"
#define LEAST_STD 1e-4f

enum kind { LINEAR, GAUSSIAN, AURA, KINDS };
static const char *const first_tensors[KINDS] = {"net.w1", "mu1", "auroc"};

struct import {
    vksteer_model *model;
    const struct vksteer_import_params *params;
    struct vks_graph graph;            // the whole model
    struct vks_steering steering;
    enum kind kind;                    // of all files
};

// One file.
struct state {
    const char *path;
    struct vks_tensor_file file;
    const struct vks_site *site;
};

// (site channels) fp32 of a tensor, heap; NULL after one message.
static float *values_of(const struct import *m, const struct state *s, const char *name)
{
    const struct vks_log *log = m->model->log;
    const struct vks_st_tensor *tensor = vks_tensor_file_find(&s->file, name);
    if (!tensor)
        return vks_fail_null(log, "%s: lacks the tensor %s: give the folder as it was saved", s->path, name);
    if (tensor->count != s->site->channels)
        return vks_fail_null(log, "%s: %s has %llu channels, the model %u: it was trained for another model", s->path,
                             name, (unsigned long long)tensor->count, s->site->channels);
    if (!vks_st_is_float(tensor->dtype))
        return vks_fail_null(log, "%s: %s has type %s, not F32, F16 or BF16: convert the file", s->path, name,
                             vks_st_dtype_name(tensor->dtype));
    float *values = malloc((size_t)tensor->count * sizeof(*values));
    if (!values)
        return vks_fail_null(log, VKS_NO_MEMORY);
    if (!vks_st_to_f32(log, NULL, tensor, values)) {  // never: it reads all three
        free(values);
        return NULL;
    }
    return values;
}

static bool find_kind(struct import *m, const struct state *s)
{
    int kind = 0;
    while (kind < KINDS && !vks_tensor_file_find(&s->file, first_tensors[kind]))
        kind++;
    if (kind == KINDS)
        return vks_fail(m->model->log, "%s: has none of net.w1, mu1 and auroc: only linear and Gaussian maps and "
                        "those of AurA are read", s->path);
    if (m->steering.sites.count && m->kind != (enum kind)kind)
        return vks_fail(m->model->log, "%s: is of another method than the files before it: give one method's folder",
                        s->path);
    m->kind = (enum kind)kind;
    return true;
}

// The site of MODULE or MODULE:0: modules that return no tuple have none with a number.
static bool find_site(const struct import *m, struct state *s)
{
    char name[256];
    const char *file = vks_path_name(s->path);
    const int length = (int)(strlen(file) - strlen(END));
    snprintf(name, sizeof(name), "%.*s", length < 250 ? length : 250, file);
    for (int bare = 0; bare < 2 && !s->site; bare++) {
        char *colon = strchr(name, ':');
        for (size_t i = 0; i < m->graph.site_count && !s->site; i++)
            if (!strcmp(m->graph.sites[i].name, name))
                s->site = &m->graph.sites[i];
        if (!colon)
            strcat(name, ":0");
        else if (!strcmp(colon, ":0"))
            *colon = 0;
    }
    if (!s->site)
        return vks_fail(m->model->log, "%s acts at a module that this model does not have: give the model that it "
                        "was trained for with -m", s->path);
    return !vks_site_list_find(&m->steering.sites, s->site->name) ||
           vks_fail(m->model->log, "%s acts at %s, as a file before it does: leave one of them out", s->path,
                    s->site->name);
}

// Room for one more site, with the identity there. First channel in *first.
static bool add_site(struct import *m, const struct vks_site *site, uint32_t *first)
{
    struct vks_steering *s = &m->steering;
    *first = s->sites.channels;
    const size_t all = (size_t)*first + site->channels;
    float *w = realloc(s->w, all * sizeof(*w)), *b = realloc(s->b, all * sizeof(*b));
    float *range = m->params->quantiles[1] > 0 ? realloc(s->range, 2 * all * sizeof(*range)) : NULL;
    s->w = w ? w : s->w;
    s->b = b ? b : s->b;
    s->range = range ? range : s->range;
    if (!w || !b || (m->params->quantiles[1] > 0 && !range))
        return vks_fail(m->model->log, VKS_NO_MEMORY);
    for (size_t c = *first; c < all; c++) {
        w[c] = 1;
        b[c] = 0;
    }
    return vks_site_list_add(&s->sites, m->model->log, site->name, site->kind, site->channels);
}

static bool take_linear(struct import *m, const struct state *s, uint32_t first)
{
    float *w = values_of(m, s, "net.w1"), *b = w ? values_of(m, s, "net.b1") : NULL;
    for (uint32_t c = 0; b && c < s->site->channels; c++) {
        m->steering.w[first + c] = w[c];
        m->steering.b[first + c] = b[c];
    }
    const bool done = b != NULL;
    free(w);
    free(b);
    return done;
}

static bool take_gaussian(struct import *m, const struct state *s, uint32_t first)
{
    static const char *const names[] = {"mu1", "std1", "mu2", "std2"};
    float *v[4] = {NULL};
    bool done = true;
    for (int i = 0; i < 4 && done; i++)
        done = (v[i] = values_of(m, s, names[i])) != NULL;
    for (uint32_t c = 0; done && c < s->site->channels; c++) {
        if (!(v[1][c] > LEAST_STD) || !(v[3][c] > LEAST_STD))
            continue;
        const double w = m->params->only_mean ? 1 : (double)v[3][c] / v[1][c];
        m->steering.w[first + c] = (float)w;
        m->steering.b[first + c] = (float)(v[2][c] - w * v[0][c]);
    }
    for (int i = 0; i < 4; i++)
        free(v[i]);
    return done;
}

static bool take_aura(struct import *m, const struct state *s, uint32_t first)
{
    float *auroc = values_of(m, s, "auroc");
    for (uint32_t c = 0; auroc && c < s->site->channels; c++)
        if (auroc[c] > 0.5f)
            m->steering.w[first + c] = 1 - 2 * (auroc[c] - 0.5f);
    const bool done = auroc != NULL;
    free(auroc);
    return done;
}

// The support of the percentiles that were asked for.
static bool take_range(struct import *m, const struct state *s, uint32_t first)
{
    const double *percent = m->params->quantiles;
    bool done = true;
    if (!m->steering.range)
        return true;
    if (m->kind == AURA)
        return vks_fail(m->model->log, "%s: maps of AurA have no support: leave --quantiles out", s->path);
    if (m->kind == GAUSSIAN && s->site->kind == VKS_SITE_PIXELS)
        return vks_fail(m->model->log, "%s: Gaussian maps move pixels by a support of their mean, which has no "
                        "counterpart here: leave --quantiles out", s->path);
    for (int end = 0; end < 2 && done; end++) {
        char name[96];
        snprintf(name, sizeof(name), "quantiles_dict_src.q_%s_%s.%d", VKS_NUMBER("%g", percent[0]),
                 VKS_NUMBER("%g", percent[1]), end);
        float *values = values_of(m, s, name);
        for (uint32_t c = 0; values && c < s->site->channels; c++)
            m->steering.range[2 * ((size_t)first + c) + (size_t)end] = values[c];
        done = values != NULL;
        free(values);
    }
    for (uint32_t c = 0; done && c < s->site->channels; c++) {
        const float *range = m->steering.range + 2 * ((size_t)first + c);
        if (!(range[0] <= range[1]) || !isfinite(range[0]) || !isfinite(range[1]))
            return vks_fail(m->model->log, "%s: the support of channel %u is from %g to %g: train it again, or leave "
                            "--quantiles out", s->path, c, (double)range[0], (double)range[1]);
    }
    return done;
}

static bool take_file(struct import *m, const char *path)
{
    static bool (*const takes[KINDS])(struct import *, const struct state *, uint32_t) = {take_linear, take_gaussian,
                                                                                          take_aura};
    struct state s = {.path = path};
    uint32_t first = 0;
    if (!vks_tensor_file_open(m->model->log, path, &s.file))
        return false;
    const bool done = find_kind(m, &s) && find_site(m, &s) && add_site(m, s.site, &first) &&
                      takes[m->kind](m, &s, first) && take_range(m, &s, first);
    vks_tensor_file_close(&s.file);
    for (uint32_t c = first; done && c < m->steering.sites.channels; c++)
        if (!isfinite(m->steering.w[c]) || !isfinite(m->steering.b[c]))
            return vks_fail(m->model->log, "%s: channel %u is no number: train it again", path, c - first);
    return done;
}

static bool take_folder(struct import *m)
{
    const char *folder = m->params->folder;
    struct vks_os_names names = {0};
    bool done = vks_os_list(m->model->log, folder, &names);
    for (size_t i = 0; done && i < names.count; i++) {
        char *path = vks_ends_with(names.items[i], END) ? vks_path_join(folder, names.items[i]) : NULL;
        done = !vks_ends_with(names.items[i], END) ||
               (path ? take_file(m, path) : vks_fail(m->model->log, VKS_NO_MEMORY));
        free(path);
    }
    vks_os_names_finish(&names);
    return done && (m->steering.sites.count ||
                    vks_fail(m->model->log, "%s holds no " END " files: give a folder that the reference "
                             "implementation of AcT wrote", folder));
}

static bool describe(struct import *m)
{
    struct vks_steering *s = &m->steering;
    const char *const methods[KINDS] = {"linear-act", m->params->only_mean ? "mean-act" : "gaussian-act", "aura"};
    return vks_steering_note(s, "method", "%s", methods[m->kind]) &&
           vks_steering_note(s, "model", "%s", m->model->info.architecture) &&
           vks_steering_note(s, "position", "%s", m->kind == LINEAR ? "pixels-avg" : "all") &&
           vks_steering_note(s, "pool", "%s", m->kind == AURA ? "max" : "mean") &&
           vks_steering_note(s, "fingerprint", "%s", m->model->fingerprint) &&
           (!s->range || vks_steering_note(s, "quantiles", "%s:%s", VKS_NUMBER("%g", m->params->quantiles[0]),
                                           VKS_NUMBER("%g", m->params->quantiles[1]))) &&
           vks_steering_note(s, "imported", "%s", vks_path_name(m->params->folder));
}

bool vksteer_import(vksteer_model *model, const struct vksteer_import_params *params,
                    struct vksteer_import_result *result)
{
    struct import m = {.model = model, .params = params};
    vks_graph_init(&m.graph, model->log);
    const bool done = vks_api_graph(model, &m.graph) && take_folder(&m) &&
                      (describe(&m) || vks_fail(model->log, VKS_NO_MEMORY)) &&
                      vks_steering_save(&m.steering, model->log, params->output);
    if (done && result)
        *result = (struct vksteer_import_result){m.steering.sites.count, m.steering.sites.channels};
    vks_graph_finish(&m.graph);
    vks_steering_finish(&m.steering);
    return done;
}
