"""The noise of runtime/base/philox.h (image domain), which is also that of torch.randn on CUDA, for small tensors;
and the order of source prompts in an epoch of LinEAS."""

import numpy as np
import torch

MASK = 0xFFFFFFFF


def words(seed, offset, last, domain):
    """The first two words of the counters (offset, 0, i, domain), i in `last`."""
    c = np.zeros((4, len(last)), np.uint64)
    c[0], c[2], c[3] = offset, last, domain
    k0, k1 = seed & MASK, seed >> 32
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = np.stack([(b >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), b & np.uint64(MASK),
                      (a >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), a & np.uint64(MASK)])
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c[:2]


def normal(seed, offset, shape):
    """Draw number `offset` of a seed, N(0, 1), in the order of a tensor's elements."""
    u, v = ((x.astype(np.float64) + 0.5) / 2**32 for x in words(seed, offset, np.arange(int(np.prod(shape))), 0))
    return torch.from_numpy((np.sqrt(-2 * np.log(u)) * np.sin(2 * np.pi * v)).astype(np.float32)).reshape(shape)


def shuffle(seed, epoch, count):
    """A random order of 0 .. count - 1 (Fisher and Yates)."""
    order, draws = list(range(count)), words(seed, epoch, np.arange(count + 1), 3)[0]
    for i in range(count, 1, -1):
        j = int(draws[i]) * i >> 32
        order[i - 1], order[j] = order[j], order[i - 1]
    return order
