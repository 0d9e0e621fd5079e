import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from libimg.metrics import (
    BestF1,
    best_f1,
    esr_controls,
    event_auc,
    event_chamfer,
    event_f1,
    event_gaussian_distance,
    event_precision_recall,
    event_rates,
    event_structural_ratio,
    mean_event_structural_ratio,
    pooled_mse,
    relative_plausibility,
    retention,
    signal_to_noise,
    voxel_mse,
    voxel_psnr,
)
from libimg.ranges import ValueRange
from tests.strategies import seeds

COLLAPSES = ("none", "time", "time_polarity")
LAYOUTS = ("signed", "one", "two")
KINDS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
GRID_METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "voxel_mse": voxel_mse,
    "voxel_psnr": lambda a, b: voxel_psnr(a, b, data_range=16),
    "pooled_mse": lambda a, b: pooled_mse(a, b, kernel=2),
    "event_f1": event_f1,
    "precision": lambda a, b: event_precision_recall(a, b)[0],
    "recall": lambda a, b: event_precision_recall(a, b)[1],
}
bits = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12)
layouts, collapses = st.sampled_from(LAYOUTS), st.sampled_from(COLLAPSES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grids(seed: int, layout: str, *, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Sparse grids of small counts, in float64."""
    lead = {"signed": (), "one": (1,), "two": (2,)}[layout]
    shape = (2, batch, *lead, 3, 4, 5)
    draw = torch.randint(-2, 3, shape, generator=generator(seed)).double()
    grid = draw * (torch.rand(shape, generator=generator(seed + 1)) < 0.4)
    return tuple(grid.abs() if layout == "two" else grid)


def cells(grid: Tensor) -> dict[tuple[int, int, int, int], float]:
    """Counts by (polarity, bin, y, x) of one sample ``(bins, h, w)`` or ``(1 or 2, bins, h, w)``."""
    if grid.ndim == 3:
        grid = grid[None]
    parts = grid if len(grid) == 2 else (grid[0], -grid[0])
    counts = {}
    for polarity, part in enumerate(parts):
        for place in product(*map(range, part.shape)):
            counts[(polarity, *place)] = max(float(part[place]), 0.0)
    return counts


def occupied(grid: Tensor, collapse: str, threshold: float) -> set[tuple[int, ...]]:
    sums: Counter[tuple[int, ...]] = Counter()
    for (polarity, b, y, x), count in cells(grid).items():
        place = {"none": (polarity, b, y, x), "time": (polarity, y, x), "time_polarity": (y, x)}
        sums[place[collapse]] += count
    return {place for place, count in sums.items() if count > threshold}


# voxel grids


@given(seeds, layouts)
def test_voxel_mse_and_psnr(seed: int, layout: str) -> None:
    a, b = grids(seed, layout)
    squares = ((a - b).numpy() ** 2).reshape(2, -1).mean(1)
    np.testing.assert_allclose(voxel_mse(a, b), squares, rtol=1e-12)
    expected = 10 * np.log10(16**2 / squares)
    np.testing.assert_allclose(voxel_psnr(a, b, data_range=16), expected, rtol=1e-12)
    spanned = voxel_psnr(a, b, data_range=ValueRange(-8, 8))
    assert spanned.equal(voxel_psnr(a, b, data_range=16))


def test_equal_grids_and_half_the_span() -> None:
    a, b = grids(0, "signed")
    assert voxel_mse(a, a).tolist() == [0, 0]
    assert voxel_psnr(a, a, data_range=16).tolist() == [math.inf] * 2
    loss = voxel_psnr(a, b, data_range=16) - voxel_psnr(a, b, data_range=8)
    assert loss.tolist() == pytest.approx([20 * math.log10(2)] * 2)


@given(seeds, layouts, st.integers(1, 7))
def test_pooled_mse(seed: int, layout: str, kernel: int) -> None:
    a, b = grids(seed, layout, batch=1)
    difference = {place: n - cells(b[0])[place] for place, n in cells(a[0]).items()}
    blocks: dict[tuple[int, ...], list[float]] = {}
    for (p, t, y, x), value in difference.items():
        blocks.setdefault((p, t, y // kernel, x // kernel), []).append(value)
    expected = np.mean([np.mean(block) ** 2 for block in blocks.values()])
    assert pooled_mse(a, b, kernel=kernel).tolist() == pytest.approx([expected])


def test_pooled_mse_forgives_inside_a_block_only() -> None:
    a, b = torch.zeros(2, 1, 1, 2, 4)
    a[0, 0, 0, 1], b[0, 0, 1, 0] = 3.0, 3.0
    assert pooled_mse(a, b, kernel=1).tolist() == [2 * 9 / 16]
    assert pooled_mse(a, b, kernel=2).item() == 0
    assert pooled_mse(a, b.roll(2, -1), kernel=2).item() == pytest.approx(2 * (3 / 4) ** 2 / 4)
    assert pooled_mse(a, -b, kernel=2).item() == pytest.approx(2 * (3 / 4) ** 2 / 4)


@given(seeds)
def test_pooled_mse_of_one_pixel_is_half_of_voxel_mse_where_no_sign_differs(seed: int) -> None:
    a, b = grids(seed, "two")
    signed = [grid[:, :1] * (-1) ** torch.arange(5) for grid in (a, b)]
    torch.testing.assert_close(pooled_mse(*signed, kernel=1), voxel_mse(*signed) / 2)


@given(seeds, layouts, collapses, st.sampled_from((1e-3, 0.5, 1.0, 2.5)))
def test_cells_in_common(seed: int, layout: str, collapse: str, threshold: float) -> None:
    a, b = grids(seed, layout)
    a[0] *= seed % 5 > 0
    b[0] *= seed % 7 > 0
    options = {"collapse": collapse, "threshold": threshold}
    f1, (precision, recall) = event_f1(a, b, **options), event_precision_recall(a, b, **options)
    for i in range(2):
        of_a, of_b = (occupied(grid[i], collapse, threshold) for grid in (a, b))
        common = len(of_a & of_b)
        both = len(of_a) + len(of_b)
        assert f1[i].item() == pytest.approx(2 * common / both if both else 1)
        for share, part in ((precision, of_a), (recall, of_b)):
            expected = common / len(part) if part else math.nan
            assert share[i].item() == pytest.approx(expected, nan_ok=True)
    assert f1.equal(event_f1(b, a, **options))


@pytest.mark.parametrize("collapse", COLLAPSES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_f1_of_empty_and_of_equal_grids(layout: str, collapse: str) -> None:
    a, _ = grids(3, layout)
    empty = torch.zeros_like(a)
    assert event_f1(empty, empty, collapse=collapse).tolist() == [1, 1]
    assert event_f1(a, empty, collapse=collapse).tolist() == [0, 0]
    assert event_f1(empty, a, collapse=collapse).tolist() == [0, 0]
    assert event_f1(a, a, collapse=collapse).tolist() == [1, 1]
    precision, recall = event_precision_recall(empty, a, collapse=collapse)
    assert precision.isnan().all()
    assert recall.tolist() == [0, 0]
    precision, recall = event_precision_recall(a, empty, collapse=collapse)
    assert precision.tolist() == [0, 0]
    assert recall.isnan().all()


def test_what_each_collapse_sees() -> None:
    truth, late, dark, aside = torch.zeros(4, 1, 2, 1, 2)
    truth[0, 0, 0, 0], late[0, 1, 0, 0] = 1, 1
    dark[0, 0, 0, 0], aside[0, 0, 0, 1] = -1, 1
    for grid, expected in ((truth, [1, 1, 1]), (late, [0, 1, 1]), (dark, [0, 0, 1])):
        assert [event_f1(grid, truth, collapse=c).item() for c in COLLAPSES] == expected
        # how many events a cell holds does not matter
        assert [event_f1(5 * grid, truth, collapse=c).item() for c in COLLAPSES] == expected
    assert [event_f1(aside, truth, collapse=c).item() for c in COLLAPSES] == [0, 0, 0]


def test_opposite_events_do_not_cancel_between_bins() -> None:
    grid = torch.tensor([[[[1.0]], [[-1.0]]]])
    only = torch.tensor([[[[1.0]], [[0.0]]]])
    assert event_f1(grid, only, collapse="time").item() == pytest.approx(2 / 3)
    assert event_f1(grid, only, collapse="time_polarity").item() == 1


def test_counts_below_zero_count_as_none() -> None:
    low = torch.tensor([[[[[2.0]], [[-3.0]]], [[[-1.0]], [[0.0]]]]])  # (1, 2, 2, 1, 1)
    for collapse in COLLAPSES:
        assert event_f1(low, low.clamp(min=0), collapse=collapse).item() == 1


@pytest.mark.parametrize("name", list(GRID_METRICS))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_batched_equals_one_by_one(name: str, layout: str) -> None:
    a, b = grids(8, layout, batch=3)
    metric = GRID_METRICS[name]
    single = [metric(x[None], y[None]) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(metric(a, b), torch.cat(single))


@pytest.mark.parametrize("name", list(GRID_METRICS))
def test_layouts_say_the_same(name: str) -> None:
    a, b = grids(8, "signed")
    metric = GRID_METRICS[name]
    one = metric(a[:, None], b[:, None])
    torch.testing.assert_close(one, metric(a, b))
    if not name.startswith("voxel"):
        counts = (torch.stack([x.clamp(min=0), (-x).clamp(min=0)], 1) for x in (a, b))
        torch.testing.assert_close(metric(*counts), metric(a, b))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(GRID_METRICS))
def test_half_precision_is_widened(name: str, kind: torch.dtype) -> None:
    a, b = grids(8, "signed")
    result = GRID_METRICS[name](100 * a.to(kind), 100 * b.to(kind))
    wide = kind == torch.float64 and not name.startswith(("event", "pre", "rec"))
    assert result.dtype == (torch.float64 if wide else torch.float32)
    expected = GRID_METRICS[name](100 * a, 100 * b)
    torch.testing.assert_close(result.double(), expected.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["voxel_mse", "pooled_mse"])
def test_gradients(name: str) -> None:
    a, b = (grid[..., :2, :3] + 0.25 for grid in grids(5, "signed", batch=1))
    assert torch.autograd.gradcheck(GRID_METRICS[name], (a.requires_grad_(), b))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", list(GRID_METRICS))
def test_grids_of_other_shapes_are_refused(name: str) -> None:
    metric = GRID_METRICS[name]
    with pytest.raises(ValueError, match=r"expected one shape, got .*\(1, 2, 3, 4\)"):
        metric(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 5))
    if not name.startswith("voxel"):
        for shape in ((1, 3, 2, 4, 4), (1, 4, 4), (1, 1, 1, 2, 4, 4)):
            with pytest.raises(ValueError, match=r"voxel grids must be .*got shape"):
                metric(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.usefixtures("unchecked")
def test_grid_options_are_checked() -> None:
    a = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="data_range must be above 0"):
        voxel_psnr(a, a, data_range=0)
    for kernel in (0, -2):
        with pytest.raises(ValueError, match=f"kernel must be at least 1, got {kernel}"):
            pooled_mse(a, a, kernel=kernel)
    for function in (event_f1, event_precision_recall):
        with pytest.raises(ValueError, match="collapse must be one of 'none', 'time'"):
            function(a, a, collapse="polarity")


# labels


def pair(rows: list[tuple[bool, bool]]) -> tuple[Tensor, Tensor]:
    left, right = torch.tensor(rows, dtype=torch.bool).reshape(-1, 2).unbind(1)
    return left, right


def share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


@given(bits)
def test_event_rates(rows: list[tuple[bool, bool]]) -> None:
    kept, signal = pair(rows)
    n = Counter(rows)
    tp, fp, fn, tn = (n[key] for key in product((True, False), repeat=2))
    rates = event_rates(kept, signal)
    expected = {
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "f1": share(2 * tp, 2 * tp + fp + fn) if tp + fp + fn else 1.0,
        "noise_removed": share(tn, tn + fp),
        "retention": share(tp + fp, len(rows)),
    }
    assert rates._asdict() == pytest.approx(expected, nan_ok=True)
    assert retention(kept) == pytest.approx(rates.retention, nan_ok=True)
    decibels = 10 * math.log10(tp / fp) if tp and fp else math.nan
    decibels = decibels if tp + fp == 0 or tp * fp else math.inf if tp else -math.inf
    assert signal_to_noise(kept, signal) == pytest.approx(decibels, nan_ok=True)


def test_rates_of_little() -> None:
    nothing, noise = torch.zeros(0).bool(), torch.zeros(3).bool()
    rates = event_rates(nothing, nothing)
    assert rates.f1 == 1
    assert all(math.isnan(v) for k, v in rates._asdict().items() if k != "f1")
    assert math.isnan(retention(nothing))
    assert event_rates(noise, noise).f1 == 1
    assert event_rates(noise, noise).noise_removed == 1
    assert event_rates(~noise, noise).f1 == 0
    assert math.isnan(signal_to_noise(noise, noise))
    assert signal_to_noise(~noise, noise) == -math.inf
    assert signal_to_noise(~noise, ~noise) == math.inf
    ten = torch.arange(11) < 1
    assert signal_to_noise(~noise.new_zeros(11), ten) == pytest.approx(-10)


scored = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=14)


def columns(rows: list[tuple[int, bool]], kind: torch.dtype) -> tuple[Tensor, Tensor]:
    values, labels = [s for s, _ in rows], [b for _, b in rows]
    return torch.tensor(values).to(kind), torch.tensor(labels, dtype=torch.bool)


numbers = st.sampled_from((torch.float32, torch.float16, torch.float64, torch.int64, torch.int8))


@given(scored, numbers)
def test_event_auc(rows: list[tuple[int, bool]], kind: torch.dtype) -> None:
    high, low = ([s for s, b in rows if b == label] for label in (True, False))
    wins = [Fraction((a > b) + (a >= b), 2) for a in high for b in low]
    area = float(sum(wins) / len(wins)) if wins else math.nan
    scores, signal = columns(rows, kind)
    assert event_auc(scores, signal, positive="signal") == pytest.approx(area, nan_ok=True)
    assert event_auc(scores, signal, positive="noise") == pytest.approx(1 - area, nan_ok=True)
    assert event_auc(scores, ~signal, positive="noise") == pytest.approx(area, nan_ok=True)


@given(scored, numbers)
def test_best_f1(rows: list[tuple[int, bool]], kind: torch.dtype) -> None:
    wanted = sum(label for _, label in rows)
    best = best_f1(*columns(rows, kind))
    if not wanted:
        assert best == pytest.approx(BestF1(*[math.nan] * 4), nan_ok=True)
        return
    found = []
    for threshold in {s for s, _ in rows}:
        kept = [label for s, label in rows if s >= threshold]
        rates = (threshold, sum(kept) / len(kept), sum(kept) / wanted)
        found.append((Fraction(2 * sum(kept), len(kept) + wanted), *rates))
    f1, threshold, precision, recall = max(found)  # of equal F1, the highest threshold
    assert best == pytest.approx(BestF1(float(f1), threshold, precision, recall))


def test_best_f1_agrees_with_the_rates_at_its_threshold() -> None:
    signal = torch.rand(300, generator=generator()) < 0.3
    scores = torch.randn(300, generator=generator(1)) + signal
    best = best_f1(scores, signal)
    rates = event_rates(scores >= best.threshold, signal)
    assert (rates.f1, rates.precision, rates.recall) == pytest.approx(
        (best.f1, best.precision, best.recall)
    )


def test_infinite_scores_are_scores() -> None:
    scores = torch.tensor([math.inf, math.inf, 0.0, -math.inf])
    signal = torch.tensor([True, False, True, False])
    assert event_auc(scores, signal, positive="signal") == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    assert best_f1(scores, signal).threshold == 0
    assert best_f1(scores, torch.tensor([1, 1, 0, 0]).bool()) == (1, math.inf, 1, 1)


def plausibility(probability: list[float], kept: list[bool]) -> float:
    def log(value: float) -> float:
        return math.log(max(value, 2.2250738585072014e-308))

    def mean(decisions: list[bool]) -> float:
        pairs = zip(probability, decisions, strict=True)
        return sum(log(p if keep else 1 - p) for p, keep in pairs) / len(probability)

    return mean([p > 0.5 for p in probability]) - mean(kept)


chances = st.one_of(st.sampled_from((0.0, 0.5, 1.0)), st.floats(0, 1))


@given(st.lists(st.tuples(chances, st.booleans()), min_size=1, max_size=10))
def test_relative_plausibility(rows: list[tuple[float, bool]]) -> None:
    chance, kept = [p for p, _ in rows], [k for _, k in rows]
    p, k = torch.tensor(chance, dtype=torch.float64), torch.tensor(kept)
    result = relative_plausibility(p, k)
    assert result == pytest.approx(plausibility(chance, kept), abs=1e-9)
    assert result >= 0
    assert relative_plausibility(p, p > 0.5) == 0
    alone = [relative_plausibility(p[i : i + 1], k[i : i + 1]) for i in range(len(p))]
    assert result == pytest.approx(sum(alone) / len(alone), abs=1e-9)


@pytest.mark.parametrize("p", [0.51, 0.55, 0.7, 0.49, 0.3])
def test_the_wrong_decision_costs_the_log_odds(p: float) -> None:
    wrong = torch.tensor([p < 0.5])
    chance = torch.tensor([p], dtype=torch.float64)
    assert relative_plausibility(chance, ~wrong) == 0
    assert relative_plausibility(chance, wrong) == pytest.approx(abs(math.log(p / (1 - p))))


def test_impossible_events_cost_much_but_not_all() -> None:
    for p, keep in ((0.0, True), (1.0, False)):
        cost = relative_plausibility(torch.tensor([p]), torch.tensor([keep]))
        assert cost == pytest.approx(708.396, abs=1e-3)
    assert math.isnan(relative_plausibility(torch.zeros(0), torch.zeros(0).bool()))


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_chances_beyond_one_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"probability must lie in \[0, 1\]"):
        relative_plausibility(torch.tensor([0.5, value]), torch.tensor([True, False]))


@pytest.mark.usefixtures("unchecked")
def test_labels_of_other_lengths_and_options_are_refused() -> None:
    two, three = torch.ones(2), torch.ones(3)
    calls: list[Callable[[], object]] = [
        lambda: event_rates(two.bool(), three.bool()),
        lambda: signal_to_noise(two.bool(), three.bool()),
        lambda: event_auc(two, three.bool(), positive="signal"),
        lambda: best_f1(two, three.bool()),
        lambda: relative_plausibility(two, three.bool()),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"expected one shape, got .*\(2,\), .*\(3,\)"):
            call()
    with pytest.raises(ValueError, match="positive must be one of 'signal', 'noise'"):
        event_auc(two, two.bool(), positive="yes")
    bad = torch.tensor([1.0, math.nan])
    for call in (
        lambda: event_auc(bad, two.bool(), positive="noise"),
        lambda: best_f1(bad, two.bool()),
    ):
        with pytest.raises(ValueError, match="scores must not be NaN, got 1 of 2"):
            call()


# distances

event = st.tuples(
    st.integers(0, 40), st.integers(0, 6), st.integers(0, 4), st.sampled_from((-1, 1))
)
lists = st.lists(event, min_size=1, max_size=12)


def matrix(rows: list[tuple[int, ...]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 4)


def scale_by(rows: np.ndarray, frame: np.ndarray, scale: np.ndarray) -> np.ndarray:
    low, high = frame.min(0), frame.max(0)
    return (rows - low) / np.where(high > low, high - low, 1) * scale


def nearest(start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.sqrt(((start[:, None] - goal[None]) ** 2).sum(-1)).min(1)


def distances(
    estimate: Tensor, truth: Tensor, normalise: str, scale: object, direction: str
) -> list[np.ndarray]:
    a, b = estimate.double().numpy(), truth.double().numpy()
    factors = np.broadcast_to(np.array(scale, float), 4)
    if normalise == "none":
        here, there = a * factors, b * factors
    else:
        here = scale_by(a, b if normalise == "truth" else a, factors)
        there = scale_by(b, b, factors)
    ways = {"forward": [(here, there)], "backward": [(there, here)]}
    ways["both"] = ways["forward"] + ways["backward"]
    return [nearest(*way) for way in ways[direction]]


normalisations = st.sampled_from(("truth", "each", "none"))
directions = st.sampled_from(("forward", "backward", "both"))


@given(lists, lists, normalisations, directions, st.sampled_from((0.4, 30.0)), st.booleans())
def test_distances(
    a: list, b: list, normalise: str, direction: str, width: float, four: bool
) -> None:
    scale = (0.1, 1.0, 2.0, 0.5) if four or normalise == "none" else 100.0
    estimate, truth = matrix(a), matrix(b)
    options = {"normalise": normalise, "scale": scale, "direction": direction}
    found = distances(estimate, truth, **options)
    assert event_chamfer(estimate, truth, **options) == pytest.approx(
        np.mean([d.mean() for d in found]), abs=1e-9
    )
    score = [(1 - np.exp(-(d**2) / width)).mean() for d in found]
    gaussian = event_gaussian_distance(estimate, truth, width=width, **options)
    assert gaussian == pytest.approx(np.mean(score), abs=1e-9)
    split = event_chamfer(list(estimate.unbind(1)), truth.unbind(1), **options)
    assert split == event_chamfer(estimate, truth, **options)


@given(lists)
def test_distance_to_itself(rows: list) -> None:
    stream = matrix(rows)
    shuffled = stream[torch.randperm(len(stream), generator=generator())]
    assert event_chamfer(shuffled, stream) == 0
    assert event_gaussian_distance(shuffled, stream) == 0


@given(lists, lists, st.integers(-(2**50), 2**50))
def test_distances_do_not_see_the_clock_they_share(a: list, b: list, offset: int) -> None:
    move = torch.tensor([offset, 0, 0, 0])
    estimate, truth = matrix(a), matrix(b)
    for normalise in ("truth", "each"):
        before = event_chamfer(estimate, truth, normalise=normalise)
        moved = event_chamfer(estimate + move, truth + move, normalise=normalise)
        assert moved == before


def test_what_the_defaults_see_and_the_benchmark_does_not() -> None:
    truth = matrix([(0, 0, 0, 1), (10, 4, 4, -1), (20, 8, 8, 1)])
    benchmark = {"normalise": "each", "direction": "forward"}
    shifted, stretched = truth + torch.tensor([7, 1, 0, 0]), truth * torch.tensor([3, 1, 2, 1])
    for changed in (shifted, stretched, truth[[0, 0, 1, 2]][1:]):
        assert event_chamfer(changed, truth, **benchmark) == 0
    for changed in (shifted, stretched, truth[:2]):
        assert event_chamfer(changed, truth) > 1
        assert event_gaussian_distance(changed, truth) > 0.1
    assert event_chamfer(truth[:2], truth, direction="forward") == 0


def test_microseconds_of_an_epoch_are_exact() -> None:
    now = 1_700_000_000_000_001
    truth = matrix([(now, 1, 1, 1), (now + 1000, 1, 1, 1)])
    late = truth + torch.tensor([1, 0, 0, 0])
    scale = (1.0, 1.0, 1.0, 1.0)
    assert event_chamfer(late, truth, normalise="none", scale=scale) == 1
    assert event_chamfer(late, truth) == pytest.approx(0.1)


@pytest.mark.parametrize("function", [event_chamfer, event_gaussian_distance])
@pytest.mark.parametrize("normalise", ["truth", "each", "none"])
def test_empty_streams(function: Callable[..., float], normalise: str) -> None:
    some, empty = matrix([(0, 1, 1, 1), (5, 2, 2, -1)]), matrix([])
    far = 1.0 if function is event_gaussian_distance else math.inf
    for direction, expected in (("forward", far), ("backward", math.nan), ("both", far)):
        options = {"normalise": normalise, "scale": (1.0,) * 4, "direction": direction}
        assert function(some, empty, **options) == pytest.approx(expected, nan_ok=True)
        other = {"forward": math.nan, "backward": far, "both": far}[direction]
        assert function(empty, some, **options) == pytest.approx(other, nan_ok=True)
        assert function(empty, empty, **options) == 0


def test_samples() -> None:
    rows = torch.randint(0, 500, (2, 60, 4), generator=generator(3))
    estimate, truth = rows
    whole = event_chamfer(estimate, truth)
    everything = event_chamfer(estimate, truth, samples=60, generator=generator())
    assert everything == pytest.approx(whole)
    assert event_chamfer(estimate, truth, samples=99, generator=generator()) == whole
    drawn = [event_chamfer(estimate, truth, samples=15, generator=generator(s)) for s in range(60)]
    again = event_chamfer(estimate, truth, samples=15, generator=generator(7))
    assert again == drawn[7]
    assert len(set(drawn)) > 50
    error = np.std(drawn) / math.sqrt(len(drawn))
    assert abs(np.mean(drawn) - whole) < 4 * error
    alone = distances(estimate, truth, "truth", 100.0, "forward")[0]
    one = event_chamfer(estimate, truth, samples=1, generator=generator(), direction="forward")
    assert min(abs(alone - one)) < 1e-9


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [event_chamfer, event_gaussian_distance])
@pytest.mark.parametrize("rows", [[], [(0, 1, 1, 1), (5, 2, 2, -1)]])
def test_distances_refuse_bad_input(function: Callable[..., float], rows: list) -> None:
    a = matrix(rows)
    for name, options in {
        "normalise must be one of": {"normalise": "both"},
        "direction must be one of": {"direction": "back"},
        "samples and generator come together": {"samples": 5},
        "samples and generator come together: ": {"generator": generator()},
        "samples must be above 0": {"samples": 0, "generator": generator()},
        "scale must be four, got 100": {"normalise": "none"},
        "scale must be four": {"normalise": "none", "scale": (1.0, 1.0)},
        "scale must be one number or four": {"scale": (1.0, 1.0, 1.0)},
    }.items():
        with pytest.raises(ValueError, match=name):
            function(a, a, **options)
    with pytest.raises(ValueError, match="estimate must be four columns"):
        function(a[:, :3], a)
    with pytest.raises(ValueError, match=r"truth must be four columns of one length"):
        function(a, [torch.zeros(2), torch.zeros(2), torch.zeros(2), torch.zeros(1)])


@pytest.mark.parametrize("width", [0.0, -1.0])
def test_widths_that_are_not_positive_are_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width must be above 0"):
        event_gaussian_distance(matrix([]), matrix([]), width=width)


# structure

SENSOR = (4, 5)
spots = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=30)
many = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=2, max_size=40)


def ratio(pixels: list[tuple[int, int]]) -> tuple[float, float, float, int]:
    """ESR, NTSS, L and occupied pixels by their sums over the sensor, empty pixels included."""
    counts, n = Counter(pixels), len(pixels)
    if n < 2:
        return math.nan, math.nan, math.nan, len(counts)
    m = 2 * n // 3
    every = [counts[x, y] for x in range(SENSOR[1]) for y in range(SENSOR[0])]
    ntss = sum(Fraction(c * (c - 1), n * (n - 1)) for c in every)
    length = len(every) - sum((1 - Fraction(m, n)) ** c for c in every)
    return math.sqrt(ntss * length), float(ntss), float(length), len(counts)


def xy(pixels: list[tuple[int, int]], kind: torch.dtype = torch.int64) -> tuple[Tensor, Tensor]:
    x, y = torch.tensor(pixels, dtype=torch.int64).reshape(-1, 2).to(kind).unbind(1)
    return x, y


def mean_ratio(pixels: list[tuple[int, int]], size: int) -> tuple[float, ...]:
    slices = [pixels[i : i + size] for i in range(0, len(pixels) - size + 1, size)]
    if not slices:
        return (*[math.nan] * 4, 0, len(pixels))
    means = np.mean([ratio(part) for part in slices], axis=0)
    return (*means, len(slices), len(pixels) - len(slices) * size)


@given(spots, st.sampled_from((torch.int64, torch.uint16, torch.int16)))
def test_event_structural_ratio(pixels: list[tuple[int, int]], kind: torch.dtype) -> None:
    result = event_structural_ratio(*xy(pixels, kind), sensor=SENSOR)
    assert result == pytest.approx((*ratio(pixels), 1, 0), nan_ok=True)
    shuffled = event_structural_ratio(*xy(pixels[::-1], kind), sensor=(50, 50))
    assert shuffled == pytest.approx(result, nan_ok=True)


def test_structural_ratio_of_plain_patterns() -> None:
    apart = event_structural_ratio(torch.arange(4), torch.zeros(4).long(), sensor=(1, 4))
    assert (apart.esr, apart.ntss, apart.occupied) == (0, 0, 4)
    assert apart.l_n == pytest.approx(4 * 2 / 4)
    one = event_structural_ratio(torch.zeros(9).long(), torch.zeros(9).long(), sensor=(1, 1))
    assert (one.ntss, one.occupied) == (1, 1)
    assert one.l_n == pytest.approx(1 - (1 / 3) ** 9)


@given(spots, st.integers(2, 9))
def test_mean_event_structural_ratio(pixels: list[tuple[int, int]], size: int) -> None:
    result = mean_event_structural_ratio(*xy(pixels), sensor=SENSOR, slice_events=size)
    assert result == pytest.approx(mean_ratio(pixels, size), nan_ok=True)


def quota(n: int, number: int, block: int) -> list[int]:
    """Events that each block keeps: the even share of all events up to its end."""
    ends = [min(i + block, n) for i in range(0, n, block)]
    until = [end * number // n for end in ends]
    return [b - a for a, b in zip([0, *until], until, strict=False)]


@given(many, st.data(), st.integers(2, 5), st.integers(1, 50))
def test_esr_controls(
    pixels: list[tuple[int, int]], data: st.DataObject, size: int, block: int
) -> None:
    n = len(pixels)
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    kept, signal = data.draw(flags), data.draw(flags)
    controls = esr_controls(
        *xy(pixels),
        torch.tensor(kept),
        sensor=SENSOR,
        generator=generator(n),
        is_signal=torch.tensor(signal),
        slice_events=size,
        block_events=block,
    )
    number = sum(kept)
    prefix, oracle = [], []
    for start, share in zip(range(0, n, block), quota(n, number, block), strict=True):
        inside = range(start, min(start + block, n))
        prefix += list(inside)[:share]
        best = sorted(inside, key=lambda i: not signal[i])[:share]
        oracle += sorted(best)
    assert len(prefix) == len(oracle) == number
    chosen = sorted(torch.randperm(n, generator=generator(n))[:number].tolist())
    expected = {
        "raw": range(n),
        "kept": [i for i in range(n) if kept[i]],
        "random": chosen,
        "prefix": prefix,
        "oracle": oracle,
    }
    assert controls.retention == number / n
    for name, index in expected.items():
        score = mean_ratio([pixels[i] for i in index], size)
        assert getattr(controls, name) == pytest.approx(score, nan_ok=True)


def test_controls_of_little() -> None:
    x, y = xy([(0, 0), (1, 0), (0, 0)])
    mask = torch.tensor([True, False, True])
    options = {"sensor": SENSOR, "slice_events": 2}
    plain = esr_controls(x, y, mask, generator=generator(), **options)
    assert plain.oracle is None
    assert plain.kept.slices == plain.random.slices == plain.prefix.slices == 1
    nothing = esr_controls(x, y, mask & False, generator=generator(), is_signal=mask, **options)
    assert nothing.retention == 0
    assert nothing.oracle is not None
    for part in (nothing.kept, nothing.random, nothing.prefix, nothing.oracle):
        assert (part.slices, part.left_over) == (0, 0)
    empty = esr_controls(x[:0], y[:0], mask[:0], generator=generator(), **options)
    assert math.isnan(empty.retention)
    assert empty.raw.slices == 0


def test_deleting_at_random_raises_the_ratio() -> None:
    """The warning of the docstrings: sweeps over the sensor, each no longer than a slice."""
    place = torch.arange(2000) % 200
    kept = torch.rand(2000, generator=generator(4)) < 0.3
    controls = esr_controls(
        place % 20, place // 20, kept, sensor=(10, 20), generator=generator(5), slice_events=200
    )
    assert controls.raw.esr == 0
    assert controls.kept.slices == controls.random.slices == int(kept.sum()) // 200
    for blind in (controls.kept, controls.random):
        assert blind.esr > 0.5


@pytest.mark.usefixtures("unchecked")
def test_structure_refuses_bad_input() -> None:
    x, mask = torch.tensor([0, 1, 2]), torch.ones(3).bool()
    calls: list[Callable[..., object]] = [
        lambda x, y, **k: event_structural_ratio(x, y, **{"sensor": SENSOR, **k}),
        lambda x, y, **k: mean_event_structural_ratio(x, y, **{"sensor": SENSOR, **k}),
        lambda x, y, **k: esr_controls(
            x, y, mask[: len(x)], generator=generator(), **{"sensor": SENSOR, **k}
        ),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"expected one shape, got x \(3,\), y \(2,\)"):
            call(x, x[:2])
        with pytest.raises(ValueError, match=r"x must lie on the sensor \(4, 2\), got 0 to 2"):
            call(x, x, sensor=(4, 2))
        with pytest.raises(ValueError, match=r"y must lie on the sensor \(2, 4\), got 0 to 2"):
            call(x, x, sensor=(2, 4))
        with pytest.raises(ValueError, match=r"x must lie .* got -1 to 1"):
            call(x - 1, x)
    for call in calls[1:]:
        with pytest.raises(ValueError, match="slice_events must be at least 2, got 1"):
            call(x, x, slice_events=1)
    with pytest.raises(ValueError, match="block_events must be above 0, got 0"):
        calls[2](x, x, block_events=0)
    for options in ({"kept": mask[:2]}, {"kept": mask, "is_signal": mask[:2]}):
        with pytest.raises(ValueError, match="expected one shape"):
            esr_controls(x, x, **options, sensor=SENSOR, generator=generator())
