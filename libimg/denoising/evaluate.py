"""Evaluation of a network on paired recordings, beside raw, codec and classical filters."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from libimg import diagnose, figures
from libimg.denoising.pairs import EventData, VoxelPairs
from libimg.denoising.restore import Codec, restore_events
from libimg.denoising.scoring import (
    FILTER_SCORES,
    FILTERS,
    label_by_truth,
    network_scores,
    score_kept,
    score_stream,
)
from libimg.events import Clock, Events, encode_voxels, merge_segments
from libimg.ranges import ValueRange

__all__ = ["evaluate_pairs", "event_panel", "on_device", "restore_stream"]

Model = Callable[[Tensor], Tensor]


def on_device(net: nn.Module) -> Model:
    """Let a network take grids from anywhere and answer there, in float32 and eval mode."""
    net.eval()

    def model(voxels: Tensor) -> Tensor:
        device = next((p.device for p in net.parameters()), voxels.device)
        answer: Tensor = net(voxels.to(device)).float().to(voxels.device)
        return answer

    return model


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


def evaluate_pairs(
    pairs: Sequence[tuple[Path, Path]], net: nn.Module, *, data: EventData, codec: Codec
) -> dict[str, Any]:
    """Score the streams that every method makes of noisy recordings.

    Args:
        pairs: noisy and clean files.
        net: the network.
        data: how recordings are cut.
        codec: how voxels become events.

    Returns:
        ``rows``: row to metric to summary over recordings; ``cases``: row to recording to
        metric; ``verdict``: the network against every other row, by TP-F1.
    """
    items, model = VoxelPairs(pairs, data), on_device(net)
    cases: dict[str, dict[str, dict[str, float]]] = {}
    for number, (path, _) in enumerate(pairs):
        noisy, clean = items.recording(number)
        clock, signal = items.clocks[number], label_by_truth(noisy, clean)
        keep = Codec(segment_us=codec.segment_us, bins=codec.bins, threshold=codec.threshold)
        decode = Codec(
            segment_us=codec.segment_us, bins=codec.bins, threshold=codec.threshold, output="decode"
        )
        masks = {"raw": torch.ones(len(noisy), dtype=torch.bool)}
        masks |= {name: keeps(noisy) for name, keeps in FILTERS.items()}
        streams = {name: noisy[mask] for name, mask in masks.items()}
        streams["codec only"] = restore_stream(noisy, lambda v: v, clock=clock, codec=decode)
        streams["network, decoded"] = restore_stream(noisy, model, clock=clock, codec=decode)
        streams["network"] = restore_stream(noisy, model, clock=clock, codec=keep)
        scores: dict[str, Tensor] = {name: score(noisy) for name, score in FILTER_SCORES.items()}
        scores["network"] = network_scores(noisy, model, clock=clock, bins=codec.bins)
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


def event_panel(
    path: Path, pair: tuple[Path, Path], net: nn.Module, *, data: EventData, codec: Codec
) -> Path:
    """Write noisy, filtered, restored and clean events of two segments as pictures.

    Args:
        path: PNG file.
        pair: noisy and clean file.
        net: the network.
        data: how recordings are cut.
        codec: how voxels become events.
    """
    items, model = VoxelPairs([pair], data), on_device(net)
    noisy, clean = items.recording(0)
    clock = items.clocks[0]
    streams = {
        "noisy": noisy,
        "STCF filter": noisy[FILTERS["STCF"](noisy)],
        "restored by the network": restore_stream(noisy, model, clock=clock, codec=codec),
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
