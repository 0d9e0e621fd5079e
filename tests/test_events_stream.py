import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg.events import Events, concatenate
from tests.reference.events import from_rows, rows_of, stream, windows

KINDS = {"t_us": torch.int64, "x": torch.uint16, "y": torch.uint16, "p": torch.int8}
WINDOW = {"bins": 3, "start_us": 100, "duration_us": 20}


def one(**columns: object) -> Events:
    """A stream of two events, with some columns replaced."""
    given = {"t_us": [5, 9], "x": [1, 2], "y": [0, 1], "p": [1, -1], "sensor": (4, 6)}
    return Events(**{**given, **columns})


@pytest.mark.parametrize("container", [list, np.array, torch.tensor])
def test_columns_get_their_types(container: type) -> None:
    events = Events(*map(container, ([5, 9], [1, 2], [0, 1], [1, -1])), sensor=[4, 6])
    for name, kind in KINDS.items():
        assert getattr(events, name).dtype == kind
    assert rows_of(events) == [(5, 1, 0, 1), (9, 2, 1, -1)]
    assert events.sensor == (4, 6)


@pytest.mark.parametrize(
    "values",
    [
        [True, False],
        [1, 0],
        [1, -1],
        np.array([1, 0], np.uint8),
        np.array([1, -1], ">i4"),
        np.array([True, False]),
        torch.tensor([1, 0], dtype=torch.int8),
        torch.tensor([1, 0], dtype=torch.uint8),
    ],
)
def test_polarity_in_all_its_forms(values: object) -> None:
    assert one(p=values).p.tolist() == [1, -1]
    assert one(p=values).p.dtype == torch.int8


@pytest.mark.parametrize(("values", "expected"), [([0, 0], [-1, -1]), ([1, 1], [1, 1])])
def test_one_sided_polarity(values: list[int], expected: list[int]) -> None:
    assert one(p=values).p.tolist() == expected
    assert one(p=[-1, -1]).p.tolist() == [-1, -1]


def test_columns_of_the_right_type_are_not_copied() -> None:
    columns = {name: torch.ones(3, dtype=kind) for name, kind in KINDS.items()}
    events = Events(**columns, sensor=(2, 2))
    for name, column in columns.items():
        assert getattr(events, name).data_ptr() == column.data_ptr()


@pytest.mark.parametrize("kind", [">i8", ">u2", "<i4", "u4", "u1"])
def test_foreign_byte_orders_and_widths_keep_their_values(kind: str) -> None:
    events = one(t_us=np.array([5, 200], kind), x=np.array([1, 200], kind))
    assert events.t_us.tolist() == [5, 200]
    assert events.x.tolist() == [1, 200]


def test_strided_arrays_and_extremes_keep_their_values() -> None:
    t = np.arange(10, dtype=np.int64)[::-3] - 2**62
    events = Events(t, [0, 65535, 1, 2], [65535, 0, 1, 2], [1, 1, 1, 1], sensor=(65536, 65536))
    assert events.t_us.tolist() == t.tolist()
    assert events.x.tolist() == [0, 65535, 1, 2]
    assert events.y.tolist() == [65535, 0, 1, 2]


@pytest.mark.parametrize("empty", [[], np.empty(0), torch.empty(0, dtype=torch.int64)])
def test_empty_streams(empty: object) -> None:
    events = Events(empty, empty, empty, empty, sensor=(2, 2))
    assert len(events) == 0
    assert events.span is None
    assert events.validate().sort().shift(5).between(0, 10).is_sorted()
    assert {name: getattr(events, name).dtype for name in KINDS} == KINDS
    assert len(concatenate([events, events])) == 0


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("values", [[1.0, 1.0], torch.ones(2), torch.ones(2, dtype=torch.cfloat)])
def test_floats_are_refused(name: str, values: object) -> None:
    with pytest.raises(TypeError, match=rf"{name} must hold integers, got torch\.(float|complex)"):
        one(**{name: values})


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize(
    ("values", "got"), [([-1, 3], "-1 to 3"), ([0, 65536], "0 to 65536"), ([2**40, 0], "0 to 1")]
)
def test_pixels_that_do_not_fit_are_refused(name: str, values: list[int], got: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must lie in 0 to 65535, got {got}"):
        one(**{name: values})


def test_times_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="t_us"):
        one(t_us=np.array([5, 2**63], np.uint64))


@pytest.mark.parametrize("values", [[1, 2], [-2, 1], [-1, 0], [255, 1], [0, -1, 1]])
def test_polarities_that_are_none_are_refused(values: list[int]) -> None:
    n = [0] * len(values)
    for column in (values, torch.tensor(values), np.array(values, np.int16)):
        with pytest.raises(ValueError, match=r"p must be boolean, 0/1 or -1/\+1, got values"):
            Events(n, n, n, column, sensor=(2, 2))
    if max(values) < 128:
        with pytest.raises(ValueError, match=r"p must be boolean, 0/1 or -1/\+1"):
            Events(n, n, n, torch.tensor(values, dtype=torch.int8), sensor=(2, 2))


def test_columns_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"four columns of one length, got .*x \(1,\)"):
        one(x=[1])
    square = torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="four columns of one length"):
        Events(square, square, square, square, sensor=(2, 2))
    with pytest.raises(ValueError, match="four columns of one length"):
        Events(5, 1, 1, 1, sensor=(2, 2))


@pytest.mark.parametrize("sensor", [(0, 5), (5, -1), (65537, 1), (5,), (5, 5, 5)])
def test_sensors_without_pixels_are_refused(sensor: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sensor must be"):
        one(sensor=sensor)


def test_a_stream_is_frozen() -> None:
    with pytest.raises(AttributeError):
        one().sensor = (1, 1)  # type: ignore[misc]


@given(data=st.data(), start=st.integers(95, 125), stop=st.integers(95, 125))
def test_between_is_a_mask(data: st.DataObject, start: int, stop: int) -> None:
    events = stream(data, WINDOW)
    mask = (events.t_us >= start) & (events.t_us < stop)
    expected = [row for row in rows_of(events) if start <= row[0] < stop]
    assert rows_of(events.between(start, stop)) == expected
    assert rows_of(events[mask]) == expected
    assert rows_of(events[mask.nonzero().squeeze(1)]) == expected
    assert events.between(start, stop).sensor == events.sensor


@given(data=st.data(), start=st.integers(-30, 30), stop=st.integers(-30, 30))
def test_slices(data: st.DataObject, start: int, stop: int) -> None:
    events = stream(data, WINDOW, ordered=False)
    assert rows_of(events[start:stop]) == rows_of(events)[start:stop]
    assert rows_of(events[::2]) == rows_of(events)[::2]


def test_slices_share_memory_and_selections_do_not() -> None:
    events = one()
    assert events[1:].t_us.data_ptr() == events.t_us[1:].data_ptr()
    assert events[torch.tensor([True, True])].t_us.data_ptr() != events.t_us.data_ptr()
    assert rows_of(events[torch.tensor([1, 1, 0])]) == [rows_of(events)[i] for i in (1, 1, 0)]


@given(data=st.data())
def test_sort_is_stable(data: st.DataObject) -> None:
    events = stream(data, WINDOW, ordered=False)
    expected = sorted(rows_of(events), key=lambda row: row[0])
    assert rows_of(events.sort()) == expected
    assert events.is_sorted() == (rows_of(events) == expected)
    assert events.sort().is_sorted()


@given(data=st.data())
def test_concatenate(data: st.DataObject) -> None:
    sensor = (7, 7)
    parts = [from_rows(rows_of(stream(data, WINDOW)), sensor) for _ in range(3)]
    rows = [row for part in parts for row in rows_of(part)]
    assert rows_of(concatenate(parts)) == rows
    joined = concatenate(parts, sort=True)
    assert rows_of(joined) == sorted(rows, key=lambda row: row[0])
    assert joined.sensor == sensor
    assert {name: getattr(joined, name).dtype for name in KINDS} == KINDS


def test_concatenate_refuses_other_sensors_and_nothing() -> None:
    with pytest.raises(ValueError, match=r"one sensor, got sensors \[\(4, 6\), \(5, 6\)\]"):
        concatenate([one(), one(sensor=(5, 6))])
    with pytest.raises(ValueError, match="one or more"):
        concatenate([])


@given(
    data=st.data(),
    top=st.integers(-2, 4),
    left=st.integers(-2, 4),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_crop(data: st.DataObject, top: int, left: int, size: tuple[int, int]) -> None:
    events = stream(data, WINDOW, outside=True)
    expected = [
        (t, x - left, y - top, p)
        for t, x, y, p in rows_of(events)
        if 0 <= x - left < size[1] and 0 <= y - top < size[0]
    ]
    cropped = events.crop(top=top, left=left, sensor=size)
    assert rows_of(cropped) == expected
    assert cropped.sensor == size
    assert cropped.outside_sensor() == 0


@given(data=st.data(), window=windows(), offset=st.integers(-(2**50), 2**50))
def test_shift_and_span(data: st.DataObject, window: dict[str, int], offset: int) -> None:
    events = stream(data, window, ordered=False)
    before = rows_of(events)
    moved = events.shift(offset)
    assert rows_of(moved) == [(t + offset, x, y, p) for t, x, y, p in before]
    assert rows_of(events) == before
    times = [row[0] for row in before]
    assert events.span == ((min(times), max(times)) if times else None)


@given(data=st.data())
def test_outside_sensor_and_validate(data: st.DataObject) -> None:
    events = stream(data, WINDOW, outside=True)
    height, width = events.sensor
    beyond = sum(x >= width or y >= height for _, x, y, _ in rows_of(events))
    assert events.outside_sensor() == beyond
    if beyond:
        with pytest.raises(ValueError, match=rf"^{beyond} events lie beyond the sensor"):
            events.validate()
    else:
        assert events.validate() is events


def test_validate_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="t_us runs backwards at event 2: 9 before 8"):
        Events([5, 9, 8, 7], [0] * 4, [0] * 4, [1] * 4, sensor=(1, 1)).validate()
    with pytest.raises(ValueError, match=r"1 events .* sensor \(4, 6\): x up to 6, y up to 1"):
        one(x=[6, 2]).validate()


def test_to_keeps_everything() -> None:
    assert rows_of(one().to("cpu")) == rows_of(one())
    assert one().to("meta").t_us.device.type == "meta"
