// Rows and columns from flat indices. An integer division costs CPU drivers as much as two loads, so kernels divide
// once and advance from there.
#ifndef VKS_INDEX_GLSL
#define VKS_INDEX_GLSL

// (i / d, i % d)
uvec2 vks_divide(uint i, uint d)
{
    const uint q = i / d;
    return uvec2(q, i - q * d);
}

// (row, column) `by` elements further on in rows of d.
uvec2 vks_advance(uvec2 at, uint by, uint d)
{
    at.y += by;
    while (at.y >= d) {
        at.y -= d;
        at.x++;
    }
    return at;
}

#endif
