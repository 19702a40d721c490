// Two-dimensional convolution and its input gradient on CPU drivers: equation in include/matmul.glsl, method in
// include/matmul_cpu.glsl. Compiled for LANES = 4 and 8 (the subgroup size) and GROUPS of LANES rows.
#version 450
#extension GL_GOOGLE_include_directive : enable
#define CONV
#include "include/matmul_cpu.glsl"
