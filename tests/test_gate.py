"""The gate: states, thresholds as data, intervals; and paired comparison of two runs."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from libimg.diagnose import Gate, Threshold, judge, paired_bootstrap

CONTENT = """
name: gate 1
thresholds:
  - {metric: mre, bound: 2, sense: at most, unit: mm}
  - {metric: sharpness, bound: 0.5, sense: at least}
min_cases: 4
"""


def gate() -> Gate:
    return Gate.from_dict(yaml.safe_load(CONTENT))


def scores(mre: float, sharpness: float, *, spread: float = 0.1, n: int = 10) -> dict:
    offsets = np.linspace(-spread, spread, n)
    return {f"p{i}": {"mre": mre + d, "sharpness": sharpness + d} for i, d in enumerate(offsets)}


def test_thresholds_are_data() -> None:
    ours = gate()
    assert ours.thresholds[0] == Threshold("mre", 2, "at most", "mm")
    assert (ours.level, ours.min_cases) == (0.95, 4)
    assert Gate.from_dict(json.loads(json.dumps(ours.to_dict()))) == ours
    fixed = replace(ours, manifest={"p0": "aa"})
    assert Gate.from_dict(json.loads(json.dumps(fixed.to_dict()))) == fixed


@pytest.mark.parametrize(
    ("mre", "sharpness", "passed", "outcomes"),
    [
        (1.0, 0.9, True, ["passed", "passed"]),
        (1.0, 0.2, False, ["passed", "failed"]),
        (2.0, 0.9, None, ["undecided", "passed"]),
        (2.0, 0.2, False, ["undecided", "failed"]),  # one failure decides
    ],
)
@pytest.mark.parametrize("state", ["direction", "final"])
def test_states_and_outcomes(
    state: str, mre: float, sharpness: float, passed: bool | None, outcomes: list[str]
) -> None:
    verdict = judge(scores(mre, sharpness), gate(), state=state)
    assert verdict.passed is passed
    assert [line.outcome for line in verdict.lines] == outcomes
    assert verdict.blocks == (state == "final" and passed is not True)
    assert ("it blocks" in verdict.text) == verdict.blocks
    assert f"at most 2 mm was asked: {outcomes[0]}" in verdict.text
    assert "| mre at most 2 mm" in verdict.markdown


def test_the_same_numbers_inform_early_and_block_late() -> None:
    """A small run never blocks, whatever it scores: the brief's command 1."""
    bad = scores(9.0, 0.01)
    early, late = (judge(bad, gate(), state=state) for state in ("direction", "final"))
    assert early.lines == late.lines
    assert (early.passed, early.blocks, late.blocks) == (False, False, True)
    assert "it does not block" in early.text


@given(
    values=st.lists(st.floats(-5, 5), min_size=5, max_size=12),
    bound=st.floats(-5, 5),
)
def test_outcome_follows_the_interval_and_mirrors(values: list[float], bound: float) -> None:
    most = Gate("g", (Threshold("m", bound, "at most"),))
    least = Gate("g", (Threshold("m", -bound, "at least"),))
    line = judge(
        {str(i): {"m": v} for i, v in enumerate(values)}, most, state="final", samples=200
    ).lines[0]
    low, high = line.interval
    expected = "passed" if high <= bound else "failed" if low > bound else "undecided"
    assert line.outcome == expected
    assert line.mean == pytest.approx(np.mean(values), abs=1e-12)
    mirrored = judge(
        {str(i): {"m": -v} for i, v in enumerate(values)}, least, state="final", samples=200
    )
    assert mirrored.lines[0].interval == pytest.approx((-high, -low), abs=1e-12)
    if min(abs(low - bound), abs(high - bound)) > 1e-9:  # the ends differ by rounding
        assert mirrored.lines[0].outcome == expected


def test_bound_itself_passes() -> None:
    same = {str(i): {"m": 0.5} for i in range(5)}
    for sense in ("at most", "at least"):
        verdict = judge(same, Gate("g", (Threshold("m", 0.5, sense),)), state="final")
        assert verdict.passed is True


def test_few_cases_decide_nothing() -> None:
    verdict = judge(scores(1.0, 0.9, n=3), gate(), state="final")
    assert verdict.passed is None
    assert verdict.blocks
    assert "fewer than 4 cases" in verdict.text
    (line, _) = judge(scores(1.0, 0.9, n=1), gate(), state="direction").lines
    assert (line.outcome, line.cases) == ("undecided", 1)
    assert all(math.isnan(end) for end in line.interval)


def test_undefined_values_raise_or_are_listed() -> None:
    cases = scores(1.0, 0.9)
    cases["p3"]["mre"] = math.nan
    cases["p4"]["mre"] = math.inf
    with pytest.raises(ValueError, match="mre is undefined for p3, p4"):
        judge(cases, gate(), state="final")
    verdict = judge(cases, gate(), state="final", undefined="exclude")
    assert verdict.lines[0].undefined == ("p3", "p4")
    assert verdict.lines[0].cases == 8
    assert verdict.lines[0].mean == pytest.approx(
        np.mean([cases[p]["mre"] for p in cases if p not in ("p3", "p4")])
    )
    assert "left out: p3, p4" in verdict.text
    empty = {case: {**row, "mre": math.nan} for case, row in cases.items()}
    assert judge(empty, gate(), state="final", undefined="exclude").passed is None


def test_gate_is_bound_to_its_evaluation_set() -> None:
    cases = scores(1.0, 0.9)
    hashes = {case: f"{i}" for i, case in enumerate(cases)}
    fixed = replace(gate(), manifest=hashes)
    assert judge(cases, fixed, state="final", manifest=hashes).passed is True
    for other in (None, {**hashes, "p0": "other"}, {"p0": "0"}):
        with pytest.raises(ValueError, match="not the same evaluation set"):
            judge(cases, fixed, state="final", manifest=other)
    del cases["p9"]  # a case of the set was not scored
    with pytest.raises(ValueError, match="p9"):
        judge(cases, fixed, state="final", manifest=hashes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "g"}, "gate: expected name, thresholds"),
        ({"name": "g", "thresholds": [], "lvl": 1}, "gate: expected"),
        ({"name": "g", "thresholds": []}, "at least one"),
        ({"name": "g", "thresholds": {"mre": 2}}, "threshold: expected"),
        ({"name": "g", "thresholds": [{"metric": "m", "bound": 2, "sense": "below"}]}, "sense"),
        ({"name": "g", "thresholds": [{"metric": "m", "bound": "2", "sense": "at most"}]}, "bound"),
        ({"name": "g", "thresholds": [{"metric": "m", "bound": True, "sense": "at most"}]}, "bound"),
        ({"name": "g", "thresholds": [{"metric": "m", "bound": math.nan, "sense": "at most"}]}, "bound"),
        ({"name": "g", "thresholds": [{"metric": "m", "bound": 1, "sense": "at most"}] * 2}, "once"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("unchecked")
def test_bad_gates_are_refused(content: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Gate.from_dict(content)


def test_bad_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        judge({}, gate(), state="final")
    with pytest.raises(ValueError, match="2 cases lack mre, such as b"):
        judge({"a": {"mre": 1.0}, "b": {}, "c": {}}, gate(), state="final")
    for change in ({"level": 1.0}, {"min_cases": 1}):
        with pytest.raises(ValueError, match="min_cases of at least 2"):
            replace(gate(), **change)


@pytest.mark.usefixtures("unchecked")
def test_unknown_words_are_refused() -> None:
    with pytest.raises(ValueError, match="state must be one of"):
        judge(scores(1, 1), gate(), state="small")
    with pytest.raises(ValueError, match="undefined must be one of"):
        judge(scores(1, 1), gate(), state="final", undefined="drop")
    with pytest.raises(ValueError, match="undefined must be one of"):
        compare([1.0], [2.0], undefined="drop")


def compare(a: list[float], b: list[float], *, higher: bool = False, **options: object) -> object:
    first, second = ({f"p{i}": v for i, v in enumerate(run)} for run in (a, b))
    hashes = {case: f"hash of {case}" for case in first}
    return paired_bootstrap(
        first, second, manifest_a=hashes, manifest_b=hashes, higher=higher, **options
    )


def test_pairing_sees_what_two_means_do_not() -> None:
    rng = np.random.default_rng(0)
    hard = rng.uniform(1, 10, 20)
    a, b = hard.tolist(), (hard - 0.3 + 0.1 * rng.standard_normal(20)).tolist()
    assert stats.ttest_ind(a, b).pvalue > 0.5
    pair = compare(a, b)
    assert pair.outcome == "better"
    assert pair.p == pytest.approx(2 / 10001)
    assert pair.interval[0] < pair.mean < pair.interval[1] < 0
    assert compare(a, b, higher=True).outcome == "worse"
    theirs = stats.bootstrap(
        (np.subtract(b, a),), np.mean, method="percentile", n_resamples=10000, rng=rng
    ).confidence_interval
    assert pair.interval == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_cases_that_got_better_and_worse_by_hand() -> None:
    pair = compare([1, 2, 3, 4], [0, 2, 5, 3.5])
    assert (pair.better, pair.worse, pair.equal) == (("p0", "p3"), ("p2",), ("p1",))
    assert pair.mean == pytest.approx(0.125)
    assert pair.outcome == "undecided"
    assert "2 better, 1 worse, 1 equal" in pair.text


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=8))
def test_swapped_runs_swap_the_answer(pairs: list[tuple[float, float]]) -> None:
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    one, other = compare(a, b, samples=200), compare(b, a, samples=200)
    assert one.mean == pytest.approx(-other.mean, abs=1e-12)
    assert (one.better, one.worse, one.equal) == (other.worse, other.better, other.equal)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]), abs=1e-12)
    assert one.p == other.p
    assert len(one.better) + len(one.worse) + len(one.equal) == len(pairs)


def test_equal_runs_and_single_cases() -> None:
    same = compare([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.mean, same.p, same.outcome) == (0, 1, "undecided")
    single = compare([1.0], [2.0])
    assert math.isnan(single.p)
    assert single.outcome == "undecided"


def test_sign_p_is_uniform_enough_without_a_difference() -> None:
    rng = np.random.default_rng(0)
    rings = sum(
        compare(*rng.standard_normal((2, 30)).tolist(), samples=400, seed=seed).p < 0.05
        for seed in range(200)
    )
    assert rings <= 24  # 5 % asked, 12 % allowed


def test_undefined_pairs_raise_or_are_listed() -> None:
    a, b = [1.0, math.nan, 3.0, math.inf], [0.0, 1.0, 2.0, math.inf]
    with pytest.raises(ValueError, match="undefined for p1, p3"):
        compare(a, b)
    pair = compare(a, b, undefined="exclude")
    assert (pair.undefined, pair.mean) == (("p1", "p3"), -1)
    assert "left out: p1, p3" in pair.text
    with pytest.raises(ValueError, match="no case"):
        compare([math.nan], [1.0], undefined="exclude")


def test_other_evaluation_sets_are_refused() -> None:
    run, hashes = {"p0": 1.0, "p1": 2.0}, {"p0": "a", "p1": "b"}
    with pytest.raises(ValueError, match="p1 has other contents"):
        paired_bootstrap(
            run, run, manifest_a=hashes, manifest_b={"p0": "a", "p1": "c"}, higher=True
        )
    with pytest.raises(ValueError, match=r"b: its cases differ from its manifest in \['p1'\]"):
        paired_bootstrap(run, {"p0": 1.0}, manifest_a=hashes, manifest_b=hashes, higher=True)
    with pytest.raises(ValueError, match="level"):
        compare([1.0], [1.0], level=1.0)
