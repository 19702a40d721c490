// What the kernels for few rows share: y = x Wᵀ as the matmul family's NT form (matmul.glsl), with W read once for
// every 8 rows.
//
// DTYPE is that of W, or VKS_BLOCKS_FROM + the type of its quantised blocks (blocks.glsl): ldb then counts words,
// and they are unpacked on the way, so no panel is written and read. Each element of y is the family's one chain of
// fma() in increasing k, whatever the number of rows: the bits are those of the other kernels over an unpacked panel.
#include "matmul.glsl"

#define VKS_BLOCKS_FROM 16u
#define BLOCKS (DTYPE >= VKS_BLOCKS_FROM)
#define ROWS (FLAGS >> 8)  // 1 to 8, constant: rows of the tile

#define VKS_BLOCKS DTYPE
#define VKS_PACKED(i) VKS_AT(1, b, i)
#define VKS_PACKED_PAIR(i) vks_bits_of_pair(VKS_PAIR(1, b, i))
