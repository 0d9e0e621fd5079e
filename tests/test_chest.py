"""The procedural chest: values, noise, truth of motion and labels, vessels, determinism."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from libimg.phantoms import LABELS, ChestCase, chest
from libimg.phantoms.fields import (
    LATTICE_MM,
    LATTICE_SIZE,
    correlated_noise,
    ellipsoid,
    resample_lattice,
    sample_lattice,
    smooth_lattice,
    smooth_min,
)
from libimg.phantoms.motion import breathing
from libimg.phantoms.patient import draw_patient
from libimg.phantoms.vessels import grow_tree, spline_tube, tube_distance
from libimg.registration import jacobian_determinant, warp

BLOOD = ("heart_left", "heart_right", "aorta", "pulmonary_artery", "pulmonary_vein", "vein")


def make(seed=0, **options):
    return chest(generator=torch.Generator().manual_seed(seed), **options)


def inner(case: ChestCase, name: str) -> torch.Tensor:
    mask = (case.labels == LABELS[name]).numpy()
    return torch.from_numpy(ndimage.binary_erosion(mask))


@pytest.fixture(scope="module")
def case() -> ChestCase:
    return make(5, shape=(56, 96, 96))


def test_every_tissue_is_there_and_in_the_table(case):
    assert sorted(LABELS.values()) == list(range(len(LABELS)))
    found = case.labels.unique(return_counts=True)
    assert found[0].tolist() == sorted(LABELS.values())
    assert found[1].min() > 300


@pytest.mark.parametrize(
    ("name", "lo", "hi"),
    [
        ("air", -1000, -980),
        ("fat", -125, -75),
        ("soft_tissue", 30, 75),
        ("lung", -900, -780),
        ("airway", -1000, -950),
        ("bone", 180, 700),
        ("abdominal_organ", 30, 75),
        ("myocardium", 35, 55),
        *((name, 35, 50) for name in BLOOD),
    ],
)
def test_values_without_contrast(case, name, lo, hi):
    values = case.ncct_clean[inner(case, name)]
    assert len(values) > 20
    assert lo <= values.median() <= hi
    assert ((values > lo - 15) & (values < hi + 15)).float().mean() > 0.85


def test_contrast_is_in_the_blood_and_nowhere_else(case):
    gain = case.cta_aligned - case.ncct_clean
    assert gain.min() >= 0
    for name in ("air", "fat", "bone"):
        assert gain[inner(case, name)].median() == 0
    arteries = gain[inner(case, "aorta")].median()
    assert 250 <= arteries <= 450
    for name in BLOOD:
        values = gain[inner(case, name)]
        assert 0.3 * arteries < values.median() <= 1.1 * arteries, name
    assert gain[inner(case, "vein")].median() < 0.8 * arteries
    assert gain[inner(case, "myocardium")].median() == pytest.approx(60, abs=1)


@pytest.mark.parametrize("sd", [5.0, 13.0])
def test_noise_is_as_asked_and_independent(sd):
    case = make(1, shape=(24, 64, 64), noise_hu=sd)
    inside = (case.ncct_clean > -900) & (case.cta_clean > -900)
    first = (case.ncct - case.ncct_clean)[inside]
    second = (case.cta - case.cta_clean)[inside]
    assert first.std() == pytest.approx(sd, rel=0.03)
    assert second.std() == pytest.approx(sd, rel=0.03)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.03
    assert min(case.ncct.min(), case.cta.min()) >= -1024


def test_noise_neighbours_are_slightly_alike_in_the_slice_only(generator):
    noise = correlated_noise((40, 60, 60), sd=10.0, generator=generator)
    between = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()
        for a, b in (
            (noise[1:], noise[:-1]),
            (noise[:, 1:], noise[:, :-1]),
            (noise[..., 1:], noise[..., :-1]),
        )
    ]
    expected = 2 * 0.25 / (1 + 2 * 0.25**2)  # lag one of the kernel (¼, 1, ¼)
    assert between == pytest.approx([0, expected, expected], abs=0.02)


def test_warping_the_aligned_truth_gives_the_cta(case):
    """Exact where nothing is sharper than a voxel; elsewhere trilinear sampling blurs edges."""
    moved = warp(case.cta_aligned[None, None], case.flow[None])[0, 0]
    moving = case.flow.norm(dim=0) > 0.7
    body = (case.cta_clean > -950) & moving
    error = (moved - case.cta_clean).abs()
    ignored = (case.cta_aligned - case.cta_clean).abs()
    reversed_ = (warp(case.cta_aligned[None, None], -case.flow[None])[0, 0] - case.cta_clean).abs()
    assert error[body].mean() < 0.4 * ignored[body].mean() < 0.4 * reversed_[body].mean()
    grey = case.cta_aligned[None, None]
    span = torch.nn.functional.max_pool3d(grey, 5, 1, 2)
    span += torch.nn.functional.max_pool3d(-grey, 5, 1, 2)
    calm = body & (warp(span, case.flow[None])[0, 0] < 40)
    assert calm.sum() > 3000
    assert error[calm].mean() < 2
    assert torch.quantile(error[calm], 0.999) < 15


def test_without_motion_the_pair_is_aligned():
    case = make(shape=(16, 40, 40), motion_voxels=0, noise_hu=0)
    assert case.flow.abs().max() == 0
    assert torch.equal(case.cta_clean, case.cta_aligned)
    assert torch.equal(case.cta, case.cta_aligned)


@settings(max_examples=6)
@given(seed=st.integers(0, 2**31), amplitude=st.floats(1, 25))
@example(seed=0, amplitude=25.0)
def test_motion_is_free_of_folding_and_reaches_its_amplitude(seed, amplitude):
    generator = torch.Generator().manual_seed(seed)
    axes = [torch.linspace(-e, e, n) for e, n in ((130, 40), (168, 48), (168, 48))]
    bound = (amplitude, amplitude / 2, amplitude / 3)
    move = breathing(axes, amplitude_mm=bound, generator=generator)
    most = move.abs().amax((1, 2, 3)) / torch.tensor(bound)
    assert ((most >= 0.6 - 1e-4) & (most <= 1 + 1e-4)).all()
    spacing = torch.tensor([float(a[1] - a[0]) for a in axes]).view(3, 1, 1, 1)
    assert jacobian_determinant((move / spacing)[None]).min() > 0.05


def test_motion_is_largest_at_the_diaphragm_and_small_at_the_spine():
    line = torch.linspace(-160, 160, 33)
    size = torch.zeros(33, 33, 33)
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        move = breathing([line] * 3, amplitude_mm=(14.0, 6.0, 3.0), generator=generator)
        size += move[0].abs() / 8

    def at(z, y, x):
        return size[tuple(int((mm - line).abs().argmin()) for mm in (z, y, x))]

    dome = at(60, 0, 70)
    assert dome > 3 * at(-110, 0, 70)
    assert dome > 3 * at(60, 70, 0)
    assert dome > 3 * at(60, 0, 160)


def test_the_flow_of_the_case_is_in_voxels_along_each_axis():
    case = make(2, shape=(32, 48, 48), motion_voxels=(2.0, 1.5, 0.5))
    most = case.flow.abs().amax((1, 2, 3)) / torch.tensor([2.0, 1.5, 0.5])
    assert ((most >= 0.6 - 1e-4) & (most <= 1 + 1e-4)).all()
    assert not torch.allclose(case.flow, make(3, shape=(32, 48, 48)).flow, atol=0.5)


def test_seeds_reproduce_and_differ():
    state = torch.get_rng_state()
    first, again, other = (make(seed, shape=(16, 40, 40)) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("ncct", "cta", "ncct_clean", "cta_clean", "cta_aligned", "flow", "labels"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
        assert not torch.equal(getattr(first, name), getattr(other, name)), name


def test_threads_do_not_change_the_case():
    before = torch.get_num_threads()
    try:
        cases = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            cases.append(make(4, shape=(16, 40, 40)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(cases[0].cta, cases[1].cta)


def test_the_patient_does_not_depend_on_the_grid():
    fine = make(9, shape=(48, 80, 80), motion_voxels=0, noise_hu=0).ncct_clean
    coarse = make(9, shape=(24, 40, 40), motion_voxels=0, noise_hu=0).ncct_clean
    pooled = torch.nn.functional.avg_pool3d(fine[None], 2)[0]
    other = make(10, shape=(24, 40, 40), motion_voxels=0, noise_hu=0).ncct_clean
    assert (pooled - coarse).abs().mean() < 0.35 * (other - coarse).abs().mean()


def test_small_and_flat_grids_work():
    for shape in ((16, 64, 64), (8, 8, 8)):
        case = make(shape=shape)
        assert case.cta.shape == shape
        assert case.cta.isfinite().all()
        assert case.flow.isfinite().all()
    spacing = (1.0, 1.0, 1.0)
    assert make(shape=(8, 16, 16), spacing_mm=spacing).spacing_mm == spacing


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"shape": (7, 64, 64)}, "shape"),
        ({"shape": (64, 64)}, "shape"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing_mm"),
        ({"spacing_mm": (1.0, 1.0)}, "spacing_mm"),
        ({"noise_hu": -1.0}, "noise_hu"),
        ({"motion_voxels": -1.0}, "motion_voxels"),
        ({"motion_voxels": (30.0, 0.0, 0.0)}, "motion_voxels"),
        ({"motion_voxels": float("nan")}, "motion_voxels"),
    ],
)
def test_bad_input_is_refused(options, match):
    # A wrong number of axes already fails the type check of the test run.
    with pytest.raises((ValueError, TypeError), match=match):
        make(**{"shape": (16, 32, 32), **options})


def test_lung_arteries_hang_together_down_to_one_voxel():
    case = make(shape=(56, 72, 72), spacing_mm=(2.2, 2.2, 2.2), motion_voxels=0)
    artery = (case.labels == LABELS["pulmonary_artery"]).numpy()
    names, count = ndimage.label(artery, np.ones((3, 3, 3)))
    assert count > 1  # thin ends that the label of a half-full voxel interrupts
    assert np.bincount(names.ravel())[1:].max() > 0.97 * artery.sum()
    thin = artery & ~ndimage.binary_opening(artery, np.ones((2, 2, 2)))
    assert thin.sum() > 0.1 * artery.sum()


@given(n=st.integers(1, 60), seed=st.integers(0, 99))
def test_a_tree_reaches_every_target_and_keeps_murrays_law(n, seed):
    targets = np.random.default_rng(seed).uniform(-40, 40, (n, 3)).astype(np.float32)
    root = (0.0, 0.0, -60.0)
    tree = grow_tree(targets, start=root, direction=(0, 0, 1), radius=5.0)
    assert tree.shape == (3 * (2 * n - 1), 8)
    start, end = tree[:, :3], tree[:, 4:7]
    to_root = np.abs(start - root).max(1)
    joined = np.abs(start[:, None] - end[None]).max(2).min(1)
    assert (np.minimum(to_root, joined) < 1e-3).all()
    assert (np.abs(targets[:, None] - end[None]).max(2).min(1) < 1e-3).all()
    radii = tree[:, 7]
    assert radii.max() <= 5.0 + 1e-4
    tips = np.abs(targets[:, None] - end[None]).max(2).argmin(1)
    total = ((radii[tips] / 0.85) ** 3).sum()
    assert total == pytest.approx(5.0**3, rel=1e-3)


def test_tube_distance_agrees_with_every_segment_tried():
    tubes = spline_tube([(-6, -5, -8, 2.5), (0, 4, 0, 3), (5, -3, 9, 4)], steps=3)
    spacing = (1.0, 1.2, 0.8)
    axes = [(torch.arange(n) - (n - 1) / 2) * s for n, s in zip((21, 19, 27), spacing, strict=True)]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    at = at + 0.6 * torch.sin(at.flip(0) / 6)
    got = tube_distance(tubes, at, spacing_mm=spacing, margin_mm=3.0)
    p = at.reshape(3, -1).T.double().numpy()
    best = np.full(len(p), 3.0)
    for s in tubes.astype(np.float64):
        way = s[4:7] - s[:3]
        t = ((p - s[:3]) @ way / (way @ way)).clip(0, 1)
        d = np.linalg.norm(p - s[:3] - t[:, None] * way, axis=1) - (s[3] + t * (s[7] - s[3]))
        best = np.minimum(best, d)
    np.testing.assert_allclose(got.numpy().ravel(), best, atol=1e-4)


def test_a_thin_tube_fills_the_part_of_a_voxel_it_covers():
    at = torch.stack(torch.meshgrid(*[torch.arange(9.0) - 4] * 3, indexing="ij"))
    radius = 0.3
    tube = np.array([[-9, 0, 0, radius, 9, 0, 0, radius]], np.float32)
    distance = tube_distance(tube, at, spacing_mm=(1.0, 1.0, 1.0), margin_mm=1.0)
    share = (0.5 - distance).clamp(0, 1)[4].sum()
    assert share == pytest.approx(np.pi * radius**2, rel=0.2)


def test_lattice_on_a_grid_follows_the_lattice_between_its_nodes(generator):
    lattice = smooth_lattice(generator, channels=2, waves=4)
    axes = [torch.linspace(-150, 150, n) for n in (9, 11, 13)]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    linear, cubic = sample_lattice(lattice, at), resample_lattice(lattice, axes)
    torch.testing.assert_close(linear, cubic, atol=0.06, rtol=0)
    assert lattice.shape == (2, *[LATTICE_SIZE] * 3)
    nodes = torch.linspace(-LATTICE_MM, LATTICE_MM, LATTICE_SIZE)
    grid = torch.stack(torch.meshgrid(nodes, nodes, nodes, indexing="ij"))
    torch.testing.assert_close(sample_lattice(lattice, grid), lattice, atol=1e-3, rtol=0)


def test_distances_of_a_sphere_and_of_a_rounded_union():
    axis = torch.linspace(-10, 10, 21)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    ball = ellipsoid(z, y, x, centre=(1, 2, 3), radii=(4, 4, 4))
    exact = ((z - 1) ** 2 + (y - 2) ** 2 + (x - 3) ** 2).sqrt() - 4
    away = exact > -3.9
    torch.testing.assert_close(ball[away], exact[away], atol=1e-4, rtol=1e-4)
    other = x - 2
    union = smooth_min(exact, other, 3)
    assert (union <= torch.minimum(exact, other) + 1e-6).all()
    far = (exact - other).abs() > 3
    assert torch.equal(union[far], torch.minimum(exact, other)[far])


def test_patients_differ_in_size_values_and_vessels():
    first, second = (draw_patient(torch.Generator().manual_seed(s)) for s in (0, 1))
    assert first.scale != second.scale
    assert first.gain != second.gain
    assert not np.array_equal(first.tubes["pulmonary_vein"], second.tubes["pulmonary_vein"])
    assert 35 <= first.blood_hu <= 50
