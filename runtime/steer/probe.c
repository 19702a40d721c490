#include "steer/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 100
#define MAX_HALVINGS 40
#define ENOUGH 1e-20  // of the Newton decrement, over 1 + loss: what is left is rounding

struct fit {
    const double *x;
    const bool *labels;
    uint32_t rows, columns;
    double *w, *gradient, *step, *trial;  // (columns + 1)
    double *hessian;                      // (columns + 1, columns + 1), its lower half
};

double vks_probe_margin(const double *w, const double *x, uint32_t columns)
{
    double sum = w[columns];
    for (uint32_t c = 0; c < columns; c++)
        sum += w[c] * x[c];
    return sum;
}

double vks_probe_loss(double margin)
{
    return margin > 0 ? log1p(exp(-margin)) : log1p(exp(margin)) - margin;
}

static double objective(const struct fit *f, const double *w)
{
    double sum = 0;
    for (uint32_t c = 0; c < f->columns; c++)
        sum += 0.5 * w[c] * w[c];
    for (uint32_t i = 0; i < f->rows; i++) {
        const double margin = vks_probe_margin(w, f->x + (size_t)i * f->columns, f->columns);
        sum += vks_probe_loss(f->labels[i] ? margin : -margin);
    }
    return sum;
}

// Gradient and Hessian at w: w + Σ (p - y) x̃ and I + Σ p (1 - p) x̃ x̃ᵀ, x̃ = (x, 1), no penalty on the last.
static void derivatives(const struct fit *f)
{
    const uint32_t n = f->columns + 1;
    memset(f->hessian, 0, (size_t)n * n * sizeof(*f->hessian));
    for (uint32_t r = 0; r < n; r++) {
        f->gradient[r] = r < f->columns ? f->w[r] : 0;
        f->hessian[(size_t)r * n + r] = r < f->columns;
    }
    for (uint32_t i = 0; i < f->rows; i++) {
        const double *x = f->x + (size_t)i * f->columns, margin = vks_probe_margin(f->w, x, f->columns);
        const double p = margin > 0 ? 1 / (1 + exp(-margin)) : exp(margin) / (1 + exp(margin));
        const double curve = exp(-fabs(margin)) / ((1 + exp(-fabs(margin))) * (1 + exp(-fabs(margin))));
        for (uint32_t r = 0; r < n; r++) {
            const double xr = r < f->columns ? x[r] : 1;
            f->gradient[r] += (p - f->labels[i]) * xr;
            for (uint32_t c = 0; c <= r; c++)
                f->hessian[(size_t)r * n + c] += curve * xr * (c < f->columns ? x[c] : 1);
        }
    }
}

// Solves hessian step = gradient by Cholesky; the hessian is overwritten.
static void solve(const struct fit *f)
{
    const uint32_t n = f->columns + 1;
    double *l = f->hessian, *s = f->step;
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t c = 0; c <= r; c++) {
            double sum = l[(size_t)r * n + c];
            for (uint32_t k = 0; k < c; k++)
                sum -= l[(size_t)r * n + k] * l[(size_t)c * n + k];
            if (r == c)  // positive but for rounding where all samples are far from the plane
                l[(size_t)r * n + r] = sqrt(fmax(sum, 1e-14 * (1 + l[(size_t)r * n + r])));
            else
                l[(size_t)r * n + c] = sum / l[(size_t)c * n + c];
        }
    for (uint32_t r = 0; r < n; r++) {
        double sum = f->gradient[r];
        for (uint32_t k = 0; k < r; k++)
            sum -= l[(size_t)r * n + k] * s[k];
        s[r] = sum / l[(size_t)r * n + r];
    }
    for (uint32_t r = n; r-- > 0;) {
        double sum = s[r];
        for (uint32_t k = r + 1; k < n; k++)
            sum -= l[(size_t)k * n + r] * s[k];
        s[r] = sum / l[(size_t)r * n + r];
    }
}

// A Newton step, halved until the loss falls as far as it should. False: it is as small as it can be told to be.
static bool improve(const struct fit *f, double *loss)
{
    const uint32_t n = f->columns + 1;
    double decrement = 0, length = 1;
    derivatives(f);
    solve(f);
    for (uint32_t r = 0; r < n; r++)
        decrement += f->gradient[r] * f->step[r];
    for (int k = 0; k < MAX_HALVINGS; k++, length /= 2) {
        for (uint32_t r = 0; r < n; r++)
            f->trial[r] = f->w[r] - length * f->step[r];
        const double next = objective(f, f->trial);
        // At the end the loss no longer tells one step from another, and the full one is right.
        const bool last = decrement <= ENOUGH * (1 + *loss);
        if (last || next <= *loss - 1e-4 * length * decrement) {
            memcpy(f->w, f->trial, n * sizeof(*f->w));
            *loss = next;
            return !last;
        }
    }
    return false;
}

bool vks_probe_fit(const double *x, const bool *labels, uint32_t rows, uint32_t columns, double *w)
{
    const size_t n = (size_t)columns + 1;
    double *memory = malloc((3 + n) * n * sizeof(*memory));
    if (!memory)
        return false;
    const struct fit fit = {
        .x = x,
        .labels = labels,
        .rows = rows,
        .columns = columns,
        .w = w,
        .gradient = memory,
        .step = memory + n,
        .trial = memory + 2 * n,
        .hessian = memory + 3 * n,
    };
    memset(w, 0, n * sizeof(*w));
    double loss = objective(&fit, w);
    for (int k = 0; k < MAX_STEPS && improve(&fit, &loss); k++)
        ;
    free(memory);
    return true;
}
