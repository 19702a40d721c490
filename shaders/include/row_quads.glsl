// Walks along a row (rows.glsl), an element a step, or with QUADS four: then LANES is 1 and the row's length a
// multiple of four. Sums take an element after the other in both, so the bits are the same.
//
//     for (uint c = VKS_ROW_FROM(0, lane); c < p.cols; c += VKS_ROW_STEP) {
//         const vec4 v = VKS_ROW_LOAD(slot, name, at + c);      // without QUADS all four are element at + c
//         VKS_ROW_EACH(j)
//             sum += v[j];
//     }
//
// Loads and stores alone (VKS_ROW_LOAD, VKS_ROW_STORE) serve any walk that takes a channel, or with QUADS four.
#ifndef VKS_ROW_QUADS_GLSL
#define VKS_ROW_QUADS_GLSL

#define VKS_ROW_FROM(first, lane) (QUADS != 0 ? (first) & ~3u : (first) + (lane))
#define VKS_ROW_STEP (QUADS != 0 ? 4u : LANES)
#define VKS_ROW_RELOAD(slot, name, i) \
    (QUADS != 0 ? VKS_RELOAD4(slot, name, i) : vec4(VKS_AT(slot, name, i)))
#define VKS_ROW_LOAD(slot, name, i) (QUADS != 0 ? VKS_LOAD4(slot, name, i) : vec4(VKS_AT(slot, name, i)))
#define VKS_ROW_EACH(j) [[unroll]] for (int j = 0; j < (QUADS != 0 ? 4 : 1); j++)
#define VKS_ROW_STORE(slot, name, i, value) { \
    if (QUADS != 0) \
        VKS_STORE4(slot, name, i, value); \
    else \
        VKS_AT(slot, name, i) = (value).x; }

#endif
