"""How a segment of events becomes the grid of a network, and which of its values count."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from libimg.events import Clock, EventFile, Events, encode_voxels, shared_clock

__all__ = [
    "Codec",
    "encode_segment",
    "limit_to_input",
    "recording_clock",
    "swap_polarity",
    "toward_keeping",
]

Output = Literal["keep", "decode"]
Polarity = Literal["sum", "split"]


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How events become voxels and come back.

    Args:
        segment_us: length of one voxel grid.
        bins: its time bins.
        polarity: ``"sum"``: one signed channel, where opposite events of a voxel cancel and are
            lost; ``"split"``: a channel of counts for each polarity, where nothing is.
        output: ``"keep"``: of the input's events those that the restored grid still counts, with
            their own times; ``"decode"``: new events spread evenly over each bin.
        threshold: a voxel's fraction of an event counts as one from here on; 0.5 rounds.

    Example:
        >>> Codec().segment_us
        20000
    """

    segment_us: int = 20_000
    bins: int = 8
    polarity: Polarity = "sum"
    output: Output = "keep"
    threshold: float = 0.5


def recording_clock(*files: EventFile, duration_us: int) -> Clock:
    """Cut the files of one recording at the same times, in training as in inference.

    Args:
        files: open; those without events have no say.
        duration_us: length of a segment.

    Returns:
        A clock from the earliest stated start or first event on; from 0 without events.

    Example:
        >>> import tempfile
        >>> from libimg.events import write_events
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     events = Events([5, 30_000], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        ...     write_events(f"{folder}/a.h5", events, start_us=0)
        ...     with EventFile(f"{folder}/a.h5") as file:
        ...         recording_clock(file, duration_us=20_000)
        Clock(start_us=0, duration_us=20000, count=2)
    """
    known = [file for file in files if file.span is not None]
    spans = [file.span for file in known]
    starts = [span[0] for span in spans if span is not None]
    starts += [file.start_us for file in known if file.start_us is not None]
    return shared_clock(*spans, duration_us=duration_us, start_us=min(starts, default=0))


def encode_segment(
    events: Events, *, start_us: int, codec: Codec
) -> Float[Tensor, "channels bins h w"]:
    """Encode the events of one segment as a network takes them.

    Args:
        events: all in ``[start_us, start_us + codec.segment_us)``.
        start_us: start of the segment.
        codec: how.

    Returns:
        ``(1, bins, h, w)`` signed, or ``(2, bins, h, w)`` counts of positive and negative events.

    Raises:
        ValueError: an event lies outside the segment.

    Example:
        >>> events = Events([5, 70], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        >>> encode_segment(events, start_us=0, codec=Codec(polarity="split")).shape
        torch.Size([2, 8, 4, 6])
    """
    grid = encode_voxels(
        events,
        bins=codec.bins,
        start_us=start_us,
        duration_us=codec.segment_us,
        polarity=codec.polarity,
        outside="raise",
    )
    return grid if codec.polarity == "split" else grid[None]


def toward_keeping(voxels: Tensor, *, threshold: float) -> Tensor:
    """Shift values away from zero so that rounding turns fractions from ``threshold`` on into 1.

    Args:
        voxels: signed grid of any shape.
        threshold: in (0, 1); 0.5 leaves everything as it is.

    Returns:
        The same shape; fractions below the threshold are 0 after rounding.

    Raises:
        ValueError: ``threshold`` is not in (0, 1).

    Example:
        >>> import torch
        >>> toward_keeping(torch.tensor([-1.4, 0.2, 0.4]), threshold=0.3).round().tolist()
        [-2.0, 0.0, 1.0]
    """
    if not 0 < threshold < 1:
        msg = f"threshold must be in (0, 1), got {threshold}"
        raise ValueError(msg)
    moved = (voxels.abs() + (0.5 - threshold)).clamp(min=0)
    return moved * voxels.sign()


def swap_polarity(voxels: Float[Tensor, "*shape"], *, channel: int) -> Float[Tensor, "*shape"]:
    """Give every event of a grid the other polarity.

    Args:
        voxels: grids with a channel axis of one (signed) or two (counts).
        channel: that axis.

    Returns:
        The same shape.

    Example:
        >>> import torch
        >>> swap_polarity(torch.tensor([[1.0], [2.0]]), channel=0).tolist()
        [[2.0], [1.0]]
    """
    return voxels.flip(channel) if voxels.shape[channel] == 2 else -voxels


def limit_to_input(
    restored: Float[Tensor, "*shape"], raw: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Hold every voxel between zero and the input: what can be kept of the input's events.

    Args:
        restored: grids that a network gives.
        raw: the grids that it was given.

    Returns:
        The same shape.

    Example:
        >>> import torch
        >>> limit_to_input(torch.tensor([0.7, 5.0, -1.0]), torch.tensor([0.0, 2.0, 1.0])).tolist()
        [0.0, 2.0, 0.0]
    """
    return restored.clamp(raw.clamp(max=0), raw.clamp(min=0))
