// What every kernel shares: buffers with element offsets, the flattened workgroup number, bit-exact NaN tests.
//
// A kernel declares its operands with VKS_BUF in binding order and its push block with VKS_PUSH, and reads and writes
// element i of operand `name`, whose binding is `slot`, as VKS_AT(slot, name, i). Storage is never `restrict`: the
// planner may let an output take the bytes of an input that nothing reads afterwards.
//
// The build makes up to four modules of a kernel, and runtime/gpu chooses; the bits are the same:
//     plain        operands are descriptors; `off` holds what the device's offset alignment leaves over, in elements,
//                  so that an operand may start at any element of any block
//     VKS_WIDE     the same with 64 bits as the loaded type of four neighbouring elements (wide.glsl)
//     VKS_TEXEL    wide, and beside the descriptor of an operand stands a texel buffer that begins where the operand
//                  does: four neighbouring elements are one texel of four fp32 or, where elements have two bytes,
//                  fp16. Mesa's CPU driver loads a texel of 16 bytes at once and turns eight of them by shuffles, in
//                  a function (Mesa 25: behind a pointer); of all other loads it makes, without AVX-512, a branch and
//                  a load for each lane and word
//     VKS_ADDRESS  wide, and `off` holds device addresses; bytes are loaded too (VKS_TOUCH). Where the processor has
//                  AVX-512, Mesa 25 makes one gather instruction of an address's load
#ifndef VKS_GLSL
#define VKS_GLSL

#extension GL_GOOGLE_include_directive : enable
#extension GL_EXT_control_flow_attributes : enable
#include "../push.h"

#ifndef VKS_LOCAL
#define VKS_LOCAL 64
#endif
layout(local_size_x = VKS_LOCAL, local_size_x_id = 0) in;

#ifdef VKS_ADDRESS
#define VKS_WIDE
#extension GL_EXT_buffer_reference : require
#endif
#ifdef VKS_WIDE
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#endif
#ifdef VKS_ADDRESS
#extension GL_EXT_shader_8bit_storage : require
#endif

#ifdef VKS_ADDRESS
#define VKS_BUF(slot, type, name) \
    layout(buffer_reference, std430, buffer_reference_align = 4) buffer Ref_##name { type v; }
#define VKS_BUF_IN(slot, type, name) \
    layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Ref_##name { type v; }
#define VKS_AT(slot, name, i) Ref_##name(off[slot] + (uint64_t(i) << 2)).v
#define VKS_PUSH(count, kind) \
    layout(push_constant) uniform Push { uint64_t off[count]; VKS_TICKET_PUSH vks_push_##kind p; }
#else
#define VKS_BUF(slot, type, name) layout(std430, set = 0, binding = slot) buffer Buf_##name { type name[]; }
#define VKS_BUF_IN(slot, type, name) \
    layout(std430, set = 0, binding = slot) readonly buffer Buf_##name { type name[]; }
#define VKS_AT(slot, name, i) name[off[slot] + (i)]
#define VKS_PUSH(count, kind) layout(push_constant) uniform Push { uint off[count]; VKS_TICKET_PUSH vks_push_##kind p; }
#endif

// Tickets: which workgroup does what. Mesa's CPU driver cuts a dispatch into one run of workgroups a thread, and none
// helps with a run that another has begun, so all wait for the slowest processor: one of another kind, or one whose
// units and caches another program (in a virtual machine, another guest) uses too. Where workgroups run long, each
// therefore takes the number of its work from a counter (self-scheduling, Tang and Yew, "Processor self-scheduling for
// multiple-nested parallel loops", 1986), and of twice as many workgroups as there is work for, half come in vain, so
// that a fast thread's run is long enough for more than its share. Whoever is given the last number sets the counter
// back for the next dispatch. A loop over numbers would do with fewer workgroups, but the driver masks all stores in
// loops.
//
// A kernel with tickets begins with VKS_MAIN in place of void main(), has workgroups of one subgroup, and uses
// vks_workgroup in place of gl_WorkGroupID. 1024 cubed on two cores, Mesa 25.0, GFLOP/s with and without tickets: 59 and
// 59 while nobody disturbs, 50 and 39 while another program has one of the cores for two milliseconds of five.
#ifdef VKS_TICKETS
#extension GL_KHR_shader_subgroup_ballot : require
layout(constant_id = VKS_TICKETS_CONSTANT) const uint TAKES_TICKETS = 0;
#ifdef VKS_ADDRESS
layout(buffer_reference, std430, buffer_reference_align = 4) buffer vks_counter { uint v; };
#define VKS_COUNTER vks_counter(counter_at).v
#define VKS_TICKET_PUSH uint64_t counter_at; uint first_x, first_y, first_z;
#else
layout(std430, set = 0, binding = VKS_COUNTER_BINDING) buffer vks_counter_buffer { uint vks_counter; };
#define VKS_COUNTER vks_counter
#define VKS_TICKET_PUSH uint first_x, first_y, first_z;
#endif
uvec3 vks_workgroup;
#define VKS_MAIN \
    void vks_work(); \
    void main() \
    { \
        vks_workgroup = gl_WorkGroupID; \
        if (TAKES_TICKETS != 0) { \
            const uvec2 of = gl_NumWorkGroups.xy; \
            const uint count = of.x * of.y * gl_NumWorkGroups.z; \
            uint ticket = 0; \
            if (gl_SubgroupInvocationID == 0) { \
                ticket = atomicAdd(VKS_COUNTER, 1); \
                if (ticket == count - 1) \
                    atomicExchange(VKS_COUNTER, 0); \
            } \
            ticket = subgroupBroadcast(ticket, 0); \
            if (ticket >= count / 2) \
                return; \
            vks_workgroup = uvec3(first_x, first_y, first_z) + \
                            uvec3(ticket % of.x, ticket / of.x % of.y, ticket / of.x / of.y); \
        } \
        vks_work(); \
    } \
    void vks_work()
#else
#define VKS_TICKET_PUSH
#define vks_workgroup gl_WorkGroupID
#define VKS_MAIN void main()
#endif

// Workgroups are numbered along x, then y: an axis holds at most 65,535 of them.
uint vks_group() { return vks_workgroup.y * VKS_GROUPS_X + vks_workgroup.x; }
uint vks_item() { return vks_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x; }

// Elementwise kernels: an invocation visits VKS_ELEMENTS elements, `width` neighbours at a time: those from
// vks_first(), and then vks_step() further on. VKS_RUN invocations share one stretch of memory and walk along it, so
// that a subgroup of a CPU driver reads memory in order, which is what its prefetchers follow: with a workgroup's
// invocations side by side and the workgroup a step apart, sums of long tensors were half as fast.
#define VKS_RUN 16u
uint vks_first(uint width)
{
    const uint lane = gl_LocalInvocationID.x;
    return (vks_group() * gl_WorkGroupSize.x + lane - lane % VKS_RUN) * VKS_ELEMENTS + width * (lane % VKS_RUN);
}
uint vks_step(uint width) { return width * VKS_RUN; }

// Fetching ahead, for drivers that run on a CPU. There a gather that misses the caches holds up all that follows it,
// and prefetchers do not follow gathers; loads of a byte become plain loads, a lane each, of which many may be on
// their way at once. So a kernel touches what it is about to want, a byte of each cache line:
//
//     uint touched = VKS_TOUCH(1, i) | ...;     // i: of an element that is there; written or not, as it may be
//     ...
//     VKS_TOUCHED(0, y, touched);
//
// The last line keeps the loads: it stores where the device address of y has its highest bit, which none has, and no
// compiler knows that.
#define VKS_LINE 16u  // elements of a cache line
#ifdef VKS_ADDRESS
layout(constant_id = VKS_TOUCH_CONSTANT) const uint TOUCHES = 0;
layout(buffer_reference, std430, buffer_reference_align = 1) readonly buffer vks_byte { uint8_t v; };
#define VKS_TOUCH(slot, i) (TOUCHES != 0 ? uint(vks_byte(off[slot] + (uint64_t(i) << 2)).v) : 0u)
#define VKS_TOUCHED(slot, name, touched) { \
    if (TOUCHES != 0 && ((touched) & uint(off[slot] >> 63)) != 0) \
        VKS_AT(slot, name, 0) = 0; }
// `count` elements from element i on, which are this invocation's own.
#define VKS_TOUCH_RUN(touched, slot, i, count) { \
    for (uint vks_c = 0; TOUCHES != 0 && vks_c < (count); vks_c += VKS_LINE) \
        touched |= VKS_TOUCH(slot, (i) + vks_c); }
// `width` columns of `rows` rows, `stride` elements apart, from element i on. Neighbouring invocations have the
// columns beside these in the same rows: those that share a line share its rows.
#define VKS_TOUCH_ROWS(touched, slot, i, stride, rows, width) { \
    const uint vks_share = max(VKS_LINE / (width), 1u); \
    for (uint vks_r = gl_LocalInvocationID.x % vks_share; TOUCHES != 0 && vks_r < (rows); vks_r += vks_share) \
        VKS_TOUCH_RUN(touched, slot, (i) + vks_r * (stride), width) }
#else
#define VKS_TOUCH(slot, i) 0u
#define VKS_TOUCHED(slot, name, touched)
#define VKS_TOUCH_RUN(touched, slot, i, count)
#define VKS_TOUCH_ROWS(touched, slot, i, stride, rows, width)
#endif

// What an invocation of an elementwise kernel touches: a line of the stretch after its own, of `count` elements in all.
// It visits VKS_ELEMENTS, which are a line, so a stretch's invocations touch all lines of the next.
uint vks_ahead(uint count) { return min((vks_item() + VKS_RUN) * VKS_ELEMENTS, count - 1); }

// Row of sample `s` of this dispatch's tensors among the rows of the whole batch, by the step buffer.
#define VKS_ROW_OF(slot, stp, s) (VKS_AT(slot, stp, VKS_STEP_ORDERED) == 0 ? VKS_AT(slot, stp, VKS_STEP_SLICE) + (s) \
                                  : VKS_AT(slot, stp, VKS_STEP_ORDER + VKS_AT(slot, stp, VKS_STEP_SLICE) + (s)))

bool vks_is_nan(float v) { return (floatBitsToUint(v) & 0x7fffffffu) > 0x7f800000u; }

#endif
