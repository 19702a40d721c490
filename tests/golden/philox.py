"""The noise of runtime/base/philox.h (image domain), which is also that of torch.randn on CUDA, for small tensors."""

import numpy as np
import torch

MASK = 0xFFFFFFFF


def normal(seed, offset, shape):
    """Draw number `offset` of a seed, N(0, 1), in the order of a tensor's elements."""
    count = int(np.prod(shape))
    c = np.zeros((4, count), np.uint64)
    c[0], c[2] = offset, np.arange(count)
    k0, k1 = seed & MASK, seed >> 32
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = np.stack([(b >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), b & np.uint64(MASK),
                      (a >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), a & np.uint64(MASK)])
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    u, v = ((c[i].astype(np.float64) + 0.5) / 2**32 for i in (0, 1))
    return torch.from_numpy((np.sqrt(-2 * np.log(u)) * np.sin(2 * np.pi * v)).astype(np.float32)).reshape(shape)
