"""Compiled loops from voxels back to events, and of the labels that voxels give to events."""

from typing import Any

import numpy as np

from libimg._ops.loops import jit

__all__ = ["collect", "decode", "keep", "score", "tally", "voxel_of"]

Array = Any  # numpy array
ZERO = np.float32(0)


@jit
def collect(counts: Array, where: Array, many: Array, totals: Array) -> None:  # pragma: no cover
    """List the voxels of one bin that hold events, ``counts (polarities, pixels)``.

    ``many``: their rounded values. ``totals``: voxels listed, events, and values that are no
    counts (not finite, from 2^24 on, or negative where polarities are apart).
    """
    polarities, pixels = counts.shape
    j, events, bad = 0, 0, 0
    for c in range(polarities):
        line = counts[c]
        for i in range(pixels):
            n = np.rint(line[i])
            good = (np.abs(n) < np.float32(16777216)) & ((polarities == 1) | (n >= 0))
            bad += not good
            whole = np.int32(n) if good else np.int32(0)
            where[j] = c * pixels + i
            many[j] = whole
            j += whole != 0
            events += abs(whole)
    totals[0], totals[1], totals[2] = j, events, bad


@jit
def decode(
    where: Array,
    many: Array,
    pixels: int,
    width: int,
    first_us: int,
    span: int,
    drawn: Array,
    centre: bool,
    t: Array,
    x: Array,
    y: Array,
    p: Array,
) -> None:  # pragma: no cover
    """Write the events of one bin in order of time, by a counting sort over its microseconds.

    They lie at the offsets ``drawn``; if there are none, at the centre or evenly spaced.
    """
    slots = np.zeros(span + 1, np.int64)
    wide, area = np.uint32(width), np.uint32(pixels)
    for turn in range(2):
        j = 0
        for i in range(len(where)):
            n = abs(many[i])
            cell = np.uint32(where[i])
            negative = cell >= area
            cell -= area if negative else np.uint32(0)
            row = cell // wide
            column = cell - row * wide
            sign = np.int8(-1) if negative or many[i] < 0 else np.int8(1)
            for k in range(n):
                if len(drawn):
                    offset = np.int64(drawn[j])
                elif centre or n == 1:
                    offset = np.int64(span // 2)
                else:
                    offset = np.int64((2 * k + 1) * span // (2 * n))
                j += 1
                if turn == 0:
                    slots[offset + 1] += 1
                else:
                    at = slots[offset]
                    slots[offset] = at + 1
                    t[at] = first_us + offset
                    x[at] = column
                    y[at] = row
                    p[at] = sign
        if turn == 0:
            for s in range(span):
                slots[s + 1] += slots[s]


@jit
def voxel_of(
    t: Array,
    x: Array,
    y: Array,
    p: Array,
    start: int,
    duration: int,
    bins: int,
    height: int,
    width: int,
    at: Array,
) -> None:  # pragma: no cover
    """Write the place of every event in a grid ``(2, bins, h, w)``, -1 outside."""
    low, high, base = np.int64(0), np.int64(0), np.int64(0)
    plane = height * width
    for i in range(len(t)):
        d = t[i] - start
        if d < 0 or d >= duration or x[i] >= width or y[i] >= height:
            at[i] = -1
            continue
        if d < low or d >= high:
            b = bins * d // duration
            low, high = (b * duration + bins - 1) // bins, ((b + 1) * duration + bins - 1) // bins
            base = b * plane
        at[i] = base + np.int64(y[i]) * width + np.int64(x[i]) + (p[i] < 0) * bins * plane


@jit
def tally(at: Array, present: Array) -> None:  # pragma: no cover
    """Count the events of each voxel."""
    for i in range(len(at)):
        present[np.uint64(at[i])] += 1


@jit
def score(at: Array, grid: Array, present: Array, out: Array) -> None:  # pragma: no cover
    """Divide what ``grid`` (flat) keeps of each event's voxel and polarity by what was there."""
    cells = len(grid)
    for i in range(len(at)):
        cell = at[i]
        value = grid[np.uint64(cell)] if cell < cells else -grid[np.uint64(cell - cells)]
        out[i] = value / np.float32(present[np.uint64(cell)])


@jit
def keep(
    at: Array, grid: Array, present: Array, seen: Array, out: Array
) -> None:  # pragma: no cover
    """Keep of each voxel's events as many as ``grid`` (flat) says, evenly by their order."""
    cells = len(grid)
    for i in range(len(at)):
        cell = np.uint64(at[i])
        total, k = np.int64(present[cell]), np.int64(seen[cell])
        seen[cell] += 1
        value = grid[cell] if at[i] < cells else -grid[np.uint64(at[i] - cells)]
        most = np.float32(2147483648)  # held before it becomes an integer, which has an end
        wanted = min(np.int64(min(max(np.rint(value), ZERO), most)), total)
        out[i] = (k + 1) * wanted // total > k * wanted // total
