"""Tubes: splines, lung trees grown by splitting the volume they feed, and their distance map."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from libimg._ops import loops

__all__ = ["Tubes", "grow_tree", "spline_tube", "tube_distance"]

Tubes = npt.NDArray[np.float32]
"""``(n, 8)``: start and end of each piece, each ``(z, y, x, radius)`` in mm."""


def spline_tube(points: Sequence[Sequence[float]], *, steps: int = 6) -> Tubes:
    """Join ``(z, y, x, radius)`` points by a Catmull-Rom spline.

    Returns:
        ``(segments, 8)``: start and end of each piece, each ``(z, y, x, radius)`` in mm.
    """
    p = np.asarray(points, np.float32)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[:, None]
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    curve = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    nodes = np.concatenate([curve.reshape(-1, 4), p[-2:-1]])
    nodes[:, 3] = nodes[:, 3].clip(p[:, 3].min(), p[:, 3].max())
    return np.concatenate([nodes[:-1], nodes[1:]], 1)


def grow_tree(
    targets: Tubes,
    *,
    start: Sequence[float],
    direction: Sequence[float],
    radius: float,
    reach: float = 0.5,
) -> Tubes:
    """Grow a binary tree from ``start`` to every target point.

    Each branch goes part of the way to the centre of the points it feeds; the points are then
    split in two along the widest direction across the branch, and so on until one point is
    left. Radii follow Murray's law: radius cubed is proportional to the number of points fed.

    Args:
        targets: ``(n, 3)`` ends of the tree, mm.
        start: root, mm.
        direction: where the root points.
        radius: radius of the root, mm.
        reach: part of the way that a branch goes.

    Returns:
        ``(segments, 8)`` as `spline_tube`; branches are bent so that they leave their parent
        smoothly.

    Reference:
        Tawhai et al., "CT-based geometry analysis and finite element models of the human and
        ovine bronchial tree", J. Appl. Physiol. 2004 (splitting); Murray, PNAS 1926 (radii).
    """
    total = len(targets)
    position = np.asarray(start, np.float64)[None]
    heading = _unit(np.asarray(direction, np.float64)[None])
    points, group = targets.astype(np.float64), np.zeros(total, np.int64)
    before = np.array([radius], np.float64)
    pieces = []
    while len(points):
        groups = len(position)
        count = np.bincount(group, minlength=groups)
        centre = _group_sum(points, group, groups) / count[:, None]
        way = centre - position
        length = np.linalg.norm(way, axis=1, keepdims=True)
        single = count == 1
        aim = _unit(_unit(way) + 0.35 * heading)
        end = np.where(single[:, None], centre, position + reach * length * aim)
        here = radius * (count / total) ** (1 / 3)
        pieces.append(
            _bend(
                position,
                end,
                heading,
                np.minimum(before, 1.25 * here),
                here * np.where(single, 0.85, 1),
            )
        )
        heading = _unit(end - position)
        # Split across the branch, along the widest spread of the points it feeds.
        offset = points - centre[group]
        offset -= (offset * heading[group]).sum(1, keepdims=True) * heading[group]
        cross = offset[:, :, None] * offset[:, None, :]
        spread = _group_sum(cross.reshape(-1, 9), group, groups).reshape(-1, 3, 3)
        axis = np.linalg.eigh(spread)[1][:, :, 2]
        side = (offset * axis[group]).sum(1) > 0
        keep = ~single[group]
        child = (2 * group + side)[keep]
        names, group = np.unique(child, return_inverse=True)
        points = points[keep]
        parent = names // 2
        position, heading, before = end[parent], heading[parent], here[parent]
    return np.concatenate(pieces).astype(np.float32)


def _bend(
    start: npt.NDArray[Any],
    end: npt.NDArray[Any],
    heading: npt.NDArray[Any],
    first: npt.NDArray[Any],
    last: npt.NDArray[Any],
) -> npt.NDArray[Any]:
    """Cut branches into three pieces of a quadratic curve that starts along ``heading``."""
    length = np.linalg.norm(end - start, axis=1, keepdims=True)
    control = (start + end) / 2 + 0.25 * length * (heading - _unit(end - start))
    nodes = []
    for t in (0.0, 1 / 3, 2 / 3, 1.0):
        place = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
        nodes.append(np.concatenate([place, ((1 - t) * first + t * last)[:, None]], 1))
    return np.concatenate([np.concatenate(pair, 1) for pair in pairwise(nodes)])


def _unit(v: npt.NDArray[Any]) -> npt.NDArray[Any]:
    unit: npt.NDArray[Any] = v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)
    return unit


def _group_sum(values: npt.NDArray[Any], group: npt.NDArray[Any], groups: int) -> npt.NDArray[Any]:
    columns = [np.bincount(group, column, minlength=groups) for column in values.T]
    return np.stack(columns, 1)


def tube_distance(
    segments: Tubes,
    at: Float[Tensor, "3 d h w"],
    *,
    spacing_mm: tuple[float, float, float],
    margin_mm: float,
) -> Float[Tensor, "d h w"]:
    """Signed distance to the nearest tube, ``margin_mm`` where none is that near.

    A tube thinner than a voxel cannot fill one; its distance is raised so that the soft edge
    gives the part of the voxel that the tube covers.

    Args:
        segments: ``(n, 8)`` in the coordinates of ``at``.
        at: where each voxel lies in the coordinates of the tubes, mm; a smooth deformation of
            the voxel grid centred on zero.
        spacing_mm: voxel size of the grid.
        margin_mm: largest distance that is computed.
    """
    out = np.full(at.shape[1:], margin_mm, np.float32)
    voxel = sum(spacing_mm) / 3
    _kernel()(segments, at.numpy(), np.array(spacing_mm, np.float32), voxel, margin_mm, out)
    return torch.from_numpy(out)


@lru_cache(maxsize=1)
def _kernel() -> Callable[..., None]:
    """Compile the loop over tubes; each tube touches only the voxels near it."""
    return loops.jit(_draw)  # type: ignore[no-any-return]


def _draw(segments: Any, at: Any, spacing: Any, voxel: Any, margin: Any, out: Any) -> None:
    size = out.shape
    middle = np.array([(n - 1) / 2 for n in size], np.float32)
    lo, hi = np.zeros(3, np.int64), np.zeros(3, np.int64)
    p, index = np.zeros(3, np.float32), np.zeros(3, np.float32)
    full = np.float32(0.56) * voxel
    for n in range(segments.shape[0]):
        s = segments[n]
        lo[:] = 1 << 30
        hi[:] = -(1 << 30)
        for e in range(2):
            for c in range(3):
                p[c] = index[c] = s[4 * e + c] / spacing[c] + middle[c]
            for _ in range(5):  # which voxel lies at this end: fixed point of the deformation
                i = min(max(round(index[0]), 0), size[0] - 1)
                j = min(max(round(index[1]), 0), size[1] - 1)
                k = min(max(round(index[2]), 0), size[2] - 1)
                for c in range(3):
                    here = (i, j, k)[c]
                    index[c] = p[c] - (at[c, i, j, k] / spacing[c] + middle[c] - here)
            for c in range(3):
                room = 1.3 * (max(s[3], s[7]) + margin) / spacing[c] + 1
                lo[c] = min(lo[c], int(index[c] - room))
                hi[c] = max(hi[c], int(index[c] + room) + 1)
        for c in range(3):
            lo[c] = max(lo[c], 0)
            hi[c] = min(hi[c], size[c])
        dz, dy, dx = s[4] - s[0], s[5] - s[1], s[6] - s[2]
        inverse = 1 / max(dz * dz + dy * dy + dx * dx, 1e-6)
        for i in range(lo[0], hi[0]):
            for j in range(lo[1], hi[1]):
                for k in range(lo[2], hi[2]):
                    az = at[0, i, j, k] - s[0]
                    ay = at[1, i, j, k] - s[1]
                    ax = at[2, i, j, k] - s[2]
                    t = min(max((az * dz + ay * dy + ax * dx) * inverse, 0.0), 1.0)
                    az -= t * dz
                    ay -= t * dy
                    ax -= t * dx
                    r = s[3] + t * (s[7] - s[3])
                    distance = np.sqrt(az * az + ay * ay + ax * ax) - r
                    if r < full and distance < 0.5 * voxel:
                        share = min(0.5 - distance / voxel, 1.0) * (r / full) ** 2
                        distance = (0.5 - share) * voxel
                    if distance < out[i, j, k]:
                        out[i, j, k] = distance
