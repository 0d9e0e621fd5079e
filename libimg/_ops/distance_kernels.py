"""Compiled loops of the exact distance transform on the CPU; imported by the first call only.

Squared distances, in units of the smallest spacing, one axis after another. Along an axis the
minimum over all sources is taken as it is written, for `LANES` lines side by side: only sums of
positive numbers, so nothing is lost to rounding. Winners keep their order along the axis, which
bounds the sources that need a look (the divide and conquer of totally monotone matrices).
"""

from typing import Any

import numpy as np

from libimg._ops.loops import jit

__all__ = ["across", "inplane", "survey"]

Array = Any  # numpy array
LANES = 64
FAR = np.float32(np.inf)


@jit
def survey(
    labels: Array, classes: Array, index: Array, boxes: Array, start: int, stop: int
) -> None:  # pragma: no cover
    """Write the place of each label in ``classes``, or -1; widen ``boxes (classes, 6)``.

    A box is the first voxel along each axis, then the last one plus 1.
    """
    _, height, width = labels.shape
    for z in range(start, stop):
        for y in range(height):
            line, to = labels[z, y], index[z, y]
            x = 0
            while x < width:
                value, here, begin = line[x], -1, x
                for i in range(len(classes)):
                    if classes[i] == value:
                        here = i
                while x < width and line[x] == value:
                    to[x] = here
                    x += 1
                if here >= 0:
                    box = boxes[here]
                    box[0], box[3] = min(box[0], z), max(box[3], z + 1)
                    box[1], box[4] = min(box[1], y), max(box[4], y + 1)
                    box[2], box[5] = min(box[2], begin), max(box[5], x)


@jit
def least(
    source: Array, places: Array, p: int, first: int, last: int, cost: Array, out: Array
) -> None:  # pragma: no cover
    """Write ``out = min over i in first..last of source[i] + cost[|p - places[i]|]``, per lane."""
    s0, c0 = source[first], cost[abs(p - places[first])]
    for x in range(LANES):
        out[x] = s0[x] + c0
    for i in range(first + 1, last + 1, 2):
        k = min(i + 1, last)
        s0, c0, s1, c1 = source[i], cost[abs(p - places[i])], source[k], cost[abs(p - places[k])]
        for x in range(LANES):
            a, b = s0[x] + c0, s1[x] + c1
            a = a if a < b else b
            out[x] = a if a < out[x] else out[x]


@jit
def winners(
    source: Array,
    places: Array,
    p: int,
    first: int,
    last: int,
    cost: Array,
    out: Array,
    who: Array,
    ends: Array,
) -> None:  # pragma: no cover
    """Do as `least`, and write the first and the last of the lanes' winners to ``ends``."""
    s0, c0 = source[first], cost[abs(p - places[first])]
    for x in range(LANES):
        out[x], who[x] = s0[x] + c0, first
    for i in range(first + 1, last + 1):
        s0, c0, here = source[i], cost[abs(p - places[i])], np.int32(i)
        for x in range(LANES):
            a = s0[x] + c0
            won = a < out[x]
            out[x] = a if won else out[x]
            who[x] = here if won else who[x]
    low, high = who[0], who[0]
    for x in range(LANES):
        low, high = min(low, who[x]), max(high, who[x])
    ends[0], ends[1] = low, high


@jit
def sweep(
    source: Array,
    places: Array,
    count: int,
    shift: int,
    cost: Array,
    who: Array,
    ends: Array,
    out: Array,
) -> None:  # pragma: no cover
    """Write ``out[j] = min over i < count of source[i] + cost[|shift + j - places[i]|]``, per lane.

    ``cost`` is convex, so winners keep their order: those of two targets enclose all between.
    Every fourth target is found by halving, ``who`` and ``ends (targets, 2)`` are scratch for it.
    """
    n = len(out) - 1
    winners(source, places, shift, 0, count - 1, cost, out[0], who, ends[0])
    winners(source, places, shift + n, ends[0, 0], count - 1, cost, out[n], who, ends[n])
    step = 4
    while step < n:
        step *= 2
    while step >= 4:
        for j in range(step, n, 2 * step):
            first, last = ends[j - step, 0], ends[min(j + step, n), 1]
            winners(source, places, shift + j, first, last, cost, out[j], who, ends[j])
        step //= 2
    for j in range(n):
        if j % 4:
            first, last = ends[j - j % 4, 0], ends[min(j - j % 4 + 4, n), 1]
            least(source, places, shift + j, first, last, cost, out[j])


@jit
def inplane(
    index: Array,
    own: int,
    wanted: bool,
    box: Array,
    target: Array,
    costs: Array,
    out: Array,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Write squared distances within the slices start..stop of ``box``.

    Sources are the voxels of ``box`` whose being of class ``own`` is ``wanted``; results are those
    of ``target``, in ``out (slices of box, h of target, w of target up to full lanes)``. A slice
    without sources is infinite.
    """
    size = index.shape[2]
    x0, x1 = min(box[2], target[2]), max(box[5], target[5])
    rows, wide, full = box[4] - box[1], target[5] - target[2], out.shape[2]
    near = np.empty(x1 - x0, np.int64)
    lines = np.empty((rows, full), np.float32)
    places = np.empty(rows, np.int64)
    source = np.empty((rows, LANES), np.float32)
    result = np.empty((target[4] - target[1], LANES), np.float32)
    who, ends = np.empty(LANES, np.int32), np.empty((len(result), 2), np.int64)
    for z in range(start, stop):
        count = 0
        for y in range(box[1], box[4]):
            line, to = index[box[0] + z, y], lines[count]
            far, least_far = size, size
            for x in range(x1 - x0):
                far = 0 if (line[x0 + x] == own) == wanted else min(far + 1, size)
                near[x] = far
                least_far = min(least_far, far)
            if least_far:
                continue
            for x in range(x1 - x0 - 1, -1, -1):
                far = min(near[x], far + 1)
                near[x] = far
            for x in range(full):
                to[x] = costs[2][near[min(x, wide - 1) + target[2] - x0]]
            places[count] = y
            count += 1
        if count == 0:
            out[z] = FAR
            continue
        for b in range(0, full, LANES):
            for r in range(count):
                for x in range(LANES):
                    source[r, x] = lines[r, b + x]
            sweep(source, places, count, target[1], costs[1], who, ends, result)
            for y in range(len(result)):
                for x in range(LANES):
                    out[z, y, b + x] = result[y, x]


@jit
def across(
    planes: Array,
    index: Array,
    own: int,
    wanted: bool,
    box: Array,
    target: Array,
    costs: Array,
    scale: Array,
    edges: Array,
    out: Array,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Take the minimum across slices; write the field ``out (d, h, w)`` in millimetres.

    Lines start..stop of blocks of lanes, one block after another along x and then y. ``wanted``:
    the distance is to the class, positive; else to the rest, negative, written within the class
    alone. ``scale``: millimetres of a unit, what is taken off, the largest value.
    ``edges (3, n)``: millimetres to the border, per axis.
    """
    slices, _, full = planes.shape
    blocks, wide = full // LANES, target[5] - target[2]
    unit, less, most_mm = np.float32(scale[0]), np.float32(scale[1]), np.float32(scale[2])
    source = np.empty((slices, LANES), np.float32)
    places = np.empty(slices, np.int64)
    result = np.empty((target[3] - target[0], LANES), np.float32)
    who, ends = np.empty(LANES, np.int32), np.empty((len(result), 2), np.int64)
    for t in range(start, stop):
        r, b = t // blocks, t % blocks * LANES
        count = 0
        for z in range(slices):
            if planes[z, r, b] < FAR:
                for x in range(LANES):
                    source[count, x] = planes[z, r, b + x]
                places[count] = box[0] + z
                count += 1
        if count:
            sweep(source, places, count, target[0], costs[0], who, ends, result)
        else:
            result[:] = FAR
        y, first = target[1] + r, target[2] + b
        lanes = min(LANES, wide - b)
        for j in range(len(result)):
            z = target[0] + j
            line, got = out[z, y, first : first + lanes], result[j]
            if wanted:
                for x in range(lanes):
                    value = np.sqrt(got[x]) * unit - less
                    line[x] = value if value < most_mm else most_mm
                continue
            edge = min(most_mm, edges[0][z], edges[1][y])
            is_own, side = index[z, y, first : first + lanes], edges[2][first : first + lanes]
            for x in range(lanes):
                value = np.sqrt(got[x]) * unit - less
                value = value if value < edge else edge
                value = value if value < side[x] else side[x]
                line[x] = -value if is_own[x] == own else line[x]
