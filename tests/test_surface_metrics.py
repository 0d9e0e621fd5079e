import inspect
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from monai.metrics.utils import create_table_neighbour_code_to_surface_area
from scipy.ndimage import distance_transform_edt

from libimg.metrics import (
    average_surface_distance,
    chamfer,
    coverage,
    dice,
    error_variance_correlation,
    f_score,
    hausdorff95,
    summarise_classes,
    surface_dice,
    surface_distances,
)
from libimg.metrics.point_sets import _by_blocks, _by_tree
from libimg.metrics.surface_elements import surface_elements
from tests.reference import surface as reference

seeds = st.integers(0, 10_000)
spacings = st.sampled_from([(1.0, 1.0, 1.0), (3.0, 0.5, 0.7), (0.7, 1.0, 2.0)])
UNIT = (1.0, 1.0, 1.0)


def mask(seed: int, shape: tuple[int, ...] = (5, 6, 4), share: float = 0.4) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def ball(centre: tuple[float, ...], radius: float, size: int = 20) -> torch.Tensor:
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(size))] * len(centre), indexing="ij"))
    middle = torch.tensor(centre).reshape(-1, *[1] * len(centre))
    return (grid - middle).norm(dim=0) < radius


def cube(size: int = 12, side: int = 4, start: int = 3) -> torch.Tensor:
    out = torch.zeros(size, size, size, dtype=torch.bool)
    out[start : start + side, start : start + side, start : start + side] = True
    return out


def points(seed: int, n: int) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


@given(seed=seeds, spacing=spacings, flat=st.booleans(), share=st.sampled_from([0.02, 0.4, 0.9]))
def test_surface_figures_agree_with_all_pairs(
    seed: int, spacing: tuple[float, ...], flat: bool, share: float
) -> None:
    shape, spacing = ((7, 6), spacing[:2]) if flat else ((5, 6, 4), spacing)
    a, b = mask(seed, shape, share), mask(seed + 1, shape, share)
    assume(a.any() and b.any())
    found = surface_distances(a, b, spacing_mm=spacing)
    x, y = a.numpy(), b.numpy()
    assert found.status == "both"
    for percentile in (50, 95, 100):
        expected = reference.hausdorff(x, y, spacing, percentile)
        assert found.hausdorff(percentile) == pytest.approx(expected, abs=1e-12)
    assert found.mean() == pytest.approx(reference.average(x, y, spacing), abs=1e-12)
    expected = reference.dice(x, y, spacing, 1.1)
    assert found.dice(tolerance_mm=1.1) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("spacing", [UNIT, (3.0, 0.7, 1.1)])
@pytest.mark.parametrize("noise", [False, True])
def test_agree_with_monai(spacing: tuple[float, float, float], noise: bool) -> None:
    if noise:
        a, b = mask(0, (12, 10, 11), 0.5), mask(1, (12, 10, 11), 0.5)
    else:
        a, b = ball((9.2, 10.1, 8.7), 6.4), ball((10.5, 8.8, 9.4), 5.1)
    a, b = a[None, None], b[None, None]
    ours = {"spacing_mm": spacing}
    theirs = {"spacing": spacing, "include_background": True}
    warnings.simplefilter("ignore", FutureWarning)  # of MONAI, about its own calls
    distance = compute_hausdorff_distance(a, b, percentile=95, **theirs).item()
    assert hausdorff95(a, b, **ours).item() == pytest.approx(distance, rel=1e-5)
    distance = compute_average_surface_distance(a, b, symmetric=True, **theirs).item()
    assert average_surface_distance(a, b, **ours).item() == pytest.approx(distance, rel=1e-5)
    voxels = compute_surface_dice(a, b, [1.0], **theirs).item()
    got = surface_dice(a, b, tolerance_mm=1.0, elements="voxels", **ours).item()
    assert got == pytest.approx(voxels, abs=1e-6)
    areas = compute_surface_dice(a, b, [1.0], use_subvoxels=True, **theirs).item()
    got = surface_dice(a, b, tolerance_mm=1.0, **ours).item()
    assert got == pytest.approx(areas, abs=1e-6)


def cell(code: int) -> np.ndarray:
    return np.array([code >> bit & 1 for bit in range(8)], dtype=bool).reshape(2, 2, 2)


def middle_size(code: int, spacing: tuple[float, float, float]) -> float:
    """Area in the cell between all eight voxels."""
    surface = surface_elements(cell(code), spacing, "areas")
    at = (surface.places_mm == np.asarray(spacing) / 2).all(1)
    return float(surface.sizes[at].sum())


@pytest.mark.parametrize("spacing", [UNIT, (0.5, 0.5, 3.0), (2.0, 0.7, 1.1)])
def test_areas_equal_the_known_table(spacing: tuple[float, float, float]) -> None:
    known = create_table_neighbour_code_to_surface_area(spacing)[0].numpy()
    ours = np.array([middle_size(code, spacing) for code in range(256)])
    assert np.allclose(ours, known, rtol=1e-6)


def test_areas_measure_the_surface() -> None:
    spacing = (2.0, 0.5, 1.0)
    box = torch.zeros(10, 40, 20, dtype=torch.bool)
    box[2:8, 4:36, 3:17] = True  # 12 x 16 x 14 mm, edges and corners bevelled
    sizes = surface_elements(box.numpy(), spacing, "areas").sizes
    assert sizes.sum() == pytest.approx(2 * (12 * 16 + 12 * 14 + 16 * 14), rel=0.05)
    sphere = surface_elements(ball((19.5, 19.5, 19.5), 15, 40).numpy(), UNIT, "areas").sizes
    assert sphere.sum() == pytest.approx(4 * math.pi * 15**2, rel=0.1)  # staircases cost 8 %
    flat = surface_elements(ball((9.5, 9.5), 6).numpy(), (1.0, 1.0), "areas").sizes
    assert flat.sum() == pytest.approx(2 * math.pi * 6, rel=0.08)


@given(seed=seeds, spacing=spacings, elements=st.sampled_from(["voxels", "areas"]))
def test_laws_of_surfaces(seed: int, spacing: tuple[float, ...], elements: str) -> None:
    a, b = mask(seed), mask(seed + 1)
    assume(a.any() and b.any())
    there = surface_distances(a, b, spacing_mm=spacing, elements=elements)
    back = surface_distances(b, a, spacing_mm=spacing, elements=elements)
    assert torch.equal(there.pred, back.target)
    assert there.hausdorff() == back.hausdorff()
    assert there.mean() == pytest.approx(back.mean())
    same = surface_distances(a, a, spacing_mm=spacing, elements=elements)
    assert same.hausdorff(100) == same.mean() == 0
    assert same.dice(tolerance_mm=0) == 1
    shares = [there.dice(tolerance_mm=t) for t in (0, 0.5, 1, 2, 50)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    percentiles = [there.hausdorff(p) for p in (1, 50, 90, 100)]
    assert percentiles == sorted(percentiles)
    assert there.mean() <= percentiles[-1] + 1e-9
    twice = surface_distances(a, b, spacing_mm=[2 * s for s in spacing], elements=elements)
    assert twice.hausdorff() == pytest.approx(2 * there.hausdorff())
    padded = [torch.nn.functional.pad(x, (3, 1, 0, 2, 5, 0)) for x in (a, b)]
    assert surface_distances(*padded, spacing_mm=spacing, elements=elements).mean() == there.mean()


@given(shift=st.integers(1, 4), axis=st.integers(0, 2), spacing=spacings, areas=st.booleans())
def test_a_shifted_cube_is_as_far_as_it_was_shifted(
    shift: int, axis: int, spacing: tuple[float, ...], areas: bool
) -> None:
    a = cube()
    found = surface_distances(
        a.roll(shift, axis), a, spacing_mm=spacing, elements="areas" if areas else "voxels"
    )
    assert found.hausdorff(100) == pytest.approx(shift * spacing[axis])
    assert found.dice(tolerance_mm=shift * spacing[axis] + 1e-9) == 1
    assert found.dice(tolerance_mm=0) < 1


def test_voxels_weigh_the_long_sides_too_little() -> None:
    """The end faces of a bar of long voxels are wrong: what share is that?"""
    bar = torch.zeros(12, 16, 16, dtype=torch.bool)
    bar[3:7, 2:14, 2:14] = True  # 4 x 12 x 12 voxels of 5 x 1 x 1 mm
    longer = bar.clone()
    longer[2:8] = bar[3]
    wrong = 2 * 12 * 12 / (2 * 12 * 12 + 4 * 12 * (4 * 5))
    by = {
        kind: surface_dice(
            longer[None, None],
            bar[None, None],
            tolerance_mm=2.5,
            spacing_mm=(5, 1, 1),
            elements=kind,
        ).item()
        for kind in ("voxels", "areas")
    }
    assert by["areas"] == pytest.approx(1 - wrong, abs=0.07)
    assert by["voxels"] < 1 - wrong - 0.15


def test_one_percentile_of_both_directions_is_another_figure() -> None:
    """A blob that the prediction lacks is 6 % of one surface and 3 % of both together."""
    pred = ball((9.5, 9.5, 9.5), 8, 30)
    target = pred | ball((25.0, 25.0, 25.0), 2.5, 30)
    found = surface_distances(pred, target, spacing_mm=UNIT)
    assert np.percentile(torch.cat([found.pred, found.target]).numpy(), 95) == 0
    assert found.hausdorff(95) > 10


def test_absence_is_told_and_not_averaged() -> None:
    none, some = torch.zeros(4, 4, 4, dtype=torch.bool), cube(4, 1, 2)
    for a, b, status in (
        (none, none, "neither"),
        (some, none, "only pred"),
        (none, some, "only target"),
        (some, some, "both"),
    ):
        found = surface_distances(a, b, spacing_mm=UNIT)
        distance, share = {"neither": (math.nan, math.nan), "both": (0.0, 1.0)}.get(
            status, (math.inf, 0.0)
        )
        assert found.status == status
        assert found.hausdorff() == pytest.approx(distance, nan_ok=True)
        assert found.mean() == pytest.approx(distance, nan_ok=True)
        assert found.dice(tolerance_mm=9) == pytest.approx(share, nan_ok=True)
        assert found.chamfer() == pytest.approx(distance, nan_ok=True)
        assert found.f_score(tolerance_mm=9) == pytest.approx(share, nan_ok=True)
        pair = a[None, None], b[None, None]
        given_up = 0.0 if status == "both" else 60.0 if "only" in status else math.nan
        for metric in (hausdorff95, average_surface_distance):
            value = metric(*pair, spacing_mm=UNIT).item()
            assert value == pytest.approx(distance, nan_ok=True)
            value = metric(*pair, spacing_mm=UNIT, missing_mm=60).item()
            assert value == pytest.approx(given_up, nan_ok=True)
        value = surface_dice(*pair, tolerance_mm=9, spacing_mm=UNIT).item()
        assert value == pytest.approx(share, nan_ok=True)


@given(seed=seeds)
def test_batches_labels_and_masks_say_the_same(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pred, target = torch.randint(4, (2, 2, 1, 4, 5, 4), generator=generator)
    known = torch.arange(1, 4).reshape(1, 3, 1, 1, 1)
    for metric, options in (
        (hausdorff95, {}),
        (average_surface_distance, {}),
        (surface_dice, {"tolerance_mm": 1.0}),
    ):
        options = {**options, "spacing_mm": (1.0, 2.0, 0.5)}
        by_label = metric(pred, target, classes=(1, 2, 3), **options)
        assert by_label.shape == (2, 3)
        assert by_label.dtype == torch.float32
        assert torch.equal(by_label, metric(pred == known, target == known, **options))
        alone = metric(pred[1:], target[1:], classes=(2,), **options)
        assert torch.equal(alone, by_label[1:, 1:2])


@given(seed=seeds, spacing=spacings)
def test_figures_of_voxels_are_those_of_their_centres(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    pair = mask(seed, share=0.1), mask(seed + 1, share=0.1)
    found = surface_distances(*pair, spacing_mm=spacing)
    places = [
        torch.from_numpy(surface_elements(m.numpy(), spacing, "voxels").places_mm) for m in pair
    ]
    expected = float(chamfer(*places))
    assert found.chamfer() == pytest.approx(expected, rel=1e-6, nan_ok=True)
    expected = float(f_score(*places, threshold_mm=1.0))
    assert found.f_score(tolerance_mm=1.0) == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_refusals_of_surfaces(unchecked: None) -> None:
    a = cube()
    for bad in ((1.0, 1.0), (1.0, 1.0, 0.0), (1.0, -1.0, 1.0)):
        with pytest.raises(ValueError, match="spacing_mm"):
            inspect.unwrap(surface_distances)(a, a, spacing_mm=bad)
    with pytest.raises(ValueError, match="expected one shape"):
        inspect.unwrap(surface_distances)(a, a[1:], spacing_mm=UNIT)
    with pytest.raises(ValueError, match="2 or 3 axes"):
        inspect.unwrap(surface_distances)(a[0, 0], a[0, 0], spacing_mm=(1.0,))
    with pytest.raises(ValueError, match="elements must be one of"):
        inspect.unwrap(surface_distances)(a, a, spacing_mm=UNIT, elements="faces")
    with pytest.raises(ValueError, match="tolerance_mm must be at least 0, got -1"):
        surface_dice(a[None, None], a[None, None], tolerance_mm=-1, spacing_mm=UNIT)
    for bad in (0.0, -5.0, 100.5, 101.0, math.nan):
        for target in (a, torch.zeros_like(a)):
            found = inspect.unwrap(surface_distances)(a, target, spacing_mm=UNIT)
            with pytest.raises(ValueError, match="percentile must be above 0 and at most 100"):
                found.hausdorff(bad)
    with pytest.raises(TypeError, match="both boolean or both integer"):
        hausdorff95(a[None, None], a[None, None].long(), spacing_mm=UNIT)
    with pytest.raises(ValueError, match="need classes="):
        hausdorff95(a[None, None].long(), a[None, None].long(), spacing_mm=UNIT)


@given(seed=seeds, n=st.integers(1, 30), m=st.integers(1, 30))
def test_point_sets_agree_with_all_pairs(seed: int, n: int, m: int) -> None:
    a, b = points(seed, n), points(seed + 1, m)
    x, y = a.numpy(), b.numpy()
    for power in (1, 2):
        expected = reference.chamfer(x, y, power)
        total = chamfer(a, b, power=power, reduction="sum").item()
        assert total == pytest.approx(expected, rel=1e-5)
        assert chamfer(a, b, power=power).item() == pytest.approx(expected / 2, rel=1e-5)
    expected = reference.f_score(x, y, 0.7)
    assert f_score(a, b, threshold_mm=0.7).item() == pytest.approx(expected, rel=1e-5)
    for ours, theirs in zip(_by_blocks(a.double(), b.double()), _by_tree(a, b), strict=True):
        assert torch.allclose(ours, theirs)  # what an accelerator runs


@given(seed=seeds, shift=st.floats(0.5, 20))
def test_laws_of_point_sets(seed: int, shift: float) -> None:
    a, b = points(seed, 20).double(), points(seed + 1, 13).double()
    assert chamfer(a, b).item() == pytest.approx(chamfer(b, a).item())
    assert f_score(a, b, threshold_mm=1).item() == pytest.approx(
        f_score(b, a, threshold_mm=1).item()
    )
    assert chamfer(a, a[torch.randperm(20)]).item() == 0
    assert f_score(a, a, threshold_mm=0).item() == 1
    assert chamfer(3 * a, 3 * b).item() == pytest.approx(3 * chamfer(a, b).item())
    far = a + torch.tensor([1000.0, 0, 0])
    assert chamfer(far, b + torch.tensor([1000.0, 0, 0])).item() == pytest.approx(
        chamfer(a, b).item(), abs=1e-9
    )
    one = a[:1]
    moved = one + torch.tensor([0.0, shift, 0.0])
    assert chamfer(one, moved).item() == pytest.approx(shift)
    assert chamfer(one, moved, power=2, reduction="sum").item() == pytest.approx(2 * shift**2)
    shares = [f_score(a, b, threshold_mm=t).item() for t in (0, 0.3, 1, 50)]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_point_sets_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = points(0, 40).reshape(4, 10, 3), points(1, 28).reshape(4, 7, 3)
    for metric in (chamfer, lambda x, y: f_score(x, y, threshold_mm=0.8)):
        together = metric(a, b)
        assert together.shape == (4,)
        assert torch.equal(together, torch.stack([metric(x, y) for x, y in zip(a, b, strict=True)]))
    assert chamfer(a[:0], b[:0]).shape == (0,)
    assert chamfer(a.half(), b.half()).dtype == torch.float32
    whole = _by_blocks(a[0], b[0])
    monkeypatch.setattr("libimg.metrics.point_sets.PAIRS", 15)  # blocks of two points
    for x, y in zip(whole, _by_blocks(a[0], b[0]), strict=True):
        assert torch.equal(x, y)


def test_empty_point_sets_are_told() -> None:
    none, some = torch.zeros(0, 3), torch.zeros(2, 3)
    assert chamfer(none, none).isnan()
    assert f_score(none, none, threshold_mm=1).isnan()
    for pair in ((none, some), (some, none)):
        assert chamfer(*pair).item() == math.inf
        assert f_score(*pair, threshold_mm=1).item() == 0
        there, back = _by_blocks(*pair)
        assert (len(there), len(back)) == (len(pair[0]), len(pair[1]))
        assert torch.cat([there, back]).isinf().all()
    assert f_score(some, some + 9, threshold_mm=1).item() == 0


def test_refusals_of_point_sets(unchecked: None) -> None:
    a = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="points_b holds points that are not finite"):
        chamfer(a, a * math.nan)
    with pytest.raises(ValueError, match="power must be one of 1, 2, got 3"):
        inspect.unwrap(chamfer)(a, a, power=3)
    with pytest.raises(ValueError, match="reduction must be one of"):
        inspect.unwrap(chamfer)(a, a, reduction="max")
    with pytest.raises(ValueError, match="threshold_mm must be at least 0"):
        f_score(a, a, threshold_mm=-1)
    for bad in (a[:, :2], a[None]):
        with pytest.raises(ValueError, match=r"points must be \(n, d\) or \(b, n, d\)"):
            inspect.unwrap(chamfer)(a, bad)


@given(seed=seeds, k=st.integers(2, 7), masked=st.booleans())
def test_coverage_agrees_with_counting(seed: int, k: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randint(9, (2, k, 3, 4), generator=generator).double()
    truth = torch.randint(9, (2, 3, 4), generator=generator).double()
    keep = torch.rand(2, 3, 4, generator=generator) < 0.6 if masked else None
    for trim in range(k // 2):
        got = coverage(samples, truth, trim=trim, mask=keep)
        for i in range(2):
            hits = []
            for place in np.ndindex(3, 4):
                if keep is None or keep[i][place]:
                    between = sorted(samples[i, :, place[0], place[1]].tolist())[trim : k - trim]
                    hits.append(between[0] <= truth[i][place].item() <= between[-1])
            expected = sum(hits) / len(hits) if hits else math.nan
            assert got[i].item() == pytest.approx(expected, nan_ok=True, rel=1e-6)


@pytest.mark.parametrize("trim", [0, 1, 3])
def test_a_calibrated_model_covers_what_it_should(trim: int, generator: torch.Generator) -> None:
    drawn = torch.randn(1, 11, 20_000, generator=generator)
    samples, truth = drawn[:, 1:], drawn[:, 0]
    expected = (10 - 1 - 2 * trim) / 11
    assert coverage(samples, truth, trim=trim).item() == pytest.approx(expected, abs=0.015)
    assert coverage(0.3 * samples, truth, trim=trim).item() < 0.6 * expected
    assert coverage(3 * samples, truth, trim=trim).item() > expected + 0.05


@given(seed=seeds, masked=st.booleans())
def test_correlation_agrees_with_the_definition(seed: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randint(4, (2, 2, 12), generator=generator).double()  # with exact ties
    truth = torch.randn(2, 12, generator=generator).double().round()
    keep = torch.rand(2, 12, generator=generator) < 0.8 if masked else None
    for i in range(2):
        chosen = range(12) if keep is None else keep[i].nonzero()[:, 0].tolist()
        spread = [float(np.std(samples[i, :, j].numpy(), ddof=1)) for j in chosen]
        error = [abs(samples[i, :, j].mean().item() - truth[i, j].item()) for j in chosen]
        for kind in ("pearson", "spearman"):
            ranks = reference.ranks if kind == "spearman" else list
            got = error_variance_correlation(samples, truth, kind=kind, mask=keep)[i].item()
            expected = reference.correlation(ranks(spread), ranks(error)) if chosen else math.nan
            assert got == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_doubt_where_the_error_is(generator: torch.Generator) -> None:
    doubt = torch.rand(1, 4000, generator=generator) * 5
    samples = torch.randn(1, 8, 4000, generator=generator) * doubt[:, None]
    truth = torch.randn(1, 4000, generator=generator) * doubt
    for kind in ("pearson", "spearman"):
        assert 0.3 < error_variance_correlation(samples, truth, kind=kind).item() < 0.8
        wrong = truth / doubt * doubt.flip(1)
        assert abs(error_variance_correlation(samples * 0.01, wrong, kind=kind).item()) < 0.1
    assert error_variance_correlation(samples[:, :1].expand(1, 3, -1), truth).isnan().all()


def test_refusals_of_completions(unchecked: None) -> None:
    samples, truth = torch.zeros(1, 3, 5), torch.zeros(1, 5)
    for trim in (1, -1):
        with pytest.raises(
            ValueError, match=f"trim must leave two samples or more, got trim {trim}"
        ):
            coverage(samples, truth, trim=trim)
    with pytest.raises(ValueError, match="two or more for a spread"):
        error_variance_correlation(samples[:, :1], truth)
    with pytest.raises(ValueError, match="kind must be one of"):
        inspect.unwrap(error_variance_correlation)(samples, truth, kind="kendall")
    for metric in (coverage, error_variance_correlation):
        with pytest.raises(ValueError, match=r"samples must be \(b, k, \*where\)"):
            inspect.unwrap(metric)(samples, truth[:, :4])
        with pytest.raises(ValueError, match=r"samples must be \(b, k, \*where\)"):
            inspect.unwrap(metric)(samples, truth, mask=torch.ones(1, 4).bool())
    nothing = torch.zeros(1, 5, dtype=torch.bool)
    assert coverage(samples, truth, mask=nothing).isnan().all()
    assert error_variance_correlation(samples, truth, mask=nothing).isnan().all()


@given(seed=seeds, n=st.integers(0, 6))
def test_summary_keeps_groups_apart_and_counts_everything(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(n, 3, generator=generator)
    values[torch.rand(n, 3, generator=generator) < 0.3] = math.nan
    observed = torch.rand(n, 3, generator=generator) < 0.5
    found = summarise_classes(values, observed, classes=("LA", "LV", "PV"))
    assert list(found) == ["LA", "LV", "PV", "all"]
    for name, summary in found.items():
        columns = slice(None) if name == "all" else [list(found).index(name)]
        for group, chosen in ((summary.observed, observed), (summary.completed, ~observed)):
            part = values[:, columns][chosen[:, columns]].double().numpy()
            kept = part[~np.isnan(part)]
            assert (group.defined, group.undefined) == (len(kept), len(part) - len(kept))
            mean, median = (kept.mean(), np.median(kept)) if len(kept) else (math.nan, math.nan)
            assert group.mean == pytest.approx(mean, nan_ok=True)
            assert group.median == pytest.approx(median, nan_ok=True)


def test_a_missing_structure_is_not_averaged_away() -> None:
    none, some = torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool), cube(4, 1, 2)[None, None]
    pred, target = torch.cat([some, none, none]), torch.cat([some, some, none])
    distances = hausdorff95(pred, target, spacing_mm=UNIT)
    summary = summarise_classes(distances, torch.zeros(3, 1).bool(), classes=("LAA",))
    assert summary["LAA"].completed == (math.inf, math.inf, 2, 1)
    overlap = summarise_classes(dice(pred, target), torch.ones(3, 1).bool(), classes=("LAA",))
    assert overlap["LAA"].observed == (0.5, 0.5, 2, 1)


def test_refusals_of_summaries(unchecked: None) -> None:
    values, observed = torch.zeros(2, 2), torch.zeros(2, 2).bool()
    for names in (("LV",), ("LV", "LV"), ("LV", "all")):
        with pytest.raises(ValueError, match="classes"):
            summarise_classes(values, observed, classes=names)
    with pytest.raises(ValueError, match="values and observed must be"):
        inspect.unwrap(summarise_classes)(values, observed[:1], classes=("a", "b"))


@pytest.mark.data
def test_a_real_heart_against_distance_transforms(data_folder: Path) -> None:
    import nibabel as nib

    image = nib.load(data_folder / "ct" / "heart_labels" / "mmwhs.nii.gz")
    labels = np.asarray(image.dataobj)[::2, ::2, ::2].transpose(2, 1, 0)
    spacing = [2 * float(s) for s in image.header.get_zooms()[::-1]]
    for label in (1, 7):
        a = labels == label
        b = np.roll(a, 2, axis=1)
        box = tuple(slice(max(x.min() - 3, 0), x.max() + 4) for x in np.nonzero(a | b))
        a, b = np.ascontiguousarray(a[box]), np.ascontiguousarray(b[box])
        found = surface_distances(torch.from_numpy(a), torch.from_numpy(b), spacing_mm=spacing)
        places = [
            tuple(np.rint(reference_places / spacing).astype(int).T)
            for reference_places in (
                surface_elements(x, spacing, "voxels").places_mm for x in (a, b)
            )
        ]
        grids = []
        for place in places:
            free = np.ones(a.shape, bool)
            free[place] = False
            grids.append(distance_transform_edt(free, sampling=spacing))
        expected = max(
            np.percentile(grids[1][places[0]], 95), np.percentile(grids[0][places[1]], 95)
        )
        assert found.hausdorff(95) == pytest.approx(expected)
        assert found.hausdorff(100) <= 2 * spacing[1] + 1e-9
