// Region allocator: many small objects that live and die together.
#ifndef VKS_BASE_ARENA_H
#define VKS_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct vks_arena_block;

struct vks_arena {
    struct vks_arena_block *head;
};

// Zeroed memory aligned for any type, or NULL when the system has none left.
void *vks_arena_alloc(struct vks_arena *arena, size_t size);
// A copy of `text`, or NULL.
char *vks_arena_strdup(struct vks_arena *arena, const char *text);
// Formats into the arena, or NULL.
char *vks_arena_printf(struct vks_arena *arena, const char *format, ...);
// Frees all; the arena may be used again.
void vks_arena_finish(struct vks_arena *arena);

// Grows `*items` (heap, element size `size`) so that it can hold `count` + 1 elements; false when out of memory.
bool vks_grow(void *items, size_t *capacity, size_t count, size_t size);

#endif
