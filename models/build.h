// PyTorch's modules as graph nodes: each call finds the module's parameters, adds its operator and publishes its
// site.
//
// A site is the output of a module that PyTorch calls exactly once in a forward pass and that returns a tensor, or
// item i of a tuple (`name:i`). So: Dropout and Identity modules are sites (they are called, and cost nothing here);
// a nonlinearity shared by several places is none; containers that are never called (ModuleList) and modules that
// return a ModelOutput (the models themselves, CLIPEncoder) are none; a called Sequential is one.
#ifndef VKS_MODELS_BUILD_H
#define VKS_MODELS_BUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"
#include "models/weights.h"
#include "ops/ops.h"

struct vks_build {
    struct vks_graph *graph;
    struct vks_weights *weights;
    const char *site_prefix;    // "unet.": before the module's path in the names of sites
    const char *weight_prefix;  // "text_model." or "": before it in the names of parameters
    vks_tensor *mask;           // of the sites (B, T, C): (B, T), 1 = token, 0 = padding; NULL: no padding
};

// A module's path, formatted into the graph's arena.
const char *vks_path(struct vks_build *build, const char *format, ...) VKS_PRINTF(2, 3);

// Publishes the output x of the module `path`; its kind follows from the rank: (B, C), (B, T, C) or (B, H, W, C).
// Returns what the rest of the model reads.
vks_tensor *vks_build_site(struct vks_build *build, const char *path, vks_tensor *x);

// x (..., K) times the matrix (out, K) of the module `path`, and rows of its table (rows, out): of any type; no site.
vks_tensor *vks_build_product(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out);
vks_tensor *vks_build_rows(struct vks_build *build, const char *path, vks_tensor *ids, uint32_t rows, uint32_t out);

// torch.nn.Linear: x (..., K) -> (..., out)
vks_tensor *vks_build_linear(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out, bool bias);
// The same of a module whose parameters the file calls by another path.
vks_tensor *vks_build_linear_named(struct vks_build *build, const char *path, const char *in_file, vks_tensor *x,
                                   uint32_t out, bool bias);
// transformers' Conv1D, a linear layer with a bias: x (..., K) -> (..., out)
vks_tensor *vks_build_conv1d(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out);
// torch.nn.Conv2d with a square kernel: x (B, H, W, Cin) -> (B, H', W', out)
vks_tensor *vks_build_conv(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out, uint32_t kernel,
                           const struct vks_conv2d *attrs, bool bias);
// The same with stride 1 and the padding that keeps the size.
vks_tensor *vks_build_conv_same(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out,
                                uint32_t kernel, bool bias);
vks_tensor *vks_build_group_norm(struct vks_build *build, const char *path, vks_tensor *x, uint32_t groups,
                                 float eps);
vks_tensor *vks_build_layer_norm(struct vks_build *build, const char *path, vks_tensor *x, float eps);
// The RMS norms of transformers: x (B, T, heads * D), of each head by itself, with one weight (D) for all of them.
// The gain is offset + weight. The site's channels are heads * D: every channel of every head is one of its own.
vks_tensor *vks_build_rms_norm(struct vks_build *build, const char *path, vks_tensor *x, uint32_t heads, float offset,
                               float eps);
// torch.nn.Embedding: ids (...) -> (..., out), a table of `rows` rows
vks_tensor *vks_build_embedding(struct vks_build *build, const char *path, vks_tensor *ids, uint32_t rows,
                                uint32_t out);
// An activation module.
vks_tensor *vks_build_unary(struct vks_build *build, const char *path, vks_tensor *x, enum vks_unary kind);

// ResnetBlock2D of diffusers, a segment of its own:
// h = conv2(act(norm2(conv1(act(norm1(x))) + time))) ; (shortcut(x) + h) / scale
struct vks_build_resnet {
    uint32_t out, groups;
    float eps, scale;
    enum vks_unary act;         // one module called two or three times, so it is no site
    vks_tensor *time;           // (B, T), already through an activation; NULL: nothing is added
};
vks_tensor *vks_build_resnet(struct vks_build *build, const char *path, vks_tensor *x,
                             const struct vks_build_resnet *attrs);

// Opens a new recomputation segment; returns the one that was open, for vks_build_segment_end.
uint32_t vks_build_segment(struct vks_build *build);
void vks_build_segment_end(struct vks_build *build, uint32_t outer);

#endif
