// Command streams: recorded once, submitted often; one command buffer between two cuts.
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "gpu/internal.h"
#include "shaders/push.h"

#define SETS_PER_POOL 256
#define MAX_PUSH 128  // bytes; the floor

// What a command binds: all of it but its workgroups.
struct bound {
    VkPipeline pipeline;
    VkPipelineLayout layout;
    VkDescriptorSet set;       // VK_NULL_HANDLE: the kernel takes addresses
    unsigned char push[MAX_PUSH];
    uint32_t push_size;
};

struct late {
    size_t part;
    struct bound bound;
};

struct vks_stream {
    struct vks_gpu *gpu;
    VkCommandBuffer *parts;
    size_t part_count, part_capacity;
    bool open, empty;          // the last part is being recorded; nothing is in it yet
    VkDescriptorPool *pools;
    size_t pool_count, pool_capacity;
    uint32_t pool_used;        // sets taken from the last pool
    uint32_t counters;         // that dispatches have had since the last barrier
    VkBufferView *views;       // the sets' texel buffers
    size_t view_count, view_capacity;
    struct late *late;
    size_t late_count, late_capacity;
};

struct vks_stream *vks_stream_create(struct vks_gpu *gpu)
{
    struct vks_stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return vks_fail_null(gpu->log, VKS_NO_MEMORY);
    stream->gpu = gpu;
    return stream;
}

void vks_stream_destroy(struct vks_stream **stream_address)
{
    struct vks_stream *stream = *stream_address;
    if (!stream)
        return;
    *stream_address = NULL;
    struct vks_gpu *gpu = stream->gpu;
    if (stream->part_count)
        gpu->vk.vkFreeCommandBuffers(gpu->device, gpu->pool, (uint32_t)stream->part_count, stream->parts);
    for (size_t i = 0; i < stream->pool_count; i++)
        gpu->vk.vkDestroyDescriptorPool(gpu->device, stream->pools[i], NULL);
    for (size_t i = 0; i < stream->view_count; i++)
        gpu->vk.vkDestroyBufferView(gpu->device, stream->views[i], NULL);
    free(stream->parts);
    free(stream->pools);
    free(stream->views);
    free(stream->late);
    free(stream);
}

static bool begin_buffer(struct vks_gpu *gpu, VkCommandBuffer buffer)
{
    const VkResult result = gpu->vk.vkBeginCommandBuffer(buffer, &(VkCommandBufferBeginInfo){
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO});
    return result == VK_SUCCESS || vks_vk_fail(gpu, result, "recording");
}

static bool begin_part(struct vks_stream *stream)
{
    struct vks_gpu *gpu = stream->gpu;
    if (stream->open)
        return true;
    if (!vks_grow(&stream->parts, &stream->part_capacity, stream->part_count, sizeof(*stream->parts)))
        return vks_fail(gpu->log, VKS_NO_MEMORY);
    const VkResult result = gpu->vk.vkAllocateCommandBuffers(gpu->device, &(VkCommandBufferAllocateInfo){
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = gpu->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    }, &stream->parts[stream->part_count]);
    if (result != VK_SUCCESS)
        return vks_vk_fail(gpu, result, "recording");
    stream->open = stream->empty = true;
    return begin_buffer(gpu, stream->parts[stream->part_count++]);
}

// All that was recorded before is done, and visible to these accesses.
static void barrier(struct vks_gpu *gpu, VkCommandBuffer buffer, VkPipelineStageFlags stage, VkAccessFlags access)
{
    gpu->vk.vkCmdPipelineBarrier(buffer, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
        stage, 0, 1,
        &(VkMemoryBarrier){
            .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
            .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
            .dstAccessMask = access,
        }, 0, NULL, 0, NULL);
}

static bool end_buffer(struct vks_gpu *gpu, VkCommandBuffer buffer)
{
    // A fence makes nothing visible to the host, not even in coherent memory.
    if (gpu->map)
        barrier(gpu, buffer, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    const VkResult result = gpu->vk.vkEndCommandBuffer(buffer);
    return result == VK_SUCCESS || vks_vk_fail(gpu, result, "recording");
}

bool vks_stream_cut(struct vks_stream *stream)
{
    if (!stream->open || stream->empty)
        return true;
    stream->open = false;
    stream->counters = 0;  // the next part begins with a barrier
    return end_buffer(stream->gpu, stream->parts[stream->part_count - 1]);
}

static bool new_pool(struct vks_stream *stream)
{
    struct vks_gpu *gpu = stream->gpu;
    if (!vks_grow(&stream->pools, &stream->pool_capacity, stream->pool_count, sizeof(*stream->pools)))
        return vks_fail(gpu->log, VKS_NO_MEMORY);
    const VkResult result = gpu->vk.vkCreateDescriptorPool(gpu->device, &(VkDescriptorPoolCreateInfo){
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = SETS_PER_POOL,
        .poolSizeCount = gpu->texels ? 2 : 1,
        .pPoolSizes = (const VkDescriptorPoolSize[]){
            {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, (8 + 1) * SETS_PER_POOL},  // the last for tickets
            {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, 8 * SETS_PER_POOL},
        },
    }, NULL, &stream->pools[stream->pool_count]);
    if (result != VK_SUCCESS)
        return vks_vk_fail(gpu, result, "recording");
    stream->pool_count++;
    stream->pool_used = 0;
    return true;
}

// Bytes of the block before the operand.
static uint64_t begin_of(const struct vks_binding *binding)
{
    return binding->storage->offset + binding->offset + (uint64_t)binding->first * binding->element;
}

// Whether the command's operands can be read as texels: those of two bytes begin where texels can, and none that is
// only read shares bytes with one that is stored to, as drivers may move loads from texel buffers past stores.
static bool can_take_texels(const struct vks_gpu *gpu, const struct vks_command *command)
{
    if (!gpu->limits.texels || !vks_kernel_takes_texels(command->kernel))
        return false;
    for (uint32_t i = 0; i < command->binding_count; i++) {
        const struct vks_binding *a = &command->bindings[i];
        if (a->element == 2 && !a->written && begin_of(a) % VKS_TEXEL_ALIGN)
            return false;
        for (uint32_t j = 0; j < i; j++) {
            const struct vks_binding *b = &command->bindings[j];
            if (a->written != b->written && a->storage == b->storage && a->offset < b->offset + b->size &&
                b->offset < a->offset + a->size)
                return false;
        }
    }
    return true;
}

// Bytes of a texel buffer for an operand of `size` bytes. Mesa 22's CPU driver compiles a kernel again for each
// combination of what it takes for properties of its textures: for buffers, whether bits 8 to 15 of the texel buffer's
// size are all zero (it reads them as the last mip level), and whether the whole buffer's size is a power of two. With
// VKS_TEXEL_SLACK neither is so but for odd sizes; before, a third of the kernels were compiled twice or more. Under
// validation the size is exact: there bytes behind the operand would count as read, which no kernel does.
static uint64_t texel_range(const struct vks_gpu *gpu, uint64_t size, uint64_t texel)
{
    const uint64_t range = size / texel * texel;
    const bool more =
        (range & 0xff00) == 0 && range + VKS_TEXEL_SLACK <= gpu->limits.max_range && !gpu->messenger;
    return more ? range + VKS_TEXEL_SLACK : range;
}

// A texel buffer that begins with the operand; a blank one for an operand that is written, whose quads are not aligned
// or that has none: there kernels load no texel, and validation is to know.
static bool make_view(struct vks_stream *stream, const struct vks_binding *binding, VkBufferView *view)
{
    struct vks_gpu *gpu = stream->gpu;
    const bool halves = binding->element == 2;
    const uint64_t begin = begin_of(binding), texel = halves ? 8 : 16;
    const uint64_t end = binding->storage->offset + binding->offset + binding->size;
    *view = gpu->blank;
    if (binding->written || begin % VKS_TEXEL_ALIGN || end - begin < texel)
        return true;
    if (!vks_grow(&stream->views, &stream->view_capacity, stream->view_count, sizeof(*stream->views)))
        return vks_fail(gpu->log, VKS_NO_MEMORY);
    const VkResult result = gpu->vk.vkCreateBufferView(gpu->device, &(VkBufferViewCreateInfo){
        .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
        .buffer = binding->storage->block->buffer,
        .format = halves ? VK_FORMAT_R16G16B16A16_SFLOAT : VK_FORMAT_R32G32B32A32_SFLOAT,
        .offset = begin,
        .range = texel_range(gpu, end - begin, texel),
    }, NULL, view);
    if (result != VK_SUCCESS)
        return vks_vk_fail(gpu, result, "recording");
    stream->views[stream->view_count++] = *view;
    return true;
}

// Byte of the staging buffer where the counter of the next dispatch lies: its own until the next barrier.
static uint64_t counter_at(const struct vks_stream *stream)
{
    return stream->gpu->counters_at + (uint64_t)VKS_COUNTER_STRIDE * stream->counters;
}

static bool make_set(struct vks_stream *stream, const struct vks_command *command, bool texels, VkDescriptorSet *set)
{
    struct vks_gpu *gpu = stream->gpu;
    if ((stream->pool_count == 0 || stream->pool_used == SETS_PER_POOL) && !new_pool(stream))
        return false;
    const VkResult result = gpu->vk.vkAllocateDescriptorSets(gpu->device, &(VkDescriptorSetAllocateInfo){
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = stream->pools[stream->pool_count - 1],
        .descriptorSetCount = 1,
        .pSetLayouts = &gpu->layouts[command->kernel][texels].set,
    }, set);
    if (result != VK_SUCCESS)
        return vks_vk_fail(gpu, result, "recording");
    stream->pool_used++;
    VkDescriptorBufferInfo buffers[VKS_TEXEL_BINDING];
    VkBufferView views[VKS_TEXEL_BINDING];
    VkWriteDescriptorSet writes[2 * VKS_TEXEL_BINDING + 1];
    uint32_t count = 0;
    for (uint32_t i = 0; i < command->binding_count; i++) {
        const struct vks_binding *binding = &command->bindings[i];
        buffers[i] = (VkDescriptorBufferInfo){
            .buffer = binding->storage->block->buffer,
            .offset = binding->storage->offset + binding->offset,
            .range = binding->size,
        };
        writes[count] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = *set,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &buffers[i],
        };
        if (!texels) {
            count++;
            continue;
        }
        if (!make_view(stream, binding, &views[i]))
            return false;
        writes[count + 1] = writes[count];
        writes[count + 1].dstBinding = VKS_TEXEL_BINDING + i;
        writes[count + 1].descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
        writes[count + 1].pTexelBufferView = &views[i];
        count += 2;
    }
    const VkDescriptorBufferInfo counter = {
        .buffer = gpu->staging, .offset = counter_at(stream), .range = VKS_COUNTER_STRIDE};
    if (vks_kernels[command->kernel].tickets)
        writes[count++] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = *set,
            .dstBinding = VKS_COUNTER_BINDING,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &counter,
        };
    gpu->vk.vkUpdateDescriptorSets(gpu->device, count, writes, 0, NULL);
    return true;
}

bool vks_stream_fill(struct vks_stream *stream, struct vks_storage *storage, uint64_t offset, uint64_t size,
                     uint32_t word)
{
    struct vks_gpu *gpu = stream->gpu;
    if (!begin_part(stream))
        return false;
    VkCommandBuffer buffer = stream->parts[stream->part_count - 1];
    barrier(gpu, buffer, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT);
    stream->empty = false;
    gpu->vk.vkCmdFillBuffer(buffer, storage->block->buffer, storage->offset + offset, size, word);
    return true;
}

// Where the operands begin, then the kernel's own struct (shaders/include/vks.glsl).
static void fill_push(const struct vks_stream *stream, const struct vks_command *command, struct bound *bound)
{
    const struct vks_gpu *gpu = stream->gpu;
    uint32_t size = 0;
    for (uint32_t i = 0; i < command->binding_count; i++) {
        const struct vks_binding *binding = &command->bindings[i];
        const uint64_t address = binding->storage->block->address + begin_of(binding);
        const uint32_t each = gpu->limits.addresses ? sizeof(address) : sizeof(binding->first);
        const void *from = gpu->limits.addresses ? (const void *)&address : (const void *)&binding->first;
        memcpy(bound->push + size, from, each);
        size += each;
    }
    if (vks_kernels[command->kernel].tickets) {
        const uint64_t address = gpu->staging_address + counter_at(stream);
        const uint32_t each = gpu->limits.addresses ? sizeof(address) : 0;
        memcpy(bound->push + size, &address, each);
        memcpy(bound->push + size + each, command->base, sizeof(command->base));
        size += each + (uint32_t)sizeof(command->base);
    }
    memcpy(bound->push + size, command->push, command->push_size);
    bound->push_size = size + command->push_size;
}

static bool bind(struct vks_stream *stream, const struct vks_command *command, bool tickets, struct bound *bound)
{
    struct vks_gpu *gpu = stream->gpu;
    const bool texels = can_take_texels(gpu, command);
    *bound = (struct bound){
        .pipeline = vks_pipeline(gpu, command->kernel, texels, tickets, command->spec, command->spec_count)};
    if (!bound->pipeline || (!gpu->limits.addresses && !make_set(stream, command, texels, &bound->set)))
        return false;
    bound->layout = gpu->layouts[command->kernel][texels].pipeline;
    fill_push(stream, command, bound);
    return true;
}

static void record_bound(struct vks_gpu *gpu, VkCommandBuffer buffer, const struct bound *bound, bool wait)
{
    if (wait)
        barrier(gpu, buffer, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    gpu->vk.vkCmdBindPipeline(buffer, VK_PIPELINE_BIND_POINT_COMPUTE, bound->pipeline);
    if (bound->set)
        gpu->vk.vkCmdBindDescriptorSets(buffer, VK_PIPELINE_BIND_POINT_COMPUTE, bound->layout, 0, 1, &bound->set, 0,
                                        NULL);
    gpu->vk.vkCmdPushConstants(buffer, bound->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, bound->push_size, bound->push);
}

static void dispatch(struct vks_gpu *gpu, VkCommandBuffer buffer, const uint32_t base[3], const uint32_t groups[3])
{
    if (base[0] + base[1] + base[2] == 0)  // all that synchronization validation sees
        gpu->vk.vkCmdDispatch(buffer, groups[0], groups[1], groups[2]);
    else
        gpu->vk.vkCmdDispatchBase(buffer, base[0], base[1], base[2], groups[0], groups[1], groups[2]);
}

bool vks_stream_add(struct vks_stream *stream, const struct vks_command *command)
{
    struct vks_gpu *gpu = stream->gpu;
    const bool counted = vks_kernels[command->kernel].tickets;
    // The order of submissions alone makes nothing visible: every part begins with a barrier.
    const bool wait = command->barrier || !stream->open || stream->empty ||
                      (counted && stream->counters == VKS_COUNTERS);
    if (wait)
        stream->counters = 0;
    // Twice as many workgroups come as there are tickets for; where they are indirect, nobody doubles them.
    const bool tickets = counted && gpu->takes_tickets && (command->long_running || gpu->always_tickets) &&
                         !command->indirect && command->groups[2] <= gpu->limits.max_groups / 2;
    struct bound bound;
    if (!bind(stream, command, tickets, &bound) || !begin_part(stream))
        return false;
    VkCommandBuffer buffer = stream->parts[stream->part_count - 1];
    record_bound(gpu, buffer, &bound, wait);
    stream->counters += counted;  // bound, whether used or not
    stream->empty = false;
    if (command->indirect)
        gpu->vk.vkCmdDispatchIndirect(buffer, command->indirect->block->buffer,
                                      command->indirect->offset + command->indirect_offset);
    else if (tickets)  // which count from the first workgroup of this piece
        gpu->vk.vkCmdDispatch(buffer, command->groups[0], command->groups[1], 2 * command->groups[2]);
    else
        dispatch(gpu, buffer, command->base, command->groups);
    return true;
}

bool vks_stream_add_late(struct vks_stream *stream, const struct vks_command *command)
{
    if (!vks_grow(&stream->late, &stream->late_capacity, stream->late_count, sizeof(*stream->late)))
        return vks_fail(stream->gpu->log, VKS_NO_MEMORY);
    struct late *late = &stream->late[stream->late_count];
    if (!vks_stream_cut(stream) || !bind(stream, command, false, &late->bound) || !begin_part(stream))
        return false;
    stream->late_count++;
    late->part = stream->part_count - 1;
    stream->empty = false;  // a part although nothing is in it yet
    return vks_stream_cut(stream);
}

bool vks_stream_set(struct vks_stream *stream, size_t late, const uint32_t base[3], const uint32_t groups[3])
{
    struct vks_gpu *gpu = stream->gpu;
    VkCommandBuffer buffer = stream->parts[stream->late[late].part];
    if (!begin_buffer(gpu, buffer))
        return false;
    if (groups[0] && groups[1] && groups[2]) {
        record_bound(gpu, buffer, &stream->late[late].bound, true);
        dispatch(gpu, buffer, base, groups);
    }
    return end_buffer(gpu, buffer);
}

bool vks_stream_run(struct vks_stream *stream)
{
    if (!vks_stream_cut(stream))
        return false;
    return stream->part_count == 0 || vks_gpu_submit(stream->gpu, stream->parts, (uint32_t)stream->part_count);
}
