import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import tests.reference.event_filters as oracle
from libimg.events import (
    Events,
    background_activity_filter,
    event_cloud,
    event_frame,
    hot_pixels,
    stcf,
    support_age,
    time_surface_filter,
    time_surface_score,
    voxel_picture,
)
from tests.reference.events import Row, from_rows, rows_of

Recording = tuple[list[Row], tuple[int, int]]
NEVER = 2**31 - 1
RED, BLUE, WHITE, BLACK = [214, 39, 40], [31, 80, 180], [255] * 3, [0] * 3
FILTERS = {
    "support_age": support_age,
    "background_activity_filter": background_activity_filter,
    "stcf": stcf,
    "time_surface_score": time_surface_score,
    "time_surface_filter": time_surface_filter,
}
radii, flags = st.integers(1, 3), st.booleans()


@st.composite
def streams(draw: st.DrawFn) -> Recording:
    """Draw rows on a crowded sensor in order of time; pauses of zero, and of 18 minutes."""
    sensor = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    pause = st.one_of(st.just(0), st.integers(0, 3000), st.just(2**30))
    pixel = st.tuples(st.integers(0, sensor[1] - 1), st.integers(0, sensor[0] - 1))
    step = st.tuples(pause, pixel, st.sampled_from((-1, 1)))
    now = draw(st.sampled_from((0, -500, 1_700_000_000_000_003)))
    rows: list[Row] = []
    for wait, (x, y), p in draw(st.lists(step, max_size=25)):
        now += wait
        rows.append((now, x, y, p))
    return rows, sensor


def dot(t: int, x: int, y: int, p: int = 1) -> Row:
    return (t, x, y, p)


@given(streams(), radii, st.data(), flags)
def test_support_age(recording: Recording, radius: int, data: st.DataObject, same: bool) -> None:
    events = from_rows(*recording)
    k = data.draw(st.integers(1, min(6, (2 * radius + 1) ** 2 - 1)))
    expected = oracle.support_age(rows_of(events), k=k, radius=radius, same_polarity=same)
    age = support_age(events, k=k, radius=radius, same_polarity=same)
    assert age.dtype == torch.int64
    assert age.tolist() == expected


@given(streams())
def test_support_age_of_one_neighbour(recording: Recording) -> None:
    events = from_rows(*recording)
    expected = oracle.support_age(rows_of(events), k=1, radius=1, same_polarity=False)
    assert support_age(events).tolist() == expected


def test_all_eight_neighbours_and_no_more_count() -> None:
    ring = [(x, y) for y in range(5) for x in range(5) if (x, y) != (2, 2)]
    for x, y in ring:
        events = from_rows([dot(0, x, y), dot(7, 2, 2)], (5, 5))
        near = max(abs(x - 2), abs(y - 2)) == 1
        assert support_age(events).tolist() == [NEVER, 7 if near else NEVER]
        assert support_age(events, radius=2).tolist() == [NEVER, 7]
    eight = [dot(i, x, y) for i, (x, y) in enumerate(ring) if max(abs(x - 2), abs(y - 2)) == 1]
    events = from_rows([*eight, dot(100, 2, 2)], (5, 5))
    assert [support_age(events, k=k)[-1] for k in (1, 8)] == [100 - eight[-1][0], 100 - eight[0][0]]


def test_rows_do_not_wrap() -> None:
    events = from_rows([dot(0, 4, 0), dot(1, 0, 1), dot(2, 4, 2), dot(3, 0, 0)], (3, 5))
    assert support_age(events).tolist() == [NEVER, NEVER, NEVER, 2]
    corners = from_rows([dot(0, 0, 0), dot(1, 4, 0), dot(2, 0, 4), dot(3, 4, 4)], (5, 5))
    assert support_age(corners, radius=3).tolist() == [NEVER] * 4


def test_a_pixel_does_not_support_itself() -> None:
    events = from_rows([dot(i, 1, 1) for i in range(5)], (3, 3))
    assert support_age(events).tolist() == [NEVER] * 5
    assert support_age(events, k=2, radius=2).tolist() == [NEVER] * 5
    assert time_surface_score(events).tolist() == [0.0] * 5


def test_events_of_one_time_support_those_after_them() -> None:
    events = from_rows([dot(5, 0, 0), dot(5, 1, 0), dot(5, 2, 0)], (1, 3))
    assert support_age(events).tolist() == [NEVER, 0, 0]
    assert time_surface_score(events).tolist() == [0.0, 1.0, 1.0]


def test_polarities() -> None:
    events = from_rows([dot(0, 0, 0, 1), dot(3, 1, 0, -1), dot(9, 0, 0, -1)], (1, 2))
    assert support_age(events).tolist() == [NEVER, 3, 6]
    assert support_age(events, same_polarity=True).tolist() == [NEVER, NEVER, 6]
    near, far = np.exp([-3 / 9, -6 / 9]).tolist()
    both = time_surface_score(events, decay_us=9, same_polarity=False).tolist()
    assert both == pytest.approx([0, near, far])
    assert time_surface_score(events, decay_us=9).tolist() == pytest.approx([0, 0, far])


@given(streams(), st.sampled_from((1, 1000, 2**31 - 2)), radii, st.integers(1, 4), flags)
def test_support_within_a_window_is_kept(
    recording: Recording, window: int, radius: int, k: int, same: bool
) -> None:
    events = from_rows(*recording)
    options = {"radius": radius, "same_polarity": same}
    for number, kept in (
        (1, background_activity_filter(events, window_us=window, **options)),
        (k, stcf(events, k=k, window_us=window, **options)),
    ):
        ages = oracle.support_age(rows_of(events), k=number, **options)
        assert kept.tolist() == [age <= window for age in ages]


def test_windows_include_their_end() -> None:
    for age, expected in ((2000, True), (2001, False)):
        events = from_rows([dot(0, 0, 0), dot(age, 1, 0)], (1, 2))
        assert background_activity_filter(events).tolist() == [False, expected]
    for age, expected in ((5000, True), (5001, False)):
        events = from_rows([dot(0, 0, 0), dot(0, 1, 1), dot(age, 1, 0)], (2, 2))
        assert stcf(events).tolist()[-1] is expected


@given(streams(), st.sampled_from((0.5, 700.0, 1e9)), radii, flags)
def test_time_surface_score(recording: Recording, decay: float, radius: int, same: bool) -> None:
    events = from_rows(*recording)
    expected = oracle.time_surface(
        rows_of(events), decay_us=decay, radius=radius, same_polarity=same
    )
    score = time_surface_score(events, decay_us=decay, radius=radius, same_polarity=same)
    assert score.dtype == torch.float32
    np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-6)


@given(streams(), st.sampled_from((0.01, 0.2, 0.6)), radii, flags)
def test_time_surface_filter(
    recording: Recording, threshold: float, radius: int, same: bool
) -> None:
    events = from_rows(*recording)
    options = {"decay_us": 1500.0, "radius": radius, "same_polarity": same}
    mean = np.array(oracle.time_surface(rows_of(events), **options)) / (4 * radius * (radius + 1))
    assume((abs(mean - threshold) > 1e-6).all())
    kept = time_surface_filter(events, threshold=threshold, **options)
    assert kept.tolist() == (mean > threshold).tolist()


def test_the_threshold_is_of_the_mean_over_the_neighbours() -> None:
    for radius in (1, 2):
        side, middle = 2 * radius + 1, (radius, radius)
        ring = [dot(0, x, y) for x in range(side) for y in range(side) if (x, y) != middle]
        events = from_rows([*ring, dot(0, *middle)], (side, side))
        for threshold, kept in ((0.99, True), (1.0, False)):
            result = time_surface_filter(events, threshold=threshold, radius=radius)
            assert result.tolist() == [False] * len(ring) + [kept]


@given(streams(), st.sampled_from((0.5, 1.0, 2.5)), st.integers(1, 4))
def test_hot_pixels(recording: Recording, factor: float, least: int) -> None:
    events = from_rows(*recording)
    expected = oracle.hot_pixels(rows_of(events), events.sensor, factor=factor, least=least)
    hot = hot_pixels(events, factor=factor, least=least)
    assert hot.shape == events.sensor
    assert hot.tolist() == expected.tolist()
    backwards = events[torch.arange(len(events)).flip(0)]
    assert hot_pixels(backwards, factor=factor, least=least).equal(hot)


def test_a_pair_of_hot_pixels_is_found_and_a_trio_is_not() -> None:
    for columns, hot in (([1], [1]), ([1, 2], [1, 2]), ([1, 2, 3], [1, 3])):
        rows = [dot(t, x, 2) for x in columns for t in range(20)]
        found = hot_pixels(from_rows(rows, (5, 6)))
        assert found.nonzero().tolist() == [[2, x] for x in hot]
    assert not hot_pixels(from_rows([dot(t, 1, 2) for t in range(19)], (5, 6))).any()


def test_hot_pixels_have_more_than_the_factor() -> None:
    around = [dot(0, 0, 0)] * 2 + [dot(0, 2, 0)] * 2
    for number, hot in ((20, False), (21, True)):
        events = from_rows(around + [dot(0, 1, 0)] * number, (1, 3))
        assert hot_pixels(events).tolist() == [[False, hot, False]]


@given(streams(), st.integers(-(2**40), 2**40))
def test_scores_do_not_see_the_clock(recording: Recording, offset: int) -> None:
    events = from_rows(*recording)
    moved = events.shift(offset)
    assert hot_pixels(moved, least=2, factor=1).equal(hot_pixels(events, least=2, factor=1))
    for function in FILTERS.values():
        assert function(moved).equal(function(events))


@given(streams(), st.integers(0, 4), st.integers(0, 4), radii)
def test_scores_do_not_see_the_place(
    recording: Recording, right: int, down: int, radius: int
) -> None:
    events = from_rows(*recording)
    rows = [(t, x + right, y + down, p) for t, x, y, p in rows_of(events)]
    moved = from_rows(rows, (events.sensor[0] + down + 1, events.sensor[1] + right + 1))
    for function in FILTERS.values():
        assert function(moved, radius=radius).equal(function(events, radius=radius))


@given(streams(), flags)
def test_scores_do_not_see_the_name_of_a_polarity_or_axis(recording: Recording, same: bool) -> None:
    events = from_rows(*recording)
    height, width = events.sensor
    swapped = from_rows([(t, x, y, -p) for t, x, y, p in rows_of(events)], events.sensor)
    turned = from_rows([(t, y, x, p) for t, x, y, p in rows_of(events)], (width, height))
    for name, function in FILTERS.items():
        result = function(events, same_polarity=same)
        assert function(swapped, same_polarity=same).equal(result)
        close = {"rtol": 1e-6, "atol": 1e-6} if name == "time_surface_score" else {}
        torch.testing.assert_close(function(turned, same_polarity=same), result, **close)


@given(streams(), st.integers(0, 25))
def test_scores_do_not_see_the_future(recording: Recording, number: int) -> None:
    events = from_rows(*recording)
    for function in FILTERS.values():
        assert function(events[:number]).equal(function(events)[:number])


def test_inputs_are_left_alone() -> None:
    events = from_rows([dot(10, 0, 0), dot(12, 1, 0, -1)], (2, 2))
    before = rows_of(events)
    for function in (*FILTERS.values(), hot_pixels):
        function(events)
    assert rows_of(events) == before


def test_no_support_however_long_the_window() -> None:
    alone = from_rows([dot(0, 0, 0), dot(5, 3, 3)], (4, 4))
    for window in (NEVER - 1, NEVER, 2**40):
        assert background_activity_filter(alone, window_us=window).tolist() == [False, False]
        assert stcf(alone, window_us=window).tolist() == [False, False]


def test_pauses_beyond_an_hour() -> None:
    events = from_rows([dot(-(2**40), 0, 0), dot(2**40, 1, 0), dot(2**40 + 5, 0, 0)], (1, 2))
    assert support_age(events)[2] == 5
    assert background_activity_filter(events).tolist() == [False, False, True]
    assert time_surface_filter(events, threshold=0.1).tolist() == [False, False, True]


@pytest.mark.parametrize("name", list(FILTERS))
def test_empty_and_single(name: str) -> None:
    kinds = {"support_age": torch.int64, "time_surface_score": torch.float32}
    empty = FILTERS[name](from_rows([], (3, 4)))
    assert empty.shape == (0,)
    assert empty.dtype == kinds.get(name, torch.bool)
    first = FILTERS[name](from_rows([dot(77, 0, 0)], (1, 1)))
    assert first.tolist() == [NEVER if name == "support_age" else 0]


def test_no_hot_pixels_in_an_empty_stream() -> None:
    assert not hot_pixels(from_rows([], (3, 4))).any()
    assert hot_pixels(from_rows([], (3, 4))).shape == (3, 4)


@pytest.mark.parametrize("function", [*FILTERS.values(), hot_pixels])
def test_pixels_beyond_the_sensor_are_refused(function: object) -> None:
    for x, y in ((3, 0), (0, 2)):
        with pytest.raises(ValueError, match=r"1 of 2 lie beyond the sensor \(2, 3\)"):
            function(from_rows([dot(0, 0, 0), dot(1, x, y)], (2, 3)))


@pytest.mark.parametrize("function", FILTERS.values())
def test_times_that_run_backwards_are_refused(function: object) -> None:
    with pytest.raises(ValueError, match="t_us runs backwards at event 1: 5 before 4"):
        function(from_rows([dot(5, 0, 0), dot(4, 1, 0)], (2, 3)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("support_age", ("k", "radius")),
        ("background_activity_filter", ("window_us", "radius")),
        ("stcf", ("window_us", "k", "radius")),
        ("time_surface_score", ("decay_us", "radius")),
        ("time_surface_filter", ("decay_us", "radius")),
    ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_options_that_are_not_positive_are_refused(
    name: str, options: tuple[str, ...], value: int
) -> None:
    for option in options:
        with pytest.raises(ValueError, match=f"{option} must be above 0, got {value}"):
            FILTERS[name](from_rows([], (2, 2)), **{option: value})


@pytest.mark.parametrize("option", ["factor", "least"])
def test_hot_pixels_refuses_options_that_are_not_positive(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be above 0"):
        hot_pixels(from_rows([], (2, 2)), **{option: 0})


@pytest.mark.parametrize(("k", "radius"), [(9, 1), (25, 2)])
def test_more_neighbours_than_there_are_is_refused(k: int, radius: int) -> None:
    events = from_rows([], (2, 2))
    for function in (support_age, stcf):
        with pytest.raises(ValueError, match=f"k must be at most {k - 1} for radius {radius}"):
            function(events, k=k, radius=radius)
        assert len(function(events, k=k - 1, radius=radius)) == 0


# pictures


@given(streams(), st.integers(1, 3), flags, st.data())
def test_event_frame(recording: Recording, full: int, dark: bool, data: st.DataObject) -> None:
    events = from_rows(*recording)
    first, last = events.span or (0, 0)
    start, stop = (data.draw(st.none() | st.integers(first - 5, last + 5)) for _ in range(2))
    sums = np.zeros(events.sensor)
    for t, x, y, p in rows_of(events):
        sums[y, x] += p * ((start is None or t >= start) and (stop is None or t < stop))
    ground = np.array(BLACK if dark else WHITE, float)
    colour = np.where(sums[..., None] > 0, RED, BLUE)
    share = np.minimum(abs(sums) / full, 1)[..., None]
    frame = event_frame(events, start_us=start, stop_us=stop, full=full, dark=dark)
    assert frame.dtype == torch.uint8
    assert abs(frame.numpy() - (ground + share * (colour - ground))).max() <= 0.5 + 1e-4


def test_event_frame_leaves_out_what_is_beyond() -> None:
    rows = [dot(3, 0, 0), dot(2, 2, 0), dot(1, 0, 1), dot(1, 1, 0, -1)]
    expected = [[RED, BLUE]]
    assert event_frame(from_rows(rows, (1, 2)), full=1).tolist() == expected
    assert event_frame(from_rows(rows, (1, 2)), full=1, start_us=1, stop_us=3).tolist() == [
        [WHITE, BLUE]
    ]


@pytest.mark.parametrize("dark", [False, True])
def test_pictures_of_nothing(dark: bool) -> None:
    ground = BLACK if dark else WHITE
    assert event_frame(from_rows([], (1, 2)), dark=dark).tolist() == [[ground, ground]]
    assert voxel_picture(torch.zeros(1, 1, 2), dark=dark).tolist() == [[ground, ground]]


def test_voxel_picture_lays_bins_side_by_side() -> None:
    grid = torch.tensor([[[1.0, -1.0]], [[0.0, 5.0]]])
    picture = voxel_picture(grid, full=1)
    assert picture.dtype == torch.uint8
    assert picture.tolist() == [[RED, BLUE, [128] * 3, WHITE, RED]]
    assert voxel_picture(grid, full=1, dark=True).tolist() == [[RED, BLUE, [128] * 3, BLACK, RED]]


def test_voxel_picture_fades_to_the_ground() -> None:
    grid = torch.tensor([[[0.5, -1.5, 2.0]]])
    assert voxel_picture(grid, dark=True).tolist() == [[[54, 10, 10], [23, 60, 135], RED]]
    assert voxel_picture(grid).tolist() == [[[245, 201, 201], [87, 124, 199], RED]]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_voxel_picture_of_counts_and_of_other_types(kind: torch.dtype) -> None:
    counts = torch.tensor([[[[3.0, 0.0, 1.0]]], [[[1.0, 2.0, 1.0]]]], dtype=kind)
    expected = voxel_picture((counts[0] - counts[1]).float())
    assert voxel_picture(counts).equal(expected)
    assert voxel_picture(counts.requires_grad_()).tolist() == [[RED, BLUE, WHITE]]


@pytest.mark.parametrize(("bins", "height", "width"), [(1, 1, 1), (3, 2, 5), (2, 4, 1)])
def test_voxel_picture_shape(bins: int, height: int, width: int) -> None:
    expected = (height, bins * (width + 1) - 1, 3)
    assert voxel_picture(torch.rand(bins, height, width)).shape == expected
    assert voxel_picture(torch.rand(2, bins, height, width)).shape == expected


@pytest.mark.parametrize("shape", [(1, 8, 4, 5), (3, 8, 4, 5), (1, 2, 8, 4, 5)])
def test_voxel_picture_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"voxels must be \(bins, h, w\) or \(2, bins, h, w\)"):
        voxel_picture(torch.zeros(shape))


def test_pictures_refuse_options_that_are_not_positive() -> None:
    events = from_rows([], (2, 2))
    with pytest.raises(ValueError, match="full must be above 0, got 0"):
        event_frame(events, full=0)
    with pytest.raises(ValueError, match="full must be above 0"):
        voxel_picture(torch.zeros(1, 2, 2), full=-1.0)
    with pytest.raises(ValueError, match="most must be above 0"):
        event_cloud(events, most=0)


def coloured(picture: torch.Tensor) -> tuple[int, int]:
    """Count the pixels that are rather red and rather blue."""
    surplus = picture[..., 0].int() - picture[..., 2].int()
    return int((surplus > 60).sum()), int((surplus < -60).sum())


def test_event_cloud_shows_both_polarities() -> None:
    x, y, t = (torch.arange(400) * k % n for k, n in ((7, 20), (3, 20), (1, 400)))
    pictures = [event_cloud(Events(t, x, y, p, sensor=(20, 20)))
                for p in ([1] * 400, [-1] * 400, [1, -1] * 200)]  # fmt: skip
    for picture in pictures:
        assert picture.shape == (720, 960, 3)
        assert picture.dtype == torch.uint8
    (on, no_off), (no_on, off), both = map(coloured, pictures)
    assert no_on == no_off == 0
    assert on > 100
    assert off > 100
    assert min(both) > 50


def test_event_cloud_of_few() -> None:
    assert coloured(event_cloud(from_rows([], (1, 1)))) == (0, 0)
    assert event_cloud(from_rows([dot(5, 0, 0)], (1, 1))).shape == (720, 960, 3)


def test_event_cloud_draws_at_most() -> None:
    rows = [dot(t, t % 20, t * 3 % 20, 1) for t in range(100)]
    events = from_rows(rows, (20, 20))
    thin = event_cloud(events, most=10)
    assert thin.equal(event_cloud(events[::10], most=10))
    assert event_cloud(events, most=100).equal(event_cloud(events))
    drawn = [event_cloud(events, most=10, generator=torch.Generator().manual_seed(s))
             for s in (1, 1, 2)]  # fmt: skip
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])
