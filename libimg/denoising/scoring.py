"""Scores of denoised streams, each beside the rows it has to be compared with."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from libimg import _check, metrics
from libimg.denoising.codec import Codec, encode_segment
from libimg.events import (
    Clock,
    Events,
    background_activity_filter,
    encode_windows,
    event_scores,
    hot_pixels,
    stcf,
    support_age,
    time_surface_filter,
    time_surface_score,
)

__all__ = [
    "FILTERS",
    "FILTER_SCORES",
    "grid_scores",
    "label_by_truth",
    "network_scores",
    "score_kept",
    "score_stream",
]

PEAK = 8.0
"""Events a voxel that the range of the PSNR reaches, in both polarities."""

FILTERS: dict[str, Callable[[Events], Bool[Tensor, " n"]]] = {
    "background activity": lambda e: background_activity_filter(e, window_us=5000),
    "STCF": lambda e: stcf(e, k=3, radius=2, same_polarity=True, window_us=10_000),
    "time surface": lambda e: time_surface_filter(e, decay_us=20_000, radius=2, threshold=0.1),
    "hot pixels": lambda e: ~hot_pixels(e, least=4)[e.y.long(), e.x.long()],
}
"""Classical filters by name, as they are used in tables: which events each keeps."""

FILTER_SCORES: dict[str, Callable[[Events], Tensor]] = {
    "background activity": lambda e: -support_age(e),
    "STCF": lambda e: -support_age(e, k=3, radius=2, same_polarity=True),
    "time surface": lambda e: time_surface_score(e, decay_us=20_000, radius=2),
}
"""Their scores before the threshold, high for signal."""


def label_by_truth(noisy: Events, clean: Events) -> Bool[Tensor, " n"] | None:
    """Mark the events of a noisy stream that the clean stream has too.

    Args:
        noisy: any order.
        clean: any order, same sensor.

    Returns:
        True for signal; each clean event marks one equal noisy event. None if a clean event has
        no partner, so that the noisy stream is not the clean one with noise added.

    Example:
        >>> noisy = Events([1, 1, 2], [0, 0, 1], [0, 0, 0], [1, 1, -1], sensor=(1, 2))
        >>> label_by_truth(noisy, noisy[1:]).tolist()
        [True, False, True]
    """
    codes = []
    for events in (noisy, clean):
        pixel = events.y.long() * events.sensor[1] + events.x.long()
        codes.append(torch.stack([events.t_us, pixel * 2 + (events.p > 0)], 1))
    kinds, which = torch.unique(torch.cat(codes), dim=0, return_inverse=True)
    ours, theirs = which[: len(noisy)], which[len(noisy) :]
    there = torch.bincount(theirs, minlength=len(kinds))
    here = torch.bincount(ours, minlength=len(kinds))
    if bool((there > here).any()):
        return None
    order = torch.argsort(ours, stable=True)
    rank = torch.empty_like(ours)
    rank[order] = torch.arange(len(ours)) - (here.cumsum(0) - here)[ours[order]]
    return rank < there[ours]


def grid_scores(restored: Tensor, truth: Tensor) -> dict[str, float]:
    """Score voxel grids of one recording, segment by segment.

    Args:
        restored: ``(segments, 1, bins, h, w)`` signed sums, or 2 channels of counts.
        truth: the same.

    Returns:
        Means over segments of ``mse``, ``psnr`` (range -8 to 8 events a voxel), ``pmse2``,
        ``pmse4``, ``r_f1``, ``t_f1`` and ``tp_f1``.

    Example:
        >>> grid = torch.ones(1, 1, 2, 4, 4)
        >>> grid_scores(grid, grid)["tp_f1"]
        1.0
    """
    mse = metrics.voxel_mse(restored, truth)
    error = float(mse.mean())
    scores = {
        "mse": mse,
        "pmse2": metrics.pooled_mse(restored, truth, kernel=2),
        "pmse4": metrics.pooled_mse(restored, truth, kernel=4),
        "r_f1": metrics.event_f1(restored, truth, threshold=0.5),
        "t_f1": metrics.event_f1(restored, truth, collapse="time", threshold=0.5),
        "tp_f1": metrics.event_f1(restored, truth, collapse="time_polarity", threshold=0.5),
    }
    named = {name: float(values.mean()) for name, values in scores.items()}
    named["psnr"] = 10 * math.log10((2 * PEAK) ** 2 / error) if error else math.inf
    return named


def score_stream(
    estimate: Events, truth: Events, *, clock: Clock, bins: int, samples: int = 20_000
) -> dict[str, float]:
    """Score a restored stream against the clean one.

    Args:
        estimate: restored events.
        truth: clean events.
        clock: segments of the recording.
        bins: time bins of a segment.
        samples: events from which the Chamfer distance looks.

    Returns:
        The scores of `grid_scores`, ``chamfer`` and ``gaussian`` (one way, each stream by its own
        extremes, as published), and ``chamfer_both`` (both ways, in the frame of the truth).

    Example:
        >>> events = Events([5, 70], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        >>> scores = score_stream(events, events, clock=Clock(0, 20_000, 1), bins=8)
        >>> scores["mse"], scores["chamfer_both"]
        (0.0, 0.0)
    """
    grids = [
        encode_windows(
            events,
            windows=len(clock),
            bins=bins,
            start_us=clock.start_us,
            duration_us=clock.duration_us,
            sensor=truth.sensor,
            outside="raise",
        ).unsqueeze(1)
        for events in (estimate, truth)
    ]
    scores = grid_scores(grids[0], grids[1])
    rows = [torch.stack([e.t_us, e.x.long(), e.y.long(), e.p.long()], 1) for e in (estimate, truth)]
    for name, how in (
        ("chamfer", {"normalise": "each", "direction": "forward"}),
        ("chamfer_both", {"normalise": "truth", "direction": "both"}),
    ):
        generator = torch.Generator().manual_seed(0)
        options: dict[str, Any] = {"samples": samples, "generator": generator, **how}
        scores[name] = metrics.event_chamfer(rows[0], rows[1], **options)
    generator = torch.Generator().manual_seed(0)
    scores["gaussian"] = metrics.event_gaussian_distance(
        rows[0],
        rows[1],
        normalise="each",
        direction="forward",
        samples=samples,
        generator=generator,
    )
    return scores


def score_kept(
    events: Events,
    kept: Bool[Tensor, " n"],
    signal: Bool[Tensor, " n"],
    *,
    scores: Tensor | None = None,
    slice_events: int = 30_000,
) -> dict[str, float]:
    """Score what a filter kept, from the label of every event.

    Args:
        events: the noisy stream, in order of time.
        kept: which of them are kept.
        signal: which are signal; the positive class of the area under the ROC curve.
        scores: of each event, high for signal; None for a filter that has no score.
        slice_events: events in a slice of the structural ratio.

    Returns:
        ``auc``, ``snr``, ``precision``, ``recall``, ``f1``, ``retention``, and the mean event
        structural ratio of the result (``mesr``) beside its null controls.

    Example:
        >>> events = Events([5, 70], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        >>> half = torch.tensor([True, False])
        >>> score_kept(events, half, half, scores=half.float())["auc"]
        1.0
    """
    rates = metrics.event_rates(kept, signal)
    controls = metrics.esr_controls(
        events.x.long(),
        events.y.long(),
        kept,
        sensor=events.sensor,
        is_signal=signal,
        slice_events=slice_events,
        generator=torch.Generator().manual_seed(0),
    )
    assert controls.oracle is not None
    return {
        "auc": math.nan if scores is None else metrics.event_auc(scores, signal, positive="signal"),
        "best_f1": math.nan if scores is None else metrics.best_f1(scores, signal).f1,
        "snr": metrics.signal_to_noise(kept, signal),
        "precision": rates.precision,
        "recall": rates.recall,
        "f1": rates.f1,
        "retention": rates.retention,
        "mesr": controls.kept.esr,
        "mesr_raw": controls.raw.esr,
        "mesr_random": controls.random.esr,
        "mesr_prefix": controls.prefix.esr,
        "mesr_oracle": controls.oracle.esr,
    }


def network_scores(
    events: Events,
    model: Callable[[Tensor], Tensor],
    *,
    clock: Clock,
    codec: Codec,
    shifts: int = 1,
) -> Float[Tensor, " n"]:
    """Score every event by the share of its voxel that a network keeps.

    Args:
        events: sorted, inside the clock's windows.
        model: from ``(1, channels, bins, h, w)`` to the same.
        clock: segments of the recording.
        codec: how events become voxels.
        shifts: average over that many clocks, each a part of a segment earlier, so that no event
            is always near an end.

    Returns:
        ``(n,)``, high for signal.

    Raises:
        ValueError: events lie outside the clock's windows.

    Example:
        >>> events = Events([5, 70], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        >>> clock = Clock(0, 20_000, 1)
        >>> network_scores(events, lambda v: v / 2, clock=clock, codec=Codec()).tolist()
        [0.5, 0.5]
    """
    _check.positive(shifts=shifts)
    total = torch.zeros(len(events))
    for shift in range(shifts):
        found = [torch.zeros(0)]
        first = clock.start_us - shift * clock.duration_us // shifts
        for start in Clock(first, clock.duration_us, len(clock) + (shift > 0)):
            part = events.between(start, start + clock.duration_us)
            with torch.no_grad():
                grid = model(encode_segment(part, start_us=start, codec=codec)[None])[0].float()
            grid = grid.cpu() if len(grid) == 2 else grid[0].cpu()
            found.append(event_scores(part, grid, start_us=start, duration_us=clock.duration_us))
        scores = torch.cat(found)
        if len(scores) != len(events):
            msg = f"events: {len(events) - len(scores)} of {len(events)} lie outside the clock"
            raise ValueError(msg)
        total += scores / shifts
    return total
