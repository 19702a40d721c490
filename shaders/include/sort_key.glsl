// Order of the sort kernels: floats as unsigned integers that compare as the numbers do, the row as tie-break.
//
// -0 counts as +0 (and leaves as +0), so it ties with it by row. NaN comes out as the largest key: the order stays
// total and no kernel goes astray; the flag says that the result is worthless. The largest word stays free for
// padding.
#ifndef SORT_KEY_GLSL
#define SORT_KEY_GLSL

#define SORT_PAD 0xffffffffu

uint sort_key(uint bits)
{
    if (bits == 0x80000000u)
        bits = 0;
    const uint key = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return (bits & 0x7fffffffu) > 0x7f800000u ? SORT_PAD - 1 : key;
}

uint sort_bits(uint key)
{
    return (key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key;
}

#endif
