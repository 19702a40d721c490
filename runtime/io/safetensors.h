// The safetensors format: reader (memory-mapped, one file or a sharded set) and writer (deterministic, atomic).
//
// A file is 8 bytes (length of the header, little endian), a JSON header, and the tensors' bytes. The header maps
// each name to {"dtype", "shape", "data_offsets": [begin, end]} and "__metadata__" to strings.
// Files are hostile input: header size, types, ranks, products, offsets, overlaps, gaps, duplicates, names and UTF-8
// are all checked when the file is opened; a refusal names the file and, where it can, the tensor.
#ifndef VKS_IO_SAFETENSORS_H
#define VKS_IO_SAFETENSORS_H

#include "base/arena.h"
#include "base/dtype.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VKS_ST_MAX_RANK 8

// Element types of the format. Those that vksteer computes with come first and equal enum vks_dtype.
enum vks_st_dtype {
    VKS_ST_F32 = VKS_F32,
    VKS_ST_F16 = VKS_F16,
    VKS_ST_BF16 = VKS_BF16,
    VKS_ST_I32 = VKS_I32,
    VKS_ST_BOOL,
    VKS_ST_U8,
    VKS_ST_I8,
    VKS_ST_F8_E4M3,
    VKS_ST_F8_E5M2,
    VKS_ST_U16,
    VKS_ST_I16,
    VKS_ST_U32,
    VKS_ST_U64,
    VKS_ST_I64,
    VKS_ST_F64,
};

size_t vks_st_dtype_size(enum vks_st_dtype dtype);
const char *vks_st_dtype_name(enum vks_st_dtype dtype);  // "F32", "F8_E4M3", ...
bool vks_st_is_float(enum vks_st_dtype dtype);           // F32, F16 or BF16: what vks_st_to_f32 reads

struct vks_st_tensor {
    const char *name;  // UTF-8, no NUL inside
    enum vks_st_dtype dtype;
    int rank;
    uint64_t shape[VKS_ST_MAX_RANK];
    uint64_t count;             // elements
    size_t size;                // bytes = count * dtype size
    const unsigned char *data;  // into the mapping: may be unaligned; read-only
};

struct vks_st_pair {
    const char *key, *value;  // UTF-8
};

// An opened file or set. `tensors` are sorted by name (byte order), `metadata` by key; of a set, the metadata of its
// first file. All of it lives until close.
struct vks_safetensors {
    const char *path;  // as given, for messages
    struct vks_st_tensor *tensors;
    size_t tensor_count;
    struct vks_st_pair *metadata;
    size_t metadata_count;

    struct vks_arena arena;       // private from here on
    struct vks_os_map *maps;
    size_t map_count;
};

// Opens one .safetensors file, or with a path that ends in ".json" the sharded set that this index describes
// (its shards must lie in the folder of the index). NULL after one message.
struct vks_safetensors *vks_safetensors_open(const struct vks_log *log, const char *path);
// Opens "FOLDER/NAME.safetensors" or, when only that exists, "FOLDER/NAME.safetensors.index.json".
struct vks_safetensors *vks_safetensors_open_in(const struct vks_log *log, const char *folder, const char *name);
// Accepts NULL; nulls it.
void vks_safetensors_close(struct vks_safetensors **file);

// NULL when there is none of that name (no message).
const struct vks_st_tensor *vks_safetensors_find(const struct vks_safetensors *file, const char *name);
// The value of a metadata key, or NULL.
const char *vks_safetensors_metadata(const struct vks_safetensors *file, const char *key);
// Like find, but absent, of another type or of another shape is an error. `dtype` < 0: any of F32, F16, BF16.
// `shape` NULL: any shape.
const struct vks_st_tensor *vks_safetensors_need(const struct vks_log *log, const struct vks_safetensors *file,
                                                 const char *name, int dtype, int rank, const uint64_t *shape);
// Copies to fp32 (count floats), from F32, F16 or BF16; false with a message for any other type.
bool vks_st_to_f32(const struct vks_log *log, const struct vks_safetensors *file, const struct vks_st_tensor *tensor,
                   float *out);

// What to write. `data` has the tensor's bytes, little endian.
struct vks_st_item {
    const char *name;
    enum vks_st_dtype dtype;
    int rank;
    uint64_t shape[VKS_ST_MAX_RANK];
    const void *data;
};

// Writes tensors in the given order and metadata sorted by key, atomically. The same input gives the same bytes: no
// time, no path. Data begins 8-byte aligned (the header is padded with spaces); every tensor's start is aligned to
// its element when the items are ordered by falling element size, as the format asks no padding between them.
bool vks_safetensors_write(const struct vks_log *log, const char *path, const struct vks_st_item *items, size_t count,
                           const struct vks_st_pair *metadata, size_t metadata_count);

#endif
