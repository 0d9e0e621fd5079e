"""Baselines, vitals, scores by tissue, reports and pictures."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg import diagnose, figures, metrics
from libimg.ranges import SIGNED, UNIT, ValueRange


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@given(st.floats(-3, 3), st.floats(-2, 2))
def test_a_table_learns_a_line(slope: float, offset: float) -> None:
    x = draw(4000) * 2 - 1
    table = diagnose.fit_lookup_table([(x, slope * x + offset, x < 2)], value_range=SIGNED, bins=33)
    inside = torch.linspace(-0.9, 0.9, 50)
    assert (table(inside) - (slope * inside + offset)).abs().max() < 0.1
    assert table(torch.tensor([5.0])).item() == pytest.approx(table(torch.tensor([1.0])).item())


def test_a_table_is_the_conditional_mean_inside_the_mask() -> None:
    x = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0])
    y = torch.tensor([1.0, 3.0, 5.0, 7.0, 900.0])
    mask = torch.tensor([True, True, True, True, False])
    table = diagnose.fit_lookup_table([(x, y, mask)], value_range=UNIT, bins=3)
    assert table(torch.tensor([0.0, 0.5, 1.0])).tolist() == [2.0, 4.0, 6.0]  # 0.5 was never seen


def test_no_table_of_one_voxel_beats_it() -> None:
    """Its mean squared error is that of the best function of the binned value."""
    x, noise = (draw(5000) * 8).floor() / 8, draw(5000, seed=1)
    y = (6 * x).sin() + noise
    table = diagnose.fit_lookup_table([(x, y, x < 2)], value_range=ValueRange(0, 0.875), bins=8)
    best = sum(float(((y - y[x == v].mean())[x == v] ** 2).sum()) for v in x.unique()) / len(x)
    assert float((table(x) - y).square().mean()) == pytest.approx(best, rel=1e-4)


def test_table_refuses() -> None:
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="bins"):
        diagnose.fit_lookup_table([(x, x, x == 0)], value_range=UNIT, bins=1)
    with pytest.raises(ValueError, match="voxel in a mask"):
        diagnose.fit_lookup_table([(x, x, x > 0)], value_range=UNIT)


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
)
def test_auc_counts_pairs(high: list[int], low: list[int]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in high for b in low]
    got = metrics.auc(
        torch.tensor(high, dtype=torch.float32), torch.tensor(low, dtype=torch.float32)
    )
    assert got == pytest.approx(sum(pairs) / len(pairs))


def test_auc_of_nothing() -> None:
    assert math.isnan(metrics.auc(torch.zeros(0), torch.zeros(3)))


def test_discriminator_vitals_take_scales() -> None:
    real, fake = (
        [torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2)],
        [torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 2, 2)],
    )
    vitals = diagnose.discriminator_vitals(real, fake)
    assert vitals == pytest.approx({"real_mean": 1.0, "fake_mean": 0.2, "auc": 0.9})


def test_flow_vitals() -> None:
    flow = torch.zeros(1, 2, 8, 8)
    flow[:, 0, :4], flow[:, 1, :4] = 3.0, 4.0
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4, :] = 1
    vitals = diagnose.flow_vitals(flow, mask=mask)
    assert vitals["mean"] == vitals["p95"] == 5.0
    assert diagnose.flow_vitals(flow)["mean"] == 2.5
    assert math.isnan(diagnose.flow_vitals(flow, mask=mask * 0)["mean"])
    folded = torch.zeros(1, 2, 8, 8)
    folded[:, 1] = -2 * torch.arange(8.0)
    assert diagnose.flow_vitals(folded)["folding"] == 1.0


def test_gradient_vitals() -> None:
    y = draw(1, 1, 4, 4).requires_grad_()
    left = torch.zeros(1, 1, 4, 4)
    left[..., :2] = 1
    ratios = diagnose.gradient_vitals(
        (0.2 * y * left).sum(), y.sum(), y, masks={"left": left, "right": 1 - left}
    )
    assert ratios == pytest.approx({"left": 0.2, "right": 0.0})


def test_saturated_share() -> None:
    x = torch.tensor([[[[-1.2, -0.995, -0.98, 0.0]]], [[[0.0, 0.0, 0.0, 0.0]]]])
    assert diagnose.saturated_share(x).tolist() == [0.5, 0.0]


def test_translation_scores() -> None:
    truth = 200 * draw(1, 1, 24, 24)[0, 0]
    fake = truth + 10
    left = torch.zeros(24, 24, dtype=torch.bool)
    left[:, :12] = True
    scores = diagnose.translation_scores(
        fake,
        truth,
        value_range=ValueRange(-100, 400, "HU"),
        regions={"all": truth > -1},
        tissues={"left": left, "none": truth > 1e9},
    )
    assert scores["all/mae"] == pytest.approx(10, rel=1e-4)
    assert scores["all/psnr"] == pytest.approx(20 * math.log10(500 / 10), rel=1e-4)
    assert scores["all/sharpness"] == pytest.approx(1, rel=1e-3)
    assert scores["left/bias"] == pytest.approx(10, rel=1e-4)
    assert math.isnan(scores["none/mae"])
    clipped = diagnose.translation_scores(
        truth + 1e6,
        truth,
        value_range=ValueRange(-100, 400, "HU"),
        regions={},
        tissues={"left": left},
    )
    assert clipped["left/mae"] <= 500


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_bootstrap(values: list[float]) -> None:
    low, high = diagnose.bootstrap_interval(values)
    assert min(values) - 1e-9 <= low <= np.mean(values) + 1e-6
    assert np.mean(values) - 1e-6 <= high <= max(values) + 1e-9
    assert (low, high) == diagnose.bootstrap_interval(values)


def test_bootstrap_covers_what_it_says() -> None:
    """Of 200 samples of 20 values, about 95 percent of the intervals hold the true mean."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = diagnose.bootstrap_interval(list(rng.normal(size=20)), samples=400)
        hits += low <= 0 <= high
    assert 0.88 < hits / 200 <= 0.98


def test_bootstrap_refuses() -> None:
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match="at least one and no NaN"):
            diagnose.bootstrap_interval(bad)


def test_summary_lists_what_it_leaves_out() -> None:
    cases = {"a": {"x": 1.0}, "b": {"x": math.nan}, "c": {"x": 4.0}}
    got = diagnose.summarise(cases)["x"]
    assert (got["mean"], got["cases"], got["undefined"]) == (2.5, 2, ["b"])
    nothing = diagnose.summarise({"b": {"x": math.nan}})["x"]
    assert math.isnan(nothing["mean"])
    assert diagnose.summarise({}) == {}


def rows(model: list[float], base: list[float]) -> dict[str, Any]:
    make = lambda values: {str(i): {"m": v} for i, v in enumerate(values)}  # noqa: E731
    return {"base": make(base), "net": make(model)}


@pytest.mark.parametrize(
    ("model", "base", "higher", "word"),
    [
        ([5, 6, 7], [1, 2, 3], True, "better than base"),
        ([5, 6, 7], [1, 2, 3], False, "WORSE than base"),
        ([1, 3, 2, 4], [2, 2, 3, 3], True, "no different from base"),
        ([math.nan], [1.0], True, "cannot be compared"),
    ],
)
def test_verdict(model: list[float], base: list[float], higher: bool, word: str) -> None:
    assert word in diagnose.verdict(rows(model, base), metric="m", model="net", higher=higher)


def test_table_is_aligned() -> None:
    text = diagnose.markdown_table(
        {"a": {"x": 1234.56, "y": None}, "long name": {"x": 0.12345, "y": math.inf}},
        columns=["x", "y"],
    )
    assert len({len(line) for line in text.splitlines()}) == 1
    assert "1234.6" in text
    assert "0.123" in text
    assert "inf" in text


def test_panel_is_written(tmp_path: Path) -> None:
    tile = figures.Tile(draw(20, 30), UNIT)
    error = figures.Tile(draw(20, 30) - 0.5, SIGNED, colours="RdBu_r")
    path = figures.panel(
        tmp_path / "new" / "p.png",
        [[tile, error]] * 2,
        columns=("image", "error"),
        labels=("a", "b"),
        title="t",
    )
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
    assert width > 500
    assert height > 300


def test_panel_refuses_ragged_rows(tmp_path: Path) -> None:
    tile = figures.Tile(draw(4, 4), UNIT)
    with pytest.raises(ValueError, match="expected 2 rows of 2 tiles"):
        figures.panel(tmp_path / "p.png", [[tile], [tile, tile]], columns="ab", labels="cd")


@pytest.mark.parametrize("bins", [2, 16, 128, 1024])
def test_a_table_gives_a_function_back_at_its_bins(bins: int) -> None:
    """In HU, to a thousandth: the step between bins must not be rounded."""
    window = ValueRange(-1000, 600, "HU")
    centres = torch.linspace(window.lo, window.hi, bins)
    values = 200 * (centres / 50).sin()
    table = diagnose.fit_lookup_table(
        [(centres, values, values < 1e9)], value_range=window, bins=bins
    )
    assert (table(centres) - values).abs().max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_table_keeps_dtype_and_shape(dtype: torch.dtype) -> None:
    table = diagnose.LookupTable(torch.tensor([-1000.0, 600.0]), torch.tensor([0.0, 1.0]))
    out = table(torch.full((2, 3, 4), -200.0, dtype=dtype))
    assert out.dtype == dtype
    assert out.shape == (2, 3, 4)
    assert out.unique().tolist() == [0.5]


def test_bootstrap_shrinks_with_the_square_root_of_the_cases() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (25, 400):
        low, high = diagnose.bootstrap_interval(list(rng.normal(size=n)))
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)


def test_cases_with_other_metrics_are_refused() -> None:
    for odd in ({"x": 1.0}, {"x": 1.0, "y": 2.0, "z": 3.0}):
        with pytest.raises(ValueError, match=r"b differs from a in its metrics \['[yz]'\]"):
            diagnose.summarise({"a": {"x": 1.0, "y": 2.0}, "b": odd})
