"""Classical event filters: each gives a score, and a threshold on it is the filter."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from libimg import _check
from libimg.events.stream import Events

__all__ = [
    "background_activity_filter",
    "hot_pixels",
    "stcf",
    "support_age",
    "time_surface_filter",
    "time_surface_score",
]

NEVER = 2**31 - 1  # age of a support that never came; none is higher


def support_age(
    events: Events, *, k: int = 1, radius: int = 1, same_polarity: bool = False
) -> Int64[Tensor, " n"]:
    """Time since the k-th newest event among the neighbours of each event.

    The pixel itself does not count, so a hot pixel does not support itself. Every neighbour has
    one memory (one for each polarity with ``same_polarity``): its latest event. Before the first
    event of a recording there is no support, whatever the clock reads; tonic's filter lets
    everything pass in its first milliseconds there.

    Args:
        events: sorted by time, on the sensor; any device, computed on the CPU.
        k: number of neighbours that have to fire, at most those there are.
        radius: of the square neighbourhood in pixels, 1 for the eight next.
        same_polarity: count only events of the event's own polarity.

    Returns:
        Microseconds, ``(n,)``; 2147483647, which no age exceeds, where fewer than k neighbours
        fired in the 35 minutes before. Low for signal: the negative age is a score for an ROC
        curve.

    Raises:
        ValueError: ``k`` or ``radius`` out of range, times run backwards, or a pixel lies beyond
            the sensor.

    Example:
        >>> events = Events([0, 300, 900], [1, 2, 9], [1, 1, 1], [1, 1, 1], sensor=(3, 10))
        >>> support_age(events).tolist()
        [2147483647, 300, 2147483647]

    Reference:
        Delbruck, Frame-free dynamic digital vision, 2008 (background activity, k = 1); Guo and
        Delbruck, Low Cost and Latency Event Camera Background Activity Denoising, TPAMI 2023
        (STCF, k above 1).
    """
    _check.positive(k=k, radius=radius)
    if k > (2 * radius + 1) ** 2 - 1:
        msg = f"k must be at most {(2 * radius + 1) ** 2 - 1} for radius {radius}, got {k}"
        raise ValueError(msg)
    t, x, y, p, last = _prepared(events, radius, 2 if same_polarity else 1)
    from libimg._ops import filter_kernels as loops

    age = np.empty(len(t), np.int64)
    if k == 1 and radius == 1 and not same_polarity:
        loops.newest(t, x, y, last.reshape(-1), last.shape[2], NEVER, age)
    else:
        loops.kth(t, x, y, p, last, radius, k, same_polarity, NEVER, np.empty(k, last.dtype), age)
    if last.dtype != np.int32:
        np.minimum(age, NEVER, out=age)
    return torch.from_numpy(age).to(events.t_us.device)


def background_activity_filter(
    events: Events, *, window_us: int = 2000, radius: int = 1, same_polarity: bool = False
) -> Bool[Tensor, " n"]:
    """Keep the events that a neighbour fired just before.

    Args:
        events: sorted by time, on the sensor.
        window_us: how long a neighbour's event counts, inclusive.
        radius: of the neighbourhood in pixels.
        same_polarity: count only events of the event's own polarity.

    Returns:
        True for events to keep; ``events[mask]`` is the result.

    Raises:
        ValueError: as `support_age`, or ``window_us`` is not positive.

    Example:
        >>> events = Events([0, 300, 900], [1, 2, 9], [1, 1, 1], [1, 1, 1], sensor=(3, 10))
        >>> background_activity_filter(events).tolist()
        [False, True, False]

    Reference:
        Delbruck, Frame-free dynamic digital vision, 2008.
    """
    _check.positive(window_us=window_us)
    age = support_age(events, radius=radius, same_polarity=same_polarity)
    return age <= min(window_us, NEVER - 1)


def stcf(
    events: Events,
    *,
    window_us: int = 5000,
    k: int = 2,
    radius: int = 1,
    same_polarity: bool = False,
) -> Bool[Tensor, " n"]:
    """Keep the events that k neighbours support (spatio-temporal correlation filter).

    Args:
        events: sorted by time, on the sensor.
        window_us: how long a neighbour's event counts, inclusive.
        k: number of neighbours needed.
        radius: of the neighbourhood in pixels.
        same_polarity: count only events of the event's own polarity.

    Returns:
        True for events to keep.

    Raises:
        ValueError: as `support_age`, or ``window_us`` is not positive.

    Example:
        >>> events = Events([0, 1, 2], [1, 2, 3], [1, 0, 1], [1, 1, 1], sensor=(3, 10))
        >>> stcf(events, k=1).tolist(), stcf(events, k=2, radius=2).tolist()
        ([False, True, True], [False, False, True])

    Reference:
        Guo and Delbruck, TPAMI 2023.
    """
    _check.positive(window_us=window_us)
    age = support_age(events, k=k, radius=radius, same_polarity=same_polarity)
    return age <= min(window_us, NEVER - 1)


def time_surface_score(
    events: Events, *, decay_us: float = 2000.0, radius: int = 1, same_polarity: bool = True
) -> Float[Tensor, " n"]:
    """Sum of ``exp(-age / decay_us)`` over the neighbours of each event, itself left out.

    Args:
        events: sorted by time, on the sensor.
        decay_us: time constant.
        radius: of the neighbourhood in pixels.
        same_polarity: one surface for each polarity.

    Returns:
        Scores from 0 (no support) to the number of neighbours, ``(n,)``; high for signal.

    Raises:
        ValueError: an option is not positive, times run backwards, or a pixel lies beyond the
            sensor.

    Example:
        >>> events = Events([0, 2000], [1, 2], [1, 1], [1, 1], sensor=(3, 10))
        >>> time_surface_score(events, decay_us=2000).tolist()
        [0.0, 0.37]

    Reference:
        Lagorce et al., HOTS, TPAMI 2017.
    """
    _check.positive(decay_us=decay_us, radius=radius)
    t, x, y, p, last = _prepared(events, radius, 2 if same_polarity else 1)
    from libimg._ops import filter_kernels as loops

    score = np.empty(len(t), np.float32)
    loops.surface(t, x, y, p, last, radius, -1.0 / decay_us, same_polarity, score)
    return torch.from_numpy(score).to(events.t_us.device)


def time_surface_filter(
    events: Events,
    *,
    threshold: float = 0.2,
    decay_us: float = 2000.0,
    radius: int = 1,
    same_polarity: bool = True,
) -> Bool[Tensor, " n"]:
    """Keep the events whose time surface is above a threshold.

    Args:
        events: sorted by time, on the sensor.
        threshold: of the mean surface over the neighbourhood, 0 to 1.
        decay_us: time constant.
        radius: of the neighbourhood in pixels.
        same_polarity: one surface for each polarity.

    Returns:
        True for events to keep.

    Raises:
        ValueError: as `time_surface_score`.

    Example:
        >>> events = Events([0, 2000], [1, 2], [1, 1], [1, 1], sensor=(3, 10))
        >>> time_surface_filter(events, threshold=0.04).tolist()
        [False, True]

    Reference:
        Lagorce et al., HOTS, TPAMI 2017; 2 ms and 0.2 are common defaults.
    """
    score = time_surface_score(
        events, decay_us=decay_us, radius=radius, same_polarity=same_polarity
    )
    return score / ((2 * radius + 1) ** 2 - 1) > threshold


def hot_pixels(events: Events, *, factor: float = 10.0, least: int = 20) -> Bool[Tensor, "h w"]:
    """Find pixels that fire far more often than all of their neighbours.

    Args:
        events: in any order, on the sensor; a second or more tells most.
        factor: a hot pixel has more than this many times the events of its second busiest
            neighbour out of eight, so that two hot pixels side by side are still found.
        least: and at least this many events.

    Returns:
        True for hot pixels, ``(h, w)``; ``~hot[y, x]`` selects the events of the others.

    Raises:
        ValueError: an option is not positive, or a pixel lies beyond the sensor.

    Example:
        >>> events = Events(range(50), [1] * 50, [2] * 50, [1] * 50, sensor=(4, 4))
        >>> hot_pixels(events).nonzero().tolist()
        [[2, 1]]
    """
    _check.positive(factor=factor, least=least)
    height, width = _on_sensor(events).sensor
    at = events.y.long() * width + events.x.long()
    count = torch.bincount(at, minlength=height * width).reshape(height, width).float()
    around = torch.nn.functional.pad(count, (1, 1, 1, 1)).unfold(0, 3, 1).unfold(1, 3, 1)
    second = around.reshape(height, width, 9)[..., [0, 1, 2, 3, 5, 6, 7, 8]].topk(2).values[..., 1]
    return (count >= least) & (count > factor * second)


def _prepared(events: Events, radius: int, planes: int) -> tuple[Any, Any, Any, Any, Any]:
    """Columns as arrays, times from 0 in the shortest type, and an empty map with a border."""
    _on_sensor(events)
    if not events.is_sorted():
        events.validate()
    columns = (events.t_us, events.x, events.y, events.p)
    t, x, y, p = (column.detach().cpu().contiguous().numpy() for column in columns)
    span = events.span if len(t) else None
    if span is not None:
        t = t - span[0]
    short = span is None or span[1] - span[0] < 2**31 - 1
    height, width = events.sensor
    shape = (planes, height + 2 * radius, width + 2 * radius)
    return t, x, y, p, np.full(shape, -1, np.int32 if short else np.int64)


def _on_sensor(events: Events) -> Events:
    if events.outside_sensor():
        msg = f"events: {events.outside_sensor()} of {len(events)} lie beyond the sensor "
        msg += f"{events.sensor}"
        raise ValueError(msg)
    return events
