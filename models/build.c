#include "models/build.h"

#include <stdarg.h>
#include <stdio.h>

const char *vks_path(struct vks_build *build, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const char *copy = vks_arena_strdup(&build->graph->arena, text);
    if (!copy)
        vks_graph_fail(build->graph, VKS_NO_MEMORY);
    return copy ? copy : "";
}

vks_tensor *vks_build_site(struct vks_build *build, const char *path, vks_tensor *x)
{
    static const enum vks_site_kind kinds[] = {VKS_SITE_VECTOR, VKS_SITE_VECTOR, VKS_SITE_VECTOR, VKS_SITE_TOKENS,
                                               VKS_SITE_PIXELS};
    if (build->graph->failed || !x)
        return NULL;
    return vks_graph_site(build->graph, vks_path(build, "%s%s", build->site_prefix, path), kinds[x->rank], x,
                          x->rank == 3 ? build->mask : NULL);
}

static vks_tensor *parameter(struct vks_build *build, const char *path, const char *name,
                             enum vks_weight_layout layout, uint32_t rank, const uint32_t shape[])
{
    return vks_weights_get(build->weights, build->graph,
                           vks_path(build, "%s%s.%s", build->weight_prefix, path, name), layout, rank, shape);
}

static vks_tensor *vector(struct vks_build *build, const char *path, const char *name, uint32_t size)
{
    return parameter(build, path, name, VKS_WEIGHT_VECTOR, 1, &size);
}

// The matrix (rows, columns) of the module `path` where it stays in blocks, otherwise NULL.
static vks_tensor *blocks(struct vks_build *build, const char *path, uint32_t rows, uint32_t columns,
                          struct vks_packed *packed)
{
    const char *name = vks_path(build, "%s%s.weight", build->weight_prefix, path);
    if (!vks_weights_is_packed(build->weights, name))
        return NULL;
    return vks_weights_get_packed(build->weights, build->graph, name, rows, columns, packed);
}

// y = x Wᵀ + bias
static vks_tensor *product(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out, bool bias,
                           enum vks_weight_layout layout)
{
    struct vks_packed packed;
    if (build->graph->failed || !x)
        return NULL;
    const uint32_t in = vks_tensor_channels(x);
    vks_tensor *in_blocks = blocks(build, path, out, in, &packed);
    vks_tensor *w = in_blocks ? NULL : parameter(build, path, "weight", layout, 2, (uint32_t[]){out, in});
    vks_tensor *b = bias ? vector(build, path, "bias", out) : NULL;
    if (!in_blocks)
        return vks_linear(build->graph, x, w, b);
    vks_tensor *y = vks_linear_packed(build->graph, x, in_blocks, &packed);
    return b ? vks_add(build->graph, y, b) : y;
}

vks_tensor *vks_build_product(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out)
{
    return product(build, path, x, out, false, VKS_WEIGHT_MATRIX);
}

vks_tensor *vks_build_linear(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out, bool bias)
{
    return vks_build_linear_named(build, path, path, x, out, bias);
}

vks_tensor *vks_build_linear_named(struct vks_build *build, const char *path, const char *in_file, vks_tensor *x,
                                   uint32_t out, bool bias)
{
    return vks_build_site(build, path, product(build, in_file, x, out, bias, VKS_WEIGHT_MATRIX));
}

vks_tensor *vks_build_conv1d(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out)
{
    return vks_build_site(build, path, product(build, path, x, out, true, VKS_WEIGHT_CONV1D));
}

vks_tensor *vks_build_conv(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out, uint32_t kernel,
                           const struct vks_conv2d *attrs, bool bias)
{
    if (build->graph->failed || !x)
        return NULL;
    const uint32_t in = vks_tensor_channels(x);
    // A pointwise convolution is a linear layer over the pixels.
    const bool point = kernel == 1 && attrs->stride == 1 && !attrs->pad_before && !attrs->pad_after;
    const uint32_t matrix[] = {out, in}, cube[] = {out, kernel, kernel, in};
    vks_tensor *weight =
        parameter(build, path, "weight", VKS_WEIGHT_CONV, point ? 2 : 4, point ? matrix : cube);
    vks_tensor *b = bias ? vector(build, path, "bias", out) : NULL;
    vks_tensor *y = point ? vks_linear(build->graph, x, weight, b) : vks_conv2d(build->graph, x, weight, b, attrs);
    return vks_build_site(build, path, y);
}

vks_tensor *vks_build_conv_same(struct vks_build *build, const char *path, vks_tensor *x, uint32_t out,
                                uint32_t kernel, bool bias)
{
    const struct vks_conv2d attrs = {.stride = 1, .pad_before = (kernel - 1) / 2, .pad_after = (kernel - 1) / 2};
    return vks_build_conv(build, path, x, out, kernel, &attrs, bias);
}

vks_tensor *vks_build_group_norm(struct vks_build *build, const char *path, vks_tensor *x, uint32_t groups, float eps)
{
    if (build->graph->failed || !x)
        return NULL;
    const uint32_t channels = vks_tensor_channels(x);
    vks_tensor *weight = vector(build, path, "weight", channels), *bias = vector(build, path, "bias", channels);
    return vks_build_site(build, path, vks_group_norm(build->graph, x, weight, bias, groups, eps));
}

vks_tensor *vks_build_layer_norm(struct vks_build *build, const char *path, vks_tensor *x, float eps)
{
    if (build->graph->failed || !x)
        return NULL;
    const uint32_t channels = vks_tensor_channels(x);
    vks_tensor *weight = vector(build, path, "weight", channels), *bias = vector(build, path, "bias", channels);
    return vks_build_site(build, path, vks_layer_norm(build->graph, x, weight, bias, eps));
}

vks_tensor *vks_build_rms_norm(struct vks_build *build, const char *path, vks_tensor *x, uint32_t heads, float offset,
                               float eps)
{
    if (build->graph->failed || !x)
        return NULL;
    const uint32_t width = vks_tensor_channels(x) / heads;
    vks_tensor *weight = vector(build, path, "weight", width), *y = x;
    if (heads > 1)
        y = vks_reshape(build->graph, y, 4, (uint32_t[]){x->shape[0], x->shape[1], heads, width});
    y = vks_rms_norm(build->graph, y, weight, offset, eps);
    if (heads > 1)
        y = vks_reshape(build->graph, y, x->rank, x->shape);
    return vks_build_site(build, path, y);
}

vks_tensor *vks_build_rows(struct vks_build *build, const char *path, vks_tensor *ids, uint32_t rows, uint32_t out)
{
    struct vks_packed packed;
    if (build->graph->failed || !ids)
        return NULL;
    vks_tensor *table = blocks(build, path, rows, out, &packed);
    if (table)
        return vks_embedding_packed(build->graph, ids, table, &packed);
    table = parameter(build, path, "weight", VKS_WEIGHT_MATRIX, 2, (uint32_t[]){rows, out});
    return vks_embedding(build->graph, ids, table);
}

vks_tensor *vks_build_embedding(struct vks_build *build, const char *path, vks_tensor *ids, uint32_t rows,
                                uint32_t out)
{
    return vks_build_site(build, path, vks_build_rows(build, path, ids, rows, out));
}

vks_tensor *vks_build_unary(struct vks_build *build, const char *path, vks_tensor *x, enum vks_unary kind)
{
    return vks_build_site(build, path, vks_unary(build->graph, x, kind));
}

uint32_t vks_build_segment(struct vks_build *build)
{
    struct vks_graph *graph = build->graph;
    const uint32_t outer = graph->segment;
    uint32_t last = outer;
    for (size_t i = 0; i < graph->node_count; i++)
        last = graph->nodes[i]->segment > last ? graph->nodes[i]->segment : last;
    graph->segment = last + 1;
    return outer;
}

void vks_build_segment_end(struct vks_build *build, uint32_t outer)
{
    build->graph->segment = outer;
}

vks_tensor *vks_build_resnet(struct vks_build *b, const char *path, vks_tensor *x,
                             const struct vks_build_resnet *attrs)
{
    if (!x)
        return NULL;
    const uint32_t outer = vks_build_segment(b), out = attrs->out;
    vks_tensor *h = vks_build_group_norm(b, vks_path(b, "%s.norm1", path), x, attrs->groups, attrs->eps);
    h = vks_unary(b->graph, h, attrs->act);
    h = vks_build_conv_same(b, vks_path(b, "%s.conv1", path), h, out, 3, true);
    if (attrs->time)
        h = vks_add(b->graph, h, vks_build_linear(b, vks_path(b, "%s.time_emb_proj", path), attrs->time, out, true));
    h = vks_build_group_norm(b, vks_path(b, "%s.norm2", path), h, attrs->groups, attrs->eps);
    h = vks_unary(b->graph, h, attrs->act);
    h = vks_build_site(b, vks_path(b, "%s.dropout", path), h);
    h = vks_build_conv_same(b, vks_path(b, "%s.conv2", path), h, out, 3, true);
    if (vks_tensor_channels(x) != out)
        x = vks_build_conv_same(b, vks_path(b, "%s.conv_shortcut", path), x, out, 1, true);
    h = vks_add(b->graph, x, h);
    if (attrs->scale != 1)
        h = vks_scale(b->graph, h, 1 / attrs->scale, 0);
    h = vks_build_site(b, path, h);
    vks_build_segment_end(b, outer);
    return h;
}
