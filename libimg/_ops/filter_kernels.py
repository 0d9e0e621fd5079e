"""Loops of the classical event filters, over a padded map of the last time at every pixel."""

from typing import Any

import numpy as np

from libimg._ops.loops import jit

__all__ = ["kth", "newest", "surface"]

Array = Any


@jit
def newest(
    t: Array, x: Array, y: Array, last: Array, width: int, never: int, out: Array
) -> None:  # pragma: no cover
    """Age of the newest event among the eight neighbours; ``last`` has a border of one pixel."""
    for i in range(len(t)):
        now = t[i]
        at = (y[i] + 1) * width + x[i] + 1
        up, down = at - width, at + width
        a = max(last[up - 1], last[up])
        b = max(last[up + 1], last[at - 1])
        c = max(last[at + 1], last[down - 1])
        d = max(last[down], last[down + 1])
        e = max(max(a, b), max(c, d))
        last[at] = now
        out[i] = never if e < 0 else now - e


@jit
def kth(
    t: Array,
    x: Array,
    y: Array,
    p: Array,
    last: Array,
    radius: int,
    k: int,
    split: bool,
    never: int,
    best: Array,
    out: Array,
) -> None:  # pragma: no cover
    """Age of the k-th newest event around, the own pixel left out; ``best`` holds k times."""
    for i in range(len(t)):
        now = t[i]
        plane = 1 if split and p[i] < 0 else 0
        row, column = np.int64(y[i]), np.int64(x[i])
        for j in range(k):
            best[j] = -1
        for r in range(row, row + 2 * radius + 1):
            for c in range(column, column + 2 * radius + 1):
                seen = last[plane, r, c]
                if seen > best[k - 1] and not (r == row + radius and c == column + radius):
                    j = k - 1
                    while j > 0 and best[j - 1] < seen:
                        best[j] = best[j - 1]
                        j -= 1
                    best[j] = seen
        last[plane, row + radius, column + radius] = now
        out[i] = never if best[k - 1] < 0 else now - best[k - 1]


@jit
def surface(
    t: Array,
    x: Array,
    y: Array,
    p: Array,
    last: Array,
    radius: int,
    decay: float,
    split: bool,
    out: Array,
) -> None:  # pragma: no cover
    """Sum of ``exp(-age / decay)`` around, the own pixel left out."""
    for i in range(len(t)):
        now = t[i]
        plane = 1 if split and p[i] < 0 else 0
        row, column = np.int64(y[i]), np.int64(x[i])
        total = 0.0
        for r in range(row, row + 2 * radius + 1):
            for c in range(column, column + 2 * radius + 1):
                seen = last[plane, r, c]
                if seen >= 0 and not (r == row + radius and c == column + radius):
                    age = np.float32(now - seen) * np.float32(decay)
                    if age > -20:
                        total += np.exp(age)
        last[plane, row + radius, column + radius] = now
        out[i] = total
