// What every kernel shares: buffers with element offsets, the flattened workgroup number, bit-exact NaN tests.
//
// A kernel declares its operands with VKS_BUF in binding order and its push block with VKS_PUSH; the recorder
// fills `off` with the part of an operand's offset that the device's offset alignment leaves over, so an operand
// may start at any element of any block. Storage is never `restrict`: the planner may let an output take the
// bytes of an input that nothing reads afterwards.
#ifndef VKS_GLSL
#define VKS_GLSL

#extension GL_GOOGLE_include_directive : enable
#extension GL_EXT_control_flow_attributes : enable
#include "../push.h"

#ifndef VKS_LOCAL
#define VKS_LOCAL 64
#endif
layout(local_size_x = VKS_LOCAL, local_size_x_id = 0) in;

#define VKS_BUF(slot, type, name) layout(std430, set = 0, binding = slot) buffer Buf_##name { type name[]; }
#define VKS_BUF_IN(slot, type, name) layout(std430, set = 0, binding = slot) readonly buffer Buf_##name { type name[]; }
#define VKS_PUSH(count, kind) layout(push_constant) uniform Push { uint off[count]; vks_push_##kind p; }

// Workgroups are numbered along x, then y: an axis holds at most 65,535 of them.
uint vks_group() { return gl_WorkGroupID.y * VKS_GROUPS_X + gl_WorkGroupID.x; }
uint vks_item() { return vks_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x; }

bool vks_is_nan(float v) { return (floatBitsToUint(v) & 0x7fffffffu) > 0x7f800000u; }

#endif
