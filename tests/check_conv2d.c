#include "check.h"
#include "ref/conv2d.h"

static void conv_function(void *priv, const double *x, double *y)
{
    ref_conv2d(y, x, priv);
}

struct conv_case {
    uint32_t samples, h, w, cin, cout, kh, kw, stride, before, after;
    enum vks_dtype type;
    bool biased;
};

static void conv_case(struct check *c, enum check_fill fill, struct conv_case s)
{
    struct ref_conv2d conv = {
        .samples = s.samples, .h = s.h, .w = s.w, .cin = s.cin, .cout = s.cout, .kh = s.kh, .kw = s.kw,
        .oh = (s.h + s.before + s.after - s.kh) / s.stride + 1,
        .ow = (s.w + s.before + s.after - s.kw) / s.stride + 1,
        .stride = s.stride, .pad = s.before,
    };
    const uint32_t x_shape[] = {s.samples, s.h, s.w, s.cin}, w_shape[] = {s.cout, s.kh, s.kw, s.cin};
    const uint64_t nx = (uint64_t)s.samples * s.h * s.w * s.cin;
    const uint64_t ny = (uint64_t)s.samples * conv.oh * conv.ow * s.cout;
    double *x = check_values(c, nx, fill), *y = check_alloc(c, ny, sizeof(*y));
    double *dx = check_alloc(c, nx, sizeof(*dx)), *dy = check_values(c, ny, fill);
    double *weight = check_values(c, (uint64_t)s.cout * s.kh * s.kw * s.cin, CHECK_NORMAL);
    double *bias = check_values(c, s.cout, CHECK_NORMAL);
    struct vks_graph *g = check_begin(c, "conv2d (%u, %u, %u, %u) to %u, %u x %u, stride %u, pad %u %u, %s, "
                                      "fill %d%s", s.samples, s.h, s.w, s.cin, s.cout, s.kh, s.kw, s.stride, s.before,
                                      s.after, vks_dtype_name(s.type), fill, s.biased ? ", bias" : "");
    struct vks_tensor *tx = check_input(c, "x", x, 4, x_shape);
    struct vks_tensor *tw = check_state(c, "weight", weight, s.type, 4, w_shape);
    struct vks_tensor *tb = s.biased ? check_state(c, "bias", bias, VKS_F32, 1, &s.cout) : NULL;
    struct vks_tensor *ty = vks_conv2d(g, tx, tw, tb, &(struct vks_conv2d){s.stride, s.before, s.after});
    conv.weight = weight;
    conv.bias = s.biased ? bias : NULL;
    ref_conv2d(y, x, &conv);
    ref_conv2d_backward(dx, dy, &conv);
    if (nx < 200 && ny < 200)
        check_differences(c, "conv2d", conv_function, &conv, x, nx, dy, ny, dx);
    ty = check_plus(c, ty, y);
    check_expect(c, ty, y, 3e-6);
    check_backward(c, ty, dy);
    check_branch(c, tx, dx);
    check_expect_gradient(c, tx, dx, 3e-6);
    check_run(c);
}

void check_conv2d(struct check *c)
{
    const enum vks_dtype types[] = {VKS_F32, VKS_F16, VKS_BF16};
    for (uint32_t t = 0; t < 3; t++) {
        const enum vks_dtype type = types[t];
        const uint32_t h = 5 + check_random(c, 5), w = 5 + check_random(c, 5), odd = 1 + check_random(c, 9);
        conv_case(c, CHECK_NORMAL, (struct conv_case){2, h, w, odd, 3, 3, 3, 1, 1, 1, type, true});
        conv_case(c, CHECK_NORMAL, (struct conv_case){2, h, w, 8, 36, 3, 3, 1, 1, 1, type, true});
        conv_case(c, CHECK_HOSTILE, (struct conv_case){3, h, w, 12, 20, 3, 3, 2, 1, 1, type, t != 1});
        conv_case(c, CHECK_NORMAL, (struct conv_case){1, h, w, odd, 4, 3, 3, 2, 0, 1, type, false});
        conv_case(c, CHECK_NORMAL, (struct conv_case){2, h, w, 8, 12, 1, 1, 1, 0, 0, type, true});
        conv_case(c, CHECK_HOSTILE, (struct conv_case){1, h, w, odd, 7, 1, 1, 2, 0, 0, type, true});  // zeros in dx
        conv_case(c, CHECK_NORMAL, (struct conv_case){1, h, w, 4, 5, 2, 4, 1, 2, 1, type, true});
    }
    conv_case(c, CHECK_NORMAL, (struct conv_case){1, 3, 3, 2, 2, 3, 3, 1, 1, 1, VKS_F32, true});
    conv_case(c, CHECK_NORMAL, (struct conv_case){1, 1, 1, 3, 2, 3, 3, 2, 1, 1, VKS_F32, true});
    conv_case(c, CHECK_NORMAL, (struct conv_case){3, 16, 16, 36, 8, 3, 3, 1, 1, 1, VKS_F32, true});   // samples cut
    conv_case(c, CHECK_NORMAL, (struct conv_case){1, 33, 32, 20, 24, 3, 3, 1, 1, 1, VKS_F32, true});  // rows cut
    conv_case(c, CHECK_NORMAL, (struct conv_case){1, 37, 32, 20, 16, 3, 3, 2, 1, 1, VKS_F16, true});
    // Winograd's way, on CPU drivers: whole tiles and parts of them, samples, tile rows and columns cut
    conv_case(c, CHECK_NORMAL, (struct conv_case){1, 16, 16, 16, 20, 3, 3, 1, 1, 1, VKS_F16, true});
    conv_case(c, CHECK_HOSTILE, (struct conv_case){1, 17, 18, 20, 16, 3, 3, 1, 1, 1, VKS_BF16, false});
    conv_case(c, CHECK_NORMAL, (struct conv_case){2, 23, 13, 24, 36, 3, 3, 1, 1, 1, VKS_F32, true});
    conv_case(c, CHECK_NORMAL, (struct conv_case){1, 16, 12, 28, 28, 3, 3, 1, 1, 1, VKS_F32, true});  // and tiles kept
    conv_case(c, CHECK_NORMAL, (struct conv_case){1, 4, 5, 44, 48, 3, 3, 1, 1, 1, VKS_F32, true});    // weight cut
    conv_case(c, CHECK_NORMAL, (struct conv_case){1, 5, 5, 64, 60, 3, 3, 2, 1, 1, VKS_F16, false});
}
