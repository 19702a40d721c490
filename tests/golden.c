#include "golden.h"

#include <math.h>
#include <stdlib.h>

#include "base/text.h"

static uint64_t stride_for(uint64_t count)
{
    if (count <= GOLDEN_LIMIT)
        return 1;
    for (uint64_t step = (count + GOLDEN_LIMIT - 1) / GOLDEN_LIMIT;; step++) {
        bool prime = step >= 2 && count % step;
        for (uint64_t i = 2; i < step; i++)
            prime = prime && step % i;
        if (prime)
            return step;
    }
}

void golden_add_probe(struct golden_part *part, const char *name, struct vks_tensor *tensor)
{
    if (!tensor || !vks_grow(&part->probes, &part->probe_capacity, part->probe_count, sizeof(*part->probes)))
        return;
    tensor->keep = true;
    part->probes[part->probe_count++] = (struct golden_probe){
        .name = name, .tensor = tensor, .want = vks_safetensors_find(part->expected, name)};
}

static struct vks_tensor *hook(void *priv, struct vks_graph *graph, const struct vks_site *site,
                               struct vks_tensor *value)
{
    (void)graph;
    golden_add_probe(priv, site->name, value);
    return value;
}

uint64_t golden_read_thin(struct golden_part *part, const struct vks_tensor *tensor, float *out)
{
    const uint64_t count = vks_tensor_elements(tensor), stride = stride_for(count);
    if (!vks_exec_read(part->exec, tensor, part->scratch, count * sizeof(float)))
        return 0;
    const uint64_t rows = part->mask ? vks_tensor_rows(tensor) : 0, channels = vks_tensor_channels(tensor);
    for (uint64_t i = 0; i < rows; i++)
        if (!part->mask[i])
            memset(part->scratch + i * channels, 0, channels * sizeof(float));
    uint64_t kept = 0;
    for (uint64_t i = 0; i < count; i += stride)
        out[kept++] = part->scratch[i];
    return kept;
}

double golden_distance(const float *a, const float *b, uint64_t count)
{
    double most = 0, scale = 0;
    for (uint64_t i = 0; i < count; i++) {
        const double gap = fabs((double)a[i] - b[i]);
        most = gap > most || isnan(gap) ? gap : most;
        scale = fabs(b[i]) > scale ? fabs(b[i]) : scale;
        if (isnan(gap))
            return INFINITY;
    }
    return scale > 0 ? most / scale : most;
}

const struct vks_st_tensor *golden_need(struct test *t, const struct vks_safetensors *file, const char *name)
{
    const struct vks_st_tensor *tensor = vks_safetensors_find(file, name);
    EXPECT(t, tensor, "%s holds no %s", file->path, name);
    return tensor;
}

struct vks_tensor *golden_input_like(struct golden_part *part, const char *name, enum vks_dtype dtype)
{
    const struct vks_st_tensor *tensor = golden_need(part->t, part->expected, name);
    uint32_t shape[VKS_MAX_RANK] = {0};
    if (!tensor || tensor->rank > VKS_MAX_RANK)
        return NULL;
    for (int i = 0; i < tensor->rank; i++)
        shape[i] = (uint32_t)tensor->shape[i];
    return vks_graph_input(&part->graph, name, dtype, (uint32_t)tensor->rank, shape, false);
}

bool golden_write_like(struct golden_part *part, const struct vks_tensor *input, const char *name)
{
    const struct vks_st_tensor *tensor = golden_need(part->t, part->expected, name);
    return tensor && vks_exec_write(part->exec, input, tensor->data, tensor->size);
}

bool golden_start(struct golden_part *part)
{
    uint64_t most = 1;
    for (size_t i = 0; i < part->probe_count; i++) {
        const uint64_t count = vks_tensor_elements(part->probes[i].tensor);
        most = count > most ? count : most;
        part->probes[i].base = malloc((GOLDEN_LIMIT + 1) * sizeof(float));
    }
    part->scratch = malloc(most * sizeof(float));
    EXPECT(part->t, !part->graph.failed, "the graph of %s failed", part->name);
    if (part->t->bad)
        return false;
    part->exec = vks_exec_create(&part->graph, &(struct vks_exec_params){.gpu = part->gpu});
    EXPECT(part->t, part->exec, "%s cannot run", part->name);
    return part->exec != NULL;
}

void golden_finish(struct golden_part *part)
{
    vks_exec_destroy(&part->exec);
    vks_graph_finish(&part->graph);
    for (size_t i = 0; i < part->probe_count; i++)
        free(part->probes[i].base);
    free(part->probes);
    free(part->scratch);
}

static bool is_module(const struct golden_part *part, const char *name)
{
    if (part->also && !strcmp(name, part->also))
        return true;
    return !strncmp(name, part->prefix, strlen(part->prefix)) && strncmp(name, "input.", 6) != 0 &&
           strncmp(name, "output.", 7) != 0 && strncmp(name, "mutation.", 9) != 0;
}

// Whether a parameter belongs to this half of the autoencoder; everything does elsewhere.
static bool is_of(const struct golden_part *part, const char *parameter)
{
    static const char vae[] = "vae.";
    const char *half = part->prefix + sizeof(vae) - 1, *also = part->also ? part->also + sizeof(vae) - 1 : half;
    return strncmp(part->prefix, vae, sizeof(vae) - 1) != 0 || !strncmp(parameter, half, strlen(half)) ||
           !strncmp(parameter, also, strlen(also));
}

void golden_compare(struct golden_part *part)
{
    struct test *t = part->t;
    EXPECT(t, vks_exec_run(part->exec, NULL), "%s did not run", part->name);
    size_t sites = 0, modules = 0, far = 0;
    for (size_t i = 0; i < part->probe_count && !t->bad; i++) {
        struct golden_probe *probe = &part->probes[i];
        EXPECT(t, probe->want, "PyTorch has no module %s", probe->name);
        if (!probe->want)
            return;
        const uint64_t count = golden_read_thin(part, probe->tensor, probe->base);
        EXPECT(t, count == probe->want->count, "%s: %llu values, PyTorch has %llu", probe->name,
               (unsigned long long)count, (unsigned long long)probe->want->count);
        if (t->bad)
            return;
        const double gap = golden_distance(probe->base, (const float *)(const void *)probe->want->data, count);
        if (gap > part->worst || !part->worst_name) {
            part->worst = gap;
            part->worst_name = probe->name;
        }
        if (!(gap <= GOLDEN_TOLERANCE) && ++far == 1)
            printf("    %s is off by %.3g\n", probe->name, gap);
        sites += strncmp(probe->name, "output.", 7) != 0;
    }
    for (size_t i = 0; i < part->expected->tensor_count; i++)
        modules += is_module(part, part->expected->tensors[i].name);
    printf("    %s: %zu sites, worst %.2g at %s\n", part->name, sites, part->worst, part->worst_name);
    EXPECT(t, !far, "%zu of %zu outputs of %s are off by more than %g", far, part->probe_count, part->name,
           GOLDEN_TOLERANCE);
    EXPECT(t, sites == modules, "%zu sites of %s, PyTorch has %zu", sites, part->name, modules);
}

double golden_moved(struct golden_part *part)
{
    float now[GOLDEN_LIMIT + 1];
    double most = 0;
    if (!vks_exec_run(part->exec, NULL))
        return NAN;
    for (size_t i = 0; i < part->probe_count && most < 20 * GOLDEN_TOLERANCE; i++) {
        const uint64_t count = golden_read_thin(part, part->probes[i].tensor, now);
        const double gap = golden_distance(now, part->probes[i].base, count);
        most = gap > most ? gap : most;
    }
    return most;
}

void golden_expect_moved(struct golden_part *part, const char *what)
{
    const double gap = golden_moved(part);
    EXPECT(part->t, gap >= 20 * GOLDEN_TOLERANCE, "%s moves no output of %s by more than %.2g", what, part->name,
           gap);
}

// Fills a parameter with zeros or ones (1-D), runs, and puts the old bytes back.
static void mutate(struct golden_part *part, const char *name, const struct vks_weight_place *place, bool ones)
{
    unsigned char *old = malloc(place->size);
    float *new = calloc(place->size, 1);
    for (uint64_t i = 0; ones && i < place->size / sizeof(float); i++)
        new[i] = 1;
    if (old && new && vks_storage_read(place->storage, place->offset, old, place->size) &&
        vks_storage_write(place->storage, place->offset, new, place->size)) {
        golden_expect_moved(part, name);
        EXPECT(part->t, vks_storage_write(place->storage, place->offset, old, place->size), "cannot restore %s",
               name);
    } else {
        EXPECT(part->t, false, "cannot alter %s", name);
    }
    free(old);
    free(new);
}

void golden_mutations(struct golden_part *part)
{
    size_t count = 0;
    for (size_t i = 0; i < vks_weights_count(part->weights) && !part->t->bad; i++) {
        const struct vks_weight *weight = vks_weights_at(part->weights, i);
        const bool position = strstr(weight->name, "position_embedding.weight") || strstr(weight->name, "wpe.weight");
        struct vks_weight_place place;
        if ((weight->rank != 1 && !position) || !vks_weights_place(part->weights, weight->name, &place))
            continue;
        if (!is_of(part, weight->name))
            continue;
        mutate(part, weight->name, &place,
               weight->rank == 1 && !vks_ends_with(weight->name, ".bias") && !part->plus_one);
        count++;
    }
    if (!part->t->bad)
        EXPECT(part->t, golden_moved(part) == 0, "%s does not give the same bits after the mutations", part->name);
    printf("    %s: %zu mutations\n", part->name, count);
    EXPECT(part->t, count > 4, "too few parameters of %s were altered", part->name);
}

void golden_begin(struct golden_part *part, struct test *t, struct vks_gpu *gpu, struct vks_safetensors *expected,
                  const char *prefix)
{
    *part = (struct golden_part){.t = t, .gpu = gpu, .name = prefix, .prefix = prefix, .expected = expected};
    vks_graph_init(&part->graph, &t->log);
    part->graph.hook = hook;
    part->graph.hook_priv = part;
}
