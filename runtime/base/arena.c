#include "base/arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)64 << 10)

struct vks_arena_block {
    struct vks_arena_block *next;
    size_t used, size;
    max_align_t data[];
};

void *vks_arena_alloc(struct vks_arena *arena, size_t size)
{
    const size_t align = sizeof(max_align_t);
    if (size > SIZE_MAX - BLOCK_SIZE)
        return NULL;
    size = (size + align - 1) / align * align;
    struct vks_arena_block *block = arena->head;
    if (!block || block->size - block->used < size) {
        const size_t wanted = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        block = calloc(1, sizeof(*block) + wanted);
        if (!block)
            return NULL;
        block->size = wanted;
        block->next = arena->head;
        arena->head = block;
    }
    void *at = (char *)block->data + block->used;
    block->used += size;
    return at;
}

char *vks_arena_strdup(struct vks_arena *arena, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = vks_arena_alloc(arena, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

char *vks_arena_printf(struct vks_arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = length < 0 ? NULL : vks_arena_alloc(arena, (size_t)length + 1);
    if (!text)
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void vks_arena_finish(struct vks_arena *arena)
{
    while (arena->head) {
        struct vks_arena_block *next = arena->head->next;
        free(arena->head);
        arena->head = next;
    }
}

bool vks_grow(void *items, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity)
        return true;
    const size_t wanted = *capacity ? *capacity * 2 : 16;
    if (wanted > SIZE_MAX / size)
        return false;
    void *old;
    memcpy(&old, items, sizeof(old));
    void *grown = realloc(old, wanted * size);
    if (!grown)
        return false;
    memcpy(items, &grown, sizeof(grown));
    *capacity = wanted;
    return true;
}
