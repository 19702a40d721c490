// Recorded graphs of several shapes, of which the last used are kept: what changes from run to run, inputs and step
// words (so the strengths of steerings too), they read from buffers, and so run again as they are.
//
//     vks_exec_cache_init(&cache, &(struct vks_exec_cache_params){
//         .exec = {.gpu = gpu}, .log = log, .build = build, .priv = mine, .most = 8});
//     const struct vks_exec_entry *entry = vks_exec_cache_get(&cache, (const uint32_t[]){batch, length});
//     struct mine_io *io = entry->io;                     // as `build` left it
//     vks_exec_write(entry->exec, io->ids, ...);
#ifndef VKS_EXEC_EXEC_CACHE_H
#define VKS_EXEC_EXEC_CACHE_H

#include "exec/exec.h"

struct vks_exec_entry {
    uint32_t shape[2];
    struct vks_exec *exec;
    void *io;
    struct vks_graph graph;    // private
    uint64_t used;             // private: when last
};

struct vks_exec_cache_params {
    struct vks_exec_params exec;   // of every graph; make_room is the cache's own
    const struct vks_log *log;
    // Adds what runs at a shape to an empty graph; *io, which may lie in the graph's arena, is for later calls.
    bool (*build)(void *priv, struct vks_graph *graph, const uint32_t shape[2], void **io);
    void *priv;
    size_t most;                   // graphs, 1 at least
    // They work in the memory of one: the largest, by the product of a shape's numbers other than 0. So a run of one
    // loses all that the others hold, inputs too, and a graph larger than all that are there takes their place.
    bool share;
};

// In the caller's memory; zeroed, there is nothing to finish.
struct vks_exec_cache {
    struct vks_exec_cache_params params;   // private, as is all but `made`
    struct vks_exec_entry **entries;       // if they share, the first lends its memory
    size_t count, capacity;
    uint64_t clock;
    uint32_t made;                         // graphs so far
};

void vks_exec_cache_init(struct vks_exec_cache *cache, const struct vks_exec_cache_params *params);
void vks_exec_cache_finish(struct vks_exec_cache *cache);
// The graph of a shape, made unless it is there, for which others may go: of more than `most`, and where memory is
// short as many as it takes, those not used for longest first. Stays until the next call. NULL after one message.
const struct vks_exec_entry *vks_exec_cache_get(struct vks_exec_cache *cache, const uint32_t shape[2]);
// Drops all graphs.
void vks_exec_cache_drop(struct vks_exec_cache *cache);

#endif
