// checkops: every operator against its reference in plain C, on the device that is there.
//
// A check is a function that builds cases from a replayable seed. The harness runs it several times with the same
// seed under different settings (plain, bindings forced to 64 KiB, submissions forced to 1 ms, aliasing and in-place
// off): each time outputs must agree with the reference, guard bands round every state must be untouched, and the
// bits must be those of the first run.
//
//     void check_scale(struct check *c)
//     {
//         const uint32_t shape[] = {2, 1 + check_random(c, 9), 3};
//         double *x = check_values(c, count(shape), CHECK_NORMAL);
//         struct vks_graph *g = check_begin(c, "scale (%u, %u, %u)", shape[0], shape[1], shape[2]);
//         struct vks_tensor *tx = check_input(c, "x", x, 3, shape);
//         struct vks_tensor *ty = vks_scale(g, tx, 2, 1);
//         double *y = ..., *dy = check_values(c, n, CHECK_NORMAL), *dx = ...;
//         ref_scale(y, x, n, 2, 1); ref_scale_backward(dx, dy, n, 2);
//         check_expect(c, ty, y, 1e-6);
//         check_backward(c, ty, dy);
//         check_expect_gradient(c, tx, dx, 1e-6);
//         check_run(c);
//     }
#ifndef VKS_TESTS_CHECK_H
#define VKS_TESTS_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"
#include "ops/ops.h"

struct check;

enum check_fill {
    CHECK_NORMAL,   // N(0, 1)
    CHECK_UNIFORM,  // U(0.5, 1.5): norm weights
    CHECK_HOSTILE,  // zeros, tiny, large (1e3), equal runs, alternating signs; finite, exactly representable in fp32
};

uint32_t check_random(struct check *c, uint32_t below);
// Values that are exact in fp32; freed with the case.
double *check_values(struct check *c, uint64_t count, enum check_fill fill);
// Zeroed memory; freed with the case.
void *check_alloc(struct check *c, uint64_t count, uint64_t size);

// Starts a case: its name is printed when it fails.
struct vks_graph *check_begin(struct check *c, const char *format, ...) VKS_PRINTF(2, 3);
struct vks_tensor *check_input(struct check *c, const char *name, const double *data, uint32_t rank,
                               const uint32_t shape[]);
struct vks_tensor *check_input_i32(struct check *c, const char *name, const int32_t *data, uint32_t rank,
                                   const uint32_t shape[]);
// A state initialised with `data` (converted to `dtype`; F16 and BF16 round to nearest even and `data` is overwritten
// with the rounded values), guard bands before and after.
struct vks_tensor *check_state(struct check *c, const char *name, double *data, enum vks_dtype dtype, uint32_t rank,
                               const uint32_t shape[]);
struct vks_tensor *check_state_i32(struct check *c, const char *name, const int32_t *data, uint32_t rank,
                                   const uint32_t shape[]);
// Words of the step buffer for this case.
void check_step_float(struct check *c, uint32_t word, float value);
void check_step_uint(struct check *c, uint32_t word, uint32_t value);

// After the run, `tensor` must agree: max|a - b| <= tolerance * max|b| (or tolerance, if max|b| is 0), NaN never.
void check_expect(struct check *c, struct vks_tensor *tensor, const double *expected, double tolerance);
void check_expect_i32(struct check *c, struct vks_tensor *tensor, const int32_t *expected);
// Differentiates: dy is the gradient of `y` (may be called for several outputs before the first expect_gradient).
void check_backward(struct check *c, struct vks_tensor *y, const double *dy);
void check_expect_gradient(struct check *c, struct vks_tensor *x, const double *expected, double tolerance);
// Runs the case and counts it. False: it failed (already reported).
bool check_run(struct check *c);

// What operators may take into their own kernel (vks_graph_fuse), in every other case: a summand added to `y`
// (returns the sum, and adds to `expected`), and another reader of `x`, whose gradient is added to `dx`.
struct vks_tensor *check_plus(struct check *c, struct vks_tensor *y, double *expected);
void check_branch(struct check *c, struct vks_tensor *x, double *dx);

// For parts of a check that need no device.
void check_true(struct check *c, bool ok, const char *format, ...) VKS_PRINTF(3, 4);

// Reference backward against central differences in double: f writes n_out values from n_in; `dx` (n_in) is what the
// reference backward returned for the output gradient dy. Reports through check_true; relative tolerance 1e-6.
typedef void (*check_function)(void *priv, const double *x, double *y);
void check_differences(struct check *c, const char *name, check_function f, void *priv, const double *x,
                       uint64_t n_in, const double *dy, uint64_t n_out, const double *dx);

// The table: one row an operator family, in tests/check_table.h as CHECK(name).
#define CHECK(name) void check_##name(struct check *c);
#include "check_table.h"
#undef CHECK

#endif
