"""Evaluation of a network on paired recordings, beside raw, codec and classical filters."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from libimg import diagnose, figures, inference, metrics
from libimg.denoising.codec import Codec, encode_segment, swap_polarity
from libimg.denoising.pairs import EventData, VoxelPairs
from libimg.denoising.restore import restore_events
from libimg.denoising.scoring import (
    FILTER_SCORES,
    FILTERS,
    label_by_truth,
    network_scores,
    score_kept,
    score_stream,
)
from libimg.events import Clock, Events, encode_voxels, merge_segments, shared_clock
from libimg.ranges import ValueRange

__all__ = ["evaluate_pairs", "event_panel", "on_device", "rank_events", "restore_stream"]

Model = Callable[[Tensor], Tensor]


def on_device(
    net: nn.Module,
    *,
    autocast: torch.dtype | None = None,
    tta: bool = False,
    swap: bool = False,
) -> Model:
    """Let a network take grids from anywhere and answer there, in float32 and eval mode.

    Args:
        net: from ``(b, channels, bins, h, w)`` to the same.
        autocast: half precision inside the network, as it was trained; None for none.
        tta: average over the four mirror images of the sensor.
        swap: with ``tta``, over swapped polarities, too, for a network that was trained so.

    Example:
        >>> on_device(nn.Identity(), tta=True, swap=True)(torch.ones(1, 1, 1, 1, 2))
        tensor([[[[[1., 1.]]]]])
    """
    model = inference.ready(net, autocast=autocast)

    def averaged(voxels: Tensor) -> Tensor:
        mirrored = partial(inference.tta, model=model, flips=(1, 2))
        if not swap:
            return mirrored(voxels)
        other = swap_polarity(mirrored(swap_polarity(voxels, channel=1)), channel=1)
        return (mirrored(voxels) + other) / 2

    return averaged if tta else model


def restore_stream(events: Events, model: Model, *, clock: Clock, codec: Codec) -> Events:
    """Restore a stream that is in memory, segment by segment.

    Args:
        events: sorted, inside the clock's windows.
        model: see `restore_events`.
        clock: the segments.
        codec: how voxels become events.

    Example:
        >>> events = Events([5, 70], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        >>> len(restore_stream(events, lambda v: v, clock=Clock(0, 20_000, 1), codec=Codec()))
        2
    """
    parts = (events.between(start, start + clock.duration_us) for start in clock)
    restored = [
        restore_events(part, model, start_us=start, codec=codec)
        for start, part in zip(clock, parts, strict=True)
    ]
    return merge_segments(restored)


def once(model: Model, events: Events, *, clock: Clock, codec: Codec) -> Model:
    """Run a model over the segments of a stream; give its answers again, round after round."""
    answers = []
    for start in clock:
        part = events.between(start, start + clock.duration_us)
        with torch.no_grad():
            answers.append(model(encode_segment(part, start_us=start, codec=codec)[None]))
    again = cycle(answers)
    return lambda voxels: next(again)


def rank_events(
    events: Events, signal: Bool[Tensor, " n"], model: Model, *, codec: Codec, shifts: int = 1
) -> dict[str, dict[str, float]]:
    """Rank events by the classical filters and by a network, signal positive.

    Args:
        events: noisy, sorted.
        signal: which of them are signal.
        model: the network's, see `on_device`.
        codec: segments, bins and threshold.
        shifts: see `network_scores`.

    Returns:
        Method to ``auc``, ``best_f1`` (its threshold chosen with the labels) and ``f1`` at the
        method's own threshold; ``raw`` keeps everything.
    """
    clock = shared_clock(events.span, duration_us=codec.segment_us)
    scores: dict[str, Tensor] = {"raw": torch.zeros(len(events))}
    kept = {"raw": torch.ones(len(events), dtype=torch.bool)}
    for name, score in FILTER_SCORES.items():
        scores[name], kept[name] = score(events), FILTERS[name](events)
    scores["network"] = network_scores(events, model, clock=clock, codec=codec, shifts=shifts)
    kept["network"] = scores["network"] >= codec.threshold
    return {
        name: {
            "auc": metrics.event_auc(values, signal, positive="signal"),
            "best_f1": metrics.best_f1(values, signal).f1,
            "f1": metrics.event_rates(kept[name], signal).f1,
        }
        for name, values in scores.items()
    }


def evaluate_pairs(
    pairs: Sequence[tuple[Path, Path]], model: Model, *, data: EventData
) -> dict[str, Any]:
    """Score the streams that every method makes of noisy recordings.

    Args:
        pairs: noisy and clean files.
        model: the network's, see `on_device`.
        data: how recordings are cut and encoded.

    Returns:
        ``rows``: row to metric to summary over recordings; ``cases``: row to recording to
        metric; ``verdict``: the network against every other row, by TP-F1.
    """
    items, codec = VoxelPairs(pairs, data), data.codec
    cases: dict[str, dict[str, dict[str, float]]] = {}
    for number, (path, _) in enumerate(pairs):
        noisy, clean = items.recording(number)
        clock, signal = items.clocks[number], label_by_truth(noisy, clean)
        keep, decode = (replace(codec, output=output) for output in ("keep", "decode"))
        masks = {"raw": torch.ones(len(noisy), dtype=torch.bool)}
        masks |= {name: keeps(noisy) for name, keeps in FILTERS.items()}
        streams = {name: noisy[mask] for name, mask in masks.items()}
        again = once(model, noisy, clock=clock, codec=codec)
        streams["codec only"] = restore_stream(noisy, lambda v: v, clock=clock, codec=decode)
        streams["network, decoded"] = restore_stream(noisy, again, clock=clock, codec=decode)
        streams["network"] = restore_stream(noisy, again, clock=clock, codec=keep)
        scores: dict[str, Tensor] = {name: score(noisy) for name, score in FILTER_SCORES.items()}
        scores["network"] = network_scores(noisy, again, clock=clock, codec=codec)
        kept = label_by_truth(noisy, streams["network"])
        assert kept is not None
        masks["network"] = kept
        for name, stream in streams.items():
            row = score_stream(stream, clean, clock=clock, bins=codec.bins)
            row["retention"] = len(stream) / len(noisy) if len(noisy) else math.nan
            if signal is not None and name in masks:
                row |= score_kept(noisy, masks[name], signal, scores=scores.get(name))
            cases.setdefault(name, {})[path.name] = row
    rows = {name: diagnose.summarise(found) for name, found in cases.items()}
    verdict = diagnose.verdict(cases, metric="tp_f1", model="network", higher=True)
    return {"rows": rows, "cases": cases, "verdict": verdict, "positive": "signal"}


def event_panel(path: Path, pair: tuple[Path, Path], model: Model, *, data: EventData) -> Path:
    """Write noisy, filtered, restored and clean events of two segments as pictures.

    Args:
        path: PNG file.
        pair: noisy and clean file.
        model: the network's, see `on_device`.
        data: how recordings are cut and encoded.
    """
    items = VoxelPairs([pair], data)
    noisy, clean = items.recording(0)
    clock = items.clocks[0]
    streams = {
        "noisy": noisy,
        "STCF filter": noisy[FILTERS["STCF"](noisy)],
        "restored by the network": restore_stream(noisy, model, clock=clock, codec=data.codec),
        "truth": clean,
    }
    starts = list(clock)
    starts = [starts[0], starts[len(starts) // 2]] if len(starts) > 1 else starts
    window = ValueRange(-2, 2, "events")
    rows = []
    for start in starts:
        frames = [
            encode_voxels(stream, bins=1, start_us=start, duration_us=clock.duration_us)[0]
            for stream in streams.values()
        ]
        rows.append([figures.Tile(frame, window, "bwr") for frame in frames])
    labels = [f"{start / 1000:g} to {(start + clock.duration_us) / 1000:g} ms" for start in starts]
    title = f"{pair[0].name}: sum of polarities, red brighter, blue darker"
    return figures.panel(path, rows, columns=list(streams), labels=labels, title=title)
