"""The loops of trilinear warping on the CPU, compiled by numba; imported by the first call only.

A row is one line of voxels along the last axis. Its corners are located for all voxels at once
(that part becomes vector instructions), then values are gathered or gradients scattered.
"""

from typing import Any

import numpy as np

from libimg._ops.loops import jit

__all__ = ["gather", "scatter"]

Array = Any  # numpy array
ZERO, ONE = np.float32(0), np.float32(1)


@jit
def locate(
    shift: Array, start: int, step: int, size: int, stride: int, reach: int, at: Array, share: Array
) -> None:  # pragma: no cover
    """Locate the two neighbours of ``start + step * x + shift[x]`` along one axis.

    ``at``: their offsets in memory. ``share``: their two weights, and the slopes of these.
    A neighbour outside has weight 0. Positions stop at the border (``reach`` 0) or two voxels
    beyond it, where nothing is left; a stopped one has slope 0. NaN goes where -inf goes.
    """
    low, high = np.float32(-reach), np.float32(size - 1 + reach)
    last, scale = np.int32(size - 1), np.int32(stride)
    for x in range(len(shift)):
        p = np.float32(np.int32(start) + np.int32(step) * np.int32(x)) + shift[x]
        p = p if p > low else low
        p = p if p < high else high
        floor = np.floor(p)
        a = np.int32(floor)
        b = a + np.int32(1)
        here = (a >= 0) & (a <= last)
        there = (b >= 0) & (b <= last)
        moves = (p > low) & (p < high)
        share[0, x] = ONE - (p - floor) if here else ZERO
        share[1, x] = p - floor if there else ZERO
        share[2, x] = -ONE if here & moves else ZERO
        share[3, x] = ONE if there & moves else ZERO
        at[0, x] = min(max(a, np.int32(0)), last) * scale
        at[1, x] = min(max(b, np.int32(0)), last) * scale


@jit
def gather(
    moving: Array, flow: Array, reach: int, out: Array, start: int, stop: int
) -> None:  # pragma: no cover
    """Write the rows start..stop of ``out (c, d, h, w)``."""
    channels, depth, height, width = moving.shape
    source = moving.reshape(channels, depth * height * width)
    at, share = np.empty((3, 2, width), np.int32), np.empty((3, 4, width), np.float32)
    for row in range(start, stop):
        z, y = row // height, row % height
        locate(flow[0, z, y], z, 0, depth, height * width, reach, at[0], share[0])
        locate(flow[1, z, y], y, 0, height, width, reach, at[1], share[1])
        locate(flow[2, z, y], 0, 1, width, 1, reach, at[2], share[2])
        for c in range(channels):
            v, line = source[c], out[c, z, y]
            for x in range(width):
                z0, z1 = np.uint64(at[0, 0, x]), np.uint64(at[0, 1, x])
                y0, y1 = np.uint64(at[1, 0, x]), np.uint64(at[1, 1, x])
                x0, x1 = np.uint64(at[2, 0, x]), np.uint64(at[2, 1, x])
                r, s = share[2, 0, x], share[2, 1, x]
                v00 = r * v[z0 + y0 + x0] + s * v[z0 + y0 + x1]
                v01 = r * v[z0 + y1 + x0] + s * v[z0 + y1 + x1]
                v10 = r * v[z1 + y0 + x0] + s * v[z1 + y0 + x1]
                v11 = r * v[z1 + y1 + x0] + s * v[z1 + y1 + x1]
                r, s = share[1, 0, x], share[1, 1, x]
                line[x] = share[0, 0, x] * (r * v00 + s * v01) + share[0, 1, x] * (
                    r * v10 + s * v11
                )


@jit
def scatter(
    moving: Array,
    flow: Array,
    reach: int,
    grad: Array,
    d_moving: Array,
    d_flow: Array,
    first: int,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Carry the rows start..stop of ``grad`` back; an empty ``d_...`` is not wanted.

    ``d_moving (c, planes, h, w)`` is added to; its first plane is plane ``first`` of the volume.
    """
    channels, depth, height, width = moving.shape
    source = moving.reshape(channels, depth * height * width)
    target = d_moving.reshape(channels, d_moving.shape[1] * height * width)
    base = np.uint64(first * height * width)
    at, share = np.empty((3, 2, width), np.int32), np.empty((3, 4, width), np.float32)
    for row in range(start, stop):
        z, y = row // height, row % height
        locate(flow[0, z, y], z, 0, depth, height * width, reach, at[0], share[0])
        locate(flow[1, z, y], y, 0, height, width, reach, at[1], share[1])
        locate(flow[2, z, y], 0, 1, width, 1, reach, at[2], share[2])
        for x in range(width):
            z0, z1 = np.uint64(at[0, 0, x]), np.uint64(at[0, 1, x])
            y0, y1 = np.uint64(at[1, 0, x]), np.uint64(at[1, 1, x])
            x0, x1 = np.uint64(at[2, 0, x]), np.uint64(at[2, 1, x])
            p, q, r, s = share[0, 0, x], share[0, 1, x], share[1, 0, x], share[1, 1, x]
            t, u = share[2, 0, x], share[2, 1, x]
            by_z, by_y, by_x = ZERO, ZERO, ZERO
            for c in range(channels):
                g = grad[c, z, y, x]
                if d_flow.size:
                    v = source[c]
                    v000, v001 = v[z0 + y0 + x0], v[z0 + y0 + x1]
                    v010, v011 = v[z0 + y1 + x0], v[z0 + y1 + x1]
                    v100, v101 = v[z1 + y0 + x0], v[z1 + y0 + x1]
                    v110, v111 = v[z1 + y1 + x0], v[z1 + y1 + x1]
                    v00, v01 = t * v000 + u * v001, t * v010 + u * v011
                    v10, v11 = t * v100 + u * v101, t * v110 + u * v111
                    by_z += g * (
                        share[0, 2, x] * (r * v00 + s * v01) + share[0, 3, x] * (r * v10 + s * v11)
                    )
                    by_y += g * (
                        share[1, 2, x] * (p * v00 + q * v10) + share[1, 3, x] * (p * v01 + q * v11)
                    )
                    by_x += g * (
                        share[2, 2, x] * (p * (r * v000 + s * v010) + q * (r * v100 + s * v110))
                        + share[2, 3, x] * (p * (r * v001 + s * v011) + q * (r * v101 + s * v111))
                    )
                if d_moving.size:
                    d = target[c]
                    d[z0 + y0 + x0 - base] += g * p * r * t
                    d[z0 + y0 + x1 - base] += g * p * r * u
                    d[z0 + y1 + x0 - base] += g * p * s * t
                    d[z0 + y1 + x1 - base] += g * p * s * u
                    d[z1 + y0 + x0 - base] += g * q * r * t
                    d[z1 + y0 + x1 - base] += g * q * r * u
                    d[z1 + y1 + x0 - base] += g * q * s * t
                    d[z1 + y1 + x1 - base] += g * q * s * u
            if d_flow.size:
                d_flow[0, z, y, x], d_flow[1, z, y, x], d_flow[2, z, y, x] = by_z, by_y, by_x
