"""A stream of events: four columns of exact integers and the sensor they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int8, Int64, Integer, UInt16
from torch import Tensor

__all__ = ["Events", "concatenate"]

COLUMNS = {"t_us": torch.int64, "x": torch.uint16, "y": torch.uint16, "p": torch.int8}


@dataclass(frozen=True, eq=False)
class Events:
    """Events of one sensor, usually in order of time.

    Columns may be given as tensors, arrays or lists. They are kept as they are if they have the
    right type, and converted if nothing is lost; polarity may also be boolean or 0/1. Whether
    the times are sorted and the pixels on the sensor is for `validate` to tell, not for the
    constructor.

    Args:
        t_us: times in microseconds, int64, shape ``(n,)``.
        x: columns, uint16.
        y: rows, uint16.
        p: polarities, int8, -1 or +1.
        sensor: (height, width) in pixels.

    Raises:
        TypeError: a column holds floats; times in seconds have to be rounded by the caller.
        ValueError: columns of unequal length or not one-dimensional, a value that does not fit
            its type, a polarity that is none, or a sensor without pixels.

    Example:
        >>> events = Events([5, 9], x=[1, 2], y=[0, 0], p=[True, False], sensor=(4, 6))
        >>> events.p.tolist(), len(events), events.between(5, 9).t_us.tolist()
        ([1, -1], 2, [5])
    """

    t_us: Int64[Tensor, " n"]
    x: UInt16[Tensor, " n"]
    y: UInt16[Tensor, " n"]
    p: Int8[Tensor, " n"]
    sensor: tuple[int, int]

    def __init__(self, t_us: Any, x: Any, y: Any, p: Any, sensor: Sequence[int]) -> None:
        sizes = tuple(int(n) for n in sensor)
        if len(sizes) != 2 or not all(0 < n <= 65536 for n in sizes):
            msg = f"sensor must be (height, width) of 1 to 65536 pixels, got {tuple(sensor)}"
            raise ValueError(msg)
        given = {"t_us": t_us, "x": x, "y": y, "p": p}
        columns = {name: _column(name, values) for name, values in given.items()}
        shapes = {name: tuple(column.shape) for name, column in columns.items()}
        if len(set(shapes.values())) > 1 or columns["t_us"].ndim != 1:
            got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            msg = f"expected four columns of one length, got {got}"
            raise ValueError(msg)
        for name, column in (*columns.items(), ("sensor", sizes)):
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        """Count the events."""
        return len(self.t_us)

    def __getitem__(self, which: slice | Bool[Tensor, " n"] | Integer[Tensor, " m"]) -> "Events":
        """Select events by slice, mask or index; a slice shares memory."""
        if isinstance(which, slice):
            columns = (getattr(self, name)[which] for name in COLUMNS)
        elif self.t_us.device.type == "cpu":
            index = torch.as_tensor(which).numpy()
            columns = (torch.from_numpy(getattr(self, name).numpy()[index]) for name in COLUMNS)
        else:
            columns = (getattr(self, name)[which] for name in COLUMNS)
        return trusted(*columns, sensor=self.sensor)

    @property
    def span(self) -> tuple[int, int] | None:
        """Times of the first and last event, None without events."""
        return (int(self.t_us.min()), int(self.t_us.max())) if len(self) else None

    def between(self, start_us: int, stop_us: int) -> "Events":
        """Return the events of ``[start_us, stop_us)`` by a search on the sorted times."""
        ends = torch.tensor([start_us, stop_us], device=self.t_us.device)
        first, last = torch.searchsorted(self.t_us, ends).tolist()
        return self[first:last]

    def is_sorted(self) -> bool:
        """Tell whether no time is before the one in front of it."""
        return bool((self.t_us[1:] >= self.t_us[:-1]).all())

    def sort(self) -> "Events":
        """Return the events in order of time; events of one time keep their order."""
        return self if self.is_sorted() else self[torch.argsort(self.t_us, stable=True)]

    def shift(self, offset_us: int) -> "Events":
        """Return the events with ``offset_us`` added to every time."""
        return trusted(self.t_us + offset_us, self.x, self.y, self.p, sensor=self.sensor)

    def crop(self, *, top: int, left: int, sensor: tuple[int, int]) -> "Events":
        """Return the events of a window of pixels, in coordinates of the window."""
        x, y = self.x.to(torch.int32) - left, self.y.to(torch.int32) - top
        kept = (x >= 0) & (x < sensor[1]) & (y >= 0) & (y < sensor[0])
        x, y = (value[kept].to(torch.uint16) for value in (x, y))
        return trusted(self.t_us[kept], x, y, self.p[kept], sensor=(sensor[0], sensor[1]))

    def to(self, device: torch.device | str) -> "Events":
        """Return the events on a device."""
        columns = (getattr(self, name).to(device) for name in COLUMNS)
        return trusted(*columns, sensor=self.sensor)

    def outside_sensor(self) -> int:
        """Count the events whose pixel is not on the sensor."""
        x, y = self.x.to(torch.int32), self.y.to(torch.int32)
        return int(((x >= self.sensor[1]) | (y >= self.sensor[0])).sum())

    def validate(self) -> "Events":
        """Return the events, after a look at all values.

        Raises:
            ValueError: the times run backwards, or a pixel lies beyond the sensor.
        """
        if not self.is_sorted():
            back = int((self.t_us[1:] < self.t_us[:-1]).nonzero()[0])
            pair = self.t_us[back : back + 2].tolist()
            msg = f"t_us runs backwards at event {back + 1}: {pair[0]} before {pair[1]}"
            raise ValueError(msg)
        beyond = self.outside_sensor()
        if beyond:
            x, y = (int(values.to(torch.int32).max()) for values in (self.x, self.y))
            msg = f"{beyond} events lie beyond the sensor {self.sensor}: x up to {x}, y up to {y}"
            raise ValueError(msg)
        return self


def concatenate(streams: Sequence[Events], *, sort: bool = False) -> Events:
    """Join streams of one sensor, one after the other.

    Args:
        streams: at least one stream.
        sort: order the result by time; events of one time keep the order of the streams.

    Raises:
        ValueError: there is no stream, or the sensors differ.

    Example:
        >>> a = Events([5], [0], [0], [1], sensor=(2, 2))
        >>> concatenate([a, a.shift(-2)], sort=True).t_us.tolist()
        [3, 5]
    """
    sensors = {events.sensor for events in streams}
    if len(sensors) != 1:
        msg = f"streams: expected one or more of one sensor, got sensors {sorted(sensors)}"
        raise ValueError(msg)
    columns = (torch.cat([getattr(events, name) for events in streams]) for name in COLUMNS)
    joined = trusted(*columns, sensor=streams[0].sensor)
    return joined.sort() if sort else joined


def polarity(values: Integer[Tensor, " *shape"]) -> Int8[Tensor, " *shape"]:
    """Turn integers that are 0/1 or -1/+1 into -1/+1."""
    low, high = (int(v) for v in values.aminmax()) if values.numel() else (1, 1)
    if low < -1 or high > 1 or (low == -1 and bool((values == 0).any())):
        shown = sorted(set(values.flatten()[:1000].tolist()) | {low, high})
        msg = f"p must be boolean, 0/1 or -1/+1, got values such as {shown[:6]}"
        raise ValueError(msg)
    if low == -1 and values.dtype == torch.int8:
        return values
    return (values > 0).to(torch.int8) * 2 - 1


def _column(name: str, values: Any) -> Tensor:
    """Convert one column without loss."""
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        array = array.astype(np.int64) if array.size == 0 else array
        array = array.astype(array.dtype.newbyteorder("="), order="C")
        return _column(name, torch.from_numpy(array))
    kind = COLUMNS[name]
    if values.is_floating_point() or values.is_complex():
        msg = f"{name} must hold integers, got {values.dtype}"
        raise TypeError(msg)
    if name == "p":
        if values.dtype == torch.bool:
            return values.to(torch.int8) * 2 - 1
        proper = values.dtype == kind and bool((values.abs() == 1).all())
        return values if proper else polarity(values.to(torch.int64))
    if values.dtype == kind:
        return values
    whole = values.to(torch.int64)
    if values.dtype == torch.uint64 and bool((whole < 0).any()):
        msg = f"{name} must lie below 2^63, got larger values"
        raise ValueError(msg)
    if kind == torch.uint16 and whole.numel():
        low, high = (int(v) for v in whole.aminmax())
        if low < 0 or high > 65535:
            msg = f"{name} must lie in 0 to 65535, got {low} to {high}"
            raise ValueError(msg)
    return whole.to(kind)


def trusted(t_us: Tensor, x: Tensor, y: Tensor, p: Tensor, *, sensor: tuple[int, int]) -> Events:
    """Build a stream of columns that are known to be right, at no cost."""
    events = object.__new__(Events)
    for name, value in (("t_us", t_us), ("x", x), ("y", y), ("p", p), ("sensor", sensor)):
        object.__setattr__(events, name, value)
    return events
