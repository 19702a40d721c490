"""Writes data/wasserstein.txt: one-dimensional Wasserstein distances by scipy and POT, one a line:

    p  b  n  distance^p  u[0..b-1]  v[0..n-1]

u and v are unsorted. scipy gives p = 1, POT p = 1 and 2; where both do, they must agree.
"""

from pathlib import Path

import numpy as np
import ot
from scipy.stats import wasserstein_distance

rng = np.random.default_rng(2026)
lines = []


def add(u, v):
    b, n = len(u), len(v)
    for p in (1, 2):
        distance = float(ot.wasserstein_1d(u[:, None], v[:, None], p=p)[0])
        if p == 1:
            other = wasserstein_distance(u, v)
            assert abs(distance - other) < 1e-12, (distance, other)
        values = " ".join(repr(float(x)) for x in (*u, *v))
        lines.append(f"{p} {b} {n} {distance!r} {values}\n")


def normal(count, shift=0.0, scale=1.0):
    return (shift + scale * rng.normal(size=count)).astype(np.float32).astype(np.float64)


for b, n in [(1, 1), (4, 4), (16, 16), (4, 6), (5, 7), (8, 3), (16, 32), (31, 33)]:
    add(normal(b), normal(n, 0.7, 1.8))
for b, n in [(8, 8), (6, 9), (12, 5)]:  # ties within and across
    add(rng.integers(-2, 3, size=b) / 2.0, rng.integers(-2, 3, size=n) / 2.0)
add(np.zeros(5), np.zeros(8))  # nothing to move
same = normal(9)
add(same, same[::-1].copy())
add(normal(6, 1000.0), normal(10, -1000.0))

(Path(__file__).parent / "data" / "wasserstein.txt").write_text("".join(lines))
print(len(lines), "distances")
