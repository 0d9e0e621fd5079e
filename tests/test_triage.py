"""Intervals of counts, triage of failures, and the loss of the preprocessing by itself."""

import math
from itertools import pairwise, permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats.contingency import relative_risk

from libimg import metrics
from libimg._ops.proportions import holm, rate_ratio, wilson
from libimg.data.letterbox import letterbox
from libimg.diagnose import preprocessing_loss, triage_table
from libimg.ranges import SIGNED

counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(count=counts, level=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(count: tuple[int, int], level: float) -> None:
    theirs = stats.binomtest(*count).proportion_ci(level, method="wilson")
    assert wilson(*count, level=level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@given(first=counts, second=counts)
def test_ratio_agrees_with_scipy_where_no_share_is_extreme(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    ratio, low, high = rate_ratio(*first, *second)
    assert math.isnan(ratio) or low <= ratio <= high
    back = rate_ratio(*second, *first)
    if ratio > 0 and math.isfinite(ratio):  # the other way round is one over it
        assert (1 / back[0], 1 / back[2]) == pytest.approx((ratio, low))
    if not any(k in (0, n) for k, n in (first, second)):
        theirs = relative_risk(*first, *second)
        ends = theirs.confidence_interval(0.95)
        assert (ratio, low, high) == pytest.approx((theirs.relative_risk, ends.low, ends.high))


def test_ratio_of_zero_and_full_counts() -> None:
    ratio, low, high = rate_ratio(0, 8, 25, 72)
    assert (ratio, low) == (0, 0)
    assert 1 < high < 4  # eight cases without a failure do not show that the flag protects
    ratio, low, high = rate_ratio(3, 3, 0, 50)
    assert (ratio, high) == (math.inf, math.inf)
    assert low > 1
    # one flagged case that failed, by hand: 0.75 / (24.5 / 80), variance 2/3 - 1/2 + ...
    middle = math.log(0.75 / (24.5 / 80))
    spread = 1.959964 * math.sqrt(1 / 1.5 - 1 / 2 + 1 / 24.5 - 1 / 80)
    expected = 79 / 24, math.exp(middle - spread), math.exp(middle + spread)
    assert rate_ratio(1, 1, 24, 79) == pytest.approx(expected)
    assert rate_ratio(0, 0, 5, 9)[1:] == (0, math.inf)


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_by_its_definition(values: list[float]) -> None:
    ours = holm(values)
    ordered = sorted(values)
    for p, corrected in zip(values, ours, strict=True):
        rank = max(i for i, q in enumerate(ordered) if q == p)
        slow = max(min(1.0, (len(values) - i) * ordered[i]) for i in range(rank + 1))
        assert corrected == pytest.approx(slow)


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([math.nan, 0.01, 0.04]) == pytest.approx([math.nan, 0.02, 0.04], nan_ok=True)
    assert holm([]) == []


@pytest.mark.parametrize("hits", [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(hits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= hits <= cases"):
        wilson(*hits)
    with pytest.raises(ValueError, match="0 <= hits <= cases"):
        rate_ratio(1, 2, *hits)
    with pytest.raises(ValueError, match="level"):
        wilson(1, 2, level=1.0)


SCORED = [f"val{i:02d}" for i in range(80)]


def brief(l1_of_failed: float = 0.2) -> dict:
    """80 scored cases of 680, 25 failures, 326 border flags, orientation on 3 of the failures."""
    everyone = [*SCORED, *(f"train{i:03d}" for i in range(600))]
    flags = {case: set() for case in everyone}
    for case in everyone[::2][:326]:
        flags[case].add("border")
    for case in (*SCORED[:3], *SCORED[30:36]):
        flags[case].add("orientation")
    cases = {
        case: {"l1": (l1_of_failed if i < 25 else 0.2) + 0.001 * (i % 5)}
        for i, case in enumerate(SCORED)
    }
    return {"cases": cases, "flags": flags, "failed": SCORED[:25]}


def run(case: dict, **options: object) -> object:
    return triage_table(case["cases"], flags=case["flags"], failed=case["failed"], **options)


def test_brief_nothing_explains_the_failures() -> None:
    table = run(brief())
    assert (table.cases, table.failed, table.explains) == (80, 25, ())
    rows = {row.flag: row for row in table.flags}
    border, orientation = rows["border"], rows["orientation"]
    assert border.cases + border.elsewhere == 326
    assert (border.cases, border.failed) == (40, 13)  # every second case, failed or not
    assert border.ratio == pytest.approx((13 / 40) / (12 / 40))
    assert border.interval[0] < 1 < border.interval[1]
    assert (orientation.failed, orientation.cases, orientation.others_failed) == (3, 9, 22)
    expected = stats.fisher_exact([[3, 6], [22, 49]]).pvalue
    assert orientation.p == pytest.approx(expected)
    assert orientation.p_holm == 1  # three tests
    assert "No flag explains the failures." in table.text
    assert "on 3 of the 25 failures" in table.text
    assert "286 more cases carry it and were not scored" in table.text
    assert "3 tests" in table.text
    assert table.metrics[0].auc == pytest.approx(0.5, abs=0.02)


def test_a_flag_that_goes_with_the_failures_is_named_after_correction() -> None:
    case = brief(l1_of_failed=0.4)
    for name in (*SCORED[:18], *SCORED[60:64]):
        case["flags"][name].add("exposure")
    table = run(case)
    assert table.explains == ("exposure",)
    row = table.flags[0]  # the smallest p first
    assert (row.flag, row.failed, row.cases) == ("exposure", 18, 22)
    assert row.p < row.p_holm < 1e-6
    assert row.interval[0] > 2
    assert table.text.index("exposure explains failures beyond chance") > 0
    (l1,) = table.metrics
    assert (l1.auc, l1.failed) == pytest.approx((1, 0.402))
    assert l1.flagged["exposure"] == pytest.approx((18 * 0.4 + 4 * 0.2) / 22, abs=0.01)
    assert "| exposure" in table.markdown
    assert "with exposure" in table.markdown


def test_more_failures_with_a_flag_in_the_good_direction_explain_nothing() -> None:
    flags = {case: ["trained operator"] for case in SCORED[25:70]}
    table = triage_table({case: {} for case in SCORED}, flags=flags, failed=SCORED[:25])
    assert table.flags[0].p_holm < 0.001
    assert table.flags[0].ratio == 0
    assert table.explains == ()


def test_flags_on_all_or_none_of_the_scored_cases_are_not_tested() -> None:
    flags = {"a": ["all"], "b": ["all"], "z": ["none"]}
    table = triage_table({"a": {}, "b": {}}, flags=flags, failed=["a"])
    assert all(math.isnan(row.p) and math.isnan(row.p_holm) for row in table.flags)
    assert "on all scored cases" in table.text
    assert "on no scored case" in table.text


def test_undefined_values_are_listed_and_in_no_mean() -> None:
    cases = {"a": {"m": 1.0}, "b": {"m": math.nan}, "c": {"m": 3.0}, "d": {"m": math.inf}}
    (row,) = triage_table(cases, flags={}, failed=["a", "b"]).metrics
    assert (row.failed, row.passed, row.auc, row.undefined) == (1, 3, 0, ("b", "d"))
    (row,) = triage_table({"a": {"m": math.nan}}, flags={}, failed=["a"]).metrics
    assert math.isnan(row.auc)
    assert math.isnan(row.p)


@given(
    failed=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    passed=st.lists(st.integers(0, 4), min_size=1, max_size=8),
)
def test_metric_rows_agree_with_scipy(failed: list[int], passed: list[int]) -> None:
    values = [*failed, *passed]
    cases = {str(i): {"m": float(v)} for i, v in enumerate(values)}
    lost = [str(i) for i in range(len(failed))]
    (row,) = triage_table(cases, flags={}, failed=lost).metrics
    if len(set(values)) == 1:
        assert (row.auc, row.p) == (0.5, 1)
        return
    theirs = stats.mannwhitneyu(failed, passed)
    assert row.auc == pytest.approx(theirs.statistic / len(failed) / len(passed))
    assert row.p == pytest.approx(theirs.pvalue)


def test_the_order_of_cases_and_flags_does_not_matter() -> None:
    flags = {"a": ["x"], "b": ["y", "x"], "c": ["y"], "d": []}
    tables = [
        triage_table({c: {} for c in order}, flags={c: flags[c] for c in order}, failed=["b", "a"])
        for order in permutations("abcd")
    ]
    assert len({table.text for table in tables}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cases": {}}, "at least one"),
        ({"cases": {"a": {"m": 1.0}, "b": {}}}, "b differs from a in its metrics"),
        ({"failed": ["a", "z"]}, "failed: 1 were not scored, such as z"),
        ({"failed": "a"}, "bare string"),
        ({"flags": {"a": "border"}}, "bare string"),
        ({"flags": {"a.png": ["border"]}}, "names look like a.png, scored like a"),
    ],
)
def test_triage_refuses(change: dict, message: str) -> None:
    case = {"cases": {"a": {}, "b": {}}, "flags": {}, "failed": ["a"], **change}
    with pytest.raises(ValueError, match=message):
        run(case)


def picture(height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    small = torch.rand(2, 1, height // 4, width // 4, generator=generator)
    large = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")
    return large + 0.1 * torch.rand(2, 1, height, width, generator=generator)


def test_nothing_is_lost_where_nothing_is_done(generator: torch.Generator) -> None:
    x = picture(64, 48, generator)
    box = letterbox((64, 48), target=(64, 64))
    loss = preprocessing_loss(x, box, data_range=1.0, source_spacing_mm=(0.1, 0.1))
    assert bool((loss.psnr == math.inf).all())
    torch.testing.assert_close(loss.sharpness, torch.ones(2))
    assert (loss.anisotropy, loss.direction_error_deg, loss.kept) == (1, 0, 1)
    assert loss.pixels_per_mm == pytest.approx((10, 10))


def test_scores_are_those_of_the_round_trip(generator: torch.Generator) -> None:
    x = picture(64, 48, generator) * 2 - 1
    box = letterbox((64, 48), target=(40, 40), roi=(8, 8, 48, 32))
    loss = preprocessing_loss(x, box, data_range=SIGNED, source_spacing_mm=(0.1, 0.1))
    back, inside = box.source_image(box.image(x, fill=-1), fill=-1), box.source_mask(batch=2)
    expected = metrics.psnr(back, x, data_range=2.0, mask=inside)
    torch.testing.assert_close(loss.psnr, expected)
    torch.testing.assert_close(loss.ssim, metrics.ssim(back, x, data_range=SIGNED, mask=inside))
    assert loss.kept == pytest.approx(48 * 32 / 64 / 48)
    dark = x.clone()
    dark[..., :8, :] = -1  # what the transform does not show does not count
    again = preprocessing_loss(dark, box, data_range=SIGNED, source_spacing_mm=(0.1, 0.1))
    torch.testing.assert_close(again.psnr, loss.psnr)
    left = torch.zeros(2, 1, 64, 48)
    left[..., :24] = 1
    part = preprocessing_loss(x, box, data_range=SIGNED, source_spacing_mm=(0.1, 0.1), mask=left)
    assert not torch.allclose(part.psnr, loss.psnr)


def test_smaller_targets_lose_more(generator: torch.Generator) -> None:
    x = picture(64, 64, generator)
    losses = [
        preprocessing_loss(
            x, letterbox((64, 64), target=(n, n)), data_range=1.0, source_spacing_mm=(1, 1)
        )
        for n in (56, 40, 24)
    ]
    for finer, coarser in pairwise(losses):
        assert bool((finer.psnr > coarser.psnr).all())
        assert bool((finer.ssim > coarser.ssim).all())
    assert all(bool((loss.sharpness < 0.5).all()) for loss in losses)


def test_the_squash_of_the_brief(generator: torch.Generator) -> None:
    x = torch.rand(1, 1, 1520, 1236, generator=generator)
    losses = [
        preprocessing_loss(
            x,
            letterbox((1520, 1236), target=(512, 512), keep_aspect=keep),
            data_range=1.0,
            source_spacing_mm=(0.1, 0.1),
        )
        for keep in (False, True)
    ]
    squash, kept = losses
    assert squash.anisotropy == pytest.approx(1520 / 1236)
    assert squash.pixels_per_mm == pytest.approx((512 / 152, 512 / 123.6))
    assert kept.anisotropy == pytest.approx(1, abs=0.001)
    assert kept.angle_error_deg < 0.05
    # the worst angle, searched for: draw lines in the source, read them in the target
    degrees = torch.linspace(0, 180, 18001).double().deg2rad()
    lines = torch.stack([degrees.sin(), degrees.cos()], -1)  # (row, column)
    box = letterbox((1520, 1236), target=(512, 512), keep_aspect=False)
    seen = box.points(lines) - box.points(torch.zeros(2).double())
    error = (torch.atan2(seen[:, 0], seen[:, 1]) - degrees).rad2deg()
    assert squash.direction_error_deg == pytest.approx(float(error.abs().max()), abs=1e-4)
    assert squash.angle_error_deg == pytest.approx(float(error.max() - error.min()), abs=1e-3)
    assert "5.9°" in squash.text
    assert "11.8°" in squash.text


def test_preprocessing_refuses_another_size(generator: torch.Generator) -> None:
    box = letterbox((64, 48), target=(32, 32))
    with pytest.raises(ValueError, match="64, 48"):
        preprocessing_loss(
            picture(48, 64, generator), box, data_range=1.0, source_spacing_mm=(0.1, 0.1)
        )
    with pytest.raises(ValueError, match="spacing"):
        preprocessing_loss(
            picture(64, 48, generator), box, data_range=1.0, source_spacing_mm=(0.0, 0.1)
        )
