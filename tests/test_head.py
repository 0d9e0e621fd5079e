"""Heads: anatomy, both pictures, faults at their rates."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg import metrics
from libimg.phantoms import (
    HEAD_LANDMARKS,
    HeadFaults,
    HeadParams,
    head,
    render_head,
    sample_head,
)
from libimg.phantoms.head import FIELD_MM, placed_landmarks

SIZE = (228, 186)
INDEX = {name: i for i, name in enumerate(HEAD_LANDMARKS)}


def drawn(seed: int, faults: HeadFaults | None = None) -> HeadParams:
    return sample_head(torch.Generator().manual_seed(seed), faults=faults)


def places(count: int) -> torch.Tensor:
    """Landmarks of many heads in millimetres, rows and columns."""
    return torch.stack([placed_landmarks(drawn(seed), (1.0, 1.0)) for seed in range(count)])


def at(points: torch.Tensor, name: str) -> torch.Tensor:
    return points[..., INDEX[name], :]


def test_faces_are_those_of_people() -> None:
    points = places(200)
    order = ["nasion", "orbitale", "subnasale", "upper lip", "lower lip", "pogonion", "menton"]
    rows = torch.stack([at(points, name)[:, 0] for name in order], 1)
    assert (rows.diff(dim=1) > 0).all()
    across = [
        at(points, n)[:, 1] for n in ("articulare", "sella", "posterior nasal spine", "subspinale")
    ]
    assert (torch.stack(across, 1).diff(dim=1) > 0).all()
    assert (at(points, "upper lip")[:, 1] > at(points, "upper incisor")[:, 1]).all()
    names = [{"subspinale": "A", "supramentale": "B"}.get(n, n) for n in HEAD_LANDMARKS]
    angles = metrics.cephalometric_angles(points, names, spacing_mm=(1.0, 1.0))
    for name, mean, deviation in (("SNA", 82, 3.5), ("SNB", 80, 3.5), ("ANB", 2.2, 3.3)):
        assert abs(angles[name].mean() - mean) < 1
        assert 0.7 * deviation < angles[name].std() < 1.3 * deviation


def test_every_landmark_is_in_the_picture() -> None:
    points = places(400)
    assert points.min() > 0
    assert (points.amax((0, 1)) < torch.tensor(FIELD_MM)).all()


def test_the_photograph_does_not_tell_everything() -> None:
    """From the soft outline bone can be told to 1 to 4 mm, hidden points worst."""
    points = places(400).double()
    seen = [INDEX[n] for n in ("upper lip", "lower lip", "subnasale", "soft pogonion")]
    x = torch.cat([points[:, seen].flatten(1), torch.ones(400, 1).double()], 1)
    fit = torch.linalg.lstsq(x[:300], points[:300].flatten(1)).solution
    error = ((x[300:] @ fit).view(-1, 19, 2) - points[300:]).norm(dim=2).mean(0)
    assert 2.5 < error[INDEX["sella"]] < 6
    assert 1.0 < error[INDEX["subspinale"]] < 2.5


@given(st.integers(0, 2**31))
def test_params_survive_a_dictionary(seed: int) -> None:
    params = drawn(seed, HeadFaults(border=0.5, orientation=0.5))
    assert HeadParams.from_dict(params.to_dict()) == params


def test_the_same_head_has_the_same_pixels() -> None:
    one, other = head(3, size=SIZE), head(3, size=SIZE)
    assert torch.equal(one.photo, other.photo)
    assert torch.equal(one.xray, other.xray)
    assert not torch.equal(one.xray, head(4, size=SIZE).xray)


def test_a_head_is_the_same_at_any_size() -> None:
    small, large = head(5, size=SIZE), head(5, size=(2 * SIZE[0], 2 * SIZE[1]))
    torch.testing.assert_close(
        (small.landmarks + 0.5) * 2 - 0.5, large.landmarks, atol=1e-3, rtol=0
    )
    halved = torch.nn.functional.avg_pool2d(large.xray[None], 2)[0]
    assert metrics.mae(small.xray[None], halved[None]) < 0.02
    assert small.spacing_mm[0] == pytest.approx(2 * large.spacing_mm[0])


def test_landmarks_lie_on_edges_of_the_x_ray() -> None:
    """The gradient at outline points is far above that of the picture."""
    ratios = []
    for seed in range(4):
        case = head(seed, size=(456, 372))
        dy, dx = torch.gradient(case.xray[0])
        slope = torch.nn.functional.max_pool2d(torch.hypot(dx, dy)[None], 5, 1, 2)[0]
        for name in ("menton", "pogonion", "subnasale", "soft pogonion", "nasion", "gonion"):
            row, column = case.landmarks[INDEX[name]].round().int().tolist()
            ratios.append(float(slope[row, column] / slope.median()))
    assert sorted(ratios)[len(ratios) // 4] > 2


def test_the_photograph_s_outline_is_that_of_the_x_ray() -> None:
    case = head(7, size=SIZE)
    row, column = case.landmarks[INDEX["soft pogonion"]].round().int().tolist()
    inside = case.photo[:, row, column - 6]
    outside = case.photo[:, row, column + 6]
    background = torch.tensor(case.params.background)
    assert (outside - background).abs().mean() < (inside - background).abs().mean()


def test_faults_come_at_their_rates() -> None:
    rates = HeadFaults(frame=0.6, ruler=0.5, border=0.1, orientation=0.2, exposure=0.1)
    heads = [drawn(seed, rates) for seed in range(600)]
    found = {
        "frame": sum(h.frame for h in heads),
        "ruler": sum(h.ruler for h in heads),
        "border": sum(bool(h.border) for h in heads),
        "orientation": sum(h.mirrored or h.turned != 0 for h in heads),
        "exposure": sum(h.exposure != 1 for h in heads),
    }
    for name, count in found.items():
        rate = getattr(rates, name)
        assert abs(count / 600 - rate) < 4 * math.sqrt(rate * (1 - rate) / 600)
    assert not any(h.frame or h.ruler or h.border or h.turned for h in map(drawn, range(50)))


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_turned_heads_carry_their_landmarks(turned: int) -> None:
    params = drawn(1)
    plain = render_head(params, size=SIZE)
    case = render_head(replace(params, turned=turned), size=SIZE)
    back = torch.rot90(case.xray, -(turned // 90), (1, 2))
    assert torch.equal(back, plain.xray)
    for (row, column), (r, c) in zip(
        plain.landmarks.tolist(), case.landmarks.tolist(), strict=True
    ):
        there = torch.zeros_like(plain.xray)
        there[0, round(row), round(column)] = 1
        seen = torch.rot90(there, turned // 90, (1, 2))[0].nonzero()[0]
        assert abs(seen - torch.tensor([r, c])).max() <= 0.51
    swapped = plain.spacing_mm[::-1] if turned != 180 else plain.spacing_mm
    assert case.spacing_mm == swapped


def test_mirrored_heads_carry_their_landmarks() -> None:
    params = drawn(1)
    plain = render_head(params, size=SIZE)
    case = render_head(replace(params, mirrored=True), size=SIZE)
    assert torch.equal(case.photo.flip(2), plain.photo)
    assert torch.equal(case.landmarks[:, 1], SIZE[1] - 1 - plain.landmarks[:, 1])


def test_frame_ruler_and_bar_are_drawn() -> None:
    plain = drawn(2)
    without = render_head(plain, size=SIZE).xray[0]
    framed = render_head(replace(plain, frame=True), size=SIZE).xray[0]
    sides = torch.cat([framed[0], framed[-1], framed[:, 0], framed[:, -1]])
    assert len(sides.unique()) == 1
    ruler = render_head(replace(plain, ruler=True), size=SIZE).xray[0]
    changed = (ruler != without).any(0).nonzero()
    assert changed.min() > 0.85 * SIZE[1]
    for side in ("top", "bottom", "left", "right"):
        bar = render_head(replace(plain, border=side), size=SIZE).xray[0]
        edge = {"top": bar[:20], "bottom": bar[-20:], "left": bar[:, :16], "right": bar[:, -16:]}
        assert len(edge[side].unique()) == 1


def test_a_picture_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="size must be 64 or more along each side"):
        head(0, size=(63, 200))
