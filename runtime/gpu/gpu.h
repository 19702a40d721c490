// A Vulkan device without Vulkan's types: choice, limits, storage, pipelines, command streams.
#ifndef VKS_GPU_GPU_H
#define VKS_GPU_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "gpu/kernels.h"

struct vks_gpu;
struct vks_storage;

// Which products have their operands laid out anew (ops/panels.h).
enum vks_panel_use {
    VKS_PANELS_NEVER,
    VKS_PANELS_PAYING,
    VKS_PANELS_ALWAYS,  // for tests, whose products are small
};

// What kernels and planner may count on. `--limits phone` and tests (vks_exec_params) lower them; nothing raises
// them.
struct vks_gpu_limits {
    uint64_t max_range;         // bytes of one storage-buffer binding
    uint64_t max_alloc;         // bytes of one device allocation
    uint32_t offset_align;      // bytes, a power of two
    uint32_t max_invocations;   // of one workgroup
    uint32_t max_shared;        // bytes of shared memory of one workgroup
    uint32_t subgroup_size;     // 0: not usable by kernels that count on it
    uint32_t max_groups;        // workgroups an axis
    bool wide_loads;            // kernels load 64 bits at a time; changes no bit of a result
    bool texels;                // kernels load what they only read as texels of 128 bits; each changes no bit either,
                                // but wide heads walk with them (ops/attention_walk.c)
    bool addresses;             // kernels take device addresses in place of descriptors, load 64 bits, and single bytes
    bool dear_lanes;            // handing a lane's value to all takes longer than its load by all lanes
    enum vks_panel_use panels;  // operands of products are laid out anew (ops/panels.h); changes no bit
    bool winograd;              // 3 x 3 convolutions take Winograd's way: fewer products are worth more loads
    bool is_cpu;                // barriers and per-lane loads are dear, uniform loads cheap
    double dispatch_seconds;    // longest single submission the driver should see
    uint8_t matmul[3];          // overrides of ops/matmul.h's table, by use: 1 + the variant; 0: the table's choice
};

struct vks_gpu_info {
    char name[256];
    char driver[256];
    uint32_t index, vendor, device_id, api_version, driver_version;
    const char *type;           // "discrete", "integrated", "virtual", "cpu", "other"
    bool is_cpu;
    uint32_t llvmpipe;          // Mesa's major version where the driver is its CPU driver; otherwise 0
    uint64_t memory;            // bytes that may be allocated now
    bool fp16, int8, int64, storage16, storage8, cooperative_matrix, subgroup_ballot, unified;
};

struct vks_gpu_params {
    const struct vks_log *log;
    const char *device;         // number or part of a name; NULL: a discrete card, then integrated, then any
    bool phone_limits;          // the floor of the design whatever the device offers
    uint64_t memory;            // bytes to use at most; 0: what the driver reports, or 80 % of free memory on a CPU
    bool validate;              // validation and synchronization layers; their messages are counted
    bool own_process;           // environment variables that drivers read may be set (see vks_os_set_env)
};

// Lists the devices into `infos` (at most `capacity`); returns their number, or -1 when Vulkan cannot be loaded.
int vks_gpu_list(const struct vks_log *log, struct vks_gpu_info infos[], int capacity);

// The environment variable VKSTEER_DISABLE, words separated by commas, switches fast paths off: `subgroup` (kernels
// that count lanes), `hostmap` (the host writes into device memory: without it everything is copied through a stage,
// as on graphics cards), `cpu` (kernels made for CPU drivers: without it those of graphics cards run), `int64` (loads
// of 64 bits, and with them `texel` and `address`), `texel` (loads from texel buffers), `alike` (products whose lanes
// all load the same texels), `winograd` (3 x 3 convolutions by Winograd's minimal filtering, on drivers that run on a
// CPU; the last bits of results differ with and without), `panels` (operands of products in panels), `address` (device
// addresses: without it kernels take descriptors, which alone synchronization validation sees), `touch` (kernels that
// take addresses touch what they want next), `tickets` (long workgroups of products take their numbers from a counter,
// so that a slow thread of Mesa's CPU driver holds up the others by one of them, not by its share; changes no bit),
// `avx512` (vectors of 512 bits in that
// driver). VKSTEER_ENABLE=texel, winograd, address and touch take these also where the driver gains nothing by them, or
// nobody has measured it; addresses go before texels; `panels` and `tickets` take them on any CPU driver whatever they
// cost.
struct vks_gpu *vks_gpu_create(const struct vks_gpu_params *params);
void vks_gpu_destroy(struct vks_gpu **gpu);
const struct vks_gpu_limits *vks_gpu_limits(const struct vks_gpu *gpu);
const struct vks_gpu_info *vks_gpu_info(const struct vks_gpu *gpu);
const struct vks_log *vks_gpu_log(const struct vks_gpu *gpu);
// Overrides the choice of kernels for graphs planned from now on (see vks_gpu_limits).
void vks_gpu_tune(struct vks_gpu *gpu, const uint8_t matmul[3]);
// Messages of the validation layers so far.
unsigned vks_gpu_validation_messages(const struct vks_gpu *gpu);
// Bytes of device memory allocated now, and at most so far.
uint64_t vks_gpu_allocated(const struct vks_gpu *gpu, uint64_t *peak);

// Bytes that storages may still take: what is left of `budget` (params->memory, or what the device has to give), and
// the gaps between storages.
uint64_t vks_gpu_available(const struct vks_gpu *gpu, uint64_t *budget);

// Floating-point operations a second that the device is taken to do when work is cut into submissions: pessimistic at
// first, then the best of the runs that took long enough to tell.
double vks_gpu_rate(const struct vks_gpu *gpu);
void vks_gpu_learn_rate(struct vks_gpu *gpu, double flop, double seconds);

// Device memory of one buffer; `size` is rounded up to the offset alignment. Storage may be larger than max_range:
// operators bind stretches of it.
struct vks_storage *vks_storage_create(struct vks_gpu *gpu, uint64_t size);
void vks_storage_destroy(struct vks_storage **storage);
uint64_t vks_storage_size(const struct vks_storage *storage);
// Synchronous copies between host and storage, in bytes; false after device loss or out of range. A fill takes
// offsets and sizes of whole words.
bool vks_storage_write(struct vks_storage *storage, uint64_t offset, const void *data, uint64_t size);
bool vks_storage_read(struct vks_storage *storage, uint64_t offset, void *data, uint64_t size);
bool vks_storage_fill(struct vks_storage *storage, uint64_t offset, uint64_t size, uint32_t word);

// A recorded list of dispatches, submitted as often as wanted.
struct vks_stream;

struct vks_binding {
    struct vks_storage *storage;
    uint64_t offset, size;      // bytes; offset is a multiple of offset_align, size at most max_range
    uint32_t first, element;    // the operand begins `first` elements of `element` bytes after that offset
    bool written;               // the kernel stores there
};

#define VKS_MAX_SPEC 5

struct vks_command {
    enum vks_kernel kernel;
    const uint32_t *spec;       // specialisation constants 1, 2, ..., at most VKS_MAX_SPEC
    uint32_t spec_count;
    const struct vks_binding *bindings;
    uint32_t binding_count;
    const void *push;           // the kernel's own struct
    uint32_t push_size;
    uint32_t groups[3];
    uint32_t base[3];           // first workgroup: a cut by time is a range of workgroups
    struct vks_storage *indirect;  // not NULL: three words at indirect_offset replace groups
    uint64_t indirect_offset;
    bool long_running;          // its workgroups are worth tickets (shaders/include/vks.glsl)
    bool barrier;               // everything recorded before must be done, and visible, before this one starts
};

struct vks_stream *vks_stream_create(struct vks_gpu *gpu);
void vks_stream_destroy(struct vks_stream **stream);
bool vks_stream_add(struct vks_stream *stream, const struct vks_command *command);
// Adds a command whose workgroups come later, with a first one, which an indirect dispatch has not: a submission of
// its own, waiting for what came before, that does nothing until vks_stream_set, where it goes by its number among
// such commands.
bool vks_stream_add_late(struct vks_stream *stream, const struct vks_command *command);
// Gives late command `late` its workgroups for the runs to come: `groups` from `base` on, none where an extent is 0.
bool vks_stream_set(struct vks_stream *stream, size_t late, const uint32_t base[3], const uint32_t groups[3]);
// Fills bytes, in whole words, after everything before it; what comes next needs `barrier` to see them.
bool vks_stream_fill(struct vks_stream *stream, struct vks_storage *storage, uint64_t offset, uint64_t size,
                     uint32_t word);
// Ends the current submission: what follows is a submission of its own.
bool vks_stream_cut(struct vks_stream *stream);
// Submits all parts in order and waits. False: device lost, or a pipeline could not be built.
bool vks_stream_run(struct vks_stream *stream);

#endif
