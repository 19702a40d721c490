// Compute pipelines, built at first use and cached: in the process by kernel and constants, on disk by the driver.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/os.h"
#include "gpu/internal.h"
#include "shaders/push.h"

static char *cache_file(const struct vks_gpu *gpu)
{
    char *folder = vks_os_cache_dir(NULL, "vksteer", true);
    if (!folder)
        return NULL;
    const size_t size = strlen(folder) + 80;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s/pipelines-%08x-%08x-%08x.bin", folder, gpu->info.vendor, gpu->info.device_id,
                 gpu->info.driver_version);
    free(folder);
    return path;
}

bool vks_pipelines_init(struct vks_gpu *gpu)
{
    // A cache of another driver is refused by its header, and a damaged one by its driver; both mean an empty cache.
    struct vks_os_map file = {0};
    gpu->cache_path = cache_file(gpu);
    if (gpu->cache_path && vks_os_is_file(gpu->cache_path) && vks_os_map_open(NULL, gpu->cache_path, &file))
        gpu->cache_size = file.size;
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = file.size,
        .pInitialData = file.data,
    };
    VkResult result = gpu->vk.vkCreatePipelineCache(gpu->device, &info, NULL, &gpu->cache);
    if (result != VK_SUCCESS && file.size) {
        info.initialDataSize = 0;
        result = gpu->vk.vkCreatePipelineCache(gpu->device, &info, NULL, &gpu->cache);
    }
    vks_os_map_close(&file);
    return result == VK_SUCCESS || vks_vk_fail(gpu, result, "creating the pipeline cache");
}

static void save_cache(struct vks_gpu *gpu)
{
    size_t size = 0;
    const size_t header = 32;  // CPU drivers return a bare header: not worth a file
    if (!gpu->cache_path || gpu->lost ||
        gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->cache, &size, NULL) != VK_SUCCESS || size <= header ||
        size == gpu->cache_size)
        return;
    void *data = malloc(size);
    if (data && gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->cache, &size, data) == VK_SUCCESS)
        vks_os_write_file(NULL, gpu->cache_path, data, size);
    free(data);
}

static void destroy_layout(struct vks_gpu *gpu, struct vks_kernel_layout *layout)
{
    gpu->vk.vkDestroyShaderModule(gpu->device, layout->module, NULL);
    gpu->vk.vkDestroyPipelineLayout(gpu->device, layout->pipeline, NULL);
    gpu->vk.vkDestroyDescriptorSetLayout(gpu->device, layout->set, NULL);
    *layout = (struct vks_kernel_layout){0};
}

void vks_pipelines_finish(struct vks_gpu *gpu)
{
    if (gpu->cache)
        save_cache(gpu);
    free(gpu->cache_path);
    for (size_t i = 0; i < gpu->pipeline_count; i++)
        gpu->vk.vkDestroyPipeline(gpu->device, gpu->pipelines[i].handle, NULL);
    free(gpu->pipelines);
    for (size_t i = 0; i < VKS_KERNEL_COUNT; i++) {
        destroy_layout(gpu, &gpu->layouts[i][0]);
        destroy_layout(gpu, &gpu->layouts[i][1]);
    }
    gpu->vk.vkDestroyPipelineCache(gpu->device, gpu->cache, NULL);
}

bool vks_kernel_takes_texels(enum vks_kernel kernel)
{
    return vks_kernels[kernel].texel.code != vks_kernels[kernel].spirv.code;
}

static VkResult create_layout(struct vks_gpu *gpu, const struct vks_kernel_info *info, bool texels,
                              struct vks_kernel_layout *layout)
{
    const struct vks_spirv *spirv = texels                   ? &info->texel
                                    : gpu->limits.addresses  ? &info->address
                                    : gpu->limits.wide_loads ? &info->wide
                                                             : &info->spirv;
    VkDescriptorSetLayoutBinding bindings[2 * VKS_TEXEL_BINDING + 1];
    uint32_t count = (texels ? 2 : 1) * info->bindings;
    for (uint32_t i = 0; i < count; i++) {
        const bool texel = i >= info->bindings;
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = texel ? i - info->bindings + VKS_TEXEL_BINDING : i,
            .descriptorType = texel ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    }
    if (info->tickets)
        bindings[count++] = (VkDescriptorSetLayoutBinding){
            .binding = VKS_COUNTER_BINDING,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    VkResult result = gpu->vk.vkCreateDescriptorSetLayout(gpu->device, &(VkDescriptorSetLayoutCreateInfo){
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = count,
        .pBindings = bindings,
    }, NULL, &layout->set);
    if (result == VK_SUCCESS)
        result = gpu->vk.vkCreatePipelineLayout(gpu->device, &(VkPipelineLayoutCreateInfo){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
            .setLayoutCount = 1,
            .pSetLayouts = &layout->set,
            .pushConstantRangeCount = 1,
            .pPushConstantRanges = &(VkPushConstantRange){
                .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                .size = gpu->limits.addresses
                            ? 8 * info->bindings + (info->tickets ? 20 : 0) + info->push_size
                            : 4 * info->bindings + (info->tickets ? 12 : 0) + info->push_size,
            },
        }, NULL, &layout->pipeline);
    if (result == VK_SUCCESS)
        result = gpu->vk.vkCreateShaderModule(gpu->device, &(VkShaderModuleCreateInfo){
            .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
            .codeSize = spirv->size,
            .pCode = spirv->code,
        }, NULL, &layout->module);
    if (result != VK_SUCCESS)
        destroy_layout(gpu, layout);
    return result;
}

static VkResult create_pipeline(struct vks_gpu *gpu, struct vks_pipeline *pipeline)
{
    struct vks_kernel_layout *layout = &gpu->layouts[pipeline->kernel][pipeline->texels];
    uint32_t constants[VKS_MAX_SPEC + 2] = {gpu->touches, pipeline->tickets};
    memcpy(constants + 2, pipeline->spec, pipeline->spec_count * sizeof(*constants));
    VkSpecializationMapEntry entries[VKS_MAX_SPEC + 2];
    for (uint32_t i = 0; i < pipeline->spec_count + 2; i++)
        entries[i] = (VkSpecializationMapEntry){
            .constantID = i == 0 ? VKS_TOUCH_CONSTANT : i == 1 ? VKS_TICKETS_CONSTANT : i - 1,
            .offset = i * (uint32_t)sizeof(*constants),
            .size = sizeof(*constants),
        };
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = vks_kernels[pipeline->kernel].lanes,
    };
    const bool pin = gpu->size_control && size.requiredSubgroupSize;
    return gpu->vk.vkCreateComputePipelines(gpu->device, gpu->cache, 1, &(VkComputePipelineCreateInfo){
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT,
        .stage = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .pNext = pin ? &size : NULL,
            .flags = pin ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT : 0,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT,
            .module = layout->module,
            .pName = "main",
            .pSpecializationInfo = &(VkSpecializationInfo){
                .mapEntryCount = pipeline->spec_count + 2,
                .pMapEntries = entries,
                .dataSize = sizeof(constants),
                .pData = constants,
            },
        },
        .layout = layout->pipeline,
    }, NULL, &pipeline->handle);
}

VkPipeline vks_pipeline(struct vks_gpu *gpu, enum vks_kernel kernel, bool texels, bool tickets,
                        const uint32_t spec[], uint32_t spec_count)
{
    struct vks_pipeline wanted = {
        .kernel = kernel, .texels = texels, .tickets = tickets, .spec_count = spec_count};
    if (spec_count)
        memcpy(wanted.spec, spec, spec_count * sizeof(*spec));
    for (size_t i = 0; i < gpu->pipeline_count; i++) {
        const struct vks_pipeline *p = &gpu->pipelines[i];
        if (p->kernel == kernel && p->texels == texels && p->tickets == tickets && p->spec_count == spec_count &&
            memcmp(p->spec, wanted.spec, sizeof(wanted.spec)) == 0)
            return p->handle;
    }
    VkResult result = VK_SUCCESS;
    if (!gpu->layouts[kernel][texels].module)
        result = create_layout(gpu, &vks_kernels[kernel], texels, &gpu->layouts[kernel][texels]);
    if (result == VK_SUCCESS)
        result = create_pipeline(gpu, &wanted);
    if (result != VK_SUCCESS) {
        vks_vk_fail(gpu, result, vks_kernels[kernel].name);
        return VK_NULL_HANDLE;
    }
    if (!vks_grow(&gpu->pipelines, &gpu->pipeline_capacity, gpu->pipeline_count, sizeof(*gpu->pipelines))) {
        gpu->vk.vkDestroyPipeline(gpu->device, wanted.handle, NULL);
        vks_fail(gpu->log, VKS_NO_MEMORY);
        return VK_NULL_HANDLE;
    }
    gpu->pipelines[gpu->pipeline_count++] = wanted;
    return wanted.handle;
}
