// Philox4x32-10, a counter-based random number generator, and the Gaussian noise made from it.
//
// Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011). A number depends on its counter and
// key alone: no state to save, nothing to skip, any part of a stream in any order.
#ifndef VKS_BASE_PHILOX_H
#define VKS_BASE_PHILOX_H

#include <stddef.h>
#include <stdint.h>

// Ten rounds in place: counter (4 words) under key (2 words).
void vks_philox(uint32_t counter[4], const uint32_t key[2]);

// What the noise is for: streams of different domains never meet.
enum vks_noise_domain {
    VKS_NOISE_IMAGE,   // pictures: the layout of torch.randn on CUDA and of stable-diffusion.cpp's `cuda` generator
    VKS_NOISE_TARGET,  // LinEAS target prompt `stream`, drawn once
    VKS_NOISE_SOURCE,  // LinEAS source prompt `stream` at step `offset`
    VKS_NOISE_SHUFFLE, // order of the source prompts in epoch `offset`
    VKS_NOISE_TOKENS,  // sampling of token `offset` of text `stream`
    VKS_NOISE_FLOOR,   // draw `offset` of the simulation of the loss floor (steer/statistics.h)
    VKS_NOISE_VALIDATION,  // validation prompt `stream`, drawn once
};

// Element i of a stream comes from the counter (offset, stream, i, domain) under the key `seed`. In the image layout
// stream is 0, and offset counts the earlier draws of the same seed (the second picture's noise has offset 1 there).
struct vks_noise {
    uint64_t seed;
    uint32_t offset, stream;
    enum vks_noise_domain domain;
};

// Writes `count` independent N(0, 1) values: sqrt(-2 ln u) sin(2 pi v) with u = (a + 1/2) / 2^32 and
// v = (b + 1/2) / 2^32 from the first two words a, b; in double, rounded to float at the end. log and sin are the C
// library's: their last bit of a double all but never reaches the float.
void vks_noise_normal(const struct vks_noise *noise, float *values, size_t count);

// Writes a random order of 0 .. count - 1 (Fisher and Yates; the bias of at most count / 2^32 is not corrected).
void vks_noise_shuffle(const struct vks_noise *noise, uint32_t *order, size_t count);

#endif
