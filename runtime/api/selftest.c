// The self-test: every kernel family through a small graph, against plain C. Gradients are checked along a random
// direction: <dx, v> from the device against <dy, f(x + h v) - f(x - h v)> / 2h of the reference.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "api/selftest.h"
#include "base/half.h"
#include "exec/backward.h"

#define INPUTS VKS_TRIAL_INPUTS

struct values {
    double *reference;   // as the device sees them
    void *device;        // in the tensor's own type
    size_t count, bytes;
};

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 33) / 2147483648.0;
}

static void round_values(struct values *v, enum vks_dtype dtype)
{
    float *f = v->device;
    for (size_t i = 0; i < v->count; i++) {
        const float value = (float)v->reference[i];
        if (dtype == VKS_F16 || dtype == VKS_BF16) {
            const uint16_t bits = dtype == VKS_F16 ? vks_f16_from_f32(value) : vks_bf16_from_f32(value);
            memcpy((char *)v->device + 2 * i, &bits, 2);
            v->reference[i] = dtype == VKS_F16 ? vks_f32_from_f16(bits) : vks_f32_from_bf16(bits);
        } else if (dtype == VKS_I32) {
            ((int32_t *)v->device)[i] = (int32_t)v->reference[i];
        } else {
            f[i] = value;
            v->reference[i] = value;
        }
    }
}

static bool make_values(struct values *v, const struct vks_trial_input *input, uint64_t *state)
{
    v->count = 1;
    for (uint32_t i = 0; i < input->rank; i++)
        v->count *= input->shape[i];
    v->bytes = v->count * vks_dtype_size(input->dtype);
    v->reference = malloc(v->count * sizeof(*v->reference));
    v->device = calloc(v->count, 4);
    if (!v->reference || !v->device)
        return false;
    for (size_t i = 0; i < v->count; i++) {
        const double u = uniform(state);
        v->reference[i] = input->dtype == VKS_I32 ? floor(u * input->below) : input->positive ? u + 0.5 : 2 * u - 1;
    }
    round_values(v, input->dtype);
    return true;
}

// max |a - b| / max |b|; infinite when a value is none.
static double compare(const float *a, const double *b, size_t count)
{
    double most = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(a[i]))
            return INFINITY;
        most = fmax(most, fabs(a[i] - b[i]));
        largest = fmax(largest, fabs(b[i]));
    }
    return largest > 0 ? most / largest : most;
}

struct run {
    const struct vks_trial *trial;
    struct values in[INPUTS], dy;
    struct vks_tensor *tensors[INPUTS], *y, *seed, *dx[INPUTS];
    uint32_t count;
    uint64_t state;
};

static bool build(struct run *run, struct vks_graph *graph)
{
    struct vks_tensor *wanted[INPUTS], *gradients[INPUTS] = {NULL};
    uint32_t which[INPUTS], wanted_count = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        const struct vks_trial_input *input = &run->trial->inputs[i];
        run->tensors[i] = vks_graph_input(graph, "input", input->dtype, input->rank, input->shape, false);
    }
    run->y = run->trial->build(graph, run->tensors);
    if (!run->y)
        return false;
    run->y->keep = true;
    if (!run->trial->gradients)
        return true;
    struct vks_trial_input like = {.rank = run->y->rank};
    memcpy(like.shape, run->y->shape, sizeof(like.shape));
    run->seed = vks_graph_input(graph, "dy", VKS_F32, run->y->rank, run->y->shape, false);
    if (!run->seed || !make_values(&run->dy, &like, &run->state))
        return false;
    for (uint32_t i = 0; i < run->count; i++)
        if (run->trial->gradients >> i & 1) {
            which[wanted_count] = i;
            wanted[wanted_count++] = run->tensors[i];
        }
    const struct vks_backward backward = {
        .outputs = &run->y, .output_gradients = &run->seed, .output_count = 1,
        .wanted = wanted, .gradients = gradients, .wanted_count = wanted_count};
    if (!vks_graph_backward(graph, &backward))
        return false;
    for (uint32_t k = 0; k < wanted_count; k++) {
        if (!gradients[k])
            return false;
        gradients[k]->keep = true;
        run->dx[which[k]] = gradients[k];
    }
    return true;
}

// The derivative along a direction by the reference, and by the device's gradient.
static double gradient_error(struct run *run, const float *dx, uint32_t input, double *out)
{
    const double h = 1e-4;
    struct values *x = &run->in[input];
    double device = 0, reference = 0, size = 0;
    double *kept = malloc(x->count * sizeof(*kept)), *direction = malloc(x->count * sizeof(*direction));
    if (!kept || !direction) {
        free(kept);
        free(direction);
        return INFINITY;
    }
    memcpy(kept, x->reference, x->count * sizeof(*kept));
    for (size_t i = 0; i < x->count; i++) {
        direction[i] = 2 * uniform(&run->state) - 1;
        device += dx[i] * direction[i];
        size += (double)dx[i] * dx[i];
    }
    for (int side = -1; side <= 1; side += 2) {
        for (size_t i = 0; i < x->count; i++)
            x->reference[i] = kept[i] + side * h * direction[i];
        double *const in[INPUTS] = {run->in[0].reference, run->in[1].reference, run->in[2].reference,
                                    run->in[3].reference};
        run->trial->reference(in, out);
        for (size_t i = 0; i < run->dy.count; i++)
            reference += side * out[i] * run->dy.reference[i] / (2 * h);
    }
    memcpy(x->reference, kept, x->count * sizeof(*kept));
    free(kept);
    free(direction);
    return fabs(device - reference) / (sqrt(size) + 1e-12);
}

// Runs what was built; the worse of output and gradient errors, in units of the tolerance.
static double measure(struct run *run, struct vks_exec *exec, double *error)
{
    const size_t count = (size_t)vks_tensor_elements(run->y);
    size_t most = count;
    for (uint32_t i = 0; i < run->count; i++)
        most = run->in[i].count > most ? run->in[i].count : most;
    float *got = malloc(most * sizeof(*got));
    double *want = malloc(count * sizeof(*want)), worst = INFINITY;
    bool ok = got && want;
    for (uint32_t i = 0; i < run->count && ok; i++)
        ok = vks_exec_write(exec, run->tensors[i], run->in[i].device, run->in[i].bytes);
    if (ok && run->seed)
        ok = vks_exec_write(exec, run->seed, run->dy.device, run->dy.bytes);
    if (ok && vks_exec_run(exec, NULL) && vks_exec_read(exec, run->y, got, count * sizeof(*got))) {
        double *const in[INPUTS] = {run->in[0].reference, run->in[1].reference, run->in[2].reference,
                                    run->in[3].reference};
        run->trial->reference(in, want);
        *error = compare(got, want, count);
        worst = *error / run->trial->tolerance;
        for (uint32_t i = 0; i < run->count; i++)
            if (run->dx[i]) {
                const bool read = vks_exec_read(exec, run->dx[i], got, run->in[i].count * sizeof(*got));
                const double own = read ? gradient_error(run, got, i, want) : INFINITY;
                *error = fmax(*error, own);
                worst = fmax(worst, own / 2e-4);
            }
    }
    free(got);
    free(want);
    return worst;
}

static bool run_trial(struct vks_gpu *gpu, const struct vks_trial *trial, double *error)
{
    struct run run = {.trial = trial, .state = 7};
    struct vks_graph graph;
    struct vks_exec *exec = NULL;
    double worst = INFINITY;
    bool ok = true;
    *error = INFINITY;
    while (run.count < INPUTS && trial->inputs[run.count].rank && ok) {
        ok = make_values(&run.in[run.count], &trial->inputs[run.count], &run.state);
        run.count++;
    }
    vks_graph_init(&graph, vks_gpu_log(gpu));
    if (ok && build(&run, &graph) && (exec = vks_exec_create(&graph, &(struct vks_exec_params){.gpu = gpu})))
        worst = measure(&run, exec, error);
    vks_exec_destroy(&exec);
    vks_graph_finish(&graph);
    for (uint32_t i = 0; i < INPUTS; i++) {
        free(run.in[i].reference);
        free(run.in[i].device);
    }
    free(run.dy.reference);
    free(run.dy.device);
    return worst <= 1;
}

bool vksteer_selftest(vksteer_session *session, void (*line)(void *priv, const char *family, bool ok, double error),
                      void *priv)
{
    bool all = true;
    for (size_t i = 0; i < vks_trial_count; i++) {
        double error;
        const bool ok = run_trial(session->gpu, &vks_trials[i], &error);
        line(priv, vks_trials[i].family, ok, error);
        all &= ok;
    }
    const struct vks_state_trial {
        const char *family;
        bool (*run)(struct vks_gpu *gpu, double *error);
    } others[] = {
        {"affine, pool", vks_selftest_steering},
        {"sort", vks_selftest_sort},
        {"wasserstein", vks_selftest_wasserstein},
        {"sum_rows, adam, prox", vks_selftest_adam},
        {"sgd, group prox", vks_selftest_sgd},
        {"cache_rows, attention", vks_selftest_cache},
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        double error = INFINITY;
        const bool ok = others[i].run(session->gpu, &error);
        line(priv, others[i].family, ok, error);
        all &= ok;
    }
    return all;
}
