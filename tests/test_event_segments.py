from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from libimg.events import (
    Clock,
    EventFile,
    fit_resolution,
    merge_segments,
    restore_resolution,
    shared_clock,
    split_segments,
    write_events,
)
from tests.reference.events import from_rows, rows_of, stream, windows

spans = st.tuples(st.integers(0, 10**7), st.integers(0, 300_000)).map(lambda s: (s[0], sum(s)))
sides = st.integers(1, 7)


def at(*times: int) -> list[tuple[int, int, int, int]]:
    return [(t, 0, 0, 1) for t in times]


# One clock


@pytest.mark.parametrize(
    ("last", "count"),
    [(0, 1), (19_999, 1), (20_000, 2), (99_999, 5), (100_000, 6), (119_999, 6), (120_000, 7)],
)
def test_a_clock_holds_the_last_event(last: int, count: int) -> None:
    clock = shared_clock((7, 7 + last))
    assert clock == Clock(7, 20_000, count)
    assert clock.stop_us > 7 + last


def test_a_hundred_milliseconds_are_five_windows() -> None:
    clock = shared_clock((130, 99_000), (510, 100_129))
    assert list(clock) == [130, 20_130, 40_130, 60_130, 80_130]
    assert (len(clock), clock.stop_us) == (5, 100_130)
    assert list(shared_clock((130, 99_000), start_us=0)) == [0, 20_000, 40_000, 60_000, 80_000]


@given(
    known=st.lists(spans, min_size=1, max_size=4),
    duration=st.integers(1_000, 50_000),
    earlier=st.integers(0, 60_000) | st.none(),
)
def test_the_clock_is_the_shortest_that_covers_all(
    known: list[tuple[int, int]], duration: int, earlier: int | None
) -> None:
    first = min(span[0] for span in known)
    last = max(span[1] for span in known)
    start = None if earlier is None else first - earlier
    clock = shared_clock(*known, duration_us=duration, start_us=start)
    assert clock.start_us == (first if start is None else start)
    assert clock.start_us <= first
    assert clock.stop_us - duration <= last < clock.stop_us
    assert clock == shared_clock(None, *known[::-1], None, duration_us=duration, start_us=start)


def test_streams_without_events_need_a_start() -> None:
    assert shared_clock(None, start_us=500) == Clock(500, 20_000, 1)
    assert shared_clock(start_us=500) == Clock(500, 20_000, 1)
    for none in ((), (None,), (None, None)):
        with pytest.raises(ValueError, match="start_us is needed where no recording has an event"):
            shared_clock(*none)


def test_a_clock_refuses_what_it_would_lose() -> None:
    with pytest.raises(ValueError, match="got 100 and an event at 99"):
        shared_clock((200, 300), (99, 150), start_us=100)
    for duration in (0, -5):
        with pytest.raises(ValueError, match=f"duration_us must be above 0, got {duration}"):
            shared_clock((0, 5), duration_us=duration)


@given(data=st.data())
def test_noisy_and_clean_are_cut_at_the_same_times(data: st.DataObject) -> None:
    """The clean events are a part of the noisy ones, and so are all their pieces."""
    noisy = stream(data, {"bins": 5, "start_us": 130, "duration_us": 100_000})
    kept = data.draw(st.lists(st.booleans(), min_size=len(noisy), max_size=len(noisy)))
    clean = noisy[torch.tensor(kept, dtype=torch.bool)]
    clock = shared_clock(noisy.span, clean.span, start_us=130)
    pairs = list(zip(split_segments(noisy, clock), split_segments(clean, clock), strict=True))
    assert len(pairs) == len(clock)
    mask = torch.tensor(kept, dtype=torch.bool).split([len(a) for a, _ in pairs])
    for (a, b), inside in zip(pairs, mask, strict=True):
        assert rows_of(a[inside]) == rows_of(b)


# Pieces


@given(data=st.data(), window=windows(), margin=st.integers(0, 9))
def test_pieces_are_the_windows_of_the_clock(
    data: st.DataObject, window: dict[str, int], margin: int
) -> None:
    events = stream(data, window)
    start, duration = window["start_us"] - margin, window["duration_us"]
    length = max(ceil((duration + margin) / window["bins"]), 1)
    clock = shared_clock(events.span, duration_us=length, start_us=start)
    pieces = split_segments(events, clock)
    assert len(pieces) == len(clock)
    for begin, piece in zip(clock, pieces, strict=True):
        expected = [row for row in rows_of(events) if begin <= row[0] < begin + length]
        assert rows_of(piece) == expected
        assert piece.sensor == events.sensor
    joined = merge_segments(pieces)
    assert (rows_of(joined), joined.sensor) == (rows_of(events), events.sensor)


@pytest.mark.parametrize(
    ("times", "counts"),
    [
        ([130, 20_129, 20_130, 100_129], [2, 1, 0, 0, 1]),
        ([130, 100_130], [1, 0, 0, 0, 0, 1]),  # longer than 100 ms: the last event is kept
        ([130, 1_000], [2]),
        ([130], [1]),
        ([130, 130, 130], [3]),
        ([], [0]),
    ],
)
def test_short_and_long_recordings(times: list[int], counts: list[int]) -> None:
    events = from_rows(at(*times), (1, 1))
    pieces = split_segments(events, shared_clock(events.span, start_us=130))
    assert [len(piece) for piece in pieces] == counts
    assert rows_of(merge_segments(pieces)) == rows_of(events)


def test_pieces_of_a_stream_equal_windows_of_its_file(tmp_path: Path) -> None:
    events = from_rows(at(130, 5_000, 20_130, 20_131, 99_999, 100_129), (2, 3))
    write_events(tmp_path / "a.h5", events)
    with EventFile(tmp_path / "a.h5") as file:
        clock = shared_clock(file.span, start_us=file.start_us)
        window = {"start_us": clock.start_us, "duration_us": clock.duration_us}
        read = [rows_of(piece) for piece in file.windows(**window, count=len(clock))]
    assert read == [rows_of(piece) for piece in split_segments(events, clock)]
    assert len(read) == 5


def test_pieces_share_memory() -> None:
    events = from_rows(at(0, 5, 20_000), (1, 1))
    pieces = split_segments(events, Clock(0, 20_000, 2))
    assert pieces[1].t_us.data_ptr() == events.t_us[2:].data_ptr()


@pytest.mark.parametrize(
    ("times", "lost"), [([-1, 0, 5], 1), ([0, 40_000], 1), ([-9, -1, 39_999, 40_000, 50_000], 4)]
)
def test_nothing_is_dropped_in_silence(times: list[int], lost: int) -> None:
    message = rf"{lost} of {len(times)} events lie outside \[0, 40000\) us"
    with pytest.raises(ValueError, match=message):
        split_segments(from_rows(at(*times), (1, 1)), Clock(0, 20_000, 2))


def test_merging_refuses_pieces_that_overlap_and_nothing() -> None:
    a, b = (from_rows(at(*times), (1, 1)) for times in ((0, 10), (9, 20)))
    with pytest.raises(ValueError, match="must follow each other in time, got overlapping"):
        merge_segments([a, b])
    with pytest.raises(ValueError, match="got overlapping"):
        merge_segments([b, a[:1]])
    assert merge_segments([a, from_rows(at(10), (1, 1))]).t_us.tolist() == [0, 10, 10]
    with pytest.raises(ValueError, match="one or more of one sensor"):
        merge_segments([])
    with pytest.raises(ValueError, match="one sensor, got sensors"):
        merge_segments([a, from_rows(at(30), (1, 2))])


# Resolution


def grids(shape: tuple[int, ...], *, kind: torch.dtype = torch.float64) -> Tensor:
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(0)).to(kind)


def area(grid: list[list[float]], size: tuple[int, int], *, value: bool) -> list[list[float]]:
    """Weigh every old pixel by the part of it that a new one covers, in exact fractions."""
    height, width = len(grid), len(grid[0])

    def shared(old: int, new: int, of: int, to: int) -> Fraction:
        low, high = Fraction(new * of, to), Fraction((new + 1) * of, to)
        return max(Fraction(0), min(high, Fraction(old + 1)) - max(low, Fraction(old)))

    scale = Fraction(size[0] * size[1], height * width) if value else Fraction(1)
    return [
        [
            float(
                scale
                * sum(
                    shared(y, row, height, size[0])
                    * shared(x, column, width, size[1])
                    * Fraction(grid[y][x])
                    for y in range(height)
                    for x in range(width)
                )
            )
            for column in range(size[1])
        ]
        for row in range(size[0])
    ]


@given(old=st.tuples(sides, sides), more=st.tuples(st.integers(0, 9), st.integers(0, 9)))
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16])
def test_padding(old: tuple[int, int], more: tuple[int, int], kind: torch.dtype) -> None:
    grid = grids((2, 3, *old), kind=kind)
    size = (old[0] + more[0], old[1] + more[1])
    fitted = fit_resolution(grid, size)
    assert (fitted.shape, fitted.dtype) == ((2, 3, *size), kind)
    assert torch.equal(fitted[..., : old[0], : old[1]], grid)
    assert torch.equal(fitted.double().sum((-2, -1)), grid.double().sum((-2, -1)))
    assert int(fitted.count_nonzero()) == int(grid.count_nonzero())
    assert torch.equal(restore_resolution(fitted, old), grid)


@given(old=st.tuples(sides, sides), data=st.data())
def test_reflection(old: tuple[int, int], data: st.DataObject) -> None:
    size = tuple(data.draw(st.integers(n, 2 * n - 1)) for n in old)
    grid = grids((3, *old))
    fitted = fit_resolution(grid, (size[0], size[1]), mode="reflect")
    rows, columns = (
        [i if i < n else 2 * n - 2 - i for i in range(m)] for n, m in zip(old, size, strict=True)
    )
    assert torch.equal(fitted, grid[:, rows][:, :, columns])
    assert torch.equal(restore_resolution(fitted, old, mode="reflect"), grid)


@pytest.mark.parametrize("preserve", ["sum", "value"])
@given(old=st.tuples(sides, sides), size=st.tuples(sides, sides))
def test_interpolation_is_by_shared_area(
    preserve: str, old: tuple[int, int], size: tuple[int, int]
) -> None:
    grid = grids((2, *old))
    fitted = fit_resolution(grid, size, mode="interpolate", preserve=preserve)
    expected = [area(g, size, value=preserve == "value") for g in grid.tolist()]
    torch.testing.assert_close(fitted, torch.tensor(expected, dtype=torch.float64))
    if preserve == "sum":
        torch.testing.assert_close(fitted.sum((1, 2)), grid.sum((1, 2)))
    else:
        torch.testing.assert_close(fitted.mean((1, 2)), grid.mean((1, 2)))
        same = fit_resolution(torch.full_like(grid, 3), size, mode="interpolate", preserve="value")
        torch.testing.assert_close(same, torch.full((2, *size), 3.0, dtype=torch.float64))


@pytest.mark.parametrize("preserve", ["sum", "value"])
@given(old=st.tuples(sides, sides), more=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_interpolation_to_more_pixels_has_an_exact_inverse(
    preserve: str, old: tuple[int, int], more: tuple[int, int]
) -> None:
    grid = grids((2, *old))
    way = {"mode": "interpolate", "preserve": preserve}
    fitted = fit_resolution(grid, (old[0] + more[0], old[1] + more[1]), **way)
    torch.testing.assert_close(restore_resolution(fitted, old, **way), grid, rtol=0, atol=1e-9)


@pytest.mark.parametrize("preserve", ["sum", "value"])
@given(old=st.tuples(sides, sides), size=st.tuples(sides, sides))
def test_restoring_keeps_what_fitting_keeps(
    preserve: str, old: tuple[int, int], size: tuple[int, int]
) -> None:
    grid = grids((2, *old))
    way = {"mode": "interpolate", "preserve": preserve}
    restored = restore_resolution(fit_resolution(grid, size, **way), old, **way)
    torch.testing.assert_close(restored.sum((1, 2)), grid.sum((1, 2)))


@pytest.mark.parametrize(("preserve", "summed", "repeated"), [("sum", 1, 4), ("value", 4, 1)])
def test_whole_factors_sum_blocks_and_repeat(preserve: str, summed: int, repeated: int) -> None:
    way = {"mode": "interpolate", "preserve": preserve}
    grid = grids((4, 6))
    blocks = grid.reshape(2, 2, 3, 2).sum((1, 3))
    torch.testing.assert_close(fit_resolution(grid, (2, 3), **way), blocks / summed)
    larger = grid.repeat_interleave(2, 0).repeat_interleave(2, 1)
    torch.testing.assert_close(fit_resolution(grid, (8, 12), **way), larger / repeated)
    noisy = larger + grids((8, 12))
    means = noisy.reshape(4, 2, 6, 2).mean((1, 3)) * repeated
    torch.testing.assert_close(restore_resolution(noisy, (4, 6), **way), means)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["pad", "reflect", "interpolate"])
def test_sizes_of_real_sensors(mode: str, kind: torch.dtype) -> None:
    grid = grids((1, 2, 26, 35), kind=kind)
    fitted = fit_resolution(grid, (32, 48), mode=mode)
    restored = restore_resolution(fitted, (26, 35), mode=mode)
    assert (fitted.shape, fitted.dtype, restored.dtype) == ((1, 2, 32, 48), kind, kind)
    torch.testing.assert_close(restored, grid, rtol=0, atol=1e-4)
    alone = fit_resolution(grid[0, 1], (32, 48), mode=mode)
    torch.testing.assert_close(fitted[0, 1], alone)


@pytest.mark.parametrize("preserve", ["sum", "value"])
@pytest.mark.parametrize("mode", ["pad", "reflect", "interpolate"])
def test_resolutions_have_gradients(mode: str, preserve: str) -> None:
    grid = grids((2, 3, 4)).requires_grad_()
    way = {"mode": mode, "preserve": preserve}
    assert torch.autograd.gradcheck(lambda g: fit_resolution(g, (5, 6), **way), (grid,))
    assert torch.autograd.gradcheck(lambda g: restore_resolution(g, (2, 3), **way), (grid,))


@pytest.mark.parametrize("mode", ["pad", "reflect"])
@pytest.mark.parametrize("size", [(3, 9), (9, 3)])
def test_padding_never_crops(mode: str, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"size must hold the grid of \(4, 5\), {mode} .* got"):
        fit_resolution(torch.zeros(2, 4, 5), size, mode=mode)
    with pytest.raises(ValueError, match=r"must lie inside the padded grid of \(4, 5\), got"):
        restore_resolution(torch.zeros(2, 4, 5), (6, 5), mode=mode)
    with pytest.raises(ValueError, match=r"must lie inside the padded grid of \(4, 5\), got"):
        restore_resolution(torch.zeros(2, 4, 5), (4, 6), mode=mode)


@pytest.mark.parametrize("size", [(8, 5), (4, 10)])
def test_reflection_has_an_end(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="reflect reaching at most one pixel less"):
        fit_resolution(torch.zeros(2, 4, 5), size, mode="reflect")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("change", [fit_resolution, restore_resolution])
def test_unknown_options(change: object) -> None:
    assert callable(change)
    with pytest.raises(ValueError, match="mode must be one of 'pad', 'reflect', 'interpolate', go"):
        change(torch.zeros(2, 4, 5), (4, 5), mode="crop")
    with pytest.raises(ValueError, match="preserve must be one of 'sum', 'value', got 'mean'"):
        change(torch.zeros(2, 4, 5), (4, 5), preserve="mean")
    for size, name in (((0, 5), "height"), ((4, -1), "width")):
        with pytest.raises(ValueError, match=f"{name} must be above 0, got"):
            change(torch.zeros(2, 4, 5), size, mode="interpolate")
