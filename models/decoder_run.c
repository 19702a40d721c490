#include "models/decoder_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "exec/exec_cache.h"

#define MOST_TOKENS 128u  // of a text in one run
#define LEAST_KEYS 64u    // and what caches are rounded up to
#define KEPT 6            // graphs

// What goes with a graph for runs of so many tokens of each text over the first so many rows of the caches.
struct sized_io {
    struct vks_decoder_io io;
    int32_t *written;          // what stands in the inputs: ids, positions, masks, rows
};

struct vks_decoder_run {
    struct vks_decoder *decoder;
    struct vks_decoder_run_params params;
    struct vks_decoder_cache *cache;
    uint32_t *lengths;         // (batch): tokens of each text
    uint32_t *done, *take;     // (batch): of one call, tokens that are in, and that the next run takes
    int32_t *inputs;           // as sized_io's `written`, of the next run
    float *logits;             // (batch, V)
    struct vks_exec_cache graphs;  // by tokens and rows
    bool tainted;              // caches may hold what is no number, which not even masks keep from the sums
};

static bool build(void *priv, struct vks_graph *graph, const uint32_t shape[2], void **out)
{
    struct vks_decoder_run *run = priv;
    const struct vks_decoder_params params = {.batch = run->params.batch, .length = shape[0], .keys = shape[1],
                                              .head = VKS_HEAD_ONE, .cache = run->cache};
    const size_t bytes = params.batch * (3 * (size_t)params.length + 1) * sizeof(int32_t);
    struct sized_io *sized = *out = vks_arena_alloc(&graph->arena, sizeof(*sized));
    if (!sized || !(sized->written = vks_arena_alloc(&graph->arena, bytes)))
        return vks_fail(run->decoder->log, VKS_NO_MEMORY);
    memset(sized->written, 0xff, bytes);
    if (run->params.prepare)
        run->params.prepare(run->params.priv, graph);
    if (!vks_decoder_build(run->decoder, graph, &params, &sized->io))
        return false;
    sized->io.logits->keep = true;
    return true;
}

struct vks_decoder_run *vks_decoder_run_create(struct vks_decoder *decoder,
                                               const struct vks_decoder_run_params *params)
{
    struct vks_decoder_run *run = calloc(1, sizeof(*run));
    const size_t batch = params->batch;
    if (!run)
        return vks_fail_null(decoder->log, VKS_NO_MEMORY);
    run->decoder = decoder;
    run->params = *params;
    vks_exec_cache_init(&run->graphs, &(struct vks_exec_cache_params){
        .exec = {.gpu = params->gpu}, .log = decoder->log, .build = build, .priv = run, .most = KEPT});
    run->lengths = calloc(batch, sizeof(*run->lengths));
    run->done = calloc(batch, sizeof(*run->done));
    run->take = calloc(batch, sizeof(*run->take));
    run->inputs = calloc(batch * (3 * MOST_TOKENS + 1), sizeof(*run->inputs));
    run->logits = calloc(batch * decoder->config.vocabulary, sizeof(*run->logits));
    if (!run->lengths || !run->done || !run->take || !run->inputs || !run->logits) {
        vks_fail(decoder->log, VKS_NO_MEMORY);
        vks_decoder_run_destroy(&run);
    }
    return run;
}

void vks_decoder_run_destroy(struct vks_decoder_run **address)
{
    struct vks_decoder_run *run = *address;
    if (!run)
        return;
    *address = NULL;
    vks_exec_cache_finish(&run->graphs);
    vks_decoder_cache_destroy(&run->cache);
    free(run->lengths);
    free(run->done);
    free(run->take);
    free(run->inputs);
    free(run->logits);
    free(run);
}

bool vks_decoder_run_begin(struct vks_decoder_run *run, uint32_t tokens)
{
    const uint32_t context = run->decoder->config.context, batch = run->params.batch;
    memset(run->lengths, 0, batch * sizeof(*run->lengths));
    if (tokens == 0 || tokens > context)
        return vks_fail(run->decoder->log, "%u tokens do not fit the model's context of %u: ask for fewer", tokens,
                        context);
    if (run->cache && tokens <= run->cache->rows && !run->tainted)
        return true;
    run->tainted = false;
    vks_exec_cache_drop(&run->graphs);
    vks_decoder_cache_destroy(&run->cache);
    run->cache = vks_decoder_cache_create(run->decoder, run->params.gpu, batch,
                                          (tokens + LEAST_KEYS - 1) / LEAST_KEYS * LEAST_KEYS,
                                          run->params.half_cache ? VKS_F16 : VKS_F32);
    return run->cache != NULL;
}

// Writes an input from the run's inputs, from word `first` on, unless it stands there already.
static bool put(struct vks_decoder_run *run, const struct vks_exec_entry *graph, const struct vks_tensor *tensor,
                size_t first)
{
    const struct sized_io *sized = graph->io;
    const size_t bytes = (size_t)vks_tensor_elements(tensor) * sizeof(*run->inputs);
    if (memcmp(sized->written + first, run->inputs + first, bytes) == 0)
        return true;
    memcpy(sized->written + first, run->inputs + first, bytes);
    return vks_exec_write(graph->exec, tensor, run->inputs + first, bytes);
}

// The inputs of one run: take[b] tokens of text b from ids[b] on, then padding, whose keys the next tokens overwrite.
static bool feed(struct vks_decoder_run *run, const struct vks_exec_entry *graph, const int32_t *const ids[],
                 const uint32_t counts[])
{
    const struct vks_decoder_io *io = &((const struct sized_io *)graph->io)->io;
    const uint32_t length = graph->shape[0];
    const struct vks_decoder_config *config = &run->decoder->config;
    const size_t cells = (size_t)run->params.batch * length;
    int32_t *words = run->inputs, *positions = words + cells, *row = words + 3 * cells;
    float *mask = (float *)(void *)(words + 2 * cells);
    for (uint32_t b = 0; b < run->params.batch; b++) {
        const bool ends = run->take[b] && run->done[b] + run->take[b] == counts[b];
        row[b] = run->take[b] ? (int32_t)run->take[b] - 1 : 0;
        for (uint32_t t = 0; t < length; t++) {
            const size_t at = (size_t)b * length + t;
            const uint32_t position = run->lengths[b] + t;
            words[at] = t < run->take[b] ? ids[b][run->done[b] + t] : 0;
            positions[at] = (int32_t)(position < config->context ? position : config->context - 1);
            mask[at] = ends && t < run->take[b];
            if (words[at] < 0 || (uint32_t)words[at] >= config->vocabulary)
                return vks_fail(run->decoder->log, "token %d is not in the model's vocabulary of %u: the tokenizer "
                                "is of another model", (int)words[at], config->vocabulary);
        }
    }
    return put(run, graph, io->ids, 0) && put(run, graph, io->positions, cells) &&
           put(run, graph, io->mask, 2 * cells) && put(run, graph, io->row, 3 * cells);
}

static uint32_t round_up(uint32_t count, uint32_t least, uint32_t most)
{
    while (least < count)
        least *= 2;
    return least < most ? least : most;
}

// Takes the next tokens of every text; false in *more when all are in.
static bool run_some(struct vks_decoder_run *run, const int32_t *const ids[], const uint32_t counts[],
                     const uint32_t *step, float *logits, bool *more)
{
    const uint32_t batch = run->params.batch, vocabulary = run->decoder->config.vocabulary;
    const uint32_t most = run->cache->rows < MOST_TOKENS ? run->cache->rows : MOST_TOKENS;
    uint32_t left = 0, end = 0;
    bool reads = false;
    for (uint32_t b = 0; b < batch; b++)
        left = counts[b] - run->done[b] > left ? counts[b] - run->done[b] : left;
    *more = left > 0;
    if (!left)
        return true;
    const uint32_t length = left == 1 ? 1 : round_up(left, 16, most);
    for (uint32_t b = 0; b < batch; b++) {
        const uint32_t rest = counts[b] - run->done[b];
        run->take[b] = rest < length ? rest : length;
        end = run->take[b] && run->lengths[b] + run->take[b] > end ? run->lengths[b] + run->take[b] : end;
        reads = reads || (rest && rest == run->take[b]);
    }
    end = end > length ? end : length;
    const uint32_t shape[] = {length, round_up(end, LEAST_KEYS, run->cache->rows)};
    const struct vks_exec_entry *graph = vks_exec_cache_get(&run->graphs, shape);
    if (!graph || !feed(run, graph, ids, counts) || !vks_exec_run(graph->exec, step))
        return false;
    const struct vks_tensor *made = ((const struct sized_io *)graph->io)->io.logits;
    if (reads && !vks_exec_read(graph->exec, made, run->logits, (uint64_t)batch * vocabulary * sizeof(float)))
        return false;
    for (size_t i = 0; i < (size_t)batch * vocabulary && reads && !run->tainted; i++)
        run->tainted = !isfinite(run->logits[i]);
    for (uint32_t b = 0; b < batch; b++) {
        run->lengths[b] += run->take[b];
        run->done[b] += run->take[b];
        if (run->take[b] && run->done[b] == counts[b])
            memcpy(logits + (size_t)b * vocabulary, run->logits + (size_t)b * vocabulary, vocabulary * sizeof(float));
    }
    return true;
}

bool vks_decoder_run_add(struct vks_decoder_run *run, const int32_t *const ids[], const uint32_t counts[],
                         const uint32_t step[VKS_STEP_WORDS], float *logits)
{
    const uint32_t batch = run->params.batch;
    for (uint32_t b = 0; b < batch; b++)
        if (!run->cache || counts[b] > run->cache->rows - run->lengths[b] ||
            counts[b] > run->decoder->config.context - run->lengths[b])
            return vks_fail(run->decoder->log, "internal: a text of more tokens than there is room for");
    memset(run->done, 0, batch * sizeof(*run->done));
    for (bool more = true; more;)
        if (!run_some(run, ids, counts, step, logits, &more))
            return false;
    return true;
}

uint32_t vks_decoder_run_graphs(const struct vks_decoder_run *run)
{
    return run->graphs.made;
}
