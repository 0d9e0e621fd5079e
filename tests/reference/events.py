"""Voxel grids of known projects and a codec, event by event in exact fractions.

Each formula is the published one with the window made explicit, the faults at its ends included.
Events are rows ``(t, x, y, p)``, ``p`` -1 or +1; results are float64 arrays ``(bins, h, w)``.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import strategies as st

from libimg.events import Events

Row = tuple[int, int, int, int]
Oracle = Callable[..., np.ndarray]


def inside(
    rows: Sequence[Row], start: int, duration: int, height: int, width: int, *, closed: bool = False
) -> list[Row]:
    """Keep the events of a window and a sensor."""
    stop = start + duration + closed
    return [r for r in rows if start <= r[0] < stop and r[1] < width and r[2] < height]


def e2vid(
    rows: Sequence[Row], bins: int, start: int, duration: int, height: int, width: int
) -> np.ndarray:
    """Two taps at (B - 1)τ, the right one only where there is such a bin."""
    grid = np.zeros((bins, height, width))
    for t, x, y, p in inside(rows, start, duration, height, width, closed=True):
        s = Fraction((bins - 1) * (t - start), duration)
        left = floor(s)
        grid[left, y, x] += p * float(1 - (s - left))
        if left + 1 < bins:
            grid[left + 1, y, x] += p * float(s - left)
    return grid


def event_utils(
    rows: Sequence[Row], bins: int, start: int, duration: int, height: int, width: int
) -> np.ndarray:
    """A pass over each bin b with the weight max(0, 1 - |(B - 1)τ - b|)."""
    grid = np.zeros((bins, height, width))
    for b in range(bins):
        for t, x, y, p in inside(rows, start, duration, height, width, closed=True):
            s = Fraction((bins - 1) * (t - start), duration)
            grid[b, y, x] += p * float(max(Fraction(0), 1 - abs(s - b)))
    return grid


def dsec(
    rows: Sequence[Row], bins: int, start: int, duration: int, height: int, width: int
) -> np.ndarray:
    """Trilinear over the eight corners around (x, y, (C - 1)τ), of polarities 0 and 1."""
    grid = np.zeros((bins, height, width))
    for t, x, y, p in inside(rows, start, duration, height, width, closed=True):
        s = Fraction((bins - 1) * (t - start), duration)
        value = 2 * (p > 0) - 1
        for column in (x, x + 1):
            for row in (y, y + 1):
                for b in (floor(s), floor(s) + 1):
                    if column < width and row < height and b < bins:
                        weight = (1 - abs(column - x)) * (1 - abs(row - y)) * (1 - abs(b - s))
                        grid[b, row, column] += value * float(weight)
    return grid


def tonic(
    rows: Sequence[Row], bins: int, start: int, duration: int, height: int, width: int
) -> np.ndarray:
    """Two taps at Bτ; what falls on bin B is lost."""
    grid = np.zeros((bins, height, width))
    for t, x, y, p in inside(rows, start, duration, height, width):
        s = Fraction(bins * (t - start), duration)
        left = floor(s)
        grid[left, y, x] += p * float(1 - (s - left))
        if left + 1 < bins:
            grid[left + 1, y, x] += p * float(s - left)
    return grid


def metavision(
    rows: Sequence[Row], bins: int, start: int, duration: int, height: int, width: int
) -> np.ndarray:
    """openeb's torch code: two taps at Bτ - 1/2, the left bin clamped before its weight."""
    grid = np.zeros((bins, height, width))
    for t, x, y, p in inside(rows, start, duration, height, width):
        s = Fraction(bins * (t - start), duration) - Fraction(1, 2)
        left = min(max(floor(s), 0), bins - 1)
        right = min(left + 1, bins - 1)
        weight = max(Fraction(0), 1 - abs(left - s))
        grid[left, y, x] += p * float(weight)
        grid[right, y, x] += p * float(1 - weight)
    return grid


def rvt(
    rows: Sequence[Row], bins: int, start: int, duration: int, height: int, width: int
) -> np.ndarray:
    """Counts ``(2 * bins, h, w)`` by ⌊Bτ⌋, the bins of polarity 0 first."""
    grid = np.zeros((2 * bins, height, width))
    for t, x, y, p in inside(rows, start, duration, height, width):
        b = min(floor(Fraction(t - start, max(duration, 1)) * bins), bins - 1)
        grid[(p > 0) * bins + b, y, x] += 1
    return grid


def eflare(
    rows: Sequence[Row], bins: int, start: int, duration: int, height: int, width: int
) -> np.ndarray:
    """Signed sum by ⌊(t - t0) / (duration / B)⌋, clipped to B - 1."""
    grid = np.zeros((bins, height, width))
    for t, x, y, p in inside(rows, start, duration, height, width):
        b = min(floor((t - start) / Fraction(duration, bins)), bins - 1)
        grid[b, y, x] += p
    return grid


def count(
    rows: Sequence[Row],
    convention: str,
    interpolation: str,
    *,
    bins: int,
    start_us: int,
    duration_us: int,
    sensor: tuple[int, int],
    windows: int = 1,
) -> np.ndarray:
    """Grids ``(windows, 2, bins, h, w)`` (positive, negative) as the documentation tells them.

    ``s`` by convention, held to [0, B - 1]; the nearest bin is the later of two equally near.
    """
    closed = convention in ("e2vid", "event_utils", "dsec")
    grid = np.zeros((windows, 2, bins, *sensor))
    for t, x, y, p in inside(rows, start_us, windows * duration_us, *sensor, closed=closed):
        window = min((t - start_us) // duration_us, windows - 1)
        tau = Fraction(t - start_us - window * duration_us, duration_us)
        s = (bins - 1) * tau if closed else bins * tau
        if convention in ("edges", "eflare", "rvt", "metavision"):
            s -= Fraction(1, 2)
        s = min(max(s, Fraction(0)), Fraction(bins - 1))
        cells = grid[window, int(p < 0), :, y, x]
        if interpolation == "none":
            cells[floor(s + Fraction(1, 2))] += 1
            continue
        left = floor(s)
        cells[left] += float(1 - (s - left))
        if s > left:
            cells[left + 1] += float(s - left)
    return grid


def voxel(row: Row, bins: int, start: int, duration: int) -> tuple[int, int, int, int]:
    """Bin of convention ``edges``, row, column and polarity of an event."""
    t, x, y, p = row
    return bins * (t - start) // duration, y, x, p


def shares(rows: Sequence[Row], grid: np.ndarray, start: int, duration: int) -> list[Fraction]:
    """For each event, what the grid holds of its polarity by how many of its kind there are."""
    split = grid.ndim == 4
    at = [voxel(row, grid.shape[-3], start, duration) for row in rows]
    part = [grid[int(p < 0)] if split else p * grid for *_, p in at]
    return [Fraction(float(g[a[:3]])) / at.count(a) for g, a in zip(part, at, strict=True)]


def transfer(rows: Sequence[Row], grid: np.ndarray, start: int, duration: int) -> list[bool]:
    """Keep ``wanted`` of the n events of a voxel and polarity: always ⌊k wanted / n⌋ of k."""
    at = [voxel(row, grid.shape[-3], start, duration) for row in rows]
    seen: dict[tuple[int, int, int, int], int] = {}
    kept = []
    for a, share in zip(at, shares(rows, grid, start, duration), strict=True):
        n = at.count(a)
        wanted = min(max(round(share * n), 0), n)
        k = seen.get(a, 0)
        seen[a] = k + 1
        kept.append(floor(Fraction((k + 1) * wanted, n)) > floor(Fraction(k * wanted, n)))
    return kept


def decode(grid: np.ndarray, start: int, duration: int, *, centre: bool = False) -> list[Row]:
    """Events of an integer grid ``(bins, h, w)`` or ``(2, bins, h, w)``, bin by bin, sorted."""
    signed = grid[None] if grid.ndim == 3 else np.stack((grid[0], -grid[1]))
    rows: list[Row] = []
    bins, height, width = signed.shape[1:]
    for b in range(bins):
        first, stop = (-(-edge * duration // bins) for edge in (b, b + 1))
        found: list[Row] = []
        for part in signed:
            for y in range(height):
                for x in range(width):
                    n = abs(int(part[b, y, x]))
                    for k in range(n):
                        at = Fraction(1, 2) if centre else Fraction(2 * k + 1, 2 * n)
                        t = start + first + floor(at * (stop - first))
                        found.append((t, x, y, 1 if part[b, y, x] > 0 else -1))
        rows += sorted(found, key=lambda row: row[0])
    return rows


def rows_of(events: Events) -> list[Row]:
    """List the events as rows of python integers."""
    columns = (events.t_us, events.x, events.y, events.p)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def from_rows(rows: Sequence[Row], sensor: tuple[int, int]) -> Events:
    """Build a stream from rows."""
    t, x, y, p = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    return Events(t, x, y, p, sensor=sensor)


@st.composite
def windows(draw: st.DrawFn, *, per_bin: bool = False) -> dict[str, int]:
    """Windows ``bins``, ``start_us``, ``duration_us``, also shorter than their number of bins."""
    bins = draw(st.integers(1, 6))
    start = draw(st.sampled_from((0, 1, 12_345, -77, 1_700_000_000_000_003)))
    lengths = st.one_of(st.integers(1, 50), st.sampled_from((20_000, 33_333, 2**34)))
    duration = draw(lengths)
    return {"bins": bins, "start_us": start, "duration_us": max(duration, bins * per_bin)}


@st.composite
def _streams(
    draw: st.DrawFn, window: dict[str, int], outside: bool, ordered: bool
) -> tuple[list[Row], tuple[int, int]]:
    start, duration, bins = window["start_us"], window["duration_us"], window["bins"]
    sensor = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    edges = [b * duration // bins for b in range(bins)] + [0, duration - 1]
    since = st.one_of(st.integers(0, duration - 1), st.sampled_from(edges))
    x, y = st.integers(0, sensor[1] - 1), st.integers(0, sensor[0] - 1)
    if outside:
        since = st.one_of(since, st.sampled_from((-1, -duration, duration, duration + 1)))
        x, y = st.integers(0, sensor[1] + 1), st.integers(0, sensor[0] + 1)
    row = st.tuples(since.map(lambda d: start + d), x, y, st.sampled_from((-1, 1)))
    rows = draw(st.lists(row, max_size=20))
    if draw(st.booleans()):
        rows = [(rows[0][0], *row[1:]) for row in rows]  # equal times
    return (sorted(rows) if ordered else rows), sensor


def stream(
    data: st.DataObject, window: dict[str, int], *, outside: bool = False, ordered: bool = True
) -> Events:
    """Draw a stream: empty, single, equal times, many at the ends and edges of a window's bins."""
    rows, sensor = data.draw(_streams(window, outside, ordered))
    return from_rows(rows, sensor)
