"""Laws of points drawn from fields, of interpolation and of farthest point sampling."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from skimage.measure import marching_cubes
from torch import Tensor

from libimg.shapes import (
    farthest_points,
    interpolate_fields,
    sample_near_surface,
    sample_surface,
    sample_volume,
)
from tests.strategies import seeds

spacings = st.tuples(*[st.sampled_from((0.3, 0.5, 1.0, 1.7, 3.0))] * 3)


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid(size: tuple[int, ...], spacing: tuple[float, ...]) -> Tensor:
    """Millimetres of the voxel centres from the middle of the volume, (3, d, h, w)."""
    axes = [(torch.arange(float(n)) - (n - 1) / 2) * s for n, s in zip(size, spacing, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def middle(size: tuple[int, ...], spacing: tuple[float, ...]) -> Tensor:
    return torch.tensor([(n - 1) / 2 * s for n, s in zip(size, spacing, strict=True)])


def noise(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=gen(seed), dtype=dtype)


def surprise(seen: Tensor, share: Tensor) -> float:
    """Chi-square in standard deviations from what uniform points give."""
    expected = share / share.sum() * seen.sum()
    chi, free = float(((seen - expected) ** 2 / expected).sum()), len(seen) - 1
    return (chi - free) / math.sqrt(2 * free)


def counted(bins: Tensor, many: int) -> Tensor:
    return torch.bincount(bins.long().clamp(0, many - 1), minlength=many).double()


# Surface points


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.6, 0.9, 1.4)])
def test_a_sphere_is_covered_uniformly(spacing: tuple[float, float, float]) -> None:
    size = tuple(int(28 / s) for s in spacing)
    fields = (grid(size, spacing).norm(dim=0) - 11.3)[None]
    drawn = sample_surface(fields, spacing_mm=spacing, counts=20_000, generator=gen(0))
    p = drawn.points - middle(size, spacing)
    assert float((p.norm(dim=1) - 11.3).abs().max()) < 0.06
    height = (p[:, 0] / 11.3 + 1) * 4  # Archimedes: equal bands have equal areas
    around = (torch.atan2(p[:, 2], p[:, 1]) / math.tau + 0.5) * 8
    bins = height.floor().clamp(0, 7) * 8 + around.floor().clamp(0, 7)
    assert surprise(counted(bins, 64), torch.ones(64)) < 4


def test_a_torus_is_covered_uniformly() -> None:
    size, spacing, big, small = (16, 48, 48), (1.0, 0.8, 0.8), 12.0, 4.5
    x, y, z = grid(size, spacing)
    fields = (torch.hypot(torch.hypot(y, z) - big, x) - small)[None]
    drawn = sample_surface(fields, spacing_mm=spacing, counts=20_000, generator=gen(1))
    x, y, z = (drawn.points - middle(size, spacing)).T
    angle = torch.atan2(x, torch.hypot(y, z) - big)
    edges = torch.linspace(-math.pi, math.pi, 25)
    share = big * edges.diff() + small * edges.sin().diff()
    bins = (angle / math.tau + 0.5) * 24
    assert surprise(counted(bins, 24), share) < 4
    assert surprise(counted(bins, 24), torch.ones(24)) > 50  # the outer side is the larger


def test_a_box_is_covered_uniformly() -> None:
    size, spacing = (16, 24, 30), (1.2, 1.0, 0.7)
    half = torch.tensor([6.2, 8.4, 7.1])
    q = grid(size, spacing).abs() - half.view(3, 1, 1, 1)
    fields = (q.clamp(min=0).norm(dim=0) + q.amax(0).clamp(max=0))[None]
    drawn = sample_surface(fields, spacing_mm=spacing, counts=20_000, generator=gen(2))
    p = drawn.points - middle(size, spacing)
    inner = half - 2  # away from the edges, which a trilinear field rounds
    seen, share = [], []
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        flat = (p[:, others].abs() < inner[others]).all(1)
        for sign in (-1, 1):
            face = flat & (sign * p[:, axis] > 0)
            assert float((p[face, axis] * sign - half[axis]).abs().max()) < 1e-4
            for part in (-1, 1):
                seen.append((face & (p[:, others[0]] * part > 0)).sum())
                share.append(inner[others].prod())
    assert surprise(torch.stack(seen).double(), torch.stack(share)) < 4


def test_the_density_is_that_of_a_fine_mesh(generator: torch.Generator) -> None:
    """Area of scikit-image's mesh in each of 64 blocks, on a field with slopes far from 1."""
    spacing, size = (1.0, 0.7, 1.6), (33, 33, 33)
    x, y, z = grid(size, (1.0, 1.0, 1.0)) / 5
    field = (x.sin() * y.cos() + y.sin() * z.cos() + z.sin() * x.cos()) * (2 + x.cos())
    drawn = sample_surface(field[None], spacing_mm=spacing, counts=40_000, generator=generator)
    corners, faces, _, _ = marching_cubes(field.numpy(), 0.0, spacing=spacing)
    a, b, c = (torch.from_numpy(corners[faces[:, i]]).float() for i in range(3))
    area = torch.linalg.cross(b - a, c - a).norm(dim=1) / 2

    def block(p: Tensor) -> Tensor:
        cell = (p / (torch.tensor(spacing) * 8)).floor().clamp(0, 3)
        return (cell @ torch.tensor([16.0, 4.0, 1.0])).long()

    share = torch.zeros(64).index_add(0, block((a + b + c) / 3), area)
    seen = counted(block(drawn.points), 64)
    kept = share > 0.2 * share.mean()
    ratio = (seen / seen.sum())[kept] / (share / share.sum())[kept]
    assert int(kept.sum()) > 40
    assert float((ratio - 1).abs().mean()) < 0.06
    assert float((ratio - 1).abs().max()) < 0.25


@given(seeds, spacings, st.integers(1, 3), st.sampled_from((torch.float32, torch.float64)))
def test_points_lie_on_the_level_of_their_class(
    seed: int, spacing: tuple[float, float, float], classes: int, dtype: torch.dtype
) -> None:
    fields = noise(seed, classes, 4, 5, 3, dtype=dtype)
    drawn = sample_surface(fields, spacing_mm=spacing, counts=50, generator=gen(seed))
    assert drawn.points.dtype == torch.float32
    assert drawn.classes.tolist() == [c for c in range(classes) for _ in range(50)]
    assert drawn.absent == ()
    values = interpolate_fields(fields, drawn.points, spacing_mm=spacing)
    own = values[drawn.classes, torch.arange(len(drawn.points))]
    assert float(own.abs().max()) < 1e-4
    extent = torch.tensor([(n - 1) * s for n, s in zip((4, 5, 3), spacing, strict=True)])
    assert bool(((drawn.points >= 0) & (drawn.points <= extent * 1.000001)).all())


def test_thin_classes_get_their_quota_and_absent_ones_are_reported() -> None:
    x = grid((20, 20, 20), (1, 1, 1))
    ball = x.norm(dim=0) - 7
    vessel = x[1:].sub(0.4).norm(dim=0) - 0.7  # thinner than two voxels
    voxel = torch.ones(20, 20, 20)
    voxel[3, 3, 3] = -1
    empty = torch.full_like(ball, 40.0)
    full = torch.full_like(ball, -40.0)
    fields = torch.stack([ball, empty, vessel, voxel, full])
    counts = (10, 5, 700, 3, 2)
    drawn = sample_surface(fields, spacing_mm=(1, 1, 1), counts=counts, generator=gen(0))
    assert torch.bincount(drawn.classes, minlength=5).tolist() == [10, 0, 700, 3, 0]
    assert drawn.absent == (1, 4)
    near = sample_near_surface(fields, spacing_mm=(1, 1, 1), counts=counts, generator=gen(0))
    assert near.absent == (1, 4)
    box = sample_volume(fields, spacing_mm=(1, 1, 1), count=6, inside=counts, generator=gen(0))
    assert torch.bincount(box.classes + 1).tolist() == [6, 10, 0, 700, 3, 2]
    assert box.absent == (1,)
    none = sample_surface(fields, spacing_mm=(1, 1, 1), counts=0, generator=gen(0))
    assert none.points.shape == (0, 3)
    assert none.absent == ()


def test_a_class_cut_by_the_border_has_no_surface_there() -> None:
    fields = (torch.arange(6.0).view(6, 1, 1).expand(6, 6, 6) - 2.5)[None]
    drawn = sample_surface(fields, spacing_mm=(2, 1, 1), counts=100, generator=gen(0))
    torch.testing.assert_close(drawn.points[:, 0], torch.full((100,), 5.0))


@given(seeds)
@settings(max_examples=5)
def test_the_generator_alone_decides(seed: int) -> None:
    fields = noise(seed, 2, 5, 5, 5)
    state = torch.random.get_rng_state()

    def draw(s: int) -> list[Tensor]:
        g = gen(s)
        near = sample_near_surface(fields, spacing_mm=(1, 2, 1), counts=20, generator=g)
        box = sample_volume(fields, spacing_mm=(1, 2, 1), count=20, inside=9, generator=g)
        return [near.points, near.distances, box.points, box.distances]

    for a, b, c in zip(draw(seed), draw(seed), draw(seed + 1), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    assert torch.equal(torch.random.get_rng_state(), state)


# Near the surface and in the volume


def test_noise_has_the_sigmas_in_turn() -> None:
    plane = (torch.arange(40.0).view(40, 1, 1).expand(40, 40, 40) * 0.5 - 10)[None]
    near = sample_near_surface(
        plane, spacing_mm=(0.5, 1, 1), counts=20_000, sigmas_mm=(0.2, 1.5), generator=gen(0)
    )
    d = near.distances[0].view(-1, 2)  # at the sides of the volume a little more
    torch.testing.assert_close(d.std(0), torch.tensor([0.2, 1.5]), rtol=0.03, atol=0)
    start = sample_surface(plane, spacing_mm=(0.5, 1, 1), counts=20_000, generator=gen(0))
    moved = (near.points - start.points).view(-1, 2, 3).std(0)
    torch.testing.assert_close(moved, torch.tensor([[0.2], [1.5]]).expand(2, 3), rtol=0.03, atol=0)
    read = interpolate_fields(plane, near.points, spacing_mm=(0.5, 1, 1))
    assert torch.equal(read, near.distances)


def test_the_volume_and_the_inside_are_filled_uniformly() -> None:
    size, spacing = (20, 12, 30), (1.0, 1.5, 0.6)
    fields = (grid(size, spacing).norm(dim=0) - 7)[None]
    drawn = sample_volume(fields, spacing_mm=spacing, count=20_000, inside=20_000, generator=gen(3))
    box, ball = drawn.points.split(20_000)
    assert (drawn.distances[0, 20_000:] < 0).all()
    cells = (box / (middle(size, spacing) * 2) * 4).floor().clamp(0, 3)
    assert surprise(counted(cells @ torch.tensor([16.0, 4.0, 1.0]), 64), torch.ones(64)) < 4
    p = ball - middle(size, spacing)
    shells = (p.norm(dim=1) / 7) ** 3 * 10
    assert surprise(counted(shells, 10)[:9], torch.ones(9)) < 4  # the outermost is rounded
    octants = (p > 0).float() @ torch.tensor([4.0, 2.0, 1.0])
    assert surprise(counted(octants, 8), torch.ones(8)) < 4


# Interpolation


@given(seeds, spacings, st.tuples(*[st.integers(1, 5)] * 3))
def test_interpolation_agrees_with_scipy(
    seed: int, spacing: tuple[float, float, float], size: tuple[int, int, int]
) -> None:
    fields = noise(seed, 2, *size, dtype=torch.float64)
    extent = torch.tensor([(n - 1) * s for n, s in zip(size, spacing, strict=True)]).double()
    points = torch.rand(20, 3, generator=gen(seed), dtype=torch.float64) * (extent + 4) - 2
    ours = interpolate_fields(fields, points, spacing_mm=spacing)
    near = points.clamp(min=0).minimum(extent)
    index = (near / torch.tensor(spacing).double()).T.numpy()
    theirs = np.stack([map_coordinates(f.numpy(), index, order=1, mode="nearest") for f in fields])
    beyond = (points - near).norm(dim=1)
    torch.testing.assert_close(ours, torch.from_numpy(theirs) + beyond, rtol=0, atol=1e-5)


@given(seeds, spacings)
def test_interpolation_returns_the_voxels(seed: int, spacing: tuple[float, float, float]) -> None:
    fields = noise(seed, 2, 3, 4, 5)
    index = torch.cartesian_prod(torch.arange(3.0), torch.arange(4.0), torch.arange(5.0))
    values = interpolate_fields(fields, index * torch.tensor(spacing), spacing_mm=spacing)
    torch.testing.assert_close(values, fields.flatten(1), rtol=0, atol=1e-5)


def test_beyond_the_volume_a_distance_is_never_too_small_and_stays_lipschitz() -> None:
    ball = (grid((9, 9, 9), (1, 1, 1)).norm(dim=0) - 3)[None].double()
    points = torch.rand(200, 3, generator=gen(0), dtype=torch.float64) * 24 - 8
    values = interpolate_fields(ball, points, spacing_mm=(1, 1, 1))[0]
    true = (points - 4).norm(dim=1) - 3
    assert bool((values >= true - 1e-9).all())
    steps = (values[:, None] - values).abs() - 2 * torch.cdist(points, points)
    assert float(steps.max()) <= 1e-6


def test_infinite_fields_stay_infinite_without_nan() -> None:
    fields = torch.stack([torch.full((3, 3, 3), torch.inf), torch.zeros(3, 3, 3)])
    points = torch.tensor([[0.0, 1.0, 2.0], [0.5, 0.5, 0.5], [9.0, 0.0, 0.0]])
    values = interpolate_fields(fields, points, spacing_mm=(1, 1, 1))
    assert bool(values[0].isposinf().all())
    assert values[1].tolist() == [0, 0, 7]


def test_interpolation_has_right_gradients_and_keeps_the_dtype() -> None:
    fields = noise(0, 2, 3, 4, 3, dtype=torch.float64).requires_grad_()
    points = torch.rand(6, 3, generator=gen(1), dtype=torch.float64) * 3.2 - 0.6
    points = points.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f, p: interpolate_fields(f, p, spacing_mm=(1, 0.7, 1.3)), (fields, points)
    )
    half = fields.detach().half()
    assert interpolate_fields(half, points.detach(), spacing_mm=(1, 1, 1)).dtype == torch.float16


# Farthest points


def greedy(points: np.ndarray, n: int, start: int, valid: np.ndarray) -> list[int]:
    """Take again and again the valid point whose nearest chosen one is farthest."""
    chosen = [start]
    while len(chosen) < n:
        nearest = [
            min(float(((p - points[c]) ** 2).sum()) for c in chosen) if good else -1.0
            for p, good in zip(points, valid, strict=True)
        ]
        chosen.append(int(np.argmax(nearest)))
    return chosen


@given(seeds, st.integers(1, 3), st.integers(1, 12), st.booleans(), st.data())
def test_farthest_points_are_the_greedy_choice(
    seed: int, batch: int, count: int, lattice: bool, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, count))
    points = noise(seed, batch, count, 3)
    points = points.mul(2).round() if lattice else points  # many ties, coinciding points
    valid = torch.rand(batch, count, generator=gen(seed)) < 0.7
    valid[:, data.draw(st.integers(0, count - 1))] = True
    chosen = farthest_points(points, n, valid=valid)
    for cloud, good, indices in zip(points, valid, chosen, strict=True):
        first = int(good.int().argmax())
        assert indices.tolist() == greedy(cloud.double().numpy(), n, first, good.numpy())
        assert torch.equal(indices, farthest_points(cloud, n, valid=good))
        assert bool(good[indices].all())
    plain = farthest_points(points, n, start=count - 1)
    assert plain.shape == (batch, n)
    assert (plain[:, 0] == count - 1).all()
    if not lattice:
        assert all(len(set(row.tolist())) == n for row in plain)


def test_farthest_points_cover_what_is_left() -> None:
    points = torch.rand(400, 3, generator=gen(0))
    chosen = points[farthest_points(points, 40, generator=gen(1))]
    apart = torch.cdist(chosen, chosen).fill_diagonal_(torch.inf).min()
    assert float(torch.cdist(points, chosen).min(1).values.max()) <= float(apart) + 1e-6


def test_a_drawn_start_is_valid_and_repeats_with_its_generator() -> None:
    points = noise(0, 50, 8, 3)
    valid = torch.arange(8).expand(50, 8) % 3 == 1
    first = farthest_points(points, 2, generator=gen(5), valid=valid)
    assert torch.equal(first, farthest_points(points, 2, generator=gen(5), valid=valid))
    assert set(first[:, 0].tolist()) == {1, 4, 7}


def test_too_few_valid_points_are_repeated() -> None:
    points = noise(0, 2, 5, 3)
    valid = torch.tensor([[False, True, False, True, False], [False] * 5])
    assert farthest_points(points, 4, valid=valid).tolist() == [[1, 3, 1, 1], [0, 0, 0, 0]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_points() -> None:
    points = noise(0, 2, 3000, 3).mul(50).round()
    for extra in ({"start": 7}, {"valid": torch.rand(2, 3000) < 0.5}):
        there = {k: v.cuda() if isinstance(v, Tensor) else v for k, v in extra.items()}
        chosen = farthest_points(points.cuda(), 500, **there)
        assert torch.equal(chosen.cpu(), farthest_points(points, 500, **extra))
    drawn = farthest_points(points.cuda(), 500, generator=gen(1))
    assert torch.equal(drawn.cpu(), farthest_points(points, 500, generator=gen(1)))
    fields = noise(0, 2, 9, 9, 9)
    here = sample_surface(fields, spacing_mm=(1, 1, 1), counts=99, generator=gen(0))
    far = sample_surface(fields.cuda(), spacing_mm=(1, 1, 1), counts=99, generator=gen(0))
    torch.testing.assert_close(far.points.cpu(), here.points, rtol=0, atol=1e-4)


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": -1}, "counts must be one number from 0 on or one for each of 2"),
        ({"counts": (1, 2, 3)}, "for each of 2 classes"),
        ({"spacing_mm": (1, 0, 1)}, r"spacing_mm\[1\] must be above 0"),
        ({"spacing_mm": (1, 1)}, "spacing_mm must be 3 lengths"),
        ({"fields": torch.ones(2, 1, 4, 4)}, "at least 2 voxels wide"),
        ({"sigmas_mm": ()}, "at least one standard deviation"),
        ({"sigmas_mm": (1.0, 0.0)}, r"sigmas_mm\[1\] must be above 0"),
        ({"sigmas_mm": (math.inf,)}, r"sigmas_mm\[0\] must be above 0 and finite, got inf"),
        ({"sigmas_mm": (1.0, math.nan)}, r"sigmas_mm\[1\] must be above 0 and finite, got nan"),
        ({"spacing_mm": (1, 1, math.inf)}, r"spacing_mm\[2\] must be above 0 and finite"),
    ],
)
def test_samplers_refuse(change: dict[str, object], message: str) -> None:
    options = {"fields": noise(0, 2, 4, 4, 4), "spacing_mm": (1, 1, 1), "counts": 5, **change}
    with pytest.raises(ValueError, match=message):
        sample_near_surface(**options, generator=gen(0))


def test_a_surface_far_below_a_voxel_is_refused() -> None:
    fields = torch.ones(2, 5, 5, 5)
    fields[1, 2, 2, 2] = -1e-6
    with pytest.raises(ValueError, match="class 1 of fields is far smaller than a voxel"):
        sample_surface(fields, spacing_mm=(1, 1, 1), counts=40_000, generator=gen(0))


def test_volume_sampling_refuses_negative_counts() -> None:
    fields = noise(0, 2, 4, 4, 4)
    with pytest.raises(ValueError, match="count must be"):
        sample_volume(fields, spacing_mm=(1, 1, 1), count=-1, generator=gen(0))
    with pytest.raises(ValueError, match="inside must be"):
        sample_volume(fields, spacing_mm=(1, 1, 1), count=1, inside=(1,), generator=gen(0))


@pytest.mark.parametrize(
    ("n", "options", "message"),
    [
        (0, {}, "n must be between 1 and the number of points, 4, got 0"),
        (5, {}, "got 5"),
        (2, {"start": 4}, "start must be an index below 4"),
        (2, {"start": 0, "generator": gen(0)}, "start cannot be given together"),
        (2, {"start": 0, "valid": torch.ones(4, dtype=torch.bool)}, "start cannot be given"),
    ],
)
def test_farthest_points_refuse(n: int, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        farthest_points(torch.rand(4, 3), n, **options)
