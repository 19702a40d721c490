// Choice and set-up of the device.
#define VOLK_IMPLEMENTATION
#include "gpu/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

#define MAX_GROUP 128     // invocations of the largest workgroup of any kernel
#define MOST_BUFFERS 8    // storage buffers of a kernel
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *vks_vk_result(VkResult result)
{
    switch (result) {
    case VK_SUCCESS: return "success";
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "out of device memory";
    case VK_ERROR_DEVICE_LOST: return "device lost";
    case VK_ERROR_INITIALIZATION_FAILED: return "initialisation failed";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "incompatible driver";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "feature not present";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "extension not present";
    case VK_ERROR_LAYER_NOT_PRESENT: return "layer not present";
    default: return "driver error";
    }
}

bool vks_vk_fail(struct vks_gpu *gpu, VkResult result, const char *what)
{
    if (result == VK_ERROR_DEVICE_LOST) {
        gpu->lost = true;
        return vks_fail(gpu->log, "%s: the device was lost: its driver gave up on a long dispatch or crashed; start "
                        "again, with --limits phone if it happens twice", what);
    }
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY)
        return vks_fail(gpu->log, "%s: %s: use a smaller --micro-batch or picture, or set --memory MIB", what,
                        vks_vk_result(result));
    return vks_fail(gpu->log, "%s: %s (VkResult %d): update the driver or choose another with --device", what,
                    vks_vk_result(result), (int)result);
}

// Whether an environment variable, words separated by commas, holds a word.
static bool lists(const char *variable, const char *fast_path)
{
    const char *list = vks_os_env(variable);
    const size_t length = strlen(fast_path);
    while (list && *list) {
        const size_t word = strcspn(list, ",");
        if (word == length && memcmp(list, fast_path, length) == 0)
            return true;
        list += word + (list[word] == ',');
    }
    return false;
}

// Words that nothing knows do nothing: said, as a misspelt switch would look like one that makes no difference.
static void check_words(const struct vks_log *log, const char *variable, const char *known)
{
    for (const char *list = vks_os_env(variable); list && *list;) {
        const size_t length = strcspn(list, ",");
        char word[32];
        snprintf(word, sizeof(word), " %.*s ", (int)(length < 28 ? length : 28), list);
        if (length && !strstr(known, word))
            vks_warn(log, "%s: there is no%sto switch: known are%s", variable, word, known);
        list += length + (list[length] == ',');
    }
}

bool vks_gpu_disabled(const char *fast_path)
{
    return lists("VKSTEER_DISABLE", fast_path);
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *priv)
{
    (void)severity;
    struct vks_gpu *gpu = priv;
    if (types == VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT)  // the loader talking about drivers and layers
        return VK_FALSE;
    gpu->validation_messages++;
    vks_fail(gpu->log, "validation: %s", data->pMessage);
    return VK_FALSE;
}

static bool has_extension(const char *name, const VkExtensionProperties extensions[], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(extensions[i].extensionName, name) == 0)
            return true;
    return false;
}

static bool has_layer(const char *name)
{
    VkLayerProperties layers[64];
    uint32_t count = COUNT(layers);
    vkEnumerateInstanceLayerProperties(&count, layers);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(layers[i].layerName, name) == 0)
            return true;
    return false;
}

static VkResult create_instance(struct vks_gpu *gpu, bool validate)
{
    VkExtensionProperties available[128];
    uint32_t count = COUNT(available);
    vkEnumerateInstanceExtensionProperties(NULL, &count, available);
    const char *extensions[3], *layers[] = {"VK_LAYER_KHRONOS_validation"};
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &(VkApplicationInfo){
            .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
            .pApplicationName = "vksteer",
            .apiVersion = VK_API_VERSION_1_1,
        },
        .ppEnabledExtensionNames = extensions,
        .ppEnabledLayerNames = layers,
    };
    if (has_extension("VK_KHR_portability_enumeration", available, count)) {
        extensions[info.enabledExtensionCount++] = "VK_KHR_portability_enumeration";
        info.flags |= 0x1;  // VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR
    }
    const VkValidationFeatureEnableEXT enables[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    const VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .enabledValidationFeatureCount = COUNT(enables),
        .pEnabledValidationFeatures = enables,
    };
    if (validate && has_layer(layers[0])) {
        info.enabledLayerCount = 1;
        info.pNext = &features;
        extensions[info.enabledExtensionCount++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    } else if (validate) {
        vks_warn(gpu->log, "the validation layer is not installed: install vulkan-validationlayers to use it");
        validate = false;
    }
    VkResult result = vkCreateInstance(&info, NULL, &gpu->instance);
    if (result != VK_SUCCESS)
        return result;
    volkLoadInstanceOnly(gpu->instance);
    if (validate)
        vkCreateDebugUtilsMessengerEXT(gpu->instance, &(VkDebugUtilsMessengerCreateInfoEXT){
            .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
            .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                               VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
            .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
            .pfnUserCallback = on_message,
            .pUserData = gpu,
        }, NULL, &gpu->messenger);
    return VK_SUCCESS;
}

static bool device_has(VkPhysicalDevice physical, const char *extension)
{
    VkExtensionProperties available[512];
    uint32_t count = COUNT(available);
    return vkEnumerateDeviceExtensionProperties(physical, NULL, &count, available) >= 0 &&
           has_extension(extension, available, count);
}

uint64_t vks_memory_budget(uint64_t heap, uint64_t grant, uint64_t host, bool is_cpu)
{
    uint64_t bytes = heap / 10 * 9;
    bytes = grant < bytes ? grant : bytes;
    host = host / 5 * 4;
    return host && (is_cpu || host < bytes) ? host : bytes;
}

static uint64_t device_memory(VkPhysicalDevice physical, const struct vks_gpu_info *info)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    const bool told = device_has(physical, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = told ? &budget : NULL};
    vkGetPhysicalDeviceMemoryProperties2(physical, &memory);
    const VkMemoryHeap *heaps = memory.memoryProperties.memoryHeaps;
    uint64_t largest = 0, grant = UINT64_MAX;
    for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++)
        if ((heaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heaps[i].size > largest) {
            largest = heaps[i].size;
            if (told && budget.heapBudget[i] > 0)
                grant = budget.heapBudget[i] > budget.heapUsage[i] ? budget.heapBudget[i] - budget.heapUsage[i] : 0;
        }
    return vks_memory_budget(largest, grant, info->unified ? vks_os_available_memory() : 0, info->is_cpu);
}

static void describe(VkPhysicalDevice physical, uint32_t index, struct vks_gpu_info *info)
{
    static const char *const types[] = {"other", "integrated", "discrete", "virtual", "cpu"};
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = &driver};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup};
    vkGetPhysicalDeviceProperties2(physical, &properties);
    VkPhysicalDevice16BitStorageFeatures storage16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES};
    VkPhysicalDeviceShaderFloat16Int8Features float16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES, .pNext = &storage16};
    VkPhysicalDevice8BitStorageFeatures storage8 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES, .pNext = &float16};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &storage8};
    vkGetPhysicalDeviceFeatures2(physical, &features);
    const VkPhysicalDeviceProperties *p = &properties.properties;
    *info = (struct vks_gpu_info){
        .index = index,
        .vendor = p->vendorID,
        .device_id = p->deviceID,
        .api_version = p->apiVersion,
        .driver_version = p->driverVersion,
        .type = (unsigned)p->deviceType < COUNT(types) ? types[p->deviceType] : "other",
        .is_cpu = p->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU,
        .fp16 = float16.shaderFloat16,
        .int8 = float16.shaderInt8,
        .int64 = features.features.shaderInt64,
        .storage16 = storage16.storageBuffer16BitAccess,
        .storage8 = storage8.storageBuffer8BitAccess,
        .subgroup_ballot = (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_BALLOT_BIT) &&
                           (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT),
        .unified = p->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU ||
                   p->deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
    };
    info->memory = device_memory(physical, info);
    if (driver.driverID == VK_DRIVER_ID_MESA_LLVMPIPE && sscanf(driver.driverInfo, "Mesa %u", &info->llvmpipe) != 1)
        info->llvmpipe = 0;
    snprintf(info->name, sizeof(info->name), "%.255s", p->deviceName);
    if (p->apiVersion >= VK_API_VERSION_1_2 && driver.driverName[0])
        snprintf(info->driver, sizeof(info->driver), "%.100s %.150s", driver.driverName, driver.driverInfo);
    else
        snprintf(info->driver, sizeof(info->driver), "driver version %u", p->driverVersion);
}

// Discrete first, then integrated, virtual, other; a CPU driver only when it is all there is, or asked for.
static int rank(const struct vks_gpu_info *info)
{
    static const char *const order[] = {"discrete", "integrated", "virtual", "other", "cpu"};
    for (int i = 0; i < (int)COUNT(order); i++)
        if (strcmp(info->type, order[i]) == 0)
            return i;
    return (int)COUNT(order);
}

static uint32_t enumerate(struct vks_gpu *gpu, VkPhysicalDevice devices[], uint32_t capacity)
{
    uint32_t count = capacity, kept = 0;
    if (vkEnumeratePhysicalDevices(gpu->instance, &count, devices) < 0)
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        VkPhysicalDeviceProperties properties;
        vkGetPhysicalDeviceProperties(devices[i], &properties);
        if (properties.apiVersion >= VK_API_VERSION_1_1)
            devices[kept++] = devices[i];
    }
    return kept;
}

static bool load(struct vks_gpu *gpu, bool validate)
{
    VkResult result = volkInitialize();
    if (result != VK_SUCCESS)
        return vks_fail(gpu->log, "no Vulkan loader on this system: install libvulkan1 and a driver (on a machine "
                        "without a GPU: mesa-vulkan-drivers)");
    result = create_instance(gpu, validate);
    if (result != VK_SUCCESS)
        return vks_fail(gpu->log, "no Vulkan driver could be started (%s): install one (on a machine without a GPU: "
                        "mesa-vulkan-drivers)", vks_vk_result(result));
    return true;
}

int vks_gpu_list(const struct vks_log *log, struct vks_gpu_info infos[], int capacity)
{
    struct vks_gpu gpu = {.log = log};
    if (!load(&gpu, false))
        return -1;
    VkPhysicalDevice devices[16];
    const uint32_t count = enumerate(&gpu, devices, COUNT(devices));
    for (uint32_t i = 0; i < count && (int)i < capacity; i++)
        describe(devices[i], i, &infos[i]);
    vkDestroyInstance(gpu.instance, NULL);
    return (int)count;
}

static bool choose(struct vks_gpu *gpu, const char *wanted)
{
    VkPhysicalDevice devices[16];
    const uint32_t count = enumerate(gpu, devices, COUNT(devices));
    char *end = NULL;
    const long number = wanted ? strtol(wanted, &end, 10) : -1;
    const bool by_number = wanted && *wanted && !*end;
    int best = -1;
    struct vks_gpu_info info;
    for (uint32_t i = 0; i < count; i++) {
        describe(devices[i], i, &info);
        const bool fits = !wanted || (by_number ? number == (long)i : strstr(info.name, wanted) != NULL);
        if (fits && (best < 0 || rank(&info) < rank(&gpu->info))) {
            best = (int)i;
            gpu->info = info;
        }
    }
    if (count == 0)
        return vks_fail(gpu->log, "no device with Vulkan 1.1: install a driver (on a machine without a GPU: "
                        "mesa-vulkan-drivers)");
    if (best < 0)
        return vks_fail(gpu->log, "no device is called %s: `vksteer devices` lists them", wanted);
    gpu->physical = devices[best];
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(gpu->physical, &properties);
    // The one limit of the floor that Vulkan 1.1 itself does not promise.
    const uint32_t buffers = properties.limits.maxPerStageDescriptorStorageBuffers;
    return buffers >= MOST_BUFFERS || vks_fail(gpu->log, "%s binds %u storage buffers at once, and %d are needed: "
                                               "choose another with --device", gpu->info.name, buffers, MOST_BUFFERS);
}

static void read_limits(struct vks_gpu *gpu, const struct vks_gpu_params *params, bool subgroups)
{
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &subgroup};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &maintenance};
    vkGetPhysicalDeviceProperties2(gpu->physical, &properties);
    const VkPhysicalDeviceLimits *limits = &properties.properties.limits;
    struct vks_gpu_limits *out = &gpu->limits;
    *out = (struct vks_gpu_limits){
        .max_range = limits->maxStorageBufferRange,
        .max_alloc = maintenance.maxMemoryAllocationSize - (gpu->texels ? VKS_TEXEL_SLACK : 0),
        .offset_align = (uint32_t)limits->minStorageBufferOffsetAlignment,
        .max_invocations = limits->maxComputeWorkGroupInvocations,
        .max_shared = limits->maxComputeSharedMemorySize,
        .subgroup_size = subgroups && gpu->info.subgroup_ballot ? subgroup.subgroupSize : 0,
        .max_groups = 65535,
        .is_cpu = gpu->info.is_cpu && !vks_gpu_disabled("cpu"),
        .wide_loads = gpu->wide_loads,
        .texels = gpu->texels,
        .dear_lanes = gpu->info.llvmpipe && gpu->info.llvmpipe < 23 && !vks_gpu_disabled("alike"),
        .addresses = gpu->addresses,
        .dispatch_seconds = 0.5,
    };
    if (params->phone_limits) {
        const uint64_t range = 128u << 20;
        out->max_range = out->max_range < range ? out->max_range : range;
        out->max_invocations = out->max_invocations < 128 ? out->max_invocations : 128;
        out->max_shared = out->max_shared < 16384 ? out->max_shared : 16384;
        out->offset_align = out->offset_align > 256 ? out->offset_align : 256;
        out->subgroup_size = 0;
        out->dispatch_seconds = 0.1;
    }
    // With vectors of 512 bits, of which one gathers sixteen words, products are cheap: there it was not measured. What
    // the processor has decides, and not what is switched off, for that is to change no bit.
    const bool gathers = gpu->info.llvmpipe >= 25 && vks_os_wide_vectors();
    out->winograd = !vks_gpu_disabled("winograd") &&
                    ((out->is_cpu && !gathers) || lists("VKSTEER_ENABLE", "winograd"));
    out->panels = vks_gpu_disabled("panels")           ? VKS_PANELS_NEVER
                  : lists("VKSTEER_ENABLE", "panels")  ? VKS_PANELS_ALWAYS
                  : out->texels && !out->dear_lanes    ? VKS_PANELS_PAYING
                                                       : VKS_PANELS_NEVER;
    gpu->most_allocations = limits->maxMemoryAllocationCount;
    if (out->offset_align < 16)
        out->offset_align = 16;
    gpu->budget = params->memory ? params->memory : gpu->info.memory;
}

// Whether pipelines may ask for the subgroup size that the device reports.
static bool can_pin_subgroups(const struct vks_gpu *gpu, VkPhysicalDeviceSubgroupSizeControlFeaturesEXT *control)
{
    *control = (VkPhysicalDeviceSubgroupSizeControlFeaturesEXT){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT};
    if (!device_has(gpu->physical, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
        return false;
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = control};
    vkGetPhysicalDeviceFeatures2(gpu->physical, &features);
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT, .pNext = &subgroup};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &sizes};
    vkGetPhysicalDeviceProperties2(gpu->physical, &properties);
    const uint32_t size = subgroup.subgroupSize;
    return control->subgroupSizeControl && control->computeFullSubgroups &&
           (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) && size >= sizes.minSubgroupSize &&
           size <= sizes.maxSubgroupSize && (uint64_t)size * sizes.maxComputeWorkgroupSubgroups >= MAX_GROUP;
}

// Whether kernels may take device addresses, and load bytes from them.
static bool has_addresses(const struct vks_gpu *gpu)
{
    VkPhysicalDeviceBufferDeviceAddressFeaturesKHR addresses = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &addresses};
    if (!device_has(gpu->physical, VK_KHR_BUFFER_DEVICE_ADDRESS_EXTENSION_NAME) ||
        !device_has(gpu->physical, VK_KHR_8BIT_STORAGE_EXTENSION_NAME) || !gpu->info.storage8)
        return false;
    vkGetPhysicalDeviceFeatures2(gpu->physical, &features);
    return addresses.bufferDeviceAddress;
}

// Whether kernels may load operands as texels of four fp32 or fp16: wherever storage may begin, and as many of them
// as a binding holds.
static bool has_texels(const struct vks_gpu *gpu)
{
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(gpu->physical, &properties);
    VkFormatProperties fp32, fp16;
    vkGetPhysicalDeviceFormatProperties(gpu->physical, VK_FORMAT_R32G32B32A32_SFLOAT, &fp32);
    vkGetPhysicalDeviceFormatProperties(gpu->physical, VK_FORMAT_R16G16B16A16_SFLOAT, &fp16);
    const VkPhysicalDeviceLimits *limits = &properties.limits;
    return (fp32.bufferFeatures & fp16.bufferFeatures & VK_FORMAT_FEATURE_UNIFORM_TEXEL_BUFFER_BIT) &&
           limits->minTexelBufferOffsetAlignment <= VKS_TEXEL_ALIGN &&
           limits->maxTexelBufferElements >= limits->maxStorageBufferRange / 8 &&
           limits->maxPerStageDescriptorSampledImages >= MOST_BUFFERS &&
           limits->maxPerStageResources >= 2 * MOST_BUFFERS;
}

static bool create_device(struct vks_gpu *gpu)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = COUNT(families);
    vkGetPhysicalDeviceQueueFamilyProperties(gpu->physical, &count, families);
    for (gpu->family = 0; gpu->family < count; gpu->family++)
        if (families[gpu->family].queueFlags & VK_QUEUE_COMPUTE_BIT)
            break;
    if (gpu->family == count)
        return vks_fail(gpu->log, "%s has no compute queue: choose another with --device", gpu->info.name);
    const char *extensions[4];
    uint32_t extension_count = 0;
    if (device_has(gpu->physical, "VK_KHR_portability_subset"))
        extensions[extension_count++] = "VK_KHR_portability_subset";
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT control;
    gpu->size_control = can_pin_subgroups(gpu, &control);
    if (gpu->size_control)
        extensions[extension_count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    void *const sizes = gpu->size_control ? &control : NULL;
    VkPhysicalDevice8BitStorageFeaturesKHR bytes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES_KHR,
        .pNext = sizes,
        .storageBuffer8BitAccess = VK_TRUE,
    };
    VkPhysicalDeviceBufferDeviceAddressFeaturesKHR addresses = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES_KHR,
        .pNext = &bytes,
        .bufferDeviceAddress = VK_TRUE,
    };
    if (gpu->addresses) {
        extensions[extension_count++] = VK_KHR_8BIT_STORAGE_EXTENSION_NAME;
        extensions[extension_count++] = VK_KHR_BUFFER_DEVICE_ADDRESS_EXTENSION_NAME;
    }
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = gpu->addresses ? &addresses : sizes,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &(VkDeviceQueueCreateInfo){
            .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
            .queueFamilyIndex = gpu->family,
            .queueCount = 1,
            .pQueuePriorities = (const float[]){1},
        },
        .enabledExtensionCount = extension_count,
        .ppEnabledExtensionNames = extensions,
        .pEnabledFeatures = &(VkPhysicalDeviceFeatures){.shaderInt64 = gpu->wide_loads},
    };
    const VkResult result = vkCreateDevice(gpu->physical, &info, NULL, &gpu->device);
    if (result != VK_SUCCESS)
        return vks_vk_fail(gpu, result, "opening the device");
    volkLoadDeviceTable(&gpu->vk, gpu->device);
    gpu->vk.vkGetDeviceQueue(gpu->device, gpu->family, 0, &gpu->queue);
    return true;
}

static bool create_queue_objects(struct vks_gpu *gpu)
{
    VkResult result = gpu->vk.vkCreateCommandPool(gpu->device, &(VkCommandPoolCreateInfo){
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = gpu->family,
    }, NULL, &gpu->pool);
    if (result == VK_SUCCESS)
        result = gpu->vk.vkCreateFence(gpu->device, &(VkFenceCreateInfo){
            .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO}, NULL, &gpu->fence);
    if (result == VK_SUCCESS)
        result = gpu->vk.vkAllocateCommandBuffers(gpu->device, &(VkCommandBufferAllocateInfo){
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = gpu->pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        }, &gpu->copy);
    return result == VK_SUCCESS || vks_vk_fail(gpu, result, "creating the command pool");
}

static void destroy_instance(struct vks_gpu *gpu)
{
    if (gpu->messenger) {
        // Not volk's global pointer: that is the one of the instance made last.
        const PFN_vkDestroyDebugUtilsMessengerEXT destroy = (PFN_vkDestroyDebugUtilsMessengerEXT)
            vkGetInstanceProcAddr(gpu->instance, "vkDestroyDebugUtilsMessengerEXT");
        destroy(gpu->instance, gpu->messenger, NULL);
    }
    if (gpu->instance)
        vkDestroyInstance(gpu->instance, NULL);
    gpu->messenger = VK_NULL_HANDLE;
    gpu->instance = VK_NULL_HANDLE;
}

// Mesa's CPU driver uses 256 bits of wider vectors unless told otherwise before it is loaded. With all of them its
// subgroups have 16 lanes, and from version 25 on products run half as fast again. The loader unloads the driver with
// the last instance; where it does not, all stays as it is.
static bool widen(struct vks_gpu *gpu, const struct vks_gpu_params *params)
{
    static const char variable[] = "LP_NATIVE_VECTOR_WIDTH";
    if (gpu->info.llvmpipe < 25 || params->phone_limits || vks_os_env(variable) || vks_gpu_disabled("avx512") ||
        vks_gpu_disabled("address") || !vks_os_wide_vectors() || !vks_os_set_env(variable, "512"))
        return true;
    destroy_instance(gpu);
    return load(gpu, params->validate) && choose(gpu, params->device);
}

struct vks_gpu *vks_gpu_create(const struct vks_gpu_params *params)
{
    struct vks_gpu *gpu = calloc(1, sizeof(*gpu));
    if (!gpu)
        return vks_fail_null(params->log, VKS_NO_MEMORY);
    gpu->log = params->log;
    check_words(gpu->log, "VKSTEER_DISABLE", " subgroup int64 texel address touch winograd panels tickets alike avx512 "
                "cpu awake hostmap ");
    check_words(gpu->log, "VKSTEER_ENABLE", " texel address touch winograd panels tickets ");
    if (!load(gpu, params->validate) || !choose(gpu, params->device) || (params->own_process && !widen(gpu, params)))
        goto fail;
    // Graphics cards load 16 bytes at once as they are.
    gpu->wide_loads = gpu->info.is_cpu && gpu->info.int64 && !params->phone_limits && !vks_gpu_disabled("int64");
    // Where the processor has AVX-512, Mesa 25 gathers from addresses, which touching helps. Without, and with Mesa 22,
    // such loads go lane by lane as from descriptors, and texels are loaded faster; what lies between was not seen.
    gpu->addresses = gpu->wide_loads && !vks_gpu_disabled("address") && has_addresses(gpu) &&
                     ((gpu->info.llvmpipe >= 25 && vks_os_wide_vectors()) || lists("VKSTEER_ENABLE", "address"));
    gpu->texels = gpu->wide_loads && !gpu->addresses && !vks_gpu_disabled("texel") && has_texels(gpu) &&
                  (gpu->info.llvmpipe || lists("VKSTEER_ENABLE", "texel"));
    gpu->touches = !vks_gpu_disabled("touch") && (gpu->info.llvmpipe >= 25 || lists("VKSTEER_ENABLE", "touch"));
    gpu->always_tickets = gpu->info.is_cpu && lists("VKSTEER_ENABLE", "tickets");
    gpu->takes_tickets = (gpu->info.llvmpipe || gpu->always_tickets) && !vks_gpu_disabled("tickets");
    if (!create_device(gpu))
        goto fail;
    // Kernels that count lanes need a size that is pinned; drivers on which it cannot vary pin it by themselves.
    const bool subgroups = !vks_gpu_disabled("subgroup") && (gpu->size_control || gpu->info.is_cpu);
    read_limits(gpu, params, subgroups);
    gpu->map = gpu->info.unified && !vks_gpu_disabled("hostmap");
    // Mesa's driver wakes its threads for each dispatch.
    gpu->awake = gpu->info.llvmpipe && !vks_gpu_disabled("awake") ? vks_os_awake_open() : NULL;
    if (!create_queue_objects(gpu) || !vks_memory_init(gpu) || !vks_pipelines_init(gpu))
        goto fail;
    return gpu;
fail:
    vks_gpu_destroy(&gpu);
    return NULL;
}

void vks_gpu_destroy(struct vks_gpu **gpu_address)
{
    struct vks_gpu *gpu = *gpu_address;
    if (!gpu)
        return;
    *gpu_address = NULL;
    vks_os_awake_close(&gpu->awake);
    if (gpu->device) {
        gpu->vk.vkDeviceWaitIdle(gpu->device);
        vks_pipelines_finish(gpu);
        vks_memory_finish(gpu);
        gpu->vk.vkDestroyFence(gpu->device, gpu->fence, NULL);
        gpu->vk.vkDestroyCommandPool(gpu->device, gpu->pool, NULL);
        gpu->vk.vkDestroyDevice(gpu->device, NULL);
    }
    destroy_instance(gpu);
    free(gpu);
}

bool vks_gpu_refuse_lost(const struct vks_gpu *gpu)
{
    return vks_fail(gpu->log, "the device was lost earlier: start the program again");
}

static bool submit(struct vks_gpu *gpu, const VkCommandBuffer buffers[], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const VkSubmitInfo info = {
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &buffers[i]};
        // One batch a buffer: drivers' watchdogs count batches.
        VkResult result = gpu->vk.vkQueueSubmit(gpu->queue, 1, &info, i + 1 == count ? gpu->fence : VK_NULL_HANDLE);
        if (result != VK_SUCCESS) {
            // What went before still runs, and the caller may free its command buffers.
            if (result != VK_ERROR_DEVICE_LOST && gpu->vk.vkQueueWaitIdle(gpu->queue) != VK_SUCCESS)
                gpu->lost = true;
            return vks_vk_fail(gpu, result, "submitting work");
        }
    }
    VkResult result = gpu->vk.vkWaitForFences(gpu->device, 1, &gpu->fence, VK_TRUE, UINT64_MAX);
    if (result == VK_SUCCESS)
        result = gpu->vk.vkResetFences(gpu->device, 1, &gpu->fence);
    if (result == VK_SUCCESS)
        return true;
    gpu->lost = true;  // whatever it was, nobody knows what has run
    return vks_vk_fail(gpu, result, "waiting for the device");
}

bool vks_gpu_submit(struct vks_gpu *gpu, const VkCommandBuffer buffers[], uint32_t count)
{
    if (gpu->lost)
        return vks_gpu_refuse_lost(gpu);
    vks_os_awake_hold(gpu->awake, true);
    const bool done = submit(gpu, buffers, count);
    vks_os_awake_hold(gpu->awake, false);
    return done;
}

void vks_gpu_tune(struct vks_gpu *gpu, const uint8_t matmul[3])
{
    memcpy(gpu->limits.matmul, matmul, sizeof(gpu->limits.matmul));
}

const struct vks_gpu_limits *vks_gpu_limits(const struct vks_gpu *gpu)
{
    return &gpu->limits;
}

const struct vks_gpu_info *vks_gpu_info(const struct vks_gpu *gpu)
{
    return &gpu->info;
}

const struct vks_log *vks_gpu_log(const struct vks_gpu *gpu)
{
    return gpu->log;
}

unsigned vks_gpu_validation_messages(const struct vks_gpu *gpu)
{
    return gpu->validation_messages;
}

uint64_t vks_gpu_allocated(const struct vks_gpu *gpu, uint64_t *peak)
{
    if (peak)
        *peak = gpu->peak;
    return gpu->allocated;
}

double vks_gpu_rate(const struct vks_gpu *gpu)
{
    return gpu->rate > 0 ? gpu->rate : gpu->info.is_cpu ? 0.5e9 : 50e9;
}

void vks_gpu_learn_rate(struct vks_gpu *gpu, double flop, double seconds)
{
    // The first run of a pipeline may compile it, so a single slow run only delays; what counts is the order of size.
    if (seconds < 1e-3 || flop < 1e7)
        return;
    const double rate = flop / seconds;
    if (gpu->rate == 0 || rate > gpu->rate)
        gpu->rate = rate;
}
