"""Compiled loops from events to voxels on the CPU; imported by the first call only.

All times are integers. A position in a window of ``duration`` is ``num / (2 * duration)`` bins,
``num = 2 * steps * (t - start) + shift * duration``: nothing is rounded before the last step.
"""

from typing import Any

import numpy as np

from libimg._ops.loops import jit

__all__ = ["encode_sorted", "encode_unsorted"]

Array = Any  # numpy array
ONE, ZERO = np.float32(1), np.float32(0)
BLOCK = 1024


@jit
def stretch(
    d: int, bins: int, steps: int, shift: int, duration: int, linear: bool, place: Array
) -> None:  # pragma: no cover
    """Find the times around ``d``, counted from the first window, that share their two bins.

    ``place``: first and last + 1 of these times, window, left bin, numerator of the right bin's
    share at the first time and its growth by each microsecond, both over ``2 * duration``.
    """
    unit, double = 2 * duration, 2 * steps
    place[2] = d // duration
    base = place[2] * duration
    inside = d - base
    first, last = np.int64(0), np.int64(duration)
    shift = shift if linear else shift + 1  # the nearest bin is the left one, half a bin later
    num = double * inside + shift * duration
    left = min(max(num // unit, 0), bins - 1)
    place[3], place[4], place[5] = left, 0, 0
    if steps:
        if left > 0 or num >= 0:
            first = max(0, (unit * left - shift * duration + double - 1) // double)
        if num < 0:
            last = (-shift * duration + double - 1) // double
        elif left < bins - 1:
            last = min(last, (unit * (left + 1) - shift * duration + double - 1) // double)
            if linear:
                place[4], place[5] = double * first + shift * duration - unit * left, double
    place[0], place[1] = base + first, base + last


@jit
def encode_sorted(
    t: Array,
    x: Array,
    y: Array,
    p: Array,
    start: int,
    duration: int,
    closed: bool,
    steps: int,
    shift: int,
    linear: bool,
    grid: Array,
    lost: Array,
) -> None:  # pragma: no cover
    """Add sorted events to ``grid (windows, polarities, bins, h, w)``, stretch by stretch.

    Events are gathered in pairs of cells (left and right bin side by side), which are carried to
    the grid at the end of a stretch that has events enough for it.
    """
    windows, polarities, bins, height, width = grid.shape
    plane = height * width
    flat = grid.reshape(grid.size)
    total = duration * windows
    cells = np.zeros((polarities * plane if linear else 0, 2), np.float32)
    at, share = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float32)
    value = np.empty(BLOCK, np.float32)
    place = np.zeros(6, np.int64)
    i, end, beyond = np.int64(np.searchsorted(t, start)), len(t), 0
    lost[0] += i
    while i < end:
        d = t[i] - start
        if d > total or (d == total and not closed):
            break
        if d == total:
            place[0], place[1], place[2], place[3] = d, d + 1, windows - 1, bins - 1
            place[4], place[5] = 0, 0
        else:
            stretch(d, bins, steps, shift, duration, linear, place)
        stop = i + np.searchsorted(t[i:], start + place[1])
        dense = linear and 4 * (stop - i) > polarities * plane
        zero = t.dtype.type(start + place[0])
        offset = np.float32(place[4] / (2.0 * duration))
        slope = np.float32(place[5] / (2.0 * duration))
        base = (place[2] * polarities * bins + place[3]) * plane
        right = plane if place[3] < bins - 1 else 0
        apart = plane if dense else bins * plane
        for block in range(i, stop, BLOCK):
            n = min(BLOCK, stop - block)
            tb, xb, yb, pb = t[block:], x[block:], y[block:], p[block:]
            off = 0
            for k in range(n):
                column, row = np.uint32(xb[k]), np.uint32(yb[k])
                on = (column < np.uint32(width)) & (row < np.uint32(height))
                off += not on
                negative = np.uint32(polarities == 2) & np.uint32(pb[k] < 0)
                cell = row * np.uint32(width) + column + negative * np.uint32(apart)
                at[k] = cell if on else np.uint32(0)
                amount = ONE if polarities == 2 else np.float32(pb[k])
                amount = amount if on else ZERO
                value[k] = amount
                share[k] = amount * (offset + slope * np.float32(tb[k] - zero))
            beyond += off
            if dense:
                for k in range(n):
                    c = np.uint64(at[k])
                    cells[c, 0] += value[k] - share[k]
                    cells[c, 1] += share[k]
            elif linear:
                for k in range(n):
                    c = np.uint64(base) + np.uint64(at[k])
                    flat[c] += value[k] - share[k]
                    flat[c + np.uint64(right)] += share[k]
            else:
                for k in range(n):
                    flat[np.uint64(base) + np.uint64(at[k])] += value[k]
        if dense:
            for c in range(polarities):
                here = flat[base + c * bins * plane :]
                there = flat[base + c * bins * plane + right :]
                pairs = cells[c * plane :]
                for k in range(plane):
                    here[k] += pairs[k, 0]
                for k in range(plane):
                    there[k] += pairs[k, 1]
                pairs[:plane] = ZERO
        i = stop
    lost[0] += end - i
    lost[1] += beyond


@jit
def encode_unsorted(
    t: Array,
    x: Array,
    y: Array,
    p: Array,
    start: int,
    duration: int,
    closed: bool,
    steps: int,
    shift: int,
    linear: bool,
    grid: Array,
    lost: Array,
) -> None:  # pragma: no cover
    """Add events in any order to ``grid (windows, polarities, bins, h, w)``, one by one."""
    windows, polarities, bins, height, width = grid.shape
    plane = height * width
    flat = grid.reshape(grid.size)
    total = duration * windows
    place = np.zeros(6, np.int64)
    for i in range(len(t)):
        d = t[i] - start
        if d < 0 or d > total or (d == total and not closed):
            lost[0] += 1
            continue
        if x[i] >= width or y[i] >= height:
            lost[1] += 1
            continue
        if d == total:
            place[0], place[1], place[2], place[3] = 0, 0, windows - 1, bins - 1
            place[4], place[5] = 0, 0
        elif d < place[0] or d >= place[1]:
            stretch(d, bins, steps, shift, duration, linear, place)
        at = (place[2] * polarities * bins + place[3]) * plane
        at += np.int64(y[i]) * width + np.int64(x[i])
        amount = ONE if polarities == 2 else np.float32(p[i])
        at += (polarities == 2 and p[i] < 0) * bins * plane
        share = amount * np.float32((place[4] + place[5] * (d - place[0])) / (2.0 * duration))
        flat[at] += amount - share
        if share != 0:
            flat[at + plane] += share
