// Two-dimensional convolution and its input gradient on graphics cards: equation in include/matmul.glsl, method in
// include/matmul_tile.glsl.
#version 450
#extension GL_GOOGLE_include_directive : enable
#define CONV
#include "include/matmul_tile.glsl"
