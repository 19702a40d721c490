// Shared by the files of runtime/gpu only: the sole place of the project that sees Vulkan.
#ifndef VKS_GPU_INTERNAL_H
#define VKS_GPU_INTERNAL_H

#include <volk.h>

#include "gpu/gpu.h"

struct vks_pipeline {
    enum vks_kernel kernel;
    bool texels;                      // of the module with texel buffers
    bool tickets;                     // its workgroups take tickets
    uint32_t spec[VKS_MAX_SPEC], spec_count;
    VkPipeline handle;
};

struct vks_kernel_layout {
    VkDescriptorSetLayout set;
    VkPipelineLayout pipeline;
    VkShaderModule module;
};

struct vks_memory_block;

struct vks_gpu {
    const struct vks_log *log;
    struct vks_gpu_info info;
    struct vks_gpu_limits limits;
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    struct VolkDeviceTable vk;
    VkDebugUtilsMessengerEXT messenger;
    unsigned validation_messages;
    uint32_t family;
    VkQueue queue;
    VkCommandPool pool;
    VkFence fence;
    VkCommandBuffer copy;             // for staged copies
    VkBuffer staging;
    VkDeviceMemory staging_memory;
    void *staging_data;
    uint64_t staging_address;         // where kernels take addresses
    uint64_t counters_at;             // byte of the staging buffer: VKS_COUNTERS for tickets, zero after each dispatch
    VkBufferView blank;               // a texel buffer behind those, for slots from which a kernel loads no texel
    uint32_t device_type, host_type;  // memory types
    bool map;                         // device memory is host-visible and used so
    bool size_control;                // a pipeline may ask for full subgroups of the size that the device reports
    bool wide_loads, texels, addresses;  // see struct vks_gpu_limits
    bool touches;                     // kernels that take addresses touch what they want next (vks.glsl)
    bool takes_tickets;               // kernels with tickets take them where workgroups are long (vks.glsl),
    bool always_tickets;              // or wherever they can
    bool lost;                        // sticky
    struct vks_os_awake *awake;       // NULL: processors sleep as they like
    double rate;                      // see vks_gpu_rate; 0: not known yet
    uint64_t budget, allocated, peak;
    uint32_t allocations, most_allocations;  // of the driver's: Vulkan promises 4,096
    struct vks_memory_block *blocks;
    VkPipelineCache cache;
    char *cache_path;
    size_t cache_size;                // bytes of it that came from disk
    struct vks_kernel_layout layouts[VKS_KERNEL_COUNT][2];  // the second with texel buffers
    struct vks_pipeline *pipelines;
    size_t pipeline_count, pipeline_capacity;
};

struct vks_memory_block {
    struct vks_memory_block *next;
    struct vks_gpu *gpu;
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t address;                 // on the device; 0 where kernels take descriptors
    unsigned char *data;              // mapped, or NULL
    uint64_t size;
    struct vks_storage *first;        // by offset
};

struct vks_storage {
    struct vks_memory_block *block;
    struct vks_storage *next;         // in the block
    uint64_t offset, size;
};

// "device lost" and such; the device is then refused to all later calls if it is gone.
bool vks_vk_fail(struct vks_gpu *gpu, VkResult result, const char *what);
// The result as a word.
const char *vks_vk_result(VkResult result);

// Says that the device was lost by an earlier call; returns false.
bool vks_gpu_refuse_lost(const struct vks_gpu *gpu);
// Submits command buffers in order, a batch each, and waits for all. On failure nothing of them is still running, or
// the device counts as lost.
bool vks_gpu_submit(struct vks_gpu *gpu, const VkCommandBuffer buffers[], uint32_t count);

// A memory type among `allowed` (a bit a type) with all flags of `wanted`: one with all of `preferred` before one
// without any of `avoided`, then the larger heap, then the first.
struct vks_memory_wish {
    uint32_t allowed;
    VkMemoryPropertyFlags wanted, preferred, avoided;
};
#define VKS_MEMORY_HOST (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
#define VKS_MEMORY_LOCAL VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define VKS_MEMORY_CACHED VK_MEMORY_PROPERTY_HOST_CACHED_BIT
// What kernels work in; the same where the host writes it directly; what is copied through (the host reads uncached
// memory, and memory on the card, at a hundredth of the speed).
#define VKS_MEMORY_DEVICE(types) ((struct vks_memory_wish){(types), VKS_MEMORY_LOCAL, 0, 0})
#define VKS_MEMORY_MAPPED(types) \
    ((struct vks_memory_wish){(types), VKS_MEMORY_HOST | VKS_MEMORY_LOCAL, VKS_MEMORY_CACHED, 0})
#define VKS_MEMORY_STAGING(types) \
    ((struct vks_memory_wish){(types), VKS_MEMORY_HOST, VKS_MEMORY_CACHED, VKS_MEMORY_LOCAL})
bool vks_memory_choose(const VkPhysicalDeviceMemoryProperties *memory, const struct vks_memory_wish *wish,
                       uint32_t *type);
// Bytes that may be allocated now: nine tenths of the largest local heap, and no more than the driver grants where it
// tells (VK_EXT_memory_budget; UINT64_MAX: it does not). Where the heap is host memory, taking too much of it ends in
// the system killing the process, so no more than four fifths of the `host` bytes that are free (0: a heap of its
// own, or the system does not tell); of a CPU driver's heaps nothing else is to be believed while it tells.
uint64_t vks_memory_budget(uint64_t heap, uint64_t grant, uint64_t host, bool is_cpu);
bool vks_memory_init(struct vks_gpu *gpu);
void vks_memory_finish(struct vks_gpu *gpu);
bool vks_pipelines_init(struct vks_gpu *gpu);
void vks_pipelines_finish(struct vks_gpu *gpu);
// The pipeline of a kernel with specialisation constants 1, 2, ...; built at the first call, owned by the device.
VkPipeline vks_pipeline(struct vks_gpu *gpu, enum vks_kernel kernel, bool texels, bool tickets,
                        const uint32_t spec[], uint32_t spec_count);
// Whether the kernel has a module that reads texel buffers beside its operands.
bool vks_kernel_takes_texels(enum vks_kernel kernel);
#define VKS_COUNTERS 64u         // dispatches that may run side by side, a counter each
#define VKS_COUNTER_STRIDE 256u   // bytes: no device asks storage to begin at larger multiples
#define VKS_TEXEL_BINDING 8  // of the first operand's texel buffer (shaders/include/wide.glsl)
#define VKS_TEXEL_SLACK 256  // bytes that a block's buffer has beyond its storages, see texel_range() in stream.c
#define VKS_TEXEL_ALIGN 16   // bytes at whose multiples texel buffers begin; drivers that ask for more get none

// True when VKSTEER_DISABLE (words separated by commas) names the fast path.
bool vks_gpu_disabled(const char *fast_path);

#endif
