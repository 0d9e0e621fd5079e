"""An event camera: log light to events by thresholds, and the events that it makes by itself."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int8, Int64, UInt8
from torch import Tensor

from libimg import _check
from libimg.events.stream import Events, trusted

__all__ = [
    "EventLabel",
    "LabelledEvents",
    "Pixels",
    "contrast_events",
    "pack",
    "periodic",
    "settle",
    "unpack",
]


class EventLabel(IntEnum):
    """What made an event.

    Example:
        >>> EventLabel(4).name, int(EventLabel.SIGNAL)
        ('FLARE', 0)
    """

    SIGNAL = 0
    LEAK = 1
    SHOT = 2
    HOT = 3
    FLARE = 4


class LabelledEvents(NamedTuple):
    """A stream, sorted by time, and the `EventLabel` of each of its events.

    Example:
        >>> events = Events([5, 9], x=[1, 2], y=[0, 0], p=[1, -1], sensor=(4, 6))
        >>> found = LabelledEvents(events, torch.tensor([0, 2], dtype=torch.uint8))
        >>> len(found.events[found.label == EventLabel.SIGNAL])
        1
    """

    events: Events
    label: UInt8[Tensor, " n"]


class Pixels:
    """The pixels of a sensor while log light goes by; all maps flat, row by row.

    Args:
        on: threshold for more light.
        off: threshold for less light.
        level: log light at the event before the first.
        refractory_us: how long a pixel is blind after an event.
    """

    def __init__(
        self,
        *,
        on: Float[Tensor, " k"],
        off: Float[Tensor, " k"],
        level: Float[Tensor, " k"],
        refractory_us: int,
    ) -> None:
        self.on, self.off = on.double().numpy(), off.double().numpy()
        self.level = level.to(torch.float64, copy=True).numpy()
        self.free = np.full(len(level), -1)
        self.refractory_us = refractory_us

    def see(
        self,
        light: Float[Tensor, "n some"],
        times: Int64[Tensor, " n"],
        *,
        pixel: Int64[Tensor, " some"],
        label: EventLabel,
    ) -> Int64[Tensor, " events"]:
        """Return the codes of the events between the first and the last of the pictures."""
        from libimg._ops.scene_kernels import cross

        codes = cross(
            light.float().contiguous().numpy(), times.numpy(), pixel.numpy(), self.on, self.off,
            self.refractory_us, self.level, self.free, int(label),
        )  # fmt: skip
        return torch.from_numpy(codes)


def contrast_events(
    log_light: Float[Tensor, "n h w"],
    *,
    step_us: int,
    on: Float[Tensor, "h w"] | float = 0.2,
    off: Float[Tensor, "h w"] | float = 0.2,
    refractory_us: int = 0,
) -> Events:
    """Turn a video into the events of ideal pixels.

    Log light runs linearly from picture to picture. A pixel remembers the level of its last
    event, at first that of the first picture; when log light is a threshold above or below, it
    makes an event, whose time is the crossing rounded down to a microsecond. Then it is blind for
    the refractory period and starts anew from the level it wakes up to.

    Args:
        log_light: natural logarithm of light.
        step_us: time from picture to picture, microseconds.
        on: threshold for more light, in log light, of each pixel or all.
        off: threshold for less light.
        refractory_us: 0 lets a pixel make several events at one time.

    Returns:
        Events of ``[0, (n - 1) * step_us)``, sorted by time, then row, column and polarity.

    Raises:
        ValueError: no picture, a step or threshold of 0 or less, or a negative refractory period.

    Example:
        >>> ramp = torch.tensor([0.0, 1.0]).view(2, 1, 1)
        >>> contrast_events(ramp, step_us=1000, on=0.3).t_us.tolist()
        [300, 600, 900]

    Reference:
        Rebecq et al., ESIM: an open event camera simulator, CoRL 2018; ESIM goes on stepping the
        level through the refractory period, a real pixel is held at reset (as here).
    """
    n, h, w = log_light.shape
    thresholds = []
    for name, value in (("on", on), ("off", off)):
        threshold = torch.as_tensor(value, dtype=torch.float32).expand(h, w).reshape(-1)
        if not bool((threshold > 0).all()):
            msg = f"{name} must be above 0, got {float(threshold.min())}"
            raise ValueError(msg)
        thresholds.append(threshold)
    _check.positive(step_us=step_us, pictures=n)
    if refractory_us < 0:
        msg = f"refractory_us must be 0 or more, got {refractory_us}"
        raise ValueError(msg)
    light = log_light.detach().reshape(n, h * w)
    pixels = Pixels(
        on=thresholds[0], off=thresholds[1], level=light[0], refractory_us=refractory_us
    )
    times, everywhere = torch.arange(n) * step_us, torch.arange(h * w)
    codes = pixels.see(light, times, pixel=everywhere, label=EventLabel.SIGNAL).sort().values
    return unpack(codes, sensor=(h, w), stop_us=(n - 1) * step_us).events


def periodic(
    pixel: Int64[Tensor, " k"],
    hz: Float[Tensor, " k"],
    p: Int8[Tensor, " k"],
    *,
    jitter: float,
    count: int,
    stop_us: int,
    label: EventLabel,
    generator: torch.Generator,
) -> Int64[Tensor, " events"]:
    """Return the codes of events that come at a rate of their own, each time a bit off."""
    phase = torch.rand(len(hz), 1, generator=generator, dtype=torch.float64)
    most = int(float(hz.max()) * stop_us * 1e-6) + 2 if len(hz) else 0
    drift = jitter * torch.randn(len(hz), most, generator=generator, dtype=torch.float64)
    times = (torch.arange(most) + phase + drift) * (1e6 / hz.double().clamp(min=1e-9))[:, None]
    here = (times >= 0) & (times < stop_us)
    row = here.nonzero()[:, 0]
    return pack(times[here].to(torch.int64), pixel[row], p[row], label=label, count=count)


def pack(
    t_us: Int64[Tensor, " n"],
    pixel: Int64[Tensor, " n"],
    p: Int8[Tensor, " n"],
    *,
    label: EventLabel,
    count: int,
) -> Int64[Tensor, " n"]:
    """Return one integer for each event, whose order is that of time, pixel, polarity, label."""
    return ((t_us * count + pixel) * 2 + (p > 0)) * 8 + int(label)


def unpack(codes: Int64[Tensor, " n"], *, sensor: tuple[int, int], stop_us: int) -> LabelledEvents:
    """Return the events of sorted codes that come before ``stop_us``."""
    count, width = sensor[0] * sensor[1], sensor[1]
    codes = codes[: int(torch.searchsorted(codes, stop_us * count * 16))]
    place = codes >> 4
    t_us = place // count
    pixel = place - t_us * count
    y = pixel // width
    p = ((codes >> 3) & 1).to(torch.int8) * 2 - 1
    columns = (t_us, (pixel - y * width).to(torch.uint16), y.to(torch.uint16), p)
    return LabelledEvents(trusted(*columns, sensor=sensor), (codes & 7).to(torch.uint8))


def settle(codes: Int64[Tensor, " n"], *, count: int, refractory_us: int) -> Int64[Tensor, " kept"]:
    """Return the sorted codes without the events that come while their pixel is blind.

    An event of the signal always stays; another gives way if less than the refractory period
    lies between it and an event of the signal, or an earlier one that stayed.
    """
    from libimg._ops import scene_kernels

    keep = np.empty(len(codes), np.bool_)
    scene_kernels.settle(codes.numpy(), count, refractory_us, keep)
    return codes[torch.from_numpy(keep)]
