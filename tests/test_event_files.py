import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from libimg.events import (
    EventFile,
    Events,
    EventWriter,
    decode_voxels,
    encode_voxels,
    read_events,
    shared_clock,
    split_segments,
    write_events,
)
from libimg.events.reader import stated_sensor
from tests.reference.events import from_rows, rows_of, stream, windows

SENSOR = (12, 17)
START = 1_000_003  # not on a millisecond

Columns = dict[str, np.ndarray]
Save = Callable[[h5py.File, Columns], None]


def scattered(n: int, *, start: int = START, length: int = 30_000) -> Events:
    """Events at random, with equal times and the far corner of the sensor among them."""
    random = np.random.default_rng(0)
    t = np.sort(random.integers(start, start + length, n))
    t[n // 2 : n // 2 + 3] = t[n // 2]
    x, y = random.integers(0, SENSOR[1], n), random.integers(0, SENSOR[0], n)
    x[-1], y[-1] = SENSOR[1] - 1, SENSOR[0] - 1
    return Events(t, x, y, random.integers(0, 2, n), sensor=SENSOR)


EVENTS = scattered(400)


def columns_of(events: Events) -> Columns:
    """Columns as arrays, polarity 0/1."""
    t, x, y, p = (c.numpy() for c in (events.t_us, events.x, events.y, events.p))
    return {"t": t, "x": x, "y": y, "p": (p > 0).astype(np.uint8)}


def brief(*, rows: str = "y", kind: str = "u1", signed: bool = False, pixels: str = "u2") -> Save:
    def save(file: h5py.File, columns: Columns) -> None:
        p = columns["p"].astype(np.int8) * 2 - 1 if signed else columns["p"]
        file["events/p"] = p.astype(kind)
        file["events/t"] = columns["t"]
        file["events/x"] = columns["x"].astype(pixels)
        file[f"events/{rows}"] = columns["y"].astype(pixels)

    return save


def ms_index(t: np.ndarray) -> np.ndarray:
    """First event of every millisecond, as DSEC defines it."""
    return np.searchsorted(t, np.arange(int(t[-1]) // 1000 + 1 if len(t) else 1) * 1000)


def dsec(
    *, offset: int | None = 1_000_000, index: bool = True, blosc: bool = False, inside: bool = False
) -> Save:
    def save(file: h5py.File, columns: Columns) -> None:
        options: dict[str, Any] = {}
        if blosc:
            import hdf5plugin

            options = dict(hdf5plugin.Blosc(cname="zstd", clevel=1))
        group = file.create_group("events")
        t = columns["t"] - (offset or 0)
        for name, values in {**columns, "t": t.astype(np.uint32)}.items():
            group.create_dataset(name, data=values, chunks=(64,), maxshape=(None,), **options)
        extras = group if inside else file
        if index:
            found = ms_index(t).astype(np.uint64)
            extras.create_dataset("ms_to_idx", data=found, chunks=True, **options)
        if offset is not None:
            extras["t_offset"] = np.int64(offset)

    return save


def monash(*, plural: bool = True, kind: str = "?") -> Save:
    def save(file: h5py.File, columns: Columns) -> None:
        t = columns["t"] / 1e6
        names = {"x": "xs", "y": "ys", "p": "ps"} if plural else {k: k for k in "xyp"}
        p = columns["p"].astype(int)
        file["events/ts"] = t
        file[f"events/{names['x']}"] = columns["x"].astype(np.int16)
        file[f"events/{names['y']}"] = columns["y"].astype(np.int16)
        file[f"events/{names['p']}"] = (p * 2 - 1 if kind == "i1" else p).astype(kind)

    return save


def prophesee(file: h5py.File, columns: Columns) -> None:
    kind = np.dtype({"names": list("xypt"), "formats": ["<u2", "<u2", "<i2", "<i8"]})
    table = np.empty(len(columns["t"]), kind)
    for name in "xypt":
        table[name] = columns[name]
    file["CD/events"] = table
    file["CD/indexes"] = np.zeros(3)


def v2e(file: h5py.File, columns: Columns) -> None:
    file["events"] = np.stack([columns[k].astype(np.uint32) for k in "txyp"], axis=1)


LAYOUTS: dict[str, Save] = {
    "brief": brief(),
    "brief capital Y": brief(rows="Y"),
    "brief bool": brief(kind="?"),
    "brief signed": brief(kind="i1", signed=True),
    "brief wide": brief(kind="<i8", signed=True, pixels="<i4"),
    "brief big endian": brief(kind=">i2", pixels=">u2"),
    "dsec": dsec(),
    "dsec index only": dsec(offset=None),
    "dsec offset only": dsec(index=False),
    "dsec inside": dsec(inside=True),
    "dsec blosc": dsec(blosc=True),
    "monash": monash(),
    "monash signed": monash(kind="i1"),
    "monash singular": monash(plural=False, kind="u1"),
    "prophesee": prophesee,
    "v2e": v2e,
}
layouts = pytest.mark.parametrize("layout", list(LAYOUTS))


def made(path: Path, layout: str, events: Events = EVENTS, **attributes: object) -> Path:
    """Write a file of a layout as its project does."""
    if "blosc" in layout:
        pytest.importorskip("hdf5plugin")
    with h5py.File(path, "w") as file:
        LAYOUTS[layout](file, columns_of(events))
        file.attrs.update(attributes)
    return path


def changed(path: Path, name: str, values: object) -> Path:
    """Put other values into a dataset of a file."""
    with h5py.File(path, "a") as file:
        del file[name]
        if values is not None:
            file[name] = values
    return path


def small(path: Path, **columns: object) -> Path:
    """A file of the first layout with three events and some columns replaced."""
    columns = {"p": [0, 1, 1], "t": [5, 5, 9], "x": [0, 3, 2], "y": [1, 0, 2], **columns}
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            if values is not None:
                file[f"events/{name}"] = np.asarray(values)
        file.attrs.update(height=3, width=4)
    return path


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all that is read from HDF5 files."""
    sizes: list[int] = []
    plain = h5py.Dataset.__getitem__

    def spy(self: h5py.Dataset, *args: Any, **kwargs: Any) -> Any:
        values = plain(self, *args, **kwargs)
        sizes.append(len(values) if np.ndim(values) else 1)
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    return sizes


# Layouts


@layouts
def test_every_layout_gives_the_exact_events(tmp_path: Path, layout: str) -> None:
    path = made(tmp_path / "a.h5", layout)
    with EventFile(path, sensor=SENSOR) as file:
        assert file.dialect == layout.split()[0]
        assert len(file) == len(EVENTS)
        assert file.span == EVENTS.span
        assert file.start_us is None
        assert file.sensor == SENSOR
        assert rows_of(file.read()) == rows_of(EVENTS)
    events = read_events(path, sensor=SENSOR)
    assert rows_of(events) == rows_of(EVENTS)
    kinds = [str(c.dtype) for c in (events.t_us, events.x, events.y, events.p)]
    assert kinds == ["torch.int64", "torch.uint16", "torch.uint16", "torch.int8"]


@layouts
def test_every_layout_may_be_empty(tmp_path: Path, layout: str) -> None:
    path = made(tmp_path / "a.h5", layout, EVENTS[:0], width=17, height=12)
    with EventFile(path) as file:
        assert (len(file), file.span, file.index(0), file.index(10**9)) == (0, None, 0, 0)
        for sort in (False, True):
            events = file.read(start_us=3, sort=sort)
            assert (len(events), events.sensor) == (0, SENSOR)
        assert [len(e) for e in file.windows(start_us=0, duration_us=5, count=2)] == [0, 0]


@pytest.mark.parametrize("layout", ["brief", "dsec", "monash", "prophesee", "v2e"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"width": 40, "height": 30},
        {"sensor_resolution": (30, 40)},
        {"geometry": "40x30"},
        {"geometry": np.bytes_("40x30")},
    ],
)
def test_the_sensor_is_what_the_file_says(
    tmp_path: Path, layout: str, attributes: dict[str, object]
) -> None:
    path = made(tmp_path / "a.h5", layout, **attributes)
    assert read_events(path).sensor == (30, 40)
    assert stated_sensor(path) == (30, 40)
    assert read_events(path, sensor=(31, 41)).sensor == (31, 41)


@pytest.mark.parametrize("layout", ["brief", "dsec", "monash", "prophesee", "v2e"])
def test_a_sensor_nobody_gives_is_inferred_with_a_warning(tmp_path: Path, layout: str) -> None:
    path = made(tmp_path / "a.h5", layout)
    assert stated_sensor(path) is None
    with pytest.warns(UserWarning, match=r"a\.h5: .* no sensor size; .* \(12, 17\)"):
        events = read_events(path)
    assert events.sensor == SENSOR
    assert rows_of(events) == rows_of(EVENTS)


@given(seconds=st.lists(st.integers(0, 2**50), max_size=8).map(sorted))
def test_seconds_become_the_exact_microsecond(seconds: list[int]) -> None:
    n = len(seconds)
    with TemporaryDirectory() as folder, h5py.File(Path(folder) / "a.h5", "w") as file:
        monash()(file, columns_of(Events(seconds, [0] * n, [0] * n, [1] * n, sensor=(1, 1))))
        file.close()
        events = read_events(Path(folder) / "a.h5", sensor=(1, 1))
    assert events.t_us.tolist() == seconds


@pytest.mark.parametrize("values", [[0, 0, 0], [1, 1, 1], [0, 1, 0]])
@pytest.mark.parametrize("kind", ["?", "u1", "i1", "<i4"])
def test_zero_and_one_are_minus_and_plus(tmp_path: Path, values: list[int], kind: str) -> None:
    path = small(tmp_path / "a.h5", p=np.array(values, kind))
    assert read_events(path).p.tolist() == [2 * v - 1 for v in values]


# Ranges of time


@layouts
def test_a_range_is_a_slice_of_all(tmp_path: Path, layout: str) -> None:
    times = EVENTS.t_us.tolist()
    ends = [None, 0, START - 1, START, times[0] + 1, times[200], times[200] + 1]
    ends += [1_007_000, 1_006_999, times[-1], times[-1] + 1, 2_000_000]
    with EventFile(made(tmp_path / "a.h5", layout), sensor=SENSOR) as file:
        for start in ends:
            for stop in ends:
                low, high = start or 0, 2**40 if stop is None else stop
                expected = [row for row in rows_of(EVENTS) if low <= row[0] < high]
                assert rows_of(file.read(start_us=start, stop_us=stop)) == expected
        for t in ends[1:]:
            assert file.index(t) == sum(u < t for u in times)


@given(
    data=st.data(),
    layout=st.sampled_from(["brief", "dsec", "monash", "prophesee", "v2e"]),
    start=st.integers(1_002_990, 1_003_040),
    length=st.integers(0, 60),
)
@settings(max_examples=15)
def test_any_range_of_any_stream(data: st.DataObject, layout: str, start: int, length: int) -> None:
    events = stream(data, {"bins": 2, "start_us": 1_002_995, "duration_us": 30})
    with TemporaryDirectory() as folder:
        path = made(Path(folder) / "a.h5", layout, events)
        sliced = read_events(path, sensor=events.sensor, start_us=start, stop_us=start + length)
    assert rows_of(sliced) == rows_of(events.between(start, start + length))


@pytest.mark.parametrize("layout", ["brief", "dsec", "monash", "prophesee", "v2e"])
def test_a_range_does_not_load_the_file(tmp_path: Path, layout: str, loaded: list[int]) -> None:
    events = scattered(20_000, length=2_000_000)
    table = 2_001 if layout == "dsec" else 0  # ms_to_idx
    path = made(tmp_path / "a.h5", layout, events)
    loaded.clear()
    with EventFile(path, sensor=SENSOR) as file:
        assert table + 2 <= sum(loaded) <= table + 3  # ends of the file
        loaded.clear()
        piece = file.read(start_us=START + 500_000, stop_us=START + 520_000)
        assert 100 < len(piece) < 400
        assert len(piece) <= sum(loaded) <= 4 * len(piece) + 2 * 16  # columns, two searches


def test_windows_are_read_one_at_a_time(tmp_path: Path, loaded: list[int]) -> None:
    events = scattered(20_000, length=2_000_000)
    with EventFile(made(tmp_path / "a.h5", "brief", events), sensor=SENSOR) as file:
        pieces = file.windows(start_us=START, duration_us=20_000, count=100)
        loaded.clear()
        for i, piece in enumerate(pieces):
            assert 0 < len(piece) < 400
            assert len(piece) <= sum(loaded) <= 4 * len(piece) + 2 * 16
            begin = START + i * 20_000
            assert rows_of(piece) == rows_of(events.between(begin, begin + 20_000))
            loaded.clear()
        assert i == 99


def test_windows_may_go_beyond_the_recording(tmp_path: Path) -> None:
    with EventFile(small(tmp_path / "a.h5")) as file:
        pieces = file.windows(start_us=-4, duration_us=9, count=4)
        assert [p.t_us.tolist() for p in pieces] == [[], [5, 5, 9], [], []]


# Writing


@given(data=st.data(), window=windows(), compression=st.sampled_from([None, "gzip", "lzf"]))
@settings(max_examples=15)
def test_what_is_written_is_read(
    data: st.DataObject, window: dict[str, int], compression: str | None
) -> None:
    events = stream(data, {**window, "start_us": max(window["start_us"], 0)})
    start = data.draw(st.none() | st.integers(0, 2**60))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "a.h5"
        write_events(path, events, start_us=start, compression=compression)
        with EventFile(path) as file:
            again = file.read()
            assert file.dialect == "brief"
            first = events.span[0] if events.span else 0
            assert file.start_us == (first if start is None else start)
            assert file.span == events.span
        assert [p.name for p in path.parent.iterdir()] == ["a.h5"]
    assert rows_of(again) == rows_of(events)
    assert again.sensor == events.sensor


def test_extremes_are_written_and_read(tmp_path: Path) -> None:
    events = Events([0, 2**62], [0, 65535], [65535, 0], [1, -1], sensor=(65536, 65536))
    write_events(tmp_path / "a.h5", events)
    again = read_events(tmp_path / "a.h5")
    assert (rows_of(again), again.sensor) == (rows_of(events), (65536, 65536))


@layouts
def test_any_layout_can_be_written_anew(tmp_path: Path, layout: str) -> None:
    events = read_events(made(tmp_path / "a.h5", layout), sensor=SENSOR)
    write_events(tmp_path / "b.h5", events)
    assert rows_of(read_events(tmp_path / "b.h5")) == rows_of(EVENTS)


def test_the_file_has_the_stated_types(tmp_path: Path) -> None:
    write_events(tmp_path / "a.h5", EVENTS, start_us=7)
    with h5py.File(tmp_path / "a.h5") as file:
        kinds = {name: column.dtype.str for name, column in file["events"].items()}
        assert kinds == {"p": "|i1", "t": "<i8", "x": "<u2", "y": "<u2"}
        assert dict(file.attrs) == {"height": 12, "width": 17, "start_us": 7}
        assert all(column.compression is None for column in file["events"].values())


def test_a_writer_appends(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with EventWriter(path, sensor=SENSOR) as writer:
        assert EVENTS.t_us[200] == EVENTS.t_us[201]  # equal times on both sides of a joint
        for first, last in ((0, 100), (100, 100), (100, 201), (201, 400)):
            writer.append(EVENTS[first:last])
        assert writer.count == 400
        assert [p.name for p in tmp_path.iterdir()] == ["a.h5.part"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    with EventFile(path) as file:
        assert rows_of(file.read()) == rows_of(EVENTS)
        assert file.start_us == EVENTS.t_us[0]


def test_a_writer_refuses_what_does_not_belong(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with EventWriter(path, sensor=SENSOR) as writer:
        writer.append(EVENTS[10:20])
        with pytest.raises(ValueError, match=r"a\.h5: t runs backwards: 1\d+ us behind 1\d+"):
            writer.append(EVENTS[:10])
        with pytest.raises(ValueError, match=r"a\.h5: expected events of sensor \(12, 17\)"):
            writer.append(from_rows([(10**9, 0, 0, 1)], (12, 18)))
        with pytest.raises(ValueError, match=r"a\.h5: 1 events lie beyond the sensor"):
            writer.append(from_rows([(10**9, 17, 0, 1)], SENSOR))
        with pytest.raises(ValueError, match=r"a\.h5: t_us runs backwards at event 1"):
            writer.append(from_rows([(10**9, 0, 0, 1), (10**8, 0, 0, 1)], SENSOR))
    assert rows_of(read_events(path)) == rows_of(EVENTS[10:20])


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with EventWriter(tmp_path / "a.h5", sensor=SENSOR) as writer:
            writer.append(EVENTS)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
    write_events(tmp_path / "a.h5", EVENTS)
    with pytest.raises(ValueError, match=r"a\.h5: t_us runs backwards"):
        write_events(tmp_path / "a.h5", from_rows([(9, 0, 0, 1), (3, 0, 0, 1)], SENSOR))
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    assert rows_of(read_events(tmp_path / "a.h5")) == rows_of(EVENTS)


def test_negative_times_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.h5: t is negative: -3 us"):
        write_events(tmp_path / "a.h5", from_rows([(-3, 0, 0, 1)], SENSOR))
    assert list(tmp_path.iterdir()) == []


# Bad input


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.h5: no such file"):
        read_events(tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"0 1 2 1\n" * 500, "not an HDF5 file")],
)
def test_files_that_are_not_hdf5(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    for read in (read_events, EventFile, stated_sensor):
        with pytest.raises(ValueError, match=rf"a\.h5: {message}"):
            read(tmp_path / "a.h5")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not an HDF5 file"):
        read_events(tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = made(tmp_path / "a.h5", "brief", scattered(20_000), width=17, height=12)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"a\.h5: truncated HDF5 file"):
        read_events(path)


def test_a_damaged_chunk_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, values in columns_of(EVENTS).items():
            file.create_dataset(f"events/{name}", data=values, compression="gzip", chunks=(400,))
        chunk = file["events/x"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.h5: the data cannot be read"):
        read_events(path, sensor=SENSOR)


@pytest.mark.parametrize("name", ["p", "t", "x", "y"])
def test_a_missing_column(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.h5: /events lacks {name}: has .*expected one of"):
        read_events(small(tmp_path / "a.h5", **{name: None}))


@pytest.mark.parametrize("name", ["p", "x", "y"])
def test_a_missing_column_of_monash(tmp_path: Path, name: str) -> None:
    path = changed(made(tmp_path / "a.h5", "monash"), f"events/{name}s", None)
    with pytest.raises(ValueError, match=rf"a\.h5: /events lacks {name}: has"):
        read_events(path, sensor=SENSOR)


def test_no_known_layout(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w"):
        pass
    with pytest.raises(ValueError, match=r"a\.h5: no event layout: has nothing, expected one of"):
        read_events(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = [1]
    with pytest.raises(ValueError, match=r"a\.h5: no event layout: has images"):
        read_events(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["p", "t", "x", "y"])
def test_columns_of_unequal_length(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"a\.h5: expected four columns of one length .*\(2,\)"):
        read_events(small(tmp_path / "a.h5", **{name: [0, 1]}))


def test_columns_that_are_tables(tmp_path: Path) -> None:
    square = dict.fromkeys("ptxy", np.zeros((2, 2), int))
    with pytest.raises(ValueError, match=r"a\.h5: expected four columns of one length"):
        read_events(small(tmp_path / "a.h5", **square))


@pytest.mark.parametrize("name", ["p", "t", "x", "y"])
def test_columns_of_floats(tmp_path: Path, name: str) -> None:
    path = small(tmp_path / "a.h5", **{name: [0.0, 0.5, 1.0]})
    with pytest.raises(ValueError, match=rf"a\.h5: /events/{name} must hold integers, got float64"):
        read_events(path)


@pytest.mark.parametrize("name", ["p", "t", "x", "y"])
def test_fields_of_floats(tmp_path: Path, name: str) -> None:
    kind = np.dtype([(k, "f8" if k == name else "i8") for k in "xypt"])
    path = changed(made(tmp_path / "a.h5", "prophesee"), "CD/events", np.zeros(3, kind))
    with pytest.raises(ValueError, match=rf"a\.h5: .*{name}.* must hold integers, got float64"):
        read_events(path, sensor=SENSOR)


def test_seconds_that_are_integers_or_no_numbers(tmp_path: Path) -> None:
    path = changed(made(tmp_path / "a.h5", "monash"), "events/ts", np.arange(400))
    with pytest.raises(ValueError, match=r"a\.h5: /events/ts must hold seconds as floats"):
        read_events(path, sensor=SENSOR)
    changed(path, "events/ts", np.r_[np.arange(399.0), np.nan])
    with pytest.raises(ValueError, match=r"a\.h5: ts must be finite seconds, got nan"):
        read_events(path, sensor=SENSOR)


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path = changed(made(tmp_path / "a.h5", "v2e"), "events", np.zeros((3, 5), int))
    with pytest.raises(ValueError, match=r"a\.h5: /events must be integers of shape \(n, 4\)"):
        read_events(path)
    changed(path, "events", np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"a\.h5: /events must be integers .* got float64"):
        read_events(path)
    path = changed(made(tmp_path / "b.h5", "prophesee"), "CD/events", np.zeros(3, int))
    with pytest.raises(ValueError, match=r"b\.h5: /CD/events must have the fields t, x, y, p"):
        read_events(path)


@layouts
def test_time_running_backwards_is_sorted_on_request_only(tmp_path: Path, layout: str) -> None:
    order = np.arange(400)
    order[[30, 300]] = order[[300, 30]]
    shuffled = from_rows([rows_of(EVENTS)[i] for i in order], SENSOR)
    expected = sorted(rows_of(shuffled), key=lambda row: row[0])
    with EventFile(made(tmp_path / "a.h5", layout, shuffled), sensor=SENSOR) as file:
        with pytest.raises(ValueError, match=r"a\.h5: t runs backwards at event 31;.*sort=True"):
            file.read()
        assert rows_of(file.read(sort=True)) == expected
        low, high = expected[50][0], expected[350][0]
        part = file.read(start_us=low, stop_us=high, sort=True)
        assert rows_of(part) == [row for row in expected if low <= row[0] < high]
        head = [row for row in expected if row[0] < high]
        assert rows_of(file.read(stop_us=high, sort=True)) == head


def test_equal_times_keep_their_order_when_sorted(tmp_path: Path) -> None:
    path = small(tmp_path / "a.h5", t=[9, 5, 5])
    assert rows_of(read_events(path, sort=True)) == [(5, 3, 0, 1), (5, 2, 2, 1), (9, 0, 1, -1)]


@pytest.mark.parametrize("columns", [{"x": [0, 3, 4]}, {"y": [3, 0, 0]}])
def test_pixels_beyond_the_sensor(tmp_path: Path, columns: dict[str, list[int]]) -> None:
    path = small(tmp_path / "a.h5", **columns)
    for sort in (False, True):
        with pytest.raises(ValueError, match=r"a\.h5: 1 events .*\(height, width\) = \(3, 4\): x"):
            read_events(path, sort=sort)
    assert len(read_events(path, sensor=(4, 5))) == 3


@pytest.mark.parametrize("value", [-1, 65536])
@pytest.mark.parametrize("name", ["x", "y"])
def test_pixels_that_are_none(tmp_path: Path, name: str, value: int) -> None:
    path = small(tmp_path / "a.h5", **{name: [0, value, 1]})
    with pytest.raises(ValueError, match=rf"a\.h5: {name} must lie in 0 to 65535, got"):
        read_events(path)


def test_negative_times(tmp_path: Path) -> None:
    path = small(tmp_path / "a.h5", t=[-7, 5, 9])
    for sort in (False, True):
        with pytest.raises(ValueError, match=r"a\.h5: t is negative: -7 us at event 0"):
            read_events(path, sort=sort)
    path = changed(made(tmp_path / "b.h5", "dsec"), "t_offset", -(2**40))
    with pytest.raises(ValueError, match=r"b\.h5: t is negative"):
        read_events(path, sensor=SENSOR)


@pytest.mark.parametrize("values", [[0, 2, 1], [-2, 1, 1], [-1, 0, 1], [0, 256, 1], [0, 1, 255]])
def test_polarities_that_are_none(tmp_path: Path, values: list[int]) -> None:
    path = small(tmp_path / "a.h5", p=values)
    with pytest.raises(ValueError, match=r"a\.h5: p must be boolean, 0/1 or -1/\+1, got"):
        read_events(path)


@pytest.mark.parametrize("layout", ["dsec", "prophesee", "v2e"])
def test_signed_polarity_outside_its_layouts(tmp_path: Path, layout: str) -> None:
    path = made(tmp_path / "a.h5", layout)
    with h5py.File(path) as file:
        names = {"dsec": "events/p", "prophesee": "CD/events", "v2e": "events"}
        values = file[names[layout]][:]
    if layout == "prophesee":
        values["p"] = -1
    else:
        values = values.astype(np.int64)
        values[..., -1] = -1
    changed(path, names[layout], values)
    with pytest.raises(ValueError, match=rf"a\.h5: p must be 0 or 1 in the {layout} layout"):
        read_events(path, sensor=SENSOR)


@pytest.mark.parametrize("sensor", [(0, 5), (5, -1), (65537, 5)])
def test_sensors_that_are_none(tmp_path: Path, sensor: tuple[int, int]) -> None:
    path = small(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"a\.h5: sensor must be \(height, width\) of 1 to 65536"):
        read_events(path, sensor=sensor)


def test_an_index_that_belongs_to_another_file(tmp_path: Path) -> None:
    path = made(tmp_path / "a.h5", "dsec")
    with h5py.File(path) as file:
        late = file["ms_to_idx"][:] + 1
    for wrong in (np.full(40, 1000), np.zeros(40, int), late, late[::-1]):
        changed(path, "ms_to_idx", wrong)
        with pytest.raises(ValueError, match=r"a\.h5: ms_to_idx does not fit the times near 10"):
            read_events(path, sensor=SENSOR, start_us=START + 5000, stop_us=START + 10_000)
        assert rows_of(read_events(path, sensor=SENSOR)) == rows_of(EVENTS)


def test_blosc_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "a.h5", "dsec blosc")
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    for read in (read_events, EventFile, stated_sensor):
        with pytest.raises(
            ImportError, match=r'a\.h5: hdf5plugin .* pip install "libimg\[tasks\]"'
        ):
            read(path)
    monkeypatch.undo()
    assert rows_of(read_events(path, sensor=SENSOR)) == rows_of(EVENTS)


def test_a_filter_that_nobody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "a.h5", "dsec blosc")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    with pytest.raises(ValueError, match=r"a\.h5: /events/. is compressed by filter 32001"):
        read_events(path)


def test_a_file_is_closed_after_an_error(tmp_path: Path) -> None:
    path = small(tmp_path / "a.h5", y=None)
    with pytest.raises(ValueError, match="lacks y") as caught:
        EventFile(path)
    with h5py.File(path, "a") as file:  # refused while a handle for reading is open
        file["events/y"] = [1, 0, 2]
    assert len(read_events(path)) == 3
    assert caught.value is not None  # its frames keep the reader alive until here


# Real recordings


def recordings(folder: Path) -> list[Path]:
    found = sorted((folder / "events").glob("*.h5"))
    if not found:
        pytest.skip(f"no recordings in the folder events of {folder}")
    return found


def test_a_file_is_as_large_as_its_events(tmp_path: Path) -> None:
    for n in (0, 1, 1000, 100_000):
        events = scattered(n) if n else EVENTS[:0]
        write_events(tmp_path / "a.h5", events)
        assert (tmp_path / "a.h5").stat().st_size < 13 * n + 16_384
        assert rows_of(read_events(tmp_path / "a.h5")) == rows_of(events)


@pytest.mark.data
def test_real_recordings_come_back(data_folder: Path, tmp_path: Path) -> None:
    """All events of each recording: files and split grids keep them."""
    for path in recordings(data_folder):
        events = read_events(path)
        assert len(events)
        write_events(tmp_path / path.name, events)
        again = read_events(tmp_path / path.name)
        for name in ("t_us", "x", "y", "p"):
            assert torch.equal(getattr(again, name), getattr(events, name)), path.name
        assert again.sensor == events.sensor

        clock = shared_clock(events.span)
        for start, piece in zip(clock, split_segments(events, clock), strict=True):
            window = {"start_us": start, "duration_us": clock.duration_us}
            grid = encode_voxels(piece, bins=8, polarity="split", outside="raise", **window)
            decoded = decode_voxels(grid, **window)
            counts = [[int((e.p == p).sum()) for p in (1, -1)] for e in (piece, decoded)]
            assert counts[0] == counts[1] == grid.sum((1, 2, 3)).tolist(), path.name
            grid_again = encode_voxels(decoded, bins=8, polarity="split", **window)
            assert bool((grid_again == grid).all()), path.name
