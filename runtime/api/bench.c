#include "api/internal.h"

bool vksteer_bench(vksteer_session *session, vksteer_model *model, const struct vksteer_bench_params *params)
{
    (void)model;
    (void)params;
    return vks_fail(&session->bridge.log, "bench: not written yet");
}
