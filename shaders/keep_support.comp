// Keeps a support while its maps are fitted again (Meinshausen 2007, "Relaxed Lasso"): where step[VKS_STEP_REFIT] is
// not 0, the gradient of a channel that stands at the identity becomes 0,
//
//     dw, db = w == 1 and b == 0 ? 0, 0 : dw, db
//
// so that an optimiser whose moments began at 0 leaves the channel there, to the bit.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"

VKS_BUF(0, float, dw);
VKS_BUF(1, float, db);
VKS_BUF_IN(2, float, w);
VKS_BUF_IN(3, float, b);
VKS_BUF_IN(4, uint, stp);
VKS_PUSH(5, keep_support);

void main()
{
    const uint i = vks_item();
    if (i >= p.count || VKS_AT(4, stp, VKS_STEP_REFIT) == 0u)
        return;
    if (VKS_AT(2, w, i) == 1.0 && VKS_AT(3, b, i) == 0.0) {
        VKS_AT(0, dw, i) = 0.0;
        VKS_AT(1, db, i) = 0.0;
    }
}
