"""Restoring event files: window by window through voxels, in bounded memory."""

from collections.abc import Callable
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from libimg import _check
from libimg._extras import optional
from libimg.denoising.codec import Codec, encode_segment, recording_clock, toward_keeping
from libimg.events import (
    EventFile,
    Events,
    EventWriter,
    decode_voxels,
    transfer_labels,
)

__all__ = ["restore_events", "restore_file"]

Model = Callable[[Tensor], Tensor]


@torch.no_grad()
def restore_events(events: Events, model: Model, *, start_us: int, codec: Codec) -> Events:
    """Restore the events of one segment.

    Args:
        events: sorted, all in ``[start_us, start_us + codec.segment_us)``.
        model: from ``(1, channels, bins, h, w)`` of `encode_segment` to the same; the identity
            shows what the codec costs.
        start_us: start of the segment.
        codec: how.

    Returns:
        The restored events, sorted, times absolute.

    Raises:
        ValueError: an event lies outside the segment, or the model's output has another shape or
            is not finite.

    Example:
        >>> events = Events([5, 70], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        >>> len(restore_events(events, lambda v: v, start_us=0, codec=Codec()))
        2
    """
    _check.one_of("output", codec.output, ("keep", "decode"))
    window: dict[str, Any] = {"start_us": start_us, "duration_us": codec.segment_us}
    grid = encode_segment(events, start_us=start_us, codec=codec)
    restored = model(grid[None])
    if restored.shape != (1, *grid.shape):
        msg = f"model must keep the shape {(1, *grid.shape)}, got {tuple(restored.shape)}"
        raise ValueError(msg)
    if not bool(restored.isfinite().all()):
        msg = f"model gave values that are not finite for the segment at {start_us} us"
        raise ValueError(msg)
    voxels = toward_keeping(restored[0].float().to(grid.device), threshold=codec.threshold)
    voxels = voxels.clamp(min=0) if len(voxels) == 2 else voxels[0]
    if codec.output == "decode":
        return decode_voxels(voxels, **window)
    return events[transfer_labels(events, voxels, **window)]


def restore_file(
    source: str | PathLike[str],
    target: str | PathLike[str],
    model: Model,
    *,
    codec: Codec,
    sensor: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    compression: str | None = None,
    progress: bool = False,
) -> dict[str, int]:
    """Restore a file of any length and layout, one segment in memory at a time.

    Args:
        source: HDF5 file of a known layout.
        target: file to write; it appears when all is done.
        model: see `restore_events`.
        codec: how.
        sensor: (height, width), where the file does not say it.
        device: where the events are encoded, the model's.
        compression: of the target: None, ``"gzip"`` or ``"lzf"``.
        progress: show a progress bar (needs tqdm).

    Returns:
        Numbers of ``events``, ``kept`` and ``segments``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what is wrong with the file, by name.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from libimg.events import write_events
        >>> events = Events([5, 70], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     a, b = Path(folder) / "a.h5", Path(folder) / "b.h5"
        ...     write_events(a, events)
        ...     restore_file(a, b, lambda voxels: voxels, codec=Codec())
        {'events': 2, 'kept': 2, 'segments': 1}
    """
    with EventFile(source, sensor=sensor) as file:
        clock = recording_clock(file, duration_us=codec.segment_us)
        begun = clock.start_us if len(file) else file.start_us
        writer = EventWriter(target, sensor=file.sensor, start_us=begun, compression=compression)
        seen = 0
        with writer:
            parts = file.windows(
                start_us=clock.start_us, duration_us=clock.duration_us, count=len(clock)
            )
            pairs = zip(clock, parts, strict=True)
            if progress:
                pairs = optional("tqdm", extra="tasks").tqdm(pairs, "segments", total=len(clock))
            for begin, events in pairs:
                seen += len(events)
                restored = restore_events(events.to(device), model, start_us=begin, codec=codec)
                writer.append(restored.to("cpu"))
        if seen != len(file):
            msg = f"{source}: {seen} of {len(file)} events were read; the times are not in order"
            raise ValueError(msg)
    return {"events": seen, "kept": writer.count, "segments": len(clock)}
