// Private to runtime/steer: directions in activation space, on the host, in double.
#ifndef VKS_STEER_VECTORS_H
#define VKS_STEER_VECTORS_H

#include <stdbool.h>
#include <stdint.h>

// The first right singular vector of x (rows, columns): of length 1, either sign; all zeros where x is. The same
// operations in the same order every time. False: out of memory.
bool vks_first_direction(const double *x, uint32_t rows, uint32_t columns, double *direction);

#endif
