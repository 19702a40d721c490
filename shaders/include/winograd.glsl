// Winograd's minimal filtering F(4 x 4, 3 x 3), four channels at a time (Winograd, Arithmetic Complexity of
// Computations, 1980; Lavin and Gray, arXiv 1509.09308, section 4): 16 outputs of a 3 x 3 convolution by 36 products
// instead of 144.
//
// In one dimension, y[i] = sum over j of d[i + j] g[j] is a product of polynomials, transposed: with both taken at the
// points 0, +-1/sqrt(2), +-sqrt(2) and infinity,
//
//     y = A' ((G g) * (B' d))          * element by element, ' transposed
//
//     G  =  1     0    0         B' = 1   0  -5/2   0   1   0        A' = 1   1    1    1    1   0
//         -2/3 -r/3 -1/3              0  -r   -2    s   1   0             0   s   -s    r   -r   0
//         -2/3  r/3 -1/3              0   r   -2   -s   1   0             0  1/2  1/2   2    2   0
//          1/6  r/6  1/3              0  -s  -1/2   r   1   0             0  s/2 -s/2  2r  -2r   1
//          1/6 -r/6  1/3              0   s  -1/2  -r   1   0
//           0    0    1               0   1    0  -5/2  0   1        r = sqrt(2), s = sqrt(1/2)
//
// and in two, Y = A' ((G g G') * (B' d B)) A, where channels are summed before A. Reciprocal pairs of points keep the
// matrices' entries near 1: with 0, +-1, +-2, infinity the error is three to six times as large. These add about as
// much error as the sum of 9 x 256 products itself; tests/check_conv2d.c holds both to one tolerance.
#ifndef VKS_WINOGRAD_GLSL
#define VKS_WINOGRAD_GLSL

const float VKS_HALF_ROOT = 0.70710678118654752, VKS_ROOT = 1.41421356237309505;

// G g
void vks_winograd_weight(vec4 g0, vec4 g1, vec4 g2, out vec4 u[6])
{
    precise const vec4 e1 = (2.0 * g0 + g2) * (-1.0 / 3.0), o1 = g1 * (-VKS_ROOT / 3.0);
    precise const vec4 e2 = (g0 + 2.0 * g2) * (1.0 / 6.0), o2 = g1 * (VKS_ROOT / 6.0);
    precise const vec4 p1 = e1 + o1, n1 = e1 - o1, p2 = e2 + o2, n2 = e2 - o2;
    u = vec4[6](g0, p1, n1, p2, n2, g2);
}

// B' d
void vks_winograd_input(vec4 d[6], out vec4 v[6])
{
    precise const vec4 e1 = d[4] - 2.0 * d[2], o1 = VKS_HALF_ROOT * d[3] - VKS_ROOT * d[1];
    precise const vec4 e2 = d[4] - 0.5 * d[2], o2 = VKS_ROOT * d[3] - VKS_HALF_ROOT * d[1];
    precise const vec4 first = d[0] - 2.5 * d[2] + d[4], last = d[1] - 2.5 * d[3] + d[5];
    precise const vec4 p1 = e1 + o1, n1 = e1 - o1, p2 = e2 + o2, n2 = e2 - o2;
    v = vec4[6](first, p1, n1, p2, n2, last);
}

// A' m
void vks_winograd_output(vec4 m[6], out vec4 y[4])
{
    precise const vec4 s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
    precise const vec4 y0 = m[0] + s1 + s2;
    precise const vec4 y1 = VKS_HALF_ROOT * d1 + VKS_ROOT * d2;
    precise const vec4 y2 = 0.5 * s1 + 2.0 * s2;
    precise const vec4 y3 = 0.5 * VKS_HALF_ROOT * d1 + 2.0 * VKS_ROOT * d2 + m[5];
    y = vec4[4](y0, y1, y2, y3);
}

#endif
