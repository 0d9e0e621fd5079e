"""Layouts of event files in HDF5: which one a file has, and where its columns are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from libimg._extras import optional

__all__ = ["Layout", "named", "sniff"]

BUILT_IN = {1, 2, 3, 4, 5, 6, 32000}  # filters every h5py can undo; 32000 is LZF
KNOWN = """\
  brief      /events/{p,t,x,y} or Y, t in integer microseconds
  dsec       the same with /ms_to_idx and perhaps /t_offset
  monash     /events/{ps,ts,xs,ys} or {p,ts,x,y}, ts in seconds
  prophesee  /CD/events with fields x, y, p, t
  v2e        /events of shape (n, 4) with columns t, x, y, p"""

Read = Callable[[int, int], Any]


@dataclass(frozen=True)
class Layout:
    """Where the columns of a file are; each is read by range of rows.

    Args:
        dialect: name of the layout.
        count: number of events.
        t: reads times as stored.
        x: reads columns.
        y: reads rows.
        p: reads polarities as stored.
        seconds: times are in seconds instead of microseconds.
        offset_us: to add to every time.
        ms_to_idx: DSEC's index, first event of every millisecond.
        sensor: (height, width) if the file says so.
        start_us: start of the recording if the file says so.
    """

    dialect: str
    count: int
    t: Read
    x: Read
    y: Read
    p: Read
    seconds: bool = False
    offset_us: int = 0
    ms_to_idx: Any = None
    sensor: tuple[int, int] | None = None
    start_us: int | None = None


def sniff(file: Any) -> Layout:
    """Recognise the layout of an open HDF5 file.

    Raises:
        ValueError: no known layout, columns of unequal length or of a wrong kind.
        ImportError: a column is compressed by a filter whose package is missing.
    """
    import h5py

    root = file.get("events")
    if "CD" in file and "events" in file["CD"]:
        return _prophesee(file, file["CD/events"])
    if isinstance(root, h5py.Dataset):
        return _v2e(file, root)
    if not isinstance(root, h5py.Group):
        msg = f"no event layout: has {_names(file)}, expected one of\n{KNOWN}"
        raise ValueError(msg)
    by_name = {name.lower(): root[name] for name in root}
    monash = "ts" in by_name
    wanted = {k: (k + "s", k) if monash else (k,) for k in "txyp"}
    found: dict[str, Any] = {
        k: next((by_name[n] for n in names if n in by_name), None) for k, names in wanted.items()
    }
    missing = [k for k, column in found.items() if not isinstance(column, h5py.Dataset)]
    if missing:
        msg = f"/events lacks {', '.join(missing)}: has {_names(root)}, expected one of\n{KNOWN}"
        raise ValueError(msg)
    lengths = {k: column.shape for k, column in found.items()}
    if len(set(lengths.values())) > 1 or len(lengths["t"]) != 1:
        msg = f"expected four columns of one length in /events, got shapes {lengths}"
        raise ValueError(msg)
    for k, column in found.items():
        _undo_filters(column)
        kinds = "f" if monash and k == "t" else "biu"
        if column.dtype.kind not in kinds:
            wanted_kind = "seconds as floats" if kinds == "f" else "integers"
            msg = f"{column.name} must hold {wanted_kind}, got {column.dtype}"
            raise ValueError(msg)
    index = file.get("ms_to_idx", by_name.get("ms_to_idx"))
    offset = file.get("t_offset", by_name.get("t_offset"))
    dsec = not monash and (index is not None or offset is not None)
    if index is not None:
        _undo_filters(index)
    return Layout(
        "monash" if monash else "dsec" if dsec else "brief",
        int(lengths["t"][0]),
        **{k: _rows(column) for k, column in found.items()},
        seconds=monash,
        offset_us=int(offset[()]) if dsec and offset is not None else 0,
        ms_to_idx=index[:] if dsec and index is not None else None,
        sensor=_sensor(file, root),
        start_us=int(file.attrs["start_us"]) if "start_us" in file.attrs else None,
    )


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the name of the file in front of whatever is wrong."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{path}: {error}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    except (OSError, RuntimeError) as error:
        msg = f"{path}: the data cannot be read, the file may be damaged or truncated ({error})"
        raise ValueError(msg) from error


def _prophesee(file: Any, events: Any) -> Layout:
    fields = events.dtype.names or ()
    if not {"t", "x", "y", "p"} <= set(fields) or events.ndim != 1:
        msg = f"/CD/events must have the fields t, x, y, p, got {fields} of shape {events.shape}"
        raise ValueError(msg)
    for k in "txyp":
        if events.dtype[k].kind not in "biu":
            msg = f"field {k} of /CD/events must hold integers, got {events.dtype[k]}"
            raise ValueError(msg)
    _undo_filters(events)
    columns: dict[str, Any] = {k: _field(events, k) for k in "txyp"}
    return Layout("prophesee", len(events), **columns, sensor=_sensor(file, events))


def _v2e(file: Any, events: Any) -> Layout:
    if events.ndim != 2 or events.shape[1] != 4 or events.dtype.kind not in "iu":
        msg = f"/events must be integers of shape (n, 4), got {events.dtype} of {events.shape}"
        raise ValueError(msg)
    _undo_filters(events)
    columns: dict[str, Any] = {k: _axis(events, i) for i, k in enumerate("txyp")}
    return Layout("v2e", len(events), **columns, sensor=_sensor(file, events))


def _rows(column: Any) -> Read:
    return lambda first, last: column[first:last]


def _field(events: Any, name: str) -> Read:
    return lambda first, last: events.fields(name)[first:last]


def _axis(events: Any, i: int) -> Read:
    return lambda first, last: events[first:last, i]


def _sensor(file: Any, events: Any) -> tuple[int, int] | None:
    """Sensor size by the attributes that writers are known to set."""
    for attrs in (file.attrs, events.attrs):
        if "width" in attrs and "height" in attrs:
            return int(attrs["height"]), int(attrs["width"])
        if "sensor_resolution" in attrs:  # event_utils: rows, columns
            height, width = (int(n) for n in np.ravel(attrs["sensor_resolution"])[:2])
            return height, width
        if "geometry" in attrs:  # openeb: "1280x720"
            text = attrs["geometry"]
            sides = (text.decode() if isinstance(text, bytes) else str(text)).split("x")
            return int(sides[1]), int(sides[0])
    return None


def _undo_filters(column: Any) -> None:
    """Make sure that h5py can decompress a column, before it fails in the middle of a run."""
    import h5py

    plan = column.id.get_create_plist()
    used = [plan.get_filter(i) for i in range(plan.get_nfilters())]
    foreign = [(code, name) for code, _, _, name in used if code not in BUILT_IN]
    if foreign:
        optional("hdf5plugin", extra="tasks")
    for code, name in foreign:
        if not h5py.h5z.filter_avail(code):
            msg = f"{column.name} is compressed by filter {code} ({name.decode()}), which neither "
            msg += "h5py nor hdf5plugin can undo; ECF comes with openeb (HDF5_PLUGIN_PATH)"
            raise ValueError(msg)


def _names(group: Any) -> str:
    return ", ".join(sorted(group)) or "nothing"
