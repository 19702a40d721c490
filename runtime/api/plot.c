// Plots: curves over one axis, drawn with soft edges on white.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/font.h"
#include "api/internal.h"
#include "base/text.h"

#define SCALE 2.0                    // pixels of a dot of the font
#define ADVANCE ((VKS_FONT_WIDTH + 1) * SCALE)
#define TALL (VKS_FONT_HEIGHT * SCALE)
#define MARGIN 24.0
#define MOST_SERIES 16
#define MOST_TICKS 9
#define MOST_SIDE 16384u

struct colour {
    double r, g, b;
};
static const struct colour ink = {0.13, 0.14, 0.17}, faint = {0.89, 0.90, 0.92}, axis = {0.55, 0.57, 0.61};
// Okabe and Ito's colours, which readers with any colour vision can tell apart.
static const struct colour colours[] = {
    {0.00, 0.45, 0.70}, {0.84, 0.37, 0.00}, {0.00, 0.62, 0.45}, {0.80, 0.47, 0.65}, {0.34, 0.71, 0.91},
    {0.90, 0.62, 0.00},
};

// ---- strokes

static void blend(struct vksteer_image *image, long x, long y, struct colour c, double share)
{
    if (x < 0 || y < 0 || x >= (long)image->width || y >= (long)image->height || share <= 0)
        return;
    uint8_t *at = image->rgb + 3 * ((size_t)y * image->width + (size_t)x);
    const double values[] = {c.r, c.g, c.b};
    share = share < 1 ? share : 1;
    for (int i = 0; i < 3; i++)
        at[i] = (uint8_t)lround(at[i] * (1 - share) + 255 * values[i] * share);
}

// A line with round ends; a dot where both ends are one. Pixel (0, 0) has its middle at (.5, .5).
static void stroke(struct vksteer_image *image, double x0, double y0, double x1, double y1, double width,
                   struct colour c)
{
    const double dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy, reach = width / 2 + 1;
    const long left = (long)floor(fmin(x0, x1) - reach), right = (long)ceil(fmax(x0, x1) + reach);
    const long top = (long)floor(fmin(y0, y1) - reach), bottom = (long)ceil(fmax(y0, y1) + reach);
    for (long y = top; y <= bottom; y++) {
        for (long x = left; x <= right; x++) {
            const double px = (double)x + 0.5 - x0, py = (double)y + 0.5 - y0;
            const double along = length > 0 ? fmin(fmax((px * dx + py * dy) / length, 0), 1) : 0;
            const double off = hypot(px - along * dx, py - along * dy);
            blend(image, x, y, c, width / 2 + 0.5 - off);
        }
    }
}

// A line along the pixels, one pixel wide.
static void rule(struct vksteer_image *image, double x0, double y0, double x1, double y1, struct colour c)
{
    for (long y = lround(floor(y0)); y <= lround(floor(y1)); y++)
        for (long x = lround(floor(x0)); x <= lround(floor(x1)); x++)
            blend(image, x, y, c, 1);
}

// ---- letters

static unsigned glyph_of(char c)
{
    return (unsigned char)c >= 32 && (unsigned char)c < 127 ? (unsigned char)c - 32u : '?' - 32u;
}

// How far a place, in dots, lies inside the strokes of a glyph: its dots, and what joins two that touch at a corner,
// all half a dot wide on either side of their middles.
static double inside(unsigned glyph, double x, double y)
{
    double nearest = 1e9;
    for (int row = 0; row < VKS_FONT_HEIGHT; row++) {
        for (int column = 0; column < VKS_FONT_WIDTH; column++) {
            if (!(vks_font[glyph][row] >> (VKS_FONT_WIDTH - 1 - column) & 1))
                continue;
            // To the right, and the three below: the rest is seen from the other end.
            static const int steps[][2] = {{0, 0}, {1, 0}, {-1, 1}, {0, 1}, {1, 1}};
            for (int i = 0; i < 5; i++) {
                const int to_x = column + steps[i][0], to_y = row + steps[i][1];
                if (to_x < 0 || to_x >= VKS_FONT_WIDTH || to_y >= VKS_FONT_HEIGHT ||
                    !(vks_font[glyph][to_y] >> (VKS_FONT_WIDTH - 1 - to_x) & 1))
                    continue;
                // A corner is joined only where no third dot fills it.
                if (steps[i][0] && steps[i][1] && ((vks_font[glyph][row] >> (VKS_FONT_WIDTH - 1 - to_x) & 1) ||
                                                   (vks_font[glyph][to_y] >> (VKS_FONT_WIDTH - 1 - column) & 1)))
                    continue;
                const double px = x - column - 0.5, py = y - row - 0.5, dx = steps[i][0], dy = steps[i][1];
                const double length = dx * dx + dy * dy;
                const double along = length > 0 ? fmin(fmax((px * dx + py * dy) / length, 0), 1) : 0;
                nearest = fmin(nearest, hypot(px - along * dx, py - along * dy));
            }
        }
    }
    return 0.5 - nearest;
}

static void draw_text(struct vksteer_image *image, double left, double top, const char *text, struct colour c)
{
    for (; *text; text++, left += ADVANCE) {
        const unsigned glyph = glyph_of(*text);
        const double down = strchr(VKS_FONT_DESCENDERS, *text) ? VKS_FONT_DESCENT * SCALE : 0;
        for (long y = 0; y <= (long)TALL; y++)
            for (long x = 0; x <= (long)(VKS_FONT_WIDTH * SCALE); x++)
                blend(image, lround(left) + x, lround(top + down) + y, c,
                      inside(glyph, ((double)x + 0.5) / SCALE, ((double)y + 0.5) / SCALE) * SCALE + 0.5);
    }
}

static double text_width(const char *text)
{
    return (double)strlen(text) * ADVANCE - SCALE;
}

// ---- axes

struct range {
    double low, high, step;
    int digits;              // behind the point
};

// Neither no number, nor so large that steps between values overflow.
static bool can_draw(double value)
{
    return fabs(value) < 1e100;
}

// A range that holds the values, with ends at multiples of a step that is 1, 2 or 5 times a power of ten.
static struct range make_range(const double *values, size_t count, bool tight, double ticks)
{
    struct range r = {INFINITY, -INFINITY, 1, 0};
    for (size_t i = 0; i < count; i++) {
        if (can_draw(values[i])) {
            r.low = fmin(r.low, values[i]);
            r.high = fmax(r.high, values[i]);
        }
    }
    if (r.low > r.high)
        r.low = r.high = 0;
    if (r.high - r.low < 1e-9 * (fabs(r.high) + fabs(r.low)) || r.high == r.low) {
        const double half = r.low ? fabs(r.low) / 10 : 1;
        r.low -= half;
        r.high += half;
    }
    const double wanted = (r.high - r.low) / ticks, power = pow(10, floor(log10(wanted)));
    const double times = wanted / power;
    r.step = (times > 5 ? 10 : times > 2 ? 5 : times > 1 ? 2 : 1) * power;
    r.digits = (int)fmax(0, -floor(log10(r.step) + 1e-9));
    if (!tight) {
        r.low = floor(r.low / r.step + 1e-9) * r.step;
        r.high = ceil(r.high / r.step - 1e-9) * r.step;
    }
    return r;
}

static void tick_text(const struct range *r, double value, char *out, size_t size)
{
    char format[16];
    if (fabs(value) < r->step * 1e-6)
        value = 0;
    if (fabs(value) >= 1e6 || r->digits > 6)
        snprintf(format, sizeof(format), "%%.3g");
    else
        snprintf(format, sizeof(format), "%%.%df", r->digits);
    vks_number(out, size, format, value);
}

struct panel {
    struct range x, y;
    const double *at;        // where the x axis has its ticks: at the points while these are few; NULL: by its range
    size_t ticks;
    double left, right, top, bottom;
};

static double place(double value, const struct range *r, double from, double to)
{
    return from + (to - from) * (value - r->low) / (r->high - r->low);
}

static double first_tick(const struct range *r)
{
    return ceil(r->low / r->step - 1e-6) * r->step;
}

static void draw_axes(struct vksteer_image *image, const struct panel *p, bool last)
{
    char text[32];
    for (double v = first_tick(&p->y); v <= p->y.high + p->y.step * 1e-6; v += p->y.step) {
        const double y = place(v, &p->y, p->bottom, p->top);
        rule(image, p->left, y, p->right, y, faint);
        tick_text(&p->y, v, text, sizeof(text));
        draw_text(image, p->left - 12 - text_width(text), y - TALL / 2, text, ink);
    }
    const size_t ticks = p->at ? p->ticks : (size_t)((p->x.high - first_tick(&p->x)) / p->x.step + 1 + 1e-6);
    for (size_t i = 0; i < ticks; i++) {
        const double v = p->at ? p->at[i] : first_tick(&p->x) + (double)i * p->x.step;
        const double x = place(v, &p->x, p->left, p->right);
        rule(image, x, p->top, x, p->bottom, faint);
        rule(image, x, p->bottom, x, p->bottom + 6, axis);
        if (p->at)
            vks_number(text, sizeof(text), "%.3g", v);
        else
            tick_text(&p->x, v, text, sizeof(text));
        if (last)
            draw_text(image, x - text_width(text) / 2, p->bottom + 14, text, ink);
    }
    rule(image, p->left, p->bottom, p->right, p->bottom, axis);
    rule(image, p->left, p->top, p->left, p->bottom, axis);
}

static void draw_curve(struct vksteer_image *image, const struct panel *p, const double *xs, const double *ys,
                       size_t count, struct colour c)
{
    bool before = false;
    double last_x = 0, last_y = 0;
    for (int marks = 0; marks < 2; marks++) {
        before = false;
        for (size_t i = 0; i < count; i++) {
            if (!can_draw(ys[i])) {
                before = false;
                continue;
            }
            const double x = place(xs[i], &p->x, p->left, p->right) + 0.5;
            const double y = place(ys[i], &p->y, p->bottom, p->top) + 0.5;
            if (marks) {
                stroke(image, x, y, x, y, 11, (struct colour){1, 1, 1});
                stroke(image, x, y, x, y, 8, c);
            } else if (before) {
                stroke(image, last_x, last_y, x, y, 3, c);
            }
            before = true;
            last_x = x;
            last_y = y;
        }
    }
}

// ---- the whole

static double widest_tick(const struct range *r)
{
    char text[32];
    double widest = 0;
    for (double v = first_tick(r); v <= r->high + r->step * 1e-6; v += r->step) {
        tick_text(r, v, text, sizeof(text));
        widest = fmax(widest, text_width(text));
    }
    return widest;
}

bool vksteer_plot(const struct vksteer_log *log, const struct vksteer_plot_params *params,
                  struct vksteer_image *image)
{
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, log);
    const uint32_t width = params->width ? params->width : 960, tall = params->panel ? params->panel : 300;
    struct panel panels[MOST_SERIES];
    *image = (struct vksteer_image){0};
    if (!params->count || !params->series_count || params->series_count > MOST_SERIES)
        return vks_fail(inner, "a plot of %zu points in %zu series: 1 to %d series of at least one point can be "
                        "drawn", params->count, params->series_count, MOST_SERIES);
    for (size_t i = 0; i < params->count; i++)
        if (!can_draw(params->x[i]))
            return vks_fail(inner, "point %zu of a plot has no place on its axis: give numbers below 1e100", i + 1);
    const double head = params->title ? MARGIN + TALL + 8 : 0;
    const double foot = MARGIN + TALL + 14 + (params->x_name ? TALL + 12 : 0);
    const uint64_t all = (uint64_t)(head + foot + 8) + (uint64_t)tall * params->series_count;
    if (width < 200 || tall < 120 || width > MOST_SIDE || all > MOST_SIDE)
        return vks_fail(inner, "a plot of %u x %llu pixels: 200 to %u wide, and 120 a panel, can be drawn", width,
                        (unsigned long long)all, MOST_SIDE);
    const uint32_t height = (uint32_t)all;
    image->rgb = malloc((size_t)width * height * 3);
    if (!image->rgb)
        return vks_fail(inner, VKS_NO_MEMORY);
    image->width = width;
    image->height = height;
    memset(image->rgb, 255, (size_t)width * height * 3);
    double left = 0;
    for (size_t i = 0; i < params->series_count; i++) {
        panels[i].x = make_range(params->x, params->count, true, 8);
        panels[i].y = make_range(params->series[i].values, params->count, false, 4);
        left = fmax(left, widest_tick(&panels[i].y));
    }
    if (params->title)
        draw_text(image, MARGIN + left + 12, MARGIN, params->title, ink);
    for (size_t i = 0; i < params->series_count; i++) {
        const struct colour c = colours[i % (sizeof(colours) / sizeof(colours[0]))];
        struct panel *p = &panels[i];
        p->at = params->count <= MOST_TICKS ? params->x : NULL;
        p->ticks = params->count;
        const double top = head + (double)i * tall;
        p->left = MARGIN + left + 12;
        p->right = width - MARGIN - 6;
        p->top = top + MARGIN + TALL + 16;
        p->bottom = top + tall - 1;
        draw_text(image, p->left, top + MARGIN, params->series[i].name, c);
        draw_axes(image, p, i + 1 == params->series_count);
        draw_curve(image, p, params->x, params->series[i].values, params->count, c);
    }
    if (params->x_name) {
        const struct panel *p = &panels[params->series_count - 1];
        draw_text(image, (p->left + p->right - text_width(params->x_name)) / 2, p->bottom + 14 + TALL + 12,
                  params->x_name, ink);
    }
    return true;
}
