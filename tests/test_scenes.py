"""Event scenes: the pixel's thresholds, what is drawn, noise rates, flare, labels, determinism."""

import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg._ops.scene_kernels import paint
from libimg.phantoms.camera import (
    EventLabel,
    LabelledEvents,
    contrast_events,
    pack,
    settle,
    unpack,
)
from libimg.phantoms.flare import Flare, Ghost, draw_flare, flicker, stray_light
from libimg.phantoms.scenery import Body, Scene, sample_scene
from libimg.phantoms.scenes import render_scene, scene

SIZE = (32, 48)
NOISE = (EventLabel.LEAK, EventLabel.SHOT, EventLabel.HOT)


def make(seed=0, **options) -> Scene:
    generator = torch.Generator().manual_seed(seed)
    return sample_scene(**{"sensor": SIZE, "generator": generator, **options})


def film(case: Scene, seed=0, **options) -> LabelledEvents:
    return render_scene(case, generator=torch.Generator().manual_seed(seed), **options)


def still(**options) -> Scene:
    """No light that changes, no refractory period, no noise unless asked for."""
    quiet = {"leak_hz": 0, "shot_hz": 0, "hot_fraction": 0, "flares": 0, **options}
    return replace(make(**quiet), bodies=(), refractory_us=0)


def rows(found: LabelledEvents) -> list[tuple[int, ...]]:
    events, label = found
    columns = (events.t_us, events.y.int(), events.x.int(), events.p, label)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def body(**values) -> Body:
    plain = dict.fromkeys(Body.__dataclass_fields__, 0.0)
    return Body(**{**plain, "corners": 0, "radius": 1.0, "stretch": 1.0, "level": 1.0, **values})


def picture(*bodies: Body, size=(64, 80), times=(0,)) -> np.ndarray:
    frames = np.zeros((len(times), *size), np.float32)
    table = np.array([astuple(b) for b in bodies], np.float64)
    texture = np.zeros((8, 8), np.float32)
    paint(table, texture, np.array(times, np.int64), frames)
    return frames


# The pixel


@given(st.floats(0.05, 0.5), st.floats(-4, 4), st.integers(1, 5))
def test_a_ramp_crosses_where_the_formula_says(threshold, height, n):
    total = 100_000 * n
    light = torch.linspace(0, height, n + 1, dtype=torch.float64).view(-1, 1, 1)
    events = contrast_events(light, step_us=100_000, on=threshold, off=threshold)
    due = [k * threshold / abs(height) * total for k in range(1, int(abs(height) / threshold) + 1)]
    due = [t for t in due if t < total - 1]
    assert len(due) <= len(events) <= len(due) + 1
    late = 1 + 4e-7 * total  # whole microseconds, and light in float32
    assert all(abs(t - d) < late for t, d in zip(events.t_us.tolist(), due, strict=False))
    assert (events.p == (1 if height > 0 else -1)).all()


def oracle(light: np.ndarray, step: int, on: float, off: float, refractory: int):
    """One pixel, microsecond by microsecond."""
    knots = np.arange(len(light)) * step
    stop = (len(light) - 1) * step

    def at(t: int) -> float:
        return float(np.interp(t, knots, light))

    level, wake, found = at(0), 0, []
    for t in range(stop):
        if t == wake and t > 0:
            level = at(t)
        while t >= wake:
            p = int(at(t + 1) >= level + on) - int(at(t + 1) <= level - off)
            if p == 0:
                break
            found.append((t, p))
            level += on if p > 0 else -off
            if refractory:
                wake = t + refractory
    return found


@given(st.integers(0, 10_000), st.sampled_from([0, 1, 7, 60, 400]))
def test_every_event_agrees_with_a_walk_through_the_microseconds(seed, refractory):
    rng = np.random.default_rng(seed)
    light = rng.normal(0, 1, (6, 1, 3)).astype(np.float32)
    events = contrast_events(
        torch.from_numpy(light), step_us=100, on=0.31, off=0.23, refractory_us=refractory
    )
    on, off = (float(np.float32(v)) for v in (0.31, 0.23))
    for x in range(3):
        mine = events[events.x.int() == x]
        want = oracle(light[:, 0, x].astype(np.float64), 100, on, off, refractory)
        assert list(zip(mine.t_us.tolist(), mine.p.tolist(), strict=True)) == want
    assert events.is_sorted()


@given(st.integers(0, 10_000), st.sampled_from([0, 50]))
def test_reversed_contrast_gives_the_opposite_polarity(seed, refractory):
    light = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(seed))
    one, other = (
        contrast_events(v, step_us=200, refractory_us=refractory) for v in (light, -light)
    )
    assert len(one) > 0
    order = [
        np.lexsort((e.p.numpy() * s, e.x.int(), e.y.int(), e.t_us))
        for e, s in ((one, 1), (other, -1))
    ]
    one, other = (e[torch.from_numpy(o)] for e, o in zip((one, other), order, strict=True))
    assert one.t_us.equal(other.t_us)
    assert one.p.equal(-other.p)


def test_each_pixel_has_its_own_threshold():
    light = torch.linspace(0, 1, 2).view(2, 1, 1).expand(2, 2, 2)
    on = torch.tensor([[0.4, 0.3], [2.0, 0.15]])
    events = contrast_events(light, step_us=1000, on=on)
    index = events.y.long() * 2 + events.x.long()
    assert torch.bincount(index, minlength=4).tolist() == [2, 3, 0, 6]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on": 0.0}, "on must be above 0"),
        ({"off": torch.tensor([[0.1, -1.0]])}, "off must be above 0"),
        ({"step_us": 0}, "step_us must be above 0"),
        ({"refractory_us": -1}, "refractory_us must be 0 or more"),
    ],
)
def test_the_pixel_refuses(options, said):
    with pytest.raises(ValueError, match=said):
        contrast_events(torch.zeros(3, 1, 2), **{"step_us": 10, **options})


def test_no_picture_is_refused():
    with pytest.raises(ValueError, match="pictures must be above 0"):
        contrast_events(torch.zeros(0, 1, 2), step_us=10)


def test_codes_sort_by_time_pixel_polarity_and_come_back():
    g = torch.Generator().manual_seed(0)
    t, pixel = (torch.randint(n, (400,), generator=g) for n in (9, 6))
    p = (torch.randint(2, (400,), generator=g) * 2 - 1).to(torch.int8)
    codes = pack(t, pixel, p, label=EventLabel.HOT, count=6).sort().values
    found = rows(unpack(codes, sensor=(2, 3), stop_us=8))
    given = zip(t.tolist(), (pixel // 3).tolist(), (pixel % 3).tolist(), p.tolist(), strict=True)
    assert found == sorted((*row, 3) for row in given if row[0] < 8)


@given(st.integers(0, 10_000), st.sampled_from([0, 1, 5]))
def test_what_comes_while_a_pixel_is_blind_goes_and_the_signal_stays(seed, refractory):
    g = torch.Generator().manual_seed(seed)
    parts = []
    for label, step in ((EventLabel.SIGNAL, 13), (EventLabel.SHOT, 3), (EventLabel.FLARE, 4)):
        t = torch.arange(0, 100, step) + torch.randint(3, (1,), generator=g)
        pixel = torch.randint(2, (len(t),), generator=g)
        parts.append(pack(t, pixel, torch.ones(len(t), dtype=torch.int8), label=label, count=2))
    codes = torch.cat(parts).sort().values
    events = [(c // 32, c // 16 % 2, c % 8) for c in codes.tolist()]
    kept: list[int] = []
    for i, (t, pixel, label) in enumerate(events):
        rivals = [e[0] for e in events if e[1] == pixel and e[2] == 0]
        rivals += [events[k][0] for k in kept if events[k][1] == pixel]
        if label == 0 or all(abs(t - r) >= refractory for r in rivals):
            kept.append(i)
    assert settle(codes, count=2, refractory_us=refractory).tolist() == codes[kept].tolist()


# What is drawn


@pytest.mark.parametrize(
    ("corners", "stretch"), [(0, 1.0), (3, 1.0), (4, 1.0), (4, 2.0), (5, 1.0), (6, 1.0)]
)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_bodies_have_the_area_of_their_shape(corners, stretch, angle):
    shape = {"corners": corners, "radius": 9.0, "stretch": stretch, "angle": angle}
    found = picture(body(y=31.3, x=40.2, **shape)).sum()
    area = math.pi if corners == 0 else corners * math.tan(math.pi / corners) * stretch
    assert found == pytest.approx(area * 81, rel=0.02)


def test_bodies_move_turn_and_come_back():
    bar = body(corners=4, radius=3.0, stretch=2.0, y=30.0, x=20.0, vy=-5000.0, vx=8000.0)
    first, then = picture(bar, times=(0, 2000))
    assert np.allclose(then, np.roll(first, (-10, 16), (0, 1)), atol=1e-5)
    turned = picture(replace(bar, vy=0.0, vx=0.0, spin=math.pi / 2 * 1000), times=(0, 1000))
    assert turned[0].any(0).sum() == turned[1].any(1).sum() > turned[1].any(0).sum()
    round_trip = (64 + 2 * 10) / 5000 * 1e6  # the height and twice 1 + 1.5 × 3 × 2 pixels
    again = picture(replace(bar, vx=0.0), times=(0, int(round_trip)))
    assert np.allclose(again[0], again[1], atol=1e-5)


def test_nearer_bodies_hide_farther_ones_and_the_background_has_no_edge():
    back, front = body(corners=-1, level=-0.5), body(radius=5.0, y=10.0, x=10.0, level=2.0)
    seen = picture(back, front)[0]
    assert seen[10, 10] == 2
    assert seen[40, 60] == -0.5
    assert seen.min() == -0.5


def test_texture_moves_with_the_background():
    case = make(objects=0)
    pan = replace(case.bodies[0], vy=0.0, vx=-1000.0, angle=0.0, spin=0.0, grain=1.0)
    frames = np.zeros((2, *SIZE), np.float32)
    table = np.array([astuple(pan)])
    paint(table, case.texture.numpy(), np.array([0, 5000]), frames)
    assert np.allclose(frames[1][:, :-5], frames[0][:, 5:], atol=1e-4)
    assert frames[0].std() > 0.05


def test_parameters_are_in_their_ranges():
    case = make(3, sensor=(90, 120), objects=12, hot_fraction=0.01)
    speeds = [math.hypot(b.vy, b.vx) for b in case.bodies[1:]]
    assert len(speeds) == 12
    assert 100 <= min(speeds) < max(speeds) <= 1500
    assert len(case.hot_pixel) == len(case.hot_pixel.unique()) == 108
    assert 300 <= case.refractory_us <= 1000
    for threshold in (case.on, case.off):
        assert float(threshold.std() / threshold.mean()) == pytest.approx(0.03, rel=0.05)
    assert case.texture.mean().abs() < 1e-5
    assert float(case.texture.std()) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sensor": (7, 48)}, "sensor must be .* 8 to 65536"),
        ({"sensor": (32, 70_000)}, "sensor must be"),
        ({"duration_us": 0}, "duration_us must be above 0"),
        ({"objects": -1}, "objects must be 0 or more"),
        ({"flares": -1}, "flares must be 0 or more"),
        ({"threshold": 0.0}, "threshold must be above 0"),
        ({"leak_hz": -0.1}, "leak_hz must be 0 or more"),
        ({"shot_hz": float("nan")}, "shot_hz must be 0 or more"),
        ({"hot_fraction": 1.5}, "hot_fraction must be 0 or more, at most 1"),
    ],
)
def test_sampling_refuses(options, said):
    with pytest.raises(ValueError, match=said):
        make(**options)


# Scenes


@pytest.mark.parametrize(("seed", "duration"), [(0, 50_000), (1, 33_333), (2, 1)])
def test_streams_are_sorted_inside_and_labelled(seed, duration):
    case = make(seed, duration_us=duration, hot_fraction=0.01)
    events, label = film(case)
    events.validate()
    assert events.sensor == SIZE
    assert len(events) == len(label)
    assert label.dtype == torch.uint8
    if duration > 1:
        assert label.unique().tolist() == [int(kind) for kind in EventLabel]
        assert events.t_us.min() >= 0
        assert duration * 0.99 < events.t_us.max() < duration
        assert set(events.p.tolist()) == {-1, 1}


def test_the_same_seed_gives_the_same_scene():
    one, same, other = (
        rows(scene(sensor=SIZE, generator=torch.Generator().manual_seed(s))) for s in (4, 4, 5)
    )
    assert one == same != other


@pytest.mark.parametrize("seed", [0, 1])
def test_no_pixel_fires_while_it_is_blind(seed):
    case = make(seed, hot_fraction=0.02, shot_hz=200.0)
    events, label = film(case)
    pixel = events.y.long() * SIZE[1] + events.x.long()
    order = torch.argsort(pixel, stable=True)
    gap = events.t_us[order].diff()[pixel[order].diff() == 0]
    assert gap.min() >= case.refractory_us
    assert gap.min() < case.refractory_us + 20
    assert len(label) > 1000


def test_nothing_moves_so_nothing_fires():
    case = make(leak_hz=0, shot_hz=0, hot_fraction=0, flares=0)
    frozen = tuple(replace(b, vy=0.0, vx=0.0, spin=0.0) for b in case.bodies)
    assert len(film(replace(case, bodies=frozen)).events) == 0
    assert len(film(case).events) > 500


def test_causes_can_be_left_out_and_the_rest_stays():
    case = make(6, hot_fraction=0.01)
    whole = rows(film(case))
    assert rows(film(case, flare=False)) == [e for e in whole if e[-1] != EventLabel.FLARE]
    assert rows(film(case, noise=False)) == [e for e in whole if e[-1] not in NOISE]
    truth = [e for e in whole if e[-1] == EventLabel.SIGNAL]
    assert rows(film(case, flare=False, noise=False)) == truth
    quiet = replace(
        case,
        flares=(),
        shot_hz=0.0,
        leak_hz=torch.zeros(SIZE),
        hot_pixel=case.hot_pixel[:0],
        hot_hz=case.hot_hz[:0],
        hot_p=case.hot_p[:0],
    )
    assert rows(film(quiet, seed=9)) == truth


def test_blocks_of_pictures_leave_no_trace():
    case = replace(make(2, flares=0, leak_hz=0, shot_hz=0, hot_fraction=0), refractory_us=500)
    long = rows(film(case))
    short = rows(film(replace(case, duration_us=21_000)))
    assert short == [e for e in long if e[0] < 21_000]


# Noise


def within(found: int, expected: float) -> bool:
    return abs(found - expected) <= 5 * math.sqrt(expected)


@pytest.mark.parametrize("level", [0.0, -1.0, 1.5, -9.0])
def test_shot_noise_has_its_rate_and_more_in_the_dark(level):
    case = replace(still(shot_hz=20.0), bodies=(body(corners=-1, level=level),))
    events, label = film(case)
    assert (label == EventLabel.SHOT).all()
    expected = 20 * 0.1 * 32 * 48 * min(math.exp(-level / 2), 4)
    assert within(len(events), expected)
    assert within(int((events.p > 0).sum()), expected / 2)
    assert within(int((events.y.int() < 16).sum()), expected / 2)
    assert within(int((events.t_us < 50_000).sum()), expected / 2)


def test_leak_makes_on_events_at_its_rate():
    events, label = film(still(leak_hz=4.0, duration_us=1_000_000))
    assert (label == EventLabel.LEAK).all()
    assert (events.p == 1).all()
    assert within(len(events), 4 * 32 * 48)
    assert within(int((events.t_us < 300_000).sum()), 1.2 * 32 * 48)


def test_hot_pixels_fire_regularly_at_their_rate():
    case = still(hot_fraction=0.02, duration_us=200_000)
    events, label = film(case)
    assert (label == EventLabel.HOT).all()
    assert within(len(events), float(case.hot_hz.sum()) * 0.2)
    pixel = events.y.long() * SIZE[1] + events.x.long()
    assert sorted(pixel.unique().tolist()) == sorted(case.hot_pixel.tolist())
    for at, hz, p in zip(case.hot_pixel, case.hot_hz, case.hot_p, strict=True):
        mine = events[pixel == at]
        assert (mine.p == p).all()
        assert abs(len(mine) - float(hz) * 0.2) < 2.5
        assert float(mine.t_us.sort().values.diff().double().std()) * 1e-6 * hz < 0.3


# Flare


def lamp(**values) -> Flare:
    plain = replace(draw_flare(SIZE, generator=torch.Generator().manual_seed(1)), vy=0.0, vx=0.0)
    return replace(plain, **{"hz": 100.0, "duty": 0.0, "phase": 0.0, **values})


def test_flare_brightens_and_darkens_with_the_lamp():
    case = replace(still(duration_us=60_000), flares=(lamp(halo=(1.5, 12.0), phase=0.3),))
    events, label = film(case)
    assert (label == EventLabel.FLARE).all()
    assert len(events) > 2000
    turn = (events.t_us * 100e-6 + 0.3) % 1
    assert (turn[events.p > 0] < 0.5 + 1e-2).all()
    assert (turn[events.p < 0] > 0.5 - 1e-2).all()
    assert (events.p > 0).float().mean() == pytest.approx(0.5, abs=0.1)


def test_a_lamp_that_moves_takes_its_flare_along():
    flare = lamp(y=16.0, x=8.0, vx=600.0, hz=500.0, ghosts=(), halo=(3.0, 3.0), streak=(0, 1, 1, 0))
    events, _ = film(replace(still(duration_us=50_000), flares=(flare,)))
    early, late = events.between(0, 5000), events.between(45_000, 50_000)
    assert float(early.x.float().mean()) == pytest.approx(8 + 600 * 0.0025, abs=2)
    assert float(late.x.float().mean()) == pytest.approx(8 + 600 * 0.0475, abs=2)


@pytest.mark.parametrize("along", [-0.7, 0.4])
def test_ghosts_lie_on_the_line_through_the_centre(along):
    ghost = Ghost(along=along, radius=4.0, soft=1.0, power=0.5)
    flare = lamp(y=4.0, x=40.0, halo=(0, 1), streak=(0, 1, 1, 0), ghosts=(ghost,))
    light = stray_light(flare, sensor=SIZE, time_us=0)
    y, x = (
        float((light * at).sum() / light.sum())
        for at in (torch.arange(32.0)[:, None], torch.arange(48.0))
    )
    assert y == pytest.approx(15.5 + along * (4 - 15.5), abs=0.1)
    assert x == pytest.approx(23.5 + along * (40 - 23.5), abs=0.1)
    assert 0.5 * 0.65 <= float(light.max()) <= 0.5 + 1e-6


@given(st.floats(0.1, 0.85), st.floats(0, 1), st.sampled_from([100.0, 250.0, 1000.0]))
def test_lamps_flicker_from_dark_to_full(duty, phase, hz):
    times = torch.arange(0, 20_000)
    pulses = flicker(lamp(duty=duty, phase=phase, hz=hz), times)
    assert 0 <= float(pulses.min()) < 1e-9
    assert 0.99 < float(pulses.max()) <= 1
    assert float(pulses.mean()) == pytest.approx(duty, abs=2e-3)
    mains = flicker(lamp(hz=hz, phase=phase), times)
    assert float(mains.mean()) == pytest.approx(0.5, abs=1e-3)
    period = round(1e6 / hz)
    assert torch.allclose(mains[period:], mains[:-period])
