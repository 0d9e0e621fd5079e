"""Reading event files in HDF5: every known layout, by time, in bounded memory."""

import warnings
from bisect import bisect_left
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from libimg.events.dialects import Layout, named, sniff
from libimg.events.stream import Events, polarity, trusted

__all__ = ["EventFile", "read_events", "stated_sensor"]

PART = 2**22  # events that are looked at together


class EventFile:
    """An event file that is open for reading by time.

    The layout is recognised: that of `write_events`, DSEC, event_utils ("monash", seconds),
    Prophesee (``/CD/events``) and v2e. Nothing is loaded before it is asked for.

    Args:
        path: HDF5 file.
        sensor: (height, width), stronger than what the file says (event_utils writes the largest
            coordinate instead of the size). If neither says it, it is taken from the largest
            coordinates in the file, with a warning: two files may then differ in size.

    Attributes:
        dialect: ``"brief"``, ``"dsec"``, ``"monash"``, ``"prophesee"`` or ``"v2e"``.
        sensor: (height, width) in pixels.
        span: times of the first and last event in microseconds, None without events.
        start_us: start of the recording if the file says so, else None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not HDF5, truncated, no known layout, columns missing or of unequal length,
            or a sensor size is no size; always with the name of the file.
        ImportError: the file is compressed by a filter whose package is missing.

    Example:
        >>> import tempfile
        >>> from libimg.events import write_events
        >>> events = Events([5, 70], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_events(Path(folder) / "a.h5", events)
        ...     with EventFile(Path(folder) / "a.h5") as file:
        ...         file.dialect, len(file), file.span, file.read(start_us=6).x.tolist()
        ('brief', 2, (5, 70), [2])

    Reference:
        Gehrig et al., DSEC, RA-L 2021 (``ms_to_idx``, ``t_offset``).
    """

    def __init__(self, path: str | PathLike[str], *, sensor: tuple[int, int] | None = None) -> None:
        self.path = Path(path)
        self._file = _opened(self.path)
        try:
            with named(self.path):
                self._layout = sniff(self._file)
                self.sensor = self._size(sensor)
                ends = (0, len(self) - 1)
                self.span = (self._time(ends[0]), self._time(ends[1])) if len(self) else None
        except BaseException:
            self._file.close()
            raise
        self.dialect = self._layout.dialect
        self.start_us = self._layout.start_us

    def __enter__(self) -> "EventFile":
        """Use the file in a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """Count the events."""
        return self._layout.count

    def index(self, t_us: int) -> int:
        """Return the number of events before a time, by a search in the file.

        Raises:
            ValueError: DSEC's ``ms_to_idx`` contradicts the times; with the name of the file.
        """
        first, last = 0, len(self)
        table = self._layout.ms_to_idx
        if table is not None and len(table):
            ms = (t_us - self._layout.offset_us) // 1000
            if 0 <= ms < len(table):
                first = min(int(table[ms]), len(self))
            if 0 <= ms + 1 < len(table):
                last = min(int(table[ms + 1]), len(self))
        with named(self.path):
            found = bisect_left(range(len(self)), t_us, first, last, key=self._time)
            beside = range(max(found - 1, 0), min(found + 1, len(self)))
            if table is not None and any((self._time(i) < t_us) != (i < found) for i in beside):
                msg = f"ms_to_idx does not fit the times near {t_us} us, or they run backwards"
                raise ValueError(msg)
        return found

    def read(
        self, *, start_us: int | None = None, stop_us: int | None = None, sort: bool = False
    ) -> Events:
        """Read the events of ``[start_us, stop_us)``, all by default.

        Args:
            start_us: first microsecond; None: from the first event.
            stop_us: end; None: with the last event.
            sort: bring events in order if the file is not; such a file is read whole.

        Raises:
            ValueError: times run backwards and ``sort`` is false, a time is negative, a pixel
                lies beyond the sensor, a polarity is none of its layout, or the data cannot be
                read; always with the name of the file.
        """
        if sort:
            events = self._rows(0, len(self), ordered=False).sort()
            low = start_us if start_us is not None else -(2**62)
            return events.between(low, stop_us if stop_us is not None else 2**62)
        first = 0 if start_us is None else self.index(start_us)
        last = len(self) if stop_us is None else self.index(stop_us)
        return self._rows(first, max(first, last), ordered=True)

    def windows(self, *, start_us: int, duration_us: int, count: int) -> Iterator[Events]:
        """Read windows that follow each other, one at a time.

        Args:
            start_us: start of the first.
            duration_us: length of each.
            count: how many.

        Yields:
            The events of each window.
        """
        for i in range(count):
            begin = start_us + i * duration_us
            yield self.read(start_us=begin, stop_us=begin + duration_us)

    def _rows(self, first: int, last: int, *, ordered: bool) -> Events:
        layout = self._layout
        with named(self.path):
            t = self._times(first, last)
            x, y = (_pixels(k, getattr(layout, k)(first, last)) for k in "xy")
            p = _polarity(layout, layout.p(first, last))
            columns = (*(torch.from_numpy(column) for column in (t, x, y)), p)
            events = trusted(*columns, sensor=self.sensor)
            if len(t) and t.min() < 0:
                msg = f"t is negative: {int(t.min())} us at event {first + int(t.argmin())}"
                raise ValueError(msg)
            if ordered and not events.is_sorted():
                back = first + int(np.argmax(t[1:] < t[:-1]))
                msg = f"t runs backwards at event {back + 1}; read it with sort=True, or repair it"
                raise ValueError(msg)
            if len(t) and (x.max() >= self.sensor[1] or y.max() >= self.sensor[0]):
                msg = f"{events.outside_sensor()} events lie beyond the sensor (height, width) = "
                msg += f"{self.sensor}: x up to {x.max()}, y up to {y.max()}"
                raise ValueError(msg)
        return events

    def _times(self, first: int, last: int) -> Any:
        t = np.asarray(self._layout.t(first, last))
        if self._layout.seconds:
            if not np.isfinite(t).all():
                msg = f"ts must be finite seconds, got {t[~np.isfinite(t)][0]}"
                raise ValueError(msg)
            t = np.rint(t * 1e6)
        t = np.ascontiguousarray(t, dtype=np.int64)
        return t + self._layout.offset_us if self._layout.offset_us else t

    def _time(self, i: int) -> int:
        return int(self._times(i, i + 1)[0])

    def _size(self, sensor: tuple[int, int] | None) -> tuple[int, int]:
        size = self._layout.sensor if sensor is None else sensor
        if size is None:
            size = self._extent()
            msg = f"{self.path}: the file has no sensor size; took (height, width) = {size} from "
            msg += "its largest coordinates. Give sensor=(height, width)"
            warnings.warn(msg, stacklevel=4)
        if not all(0 < n <= 65536 for n in size):
            msg = f"sensor must be (height, width) of 1 to 65536 pixels, got {tuple(size)}"
            raise ValueError(msg)
        return int(size[0]), int(size[1])

    def _extent(self) -> tuple[int, int]:
        """Largest row and column plus one, read part by part."""
        size = [1, 1]
        for first in range(0, len(self), PART):
            for i, read in enumerate((self._layout.y, self._layout.x)):
                part = _pixels("yx"[i], read(first, first + PART))
                size[i] = max(size[i], int(part.max()) + 1)
        return size[0], size[1]


def read_events(
    path: str | PathLike[str],
    *,
    sensor: tuple[int, int] | None = None,
    start_us: int | None = None,
    stop_us: int | None = None,
    sort: bool = False,
) -> Events:
    """Read an event file of any known layout; `EventFile` says which it is.

    Args:
        path: HDF5 file.
        sensor: (height, width), where the file does not say it; see `EventFile`.
        start_us: first microsecond of the range to read, None for all.
        stop_us: end of the range.
        sort: bring events in order if the file is not.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what is wrong with the file, by name; see `EventFile`.
        ImportError: the file is compressed by a filter whose package is missing.

    Example:
        >>> import tempfile
        >>> from libimg.events import write_events
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_events(Path(folder) / "a.h5", Events([5], [1], [0], [1], sensor=(4, 6)))
        ...     read_events(Path(folder) / "a.h5").sensor
        (4, 6)
    """
    with EventFile(path, sensor=sensor) as file:
        return file.read(start_us=start_us, stop_us=stop_us, sort=sort)


def stated_sensor(path: str | PathLike[str]) -> tuple[int, int] | None:
    """Return the (height, width) that an event file states, None if it states none."""
    file = _opened(Path(path))
    try:
        with named(Path(path)):
            return sniff(file).sensor
    finally:
        file.close()


def _opened(path: Path) -> Any:
    import h5py

    if not path.exists():
        msg = f"{path}: no such file"
        raise FileNotFoundError(msg)
    if path.is_file() and not path.stat().st_size:
        msg = f"{path}: the file is empty"
        raise ValueError(msg)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        what = "truncated HDF5 file" if "truncated" in str(error) else "not an HDF5 file"
        msg = f"{path}: {what} ({error})"
        raise ValueError(msg) from error


def _pixels(name: str, values: Any) -> Any:
    if values.dtype == np.uint16:
        return values
    if len(values) and not (values.min() >= 0 and values.max() <= 65535):
        msg = f"{name} must lie in 0 to 65535, got {values.min()} to {values.max()}"
        raise ValueError(msg)
    return values.astype(np.uint16)


def _polarity(layout: Layout, values: Any) -> torch.Tensor:
    """Turn what is stored into ±1; only the first and third layout may hold -1."""
    if values.dtype == np.bool_:
        values = values.view(np.uint8)
    signed = layout.dialect in ("brief", "monash")
    if len(values) and not signed and values.min() < 0:
        msg = f"p must be 0 or 1 in the {layout.dialect} layout, got {values.min()}"
        raise ValueError(msg)
    if values.dtype.itemsize > 1:
        low, high = (values.min(), values.max()) if len(values) else (0, 0)
        if low < -1 or high > 1:
            msg = f"p must be boolean, 0/1 or -1/+1, got {low} to {high}"
            raise ValueError(msg)
    values = values if values.dtype == np.uint8 else values.astype(np.int8)
    return polarity(torch.from_numpy(values))
