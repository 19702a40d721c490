// A model's graph against what PyTorch recorded (golden/record.py): every site, and what mutations do.
#ifndef VKS_TESTS_GOLDEN_H
#define VKS_TESTS_GOLDEN_H

#include <stdint.h>

#include "exec/exec.h"
#include "io/safetensors.h"
#include "models/weights.h"
#include "test.h"

#define GOLDEN_TOLERANCE 1e-3
#define GOLDEN_LIMIT 96  // record.py

// A compared output: a site of the graph, or the pooled text.
struct golden_probe {
    const char *name;
    struct vks_tensor *tensor;
    const struct vks_st_tensor *want;
    float *base;                  // what the unaltered graph gave, thinned
};

// A part of a fixture: its graph, ready to run.
struct golden_part {
    struct test *t;
    struct vks_gpu *gpu;
    const char *name;             // in messages: the prefix, unless it is set
    const char *prefix;           // of the sites
    const char *also;             // one more site of the part, and module of parameters; or NULL
    struct vks_safetensors *expected;
    struct vks_graph graph;
    struct vks_exec *exec;
    struct vks_weights *weights;
    struct golden_probe *probes;
    size_t probe_count, probe_capacity;
    float *scratch;               // of the largest output
    struct vks_tensor *inputs[3];
    const float *mask;            // of the rows of every output: those of 0 count as zeros; NULL: all count
    bool plus_one;                // norms hold their gain less one
    double worst;
    const char *worst_name;
};

// Makes the part ready for a graph to be built, whose sites become probes; `expected` must outlive it.
void golden_begin(struct golden_part *part, struct test *t, struct vks_gpu *gpu, struct vks_safetensors *expected,
                  const char *prefix);
void golden_finish(struct golden_part *part);
void golden_add_probe(struct golden_part *part, const char *name, struct vks_tensor *tensor);
// Plans and records the graph that was built.
bool golden_start(struct golden_part *part);

// A tensor that must be there.
const struct vks_st_tensor *golden_need(struct test *t, const struct vks_safetensors *file, const char *name);
// An input of the shape of a recorded tensor, and that tensor written into it.
struct vks_tensor *golden_input_like(struct golden_part *part, const char *name, enum vks_dtype dtype);
bool golden_write_like(struct golden_part *part, const struct vks_tensor *input, const char *name);
// Reads a tensor, thinned as record.py does it into `out`; returns how many values.
uint64_t golden_read_thin(struct golden_part *part, const struct vks_tensor *tensor, float *out);
// max |a - b| / max |b|
double golden_distance(const float *a, const float *b, uint64_t count);

// Runs once and compares every probe; the sites must be PyTorch's modules, no more and no fewer.
void golden_compare(struct golden_part *part);
// How far the outputs are from those of the unaltered graph: the largest distance at any of them.
double golden_moved(struct golden_part *part);
// Fails unless that is at least 20 times the tolerance.
void golden_expect_moved(struct golden_part *part, const char *what);
// Every bias zeroed, every norm's gain set to one, every position code to zero, one at a time: each must show.
void golden_mutations(struct golden_part *part);

#endif
