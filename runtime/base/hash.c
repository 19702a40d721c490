// Four lanes of multiply and rotate over 32-byte stripes, joined and finished with a strong avalanche.
#include "base/hash.h"

#include "base/bytes.h"

#include <string.h>

#define STRIPE 32u

static const uint64_t odd[4] = {
    0x9e3779b97f4a7c15u, 0xd1b54a32d192ed03u, 0xaef17502108ef2d9u, 0xf1357aea2e62a9c5u,
};

static uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static uint64_t mix(uint64_t lane, uint64_t word)
{
    return rotate(lane ^ word * odd[1], 29) * odd[0] + odd[2];
}

static uint64_t avalanche(uint64_t x)
{
    x ^= x >> 32;
    x *= odd[3];
    x ^= x >> 29;
    x *= odd[1];
    return x ^ x >> 32;
}

static void stripe(struct vks_hash *hash, const unsigned char *at)
{
    for (unsigned i = 0; i < 4; i++)
        hash->lanes[i] = mix(hash->lanes[i], vks_le(at + 8 * i, 8));
}

void vks_hash_init(struct vks_hash *hash, uint64_t seed)
{
    *hash = (struct vks_hash){0};
    for (unsigned i = 0; i < 4; i++)
        hash->lanes[i] = avalanche(seed + odd[i]);
}

void vks_hash_add(struct vks_hash *hash, const void *data, size_t size)
{
    const unsigned char *at = data;
    const size_t kept = hash->length % STRIPE;
    hash->length += size;
    if (kept) {
        const size_t room = STRIPE - kept, taken = size < room ? size : room;
        if (taken)
            memcpy(hash->tail + kept, at, taken);
        if (taken < room)
            return;
        stripe(hash, hash->tail);
        at += taken;
        size -= taken;
    }
    for (; size >= STRIPE; at += STRIPE, size -= STRIPE)
        stripe(hash, at);
    if (size)
        memcpy(hash->tail, at, size);
}

void vks_hash_add_text(struct vks_hash *hash, const char *text)
{
    vks_hash_add(hash, text, strlen(text) + 1);
}

void vks_hash_add_u64(struct vks_hash *hash, uint64_t value)
{
    unsigned char bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    vks_hash_add(hash, bytes, sizeof(bytes));
}

uint64_t vks_hash_value(const struct vks_hash *hash)
{
    struct vks_hash copy = *hash;
    const size_t kept = hash->length % STRIPE;
    memset(copy.tail + kept, 0, STRIPE - kept);
    stripe(&copy, copy.tail);
    uint64_t value = hash->length * odd[3];
    for (unsigned i = 0; i < 4; i++)
        value = avalanche(rotate(value, 17) ^ copy.lanes[i]) + odd[i];
    return avalanche(value);
}

uint64_t vks_hash64(const void *data, size_t size)
{
    struct vks_hash hash;
    vks_hash_init(&hash, 0);
    vks_hash_add(&hash, data, size);
    return vks_hash_value(&hash);
}

char *vks_hash_hex(uint64_t value, char text[17])
{
    for (int i = 0; i < 16; i++)
        text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    text[16] = 0;
    return text;
}
