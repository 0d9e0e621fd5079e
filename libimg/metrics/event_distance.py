"""Distance between event streams: from each event to the nearest one of the other stream."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Generator, Tensor

from libimg._check import one_of, positive

__all__ = ["event_chamfer", "event_gaussian_distance"]

Columns = Shaped[Tensor, "_ 4"] | Sequence[Shaped[Tensor, " _"]]
"""Events as rows (t_us, x, y, p), or as these four columns."""

Normalise = Literal["truth", "each", "none"]
Direction = Literal["forward", "backward", "both"]
CHUNK = 2**17


def event_chamfer(
    estimate: Columns,
    truth: Columns,
    *,
    normalise: Normalise = "truth",
    scale: float | Sequence[float] = 100.0,
    direction: Direction = "both",
    samples: int | None = None,
    generator: Generator | None = None,
) -> float:
    """Mean distance from an event to the nearest one of the other stream, in (t, x, y, p).

    ``normalise="each", direction="forward"`` is the score of the E-Deflare benchmark. It cannot
    see a shift, of time or place, of the whole stream, nor what it is stretched to, since each
    stream is brought to [0, 100] by its own extremes; nor events that are missing, since only
    those of the estimate look for a neighbour. The default sees all of these.

    Args:
        estimate: rows (t_us, x, y, p) of shape ``(n, 4)``, or four columns of one length; integers
            are held exactly.
        truth: the same, of any length.
        normalise: ``"truth"``: both streams by the extremes of the truth, axis by axis, an axis
            on which the truth does not vary having length 1; ``"each"``: each by its own;
            ``"none"``: values as they are.
        scale: factor on the normalised axes, one or (t, x, y, p). For ``"none"`` four are needed:
            ``(1e-3, 1, 1, 1)`` says that one millisecond is as far as one pixel.
        direction: ``"forward"``: from the events of the estimate; ``"backward"``: from those of
            the truth; ``"both"``: the mean of the two means.
        samples: look from this many events only, drawn without replacement, for an unbiased
            estimate; all if None. All events of the other stream remain candidates.
        generator: draws the samples; needed for them, and only for them.

    Returns:
        The distance, 0 for equal streams. Two empty streams are equal; if only one is empty, the
        way from the other is infinite, that from the empty one undefined (NaN), and both
        together infinite.

    Raises:
        ValueError: the columns differ in length or number, an option is unknown, ``samples`` and
            ``generator`` do not come together, or ``"none"`` comes without four scales.

    Example:
        >>> truth = torch.tensor([[0, 3, 3, 1], [10, 5, 7, -1]])
        >>> event_chamfer(truth + torch.tensor([0, 1, 0, 0]), truth)
        50.0
        >>> event_chamfer(truth + 1000, truth, normalise="each", direction="forward")
        0.0

    Reference:
        Han et al., Learning to Remove Lens Flare in Event Camera, 2025.
    """
    options = (normalise, scale, direction, samples, generator)
    return _mean(estimate, truth, lambda distance: distance, *options)


def event_gaussian_distance(
    estimate: Columns,
    truth: Columns,
    *,
    width: float = 0.4,
    normalise: Normalise = "truth",
    scale: float | Sequence[float] = 100.0,
    direction: Direction = "both",
    samples: int | None = None,
    generator: Generator | None = None,
) -> float:
    """Mean of ``1 - exp(-d² / width)`` over the distances d of `event_chamfer`.

    Near 0 for a neighbour that is hit, near 1 for one that is missed by any distance, so that few
    far events do not decide.

    Args:
        estimate: as in `event_chamfer`.
        truth: as in `event_chamfer`.
        width: of the Gaussian, in squared units of the scaled axes.
        normalise: as in `event_chamfer`.
        scale: as in `event_chamfer`.
        direction: as in `event_chamfer`.
        samples: as in `event_chamfer`.
        generator: as in `event_chamfer`.

    Returns:
        A number in [0, 1]; for empty streams as in `event_chamfer`, with 1 for infinite.

    Raises:
        ValueError: as `event_chamfer`, or ``width`` is not above 0.

    Example:
        >>> truth = torch.tensor([[0, 3, 3, 1], [10, 5, 7, -1]])
        >>> event_gaussian_distance(truth + torch.tensor([0, 1, 0, 0]), truth)
        1.0

    Reference:
        As `event_chamfer`; there the width 0.4 is called sigma.
    """
    positive(width=width)
    options = (normalise, scale, direction, samples, generator)
    return _mean(estimate, truth, lambda distance: -np.expm1(-(distance**2) / width), *options)


def _mean(
    estimate: Columns,
    truth: Columns,
    score: Callable[[Any], Any],
    normalise: Normalise,
    scale: float | Sequence[float],
    direction: Direction,
    samples: int | None,
    generator: Generator | None,
) -> float:
    """Mean score of the distances; of both directions, the mean of those that have events."""
    one_of("normalise", normalise, ("truth", "each", "none"))
    one_of("direction", direction, ("forward", "backward", "both"))
    if (samples is None) != (generator is None):
        msg = "samples and generator come together: the one draws the other"
        raise ValueError(msg)
    positive(**({} if samples is None else {"samples": samples}))
    here, there = _matrix("estimate", estimate), _matrix("truth", truth)
    here, there = _scaled(here, there, normalise, scale)
    if not len(here) and not len(there):
        return 0.0
    ways = {"forward": (here, there), "backward": (there, here)}
    chosen = ways.values() if direction == "both" else [ways[direction]]
    means = [_one_way(*way, score, samples, generator) for way in chosen if len(way[0])]
    return sum(means) / len(means) if means else math.nan


def _one_way(
    start: Any,
    goal: Any,
    score: Callable[[Any], Any],
    samples: int | None,
    generator: Generator | None,
) -> float:
    from scipy.spatial import cKDTree

    if not len(goal):
        return float(score(np.inf))
    if samples is not None and samples < len(start):
        assert generator is not None
        drawn = torch.randperm(len(start), generator=generator, device=generator.device)
        start = start[drawn[:samples].cpu().numpy()]
    tree, workers = cKDTree(goal), torch.get_num_threads()
    parts = (start[i : i + CHUNK] for i in range(0, len(start), CHUNK))
    sums = [float(score(tree.query(part, workers=workers)[0]).sum()) for part in parts]
    return math.fsum(sums) / len(start)


def _matrix(name: str, events: Columns) -> Any:
    """Events as float64 rows; microseconds are exact up to 2^53."""
    columns = list(events.unbind(1)) if isinstance(events, Tensor) else list(events)
    shapes = [tuple(column.shape) for column in columns]
    if len(columns) != 4 or len(set(shapes)) > 1:
        msg = f"{name} must be four columns of one length (t_us, x, y, p), got shapes {shapes}"
        raise ValueError(msg)
    return np.stack([c.detach().cpu().double().numpy() for c in columns], 1)


def _scaled(
    here: Any, there: Any, normalise: Normalise, scale: float | Sequence[float]
) -> tuple[Any, Any]:
    factors = np.asarray(scale, dtype=np.float64)
    if factors.shape != (4,) and (factors.shape or normalise == "none"):
        msg = f"scale must be {'' if normalise == 'none' else 'one number or '}four, got {scale}"
        raise ValueError(msg)
    if normalise == "none":
        return here * factors, there * factors
    frames = (there, there) if normalise == "truth" else (here, there)
    return tuple(
        (rows - _low(frame)) * (factors / _span(frame))
        for rows, frame in zip((here, there), frames, strict=True)
    )


def _low(rows: Any) -> Any:
    return rows.min(0) if len(rows) else np.zeros(4)


def _span(rows: Any) -> Any:
    span = np.ptp(rows, axis=0) if len(rows) else np.ones(4)
    return np.where(span > 0, span, 1.0)
