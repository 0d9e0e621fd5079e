"""Writing event files in HDF5: one layout, part by part, exactly what is read again."""

from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from libimg.events.dialects import named
from libimg.events.stream import Events

__all__ = ["EventWriter", "write_events"]

CHUNK = 2**18  # events in a chunk of the file


class EventWriter:
    """Write an event file part by part: ``/events/{p,t,x,y}``, uncompressed by default.

    Times are int64 microseconds, pixels uint16, polarities int8 ±1; attributes ``width``,
    ``height`` and ``start_us``. The file appears under its name when the block ends without an
    error, and not before.

    Args:
        path: HDF5 file; its folder is made.
        sensor: (height, width) in pixels.
        start_us: start of the recording; the first event's time if None.
        compression: None, ``"gzip"`` or ``"lzf"``.
        chunk: events in a chunk, the least that a file takes; 13 bytes each.

    Example:
        >>> import tempfile
        >>> events = Events([5, 70], [1, 2], [0, 3], [1, -1], sensor=(4, 6))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with EventWriter(Path(folder) / "a.h5", sensor=(4, 6), start_us=0) as writer:
        ...         writer.append(events)
        ...         writer.append(events.shift(100))
        ...     [path.name for path in Path(folder).iterdir()], writer.count
        (['a.h5'], 4)
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        sensor: tuple[int, int],
        start_us: int | None = None,
        compression: str | None = None,
        chunk: int = CHUNK,
    ) -> None:
        import h5py

        self.path, self.sensor, self.start_us = Path(path), sensor, start_us
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = self.path.with_name(self.path.name + ".part")
        self._file = h5py.File(self._part, "w")
        self._last: int | None = None
        self.count = 0
        for name, kind in (("p", "i1"), ("t", "i8"), ("x", "u2"), ("y", "u2")):
            self._file.create_dataset(
                f"events/{name}",
                (0,),
                kind,
                maxshape=(None,),
                chunks=(chunk,),
                compression=compression,
            )

    def append(self, events: Events) -> None:
        """Write events behind those that are there.

        Raises:
            ValueError: another sensor, times that run backwards or are negative, or pixels beyond
                the sensor; with the name of the file.
        """
        if not len(events):
            return
        with named(self.path):
            if events.sensor != self.sensor:
                msg = f"expected events of sensor {self.sensor}, got {events.sensor}"
                raise ValueError(msg)
            events.validate()
            first = int(events.t_us[0])
            if first < 0:
                msg = f"t is negative: {first} us"
                raise ValueError(msg)
            if self._last is not None and first < self._last:
                msg = f"t runs backwards: {first} us behind {self._last}"
                raise ValueError(msg)
        self._last, self.count = int(events.t_us[-1]), self.count + len(events)
        self.start_us = first if self.start_us is None else self.start_us
        columns = {"p": events.p, "t": events.t_us, "x": events.x, "y": events.y}
        for name, column in columns.items():
            data = self._file[f"events/{name}"]
            old = len(data)
            data.resize((old + len(events),))
            data[old:] = column.cpu().numpy()

    def __enter__(self) -> "EventWriter":
        """Use the writer in a ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Give the file its name, or remove it after an error."""
        height, width = self.sensor
        values = {"height": height, "width": width, "start_us": self.start_us or 0}
        self._file.attrs.update(values)
        self._file.close()
        if error is None:
            self._part.replace(self.path)
        else:
            self._part.unlink()


def write_events(
    path: str | PathLike[str],
    events: Events,
    *,
    start_us: int | None = None,
    compression: str | None = None,
) -> None:
    """Write a stream that `read_events` gives back exactly.

    Args:
        path: HDF5 file; its folder is made.
        events: in order of time, on the sensor.
        start_us: start of the recording; the first event's time if None.
        compression: None, ``"gzip"`` or ``"lzf"``.

    Raises:
        ValueError: times run backwards or are negative, or pixels lie beyond the sensor.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_events(Path(folder) / "a.h5", Events([5], [1], [0], [1], sensor=(4, 6)))
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.h5']
    """
    how: Any = {"compression": compression, "chunk": min(max(len(events), 1), CHUNK)}
    with EventWriter(path, sensor=events.sensor, start_us=start_us, **how) as writer:
        writer.append(events)
