"""Voxel grids back to events: new events, or the old ones that a grid keeps."""

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from libimg import _check
from libimg.events.stream import Events, trusted

__all__ = ["decode_voxels", "event_scores", "transfer_labels"]

Placement = Literal["even", "random", "centre"]
LONGEST = 2**20  # microseconds a bin up to which a counting sort over them is worth its memory


def decode_voxels(
    voxels: Float[Tensor, "*polarity bins h w"],
    *,
    start_us: int,
    duration_us: int,
    placement: Placement = "even",
    generator: torch.Generator | None = None,
) -> Events:
    """Turn a voxel grid of convention ``edges`` into events, sorted by time.

    Every voxel gives as many events as its rounded value says, inside its own time bin, so
    encoding them again gives the rounded grid exactly. Only what the grid still holds comes
    back: with summed polarities, +1 and -1 in one voxel are gone.

    Args:
        voxels: ``(bins, h, w)`` signed sums, or ``(2, bins, h, w)`` counts (positive, negative).
        start_us: start of the window, microseconds; times are absolute.
        duration_us: length of the window, at least one microsecond a bin.
        placement: ``"even"``: the n events of a voxel divide its bin evenly, at
            (2k + 1) / 2n of it; ``"centre"``: all in the middle; ``"random"``: uniformly.
        generator: for ``"random"``.

    Returns:
        Events on the device of the grid, sorted by time, then polarity where it is split, row and
        column.

    Raises:
        ValueError: wrong shape or option, a value that is not finite or 2^24 and above, a
            negative count where polarities are split (clamp a network's output first), or
            ``"random"`` without a generator.

    Example:
        >>> grid = torch.zeros(2, 1, 3)
        >>> grid[0, 0, 1], grid[1, 0, 2] = 2, -1
        >>> events = decode_voxels(grid, start_us=1000, duration_us=200)
        >>> events.t_us.tolist(), events.p.tolist()
        ([1025, 1075, 1150], [1, 1, -1])

    Reference:
        E-Flare's decoder places events by a global random state at 0.15 million events a second.
    """
    _check.one_of("placement", placement, ("even", "random", "centre"))
    counts = _split_view(voxels)
    edges = bin_edges(len(counts), start_us=start_us, duration_us=duration_us)
    if placement == "random" and generator is None:
        msg = "generator is needed for placement='random', got None"
        raise ValueError(msg)
    generator = generator if placement == "random" else None
    short = duration_us <= LONGEST * len(counts)
    if voxels.device.type == "cpu" and short and voxels.dtype in (torch.float32, torch.float64):
        return _decode_cpu(counts, edges, placement, generator)
    return decode_by_sort(counts, edges, placement, generator)


def bin_edges(bins: int, *, start_us: int, duration_us: int) -> list[int]:
    """First microsecond of every bin, and the end of the window."""
    _check.positive(bins=bins, duration_us=duration_us)
    if duration_us < bins:
        msg = f"duration_us must be at least one microsecond a bin, got {duration_us} for {bins}"
        raise ValueError(msg)
    return [int(start_us) - (-b * int(duration_us)) // bins for b in range(bins + 1)]


def transfer_labels(
    events: Events,
    voxels: Float[Tensor, "*polarity bins h w"],
    *,
    start_us: int,
    duration_us: int,
) -> Bool[Tensor, " n"]:
    """Choose the events that a restored grid keeps, so that real times survive.

    Of the events in a voxel, those of each polarity are kept up to the rounded value of the grid
    there (a signed sum of +2 keeps two positive events and no negative one). Which ones is
    decided by their order, evenly: the same every time.

    Args:
        events: the original events, all inside the window and the sensor.
        voxels: restored ``(bins, h, w)`` or ``(2, bins, h, w)``, convention ``edges``.
        start_us: start of the window, microseconds.
        duration_us: its length.

    Returns:
        True for events to keep; ``events[mask]`` is the restored stream.

    Raises:
        ValueError: an event lies outside the window or the grid, the shape is wrong, a value is
            not finite, or the window is shorter than a microsecond a bin.

    Example:
        >>> events = Events([0, 1, 2, 3], [0] * 4, [0] * 4, [1, 1, 1, -1], sensor=(1, 1))
        >>> transfer_labels(events, torch.ones(1, 1, 1), start_us=0, duration_us=10).tolist()
        [False, False, True, False]
    """
    at = _places(events, voxels, start_us, duration_us)
    grid, present = _tally(at, voxels)
    if at.device.type == "cpu":
        from libimg._ops import label_kernels as kernels

        kept = np.empty(len(at), np.bool_)
        seen = np.zeros(present.numel(), np.int32)
        kernels.keep(at.numpy(), grid.numpy(), present.numpy(), seen, kept)
        return torch.from_numpy(kept)
    order = torch.argsort(at, stable=True)
    first = (present.cumsum(0) - present)[at[order]]
    rank = torch.empty_like(at)
    rank[order] = torch.arange(len(at), device=at.device) - first
    total = present[at]
    wanted = torch.minimum(grid[at].round().clamp(0, 2**31).long(), total)
    return (rank + 1) * wanted // total > rank * wanted // total


def event_scores(
    events: Events,
    voxels: Float[Tensor, "*polarity bins h w"],
    *,
    start_us: int,
    duration_us: int,
) -> Float[Tensor, " n"]:
    """Score each event by the share of its voxel's events that a restored grid keeps.

    Args:
        events: the original events, all inside the window and the sensor.
        voxels: restored ``(bins, h, w)`` or ``(2, bins, h, w)``, convention ``edges``.
        start_us: start of the window, microseconds.
        duration_us: its length.

    Returns:
        The grid's value for the event's polarity divided by the number of such events in the
        voxel, ``(n,)``; high for signal. Thresholding it is a denoiser.

    Raises:
        ValueError: an event lies outside the window or the grid, the shape is wrong, a value is
            not finite, or the window is shorter than a microsecond a bin.

    Example:
        >>> events = Events([0, 1], [0, 0], [0, 0], [1, -1], sensor=(1, 1))
        >>> event_scores(events, torch.full((1, 1, 1), 0.8), start_us=0, duration_us=10).tolist()
        [0.8, -0.8]
    """
    at = _places(events, voxels, start_us, duration_us)
    grid, present = _tally(at, voxels)
    if at.device.type == "cpu":
        from libimg._ops import label_kernels as kernels

        share = np.empty(len(at), np.float32)
        kernels.score(at.numpy(), grid.numpy(), present.numpy(), share)
        return torch.from_numpy(share)
    return grid[at] / present[at]


def _split_view(voxels: Tensor) -> Tensor:
    """View a grid as ``(bins, polarities, h, w)``."""
    if voxels.ndim == 3:
        return voxels.unsqueeze(1)
    if voxels.ndim == 4 and voxels.shape[0] == 2:
        return voxels.transpose(0, 1)
    msg = f"voxels must be (bins, h, w) or (2, bins, h, w), got shape {tuple(voxels.shape)}"
    raise ValueError(msg)


def _refuse_counts(bad: int, split: bool) -> None:
    if bad:
        what = "finite, below 2^24" + (" and not negative" if split else "")
        msg = f"voxels: {bad} values are no counts; expected rounded values that are {what}"
        raise ValueError(msg)


def _decode_cpu(
    counts: Tensor, edges: list[int], placement: Placement, generator: torch.Generator | None
) -> Events:
    from libimg._ops import label_kernels as kernels

    bins, polarities, height, width = counts.shape
    grid = counts.detach().reshape(bins, polarities, height * width).numpy()
    where, many = (np.empty(polarities * height * width + 1, np.int32) for _ in range(2))
    totals, bad, found = np.zeros(3, np.int64), 0, []
    for b in range(bins):
        kernels.collect(grid[b], where, many, totals)
        voxels, n, wrong = (int(value) for value in totals)
        found.append((where[:voxels].copy(), many[:voxels].copy(), n))
        bad += wrong
    _refuse_counts(bad, polarities == 2)
    total = sum(n for _, _, n in found)
    kinds = (np.int64, np.uint16, np.uint16, np.int8)
    columns: list[Any] = [np.empty(total, kind) for kind in kinds]
    first = 0
    for (cells, amounts, n), (low, high) in zip(found, pairwise(edges), strict=True):
        drawn = _offsets(n, high - low, generator).numpy()
        part = [column[first : first + n] for column in columns]
        centre = placement == "centre"
        kernels.decode(cells, amounts, height * width, width, low, high - low, drawn, centre, *part)
        first += n
    return trusted(*(torch.from_numpy(column) for column in columns), sensor=(height, width))


def _offsets(n: int, span: int, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return torch.empty(0, dtype=torch.int64)
    return torch.randint(span, (n,), generator=generator)


def decode_by_sort(
    counts: Tensor, edges: list[int], placement: Placement, generator: torch.Generator | None
) -> Events:
    """Decode by torch operations, on any device: repeat every voxel, place, sort."""
    bins, polarities, height, width = counts.shape
    wrong = ~(counts.round().abs() < 2**24)
    if polarities == 2:
        wrong |= counts.round() < 0
    _refuse_counts(int(wrong.sum()), polarities == 2)
    flat = counts.detach().round().reshape(-1).long()
    cell = flat.nonzero().squeeze(1)
    n = flat[cell].abs()
    voxel = torch.repeat_interleave(cell, n)
    of = torch.repeat_interleave(n, n)
    k = torch.arange(len(voxel), device=flat.device)
    k = k - torch.repeat_interleave(n.cumsum(0) - n, n)
    plane = height * width
    b = voxel // (polarities * plane)
    marks = torch.tensor(edges, device=flat.device)
    span = (marks[1:] - marks[:-1])[b]
    if placement == "even":
        offset = (2 * k + 1) * span // (2 * of)
    elif placement == "centre" or generator is None:
        offset = span // 2
    else:
        per_bin = torch.bincount(b, minlength=bins).tolist()
        sides = [high - low for low, high in pairwise(edges)]
        drawn = [_offsets(m, side, generator) for m, side in zip(per_bin, sides, strict=True)]
        offset = torch.cat(drawn).to(flat.device)
    t = marks[:-1][b] + offset
    negative = flat[voxel] < 0
    if polarities == 2:
        negative = voxel % (2 * plane) >= plane
    pixel = voxel % plane
    order = torch.argsort(t, stable=True)
    p = 1 - 2 * negative[order].to(torch.int8)
    x, y = (pixel % width)[order].to(torch.uint16), (pixel // width)[order].to(torch.uint16)
    return trusted(t[order], x, y, p, sensor=(height, width))


def _places(events: Events, voxels: Tensor, start_us: int, duration_us: int) -> Tensor:
    """Place of every event in the flat grid ``(2, bins, h, w)``."""
    bins, _, height, width = _split_view(voxels).shape
    bin_edges(bins, start_us=start_us, duration_us=duration_us)
    t, x, y, p = (column.contiguous() for column in (events.t_us, events.x, events.y, events.p))
    if t.device.type == "cpu":
        from libimg._ops import label_kernels as kernels

        at = torch.empty(len(events), dtype=torch.int64)
        arrays = (column.numpy() for column in (t, x, y, p))
        kernels.voxel_of(*arrays, start_us, duration_us, bins, height, width, at.numpy())
    else:
        d, x, y = t - start_us, x.long(), y.long()
        inside = (d >= 0) & (d < duration_us) & (x < width) & (y < height)
        b = bins * d // duration_us
        at = ((((p < 0).long() * bins + b) * height + y) * width + x).where(inside, -1)
    out = int((at < 0).sum())
    if out:
        msg = f"events: {out} of {len(events)} lie outside [{start_us}, {start_us + duration_us}) "
        msg += f"us or beyond the grid {(height, width)}"
        raise ValueError(msg)
    return at


def _tally(at: Tensor, voxels: Tensor) -> tuple[Tensor, Tensor]:
    """Flat grid, and how many events each voxel of ``(2, bins, h, w)`` holds."""
    grid, split = voxels.detach().float().reshape(-1), voxels.ndim == 4
    bad = int((~grid.isfinite()).sum())
    if bad:
        msg = f"voxels must be finite, got {bad} values that are not"
        raise ValueError(msg)
    size = grid.numel() if split else 2 * grid.numel()
    if at.device.type == "cpu":
        from libimg._ops import label_kernels as kernels

        present = np.zeros(size, np.int32)
        kernels.tally(at.numpy(), present)
        return grid, torch.from_numpy(present)
    return grid if split else torch.cat((grid, -grid)), torch.bincount(at, minlength=size)
