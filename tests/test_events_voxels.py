from collections.abc import Callable
from importlib import util
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from libimg._ops import event_kernels
from libimg.events import (
    CONVENTIONS,
    Convention,
    Events,
    concatenate,
    count_outside,
    encode_voxels,
    encode_windows,
)
from libimg.events.conventions import settle
from libimg.events.voxels import MOST, _on_device, by_index
from tests.reference import events as reference
from tests.reference.events import Row, from_rows, inside, rows_of, stream, windows

# The shares of an event are float32 numbers of at most 1 with three roundings each, and no voxel
# of these tests holds more than 40 events.
TOLERANCE = 1e-5
CLOSED = ("e2vid", "event_utils", "dsec")
CHOICES = list(product(CONVENTIONS, ("none", "time"), ("sum", "split")))

by_convention = pytest.mark.parametrize("convention", list(CONVENTIONS))
by_choice = pytest.mark.parametrize(("convention", "interpolation", "polarity"), CHOICES)


def close(actual: Tensor, expected: Any, tolerance: float = TOLERANCE) -> None:
    """Compare in float64, without a relative part."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance)


def crowd(n: int, unit: int) -> Events:
    """Events around [0, 300 * unit), in no order, some of them beyond the sensor."""
    draw = np.random.default_rng(n)
    t, p = draw.integers(-20, 330, n) * unit, draw.integers(0, 2, n)
    return Events(t, draw.integers(0, 7, n), draw.integers(0, 6, n), p, sensor=(5, 6))


def summed(grid: np.ndarray, polarity: str) -> np.ndarray:
    """Turn an oracle's counts (window, polarity, ...) into what ``polarity`` asks for."""
    return grid if polarity == "split" else grid[:, 0] - grid[:, 1]


def published(
    formula: Callable[..., np.ndarray], rows: list[Row], window: dict[str, int], sensor: Any
) -> np.ndarray:
    return formula(rows, window["bins"], window["start_us"], window["duration_us"], *sensor)


@pytest.mark.parametrize("name", ["e2vid", "event_utils", "dsec", "eflare"])
@given(data=st.data(), window=windows(), ordered=st.booleans())
def test_presets_are_the_published_formulas(
    name: str, data: st.DataObject, window: dict[str, int], ordered: bool
) -> None:
    events = stream(data, window, outside=True, ordered=ordered)
    grid = encode_voxels(events, **window, convention=name)
    formula = getattr(reference, name)
    close(grid, published(formula, rows_of(events), window, events.sensor))
    if name == "eflare":
        assert torch.equal(grid, encode_voxels(events, **window))


@given(data=st.data(), window=windows(), ordered=st.booleans())
def test_rvt_is_the_published_formula_with_negative_second(
    data: st.DataObject, window: dict[str, int], ordered: bool
) -> None:
    events = stream(data, window, outside=True, ordered=ordered)
    grid = encode_voxels(events, **window, convention="rvt")
    theirs = published(reference.rvt, rows_of(events), window, events.sensor)
    close(grid.flip(0).reshape(theirs.shape), theirs, 0)


@given(data=st.data(), window=windows(), ordered=st.booleans())
def test_tonic_is_the_published_formula_but_for_what_it_loses(
    data: st.DataObject, window: dict[str, int], ordered: bool
) -> None:
    events = stream(data, window, outside=True, ordered=ordered)
    grid = encode_voxels(events, **window, convention="tonic")
    rows = rows_of(events)
    theirs = published(reference.tonic, rows, window, events.sensor)
    close(grid[:-1], theirs[:-1])
    span = (window["start_us"], window["duration_us"])
    for t, x, y, p in inside(rows, *span, *events.sensor):
        s = window["bins"] * (t - span[0]) / span[1]
        theirs[-1, y, x] += p * max(s - (window["bins"] - 1), 0)
    close(grid[-1], theirs[-1])


@given(data=st.data(), window=windows(), ordered=st.booleans())
def test_metavision_is_the_published_formula_after_the_first_half_bin(
    data: st.DataObject, window: dict[str, int], ordered: bool
) -> None:
    drawn = stream(data, window, outside=True, ordered=ordered)
    start, duration = window["start_us"], window["duration_us"]
    early = 2 * window["bins"] * (drawn.t_us - start) < duration
    events = drawn[~early]
    grid = encode_voxels(events, **window, convention="metavision")
    close(grid, published(reference.metavision, rows_of(events), window, drawn.sensor))
    leaking = encode_voxels(drawn[early], **window, convention="metavision")
    first = inside(rows_of(drawn[early]), start, duration, *drawn.sensor)
    close(leaking[0].sum(), sum(row[3] for row in first), 0)
    assert not leaking[1:].any()


@by_choice
@given(data=st.data(), window=windows(), ordered=st.booleans(), several=st.integers(1, 3))
def test_every_choice_is_the_documented_one(
    convention: str,
    interpolation: str,
    polarity: str,
    data: st.DataObject,
    window: dict[str, int],
    ordered: bool,
    several: int,
) -> None:
    events = stream(data, window, outside=True, ordered=ordered)
    choice: Any = {"convention": convention, "interpolation": interpolation, "polarity": polarity}
    expected = reference.count(
        rows_of(events), convention, interpolation, **window, sensor=events.sensor, windows=several
    )
    tolerance = 0 if interpolation == "none" else TOLERANCE
    grids = encode_windows(events, windows=several, **window, **choice)
    assert grids.dtype == torch.float32
    close(grids, summed(expected, polarity), tolerance)

    shape = (several, 1 + (polarity == "split"), *expected.shape[2:])
    rule = CONVENTIONS[convention], window["start_us"], window["duration_us"]
    plain = by_index(events, shape, *rule, interpolation == "time")
    close(plain, summed(expected, polarity).reshape(shape), tolerance)


@pytest.mark.parametrize("interpolation", ["none", "time"])
@pytest.mark.parametrize("sensor", [(2, 3), (60, 80)])
@pytest.mark.parametrize("n", [1023, 1024, 5000])
def test_long_streams(n: int, sensor: tuple[int, int], interpolation: Any) -> None:
    """Stretches of more than one block, dense and thin ones, with pixels beyond the sensor."""
    draw = np.random.default_rng(n)
    t, p = np.sort(draw.integers(-50, 1050, n)), draw.integers(0, 2, n)
    x, y = draw.integers(0, sensor[1] + 1, n), draw.integers(0, sensor[0] + 1, n)
    events = Events(t, x, y, p, sensor=sensor)
    mixed = events[torch.from_numpy(draw.permutation(n))]
    window: Any = {"bins": 3, "start_us": 0, "duration_us": 500}
    choice: Any = {"convention": "e2vid", "interpolation": interpolation, "polarity": "split"}
    expected = reference.count(
        rows_of(events), "e2vid", interpolation, **window, sensor=sensor, windows=2
    )
    tolerance = 0 if interpolation == "none" else 1e-3  # up to 300 events a voxel
    for given_events in (events, mixed):
        grids = encode_windows(given_events, windows=2, **window, **choice)
        close(grids, expected, tolerance)


@by_convention
@given(data=st.data(), window=windows(), ordered=st.booleans())
def test_polarity_is_conserved(
    convention: str, data: st.DataObject, window: dict[str, int], ordered: bool
) -> None:
    events = stream(data, window, outside=True, ordered=ordered)
    span = window["start_us"], window["duration_us"]
    rows = inside(rows_of(events), *span, *events.sensor, closed=convention in CLOSED)
    grid = encode_voxels(events, **window, convention=convention, polarity="sum")
    close(grid.double().sum(), sum(row[3] for row in rows))
    parts = encode_voxels(events, **window, convention=convention, polarity="split").double()
    close(parts.sum((1, 2, 3)), [sum(row[3] == p for row in rows) for p in (1, -1)])
    close(grid, parts[0] - parts[1])


@by_convention
@given(data=st.data(), window=windows())
def test_streams_add_up(convention: str, data: st.DataObject, window: dict[str, int]) -> None:
    parts = [from_rows(rows_of(stream(data, window, outside=True)), (4, 4)) for _ in range(2)]
    grids = [encode_voxels(part, **window, convention=convention) for part in parts]
    for joined in (concatenate(parts), concatenate(parts, sort=True)):
        tolerance = 0 if CONVENTIONS[convention].interpolation == "none" else TOLERANCE
        grid = encode_voxels(joined, **window, convention=convention)
        close(grid, (grids[0] + grids[1]).double(), tolerance)


@by_convention
@given(data=st.data(), window=windows(), offset=st.integers(-(2**60), 2**60))
def test_a_shift_of_events_and_window_changes_nothing(
    convention: str, data: st.DataObject, window: dict[str, int], offset: int
) -> None:
    events = stream(data, window, outside=True, ordered=data.draw(st.booleans()))
    grid = encode_voxels(events, **window, convention=convention)
    window["start_us"] += offset
    moved = encode_voxels(events.shift(offset), **window, convention=convention)
    assert torch.equal(moved, grid)


@by_convention
@given(data=st.data(), window=windows())
def test_order_does_not_matter(
    convention: str, data: st.DataObject, window: dict[str, int]
) -> None:
    events = stream(data, window, outside=True, ordered=False)
    order = torch.tensor(data.draw(st.permutations(range(len(events)))), dtype=torch.int64)
    grid = encode_voxels(events, **window, convention=convention)
    tolerance = 0 if CONVENTIONS[convention].interpolation == "none" else TOLERANCE
    for other in (events[order], events.sort()):
        close(encode_voxels(other, **window, convention=convention), grid.double(), tolerance)


@by_convention
@given(data=st.data(), window=windows(), several=st.integers(1, 4), sensor=st.booleans())
def test_many_windows_are_one_by_one(
    convention: str, data: st.DataObject, window: dict[str, int], several: int, sensor: bool
) -> None:
    whole = {**window, "duration_us": several * window["duration_us"]}
    events = stream(data, whole, outside=True)
    choice: Any = {"convention": convention, "sensor": (3, 2) if sensor else None}
    grids = encode_windows(events, windows=several, **window, **choice)
    assert len(grids) == several
    for i, grid in enumerate(grids):
        start = window["start_us"] + i * window["duration_us"]
        stop = start + window["duration_us"] + (i == several - 1)  # only the last may be closed
        mine = {**window, "start_us": start}
        close(grid, encode_voxels(events.between(start, stop), **mine, **choice).double())


@by_convention
@pytest.mark.parametrize("polarity", ["sum", "split"])
def test_no_event_is_no_count(convention: str, polarity: Any) -> None:
    grid = encode_windows(
        Events([], [], [], [], sensor=(3, 4)),
        windows=2,
        bins=5,
        start_us=7,
        duration_us=10,
        convention=convention,
        polarity=polarity,
        outside="raise",
    )
    assert grid.shape == ((2, 5, 3, 4) if polarity == "sum" else (2, 2, 5, 3, 4))
    assert not grid.any()


@by_convention
@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("bins", [1, 4])
@pytest.mark.parametrize("since", [0, 50, 99])
def test_one_event_and_equal_times(convention: str, n: int, bins: int, since: int) -> None:
    """One event or equal times, also on the first and last microsecond, all count."""
    events = Events([3 + since] * n, [1] * n, [0] * n, [-1] * n, sensor=(1, 2))
    window: Any = {"bins": bins, "start_us": 3, "duration_us": 100}
    grid = encode_voxels(events, **window, convention=convention, polarity="sum", outside="raise")
    assert grid.isfinite().all()
    assert not grid[..., 0].any()
    close(grid.sum(), -n)
    end = {0: 0, 99: bins - 1}.get(since)
    if end is not None:
        assert grid[end, 0, 1] < -0.95 * n


@by_convention
@pytest.mark.parametrize("n", [1, 3])
def test_the_end_of_the_window(convention: str, n: int) -> None:
    """It belongs to the window where the last bin lies on it, and nowhere else."""
    events = Events([100] * n, [0] * n, [0] * n, [1] * n, sensor=(1, 1))
    for given_events in (events, concatenate([events, events.shift(-100)])):  # in order and not
        grid = encode_voxels(
            given_events, bins=4, start_us=0, duration_us=100, convention=convention, polarity="sum"
        )
        last = n if convention in CLOSED else 0
        assert grid[-1].item() == last
        assert grid.sum().item() == pytest.approx(last + len(given_events) - n)


@by_convention
def test_windows_shorter_than_their_bins(convention: str) -> None:
    events = Events([10, 11], [0, 0], [0, 0], [1, 1], sensor=(1, 1))
    window: Any = {"bins": 6, "start_us": 10, "duration_us": 2}
    for interpolation in ("none", "time"):
        choice: Any = {"convention": convention, "interpolation": interpolation, "polarity": "sum"}
        expected = reference.count(
            rows_of(events), convention, interpolation, **window, sensor=(1, 1)
        )
        close(encode_voxels(events, **window, **choice), expected[0, 0])


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("start", [2**60 + 1, -(2**60) - 1])
def test_times_that_no_float_holds(start: int, ordered: bool) -> None:
    """Near 2^60 float64 steps by 256; every microsecond still finds its own bin."""
    t = [start + d for d in (0, 1, 2, 3, -1, 4)]
    events = Events(t, [0] * 6, [0] * 6, [1, -1, 1, 1, 1, 1], sensor=(1, 1))
    events = events.sort() if ordered else events
    grid = encode_voxels(events, bins=4, start_us=start, duration_us=4)
    assert grid.flatten().tolist() == [1, -1, 1, 1]
    counts = count_outside(events, start_us=start, duration_us=4)
    assert counts == {"before": 1, "after": 1, "beyond_sensor": 0}


@pytest.mark.parametrize("kernel", ["encode_sorted", "encode_unsorted"])
def test_float32_is_exact_up_to_two_to_the_24th(kernel: str) -> None:
    """The last events on a voxel that holds nearly as many as float32 can count."""
    t, pixel, p = np.zeros(5, np.int64), np.zeros(5, np.uint16), np.ones(5, np.int8)
    grid, lost = np.full((1, 1, 1, 1, 1), 2**24 - 5, np.float32), np.zeros(2, np.int64)
    getattr(event_kernels, kernel)(t, pixel, pixel, p, 0, 9, False, 1, -1, False, grid, lost)
    assert grid.item() == 2**24
    assert lost.tolist() == [0, 0]


@given(data=st.data(), window=windows(), size=st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_what_lies_outside_is_counted(
    data: st.DataObject, window: dict[str, int], size: tuple[int, int]
) -> None:
    events = stream(data, window, outside=True, ordered=data.draw(st.booleans()))
    sensor = data.draw(st.sampled_from((None, size)))
    height, width = sensor or events.sensor
    rows, start = rows_of(events), window["start_us"]
    stop = start + window["duration_us"]
    kept = inside(rows, start, window["duration_us"], height, width)
    counts = count_outside(events, start_us=start, duration_us=window["duration_us"], sensor=sensor)
    assert counts["before"] == sum(t < start for t, *_ in rows)
    assert counts["after"] == sum(t >= stop for t, *_ in rows)
    assert sum(counts.values()) == len(rows) - len(kept)
    split: Any = {"sensor": sensor, "polarity": "split"}
    assert encode_voxels(events, **window, **split).sum() == len(kept)
    if len(kept) == len(rows):
        encode_voxels(events, **window, **split, outside="raise")
        return
    late = counts["before"] + counts["after"]
    message = rf"events: {late} of {len(rows)} lie outside \[{start}, {stop}\) us and "
    message += rf"{counts['beyond_sensor']} beyond the sensor \({height}, {width}\)"
    with pytest.raises(ValueError, match=message):
        encode_voxels(events, **window, **split, outside="raise")
    shape = (1, 2, window["bins"], height, width)
    grid, *lost = _on_device(
        events, shape, CONVENTIONS["edges"], start, window["duration_us"], False, True
    )
    assert lost == [late, counts["beyond_sensor"]]
    assert torch.equal(grid[0], encode_voxels(events, **window, **split))


def test_the_arguments_are_left_alone() -> None:
    events = Events(list(range(0, 40, 2)), [0, 1] * 10, [0] * 20, [1, -1] * 10, sensor=(1, 2))
    before = rows_of(events)
    grid = encode_voxels(events, bins=3, start_us=0, duration_us=40)
    half = encode_voxels(events[::2], bins=3, start_us=0, duration_us=40)  # columns with gaps
    assert rows_of(events) == before
    assert torch.equal(half[..., 0], grid[..., 0])
    assert not half[..., 1].any()


def test_explicit_choices_go_before_the_convention() -> None:
    assert settle("rvt", None, None) == (CONVENTIONS["rvt"], "split", "none")
    assert settle("rvt", "sum", "time") == (CONVENTIONS["rvt"], "sum", "time")
    assert settle("dsec", None, None) == (CONVENTIONS["dsec"], "sum", "time")
    assert Convention(True, 0, "time", "sum").steps(8) == 7
    assert Convention(False, 0, "time", "sum").steps(8) == 8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bins": 0}, "bins must be above 0, got 0"),
        ({"duration_us": 0}, "duration_us must be above 0, got 0"),
        ({"duration_us": -5}, "duration_us must be above 0, got -5"),
        ({"windows": 0}, "windows must be above 0, got 0"),
        ({"sensor": (0, 4)}, "height must be above 0, got 0"),
        ({"sensor": (4, 0)}, "width must be above 0, got 0"),
        ({"duration_us": MOST}, f"at most {MOST}, got {2 * MOST} us in 2 bins"),
        ({"bins": MOST}, "windows \\* duration_us \\* bins must be at most"),
        ({"convention": "e2v"}, "convention must be one of 'edges', .*, got 'e2v'"),
    ],
)
def test_bad_options_are_refused(wrong: dict[str, Any], message: str) -> None:
    options = {"windows": 2, "bins": 2, "start_us": 0, "duration_us": 10, **wrong}
    events = Events([1], [0], [0], [1], sensor=(1, 1))
    with pytest.raises(ValueError, match=message):
        encode_windows(events, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["polarity", "interpolation", "outside"])
def test_unknown_choices_are_refused(name: str) -> None:
    events = Events([1], [0], [0], [1], sensor=(1, 1))
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'both'"):
        encode_voxels(events, bins=2, start_us=0, duration_us=10, **{name: "both"})


@pytest.mark.parametrize("unit", [1, 2**30])  # 32 and 64 bit arithmetic
def test_the_gpu_kernel_by_its_interpreter(unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the Triton kernel computes, without a GPU."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # read where a kernel is declared
    found = util.find_spec("libimg._ops.event_triton")
    assert found is not None
    assert found.origin is not None
    spec = util.spec_from_file_location("interpreted", found.origin)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    events = crowd(1500, unit)
    for convention, interpolation, polarity in CHOICES:
        shape = (3, 1 + (polarity == "split"), 4, *events.sensor)
        rule = CONVENTIONS[convention], 0, 100 * unit, interpolation == "time"
        expected = by_index(events, shape, *rule)
        close(module.encode(events, shape, *rule), expected.double(), 1e-4)
    none = module.encode(events[:0], shape, *rule)
    assert none.shape == shape
    assert not none.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
@pytest.mark.parametrize("unit", [1, 2**30])  # 32 and 64 bit arithmetic
def test_an_accelerator_counts_as_the_cpu_does(unit: int) -> None:
    events = crowd(3000, unit)
    for convention, interpolation, polarity in CHOICES:
        options: Any = {"windows": 3, "bins": 4, "start_us": 0, "duration_us": 100 * unit}
        options |= {"convention": convention, "interpolation": interpolation, "polarity": polarity}
        grid = encode_windows(events.to("cuda"), **options)
        assert grid.is_cuda
        close(grid.cpu(), encode_windows(events, **options).double(), 1e-4)
        with pytest.raises(ValueError, match="lie outside"):
            encode_windows(events.to("cuda"), **options, outside="raise")
