// Matrix product on any device: equation in include/matmul.glsl, method in include/matmul_plain.glsl.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/matmul_plain.glsl"
