"""Real noise on real signal: a recording of noise alone laid over clean ones gives labels."""

import torch
from jaxtyping import Bool
from torch import Tensor

from libimg import _check
from libimg.events import Events, concatenate

__all__ = ["overlay_noise"]


def overlay_noise(
    signal: Events, noise: Events, *, copies: int = 1, period_us: int | None = None
) -> tuple[Events, Bool[Tensor, " n"]]:
    """Lay recorded noise over a recording.

    Each copy is another window of the noise sensor, as large as the signal's: the four corners,
    the centre, then the middles of the sides. A recording of noise that is shorter is repeated.

    Args:
        signal: sorted, what counts as signal, its own noise included.
        noise: sorted, of a sensor at least as large.
        copies: how many windows of noise, 1 to 9.
        period_us: length of the noise recording; from its first to its last event if None.

    Returns:
        All events in order of time, and which of them are signal.

    Raises:
        ValueError: the noise sensor is too small, a stream is empty, or ``copies`` out of range.

    Example:
        >>> signal = Events([0, 50], [0, 1], [0, 0], [1, 1], sensor=(1, 2))
        >>> noise = Events([7, 20], [0, 3], [0, 1], [1, -1], sensor=(2, 4))
        >>> events, is_signal = overlay_noise(signal, noise, copies=1, period_us=30)
        >>> events.t_us.tolist(), is_signal.tolist()
        ([0, 0, 30, 50], [True, False, False, True])
    """
    (height, width), (tall, wide) = signal.sensor, noise.sensor
    down, right = tall - height, wide - width
    if down < 0 or right < 0:
        msg = f"noise must come from a sensor of at least {signal.sensor}, got {noise.sensor}"
        raise ValueError(msg)
    places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    places += [(0, right // 2), (down, right // 2), (down // 2, 0), (down // 2, right)]
    _check.one_of("copies", copies, range(1, len(places) + 1))
    span, within = signal.span, noise.span
    if span is None or within is None:
        msg = f"both streams need events, got {len(signal)} of signal and {len(noise)} of noise"
        raise ValueError(msg)
    period = within[1] - within[0] + 1 if period_us is None else period_us
    _check.positive(period_us=period)
    parts = [signal]
    for top, left in places[:copies]:
        part = noise.crop(top=top, left=left, sensor=signal.sensor).shift(span[0] - within[0])
        for start in range(span[0], span[1] + 1, period):
            parts.append(part.between(span[0], span[0] + period).shift(start - span[0]))
            parts[-1] = parts[-1].between(start, span[1] + 1)
    mixed = concatenate(parts)
    order = torch.argsort(mixed.t_us, stable=True)
    return mixed[order], (torch.arange(len(mixed)) < len(signal))[order]
