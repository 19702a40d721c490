// Affine transport maps and pooling in plain C: the definitions of runtime/ops/ops.h, in double, one loop each.
#ifndef VKS_TESTS_REF_STEERING_H
#define VKS_TESTS_REF_STEERING_H

#include <stdint.h>

#include "ops/ops.h"

// A site: z, dz, y, dy (samples, rows, cols); mask (samples, rows) or NULL.
struct ref_site {
    uint32_t samples, rows, cols;
    const double *mask;
};

// w, b (cols), range (cols, 2) or NULL, strength s
void ref_affine(double *y, const double *z, const double *w, const double *b, const double *range,
                const struct ref_site *site, enum vks_position position, double s);
// dz, and dw, db (samples, cols); each may be NULL
void ref_affine_backward(double *dz, double *dw, double *db, const double *z, const double *w, const double *dy,
                         const struct ref_site *site, enum vks_position position, double s);
// pooled, grad (samples, cols)
void ref_pool(double *pooled, const double *z, const struct ref_site *site, enum vks_pool kind);
// dz = dy (or 0) + what grad sends back
void ref_pool_backward(double *dz, const double *z, const double *dy, const double *grad, const struct ref_site *site,
                       enum vks_pool kind);

#endif
