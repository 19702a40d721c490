// The GGUF format, versions 2 and 3, little endian: a memory-mapped reader.
//
// A file is "GGUF", a version, the counts of tensors and of metadata; the metadata, each a key and a typed value; the
// table of tensors, each a name, extents, a type and an offset; padding; the tensors' bytes (docs/gguf.md of ggml).
// Files are hostile input: counts, lengths, kinds, nesting, names and UTF-8, extents, blocks, alignment, offsets,
// overlaps and duplicates are all checked when the file is opened; a refusal names the file and, where it can, the
// key or the tensor.
#ifndef VKS_IO_GGUF_H
#define VKS_IO_GGUF_H

#include "base/arena.h"
#include "base/log.h"
#include "base/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VKS_GGUF_MAX_RANK 4
#define VKS_GGUF_MAX_DEPTH 4  // arrays in arrays

// Kinds of metadata; the numbers are those of the files.
enum vks_gguf_kind {
    VKS_GGUF_U8,
    VKS_GGUF_I8,
    VKS_GGUF_U16,
    VKS_GGUF_I16,
    VKS_GGUF_U32,
    VKS_GGUF_I32,
    VKS_GGUF_F32,
    VKS_GGUF_BOOL,
    VKS_GGUF_STRING,
    VKS_GGUF_ARRAY,
    VKS_GGUF_U64,
    VKS_GGUF_I64,
    VKS_GGUF_F64,
};

// A value where it lies in the mapping: unaligned, little endian, checked to be whole.
struct vks_gguf_value {
    enum vks_gguf_kind kind, item;  // item: of an array's elements
    uint64_t count;                 // elements of an array, bytes of a string, otherwise 1
    const unsigned char *data;      // a scalar's or string's bytes (any bytes, no NUL behind them); the first element
    size_t size;                    // bytes
};

struct vks_gguf_pair {
    const char *key;  // UTF-8, no NUL inside
    struct vks_gguf_value value;
};

struct vks_gguf_tensor {
    const char *name;  // UTF-8, no NUL inside
    enum vks_quant_type type;
    int rank;                            // 0: one element
    uint64_t shape[VKS_GGUF_MAX_RANK];   // in PyTorch's order, the last varies fastest: the reverse of the file's
    uint64_t count;                      // elements
    size_t size;                         // bytes
    uint64_t offset;                     // of the first, from where the data begin
    const unsigned char *data;           // into the mapping, aligned to 8 bytes; read-only
};

// An opened file; metadata and tensors in the order of the file. All of it lives until close.
struct vks_gguf {
    const char *path;  // as given, for messages
    uint32_t version;
    struct vks_gguf_pair *metadata;
    size_t metadata_count;
    struct vks_gguf_tensor *tensors;
    size_t tensor_count;

    const struct vks_gguf_pair **keys;       // private from here on: sorted by name
    const struct vks_gguf_tensor **names;
    struct vks_arena arena;
    struct vks_os_map *map;
};

// NULL after one message.
struct vks_gguf *vks_gguf_open(const struct vks_log *log, const char *path);
// Accepts NULL; nulls it.
void vks_gguf_close(struct vks_gguf **file);
// Whether a path is to be taken for a GGUF file: one that is there and begins with "GGUF" or is named so (it may
// still be refused when it is opened).
bool vks_gguf_is(const char *path);

// NULL when there is none of that name (no message).
const struct vks_gguf_tensor *vks_gguf_find(const struct vks_gguf *file, const char *name);
const struct vks_gguf_value *vks_gguf_get(const struct vks_gguf *file, const char *key);

// Walks an array: *at is 0 at first; false at the end, and for a value that is no array.
bool vks_gguf_next(const struct vks_gguf_value *array, size_t *at, struct vks_gguf_value *item);
// A whole number that is not negative, of any integer kind; false for any other value.
bool vks_gguf_uint(const struct vks_gguf_value *value, uint64_t *out);
// Any number (bool too); a 64-bit integer is rounded to double. False for strings and arrays.
bool vks_gguf_number(const struct vks_gguf_value *value, double *out);

#endif
