from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from libimg.events import (
    Events,
    decode_voxels,
    encode_voxels,
    event_scores,
    transfer_labels,
)
from libimg.events.decode import LONGEST, bin_edges, decode_by_sort
from tests.reference.events import (
    decode,
    from_rows,
    rows_of,
    shares,
    stream,
    transfer,
    voxel,
    windows,
)

PLACEMENTS = ("even", "random", "centre")
WINDOW: Any = {"start_us": 1000, "duration_us": 60}

by_placement = pytest.mark.parametrize("placement", PLACEMENTS)
split = pytest.mark.parametrize("polarity", ["sum", "split"])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def span(window: dict[str, int]) -> dict[str, int]:
    return {name: window[name] for name in ("start_us", "duration_us")}


def grids(data: st.DataObject, bins: int, polarity: str, *, whole: bool = True) -> Tensor:
    """Draw a voxel grid of integers, or of fractions with many halves."""
    height, width = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    shape = (bins, height, width) if polarity == "sum" else (2, bins, height, width)
    size = int(np.prod(shape))
    low = -12 if polarity == "sum" else 0
    values = data.draw(st.lists(st.integers(low, 12), min_size=size, max_size=size))
    grid = torch.tensor(values, dtype=torch.float32).reshape(shape)
    return grid if whole else grid / 4


def keyed(events: Events, bins: int, window: dict[str, int]) -> Counter[Any]:
    """Count the events by bin, row, column and polarity."""
    return Counter(voxel(row, bins, *span(window).values()) for row in rows_of(events))


def place(grid: Tensor, window: dict[str, int], placement: Any, **options: Any) -> Events:
    generator = seeded() if placement == "random" else None
    return decode_voxels(grid, **span(window), placement=placement, generator=generator, **options)


@split
@by_placement
@given(data=st.data(), window=windows(per_bin=True))
def test_encoding_again_gives_the_grid(
    placement: Any, polarity: Any, data: st.DataObject, window: dict[str, int]
) -> None:
    grid = grids(data, window["bins"], polarity)
    before = grid.clone()
    events = place(grid, window, placement)
    again = encode_voxels(events, **window, polarity=polarity, outside="raise")
    assert torch.equal(again, grid)
    assert torch.equal(grid, before)
    assert events.sensor == tuple(grid.shape[-2:])
    assert events.validate() is events
    assert len(events) == int(grid.abs().sum())


@split
@given(data=st.data(), window=windows(per_bin=True))
def test_encoding_again_gives_the_rounded_grid(
    polarity: Any, data: st.DataObject, window: dict[str, int]
) -> None:
    grid = grids(data, window["bins"], polarity, whole=False)
    events = place(grid, window, "even")
    assert torch.equal(encode_voxels(events, **window, polarity=polarity), grid.round())


@by_placement
@given(data=st.data(), window=windows(per_bin=True))
def test_split_grids_keep_every_count(
    placement: Any, data: st.DataObject, window: dict[str, int]
) -> None:
    events = stream(data, window)
    grid = encode_voxels(events, **window, polarity="split")
    decoded = place(grid, window, placement)
    assert keyed(decoded, window["bins"], window) == keyed(events, window["bins"], window)


@split
@pytest.mark.parametrize("placement", ["even", "centre"])
@given(data=st.data(), window=windows(per_bin=True))
def test_decoded_events_are_those_of_the_definition(
    placement: Any, polarity: str, data: st.DataObject, window: dict[str, int]
) -> None:
    grid = grids(data, window["bins"], polarity)
    expected = decode(grid.numpy(), *span(window).values(), centre=placement == "centre")
    assert rows_of(place(grid, window, placement)) == expected


@split
@by_placement
@given(data=st.data(), window=windows(per_bin=True))
def test_all_paths_decode_alike(
    placement: Any, polarity: str, data: st.DataObject, window: dict[str, int]
) -> None:
    grid = grids(data, window["bins"], polarity)
    counts = grid.unsqueeze(1) if polarity == "sum" else grid.transpose(0, 1)
    edges = bin_edges(window["bins"], **span(window))
    generator = seeded() if placement == "random" else None
    expected = rows_of(decode_by_sort(counts, edges, placement, generator))
    for kind in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        assert rows_of(place(grid.to(kind), window, placement)) == expected
    strided = grid.flip(-1).transpose(-1, -2).contiguous().transpose(-1, -2).flip(-1)
    assert rows_of(place(strided.requires_grad_(), window, placement)) == expected


@by_placement
def test_events_lie_in_their_bin_in_order_of_time(placement: Any) -> None:
    """Bins of unequal length: 61 microseconds in 4 bins are 16, 15, 15 and 15."""
    grid = torch.randint(-6, 7, (4, 5, 6), generator=seeded(3)).float()
    window = {"start_us": -(2**60), "duration_us": 61}
    events = place(grid, window, placement)
    assert events.is_sorted()
    edges = bin_edges(4, **window)
    assert [edge + 2**60 for edge in edges] == [0, 16, 31, 46, 61]
    for b, n in enumerate(grid.abs().sum((1, 2)).tolist()):
        assert len(events.between(edges[b], edges[b + 1])) == n


def test_where_each_placement_puts_its_events() -> None:
    grid = torch.tensor([4.0, -1.0]).reshape(2, 1, 1)
    window = {"start_us": 2**60 + 1, "duration_us": 80}
    since = [t - 2**60 - 1 for t in place(grid, window, "even").t_us.tolist()]
    assert since == [5, 15, 25, 35, 60]
    since = [t - 2**60 - 1 for t in place(grid, window, "centre").t_us.tolist()]
    assert since == [20, 20, 20, 20, 60]


@split
def test_only_random_is_random(polarity: str) -> None:
    shape = (3, 4, 5) if polarity == "sum" else (2, 3, 4, 5)
    grid = torch.randint(0, 9, shape, generator=seeded(1)).float()
    first, other = (
        rows_of(decode_voxels(grid, **WINDOW, placement="random", generator=seeded(seed)))
        for seed in (0, 1)
    )
    assert first == rows_of(place(grid, WINDOW, "random"))
    assert first != other
    generator = seeded()
    decode_voxels(grid, **WINDOW, placement="random", generator=generator)
    following = decode_voxels(grid, **WINDOW, placement="random", generator=generator)
    assert rows_of(following) != first
    for placement in ("even", "centre"):
        untouched = seeded()
        options: Any = {"placement": placement, "generator": untouched}
        expected = rows_of(place(grid, WINDOW, placement))
        assert rows_of(decode_voxels(grid, **WINDOW, **options)) == expected
        assert torch.equal(untouched.get_state(), seeded().get_state())


def test_random_is_uniform_in_the_bin() -> None:
    grid = torch.tensor([4000.0, 0.0, 8000.0]).reshape(3, 1, 1)
    events = place(grid, {"start_us": 100, "duration_us": 12}, "random")
    counts = torch.bincount(events.t_us - 100, minlength=12).tolist()
    assert counts[4:8] == [0] * 4
    assert all(abs(n - 1000) < 150 for n in counts[:4])  # 5 standard deviations
    assert all(abs(n - 2000) < 200 for n in counts[8:])


@split
def test_nothing_is_decoded_from_zeros(polarity: str) -> None:
    grid = torch.zeros((3, 2, 2) if polarity == "sum" else (2, 3, 2, 2))
    for placement in PLACEMENTS:
        assert len(place(grid + 0.4, WINDOW, placement)) == 0
    assert len(transfer_labels(Events([], [], [], [], sensor=(2, 2)), grid, **WINDOW)) == 0
    assert len(event_scores(Events([], [], [], [], sensor=(2, 2)), grid, **WINDOW)) == 0


def test_long_windows_need_no_long_memory() -> None:
    """Beyond ``LONGEST`` the events are sorted, not the microseconds counted."""
    grid = torch.tensor([[3.0, -1.0], [0.0, 2.0]]).reshape(2, 1, 2)
    for duration in (2 * LONGEST, 2 * LONGEST + 1, 2**40):
        events = decode_voxels(grid, start_us=5, duration_us=duration)
        assert rows_of(events) == decode(grid.numpy(), 5, duration)


@split
@given(data=st.data(), window=windows(per_bin=True), whole=st.booleans())
def test_transfer_and_scores_are_those_of_the_definition(
    polarity: str, data: st.DataObject, window: dict[str, int], whole: bool
) -> None:
    events = stream(data, window, ordered=data.draw(st.booleans()))
    grid = grids(data, window["bins"], polarity, whole=whole)
    events = from_rows(
        [(t, x % grid.shape[-1], y % grid.shape[-2], p) for t, x, y, p in rows_of(events)],
        (grid.shape[-2], grid.shape[-1]),
    )
    arguments = rows_of(events), grid.numpy(), *span(window).values()
    kept = transfer_labels(events, grid, **span(window))
    assert kept.tolist() == transfer(*arguments)
    scores = event_scores(events, grid, **span(window))
    assert scores.dtype == torch.float32
    assert scores.tolist() == pytest.approx([float(s) for s in shares(*arguments)], rel=1e-6)
    assert set(rows_of(events[kept])) <= set(rows_of(events))  # real times survive


@given(data=st.data(), window=windows(per_bin=True))
def test_transfer_keeps_as_many_as_the_grid_says(
    data: st.DataObject, window: dict[str, int]
) -> None:
    """With fewer, as many as there are; with its own grid, every event."""
    events = stream(data, window)
    bins = window["bins"]
    own = encode_voxels(events, **window, polarity="split")
    assert transfer_labels(events, own, **span(window)).all()
    assert (event_scores(events, own, **span(window)) == 1).all()
    wanted = torch.randint(0, 5, own.shape, generator=seeded()).float()
    kept = events[transfer_labels(events, wanted, **span(window))]
    assert torch.equal(encode_voxels(kept, **window, polarity="split"), torch.minimum(own, wanted))
    assert keyed(kept, bins, window) <= keyed(events, bins, window)
    none = transfer_labels(events, torch.zeros_like(own), **span(window))
    assert not none.any()


def test_transfer_of_signed_sums_keeps_one_sign() -> None:
    events = Events([0, 1, 2, 3, 4], [0] * 5, [0] * 5, [1, -1, 1, -1, 1], sensor=(1, 1))
    window = {"start_us": 0, "duration_us": 10}
    for value, expected in ((2, [0, 2, 4]), (-1, [1, 3]), (9, [0, 2, 4]), (0, [])):
        mask = transfer_labels(events, torch.full((1, 1, 1), float(value)), **window)
        signs = set(events.p[mask].tolist())
        assert int(mask.sum()) == min(abs(value), len(expected))
        assert set(events.t_us[mask].tolist()) <= set(expected)
        assert len(signs) <= 1


@pytest.mark.parametrize("value", [0.5, 1.5, 2.5, 7.5, 16.49, 1e7, 1e30])
@pytest.mark.parametrize("n", [17, 23, 29, 39, 74])
def test_transfer_rounds_as_the_decoder_does(value: float, n: int) -> None:
    """Halves go to the even number whatever the count of events; large values keep them all."""
    events = Events(list(range(n)), [0] * n, [0] * n, [-1] * n, sensor=(1, 1))
    mask = transfer_labels(events, torch.full((1, 1, 1), -value), start_us=0, duration_us=n)
    assert int(mask.sum()) == min(round(value), n)


def test_transfer_keeps_evenly_and_always_the_same() -> None:
    n = 100
    events = Events(list(range(n)), [0] * n, [0] * n, [1] * n, sensor=(1, 1))
    grid = torch.full((1, 1, 1), 25.0)
    mask = transfer_labels(events, grid, start_us=0, duration_us=n)
    assert events.t_us[mask].diff().tolist() == [4] * 24
    assert torch.equal(mask, transfer_labels(events, grid, start_us=0, duration_us=n))


def test_transfer_near_two_to_the_sixtieth_and_on_a_smaller_grid() -> None:
    start = 2**60 + 1
    events = Events([start, start + 1, start + 3], [0] * 3, [1, 0, 0], [1, 1, 1], sensor=(9, 9))
    grid = torch.zeros(2, 2, 1)
    grid[0, 0, 0] = 1
    mask = transfer_labels(events, grid, start_us=start, duration_us=4)
    assert mask.tolist() == [False, True, False]
    scores = event_scores(events, grid.double(), start_us=start, duration_us=4)
    assert scores.tolist() == [0, 1, 0]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])  # both paths
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voxels": torch.zeros(2, 2)}, r"voxels must be .*, got shape \(2, 2\)"),
        ({"voxels": torch.zeros(3, 1, 2, 2)}, r"got shape \(3, 1, 2, 2\)"),
        ({"voxels": torch.zeros(1, 2, 1, 2, 2)}, r"got shape \(1, 2, 1, 2, 2\)"),
        ({"voxels": torch.zeros(0, 2, 2)}, "bins must be above 0, got 0"),
        ({"duration_us": 0}, "duration_us must be above 0, got 0"),
        ({"duration_us": 2}, "at least one microsecond a bin, got 2 for 3"),
        ({"placement": "late"}, "placement must be one of 'even', 'random', 'centre', got 'late'"),
        ({"placement": "random"}, "generator is needed for placement='random', got None"),
        ({"voxels": torch.tensor([[[float("nan"), 0]]])}, "1 values are no counts.* finite"),
        ({"voxels": torch.tensor([[[float("inf"), -torch.inf]]])}, "2 values are no counts"),
        ({"voxels": torch.full((1, 1, 1), 2.0**24)}, r"1 values are no counts.* 2\^24$"),
        ({"voxels": -torch.ones(2, 2, 1, 1)}, r"4 values are no counts.* and not negative"),
    ],
)
def test_decoding_refuses(change: dict[str, Any], message: str, kind: torch.dtype) -> None:
    arguments = {"voxels": torch.zeros(3, 2, 2), "start_us": 0, "duration_us": 9, **change}
    arguments["voxels"] = arguments["voxels"].to(kind)
    with pytest.raises(ValueError, match=message):
        decode_voxels(**arguments)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [transfer_labels, event_scores])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_us": 1}, r"events: 1 of 2 lie outside \[1, 10\) us or beyond the grid \(2, 2\)"),
        ({"duration_us": 8}, r"events: 1 of 2 lie outside \[0, 8\) us"),
        ({"voxels": torch.zeros(3, 2, 1)}, r"events: 1 of 2 .* beyond the grid \(2, 1\)"),
        ({"voxels": torch.zeros(3, 1, 2)}, r"events: 1 of 2 .* beyond the grid \(1, 2\)"),
        ({"voxels": torch.zeros(2, 2)}, r"voxels must be .*, got shape \(2, 2\)"),
        ({"voxels": torch.zeros(4, 3, 2, 2)}, r"got shape \(4, 3, 2, 2\)"),
        ({"voxels": torch.zeros(10, 2, 2)}, "at least one microsecond a bin, got 9 for 10"),
        ({"voxels": torch.zeros(0, 2, 2)}, "bins must be above 0, got 0"),
        ({"duration_us": -1}, "duration_us must be above 0, got -1"),
        ({"voxels": torch.full((3, 2, 2), torch.nan)}, "voxels must be finite, got 12 values"),
        ({"voxels": torch.full((2, 3, 2, 2), -torch.inf)}, "must be finite, got 24 values"),
    ],
)
def test_transfer_and_scores_refuse(function: Any, change: dict[str, Any], message: str) -> None:
    events = Events([0, 8], [0, 1], [1, 0], [1, -1], sensor=(2, 2))
    arguments = {"voxels": torch.zeros(3, 2, 2), "start_us": 0, "duration_us": 9, **change}
    with pytest.raises(ValueError, match=message):
        function(events, **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
@split
def test_an_accelerator_decodes_as_the_cpu_does(polarity: str) -> None:
    shape = (4, 5, 6) if polarity == "sum" else (2, 4, 5, 6)
    low = -9 if polarity == "sum" else 0
    grid = torch.randint(low, 10, shape, generator=seeded(2)).float() / 2
    for placement in PLACEMENTS:
        events = place(grid, WINDOW, placement)
        there = place(grid.cuda(), WINDOW, placement)
        assert there.t_us.is_cuda
        assert rows_of(there.to("cpu")) == rows_of(events)
    other = grid.flip(-1)
    device = events.to("cuda"), other.cuda()
    mask = transfer_labels(events, other, **WINDOW)
    assert torch.equal(transfer_labels(*device, **WINDOW).cpu(), mask)
    scores = event_scores(*device, **WINDOW).cpu()
    torch.testing.assert_close(scores, event_scores(events, other, **WINDOW))
