"""Warping and flow penalties written from their definitions: float64, one voxel at a time."""

from itertools import product

import numpy as np


def outside(index, size, padding):
    """The voxel that stands for ``index``; None where the image is zero."""
    if 0 <= index < size:
        return index
    if padding == "zeros":
        return None
    if padding == "border" or size == 1:
        return min(max(index, 0), size - 1)
    index %= 2 * (size - 1)
    return min(index, 2 * (size - 1) - index)


def warp(moving, flow, *, padding="border", nearest=False):
    """``moving (c, *spatial)`` at ``p + flow(p)``, ``flow (n, *spatial)``."""
    sizes = moving.shape[1:]
    out = np.zeros(moving.shape)
    for p in np.ndindex(*sizes):
        place = [i + flow[(axis, *p)] for axis, i in enumerate(p)]
        if nearest:
            place = [np.rint(v) for v in place]
        low = [int(np.floor(v)) for v in place]
        for corner in product((0, 1), repeat=len(sizes)):
            weight = 1.0
            source = []
            for v, i, c, size in zip(place, low, corner, sizes, strict=True):
                weight *= v - i if c else 1 - (v - i)
                source.append(outside(i + c, size, padding))
            if weight and None not in source:
                out[(slice(None), *p)] += weight * moving[(slice(None), *source)]
    return out


def bending_energy(flow, spacing):
    """Second differences stencil by stencil; mean over components and places."""
    n, *sizes = flow.shape
    total = 0.0
    for i in range(n):
        for j in range(n):
            values = []
            for k, *p in np.ndindex(n, *sizes):
                a, b = np.eye(n, dtype=int)[i], np.eye(n, dtype=int)[j]
                if any(v >= s for v, s in zip(p + a + b, sizes, strict=True)):
                    continue
                bend = (
                    flow[(k, *(p + a + b))]
                    - flow[(k, *(p + a))]
                    - flow[(k, *(p + b))]
                    + flow[(k, *p)]
                )
                values.append((bend * spacing[k] / (spacing[i] * spacing[j])) ** 2)
            total += np.mean(values) if values else 0.0
    return total
