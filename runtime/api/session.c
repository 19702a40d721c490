// Sessions: a log and a device.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

static void forward(void *priv, enum vks_log_level level, const char *message)
{
    const struct vksteer_log *user = priv;
    user->print(user->priv, (enum vksteer_log_level)level, message);
}

const struct vks_log *vks_api_log_init(struct vks_api_log *bridge, const struct vksteer_log *user)
{
    *bridge = (struct vks_api_log){.user = user ? *user : (struct vksteer_log){0}};
    bridge->log = (struct vks_log){
        .print = bridge->user.print ? forward : NULL,
        .priv = &bridge->user,
        .level = (enum vks_log_level)bridge->user.level,
    };
    return &bridge->log;
}

static void describe(struct vksteer_device_info *out, const struct vks_gpu_info *info)
{
    memset(out, 0, sizeof(*out));
    out->index = info->index;
    memcpy(out->name, info->name, sizeof(out->name));
    memcpy(out->driver, info->driver, sizeof(out->driver));
    out->type = info->type;
    out->memory = info->memory;
    out->api_version = info->api_version;
    out->fp16 = info->fp16;
    out->int8 = info->int8;
    out->int64 = info->int64;
    out->storage16 = info->storage16;
    out->storage8 = info->storage8;
    out->cooperative_matrix = info->cooperative_matrix;
}

static void describe_limits(struct vksteer_device_info *out, const struct vks_gpu_limits *limits)
{
    out->max_range = limits->max_range;
    out->max_alloc = limits->max_alloc;
    out->subgroup_size = limits->subgroup_size;
    out->max_invocations = limits->max_invocations;
    out->max_shared = limits->max_shared;
    out->wide_loads = limits->wide_loads;
    out->texels = limits->texels;
    out->addresses = limits->addresses;
}

// The device that a session without a wish takes: -1 when none can be used.
static int chosen_device(bool own_process)
{
    struct vks_gpu *gpu = vks_gpu_create(&(struct vks_gpu_params){.own_process = own_process});
    if (!gpu)
        return -1;
    const int index = (int)vks_gpu_info(gpu)->index;
    vks_gpu_destroy(&gpu);
    return index;
}

int vksteer_devices(const struct vksteer_session_params *params, struct vksteer_device_info *devices, int capacity)
{
    enum { MOST = 32 };
    struct vks_api_log bridge;
    const struct vks_log *inner = vks_api_log_init(&bridge, &params->log);
    struct vks_gpu_info *infos = calloc(MOST, sizeof(*infos));
    if (!infos) {
        vks_fail(inner, VKS_NO_MEMORY);
        return -1;
    }
    const int chosen = chosen_device(params->own_process);  // first: it settles what the drivers read
    const int count = vks_gpu_list(inner, infos, MOST);
    for (int i = 0; i < count && i < capacity && i < MOST; i++) {
        char number[16];
        describe(&devices[i], &infos[i]);
        devices[i].chosen = (int)infos[i].index == chosen;
        snprintf(number, sizeof(number), "%u", infos[i].index);
        struct vks_gpu *gpu = vks_gpu_create(&(struct vks_gpu_params){.device = number});
        if (gpu)
            describe_limits(&devices[i], vks_gpu_limits(gpu));
        vks_gpu_destroy(&gpu);
    }
    free(infos);
    return count;
}

vksteer_session *vksteer_session_open(const struct vksteer_session_params *params)
{
    static const struct vksteer_session_params defaults;
    params = params ? params : &defaults;
    vksteer_session *session = calloc(1, sizeof(*session));
    if (!session) {
        struct vks_api_log bridge;
        return vks_fail_null(vks_api_log_init(&bridge, &params->log), VKS_NO_MEMORY);
    }
    const struct vks_log *log = vks_api_log_init(&session->bridge, &params->log);
    session->gpu = vks_gpu_create(&(struct vks_gpu_params){
        .log = log,
        .device = params->device,
        .phone_limits = params->phone_limits,
        .memory = params->memory_mib << 20,
        .validate = params->validate,
        .own_process = params->own_process,
    });
    if (session->gpu && params->model_path) {
        session->model_path = malloc(strlen(params->model_path) + 1);
        if (session->model_path)
            strcpy(session->model_path, params->model_path);
        else
            vks_fail(log, VKS_NO_MEMORY);
    }
    if (!session->gpu || (params->model_path && !session->model_path)) {
        vksteer_session_close(&session);
        return NULL;
    }
    describe(&session->device, vks_gpu_info(session->gpu));
    describe_limits(&session->device, vks_gpu_limits(session->gpu));
    session->device.chosen = true;
    if (!params->phone_limits)
        vks_api_tuning_load(session);
    return session;
}

void vksteer_session_close(vksteer_session **address)
{
    vksteer_session *session = *address;
    if (!session)
        return;
    *address = NULL;
    vks_gpu_destroy(&session->gpu);
    free(session->model_path);
    free(session);
}

const struct vksteer_device_info *vksteer_session_device(const vksteer_session *session)
{
    return &session->device;
}

uint64_t vksteer_session_memory(const vksteer_session *session, uint64_t *peak)
{
    uint64_t most = 0;
    const uint64_t now = vks_gpu_allocated(session->gpu, &most);
    if (peak)
        *peak = most;
    return now;
}

unsigned vksteer_session_validation_messages(const vksteer_session *session)
{
    return vks_gpu_validation_messages(session->gpu);
}
