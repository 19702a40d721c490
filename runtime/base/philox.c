#include "base/philox.h"

#include <math.h>

#define TWO_PI 6.28318530717958647692

void vks_philox(uint32_t counter[4], const uint32_t key[2])
{
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t product0 = (uint64_t)counter[0] * 0xd2511f53u, product1 = (uint64_t)counter[2] * 0xcd9e8d57u;
        const uint32_t c1 = counter[1], c3 = counter[3];
        counter[0] = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        counter[1] = (uint32_t)product1;
        counter[2] = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        counter[3] = (uint32_t)product0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
}

static void draw(const struct vks_noise *noise, uint32_t i, uint32_t words[4])
{
    const uint32_t key[2] = {(uint32_t)noise->seed, (uint32_t)(noise->seed >> 32)};
    words[0] = noise->offset;
    words[1] = noise->stream;
    words[2] = i;
    words[3] = (uint32_t)noise->domain;
    vks_philox(words, key);
}

void vks_noise_normal(const struct vks_noise *noise, float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t words[4];
        draw(noise, (uint32_t)i, words);
        const double u = ((double)words[0] + 0.5) * 0x1p-32, v = ((double)words[1] + 0.5) * 0x1p-32;
        values[i] = (float)(sqrt(-2 * log(u)) * sin(TWO_PI * v));
    }
}

void vks_noise_shuffle(const struct vks_noise *noise, uint32_t *order, size_t count)
{
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (size_t i = count; i > 1; i--) {
        uint32_t words[4];
        draw(noise, (uint32_t)i, words);
        const size_t j = (size_t)((uint64_t)words[0] * i >> 32);
        const uint32_t kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}
