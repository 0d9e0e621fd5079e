"""Laws of frames (array, patient and unit coordinates) and of rigid augmentation."""

import json
import math
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from libimg.shapes import Frame, RigidParams, apply_rigid, sample_rigid
from tests.strategies import seeds


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Oblique, flipped, permuted grids with unequal voxels anywhere in the scanner."""
    rng = np.random.default_rng(draw(seeds))
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] if draw(st.booleans()) else np.eye(3)
    axes = axes[:, draw(st.permutations(range(3)))] * rng.choice((-1, 1), 3)
    affine = np.eye(4)
    affine[:3, :3] = axes * rng.uniform(0.3, 3, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    rng = np.random.default_rng(draw(seeds))
    centre, half = rng.uniform(-100, 100, 3), rng.uniform(20, 200)
    return Frame.fixed(affine=draw(affines()), centre_mm=centre, half_mm=half)


def points_mm(seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(40, 3, generator=gen(seed), dtype=dtype) * 250


@given(frames(), seeds)
def test_round_trips_are_exact_to_rounding(frame: Frame, seed: int) -> None:
    for dtype, atol in ((torch.float32, 5e-4), (torch.float64, 1e-10)):
        points = points_mm(seed, dtype)
        unit = frame.to_unit(points)
        assert unit.dtype == dtype
        torch.testing.assert_close(frame.to_mm(unit), points, rtol=0, atol=atol)
        back = frame.from_patient(frame.patient(points))
        torch.testing.assert_close(back, points, rtol=0, atol=atol)
        torch.testing.assert_close(frame.to_unit(frame.to_mm(unit)), unit, rtol=0, atol=atol)


@given(frames(), seeds)
def test_patient_millimetres_are_those_of_nibabel(frame: Frame, seed: int) -> None:
    index = torch.randint(0, 90, (30, 3), generator=gen(seed)).double()  # d, h, w
    spacing = torch.tensor(frame.spacing_mm, dtype=torch.float64)
    theirs = nib.affines.apply_affine(np.array(frame.affine), index.numpy()[:, ::-1])
    ours = frame.patient(index * spacing)
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-9)
    unit = (theirs - np.array(frame.centre_mm)) / frame.half_mm
    torch.testing.assert_close(frame.to_unit(index * spacing), torch.from_numpy(unit))


@given(frames(), seeds)
def test_one_scale_serves_all_axes(frame: Frame, seed: int) -> None:
    points = points_mm(seed, torch.float64)
    here, there = torch.pdist(points), torch.pdist(frame.to_unit(points))
    torch.testing.assert_close(frame.scale_distance(here), there)
    assert frame.to_unit(points[None, :8]).shape == (1, 8, 3)


@given(affines(), seeds, st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_a_heart_is_the_same_however_it_is_stored(
    affine: np.ndarray, seed: int, order: list[int], flips: tuple[bool, ...]
) -> None:
    """Flip and permute the axes of a file: labels change places, the unit cube does not."""
    labels = np.zeros((7, 9, 11), np.uint8)
    labels.flat[np.random.default_rng(seed).choice(labels.size, 12, replace=False)] = 1
    image = nib.Nifti1Image(labels, affine)
    change = nib.orientations.axcodes2ornt("RAS")
    change[:, 0], change[:, 1] = order, [-1 if flip else 1 for flip in flips]
    clouds, cubes = [], []
    for stored in (image, image.as_reoriented(change)):
        array = torch.from_numpy(np.asarray(stored.dataobj).transpose(2, 1, 0).copy())
        frame = Frame.from_labels(array, affine=stored.affine, classes=(1,))
        cubes.append(torch.tensor([*frame.centre_mm, frame.half_mm], dtype=torch.float64))
        where = array.nonzero() * torch.tensor(frame.spacing_mm, dtype=torch.float64)
        clouds.append(frame.to_unit(where))
    torch.testing.assert_close(cubes[0], cubes[1], rtol=0, atol=1e-3)  # headers are float32
    apart = torch.cdist(clouds[0], clouds[1])
    assert float(apart.min(1).values.max()) < 1e-3
    assert float(apart.min(0).values.max()) < 1e-3


@given(affines(), seeds, st.floats(0, 20))
def test_the_cube_holds_the_voxels_of_its_classes(
    affine: np.ndarray, seed: int, margin: float
) -> None:
    labels = torch.zeros(8, 9, 10, dtype=torch.uint8)
    labels.view(-1)[torch.randperm(720, generator=gen(seed))[:6]] = torch.tensor(
        [1, 1, 2, 2, 3, 3], dtype=torch.uint8
    )
    frame = Frame.from_labels(labels, affine=affine, classes=(1, 2), margin_mm=margin)
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)
    index = ((labels == 1) | (labels == 2)).nonzero()
    spacing = torch.tensor(frame.spacing_mm, dtype=torch.float64)
    unit = frame.to_unit(((index[:, None] + corners) * spacing).flatten(0, 1))
    assert float(unit.abs().max()) <= 1 - margin / frame.half_mm + 1e-6
    more = Frame.from_labels(
        torch.where(labels == 3, 0, labels), affine=affine, classes=(1, 2), margin_mm=margin
    )
    assert more == frame  # what else is visible does not matter
    wide = Frame.from_labels(labels, affine=affine, classes=(1, 2), margin_mm=0, half_mm=90)
    assert wide.half_mm == 90
    assert wide.centre_mm == frame.centre_mm


@given(frames())
def test_frames_go_through_json_unchanged(frame: Frame) -> None:
    assert Frame.from_dict(json.loads(json.dumps(frame.to_dict()))) == frame
    stored = {name: np.asarray(value) for name, value in frame.to_dict().items()}
    assert Frame.from_dict({**stored, "half_mm": float(stored["half_mm"])}) == frame
    assert hash(Frame.from_dict(frame.to_dict())) == hash(frame)


def test_autocast_does_not_round_the_points() -> None:
    frame = Frame.fixed(affine=np.eye(4), centre_mm=(10, 20, 30), half_mm=77)
    points = points_mm(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = frame.to_unit(points)
    assert torch.equal(inside, frame.to_unit(points))


# Refusals of frames

SHEARED = np.array([[1, 0, 0, 0], [0, 1, 0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
SWAPPED = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (None, "affine is missing"),
        (SHEARED, r"affine is sheared: two axes meet at 78\.69 degrees"),
        (np.eye(3), "affine must be 4 x 4"),
        (np.eye(4) * np.nan, "affine must be 4 x 4, finite"),
        (SWAPPED, "end in 0 0 0 1"),
        (np.diag([1.0, 0, 1, 1]), "axis of length 0"),
        (np.diag([1.0, 1, 1, 1])[:, [0, 0, 2, 3]], "affine is sheared: two axes meet at 0"),
    ],
)
def test_frames_refuse_an_affine(affine: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Frame.fixed(affine=affine, centre_mm=(0, 0, 0))
    with pytest.raises(ValueError, match=message):
        Frame.from_labels(torch.ones(2, 2, 2, dtype=torch.int), affine=affine, classes=(1,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": (1, 2, 9)}, "no voxel of class 2, 9: a cube around the rest"),
        ({"classes": ()}, "classes must name at least one label"),
        ({"margin_mm": -1}, "margin_mm must be 0 or above"),
        ({"half_mm": 3}, r"half_mm must be at least 11\.0 for this heart"),
        ({"half_mm": math.inf}, "half_mm must be a finite length"),
        ({"labels": torch.zeros(4, 4, 4, dtype=torch.int)}, "no voxel of class 1"),
    ],
)
def test_frames_refuse_labels(change: dict[str, Any], message: str) -> None:
    labels = torch.zeros(4, 4, 4, dtype=torch.int)
    labels[1:3, 1:3, 1:3] = 1
    with pytest.raises(ValueError, match=message):
        Frame.from_labels(**{"labels": labels, "affine": np.eye(4), "classes": (1,), **change})


@pytest.mark.usefixtures("unchecked")
def test_frames_refuse_float_labels() -> None:
    for labels in (torch.ones(2, 2, 2), torch.ones(2, 2, dtype=torch.int)):
        with pytest.raises(ValueError, match="labels must be whole numbers"):
            Frame.from_labels(labels, affine=np.eye(4), classes=(1,))


def test_a_record_with_unknown_or_missing_values_is_refused() -> None:
    plain = Frame.fixed(affine=np.eye(4), centre_mm=(0, 0, 0)).to_dict()
    with pytest.raises(TypeError, match="scale"):
        Frame.from_dict({**plain, "scale": 1})
    with pytest.raises(TypeError, match="half_mm"):
        Frame.from_dict({k: v for k, v in plain.items() if k != "half_mm"})
    with pytest.raises(ValueError, match="affine is missing"):
        Frame.from_dict({k: v for k, v in plain.items() if k != "affine"})
    with pytest.raises(ValueError, match="centre_mm must be 3 finite numbers"):
        Frame.from_dict({**plain, "centre_mm": [0, 0]})


# Augmentation


@given(seeds, st.floats(0, 180), st.floats(0.2, 1), st.floats(1, 3), st.floats(0, 5))
def test_drawn_changes_are_small_and_never_mirror(
    seed: int, degrees: float, low: float, high: float, shift: float
) -> None:
    params = sample_rigid(gen(seed), max_degrees=degrees, scale_range=(low, high), max_shift=shift)
    turn = params.matrix / params.scale
    torch.testing.assert_close(turn @ turn.T, torch.eye(3).double(), rtol=0, atol=1e-10)
    assert float(torch.linalg.det(params.matrix)) > 0
    assert float(torch.linalg.det(turn)) == pytest.approx(1)
    angle = math.degrees(math.acos(max(-1.0, min(1.0, float(turn.trace() - 1) / 2))))
    assert angle <= degrees + 1e-5
    assert angle == pytest.approx(math.hypot(*params.rotation_degrees), abs=1e-4)
    assert low * (1 - 1e-9) <= params.scale <= high * (1 + 1e-9)
    assert max(map(abs, params.shift)) <= shift
    assert params == sample_rigid(
        gen(seed), max_degrees=degrees, scale_range=(low, high), max_shift=shift
    )


@given(seeds)
def test_moved_shapes_keep_their_hand_and_scale_their_distances(seed: int) -> None:
    params = sample_rigid(gen(seed), max_degrees=180, scale_range=(0.5, 2), max_shift=1)
    points = torch.randn(2, 4, 3, generator=gen(seed), dtype=torch.float64)
    moved = apply_rigid(points, params)
    before, after = (torch.linalg.det(p[:, 1:] - p[:, :1]) for p in (points, moved))
    torch.testing.assert_close(after, before * params.scale**3)
    torch.testing.assert_close(
        torch.cdist(moved, moved), torch.cdist(points, points) * params.scale
    )
    expected = points @ params.matrix.T + torch.tensor(params.shift, dtype=torch.float64)
    torch.testing.assert_close(moved, expected)
    assert RigidParams.from_dict(json.loads(json.dumps(params.to_dict()))) == params


def test_rotations_fill_the_ball_of_axis_times_angle() -> None:
    g = gen(0)
    drawn = torch.tensor([sample_rigid(g, max_degrees=20).rotation_degrees for _ in range(3000)])
    shells = (drawn.norm(dim=1) / 20) ** 3  # uniform on [0, 1]
    assert float(shells.mean()) == pytest.approx(0.5, abs=0.025)
    assert float(shells.var()) == pytest.approx(1 / 12, abs=0.005)
    torch.testing.assert_close(drawn.mean(0), torch.zeros(3), rtol=0, atol=0.7)
    torch.testing.assert_close(drawn.std(0), torch.full((3,), 20 / 5**0.5), rtol=0.05, atol=0)


def test_no_change_is_the_identity() -> None:
    params = sample_rigid(gen(0), max_degrees=0, scale_range=(1, 1), max_shift=0)
    points = points_mm(0)
    assert torch.equal(apply_rigid(points, params), points)
    assert torch.equal(apply_rigid(points, RigidParams()), points)


def test_a_turn_follows_the_right_hand() -> None:
    params = RigidParams(rotation_degrees=(90, 0, 0))
    moved = apply_rigid(torch.tensor([[0.0, 1.0, 0.0]]), params)
    torch.testing.assert_close(moved, torch.tensor([[0.0, 0.0, 1.0]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_degrees": 181}, "max_degrees must be within 0 to 180"),
        ({"max_degrees": -1}, "max_degrees"),
        ({"scale_range": (1.1, 0.9)}, "scale_range must be 0 < low <= high"),
        ({"scale_range": (-1, 1)}, "scale_range"),
        ({"max_shift": -0.1}, "max_shift must be 0 or above"),
    ],
)
def test_draws_refuse(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_rigid(gen(0), **options)


def test_records_refuse_mirrors_and_nan() -> None:
    with pytest.raises(ValueError, match="the shape is mirrored, got -1"):
        RigidParams(scale=-1)
    with pytest.raises(ValueError, match="must be finite"):
        RigidParams(shift=(0, math.nan, 0))
    with pytest.raises(TypeError, match="mirror"):
        RigidParams.from_dict({"mirror": True})
