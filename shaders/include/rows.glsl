// A row of channels shared by LANES neighbouring invocations: channel c belongs to invocation c % LANES.
//
// One lane a row needs neither shared memory nor barriers, which is what CPU drivers want; 32 lanes a row read
// neighbouring addresses together, which is what graphics cards want. The order of each sum is fixed by LANES alone.
#ifndef VKS_ROWS_GLSL
#define VKS_ROWS_GLSL

layout(constant_id = 1) const uint LANES = 1;  // a divisor of the workgroup size

shared float vks_row_partial[VKS_LOCAL];

uint vks_row() { return vks_item() / LANES; }
uint vks_row_lane() { return gl_LocalInvocationID.x % LANES; }

// Sum of `v` over the lanes of a row, in lane order. Every invocation of the workgroup must come here.
float vks_row_sum(float v)
{
    if (LANES == 1)
        return v;
    const uint lane = gl_LocalInvocationID.x, first = lane - lane % LANES;
    vks_row_partial[lane] = v;
    barrier();
    float sum = 0.0;
    for (uint k = 0; k < LANES; k++)
        sum += vks_row_partial[first + k];
    barrier();
    return sum;
}

// Largest `v` of the lanes of a row.
float vks_row_max(float v)
{
    if (LANES == 1)
        return v;
    const uint lane = gl_LocalInvocationID.x, first = lane - lane % LANES;
    vks_row_partial[lane] = v;
    barrier();
    for (uint k = 0; k < LANES; k++)
        v = max(v, vks_row_partial[first + k]);
    barrier();
    return v;
}

#endif
