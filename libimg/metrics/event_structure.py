"""Event structural ratio: a score without truth, and the controls it needs."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64, Integer
from torch import Generator, Tensor

from libimg._check import positive, same_shape

__all__ = [
    "EsrControls",
    "StructuralRatio",
    "esr_controls",
    "event_structural_ratio",
    "mean_event_structural_ratio",
]


class StructuralRatio(NamedTuple):
    """An event structural ratio and its parts, or their means over slices.

    Args:
        esr: ``√(ntss·l_n)``; the mean of the slices' values, not that of the means.
        ntss: chance that two events of the slice lie on one pixel.
        l_n: pixels that keep an event when two thirds of the events are deleted at random.
        occupied: pixels with an event; ``l_n`` is never above it.
        slices: number of slices.
        left_over: events behind the last whole slice, which count nowhere.

    Example:
        >>> StructuralRatio(1.0, ntss=0.5, l_n=2.0, occupied=3, slices=1, left_over=0).esr
        1.0
    """

    esr: float
    ntss: float
    l_n: float
    occupied: float
    slices: int
    left_over: int


class EsrControls(NamedTuple):
    """A filter's MESR between what it has to be compared with.

    Args:
        retention: share of the events that the filter keeps; all controls but ``raw`` keep as
            many.
        raw: the stream as it is.
        kept: the filter's result.
        random: events kept by chance, signal and noise alike.
        prefix: the first events of every block.
        oracle: signal before noise in every block; None without labels.

    Example:
        >>> nothing = StructuralRatio(0.0, 0.0, 0.0, 0, slices=0, left_over=0)
        >>> EsrControls(0.5, nothing, nothing, nothing, nothing, oracle=None).retention
        0.5
    """

    retention: float
    raw: StructuralRatio
    kept: StructuralRatio
    random: StructuralRatio
    prefix: StructuralRatio
    oracle: StructuralRatio | None


def event_structural_ratio(
    x: Integer[Tensor, " n"], y: Integer[Tensor, " n"], *, sensor: tuple[int, int]
) -> StructuralRatio:
    """Event structural ratio (ESR) of one slice: ``√(NTSS·L)``, polarity ignored.

    With ``n_i`` events on pixel i, ``N = Σ n_i`` and ``M = ⌊2N/3⌋``:
    ``NTSS = Σ n_i (n_i - 1) / (N (N - 1))`` and ``L = Σ_i (1 - (1 - M/N)^n_i)``. Empty pixels add
    nothing, so the sensor's size does not matter.

    **It rewards deleting events**, and is no proof of denoising: see `esr_controls`.

    Args:
        x: columns.
        y: rows.
        sensor: (height, width) in pixels.

    Returns:
        The ratio and its parts, with ``slices=1``; NaN for fewer than two events.

    Raises:
        ValueError: the lengths differ, or a pixel lies beyond the sensor.

    Example:
        >>> x, y = torch.tensor([0, 0, 0, 3]), torch.tensor([0, 0, 0, 1])
        >>> event_structural_ratio(x, y, sensor=(2, 4))
        StructuralRatio(esr=0.83, ntss=0.5, l_n=1.375, occupied=2, slices=1, left_over=0)

    Reference:
        Ding et al., E-MLB: Multilevel Benchmark for Event-Based Camera Denoising, IEEE TMM 2023.
        The second version in cuke-emlb (median filter, ``Σ n² / N²``, times 1000) is another
        score, and no multiple of this one.
    """
    return _ratio(_pixels(x, y, sensor), sensor)


def mean_event_structural_ratio(
    x: Integer[Tensor, " n"],
    y: Integer[Tensor, " n"],
    *,
    sensor: tuple[int, int],
    slice_events: int = 30_000,
) -> StructuralRatio:
    """Mean event structural ratio (MESR) of slices of equally many events.

    **It rewards deleting events**: what is left of a moving scene fills a slice only over a longer
    time. Report it with the retention and beside `esr_controls`.

    Args:
        x: columns, in order of time.
        y: rows.
        sensor: (height, width) in pixels.
        slice_events: events in a slice, at least 2. The last, incomplete slice is left out and
            counted.

    Returns:
        Means over the slices, NaN if there is none.

    Raises:
        ValueError: the lengths differ, a pixel lies beyond the sensor, or ``slice_events`` is
            below 2.

    Example:
        >>> x = torch.tensor([0, 0, 0, 1, 0])
        >>> mean_event_structural_ratio(x, x, sensor=(2, 2), slice_events=2)
        StructuralRatio(esr=0.43, ntss=0.5, l_n=0.875, occupied=1.5, slices=2, left_over=1)

    Reference:
        As `event_structural_ratio`; 30 000 events is the benchmark's choice.
    """
    return _mean_ratio(_pixels(x, y, sensor), sensor, slice_events)


def esr_controls(
    x: Integer[Tensor, " n"],
    y: Integer[Tensor, " n"],
    kept: Bool[Tensor, " n"],
    *,
    sensor: tuple[int, int],
    generator: Generator,
    is_signal: Bool[Tensor, " n"] | None = None,
    slice_events: int = 30_000,
    block_events: int = 10_240,
) -> EsrControls:
    """Compare a filter's MESR with that of masks which keep as many events without looking.

    Keeping events at random can raise the MESR above that of the raw stream, and filters beat the
    true labels by it. So a filter that is not above ``random`` and ``prefix`` has shown nothing,
    and one above ``oracle`` has shown that the score does not measure denoising there.

    Args:
        x: columns, in order of time.
        y: rows.
        kept: which events the filter let through.
        sensor: (height, width) in pixels.
        generator: draws the random control, on any device.
        is_signal: which events are signal, for the oracle.
        slice_events: events in a slice, at least 2.
        block_events: events in the blocks of ``prefix`` and ``oracle``; each block keeps its
            share of the filter's number.

    Returns:
        All results, and the retention. A slice count of 0 says that too few events are left.

    Raises:
        ValueError: as `mean_event_structural_ratio`, or ``block_events`` is below 1.

    Example:
        >>> x = torch.arange(8) % 4
        >>> controls = esr_controls(x, x, x < 2, sensor=(4, 4), slice_events=2,
        ...                         block_events=4, generator=torch.Generator())
        >>> controls.retention, controls.kept.esr, controls.prefix.slices
        (0.5, 0.0, 2)

    Reference:
        Jang and Han, Discarding Events Is Not Denoising, 2026. There each block keeps a rounded
        share; here the totals are equal to the event.
    """
    same_shape(x=x, kept=kept, **({} if is_signal is None else {"is_signal": is_signal}))
    positive(block_events=block_events)
    pixels = _pixels(x, y, sensor)
    total, number = len(kept), int(kept.sum())
    chosen = torch.randperm(total, generator=generator, device=generator.device)[:number]
    random = torch.zeros_like(kept)
    random[chosen.to(kept.device)] = True
    masks = {"kept": kept, "random": random}
    masks["prefix"] = _first(torch.zeros_like(kept), number, block_events)
    if is_signal is not None:
        masks["oracle"] = _first(~is_signal, number, block_events)
    scores = {k: _mean_ratio(pixels[mask], sensor, slice_events) for k, mask in masks.items()}
    return EsrControls(
        retention=number / total if total else math.nan,
        raw=_mean_ratio(pixels, sensor, slice_events),
        kept=scores["kept"],
        random=scores["random"],
        prefix=scores["prefix"],
        oracle=scores.get("oracle"),
    )


def _first(later: Bool[Tensor, " n"], number: int, block: int) -> Bool[Tensor, " n"]:
    """Keep ``number`` events, evenly shared among blocks; in a block those marked come last."""
    events = torch.arange(len(later), device=later.device)
    blocks = events // block
    start = blocks * block
    stop = (start + block).clamp(max=len(later))
    quota = stop * number // max(len(later), 1) - start * number // max(len(later), 1)
    order = torch.argsort(blocks * 2 + later, stable=True)
    mask = torch.empty_like(later)
    mask[order] = events - start < quota
    return mask


def _pixels(x: Tensor, y: Tensor, sensor: tuple[int, int]) -> Int64[Tensor, " n"]:
    """Index of each event's pixel."""
    same_shape(x=x, y=y)
    x, y = x.long(), y.long()
    for name, values, size in (("x", x, sensor[1]), ("y", y, sensor[0])):
        low, high = (int(v) for v in values.aminmax()) if len(values) else (0, 0)
        if low < 0 or high >= size:
            msg = f"{name} must lie on the sensor {tuple(sensor)}, got {low} to {high}"
            raise ValueError(msg)
    return y * sensor[1] + x


def _ratio(pixels: Int64[Tensor, " n"], sensor: tuple[int, int]) -> StructuralRatio:
    events = len(pixels)
    counts = pixels.bincount(minlength=sensor[0] * sensor[1])
    alike = counts.bincount()[1:]  # number of pixels with 1, 2, ... events
    n = torch.arange(1, len(alike) + 1, device=alike.device)
    occupied = int(alike.sum())
    if events < 2:
        return StructuralRatio(math.nan, math.nan, math.nan, occupied, 1, 0)
    ntss = int((alike * n * (n - 1)).sum()) / (events * (events - 1))
    stay = 1 - (2 * events // 3) / events
    l_n = float((alike * (1 - stay ** n.double())).sum())
    return StructuralRatio(math.sqrt(ntss * l_n), ntss, l_n, occupied, 1, 0)


def _mean_ratio(
    pixels: Int64[Tensor, " n"], sensor: tuple[int, int], slice_events: int
) -> StructuralRatio:
    if slice_events < 2:
        msg = f"slice_events must be at least 2, got {slice_events}"
        raise ValueError(msg)
    slices, left_over = divmod(len(pixels), slice_events)
    if not slices:
        return StructuralRatio(math.nan, math.nan, math.nan, math.nan, 0, left_over)
    whole = pixels[: slices * slice_events].view(slices, slice_events)
    ratios = [_ratio(part, sensor)[:4] for part in whole]
    esr, ntss, l_n, occupied = (math.fsum(part) / slices for part in zip(*ratios, strict=True))
    return StructuralRatio(esr, ntss, l_n, occupied, slices, left_over)
