// Steering vectors from pairs of prompts: z' = z + v at one place of the residual stream, v from the differences
// d_i = b_i - a_i of the pooled activations of target prompt i and source prompt i. The strength is the multiplier.
//
//     caa      v = mean_i d_i (Rimsky et al. 2023, Steering Llama 2 via contrastive activation addition, arXiv
//              2312.06681, section 3). Pooled at the last token, where the texts of a pair end in their answers, A or
//              B. The paper adds v to every token after the prompt, which is position `last`.
//     actadd   v = d_1 (Turner et al. 2023, Activation addition, arXiv 2308.10248, section 3): one pair of prompts,
//              no training. The paper lays the prompts' tokens side by side and adds the difference of each place to
//              the same place of the user's prompt, from its first token on; maps here are the same at every token,
//              so v is the difference at the prompts' last tokens, which have read the rest, and acts wherever the
//              position says.
//     repe     v = u (mean_i d_i·u), u the first right singular vector of the matrix of all d_i, not centred:
//              centred, the common part that is wanted would be gone (Zou et al. 2023, Representation engineering,
//              arXiv 2310.01405, sections 3.1 and 4). Its length is the mean projection, and its sign, which the SVD
//              leaves open, cancels. The paper's other use of u, sign(z·u) u, asks for a product at run time and is
//              not made here.
#include "steer/vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "steer/closed.h"

#define MAX_SQUARINGS 64
#define RANK_ONE 1e-15  // of tr(M)² - tr(M²) at which M is taken for a product u uᵀ

static double dot(const double *x, const double *y, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += x[i] * y[i];
    return sum;
}

static void scale_to_one(double *x, uint32_t count)
{
    const double length = sqrt(dot(x, x, count));
    for (uint32_t i = 0; i < count && length > 0; i++)
        x[i] /= length;
}

// m (n, n), symmetric: m² / tr(m²) into out. Returns tr(m²).
static double square(const double *m, uint32_t n, double *out)
{
    double trace = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j <= i; j++)
            out[(size_t)i * n + j] = out[(size_t)j * n + i] = dot(m + (size_t)i * n, m + (size_t)j * n, n);
        trace += out[(size_t)i * n + i];
    }
    for (size_t i = 0; i < (size_t)n * n && trace > 0; i++)
        out[i] /= trace;
    return trace;
}

// The first eigenvector of a symmetric, positive m (n, n) of trace 1, by power iteration in steps that double:
// m^(2^k) goes to u uᵀ, and does so in a few dozen squarings even where the second eigenvalue is within 1e-12 of the
// first. m is overwritten; `spare` (n, n).
static void first_eigenvector(double *m, double *spare, uint32_t n, double *u)
{
    double *now = m, *next = spare;
    for (int k = 0; k < MAX_SQUARINGS; k++) {
        const double trace = square(now, n, next);
        double *swap = now;
        now = next;
        next = swap;
        if (1 - trace < RANK_ONE)
            break;
    }
    uint32_t largest = 0;
    for (uint32_t i = 1; i < n; i++)
        if (now[(size_t)i * n + i] > now[(size_t)largest * n + largest])
            largest = i;
    memcpy(u, now + (size_t)largest * n, n * sizeof(*u));
    scale_to_one(u, n);
}

// The smaller of x xᵀ and xᵀ x, scaled to trace 1; false when x is zero.
static bool gram(const double *x, uint32_t rows, uint32_t columns, double *m)
{
    const bool by_rows = rows <= columns;
    const uint32_t n = by_rows ? rows : columns;
    double trace = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            double sum = 0;
            if (by_rows)
                sum = dot(x + (size_t)i * columns, x + (size_t)j * columns, columns);
            for (uint32_t r = 0; r < rows && !by_rows; r++)
                sum += x[(size_t)r * columns + i] * x[(size_t)r * columns + j];
            m[(size_t)i * n + j] = m[(size_t)j * n + i] = sum;
        }
        trace += m[(size_t)i * n + i];
    }
    for (size_t i = 0; i < (size_t)n * n && trace > 0; i++)
        m[i] /= trace;
    return trace > 0;
}

bool vks_first_direction(const double *x, uint32_t rows, uint32_t columns, double *direction)
{
    const uint32_t n = rows < columns ? rows : columns;
    double *m = malloc(2 * (size_t)n * n * sizeof(*m)), *u = malloc(n * sizeof(*u));
    const bool ok = m && u;
    memset(direction, 0, columns * sizeof(*direction));
    if (ok && gram(x, rows, columns, m)) {
        first_eigenvector(m, m + (size_t)n * n, n, u);
        for (uint32_t c = 0; c < columns && n < rows; c++)  // xᵀ x has the direction itself
            direction[c] = u[c];
        for (uint32_t r = 0; r < rows && n == rows; r++)    // x xᵀ has u, and xᵀ u is it
            for (uint32_t c = 0; c < columns; c++)
                direction[c] += u[r] * x[(size_t)r * columns + c];
        scale_to_one(direction, columns);
    }
    free(m);
    free(u);
    return ok;
}

bool vks_vector_maps(const struct vks_train_params *params, const struct vks_evidence *e,
                     const struct vks_site_slot *slot, struct vks_steering *steering)
{
    const uint32_t pairs = e->source_rows, width = slot->channels;
    double *d = malloc((size_t)pairs * width * sizeof(*d)), *mean = calloc(2 * (size_t)width, sizeof(*mean));
    double *v = mean ? mean + width : NULL;
    bool ok = d && mean;
    for (uint32_t i = 0; i < pairs && ok; i++)
        for (uint32_t c = 0; c < width; c++) {
            const size_t at = (size_t)i * e->channels + slot->first + c;
            d[(size_t)i * width + c] = (double)e->target[at] - e->source[at];
            mean[c] += d[(size_t)i * width + c] / pairs;
        }
    if (ok && params->method == VKS_METHOD_REPE && (ok = vks_first_direction(d, pairs, width, v))) {
        const double projection = dot(mean, v, width);
        for (uint32_t c = 0; c < width; c++)
            mean[c] = projection * v[c];
    }
    for (uint32_t c = 0; c < width && ok; c++)
        steering->b[slot->first + c] = (float)mean[c];
    free(d);
    free(mean);
    return ok;
}
