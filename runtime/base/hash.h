// A fast 64-bit hash of content: same bytes, same value on every machine. For fingerprints and tables, not security.
#ifndef VKS_BASE_HASH_H
#define VKS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

// Streaming: start from vks_hash_init(), add pieces, finish. How the bytes are cut into pieces does not matter.
struct vks_hash {
    uint64_t lanes[4];
    uint64_t length;
    unsigned char tail[32];  // length % 32 bytes not yet mixed in
};

void vks_hash_init(struct vks_hash *hash, uint64_t seed);
void vks_hash_add(struct vks_hash *hash, const void *data, size_t size);
void vks_hash_add_text(struct vks_hash *hash, const char *text);  // with its NUL, so that "ab","c" != "a","bc"
void vks_hash_add_u64(struct vks_hash *hash, uint64_t value);
// Does not change the state: more may be added afterwards.
uint64_t vks_hash_value(const struct vks_hash *hash);

// All in one, seed 0.
uint64_t vks_hash64(const void *data, size_t size);

// Writes 16 lower-case hex digits and a NUL; returns `text`.
char *vks_hash_hex(uint64_t value, char text[17]);

#endif
