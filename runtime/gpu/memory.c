// Device memory: storages in blocks, copies to and from the host.
#include <stdlib.h>
#include <string.h>

#include "gpu/internal.h"

#define BLOCK_SIZE ((uint64_t)16 << 20)   // small storages share blocks of this size
#define STAGING_SIZE ((uint64_t)4 << 20)

static VkResult create_handle(struct vks_gpu *gpu, uint64_t size, VkBuffer *buffer)
{
    return gpu->vk.vkCreateBuffer(gpu->device, &(VkBufferCreateInfo){
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = size + (gpu->texels ? VKS_TEXEL_SLACK : 0),
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                 (gpu->texels ? VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT : 0u) |
                 (gpu->addresses ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT_KHR : 0u),
    }, NULL, buffer);
}

// Memory types that such buffers accept: the same for every size (Vulkan 1.1, 12.7).
static bool find_allowed(struct vks_gpu *gpu, uint32_t *allowed)
{
    VkBuffer probe;
    VkMemoryRequirements requirements;
    const VkResult result = create_handle(gpu, 256, &probe);
    if (result != VK_SUCCESS)
        return vks_vk_fail(gpu, result, "creating a buffer");
    gpu->vk.vkGetBufferMemoryRequirements(gpu->device, probe, &requirements);
    gpu->vk.vkDestroyBuffer(gpu->device, probe, NULL);
    *allowed = requirements.memoryTypeBits;
    return true;
}

bool vks_memory_choose(const VkPhysicalDeviceMemoryProperties *memory, const struct vks_memory_wish *wish,
                       uint32_t *type)
{
    int best = -1;
    uint64_t best_heap = 0;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        const VkMemoryPropertyFlags flags = memory->memoryTypes[i].propertyFlags;
        // Others (protected, lazily allocated, device-coherent) need features that are not enabled.
        if (!(wish->allowed >> i & 1) || (flags & wish->wanted) != wish->wanted ||
            (flags & ~(VkMemoryPropertyFlags)(VKS_MEMORY_HOST | VKS_MEMORY_LOCAL | VKS_MEMORY_CACHED)))
            continue;
        const int score = 2 * ((flags & wish->preferred) == wish->preferred) + !(flags & wish->avoided);
        const uint64_t heap = memory->memoryHeaps[memory->memoryTypes[i].heapIndex].size;
        if (score > best || (score == best && heap > best_heap)) {
            best = score;
            best_heap = heap;
            *type = i;
        }
    }
    return best >= 0;
}

// What could not be made stays as it was, VK_NULL_HANDLE: of a call that failed, Vulkan leaves the handle undefined.
static bool create_buffer(struct vks_gpu *gpu, uint64_t size, uint32_t type, bool map, VkBuffer *buffer,
                          VkDeviceMemory *memory, void **data)
{
    if (gpu->allocations >= gpu->most_allocations)
        return vks_fail(gpu->log, "%s allows %u allocations of device memory, and all are in use: use a smaller "
                        "model, or fewer at a time", gpu->info.name, gpu->most_allocations);
    VkBuffer made;
    VkResult result = create_handle(gpu, size, &made);
    if (result != VK_SUCCESS)
        return vks_vk_fail(gpu, result, "creating a buffer");
    *buffer = made;
    VkMemoryRequirements requirements;
    gpu->vk.vkGetBufferMemoryRequirements(gpu->device, *buffer, &requirements);
    const VkMemoryAllocateFlagsInfo addressed = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT_KHR,
    };
    VkDeviceMemory allocated;
    result = gpu->vk.vkAllocateMemory(gpu->device, &(VkMemoryAllocateInfo){
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = gpu->addresses ? &addressed : NULL,
        .allocationSize = requirements.size,
        .memoryTypeIndex = type,
    }, NULL, &allocated);
    if (result == VK_SUCCESS) {
        gpu->allocations++;
        *memory = allocated;
        result = gpu->vk.vkBindBufferMemory(gpu->device, *buffer, *memory, 0);
    }
    if (result == VK_SUCCESS && map)
        result = gpu->vk.vkMapMemory(gpu->device, *memory, 0, VK_WHOLE_SIZE, 0, data);
    return result == VK_SUCCESS || vks_vk_fail(gpu, result, "allocating device memory");
}

static uint64_t address_of(const struct vks_gpu *gpu, VkBuffer buffer)
{
    return gpu->vk.vkGetBufferDeviceAddressKHR(gpu->device, &(VkBufferDeviceAddressInfo){
        .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = buffer});
}

static bool create_blank(struct vks_gpu *gpu)
{
    VkBufferView made;
    const VkResult result = gpu->vk.vkCreateBufferView(gpu->device, &(VkBufferViewCreateInfo){
        .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
        .buffer = gpu->staging,
        .format = VK_FORMAT_R32G32B32A32_SFLOAT,
        .offset = STAGING_SIZE + VKS_COUNTERS * VKS_COUNTER_STRIDE,
        .range = VKS_TEXEL_SLACK,
    }, NULL, &made);
    if (result != VK_SUCCESS)
        return vks_vk_fail(gpu, result, "creating a texel buffer");
    gpu->blank = made;
    return true;
}

bool vks_memory_init(struct vks_gpu *gpu)
{
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t allowed = 0;
    vkGetPhysicalDeviceMemoryProperties(gpu->physical, &memory);
    if (!find_allowed(gpu, &allowed))
        return false;
    if (!vks_memory_choose(&memory, &VKS_MEMORY_STAGING(allowed), &gpu->host_type))
        return vks_fail(gpu->log, "%s offers no memory that the host can write: update the driver", gpu->info.name);
    if (gpu->map)
        gpu->map = vks_memory_choose(&memory, &VKS_MEMORY_MAPPED(allowed), &gpu->device_type);
    if (!gpu->map && !vks_memory_choose(&memory, &VKS_MEMORY_DEVICE(allowed), &gpu->device_type))
        gpu->device_type = gpu->host_type;
    const uint64_t counters = VKS_COUNTERS * VKS_COUNTER_STRIDE;
    if (!create_buffer(gpu, STAGING_SIZE + counters, gpu->host_type, true, &gpu->staging, &gpu->staging_memory,
                       &gpu->staging_data))
        return false;
    memset((char *)gpu->staging_data + STAGING_SIZE, 0, counters);
    gpu->counters_at = STAGING_SIZE;
    if (gpu->addresses)
        gpu->staging_address = address_of(gpu, gpu->staging);
    return !gpu->texels || create_blank(gpu);
}

static void destroy_buffer(struct vks_gpu *gpu, VkBuffer buffer, VkDeviceMemory memory)
{
    gpu->vk.vkDestroyBuffer(gpu->device, buffer, NULL);
    gpu->vk.vkFreeMemory(gpu->device, memory, NULL);
    gpu->allocations -= memory != VK_NULL_HANDLE;
}

static void destroy_block(struct vks_memory_block *block)
{
    struct vks_gpu *gpu = block->gpu;
    destroy_buffer(gpu, block->buffer, block->memory);
    gpu->allocated -= block->size;
    free(block);
}

void vks_memory_finish(struct vks_gpu *gpu)
{
    while (gpu->blocks) {
        struct vks_memory_block *next = gpu->blocks->next;
        destroy_block(gpu->blocks);
        gpu->blocks = next;
    }
    gpu->vk.vkDestroyBufferView(gpu->device, gpu->blank, NULL);
    destroy_buffer(gpu, gpu->staging, gpu->staging_memory);
}

static struct vks_memory_block *create_block(struct vks_gpu *gpu, uint64_t size)
{
    if (size > gpu->limits.max_alloc)
        return vks_fail_null(gpu->log, "%llu MiB in one piece exceed the %llu MiB that %s allocates at once: use a "
                             "smaller --micro-batch or picture", (unsigned long long)(size >> 20),
                             (unsigned long long)(gpu->limits.max_alloc >> 20), gpu->info.name);
    if (gpu->allocated + size > gpu->budget)
        return vks_fail_null(gpu->log, "%llu MiB more than the %llu MiB in use would exceed the %llu MiB that may be "
                             "used: use a smaller --micro-batch or picture, or raise --memory",
                             (unsigned long long)(size >> 20), (unsigned long long)(gpu->allocated >> 20),
                             (unsigned long long)(gpu->budget >> 20));
    struct vks_memory_block *block = calloc(1, sizeof(*block));
    if (!block)
        return vks_fail_null(gpu->log, VKS_NO_MEMORY);
    block->gpu = gpu;
    block->size = size;
    void *data = NULL;
    gpu->allocated += size;
    if (!create_buffer(gpu, size, gpu->device_type, gpu->map, &block->buffer, &block->memory, &data)) {
        destroy_block(block);
        return NULL;
    }
    block->data = data;
    if (gpu->addresses)
        block->address = address_of(gpu, block->buffer);
    block->next = gpu->blocks;
    gpu->blocks = block;
    if (gpu->allocated > gpu->peak)
        gpu->peak = gpu->allocated;
    return block;
}

// First fit: the gap before `*link` that holds `size` bytes, or NULL.
static struct vks_storage **find_gap(struct vks_memory_block *block, uint64_t size, uint64_t *offset)
{
    *offset = 0;
    struct vks_storage **link = &block->first;
    for (; *link; link = &(*link)->next) {
        if ((*link)->offset - *offset >= size)
            return link;
        *offset = (*link)->offset + (*link)->size;
    }
    return block->size - *offset >= size ? link : NULL;
}

uint64_t vks_gpu_available(const struct vks_gpu *gpu, uint64_t *budget)
{
    uint64_t bytes = gpu->budget > gpu->allocated ? gpu->budget - gpu->allocated : 0;
    for (const struct vks_memory_block *block = gpu->blocks; block; block = block->next) {
        bytes += block->size;
        for (const struct vks_storage *storage = block->first; storage; storage = storage->next)
            bytes -= storage->size;
    }
    *budget = gpu->budget;
    return bytes;
}

struct vks_storage *vks_storage_create(struct vks_gpu *gpu, uint64_t size)
{
    const uint64_t align = gpu->limits.offset_align;
    size = (size + align - 1) / align * align;
    if (size == 0)
        size = align;
    struct vks_storage *storage = calloc(1, sizeof(*storage));
    if (!storage)
        return vks_fail_null(gpu->log, VKS_NO_MEMORY);
    struct vks_storage **link = NULL;
    struct vks_memory_block *block = gpu->blocks;
    const bool small = size <= BLOCK_SIZE / 4;
    for (; small && block; block = block->next)
        if (block->size <= BLOCK_SIZE && (link = find_gap(block, size, &storage->offset)))
            break;
    if (!link) {
        // Of a small budget a block is a small part too: what is free in it is of no use to large storages.
        const uint64_t part = gpu->budget / 64 < BLOCK_SIZE ? gpu->budget / 64 / align * align : BLOCK_SIZE;
        uint64_t wanted = small && part > size ? part : size;
        if (gpu->allocated + wanted > gpu->budget)
            wanted = size;
        block = create_block(gpu, wanted);
        if (!block) {
            free(storage);
            return NULL;
        }
        link = &block->first;
        storage->offset = 0;  // find_gap left what it last looked at
    }
    storage->block = block;
    storage->size = size;
    storage->next = *link;
    *link = storage;
    return storage;
}

void vks_storage_destroy(struct vks_storage **storage_address)
{
    struct vks_storage *storage = *storage_address;
    if (!storage)
        return;
    *storage_address = NULL;
    struct vks_memory_block *block = storage->block;
    struct vks_storage **link = &block->first;
    while (*link != storage)
        link = &(*link)->next;
    *link = storage->next;
    free(storage);
    if (!block->first) {
        struct vks_memory_block **at = &block->gpu->blocks;
        while (*at != block)
            at = &(*at)->next;
        *at = block->next;
        destroy_block(block);
    }
}

uint64_t vks_storage_size(const struct vks_storage *storage)
{
    return storage->size;
}

static bool can_copy(const struct vks_storage *storage, uint64_t offset, uint64_t size)
{
    if (storage->block->gpu->lost)
        return vks_gpu_refuse_lost(storage->block->gpu);
    if (offset <= storage->size && size <= storage->size - offset)
        return true;
    return vks_fail(storage->block->gpu->log, "a copy of %llu bytes at %llu does not fit a storage of %llu bytes",
                    (unsigned long long)size, (unsigned long long)offset, (unsigned long long)storage->size);
}

static bool begin_copy(struct vks_gpu *gpu)
{
    const VkResult result = gpu->vk.vkBeginCommandBuffer(gpu->copy, &(VkCommandBufferBeginInfo){
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    });
    if (result != VK_SUCCESS)
        return vks_vk_fail(gpu, result, "recording a copy");
    // What kernels wrote is visible to the copy; what the copy writes, to kernels (and to the host after the fence).
    gpu->vk.vkCmdPipelineBarrier(gpu->copy, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1,
        &(VkMemoryBarrier){
            .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
            .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
            .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        }, 0, NULL, 0, NULL);
    return true;
}

static bool end_copy(struct vks_gpu *gpu)
{
    gpu->vk.vkCmdPipelineBarrier(gpu->copy, VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
        &(VkMemoryBarrier){
            .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
            .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
            .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT | VK_ACCESS_HOST_READ_BIT,
        }, 0, NULL, 0, NULL);
    const VkResult result = gpu->vk.vkEndCommandBuffer(gpu->copy);
    return result == VK_SUCCESS ? vks_gpu_submit(gpu, &gpu->copy, 1) : vks_vk_fail(gpu, result, "recording a copy");
}

static bool copy_staged(struct vks_storage *storage, uint64_t offset, void *out, const void *in, uint64_t size)
{
    struct vks_gpu *gpu = storage->block->gpu;
    for (uint64_t done = 0; done < size;) {
        const uint64_t part = size - done < STAGING_SIZE ? size - done : STAGING_SIZE;
        const VkBufferCopy there = {.srcOffset = 0, .dstOffset = storage->offset + offset + done, .size = part};
        const VkBufferCopy back = {.srcOffset = there.dstOffset, .dstOffset = 0, .size = part};
        if (!begin_copy(gpu))
            return false;
        if (in) {
            memcpy(gpu->staging_data, (const char *)in + done, part);
            gpu->vk.vkCmdCopyBuffer(gpu->copy, gpu->staging, storage->block->buffer, 1, &there);
        } else {
            gpu->vk.vkCmdCopyBuffer(gpu->copy, storage->block->buffer, gpu->staging, 1, &back);
        }
        if (!end_copy(gpu))
            return false;
        if (out)
            memcpy((char *)out + done, gpu->staging_data, part);
        done += part;
    }
    return true;
}

bool vks_storage_write(struct vks_storage *storage, uint64_t offset, const void *data, uint64_t size)
{
    if (!can_copy(storage, offset, size))
        return false;
    if (!storage->block->data)
        return copy_staged(storage, offset, NULL, data, size);
    memcpy(storage->block->data + storage->offset + offset, data, size);
    return true;
}

bool vks_storage_read(struct vks_storage *storage, uint64_t offset, void *data, uint64_t size)
{
    if (!can_copy(storage, offset, size))
        return false;
    if (!storage->block->data)
        return copy_staged(storage, offset, data, NULL, size);
    memcpy(data, storage->block->data + storage->offset + offset, size);
    return true;
}

bool vks_storage_fill(struct vks_storage *storage, uint64_t offset, uint64_t size, uint32_t word)
{
    if (!can_copy(storage, offset, size))
        return false;
    struct vks_gpu *gpu = storage->block->gpu;
    if (storage->block->data) {
        for (uint64_t i = 0; i + sizeof(word) <= size; i += sizeof(word))
            memcpy(storage->block->data + storage->offset + offset + i, &word, sizeof(word));
        return true;
    }
    if (size < 4)
        return true;
    if (!begin_copy(gpu))
        return false;
    gpu->vk.vkCmdFillBuffer(gpu->copy, storage->block->buffer, storage->offset + offset, size / 4 * 4, word);
    return end_copy(gpu);
}
